"""Revocations that could not be made at once: kept, attempted again, and given up in the end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import frappe
import requests

from connected_app.oauth.ports import utc_now
from connected_app.site import install, revocation
from connected_app.site.grants import naive
from connected_app.tests.site import (
	ALICE,
	MALLORY,
	Browser,
	hostile,
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
		frappe.db.rollback()
		frappe.db.delete(PENDING)
		frappe.db.delete("__Auth", {"doctype": PENDING})
		frappe.db.commit()
		super().setUp()
		self.where = f"{self.authlib.issuer}/revoke"

	def mend(self) -> None:
		self.change(revocation_uri=self.where)

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
		"""core-defects 13: forgotten at once, revoked as soon as the provider can be reached; the user is told which."""
		token = row(self.app, ALICE).get_password("access_token")
		self.change(revocation_uri=NOWHERE)
		self.assertEqual(self.disconnect(), {"revoked": False})
		self.assertIsNone(row(self.app, ALICE))
		(kept,) = pending()
		self.assertEqual((kept.connected_app, kept.user), (self.app.name, ALICE))
		self.assertTrue(kept.last_error.startswith("network: "), kept.last_error)
		self.assertGreater(kept.retry_at, naive(utc_now() + timedelta(minutes=4)))
		self.retry()
		self.assertEqual(len(pending()), 1, "it is not due yet")
		self.mend()
		self.due()
		self.retry()
		self.assertEqual((pending(), secrets()), ([], 0))
		self.assertEqual(self.authlib.stats()["revocations"], 2)
		self.assertFalse(self.works(token))

	def test_at_once_nothing_is_kept(self) -> None:
		self.assertEqual(self.disconnect(), {"revoked": True})
		self.assertEqual((pending(), secrets()), ([], 0))
		self.assertEqual(self.authlib.stats()["revocations"], 2)

	def test_growing_pauses(self) -> None:
		"""A provider that is down is asked ever more rarely, and no sooner than it says."""
		scripts = hostile()
		server = scripts.Hostile()
		self.addCleanup(server.close)
		self.change(revocation_uri=server.script("/revoke", scripts.Answer(b"", 503)))
		self.disconnect()
		pauses = []
		for _ in range(9):
			self.due()
			self.retry()
			(kept,) = pending()
			pauses.append(round((kept.retry_at - naive(utc_now())).total_seconds() / 60))
		self.assertEqual(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 720])
		self.assertEqual(kept.attempts, 9)
		day = {"Retry-After": str(24 * 3600)}
		server.script("/revoke", scripts.Answer(b"", 503, day))
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

	def test_one_provider_down(self) -> None:
		"""It is asked once in a run, and keeps nobody else waiting."""
		scripts = hostile()
		server = scripts.Hostile()
		self.addCleanup(server.close)
		down, self.app = self.app, make_app(self.authlib.issuer)
		self.assertEqual(self.connect(self.app).status_code, 302)
		for app in (down, self.app):
			app.reload()
			app.revocation_uri = NOWHERE
			app.save()
			frappe.db.commit()
		self.addCleanup(frappe.db.commit)
		self.addCleanup(frappe.db.delete, "Token Cache", {"user": MALLORY})
		mallory = Browser(MALLORY)
		self.connect(down, mallory)
		for browser, app in ((self.alice, down), (mallory, down), (self.alice, self.app)):
			browser.ask("disconnect", connected_app=app.name)
		self.assertEqual(len(pending()), 3)
		down.reload()
		down.revocation_uri = server.script("/revoke", scripts.Answer(b"", 503))
		down.save()
		frappe.db.commit()
		self.mend()
		self.due()
		self.retry()
		self.assertEqual([left.connected_app for left in pending()], [down.name] * 2)
		self.assertEqual(len(server.requests), 2, "two tokens of one grant")

	def test_a_refusal_is_final(self) -> None:
		scripts = hostile()
		server = scripts.Hostile()
		self.addCleanup(server.close)
		refusal = scripts.as_json({"error": "unsupported_token_type"}, 400)
		self.change(revocation_uri=server.script("/revoke", refusal))
		self.assertEqual(self.disconnect(), {"revoked": False})
		self.assertEqual((pending(), secrets()), ([], 0))

	def test_no_endpoint(self) -> None:
		"""Where the provider cannot revoke, nothing is kept, nor after an admin has taken the address away."""
		self.change(revocation_uri=NOWHERE)
		self.disconnect()
		self.change(revocation_uri="")
		self.connect(self.app)
		self.assertEqual(self.disconnect(), {"revoked": False})
		self.assertEqual(len(pending()), 1, "the one of before")
		self.due()
		self.retry()
		self.assertEqual((pending(), secrets()), ([], 0))

	def test_deleted_rows(self) -> None:
		"""core-defects 13: a deletion and what it leaves to revoke are one transaction."""
		token = row(self.app, ALICE).get_password("access_token")
		self.change(revocation_uri=NOWHERE)
		frappe.delete_doc("Token Cache", f"{self.app.name}-{ALICE}")
		self.assertEqual(frappe.db.count(PENDING), 1)
		frappe.db.rollback()
		self.assertEqual((pending(), secrets()), ([], 0))
		self.assertTrue(self.works(token))
		frappe.delete_doc("Token Cache", f"{self.app.name}-{ALICE}")
		frappe.db.commit()
		self.assertEqual(len(pending(user=ALICE)), 1)
		self.mend()
		self.due()
		self.retry()
		self.assertFalse(self.works(token))

	def test_the_app_is_deleted_meanwhile(self) -> None:
		"""core-defects 13: the client's credentials are kept with what it has still to revoke."""
		token = row(self.app, ALICE).get_password("access_token")
		self.change(revocation_uri=NOWHERE)
		frappe.delete_doc("Connected App", self.app.name)
		frappe.db.commit()
		(kept,) = pending()
		frappe.db.set_value(PENDING, kept.name, "retry_at", "2020-01-01")
		settings = frappe.utils.password.get_decrypted_password(PENDING, kept.name, "client")
		moved = settings.replace(NOWHERE, self.where)
		self.assertNotEqual(moved, settings)
		frappe.utils.password.set_encrypted_password(PENDING, kept.name, moved, "client")
		frappe.db.commit()
		self.retry()
		self.assertEqual((pending(), secrets()), ([], 0))
		self.assertFalse(self.works(token))

	def test_nobody_reads_it(self) -> None:
		"""No role has any permission, and no token is in the row."""
		kept = row(self.app, ALICE)
		tokens = [kept.get_password(field) for field in ("access_token", "refresh_token")]
		self.change(revocation_uri=NOWHERE)
		self.disconnect()
		(waiting,) = pending()
		manager = Browser(make_user("manager@site.example", "System Manager"))
		for path in (PENDING, f"{PENDING}/{waiting.name}"):
			self.assertEqual(manager.get(f"{manager.base}/api/resource/{path}").status_code, 403)
		self.assertEqual(secrets(), 2)
		for token in tokens:
			self.assertNotIn(token, str(waiting))

	def test_uninstalling(self) -> None:
		"""What cannot be revoked any more is named, and no token stays behind."""
		self.change(revocation_uri=NOWHERE)
		self.disconnect()
		revocation.give_up_all("the app was uninstalled")
		frappe.db.commit()
		self.assertEqual((pending(), secrets()), ([], 0))
		self.assertIn("give_up_all", install.before_uninstall.__code__.co_names)
