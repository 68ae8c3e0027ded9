"""Another account than before, where there is one connection: who connects decides, and what is not used is revoked."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import frappe
import redis
import requests

from connected_app.oauth import TemporaryFailure
from connected_app.oauth.grant import Account, Grant
from connected_app.oauth.redact import Secret
from connected_app.site import events, flow, passwords, replacing, revocation, settings
from connected_app.site.grants import TokenCacheStore
from connected_app.site.identity import ConnectionKey
from connected_app.tests.site import (
	ALICE,
	MALLORY,
	Browser,
	code_of,
	forget_revocations,
	in_a_new_job,
	needs_providers,
	row,
	work,
)
from connected_app.tests.test_refreshing import Connected

PENDING = revocation.DOCTYPE
LISTENERS = {"account_changed": ["connected_app.tests.listener.heard"]}
# Another app has registered itself.
REGISTERED = f"""
original, listeners = frappe.get_hooks, {LISTENERS!r}
frappe.get_hooks = lambda hook=None, *a, **k: listeners if hook == "connected_app_events" else original(hook, *a, **k)
"""


@needs_providers
class TestAnotherAccount(Connected):
	"""Alice is connected as alice@example.com."""

	def setUp(self) -> None:
		in_a_new_job(forget_revocations)
		self.afterwards(forget_revocations)
		super().setUp()
		self.afterwards(self.tidy)
		self.page = f"/connect?app={self.app.name}"
		self.tokens = self.tokens_of_row()
		self.begin_with_bob()

	def tidy(self) -> None:
		"""Other tests look at what Alice is connected to."""
		frappe.delete_doc("Connected App", self.app.name, force=True)

	def begin_with_bob(self) -> None:
		landed = self.connect(self.app, account="bob")
		self.assertEqual((landed.status_code, landed.headers["Location"]), (302, self.page))

	def tokens_of_row(self) -> list[str]:
		kept = row(self.app, ALICE)
		return [kept.get_password(field) for field in ("access_token", "refresh_token")]

	def choose(self, replace: int, browser: Browser | None = None, **account: str) -> requests.Response:
		browser = browser or self.alice
		return browser.call("choose_account", connected_app=self.app.name, replace=replace, **account)

	def works(self, token: str) -> bool:
		headers = {"Authorization": f"Bearer {token}"}
		return requests.get(f"{self.authlib.issuer}/api/hello", headers=headers, timeout=30).ok

	def waiting(self) -> list[Any]:
		frappe.db.rollback()
		return frappe.get_all(PENDING, fields=["*"], order_by="creation")

	def audit(self) -> list[str]:
		frappe.db.rollback()
		filters = {"reference_doctype": "Connected App", "reference_name": self.app.name}
		return frappe.get_all("Activity Log", filters, pluck="subject", order_by="creation")

	def test_nothing_is_replaced_before_the_answer(self) -> None:
		self.assertEqual(self.tokens_of_row(), self.tokens)
		self.assertEqual(row(self.app, ALICE).account_name, "alice@example.com")
		page = self.alice.open(self.page).text
		for words in ("alice@example.com", "bob@example.com", "Use another account?"):
			self.assertIn(words, page)
		(mine,) = [each for each in self.alice.ask("my_connections", "GET") if each["name"] == self.app.name]
		self.assertEqual(mine["account_name"], "alice@example.com")
		(waiting,) = self.waiting()
		self.assertEqual((waiting.connected_app, waiting.user), (self.app.name, ALICE))

	def test_the_new_one(self) -> None:
		"""The old grant is revoked as by a disconnect, and other apps hear of it."""
		answer = self.choose(1)
		self.assertEqual(answer.json()["message"], {"location": "/me"})
		self.assertEqual(row(self.app, ALICE).account_name, "bob@example.com")
		self.assertEqual(self.hello(), {"hello": "Bob"})
		self.assertFalse(self.works(self.tokens[0]))
		self.assertEqual((self.waiting(), self.authlib.stats()["revocations"]), ([], 2))
		self.assertIn("bob@example.com", self.alice.ask("take_message")["message"])
		self.assertIn("alice@example.com", self.audit()[-1])
		self.assertIn("bob@example.com", self.audit()[-1])
		self.assertNotIn("Use another account?", self.alice.open(self.page).text)

	def test_the_new_one_twice(self) -> None:
		"""Who connects the new account once more before answering has one of its grants too many: it is not revoked, since
		providers such as Google would end both."""
		self.begin_with_bob()
		self.assertEqual(len(self.waiting()), 2)
		self.assertEqual(self.choose(1).status_code, 200)
		self.assertEqual((self.waiting(), self.authlib.stats()["revocations"]), ([], 2))
		self.assertEqual(self.hello(), {"hello": "Bob"})

	def test_the_old_one_after_the_new_one_twice(self) -> None:
		"""All that the new account gave is revoked, the last at once."""
		self.begin_with_bob()
		self.assertEqual(self.choose(0).status_code, 200)
		self.assertEqual((len(self.waiting()), self.authlib.stats()["revocations"]), (1, 2))
		frappe.db.set_value(PENDING, self.waiting()[0].name, "retry_at", "2020-01-01")
		frappe.db.commit()
		revocation.retry()
		self.assertEqual((self.waiting(), self.authlib.stats()["revocations"]), ([], 4))
		self.assertEqual(self.tokens_of_row(), self.tokens)

	def test_the_old_one(self) -> None:
		self.assertEqual(self.choose(0).json()["message"], {"location": "/me"})
		self.assertEqual(self.tokens_of_row(), self.tokens)
		self.assertTrue(self.works(self.tokens[0]))
		# Bob's two tokens.
		self.assertEqual((self.waiting(), self.authlib.stats()["revocations"]), ([], 2))
		self.assertIn("alice@example.com", self.alice.ask("take_message")["message"])
		self.assertEqual([line for line in self.audit() if "changed" in line], [])

	def test_an_answer_counts_once(self) -> None:
		self.assertEqual(self.choose(0).status_code, 200)
		for again in (0, 1):
			answer = self.choose(again)
			self.assertEqual(answer.status_code, 417)
			self.assertIn("has expired, or was finished already", answer.text)
		self.assertEqual(self.tokens_of_row(), self.tokens)

	def test_an_answer_to_another_question(self) -> None:
		"""A tab that shows what was asked before: *Keep alice* would keep bob now."""
		self.assertEqual(self.choose(1).status_code, 200)
		landed = self.connect(self.app)
		self.assertEqual(landed.headers["Location"], self.page)
		tokens = self.tokens_of_row()
		for answer in (0, 1):
			answer = self.choose(answer, account="bob")
			self.assertEqual(answer.status_code, 417)
		self.assertEqual((self.tokens_of_row(), len(self.waiting())), (tokens, 1))
		self.assertIn('data-account="alice"', self.alice.open(self.page).text)
		self.assertEqual(self.choose(1, account="alice").status_code, 200)
		self.assertEqual(self.hello(), {"hello": "Alice"})

	def test_tokens_that_cannot_be_read(self) -> None:
		"""As with another encryption key: whose they are is known, and asked about."""
		self.choose(0)
		name = row(self.app, ALICE).name
		auth = passwords.AUTH
		of_row = (auth.doctype == "Token Cache") & (auth.name == name)
		frappe.qb.update(auth).set(auth.password, "unreadable").where(of_row).run()
		frappe.db.commit()
		self.begin_with_bob()
		self.assertEqual(row(self.app, ALICE).account_id, "alice")
		self.assertEqual(self.choose(1).status_code, 200)
		self.assertEqual(self.hello(), {"hello": "Bob"})
		self.assertEqual(len([line for line in self.audit() if "changed" in line]), 1)

	def test_a_busy_row(self) -> None:
		"""The answer can be given again."""
		key = row(self.app, ALICE).key()
		frappe.set_user(ALICE)
		grant = Grant(access_token=Secret("new"), account=Account(id="bob", name="bob@example.com"))
		replacing.hold(key, grant, Account(id="alice"), "a browser", "/me")
		with patch.object(TokenCacheStore, "lock", side_effect=frappe.QueryTimeoutError):
			with self.assertRaises(TemporaryFailure):
				replacing.decide(key, "a browser", True)
		self.assertEqual(replacing.decide(key, "a browser", True)[1].account.id, "bob")

	def test_a_refresh_token_that_is_given_once(self) -> None:
		"""Some providers give one at the first consent only (Google): the account keeps it while its user has not answered,
		and where another browser has connected it meanwhile."""
		key = row(self.app, ALICE).key()
		frappe.set_user(ALICE)
		bob, alice = Account(id="bob", name="bob@example.com"), Account(id="alice", name="alice@example.com")
		first = Grant(access_token=Secret("first"), refresh_token=Secret("once"), account=bob)
		replacing.hold(key, first, alice, "a browser", "/me")
		for browser in ("a browser", "another browser"):
			replacing.hold(key, Grant(access_token=Secret("next"), account=bob), alice, browser, "/me")
		for browser in ("a browser", "another browser"):
			_replacement, stored = replacing.decide(key, browser, True)
			self.assertEqual((stored.access_token, stored.refresh_token), ("next", "once"), browser)

	def test_connected_elsewhere_meanwhile(self) -> None:
		"""At some providers the end of one of an account's grants is the end of all: none is revoked that waited for an
		answer in a browser that is closed, or that says no, once the account is connected."""
		other = Browser(ALICE)
		self.assertEqual(self.connect(self.app, other, account="bob").headers["Location"], self.page)
		revoked = self.authlib.stats()["revocations"]
		self.alice.ask("disconnect", connected_app=self.app.name)
		self.assertEqual(self.connect(self.app, Browser(ALICE), account="bob").headers["Location"], "/me")
		self.assertEqual(self.waiting(), [])
		for browser in (self.alice, other):
			self.choose(0, browser)
		self.assertEqual(self.authlib.stats()["revocations"], revoked + 2)
		self.assertEqual(self.hello(), {"hello": "Bob"})

	def test_replaced_elsewhere_meanwhile(self) -> None:
		other = Browser(ALICE)
		self.assertEqual(self.connect(self.app, other, account="bob").headers["Location"], self.page)
		self.assertEqual(self.choose(1).status_code, 200)
		self.assertEqual(self.waiting(), [])
		self.assertEqual(self.choose(0, other).status_code, 200)
		# Alice's two tokens.
		self.assertEqual(self.authlib.stats()["revocations"], 2)

	def test_replaced_elsewhere_while_it_is_asked(self) -> None:
		"""Between two looks at the row: what the account gave here does not wait to be revoked once it is connected there."""
		frappe.set_user(ALICE)
		hold, answer = replacing.hold, threading.Thread(target=self.choose, args=(1,))

		def asked(*args: Any) -> Any:
			answer.start()
			answer.join(2)
			return hold(*args)

		grant = Grant(access_token=Secret("next"), account=Account(id="bob", name="bob@example.com"))
		with patch.object(replacing, "hold", asked):
			flow.store(settings.read(self.app.name), grant, "/me", ())
		answer.join()
		self.assertEqual(row(self.app, ALICE).account_id, "bob")
		self.assertEqual(self.waiting(), [])

	def test_nobody_else_answers(self) -> None:
		"""Neither another user, nor the same one in another browser, nor Guest."""
		for browser, status in (
			(Browser(MALLORY), 417),
			(Browser(ALICE), 417),
			(self.admin, 417),
			(Browser(), 403),
		):
			self.assertEqual(self.choose(1, browser).status_code, status)
			self.assertNotIn("bob@example.com", browser.get(f"{browser.base}{self.page}").text)
		self.assertIsNone(row(self.app, MALLORY))
		self.assertEqual(self.tokens_of_row(), self.tokens)
		self.assertEqual(self.choose(1).status_code, 200)

	def test_no_answer(self) -> None:
		"""A user who walks away leaves no access behind, and can no longer answer."""
		frappe.db.set_value(PENDING, self.waiting()[0].name, "retry_at", "2020-01-01")
		frappe.db.commit()
		revocation.retry()
		self.assertEqual((self.waiting(), self.authlib.stats()["revocations"]), ([], 2))
		answer = self.choose(1)
		self.assertEqual(answer.status_code, 417)
		self.assertEqual(self.tokens_of_row(), self.tokens)
		self.assertTrue(self.works(self.tokens[0]))

	def test_a_second_new_account(self) -> None:
		"""The last one counts; the one before, of somebody else, waits to be revoked."""
		key = ConnectionKey.of_user(self.app.name, ALICE)
		frappe.set_user(ALICE)
		for account in ("carol", "dave"):
			grant = Grant(access_token=Secret(account), account=Account(id=account))
			replacing.hold(key, grant, Account(id="alice", name="alice@example.com"), "a session", "/me")
		_replacement, stored = replacing.decide(key, "a session", True)
		self.assertEqual(stored.account.id, "dave")
		# Bob's and carol's; alice's are revoked.
		self.assertEqual(len(self.waiting()), 2)

	def test_disconnected_meanwhile(self) -> None:
		"""Nothing is left to be replaced: the new one is stored."""
		self.alice.ask("disconnect", connected_app=self.app.name)
		self.assertEqual(self.choose(1).status_code, 200)
		self.assertEqual(self.hello(), {"hello": "Bob"})
		self.assertEqual([line for line in self.audit() if "changed" in line], [])

	def test_another_one_meanwhile(self) -> None:
		"""What was said would be replaced is not what is stored by now."""
		name = row(self.app, ALICE).name
		frappe.db.set_value("Token Cache", name, {"account_id": "carol", "account_name": "carol@example.com"})
		frappe.db.commit()
		self.assertEqual(self.choose(1).status_code, 417)
		self.assertEqual(row(self.app, ALICE).account_name, "carol@example.com")
		self.assertEqual(len(self.waiting()), 1)

	def test_who_may_no_longer_connect(self) -> None:
		self.change(everyone_may_connect=0)
		self.assertEqual(self.choose(1).status_code, 403)
		self.assertEqual(self.tokens_of_row(), self.tokens)
		self.assertEqual(self.choose(0).status_code, 200)
		self.assertEqual(self.waiting(), [])

	def test_other_apps_hear_of_it(self) -> None:
		frappe.db.rollback()
		frappe.db.delete("ToDo", {"description": ("like", "%account_changed%")})
		frappe.db.commit()
		key, grant = row(self.app, ALICE).key(), self.stored()
		new = replace(grant, account=Account(id="bob", name="bob@example.com"))
		frappe.db.rollback()
		original = frappe.get_hooks
		with patch.object(
			frappe,
			"get_hooks",
			lambda hook=None, *a, **k: LISTENERS if hook == events.HOOK else original(hook, *a, **k),
		):
			replacing.hold(key, new, grant.account, "a browser", "/me")
			replacing.decide(key, "a browser", True)
		work(REGISTERED)
		frappe.db.rollback()
		(heard,) = frappe.get_all("ToDo", {"description": ("like", "%account_changed%")}, pluck="description")
		expected = {"event": "account_changed", "connected_app": self.app.name, "user": ALICE, "code": ""}
		self.assertEqual(json.loads(heard), expected)

	def stored(self) -> Grant:
		with TokenCacheStore(row(self.app, ALICE).key()).exclusive() as locked:
			return locked.grant

	def test_without_revocation(self) -> None:
		"""A provider that cannot revoke: the question is asked all the same, and nothing waits."""
		self.choose(0)
		self.change(revocation_uri="")
		self.begin_with_bob()
		self.assertEqual(self.waiting(), [])
		self.assertEqual(self.choose(1).status_code, 200)
		self.assertEqual(self.hello(), {"hello": "Bob"})
		self.assertEqual(self.waiting(), [])

	def test_the_same_account_is_not_asked_about(self) -> None:
		self.choose(0)
		landed = self.connect(self.app)
		self.assertEqual(landed.headers["Location"], "/me", code_of(landed))

	def test_accounts_that_are_not_known(self) -> None:
		"""They are not compared, nor is anything revoked: it may be the same."""
		self.choose(0)
		before = self.authlib.stats()["revocations"]
		name = row(self.app, ALICE).name
		frappe.db.set_value("Token Cache", name, {"account_id": None, "account_name": None})
		frappe.db.commit()
		self.assertEqual(self.connect(self.app, account="bob").headers["Location"], "/me")
		self.assertEqual(self.hello(), {"hello": "Bob"})
		self.assertEqual(self.authlib.stats()["revocations"], before)

	def test_without_redis(self) -> None:
		"""The question cannot be asked: nothing is replaced, and the new grant waits to be revoked."""
		self.choose(0)
		key, grant = row(self.app, ALICE).key(), self.stored()
		for number, asked in enumerate(("set", "get"), 1):
			with (
				patch.object(frappe.cache, asked, side_effect=redis.exceptions.ConnectionError),
				self.assertRaises(TemporaryFailure),
			):
				replacing.hold(key, grant, grant.account, "a browser", "/me")
			self.assertEqual(len(self.waiting()), number, asked)

	def test_what_waits_is_encrypted(self) -> None:
		"""Neither Redis nor a table nor a page has a token in the clear while it waits."""
		(waiting,) = self.waiting()
		tokens = [passwords.read(PENDING, waiting.name, field) for field in ("access_token", "refresh_token")]
		held = [frappe.cache.get(key) for key in frappe.cache.keys("*connected_app_replacement*")]
		self.assertTrue(held)
		stored = frappe.db.sql("select `password` from `__Auth` where `doctype` = %s", (PENDING,), pluck=True)
		for text in (*(each.decode("latin-1") for each in held), *stored, self.alice.open(self.page).text):
			for token in tokens:
				self.assertNotIn(token, text)
