"""Revocations that could not be made at once: kept, attempted again, and given up in the end."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any
from unittest.mock import patch

import frappe
import requests

from connected_app.oauth import Grant, Secret
from connected_app.oauth.clock import utc_now
from connected_app.site import install, passwords, revocation, settings
from connected_app.site.identity import ConnectionKey
from connected_app.site.rows import naive
from connected_app.tests.site import (
	ALICE,
	MALLORY,
	AtWork,
	Browser,
	forget_revocations,
	hostile,
	in_a_new_job,
	make_app,
	make_user,
	needs_providers,
	row,
)
from connected_app.tests.test_refreshing import Connected

PENDING = revocation.DOCTYPE
NOWHERE = "http://127.0.0.1:1/revoke"


def pending(**filters: Any) -> list[Any]:
	frappe.db.rollback()
	return frappe.get_all(PENDING, filters, ["*"], order_by="creation")


def secrets() -> int:
	return frappe.db.count("__Auth", {"doctype": PENDING})


@needs_providers
class TestRevoking(Connected):
	def setUp(self) -> None:
		in_a_new_job(forget_revocations)
		self.afterwards(forget_revocations)
		super().setUp()
		self.scripts = hostile()
		self.server = self.scripts.Hostile()
		self.addCleanup(self.server.close)

	def down(self, path: str = "/revoke", **headers: str) -> str:
		"""The provider is reached at `path` of a gateway, which answers for it that it is down. Returns the address."""
		headers = {name.replace("_", "-"): value for name, value in headers.items()}
		return self.server.script(path, self.scripts.Answer(b"", 503, headers))

	def repair(self, path: str = "/revoke") -> None:
		"""The gateway passes on what it is sent."""

		def pass_on(request: Any) -> Any:
			headers = {"Content-Type": "application/x-www-form-urlencoded"}
			where = f"{self.authlib.issuer}/revoke"
			answer = requests.post(where, data=request.body, headers=headers, timeout=30)
			return self.scripts.Answer(answer.content, answer.status_code)

		self.server.script(path, pass_on)

	def tokens(self) -> list[str]:
		kept = row(self.app, ALICE)
		return [kept.get_password(field) for field in ("access_token", "refresh_token")]

	def disconnect_while_down(self) -> str:
		"""Returns the access token, which still works."""
		token, _refresh_token = self.tokens()
		self.change(revocation_uri=self.down())
		self.assertEqual(self.disconnect(), {"revoked": False})
		self.assertTrue(self.works(token))
		return token

	def assertRevoked(self, token: str) -> None:
		self.due()
		self.retry()
		logs = frappe.get_all("Error Log", ["method", "error"], order_by="creation desc", limit=1)
		self.assertFalse(self.works(token), logs)
		self.assertEqual((pending(), secrets()), ([], 0))

	def due(self) -> None:
		frappe.db.rollback()
		frappe.db.set_value(PENDING, {"name": ("is", "set")}, "retry_at", "2020-01-01")
		frappe.db.commit()

	def retry(self) -> None:
		frappe.db.rollback()
		revocation.retry()

	def works(self, token: str) -> bool:
		headers = {"Authorization": f"Bearer {token}"}
		return requests.get(f"{self.authlib.issuer}/api/hello", headers=headers, timeout=30).ok

	def disconnect(self) -> Any:
		return self.alice.ask("disconnect", connected_app=self.app.name)

	def test_down_and_up_again(self) -> None:
		"""core-defects 13: forgotten at once, revoked as soon as the provider can be reached; the user sees which."""
		token = self.disconnect_while_down()
		self.assertIsNone(row(self.app, ALICE))
		(kept,) = pending()
		self.assertEqual((kept.connected_app, kept.user), (self.app.name, ALICE))
		self.assertEqual(kept.error_code, "server_error")
		self.assertGreater(kept.retry_at, naive(utc_now() + timedelta(minutes=4)))
		self.retry()
		self.assertEqual(len(pending()), 1, "it is not due yet")
		self.repair()
		self.assertRevoked(token)
		self.assertEqual(self.authlib.stats()["revocations"], 2)

	def test_at_once_nothing_is_kept(self) -> None:
		self.assertEqual(self.disconnect(), {"revoked": True})
		self.assertEqual((pending(), secrets()), ([], 0))
		self.assertEqual(self.authlib.stats()["revocations"], 2)

	def test_growing_pauses(self) -> None:
		"""A provider that is down is asked ever more rarely, and no sooner than it says."""
		self.disconnect_while_down()
		pauses = []
		for _ in range(9):
			self.due()
			self.retry()
			(kept,) = pending()
			pauses.append(round((kept.retry_at - naive(utc_now())).total_seconds() / 60))
		self.assertEqual(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 720])
		self.assertEqual(kept.attempts, 9)
		self.down(Retry_After=str(24 * 3600))
		self.due()
		self.retry()
		(kept,) = pending()
		self.assertGreater(kept.retry_at, naive(utc_now() + timedelta(hours=23)))

	def test_given_up(self) -> None:
		"""After a week the tokens go, and the Error Log says whose access the provider may still honour."""
		self.change(revocation_uri=NOWHERE)
		self.disconnect()
		frappe.db.set_value(PENDING, pending()[0].name, "requested_on", naive(utc_now() - timedelta(days=8)))
		frappe.db.commit()
		self.due()
		self.retry()
		self.assertEqual((pending(), secrets()), ([], 0))
		log = frappe.get_last_doc("Error Log", {"method": "Connected App: revocation given up"})
		for word in (self.app.name, ALICE, "network"):
			self.assertIn(word, log.error)

	def test_what_cannot_be_attempted_ends(self) -> None:
		"""What another version of this app has kept, or a fault of ours: asked ever more rarely, and given up in the end."""
		self.change(revocation_uri=NOWHERE)
		self.disconnect()
		(kept,) = pending()
		fault = patch.object(revocation.revocation, "revoke", side_effect=RuntimeError)
		client = passwords.read(PENDING, kept.name, "client")
		for text, code in (
			(client, "internal_error"),
			*((text, "secret_unreadable") for text in ("[", '{"client_id": "x"}', '"x"')),
		):
			passwords.store(PENDING, kept.name, "client", text)
			frappe.db.set_value(PENDING, kept.name, {"attempts": 0, "error_code": ""})
			frappe.db.commit()
			for minutes in (5, 10):
				self.due()
				with fault:
					self.retry()
				(kept,) = pending()
				self.assertEqual(kept.error_code, code, text[:20])
				self.assertAlmostEqual(
					(kept.retry_at - naive(utc_now())).total_seconds(), minutes * 60, delta=30
				)
		frappe.db.set_value(PENDING, kept.name, "requested_on", naive(utc_now() - timedelta(days=8)))
		frappe.db.commit()
		self.due()
		self.retry()
		self.assertEqual((pending(), secrets()), ([], 0))
		log = frappe.get_last_doc("Error Log", {"method": "Connected App: revocation given up"})
		self.assertIn("secret_unreadable", log.error)

	def test_a_busy_row(self) -> None:
		"""One that another process goes on holding keeps none of the others waiting."""
		self.change(revocation_uri=self.down(), refresh_at_once=1)
		for _ in range(2):
			self.disconnect()
			self.connect(self.app)
		self.repair()
		busy, other = (kept.name for kept in pending())
		self.due()
		frappe.db.set_value(PENDING, other, "retry_at", "2020-01-02")
		frappe.db.commit()

		def locked(original: Any, name: str, *arguments: Any) -> Any:
			if name == busy:
				raise frappe.QueryTimeoutError
			return original(name, *arguments)

		retry, postpone = (partial(locked, each) for each in (revocation._retry, revocation._postpone))
		with patch.object(revocation, "_retry", retry), patch.object(revocation, "_postpone", postpone):
			self.retry()
		self.assertEqual([kept.name for kept in pending()], [busy])

	def two_disconnect(self, app: Any) -> None:
		self.afterwards(frappe.db.delete, "Token Cache", {"user": MALLORY})
		mallory = Browser(MALLORY)
		self.connect(app, mallory)
		for browser in (self.alice, mallory):
			browser.ask("disconnect", connected_app=app.name)

	def test_one_provider_down(self) -> None:
		"""It is asked once in a run, and keeps nobody else waiting."""
		self.change(revocation_uri=self.down("/down"))
		self.two_disconnect(self.app)
		down, self.app = self.app, make_app(self.authlib.issuer, revocation_uri=self.down())
		self.assertEqual(self.connect(self.app).status_code, 302)
		self.disconnect()
		self.assertEqual(len(pending()), 3)
		self.repair()
		self.due()
		self.server.requests.clear()
		self.retry()
		left = pending()
		self.assertEqual([kept.connected_app for kept in left], [down.name] * 2)
		self.assertEqual(self.server.paths()["/down"], 2, "two tokens of one grant")
		self.assertEqual(sorted(kept.attempts for kept in left), [0, 1])
		for kept in left:
			# Nor is a row that was not asked about always the first of the due ones.
			self.assertGreater(kept.retry_at, naive(utc_now() - timedelta(minutes=1)))

	def test_no_sooner_than_the_provider_says(self) -> None:
		"""What it says of one is true for all that it has still to revoke."""
		self.change(revocation_uri=self.down(Retry_After=str(24 * 3600)))
		self.two_disconnect(self.app)
		self.due()
		self.retry()
		for kept in pending():
			self.assertGreater(kept.retry_at, naive(utc_now() + timedelta(hours=23)))

	def wait(self, number: int) -> None:
		"""So many more connections of the app wait to be revoked, and are due."""
		client = settings.for_revoking(self.app.name)
		for n in range(number):
			user = f"waiting{n}@site.example"
			grant = Grant(access_token=Secret(f"a{n}"), refresh_token=Secret(f"r{n}"))
			revocation.put(ConnectionKey.of_user(self.app.name, user), grant, client, timedelta(0))
		frappe.db.commit()
		self.due()

	def test_several_at_once(self) -> None:
		"""Each is revoked once, several at the same time, as the app says."""
		at_once, counted = 1 if frappe.db.db_type == "sqlite" else 3, AtWork()

		def answer(_request: Any) -> Any:
			with counted:
				# By then as many are allowed as ever: two tokens of three connections have been revoked, or are just now.
				if len(self.server.requests) > 6:
					counted.wait_for(at_once)
			return self.scripts.Answer(b"")

		self.change(revocation_uri=self.server.script("/revoke", answer), refresh_at_once=3)
		self.wait(12)
		self.retry()
		self.assertEqual(pending(connected_app=self.app.name), [])
		sent = sorted(request.form["token"] for request in self.server.requests)
		self.assertEqual(sent, sorted(f"{kind}{n}" for kind in "ar" for n in range(12)))
		self.assertEqual(counted.peak, at_once)

	def test_slowed_down(self) -> None:
		"""A provider that wants to be asked again in a moment is waited for, and asked for the others in the same run."""
		slow = self.scripts.Answer(b"", 429, {"Retry-After": "1"})
		self.change(revocation_uri=self.server.script("/revoke", slow, slow, self.scripts.Answer(b"")))
		self.wait(5)
		began = time.monotonic()
		self.retry()
		self.assertGreaterEqual(time.monotonic() - began, 1)
		(left,) = pending(connected_app=self.app.name)
		self.assertEqual((left.attempts, left.error_code), (1, "rate_limited"))

	def test_left_alone(self) -> None:
		"""One that wants to be asked much later is not asked for those that wait behind the first ones, either."""
		self.change(revocation_uri=self.down(Retry_After="3600"))
		self.wait(3)
		with patch.object(revocation, "BATCH", 1):
			self.retry()
			asked = len(self.server.requests)
			self.retry()
		self.assertEqual(len(self.server.requests), asked)
		self.assertEqual(sorted(kept.attempts for kept in pending()), [0, 0, 1])

	def test_each_app_in_turn(self) -> None:
		"""One with many keeps no other waiting until all of its own are done."""
		order: list[str] = []

		def answer(request: Any) -> Any:
			order.append(request.path)
			return self.scripts.Answer(b"")

		first = self.app
		self.change(revocation_uri=self.server.script("/first", answer))
		self.wait(4)
		self.app = make_app(self.authlib.issuer, revocation_uri=self.server.script("/second", answer))
		self.wait(2)
		with patch.object(revocation, "BATCH", 2):
			self.retry()
		self.assertEqual((pending(connected_app=first.name), pending(connected_app=self.app.name)), ([], []))
		last = max(n for n, path in enumerate(order) if path == "/first")
		self.assertLess(order.index("/second"), last)

	def test_killed(self) -> None:
		"""In the middle of a run: what was revoked is done, and the next run does the rest."""
		answers = [self.scripts.Answer(b"")] * 4
		self.change(revocation_uri=self.server.script("/revoke", *answers), refresh_at_once=1)
		self.wait(6)
		attempt, attempts = revocation.attempt, 0

		def killed(*args: Any) -> Any:
			nonlocal attempts
			attempts += 1
			if attempts == 3:
				raise SystemExit
			return attempt(*args)

		with patch.object(revocation, "attempt", killed), suppress(SystemExit):
			self.retry()
		left = pending(connected_app=self.app.name)
		self.assertLessEqual(len(left), 4)
		self.due()
		self.retry()
		self.assertEqual(pending(connected_app=self.app.name), [])
		sent = [request.form["token"] for request in self.server.requests]
		self.assertEqual(sorted(sent), sorted(f"{kind}{n}" for kind in "ar" for n in range(6)))

	def test_those_that_are_not_asked_are_given_up_in_time(self) -> None:
		"""One after the other would take months where many wait."""
		self.change(revocation_uri=self.down())
		self.two_disconnect(self.app)
		frappe.db.set_value(
			PENDING, {"name": ("is", "set")}, "requested_on", naive(utc_now() - timedelta(days=8))
		)
		frappe.db.commit()
		self.due()
		self.retry()
		self.assertEqual((pending(), secrets()), ([], 0))

	def test_a_refusal_is_final(self) -> None:
		refusal = self.scripts.as_json({"error": "unsupported_token_type"}, 400)
		self.change(revocation_uri=self.server.script("/revoke", refusal))
		self.assertEqual(self.disconnect(), {"revoked": False})
		self.assertEqual((pending(), secrets()), ([], 0))

	def test_no_endpoint(self) -> None:
		"""Where the provider cannot revoke, nothing is kept. What was kept before is still revoked where it was to be."""
		token = self.disconnect_while_down()
		self.change(revocation_uri="")
		self.connect(self.app)
		self.assertEqual(self.disconnect(), {"revoked": False})
		self.assertEqual(len(pending()), 1, "the one of before")
		self.repair()
		self.assertRevoked(token)

	def test_deleted_rows(self) -> None:
		"""core-defects 13: a deletion and what it leaves to revoke are one transaction."""
		token, _refresh_token = self.tokens()
		self.change(revocation_uri=self.down())
		frappe.delete_doc("Token Cache", f"{self.app.name}-{ALICE}")
		self.assertEqual(frappe.db.count(PENDING), 1)
		frappe.db.rollback()
		self.assertEqual((pending(), secrets()), ([], 0))
		self.assertTrue(self.works(token))
		frappe.delete_doc("Token Cache", f"{self.app.name}-{ALICE}")
		frappe.db.commit()
		self.assertEqual(len(pending(user=ALICE)), 1)
		self.repair()
		self.assertRevoked(token)

	def delete_app(self) -> None:
		frappe.delete_doc("Connected App", self.app.name)
		frappe.db.commit()

	def test_the_app_is_deleted_meanwhile(self) -> None:
		"""core-defects 13: the client's credentials are kept with what it has still to revoke, and no longer."""
		token, _refresh_token = self.tokens()
		self.change(revocation_uri=self.down())
		self.delete_app()
		self.assertEqual(len(pending()), 1)
		self.repair()
		self.assertRevoked(token)

	def test_the_app_is_deleted_after_disconnecting(self) -> None:
		"""The deletion is not refused for the sake of what waits, and what waits is not given up for the deletion's."""
		token = self.disconnect_while_down()
		self.delete_app()
		self.due()
		self.retry()
		self.assertEqual(len(pending()), 1, "the provider is still down")
		self.repair()
		self.assertRevoked(token)

	def test_the_app_is_renamed_meanwhile(self) -> None:
		token = self.disconnect_while_down()
		self.rename_app()
		self.repair()
		self.assertRevoked(token)

	def rename_app(self) -> None:
		frappe.db.rollback()
		new = f"New {self.app.name}"
		frappe.rename_doc("Connected App", self.app.name, new, force=True, show_alert=False)
		frappe.db.commit()
		self.app = frappe.get_doc("Connected App", new)

	def another_app(self, **values: Any) -> None:
		"""In the place of the one that was deleted, under its name."""
		app = frappe.get_doc({"doctype": "Connected App", "provider_name": "Other", **values})
		app.insert(set_name=self.app.name)
		frappe.db.commit()

	def test_another_provider_under_the_old_name(self) -> None:
		"""The tokens go to the provider that gave them, and to nobody else."""
		for delete_first in (False, True):
			with self.subTest(delete_first=delete_first):
				token, refresh_token = self.tokens()
				self.change(revocation_uri=self.down())
				if not delete_first:
					self.disconnect()
				self.delete_app()
				elsewhere = self.scripts.Hostile()
				self.addCleanup(elsewhere.close)
				url = elsewhere.script("/revoke", self.scripts.Answer(b""))
				# The same client ID proves nothing: each provider names its clients as it likes.
				self.another_app(client_id="demo", client_secret="other", revocation_uri=url)
				self.repair()
				self.assertRevoked(token)
				self.assertEqual(elsewhere.requests, [])
				sent = [request.form["token"] for request in self.server.requests]
				self.assertEqual(sent[-2:], [refresh_token, token])
				self.app = make_app(self.authlib.issuer)
				self.assertEqual(self.connect(self.app).status_code, 302)

	def test_another_address(self) -> None:
		"""An app that was turned to another provider is not the one that the tokens came from."""
		token = self.disconnect_while_down()
		elsewhere = self.scripts.Hostile()
		self.addCleanup(elsewhere.close)
		self.change(revocation_uri=elsewhere.script("/revoke", self.scripts.Answer(b"")))
		self.repair()
		self.assertRevoked(token)
		self.assertEqual(elsewhere.requests, [])

	def test_another_client_under_the_old_name(self) -> None:
		"""At the same provider, whose database may take "demo" and "Demo" for the same: only the old one may revoke."""
		for client_id in ("other", "Demo"):
			with self.subTest(client_id=client_id):
				token = self.disconnect_while_down()
				self.delete_app()
				where = f"{self.server.url}/revoke"
				self.another_app(client_id=client_id, client_secret="other", revocation_uri=where)
				self.server.requests.clear()
				self.repair()
				self.assertRevoked(token)
				asked = {
					(request.form["client_id"], request.form["client_secret"])
					for request in self.server.requests
				}
				self.assertEqual(asked, {("demo", "demo-secret")})
				self.app = make_app(self.authlib.issuer)
				self.assertEqual(self.connect(self.app).status_code, 302)

	def test_a_new_client_secret(self) -> None:
		"""An admin enters the right one while tokens wait, in an app that has another name by now."""
		token, _refresh_token = self.tokens()
		self.change(client_secret="wrong", revocation_uri=self.down())
		self.repair()
		self.disconnect()
		(kept,) = pending()
		self.assertEqual(kept.error_code, "invalid_client")
		self.assertTrue(self.works(token))
		self.rename_app()
		self.change(client_secret="demo-secret")
		self.assertRevoked(token)

	def test_two_apps_of_one_client(self) -> None:
		"""Somebody's second Connected App for the same client has an outdated secret: the first one's is used."""
		token = self.disconnect_while_down()
		where = f"{self.server.url}/revoke"
		make_app(self.authlib.issuer, revocation_uri=where, client_secret="outdated")
		self.repair()
		self.assertRevoked(token)

	def test_a_client_secret_that_cannot_be_read(self) -> None:
		"""The tokens wait until it can be, and the provider is not asked without it."""
		token, _refresh_token = self.tokens()
		self.change(revocation_uri=self.server.url + "/revoke")
		self.repair()
		where = "where doctype = 'Connected App' and name = %s"
		stored = frappe.db.sql(f"select password from `__Auth` {where}", self.app.name, pluck=True)[0]
		for sealed in ("nonsense", stored):
			frappe.db.sql(f"update `__Auth` set password = %s {where}", (sealed, self.app.name))
			frappe.db.commit()
			if sealed != stored:
				self.assertEqual(self.disconnect(), {"revoked": False})
				self.due()
				self.retry()
				self.assertEqual((len(pending()), self.server.requests), (1, []))
		self.assertRevoked(token)

	def test_another_encryption_key(self) -> None:
		"""What cannot be read waits until it can be: the key may come back."""
		token = self.disconnect_while_down()
		self.repair()
		where = "where doctype = %s and fieldname = %s"
		for fields in (("access_token", "refresh_token"), ("client",)):
			frappe.db.rollback()
			stored = {
				field: frappe.db.sql(f"select password from `__Auth` {where}", (PENDING, field), pluck=True)[
					0
				]
				for field in fields
			}
			for values in (dict.fromkeys(fields, "nonsense"), stored):
				for field, value in values.items():
					frappe.db.sql(f"update `__Auth` set password = %s {where}", (value, PENDING, field))
				frappe.db.commit()
				if values is not stored:
					self.due()
					self.retry()
					(kept,) = pending()
					self.assertEqual(kept.error_code, "secret_unreadable")
		self.assertRevoked(token)

	def test_nobody_reads_it(self) -> None:
		"""No role has any permission, and no secret is in the row."""
		tokens = self.tokens()
		self.disconnect_while_down()
		(waiting,) = pending()
		manager = Browser(make_user("manager@site.example", "System Manager"))
		for path in (PENDING, f"{PENDING}/{waiting.name}"):
			self.assertEqual(manager.get(f"{manager.base}/api/resource/{path}").status_code, 403)
		stored = frappe.db.sql("select password from `__Auth` where doctype = %s", PENDING, pluck=True)
		self.assertEqual(len(stored), 3)
		for secret in (*tokens, "demo-secret"):
			self.assertNotIn(secret, f"{waiting} {stored}")

	def test_uninstalling(self) -> None:
		"""What cannot be revoked any more is named, and no token stays behind."""
		self.change(revocation_uri=NOWHERE)
		self.disconnect()
		revocation.give_up_all("the app was uninstalled")
		frappe.db.commit()
		self.assertEqual((pending(), secrets()), ([], 0))
		self.assertIn("give_up_all", install.before_uninstall.__code__.co_names)
