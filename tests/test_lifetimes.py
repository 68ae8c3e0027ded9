"""When tokens end, in all the ways in which providers say it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_app.oauth.grant import from_response
from connected_app.oauth.lifetimes import LONGEST_LIFE, access_expiry, refresh_expiry

from .helpers import NOW, a_grant

HOUR, DAY = 3600, 86400
EPOCH = int(NOW.timestamp())


@pytest.mark.parametrize(
	("response", "seconds"),
	[
		({"expires_in": 3600}, HOUR),
		({"expires_in": "3600"}, HOUR),
		({"expires_in": "3600.5"}, 3600.5),
		# As Protocol Buffers and people write it; dates as HTTP and databases have them.
		({"expires_in": "3600s"}, HOUR),
		({"expires_in": "3600 seconds"}, HOUR),
		({"expires_on": str(EPOCH + HOUR)}, HOUR),
		({"expires": 3600}, HOUR),
		({"expires_at": "", "expiry": "2026-03-01T13:00:00Z"}, HOUR),
		({"expires_in": 60, "expires_on": EPOCH + HOUR}, 60),
		({"expires": None, "expiration": "never"}, None),
		({"expires_at": "Sun, 01 Mar 2026 13:00:00 GMT"}, HOUR),
		({"expires_at": "2026-03-01 13:00:00 UTC"}, HOUR),
		({"expires_at": "2026-03-01T15:00:00+0200"}, HOUR),
		({"expires_in": None}, None),
		({"expires_in": ""}, None),
		({"expires_in": 0}, None),
		({}, None),
		# Square, Braintree; Printful.
		({"expires_at": "2026-03-01T13:00:00Z"}, HOUR),
		({"expires_at": "2026-03-01T13:00:00.123456789Z"}, HOUR),
		({"expires_at": "2026-03-01T15:00:00+02:00"}, HOUR),
		({"expires_at": "2026-03-01T13:00:00"}, HOUR),
		({"expires_at": "2026-03-01 13:00:00"}, HOUR),
		({"expires_at": EPOCH + HOUR}, HOUR),
		({"expires_at": str(EPOCH + HOUR)}, HOUR),
		({"expires_at": (EPOCH + HOUR) * 1000}, HOUR),
		({"expires_in": None, "expires_at": EPOCH + HOUR}, HOUR),
		({"expires_in": "", "expires_at": EPOCH + HOUR}, HOUR),
		({"expires_in": 60, "expires_at": EPOCH + HOUR}, 60),
		# An epoch, or a date, where seconds should be.
		({"expires_in": EPOCH + HOUR}, HOUR),
		({"expires_in": (EPOCH + HOUR) * 1000}, HOUR),
		({"expires_in": "2026-03-01T13:00:00Z"}, HOUR),
		# Milliseconds: Adobe, AliExpress.
		({"expires_in": 86_399_999}, DAY),
		({"expires_in": 86_400_000}, DAY),
		({"expires_in": 3_600_000}, HOUR),
		({"expires_in": 43_200_000}, DAY / 2),
		({"expires_in": 2_592_000_000}, 30 * DAY),
		# Long lives in seconds stay what they are.
		({"expires_in": 5_184_000}, 60 * DAY),
		({"expires_in": 5_183_944}, 5_183_944),
		({"expires_in": 4_320_000}, 50 * DAY),
		({"expires_in": 7_776_000}, 90 * DAY),
		({"expires_in": 31_536_000}, 365 * DAY),
		({"expires_in": 315_360_000}, 3650 * DAY),
		({"expires_in": 8_640_000}, 100 * DAY),
		# What cannot be read is not said, and another name counts.
		({"expires_in": "soon", "expires_at": EPOCH + HOUR}, HOUR),
		({"expires_in": {"seconds": 60}, "expires_on": EPOCH + HOUR}, HOUR),
		({"expires_at": "0001-01-01T00:00:00Z", "expiry": EPOCH + HOUR}, HOUR),
		({"expires": "never", "exp": EPOCH + HOUR}, HOUR),
		({"expiresIn": 3600, "expires-in": None}, HOUR),
		({"expires_in": 0, "expires": EPOCH + HOUR}, None),
		# A token that is new is not over: by these names it is a cookie's, a page's or a session's end.
		({"expires": -1}, None),
		({"expires": "Thu, 01 Jan 2026 00:00:00 GMT"}, None),
		({"exp": EPOCH - 5}, None),
		({"expires": "Thu, 01 Jan 2026 00:00:00 GMT", "exp": EPOCH + HOUR}, HOUR),
		# What is over is over, and what cannot be read is not said.
		({"expires_at": "2020-01-01T00:00:00Z"}, 0),
		({"expires_at": EPOCH - 5}, 0),
		({"expires_in": -5}, 0),
		({"expires_at": "soon"}, None),
		({"expires_at": "9999-01-01T00:00:00Z"}, None),
		({"expires_at": {"a": 1}}, None),
		({"expires_at": 3600}, None),
		({"expires_at": "1e999"}, None),
		# What languages have for "no date" (Go, .NET, Unix, spreadsheets) is none, and not over.
		({"expiry": "0001-01-01T00:00:00Z"}, None),
		({"expires_at": "0001-01-01T00:00:00"}, None),
		({"expires_at": "1970-01-01T00:00:00Z"}, None),
		({"expires_in": "1899-12-30 00:00:00"}, None),
		({"expires_at": "Thu, 01 Jan 1970 00:00:00 GMT"}, None),
		# Other names, and other spellings of them.
		({"expiresIn": 3600}, HOUR),
		({"ExpiresIn": "3600"}, HOUR),
		({"expires-in": 3600}, HOUR),
		({"expiresAt": "2026-03-01T13:00:00Z"}, HOUR),
		({"expire_in": 3600}, HOUR),
		({"expires_in_sec": 3600}, HOUR),
		({"access_token_expires_in": 3600}, HOUR),
		({"access_token_expires_at": "2026-03-01T13:00:00Z"}, HOUR),
		({"accessTokenExpiresAt": EPOCH + HOUR}, HOUR),
		({"access_token_expire_in": EPOCH + HOUR}, HOUR),
		({"expires_time": (EPOCH + HOUR) * 1000}, HOUR),
		({"exp": EPOCH + HOUR}, HOUR),
		({".expires": "Sun, 01 Mar 2026 13:00:00 GMT"}, HOUR),
		({"expires_in": 60, "expiresIn": 3600}, 60),
		({"refresh_token_expires_in": 3600, "ext_expires_in": 3600}, None),
	],
)
def test_access(response: dict[str, Any], seconds: float | None) -> None:
	grant = from_response({"access_token": "a", **response}, NOW)
	assert grant.expires_at == (None if seconds is None else NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
	("response", "days"),
	[
		({"refresh_token_expires_in": 30 * DAY}, 30),
		({"refresh_expires_in": str(30 * DAY)}, 30),
		({"x_refresh_token_expires_in": 101 * DAY}, 101),
		({"refresh_token_expires_in": None, "refresh_expires_in": DAY}, 1),
		({"refresh_token_expires_at": EPOCH + DAY}, 1),
		({"refresh_token_expires_at": (EPOCH + DAY) * 1000}, 1),
		({"refresh_token_expires_at": "2026-03-02T12:00:00Z"}, 1),
		({"refresh_token_expires_at": "0001-01-01T00:00:00Z"}, None),
		({"refreshTokenExpiresIn": DAY}, 1),
		({"refreshTokenExpiresAt": "2026-03-02T12:00:00Z"}, 1),
		({"refresh_token_expires_in": "2026-03-02T12:00:00Z"}, 1),
		({"refresh_token_expires_on": EPOCH + DAY}, 1),
		({"refresh_expires_at": EPOCH + DAY}, 1),
		({"refresh_token_expiry": EPOCH + DAY}, 1),
		({"refresh_token_expire_in": EPOCH + DAY}, 1),
		({"refresh_token_expiration": DAY}, 1),
		({"rt_expires_in": DAY}, 1),
		# Keycloak's offline tokens.
		({"refresh_expires_in": 0}, None),
		({"refresh_expires_in": "x"}, None),
		({}, None),
	],
)
def test_refresh(response: dict[str, Any], days: float | None) -> None:
	grant = from_response({"access_token": "a", **response}, NOW)
	assert grant.refresh_expires_at == (None if days is None else NOW + timedelta(days=days))


def test_a_refresh_of_which_nothing_is_said() -> None:
	"""The new token lives as long as the old one did: else it would never be renewed again."""
	old = a_grant()
	later = NOW + timedelta(hours=1)
	renewed = old.renewed(from_response({"access_token": "b"}, later))
	assert renewed.expires_at == later + timedelta(hours=1)
	assert a_grant(expires_at=None).renewed(from_response({"access_token": "b"}, later)).expires_at is None


def test_the_end_of_the_refresh_token() -> None:
	"""It is that of the refresh token that is kept; nothing is known of a new one of which nothing is said."""
	end = NOW + timedelta(days=30)
	old = a_grant(refresh_expires_at=end)
	assert old.renewed(from_response({"access_token": "b"}, NOW)).refresh_expires_at == end
	rotated = from_response({"access_token": "b", "refresh_token": "r2"}, NOW)
	assert old.renewed(rotated).refresh_expires_at is None
	more = from_response({"access_token": "b", "refresh_expires_in": DAY}, NOW)
	assert old.renewed(more).refresh_expires_at == NOW + timedelta(days=1)


VALUES = st.one_of(
	st.none(),
	st.booleans(),
	st.integers(),
	st.floats(),
	st.text(max_size=30),
	st.datetimes().map(str),
	st.just([]),
)


@given(st.dictionaries(st.sampled_from(["expires_in", "expires_at", "refresh_expires_in"]), VALUES))
def test_whatever_comes(response: dict[str, Any]) -> None:
	for found in (access_expiry(response, NOW), refresh_expiry(response, NOW)):
		assert found is None or NOW <= found <= NOW + timedelta(seconds=LONGEST_LIFE)


@given(st.integers(1, 366))
def test_days(days: int) -> None:
	"""Whole days in seconds are never taken for milliseconds."""
	now = datetime(2026, 1, 1, tzinfo=timezone.utc)
	assert access_expiry({"expires_in": days * DAY}, now) == now + timedelta(days=days)
