"""Token exchange (RFC 8693) and own parameters of token requests, on a running site, at the demo's provider."""

from __future__ import annotations

from typing import Any

import frappe

from connected_app.oauth import ConfigurationError, OAuthError, ReconnectRequired
from connected_app.site.identity import ConnectionKey
from connected_app.site.rows import name_of
from connected_app.tests.site import (
	ALICE,
	MALLORY,
	Case,
	forget,
	in_processes,
	make_app,
	needs_providers,
	row,
)


@needs_providers
class TestExchange(Case):
	def setUp(self) -> None:
		super().setUp()
		self.source = make_app(self.authlib.issuer)

	def make(self, **values: Any) -> Any:
		values = {
			"authorization_uri": "",
			"grant_type": "Token Exchange",
			"exchange_from": self.source.name,
			**values,
		}
		return make_app(self.authlib.issuer, **values)

	def who(self, app: Any, user: str = ALICE) -> str:
		forget()
		frappe.db.rollback()
		return app.get_oauth2_session(user).get(f"{self.authlib.issuer}/userinfo").json()["sub"]

	def assertFails(self, code: str, app: Any, user: str = ALICE) -> OAuthError:
		with self.assertRaises(OAuthError) as caught:
			self.who(app, user)
		self.assertEqual(caught.exception.code, code)
		return caught.exception

	def asked(self) -> list[str]:
		return [entry["form"]["grant_type"].rpartition(":")[2] for entry in self.authlib.stats()["requests"]]

	def expire(self, app: Any) -> None:
		frappe.db.set_value("Token Cache", row(app, ALICE).name, "expires_at", "2020-01-01")
		frappe.db.commit()

	def test_from_a_users_connection(self) -> None:
		"""A user who is connected there is connected here; the source is renewed first if it is due."""
		self.connect(self.source)
		app = self.make()
		self.assertEqual(self.who(app), "alice")
		kept = row(app, ALICE)
		self.assertEqual((kept.account_id, kept.refresh_token, kept.owner), ("alice", "", ALICE))
		self.assertEqual(self.who(app), "alice")
		self.assertEqual(self.asked(), ["authorization_code", "token-exchange"])
		self.expire(app)
		self.expire(self.source)
		self.assertEqual(self.who(app), "alice")
		self.assertEqual(self.asked()[2:], ["refresh_token", "token-exchange"])

	def test_without_the_source(self) -> None:
		app = self.make()
		error = self.assertFails("source_not_connected", app)
		self.assertIsInstance(error, ReconnectRequired)
		self.assertIsNone(name_of(ConnectionKey.of_user(app.name, ALICE)))
		self.assertEqual(self.asked(), [])
		answer = self.alice.call("authorize", connected_app=app.name)
		self.assertEqual(answer.status_code, 417)
		self.assertIn("connect that one first", answer.text)
		self.connect(self.source)
		self.assertEqual(self.alice.ask("authorize", connected_app=app.name, success_uri="/me"), "/me")
		self.assertEqual(row(app, ALICE).status, "Connected")

	def test_the_source_ends(self) -> None:
		"""What was made from it ends at its next renewal, and says why."""
		self.connect(self.source)
		app = self.make()
		self.assertEqual(self.who(app), "alice")
		self.alice.ask("disconnect", connected_app=self.source.name)
		self.expire(app)
		self.assertFails("source_not_connected", app)

	def test_whose(self) -> None:
		"""Nobody gets what another's connection gives, nor without the permission to connect."""
		self.connect(self.source)
		app = self.make()
		self.assertFails("source_not_connected", app, MALLORY)
		closed = self.make(everyone_may_connect=0)
		self.assertFails("not_allowed", closed)
		self.assertEqual(self.asked(), ["authorization_code"])

	def test_the_service_principals(self) -> None:
		app = self.make()
		headers = app.get_backend_app_token().get_auth_header()
		self.assertTrue(headers["Authorization"].startswith("Bearer "))
		self.assertEqual(self.asked(), ["client_credentials", "token-exchange"])

	def test_one_at_a_time(self) -> None:
		"""Of six processes one renews the source, and one exchanges; none waits for another forever."""
		self.not_on_sqlite("one writer at a time")
		self.connect(self.source)
		self.expire(self.source)
		app = self.make()
		given = in_processes(6, "app.get_oauth2_session(user).token['access_token']", app)
		self.assertEqual(len(set(given)), 1, given)
		self.assertTrue(given[0].startswith("gave "), given)
		self.assertEqual(self.asked()[1:], ["refresh_token", "token-exchange"])

	def test_refused(self) -> None:
		"""The provider's error is an admin's to act on, and costs the source nothing."""
		self.connect(self.source)
		app = self.make(token_parameters="audience = elsewhere")
		self.assertFails("invalid_target", app)
		self.assertEqual(self.who(self.source), "alice")

	def test_settings(self) -> None:
		"""No chain, and no circle; nothing that the protocol sets itself."""
		app = self.make()
		for values in (
			{"exchange_from": app.name},
			{"exchange_from": ""},
			{"token_parameters": "subject_token = x"},
			{"token_parameters": "audience = x\nclient_secret = y"},
		):
			with self.assertRaises(frappe.ValidationError):
				self.make(**values)
			frappe.db.rollback()
		app.exchange_from = app.name
		with self.assertRaises(frappe.ValidationError):
			app.save()

	def test_own_parameters(self) -> None:
		"""Client credentials as Auth0 wants them."""
		app = make_app(self.authlib.issuer, token_parameters="audience = https://api.example/v2?a=b\n\n")
		app.get_backend_app_token()
		(entry,) = self.authlib.stats()["requests"]
		self.assertEqual(entry["form"]["audience"], "https://api.example/v2?a=b")
		self.assertEqual(
			[
				each
				for each in self.admin.ask("check_configuration", connected_app=app.name)
				if each["level"] == "error"
			],
			[],
		)

	def test_a_source_that_is_disabled(self) -> None:
		self.connect(self.source)
		app = self.make()
		self.source.enabled = 0
		self.source.save()
		frappe.db.commit()
		with self.assertRaises(ConfigurationError) as caught:
			self.who(app)
		self.assertEqual(caught.exception.code, "app_disabled")
