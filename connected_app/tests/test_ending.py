"""Many connections that end: they stop counting at once, and a job removes them, whatever happens to it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from unittest.mock import patch

import frappe

from connected_app.api import connections, my_connections
from connected_app.oauth import ConfigurationError, ReconnectRequired
from connected_app.oauth.clock import utc_now
from connected_app.site import ending, offboarding, passwords, recent, revocation, schedule
from connected_app.site.identity import ConnectionKey
from connected_app.site.rows import naive
from connected_app.tests.site import (
	ALICE,
	MALLORY,
	Browser,
	Case,
	delete_long_jobs,
	forget,
	long_jobs,
	make_app,
	needs_providers,
	row,
	statements,
)

NOWHERE = "http://127.0.0.1:1/revoke"
JOB = "connected_app_revocation"


def add_connections(app: Any, number: int) -> list[str]:
	"""By SQL: as many users as that never connected. Returns the names of the rows."""
	names = [f"{app.name}-many{n}@site.example" for n in range(number)]
	stars, now = passwords.PLACEHOLDER, naive(utc_now())
	fields = ["name", "connected_app", "user", "status", "access_token", "idle_since", "expires_at"]
	rows = [(name, app.name, name.partition("-")[2], "Connected", stars, now, now) for name in names]
	frappe.db.bulk_insert("Token Cache", [*fields, "generation"], [(*one, app.generation) for one in rows])
	token = passwords.encrypt("token")
	passwords.store_encrypted(("Token Cache", name, "access_token", token) for name in names)
	frappe.db.commit()
	return names


class Many(Case):
	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer)
		self.afterwards(self.clear)
		self.enterContext(patch.object(revocation, "AT_ONCE", 1))
		self.enterContext(patch.object(ending, "CHUNK", 2))
		self.start_job = self.enterContext(patch.object(revocation, "start_job"))

	def enterContext(self, manager: Any) -> Any:
		# unittest has it from Python 3.11 on.
		value = manager.__enter__()
		self.addCleanup(manager.__exit__, None, None, None)
		return value

	def clear(self) -> None:
		for doctype in (ending.DOCTYPE, ending.QUEUE):
			frappe.db.delete(doctype)
			frappe.db.delete("__Auth", {"doctype": doctype})
		for ours in ({"connected_app": self.app.name}, {"user": ("like", "many%@site.example")}):
			names = frappe.get_all("Token Cache", ours, pluck="name", limit=0)
			frappe.db.delete("Token Cache", ours)
			frappe.db.delete("__Auth", {"doctype": "Token Cache", "name": ("in", [*names, ""])})

	def save(self, **values: Any) -> None:
		app = frappe.get_doc("Connected App", self.app.name)
		app.update(values)
		app.save()
		frappe.db.commit()
		self.app = app

	def left(self) -> int:
		frappe.db.rollback()
		return frappe.db.count("Token Cache", {"connected_app": self.app.name})

	def waiting(self) -> list[Any]:
		frappe.db.rollback()
		return frappe.get_all(ending.QUEUE, {"connected_app": self.app.name}, ["name", "user"], limit=0)

	def audited(self) -> list[str]:
		about = {"subject": ("like", "Disconnected: %"), "user": "Administrator"}
		subjects = frappe.get_all("Activity Log", {**about, "reference_name": self.app.name}, pluck="subject")
		return sorted(subjects)

	def progress(self) -> Any:
		frappe.db.rollback()
		return frappe.db.get_value(
			ending.DOCTYPE,
			{"connected_app": self.app.name},
			["name", "total", "ended", "progress"],
			as_dict=True,
		)


@needs_providers
class TestEnding(Many):
	def test_the_request(self) -> None:
		"""As many statements for 300 connections as for 30, and no row is touched."""
		counts = []
		# Before they are counted, once for what Frappe then keeps in its caches.
		for number in (2, 30, 300):
			self.app = make_app(revocation_uri=NOWHERE, client_id="demo", client_secret="demo-secret")
			add_connections(self.app, number)
			app = frappe.get_doc("Connected App", self.app.name)
			app.enabled = 0
			with statements() as sent:
				app.save()
			frappe.db.commit()
			counts.append(len(sent))
			self.assertEqual(self.left(), number)
			self.start_job.assert_called_with()
		self.assertEqual(counts[1], counts[2], sent)

	def test_out_of_use_at_once(self) -> None:
		"""Disabled and at once enabled again: what was ended stays ended, wherever one looks for it, until the user
		connects again."""
		self.connect(self.app)
		name = f"{self.app.name}-{ALICE}"
		kept = row(self.app, ALICE)
		add_connections(self.app, 3)
		with self.assertRaises(ConfigurationError):
			self.save(enabled=0)
			self.app.get_oauth2_session(ALICE)
		self.save(enabled=1)
		forget()
		self.assertTrue(frappe.db.exists("Token Cache", name))
		with self.assertRaises(ReconnectRequired) as raised:
			self.app.get_oauth2_session(ALICE)
		self.assertEqual(raised.exception.code, "not_connected")
		self.assertIsNone(self.app.get_token_cache(ALICE))
		self.assertIsNone(kept.get_password("access_token", raise_exception=False))
		with self.assertRaises(frappe.AuthenticationError):
			kept.get_password("refresh_token")
		self.assertFalse(self.alice.ask("has_token", "GET", connected_app=self.app.name))
		self.assertEqual(connections(self.app.name)["total"], 0)
		frappe.set_user(ALICE)
		mine = [one["status"] for one in my_connections() if one["name"] == self.app.name]
		frappe.set_user("Administrator")
		self.assertEqual(mine, ["Not Connected"] if mine else [])
		frappe.db.set_value("Token Cache", name, "idle_since", "2020-01-01")
		self.assertEqual(schedule.due(9, self.app.name), [])
		frappe.db.commit()

		self.connect(self.app)
		forget()
		self.assertEqual(
			self.app.get_oauth2_session(ALICE).get(f"{self.authlib.issuer}/api/hello").status_code, 200
		)
		revocation.retry()
		self.assertEqual(self.left(), 1, "the new one")
		forget()
		self.assertEqual(
			self.app.get_oauth2_session(ALICE).get(f"{self.authlib.issuer}/api/hello").status_code, 200
		)

	def test_rolled_back(self) -> None:
		add_connections(self.app, 3)
		app = frappe.get_doc("Connected App", self.app.name)
		app.enabled = 0
		app.save()
		frappe.db.rollback()
		self.assertIsNone(self.progress())
		revocation.retry()
		self.assertEqual(self.left(), 3)
		self.assertEqual(connections(self.app.name)["total"], 3)

	def test_what_this_request_knows(self) -> None:
		"""A session that was made before, in the same request, does not bring it back."""
		self.connect(self.app)
		add_connections(self.app, 3)
		forget()
		self.app.get_oauth2_session(ALICE)
		self.assertIsNotNone(recent.find(ConnectionKey.of_user(self.app.name, ALICE)))
		self.save(enabled=0)
		self.assertIsNone(recent.find(ConnectionKey.of_user(self.app.name, ALICE)))

	def test_killed_at_any_point(self) -> None:
		"""A job that dies in any statement of any chunk: the next goes on, and each connection is audited and left to
		be revoked once."""
		self.not_on_sqlite("one transaction is one statement, outside BEGIN IMMEDIATE")
		self.save(revocation_uri=NOWHERE)
		users = sorted(name.partition("-")[2] for name in add_connections(self.app, 5))
		self.save(enabled=0)
		real, died, mine = frappe.database.database.Database.sql, 0, frappe.local.db
		for at in range(1, 60):
			left = [at]

			def sql(database: Any, *args: Any, left: list[int] = left, **kwargs: Any) -> Any:
				left[0] -= 1
				if left[0] == 0:
					raise KeyboardInterrupt
				return real(database, *args, **kwargs)

			try:
				with patch.object(frappe.database.database.Database, "sql", sql):
					ending.run(60)
			except KeyboardInterrupt:
				died += 1
			self.assertIs(frappe.local.db, mine)
			row = self.progress()
			self.assertEqual(row.ended + self.left(), 5)
			self.assertEqual(len(self.waiting()), row.ended)
			self.assertEqual(len(self.audited()), row.ended)
		self.assertGreater(died, 20)
		self.assertEqual((row.ended, row.total, row.progress, self.left()), (5, 5, 100, 0))
		self.assertEqual(sorted(one.user for one in self.waiting()), users)
		self.assertEqual(self.audited(), [f"Disconnected: {user} from Demo" for user in users])
		self.assertEqual(frappe.db.count("__Auth", {"doctype": ending.QUEUE}), 2 * 5)

	def test_revoked_by_the_client_of_then(self) -> None:
		"""The app is deleted, and another made in its place: the tokens go where they came from, and the new app's
		connections are its own."""
		self.not_on_sqlite("")
		self.connect(self.app)
		self.connect(self.app, Browser(MALLORY))
		frappe.delete_doc("Connected App", self.app.name)
		frappe.db.commit()
		self.assertEqual(self.left(), 2)
		again = frappe.get_doc(
			{"doctype": "Connected App", "provider_name": "Demo", "revocation_uri": NOWHERE}
		)
		again.insert(set_name=self.app.name)
		frappe.db.commit()
		forget()
		with self.assertRaises(ReconnectRequired):
			again.get_oauth2_session(ALICE)
		add_connections(again, 1)
		revocation.retry()
		self.assertEqual(self.authlib.stats()["revocations"], 4)
		self.assertEqual((self.left(), self.waiting()), (1, []))
		self.assertEqual(connections(again.name)["total"], 1)

	def test_a_client_that_nobody_can_read(self) -> None:
		"""As another version of this app has kept it: the connections are removed all the same, without being revoked."""
		self.not_on_sqlite("")
		for text in ("[", '{"client_id": "x"}'):
			add_connections(self.app, 3)
			self.save(enabled=0)
			passwords.store(ending.DOCTYPE, self.progress().name, "client", text)
			frappe.db.commit()
			ending.run(60)
			self.assertEqual((self.left(), self.waiting()), (0, []))
			frappe.db.delete(ending.DOCTYPE)
			self.save(enabled=1)

	def test_a_row_that_is_being_refreshed(self) -> None:
		"""The job waits for nobody: who holds a row is met by the next one, which has the last tokens."""
		self.not_on_sqlite("one lock for all")
		names = add_connections(self.app, 3)
		self.save(enabled=0)
		with ending.own_connection():
			frappe.db.get_value("Token Cache", names[0], "name", for_update=True)
			ending.run(60)
		self.assertEqual((self.progress().ended, self.left()), (2, 1))
		ending.run(60)
		self.assertEqual((self.progress().ended, self.left()), (3, 0))

	def test_who_is_in_between(self) -> None:
		"""A consent that was under way is stored after the connections were ended: it is removed, too. When nobody can
		be any more, the Offboarding goes."""
		add_connections(self.app, 3)
		before = self.app.generation
		self.save(enabled=0)
		ending.run(60)
		self.assertEqual(self.left(), 0)
		late = self.app
		late.generation = before
		add_connections(late, 1)
		ending.run(60)
		found = self.progress()
		self.assertEqual((found.ended, found.total, self.left()), (4, 4, 0))
		frappe.db.set_value(
			ending.DOCTYPE, found.name, "requested_on", naive(utc_now() - timedelta(minutes=3))
		)
		frappe.db.commit()
		ending.run(60)
		self.assertIsNone(self.progress())
		self.assertEqual(frappe.db.count("__Auth", {"doctype": ending.DOCTYPE}), 0)

	def test_a_user_with_many(self) -> None:
		"""One user, many apps: removed with the change, audited with it, and revoked by a job."""
		self.not_on_sqlite("")
		other = make_app(self.authlib.issuer)
		user = "many@site.example"
		for app in (self.app, other):
			(name,) = add_connections(app, 1)
			frappe.db.set_value("Token Cache", name, "user", user)
		frappe.db.commit()
		offboarding.end_connections({"user": user})
		frappe.db.rollback()
		self.assertEqual(frappe.db.count("Token Cache", {"user": user}), 2)
		offboarding.end_connections({"user": user})
		frappe.db.commit()
		self.assertEqual(frappe.db.count("Token Cache", {"user": user}), 0)
		self.assertEqual(frappe.db.count(ending.QUEUE, {"user": user}), 2)
		self.assertEqual(self.audited(), [f"Disconnected: {user} from Demo"])
		self.assertEqual(self.authlib.stats()["revocations"], 0)
		revocation.retry()
		frappe.db.rollback()
		self.assertEqual(frappe.db.count(ending.QUEUE, {"user": user}), 0)

	def test_merged_apps(self) -> None:
		"""Refused while connections are being removed; afterwards those of both count."""
		self.not_on_sqlite("")
		other = make_app(self.authlib.issuer)
		add_connections(self.app, 3)
		self.save(enabled=0)
		self.save(enabled=1)

		def merge() -> None:
			frappe.rename_doc(
				"Connected App", other.name, self.app.name, merge=True, force=True, show_alert=False
			)

		with self.assertRaisesRegex(frappe.ValidationError, "still being removed"):
			merge()
		ending.run(60)
		frappe.db.set_value(ending.DOCTYPE, {"connected_app": self.app.name}, "requested_on", "2020-01-01")
		frappe.db.commit()
		ending.run(60)
		add_connections(other, 1)
		merge()
		frappe.db.commit()
		self.assertEqual(connections(self.app.name)["total"], 1)

	def test_renamed_to_the_name_of_a_deleted_app(self) -> None:
		"""Refused while that one's connections are being removed: both would have one name and generation, and live ones
		would be removed, and their tokens sent to the other's provider."""
		self.not_on_sqlite("")
		other = make_app(revocation_uri=NOWHERE, client_id="other")
		add_connections(other, 3)
		frappe.delete_doc("Connected App", other.name)
		frappe.db.commit()
		self.connect(self.app)

		def rename() -> None:
			frappe.rename_doc("Connected App", self.app.name, other.name, force=True, show_alert=False)

		with self.assertRaisesRegex(frappe.ValidationError, "still being removed"):
			rename()
		frappe.db.rollback()
		ending.run(60)
		frappe.db.set_value(ending.DOCTYPE, {"connected_app": other.name}, "requested_on", "2020-01-01")
		frappe.db.commit()
		ending.run(60)
		frappe.db.rollback()
		rename()
		frappe.db.commit()
		self.app = frappe.get_doc("Connected App", other.name)
		self.assertEqual(self.hello(), 200)

	def test_renamed_while_connections_are_removed(self) -> None:
		"""They, and what removes them, follow; the new ones stay, also when another app gets the old name."""
		self.not_on_sqlite("")
		other = make_app()
		add_connections(self.app, 3)
		self.save(enabled=0)
		self.save(enabled=1)
		self.connect(self.app)
		old, new = self.app.name, frappe.generate_hash(length=8)
		frappe.rename_doc("Connected App", old, new, force=True, show_alert=False)
		frappe.db.commit()
		frappe.get_doc({"doctype": "Connected App", "provider_name": "Demo"}).insert(set_name=old)
		# The rows of the renamed app keep the usual names.
		frappe.db.set_value("Token Cache", add_connections(other, 1)[0], "connected_app", old)
		frappe.db.commit()
		ending.run(60)
		self.app = frappe.get_doc("Connected App", old)
		self.assertEqual(self.left(), 1)
		self.app = frappe.get_doc("Connected App", new)
		self.assertEqual(self.left(), 1)
		self.assertEqual(self.hello(), 200)

	def hello(self) -> int:
		forget()
		session = self.app.get_oauth2_session(ALICE)
		return int(session.get(f"{self.authlib.issuer}/api/hello").status_code)

	def test_uninstalling_without_the_offboarding(self) -> None:
		"""What was ended does not come back with core, also where Administrator could delete what would have removed it."""
		add_connections(self.app, 3)
		self.save(enabled=0)
		self.save(enabled=1)
		add_connections(make_app(), 1)
		with self.assertRaisesRegex(frappe.ValidationError, "still being removed"):
			frappe.delete_doc(ending.DOCTYPE, self.progress().name)
		frappe.db.delete(ending.DOCTYPE)
		ending.give_up_all("the app was uninstalled")
		self.assertEqual(frappe.db.count("Token Cache", {"connected_app": self.app.name}), 0)
		self.assertEqual(frappe.db.count("Token Cache", {"user": "many0@site.example"}), 1)

	def test_uninstalling(self) -> None:
		"""What is still to be removed does not come back with core: named in the Error Log, and gone."""
		add_connections(self.app, 3)
		self.save(enabled=0)
		self.save(enabled=1)
		ending.give_up_all("the app was uninstalled")
		frappe.db.commit()
		self.assertEqual(self.left(), 0)
		self.assertEqual(frappe.db.get_value("Connected App", self.app.name, "generation"), 0)
		self.assertEqual(frappe.db.count("__Auth", {"doctype": ending.DOCTYPE}), 0)
		log = frappe.get_last_doc("Error Log", {"method": "Connected App: revocation given up"})
		self.assertIn(f"{self.app.name} could not be told that 3", log.error)


@needs_providers
class TestJob(Case):
	def test_one_job(self) -> None:
		"""However many apps are disabled, one job waits; it has no arguments."""
		delete_long_jobs(JOB)
		self.addCleanup(delete_long_jobs, JOB)
		for _twice in range(2):
			revocation.start_job()
			self.assertEqual(len(long_jobs(JOB)), 1 if _twice else 0)
			frappe.db.commit()
		(job,) = long_jobs(JOB)
		self.assertEqual(job.kwargs["kwargs"], {})
