"""Lane 2: on a fresh site of each bench, over HTTP, with a browser; and the whole life of a site."""

from __future__ import annotations

import contextlib
import re
import shutil

from scripts.lib.bench import HOW_TO_GET_A_BENCH, Bench, find_benches
from scripts.lib.checkout import APP, CHECKOUT
from scripts.lib.console import Problem, say, title
from scripts.lib.processes import run
from scripts.lib.servers import DATABASES, borrowed
from scripts.lib.site import Site, fresh_site
from scripts.lib.summary import Summary
from scripts.lib.virtualenvs import prepare_certified_provider, venv_python

SITE_PREFIX = "connected-app-test"


def lane2(summary: Summary, only: str = "") -> None:
	benches = find_benches(only)
	if not benches:
		text = f"no bench with {only!r} in its path." if only else HOW_TO_GET_A_BENCH
		# Asked for by name, a bench that is not there is a mistake; otherwise a plain fact.
		summary.note("lane 2", f"did NOT run: {text}", failed=bool(only))
		return
	try:
		venv_python("newest")  # the provider that the tests talk to runs in it
	except Problem as problem:
		summary.note("lane 2", f"did NOT run: {problem}", failed=True)
		return
	missing = prepare_certified_provider()
	if missing:
		summary.note("lane 2", missing)
	for bench in benches:
		kinds = [bench.db_type]
		if bench.db_type != "sqlite" and bench.has_sqlite():
			kinds.append("sqlite")
		for kind in kinds:
			_one_database(summary, bench, kind)


def _one_database(summary: Summary, bench: Bench, kind: str) -> None:
	what = f"lane 2 on Frappe {bench.version} ({bench.name}, {DATABASES.get(kind, kind)})"
	title(what)
	try:
		_on_bench(summary, what, bench, db_type=kind)
	except Problem as problem:
		say(f"! {problem}")
		summary.note(what, f"FAILED: {problem}", failed=True)


def _on_bench(summary: Summary, what: str, found: Bench, **config: str) -> None:
	with contextlib.ExitStack() as stack:
		bench = stack.enter_context(borrowed(found, **config))
		site = stack.enter_context(fresh_site(bench, SITE_PREFIX))
		log = stack.enter_context(site.served())
		code, output = site.run("run-tests", "--app", APP, show=True, check=False)
		passed, failed, skipped = _unittest_counts(output)
		if not failed and (code or not re.search(r"^Ran \d+ test", output, re.M)):
			failed = 1
		summary.add(what, passed, failed, skipped)
		if failed:
			say("--- the last lines of the web server's log")
			say("\n".join(log.read_text(errors="replace").splitlines()[-30:]))
		_cores_tests(summary, what, site)
		if bench.db_type == "sqlite":
			# What the browser shows, and the life of a site, do not depend on the database.
			return
		_browser(summary, what, site)
		_life(summary, what, bench)


def _cores_tests(summary: Summary, what: str, site: Site) -> None:
	"""What the bench's Frappe tests of its own Connected App, with this app in its place: all of it passes."""
	title(f"{what}, core's own tests")
	total = [0, 0, 0]
	for name in ("connected_app", "token_cache"):
		module = f"frappe.integrations.doctype.{name}.test_{name}"
		_code, output = site.run("run-tests", "--module", module, show=True, check=False)
		passed, failed, skipped = _unittest_counts(output)
		if not passed and not failed:
			# Such as a module that this Frappe has elsewhere.
			failed = 1
		total = [sum(pair) for pair in zip(total, (passed, failed, skipped), strict=True)]
	summary.add(f"{what}, core's own tests", *total)


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


def _browser(summary: Summary, what: str, site: Site) -> None:
	if not (shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")):
		summary.note(f"{what}, browser", "did NOT run: there is no chromium on this machine")
		return
	if not shutil.which("node") or not shutil.which("npm"):
		summary.note(f"{what}, browser", "did NOT run: there is no Node.js with npm on this machine")
		return
	title(f"{what}, browser")
	command = [CHECKOUT / "tests" / "browser" / "run.sh", site.url, site.name, site.bench.path]
	code, output = run(command, show=True, cwd=CHECKOUT, env=site.bench.environment)
	_script(summary, f"{what}, browser", code, output)


def _life(summary: Summary, what: str, bench: Bench) -> None:
	"""Installing, migrating and removing, on a site of its own."""
	title(f"{what}, the whole life")
	command = [venv_python("newest"), "-m", "tests.life", bench.path]
	code, output = run(command, show=True, cwd=CHECKOUT)
	_script(summary, f"{what}, the whole life", code, output)


def _script(summary: Summary, what: str, code: int, output: str) -> None:
	"""A script's own counts, from its last line."""
	counts = re.findall(r"^(\d+) passed, (\d+) failed", output, re.M)
	passed, failed = map(int, counts[-1]) if counts else (int(code == 0), 0)
	summary.add(what, passed, failed or int(code != 0))
