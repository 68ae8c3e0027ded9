"""A connection in the hands of other libraries, on a site: in event loops, and in threads that Frappe does not know."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import frappe

from connected_app.oauth import AccessToken, ConfigurationError, ReconnectRequired, TemporaryFailure
from connected_app.oauth.clock import utc_now
from connected_app.site import threads
from connected_app.tests.site import ALICE, MALLORY, forget, library, needs_providers, row, statements
from connected_app.tests.test_refreshing import Connected

MANY = 100


def expired(grant: Any) -> Any:
	"""`grant` as if its time were over."""
	return replace(grant, expires_at=utc_now() - timedelta(seconds=1))


def in_a_thread(work: Callable[[], Any]) -> Any:
	"""What `work` gives or raises in a thread that knows no site."""
	found: list[Any] = []

	def run() -> None:
		try:
			found.append((work(), None))
		except Exception as error:
			found.append((None, error))

	thread = threading.Thread(target=run)
	thread.start()
	thread.join(60)
	((value, error),) = found
	if error:
		raise error
	return value


@needs_providers
class TestAccessToken(Connected):
	def test_a_token(self) -> None:
		token = self.app.get_access_token(ALICE)
		self.assertIsInstance(token, AccessToken)
		self.assertEqual(token.value, row(self.app, ALICE).get_password("access_token"))
		self.assertLess(utc_now(), token.expires_at)
		self.assertLess(token.expires_at, utc_now() + timedelta(days=1))
		self.assertNotIn(token.value, f"{token} {token!r} {[token]}")

	def test_is_valid_now(self) -> None:
		before = self.app.get_access_token(ALICE)
		self.due()
		token = self.app.get_access_token(ALICE)
		self.assertNotEqual(token.value, before.value)
		self.assertLess(utc_now(), token.expires_at)
		self.assertEqual(self.authlib.stats()["refreshes"], 1)

	def test_costs_no_more_than_a_session(self) -> None:
		frappe.get_cached_doc("Connected App", self.app.name)
		for method in ("get_access_token", "get_token_source"):
			forget()
			with statements() as sent:
				for expected in (1, 0):
					sent.clear()
					getattr(frappe.get_cached_doc("Connected App", self.app.name), method)(ALICE)
					self.assertEqual(len(sent), expected, sent)

	def test_failures(self) -> None:
		for method in (self.app.get_access_token, self.app.get_token_source):
			with self.assertRaises(ReconnectRequired) as caught:
				method(MALLORY)
			self.assertIn("/connect?app=", caught.exception.connect_url)
			self.assertIsInstance(caught.exception, frappe.ValidationError)
		self.app.db_set("certificate_bound", 1)
		with self.assertRaises(ConfigurationError) as bound:
			self.app.get_access_token(ALICE)
		self.assertEqual(bound.exception.code, "certificate_needs_session")
		self.app.db_set("enabled", 0)
		for method in (self.app.get_access_token, self.app.get_token_source):
			with self.assertRaises(ConfigurationError) as refused:
				method(ALICE)
			self.assertEqual(refused.exception.code, "app_disabled")
		frappe.db.rollback()


@needs_providers
class TestOtherThreads(Connected):
	def test_a_thread_of_a_library(self) -> None:
		"""It renews the token on a connection of its own: the caller's is not touched, and has no new transaction."""
		source = self.app.get_token_source(ALICE)
		before = source.grant
		self.due()
		source.grant = expired(before)
		with statements() as sent:
			token = in_a_thread(source.access_token)
		self.assertEqual(sent, [])
		self.assertEqual(token.value, row(self.app, ALICE).get_password("access_token"))
		self.assertNotEqual(token.value, before.access_token)
		self.assertEqual(self.authlib.stats()["refreshes"], 1)

	def test_as_the_same_user(self) -> None:
		frappe.set_user(ALICE)
		frappe.local.lang, before = "de", frappe.local.lang
		self.addCleanup(setattr, frappe.local, "lang", before)
		source = self.app.get_token_source(ALICE)
		mine = frappe.local.db

		def who() -> tuple[str, str, bool]:
			return frappe.session.user, frappe.local.lang, frappe.local.db is mine

		self.assertEqual(in_a_thread(lambda: source._runner(who)), (ALICE, "de", False))
		self.assertEqual(source._runner(who), (ALICE, "de", True))
		self.assertIsNone(in_a_thread(lambda: getattr(frappe.local, "site", None)))

	def test_failures_are_ours(self) -> None:
		"""In Frappe's kind of error, with the address at which to connect, and in the language of the user."""
		frappe.local.lang, before = "de", frappe.local.lang
		self.addCleanup(setattr, frappe.local, "lang", before)
		source = self.app.get_token_source(ALICE)
		source.grant = expired(source.grant)
		self.due()
		self.authlib.command("revoke")
		with self.assertRaises(ReconnectRequired) as caught:
			in_a_thread(source.usable)
		self.assertIsInstance(caught.exception, frappe.ValidationError)
		self.assertIn("/connect?app=", caught.exception.connect_url)
		self.assertIn("Bitte", caught.exception.action)
		with self.assertRaises(ConfigurationError) as refused:
			in_a_thread(lambda: source.check("http://api.example.com/"))
		self.assertIn("https", refused.exception.message)

	def test_in_maintenance(self) -> None:
		frappe.flags.read_only = True
		self.addCleanup(setattr, frappe.flags, "read_only", False)
		source = self.app.get_token_source(ALICE)
		with self.assertRaises(TemporaryFailure) as caught:
			in_a_thread(source.latest)
		self.assertEqual(caught.exception.code, "store_unavailable")

	def test_what_would_wait_for_itself(self) -> None:
		"""The caller's transaction has changed the row: an event loop does not hand the work to a thread, which would wait."""
		source = self.app.get_token_source(ALICE)
		kept = frappe.get_doc("Token Cache", row(self.app, ALICE).name)
		kept.save(ignore_permissions=True)
		with self.assertRaises(ConfigurationError) as caught:
			source.prepare()
		self.assertEqual(caught.exception.code, "not_committed")
		frappe.db.rollback()
		source.prepare()

	def test_nothing_is_left_open(self) -> None:
		"""Each of these connections is closed, also after a failure."""
		closed: list[Any] = []
		original = frappe.destroy

		def destroy() -> None:
			closed.append(frappe.local.db)
			original()

		source = self.app.get_token_source(ALICE)

		def fail() -> None:
			raise RuntimeError

		with patch.object(threads.frappe, "destroy", destroy):
			in_a_thread(lambda: source._runner(lambda: None))
			with self.assertRaises(RuntimeError):
				in_a_thread(lambda: source._runner(fail))
		self.assertEqual(len(closed), 2)
		self.assertEqual(frappe.db.sql("select 1")[0][0], 1)


@needs_providers
class TestHttpx(Connected):
	def test_many_at_once(self) -> None:
		"""A hundred requests in one event loop, with a token that has expired: one refresh, and the caller's open
		transaction goes on."""
		with library("httpx") as httpx:
			from connected_app.oauth.adapters.httpx import Auth

			url = f"{self.authlib.issuer}/api/hello"
			name = row(self.app, ALICE).name
			source = self.app.get_token_source(ALICE)
			auth = Auth(source)
			source.grant = expired(source.grant)
			# This transaction begins before the refresh.
			kept = frappe.get_doc("Token Cache", name)

			async def run() -> list[Any]:
				limits = httpx.Limits(max_connections=20)
				async with httpx.AsyncClient(auth=auth, timeout=60, limits=limits) as client:
					return await asyncio.gather(*(client.get(url) for _ in range(MANY)))

			began = time.monotonic()
			answers = asyncio.run(run())
			print(f"{MANY} requests with one expired token: {time.monotonic() - began:.2f} s")
		self.assertEqual({answer.status_code for answer in answers}, {200})
		self.assertEqual(self.authlib.stats()["refreshes"], 1)
		self.assertEqual(kept.get_password("access_token"), source.grant.access_token)
		self.assertEqual(row(self.app, ALICE).get_password("access_token"), source.grant.access_token)

	def test_an_event_loop_in_another_thread(self) -> None:
		with library("httpx") as httpx:
			from connected_app.oauth.adapters.httpx import Auth

			source = self.app.get_token_source(ALICE)
			self.authlib.command("expire")

			async def run() -> Any:
				async with httpx.AsyncClient(auth=Auth(source), timeout=60) as client:
					return (await client.get(f"{self.authlib.issuer}/api/hello")).json()

			self.assertEqual(in_a_thread(lambda: asyncio.run(run())), {"hello": "Alice"})
		self.assertEqual(self.authlib.stats()["refreshes"], 1)

	def test_a_client_that_waits(self) -> None:
		with library("httpx") as httpx:
			from connected_app.oauth.adapters.httpx import Auth

			source = self.app.get_token_source(ALICE)
			self.authlib.command("expire")
			with httpx.Client(auth=Auth(source), timeout=60) as client:
				self.assertEqual(client.get(f"{self.authlib.issuer}/api/hello").json(), {"hello": "Alice"})
		self.assertEqual(self.authlib.stats()["refreshes"], 1)


@needs_providers
class TestGoogle(Connected):
	def test_the_library_of_the_bench(self) -> None:
		from google.auth.transport.requests import AuthorizedSession

		from connected_app.oauth.adapters.google import Credentials

		session = AuthorizedSession(Credentials(self.app.get_token_source(ALICE)))
		self.authlib.command("expire")
		for _ in range(2):
			self.assertEqual(session.get(f"{self.authlib.issuer}/api/hello").json(), {"hello": "Alice"})
		self.assertEqual(self.authlib.stats()["refreshes"], 1)


@needs_providers
class TestAzure(Connected):
	def test_many_at_once(self) -> None:
		"""In one event loop, with a token that has expired: one refresh, in another thread than the caller's transaction."""
		with library("azure.core"):
			from connected_app.oauth.adapters.azure import AsyncCredential

			source = self.app.get_token_source(ALICE)
			credential = AsyncCredential(source)
			source.grant = expired(source.grant)

			async def run() -> list[Any]:
				return await asyncio.gather(*(credential.get_token("scope") for _ in range(10)))

			given = asyncio.run(run())
		self.assertEqual(self.authlib.stats()["refreshes"], 1)
		stored = row(self.app, ALICE).get_password("access_token")
		self.assertEqual({each.token for each in given}, {stored})
