"""Faults around a refresh, with real processes of the bench: killed workers, databases and Redis that go away, providers
that misbehave, two sites. Nothing deadlocks, no grant that the provider still honours is lost, every error is named."""

from __future__ import annotations

import getpass
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any
from unittest.mock import patch

import frappe
import requests

from connected_app.oauth import Http, ReconnectRequired, TemporaryFailure
from connected_app.site import http
from connected_app.tests.site import (
	ALICE,
	PATIENCE,
	Case,
	Provider,
	forget,
	hostile,
	make_app,
	needs_providers,
	processes,
	row,
)
from connected_app.tests.test_refreshing import Connected

# One process of the bench, as a background worker is. What follows is the test's own script; `step` says a word and
# waits until the test lets it go on.
PRELUDE = """
import json
import os
import sys
import frappe

site, name, user, environment = sys.argv[1:]
os.environ.update(json.loads(environment))

def say(*words):
	print(*words, flush=True)

def step(*words):
	say(*words)
	sys.stdin.readline()

def use():
	app = frappe.get_doc("Connected App", name)
	try:
		say("token", app.get_oauth2_session(user).token["access_token"])
	except Exception as error:
		say("error", type(error).__name__, getattr(error, "code", repr(error)))

def on(target, method, before="", after=""):
	# The fault hook: this process stops where the test wants it to.
	real = getattr(target, method)
	def hooked(*args, **kwargs):
		if before:
			step(before, own_connection())
		result = real(*args, **kwargs)
		if after:
			step(after)
		return result
	setattr(target, method, hooked)

def own_connection():
	queries = {"mariadb": "select connection_id()", "postgres": "select pg_backend_pid()", "sqlite": "select 0"}
	return frappe.db.sql(queries[frappe.db.db_type])[0][0]

frappe.init(site)
frappe.connect()
"""
BEFORE_THE_REQUEST = """
from connected_app.oauth import token_endpoint
on(token_endpoint, "request", before="asking")
use()
"""
BEFORE_THE_COMMIT = """
from connected_app.site.grants import LockedTokenCache
on(LockedTokenCache, "save", before="answered")
use()
"""
AFTER_THE_COMMIT = """
from connected_app.site.grants import LockedTokenCache
on(LockedTokenCache, "save", after="saved")
use()
"""


class Worker:
	"""A process of the bench that runs a script on one site."""

	def __init__(self, script: str, app: str, site: str = "", user: str = ALICE, **environment: str) -> None:
		reads, stdin = os.pipe()
		stdout, writes = os.pipe()
		self.stdin, self.stdout = open(stdin, "w"), open(stdout)
		arguments = (site or frappe.local.site, app, user, json.dumps(environment))
		self.pid = processes().begin("-c", PRELUDE + script, *arguments, streams=(reads, writes, 2))
		os.close(reads)
		os.close(writes)

	def hear(self) -> list[str]:
		"""The next line that the process says, in words. Frappe prints queries that failed, which is not meant."""
		while line := self.stdout.readline():
			words = line.split()
			if words and words[0] in ("asking", "answered", "saved", "token", "error", "is", "ready"):
				return words
		return []

	def go_on(self) -> None:
		self.stdin.write("\n")
		self.stdin.flush()

	def end(self) -> None:
		with suppress(BrokenPipeError):
			self.stdin.close()
		self.stdout.close()
		processes().ended()


@contextmanager
def working(*args: Any, **kwargs: Any) -> Iterator[Worker]:
	worker = Worker(*args, **kwargs)
	try:
		yield worker
	finally:
		worker.end()


def free_port() -> int:
	with socket.socket() as probe:
		probe.bind(("127.0.0.1", 0))
		return probe.getsockname()[1]


def until(check: Any, what: str) -> None:
	deadline = time.monotonic() + PATIENCE
	while not check():
		assert time.monotonic() < deadline, what
		time.sleep(0.05)


def answers(port: int) -> bool:
	with suppress(OSError):
		socket.create_connection(("127.0.0.1", port), timeout=1).close()
		return True
	return False


@needs_providers
class TestKilled(Connected):
	"""`kill -9` of the process that refreshes. The lock dies with it: nobody waits for its time-out."""

	def start(self, *options: str) -> Provider:
		provider = Provider(*options)
		self.addCleanup(provider.stop)
		self.app = make_app(provider.issuer)
		landed = self.alice.visit(provider.consent(self.alice.ask("authorize", connected_app=self.app.name)))
		self.assertEqual(landed.status_code, 302)
		self.due()
		return provider

	def kill(self, script: str, word: str) -> None:
		with working(script, self.app.name) as worker:
			self.assertEqual(worker.hear()[:1], [word])
			os.kill(worker.pid, signal.SIGKILL)

	def next_one(self) -> str:
		"""What the next process gets. A lock that outlived its holder would make it `busy`."""
		with working("use()", self.app.name) as worker:
			return " ".join(worker.hear())

	def assertRecovered(self, answer: str) -> None:
		self.assertEqual(answer, f"token {row(self.app, ALICE).get_password('access_token')}")
		self.assertEqual(row(self.app, ALICE).status, "Connected")

	def test_before_the_request(self) -> None:
		provider = self.start()
		self.kill(BEFORE_THE_REQUEST, "asking")
		self.assertRecovered(self.next_one())
		self.assertEqual((provider.stats()["refreshes"], provider.stats()["reuses"]), (1, 0))

	def test_during_the_request(self) -> None:
		"""A provider that still takes the old refresh token: nothing is lost."""
		provider = self.start("--static-refresh")
		scripts = hostile()
		gateway = scripts.Hostile()
		self.addCleanup(gateway.close)
		killed = threading.Event()

		def answer(request: Any) -> Any:
			headers = {"Content-Type": request.headers["content-type"]}
			given = requests.post(f"{provider.issuer}/token", request.body, headers=headers, timeout=30)
			killed.wait(PATIENCE)
			return scripts.as_json(given.json(), given.status_code)

		self.change(token_uri=gateway.script("/token", answer))
		with working("use()", self.app.name) as worker:
			until(lambda: provider.stats()["refreshes"] == 1, "no token request")
			os.kill(worker.pid, signal.SIGKILL)
		killed.set()
		self.assertRecovered(self.next_one())
		self.assertEqual(provider.stats()["refreshes"], 2)

	def test_after_the_answer(self) -> None:
		self.start("--static-refresh")
		self.kill(BEFORE_THE_COMMIT, "answered")
		self.assertRecovered(self.next_one())

	def test_a_spent_refresh_token(self) -> None:
		"""What cannot be mended: the only copy of a single-use refresh token dies with the process. The next one learns
		it from the provider, and the user is asked to connect."""
		provider = self.start()
		self.kill(BEFORE_THE_COMMIT, "answered")
		self.assertEqual(self.next_one(), "error ReconnectRequired grant_invalid")
		self.assertEqual(provider.stats()["reuses"], 1)
		self.assertEqual(row(self.app, ALICE).status, "Reconnect Required")

	def test_after_the_commit(self) -> None:
		"""core-defects 30: durable before use; the next caller uses it and asks nobody."""
		provider = self.start()
		self.kill(AFTER_THE_COMMIT, "saved")
		self.assertRecovered(self.next_one())
		self.assertEqual(provider.stats()["refreshes"], 1)

	def test_the_connection_is_lost(self) -> None:
		"""Only the connection to the database dies, during the exchange: the rotated token is stored by another."""
		self.not_on_sqlite("there is no connection to a server that could be lost")
		provider = self.start()
		with working(BEFORE_THE_REQUEST, self.app.name) as worker:
			word, connection = worker.hear()
			self.assertEqual(word, "asking")
			kill = (
				"select pg_terminate_backend({0})"
				if frappe.db.db_type == "postgres"
				else "kill connection {0}"
			)
			frappe.db.sql(kill.format(int(connection)))
			worker.go_on()
			answer = " ".join(worker.hear())
		self.assertRecovered(answer)
		self.assertEqual((provider.stats()["refreshes"], provider.stats()["reuses"]), (1, 0))


class Server:
	"""A server of one's own, that can be killed and started again on the same port."""

	def __init__(self, folder: pathlib.Path) -> None:
		self.folder, self.port = folder, free_port()
		self.process: subprocess.Popen | None = None

	def command(self) -> list[str]:
		raise NotImplementedError

	def start(self) -> None:
		with open(self.folder / "log", "ab") as log:
			self.process = subprocess.Popen(self.command(), cwd=self.folder, stdout=log, stderr=log)
		until(lambda: answers(self.port) or self.process.poll() is not None, "the server did not start")
		assert self.process.poll() is None, (self.folder / "log").read_text(errors="replace")[-2000:]

	def kill(self) -> None:
		if self.process:
			self.process.kill()
			self.process.wait(20)

	def restart(self) -> None:
		self.kill()
		self.start()


class MariaDB(Server):
	SERVER = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin:/usr/libexec")
	INSTALL = shutil.which("mariadb-install-db")
	CLIENT = shutil.which("mariadb")
	DUMP = shutil.which("mariadb-dump")

	def command(self) -> list[str]:
		return [
			self.SERVER, "--no-defaults", f"--user={getpass.getuser()}", f"--datadir={self.folder}/data",
			f"--port={self.port}", "--bind-address=127.0.0.1", f"--socket={self.folder}/socket",
			f"--tmpdir={self.folder}",
			"--character-set-server=utf8mb4", "--collation-server=utf8mb4_unicode_ci",
			"--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M",
		]  # fmt: skip

	def prepare(self) -> None:
		options = [
			f"--datadir={self.folder}/data",
			f"--tmpdir={self.folder}",
			"--auth-root-authentication-method=normal",
			"--skip-test-db",
		]
		subprocess.run(
			[self.INSTALL, "--no-defaults", f"--user={getpass.getuser()}", *options],
			check=True,
			capture_output=True,
		)

	def sql(self, text: str, database: str = "") -> str:
		command = [
			self.CLIENT,
			"--no-defaults",
			f"--socket={self.folder}/socket",
			"--user=root",
			"-N",
			"-B",
			database,
		]
		answer = subprocess.run([*command, "-e", text], check=True, capture_output=True, text=True)
		return answer.stdout.strip()

	def copy_of(self, conf: Any, name: str) -> None:
		"""This site's database, under another name, for a user of that name."""
		self.sql(f"create database `{name}`; create user `{name}`@`%` identified by 'twin'")
		self.sql(f"grant all on `{name}`.* to `{name}`@`%`")
		dump = [self.DUMP, "--no-defaults", "--single-transaction", "--skip-lock-tables", "--no-tablespaces"]
		dump += [
			f"--host={conf.db_host or '127.0.0.1'}",
			f"--port={conf.db_port or 3306}",
			f"--user={conf.db_name}",
		]
		environment = {**os.environ, "MYSQL_PWD": conf.db_password}
		with subprocess.Popen([*dump, conf.db_name], env=environment, stdout=subprocess.PIPE) as source:
			load = [self.CLIENT, "--no-defaults", f"--socket={self.folder}/socket", "--user=root", name]
			subprocess.run(load, stdin=source.stdout, check=True)
		assert source.returncode == 0, "the dump failed"


@needs_providers
class TestAnotherServer(Case):
	"""A second site of this bench, the twin: same app, same user, on a MariaDB that may be killed."""

	@classmethod
	def setUpClass(cls) -> None:
		if frappe.db.db_type != "mariadb" or not all(
			(MariaDB.SERVER, MariaDB.INSTALL, MariaDB.CLIENT, MariaDB.DUMP)
		):
			raise unittest.SkipTest("needs a site on MariaDB, mariadbd, mariadb-install-db and mariadb-dump")
		super().setUpClass()
		cls.addClassCleanup(cls.tidy)
		cls.provider = Provider()
		cls.addClassCleanup(cls.provider.stop)
		cls.app = make_app(cls.provider.issuer)
		cls.connect_anew()  # the copy is to have a row
		cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="connected-app-mariadb-"))
		cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
		cls.server = MariaDB(cls.folder)
		cls.addClassCleanup(cls.server.kill)
		cls.server.prepare()
		cls.server.start()
		cls.database = f"twin_{os.getpid()}"
		cls.server.copy_of(frappe.conf, cls.database)
		cls.twin = f"twin-of-{frappe.local.site}"
		place = pathlib.Path(frappe.local.sites_path).resolve() / cls.twin
		cls.addClassCleanup(shutil.rmtree, place, ignore_errors=True)
		for name in ("logs", "locks", "public/files", "private/files"):
			(place / name).mkdir(parents=True)
		config = json.loads(pathlib.Path(frappe.get_site_path("site_config.json")).read_text())
		config.update(
			db_name=cls.database,
			db_user=cls.database,
			db_password="twin",
			db_host="127.0.0.1",
			db_port=cls.server.port,
		)
		(place / "site_config.json").write_text(json.dumps(config))

	@classmethod
	def tidy(cls) -> None:
		frappe.db.rollback()

	@classmethod
	def connect_anew(cls) -> None:
		url = cls.alice.ask("authorize", connected_app=cls.app.name)
		assert cls.alice.visit(cls.provider.consent(url)).status_code == 302

	def setUp(self) -> None:
		"""A new grant on this site; the twin has the same one, and its access token has expired there."""
		super().setUp()
		if not answers(self.server.port):
			self.server.start()
		self.connect_anew()
		frappe.db.rollback()
		name = f"{self.app.name}-{ALICE}"
		for field, password in frappe.db.sql("select fieldname, password from `__Auth` where name=%s", name):
			where = f"where name='{name}' and fieldname='{field}'"
			self.server.sql(f"update `__Auth` set password='{password}' {where}", self.database)
		values = "status='Connected', error_code=null, retry_at=null, expires_at='2020-01-01'"
		self.server.sql(f"update `tabToken Cache` set {values}", self.database)

	def work(self, script: str) -> Any:
		return working(script, self.app.name, self.twin)

	def test_restart_during_the_refresh(self) -> None:
		"""The rotated token is stored once the database is back; a database that is killed keeps what was committed."""
		for script, word in (
			(BEFORE_THE_REQUEST, "asking"),
			(BEFORE_THE_COMMIT, "answered"),
			(AFTER_THE_COMMIT, "saved"),
		):
			with self.subTest(word):
				self.server.sql("update `tabToken Cache` set expires_at='2020-01-01'", self.database)
				before = self.provider.stats()
				with self.work(script) as worker:
					self.assertEqual(worker.hear()[:1], [word])
					self.server.restart()
					worker.go_on()
					answer = worker.hear()
				self.assertEqual(answer[0], "token")
				with self.work("use()") as worker:
					self.assertEqual(worker.hear(), answer)
				after = self.provider.stats()
				for key, number in (("refreshes", 1), ("reuses", 0)):
					self.assertEqual(after[key] - before[key], number)

	def test_no_database(self) -> None:
		"""While it is away nobody gets a token that was not stored; the error is named, and the process ends."""
		script = (
			"import connected_app.site.grants as grants\ngrants.SAVE_PAUSES = (0, 0.2)\n" + BEFORE_THE_COMMIT
		)
		with self.work(script) as worker:
			self.assertEqual(worker.hear()[:1], ["answered"])
			self.server.kill()
			worker.go_on()
			self.assertEqual(worker.hear(), ["error", "TemporaryFailure", "store_unavailable"])
		self.server.start()
		# The one copy of a single-use refresh token is lost; the provider says so.
		with self.work("use()") as worker:
			self.assertEqual(worker.hear(), ["error", "ReconnectRequired", "grant_invalid"])

	def test_two_sites_in_one_process(self) -> None:
		"""Same app, same user, one process, one provider: no site ever sees the other's token."""
		mine = row(self.app, ALICE).get_password("access_token")
		script = """
twin = site
own = site.removeprefix("twin-of-")
for number in range(3):
	for each in (own, twin):
		# Without frappe.destroy between them, as some loops over all sites do.
		frappe.init(each, force=True)
		frappe.connect()
		say("is", each == twin)
		use()
"""
		with self.work("use()") as worker:
			theirs = worker.hear()[1]
		self.assertNotEqual(mine, theirs)
		with self.work(script) as worker:
			said = [worker.hear() for _ in range(12)]
		self.assertEqual(said, [["is", "False"], ["token", mine], ["is", "True"], ["token", theirs]] * 3)


class Redis(Server):
	PROGRAM = shutil.which("redis-server")

	def command(self) -> list[str]:
		return [
			self.PROGRAM,
			"--port",
			str(self.port),
			"--bind",
			"127.0.0.1",
			"--save",
			"",
			"--appendonly",
			"no",
		]


@needs_providers
@unittest.skipUnless(Redis.PROGRAM, "needs redis-server")
class TestRedis(Connected):
	def setUp(self) -> None:
		super().setUp()
		folder = pathlib.Path(tempfile.mkdtemp(prefix="connected-app-redis-"))
		self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
		self.redis = Redis(folder)
		self.addCleanup(self.redis.kill)
		self.address = f"redis://127.0.0.1:{self.redis.port}"

	def test_absent(self) -> None:
		"""Neither a session nor a refresh needs Redis."""
		for due in (False, True):
			with self.subTest(due=due):
				if due:
					self.due()
				with working("use()", self.app.name, FRAPPE_REDIS_CACHE=self.address) as worker:
					answer = worker.hear()
				self.assertEqual(answer, ["token", row(self.app, ALICE).get_password("access_token")])
		self.assertEqual(self.authlib.stats()["refreshes"], 1)

	def test_restart_and_full(self) -> None:
		"""An attempt needs Redis, and says so at each of its ends; a connection that is made does not."""
		script = """
from urllib.parse import parse_qs, urlsplit
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request
from frappe.auth import CookieManager
from connected_app import api
from connected_app.oauth import Grant, Secret
from connected_app.site import flow, pages, settings

app = frappe.get_doc("Connected App", name)
frappe.set_user(user)

def begin():
	try:
		url = flow.begin(settings.of(app), "/me")
	except Exception as error:
		return type(error).__name__ + " " + error.code
	return parse_qs(urlsplit(url).query)["state"][0]

def callback(state):
	path = "/api/method/x/" + name
	frappe.local.request = Request(EnvironBuilder(path, query_string={"state": state, "code": "c"}).get_environ())
	frappe.local.cookie_manager = CookieManager()
	frappe.local.response = frappe._dict(docs=[])
	frappe.local.message_log = []
	api.callback()
	page = str(frappe.local.response) + str(frappe.local.message)
	return next(code for code in ("attempt_store_unavailable", "attempt_unknown", "internal_error", "?") if code in page + "?")

state = begin()
step("ready", len(state) > 20)
say("is", begin())
step("is", callback(state))
step("is", callback(state))
say("is", len(begin()) > 20)
frappe.cache.config_set("maxmemory", 1)
say("is", begin())
pages.leave_connected(settings.of(app), Grant(access_token=Secret("a")), ())
pages.redirect("/me")
say("is", frappe.local.response["location"], len(frappe.local.cookie_manager.cookies))
"""
		self.redis.start()
		with working(script, self.app.name, FRAPPE_REDIS_CACHE=self.address) as worker:
			self.assertEqual(worker.hear(), ["ready", "True"])
			self.redis.kill()
			worker.go_on()
			self.assertEqual(worker.hear(), ["is", "TemporaryFailure", "attempt_store_unavailable"])
			self.assertEqual(worker.hear(), ["is", "attempt_store_unavailable"])
			self.redis.start()
			worker.go_on()
			self.assertEqual(worker.hear(), ["is", "attempt_unknown"])
			worker.go_on()
			self.assertEqual(worker.hear(), ["is", "True"])
			self.assertEqual(worker.hear(), ["is", "TemporaryFailure", "attempt_store_unavailable"])
			self.assertEqual(worker.hear(), ["is", "/me", "0"])


@needs_providers
class TestTokenEndpoint(Connected):
	def test_faults(self) -> None:
		"""core-defects 21, 24: the row says what failed; the grant is kept, and works as soon as the provider does."""
		scripts = hostile()
		server = scripts.Hostile()
		self.addCleanup(server.close)
		html = {"Content-Type": "text/html"}
		faults = {
			"response_invalid": scripts.Answer(b"<html>Log in</html>", headers=html),
			"response_too_large": scripts.Answer(b"x" * 50_000_000),
			"redirected": scripts.Answer(status=302, headers={"Location": f"{self.authlib.issuer}/token"}),
			"timeout": scripts.Answer(b"{}", delay=3),
			"network": scripts.as_json({"access_token": "a"}, cut=5),
			"server_error": scripts.Answer(b"down", 503, html),
		}
		before = row(self.app, ALICE).get_password("refresh_token")
		self.change(token_uri=f"{server.url}/token")
		quick = Http(allow_http_loopback=True, read_timeout=0.5, total_timeout=1)
		for code, answer in faults.items():
			# The others are not to be faster than this machine.
			client = (
				patch.object(http, "_http", lambda *policy: quick) if code == "timeout" else nullcontext()
			)
			with self.subTest(code), client:
				server.script("/token", answer)
				self.set(expires_at="2020-01-01", retry_at=None)
				error = self.assertFails(TemporaryFailure, code)
				self.assertNotIsInstance(error, ReconnectRequired)
				kept = row(self.app, ALICE)
				self.assertEqual(kept.status, "Temporarily Failing")
				self.assertTrue(kept.last_error.startswith(f"{code}: "), kept.last_error)
				self.assertEqual(kept.get_password("refresh_token"), before)
		self.change(token_uri=f"{self.authlib.issuer}/token")
		self.set(retry_at=None)
		self.assertEqual(self.hello(), {"hello": "Alice"})
		self.assertEqual(self.authlib.stats()["refreshes"], 1)

	def test_text_that_no_database_takes(self) -> None:
		"""What cannot be stored is left out, and costs nobody the grant."""
		scripts = hostile()
		server = scripts.Hostile()
		self.addCleanup(server.close)
		answer = {
			"access_token": "new",
			"refresh_token": "\ud800",
			"token_type": "\x00",
			"scope": "a \ud800 b\x00 " + "c" * 300,
		}
		server.script("/token", scripts.as_json(answer))
		before = row(self.app, ALICE).get_password("refresh_token")
		self.change(token_uri=f"{server.url}/token")
		self.due()
		forget()
		frappe.get_doc("Connected App", self.app.name).get_oauth2_session(ALICE)
		kept = row(self.app, ALICE)
		self.assertEqual(
			(kept.get_password("access_token"), kept.get_password("refresh_token")), ("new", before)
		)
		self.assertEqual([line.scope for line in kept.scopes], ["a", "c" * 140])
