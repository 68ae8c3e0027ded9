"""Tokens that are bound to a key (RFC 9449) on a site: the key beside them, for threads and processes alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import frappe

from connected_app.oauth import ConfigurationError
from connected_app.site import settings
from connected_app.tests.site import (
	ALICE,
	Case,
	certified,
	forget,
	in_processes,
	make_app,
	needs_providers,
	row,
	statements,
)

PROCESSES = 4
SECRET = "a secret of the tests"
# The status of a request to the API, and the token that it had.
ASK = "(lambda session: (session.get(app.userinfo_uri).status_code, str(session.token['access_token'])))(app.get_oauth2_session(user))"


@needs_providers
class TestBoundTokens(Case):
	@contextmanager
	def connected(self, **values: Any) -> Iterator[Any]:
		"""A Connected App at the certified provider, with which alice has connected; the provider insists on nonces."""
		module = certified()
		if not module.AVAILABLE:
			self.skipTest("the certified provider needs Node.js and npm")
		app = make_app(client_id="client", client_secret=SECRET, dpop=1, **values)
		features = {"dPoP": {"enabled": True, "requireNonce": True}}
		with module.start("client", SECRET, app.redirect_uri, features=features) as running:
			self.discover(app, running)
			self.connect_at(app, running)
			yield app

	def expire(self, app: Any) -> None:
		frappe.db.set_value("Token Cache", row(app, ALICE).name, "expires_at", "2020-01-01")
		frappe.db.commit()
		forget()

	def test_a_life(self) -> None:
		with self.connected() as app:
			kept = row(app, ALICE)
			self.assertEqual((kept.token_type, kept.account_name), ("DPoP", "alice@example.com"))
			key = kept.get_password("dpop_key")
			forget()
			frappe.get_cached_doc("Connected App", app.name)
			with statements() as sent:
				for expected in (2, 0):
					sent.clear()
					session = frappe.get_cached_doc("Connected App", app.name).get_oauth2_session(ALICE)
					self.assertEqual(len(sent), expected, sent)
			self.assertEqual(session.get(app.userinfo_uri).json()["sub"], "alice")
			self.assertTrue(self.alice.ask("test_connection", connected_app=app.name)["ok"])
			with self.assertRaises(ConfigurationError) as caught:
				kept.get_auth_header()
			self.assertEqual(caught.exception.code, "dpop_needs_session")
			with self.assertRaises(ConfigurationError) as caught:
				app.get_access_token(ALICE)
			self.assertEqual(caught.exception.code, "dpop_needs_session")
			with self.assertRaises(ConfigurationError) as caught:
				app.get_token_source(ALICE).access_token()
			self.assertEqual(caught.exception.code, "dpop_needs_session")
			# Many need a refresh at once: one asks, and each proves the same key for itself.
			before = kept.get_password("access_token")
			self.expire(app)
			answers = in_processes(PROCESSES, ASK, app)
			self.assertEqual(len(set(answers)), 1, answers)
			self.assertTrue(answers[0].startswith("gave (200, "), answers)
			after = row(app, ALICE)
			self.assertIn(after.get_password("access_token"), answers[0])
			self.assertNotEqual(after.get_password("access_token"), before)
			self.assertEqual(after.get_password("dpop_key"), key)
			self.hides(app, key)
			self.assertTrue(self.alice.ask("disconnect", connected_app=app.name)["revoked"])
			self.assertEqual(self.left(after.name), [])

	def left(self, name: str) -> list[str]:
		frappe.db.rollback()
		return frappe.db.sql("select `fieldname` from `__Auth` where `name` = %s", (name,), pluck=True)

	def hides(self, app: Any, key: str) -> None:
		"""No way of Frappe's shows the key."""
		body = key.splitlines()[1]
		name = row(app, ALICE).name
		self.assertEqual(frappe.db.get_value("Token Cache", name, "dpop_key"), "*" * 8)
		for browser in (self.alice, self.admin):
			for answer in (
				browser.call("frappe.desk.form.load.getdoc", "GET", doctype="Token Cache", name=name),
				browser.call(
					"frappe.client.get_password",
					"GET",
					doctype="Token Cache",
					name=name,
					fieldname="dpop_key",
				),
			):
				self.assertNotIn(body, answer.text)
		stored = frappe.db.sql("select `password` from `__Auth` where `name` = %s", (name,), pluck=True)
		self.assertEqual(len(stored), 3)
		self.assertFalse([each for each in stored if body in each])

	def test_a_provider_that_binds_nothing(self) -> None:
		"""Nothing is stored, and the person reads why."""
		app = make_app(self.authlib.issuer, dpop=1)
		page = self.connect(app)
		self.assertRefused(page, "dpop_not_bound")
		self.assertIsNone(row(app, ALICE))


@needs_providers
class TestFapi(Case):
	def test_nothing_weaker_can_be_set(self) -> None:
		"""Neither by the form nor in the database: what is used is held to the profile."""
		weak = {
			"use_pkce": 0,
			"client_authentication": "Post",
			"pushed_requests": "Never",
			"accept_missing_nonce": 1,
		}
		app = make_app(self.authlib.issuer, security_profile="FAPI 2.0", **weak)
		self.assertEqual(
			(
				app.use_pkce,
				app.client_authentication,
				app.pushed_requests,
				app.dpop,
				app.accept_missing_nonce,
			),
			(1, "private_key_jwt", "Always", 1, 0),
		)
		# By a certificate is not weaker.
		strong = {"client_authentication": "tls_client_auth", "certificate_bound": 1}
		other = make_app(self.authlib.issuer, security_profile="FAPI 2.0", **{**weak, **strong})
		self.assertEqual((other.client_authentication, other.dpop), ("tls_client_auth", 0))
		client = settings.read(other.name).client
		self.assertEqual(
			(client.authentication, client.dpop, client.certificate_bound), ("tls_client_auth", False, True)
		)
		app.db_set({**weak, "dpop": 0, "accept_other_issuer": 1})
		frappe.db.commit()
		read = settings.read(app.name)
		client = read.client
		self.assertEqual(
			(client.use_pkce, client.authentication, client.pushed_requests, client.dpop),
			(True, "private_key_jwt", "always", True),
		)
		self.assertTrue(read.provider.quirks.nonce_is_required)
		self.assertFalse(read.any_issuer)
		answer = self.alice.call("authorize", connected_app=app.name)
		self.assertEqual(answer.status_code, 417)
		self.assertIn("FAPI 2.0 needs what this provider does not offer", answer.text)
		found = self.admin.ask("check_configuration", connected_app=app.name)
		levels = {(each["check"], each["field"]): each["level"] for each in found}
		self.assertEqual(levels["profile", "dpop"], "error", levels)

	def test_the_certified_provider(self) -> None:
		"""The happy path, through Desk: pushed and signed by a key of this site, bound to another; renewed, and given back."""
		module = certified()
		if not module.AVAILABLE:
			self.skipTest("the certified provider needs Node.js and npm")
		app = make_app(client_id="client", security_profile="FAPI 2.0")
		self.admin.ask("make_key", connected_app=app.name, algorithm="PS256")
		self.admin.ask("use_new_key", connected_app=app.name)
		frappe.db.rollback()
		app.reload()
		with module.start(
			"client",
			"",
			app.redirect_uri,
			client_authentication="private_key_jwt",
			client={
				"jwks_uri": app.key_set_uri,
				"dpop_bound_access_tokens": True,
				"id_token_signed_response_alg": "ES256",
			},
			features={
				"dPoP": {"enabled": True, "requireNonce": True},
				"pushedAuthorizationRequests": {"enabled": True, "requirePushedAuthorizationRequests": True},
			},
		) as running:
			self.discover(app, running)
			found = self.admin.ask("check_configuration", connected_app=app.name)
			self.assertEqual([each for each in found if each["level"] == "error"], [])
			self.connect_at(app, running)
			kept = row(app, ALICE)
			self.assertEqual((kept.token_type, kept.account_name), ("DPoP", "alice@example.com"))
			before = kept.get_password("access_token")
			frappe.db.set_value("Token Cache", kept.name, "expires_at", "2020-01-01")
			frappe.db.commit()
			forget()
			session = app.get_oauth2_session(ALICE)
			self.assertEqual(session.get(app.userinfo_uri).json()["sub"], "alice")
			self.assertNotEqual(session.token["access_token"], before)
			self.assertTrue(self.alice.ask("disconnect", connected_app=app.name)["revoked"])
