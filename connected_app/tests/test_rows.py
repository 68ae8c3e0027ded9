"""Which Token Cache row counts for a user, where renaming and merging have left unusual ones."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from unittest.mock import patch

import frappe

from connected_app.oauth.clock import utc_now
from connected_app.site import schedule
from connected_app.site.rows import naive
from connected_app.tests.site import (
	ALICE,
	Browser,
	Case,
	forget,
	in_processes,
	make_app,
	make_user,
	needs_providers,
	row,
)
from connected_app.tests.test_schedule import Background

# Makes the row of a user who is connected for the first time, and gives its name.
MAKE = """(
	__import__("connected_app.site.grants").site.grants.TokenCacheStore(
		__import__("connected_app.site.identity").site.identity.ConnectionKey.of_user(app.name, user), create=True
	)
	.exclusive().__enter__().name
)"""


def two_users() -> list[str]:
	return [make_user(f"{frappe.generate_hash(length=8)}@site.example", "Blogger") for _user in range(2)]


def merge(other: str, kept: str) -> None:
	"""What Frappe does to these rows when a user is renamed or merged; `test_snapshots` renames and merges real ones, which
	takes some 1,400 statements each."""
	frappe.db.set_value("Token Cache", {"user": other}, "user", kept, update_modified=False)
	frappe.db.commit()


def connect_and_merge(case: Case, kept: str, other: str) -> None:
	"""`kept` as Alice, `other` as Bob."""
	case.connect(case.app, Browser(kept))
	case.connect(case.app, Browser(other), account="bob")
	merge(other, kept)


@needs_providers
class TestRows(Case):
	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer)
		self.kept, self.other = two_users()

	def assertCounts(self, whose: str, name: str, user: str = "") -> Any:
		"""Everywhere: the row that was `whose`; the API takes whoever uses it for `name`."""
		user = user or self.kept
		counts = row(self.app, user)
		self.assertEqual(counts.name, f"{self.app.name}-{whose}")
		session = self.app.get_oauth2_session(user)
		self.assertEqual(session.get(f"{self.authlib.issuer}/api/hello").json(), {"hello": name})
		self.assertEqual(counts.get_password("access_token"), session.token["access_token"])
		(mine,) = (app for app in Browser(user).ask("my_connections", "GET") if app["name"] == self.app.name)
		self.assertEqual((mine["status"], mine["account_name"]), ("Connected", counts.account_name))
		frappe.db.rollback()
		frappe.db.set_value("Token Cache", counts.name, "expires_at", "2020-01-01", update_modified=False)
		frappe.db.commit()
		forget()
		self.app.get_oauth2_session(user)
		self.assertGreater(row(self.app, user).expires_at, naive(utc_now()))
		self.assertEqual(row(self.app, user).name, counts.name)

	def test_both_work(self) -> None:
		"""core-defects 33: that of the user who stays counts; disconnecting takes both."""
		connect_and_merge(self, self.kept, self.other)
		self.assertEqual(
			frappe.db.count("Token Cache", {"connected_app": self.app.name, "user": self.kept}), 2
		)
		self.assertCounts(self.kept, "Alice")
		self.admin.ask("disconnect", connected_app=self.app.name, user=self.kept)
		self.assertIsNone(row(self.app, self.kept))
		self.assertEqual(self.authlib.stats()["revocations"], 4)

	def test_neither_has_the_usual_name(self) -> None:
		"""core-defects 33: the one written last."""
		connect_and_merge(self, self.kept, self.other)
		(new, _spare) = two_users()
		merge(self.kept, new)
		self.assertCounts(self.other, "Bob", new)

	def test_a_click_without_consent(self) -> None:
		"""core-defects 33: core left an empty row for a user who never finished connecting."""
		empty = {"connected_app": self.app.name, "user": self.kept, "state": "abandoned"}
		empty = frappe.get_doc({"doctype": "Token Cache", **empty}).insert(ignore_permissions=True)
		self.assertEqual(empty.name, f"{self.app.name}-{self.kept}")
		frappe.db.commit()
		self.connect(self.app, Browser(self.other), account="bob")
		merge(self.other, self.kept)
		self.assertCounts(self.other, "Bob")

	def test_a_dead_one(self) -> None:
		self.connect(self.app, Browser(self.kept))
		values = {
			"status": "Reconnect Required",
			"error_code": "grant_invalid",
			"expires_at": "2020-01-01",
		}
		frappe.db.set_value("Token Cache", f"{self.app.name}-{self.kept}", values)
		frappe.db.commit()
		self.connect(self.app, Browser(self.other), account="bob")
		merge(self.other, self.kept)
		self.assertCounts(self.other, "Bob")

	def test_two_at_once_where_the_usual_name_is_taken(self) -> None:
		"""A user was renamed; somebody new has the old address, and connects in several tabs."""
		self.connect(self.app, Browser(self.kept))
		merge(self.kept, self.other)
		answers = in_processes(4, "".join(MAKE.split("\n")), self.app, self.kept)
		self.assertEqual(len(set(answers)), 1, answers)
		self.assertTrue(answers[0].startswith(f"gave {self.app.name}-{self.kept}-"), answers)
		frappe.db.rollback()
		self.assertEqual(
			frappe.db.count("Token Cache", {"connected_app": self.app.name, "user": self.kept}), 1
		)

	def test_a_long_address(self) -> None:
		"""A row's name would be longer than Frappe takes."""
		user = make_user(f"{frappe.generate_hash(length=64)}{'u' * 54}@{'s' * 8}.example", "Blogger")
		self.assertEqual(len(user), 135)
		self.assertEqual(self.connect(self.app, Browser(user)).status_code, 302)
		session = self.app.get_oauth2_session(user)
		self.assertEqual(session.get(f"{self.authlib.issuer}/api/hello").json(), {"hello": "Alice"})


@needs_providers
class TestInTheBackground(Background):
	def merged(self, days: float) -> str:
		kept, other = two_users()
		connect_and_merge(self, kept, other)
		since = naive(utc_now() - timedelta(days=days))
		frappe.db.set_value("Token Cache", {"user": kept}, "idle_since", since)
		frappe.db.commit()
		self.asked = self.authlib.stats()["token_requests"]
		return kept

	def test_what_does_not_count_is_left_alone(self) -> None:
		self.merged(8)
		for _run in range(3):
			forget()
			self.run_job()
		self.assertEqual((self.requests(), self.names()), (1, []))

	def test_it_is_in_nobodys_way(self) -> None:
		"""As many of these rows as a run takes: the others have their turn."""
		self.merged(30)
		self.idle(8)
		with patch.object(schedule, "BATCH", 1):
			for _run in range(4):
				forget()
				self.run_job()
		self.assertLess(naive(utc_now()) - row(self.app, ALICE).idle_since, timedelta(minutes=1))
