"""How fast a provider is asked for one thing after the other: by several threads, as long as it keeps up.

It begins with one request at a time, and each success allows one more, up to a limit. A failure takes that back to one.
Where the provider says how long to wait (`Retry-After`), nothing is begun before. Where it counts requests, they are spread
over the minute.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import frappe
from frappe.utils import cint
from redis.exceptions import RedisError

from connected_app.oauth.errors import OAuthError, ReconnectRequired
from connected_app.site.threads import connected

# Where the Connected App says nothing.
AT_ONCE = 4


class Limit:
	"""How many requests a minute are begun for one Connected App, by all jobs on all hosts together: counted in Redis.
	Without Redis, each job keeps to it by itself.

	:param per_minute: 0: as many as one likes
	"""

	def __init__(self, connected_app: str, per_minute: int) -> None:
		self.connected_app = connected_app
		self.per_minute = per_minute
		self._next = 0.0

	def take(self) -> float:
		"""Seconds after which to ask again; 0: one may be begun, and is counted."""
		if not self.per_minute:
			return 0
		now = time.monotonic()
		if now < self._next:
			return self._next - now
		wait = self._count()
		self._next = now + (wait or 60 / self.per_minute)
		return wait

	def _count(self) -> float:
		minute, second = divmod(time.time(), 60)
		key = frappe.cache.make_key(f"connected_app_requests_{self.connected_app}_{int(minute)}")
		try:
			number = frappe.cache.incr(key)
			frappe.cache.expire(key, 120)
		except RedisError:
			return 0
		return 60 - second if number > self.per_minute else 0


def leave_alone(what: str, seconds: float) -> None:
	"""Note for how long a provider wants to be left alone.

	:param what: is asked of it, of which Connected App
	"""
	if seconds > 0:
		frappe.cache().set_value(_left_alone(what), 1, expires_in_sec=int(seconds) + 1)


def is_left_alone(what: str) -> bool:
	return bool(frappe.cache().get_value(_left_alone(what), expires=True))


def _left_alone(what: str) -> str:
	return f"connected_app_left_alone_{what}"


class Pace:
	"""
	:param at_once: so many at a time
	:param patience: after so many failures in a row it is over
	:param seconds: after these nothing more is begun
	"""

	def __init__(self, at_once: int, patience: int, seconds: float, limit: Limit | None = None) -> None:
		self.limit = limit
		self.at_once = at_once
		self.patience = patience
		self.window = 1
		self.failures = 0
		self.ends = time.monotonic() + seconds
		self.not_before = 0.0
		self._running = 0
		self._changed = threading.Condition()

	@classmethod
	def of_app(cls, connected_app: str, patience: int, seconds: float) -> Pace:
		"""As a Connected App says. One that is gone says nothing."""
		columns = ["refresh_at_once", "requests_per_minute"]
		found = frappe.db.get_value("Connected App", connected_app, columns) or (0, 0)
		at_once, per_minute = map(cint, found)
		return cls(at_once or AT_ONCE, patience, seconds, Limit(connected_app, per_minute))

	@property
	def is_over(self) -> bool:
		"""Whether nothing more is begun: the time is up, or the provider is to be left alone for as long."""
		return self.failures >= self.patience or max(time.monotonic(), self.not_before) >= self.ends

	@property
	def wait(self) -> float:
		"""Seconds for which the provider wants to be left alone from now on; less than 0: it does not."""
		return self.not_before - time.monotonic()

	def run(self, items: Iterable[Any], work: Callable[[Any], OAuthError | None]) -> None:
		"""Do `work` with each of `items`, in their order, as far as the pace allows; in threads with a connection to the
		database each, except on SQLite.

		:param work: returns why the provider did not do what it was asked for
		"""
		waiting = list(reversed(list(items)))
		if frappe.db.db_type == "sqlite":
			return self._attend(waiting, work)
		site, sites_path = frappe.local.site, frappe.local.sites_path

		def thread() -> None:
			with connected(site, sites_path):
				self._attend(waiting, work)

		threads = [
			threading.Thread(target=thread, daemon=True) for _ in range(min(self.at_once, len(waiting)))
		]
		for each in threads:
			each.start()
		for each in threads:
			each.join()

	def _attend(self, waiting: list[Any], work: Callable[[Any], OAuthError | None]) -> None:
		while self._may_begin(waiting) and (item := self._next(waiting)) is not None:
			error: BaseException | None = None
			try:
				error = work(item)
			except BaseException as other:
				error = other
				raise
			finally:
				self._ended(error)

	def _next(self, waiting: list[Any]) -> Any:
		with self._changed:
			if waiting:
				return waiting.pop()
			self._running -= 1
			return None

	def _may_begin(self, waiting: list[Any]) -> bool:
		"""Wait until one more may be begun. Returns False when none will be."""
		with self._changed:
			while waiting and not self.is_over:
				left = self.ends - time.monotonic()
				pause = self.wait
				if pause <= 0 and self._running >= self.window:
					pause = left
				elif pause <= 0 and self.limit:
					pause = self.limit.take()
				if pause <= 0:
					self._running += 1
					return True
				self._changed.wait(min(pause, left))
			return False

	def _ended(self, error: BaseException | None) -> None:
		with self._changed:
			self._running -= 1
			if error is None:
				self.failures, self.window = 0, min(self.window + 1, self.at_once)
			elif isinstance(error, ReconnectRequired):
				# The provider has answered.
				self.failures = 0
			else:
				self.failures, self.window = self.failures + 1, 1
				if wait := getattr(error, "retry_after", None):
					self.not_before = max(self.not_before, time.monotonic() + wait)
			self._changed.notify_all()
