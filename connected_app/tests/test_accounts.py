"""Several accounts of one user: each a connection of its own, one of them the default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import frappe
import requests

from connected_app.oauth import ConfigurationError, ReconnectRequired
from connected_app.oauth.clock import utc_now
from connected_app.oauth.grant import Account, Grant
from connected_app.oauth.redact import Secret
from connected_app.site import accounts, connections, flow, offboarding, revocation, rows, schedule, settings
from connected_app.site.grants import TokenCacheStore
from connected_app.site.identity import ConnectionKey, slot
from connected_app.site.rows import naive
from connected_app.tests.site import (
	ALICE,
	MALLORY,
	Case,
	forget,
	in_a_new_job,
	in_processes,
	logged_in,
	make_app,
	make_user,
	needs_providers,
	statements,
)
from connected_app.tests.test_another_account import PENDING

PROCESSES = 32
FIRST, SECOND = "alice@example.com", "bob@example.com"


def remove(app: Any) -> None:
	"""The app with its connections, however many, so that no job has them left to end: other tests look at those."""
	of_app = {"connected_app": app.name}
	for doctype in ("Token Cache", PENDING):
		for name in frappe.get_all(doctype, of_app, pluck="name"):
			frappe.db.delete("__Auth", {"doctype": doctype, "name": name})
			frappe.db.delete("OAuth Scope", {"parenttype": doctype, "parent": name})
		frappe.db.delete(doctype, of_app)
	if frappe.db.exists("Connected App", app.name):
		frappe.delete_doc("Connected App", app.name, force=True)


def copied(doc: Any, name: str, **values: Any) -> None:
	"""Another row like that of `doc`, and nothing else: no child rows, no hooks."""
	frappe.get_doc({**doc.get_valid_dict(), "doctype": doc.doctype, "name": name, **values}).db_insert()


@needs_providers
class Several(Case):
	"""Alice has connected as alice, which is the default, and as bob."""

	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer, several_accounts=1)
		self.afterwards(self.tidy)
		self.assertEqual(self.connect(self.app).status_code, 302)
		self.assertEqual(self.another().status_code, 302)

	def tidy(self) -> None:
		remove(self.app)

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

	def test_what_is_no_name(self) -> None:
		"""Neither is taken for the default account; a number is an ID."""
		for account in (0, False, [], {}, b"", 0.0):
			for use in (self.fresh().get_oauth2_session, self.fresh().get_access_token):
				self.assertRaisesCode("account_not_connected", use, ALICE, account=account)
			self.assertIsNone(self.fresh().get_token_cache(ALICE, account))
			self.assertIsNone(self.fresh().get_active_token(ALICE, account))
			self.assertRaisesCode(
				"account_not_connected", self.fresh().require_scopes, "read", user=ALICE, account=account
			)
		self.store(ALICE, "Number 0", id="0")
		token = self.fresh().get_oauth2_session(ALICE, account=0).token["access_token"]
		self.assertEqual(token, f"token-of-{ALICE}-0")
		for account in (None, ""):
			self.assertEqual(self.hello(account=account), {"hello": "Alice"})

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


class TestRefreshing(Several):
	def test_storm(self) -> None:
		"""Many processes, two accounts: one token request for each."""
		self.fresh()
		frappe.db.set_value("Token Cache", {"connected_app": self.app.name}, "expires_at", "2020-01-01")
		frappe.db.commit()
		token = f"app.get_oauth2_session({ALICE!r}, account=user).token['access_token']"
		answers = in_processes(PROCESSES, token, self.app, FIRST, SECOND)
		app = self.fresh()
		tokens = [app.get_token_cache(ALICE, each).get_password("access_token") for each in (FIRST, SECOND)]
		self.assertNotEqual(*tokens)
		self.assertEqual(answers, [f"gave {token}" for token in tokens] * (PROCESSES // 2))
		stats = self.authlib.stats()
		self.assertEqual((stats["refreshes"], stats["reuses"]), (2, 0))

	def test_in_the_background(self) -> None:
		"""Each is kept alive, none in another's place."""
		self.fresh()
		frappe.db.set_value("Connected App", self.app.name, {"refresh_in_background": 1, "refresh_ahead": 30})
		old = naive(utc_now() - timedelta(days=400))
		values = {"expires_at": naive(utc_now() + timedelta(minutes=1)), "idle_since": old}
		frappe.db.set_value("Token Cache", {"connected_app": self.app.name}, values)
		frappe.db.commit()
		frappe.clear_cache(doctype="Connected App")
		before = {each.account_id: each.revision for each in self.rows()}
		schedule.refresh(self.app.name)
		after = {each.account_id: each.revision for each in self.rows()}
		self.assertEqual(self.authlib.stats()["refreshes"], 2)
		self.assertTrue(all(after[each] > before[each] for each in before))
		self.assertEqual((self.hello(), self.hello(account=SECOND)), ({"hello": "Alice"}, {"hello": "Bob"}))


class TestConnecting(Several):
	def asks(self, **args: Any) -> dict[str, list[str]]:
		url = self.alice.ask("authorize", connected_app=self.app.name, **args)
		return parse_qs(urlsplit(url).query)

	def test_what_is_asked_of_the_provider(self) -> None:
		self.assertNotIn("prompt", self.asks())
		self.assertEqual(self.asks(another=1)["prompt"], ["select_account"])
		again = self.asks(account=SECOND)
		self.assertEqual((again["login_hint"], again.get("prompt")), ([SECOND], None))
		app = self.fresh()
		app.append("query_parameters", {"key": "prompt", "value": "consent"})
		app.save()
		frappe.db.commit()
		self.assertEqual(self.asks(another=1)["prompt"], ["consent select_account"])

	def test_the_same_account_again(self) -> None:
		"""Its row is replaced, whichever it is, and nothing is added."""
		for account, name in (("alice", FIRST), ("bob", SECOND)):
			before = {each.account_id: each.revision for each in self.rows()}
			self.assertEqual(self.another(account).headers["Location"], "/me")
			after = {each.account_id: each.revision for each in self.rows()}
			self.assertEqual([each for each in after if after[each] != before[each]], [account])
			self.assertEqual(self.names(), [(FIRST, True), (SECOND, False)], name)

	def test_nobody_is_asked(self) -> None:
		"""Another account than the default one replaces nothing, also where that was not asked for."""
		self.alice.ask("disconnect", connected_app=self.app.name, account=SECOND)
		self.assertEqual(self.connect(self.app, account="bob").headers["Location"], "/me")
		self.assertEqual(self.names(), [(FIRST, True), (SECOND, False)])

	def test_reconnecting(self) -> None:
		self.authlib.command("revoke")
		self.assertRaisesCode("grant_invalid", self.renew, SECOND)
		states = {each["account_name"]: each["status"] for each in self.mine()}
		self.assertEqual(states, {FIRST: "Connected", SECOND: "Reconnect Required"})
		url = self.alice.ask("authorize", connected_app=self.app.name, account=SECOND, success_uri="/me")
		self.alice.visit(self.authlib.consent(url, account="bob"))
		self.assertEqual(self.hello(account=SECOND), {"hello": "Bob"})

	def renew(self, account: str) -> None:
		frappe.db.rollback()
		name = self.fresh().get_token_cache(ALICE, account).name
		frappe.db.set_value("Token Cache", name, "expires_at", "2020-01-01")
		frappe.db.commit()
		self.hello(account=account)

	def mine(self) -> list[Any]:
		return [each for each in self.alice.ask("my_connections", "GET") if each["name"] == self.app.name]

	def test_one_account_only(self) -> None:
		app = make_app(self.authlib.issuer)
		self.afterwards(remove, app)
		answer = self.alice.call("authorize", connected_app=app.name, another=1)
		self.assertEqual(answer.status_code, 417)
		self.assertIn("Each user may connect one account", answer.text)

	def unknowable(self, **values: Any) -> None:
		app = self.fresh()
		app.update({"scopes": [{"scope": "profile"}], **values})
		app.save()
		frappe.db.commit()

	def test_a_provider_that_does_not_say_who(self) -> None:
		"""It is said before anything is granted."""
		self.unknowable(userinfo_uri="")
		answer = self.alice.call("authorize", connected_app=self.app.name, another=1)
		self.assertEqual(answer.status_code, 417)
		self.assertIn("did not say which account", answer.text)
		found = self.admin.ask("check_configuration", connected_app=self.app.name)
		self.assertIn("several_accounts", [each["check"] for each in found])

	def test_it_was_not_said_after_all(self) -> None:
		"""What was there stays, and the new tokens are given back."""
		self.unknowable(userinfo_uri=f"{self.authlib.issuer}/nowhere")
		before = [(each.name, each.revision) for each in self.rows()]
		revoked = self.authlib.stats()["revocations"]
		self.assertRefused(self.another("bob"), "account_unknown")
		self.assertEqual([(each.name, each.revision) for each in self.rows()], before)
		self.assertEqual(self.authlib.stats()["revocations"], revoked + 1)
		self.assertEqual(frappe.get_all(PENDING, {"connected_app": self.app.name}), [])

	def test_nor_without_wanting_another(self) -> None:
		"""*Reconnect*, a link for more consent, or no default one: of whom is not known overwrites nobody that is. Nor is it
		revoked: it may be the same account, of which some providers then end all (Facebook)."""
		self.unknowable(userinfo_uri=f"{self.authlib.issuer}/nowhere", optional_scopes="write")
		before = [(each.name, each.revision) for each in self.rows()]
		revoked = self.authlib.stats()["revocations"]
		for account in (None, FIRST, SECOND):
			args = {"account": account} if account else {}
			url = self.alice.ask("authorize", connected_app=self.app.name, **args)
			landed = self.alice.visit(self.authlib.consent(url, account="bob"))
			self.assertRefused(landed, "account_unknown")
			self.assertEqual([(each.name, each.revision) for each in self.rows()], before)
		self.assertEqual(self.authlib.stats()["revocations"], revoked)
		self.assertEqual(frappe.get_all(PENDING, {"connected_app": self.app.name}), [])
		self.alice.ask("disconnect", connected_app=self.app.name)
		self.assertRefused(self.connect(self.app, account="bob"), "account_unknown")
		self.assertEqual(self.names(), [(SECOND, False)])
		self.alice.ask("disconnect", connected_app=self.app.name, account=SECOND)
		for _ in range(2):
			self.assertEqual(self.connect(self.app).headers["Location"], "/me")
			self.assertEqual(self.names(), [("", True)])

	def test_a_default_one_that_is_not_known(self) -> None:
		"""It may be the same account: it is not connected twice."""
		self.alice.ask("disconnect", connected_app=self.app.name, account=SECOND)
		name = self.rows()[0].name
		frappe.db.set_value("Token Cache", name, {"account_id": None, "account_name": None})
		frappe.db.commit()
		self.assertRefused(self.another("bob"), "account_unknown")
		self.assertEqual([each.name for each in self.rows()], [name])
		self.assertEqual(self.connect(self.app).headers["Location"], "/me")
		self.assertEqual(self.names(), [(FIRST, True)])

	def test_check_configuration(self) -> None:
		found = self.admin.ask("check_configuration", connected_app=self.app.name)
		self.assertNotIn("several_accounts", [each["check"] for each in found])

	def test_more_consent(self) -> None:
		"""For one account, and asked of that one."""
		app = self.fresh()
		app.optional_scopes = "write"
		app.save()
		frappe.db.commit()
		with self.assertRaises(ReconnectRequired) as caught:
			self.fresh().require_scopes("write", user=ALICE, account=SECOND)
		self.assertEqual(caught.exception.code, "scope_missing")
		query = caught.exception.connect_url.partition("?")[2]
		began = self.alice.visit(f"{self.alice.base}/api/method/connected_app.api.begin?{query}")
		asked = parse_qs(urlsplit(began.headers["Location"]).query)
		self.assertEqual(asked["login_hint"], [SECOND])
		self.alice.visit(self.authlib.consent(began.headers["Location"], account="bob"))
		self.fresh().require_scopes("write", user=ALICE, account=SECOND)
		self.assertRaisesCode("scope_missing", self.fresh().require_scopes, "write", user=ALICE)
		self.assertRaisesCode(
			"account_not_connected", self.fresh().require_scopes, "write", user=ALICE, account="carol"
		)

	def test_more_consent_of_the_default_one(self) -> None:
		"""It is proposed at the provider, where the user may be logged in as another one; by its ID, since another may be
		the default one when the link is opened."""
		app = self.fresh()
		app.optional_scopes = "write"
		app.save()
		frappe.db.commit()
		api = requests.Response()
		api.status_code = 403
		api.headers["WWW-Authenticate"] = 'Bearer error="insufficient_scope", scope="write"'
		app = self.fresh()
		errors = [
			self.assertRaisesCode("scope_missing", app.require_scopes, "write", user=ALICE),
			self.assertRaisesCode("scope_missing", app.require_consent, api, user=ALICE),
		]
		self.alice.ask("make_default", connected_app=self.app.name, account=SECOND)
		for error in errors:
			self.assertIn(f"Account: {FIRST}", self.alice.get(error.connect_url).text)
			query = error.connect_url.partition("?")[2]
			began = self.alice.visit(f"{self.alice.base}/api/method/connected_app.api.begin?{query}")
			asked = parse_qs(urlsplit(began.headers["Location"]).query)
			self.assertEqual(asked.get("login_hint"), [FIRST])

	def test_two_at_once(self) -> None:
		"""Both consents are for one new account: it has one row."""
		self.store(ALICE, "carol")
		key = ConnectionKey.of_user(self.app.name, ALICE)
		grant = Grant(access_token=Secret("later"), account=Account(id="dora", name="dora"))
		chosen = accounts.for_consent_now(key, grant, True)
		self.store(ALICE, "dora")
		self.assertEqual(accounts.for_consent_now(key, grant, True), chosen)
		self.assertEqual(len(self.rows(account_id="dora")), 1)


class TestDefault(Several):
	def choose(self, account: str, **args: Any) -> requests.Response:
		return self.alice.call("make_default", connected_app=self.app.name, account=account, **args)

	def swap(self) -> None:
		self.assertEqual(self.choose(SECOND).status_code, 200)

	def test_core_finds_it(self) -> None:
		before = {each.account_id: each.name for each in self.rows()}
		self.swap()
		after = {each.account_id: each.name for each in self.rows()}
		self.assertEqual(after, {"bob": before["alice"], "alice": before["bob"]})
		self.assertEqual(self.names(), [(SECOND, True), (FIRST, False)])
		self.assertEqual((self.hello(), self.hello(account=FIRST)), ({"hello": "Bob"}, {"hello": "Alice"}))
		self.assertEqual(self.hello(account=SECOND), {"hello": "Bob"})
		found = frappe.get_doc("Token Cache", f"{self.app.name}-{ALICE}")
		self.assertEqual((found.account_id, found.account), ("bob", ""))
		self.assertEqual(len(found.scopes), len(frappe.get_doc("Token Cache", after["alice"]).scopes))
		self.assertEqual(found.get_password("access_token"), self.token_of(SECOND))

	def token_of(self, account: str) -> str:
		return str(self.fresh().get_oauth2_session(ALICE, account=account).token["access_token"])

	def test_nothing_is_left_behind(self) -> None:
		names = {each.name for each in self.rows()}
		self.swap()
		auth = frappe.qb.Table("__Auth")
		of_app = auth.name.like(f"{self.app.name}%")
		found = frappe.qb.from_(auth).select(auth.name).where((auth.doctype == "Token Cache") & of_app).run()
		self.assertEqual({name for (name,) in found}, names)
		self.swap_back()
		self.assertEqual({each.name for each in self.rows()}, names)

	def swap_back(self) -> None:
		self.assertEqual(self.choose("alice").status_code, 200)
		self.assertEqual(self.names(), [(FIRST, True), (SECOND, False)])

	def test_the_same_request_sees_it(self) -> None:
		app = self.fresh()
		tokens = {
			each: app.get_oauth2_session(ALICE, account=each).token["access_token"]
			for each in (FIRST, SECOND)
		}
		self.assertEqual(app.get_oauth2_session(ALICE).token["access_token"], tokens[FIRST])
		accounts.make_default(accounts.choose(ConnectionKey.of_user(app.name, ALICE), SECOND))
		self.assertEqual(app.get_oauth2_session(ALICE).token["access_token"], tokens[SECOND])
		for each in (FIRST, SECOND):
			self.assertEqual(app.get_oauth2_session(ALICE, account=each).token["access_token"], tokens[each])

	def test_who_asked_for_an_account_keeps_it(self) -> None:
		"""A session for one account never becomes another's, whichever is the default by now."""
		for account, hello in ((FIRST, "Alice"), (SECOND, "Bob")):
			session = self.fresh().get_oauth2_session(ALICE, account=account)
			self.assertEqual(self.choose(SECOND if account == FIRST else FIRST).status_code, 200)
			self.authlib.command("expire")
			answer = session.get(f"{self.authlib.issuer}/api/hello").json()
			self.assertEqual(answer, {"hello": hello})

	def test_a_job_in_which_the_default_one_changes(self) -> None:
		"""What it remembers of the default one is never taken for the account that it asks for."""
		token = self.token_of(SECOND)
		app = self.fresh()
		app.get_oauth2_session(ALICE).token  # noqa: B018
		self.swap()
		frappe.db.commit()
		self.assertEqual(app.get_oauth2_session(ALICE, account=SECOND).token["access_token"], token)
		self.assertEqual(app.get_token_cache(ALICE, SECOND).get_password("access_token"), token)

	def test_a_session_says_whose_token_it_has(self) -> None:
		"""One that has the token of the account that was the default one goes on with it, and does not name the new one."""
		session = self.fresh().get_oauth2_session(ALICE)
		self.assertEqual(session.get(f"{self.authlib.issuer}/api/hello").json(), {"hello": "Alice"})
		self.swap()
		frappe.db.commit()
		self.assertEqual(session.get(f"{self.authlib.issuer}/api/hello").json(), {"hello": "Alice"})
		self.assertEqual((session.connection.account_name, session.connection.account_id), (FIRST, "alice"))
		self.assertEqual(self.fresh().get_oauth2_session(ALICE).connection.account_name, SECOND)

	def test_a_document_that_was_read_before(self) -> None:
		"""Its name is another account's by now: it reads, stores and deletes its own account's all the same."""
		tokens = {each: self.token_of(each) for each in (FIRST, SECOND)}
		documents = {each: self.fresh().get_token_cache(ALICE, each) for each in (FIRST, SECOND)}
		self.swap()
		for account, document in documents.items():
			frappe.db.rollback()
			forget()
			self.assertEqual(document.get_password("access_token"), tokens[account])
			document.update_data({"access_token": f"new of {account}", "scope": "openid"})
			self.assertEqual(self.token_of(account), f"new of {account}")
		self.assertEqual((self.names(), len(self.rows())), ([(SECOND, True), (FIRST, False)], 2))
		documents = {each: self.fresh().get_token_cache(ALICE, each) for each in (FIRST, SECOND)}
		self.swap_back()
		frappe.db.rollback()
		documents[SECOND].delete()
		frappe.db.commit()
		self.assertEqual(self.names(), [(FIRST, True)])

	def test_a_document_whose_account_is_gone(self) -> None:
		"""It does not read the tokens of the account that has its name."""
		document = self.fresh().get_token_cache(ALICE)
		self.alice.ask("disconnect", connected_app=self.app.name, account=FIRST)
		self.swap()
		frappe.db.rollback()
		forget()
		self.assertIsNone(document.get_password("access_token", False))
		with self.assertRaises(frappe.AuthenticationError):
			document.get_password("access_token")
		self.assertRaisesCode("account_not_connected", document.update_data, {"access_token": "of alice"})
		document.delete()
		frappe.db.commit()
		self.assertEqual(self.names(), [(SECOND, True)])

	def test_it_is_said(self) -> None:
		self.swap()
		frappe.db.rollback()
		filters = {"reference_doctype": "Connected App", "reference_name": self.app.name}
		said = frappe.get_all("Activity Log", filters, pluck="subject")
		line = f"Default account changed: {ALICE} at Demo, from {FIRST} to {SECOND}"
		self.assertIn(line, said)

	def test_the_default_one_already(self) -> None:
		before = self.rows()
		self.assertEqual(self.choose(FIRST).status_code, 200)
		self.assertEqual(self.rows(), before)

	def test_who_may(self) -> None:
		mallory = logged_in(MALLORY)
		args = {"connected_app": self.app.name, "account": SECOND}
		self.assertEqual(mallory.call("make_default", **args, user=ALICE).status_code, 403)
		self.assertEqual(mallory.call("make_default", **args).status_code, 417)
		self.assertEqual(self.names()[0], (FIRST, True))
		self.assertEqual(self.admin.call("make_default", **args, user=ALICE).status_code, 200)
		self.assertEqual(self.names()[0], (SECOND, True))

	def test_bad_input(self) -> None:
		for account in ("carol", "%", ""):
			self.assertEqual(self.choose(account).status_code, 417, account)
		self.assertEqual(self.names()[0], (FIRST, True))

	def test_the_default_one_is_not_known(self) -> None:
		"""It could not be named any more."""
		frappe.db.set_value("Token Cache", self.rows()[0].name, {"account_id": None, "account_name": None})
		frappe.db.commit()
		answer = self.choose(SECOND)
		self.assertEqual(answer.status_code, 417)
		self.assertIn("It is not known which account is the default one", answer.text)
		self.assertEqual(self.hello(), {"hello": "Alice"})

	def test_the_callers_own_change(self) -> None:
		self.not_on_sqlite("the caller's open work is committed first")
		app = self.fresh()
		key = accounts.choose(ConnectionKey.of_user(app.name, ALICE), SECOND)
		frappe.get_doc("Token Cache", f"{app.name}-{ALICE}").save(ignore_permissions=True)
		self.assertRaisesCode("not_committed", accounts.make_default, key)
		frappe.db.rollback()
		self.assertEqual(self.names()[0], (FIRST, True))


class TestMeanwhile(Several):
	"""Another account is made the default one after a row was found, and before it is locked."""

	@contextmanager
	def chosen(self, account: str) -> Iterator[None]:
		self.not_on_sqlite("one lock for all accounts of a user")
		find, chosen = rows.name_of, []

		def name_of(key: ConnectionKey) -> str | None:
			name = find(key)
			if not chosen:
				chosen.append(account)
				self.alice.ask("make_default", connected_app=self.app.name, account=account)
			return name

		with patch.object(rows, "name_of", name_of):
			yield
		self.assertEqual(chosen, [account])

	def test_who_asked_for_an_account_gets_it(self) -> None:
		"""The rows exchange their names, and the lock is had by name."""
		for account, hello in ((FIRST, "Alice"), (SECOND, "Bob"), (FIRST, "Alice")):
			session = self.fresh().get_oauth2_session(ALICE, account=account)
			self.authlib.command("expire")
			other = next(each.id for each in self.fresh().get_accounts(ALICE) if not each.is_default)
			with self.chosen(other):
				answer = session.get(f"{self.authlib.issuer}/api/hello").json()
			self.assertEqual(answer, {"hello": hello})

	def test_who_asked_for_the_default_one_gets_that(self) -> None:
		store = TokenCacheStore(ConnectionKey.of_user(self.app.name, ALICE))
		with self.chosen(SECOND), store.exclusive() as locked:
			self.assertEqual((locked.grant.account.id, locked.state.account), ("bob", ""))
		self.assertEqual(store.key.account, "")

	def test_one_that_has_no_default_one_beside_it(self) -> None:
		"""Its row gets the usual name while a job waits for it: it is not gone."""
		self.alice.ask("disconnect", connected_app=self.app.name)
		session = self.fresh().get_oauth2_session(ALICE, account=SECOND)
		self.authlib.command("expire")
		with self.chosen(SECOND):
			self.assertEqual(session.get(f"{self.authlib.issuer}/api/hello").json(), {"hello": "Bob"})
		self.assertEqual(len(self.rows()), 1)

	def test_after_the_lock_was_given_up(self) -> None:
		"""As by the first of two writes: what is read and written then is the same account's."""
		self.not_on_sqlite("there the lock is kept")
		before = {each.account_id: each.revision for each in self.rows()}
		tokens = {
			each: self.fresh().get_token_cache(ALICE, each).get_password("access_token")
			for each in (FIRST, SECOND)
		}
		key = accounts.choose(ConnectionKey.of_user(self.app.name, ALICE), SECOND)
		with TokenCacheStore(key).exclusive() as locked:
			locked.mark_rejected(utc_now())
			self.alice.ask("make_default", connected_app=self.app.name, account=SECOND)
			self.assertEqual(locked.reread().access_token, tokens[SECOND])
			self.assertEqual(locked.save(locked.grant).access_token, tokens[SECOND])
		self.assertEqual({each.account_id: each.revision for each in self.rows()}, before)

	def test_only_the_named_one_is_disconnected(self) -> None:
		key = accounts.choose(ConnectionKey.of_user(self.app.name, ALICE), SECOND)
		with self.chosen(SECOND):
			self.assertTrue(revocation.disconnect(key))
		self.assertEqual(self.names(), [(FIRST, False)])

	def test_what_is_consented_to_is_its_own(self) -> None:
		key = ConnectionKey.of_user(self.app.name, ALICE)
		grant = Grant(access_token=Secret("new"), account=Account(id="alice", name=FIRST))
		frappe.set_user(ALICE)
		with self.chosen(SECOND):
			flow.store(settings.read(key.app), grant, "/me", ())
		self.assertEqual(self.names(), [(SECOND, True), (FIRST, False)])
		self.assertEqual(self.fresh().get_oauth2_session(ALICE, account=FIRST).token["access_token"], "new")
		self.assertEqual(self.hello(account=SECOND), {"hello": "Bob"})


class TestDisconnecting(Several):
	def test_a_further_one(self) -> None:
		answer = self.alice.ask("disconnect", connected_app=self.app.name, account=SECOND)
		self.assertEqual(answer, {"revoked": True})
		self.assertEqual(self.names(), [(FIRST, True)])
		self.assertEqual(self.hello(), {"hello": "Alice"})

	def test_the_default_one(self) -> None:
		"""None takes its place: a job would act as somebody else."""
		self.assertEqual(self.alice.ask("disconnect", connected_app=self.app.name), {"revoked": True})
		self.assertEqual(self.names(), [(SECOND, False)])
		error = self.assertRaisesCode("no_default_account", self.hello)
		self.assertIn("My Connections", error.action)
		self.assertIsNone(self.fresh().get_active_token(ALICE))
		self.assertFalse(self.alice.ask("has_token", "GET", connected_app=self.app.name))
		self.assertEqual(self.hello(account=SECOND), {"hello": "Bob"})
		(shown,) = (each for each in self.alice.ask("my_connections", "GET") if each["name"] == self.app.name)
		self.assertEqual((shown["account"], shown["is_default"]), ("bob", False))

	def test_then_another_is_chosen(self) -> None:
		self.alice.ask("disconnect", connected_app=self.app.name)
		self.alice.ask("make_default", connected_app=self.app.name, account=SECOND)
		self.assertEqual((self.names(), self.hello()), ([(SECOND, True)], {"hello": "Bob"}))
		self.assertEqual(self.rows()[0].name, f"{self.app.name}-{ALICE}")

	def test_or_connected(self) -> None:
		self.alice.ask("disconnect", connected_app=self.app.name)
		self.assertEqual(self.another("bob").headers["Location"], "/me")
		self.assertEqual(self.names(), [(SECOND, False)])
		self.assertEqual(self.connect(self.app).headers["Location"], "/me")
		self.assertEqual(self.names(), [(FIRST, True), (SECOND, False)])

	def test_by_id_of_the_default_one(self) -> None:
		self.alice.ask("disconnect", connected_app=self.app.name, account="alice")
		self.assertEqual(self.names(), [(SECOND, False)])

	def test_anothers(self) -> None:
		args = {"connected_app": self.app.name, "account": SECOND}
		mallory = logged_in(MALLORY)
		self.assertEqual(mallory.call("disconnect", **args, user=ALICE).status_code, 403)
		self.assertEqual(mallory.call("disconnect", **args).status_code, 417)
		self.assertEqual(self.names(), [(FIRST, True), (SECOND, False)])
		self.assertEqual(self.admin.ask("disconnect", **args, user=ALICE), {"revoked": True})
		self.assertEqual(self.names(), [(FIRST, True)])

	def test_another_becomes_the_default_one_meanwhile(self) -> None:
		"""One account was to be disconnected: not whichever is the default one next, nor one that is connected again."""
		key = ConnectionKey.of_user(self.app.name, ALICE)
		for again in (
			lambda: self.alice.ask("make_default", connected_app=key.app, account=SECOND),
			self.again,
		):
			attempt = revocation.attempt

			def attempted(*args: Any, again: Any = again, attempt: Any = attempt) -> Any:
				again()
				return attempt(*args)

			with patch.object(revocation, "attempt", attempted):
				self.assertTrue(revocation.disconnect(key))
			self.assertEqual(self.names()[0], (SECOND if again != self.again else FIRST, True))

	def again(self) -> None:
		self.assertEqual(self.connect(self.app).headers["Location"], "/me")

	def test_rows_that_merging_left(self) -> None:
		"""All of them go: none takes the place of the one that counted."""
		left = frappe.get_doc("Token Cache", f"{self.app.name}-{ALICE}")
		copied(left, f"left-{self.app.name}", account_id="carol")
		frappe.db.commit()
		revocation.disconnect(ConnectionKey.of_user(self.app.name, ALICE))
		self.assertEqual(self.names(), [(SECOND, False)])
		self.assertEqual(len(self.rows()), 1)

	def test_the_audit_trail_says_which(self) -> None:
		self.alice.ask("disconnect", connected_app=self.app.name, account=SECOND)
		frappe.db.rollback()
		said = frappe.get_all("Activity Log", {"reference_name": self.app.name}, pluck="subject")
		self.assertIn(f"Disconnected: {ALICE} (bob) from Demo", said)


class TestNames(Several):
	"""Users and apps that are renamed, merged, disabled or deleted."""

	USER, OTHER, RENAMED = "first-owner@site.example", "second-owner@site.example", "third-owner@site.example"

	def setUp(self) -> None:
		super().setUp()
		self.afterwards(self.remove_users)
		in_a_new_job(self.remove_users)
		for user in (self.USER, self.OTHER):
			make_user(user, "Blogger")
		frappe.db.commit()

	def remove_users(self) -> None:
		for user in (self.USER, self.OTHER, self.RENAMED):
			if frappe.db.exists("User", user):
				frappe.delete_doc("User", user, force=True)

	def rename(self, doctype: str, old: str, new: str, merge: bool = False) -> None:
		frappe.db.rollback()
		forget()
		frappe.rename_doc(doctype, old, new, merge=merge, force=True, show_alert=False)
		frappe.db.commit()

	def merge(self, old: str, new: str) -> None:
		"""What merging users does to their rows; `test_merge_users_with_other_accounts` merges real ones, which takes
		seconds."""
		frappe.db.rollback()
		forget()
		offboarding.user_renamed(frappe.get_doc("User", old), "before_rename", old, new, True)
		frappe.db.set_value("Token Cache", {"user": old}, "user", new, update_modified=False)
		frappe.db.commit()

	def tokens(self, user: str) -> dict[str, str]:
		"""What can be used, by the account's ID; the default one with a star."""
		found = {}
		for each in self.fresh().get_accounts(user):
			session = self.fresh().get_oauth2_session(user, account=each.id)
			found[each.id + "*" * each.is_default] = session.token["access_token"]
		return found

	def test_rename_the_user(self) -> None:
		for account in ("one", "two"):
			self.store(self.USER, account)
		before = self.tokens(self.USER)
		self.rename("User", self.USER, self.RENAMED)
		self.assertEqual(self.tokens(self.RENAMED), before)
		self.assertEqual(list(before), ["one*", "two"])
		self.admin.ask("make_default", connected_app=self.app.name, account="two", user=self.RENAMED)
		self.assertEqual(list(self.tokens(self.RENAMED)), ["two*", "one"])
		token = self.fresh().get_oauth2_session(self.RENAMED).token["access_token"]
		self.assertEqual(token, f"token-of-{self.USER}-two")

	def test_rename_the_app(self) -> None:
		before = self.tokens(ALICE)
		new = f"renamed {self.app.name}"
		self.rename("Connected App", self.app.name, new)
		self.app = frappe.get_doc("Connected App", new)
		self.assertEqual(self.tokens(ALICE), before)
		self.assertEqual(self.hello(account=SECOND), {"hello": "Bob"})

	def test_merge_users_with_other_accounts(self) -> None:
		self.store(self.USER, "one")
		self.store(self.USER, "two")
		self.store(self.OTHER, "three")
		self.rename("User", self.OTHER, self.USER, merge=True)
		self.assertEqual(list(self.tokens(self.USER)), ["one*", "three", "two"])
		token = self.fresh().get_oauth2_session(self.USER).token["access_token"]
		self.assertEqual(token, f"token-of-{self.USER}-one")

	def test_merge_users_with_the_same_accounts(self) -> None:
		"""Of each account one connection counts, and only that is refreshed."""
		self.store(self.USER, "one")
		self.store(self.USER, "two")
		self.store(self.OTHER, "two")
		self.store(self.OTHER, "one")
		self.merge(self.OTHER, self.USER)
		self.assertEqual(list(self.tokens(self.USER)), ["one*", "two"])
		slots = {(each.account or "", each.account_id) for each in self.rows(user=self.USER)}
		self.assertEqual(slots, {("", "one"), ("two", "two")})

	def test_merge_users_without_a_default_one(self) -> None:
		"""What was nobody's default does not become it by merging."""
		self.store(self.USER, "one")
		self.store(self.USER, "two")
		self.admin.ask("disconnect", connected_app=self.app.name, user=self.USER)
		self.store(self.OTHER, "two")
		self.merge(self.OTHER, self.USER)
		self.assertEqual(list(self.tokens(self.USER)), ["two"])
		self.assertRaisesCode("no_default_account", self.hello, self.USER)

	def test_merge_users_of_whom_one_is_not_connected(self) -> None:
		self.store(self.OTHER, "one")
		self.store(self.OTHER, "two")
		self.merge(self.OTHER, self.USER)
		self.assertEqual(list(self.tokens(self.USER)), ["one*", "two"])

	def test_merge_apps(self) -> None:
		other = make_app(self.authlib.issuer, several_accounts=1)
		first = self.app
		self.store(self.USER, "one")
		self.store(self.USER, "two")
		self.app = other
		self.store(self.USER, "two")
		self.store(self.USER, "three")
		self.app = first
		self.rename("Connected App", other.name, first.name, merge=True)
		self.assertEqual(list(self.tokens(self.USER)), ["one*", "three", "two"])
		self.assertEqual(
			{each.account_id: each.account or "" for each in self.rows(user=self.USER)},
			{"one": "", "two": "two", "three": "three"},
		)

	def test_merge_apps_of_two_kinds(self) -> None:
		other = make_app(self.authlib.issuer)
		self.afterwards(remove, other)
		with self.assertRaises(frappe.ValidationError):
			self.rename("Connected App", other.name, self.app.name, merge=True)
		frappe.db.rollback()
		self.assertEqual(self.names(), [(FIRST, True), (SECOND, False)])

	def test_delete_the_user(self) -> None:
		self.store(self.USER, "one")
		self.store(self.USER, "two")
		frappe.delete_doc("User", self.USER, force=True)
		frappe.db.commit()
		self.assertEqual(self.rows(user=self.USER), [])
		said = frappe.get_all("Activity Log", {"reference_name": self.app.name}, pluck="subject")
		for whose in (self.USER, f"{self.USER} (two)"):
			self.assertIn(f"Disconnected: {whose} from Demo", said)

	def test_disable_the_user(self) -> None:
		self.store(self.USER, "one")
		self.store(self.USER, "two")
		user = frappe.get_doc("User", self.USER)
		user.enabled = 0
		user.save()
		frappe.db.commit()
		self.assertEqual(self.rows(user=self.USER), [])

	def test_delete_the_app(self) -> None:
		frappe.delete_doc("Connected App", self.app.name, force=True)
		frappe.db.commit()
		self.assertEqual(self.rows(), [])
		for each in (FIRST, SECOND):
			self.assertFalse(
				frappe.db.exists("Token Cache", {"account_name": each, "connected_app": self.app.name})
			)


class TestSetting(Several):
	def save(self, **values: Any) -> None:
		app = self.fresh()
		app.update(values)
		app.save()
		frappe.db.commit()

	def test_turned_off_while_somebody_consents(self) -> None:
		"""Nothing is stored that nobody could use or end, and what was granted is given back."""
		self.alice.ask("disconnect", connected_app=self.app.name, account=SECOND)
		key = ConnectionKey.of_user(self.app.name, ALICE)
		grant = Grant(access_token=Secret("new"), account=Account(id="bob", name=SECOND))
		frappe.set_user(ALICE)
		frappe.db.rollback()
		app = settings.read(key.app)
		frappe.db.set_value("Connected App", key.app, "several_accounts", 0)
		frappe.db.commit()
		frappe.clear_document_cache("Connected App", key.app)
		with patch.object(revocation, "attempt", side_effect=revocation.attempt) as revoked:
			self.assertRaisesCode("one_account_only", flow.store, app, grant, "/me", ())
		self.assertEqual((len(self.rows()), revoked.call_args[0][1]), (1, grant))

	def test_it_cannot_be_turned_off_while_somebody_has_several(self) -> None:
		with self.assertRaises(frappe.ValidationError) as caught:
			self.save(several_accounts=0)
		self.assertIn("Users with further accounts: 1.", str(caught.exception))
		frappe.db.rollback()
		frappe.clear_messages()
		self.alice.ask("disconnect", connected_app=self.app.name, account=SECOND)
		self.save(several_accounts=0)
		self.assertEqual(self.hello(), {"hello": "Alice"})

	def test_nor_while_the_only_account_is_no_default(self) -> None:
		"""Nothing could be done about it any more."""
		self.alice.ask("disconnect", connected_app=self.app.name)
		with self.assertRaises(frappe.ValidationError):
			self.save(several_accounts=0)
		frappe.db.rollback()
		frappe.clear_messages()
		self.assertEqual(self.names(), [(SECOND, False)])

	def test_what_it_does_not_go_with(self) -> None:
		for values in ({"connection_is": "Shared"}, {"grant_type": "Service Account"}):
			with self.assertRaises(frappe.ValidationError):
				self.save(**values)
			frappe.db.rollback()
			frappe.clear_messages()
		self.assertEqual(self.names(), [(FIRST, True), (SECOND, False)])

	def test_off_by_default(self) -> None:
		app = make_app(self.authlib.issuer)
		self.afterwards(remove, app)
		self.assertEqual(app.several_accounts, 0)
		self.connect(app)
		app = frappe.get_doc("Connected App", app.name)
		session = app.get_oauth2_session(ALICE, account=FIRST)
		self.assertEqual(session.get(f"{self.authlib.issuer}/api/hello").json(), {"hello": "Alice"})


class TestPages(Several):
	def test_my_connections(self) -> None:
		shown = [each for each in self.alice.ask("my_connections", "GET") if each["name"] == self.app.name]
		fields = ("account", "account_name", "is_default", "several_accounts", "status")
		self.assertEqual(
			[tuple(each[field] for field in fields) for each in shown],
			[("", FIRST, True, True, "Connected"), ("bob", SECOND, False, True, "Connected")],
		)

	def test_of_an_app(self) -> None:
		found = self.admin.ask("connections", "GET", connected_app=self.app.name)
		self.assertEqual((found["total"], len(found["rows"])), (2, 2))
		self.assertEqual(
			{(each["account"], each["is_default"]) for each in found["rows"]}, {("", True), ("bob", False)}
		)

	def test_statements_of_my_connections(self) -> None:
		"""As many for fifty apps with five accounts each as for one with two."""
		frappe.set_user(ALICE)
		self.fresh()
		connections.of_user(ALICE)
		with statements() as sent:
			connections.of_user(ALICE)
		few = len(sent)
		for doctype in ("Token Cache", "Connected App"):
			self.afterwards(frappe.db.delete, doctype, {"name": ("like", "many-%")})
		cache = frappe.get_doc("Token Cache", {"connected_app": self.app.name})
		for number in range(50):
			copied(self.app, f"many-{number}", provider_name=f"Many {number}")
			for account in range(5):
				whose = {"connected_app": f"many-{number}", "account": f"{account}" if account else None}
				copied(cache, f"many-{number}-{account}", **whose, account_id=f"{account}")
		frappe.db.commit()
		with statements() as sent:
			shown = connections.of_user(ALICE)
		frappe.set_user("Administrator")
		self.assertEqual(len(sent), few)
		many = [each for each in shown if each["name"].startswith("many-")]
		self.assertEqual(len(many), 250)
		self.assertEqual(len([each for each in many if each["is_default"]]), 50)
