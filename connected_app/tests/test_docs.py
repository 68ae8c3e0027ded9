"""Every code block of README.md, CONTRIBUTING.md, SECURITY.md and docs/*.md runs, on this site, as it is printed.

A block that cannot run says why, in a comment above it: `<!-- not run: REASON -->`. One that only defines something
names who calls it: `<!-- run: NAME -->`, a method `drive_NAME` below. `api.example.com` is a server of the test's, and
`name-of-the-app` a Connected App that alice is connected to.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import SkipTest

import frappe

from connected_app.oauth.redact import Secret
from connected_app.site.grants import TokenCacheStore
from connected_app.site.identity import ConnectionKey
from connected_app.tests.site import (
	ALICE,
	PYTHON,
	REPO,
	Case,
	forget,
	library,
	make_app,
	needs_providers,
	other_app,
	run,
	server,
	server_scripts,
)
from connected_app.tests.test_checks import hostile

FENCE = re.compile(r"^(?:<!-- (not run|run): (.+?) -->\n)?( *)```([a-z]*)\n(.*?)^\3```$", re.M | re.S)
# What is printed about Google runs against the test's own server, and with a scope that its provider knows.
STAND_INS = {
	"https://www.googleapis.com/calendar/v3/calendars/primary/events": "https://api.example.com/things",
	"https://www.googleapis.com/auth/calendar": "read",
}
# A worker of the bench's long queue, which ends when the queue is empty.
WORKER = """
import sys
import connected_app.tests
from frappe.utils.background_jobs import start_worker

connected_app.tests.__path__.append(sys.argv[1])
start_worker(queue="long", burst=True, quiet=True)
"""
# What stands before the guide's block about MCP.
MCP = """
import os, sys
import frappe

sys.path.append(os.environ["LIBRARIES"])
frappe.init({site!r})
frappe.connect()
frappe.set_user({user!r})
app, user = frappe.get_doc("Connected App", {app!r}), {user!r}
"""
NEWER = ("pydantic", "pydantic_core", "annotated_types", "typing_inspection", "typing_extensions.py")
THINGS = [{"title": "a thing of the guide"}]


@dataclass(frozen=True)
class Block:
	where: str
	mark: str
	about: str
	language: str
	text: str


def blocks() -> list[Block]:
	root = pathlib.Path(REPO)
	files = [
		root / "README.md",
		root / "CONTRIBUTING.md",
		root / "SECURITY.md",
		*(root / "docs").glob("*.md"),
	]
	found = []
	for path in sorted(files):
		text = path.read_text()
		for match in FENCE.finditer(text):
			line = text.count("\n", 0, match.start(5)) + 1
			mark, about, indent, language, body = match.groups(default="")
			body = re.sub(f"^{indent}", "", body, flags=re.M)
			found.append(Block(f"{path.name}:{line}", mark, about, language, body))
		fences = len(re.findall(r"^ *```", text, re.M))
		assert fences == 2 * len(FENCE.findall(text)), f"{path.name}: a code block is not understood"
	return found


@needs_providers
class TestDocs(Case):
	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer)
		self.assertEqual(self.connect(self.app).status_code, 302)
		with TokenCacheStore(ConnectionKey.of_user(self.app.name, ALICE)).exclusive() as locked:
			locked.save(replace(locked.grant, extra={"realm_id": Secret("4620816365")}))
		self.module = hostile()
		self.api = self.module.Hostile()
		self.addCleanup(self.api.close)
		for path in ("/things", "/invoices"):
			self.api.script(path, self.module.as_json(THINGS))
		forget()
		frappe.set_user(ALICE)

	def test_every_block(self) -> None:
		counts = {"ran": 0, "not run": 0}
		for block in blocks():
			with self.subTest(block.where):
				if block.mark == "not run":
					print(f"{block.where}: not run: {block.about}")
					counts["not run"] += 1
				elif block.language == "python":
					try:
						self.run_python(block)
						counts["ran"] += 1
					except SkipTest as reason:
						print(f"{block.where}: not run here: {reason}")
						counts["not run"] += 1
				elif block.language == "sh":
					self.run_shell(block)
					counts["ran"] += 1
				else:
					self.assertEqual(block.language, "", "a language that the test does not know how to run")
		print(f"code blocks: {counts['ran']} ran, {counts['not run']} not run")
		self.assertGreaterEqual(counts["ran"], 7)

	def printed(self, block: Block) -> str:
		text = block.text
		for printed, stands_in in STAND_INS.items():
			text = text.replace(printed, stands_in)
		return text.replace("https://api.example.com", self.api.url).replace("name-of-the-app", self.app.name)

	def run_python(self, block: Block) -> None:
		frappe.set_user(ALICE)
		asked = len(self.api.requests)
		if block.mark == "run":
			with self.libraries(block):
				getattr(self, "drive_" + block.about.replace(" ", "_"))(self.printed(block))
		else:
			names = {"frappe": frappe, "app": self.app, "name": self.app.name, "user": ALICE}
			with self.libraries(block), other_app(self.printed(block), **names):
				pass
		if "api.example.com" in block.text or "googleapis.com/calendar" in block.text:
			self.assertEqual(len(self.api.requests), asked + 1)
			if "realm_id" in block.text:
				self.assertEqual(self.api.requests[-1].target, "/things?company=4620816365")
			self.assert_shown("bob" if block.about == "several accounts" else None)

	@contextmanager
	def libraries(self, block: Block) -> Iterator[None]:
		"""Those that the block hands the connection to, which the bench may not have."""
		with ExitStack() as stack:
			for name in re.findall(r"^import (httpx)$|^from (azure)\.core import", block.text, re.M):
				stack.enter_context(library(name[0] or name[1]))
			yield

	def in_library(self, text: str) -> Any:
		"""The module that a block about a library is."""
		with other_app(text, app=self.app, user=ALICE) as module:
			return module

	def run_shell(self, block: Block) -> None:
		"""Each line by itself; `bench` is the bench of this site."""
		for line in self.printed(block).splitlines():
			words = shlex.split(line.replace("your.site", frappe.local.site), comments=True)
			if not words:
				continue
			if words[0] == "bench":
				ended = run("-m", "frappe.utils.bench_helper", "frappe", *words[1:])
			else:
				ended = subprocess.run(words, cwd=REPO, capture_output=True, text=True, timeout=120)
			self.assertEqual(ended.returncode, 0, f"{line}: {ended.stdout[-500:]}{ended.stderr[-500:]}")

	def test_what_the_first_block_says_of_errors(self) -> None:
		"""Its `except` clauses catch what they say they do."""
		block = next(one for one in blocks() if "ConfigurationError as error" in one.text)
		for values, said in (
			({"enabled": 0}, "an admin must act: This Connected App is disabled."),
			({"enabled": 1, "token_uri": "http://127.0.0.1:1/"}, "nothing is lost: try later"),
		):
			self.assertIn(said, self.output(block, **values))
		frappe.db.delete("Token Cache", {"connected_app": self.app.name})
		self.assertIn(f"/connect?app={self.app.name}", self.output(block))

	def output(self, block: Block, **values: Any) -> str:
		if values:
			frappe.db.set_value("Connected App", self.app.name, values)
			frappe.db.set_value("Token Cache", {"connected_app": self.app.name}, "expires_at", "2020-01-01")
		frappe.db.commit()
		frappe.clear_document_cache("Connected App", self.app.name)
		forget()
		said: list[str] = []
		names = {
			"name": self.app.name,
			"user": ALICE,
			"print": lambda *words: said.append(" ".join([str(word) for word in words])),
		}
		with other_app(self.printed(block), **names):
			pass
		return "\n".join(said)

	def drive_controller(self, text: str) -> None:
		with other_app(text) as module:
			invoice = module.Invoice({"doctype": "ToDo", "connected_app": self.app.name, "title": "No. 1"})
			invoice.on_submit()
		self.assertEqual(json.loads(self.api.requests[-1].body), {"title": "No. 1"})

	def drive_several_accounts(self, text: str) -> None:
		"""Alice has another account; the API is shown that one's token."""
		self.app.several_accounts = 1
		self.app.save(ignore_permissions=True)
		frappe.db.commit()
		url = self.alice.ask("authorize", connected_app=self.app.name, success_uri="/me", another=1)
		self.assertEqual(self.alice.visit(self.authlib.consent(url, account="bob")).status_code, 302)
		frappe.db.rollback()
		forget()
		said: list[str] = []
		names = {
			"name": self.app.name,
			"user": ALICE,
			"print": lambda *words: said.append(" ".join(words).strip()),
		}
		with other_app(text.replace("sales@example.com", "bob@example.com"), **names):
			pass
		self.assertEqual(
			said, ["alice alice@example.com Connected (default)", "bob bob@example.com Connected"]
		)

	def drive_job(self, text: str) -> None:
		"""In a worker of the bench's queue. Frappe runs code of installed apps only: the module is one of this package's."""
		todo = {"description": THINGS[0]["title"], "allocated_to": ALICE}
		before = frappe.db.count("ToDo", todo)
		text = text.replace("my_app.things", "connected_app.tests.things")
		with tempfile.TemporaryDirectory() as folder:
			(pathlib.Path(folder) / "things.py").write_text(text)
			names: dict[str, Any] = {"__name__": "connected_app.tests.things"}
			exec(compile(text, "job", "exec"), names)
			names["start"](self.app.name, ALICE)
			frappe.db.commit()
			done = run("-c", WORKER, folder)
			self.assertEqual(done.returncode, 0, done.stderr)
		frappe.db.rollback()
		self.assertEqual(frappe.db.count("ToDo", todo), before + 1)

	def drive_server_script(self, text: str) -> None:
		with server_scripts():
			frappe.set_user("Administrator")
			name = f"script_{frappe.generate_hash(length=8)}"
			script = frappe.get_doc(
				{
					"doctype": "Server Script",
					"name": name,
					"script_type": "API",
					"api_method": name,
					"script": text,
				}
			).insert()
			frappe.set_user(ALICE)
			script.execute_method()
			self.assertEqual(frappe.response.pop("message"), THINGS)

	def drive_mcp(self, text: str) -> None:
		"""In a process of the bench, since MCP's library needs a newer pydantic than Frappe has."""
		code = MCP.format(site=frappe.local.site, app=self.app.name, user=ALICE)
		where = [
			PYTHON,
			"-c",
			"import sys, sysconfig; print(sysconfig.get_path('purelib'), *sys.version_info[:2])",
		]
		path, *version = subprocess.run(where, check=True, capture_output=True, text=True).stdout.split()
		if [int(part) for part in version] != [*sys.version_info[:2]]:
			raise SkipTest("the bench has another Python than the checkout's virtualenv")
		with server("mcp_server", self.authlib.issuer) as said, tempfile.TemporaryDirectory() as folder:
			for name in NEWER:
				(pathlib.Path(folder) / name).symlink_to(pathlib.Path(path) / name)
			ended = subprocess.run(
				[
					sys.executable,
					"-c",
					code + text.replace("https://mcp.example.com/mcp", said["url"]) + "\nprint(names)",
				],
				cwd=os.path.abspath(frappe.local.sites_path),
				env={
					**os.environ,
					"PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}",
					"LIBRARIES": path,
				},
				capture_output=True,
				text=True,
				timeout=120,
			)
		self.assertEqual(ended.stdout.splitlines()[-1:], ["['whoami']"], ended.stderr[-3000:])

	def drive_google(self, text: str) -> None:
		"""At the test's server, in the place of Google's."""
		self.api.script("/calendars/primary/events", self.module.as_json({"items": THINGS}))
		at_the_test = f'build("calendar", "v3", client_options={{"api_endpoint": "{self.api.url}/"}}, '
		module = self.in_library(text.replace('build("calendar", "v3", ', at_the_test))
		self.assertEqual(module.events, {"items": THINGS})
		self.assert_shown()

	def drive_azure(self, text: str) -> None:
		"""The library's own policy would not show a token to loopback without TLS."""
		self.api.script("/v1.0/me", self.module.as_json({"displayName": "Alice"}))
		text = text.replace('/v1.0/me")', '/v1.0/me"), enforce_https=False')
		module = self.in_library(text.replace("https://graph.microsoft.com/v1.0", self.api.url + "/v1.0"))
		self.assertEqual(module.me, {"displayName": "Alice"})
		self.assert_shown()

	drive_azure_in_an_event_loop = drive_azure

	def drive_imap(self, text: str) -> None:
		with server("mail_server", self.authlib.issuer) as said:
			trust = ssl.create_default_context(cadata=said["certificate"])
			text = text.replace('"imap.example.com"', f'"localhost", {said["imaps"]}, ssl_context=trust')
			with other_app(text, app=self.app, user=ALICE, trust=trust) as module:
				self.assertEqual(module.imap.state, "LOGOUT")

	def assert_shown(self, account: str | None = None) -> None:
		"""The token of `account`, or of the default one."""
		frappe.db.rollback()
		forget()
		token = self.app.get_token_cache(ALICE, account).get_password("access_token")
		self.assertEqual(self.api.requests[-1].headers["authorization"], f"Bearer {token}")
