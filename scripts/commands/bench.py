"""Measure speed, and print it beside what must be reached.

	scripts/bench            on a fresh site of each bench ($FRAPPE_BENCH, else each ~/frappe-bench*): first what Frappe's
	                         own Connected App does, then, on the same site, this app; without a bench, what can be had
	scripts/bench 15         only benches with "15" in their path
	scripts/bench --quick    fewer rounds
	scripts/bench --check    the exit code is 1 when a row is not reached
	scripts/bench --many [NUMBER]
	                         instead, what grows with the number of connections, among NUMBER (100,000) and a tenth of
	                         them: with a million it takes a quarter of an hour a bench

All figures of a table are from one run. It takes about three minutes a bench.
"""

import argparse
import contextlib
import json

from scripts.lib import processes
from scripts.lib.bench import HOW_TO_GET_A_BENCH, Bench, find_benches
from scripts.lib.checkout import CHECKOUT
from scripts.lib.console import Problem, say
from scripts.lib.servers import DATABASES, borrowed
from scripts.lib.site import fresh_site
from scripts.lib.virtualenvs import venv_python

SITE_PREFIX = "connected-app-bench"
PROCESSES = 32
# Milliseconds that the token endpoint takes.
DELAY = 150
# How many times faster than core's, which is slower on Frappe 15.
FASTER = {"15": 9, "16": 6}
# Less than one small object for each of 10,000 sessions.
FLAT = 2 * 2**20
MEBI = 2**20
SIZES = (10_000, 100_000)
# Connections that a job removes, and that are renewed in the background, where their cost is measured.
REMOVED, RENEWED = 2_000, 400
# Seconds that a request may take, and a transaction of a job.
LONGEST = 1
# Milliseconds that are our own part of a refresh in the background.
OWN_PART = 15
# Frappe writes the new name into all tables of the site, where the old one stands: that is not ours to make faster.
OF_FRAPPE = ("a user is renamed", "a user is merged")


class Table:
	"""What is printed, and how many targets were missed."""

	def __init__(self, title: str) -> None:
		self.lines: list[tuple[str, ...]] = [(title, "must reach", "measured", "core", "")]
		self.missed = 0

	def head(self, text: str) -> None:
		self.lines.append((text,))

	def row(self, what: str, target: str, measured: object, reached: bool, core: object = "") -> None:
		self.missed += not reached
		verdict = "reached" if reached else "NOT reached"
		self.lines.append((f"  {what}", target, str(measured), str(core), verdict))

	def left_out(self, why: str) -> None:
		self.lines.append((f"  left out: {why}",))

	def show(self) -> None:
		cells = [line for line in self.lines if len(line) > 1]
		widths = [max(len(line[at]) for line in cells) for at in range(5)]
		say()
		for line in self.lines:
			say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip())


def ms(seconds: float) -> str:
	return f"{seconds * 1000:.2f} ms"


# --- rows ------------------------------------------------------------------------------------------------

CALL = "get_cached_doc(…).get_oauth2_session(user), valid token, first in a request"
DOCUMENT = "get_doc(…).get_oauth2_session(user)"
AGAIN = "get_cached_doc(…).get_oauth2_session(user), again in that request"
GET = "one GET through a session made for it, kept-alive host"
BOUND = "one GET with a token that is bound to a key (DPoP), through a session"
STORM = f"storm: {PROCESSES} processes, one expired token, rotating refresh tokens, {DELAY} ms token endpoint"
DUE = f"finding due grants among {SIZES[1]:,}"
MEMORY = "memory of a worker"


def add_calls(table: Table, ours: dict, core: dict, faster: int) -> None:
	# Core and the app are measured a minute apart. Both are set against the same small work, taken by turns with them,
	# so that a machine that is busier in one half changes nothing.
	drift = ours["seconds"]["reference"] / core["seconds"]["reference"]
	spent, theirs = ours["seconds"], core["seconds"]

	def statements(way: str, most: int) -> None:
		number = ours["statements"][way]
		table.row(
			"SQL statements", f"≤ {most}" if most else "0", number, number <= most, core["statements"][way]
		)

	def times_faster(way: str, what: str, least: int) -> None:
		as_timed = theirs[way] / spent["cached"]
		factor = as_timed * drift
		measured = f"{factor:.1f} ({ms(spent['cached'])}; as timed {as_timed:.1f})"
		table.row(
			f"times faster than core's {what}", f"≥ {least}", measured, factor >= least, ms(theirs[way])
		)

	table.head(CALL)
	statements("cached", 2)
	times_faster("cached", "same call", 3)
	times_faster("document", DOCUMENT, faster)
	table.head(f"  ({ms(spent['unread'])} for a token that this process has not read before)")
	table.head(DOCUMENT)
	statements("document", 5)
	table.head(AGAIN)
	statements("cached again", 0)
	table.head(f"  ({ms(spent['again'])}; core {ms(theirs['again'])})")
	table.head(
		f"  (a small work of reference took {drift:.2f} times as long in our half of the run as in core's;"
	)
	table.head("  that is taken out of the ratios, save where they say: as timed)")


def add_get(table: Table, ours: dict, core: dict | None = None) -> None:
	table.head(GET)
	factor = ours["ours"] / ours["bare"]
	theirs = f"{core['ours'] / core['bare']:.2f}" if core else ""
	measured = f"{factor:.2f} ({ms(ours['ours'])})"
	table.row("times as long as by a bare requests.Session", "≤ 1.10", measured, factor <= 1.10, theirs)
	opened = ours["connections"]
	theirs = f"{core['connections']} for {core['rounds']}" if core else ""
	table.row("new TCP connections", "0", f"{opened} for {ours['rounds']}", opened == 0, theirs)


def add_bound(table: Table, found: dict) -> None:
	table.head(BOUND)
	factor = found["ours"] / found["bare"]
	measured = f"{factor:.2f} ({ms(found['ours'])})"
	table.row("times as long as a bare GET by a bare requests.Session", "≤ 1.5", measured, factor <= 1.5)


def add_storm(table: Table, ours: dict, core: dict) -> None:
	table.head(STORM)
	asked, failed = ours["token_requests"], ours["failed"]
	table.row("token requests", "1", asked, asked == 1, core["token_requests"])
	table.row("callers that failed", "0", failed, failed == 0, core["failed"])
	words = {True: "yes", False: "no"}
	works = ours["works_afterwards"]
	table.row(
		"a working refresh token afterwards", "yes", words[works], works, words[core["works_afterwards"]]
	)
	slowest = ours["slowest"]
	what = "slowest caller has its API answer, after the token endpoint's"
	table.row(what, "≤ 1 s", f"{slowest:.2f} s", slowest <= 1, f"{core['slowest']:.2f} s")


def add_due(table: Table, found: dict) -> None:
	table.head(DUE)
	plan = found["plan"]
	# MariaDB's name for reading a whole table is ALL, and for reading a whole index, index.
	indexed = bool(plan) and not any(step.split()[0] in ("ALL", "index") for step in plan)
	table.row("through an index", "yes", ", ".join(sorted(set(plan))), indexed)
	small, large = (found["sizes"][str(size)] for size in SIZES)
	factor = large["due"] / small["due"] * small["reference"] / large["reference"]
	what = f"times as long as among {SIZES[0]:,}"
	table.row(what, "≤ 1.5", f"{factor:.2f} ({ms(large['due'])})", factor <= 1.5)


def add_memory(table: Table, ours: dict, core: dict | None = None) -> None:
	table.head(MEMORY)

	def grown(found: dict) -> str:
		return f"{(found['after'] - found['before']) / MEBI:+.1f} MiB"

	what = f"more after {ours['number']:,} sessions with a GET each"
	flat = ours["after"] - ours["before"] <= FLAT
	theirs = f"{grown(core)} for {core['number']:,}" if core else ""
	table.row(what, f"≤ {FLAT // MEBI} MiB", grown(ours), flat, theirs)


# --- where they are measured -----------------------------------------------------------------------------


def on_bench(bench: Bench, python, quick: bool) -> Table:
	"""Every row, on a site that first has Frappe's own Connected App, and then this one."""
	with contextlib.ExitStack() as stack:
		own = stack.enter_context(borrowed(bench))
		provider = (python, "-m", "demo.provider", "--token-delay", DELAY)
		issuer = json.loads(stack.enter_context(processes.serving(*provider)))["issuer"]
		api = stack.enter_context(processes.serving(python, "benchmarks/api.py"))
		site = stack.enter_context(fresh_site(own, SITE_PREFIX, app=False))

		def measured(*arguments: object) -> dict:
			command = [own.python, CHECKOUT / "benchmarks" / "on_site.py", site.name, *arguments]
			# Core's sessions refuse a token endpoint without TLS otherwise; this app does not look at it.
			env = {**own.environment, "OAUTHLIB_INSECURE_TRANSPORT": "1"}
			output = printed(f"`on_site.py {arguments[0]}` on {bench.name}", command, cwd=own.sites, env=env)
			return json.loads(output.strip().splitlines()[-1])

		def half(whose: str, rounds: int, sessions: int) -> dict:
			say(f"… measuring {whose}")
			measured("connect", issuer)
			found = {"calls": measured("calls", rounds)}
			found["session"] = measured("session", api, rounds, sessions)
			found["storm"] = measured("storm", issuer, PROCESSES)
			return found

		rounds, sessions = size(quick)
		core = half("core's Connected App", rounds, sessions // 10)
		site.install()
		ours = half("this app", rounds, sessions)
		due = measured("due", rounds, *SIZES)
		bound = bound_to_key(python, api, rounds)
	table = Table(f"Frappe {bench.version} ({bench.name}, {DATABASES[bench.db_type]})")
	add_calls(table, ours["calls"], core["calls"], FASTER.get(bench.version.partition(".")[0], FASTER["16"]))
	add_get(table, ours["session"]["get"], core["session"]["get"])
	add_bound(table, bound)
	add_storm(table, ours["storm"], core["storm"])
	add_due(table, due)
	add_memory(table, ours["session"]["memory"], core["session"]["memory"])
	return table


def among_many(bench: Bench, number: int) -> Table:
	"""What finds and changes connections among `number`, on a site of its own, and what the background's jobs cost."""
	with borrowed(bench) as own, fresh_site(own, SITE_PREFIX) as site:

		def measured(*arguments: object) -> list[dict]:
			say(f"… measuring {' '.join(str(each) for each in arguments)}")
			command = [own.python, CHECKOUT / "benchmarks" / "scale.py", site.name, *arguments]
			what = f"`scale.py {arguments[0]}` on {bench.name}"
			output = printed(what, command, cwd=own.sites, env=own.environment)
			return [json.loads(line) for line in output.splitlines() if line.startswith("{")]

		found = measured("lists", number // 10, number)
		removed = measured("disable", REMOVED)
		(renewed,) = (row for row in measured("refresh", RENEWED, DELAY) if "left" in row)
	table = Table(f"Frappe {bench.version} ({bench.name}, {DATABASES[bench.db_type]})")
	table.head(f"among {number:,} connections to one app (among {number // 10:,})")
	fewer = {row["what"]: row["seconds"] for row in found if row["connections"] != number}
	for row in found:
		what, seconds = row["what"], row["seconds"]
		if row["connections"] == number:
			text = f"{seconds:.3f} s ({fewer[what]:.3f} s)"
			if what in OF_FRAPPE:
				table.head(f"  {what}: {text}, by Frappe")
			else:
				table.row(what, f"≤ {LONGEST} s", text, seconds <= LONGEST)
	table.head("the jobs")
	(job,) = (row for row in removed if row["what"] == "the job, without the provider")
	chunk = job["seconds"] * job["chunk"] / REMOVED
	table.row(
		f"{job['chunk']} connections are removed, a transaction",
		f"≤ {LONGEST} s",
		f"{chunk:.2f} s",
		chunk <= LONGEST,
	)
	table.row("connections that were not renewed", "0", renewed["left"], renewed["left"] == 0)
	part = renewed["ms of this process for each"]
	table.row("our own part of a refresh", f"≤ {OWN_PART} ms", f"{part} ms", part <= OWN_PART)
	return table


def bound_to_key(python, api: str, rounds: int) -> dict:
	return json.loads(printed("`bound.py`", [python, "benchmarks/bound.py", api, rounds], cwd=CHECKOUT))


def printed(what: str, command: list, **options: object) -> str:
	"""What a program of benchmarks/ prints."""
	code, output = processes.run(command, **options)
	if code:
		raise Problem(f"{what} failed:\n{output[-3000:]}")
	return output


def without_frappe(python, quick: bool, why: str) -> Table:
	with processes.serving(python, "benchmarks/api.py") as api:
		bound = bound_to_key(python, api, size(quick)[0])
		command = [python, "benchmarks/without_frappe.py", api, *size(quick)]
		found = json.loads(printed("`without_frappe.py`", command, cwd=CHECKOUT))
	table = Table("Without Frappe (connected_app.oauth, the grant in memory)")
	for row in (CALL, DOCUMENT, AGAIN):
		table.head(row)
		table.left_out(why)
	add_get(table, found["get"])
	add_bound(table, bound)
	for row in (STORM, DUE):
		table.head(row)
		table.left_out(why)
	add_memory(table, found["memory"])
	return table


def size(quick: bool) -> tuple[int, int]:
	"""How many rounds each figure is the median of, and how many sessions the memory row makes."""
	return (50, 1000) if quick else (300, 10_000)


def main(arguments: list[str]) -> int:
	parser = argparse.ArgumentParser(
		prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
	)
	parser.add_argument("only", nargs="?", default="", help=argparse.SUPPRESS)
	parser.add_argument("--quick", action="store_true", help=argparse.SUPPRESS)
	parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
	parser.add_argument("--many", type=int, nargs="?", const=SIZES[1], help=argparse.SUPPRESS)
	given = parser.parse_args(arguments)
	processes.exit_on_signals()
	try:
		python = venv_python("newest")
		benches = find_benches(given.only)
		if given.only and not benches:
			raise Problem(f"no bench with {given.only!r} in its path.")
		for bench in benches:
			if bench.db_type != "mariadb":
				say(
					f"{bench.name} is left out: it runs on {DATABASES[bench.db_type]}, and the targets are for MariaDB."
				)
		usable = [bench for bench in benches if bench.db_type == "mariadb"]
		if given.many and not usable:
			raise Problem(f"--many needs a Frappe bench on MariaDB. {HOW_TO_GET_A_BENCH}")
		tables = [
			among_many(bench, given.many) if given.many else on_bench(bench, python, given.quick)
			for bench in usable
		]
		if not benches:
			say(f"Without Frappe: {HOW_TO_GET_A_BENCH}")
		if not usable:
			tables = [without_frappe(python, given.quick, "it needs a Frappe bench on MariaDB")]
	except Problem as problem:
		say(f"The benchmark did not run: {problem}")
		return 2
	for table in tables:
		table.show()
	return int(given.check and any(table.missed for table in tables))
