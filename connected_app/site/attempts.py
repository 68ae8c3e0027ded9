"""Authorization attempts in the site's Redis: they expire by themselves, and are taken once, atomically."""

from __future__ import annotations

from datetime import timedelta

from connected_app.oauth.authorization import LIFETIME, Attempt
from connected_app.site.sealed import Sealed

# Stored longer than they are valid, to tell "expired" from "unknown".
ATTEMPTS = Sealed("connected_app_attempt", timedelta(seconds=LIFETIME * 3))


class RedisAttemptStore:
	"""The AttemptStore of a site. An attempt is found by its state.

	Every method may raise TemporaryFailure `attempt_store_unavailable`.
	"""

	def put(self, attempt: Attempt) -> None:
		ATTEMPTS.put(attempt.state, attempt.to_json())

	def replace(self, attempt: Attempt) -> None:
		"""As `put`, for an existing attempt. An attempt that was taken meanwhile does not come back."""
		ATTEMPTS.put(attempt.state, attempt.to_json(), only_in_place=True)

	def peek(self, state: str) -> Attempt | None:
		return _read(ATTEMPTS.peek(state))

	def take(self, state: str) -> Attempt | None:
		return _read(ATTEMPTS.take(state))


def _read(text: str | None) -> Attempt | None:
	return Attempt.from_json(text) if text else None
