"""Service accounts on a running site, at Authlib's server: their key files, and connections that need nobody's consent."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

import frappe
import requests

from connected_app.oauth import ConfigurationError, keys
from connected_app.oauth.clock import utc_now
from connected_app.site.callers import Caller
from connected_app.site.identity import ConnectionKey
from connected_app.site.rows import name_of
from connected_app.tests.site import (
	ALICE,
	VISITOR,
	Browser,
	Case,
	code_of,
	forget,
	hostile,
	in_processes,
	make_app,
	make_user,
	needs_providers,
	provider,
	row,
)

ROBOT = "robot@acme.example"
BOB = "bob@site.example"


@needs_providers
class TestServiceAccounts(Case):
	@classmethod
	def setUpClass(cls) -> None:
		super().setUpClass()
		scripts = hostile()
		cls.key, cls.other = (keys.generate("RS256", "test", utc_now()) for _ in range(2))
		server = scripts.Hostile()
		cls.addClassCleanup(server.close)
		address = server.script("/keys", scripts.as_json({"keys": [cls.key.public()]}))
		running = provider("--client", f"{ROBOT}::http://127.0.0.1:*", "--keys", f"{ROBOT}={address}")
		cls.google = running.__enter__()
		cls.addClassCleanup(running.__exit__, None, None, None)

	def setUp(self) -> None:
		super().setUp()
		self.google.command("reset")

	def key_file(self, key: keys.SigningKey | None = None, **changes: Any) -> str:
		key = key or self.key
		about = {"type": "service_account", "client_email": ROBOT, "private_key": str(key.pem)}
		return json.dumps({**about, "private_key_id": key.key_id, **changes})

	def make(self, **values: Any) -> Any:
		"""An app as an admin sets it up, with the key file uploaded."""
		issuer = self.google.issuer
		app = make_app(
			token_uri=f"{issuer}/token",
			userinfo_uri=f"{issuer}/userinfo",
			grant_type="Service Account",
			scopes=[{"scope": "openid"}, {"scope": "email"}],
			**values,
		)
		self.admin.ask("take_key_file", connected_app=app.name, key_file=self.key_file())
		frappe.db.rollback()
		return frappe.get_doc("Connected App", app.name)

	def asked(self) -> int:
		return self.google.stats()["token_requests"]

	def account_of(self, app: Any, user: str) -> str:
		forget()
		frappe.db.rollback()
		return app.get_oauth2_session(user).get(f"{self.google.issuer}/userinfo").json()["sub"]

	def assertFails(self, code: str, app: Any, user: str) -> None:
		forget()
		frappe.db.rollback()
		with self.assertRaises(ConfigurationError) as caught:
			app.get_oauth2_session(user).get(f"{self.google.issuer}/userinfo")
		self.assertEqual(caught.exception.code, code)

	def test_for_itself(self) -> None:
		"""The token comes from the key file alone, and the next one from the next assertion."""
		app = self.make()
		self.assertEqual(app.client_id, ROBOT)
		first = app.get_backend_app_token()
		headers = first.get_auth_header()
		known = requests.get(f"{self.google.issuer}/userinfo", headers=headers, timeout=30)
		self.assertEqual(known.json()["sub"], ROBOT)
		kept = row(app, "")
		self.assertEqual((kept.status, kept.refresh_token, kept.idle_since), ("Connected", "", None))
		frappe.db.set_value("Token Cache", kept.name, "expires_at", "2020-01-01")
		frappe.db.commit()
		forget()
		self.assertNotEqual(app.get_backend_app_token().get_auth_header(), headers)
		self.assertEqual(self.asked(), 2)
		for entry in self.google.stats()["requests"]:
			self.assertEqual(set(entry["form"]), {"grant_type", "assertion", "scope"})

	def test_as_somebody(self) -> None:
		app = self.make(subject="alice@acme.example")
		headers = app.get_backend_app_token().get_auth_header()
		known = requests.get(f"{self.google.issuer}/userinfo", headers=headers, timeout=30)
		self.assertEqual(known.json()["sub"], "alice")

	def test_whom_a_script_names(self) -> None:
		"""Who the service account acts for is the saved app's, and not what a script writes into its document."""
		app = self.make(subject="alice@acme.example")
		for change in ({"subject": "bob@acme.example"}, {"grant_type": "User Consent"}):
			changed = frappe.get_doc("Connected App", app.name).update(change)
			frappe.db.delete("Token Cache", {"connected_app": app.name})
			frappe.db.commit()
			forget()
			with patch("connected_app.site.callers._of_text", lambda text: Caller.SCRIPT):
				# As a script's frame is: it belongs to no module.
				call = "app.get_backend_app_token().get_auth_header()"
				headers = eval(call, {"app": changed})  # nosemgrep (what Frappe does)
			known = requests.get(f"{self.google.issuer}/userinfo", headers=headers, timeout=30)
			self.assertEqual(known.json()["sub"], "alice", change)

	def test_for_each_user(self) -> None:
		"""On behalf of the user whose session it is; nobody has consented, and the row is the user's own."""
		app = self.make(acts_for_users=1)
		self.assertEqual(self.account_of(app, ALICE), "alice")
		kept = row(app, ALICE)
		self.assertEqual((kept.account_id, kept.owner, kept.refresh_token), (ALICE, ALICE, ""))
		self.assertEqual(self.account_of(app, ALICE), "alice")
		self.assertEqual(self.asked(), 1)
		frappe.db.set_value("Token Cache", kept.name, "expires_at", "2020-01-01")
		frappe.db.commit()
		self.assertEqual(self.account_of(app, ALICE), "alice")
		self.assertEqual(self.asked(), 2)

	def test_one_at_a_time(self) -> None:
		self.not_on_sqlite("one writer at a time")
		app = self.make(acts_for_users=1)
		given = in_processes(6, "app.get_oauth2_session(user).token['access_token']", app)
		self.assertEqual(len(set(given)), 1, given)
		self.assertTrue(given[0].startswith("gave "), given)
		self.assertEqual(self.asked(), 1)

	def test_whom_it_may_act_for(self) -> None:
		"""As the user could connect, who consents to nothing: else nothing is asked for, and no row is made."""
		for values, user, code in (
			({}, ALICE, "not_for_users"),
			({"acts_for_users": 1}, "Administrator", "not_for_users"),
			({"acts_for_users": 1, "everyone_may_connect": 0}, ALICE, "not_allowed"),
			({"acts_for_users": 1, "enabled": 0}, ALICE, "app_disabled"),
		):
			app = self.make(**values)
			self.assertFails(code, app, user)
			self.assertIsNone(name_of(ConnectionKey.of_user(app.name, user)), values)
		app = self.make(acts_for_users=1)
		make_user(BOB)
		self.afterwards(frappe.db.set_value, "User", BOB, "enabled", 1)
		frappe.db.set_value("User", BOB, "enabled", 0)
		frappe.db.commit()
		self.assertFails("not_allowed", app, BOB)
		self.assertEqual(self.asked(), 0)
		app = self.make(acts_for_users=1, everyone_may_connect=0, allowed_roles=[{"role": "Blogger"}])
		self.assertEqual(self.account_of(app, ALICE), "alice")

	def test_names_that_are_no_address(self) -> None:
		"""The provider knows users by their addresses: nobody else's name is sent to it, and what a profile or a login name
		says does not count. Whoever clicks reads why."""
		app = self.make(acts_for_users=1)
		answer = self.admin.call("authorize", connected_app=app.name)
		self.assertEqual(answer.status_code, 417)
		self.assertIn("Administrator is no address", answer.text)
		profile = {"email": "bob@acme.example", "username": ALICE, "enabled": 1, "first_name": "Bob"}
		self.afterwards(frappe.db.delete, "User", {"name": "bob.login"})
		login = frappe.get_doc({"doctype": "User", "name": "bob.login", **profile})
		login.db_insert()
		frappe.db.commit()
		for user in ("Administrator", "Guest", login.name):
			self.assertFails("not_for_users", app, user)
			self.assertIsNone(name_of(ConnectionKey.of_user(app.name, user)))
		self.assertEqual(self.asked(), 0)
		headers = app.get_backend_app_token().get_auth_header()
		known = requests.get(f"{self.google.issuer}/userinfo", headers=headers, timeout=30)
		self.assertEqual(known.json()["sub"], ROBOT)

	def test_no_longer_allowed(self) -> None:
		"""Whoever may not connect any more gets no new token."""
		app = self.make(acts_for_users=1)
		self.assertEqual(self.account_of(app, ALICE), "alice")
		frappe.db.set_value("Token Cache", row(app, ALICE).name, "expires_at", "2020-01-01")
		app.everyone_may_connect = 0
		app.save()
		frappe.db.commit()
		self.assertFails("not_allowed", app, ALICE)
		self.assertEqual(self.asked(), 1)

	def test_connect(self) -> None:
		"""A click on *Connect* is all there is; where the provider does not let it act for a user, the page says so."""
		app = self.make(acts_for_users=1)
		where = self.alice.ask("authorize", connected_app=app.name, success_uri="/my-connections")
		self.assertEqual(where, "/my-connections")
		message = self.alice.ask("take_message")
		self.assertIn(ALICE, message["message"])
		self.assertEqual(row(app, ALICE).status, "Connected")
		before = self.asked()
		self.alice.ask("authorize", connected_app=app.name)
		self.assertEqual(self.asked(), before + 1, "a click on Reconnect")
		bob = Browser(make_user(BOB))
		answer = bob.call("authorize", connected_app=app.name)
		self.assertEqual(answer.status_code, 417)
		self.assertIn("no permission", answer.text)
		state = bob.ask("connection", "GET", connected_app=app.name)
		self.assertEqual(state["status"], "Not Connected")
		people = self.admin.ask("connections", "GET", connected_app=app.name)
		self.assertEqual((people["total"], [each["user"] for each in people["rows"]]), (1, [ALICE]))

	def test_not_offered_to_users(self) -> None:
		app = self.make()
		answer = self.alice.call("authorize", connected_app=app.name)
		self.assertEqual(answer.status_code, 417)
		self.assertIn("acts for itself", answer.text)
		mine = self.alice.ask("connection", "GET", connected_app=app.name)
		self.assertEqual((mine["for_users"], mine["may_connect"]), (False, False))
		names = [each["name"] for each in self.alice.ask("my_connections", "GET")]
		self.assertNotIn(app.name, names)

	def test_another_key_file(self) -> None:
		"""It takes the place of the one before, at once; a wrong one shows, and nobody loses anything."""
		app = self.make()
		self.assertTrue(self.admin.ask("test_service_account", connected_app=app.name)["ok"])
		self.admin.ask("take_key_file", connected_app=app.name, key_file=self.key_file(self.other))
		frappe.db.rollback()
		frappe.db.set_value(
			"Token Cache", name_of(ConnectionKey.of_service_principal(app.name)), "expires_at", "2020-01-01"
		)
		frappe.db.commit()
		known = self.admin.ask("test_service_account", connected_app=app.name)
		self.assertEqual((known["ok"], known["code"]), (False, "service_account_refused"))
		self.admin.ask("take_key_file", connected_app=app.name, key_file=self.key_file())
		self.assertTrue(self.admin.ask("test_service_account", connected_app=app.name)["ok"])

	def test_files_of_another_kind(self) -> None:
		"""Refused by a code; nothing is stored, and nothing of it is shown or logged."""
		app = self.make()
		before = frappe.db.count("Error Log")
		for text, words in (
			(json.dumps({"web": {"client_secret": "s3cret-f00"}}), "OAuth client"),
			(self.key_file(type="authorized_user"), "authorized_user"),
			(self.key_file(private_key="s3cret-f00"), "private key"),
			("s3cret-f00", "private key"),
		):
			answer = self.admin.call("take_key_file", connected_app=app.name, key_file=text)
			self.assertEqual(answer.status_code, 417)
			self.assertIn(words, answer.text)
			self.assertNotIn("s3cret-f00", answer.text)
			self.assertNotIn(str(self.key.pem)[40:80], answer.text)
		frappe.db.rollback()
		self.assertEqual(frappe.db.count("Error Log"), before)
		self.assertEqual(app.modified, frappe.db.get_value("Connected App", app.name, "modified"))

	def test_the_key_stays(self) -> None:
		"""It is encrypted, and no way of Frappe's gives it: it is kept as signing keys are."""
		app = self.make()
		secret = str(self.key.pem).splitlines()[3]
		for answer in (
			self.admin.call("frappe.client.get", "GET", doctype="Connected App", name=app.name),
			self.admin.call("frappe.desk.form.load.getdoc", "GET", doctype="Connected App", name=app.name),
			self.admin.call(
				"frappe.client.get_password",
				"GET",
				doctype="Connected App",
				name=app.name,
				fieldname="signing_key",
			),
		):
			self.assertNotIn(secret, answer.text)
		with self.assertRaises(frappe.PermissionError):
			app.get_password("signing_key")
		stored = frappe.db.sql(
			"select password from `__Auth` where name=%s and fieldname='signing_key'", (app.name,)
		)[0][0]
		self.assertNotIn(secret, stored)

	def test_unreadable_key(self) -> None:
		"""Restored on another site, without its encryption key."""
		app = self.make()
		frappe.db.sql(
			"update `__Auth` set password='nonsense' where name=%s and fieldname='signing_key'", (app.name,)
		)
		frappe.db.commit()
		with self.assertRaises(ConfigurationError) as caught:
			app.get_backend_app_token()
		self.assertEqual(caught.exception.code, "signing_key_unreadable")
		self.admin.ask("take_key_file", connected_app=app.name, key_file=self.key_file())
		frappe.db.rollback()
		forget()
		app.get_backend_app_token()

	def test_check_configuration(self) -> None:
		app = self.make()
		found = {
			each["check"]: each for each in self.admin.ask("check_configuration", connected_app=app.name)
		}
		self.assertEqual(found["service_account"]["level"], "ok")
		self.assertEqual([each for each in found.values() if each["level"] == "error"], [])
		app.subject = "nobody@acme.example"
		app.save()
		frappe.db.commit()
		found = {
			each["check"]: each for each in self.admin.ask("check_configuration", connected_app=app.name)
		}
		self.assertEqual(
			(found["service_account"]["level"], found["service_account"]["field"]), ("error", "grant_type")
		)
		bare = make_app(token_uri=f"{self.google.issuer}/token", client_id="x", grant_type="Service Account")
		found = {
			each["check"]: each for each in self.admin.ask("check_configuration", connected_app=bare.name)
		}
		self.assertEqual(found["service_key_missing"]["level"], "error")

	def test_template(self) -> None:
		"""What a template says of the grant, the form gets; another template takes it back."""
		values = self.admin.ask("provider_settings", provider="google-service-account")
		self.assertEqual(values["grant_type"], "Service Account")
		self.assertEqual(self.admin.ask("provider_settings", provider="github")["grant_type"], "User Consent")
		app = make_app(**values)
		self.admin.ask("take_key_file", connected_app=app.name, key_file=self.key_file())
		self.assertEqual(self.admin.ask("provider_differences", "GET", connected_app=app.name), [])
		box = make_app(
			**self.admin.ask("provider_settings", provider="box-key-file", inputs='{"enterprise": "1"}')
		)
		self.assertEqual(box.grant_type, "Service Account")

	def test_code_flow_is_not_begun(self) -> None:
		"""A visitor's link, too, leads to the connection at once."""
		app = self.make(acts_for_users=1)
		visitor = Browser(VISITOR)
		answer = visitor.call("authorize", connected_app=app.name)
		self.assertEqual(answer.status_code, 417, code_of(answer))
		self.assertIn("service account", answer.text)
