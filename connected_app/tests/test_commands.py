"""The bench command group, run as an operator runs it: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import frappe

from connected_app.tests.site import ALICE, Browser, Case, make_app, make_user, needs_providers, row

BETTY = "betty@site.example"


def bench(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
	return subprocess.run(
		[
			*(sys.executable, "-m", "frappe.utils.bench_helper", "frappe", "--site", frappe.local.site),
			*("connected-app", *arguments),
		],
		cwd=os.path.abspath(frappe.local.sites_path),
		input=stdin,
		capture_output=True,
		text=True,
		timeout=120,
	)


@needs_providers
class TestCommands(Case):
	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer)
		for browser in (self.alice, Browser(make_user(BETTY, "Blogger"))):
			self.assertEqual(self.connect(self.app, browser).status_code, 302)
		self.secrets = ["demo-secret"]
		for user in (ALICE, BETTY):
			kept = row(self.app, user)
			self.secrets += [kept.get_password("access_token"), kept.get_password("refresh_token")]

	def ask(self, *arguments: str, code: int = 0) -> Any:
		"""What the command says as JSON."""
		ended = bench(*arguments, "--json")
		self.assertEqual(ended.returncode, code, ended.stderr[-1000:] + ended.stdout[-1000:])
		self.assertTellsNoSecret(ended)
		return json.loads(ended.stdout)

	def assertTellsNoSecret(self, ended: Any) -> None:
		for secret in self.secrets:
			self.assertNotIn(secret, ended.stdout + ended.stderr)

	def test_list(self) -> None:
		(told,) = (one for one in self.ask("list") if one["name"] == self.app.name)
		self.assertEqual(
			told,
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
		told = self.ask("refresh", self.app.name, "--user", ALICE)
		self.assertEqual(told, [{"user": ALICE, "refreshed": True, "code": "", "message": ""}])
		self.assertNotEqual(row(self.app, ALICE).get_password("access_token"), self.secrets[1])
		self.assertEqual(row(self.app, BETTY).get_password("access_token"), self.secrets[3])
		self.assertEqual(self.authlib.stats()["refreshes"], 1)
		self.authlib.command("revoke")
		told = self.ask("refresh", self.app.name, code=1)
		self.assertEqual(
			[(one["user"], one["refreshed"], one["code"]) for one in told],
			[(ALICE, False, "grant_invalid"), (BETTY, False, "grant_invalid")],
		)
		self.assertEqual(row(self.app, ALICE).status, "Reconnect Required")

	def test_revoke(self) -> None:
		asked = bench("revoke", self.app.name, "--user", ALICE, stdin="n\n")
		self.assertEqual(asked.returncode, 1)
		self.assertIsNotNone(row(self.app, ALICE))
		told = self.ask("revoke", self.app.name, "--user", ALICE, "--yes")
		self.assertEqual(told, [{"user": ALICE, "revoked": True}])
		self.assertIsNone(row(self.app, ALICE))
		self.assertEqual(self.authlib.stats()["revocations"], 2)
		frappe.db.set_value("Connected App", self.app.name, "revocation_uri", "http://127.0.0.1:1/revoke")
		frappe.db.commit()
		told = self.ask("revoke", self.app.name, "--all", "--yes", code=1)
		self.assertEqual(told, [{"user": BETTY, "revoked": False}])
		self.assertIsNone(row(self.app, BETTY))
		self.assertEqual(self.ask("revoke", self.app.name, "--all", "--yes"), [])
		ended = {"reference_name": self.app.name, "subject": ("like", "Disconnected%")}
		self.assertEqual(frappe.get_all("Activity Log", ended, pluck="user"), ["Administrator"] * 2)

	def test_wrong_usage(self) -> None:
		for arguments in (
			("check", "nothing"),
			("list", "nothing"),
			("refresh", self.app.name, "--user", "nobody@site.example"),
			("revoke", self.app.name),
			("revoke", self.app.name, "--all", "--user", ALICE),
			("frobnicate",),
		):
			ended = bench(*arguments)
			self.assertEqual(ended.returncode, 2, arguments)
			self.assertIn("Error: ", ended.stderr)
			self.assertNotIn("Traceback", ended.stderr)
		self.assertIsNotNone(row(self.app, ALICE))
