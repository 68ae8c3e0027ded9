"""python -m tests.life BENCH

Called by scripts/test with a bench that has the app. Makes a site and drops it. Ends with `N passed, N failed`.
"""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import sys
import traceback

from scripts.lib.bench import Bench
from scripts.lib.checkout import CHECKOUT
from scripts.lib.processes import exit_on_signals
from tests.life import checks
from tests.life.outside import Life
from tests.life.story import story
from tests.life.upgrade import upgrade


def changed_files() -> str:
	command = ["git", "status", "--porcelain", "connected_app"]
	return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False).stdout


def main(path: str) -> int:
	exit_on_signals()
	state = changed_files()
	for what_happens in (story, upgrade):
		with contextlib.ExitStack() as stack:
			try:
				what_happens(Life(Bench(pathlib.Path(path)), stack))
			except Exception:
				checks.check(f"the {what_happens.__name__} came to its end", False, traceback.format_exc())
	checks.same("the checkout is as it was: developer mode wrote nothing into it", state, changed_files())
	print(f"{checks.passed} passed, {checks.failed} failed")
	return int(checks.failed > 0)


if __name__ == "__main__":
	sys.exit(main(sys.argv[1]))
