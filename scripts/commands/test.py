"""Run the tests.

	scripts/test             both lanes and the checks
	scripts/test lane1       pytest without Frappe, on the oldest and on the newest libraries
	scripts/test lane2       on fresh sites of each bench ($FRAPPE_BENCH, else each ~/frappe-bench*), with each database
	                         that this machine has; with a browser; and the whole life of a site
	scripts/test lane2 15    only benches with "15" in their path
	scripts/test checks      scripts/check

Parts of it run side by side, one more than there are processors, since each waits at times. The output of each is in
test-logs/; what is printed is what each came to, the output of those that failed, and at the end a line for each check
that failed. Ends with `N passed, N failed`; the exit code is not 0 when anything failed.
"""

import os

from scripts.lib import lane1
from scripts.lib.console import Problem, say
from scripts.lib.lane2 import lane2
from scripts.lib.parts import Counts, run_parts
from scripts.lib.processes import exit_on_signals

LANES = ("lane1", "lane2", "checks")


def main(arguments: list[str]) -> int:
	if arguments in (["--help"], ["-h"]):
		say(__doc__)
		return 0
	if (arguments and arguments[0] not in LANES) or len(arguments) > 2:
		say(__doc__)
		return 2
	exit_on_signals()
	wanted = arguments[:1] or LANES
	parts, notes = [], []
	results: dict[str, Counts] = {}
	try:
		# The longest first.
		parts += lane2((arguments[1:] or [""])[0], notes) if "lane2" in wanted else []
		parts += lane1.lane1() if "lane1" in wanted else []
		parts += lane1.checks() if "checks" in wanted else []
		results = run_parts(parts, at_once=(os.cpu_count() or 1) + 1)
	except Problem as problem:
		results["stopped"] = Counts(failed=1, notes=[str(problem)])
	say()
	say("Summary")
	for line in [*notes, *(f"{name}: {counts}" for name, counts in results.items())]:
		say(f"  {line}")
	for name, counts in results.items():
		if counts.failures:
			say(f"What failed in {name}")
			say("\n".join(f"  {line}" for line in counts.failures))
	passed, failed = (
		sum(getattr(counts, what) for counts in results.values()) for what in ("passed", "failed")
	)
	say(f"{passed} passed, {failed} failed")
	return 1 if failed else 0
