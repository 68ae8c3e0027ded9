"""The bench command group, run as an operator runs it: in a process of its own."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import frappe

from connected_app import commands
from connected_app.tests import site
from connected_app.tests.site import ALICE, Browser, Case, forget, make_app, make_user, needs_providers, row

BETTY = "betty@site.example"
# Of the accounts of one user, which one is the default.
DEFAULTS = {"alice@example.com": True, "bob@example.com": False}


def bench(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
	return site.bench("connected-app", *arguments, stdin=stdin)


class Commands(Case):
	secrets: list[str]

	def ask(self, *arguments: str, code: int = 0) -> Any:
		"""What the command says as JSON."""
		ended = bench(*arguments, "--json")
		self.assertEqual(ended.returncode, code, ended.stderr[-1000:] + ended.stdout[-1000:])
		self.assertTellsNoSecret(ended)
		return json.loads(ended.stdout)

	def assertTellsNoSecret(self, ended: Any) -> None:
		for secret in self.secrets:
			self.assertNotIn(secret, ended.stdout + ended.stderr)


@needs_providers
class TestAccounts(Commands):
	"""Of several accounts of one user, each is shown, and each can be named."""

	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer, several_accounts=1)
		self.connect(self.app)
		url = self.alice.ask("authorize", connected_app=self.app.name, success_uri="/me", another=1)
		self.assertEqual(self.alice.visit(self.authlib.consent(url, account="bob")).status_code, 302)
		self.secrets = [*self.tokens().values()]

	def tokens(self) -> dict[str, str]:
		frappe.db.rollback()
		return {
			cache.account_name: cache.get_password("access_token")
			for cache in (
				frappe.get_doc("Token Cache", name)
				for name in frappe.get_all("Token Cache", {"connected_app": self.app.name}, pluck="name")
			)
		}

	def test_list(self) -> None:
		answer = {one["account_name"]: one for one in self.ask("list", self.app.name)}
		self.assertEqual({name: one["is_default"] for name, one in answer.items()}, DEFAULTS)
		self.assertEqual({one["user"] for one in answer.values()}, {ALICE})
		self.assertEqual({one["account_id"] for one in answer.values()}, {"alice", "bob"})
		table = bench("list", self.app.name).stdout
		for words in ("| alice@example.com ", "| bob@example.com ", "| account id ", "| is default "):
			self.assertIn(words, table)

	def test_refresh(self) -> None:
		before = self.tokens()
		answer = self.ask("refresh", self.app.name, "--user", ALICE, "--account", "BOB@example.com")
		self.assertEqual([(one["account"], one["refreshed"]) for one in answer], [("bob@example.com", True)])
		after = self.tokens()
		self.assertEqual(after["alice@example.com"], before["alice@example.com"])
		self.assertNotEqual(after["bob@example.com"], before["bob@example.com"])
		answer = self.ask("refresh", self.app.name, "--user", ALICE)
		self.assertEqual({one["account"] for one in answer if one["refreshed"]}, {*DEFAULTS})

	def test_make_default(self) -> None:
		done = {"user": ALICE, "account": "bob@example.com", "is_default": True}
		before = self.tokens()
		self.assertEqual(self.ask("make-default", self.app.name, "--user", ALICE, "--account", "bob"), [done])
		listed = {one["account_name"]: one["is_default"] for one in self.ask("list", self.app.name)}
		self.assertEqual(listed, {"alice@example.com": False, "bob@example.com": True})
		self.assertEqual(self.tokens(), before)
		forget()
		session = frappe.get_doc("Connected App", self.app.name).get_oauth2_session(ALICE)
		self.assertEqual(session.token["access_token"], before["bob@example.com"])

	def test_make_default_where_it_cannot_be_done(self) -> None:
		"""Who the default account is, the provider has not said: it could not be named afterwards."""
		rows = {"connected_app": self.app.name, "account_id": "alice"}
		frappe.db.set_value("Token Cache", rows, {"account_id": "", "account_name": ""})
		frappe.db.commit()
		ended = bench("make-default", self.app.name, "--user", ALICE, "--account", "bob")
		self.assertEqual((ended.returncode, ended.stdout), (1, ""))
		self.assertIn("account", ended.stderr)
		self.assertTellsNoSecret(ended)

	def test_revoke_one(self) -> None:
		"""By its ID; the default one, whose place no other takes."""
		answer = self.ask("revoke", self.app.name, "--user", ALICE, "--account", "alice", "--yes")
		self.assertEqual(answer, [{"user": ALICE, "account": "alice@example.com", "revoked": True}])
		self.assertEqual({*self.tokens()}, {"bob@example.com"})
		(left,) = self.ask("list", self.app.name)
		self.assertFalse(left["is_default"])

	def test_revoke_all(self) -> None:
		asked = bench("revoke", self.app.name, "--user", ALICE, stdin="n\n")
		self.assertIn(": 2. Disconnect?", asked.stderr)
		self.assertEqual({*self.tokens()}, {*DEFAULTS})
		answer = self.ask("revoke", self.app.name, "--user", ALICE, "--yes")
		self.assertEqual({one["account"] for one in answer if one["revoked"]}, {*DEFAULTS})
		self.assertEqual(self.tokens(), {})


@needs_providers
class TestCommands(Commands):
	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer)
		for browser in (self.alice, Browser(make_user(BETTY, "Blogger"))):
			self.assertEqual(self.connect(self.app, browser).status_code, 302)
		self.secrets = ["demo-secret"]
		for user in (ALICE, BETTY):
			kept = row(self.app, user)
			self.secrets += [kept.get_password("access_token"), kept.get_password("refresh_token")]

	def test_list(self) -> None:
		(answer,) = (one for one in self.ask("list") if one["name"] == self.app.name)
		self.assertEqual(
			answer,
			{
				"name": self.app.name,
				"provider_name": "Demo",
				"enabled": True,
				"connected": 2,
				"reconnect_required": 0,
				"temporarily_failing": 0,
			},
		)
		frappe.db.set_value("Token Cache", f"{self.app.name}-{BETTY}", "status", "Reconnect Required")
		frappe.db.commit()
		self.assertEqual(
			[(one["user"], one["status"]) for one in self.ask("list", self.app.name)],
			[(ALICE, "Connected"), (BETTY, "Reconnect Required")],
		)
		for arguments, words in ((("list",), (self.app.name,)), (("list", self.app.name), (ALICE, BETTY))):
			ended = bench(*arguments)
			self.assertEqual(ended.returncode, 0)
			self.assertTellsNoSecret(ended)
			for word in words:
				self.assertIn(f"| {word} ", ended.stdout)
			# Where a user has one account only, nothing is said of a default.
			self.assertNotIn("| is default ", ended.stdout)

	def test_check(self) -> None:
		self.assertEqual({finding["level"] for finding in self.ask("check", self.app.name)}, {"ok"})
		frappe.db.set_value("Connected App", self.app.name, "token_uri", f"{self.authlib.issuer}/nothing")
		frappe.db.commit()
		findings = self.ask("check", self.app.name, code=1)
		self.assertIn(("error", "token_uri"), [(one["level"], one["field"]) for one in findings])
		ended = bench("check", self.app.name)
		self.assertEqual(ended.returncode, 1)
		self.assertIn("| error ", ended.stdout)

	def test_refresh(self) -> None:
		answer = self.ask("refresh", self.app.name, "--user", ALICE)
		account = "alice@example.com"
		done = {"user": ALICE, "account": account, "refreshed": True, "code": "", "message": ""}
		self.assertEqual(answer, [done])
		self.assertNotEqual(row(self.app, ALICE).get_password("access_token"), self.secrets[1])
		self.assertEqual(row(self.app, BETTY).get_password("access_token"), self.secrets[3])
		self.assertEqual(self.authlib.stats()["refreshes"], 1)
		self.authlib.command("revoke")
		answer = self.ask("refresh", self.app.name, code=1)
		self.assertEqual(
			[(one["user"], one["refreshed"], one["code"]) for one in answer],
			[(ALICE, False, "grant_invalid"), (BETTY, False, "grant_invalid")],
		)
		self.assertEqual(row(self.app, ALICE).status, "Reconnect Required")

	def test_revoke(self) -> None:
		asked = bench("revoke", self.app.name, "--user", ALICE, stdin="n\n")
		self.assertEqual(asked.returncode, 1)
		self.assertIsNotNone(row(self.app, ALICE))
		answer = self.ask("revoke", self.app.name, "--user", ALICE, "--yes")
		self.assertEqual(answer, [{"user": ALICE, "account": "alice@example.com", "revoked": True}])
		self.assertIsNone(row(self.app, ALICE))
		self.assertEqual(self.authlib.stats()["revocations"], 2)
		frappe.db.set_value("Connected App", self.app.name, "revocation_uri", "http://127.0.0.1:1/revoke")
		frappe.db.commit()
		answer = self.ask("revoke", self.app.name, "--all", "--yes", code=1)
		self.assertEqual(answer, [{"user": BETTY, "account": "alice@example.com", "revoked": False}])
		self.assertIsNone(row(self.app, BETTY))
		self.assertEqual(self.ask("revoke", self.app.name, "--all", "--yes"), [])
		ended = {"reference_name": self.app.name, "subject": ("like", "Disconnected%")}
		self.assertEqual(frappe.get_all("Activity Log", ended, pluck="user"), ["Administrator"] * 2)

	def test_help_says_when_the_exit_code_is_1(self) -> None:
		"""That of each as the table in the guide has it; what is the same for all at the group."""
		self.assertIn("2: wrong usage", " ".join(commands.connected_app.help.split()))
		never = {"list", "export"}
		for name, command in commands.connected_app.commands.items():
			self.assertEqual("Exit code 1: " in command.help, name not in never, name)

	def test_refused_by_frappe(self) -> None:
		"""What Frappe refuses to save is said in a sentence, too."""
		if frappe.db.db_type == "sqlite":
			self.skipTest("on SQLite nothing is too long")
		for option in ("--name", "--client-id"):
			ended = bench("new-app", "github", option, "x" * 600)
			self.assertEqual((ended.returncode, ended.stdout), (1, ""))
			self.assertIn("will get truncated", ended.stderr)
			for no_sentence in ("Traceback", "<"):
				self.assertNotIn(no_sentence, ended.stderr)

	def test_wrong_usage(self) -> None:
		for arguments in (
			("check", "nothing"),
			("list", "nothing"),
			("refresh", self.app.name, "--user", "nobody@site.example"),
			("revoke", self.app.name),
			("revoke", self.app.name, "--all", "--user", ALICE),
			("refresh", self.app.name, "--account", "alice@example.com"),
			("refresh", self.app.name, "--user", ALICE, "--account", "carol@example.com"),
			("make-default", self.app.name, "--user", ALICE, "--account", "carol@example.com"),
			("revoke", self.app.name, "--all", "--account", "alice@example.com"),
			# Of a variable that is not set: not all of them.
			("revoke", self.app.name, "--user", ALICE, "--account", "", "--yes"),
			("make-default", self.app.name, "--user", ALICE, "--account", ""),
			("new-app", "nothing"),
			("new-app", "github", "--input", "tenant=example.com"),
			("status", "--json", "--prometheus"),
			("rotate-key", "--prepare", "--finish"),
			("frobnicate",),
		):
			ended = bench(*arguments)
			self.assertEqual(ended.returncode, 2, arguments)
			self.assertIn("Error: ", ended.stderr)
			self.assertNotIn("Traceback", ended.stderr)
		self.assertIsNotNone(row(self.app, ALICE))
