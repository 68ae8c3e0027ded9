"""The grant store: what a write leaves in the row, and which of two grants is newer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Any
from unittest.mock import patch

import frappe
from frappe.model.document import Document

from connected_app.oauth import Grant, Secret, TemporaryFailure
from connected_app.site import recent, rows
from connected_app.site.database import own_connection
from connected_app.site.grants import LockedTokenCache, TokenCacheStore
from connected_app.site.identity import ConnectionKey
from connected_app.tests.site import ALICE, forget, hostile, in_processes, needs_providers, row
from connected_app.tests.test_refreshing import TOKEN, Connected

EXTRA = {"instance_url": Secret("https://na1.example"), "id": Secret("extra-secret-value")}


class Once:
	"""Another process that makes a row, and stores a grant, when it is called first.

	:param made: the row's name
	"""

	def __init__(self, key: ConnectionKey, grant: Grant) -> None:
		self.key, self.grant = key, grant
		self.made: list[str] = []
		self.begun = False

	def __call__(self) -> None:
		if self.begun:
			return
		self.begun = True
		with own_connection(), TokenCacheStore(self.key, create=True).exclusive() as locked:
			locked.save(self.grant)
			self.made.append(locked.name)
		recent.clear()

	def before(self, method: str) -> Callable[[Document], Any]:
		"""`Document`'s method, before which it happens."""
		original = getattr(Document, method)

		def instead(doc: Document) -> Any:
			self()
			return original(doc)

		return instead


@needs_providers
class TestStore(Connected):
	def setUp(self) -> None:
		super().setUp()
		self.key = ConnectionKey.of_user(self.app.name, ALICE)
		self.name = f"{self.app.name}-{ALICE}"

	def stored(self, field: str) -> Any:
		frappe.db.rollback()
		return frappe.db.get_value("Token Cache", self.name, field)

	def elsewhere(self, **values: Any) -> None:
		"""Another process stores a grant."""
		with own_connection():
			revision = rows.next_revision(frappe.db.get_value("Token Cache", self.name, "revision"))
			frappe.db.set_value("Token Cache", self.name, {**values, "revision": revision})
			frappe.db.commit()

	def test_a_revision_grows_with_each_write(self) -> None:
		seen = [self.stored("revision")]
		self.assertGreater(seen[0], 0)
		for _ in range(2):
			self.due()
			self.assertEqual(self.hello(), {"hello": "Alice"})
			seen.append(self.stored("revision"))
		with TokenCacheStore(self.key).exclusive() as locked:
			locked.save_refresh_token(Secret("another"))
		seen.append(self.stored("revision"))
		row(self.app, ALICE).save()
		frappe.db.commit()
		seen.append(self.stored("revision"))
		self.assertEqual(seen, sorted(set(seen)), "each is greater than the one before")
		self.assertEqual(row(self.app, ALICE).get_password("refresh_token"), "another")

	def test_a_row_that_is_made_again_goes_on_from_there(self) -> None:
		"""A caller that knows the deleted row's grant sees that the new one is newer."""
		before = TokenCacheStore(self.key).load()
		self.assertEqual(self.alice.ask("disconnect", connected_app=self.app.name), {"revoked": True})
		self.assertEqual(self.connect(self.app).status_code, 302)
		self.assertGreater(self.stored("revision"), before.revision)

	def test_what_a_request_knows_of_a_row_that_is_made_again(self) -> None:
		"""A job that has refreshed sees the grant of a later consent, as soon as its transaction does."""
		self.due()
		self.app.get_oauth2_session(ALICE)
		self.assertTrue(recent.of_row(self.name))
		frappe.db.rollback()
		self.assertEqual(self.alice.ask("disconnect", connected_app=self.app.name), {"revoked": True})
		self.assertEqual(self.connect(self.app).status_code, 302)
		frappe.db.rollback()
		mine = self.app.get_token_cache(ALICE).get_password("access_token")
		self.assertEqual(mine, row(self.app, ALICE).get_password("access_token"))

	def test_a_provider_that_repeats_its_access_token(self) -> None:
		"""Eight processes with one expired token: those that waited use what the first has stored, although the access
		token is the same."""
		scripts = hostile()
		server = scripts.Hostile()
		self.addCleanup(server.close)
		token = row(self.app, ALICE).get_password("access_token")
		answer = scripts.as_json({"access_token": token, "refresh_token": "r2", "expires_in": 3600})
		self.change(token_uri=server.script("/token", *[answer] * 8))
		self.due()
		self.assertEqual(in_processes(8, TOKEN, self.app), [f"gave {token}"] * 8)
		self.assertEqual(len(server.requests), 1)

	def test_a_failure_does_not_overwrite_a_newer_grant(self) -> None:
		"""A write commits, which gives the lock up; what is written next is for the grant that was locked."""
		with TokenCacheStore(self.key).exclusive() as locked:
			locked.save_refresh_token(Secret("r2"))
			if frappe.db.db_type != "sqlite":
				self.elsewhere()
				locked.fail(rows.Failure(code="network", message="Down."))
				self.assertEqual(locked.events, [])
		self.assertEqual(self.stored("status"), "Connected")
		self.assertFalse(self.stored("error_code"))

	def test_two_that_make_the_same_row(self) -> None:
		"""Where no consent is needed, the second goes on with the row that the first has made in between, and
		with the tokens that are in it."""
		self.not_on_sqlite("one writer at a time")
		key = ConnectionKey.of_service_principal(self.app.name)
		mine = Grant(access_token=Secret("mine"), refresh_token=Secret("and mine"))
		# Before the second looks whether the name is taken, and after.
		for where in ("_validate_links", "run_before_save_methods", None):
			with self.subTest(where):
				first = Once(key, mine)
				store = TokenCacheStore(key, create=True, may_create=None if where else first)
				with patch.object(Document, where, first.before(where)) if where else nullcontext():
					with store.exclusive() as locked:
						self.assertEqual([locked.name], first.made)
						self.assertEqual(str(locked.grant.access_token), "mine")
						self.assertEqual(str(locked.grant.refresh_token), "and mine")
				frappe.db.rollback()
				of_nobody = {"connected_app": key.app, "user": ("is", "not set")}
				self.assertEqual(frappe.get_all("Token Cache", of_nobody, pluck="name"), first.made)
				with TokenCacheStore(key).exclusive() as locked:
					locked.delete(lambda _name: None)

	def test_saving_late(self) -> None:
		"""The lock is lost while the provider answers, and somebody else has refreshed: theirs is kept and used."""
		self.not_on_sqlite("a lock is not lost there")
		store = TokenCacheStore(self.key)
		with store.exclusive() as locked:
			mine = replace(locked.grant, access_token=Secret("mine"))

			def fails(this: LockedTokenCache, *args: Any) -> Grant:
				# As a deadlock does.
				frappe.db.rollback()
				self.elsewhere(token_type="Theirs")
				raise frappe.QueryDeadlockError

			with patch.object(LockedTokenCache, "_save", fails):
				# In vain the first time; the second finds a newer grant.
				given = locked.save(mine)
		self.assertEqual(given.token_type, "Theirs")
		self.assertNotEqual(row(self.app, ALICE).get_password("access_token"), "mine")

	def test_a_deadlock_while_waiting(self) -> None:
		"""As on Galera, when another node stores the row that is waited for: who waits goes on with what it has stored."""
		self.not_on_sqlite("one writer at a time")
		lock, ended = TokenCacheStore.lock, []

		def fails(this: TokenCacheStore) -> Any:
			if not ended:
				ended.append(True)
				self.elsewhere(token_type="Theirs")
				raise frappe.QueryDeadlockError
			return lock(this)

		with patch.object(TokenCacheStore, "lock", fails):
			with TokenCacheStore(self.key).exclusive() as locked:
				self.assertEqual(locked.grant.token_type, "Theirs")
		self.assertEqual(ended, [True])

	def test_deadlocks_without_end(self) -> None:
		with patch.object(TokenCacheStore, "lock", side_effect=frappe.QueryDeadlockError) as lock:
			with self.assertRaises(TemporaryFailure) as failed, TokenCacheStore(self.key).exclusive():
				pass
		self.assertEqual(failed.exception.code, "busy")
		self.assertLess(lock.call_count, 20)

	def test_extra(self) -> None:
		"""Encrypted with the tokens, for code on the server; neither browsers nor exports have it."""
		with TokenCacheStore(self.key, create=True).exclusive() as locked:
			locked.save(replace(locked.grant, extra=EXTRA))
		kept = row(self.app, ALICE)
		self.assertEqual(kept.get_extra(), {name: str(value) for name, value in EXTRA.items()})
		self.assertEqual(kept.extra, "*" * 8)
		self.assertNotIn("extra-secret-value", f"{kept.as_dict()} {kept.as_json()}")
		encrypted = frappe.db.sql(
			"select `password` from `__Auth` where `name` = %s and `fieldname` = 'extra'", self.name
		)
		self.assertEqual(len(encrypted), 1)
		self.assertNotIn("na1.example", encrypted[0][0])
		answer = self.admin.call(
			"frappe.client.get_password", doctype="Token Cache", name=self.name, fieldname="extra"
		)
		self.assertEqual(answer.status_code, 403)
		# A refresh that says nothing of it keeps it; a row without it is read as well.
		self.due()
		self.hello()
		self.assertEqual(row(self.app, ALICE).get_extra()["instance_url"], "https://na1.example")
		with TokenCacheStore(self.key).exclusive() as locked:
			locked.save(replace(locked.grant, extra={}))
		self.assertEqual(row(self.app, ALICE).get_extra(), {})
		self.assertFalse(self.stored("extra"))

	def test_when_the_connection_ends(self) -> None:
		ends = datetime(2030, 1, 2, 3, 4, 5, tzinfo=rows.EPOCH.tzinfo)
		with TokenCacheStore(self.key).exclusive() as locked:
			locked.save(replace(locked.grant, refresh_expires_at=ends))
		self.assertEqual(self.stored("refresh_expires_at"), datetime(2030, 1, 2, 3, 4, 5))
		with TokenCacheStore(self.key).exclusive() as locked:
			self.assertEqual(locked.grant.refresh_expires_at, ends)

	def test_what_ends_a_pause(self) -> None:
		"""Saving the Connected App, connecting again, and a success: whatever the failure was."""
		good = self.app.token_uri
		for corrected in ("saved", "connected", "succeeded"):
			with self.subTest(corrected):
				self.change(token_uri="https://127.0.0.1:9/token")
				self.due()
				self.app.reload()
				self.assertFails(TemporaryFailure, "network")
				self.assertGreater(self.stored("attempts"), 0)
				self.assertFails(TemporaryFailure, "cooling_down")
				if corrected == "saved":
					self.change(token_uri=good)
				else:
					frappe.db.set_value(
						"Connected App", self.app.name, "token_uri", good, update_modified=False
					)
					frappe.db.commit()
				if corrected == "connected":
					self.assertEqual(self.connect(self.app).status_code, 302)
				if corrected == "succeeded":
					self.set(retry_at="2020-01-01")
				self.assertEqual(self.hello(), {"hello": "Alice"})
				kept = row(self.app, ALICE)
				self.assertEqual((kept.status, kept.attempts, kept.retry_at), ("Connected", 0, None))

	def test_one_memory(self) -> None:
		"""What is read first is not read again, and what is locked replaces it."""
		forget()
		first = TokenCacheStore(self.key).load()
		self.assertFalse(recent.of_row(self.name))
		with TokenCacheStore(self.key).exclusive() as locked:
			self.assertEqual(locked.grant.revision, first.revision)
		self.assertEqual([recent.find(self.key)], recent.of_row(self.name))
		self.assertTrue(recent.find(self.key).refresh_token)
		recent.note_change(self.key)
		self.assertIsNone(recent.find(self.key))
		frappe.db.rollback()
		self.assertFalse(recent.has_changed(frappe.local.db, self.key))
