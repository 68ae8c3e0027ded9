"""How fast a provider is asked in the background."""

from __future__ import annotations

import threading
import time
import unittest
from typing import Any
from unittest.mock import patch

import frappe
from redis.exceptions import ConnectionError as RedisDown

from connected_app.oauth.errors import OAuthError, ReconnectRequired, TemporaryFailure
from connected_app.site import database
from connected_app.site.pace import Limit, Pace
from connected_app.tests.site import AtWork, make_app, start_over


def failing(retry_after: float | None = None) -> TemporaryFailure:
	return TemporaryFailure("server_error", "Down.", retry_after=retry_after)


class TestPace(unittest.TestCase):
	def setUp(self) -> None:
		start_over()

	def run_all(self, pace: Pace, outcomes: list[OAuthError | None], seconds: float = 0) -> list[int]:
		"""Returns which were begun, and notes in `self.peak` how many at the same time at most."""
		begun: list[int] = []
		counted = AtWork()

		def work(number: int) -> OAuthError | None:
			begun.append(number)
			with counted:
				time.sleep(seconds)
			return outcomes[number]

		pace.run(range(len(outcomes)), work)
		self.peak = counted.peak
		return begun

	def test_several_at_once(self) -> None:
		"""As many as are allowed, and never more."""
		at_once = 1 if frappe.db.db_type == "sqlite" else 3
		begun: list[int] = []
		counted = AtWork()

		def work(number: int) -> None:
			begun.append(number)
			with counted:
				# By the fifth, as many are allowed as there will ever be.
				if number > 3:
					counted.wait_for(at_once)

		Pace(3, 3, 60).run(range(40), work)
		self.assertEqual(begun[0], 0)
		self.assertEqual(sorted(begun), list(range(40)))
		self.assertEqual(counted.peak, at_once)

	def test_in_their_order(self) -> None:
		self.assertEqual(self.run_all(Pace(1, 3, 60), [None] * 40), list(range(40)))

	def test_one_at_first(self) -> None:
		"""A provider that is down is asked as often as there is patience, however many may be asked at once."""
		pace = Pace(8, 3, 60)
		self.assertEqual(self.run_all(pace, [failing()] * 20, 0.002), [0, 1, 2])
		self.assertEqual((self.peak, pace.is_over), (1, True))

	def test_failures_between(self) -> None:
		"""A failure slows down, and a success ends the count; that somebody has to reconnect is none."""
		dead = ReconnectRequired("grant_invalid", "Dead.")
		pace = Pace(1, 2, 60)
		self.assertEqual(
			len(self.run_all(pace, [failing(), None, dead, failing(), dead, failing(), None])), 7
		)
		self.assertEqual(pace.failures, 0)
		pace = Pace(4, 2, 60)
		self.assertEqual(len(self.run_all(pace, [failing(), None])), 2)
		self.assertEqual((pace.failures, pace.window), (0, 2))

	def test_slowed_down(self) -> None:
		"""Nothing is begun before the time that the provider gives."""
		pace, began = Pace(4, 3, 60), time.monotonic()
		self.assertEqual(len(self.run_all(pace, [failing(0.1), None, None])), 3)
		self.assertGreaterEqual(time.monotonic() - began, 0.1)

	def test_slowed_down_for_longer_than_there_is(self) -> None:
		"""It is over at once: nobody waits in vain."""
		pace, began = Pace(1, 3, 60), time.monotonic()
		self.assertEqual(self.run_all(pace, [failing(3600), None]), [0])
		self.assertTrue(pace.is_over)
		self.assertLess(time.monotonic() - began, 30)

	def test_requests_per_minute(self) -> None:
		"""Spread over the minute; not all at its beginning."""
		name = frappe.generate_hash(length=8)
		pace, began = Pace(4, 3, 60, Limit(name, 1200)), time.monotonic()
		self.assertEqual(self.run_all(pace, [None] * 4), [0, 1, 2, 3])
		self.assertGreaterEqual(time.monotonic() - began, 0.15)

	def test_requests_of_several_jobs(self) -> None:
		"""They count together, each minute from the beginning; without Redis each keeps to it by itself."""
		name = frappe.generate_hash(length=8)

		def take(minute: int, second: int) -> float:
			with patch.object(time, "time", return_value=minute * 60.0 + second):
				# Another job each time.
				return Limit(name, 2).take()

		self.assertEqual([take(10**6, 50), take(10**6, 50), take(10**6, 50)], [0, 0, 10])
		self.assertEqual(take(10**6 + 1, 0), 0)
		self.assertEqual([Limit(name, 0).take() for _ in range(3)], [0, 0, 0])
		with (
			patch.object(frappe.cache, "execute_command", side_effect=RedisDown),
			patch.object(time, "monotonic", return_value=1000.0),
		):
			limit = Limit(name, 2)
			self.assertEqual([limit.take(), limit.take()], [0, 30])

	def test_as_the_app_says(self) -> None:
		app = make_app(refresh_at_once=7, requests_per_minute=30)
		pace = Pace.of_app(app.name, 3, 60)
		self.assertEqual((pace.at_once, pace.limit.per_minute), (7, 30))
		frappe.delete_doc("Connected App", app.name)
		frappe.db.commit()
		pace = Pace.of_app(app.name, 3, 60)
		self.assertEqual((pace.at_once, pace.limit.per_minute), (4, 0))

	def test_time_is_up(self) -> None:
		self.assertEqual(self.run_all(Pace(4, 3, 0), [None] * 3), [])

	def test_one_connection_each(self) -> None:
		"""A thread works with one connection to the database, which no transaction beside it needs."""
		if frappe.db.db_type == "sqlite":
			self.skipTest("SQLite: one connection for all")
		seen = []

		def work(_item: int) -> None:
			before = frappe.local.db
			with database.own_transaction("pace", 5):
				seen.append(frappe.local.db is before and before is not self.mine)
				with database.writing():
					frappe.db.sql("select 1")

		self.mine: Any = frappe.local.db
		with patch.object(database, "own_connection", side_effect=AssertionError):
			Pace(1, 3, 60).run(range(2), work)
		self.assertEqual(seen, [True, True])
		self.assertIs(frappe.local.db, self.mine)

	def test_an_error_that_nobody_expects(self) -> None:
		"""It ends its thread, and keeps no other waiting."""
		done = []

		def work(item: int) -> None:
			done.append(item)
			if item == 0:
				raise RuntimeError

		with patch.object(threading, "excepthook"):
			if frappe.db.db_type == "sqlite":
				self.skipTest("SQLite: no threads")
			Pace(2, 3, 60).run(range(4), work)
		self.assertEqual(done, [0, 1, 2, 3])
