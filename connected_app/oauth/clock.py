"""The time of day, as something that is passed in: tests turn it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

Clock = Callable[[], datetime]


def utc_now() -> datetime:
	"""The current instant, aware, in UTC."""
	return datetime.now(timezone.utc)
