"""Run the tests.

	scripts/test             both lanes and the checks
	scripts/test lane1       pytest without Frappe, on the oldest and on the newest libraries; then scripts/check
	scripts/test lane2       on a fresh site of each bench ($FRAPPE_BENCH, else each ~/frappe-bench*), and on one with
	                         SQLite where its Frappe has that
	scripts/test lane2 15    only benches with "15" in their path

Ends with `N passed, N failed`; the exit code is not 0 when anything failed.
"""

from scripts.lib.console import Problem, say
from scripts.lib.lane1 import lane1
from scripts.lib.lane2 import lane2
from scripts.lib.processes import exit_on_signals
from scripts.lib.summary import Summary


def main(arguments: list[str]) -> int:
	if (arguments and arguments[0] not in ("lane1", "lane2")) or len(arguments) > 2:
		say(__doc__)
		return 2
	exit_on_signals()
	summary = Summary()
	try:
		if arguments[:1] != ["lane2"]:
			lane1(summary)
		if arguments[:1] != ["lane1"]:
			lane2(summary, *arguments[1:])
	except Problem as problem:
		summary.note("stopped", str(problem), failed=True)
	summary.show()
	return 1 if summary.failed else 0
