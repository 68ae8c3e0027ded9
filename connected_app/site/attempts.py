"""Authorization attempts in the site's Redis: they expire by themselves, and are taken once, atomically."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import frappe
import redis

from connected_app.oauth import catalogue
from connected_app.oauth.authorization import LIFETIME, Attempt
from connected_app.oauth.redact import strip_chain
from connected_app.site.passwords import decrypt, encrypt

# Kept a while longer than they are valid, to tell "expired" from "unknown".
KEPT = timedelta(seconds=LIFETIME * 3)


class RedisAttemptStore:
	"""The AttemptStore of a site. Encrypted with the site's key, found by the hash of the state."""

	def put(self, attempt: Attempt) -> None:
		"""
		:raises TemporaryFailure: `attempt_store_unavailable`, as the others
		"""
		sealed = encrypt(attempt.to_json())
		answered(lambda: frappe.cache.set(self._key(attempt.state), sealed, ex=KEPT))  # nosemgrep

	def replace(self, attempt: Attempt) -> None:
		"""As `put`, for an attempt that is there. One that has been taken meanwhile does not come back."""
		sealed = encrypt(attempt.to_json())
		answered(lambda: frappe.cache.set(self._key(attempt.state), sealed, ex=KEPT, xx=True))  # nosemgrep

	def peek(self, state: str) -> Attempt | None:
		return self._opened(answered(lambda: frappe.cache.get(self._key(state))))  # nosemgrep

	def take(self, state: str) -> Attempt | None:
		return self._opened(answered(lambda: frappe.cache.getdel(self._key(state))))

	def _key(self, state: str) -> Any:
		return frappe.cache.make_key("connected_app_attempt:" + hashlib.sha256(state.encode()).hexdigest())

	def _opened(self, sealed: bytes | None) -> Attempt | None:
		return Attempt.from_json(decrypt(sealed.decode())) if sealed else None


def answered(ask: Callable[[], Any]) -> Any:
	"""What Redis says.

	:raises TemporaryFailure: `attempt_store_unavailable`
	"""
	try:
		return ask()
	except redis.exceptions.RedisError as error:
		cause = strip_chain(error)
	# Outside the handler: the library's frames hold what was to be stored.
	raise catalogue.error("attempt_store_unavailable") from cause
