"""The pace of many requests to one provider: several threads, as long as it keeps up.

It begins with one request at a time; each success allows one more, up to a limit; a failure goes back to one. If the
provider says how long to wait (`Retry-After`), nothing begins before. If it counts requests, they are spread over the
minute.
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

# If the Connected App sets nothing.
AT_ONCE = 4


class Limit:
	"""The number of requests a minute for one Connected App, by all jobs on all hosts together: counted in Redis. Without
	Redis, each job keeps to the limit by itself.

	:param per_minute: 0: no limit
	"""

	def __init__(self, connected_app: str, per_minute: int) -> None:
		self.connected_app = connected_app
		self.per_minute = per_minute
		self._next = 0.0

	def take(self) -> float:
		"""Seconds after which to ask again; 0: one request may begin, and is counted."""
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
	"""Note for how long a provider wants no requests.

	:param what: names the Connected App and the kind of request
	"""
	if seconds > 0:
		frappe.cache().set_value(_left_alone(what), 1, expires_in_sec=int(seconds) + 1)


def is_left_alone(what: str) -> bool:
	return bool(frappe.cache().get_value(_left_alone(what), expires=True))


def _left_alone(what: str) -> str:
	return f"connected_app_left_alone_{what}"


class Pace:
	"""
	:param at_once: requests at a time
	:param patience: failures in a row after which it is over
	:param seconds: after these, nothing more begins
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
		"""As set in a Connected App; the defaults if it is gone."""
		columns = ["refresh_at_once", "requests_per_minute"]
		found = frappe.db.get_value("Connected App", connected_app, columns) or (0, 0)
		at_once, per_minute = (cint(each) for each in found)
		return cls(at_once or AT_ONCE, patience, seconds, Limit(connected_app, per_minute))

	@property
	def is_over(self) -> bool:
		"""Whether nothing more begins: the time is up, or the provider wants no requests until then."""
		return self.failures >= self.patience or max(time.monotonic(), self.not_before) >= self.ends

	@property
	def wait(self) -> float:
		"""Seconds from now for which the provider wants no requests; negative if there is no such pause."""
		return self.not_before - time.monotonic()

	def run(self, items: Iterable[Any], work: Callable[[Any], OAuthError | None]) -> None:
		"""Do `work` with each of `items`, in order, as far as the pace allows; in threads with their own database connections,
		except on SQLite.

		:param work: returns why the provider refused, or None
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
		"""Wait until one more may begin. Returns False if none will."""
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
