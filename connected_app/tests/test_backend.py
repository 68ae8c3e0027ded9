"""`get_backend_app_token`: the client's own token, kept in the Token Cache row without a user."""

from __future__ import annotations

import frappe
import requests

from connected_app.oauth import ConfigurationError, TemporaryFailure
from connected_app.oauth.clock import utc_now
from connected_app.site.rows import naive
from connected_app.tests.site import (
	Case,
	forget,
	hostile,
	in_processes,
	make_app,
	needs_providers,
	provider,
	row,
)


@needs_providers
class TestBackend(Case):
	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer)

	def token(self) -> str:
		frappe.db.rollback()
		forget()
		return self.app.get_backend_app_token().get_password("access_token")

	def set(self, **values: object) -> None:
		frappe.db.rollback()
		frappe.db.set_value("Token Cache", f"{self.app.name}-", values)
		frappe.db.commit()

	def requests(self) -> int:
		return self.authlib.stats()["token_requests"]

	def test_asked_for_when_needed(self) -> None:
		"""RFC 6749 4.4 at a real provider, which accepts the token; the row belongs to nobody."""
		first = self.token()
		url = f"{self.authlib.issuer}/api/hello"
		answer = requests.get(url, headers=self.app.get_backend_app_token().get_auth_header(), timeout=30)
		self.assertEqual(answer.json(), {"hello": "demo"})
		self.assertEqual(self.token(), first)
		self.assertEqual(self.requests(), 1)
		self.set(expires_at="2020-01-01")
		self.assertNotEqual(self.token(), first)
		self.assertEqual(self.requests(), 2)
		kept = row(self.app, "")
		self.assertIsNone(kept.user)
		self.assertEqual((kept.status, kept.refresh_token, kept.idle_since), ("Connected", "", None))

	def test_in_a_transaction_that_is_open_already(self) -> None:
		"""core-defects 30: the row is younger than the caller's snapshot; the caller's work stays its own."""
		if frappe.db.db_type == "sqlite":
			self.skipTest("on SQLite the caller's open work is committed first")
		note = frappe.get_doc({"doctype": "ToDo", "description": "half done"}).insert()
		token_cache = self.app.get_backend_app_token()
		self.assertTrue(token_cache.get_auth_header()["Authorization"].startswith("Bearer "))
		frappe.db.rollback()
		self.assertFalse(frappe.db.exists("ToDo", note.name))
		self.assertEqual(self.token(), token_cache.get_password("access_token"))
		self.assertEqual(self.requests(), 1)

	def test_unreadable_is_replaced(self) -> None:
		first = self.token()
		frappe.db.sql("update `__Auth` set password='nonsense' where name=%s", f"{self.app.name}-")
		frappe.db.commit()
		self.assertNotEqual(self.token(), first)
		# As `after_migrate` marks it.
		self.set(status="Reconnect Required", error_code="secret_unreadable")
		frappe.db.sql("update `__Auth` set password='nonsense' where name=%s", f"{self.app.name}-")
		frappe.db.commit()
		self.token()
		self.assertEqual(row(self.app, "").status, "Connected")

	def test_one_at_a_time(self) -> None:
		"""core-defects 25: eight processes without a token ask once."""
		if frappe.db.db_type == "sqlite":
			self.skipTest("SQLite has one writer at a time")
		with provider("--token-delay", "150") as slow:
			app = make_app(slow.issuer)
			given = in_processes(8, "app.get_backend_app_token().get_password('access_token')", app)
			self.assertEqual(len(set(given)), 1, given)
			self.assertTrue(given[0].startswith("gave "), given)
			self.assertEqual(slow.stats()["token_requests"], 1)

	def test_cool_down(self) -> None:
		"""core-defects 21: the first token, too, is not asked for at each call."""
		scripts = hostile()
		server = scripts.Hostile()
		self.addCleanup(server.close)
		self.change(token_uri=server.script("/token", scripts.Answer(b"", 429, {"Retry-After": "120"})))
		for code in ("rate_limited", "cooling_down"):
			with self.assertRaises(TemporaryFailure) as caught:
				self.token()
			self.assertEqual(caught.exception.code, code)
			self.assertAlmostEqual(caught.exception.retry_after, 120, delta=20)
		self.assertEqual(len(server.requests), 1)
		kept = row(self.app, "")
		self.assertEqual(kept.status, "Temporarily Failing")
		self.assertGreater((kept.retry_at - naive(utc_now())).total_seconds(), 60)

	def test_the_admin_mends_it(self) -> None:
		"""core-defects 21: a wrong secret is not sent at each call, and saving the app ends the pause."""
		self.change(client_secret="forgotten")
		for _ in range(3):
			with self.assertRaises(ConfigurationError) as caught:
				self.token()
			self.assertEqual(caught.exception.code, "invalid_client")
		self.assertEqual(self.requests(), 1)
		self.change(client_secret="demo-secret")
		self.token()
		self.assertEqual(self.requests(), 2)

	def test_disabled_meanwhile(self) -> None:
		"""A long job's document says that the app is enabled: no token is asked for, nor its secret sent."""
		old = self.app
		self.change(enabled=0)
		self.assertTrue(old.enabled)
		with self.assertRaises(ConfigurationError) as caught:
			old.get_backend_app_token()
		self.assertEqual(caught.exception.code, "app_disabled")
		self.assertEqual(self.requests(), 0)

	def test_an_app_that_is_not_committed(self) -> None:
		"""What is only in the caller's transaction cannot be referred to beside it: said in words."""
		if frappe.db.db_type == "sqlite":
			self.skipTest("on SQLite the caller's open work is committed first")
		app = frappe.copy_doc(self.app).insert()
		forget()
		with self.assertRaises(ConfigurationError) as caught:
			app.get_backend_app_token()
		self.assertEqual(caught.exception.code, "not_committed")
		frappe.db.rollback()
		self.assertEqual(self.requests(), 0)

	def change(self, **values: object) -> None:
		frappe.db.rollback()
		self.app = frappe.get_doc("Connected App", self.app.name)
		self.app.update(values)
		self.app.save()
		frappe.db.commit()
