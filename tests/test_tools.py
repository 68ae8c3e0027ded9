from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from scripts.lib import release
from scripts.lib.bench import Bench, beside
from scripts.lib.console import Problem
from scripts.lib.failures import failures

ROOT = Path(__file__).resolve().parents[1]
# What scripts/demo does on a bench, without the bench: something that runs to its end first, then waiting.
WAITING = """
import sys
from scripts.commands import demo
from scripts.lib.processes import exit_on_signals
exit_on_signals()
assert demo.run_until_stopped([sys.executable, "-c", ""]) == 0
print("waiting", flush=True)
demo.wait_until_stopped()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_can_be_stopped(number: signal.Signals) -> None:
	command = [sys.executable, "-B", "-c", WAITING]
	with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
		try:
			assert process.stdout and process.stdout.readline() == "waiting\n"
			process.send_signal(number)
			assert process.wait(600) == 128 + number
		finally:
			process.kill()


@pytest.mark.parametrize("name", ["demo", "test", "check", "bench"])
def test_help_is_no_mistake(name: str) -> None:
	for argument, code in (("--help", 0), ("--frobnicate", 2)):
		command = [sys.executable, f"scripts/{name}", argument]
		assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == code


def test_a_bench_is_shared_and_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
	"""Apps, Python and built assets are the bench's own; the checkout takes the place of another copy of the app."""
	# What other runs have left on this machine is no matter of this test.
	(tmp_path / "temporary").mkdir()
	monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
	bench = Bench(tmp_path / "bench")
	for folder in (
		"apps/frappe",
		"apps/connected_app",
		"apps/other",
		"env/bin",
		"config",
		"sites/assets/frappe",
	):
		(bench.path / folder).mkdir(parents=True)
	(bench.sites / "apps.txt").write_text("frappe\nconnected_app\nother")
	(bench.sites / "common_site_config.json").write_text('{"db_type": "postgres", "db_port": 1}')
	before = sorted(bench.path.rglob("*"))
	with beside(bench, db_port=2) as own:
		assert (own.path / "apps" / "connected_app").resolve() == ROOT
		assert (own.path / "apps" / "other").resolve() == bench.path / "apps" / "other"
		assert (own.sites / "apps.txt").read_text().split() == ["frappe", "other", "connected_app"]
		assert own.config == {"db_type": "postgres", "db_port": 2}
		(own.sites / "new").mkdir()
	assert not own.path.exists()
	assert sorted(bench.path.rglob("*")) == before


def test_what_a_killed_run_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
	"""A folder whose process is gone is removed; one that is in use stays."""
	monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
	ended = subprocess.Popen([sys.executable, "-c", ""])
	ended.wait()
	gone, used = (tmp_path / f"connected-app-bench-{pid}-x" for pid in (ended.pid, os.getpid()))
	for folder in (gone, used):
		(folder / "sites").mkdir(parents=True)
	bench = Bench(tmp_path / "bench")
	for folder in ("apps", "sites/assets"):
		(bench.path / folder).mkdir(parents=True)
	(bench.sites / "apps.txt").touch()
	with beside(bench):
		assert not gone.exists() and used.exists()


CHANGELOG = f"# Changelog\n\n## Unreleased\n\n## {release.version()} - 2026-01-01\n\n### Fixed\n\n- It.\n\n## 0.0.1\n\n- Old.\n"


def test_the_notes_of_a_release() -> None:
	"""They are the section of that version, and nothing is released under another name, or without."""
	tag = f"v{release.version()}"
	assert release.notes(tag, CHANGELOG) == "### Fixed\n\n- It."
	with pytest.raises(Problem, match=r"the app's version is"):
		release.notes("v0.0.1", CHANGELOG)
	with pytest.raises(Problem, match="says nothing"):
		release.notes(tag, "## Unreleased\n\n- It.\n")


PARTS = """
import os, re, signal, time, types
from scripts.lib import parts
from scripts.lib.parts import Part, run_parts
parts.LOGS, parts.LONGEST = parts.pathlib.Path(os.sys.argv[1]) / "logs", 1
# A second has passed when the three others have ended, however long they take.
ended = []
def say(text=""):
	ended.extend(re.findall("^(?:ok|FAILED)  .*: ", text))
	print(text, flush=True)
parts.say, parts.time = say, types.SimpleNamespace(monotonic=lambda: len(ended) // 3)
work = {
	"hangs": lambda counts: time.sleep(600),
	"is killed": lambda counts: os.kill(os.getpid(), signal.SIGKILL),
	"works": lambda counts: counts.add("checks", 3, 0),
	"finds something": lambda counts: (print("FAILED  a check"), counts.add("checks", 3, 1)),
}
for name, counts in run_parts([Part(*each) for each in work.items()], at_once=4).items():
	print(name, counts.passed, counts.failed, *counts.failures, sep=";")
"""


UNITTEST = f"""
   \x1b[32m ✔ \x1b[0m test_what_works
{"=" * 70}
FAIL: test_sum (app.tests.test_sums.TestSums.test_sum)
What a sum is.
{"-" * 70}
Traceback (most recent call last):
  File "test_sums.py", line 3, in test_sum
AssertionError: 3 != 4
500
{"=" * 70}
 ERROR  test_name (app.tests.test_sums.TestSums)
{"-" * 70}
Traceback (most recent call last):
    self = <TestSums>
sqlite3.OperationalError: database is locked

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
frappe.exceptions.QueryDeadlockError: database is locked

{"-" * 70}
Ran 3 tests in 0.1s

FAILED (failures=1, errors=1)
OK
"""


@pytest.mark.parametrize(
	("output", "found"),
	[
		(
			UNITTEST,
			[
				"app.tests.test_sums.TestSums.test_sum: AssertionError: 3 != 4",
				"app.tests.test_sums.TestSums.test_name: frappe.exceptions.QueryDeadlockError: database is locked",
			],
		),
		(
			"FAILED tests/test_sums.py::test_sum[1] - AssertionError: 3\n1 failed, 2 passed",
			["tests/test_sums.py::test_sum[1] - AssertionError: 3"],
		),
		(
			"ok      it fits\nFAILED  it is read: 3\n  FAILED  a row\n1 passed, 2 failed",
			["it is read: 3", "a row"],
		),
		("FAILED  " + "x" * 300, ["x" * 239 + "…"]),
		("12 passed, 0 failed\nOK\n", []),
	],
)
def test_what_failed(output: str, found: list[str]) -> None:
	assert failures(output) == found


def test_a_part_that_hangs_or_is_killed(tmp_path: Path) -> None:
	command = [sys.executable, "-B", "-c", PARTS, str(tmp_path)]
	output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=True).stdout
	assert {"hangs;0;1", "is killed;0;1", "works;3;0", "finds something;3;1;a check"} <= set(
		output.splitlines()
	), output
	assert "hangs: 1 FAILED; it was ended after 0:01" in output
