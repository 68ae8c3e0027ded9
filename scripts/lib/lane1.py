"""Lane 1: pytest without Frappe, on the oldest and on the newest libraries; then scripts/check."""

from __future__ import annotations

import pathlib
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

from scripts.lib.checkout import CHECKOUT
from scripts.lib.console import Problem, title
from scripts.lib.processes import run
from scripts.lib.summary import Summary
from scripts.lib.virtualenvs import prepare_certified_provider, venv_python


def lane1(summary: Summary) -> None:
	missing = prepare_certified_provider()
	if missing:
		summary.note("lane 1", missing)
	for name, libraries in (("pinned", "oldest libraries"), ("newest", "newest libraries")):
		what = f"lane 1 (pytest, {libraries})"
		title(what)
		try:
			python = venv_python(name)
		except Problem as problem:
			summary.note(what, f"did NOT run: {problem}", failed=True)
			continue
		_pytest(summary, what, python)
	title("checks")
	code, output = run([sys.executable, CHECKOUT / "scripts" / "check"], show=True)
	last = output.strip().splitlines()[-1] if output.strip() else "no output"
	summary.note("checks", last.removeprefix("checks: "), failed=code != 0)


def _pytest(summary: Summary, what: str, python: pathlib.Path) -> None:
	with tempfile.TemporaryDirectory(prefix="connected-app-pytest-") as folder:
		report = pathlib.Path(folder) / "report.xml"
		command = [python, "-m", "pytest", "tests", "-q", f"--junitxml={report}"]
		code, _ = run(command, show=True, cwd=CHECKOUT)
		if not report.exists():
			summary.note(what, f"did NOT run: pytest ended with exit code {code}", failed=True)
			return
		passed = failed = skipped = 0
		for suite in ElementTree.parse(report).getroot().iter("testsuite"):
			count = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
			failed += count["failures"] + count["errors"]
			skipped += count["skipped"]
			passed += max(count["tests"] - count["failures"] - count["errors"] - count["skipped"], 0)
	if code and not failed:
		failed = 1
	summary.add(what, passed, failed, skipped, note="(no test found)" if code == 5 else "")
