"""Try it.

	scripts/demo                  on a Frappe bench ($FRAPPE_BENCH, else the newest ~/frappe-bench*): a demo site with
	                              a Connected App that is ready to connect; without a bench, the stand-alone page
	scripts/demo --standalone     the stand-alone page, also where there is a bench
	scripts/demo --check          drive the whole stand-alone flow by itself; exits 0 only if every step happened
	scripts/demo --check --bench  the same with a demo site on the bench
	scripts/demo --port 8765      serve at this port, so that a real provider can be given a redirect URI

Serves this machine only. Ctrl+C stops it, and takes away all that it made but `.venvs/`.
"""

import argparse
import contextlib
import json

from scripts.lib import processes
from scripts.lib.bench import HOW_TO_GET_A_BENCH, find_benches
from scripts.lib.checkout import CHECKOUT
from scripts.lib.console import Problem, say
from scripts.lib.servers import DATABASES, borrowed
from scripts.lib.site import fresh_site
from scripts.lib.virtualenvs import venv_python

SITE_PREFIX = "connected-app-demo"


def standalone(python, port: int) -> int:
	return run_until_stopped([python, "-m", "demo.app", "--port", port])


def check(python, *arguments: str) -> int:
	return run_until_stopped([python, "-m", "demo.check", *arguments])


def run_until_stopped(command) -> int:
	"""Run a command until it ends or this script is stopped."""
	# In a group of its own, so that Ctrl+C reaches this script only, which then ends the group in order.
	process = processes.start(command, cwd=CHECKOUT, env=processes.environment())
	try:
		return process.wait()
	finally:
		processes.stop(process)


@contextlib.contextmanager
def provider(python):
	"""The demo's provider; gives its issuer and metadata address."""
	with processes.serving(python, "-m", "demo.provider") as line:
		issuer = json.loads(line)["issuer"]
		yield issuer, issuer + "/.well-known/openid-configuration"


@contextlib.contextmanager
def mcp_server(python):
	"""A server to connect to by its address; gives that. Empty where its library is missing: it needs Python 3.11."""
	if processes.run([python, "-c", "import mcp"])[0]:
		yield ""
		return
	with processes.serving(python, "-m", "demo.mcp_server") as line:
		yield json.loads(line)["resource"]


def on_bench(bench, python, port: int, checking: bool) -> int:
	say(
		f"… a demo site on {bench.name} (Frappe {bench.version}, {DATABASES[bench.db_type]}); this takes a minute"
	)
	with borrowed(bench) as own, provider(python) as (issuer, discovery_url):
		with fresh_site(own, SITE_PREFIX, port) as site:
			name = create_connected_app(site, discovery_url)
			with site.served(), mcp_server(python) as address:
				if checking:
					return check(
						python, "--site", site.url, name, issuer, *(["--mcp", address] if address else [])
					)
				check(python, "--states", site.url, issuer)
				say()
				say(f"Connected App:  {site.url}/app/connected-app/{name}")
				say(f"Log in:         {site.url}/login  as Administrator, password admin")
				say(f"Demo provider:  {issuer} (accounts: alice, bob; no passwords)")
				if address:
					say(f"MCP server:     {address} (its address is all that Connect by Address needs:")
					say(f"                {site.url}/app/connections-gallery)")
				say(
					f"My Connections: {site.url}/my-connections  also as visitor@example.com, password visitor"
				)
				say("Press Connect on the Connected App. Ctrl+C here stops everything and drops the site.")
				return wait_until_stopped()


def create_connected_app(site, discovery_url: str) -> str:
	bench = site.bench
	command = [bench.python, "-m", "demo.frappe_site", site.name, discovery_url]
	code, output = processes.run(command, cwd=bench.sites, env=bench.environment)
	if code:
		raise Problem(f"the Connected App could not be created:\n{output[-3000:]}")
	return output.strip().splitlines()[-1]


def wait_until_stopped() -> int:
	try:
		while True:
			processes.wait_for(lambda: False, 3600)
	finally:
		say("\n… stopping, and dropping the site")
		processes.ignore_signals()


def newest_bench():
	"""The one whose Frappe is newest, or None."""
	return max(
		find_benches(),
		key=lambda bench: [int(part) for part in bench.version.split("-")[0].split(".") if part.isdigit()],
		default=None,
	)


def main(arguments: list[str]) -> int:
	parser = argparse.ArgumentParser(
		prog="scripts/demo",
		description=__doc__,
		formatter_class=argparse.RawDescriptionHelpFormatter,
		usage="%(prog)s [options]",
	)
	parser.add_argument("--standalone", action="store_true", help=argparse.SUPPRESS)
	parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
	parser.add_argument("--bench", action="store_true", help=argparse.SUPPRESS)
	parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
	given = parser.parse_args(arguments)
	if given.bench and given.standalone:
		parser.error("--bench and --standalone exclude each other")

	processes.exit_on_signals()
	try:
		bench = None
		if not given.standalone and (given.bench or not given.check):
			bench = newest_bench()
			if bench is None and given.bench:
				raise Problem(HOW_TO_GET_A_BENCH)
		python = venv_python("newest")
		if bench:
			return on_bench(bench, python, given.port, given.check)
		if given.check:
			return check(python)
		if not given.standalone:
			say(f"Without Frappe: {HOW_TO_GET_A_BENCH} Here is the stand-alone page instead.")
		return standalone(python, given.port)
	except Problem as problem:
		say(f"The demo did not run: {problem}")
		return 1
