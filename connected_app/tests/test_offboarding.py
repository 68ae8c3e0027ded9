"""Users and apps that go, are disabled, or get another name: what becomes of the grants."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import frappe
from frappe.utils.background_jobs import get_queue

from connected_app.oauth import ConfigurationError, ReconnectRequired
from connected_app.oauth.clock import utc_now
from connected_app.oauth.grant import Grant
from connected_app.oauth.redact import Secret
from connected_app.site import flow, revocation, settings
from connected_app.site.rows import naive
from connected_app.tests.site import (
	ALICE,
	NO_TRANSACTION,
	Browser,
	Case,
	delete_long_jobs,
	forget,
	hostile,
	make_app,
	make_user,
	needs_providers,
	row,
)

LEAVER = "leaver@site.example"


@needs_providers
class TestLeaving(Case):
	def setUp(self) -> None:
		super().setUp()
		self.app, self.other = make_app(self.authlib.issuer), make_app(self.authlib.issuer)
		self.afterwards(self.remove_leaver)
		self.leaver = Browser(make_user(LEAVER, "Blogger"))
		for app in (self.app, self.other):
			self.assertEqual(self.connect(app, self.leaver).status_code, 302)
		self.assertEqual(self.connect(self.app).status_code, 302)
		self.tokens = [row(self.app, user).get_password("refresh_token") for user in (LEAVER, ALICE)]

	def remove_leaver(self) -> None:
		for name in (LEAVER, "renamed@site.example"):
			if frappe.db.exists("User", name):
				frappe.delete_doc("User", name, force=True)

	def left(self, app: Any, user: str) -> list[int]:
		"""What is stored of a connection: its row, its passwords, its scopes."""
		frappe.db.rollback()
		like = f"{app.name}-{user}"
		return [
			frappe.db.count("Token Cache", {"connected_app": app.name, "user": user}),
			frappe.db.count("__Auth", {"doctype": "Token Cache", "name": like}),
			frappe.db.count("OAuth Scope", {"parenttype": "Token Cache", "parent": like}),
		]

	def hello(self, app: Any, user: str) -> int:
		forget()
		return app.get_oauth2_session(user).get(f"{self.authlib.issuer}/api/hello").status_code

	def revocations(self) -> int:
		return self.authlib.stats()["revocations"]

	def test_deleted_user(self) -> None:
		"""core-defects 13: a deleted user's grants, at every provider, are revoked and removed; nobody else's."""
		self.assertEqual(self.left(self.app, LEAVER), [1, 2, 5])
		answer = self.admin.delete(f"{self.admin.base}/api/resource/User/{LEAVER}")
		self.assertEqual(answer.status_code, 202, answer.text[:500])
		for app in (self.app, self.other):
			self.assertEqual(self.left(app, LEAVER), [0, 0, 0])
		self.assertEqual(self.revocations(), 4)
		self.assertEqual(self.left(self.app, ALICE), [1, 2, 5])
		self.assertEqual(self.hello(self.app, ALICE), 200)

	def test_deleted_user_with_tokens_that_cannot_be_read(self) -> None:
		"""The site has another encryption key by now: nobody is kept here for that, and it is no news to who deletes."""
		frappe.db.rollback()
		spoil = "update `__Auth` set password = 'nonsense' where doctype = 'Token Cache' and name = %s"
		frappe.db.sql(spoil, f"{self.app.name}-{LEAVER}")
		frappe.db.commit()
		answer = self.admin.delete(f"{self.admin.base}/api/resource/User/{LEAVER}")
		self.assertEqual(answer.status_code, 202, answer.text[:500])
		self.assertNotIn("_server_messages", answer.json())
		for app in (self.app, self.other):
			self.assertEqual(self.left(app, LEAVER), [0, 0, 0])
		self.assertEqual(self.revocations(), 2, "at the other provider")

	def test_deletion_that_is_rolled_back(self) -> None:
		"""What does not come to pass costs nobody a grant."""
		frappe.delete_doc("User", LEAVER, force=True)
		frappe.delete_doc("Connected App", self.other.name)
		frappe.db.rollback()
		self.assertEqual(self.revocations(), 0)
		self.assertEqual(self.left(self.app, LEAVER), [1, 2, 5])
		self.assertEqual(self.hello(self.app, LEAVER), 200)
		self.assertEqual(self.hello(self.other, LEAVER), 200)

	def test_while_the_provider_answers(self) -> None:
		"""A user or an app that is disabled, or an app whose connections become everybody's, before the provider has given
		the tokens: they are given back, and nothing is stored."""
		for doctype, values, raised in (
			("Connected App", {"enabled": 0}, ConfigurationError),
			("Connected App", {"connection_is": "Shared"}, ReconnectRequired),
			("User", {"enabled": 0}, frappe.PermissionError),
		):
			app = make_app(self.authlib.issuer)
			frappe.set_user(LEAVER)
			before = settings.read(app.name)
			frappe.set_user("Administrator")
			frappe.get_doc(doctype, LEAVER if doctype == "User" else app.name).update(values).save()
			frappe.db.commit()
			self.assertEqual(self.connect(self.other).status_code, 302)
			given = row(self.other, ALICE)
			tokens = {field: Secret(given.get_password(field)) for field in ("access_token", "refresh_token")}
			revoked = self.revocations()
			frappe.set_user(LEAVER)
			with self.assertRaises(raised, msg=str(values)):
				flow.store(before, Grant(**tokens), "/me", ())
			frappe.set_user("Administrator")
			self.assertEqual(frappe.db.count("Token Cache", {"connected_app": app.name}), 0)
			self.assertEqual(self.revocations() - revoked, 2)

	def test_disabled_user(self) -> None:
		where = f"{self.admin.base}/api/resource/User/{LEAVER}"
		self.assertEqual(self.admin.put(where, json={"bio": "still here"}).status_code, 200)
		self.assertEqual(self.left(self.app, LEAVER), [1, 2, 5])
		self.assertEqual(self.admin.put(where, json={"enabled": 0}).status_code, 200)
		for app in (self.app, self.other):
			self.assertEqual(self.left(app, LEAVER), [0, 0, 0])
		self.assertEqual(self.revocations(), 4)
		self.assertEqual(self.hello(self.app, ALICE), 200)

	def test_deleted_app(self) -> None:
		"""core-defects 13: deleting an app ends its connections, and is not refused for their sake."""
		self.not_on_sqlite(NO_TRANSACTION)
		where = f"{self.admin.base}/api/resource/Connected App/{self.app.name}"
		self.assertEqual(self.alice.delete(where).status_code, 403)
		self.assertEqual(self.revocations(), 0)
		answer = self.admin.delete(where)
		self.assertEqual(answer.status_code, 202, answer.text[:500])
		frappe.db.rollback()
		self.assertFalse(frappe.db.exists("Connected App", self.app.name))
		for user in (LEAVER, ALICE):
			self.assertEqual(self.left(self.app, user), [0, 0, 0])
		self.assertEqual(self.revocations(), 4)
		self.assertEqual(self.hello(self.other, LEAVER), 200)

	def test_disabled_app(self) -> None:
		where = f"{self.admin.base}/api/resource/Connected App/{self.app.name}"
		self.assertEqual(self.admin.put(where, json={"provider_name": "Still here"}).status_code, 200)
		self.assertEqual(self.hello(self.app, ALICE), 200)
		self.assertEqual(self.admin.put(where, json={"enabled": 0}).status_code, 200)
		for user in (LEAVER, ALICE):
			self.assertEqual(self.left(self.app, user), [0, 0, 0])
		self.assertEqual(self.revocations(), 4)
		self.assertEqual(self.hello(self.other, LEAVER), 200)

	def test_a_provider_that_is_down(self) -> None:
		"""Asked once, with the two tokens of one user: an admin's click does not wait for each of them. What it says of
		when to ask again is true for all, and the scheduled job revokes the rest."""
		self.not_on_sqlite(NO_TRANSACTION)
		scripts = hostile()
		server = scripts.Hostile()
		self.addCleanup(server.close)
		down = scripts.Answer(b"", 503, {"Retry-After": "7200"})
		where = f"{self.admin.base}/api/resource/Connected App/{self.app.name}"
		for change in ({"revocation_uri": server.script("/revoke", down)}, {"enabled": 0}):
			self.assertEqual(self.admin.put(where, json=change).status_code, 200)
		self.assertEqual(len(server.requests), 2)
		frappe.db.rollback()
		mine = {"connected_app": self.app.name}
		waiting = frappe.get_all(revocation.DOCTYPE, mine, ["name", "retry_at"])
		self.assertEqual(len(waiting), 2)
		for each in waiting:
			self.assertGreater(each.retry_at, naive(utc_now() + timedelta(minutes=110)))
		server.script("/revoke", scripts.Answer(b""))
		frappe.db.set_value(revocation.DOCTYPE, mine, "retry_at", "2020-01-01")
		frappe.db.commit()
		revocation.retry()
		frappe.db.rollback()
		self.assertEqual(frappe.db.count(revocation.DOCTYPE, mine), 0)
		self.assertEqual(len(server.requests), 6)

	def test_a_row_that_an_admin_deletes(self) -> None:
		"""core-defects 13: deleting a Token Cache revokes it."""
		self.not_on_sqlite(NO_TRANSACTION)
		answer = self.admin.delete(f"{self.admin.base}/api/resource/Token Cache/{self.app.name}-{LEAVER}")
		self.assertEqual(answer.status_code, 202, answer.text[:500])
		self.assertEqual(self.left(self.app, LEAVER), [0, 0, 0])
		self.assertEqual(self.revocations(), 2)

	def test_many(self) -> None:
		"""More than a few are revoked by a background job, which has no arguments."""
		at_once, revocation.AT_ONCE = revocation.AT_ONCE, 1
		self.addCleanup(setattr, revocation, "AT_ONCE", at_once)
		# One waits for all.
		delete_long_jobs("connected_app_revocation")
		self.addCleanup(delete_long_jobs, "connected_app_revocation")
		queue = get_queue("long")
		before = set(queue.job_ids)
		frappe.delete_doc("Connected App", self.app.name)
		self.assertEqual(set(queue.job_ids), before)
		frappe.db.commit()
		(job_id,) = set(queue.job_ids) - before
		job = queue.fetch_job(job_id)
		self.assertEqual(self.revocations(), 0)
		for secret in (*self.tokens, "demo-secret"):
			self.assertNotIn(secret, f"{job.kwargs} {job.description} {job.data}")
		arguments = job.kwargs["kwargs"]
		self.assertEqual(arguments, {})
		# By then there is no app to read settings from.
		revocation.retry()
		self.assertEqual(self.revocations(), 4)

	def test_renamed_user(self) -> None:
		"""core-defects 33: a renamed user's connection works, is shown, and is renewed in the same row; whoever gets the
		old name next has a connection of their own."""
		new = "renamed@site.example"
		frappe.rename_doc("User", LEAVER, new, force=True, show_alert=False)
		frappe.db.commit()
		self.assertEqual(self.hello(self.app, new), 200)
		renamed = Browser(new)
		self.assertEqual(renamed.ask("connection", "GET", connected_app=self.app.name)["status"], "Connected")
		kept = row(self.app, new)
		self.assertEqual((kept.user, kept.owner), (new, new))
		url = f"{renamed.base}/api/resource/Token Cache/{kept.name}"
		self.assertEqual(renamed.get(url).status_code, 200)
		self.assertEqual(self.connect(self.app, renamed, account="bob").status_code, 302)
		renamed.ask("choose_account", connected_app=self.app.name, replace=1)
		self.assertEqual(frappe.db.count("Token Cache", {"connected_app": self.app.name, "user": new}), 1)
		self.assertEqual(row(self.app, new).account_id, "bob")

		namesake = Browser(make_user(LEAVER, "Blogger"))
		landed = self.connect(self.app, namesake)
		self.assertEqual(landed.status_code, 302, landed.text[:500])
		self.assertEqual(row(self.app, LEAVER).account_id, "alice")
		self.assertEqual(row(self.app, new).account_id, "bob")
		self.assertEqual(namesake.ask("disconnect", connected_app=self.app.name), {"revoked": True})
		self.assertEqual(self.hello(self.app, new), 200)
