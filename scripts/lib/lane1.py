"""Lane 1: pytest without Frappe, on the oldest and on the newest libraries."""

from __future__ import annotations

import functools
import pathlib
import re
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

from scripts.lib.checkout import CHECKOUT
from scripts.lib.debian import unpack
from scripts.lib.parts import Counts, Part
from scripts.lib.processes import environment, run
from scripts.lib.virtualenvs import NODE_SERVERS, install_npm_packages, venv_python

# Per cent of the lines and branches of connected_app/oauth that lane 1 has to run: what it runs without Glewlwyd (98.88 in
# November 2026; 99.1 with it).
COVERED = 98.8


def lane1() -> list[Part]:
	libraries = {"newest": "newest libraries", "pinned": "oldest libraries"}
	return [Part(f"lane 1, {text}", functools.partial(_lane1, venv=name)) for name, text in libraries.items()]


def checks() -> list[Part]:
	return [Part("checks", _checks)]


def _checks(counts: Counts) -> None:
	code, output = run([sys.executable, CHECKOUT / "scripts" / "check"], show=True)
	last = output.strip().splitlines()[-1] if output.strip() else "no output"
	counts.notes.append(last.removeprefix("checks: "))
	counts.failed += code != 0


def _lane1(counts: Counts, venv: str) -> None:
	python = venv_python(venv)
	for missing in (*(install_npm_packages(each) for each in NODE_SERVERS), unpack("glewlwyd")):
		if missing:
			counts.notes.append(missing)
	with tempfile.TemporaryDirectory(prefix="connected-app-pytest-") as folder:
		report = pathlib.Path(folder) / "report.xml"
		command = [python, "-m", "pytest", "tests", "-q", f"--junitxml={report}"]
		if venv == "newest":
			command += ["--cov", f"--cov-fail-under={COVERED}"]
		data = pathlib.Path(folder) / "coverage"
		code, output = run(command, show=True, cwd=CHECKOUT, env=environment(COVERAGE_FILE=str(data)))
		suites = list(ElementTree.parse(report).getroot().iter("testsuite")) if report.exists() else []
	for suite in suites:
		number = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
		failed = number["failures"] + number["errors"]
		counts.add("pytest", max(number["tests"] - failed - number["skipped"], 0), failed, number["skipped"])
	covered = re.search(r"^TOTAL .* (\S+%)$", output, re.M)
	if covered:
		counts.notes.append(f"{covered.group(1)} of oauth/ covered")
	counts.notes += re.findall(r"^golden exchanges: .*$", output, re.M)
	if code and not counts.failed:
		counts.failed = 1
		counts.notes.append(f"pytest ended with exit code {code}")
