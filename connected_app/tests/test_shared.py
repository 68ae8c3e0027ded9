"""One connection for all who may use an app: made by a System Manager, used by the allowed roles, and nobody's own."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import frappe
import requests

from connected_app.oauth import ConfigurationError, ReconnectRequired
from connected_app.oauth.clock import utc_now
from connected_app.site import connections, events, schedule
from connected_app.site.identity import ConnectionKey
from connected_app.site.rows import naive
from connected_app.tests.site import (
	ALICE,
	MALLORY,
	VISITOR,
	Browser,
	Case,
	forget,
	in_a_new_job,
	in_processes,
	logged_in,
	make_app,
	make_user,
	needs_providers,
	provider,
	statements,
)

MANAGER, SECOND, SELLER = "shared-manager@site.example", "second-manager@site.example", "seller@site.example"
PROCESSES = 32
TOKEN = "app.get_oauth2_session(user).token['access_token']"


@needs_providers
class Shared(Case):
	"""Connected by a System Manager for Alice, who is a Blogger, and for the Seller. Mallory has no role that counts."""

	@classmethod
	def setUpClass(cls) -> None:
		super().setUpClass()
		make_user(SECOND, "System Manager")
		cls.addClassCleanup(in_a_new_job, make_user, MALLORY, "Blogger")
		frappe.get_doc("User", MALLORY).remove_roles("Blogger")
		frappe.db.commit()
		cls.mallory = Browser(MALLORY)

	def setUp(self) -> None:
		super().setUp()
		for user, role in ((MANAGER, "System Manager"), (SELLER, "Blogger")):
			make_user(user, role)
		self.manager = logged_in(MANAGER)
		self.app = make_app(
			self.authlib.issuer,
			connection_is="Shared",
			everyone_may_connect=0,
			allowed_roles=[{"role": "Blogger"}],
		)
		self.afterwards(self.tidy)
		self.assertEqual(self.connect(self.app, self.manager).status_code, 302)
		self.token = self.stored()

	def tidy(self) -> None:
		"""Other tests look at what Alice is connected to."""
		frappe.delete_doc("Connected App", self.app.name, force=True)

	def key(self) -> ConnectionKey:
		return ConnectionKey.of_organisation(self.app.name)

	def stored(self) -> str:
		frappe.db.rollback()
		forget()
		return frappe.get_doc("Token Cache", f"{self.app.name}-shared").get_password("access_token")

	def set(self, **values: Any) -> None:
		frappe.db.rollback()
		frappe.db.set_value("Token Cache", f"{self.app.name}-shared", values)
		frappe.db.commit()
		forget()

	def session(self, user: str) -> Any:
		frappe.db.rollback()
		forget()
		return frappe.get_doc("Connected App", self.app.name).get_oauth2_session(user)

	def hello(self, user: str) -> Any:
		return self.session(user).get(f"{self.authlib.issuer}/api/hello").json()

	def assertRefusedTo(self, user: str) -> None:
		app = frappe.get_doc("Connected App", self.app.name)
		for use in (app.get_oauth2_session, app.get_active_token):
			forget()
			with self.assertRaises(frappe.PermissionError) as caught:
				use(user)
			self.assertIn(user, str(caught.exception))
			self.assertNotIn(self.token, str(caught.exception))
		self.assertIsNone(app.get_token_cache(user))
		frappe.clear_messages()


class TestUse(Shared):
	def test_one_grant_for_all(self) -> None:
		for user in (ALICE, SELLER, MANAGER, SECOND, "Administrator"):
			self.assertEqual(self.session(user).token["access_token"], self.token, user)
		self.assertEqual(self.hello(ALICE), {"hello": "Alice"})
		app = frappe.get_doc("Connected App", self.app.name)
		self.assertEqual(app.get_active_token(ALICE).get_password("access_token"), self.token)
		self.assertEqual(app.get_token_cache(SELLER).connected_by, MANAGER)
		app.require_scopes("read", user=ALICE)
		self.assertEqual(frappe.db.count("Token Cache", {"connected_app": self.app.name}), 1)

	def test_its_account_by_name(self) -> None:
		"""As where each user has one: also when it has to be refreshed, tried or disconnected."""
		app = frappe.get_doc("Connected App", self.app.name)
		for account in ("alice@example.com", "alice"):
			session = app.get_oauth2_session(ALICE, account=account)
			self.authlib.command("expire")
			self.assertEqual(session.get(f"{self.authlib.issuer}/api/hello").json(), {"hello": "Alice"})
			self.assertIsNotNone(app.get_token_cache(ALICE, account))
		self.assertTrue(self.alice.ask("test_connection", connected_app=app.name, account="alice")["ok"])
		self.manager.ask("disconnect", connected_app=app.name, account="alice")
		frappe.db.rollback()
		self.assertEqual(frappe.db.count("Token Cache", {"connected_app": app.name}), 0)

	def test_without_a_role(self) -> None:
		for user in (MALLORY, VISITOR, "Guest", "nobody@site.example"):
			self.assertRefusedTo(user)

	def test_over_http(self) -> None:
		"""Who uses it sees it and can try it; who may not, neither. Only a System Manager connects and disconnects."""
		app = {"connected_app": self.app.name}
		for browser, sees, manages in (
			(self.alice, 200, 403),
			(self.mallory, 403, 403),
			(self.manager, 200, 200),
		):
			self.assertEqual(browser.call("test_connection", **app).status_code, sees)
			self.assertEqual(browser.call("authorize", **app).status_code, manages)
			page = browser.get(f"{browser.base}/connect?app={self.app.name}")
			self.assertEqual(page.status_code, sees)
			self.assertEqual('data-action="disconnect"' in page.text, manages == 200)
			self.assertEqual('data-action="connect"' in page.text, manages == 200)
			seen = browser.ask("connection", "GET", **app)
			self.assertEqual(seen["status"], "Connected" if sees == 200 else "Not Connected")
			self.assertEqual(seen["account_name"], "alice@example.com" if sees == 200 else None)
			self.assertEqual((seen["may_connect"], seen["may_disconnect"]), (manages == 200, manages == 200))
			listed = [each for each in browser.ask("my_connections", "GET") if each["name"] == self.app.name]
			self.assertEqual([each["status"] for each in listed], ["Connected"] if sees == 200 else [])
			self.assertEqual(browser.ask("has_token", "GET", **app), sees == 200)
			self.assertNotIn(self.token, page.text + json.dumps([seen, listed], default=str))
			if manages != 200:
				for user in ({}, {"user": MANAGER}):
					self.assertEqual(browser.call("disconnect", **app, **user).status_code, 403)
				self.assertGreaterEqual(
					browser.get(
						f"{browser.base}/api/resource/Token Cache/{self.app.name}-shared"
					).status_code,
					400,
				)
		self.assertEqual(self.stored(), self.token)
		self.assertEqual(self.manager.ask("disconnect", **app), {"revoked": True})
		self.assertEqual(self.alice.ask("connection", "GET", **app)["status"], "Not Connected")
		with self.assertRaises(ReconnectRequired):
			self.hello(ALICE)

	def test_one_refresh_for_callers_of_different_users(self) -> None:
		with provider("--token-delay", "150") as slow:
			app = make_app(slow.issuer, connection_is="Shared")
			url = self.manager.ask("authorize", connected_app=app.name)
			self.assertEqual(self.manager.visit(slow.consent(url)).status_code, 302)
			frappe.db.set_value("Token Cache", f"{app.name}-shared", "expires_at", "2020-01-01")
			frappe.db.commit()
			users = (ALICE, SELLER, MANAGER, SECOND, MALLORY, VISITOR)
			answers = in_processes(PROCESSES, TOKEN, app, *users)
			frappe.db.rollback()
			token = frappe.get_doc("Token Cache", f"{app.name}-shared").get_password("access_token")
			self.assertEqual(answers, [f"gave {token}"] * PROCESSES)
			stats = slow.stats()
			self.assertEqual((stats["token_requests"], stats["refreshes"], stats["reuses"]), (2, 1, 0))

	def test_more_consent_is_a_managers_to_give(self) -> None:
		app = frappe.get_doc("Connected App", self.app.name)
		app.optional_scopes = "write"
		app.save()
		frappe.db.commit()
		for browser, user, words in (
			(self.alice, ALICE, "Only a System Manager may connect"),
			(self.manager, MANAGER, "More is needed"),
		):
			with self.assertRaises(ReconnectRequired) as caught:
				app.require_scopes("write", user=user)
			page = browser.get(caught.exception.connect_url)
			self.assertEqual((page.status_code, words in page.text), (200, True))

	def test_statements(self) -> None:
		"""As a connection of one's own: one, then none."""
		for _again in range(2):
			frappe.get_cached_doc("Connected App", self.app.name).get_oauth2_session(ALICE)
		forget()
		with statements() as sent:
			for expected in (1, 0):
				sent.clear()
				frappe.get_cached_doc("Connected App", self.app.name).get_oauth2_session(ALICE)
				self.assertEqual(len(sent), expected, sent)

	def test_my_connections_in_a_fixed_number_of_statements(self) -> None:
		frappe.set_user(ALICE)
		connections.of_user(ALICE)
		with statements() as sent:
			connections.of_user(ALICE)
			before = len(sent)
			frappe.set_user("Administrator")
			for _more in range(3):
				make_app(self.authlib.issuer, connection_is="Shared")
			frappe.set_user(ALICE)
			sent.clear()
			self.assertGreaterEqual(len(connections.of_user(ALICE)), 4)
			self.assertEqual(len(sent), before)

	def test_beside_the_service_principal(self) -> None:
		"""Neither has the other's token, though neither row has a user."""
		client = frappe.get_doc("Connected App", self.app.name).get_backend_app_token()
		self.assertEqual((client.name, client.shared), (f"{self.app.name}-", 0))
		self.assertNotEqual(client.get_password("access_token"), self.token)
		self.assertEqual(self.session(ALICE).token["access_token"], self.token)

	def test_renewed_in_the_background(self) -> None:
		self.set(idle_since=naive(utc_now() - timedelta(days=400)))
		self.assertEqual([row.name for row in schedule.due(10, self.app.name)], [f"{self.app.name}-shared"])
		schedule.refresh(self.app.name)
		self.assertNotEqual(self.stored(), self.token)
		self.assertEqual(self.authlib.stats()["refreshes"], 1)


class TestWhoIsAllowed(Shared):
	def test_who_stops_being_allowed_while_a_job_runs(self) -> None:
		"""Without the role, a session that is there already gets no new token, and there is no new session."""
		session = self.session(SELLER)
		self.set(expires_at="2020-01-01")
		due = self.session
		frappe.get_doc("User", SELLER).remove_roles("Blogger")
		frappe.db.commit()
		with self.assertRaises(frappe.PermissionError):
			session.refresh_token()
		self.assertRefusedTo(SELLER)
		self.assertEqual(self.authlib.stats()["refreshes"], 0)
		self.assertEqual(due(ALICE).get(f"{self.authlib.issuer}/api/hello").json(), {"hello": "Alice"})

	def test_a_disabled_user(self) -> None:
		user = frappe.get_doc("User", SELLER)
		user.enabled = 0
		user.save()
		frappe.db.commit()
		self.assertRefusedTo(SELLER)
		self.assertEqual(self.hello(ALICE), {"hello": "Alice"})

	def test_it_outlives_its_maker(self) -> None:
		"""Renamed, disabled, deleted: the connection stays, and the audit trail says who made it."""
		self.afterwards(
			frappe.delete_doc, "User", "renamed-manager@site.example", force=True, ignore_missing=True
		)
		frappe.rename_doc("User", MANAGER, "renamed-manager@site.example", force=True, show_alert=False)
		frappe.db.commit()
		row = frappe.get_doc("Token Cache", f"{self.app.name}-shared")
		self.assertEqual((row.user, row.connected_by), (None, "renamed-manager@site.example"))
		self.assertEqual(self.hello(ALICE), {"hello": "Alice"})
		user = frappe.get_doc("User", row.connected_by)
		user.enabled = 0
		user.save()
		frappe.db.commit()
		self.assertEqual(self.hello(ALICE), {"hello": "Alice"})
		frappe.delete_doc("User", user.name, force=True)
		frappe.db.commit()
		self.assertEqual(self.hello(ALICE), {"hello": "Alice"})
		self.assertEqual(self.stored(), self.token)
		self.assertEqual(self.authlib.stats()["revocations"], 0)
		filters = {"reference_name": self.app.name, "subject": ("like", "Connected for everybody%")}
		(log,) = frappe.get_all("Activity Log", filters, ["subject", "user"])
		self.assertIn(log.user, (MANAGER, "renamed-manager@site.example"))

	def test_the_last_manager_leaves(self) -> None:
		"""Somebody who can do something hears that it is broken: who connected it, and where they have left, another."""
		news = {"document_name": self.app.name, "document_type": "Connected App"}
		events.announce("broken", self.key(), "grant_invalid")
		frappe.db.rollback()
		(told,) = frappe.get_all("Notification Log", news, ["for_user", "subject"])
		self.assertEqual(
			(told.for_user, told.subject), (MANAGER, "The shared connection to Demo does not work")
		)
		frappe.db.delete("Notification Log", news)
		frappe.db.set_value("User", MANAGER, "enabled", 0)
		frappe.db.set_value("Connected App", self.app.name, "owner", MANAGER)
		frappe.db.commit()
		events.announce("broken", self.key(), "grant_invalid")
		frappe.db.rollback()
		(told,) = frappe.get_all("Notification Log", news, pluck="for_user")
		self.assertIn("System Manager", frappe.get_roles(told))
		self.assertNotEqual(told, MANAGER)

	def test_two_connect_it_at_once(self) -> None:
		"""The second, with another account, is asked; with the same account, the last grant counts."""
		second = Browser(SECOND)
		first_url = self.manager.ask("authorize", connected_app=self.app.name, success_uri="/me")
		second_url = second.ask("authorize", connected_app=self.app.name, success_uri="/me")
		landed = self.manager.visit(self.authlib.consent(first_url))
		self.assertEqual(landed.headers["Location"], "/me")
		landed = second.visit(self.authlib.consent(second_url, account="bob"))
		self.assertEqual(landed.headers["Location"], f"/connect?app={self.app.name}")
		self.assertIn("bob@example.com", second.open(f"/connect?app={self.app.name}").text)
		self.assertNotIn("bob@example.com", self.manager.open(f"/connect?app={self.app.name}").text)
		self.assertNotIn("bob@example.com", self.alice.open(f"/connect?app={self.app.name}").text)
		self.assertEqual(
			self.alice.call("choose_account", connected_app=self.app.name, replace=1).status_code, 403
		)
		self.assertEqual(
			self.manager.call("choose_account", connected_app=self.app.name, replace=1).status_code, 417
		)
		second.ask("choose_account", connected_app=self.app.name, replace=1)
		self.assertEqual(self.hello(ALICE), {"hello": "Bob"})
		self.assertEqual(
			frappe.db.get_value("Token Cache", f"{self.app.name}-shared", "connected_by"), SECOND
		)


class TestTurning(Shared):
	def revoked(self, token: str) -> bool:
		headers = {"Authorization": f"Bearer {token}"}
		return not requests.get(f"{self.authlib.issuer}/api/hello", headers=headers, timeout=30).ok

	def turn(self, kind: str) -> None:
		frappe.db.rollback()
		app = frappe.get_doc("Connected App", self.app.name)
		app.connection_is = kind
		app.save()
		frappe.db.commit()
		forget()

	def test_into_each_users_own_and_back(self) -> None:
		"""What there is ends, and is revoked, both ways: nobody gets what somebody else has consented to."""
		self.turn("Each User's Own")
		self.assertEqual(frappe.db.count("Token Cache", {"connected_app": self.app.name}), 0)
		self.assertTrue(self.revoked(self.token))
		self.assertEqual(self.connect(self.app, self.alice).status_code, 302)
		own = self.session(ALICE).token["access_token"]
		with self.assertRaises(ReconnectRequired):
			self.session(SELLER).get(f"{self.authlib.issuer}/api/hello")
		self.turn("Shared")
		self.assertEqual(frappe.db.count("Token Cache", {"connected_app": self.app.name}), 0)
		self.assertTrue(self.revoked(own))
		for user in (ALICE, SELLER):
			with self.assertRaises(ReconnectRequired):
				self.session(user).get(f"{self.authlib.issuer}/api/hello")

	def test_while_somebody_consents(self) -> None:
		"""A consent to the one is none to the other."""
		url = self.manager.ask("authorize", connected_app=self.app.name)
		self.turn("Each User's Own")
		page = self.manager.visit(self.authlib.consent(url, account="bob"))
		self.assertRefused(page, "attempt_unknown")
		self.assertEqual(frappe.db.count("Token Cache", {"connected_app": self.app.name}), 0)

	def test_saving_anything_else(self) -> None:
		app = frappe.get_doc("Connected App", self.app.name)
		app.leeway = 20
		app.save()
		frappe.db.commit()
		self.assertEqual(self.stored(), self.token)

	def test_renamed_disabled_and_deleted_apps(self) -> None:
		new = f"renamed-{self.app.name}"
		frappe.rename_doc("Connected App", self.app.name, new, force=True, show_alert=False)
		frappe.db.commit()
		self.app = frappe.get_doc("Connected App", new)
		self.assertEqual(self.hello(ALICE), {"hello": "Alice"})
		other = make_app(self.authlib.issuer)
		with self.assertRaises(frappe.ValidationError):
			frappe.rename_doc("Connected App", new, other.name, merge=True, force=True, show_alert=False)
		frappe.db.rollback()
		self.app.reload()
		self.app.enabled = 0
		self.app.save()
		frappe.db.commit()
		self.assertTrue(self.revoked(self.token))
		forget()
		with self.assertRaises(ConfigurationError):
			self.app.get_oauth2_session("Administrator")
		self.assertEqual(frappe.db.count("Token Cache", {"connected_app": new}), 0)

	def test_what_an_admin_sees(self) -> None:
		people = self.admin.ask("connections", "GET", connected_app=self.app.name)
		(row,) = people["rows"]
		self.assertEqual((row["user"], row["shared"], row["connected_by"]), (None, 1, MANAGER))
