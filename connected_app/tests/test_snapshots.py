"""A transaction that began before a connection was refreshed, and then changes or deletes the row.

MariaDB from 11.6.2 on refuses that by default (error 1020), and rolls the whole transaction back.
"""

from __future__ import annotations

from collections.abc import Callable

import frappe
import requests

from connected_app.site import passwords
from connected_app.site.database import own_connection
from connected_app.tests.site import (
	ALICE,
	Browser,
	Case,
	forget,
	in_processes,
	make_app,
	make_user,
	needs_providers,
)

LEAVER, RENAMED = "leaver@site.example", "renamed@site.example"
ISOLATION = "innodb_snapshot_isolation"


@needs_providers
class TestSnapshots(Case):
	def setUp(self) -> None:
		super().setUp()
		self.not_on_sqlite("there, a transaction that has read cannot write once others have")
		if frappe.db.db_type == "mariadb":
			if not frappe.db.sql(f"show variables like '{ISOLATION}'"):
				self.skipTest("this MariaDB does not know innodb_snapshot_isolation")
			self.addCleanup(frappe.db.sql, f"set session {ISOLATION} = DEFAULT")
			frappe.db.sql(f"set session {ISOLATION} = ON")
		self.app = make_app(self.authlib.issuer)
		self.afterwards(self.remove)
		self.leaver = Browser(make_user(LEAVER, "Blogger"))
		self.assertEqual(self.connect(self.app, self.leaver).status_code, 302)
		self.assertEqual(self.connect(self.app).status_code, 302)

	def remove(self) -> None:
		for name in (LEAVER, RENAMED):
			if frappe.db.exists("User", name):
				frappe.delete_doc("User", name, force=True)

	def expire(self) -> None:
		frappe.db.set_value("Token Cache", f"{self.app.name}-{LEAVER}", "expires_at", "2020-01-01")
		frappe.db.commit()

	def in_this_transaction(self) -> None:
		self.app.get_oauth2_session(LEAVER)

	def in_another_process(self) -> None:
		self.assertTrue(self.leaver.ask("test_connection", connected_app=self.app.name)["account"])

	def refreshed(self, refresh: Callable[[], None]) -> None:
		"""A transaction that began before `refresh`, which has given the leaver other tokens."""
		self.expire()
		forget()
		before = self.authlib.stats()["refreshes"]
		frappe.db.get_value("Token Cache", f"{self.app.name}-{LEAVER}", "modified")
		refresh()
		self.assertEqual(self.authlib.stats()["refreshes"], before + 1)
		with own_connection():
			self.token = passwords.read("Token Cache", f"{self.app.name}-{LEAVER}", "access_token")
		self.assertEqual(self.hello(), 200)

	def hello(self) -> int:
		"""What the provider's API answers to the newest token."""
		headers = {"Authorization": f"Bearer {self.token}"}
		return requests.get(f"{self.authlib.issuer}/api/hello", headers=headers, timeout=30).status_code

	def gone(self, *users: str) -> None:
		"""Once it is committed: nothing is left of these users' connections, and the newest tokens are revoked."""
		self.assertEqual(self.authlib.stats()["revocations"], 0)
		frappe.db.commit()
		for user in users:
			name = f"{self.app.name}-{user}"
			self.assertFalse(frappe.db.exists("Token Cache", {"connected_app": self.app.name, "user": user}))
			self.assertEqual(frappe.db.count("__Auth", {"doctype": "Token Cache", "name": name}), 0)
			self.assertEqual(frappe.db.count("OAuth Scope", {"parent": name}), 0)
		self.assertEqual(self.authlib.stats()["revocations"], 2 * len(users))
		self.assertEqual(self.hello(), 401)

	def works(self, app: str, user: str) -> None:
		frappe.db.commit()
		forget()
		session = frappe.get_doc("Connected App", app).get_oauth2_session(user)
		self.assertEqual(session.get(f"{self.authlib.issuer}/api/hello").status_code, 200)

	def disable_user(self) -> None:
		user = frappe.get_doc("User", LEAVER)
		user.enabled = 0
		user.save()
		self.gone(LEAVER)

	def delete_user(self) -> None:
		frappe.delete_doc("User", LEAVER, force=True)
		self.gone(LEAVER)

	def disable_app(self) -> None:
		app = frappe.get_doc("Connected App", self.app.name)
		app.enabled = 0
		app.save()
		self.gone(LEAVER, ALICE)

	def delete_app(self) -> None:
		frappe.delete_doc("Connected App", self.app.name)
		self.gone(LEAVER, ALICE)

	def delete_row(self) -> None:
		frappe.get_doc("Token Cache", f"{self.app.name}-{LEAVER}").delete()
		self.gone(LEAVER)

	def rename_user(self) -> None:
		frappe.rename_doc("User", LEAVER, RENAMED, force=True, show_alert=False)
		self.works(self.app.name, RENAMED)

	def merge_user(self) -> None:
		frappe.rename_doc("User", LEAVER, RENAMED, force=True, merge=True, show_alert=False)
		self.works(self.app.name, RENAMED)

	def rename_app(self) -> None:
		new = f"{self.app.name}-new"
		frappe.rename_doc("Connected App", self.app.name, new, force=True, show_alert=False)
		self.works(new, LEAVER)

	def test_disable_user_after_a_refresh(self) -> None:
		self.refreshed(self.in_this_transaction)
		self.disable_user()

	def test_disable_user_after_a_refresh_elsewhere(self) -> None:
		self.refreshed(self.in_another_process)
		self.disable_user()

	def test_delete_user_after_a_refresh(self) -> None:
		self.refreshed(self.in_this_transaction)
		self.delete_user()

	def test_delete_user_after_a_refresh_elsewhere(self) -> None:
		self.refreshed(self.in_another_process)
		self.delete_user()

	def test_disable_app_after_a_refresh(self) -> None:
		self.refreshed(self.in_this_transaction)
		self.disable_app()

	def test_disable_app_after_a_refresh_elsewhere(self) -> None:
		self.refreshed(self.in_another_process)
		self.disable_app()

	def test_delete_app_after_a_refresh(self) -> None:
		self.refreshed(self.in_this_transaction)
		self.delete_app()

	def test_delete_app_after_a_refresh_elsewhere(self) -> None:
		self.refreshed(self.in_another_process)
		self.delete_app()

	def test_delete_row_after_a_refresh(self) -> None:
		self.refreshed(self.in_this_transaction)
		self.delete_row()

	def test_delete_row_after_a_refresh_elsewhere(self) -> None:
		self.refreshed(self.in_another_process)
		self.delete_row()

	def test_rename_user_after_a_refresh(self) -> None:
		self.refreshed(self.in_this_transaction)
		self.rename_user()

	def test_rename_user_after_a_refresh_elsewhere(self) -> None:
		self.refreshed(self.in_another_process)
		self.rename_user()

	def test_merge_user_after_a_refresh(self) -> None:
		make_user(RENAMED, "Blogger")
		self.refreshed(self.in_this_transaction)
		self.merge_user()

	def test_merge_user_after_a_refresh_elsewhere(self) -> None:
		make_user(RENAMED, "Blogger")
		self.refreshed(self.in_another_process)
		self.merge_user()

	def test_rename_app_after_a_refresh(self) -> None:
		self.refreshed(self.in_this_transaction)
		self.rename_app()

	def test_rename_app_after_a_refresh_elsewhere(self) -> None:
		self.refreshed(self.in_another_process)
		self.rename_app()

	def test_the_first_transaction_on_postgresql(self) -> None:
		"""It keeps its snapshot, whatever is set: it is said in words, before anything is changed."""
		if frappe.db.db_type != "postgres":
			self.skipTest("of PostgreSQL")
		for action in (
			self.disable_user,
			self.delete_user,
			self.disable_app,
			self.delete_app,
			self.delete_row,
			self.rename_user,
			self.rename_app,
		):
			self.expire()
			before = self.token_row()
			with self.subTest(action.__name__), own_connection():
				frappe.db.get_value("Token Cache", f"{self.app.name}-{LEAVER}", "modified")
				# Not by a web request, which also notes that the user is active: PostgreSQL would refuse that by itself.
				refresh = "bool(app.get_oauth2_session(user))"
				self.assertEqual(in_processes(1, refresh, self.app, LEAVER), ["gave True"])
				with self.assertRaisesRegex(frappe.ValidationError, "renewed while"):
					action()
				frappe.db.rollback()
				# Frappe 15 keeps in its cache what was rolled back.
				frappe.clear_document_cache("User", LEAVER)
			self.assertNotEqual(self.token_row(), before)
			self.works(self.app.name, LEAVER)

	def token_row(self) -> str:
		frappe.db.rollback()
		return str(frappe.db.get_value("Token Cache", f"{self.app.name}-{LEAVER}", "modified"))
