"""Whether an API that refuses a request no longer takes the token of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from . import challenges, consent, dead_grants

# Some servers' own status for it.
INVALID_TOKEN = 498
# In bytes: what is longer is no error.
LONGEST_ERROR = 65536
# In the body of a 403: what RFC 6750 3.1 has 401 for.
EXPIRED = frozenset(
	{
		"invalid_token", "invalid_token_error", "token_expired", "expired_token", "token_revoked",
		"access_token_expired", "expired_access_token", "invalid_access_token", "access_token_invalid",
	}
)  # fmt: skip


def is_rejected(
	status: int,
	headers: Mapping[str, str],
	words: Collection[str] = (),
	answer: Callable[[], Any] = lambda: None,
) -> bool:
	"""Whether another token may help: after 401 (RFC 6750 3.1), where `invalid_token` is said by another status, or what the
	provider's template says. Not where it is about the user, who has to log in in another way (RFC 9470 3) or to consent to
	more.

	:param headers: without regard to case
	:param words: `Quirks.api_expired`
	:param answer: gives the JSON of the answer; None where there is none, or it is not to be read
	"""
	if status == 401:
		return not consent.wanted_by(status, headers)
	if str(status) in words or status == INVALID_TOKEN:
		return True
	if status in (400, 403) and not consent.wanted_by(status, headers):
		read = challenges.read(headers.get("www-authenticate"))
		if any(each.parameters.get("error") == "invalid_token" for each in read):
			return True
		if status == 403 and dead_grants.code_in(answer(), EXPIRED):
			return True
	paths = [word for word in words if "=" in word]
	if not paths:
		return False
	said = answer()
	return any(dead_grants.matches(said, word) for word in paths)
