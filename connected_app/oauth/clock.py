"""The time of day, passed in so that tests can set it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

Clock = Callable[[], datetime]


def utc_now() -> datetime:
	"""The current instant, aware, in UTC."""
	return datetime.now(timezone.utc)
