"""What becomes of a grant after it was given: refreshed once by many, broken, mended, deleted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import frappe
import requests
from frappe.utils import get_datetime

from connected_app.oauth import ConfigurationError, ReconnectRequired, TemporaryFailure
from connected_app.oauth.clock import utc_now
from connected_app.site import grants
from connected_app.site.rows import naive
from connected_app.tests.site import (
	ALICE,
	MALLORY,
	NO_TRANSACTION,
	SCOPES,
	Browser,
	Case,
	forget,
	hostile,
	in_processes,
	make_app,
	needs_providers,
	provider,
	row,
)

PROCESSES = 8
TOKEN = "app.get_oauth2_session(user).token['access_token']"


class Connected(Case):
	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer)
		self.assertEqual(self.connect(self.app).status_code, 302)

	def set(self, **values: Any) -> None:
		"""Write to the row what time or a provider would bring about."""
		frappe.db.rollback()
		frappe.db.set_value("Token Cache", f"{self.app.name}-{ALICE}", values)
		frappe.db.commit()
		forget()

	def due(self) -> None:
		self.set(expires_at="2020-01-01")

	def nearly_due(self) -> None:
		"""It is time to renew the token, which is still good: for ten minutes, since this machine may be slow."""
		self.app.db_set("leeway", 1200, commit=True)
		now = naive(utc_now())
		self.set(expires_at=now + timedelta(minutes=10), last_refreshed_on=now - timedelta(hours=1))

	def hello(self) -> Any:
		"""What a controller of a new request gets from the provider's API."""
		frappe.db.rollback()
		forget()
		app = frappe.get_doc("Connected App", self.app.name)
		return app.get_oauth2_session(ALICE).get(f"{self.authlib.issuer}/api/hello").json()

	def change(self, **values: Any) -> None:
		frappe.db.rollback()
		app = frappe.get_doc("Connected App", self.app.name)
		app.update(values)
		app.save()
		frappe.db.commit()

	def assertFails(self, kind: type[Exception], code: str) -> Any:
		forget()
		with self.assertRaises(kind) as caught:
			frappe.get_doc("Connected App", self.app.name).get_oauth2_session(ALICE)
		self.assertEqual(caught.exception.code, code)
		self.assertIsInstance(caught.exception, frappe.ValidationError)
		return caught.exception


@needs_providers
class TestRefresh(Connected):
	def test_many_processes_at_once(self) -> None:
		"""core-defects 25 and core-defects 39: eight processes with one expired token and a rotating refresh token: one request."""
		with provider("--token-delay", "150") as slow:
			app = make_app(slow.issuer)
			landed = self.alice.visit(slow.consent(self.alice.ask("authorize", connected_app=app.name)))
			self.assertEqual(landed.status_code, 302)
			frappe.db.set_value("Token Cache", f"{app.name}-{ALICE}", "expires_at", "2020-01-01")
			frappe.db.commit()
			answers = in_processes(PROCESSES, TOKEN, app)
			token = row(app, ALICE).get_password("access_token")
			self.assertEqual(answers, [f"gave {token}"] * PROCESSES)
			stats = slow.stats()
			self.assertEqual((stats["token_requests"], stats["refreshes"], stats["reuses"]), (2, 1, 0))
			frappe.db.set_value("Token Cache", f"{app.name}-{ALICE}", "expires_at", "2020-01-01")
			frappe.db.commit()
			answers = in_processes(PROCESSES, "app.get_active_token(user).get_password('access_token')", app)
			self.assertEqual(answers, [f"gave {row(app, ALICE).get_password('access_token')}"] * PROCESSES)
			stats = slow.stats()
			self.assertEqual((stats["token_requests"], stats["refreshes"], stats["reuses"]), (3, 2, 0))
			session = app.get_oauth2_session(ALICE)
			self.assertEqual(session.get(f"{slow.issuer}/api/hello").json(), {"hello": "Alice"})

	def test_an_api_that_refuses_every_token(self) -> None:
		"""core-defects 17: what one session has found out holds for the next, until a pause is over."""
		scripts = hostile()
		server = scripts.Hostile()
		self.addCleanup(server.close)
		url = server.script("/api", scripts.Answer(status=401))

		def call() -> None:
			frappe.db.rollback()
			forget()
			session = frappe.get_doc("Connected App", self.app.name).get_oauth2_session(ALICE)
			self.assertEqual(session.get(url).status_code, 401)

		for _ in range(3):
			call()
		self.assertEqual((self.authlib.stats()["refreshes"], len(server.requests)), (1, 4))
		self.assertIsNotNone(row(self.app, ALICE).rejected_at)
		self.assertEqual(self.hello(), {"hello": "Alice"})
		self.set(rejected_at=naive(utc_now() - timedelta(minutes=6)))
		call()
		self.assertEqual(self.authlib.stats()["refreshes"], 2)

	def test_while_an_app_is_being_saved(self) -> None:
		"""Somebody has saved the Connected App and not committed: its scopes are child rows beside ours, and MariaDB
		keeps others from adding any there. Connecting and refreshing work all the same."""
		if frappe.db.db_type != "mariadb":
			self.skipTest("gap locks are MariaDB's")
		self.assertEqual(self.alice.ask("disconnect", connected_app=self.app.name), {"revoked": True})
		url = self.alice.ask("authorize", connected_app=self.app.name, success_uri="/me")
		consented = self.authlib.consent(url)
		self.app.reload()
		self.app.scopes = self.app.scopes[:-1]
		self.app.save()
		landed = self.alice.visit(consented)
		self.assertEqual(landed.status_code, 302, landed.text[:500])
		self.assertEqual(row(self.app, ALICE).status, "Connected")
		self.due()
		self.assertEqual(self.hello(), {"hello": "Alice"})
		self.assertEqual([line.scope for line in row(self.app, ALICE).scopes], list(SCOPES))

	def test_rejected_and_soon_due(self) -> None:
		"""core-defects 17: a 401 is answered by one refresh and one retry; a token is renewed before it expires."""
		self.authlib.command("expire")
		self.assertEqual(self.hello(), {"hello": "Alice"})
		self.assertEqual(self.hello(), {"hello": "Alice"})
		self.assertEqual(self.authlib.stats()["refreshes"], 1)
		self.nearly_due()
		self.assertEqual(self.hello(), {"hello": "Alice"})
		self.assertEqual(self.authlib.stats()["refreshes"], 2)

	def test_a_long_job(self) -> None:
		"""core-defects 31: a session uses the token that another process has fetched meanwhile."""
		session = self.app.get_oauth2_session(ALICE)
		old = session.token["access_token"]
		frappe.db.set_value("Token Cache", f"{self.app.name}-{ALICE}", "expires_at", "2020-01-01")
		frappe.db.commit()
		(answer,) = in_processes(1, TOKEN, self.app)
		self.assertTrue(answer.startswith("gave "), answer)
		requests.post(
			f"{self.authlib.issuer}/revoke", data={"token": old}, auth=("demo", "demo-secret"), timeout=30
		).raise_for_status()
		self.assertEqual(session.get(f"{self.authlib.issuer}/api/hello").json(), {"hello": "Alice"})
		self.assertEqual(self.authlib.stats()["refreshes"], 1)

	def test_a_long_job_reads_the_row_again(self) -> None:
		"""core-defects 31: once a job has committed, a Token Cache gives what the row holds by then, and not what the
		job has read or stored before."""

		def refresh_elsewhere() -> str:
			frappe.db.set_value("Token Cache", f"{self.app.name}-{ALICE}", "expires_at", "2020-01-01")
			frappe.db.commit()
			(answer,) = in_processes(1, TOKEN, self.app)
			frappe.db.commit()
			return answer

		self.app.get_oauth2_session(ALICE)
		answer = refresh_elsewhere()
		kept = self.app.get_token_cache(ALICE)
		self.assertFalse(kept.is_expired())
		self.assertEqual(f"gave {kept.get_password('access_token')}", answer)
		self.due()
		stored = self.app.get_oauth2_session(ALICE).token["access_token"]
		self.assertEqual(self.app.get_token_cache(ALICE).get_password("access_token"), stored)
		answer = refresh_elsewhere()
		kept = self.app.get_token_cache(ALICE)
		self.assertFalse(kept.is_expired())
		self.assertEqual(f"gave {kept.get_password('access_token')}", answer)
		self.assertEqual(kept.get_json()["access_token"], kept.get_password("access_token"))

	def test_a_name_in_capitals(self) -> None:
		"""MariaDB finds the row by it, in a transaction that began before the refresh, too: with the new token."""
		if frappe.db.db_type != "mariadb":
			self.skipTest("MariaDB compares without regard to case")
		self.due()
		frappe.db.get_value("User", ALICE)
		token = self.app.get_active_token(ALICE.upper()).get_password("access_token")
		self.assertEqual(row(self.app, ALICE).get_password("access_token"), token)
		self.due()
		frappe.db.get_value("User", ALICE)
		token = self.app.get_oauth2_session(ALICE.upper()).token["access_token"]
		self.assertEqual(self.app.get_token_cache(ALICE.upper()).get_password("access_token"), token)
		kept = row(self.app, ALICE)
		self.assertEqual((kept.get_password("access_token"), kept.owner), (token, ALICE))

	def test_over_http_and_in_process(self) -> None:
		"""What this process refreshed, the web workers see; the row says when."""
		self.due()
		self.assertEqual(self.hello(), {"hello": "Alice"})
		state = self.alice.ask("connection", "GET", connected_app=self.app.name)
		self.assertEqual(state["status"], "Connected")
		self.assertGreater(get_datetime(state["expires_at"]), naive(utc_now()))
		self.assertIsNotNone(row(self.app, ALICE).last_refreshed_on)


@needs_providers
class TestBroken(Connected):
	def test_withdrawn(self) -> None:
		"""core-defects 21: a dead grant asks for a new connection, once, and a new connection fixes it."""
		self.authlib.command("revoke")
		self.due()
		error = self.assertFails(ReconnectRequired, "grant_invalid")
		self.assertTrue(error.connect_url.endswith(f"/connect?app={self.app.name}"))
		kept = row(self.app, ALICE)
		self.assertEqual(kept.status, "Reconnect Required")
		self.assertTrue(kept.last_error.startswith("grant_invalid: "), kept.last_error)
		self.assertIsNotNone(kept.failing_since)
		asked = self.authlib.stats()["token_requests"]
		self.assertFails(ReconnectRequired, "grant_invalid")
		self.assertEqual(self.authlib.stats()["token_requests"], asked)
		state = self.alice.ask("connection", "GET", connected_app=self.app.name)
		self.assertEqual(
			(state["status"], f"{state['error_code']}: {state['last_error']}"), (kept.status, kept.last_error)
		)
		self.assertEqual(self.connect(self.app).status_code, 302)
		kept = row(self.app, ALICE)
		self.assertEqual((kept.status, kept.last_error, kept.failing_since), ("Connected", None, None))
		self.assertEqual(self.hello(), {"hello": "Alice"})

	def test_unreachable(self) -> None:
		"""core-defects 21: a provider that is down costs nobody the grant, and is not asked again and again."""
		self.due()
		self.change(token_uri="http://127.0.0.1:1/token")
		before = row(self.app, ALICE).get_password("refresh_token")
		error = self.assertFails(TemporaryFailure, "network")
		self.assertNotIsInstance(error, ReconnectRequired)
		kept = row(self.app, ALICE)
		self.assertEqual(kept.status, "Temporarily Failing")
		self.assertEqual(kept.get_password("refresh_token"), before)
		self.assertGreater(kept.retry_at, naive(utc_now()))
		self.assertGreater(self.assertFails(TemporaryFailure, "cooling_down").retry_after, 0)
		self.change(token_uri=f"{self.authlib.issuer}/token")
		self.set(retry_at="2020-01-01")
		self.assertEqual(self.hello(), {"hello": "Alice"})
		kept = row(self.app, ALICE)
		self.assertEqual((kept.status, kept.last_error, kept.failing_since), ("Connected", None, None))

	def test_wrong_secret(self) -> None:
		"""core-defects 21: a wrong client secret is for the admin to fix; the grant survives it."""
		self.due()
		self.change(client_secret="forgotten")
		self.assertFails(ConfigurationError, "invalid_client")
		self.change(client_secret="demo-secret")
		self.assertEqual(self.hello(), {"hello": "Alice"})

	def test_a_wrong_secret_in_a_long_job(self) -> None:
		"""core-defects 31: a session that has met the wrong client secret uses the right one once the admin has entered
		it, and does not make others fail who share the grant."""
		url = f"{self.authlib.issuer}/api/hello"
		session = self.app.get_oauth2_session(ALICE)
		self.change(client_secret="forgotten")
		self.due()
		session._source.grant = replace(session._grant, expires_at=utc_now() - timedelta(seconds=9))
		with self.assertRaises(ConfigurationError) as caught:
			session.get(url)
		self.assertEqual(caught.exception.code, "invalid_client")
		self.change(client_secret="demo-secret")
		# The job's own transaction is older than what the admin does next.
		frappe.db.get_value("Connected App", self.app.name, "modified")
		self.assertEqual(session.get(url).json(), {"hello": "Alice"})
		self.assertEqual(self.hello(), {"hello": "Alice"})
		self.assertEqual(self.authlib.stats()["refreshes"], 1)

	def test_a_secret_that_cannot_be_read(self) -> None:
		"""It costs nobody a token that is still good; afterwards it is said in words."""
		frappe.db.sql(
			"update `__Auth` set password='nonsense' where doctype='Connected App' and name=%s", self.app.name
		)
		frappe.db.commit()
		self.nearly_due()
		self.assertEqual(self.hello(), {"hello": "Alice"})
		self.due()
		self.assertFails(ConfigurationError, "client_secret_unreadable")
		self.change(client_secret="demo-secret")
		self.assertEqual(self.hello(), {"hello": "Alice"})

	def test_the_failure_outlives_the_caller(self) -> None:
		"""core-defects 30: what a failed refresh found out is kept when the caller rolls back, and nothing else."""
		self.authlib.command("revoke")
		self.due()
		note = frappe.get_doc({"doctype": "ToDo", "description": "half done"}).insert()
		self.assertFails(ReconnectRequired, "grant_invalid")
		self.assertTrue(frappe.db.exists("ToDo", note.name))
		frappe.db.rollback()
		# SQLite has one writer at a time: there a refresh commits what the caller has done.
		self.assertEqual(bool(frappe.db.exists("ToDo", note.name)), frappe.db.db_type == "sqlite")
		self.assertEqual(row(self.app, ALICE).status, "Reconnect Required")

	def test_another_encryption_key(self) -> None:
		"""A site restored without its key: said in words; connecting again and disconnecting still work."""

		def spoil() -> None:
			frappe.db.rollback()
			frappe.db.sql("update `__Auth` set password='nonsense' where name=%s", f"{self.app.name}-{ALICE}")
			frappe.db.commit()

		spoil()
		self.assertFails(ReconnectRequired, "secret_unreadable")
		landed = self.connect(self.app)
		self.assertEqual(landed.status_code, 302, landed.text[:500])
		self.assertEqual(self.hello(), {"hello": "Alice"})
		spoil()
		self.assertEqual(self.alice.ask("disconnect", connected_app=self.app.name), {"revoked": False})
		self.assertIsNone(row(self.app, ALICE))


@needs_providers
class TestDeleting(Connected):
	def delete(self, browser: Browser) -> int:
		name = f"{self.app.name}-{ALICE}"
		return browser.delete(f"{browser.base}/api/resource/Token Cache/{name}").status_code

	def test_a_deleted_row_is_revoked(self) -> None:
		"""core-defects 13: deleting a Token Cache revokes it at the provider, whoever may delete it."""
		self.not_on_sqlite(NO_TRANSACTION)
		self.assertEqual(self.delete(self.alice), 202)
		self.assertIsNone(row(self.app, ALICE))
		self.assertEqual(self.authlib.stats()["revocations"], 2)
		self.assertEqual(self.connect(self.app).status_code, 302)
		self.assertEqual(self.delete(self.admin), 202)
		self.assertEqual(self.authlib.stats()["revocations"], 4)

	def test_not_for_nothing(self) -> None:
		"""core-defects 13: a deletion that is rolled back revokes nothing."""
		frappe.delete_doc("Token Cache", f"{self.app.name}-{ALICE}")
		frappe.db.rollback()
		self.assertEqual(self.hello(), {"hello": "Alice"})
		self.assertEqual(self.authlib.stats()["revocations"], 0)

	def test_not_committed(self) -> None:
		"""A caller with an uncommitted change of the row gets an error, and does not wait for its own lock."""
		self.not_on_sqlite("the caller's open work is committed first")

		def save() -> None:
			self.app.get_token_cache(ALICE).save()

		def insert() -> None:
			new = frappe.get_doc({"doctype": "Token Cache", "connected_app": self.app.name, "user": MALLORY})
			new.insert()
			# Another document than the row: there is nothing to store it in.
			other = frappe.get_doc(
				{"doctype": "Token Cache", "connected_app": self.app.name, "user": MALLORY}
			)
			other.update_data({"access_token": "a"})

		def delete() -> None:
			self.app.get_backend_app_token()
			frappe.db.commit()
			self.app.get_token_cache("").delete()
			self.app.get_backend_app_token()

		for change in (save, insert, delete):
			self.due()
			with (
				patch.object(grants, "LOCK_WAIT", 3),
				self.assertRaises(ConfigurationError, msg=change) as caught,
			):
				change()
				self.app.get_oauth2_session(ALICE)
			self.assertEqual(caught.exception.code, "not_committed", change)
			frappe.db.rollback()
			self.assertEqual(self.hello(), {"hello": "Alice"}, change)
		self.due()
		save()
		frappe.db.commit()
		self.app.get_oauth2_session(ALICE)
		self.assertEqual(self.authlib.stats()["refreshes"], 4)
		# A token that is still good needs no lock.
		self.nearly_due()
		save()
		self.app.get_oauth2_session(ALICE)
		self.assertEqual(self.authlib.stats()["refreshes"], 4)

	def test_disconnecting_while_the_provider_is_down(self) -> None:
		"""core-defects 13: what is forgotten here does not depend on the provider; the user is notified."""
		self.change(revocation_uri="http://127.0.0.1:1/revoke")
		self.assertEqual(self.alice.ask("disconnect", connected_app=self.app.name), {"revoked": False})
		self.assertIsNone(row(self.app, ALICE))
		self.assertEqual(frappe.db.count("__Auth", {"name": f"{self.app.name}-{ALICE}"}), 0)

	def test_by_an_admin(self) -> None:
		answer = self.admin.ask("disconnect", connected_app=self.app.name, user=ALICE)
		self.assertEqual(answer, {"revoked": True})
		self.assertIsNone(row(self.app, ALICE))
		self.assertEqual(self.alice.ask("disconnect", connected_app=self.app.name), {"revoked": False})
