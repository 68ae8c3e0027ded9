"""Several accounts of one user: each a connection of its own, one of them the default."""

from __future__ import annotations

from typing import Any

import frappe
import requests

from connected_app.oauth import ConfigurationError, ReconnectRequired
from connected_app.oauth.grant import Account, Grant
from connected_app.oauth.redact import Secret
from connected_app.site import accounts
from connected_app.site.grants import TokenCacheStore
from connected_app.site.identity import ConnectionKey, slot
from connected_app.tests.site import (
	ALICE,
	MALLORY,
	Case,
	forget,
	make_app,
	needs_providers,
	statements,
)
from connected_app.tests.test_another_account import PENDING

PROCESSES = 8
TOKEN = "app.get_oauth2_session(user).token['access_token']"
FIRST, SECOND = "alice@example.com", "bob@example.com"


@needs_providers
class Several(Case):
	"""Alice has connected as alice, which is the default, and as bob."""

	def setUp(self) -> None:
		super().setUp()
		frappe.db.delete(PENDING)
		frappe.db.commit()
		self.app = make_app(self.authlib.issuer, several_accounts=1)
		self.addCleanup(self.tidy)
		self.assertEqual(self.connect(self.app).status_code, 302)
		self.assertEqual(self.another().status_code, 302)

	def tidy(self) -> None:
		"""Other tests look at what Alice is connected to."""
		frappe.db.rollback()
		if frappe.db.exists("Connected App", self.app.name):
			frappe.delete_doc("Connected App", self.app.name, force=True)
		frappe.db.commit()

	def another(self, account: str = "bob", **args: Any) -> requests.Response:
		url = self.alice.ask("authorize", connected_app=self.app.name, success_uri="/me", another=1, **args)
		return self.alice.visit(self.authlib.consent(url, account=account))

	def fresh(self) -> Any:
		"""The app, as a new request has it."""
		frappe.db.rollback()
		forget()
		return frappe.get_doc("Connected App", self.app.name)

	def rows(self, **filters: Any) -> list[Any]:
		frappe.db.rollback()
		fields = ["name", "user", "account", "account_id", "account_name", "status", "revision", "idle_since"]
		filters = {"connected_app": self.app.name, **filters}
		return frappe.get_all("Token Cache", filters, fields, order_by="account")

	def names(self) -> list[tuple[str, bool]]:
		return [(each.name, each.is_default) for each in self.fresh().get_accounts(ALICE)]

	def hello(self, user: str = ALICE, **account: str) -> Any:
		session = self.fresh().get_oauth2_session(user, **account)
		return session.get(f"{self.authlib.issuer}/api/hello").json()

	def assertRaisesCode(self, code: str, use: Any, *args: Any, **kwargs: Any) -> Any:
		with self.assertRaises((ReconnectRequired, ConfigurationError)) as caught:
			use(*args, **kwargs)
		self.assertEqual(caught.exception.code, code)
		frappe.clear_messages()
		return caught.exception

	def store(self, user: str, account: str, **named: str) -> None:
		"""A connection of `user`, as a consent would leave it."""
		key = ConnectionKey.of_user(self.app.name, user)
		account_id = named.get("id", account)
		grant = Grant(
			access_token=Secret(f"token-of-{user}-{account_id}"),
			refresh_token=Secret(f"refresh-{account_id}"),
			account=Account(id=account_id, name=account),
			scopes=("openid",),
		)
		frappe.db.rollback()
		forget()
		with TokenCacheStore(accounts.for_consent(key, grant, False), create=True).exclusive() as locked:
			locked.save(grant, consented=True)
		frappe.db.rollback()
		forget()


class TestUse(Several):
	def test_each_has_a_row(self) -> None:
		usual, other = self.rows()
		self.assertEqual((usual.name, usual.account or ""), (f"{self.app.name}-{ALICE}", ""))
		self.assertEqual((other.account, other.account_name), (slot(other.account_id), SECOND))
		self.assertNotEqual(other.name, usual.name)

	def test_the_default_and_the_others(self) -> None:
		self.assertEqual(self.hello(), {"hello": "Alice"})
		by_id = {each.name: each.id for each in self.fresh().get_accounts(ALICE)}
		for account in (SECOND, SECOND.upper(), by_id[SECOND]):
			self.assertEqual(self.hello(account=account), {"hello": "Bob"}, account)
		for account in (FIRST, by_id[FIRST]):
			self.assertEqual(self.hello(account=account), {"hello": "Alice"}, account)

	def test_every_way_to_a_token(self) -> None:
		token = self.fresh().get_oauth2_session(ALICE, account=SECOND).token["access_token"]
		app = self.fresh()
		self.assertEqual(app.get_access_token(ALICE, account=SECOND).value, token)
		self.assertEqual(app.get_token_source(ALICE, account=SECOND).access_token().value, token)
		self.assertEqual(app.get_active_token(ALICE, account=SECOND).get_password("access_token"), token)
		self.assertEqual(app.get_token_cache(ALICE, account=SECOND).get_password("access_token"), token)

	def test_accounts(self) -> None:
		first, second = self.fresh().get_accounts(ALICE)
		self.assertEqual((first.name, first.is_default, first.status), (FIRST, True, "Connected"))
		self.assertEqual((second.name, second.is_default), (SECOND, False))
		self.assertIn("openid", second.scopes)
		self.assertIsNotNone(second.connected_on)
		self.assertEqual(self.fresh().get_accounts(MALLORY), [])

	def test_an_account_that_is_not_connected(self) -> None:
		app = self.fresh()
		for account in ("carol@example.com", " ", "%"):
			for use in (app.get_oauth2_session, app.get_access_token, app.get_token_source):
				error = self.assertRaisesCode("account_not_connected", use, ALICE, account=account)
				self.assertIn("/connect", error.connect_url)
			self.assertIsNone(app.get_active_token(ALICE, account=account))
			self.assertIsNone(app.get_token_cache(ALICE, account=account))

	def test_anothers_account_is_not_found(self) -> None:
		for account in (FIRST, SECOND, self.rows()[1].account_id):
			self.assertRaisesCode(
				"account_not_connected", self.fresh().get_oauth2_session, MALLORY, account=account
			)

	def test_two_of_one_name(self) -> None:
		for number in ("41", "42"):
			self.store(ALICE, "Sales", id=number)
		error = self.assertRaisesCode(
			"account_ambiguous", self.fresh().get_oauth2_session, ALICE, account="sales"
		)
		self.assertIn("41, 42", error.message)
		token = self.fresh().get_oauth2_session(ALICE, account="42").token["access_token"]
		self.assertEqual(token, f"token-of-{ALICE}-42")

	def test_ids_before_names(self) -> None:
		self.store(ALICE, "43", id="44")
		self.store(ALICE, "Number 43", id="43")
		token = self.fresh().get_oauth2_session(ALICE, account="43").token["access_token"]
		self.assertEqual(token, f"token-of-{ALICE}-43")

	def test_ids_in_another_case(self) -> None:
		"""To MariaDB these are the same text."""
		for number in ("AbC", "aBc", "abc"):
			self.store(ALICE, f"Name of {number}", id=number)
		for number in ("AbC", "aBc", "abc"):
			token = self.fresh().get_oauth2_session(ALICE, account=number).token["access_token"]
			self.assertEqual(token, f"token-of-{ALICE}-{number}")
		self.assertEqual(len(self.rows()), 5)

	def test_statements(self) -> None:
		"""As many as before: one for a session of a cached document."""
		for account in (None, FIRST, SECOND):
			self.fresh()
			app = frappe.get_cached_doc("Connected App", self.app.name)
			with statements() as sent:
				app.get_oauth2_session(ALICE, account=account).token["access_token"]
			self.assertEqual(len(sent), 1, (account, sent))
		app = self.fresh()
		with statements() as sent:
			app.get_accounts(ALICE)
		few = len(sent)
		for number in range(5):
			self.store(ALICE, f"Number {number}", id=f"number-{number}")
		app = self.fresh()
		with statements() as sent:
			self.assertEqual(len(app.get_accounts(ALICE)), 7)
		self.assertEqual(len(sent), few)


