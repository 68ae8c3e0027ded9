"""Events: the audit trail, notifications and e-mails to owners, and what other apps get."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from unittest.mock import Mock, patch

import frappe
import requests

from connected_app.oauth import ReconnectRequired, TemporaryFailure
from connected_app.oauth.clock import utc_now
from connected_app.site import events
from connected_app.site.identity import ConnectionKey
from connected_app.site.rows import naive
from connected_app.tests.site import (
	ALICE,
	Browser,
	forget,
	in_processes,
	make_user,
	needs_providers,
	row,
	work,
)
from connected_app.tests.test_refreshing import TOKEN, Connected

LISTENERS = {
	"broken": ["connected_app.tests.listener.fails", "connected_app.tests.listener.heard"],
	"connected": ["connected_app.tests.listener.heard"],
}
# Another app has registered itself.
REGISTERED = f"""
original, listeners = frappe.get_hooks, {LISTENERS!r}
frappe.get_hooks = lambda hook=None, *a, **k: listeners if hook == "connected_app_events" else original(hook, *a, **k)
"""


class Events(Connected):
	def setUp(self) -> None:
		super().setUp()
		self.since = frappe.utils.now()
		frappe.db.delete("Activity Log", {"reference_name": self.app.name})
		frappe.db.delete("Notification Log", {"for_user": ALICE})
		frappe.db.delete("Email Queue Recipient", {"recipient": ALICE})
		frappe.db.commit()

	def audit(self) -> list[Any]:
		frappe.db.rollback()
		return frappe.get_all(
			"Activity Log",
			filters={"reference_doctype": "Connected App", "reference_name": self.app.name},
			fields=["subject", "status", "user", "ip_address"],
			order_by="creation",
		)

	def news(self, **filters: Any) -> list[Any]:
		frappe.db.rollback()
		return frappe.get_all(
			"Notification Log",
			filters={"for_user": ALICE, "document_name": self.app.name, **filters},
			fields=["subject", "link", "type", "read", "email_content"],
			order_by="creation",
		)

	def break_it(self) -> None:
		self.authlib.command("revoke")
		self.due()
		self.assertFails(ReconnectRequired, "grant_invalid")

	def take_down(self) -> None:
		self.due()
		self.change(token_uri="http://127.0.0.1:1/token")
		self.assertFails(TemporaryFailure, "network")

	def failing_for(self, hours: int) -> None:
		self.set(failing_since=naive(utc_now()) - timedelta(hours=hours), retry_at="2020-01-01")


@needs_providers
class TestAudit(Events):
	def test_who_when_and_from_where(self) -> None:
		self.assertEqual(self.connect(self.app).status_code, 302)
		self.connect(self.app, allow=False)
		self.admin.ask("disconnect", connected_app=self.app.name, user=ALICE)
		log = self.audit()
		self.assertEqual(
			[(entry.status, entry.user, entry.ip_address) for entry in log],
			[
				("Success", ALICE, "127.0.0.1"),
				("Failed", ALICE, "127.0.0.1"),
				("Success", "Administrator", "127.0.0.1"),
			],
		)
		self.assertEqual(log[0].subject, f"{ALICE} connected to Demo")
		self.assertIn("consent_declined", log[1].subject)
		self.assertIn(ALICE, log[2].subject)

	def test_failures_only(self) -> None:
		"""A refresh that succeeds leaves no entry; one that goes on failing for one reason leaves one."""
		self.due()
		self.assertEqual(self.hello(), {"hello": "Alice"})
		self.assertEqual(self.authlib.stats()["refreshes"], 1)
		self.assertEqual(self.audit(), [])
		self.take_down()
		for _again in range(2):
			self.set(retry_at="2020-01-01")
			self.assertFails(TemporaryFailure, "network")
		(entry,) = self.audit()
		self.assertEqual(entry.status, "Failed")
		self.assertIn("network", entry.subject)
		self.change(token_uri=f"{self.authlib.issuer}/nothing")
		self.set(retry_at="2020-01-01")
		self.assertFails(TemporaryFailure, "response_invalid")
		self.assertEqual(len(self.audit()), 2)

	def test_no_secrets(self) -> None:
		self.assertEqual(self.connect(self.app).status_code, 302)
		kept = row(self.app, ALICE)
		secrets = [kept.get_password("access_token"), kept.get_password("refresh_token"), "demo-secret"]
		self.break_it()
		told = str(frappe.get_all("Activity Log", fields=["*"])) + str(
			frappe.get_all("Notification Log", fields=["*"])
		)
		for secret in secrets:
			self.assertNotIn(secret, told)

	def test_deleted_in_desk(self) -> None:
		name = f"{self.app.name}-{ALICE}"
		self.assertEqual(
			self.alice.delete(f"{self.alice.base}/api/resource/Token Cache/{name}").status_code, 202
		)
		self.assertEqual([(entry.status, entry.user) for entry in self.audit()], [("Success", ALICE)])
		frappe.delete_doc("Connected App", self.app.name, force=True)
		frappe.db.rollback()
		self.assertEqual(len(self.audit()), 1)

	def test_a_user_leaves(self) -> None:
		"""With a user, or with the app, their connections end: the log says so, once each."""
		leaver = make_user(f"leaver-{self.app.name}@site.example", "Blogger")
		self.assertEqual(self.connect(self.app, Browser(leaver)).status_code, 302)
		frappe.get_doc("User", leaver).update({"enabled": 0}).save()
		frappe.db.commit()
		log = self.audit()
		self.assertEqual([leaver in entry.subject for entry in log], [True, True])
		frappe.delete_doc("User", leaver, force=True)
		frappe.delete_doc("Connected App", self.app.name)
		frappe.db.commit()
		ended = {"subject": ("like", f"Disconnected: {ALICE}%"), "creation": (">", self.since)}
		self.assertEqual(frappe.db.count("Activity Log", ended), 1)

	def test_nobody_fills_the_log_from_outside(self) -> None:
		refused = {"subject": ("like", "Refused%")}
		before = frappe.db.count("Activity Log", refused)
		requests.get(self.app.redirect_uri + "?state=x&code=y", timeout=30)
		self.alice.visit(self.app.redirect_uri.replace(self.app.name, "nothing") + "?state=x&code=y")
		frappe.db.rollback()
		self.assertEqual(frappe.db.count("Activity Log", refused), before)
		self.assertRefused(self.alice.visit(self.app.redirect_uri + "?code=y"), "state_missing")
		self.assertIn("state_missing", self.audit()[0].subject)

	def test_without_the_role(self) -> None:
		self.change(everyone_may_connect=0)
		self.assertEqual(self.alice.call("authorize", connected_app=self.app.name).status_code, 403)
		(entry,) = self.audit()
		self.assertEqual((entry.status, entry.user), ("Failed", ALICE))
		self.assertIn("not_allowed", entry.subject)

	def test_where_it_is_seen_and_how_long(self) -> None:
		"""The form's dashboard links to it, and to nothing else; Log Settings clear it; website users do not read it."""
		links = {link.link_doctype: link.link_fieldname for link in frappe.get_meta("Connected App").links}
		self.assertEqual(links, {"Activity Log": "reference_name"})
		counted = self.admin.ask(
			"frappe.desk.notifications.get_open_count", doctype="Connected App", name=self.app.name
		)
		self.assertIn("Activity Log", str(counted))
		self.assertIn("Activity Log", frappe.get_hooks("default_log_clearing_doctypes"))
		self.assertEqual(self.alice.get(f"{self.alice.base}/api/resource/Activity Log").status_code, 403)

	def test_markup_stays_text(self) -> None:
		frappe.db.set_value("Connected App", self.app.name, "provider_name", "<img src=x>")
		frappe.db.commit()
		self.break_it()
		self.assertNotIn("<img", str(self.audit()) + str(self.news()))


@needs_providers
class TestNotifications(Events):
	def test_once_and_again_when_it_works(self) -> None:
		self.break_it()
		(told,) = self.news()
		self.assertEqual(told.subject, "Your connection to Demo no longer works")
		self.assertTrue(told.link.endswith(f"/connect?app={self.app.name}"))
		self.assertEqual(self.alice.open(told.link.removeprefix(self.alice.base)).status_code, 200)
		self.assertFails(ReconnectRequired, "grant_invalid")
		self.assertEqual(len(self.news()), 1)
		self.assertIsNotNone(row(self.app, ALICE).notified_on)
		self.assertEqual(self.connect(self.app).status_code, 302)
		self.assertEqual(
			[(entry.subject, entry.read) for entry in self.news()],
			[(told.subject, 1), ("Your connection to Demo works again", 0)],
		)
		self.assertIsNone(row(self.app, ALICE).notified_on)
		self.assertEqual(self.connect(self.app).status_code, 302)
		self.assertEqual(len(self.news()), 2)

	def test_many_processes_at_once(self) -> None:
		if frappe.db.db_type == "sqlite":
			self.skipTest("SQLite has one writer at a time")
		self.authlib.command("revoke")
		self.due()
		answers = in_processes(4, TOKEN, self.app)
		self.assertTrue(all(answer.startswith("error ReconnectRequired") for answer in answers), answers)
		self.assertEqual(len(self.news()), 1)
		self.assertEqual(len(self.audit()), 1)

	def test_what_passes_is_not_told(self) -> None:
		"""A provider that is down for less than a day concerns nobody; for longer, the owner hears of it once."""
		self.take_down()
		self.failing_for(23)
		self.assertFails(TemporaryFailure, "network")
		self.assertEqual(self.news(), [])
		self.change(token_uri=f"{self.authlib.issuer}/token")
		self.set(retry_at="2020-01-01")
		self.assertEqual(self.hello(), {"hello": "Alice"})
		self.assertEqual(self.news(), [])
		self.take_down()
		for _again in range(2):
			self.failing_for(25)
			self.assertFails(TemporaryFailure, "network")
		(told,) = self.news()
		self.assertEqual(told.subject, "Your connection to Demo has not worked for a day")
		self.change(token_uri=f"{self.authlib.issuer}/token")
		self.set(retry_at="2020-01-01")
		self.assertEqual(self.hello(), {"hello": "Alice"})
		self.assertEqual(self.news()[1].subject, "Your connection to Demo works again")

	def test_from_failing_to_dead(self) -> None:
		"""An owner who heard that a failure will pass hears when it does not."""
		self.take_down()
		self.failing_for(25)
		self.assertFails(TemporaryFailure, "network")
		self.authlib.command("revoke")
		self.change(token_uri=f"{self.authlib.issuer}/token")
		self.set(retry_at="2020-01-01")
		self.assertFails(ReconnectRequired, "grant_invalid")
		self.assertEqual(
			[entry.subject for entry in self.news()],
			["Your connection to Demo has not worked for a day", "Your connection to Demo no longer works"],
		)

	def test_the_callers_work_is_untouched(self) -> None:
		"""core-defects 30: the notification outlives the caller's rollback; the caller's work does not."""
		if frappe.db.db_type == "sqlite":
			self.skipTest("SQLite has one writer at a time")
		self.authlib.command("revoke")
		self.due()
		note = frappe.get_doc({"doctype": "ToDo", "description": "half done"}).insert()
		self.assertFails(ReconnectRequired, "grant_invalid")
		frappe.db.rollback()
		self.assertFalse(frappe.db.exists("ToDo", note.name))
		self.assertEqual(len(self.news()), 1)

	def test_in_the_owners_language(self) -> None:
		"""Whichever request notices it."""
		source, text = "Your connection to {0} no longer works", "Ihre Verbindung zu {0} klappt nicht mehr"
		translation = frappe.get_doc(
			{"doctype": "Translation", "language": "de", "source_text": source, "translated_text": text}
		).insert()
		self.afterwards(frappe.delete_doc, "Translation", translation.name, ignore_missing=True)
		before = frappe.db.get_value("User", ALICE, "language")
		self.afterwards(frappe.db.set_value, "User", ALICE, "language", before)
		frappe.db.set_value("User", ALICE, "language", "de")
		frappe.db.commit()
		self.break_it()
		self.assertEqual(self.news()[0].subject, text.format("Demo"))

	def test_settings_of_the_owner(self) -> None:
		self.afterwards(self.settings, enabled=1)
		self.settings(enabled=0)
		self.break_it()
		self.assertEqual(self.news(), [])
		self.assertEqual(row(self.app, ALICE).status, "Reconnect Required")

	def settings(self, **values: Any) -> None:
		frappe.db.rollback()
		frappe.db.set_value("Notification Settings", ALICE, values)
		frappe.db.commit()

	def test_email(self) -> None:
		"""One e-mail with the link, where the app and the owner want it; a site without outgoing e-mail does well too."""
		self.break_it()
		self.assertEqual(self.mails(), [])
		account = frappe.get_doc(
			{
				"doctype": "Email Account",
				"email_account_name": "Outgoing",
				"email_id": "site@site.example",
				"enable_outgoing": 1,
				"default_outgoing": 1,
				"smtp_server": "127.0.0.1",
				"no_smtp_authentication": 1,
			}
		)
		self.afterwards(frappe.delete_doc, "Email Account", "Outgoing", force=True, ignore_missing=True)
		with patch.object(type(account), "validate"):  # which would call the server
			account.insert(ignore_if_duplicate=True)
		frappe.db.commit()
		for app_wants, owner_wants, expected in ((1, 1, 1), (0, 1, 0), (1, 0, 0)):
			self.assertEqual(self.connect(self.app).status_code, 302)
			self.change(email_when_broken=app_wants, provider_name="R&D")
			self.afterwards(self.settings, enable_email_notifications=1)
			self.settings(enable_email_notifications=owner_wants)
			frappe.db.delete("Email Queue Recipient", {"recipient": ALICE})
			frappe.db.commit()
			self.break_it()
			self.assertFails(ReconnectRequired, "grant_invalid")
			mails = self.mails()
			self.assertEqual(len(mails), expected, (app_wants, owner_wants))
			if mails:
				text = (
					frappe.db.get_value("Email Queue", mails[0], "message")
					.replace("=\n", "")
					.replace("=3D", "=")
				)
				self.assertIn(f"/connect?app={self.app.name}", text)
				self.assertIn("grant_invalid", text)
				self.assertIn("Subject: Your connection to R&D no longer works", text)

	def mails(self) -> list[str]:
		frappe.db.rollback()
		return frappe.get_all("Email Queue Recipient", {"recipient": ALICE}, pluck="parent")

	def test_the_service_principal(self) -> None:
		"""The user who set up the app hears of connections without a user."""
		owner = make_user("owner@site.example", "System Manager")
		frappe.db.set_value("Connected App", self.app.name, "owner", owner)
		frappe.db.commit()
		events.announce("broken", ConnectionKey.of_service_principal(self.app.name), "invalid_client")
		frappe.db.rollback()
		self.assertTrue(
			frappe.db.exists("Notification Log", {"for_user": owner, "document_name": self.app.name})
		)
		self.assertIn("service principal", self.audit()[0].subject)


@needs_providers
class TestListeners(Events):
	def registered(self) -> Any:
		original = frappe.get_hooks

		def get_hooks(hook: str | None = None, *args: Any, **kwargs: Any) -> Any:
			return LISTENERS if hook == events.HOOK else original(hook, *args, **kwargs)

		return patch.object(frappe, "get_hooks", get_hooks)

	def heard(self) -> list[Any]:
		frappe.db.rollback()
		found = frappe.get_all("ToDo", {"description": ("like", f"%{self.app.name}%")}, pluck="description")
		return [json.loads(text) if text.startswith("{") else text for text in found]

	def test_another_app_hears_of_it(self) -> None:
		"""In a background job, with names only; one listener's failure is not another's, nor the caller's."""
		with self.registered():
			self.break_it()
		self.assertEqual(self.heard(), [])
		work(REGISTERED)
		self.assertEqual(
			self.heard(),
			[{"event": "broken", "connected_app": self.app.name, "user": ALICE, "code": "grant_invalid"}],
		)
		# On SQLite our own transactions commit what was done before.
		if frappe.db.db_type != "sqlite":
			self.assertTrue(frappe.db.exists("Error Log", {"method": ("like", "%listener.fails failed%")}))

	def test_a_busy_database(self) -> None:
		"""A listener whose transaction a deadlock has undone is called again, and others once."""
		for failures, calls, logged in ((0, 1, 0), (2, 3, 0), (5, 3, 1)):
			listener = Mock(side_effect=[*[frappe.QueryDeadlockError("locked")] * failures, None])
			with (
				patch.object(events, "_listeners", return_value=["another_app.busy"]),
				patch.object(frappe, "get_attr", return_value=lambda **event: listener(**event)),  # noqa: B023
				patch.object(events.time, "sleep"),
				patch.object(frappe, "log_error") as log_error,
			):
				events.deliver("broken", self.app.name, ALICE, "grant_invalid")
			self.assertEqual((listener.call_count, log_error.call_count), (calls, logged))

	def test_a_listener_that_works_as_another_user(self) -> None:
		"""Each call of each listener begins as the user of the event."""
		users: list[str] = []

		def listener(**_event: Any) -> None:
			users.append(frappe.session.user)
			frappe.set_user("Guest")
			if len(users) == 1:
				raise frappe.QueryDeadlockError("locked")

		frappe.set_user(ALICE)
		with (
			patch.object(events, "_listeners", return_value=["another_app.first", "another_app.second"]),
			patch.object(frappe, "get_attr", return_value=listener),
			patch.object(events.time, "sleep"),
		):
			events.deliver("broken", self.app.name, ALICE, "grant_invalid")
		self.assertEqual(users, [ALICE] * 3)

	def test_what_a_listener_has_run_after_its_commit(self) -> None:
		"""It is that listener's, too: its failure is not another's, and calls nobody again."""
		calls: list[str] = []

		def listener(path: str) -> Any:
			def called(**_event: Any) -> None:
				calls.append(path)
				frappe.db.after_commit.add(fails)

			return called

		fails = Mock(side_effect=frappe.QueryDeadlockError("locked"))
		with (
			patch.object(events, "_listeners", return_value=["another_app.first", "another_app.second"]),
			patch.object(frappe, "get_attr", side_effect=listener),
			patch.object(frappe, "log_error") as log_error,
		):
			events.deliver("broken", self.app.name, ALICE, "grant_invalid")
		self.assertEqual(calls, ["another_app.first", "another_app.second"])
		self.assertEqual((fails.call_count, log_error.call_count), (2, 2))

	def test_without_a_queue(self) -> None:
		"""A queue that is down costs nobody the connection, and the site's Error Log names the lost event."""
		with self.registered(), patch.object(frappe, "enqueue", side_effect=ConnectionError("secret-token")):
			self.break_it()
		self.assertEqual(len(self.news()), 1)
		frappe.db.rollback()
		logged = frappe.get_all(
			"Error Log",
			{"method": ("like", "Connected App: an event%")},
			["error"],
			order_by="creation desc",
			limit=1,
		)
		self.assertIn("ConnectionError in _hand_out", logged[0].error)
		self.assertNotIn("secret-token", logged[0].error)

	def test_a_broken_audit_trail(self) -> None:
		"""Another app's validation of Activity Log that fails costs nobody the connection."""
		with patch.object(events, "_audit", side_effect=ValueError):
			forget()
			self.due()
			self.assertEqual(self.hello(), {"hello": "Alice"})
			self.authlib.command("revoke")
			self.due()
			self.assertFails(ReconnectRequired, "grant_invalid")
		self.assertEqual(row(self.app, ALICE).status, "Reconnect Required")

	def test_the_web_goes_on(self) -> None:
		"""No dialog is left over from telling."""
		self.break_it()
		answer = Browser(ALICE).call("test_connection", connected_app=self.app.name)
		self.assertNotIn("_server_messages", answer.json())
