"""Whether an API that refuses a request no longer takes the token of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from . import challenges, consent, dead_grants

# A status that some servers have for it.
INVALID_TOKEN = 498
# In bytes: a longer answer is no error.
LONGEST_ERROR = 65536
# In the body of a 403: what RFC 6750 3.1 has 401 for.
EXPIRED = frozenset(
	{
		"invalid_token", "invalid_token_error", "token_expired", "expired_token", "token_revoked",
		"access_token_expired", "expired_access_token", "invalid_access_token", "access_token_invalid",
	}
)  # fmt: skip
# A new token would not have them either (RFC 6750 3.1).
LACKING = frozenset({"insufficient_scope", "insufficient_permission", "insufficient_permissions"})


def is_rejected(
	status: int,
	headers: Mapping[str, str],
	words: Collection[str] = (),
	answer: Callable[[], Any] = lambda: None,
) -> bool:
	"""Whether another token may help: after 401 (RFC 6750 3.1), `invalid_token` with another status, or an answer that the
	provider's template names. Not if the user has to log in differently (RFC 9470 3) or to consent to more.

	:param headers: case-insensitive
	:param words: `Quirks.api_expired`
	:param answer: returns the JSON of the answer; None if there is none, or it must not be read
	"""
	if status == 401:
		return not consent.wanted_by(status, headers)
	if str(status) in words or status == INVALID_TOKEN:
		return True
	if status in (400, 403) and not consent.wanted_by(status, headers):
		read = challenges.read(headers.get("www-authenticate"))
		if any(each.parameters.get("error") == "invalid_token" for each in read):
			return True
		if status == 403 and dead_grants.code_in(said := answer(), EXPIRED):
			return not dead_grants.code_in(said, LACKING)
	paths = [word for word in words if "=" in word]
	if not paths:
		return False
	said = answer()
	return any(dead_grants.matches(said, word) for word in paths)
