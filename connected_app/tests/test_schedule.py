"""Refreshing in the background: what is due, found through an index, in limited numbers, each failure for itself."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import frappe
import requests

from connected_app.oauth.clock import utc_now
from connected_app.site import schedule
from connected_app.site.rows import naive
from connected_app.tests.site import (
	ALICE,
	MALLORY,
	VISITOR,
	Browser,
	delete_long_jobs,
	hostile,
	in_processes,
	long_jobs,
	needs_providers,
	row,
)
from connected_app.tests.test_refreshing import Connected

USERS = (ALICE, MALLORY, VISITOR)


class Background(Connected):
	def setUp(self) -> None:
		super().setUp()
		self.asked = self.authlib.stats()["token_requests"]

	def names(self, limit: int = 100) -> list[str]:
		frappe.db.rollback()
		return [found.user for found in schedule.due(limit, self.app.name)]

	def idle(self, days: float = 8, user: str = ALICE, **values: Any) -> None:
		frappe.db.rollback()
		values["idle_since"] = naive(utc_now() - timedelta(days=days))
		frappe.db.set_value("Token Cache", f"{self.app.name}-{user}", values)
		frappe.db.commit()

	def run_job(self) -> None:
		frappe.db.rollback()
		schedule.refresh(self.app.name)
		frappe.db.rollback()

	def requests(self) -> int:
		return self.authlib.stats()["token_requests"] - self.asked

	def connect_all(self) -> None:
		self.afterwards(frappe.db.delete, "Token Cache", {"user": ("in", USERS[1:])})
		for user in USERS[1:]:
			self.assertEqual(self.connect(self.app, Browser(user)).status_code, 302)
		self.asked = self.authlib.stats()["token_requests"]


@needs_providers
class TestDue(Background):
	def test_idle(self) -> None:
		self.assertEqual(self.names(), [])
		self.idle(6.9)
		self.assertEqual(self.names(), [])
		self.idle(7.1)
		self.assertEqual(self.names(), [ALICE])
		self.change(refresh_idle_after=30)
		self.assertEqual(self.names(), [])
		self.change(refresh_idle_after=0)
		self.idle(999)
		self.assertEqual(self.names(), [])

	def test_about_to_expire(self) -> None:
		"""Tokens live for an hour: with 90 minutes ahead each is due at once; what expired long ago is not."""
		self.change(refresh_ahead=5)
		self.assertEqual(self.names(), [])
		now = naive(utc_now())
		for minutes, due in ((6, []), (4, [ALICE]), (-4, [ALICE]), (-6, [])):
			self.set(expires_at=now + timedelta(minutes=minutes))
			self.assertEqual(self.names(), due, minutes)
		self.set(expires_at=now)
		self.change(refresh_ahead=0)
		self.assertEqual(self.names(), [])

	def test_never(self) -> None:
		"""Off, disabled, dead, cooling down, without a refresh token, of a user who may not log in."""
		self.idle()
		self.assertEqual(self.names(), [ALICE])
		for field in ("refresh_in_background", "enabled"):
			frappe.db.set_value("Connected App", self.app.name, field, 0)
			frappe.db.commit()
			self.assertEqual(self.names(), [], field)
			frappe.db.set_value("Connected App", self.app.name, field, 1)
			frappe.db.commit()
		soon = naive(utc_now() + timedelta(minutes=1))
		for values in (
			{"status": "Reconnect Required"},
			{"status": "Temporarily Failing", "retry_at": soon},
		):
			self.idle(**values)
			self.assertEqual(self.names(), [], values)
		self.idle(status="Temporarily Failing", retry_at="2020-01-01")
		self.assertEqual(self.names(), [ALICE])
		frappe.db.set_value("User", ALICE, "enabled", 0)
		self.assertEqual([found.user for found in schedule.due(9, self.app.name)], [])
		frappe.db.rollback()
		self.set(idle_since=None)
		self.assertEqual(self.names(), [])

	def test_without_refresh_token(self) -> None:
		"""A connection that cannot be renewed is not tried."""
		self.app = frappe.get_doc("Connected App", self.app.name)
		self.app.scopes = [line for line in self.app.scopes if line.scope != "offline_access"]
		self.app.save()
		frappe.db.commit()
		self.alice.ask("disconnect", connected_app=self.app.name)
		self.assertEqual(self.connect(self.app).status_code, 302)
		kept = row(self.app, ALICE)
		self.assertEqual((kept.refresh_token, kept.idle_since), ("", None))
		self.change(refresh_ahead=120)
		self.assertEqual(self.names(), [])

	def test_order_and_limit(self) -> None:
		"""The longest idle first; what is failing comes last and in turn."""
		self.connect_all()
		self.idle(9)
		self.idle(10, MALLORY)
		self.idle(8, VISITOR)
		self.assertEqual(self.names(), [MALLORY, ALICE, VISITOR])
		self.assertEqual(self.names(2), [MALLORY, ALICE])
		self.idle(9, status="Temporarily Failing", retry_at="2020-01-02")
		self.idle(10, MALLORY, status="Temporarily Failing", retry_at="2020-01-01")
		self.assertEqual(self.names(), [VISITOR, MALLORY, ALICE])

	def test_through_an_index(self) -> None:
		"""Each query reads one range of one index, of the rows that are due."""
		if frappe.db.db_type != "mariadb":
			self.skipTest("EXPLAIN is MariaDB's")
		self.change(refresh_ahead=5)
		fields = ["name", "connected_app", "user", "status", "idle_since", "expires_at"]
		now = utc_now()
		many = [
			(
				f"{self.app.name}-x{n}",
				self.app.name,
				ALICE,
				"Connected",
				naive(now),
				naive(now + timedelta(days=1)),
			)
			for n in range(3000)
		]
		self.afterwards(frappe.db.delete, "Token Cache", {"name": ("like", f"{self.app.name}-x%")})
		frappe.db.bulk_insert("Token Cache", fields, many)
		frappe.db.sql("analyze table `tabToken Cache`")
		self.idle()
		asked: list[str] = []
		real = frappe.db.sql

		def sql(query: Any, values: Any = (), *args: Any, **kwargs: Any) -> Any:
			if "tabToken Cache" in str(query):
				asked.append(query)
				(plan,) = real(f"explain format=json {query}", values)
				tables = json.dumps(json.loads(plan[0]))
				# Few are failing: the planner may also read them all through the index, to sort them.
				access = "range" if "'Connected'" in str(values) else "(range|ref)"
				index = "(connected_app_status_idle_since|expires_at)_index"
				self.assertRegex(tables, rf'"access_type": "{access}", "possible_keys".*?"key": "{index}"')
				self.assertNotIn('"access_type": "ALL"', tables)
			return real(query, values, *args, **kwargs)

		with patch.object(frappe.db, "sql", sql):
			found = schedule.due(100, self.app.name)
		self.assertEqual([one.user for one in found], [ALICE])
		self.assertEqual(len(asked), 4)


@needs_providers
class TestRefreshing(Background):
	def test_kept_alive(self) -> None:
		"""An idle grant is refreshed once, by the same way as any other, and is not idle any more."""
		before = row(self.app, ALICE).get_password("refresh_token")
		self.idle()
		self.run_job()
		kept = row(self.app, ALICE)
		self.assertNotEqual(kept.get_password("refresh_token"), before)
		self.assertEqual((self.requests(), self.names()), (1, []))
		self.assertLess(naive(utc_now()) - kept.idle_since, timedelta(minutes=1))
		self.run_job()
		self.assertEqual(self.requests(), 1)
		self.assertEqual(self.hello(), {"hello": "Alice"})

	def test_somebody_was_faster(self) -> None:
		"""core-defects 25: what was refreshed since it was found is left as it is."""
		self.idle()
		found = schedule.due(9, self.app.name)
		self.assertEqual(len(found), 1)
		with patch.object(schedule, "due", lambda *args: found):
			frappe.db.get_value(
				"Token Cache", found[0].name, "status"
			)  # the snapshot is older than the refresh
			self.alice_refreshes_elsewhere()
			schedule.refresh(self.app.name)
		self.assertEqual(self.requests(), 1)

	def alice_refreshes_elsewhere(self) -> None:
		(answer,) = in_processes(1, "app.get_oauth2_session(user).refresh_token('')['token_type']", self.app)
		self.assertEqual(answer, "gave Bearer")

	def test_each_for_itself(self) -> None:
		"""One that is dead, one that cannot be read, and one that works: the last is refreshed all the same."""
		self.connect_all()
		self.idle(10)
		frappe.db.set_value("Token Cache", f"{self.app.name}-{ALICE}", "expires_at", "2020-01-01")
		token = row(self.app, ALICE).get_password("refresh_token")
		requests.post(
			f"{self.authlib.issuer}/revoke", data={"token": token}, auth=("demo", "demo-secret"), timeout=30
		).raise_for_status()
		self.idle(9, MALLORY)
		name = f"{self.app.name}-{MALLORY}"
		frappe.db.sql("update `__Auth` set password='nonsense' where name=%s", name)
		self.idle(8, VISITOR)
		frappe.db.set_value("Token Cache", f"{self.app.name}-{ALICE}", "expires_at", "2020-01-01")
		frappe.db.commit()
		self.run_job()
		self.assertEqual(row(self.app, ALICE).status, "Reconnect Required")
		self.assertLess(naive(utc_now()) - row(self.app, VISITOR).idle_since, timedelta(minutes=1))

	def test_ahead_of_a_short_life(self) -> None:
		"""Tokens live no longer than *Refresh Ahead*: they are not refreshed at each run for that."""
		self.change(refresh_ahead=90)
		for _run in range(2):
			self.run_job()
		self.assertEqual(self.requests(), 0)
		self.idle(0, expires_at=naive(utc_now() + timedelta(minutes=14)))
		for _run in range(2):
			self.run_job()
		self.assertEqual(self.requests(), 1)

	def test_a_provider_that_is_down(self) -> None:
		"""It is asked a few times in a run, not once for each grant; nobody is asked to reconnect."""
		self.connect_all()
		scripts = hostile()
		server = scripts.Hostile()
		self.addCleanup(server.close)
		self.change(token_uri=server.script("/token", scripts.Answer(b"", 503)))
		for user in USERS:
			self.idle(user=user)
		with patch.object(schedule, "PATIENCE", 2):
			self.run_job()
		self.assertEqual(len(server.requests), 2)
		self.assertEqual({row(self.app, user).status for user in USERS}, {"Connected", "Temporarily Failing"})

	def test_jobs(self) -> None:
		"""One job for each app that has something due, of which only the name is told; not twice."""
		job = f"connected_app_refresh_{self.app.name}"
		schedule.run()
		self.assertEqual(long_jobs(job), [])
		self.addCleanup(delete_long_jobs, job)
		self.idle()
		schedule.run()
		schedule.run()
		self.assertEqual(
			[each.kwargs["kwargs"] for each in long_jobs(job)], [{"connected_app": self.app.name}]
		)

	def jobs(self) -> list[Any]:
		"""Those of this app that wait."""
		return long_jobs(self.app.name)

	def all_idle(self) -> None:
		self.connect_all()
		for user in USERS:
			self.idle(user=user)

	def test_more_than_are_looked_up_at_once(self) -> None:
		"""One job refreshes all that is due, and none follows it."""
		self.all_idle()
		with patch.object(schedule, "BATCH", 1):
			self.run_job()
		self.assertEqual((self.requests(), self.names(), self.jobs()), (3, [], []))

	def test_another_job_follows(self) -> None:
		"""Whose time is up makes place for other apps' jobs; nothing is queued beside the one that follows."""
		self.idle()
		self.addCleanup(delete_long_jobs, self.app.name)
		with patch.object(schedule, "RUN", 0):
			self.run_job()
		(job,) = self.jobs()
		self.assertEqual(job.kwargs["kwargs"], {"connected_app": self.app.name, "follows": 1})
		schedule.run()
		self.assertEqual(len(self.jobs()), 1)
		self.assertEqual(self.requests(), 0)

	def test_a_provider_that_asks_to_slow_down(self) -> None:
		"""For two hours: nobody else is tried, neither now nor in the next runs."""
		self.all_idle()
		scripts = hostile()
		server = scripts.Hostile()
		self.addCleanup(server.close)
		busy = scripts.Answer(b"", 429, {"Retry-After": "7200"})
		self.change(token_uri=server.script("/token", busy))
		self.run_job()
		self.assertEqual(len(server.requests), 1)
		self.assertEqual(len(self.names()), 2, "the others are still due")
		schedule.run()
		self.assertEqual(self.jobs(), [])

	def test_killed_in_the_middle(self) -> None:
		"""What was refreshed is, what was not is refreshed by the next job: each provider is asked once for each."""
		self.not_on_sqlite("no threads: the job itself would end the tests")
		self.all_idle()
		self.change(refresh_at_once=1)
		real, calls = schedule._ask, []

		def killed(*args: Any) -> Any:
			calls.append(args)
			if len(calls) == 2:
				raise KeyboardInterrupt
			return real(*args)

		with patch.object(schedule, "_ask", killed), patch("threading.excepthook"):
			self.run_job()
		delete_long_jobs(self.app.name)
		self.assertEqual(self.requests(), 1)
		self.run_job()
		self.assertEqual((self.requests(), self.names()), (3, []))
		for user in USERS:
			self.assertEqual(row(self.app, user).status, "Connected")

	def test_the_most_urgent_first(self) -> None:
		"""A token that expires in a minute comes before one that has lain idle for a month."""
		self.connect_all()
		self.change(refresh_ahead=5)
		soon = naive(utc_now() + timedelta(minutes=1))
		self.idle(30, MALLORY, expires_at=naive(utc_now() + timedelta(minutes=50)))
		self.idle(0, VISITOR, expires_at=soon)
		self.idle(0, ALICE, expires_at=soon + timedelta(minutes=1))
		self.assertEqual(self.names(), [VISITOR, ALICE, MALLORY])

	def test_settings_that_are_saved_meanwhile(self) -> None:
		"""A job reads them again after they were saved, and not for each grant."""
		latest = schedule.Latest()
		first = latest(self.app.name)
		self.assertIs(latest(self.app.name), first)
		self.change(client_id="another")
		self.assertEqual(latest(self.app.name).client.client_id, "another")

	def test_scheduled(self) -> None:
		"""The jobs are among the site's scheduled ones."""
		for method, frequency in (
			("schedule.run", "Cron"),
			("revocation.retry", "Cron"),
			("keys.care", "Daily"),
		):
			job = frappe.get_doc("Scheduled Job Type", {"method": f"connected_app.site.{method}"})
			self.assertEqual((job.frequency, job.stopped), (frequency, 0))
