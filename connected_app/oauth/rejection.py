"""Whether an API that refuses a request no longer takes the token of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from . import consent, dead_grants

# In bytes: a longer answer is no error.
LONGEST_ERROR = 65536


def is_rejected(
	status: int,
	headers: Mapping[str, str],
	words: Collection[str] = (),
	answer: Callable[[], Any] = lambda: None,
) -> bool:
	"""Whether another token may help: after 401 (RFC 6750 3.1), or an answer that the provider's template names. Not if the
	user has to log in differently (RFC 9470 3) or to consent to more.

	:param headers: case-insensitive
	:param words: `Quirks.api_expired`
	:param answer: returns the JSON of the answer; None if there is none, or it must not be read
	"""
	if status == 401:
		return not consent.wanted_by(status, headers)
	if str(status) in words:
		return True
	paths = [word for word in words if "=" in word]
	if not paths:
		return False
	said = answer()
	return any(dead_grants.matches(said, word) for word in paths)
