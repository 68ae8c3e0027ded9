"""The decision before a refresh: one row for each case."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from connected_app.oauth import Failure, Grant
from connected_app.oauth.refresh import REJECTED_PAUSE, Ask, Raise, Use, decide

from .helpers import NOW, a_grant

LEEWAY = 30
SECOND = timedelta(seconds=1)
FRESH = a_grant()
NEWER = a_grant(access_token="newer")
SAME_TOKEN = a_grant(expires_at=NOW + timedelta(hours=2))
DUE = a_grant(issued_at=NOW - timedelta(hours=1), expires_at=NOW + timedelta(seconds=LEEWAY))
EXPIRED = a_grant(expires_at=NOW)
ENDLESS = a_grant(expires_at=None)
WITHOUT_REFRESH_TOKEN = replace(DUE, refresh_token=None)
WAITING = Failure(code="server_error", message="…", retry_at=NOW + SECOND)
OVER = replace(WAITING, retry_at=NOW)
ADMIN = replace(WAITING, code="invalid_client", configuration=True)
GONE = Failure(code="grant_invalid", message="…", reconnect=True)


@pytest.mark.parametrize(
	("stored", "failure", "stale", "rejected", "expected"),
	[
		# There is no grant.
		(None, None, None, False, "not_connected"),
		(None, GONE, DUE, False, "not_connected"),
		# Another process has stored a newer one meanwhile.
		(NEWER, None, FRESH, False, Use(NEWER)),
		(NEWER, None, FRESH, True, Use(NEWER)),
		(NEWER, GONE, FRESH, True, Use(NEWER)),
		(FRESH, None, None, False, Use(FRESH)),
		(SAME_TOKEN, None, EXPIRED, False, Use(SAME_TOKEN)),
		(SAME_TOKEN, None, FRESH, True, Use(SAME_TOKEN)),
		(replace(FRESH, revision=8), None, replace(FRESH, revision=7), True, Use(replace(FRESH, revision=8))),
		# It is the same one, and is due.
		(DUE, None, DUE, False, Ask(DUE)),
		(EXPIRED, None, EXPIRED, False, Ask()),
		(EXPIRED, OVER, EXPIRED, False, Ask()),
		# A caller asks for another one although it is still good.
		(FRESH, None, FRESH, False, Ask(FRESH)),
		(replace(FRESH, revision=7), None, replace(FRESH, revision=7), True, Ask()),
		# An API has rejected it.
		(FRESH, None, FRESH, True, Ask()),
		(ENDLESS, None, ENDLESS, True, Ask()),
		(DUE, None, DUE, True, Ask()),
		# An API rejects every token: a new one is used until the pause is over.
		(replace(FRESH, rejected_at=NOW), None, replace(FRESH, rejected_at=NOW), True, "use"),
		(replace(FRESH, rejected_at=NOW - REJECTED_PAUSE + SECOND), None, FRESH, True, "use"),
		(replace(FRESH, rejected_at=NOW - REJECTED_PAUSE), None, FRESH, True, Ask()),
		(replace(DUE, rejected_at=NOW), None, DUE, True, Ask()),
		# After a failure, the pause is not over yet.
		(DUE, WAITING, DUE, False, Use(DUE)),
		(DUE, ADMIN, DUE, False, Use(DUE)),
		(DUE, GONE, DUE, False, Use(DUE)),
		(EXPIRED, WAITING, EXPIRED, False, "cooling_down"),
		(EXPIRED, ADMIN, EXPIRED, False, "invalid_client"),
		(EXPIRED, GONE, EXPIRED, False, "grant_invalid"),
		(FRESH, WAITING, FRESH, True, "cooling_down"),
		# There is no refresh token.
		(WITHOUT_REFRESH_TOKEN, None, WITHOUT_REFRESH_TOKEN, False, Use(WITHOUT_REFRESH_TOKEN)),
		(replace(EXPIRED, refresh_token=None), None, EXPIRED, False, "expired, new"),
		(replace(FRESH, refresh_token=None), None, FRESH, True, "expired"),
	],
)
def test_decide(
	stored: Grant | None,
	failure: Failure | None,
	stale: Grant | None,
	rejected: bool,
	expected: Use | Ask | str,
) -> None:
	"""core-defects 17, 20, 21, 25"""
	found = decide(stored, failure, stale, rejected, NOW, LEEWAY)
	if isinstance(found, Raise):
		assert found.error.code + (", new" if found.is_new else "") == expected
	elif expected == "use":
		assert found == Use(stored)  # type: ignore[arg-type]
	else:
		assert found == expected


@pytest.mark.parametrize(
	("stored", "failure", "expected"),
	[
		(None, None, Ask()),
		(None, WAITING, "cooling_down"),
		(None, ADMIN, "invalid_client"),
		(None, GONE, Ask()),
		(replace(EXPIRED, refresh_token=None), GONE, Ask()),
		(WITHOUT_REFRESH_TOKEN, None, Ask(WITHOUT_REFRESH_TOKEN)),
		(WITHOUT_REFRESH_TOKEN, WAITING, Use(WITHOUT_REFRESH_TOKEN)),
	],
)
def test_without_consent(stored: Grant | None, failure: Failure | None, expected: Use | Ask | str) -> None:
	"""RFC 6749 4.4: the service principal needs neither a grant nor a refresh token to ask."""
	found = decide(stored, failure, stored, False, NOW, LEEWAY, needs_consent=False)
	assert (found.error.code if isinstance(found, Raise) else found) == expected
