"""What the tests of this lane share: browsers that are logged in to the running site, and providers to connect to.

The web server is started by `scripts/test`; what a test stores here it commits, since other processes must see it.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import importlib.util
import json
import os
import pathlib
import re
import select
import signal
import subprocess
import sys
import threading
import types
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import frappe
import frappe.client
import requests
from frappe.installer import update_site_config
from frappe.utils.background_jobs import get_queue
from frappe.utils.safe_exec import SAFE_EXEC_CONFIG_KEY

from connected_app.oauth.templates import Template
from connected_app.site import settings, templates
from connected_app.site.database import see_latest
from connected_app.tests.processes import Processes

REPO = os.environ.get("CONNECTED_APP_REPO", "")
PYTHON = os.environ.get("CONNECTED_APP_TEST_PYTHON", "")
needs_providers = unittest.skipUnless(
	REPO and PYTHON, "the providers run in the checkout's own virtualenv: use ./scripts/test lane2"
)
CORE = "frappe.integrations.doctype.connected_app.connected_app."
SCOPES = ("openid", "email", "profile", "offline_access", "read")
PASSWORD = "correct-horse-battery"
# Seconds, for a machine that is busy with other things.
PATIENCE = 120
NO_TRANSACTION = "Frappe begins a request without a transaction, so that the passwords are gone at once"
ALICE, MALLORY, VISITOR = "alice@site.example", "mallory@site.example", "visitor@site.example"


class Browser(requests.Session):
	"""A logged-in browser session on the site under test."""

	def __init__(self, user: str = "", password: str = PASSWORD) -> None:
		super().__init__()
		self.base = frappe.utils.get_url()
		# The web server closes a connection that has been idle for two seconds, maybe just when the next request is sent.
		self.headers["Connection"] = "close"
		if user:
			self.post(f"{self.base}/api/method/login", data={"usr": user, "pwd": password}).raise_for_status()
			# Of the pages with the token, the one that also keeps it where the cache is emptied.
			self.open("/app")

	def open(self, path: str) -> requests.Response:
		"""Open a page, and take the session's CSRF token from it, as the page's own scripts do."""
		page = self.get(self.base + path)
		if found := re.search(r"csrf_token\s*=\s*['\"]([0-9a-f]{20,})", page.text):
			self.headers["X-Frappe-CSRF-Token"] = found.group(1)
		return page

	def call(self, method: str, http: str = "POST", **args: Any) -> requests.Response:
		"""Call one of our endpoints, or a full dotted path."""
		path = method if method.startswith("frappe.") else f"connected_app.api.{method}"
		url = f"{self.base}/api/method/{path}"
		kwargs: dict[str, Any] = {"params": args} if http == "GET" else {"data": args}
		return self.request(http, url, headers={"Accept": "application/json"}, **kwargs)

	def ask(self, method: str, http: str = "POST", **args: Any) -> Any:
		answer = self.call(method, http, **args)
		assert answer.status_code == 200, f"{method}: HTTP {answer.status_code}: {answer.text[:500]}"
		return answer.json().get("message")

	def ask_who(self) -> str:
		answer = self.call("frappe.auth.get_logged_user", "GET")
		return answer.json().get("message", "") if answer.ok else ""

	def visit(self, url: str) -> requests.Response:
		return self.get(url, allow_redirects=False)


_logged_in: dict[str, Browser] = {}


def logged_in(user: str, password: str = PASSWORD) -> Browser:
	"""A browser in which `user` has logged in already: building Desk costs more than most tests."""
	browser = _logged_in.get(user)
	if not browser or browser.ask_who() != user:
		browser = _logged_in[user] = Browser(user, password)
	return browser


# Providers to fork: what they import takes longer than they live in many tests.
PROVIDERS = """
import json
import os
import signal
import sys
import traceback
from demo import provider

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
	if not os.fork():
		try:
			provider.main(json.loads(line))
		except BaseException as error:
			if not isinstance(error, SystemExit) or error.code:
				traceback.print_exc()
				print(flush=True)  # so that nobody waits for it
			os._exit(0)
"""


@functools.cache
def providers() -> subprocess.Popen[str]:
	"""The process that providers are forked from; it ends when this one does."""
	clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
	command = [PYTHON, "-c", PROVIDERS]
	process = subprocess.Popen(
		command, cwd=REPO, env=clean, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
	)

	@atexit.register
	def end() -> None:
		process.stdin.close()
		process.wait()

	return process


class Provider:
	"""The Authlib provider of `demo/provider.py`, in a process of its own."""

	def __init__(self, *options: str) -> None:
		process = providers()
		print(json.dumps(options), file=process.stdin, flush=True)
		ready = json.loads(process.stdout.readline())
		self.issuer, self.pid = ready["issuer"], ready["pid"]

	def consent(self, url: str, allow: bool = True, account: str = "alice", scopes: Any = None) -> str:
		"""Answer the consent page; returns where the browser is sent."""
		form: dict[str, Any] = {"account": account, "decision": "allow" if allow else "deny"}
		if scopes is not None:
			form["granted"] = ["", *scopes]
		answer = requests.post(url, data=form, allow_redirects=False, timeout=30)
		answer.raise_for_status()
		return answer.headers["Location"]

	def enter(self, user_code: str, account: str = "alice", allow: bool = True) -> None:
		"""Enter the code of *Connect with a Code*, and answer."""
		form = {"user_code": user_code, "account": account, "decision": "allow" if allow else "deny"}
		requests.post(f"{self.issuer}/device", data=form, timeout=30).raise_for_status()

	def stats(self) -> dict[str, Any]:
		return requests.get(f"{self.issuer}/_stats", timeout=30).json()

	def command(self, name: str) -> None:
		requests.post(f"{self.issuer}/_{name}", timeout=30).raise_for_status()

	def stop(self) -> None:
		ended = os.pidfd_open(self.pid)
		try:
			signal.pidfd_send_signal(ended, signal.SIGTERM)
			assert select.select([ended], [], [], PATIENCE)[0], "the provider goes on"
		finally:
			os.close(ended)


@contextmanager
def provider(*options: str) -> Iterator[Provider]:
	running = Provider(*options)
	try:
		yield running
	finally:
		running.stop()


@contextmanager
def server(module: str, issuer: str) -> Iterator[dict[str, Any]]:
	"""What a server of the checkout's tests says of itself: it takes tokens of `issuer` only."""
	clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
	command = [PYTHON, "-m", f"tests.{module}", issuer]
	with subprocess.Popen(command, cwd=REPO, env=clean, stdout=subprocess.PIPE, text=True) as process:
		try:
			said = json.loads(process.stdout.readline())
			if "missing" in said:
				raise unittest.SkipTest(f"{module} needs what cannot be had: {said['missing']}")
			yield said
		finally:
			process.terminate()


def of_checkout(name: str) -> Any:
	"""A module of the checkout's own tests, by a name that no other app's tests have."""
	package = "connected_app_counterparts"
	if package not in sys.modules:
		folder = pathlib.Path(REPO) / "tests"
		spec = importlib.util.spec_from_file_location(
			package, folder / "__init__.py", submodule_search_locations=[str(folder)]
		)
		sys.modules[package] = importlib.util.module_from_spec(spec)
	return importlib.import_module(f"{package}.{name}")


def certified() -> Any:
	"""The module that runs npm's certified provider."""
	return of_checkout("certified")


def mcp_sdk() -> Any:
	"""The module that runs a server of npm's MCP SDK."""
	return of_checkout("mcp_sdk")


def hostile() -> Any:
	"""The module of the provider that answers whatever a test scripts."""
	path = pathlib.Path(REPO) / "tests" / "hostile.py"
	spec = importlib.util.spec_from_file_location("hostile_provider", path)
	module = importlib.util.module_from_spec(spec)
	sys.modules["hostile_provider"] = module
	spec.loader.exec_module(module)
	return module


@contextmanager
def library(name: str) -> Iterator[Any]:
	"""A module of a library that the bench does not have: that of the checkout's own virtualenv. What the bench has comes
	first."""
	where = [PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
	path = subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip()
	sys.path.append(path)
	try:
		yield importlib.import_module(name)
	except ImportError as error:
		raise unittest.SkipTest(f"{name} cannot be had beside this bench: {error}") from error
	finally:
		sys.path.remove(path)


@functools.cache
def processes() -> Processes:
	"""It ends when this process does."""
	forks = Processes(sys.executable, os.path.abspath(frappe.local.sites_path))
	atexit.register(forks.close)
	return forks


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
	"""What Python does with these arguments in a new process of the bench."""
	return processes().run(*arguments, stdin=stdin)


def bench(*arguments: str, stdin: str = "", site: str = "") -> subprocess.CompletedProcess[str]:
	"""Run a command of `bench` on this site, or another."""
	where = ("frappe", "--site", site or frappe.local.site)
	return run("-m", "frappe.utils.bench_helper", *where, *arguments, stdin=stdin)


# One process of the bench, as a background worker is: it says when it is ready, and goes on when it is told to.
WORKERS = """
import json
import multiprocessing
import sys
import frappe
from connected_app.connections.doctype.connected_app import connected_app

site, name, expression, users = sys.argv[1:]
users = json.loads(users)
fork = multiprocessing.get_context("fork")
together = fork.Barrier(len(users))

def work(user, answer):
	frappe.init(site)
	frappe.connect()
	app = frappe.get_doc("Connected App", name)
	frappe.db.get_value("Token Cache", {"user": user}, "expires_at")  # the transaction's snapshot is older than the refresh
	globals().update(app=app, user=user)  # for functions within the expression
	together.wait(150)
	try:
		answer.send(f"gave {eval(expression)}")
	except Exception as error:
		answer.send(f"error {error!r}")
	frappe.destroy()

answers = []
for user in users:
	ours, theirs = fork.Pipe(duplex=False)
	fork.Process(target=work, args=(user, theirs)).start()
	theirs.close()
	answers.append(ours)
print(json.dumps([answer.recv() for answer in answers]))
"""


def in_processes(number: int, expression: str, app: Any, *users: str) -> list[str]:
	"""What `number` processes, each with a transaction that is open already, get at the same moment.

	They are forked before they connect, as a web server's workers are that has loaded the site's code.

	:param users: for whom, in turn; Alice by default
	"""
	users = users or (ALICE,)
	whose = json.dumps([users[index % len(users)] for index in range(number)])
	done = run("-c", WORKERS, frappe.local.site, app.name, expression, whose)
	assert not done.returncode, done.stderr
	# On PostgreSQL Frappe prints statements that fail, also those that may.
	return json.loads(done.stdout.splitlines()[-1])


def work(before: str = "") -> None:
	"""What a worker of the bench does, until its queue is empty.

	:param before: code that it runs first
	"""
	code = f"""
import frappe
from frappe.utils import background_jobs
{before}
background_jobs.start_worker(queue="short", burst=True, quiet=True)
"""
	done = run("-c", code)
	assert not done.returncode, done.stderr


def make_user(email: str, *roles: str, user_type: str = "System User") -> str:
	"""Where there is one already, it is enabled, and has the roles: a test that failed may have left another state."""
	enabled = frappe.db.get_value("User", email, "enabled")
	if enabled is not None:
		has = frappe.get_all("Has Role", {"parenttype": "User", "parent": email}, pluck="role")
		if not enabled or {*roles} - {*has}:
			user = frappe.get_doc("User", email)
			user.enabled = 1
			user.append_roles(*roles)
			user.save(ignore_permissions=True)
	else:
		# As in `make_app`.
		see_latest()
		user = frappe.get_doc(
			{
				"doctype": "User",
				"email": email,
				"first_name": email.split("@")[0],
				"send_welcome_email": 0,
				"enabled": 1,
				"user_type": user_type,
				"new_password": PASSWORD,
				"roles": [{"role": role} for role in roles],
			}
		)
		user.flags.no_welcome_mail = True
		# Frappe 15 empties the caches of all for each user; 16 only for one with mailboxes.
		with patch("frappe.core.doctype.user.user.ask_pass_update"):
			user.insert(ignore_permissions=True)
	frappe.db.commit()
	return email


def make_app(issuer: str = "", **values: Any) -> Any:
	"""A Connected App as an admin fills it in, with the endpoints of the Authlib provider."""
	endpoints = {}
	if issuer:
		endpoints = {
			"openid_configuration": f"{issuer}/.well-known/openid-configuration",
			"issuer": issuer,
			"authorization_uri": f"{issuer}/authorize",
			"token_uri": f"{issuer}/token",
			"revocation_uri": f"{issuer}/revoke",
			"userinfo_uri": f"{issuer}/userinfo",
			"jwks_uri": f"{issuer}/jwks",
			"device_authorization_uri": f"{issuer}/device_authorization",
			"client_id": "demo",
			"client_secret": "demo-secret",
			"scopes": [{"scope": scope} for scope in SCOPES],
		}
	# What the test has read by now is over: the web server may have written since.
	see_latest()
	app = frappe.get_doc({"doctype": "Connected App", "provider_name": "Demo", **endpoints, **values})
	app.insert(ignore_permissions=True)
	frappe.db.commit()
	return app


@contextmanager
def known(*given: Template) -> Iterator[None]:
	"""These provider templates, and no others."""

	def clear() -> None:
		templates._quirks.cache_clear()
		settings._for_session.cache_clear()

	clear()
	try:
		with patch.object(templates, "_loaded", lambda _folders: {each.key: each for each in given}):
			yield
	finally:
		clear()


def row(app: Any, user: str) -> Any:
	"""The Token Cache as it is now, whatever this process has read before."""
	frappe.db.rollback()
	forget()
	return app.get_token_cache(user)


def forget() -> None:
	"""As at the start of a request."""
	frappe.local.connected_app_grants = {}


def add_field(cleanup: Callable[..., Any], doctype: str, fieldname: str, **values: Any) -> None:
	"""A field that the site adds to a DocType, until the test is over.

	:param cleanup: `addCleanup` of the test, or `addClassCleanup`
	"""
	# First: Frappe commits in the middle of inserting a field, and one that stays is in every later test.
	cleanup(_remove_field, doctype, fieldname)
	field = {"dt": doctype, "fieldname": fieldname, "label": frappe.unscrub(fieldname), **values}
	frappe.get_doc({"doctype": "Custom Field", **field}).insert()
	frappe.db.commit()


def _remove_field(doctype: str, fieldname: str) -> None:
	"""Whatever state the test has left the transaction in."""
	frappe.db.rollback()
	frappe.db.delete("Custom Field", {"dt": doctype, "fieldname": fieldname})
	_end_left_transactions()
	frappe.db.commit()
	frappe.clear_cache(doctype=doctype)


# The connections of this site's user, but for the one that asks.
_END_OTHERS = {
	"mariadb": """select concat('kill ', id) from information_schema.processlist
		where user = substring_index(user(), '@', 1) and id <> connection_id() and command = 'Sleep'""",
	"postgres": """select concat('select pg_terminate_backend(', pid, ')') from pg_stat_activity
		where usename = current_user and pid <> pg_backend_pid() and state = 'idle in transaction'""",
}


def _end_left_transactions() -> None:
	"""Where a formula is refused, Frappe evaluates it again to report that, and then closes nothing: what the request
	has read stays locked until the same thread of the web server has another request, and no column can be added."""
	ends = (
		frappe.db.sql(_END_OTHERS[frappe.db.db_type], pluck=True) if frappe.db.db_type in _END_OTHERS else []
	)
	for end in ends:
		frappe.db.sql(end)


def start_over() -> None:
	"""As a new job begins, whatever a test that failed has left: another user, a request, an open transaction."""
	frappe.db.rollback()
	frappe.set_user("Administrator")
	frappe.local.request = None
	forget()


def in_a_new_job(work: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
	"""For what tidies up: as Administrator, in a transaction of its own, which is committed."""
	start_over()
	work(*args, **kwargs)
	frappe.db.commit()


@contextmanager
def other_app(source: str, **names: Any) -> Iterator[Any]:
	"""A module of another installed app, which is imported first.

	:param names: what stands in it already
	"""
	module = types.ModuleType("somebodys_app.hooks_of_theirs")
	vars(module).update(names)
	sys.modules[module.__name__] = module
	apps = [*frappe.get_installed_apps(), "somebodys_app"]
	original, frappe.get_installed_apps = frappe.get_installed_apps, lambda *args, **kwargs: apps
	known, frappe.local.app_modules = frappe.local.app_modules, {**frappe.local.app_modules, apps[-1]: []}
	try:
		exec(compile(source, "/apps/somebodys_app/somebodys_app/hooks_of_theirs.py", "exec"), vars(module))
		yield module
	finally:
		frappe.get_installed_apps, frappe.local.app_modules = original, known
		del sys.modules[module.__name__]


@contextmanager
def server_scripts() -> Iterator[None]:
	"""They are switched on, which can be done for a whole bench only."""
	path = os.path.join(frappe.local.sites_path, "common_site_config.json")
	before = frappe.get_common_site_config().get(SAFE_EXEC_CONFIG_KEY, "None")
	try:
		update_site_config(SAFE_EXEC_CONFIG_KEY, 1, site_config_path=path)
		yield
	finally:
		update_site_config(SAFE_EXEC_CONFIG_KEY, before, site_config_path=path)
		if before == "None":
			# Frappe has taken it out of the file, and keeps the word.
			del frappe.local.conf[SAFE_EXEC_CONFIG_KEY]


def frappes_own(source: str) -> Any:
	"""The function that `source` defines, as if it stood in a module of Frappe's."""
	defined: dict[str, Any] = {}
	exec(compile(source, frappe.client.__file__, "exec"), vars(frappe.client), defined)
	return defined.popitem()[1]


def long_jobs(end: str) -> list[Any]:
	"""The jobs that wait in the long queue, with IDs that end so."""
	queue = get_queue("long")
	found = [queue.fetch_job(job_id) for job_id in queue.job_ids if job_id.endswith(end)]
	return [job for job in found if job]


def delete_long_jobs(end: str) -> None:
	for job in long_jobs(end):
		job.delete()


def forget_revocations() -> None:
	"""Nothing of any app waits to be revoked, for tests that look at all that does."""
	frappe.db.delete("Pending Revocation")
	frappe.db.delete("__Auth", {"doctype": "Pending Revocation"})


class AtWork:
	"""Counts the threads that are in its body.

	:param peak: the most at the same time
	"""

	def __init__(self) -> None:
		self.peak = self._now = 0
		self._changed = threading.Condition()

	def __enter__(self) -> None:
		with self._changed:
			self._now += 1
			self.peak = max(self.peak, self._now)
			self._changed.notify_all()

	def __exit__(self, *_error: object) -> None:
		with self._changed:
			self._now -= 1

	def wait_for(self, number: int) -> None:
		"""Wait until so many have been in it at once: how fast this machine is does not matter then."""
		with self._changed:
			self._changed.wait_for(lambda: self.peak >= number, PATIENCE)


@contextmanager
def statements() -> Iterator[list[str]]:
	"""The SQL statements that this process sends while the block runs."""
	sent: list[str] = []
	connection = frappe.local.db
	original = connection.sql

	def sql(query: Any, *args: Any, **kwargs: Any) -> Any:
		sent.append(str(query))
		return original(query, *args, **kwargs)

	connection.sql = sql
	try:
		yield sent
	finally:
		del connection.sql


def code_of(page: requests.Response) -> str:
	"""The error code on a page of refusal."""
	found = re.search(r"<code>([a-z_]+)</code>", page.text)
	return found.group(1) if found else ""


class Lasting:
	"""What outlives a test and changes others: the configuration, and custom fields."""

	def __init__(self) -> None:
		self.conf, self.fields = dict(frappe.local.conf), self.custom_fields()
		sites = pathlib.Path(frappe.local.sites_path)
		paths = (sites / "common_site_config.json", pathlib.Path(frappe.get_site_path("site_config.json")))
		self.files = {path: path.read_text() for path in paths}

	@staticmethod
	def custom_fields() -> set[tuple[str, str]]:
		return set(frappe.get_all("Custom Field", fields=["dt", "fieldname"], limit=0, as_list=True))

	def put_right(self) -> None:
		"""Fails, naming it, where the test has left something: others then begin without it all the same."""
		left = []
		if frappe.local.conf != self.conf:
			left.append("frappe.conf")
			frappe.local.conf.clear()
			frappe.local.conf.update(self.conf)
		for path, text in self.files.items():
			# Frappe writes it with other indents.
			if json.loads(path.read_text()) != json.loads(text):
				left.append(str(path))
				path.write_text(text)
		for doctype, fieldname in self.custom_fields() - self.fields:
			left.append(f"{doctype}.{fieldname}")
			_remove_field(doctype, fieldname)
		assert not left, f"the test has left {', '.join(left)}"


class Case(unittest.TestCase):
	"""Three users, their browsers, and a provider that is as good as new for each test."""

	authlib: Provider

	@classmethod
	def setUpClass(cls) -> None:
		# What an earlier class has left open is not to be committed here.
		start_over()
		make_user(ALICE, "Blogger")
		make_user(MALLORY, "Blogger")
		make_user(VISITOR, user_type="Website User")
		cls.authlib = Provider()
		cls.addClassCleanup(cls.authlib.stop)
		cls.admin = logged_in("Administrator", "admin")
		cls.alice = logged_in(ALICE)

	def setUp(self) -> None:
		start_over()
		self.addCleanup(Lasting().put_right)
		frappe.clear_messages()
		frappe.local.response = frappe._dict(docs=[])
		self.authlib.command("reset")

	def doCleanups(self) -> Any:
		# The last one that is added is the first that runs.
		self.addCleanup(start_over)
		return super().doCleanups()

	def afterwards(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
		"""At the end of the test, however it ends. What is to be undone comes after this call."""
		self.addCleanup(in_a_new_job, work, *args, **kwargs)

	def not_on_sqlite(self, why: str) -> None:
		if frappe.db.db_type == "sqlite":
			self.skipTest(f"SQLite: {why}")

	def connect(self, app: Any, browser: Browser | None = None, **consent: Any) -> requests.Response:
		browser = browser or self.alice
		url = browser.ask("authorize", connected_app=app.name, success_uri="/me")
		return browser.visit(self.authlib.consent(url, **consent))

	def discover(self, app: Any, running: Any) -> None:
		"""As an admin does it at the certified provider, with *Get OpenID Configuration*."""
		app.update(
			{
				"openid_configuration": running.discovery_url,
				"scopes": [{"scope": scope} for scope in ("openid", "email", "offline_access")],
				"query_parameters": [{"key": "prompt", "value": "consent"}],
			}
		)
		app.save()
		frappe.db.commit()
		app.update(self.admin.ask("get_openid_configuration", connected_app=app.name)["values"])
		app.save()
		frappe.db.commit()

	def connect_at(self, app: Any, running: Any) -> None:
		"""Alice connects at the certified provider."""
		url = self.alice.ask("authorize", connected_app=app.name, success_uri="/me")
		landed = self.alice.visit(running.consent(url))
		self.assertEqual(landed.headers.get("Location"), "/me", code_of(landed) or landed.text[:500])

	def assertRefused(self, page: requests.Response, code: str) -> None:
		self.assertEqual(code_of(page), code, page.text[:300])
		self.assertGreaterEqual(page.status_code, 400)
		self.assertNotIn("Traceback", page.text)
