"""Lane 2: on fresh sites of each bench and database, over HTTP, with a browser; and the whole life of a site."""

from __future__ import annotations

import functools
import re
import shutil

from scripts.lib.bench import HOW_TO_GET_A_BENCH, Bench, find_benches
from scripts.lib.checkout import APP, CHECKOUT
from scripts.lib.console import Problem, say, title
from scripts.lib.parts import Counts, Part
from scripts.lib.processes import run
from scripts.lib.servers import DATABASES, borrowed, why_not
from scripts.lib.site import Site, fresh_site
from scripts.lib.virtualenvs import NODE_SERVERS, ONE_THREAD, install_npm_packages, venv_python

SITE_PREFIX = "connected-app-test"


def lane2(only: str, notes: list[str]) -> list[Part]:
	"""
	:param only: what the paths of the benches have in them
	:param notes: gets a line for what is left out
	:return: the longest first
	:raise Problem: where a bench was asked for and is not there
	"""
	benches = find_benches(only)
	if not benches:
		if only:
			raise Problem(f"no bench with {only!r} in its path.")
		notes.append(f"lane 2: did NOT run: {HOW_TO_GET_A_BENCH}")
		return []
	with_browser, without, lives = [], [], []
	for bench in benches:
		name = f"lane 2, Frappe {bench.version} ({bench.name})"
		for db_type, database in DATABASES.items():
			what = f"{name}, {database}"
			missing = why_not(bench, db_type)
			if missing:
				notes.append(f"{what}: left out: {missing}")
				continue
			options = {"db_type": db_type, "snapshot_isolation": _snapshot_isolation(bench)}
			# The screens and a site's life depend on Frappe more than on the database: on PostgreSQL once.
			whole = db_type == "mariadb" or (db_type == "postgres" and bench is benches[-1])
			part = Part(what, functools.partial(_tests, found=bench, browser=whole, options=options))
			(with_browser if whole else without).append(part)
			if whole:
				lives.append(
					Part(f"{what}, whole life", functools.partial(_life, found=bench, options=options))
				)
	return with_browser + without + lives


def _snapshot_isolation(bench: Bench) -> bool:
	"""MariaDB behaves as the versions do that are used with this Frappe: ON is the default from 11.6.2."""
	return int(bench.version.split(".")[0]) >= 16


def _tests(counts: Counts, found: Bench, browser: bool, options: dict) -> None:
	venv_python("newest")  # the provider that the tests talk to runs in it
	counts.notes += (why for each in NODE_SERVERS if (why := install_npm_packages(each)))
	with (
		borrowed(found, **options) as bench,
		fresh_site(bench, SITE_PREFIX) as site,
		site.served() as log,
	):
		_unit_tests(counts, "unit tests", site, "--app", APP)
		if counts.failed:
			say("--- the last lines of the web server's log")
			say("\n".join(log.read_text(errors="replace").splitlines()[-30:]))
		# What the bench's Frappe tests of its own Connected App, with this app in its place: all of it passes.
		for name in ("connected_app", "token_cache"):
			module = f"frappe.integrations.doctype.{name}.test_{name}"
			_unit_tests(counts, f"core's {name}", site, "--module", module)
		if browser:
			_browser(counts, site)


def _unit_tests(counts: Counts, what: str, site: Site, *which: str) -> None:
	title(what)
	code, output = site.run("run-tests", *which, show=True, check=False)
	passed, failed, skipped = _unittest_counts(output)
	if not failed and (code or not passed):
		failed = 1
	counts.add(what, passed, failed, skipped)


def _unittest_counts(output: str) -> tuple[int, int, int]:
	"""Frappe 15 exits with 0 when tests fail, and 16 closes each category by itself: the text is what counts."""
	text = re.sub(r"\x1b\[[0-9;]*m", "", output)
	ran = sum(int(number) for number in re.findall(r"^Ran (\d+) tests? in", text, re.M))
	failed = skipped = 0
	for words in re.findall(r"^(?:OK|FAILED) \(([^)]*)\)\s*$", text, re.M):
		for key, number in re.findall(r"([a-z ]+)=(\d+)", words):
			failed += int(number) if key.strip() in ("failures", "errors", "unexpected successes") else 0
			skipped += int(number) if key.strip() == "skipped" else 0
	return max(ran - failed - skipped, 0), failed, skipped


def _browser(counts: Counts, site: Site) -> None:
	if not (shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")):
		counts.notes.append("browser: did NOT run: there is no chromium on this machine")
		return
	missing = install_npm_packages("tests/browser")
	if missing:
		counts.notes.append(missing)
		return
	title("browser")
	test = CHECKOUT / "tests" / "browser" / "test.mjs"
	command = ["node", ONE_THREAD, test, site.url, site.name, site.bench.path]
	code, output = run(command, show=True, cwd=CHECKOUT, env=site.bench.environment)
	_script(counts, "browser", code, output)


def _life(counts: Counts, found: Bench, options: dict) -> None:
	"""Installing, migrating and removing, on a site of its own."""
	with borrowed(found, **options) as bench:
		command = [venv_python("newest"), "-m", "tests.life", bench.path]
		_script(counts, "whole life", *run(command, show=True, cwd=CHECKOUT))


def _script(counts: Counts, what: str, code: int, output: str) -> None:
	"""A script's own counts, from its last line."""
	found = re.findall(r"^(\d+) passed, (\d+) failed", output, re.M)
	passed, failed = (int(number) for number in found[-1]) if found else (int(code == 0), 0)
	counts.add(what, passed, failed or int(code != 0))
