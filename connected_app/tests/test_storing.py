"""What is in the way when a provider's answer is to be stored."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import frappe
import jwt

from connected_app.oauth import ConfigurationError, TemporaryFailure
from connected_app.site import grants
from connected_app.site.database import own_connection
from connected_app.tests.site import ALICE, SCOPES, hostile, needs_providers, row, work
from connected_app.tests.test_refreshing import Connected


@contextmanager
def maintenance() -> Iterator[None]:
	"""As a request is handled while the site may only be read."""
	frappe.flags.read_only = True
	try:
		frappe.db.begin(read_only=True)
		yield
	finally:
		frappe.flags.read_only = False
		frappe.db.rollback()


@needs_providers
class TestStoring(Connected):
	@contextmanager
	def somebody_has(self, statement: str, *values: object) -> Iterator[threading.Timer]:
		"""On another connection the locks of `statement` are held, until the timer that this gives has run."""
		with own_connection():
			other = frappe.local.db
			other.sql(statement, values)
			ends = threading.Timer(4, other._conn.rollback)
			# Leaving `own_connection` would end it.
			with patch.object(other, "rollback"), patch.object(other, "close"):
				frappe.local.db, own = self.callers, frappe.local.db
				try:
					yield ends
				finally:
					ends.cancel()
					frappe.local.db = own

	def setUp(self) -> None:
		super().setUp()
		self.callers = frappe.local.db

	def test_a_lock_that_lasts_longer_than_we_wait(self) -> None:
		"""The provider has spent the old refresh token by then: the new one is stored all the same."""
		if frappe.db.db_type == "sqlite":
			self.skipTest("there a lock is everybody's: see the next test")
		old = row(self.app, ALICE).get_password("refresh_token")
		self.due()
		held = "select `name` from `__Auth` where `doctype` = 'Token Cache' and `name` = %s for update"
		with (
			self.somebody_has(held, f"{self.app.name}-{ALICE}") as ends,
			patch.object(grants, "LOCK_WAIT", 3),
		):
			ends.start()
			self.assertEqual(self.hello(), {"hello": "Alice"})
		self.assertNotEqual(row(self.app, ALICE).get_password("refresh_token"), old)
		self.due()
		self.assertEqual(self.hello(), {"hello": "Alice"})
		self.assertEqual(self.authlib.stats()["refreshes"], 2)

	def test_somebody_writes_for_long(self) -> None:
		"""On SQLite, which has one writer at a time."""
		if frappe.db.db_type != "sqlite":
			self.skipTest("on SQLite only")
		scripts = hostile()
		server = scripts.Hostile()
		self.addCleanup(server.close)
		path = next(line[2] for line in frappe.db.sql("pragma database_list") if line[1] == "main")
		other = type(frappe.db._conn)(path, isolation_level=None, check_same_thread=False)
		self.addCleanup(other.close)

		def answer(_request: object) -> object:
			other.execute("begin immediate")
			threading.Timer(4, other.rollback).start()
			return scripts.as_json({"access_token": "second", "refresh_token": "r2", "expires_in": 3600})

		self.change(token_uri=server.script("/token", answer))
		self.due()
		self.app.reload()
		with patch.object(grants, "LOCK_WAIT", 3):
			self.assertEqual(self.app.get_oauth2_session(ALICE).token["access_token"], "second")
		self.assertEqual(row(self.app, ALICE).get_password("refresh_token"), "r2")

	def test_maintenance(self) -> None:
		"""In Frappe's read-only mode nothing is asked of the provider, since its answer could not be stored."""
		self.due()
		with maintenance(), self.assertRaises(TemporaryFailure) as caught:
			self.app.get_oauth2_session(ALICE)
		self.assertEqual(caught.exception.code, "store_unavailable")
		self.assertEqual(self.authlib.stats()["refreshes"], 0)
		self.assertEqual(self.hello(), {"hello": "Alice"})

	def test_maintenance_before_it_has_expired(self) -> None:
		"""A token that is due, and still good, is used."""
		self.nearly_due()
		with maintenance():
			session = self.app.get_oauth2_session(ALICE)
		self.assertEqual(session.token["access_token"], row(self.app, ALICE).get_password("access_token"))

	def test_the_list_of_scopes(self) -> None:
		"""It is not waited for when a user connects; a job writes it, since not every provider repeats it later."""
		if frappe.db.db_type != "mariadb":
			self.skipTest("gap locks are MariaDB's")
		self.assertEqual(self.alice.ask("disconnect", connected_app=self.app.name), {"revoked": True})
		consented = self.authlib.consent(self.alice.ask("authorize", connected_app=self.app.name))
		frappe.db.rollback()
		frappe.db.sql("select `name` from `tabOAuth Scope` where `parent` >= %s for update", self.app.name)
		self.assertEqual(self.alice.visit(consented).status_code, 302)
		self.assertEqual(row(self.app, ALICE).scopes, [])
		work()
		self.assertEqual([line.scope for line in row(self.app, ALICE).scopes], list(SCOPES))

	def test_an_answer_of_another_issuer(self) -> None:
		"""OIDC Core 12.2: its refresh token is kept, since the old one may be spent; nothing else of it is used, nobody
		hears of a renewed connection, and the first failure is not forgotten."""
		scripts = hostile()
		server = scripts.Hostile()
		self.addCleanup(server.close)
		claims = {"iss": "https://other.example", "sub": "alice", "aud": "demo"}
		said = jwt.encode(claims, "x" * 32, algorithm="HS256")
		answer = {"access_token": "another's", "refresh_token": "r2", "id_token": said, "expires_in": 3600}
		self.change(token_uri=server.script("/token", scripts.as_json(answer)))
		self.app.reload()
		old = row(self.app, ALICE).get_password("access_token")
		self.due()
		for since in (None, "2020-01-01"):
			if since:
				self.set(failing_since=since, notified_on=since, retry_at=None)
			with self.assertRaises(ConfigurationError) as caught:
				self.app.get_oauth2_session(ALICE)
			self.assertEqual(caught.exception.code, "id_token_issuer")
		kept = row(self.app, ALICE)
		self.assertEqual((kept.get_password("access_token"), kept.get_password("refresh_token")), (old, "r2"))
		self.assertEqual(str(kept.notified_on)[:10], "2020-01-01")
		self.assertEqual((kept.status, kept.admin_must_act), ("Temporarily Failing", 1))
		self.assertEqual(server.requests[-1].form["refresh_token"], "r2")
