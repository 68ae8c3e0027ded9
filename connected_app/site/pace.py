"""How fast a provider is asked for one thing after the other: by several threads, as long as it keeps up.

It begins with one request at a time, and each success allows one more, up to a limit. A failure takes that back to one.
Where the provider says how long to wait (`Retry-After`), nothing is begun before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import frappe

from connected_app.oauth.errors import OAuthError, ReconnectRequired
from connected_app.site.threads import connected


class Pace:
	"""
	:param at_once: so many at a time
	:param patience: after so many failures in a row it is over
	:param seconds: after these nothing more is begun
	"""

	def __init__(self, at_once: int, patience: int, seconds: float) -> None:
		self.at_once = at_once
		self.patience = patience
		self.window = 1
		self.failures = 0
		self.ends = time.monotonic() + seconds
		self.not_before = 0.0
		self._running = 0
		self._changed = threading.Condition()

	@property
	def is_over(self) -> bool:
		"""Whether nothing more is begun: the time is up, or the provider is to be left alone for as long."""
		return self.failures >= self.patience or max(time.monotonic(), self.not_before) >= self.ends

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
				pause = self.not_before - time.monotonic()
				if pause > 0:
					self._changed.wait(pause)
				elif self._running < self.window:
					self._running += 1
					return True
				else:
					self._changed.wait(self.ends - time.monotonic())
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
