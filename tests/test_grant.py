from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_app.oauth import OAuthError, TemporaryFailure
from connected_app.oauth.grant import Account, Grant, from_response, parse_scopes
from connected_app.oauth.lifetimes import LONGEST_LIFE
from connected_app.oauth.redact import Secret

from .helpers import NOW, a_grant


@pytest.mark.parametrize(
	("expires_in", "seconds"),
	[
		(3600, 3600),
		("3600", 3600),
		(3599.5, 3599.5),
		(1, 1),
		(0, None),
		("0", None),
		(None, None),
		("", None),
		("soon", None),
		(True, None),
		([], None),
		({}, None),
		(float("nan"), None),
		(float("inf"), None),
		(10**400, None),
		(LONGEST_LIFE + 1, None),
		(-1, 0),
		(float("-inf"), 0),
	],
)
def test_expiry(expires_in: Any, seconds: float | None) -> None:
	"""core-defects 15, 16: no or zero `expires_in` means that the token does not expire; otherwise an instant, once."""
	grant = from_response({"access_token": "a", "expires_in": expires_in}, NOW)
	assert grant.expires_at == (None if seconds is None else NOW + timedelta(seconds=seconds))
	assert grant.issued_at == NOW
	if seconds is None:
		far = NOW + timedelta(days=36500)
		assert not grant.is_expired(far) and not grant.is_due(far, 30)


def test_response_without_expires_in() -> None:
	"""core-defects 15 (fapi2 token-endpoint-response-without-expires_in)"""
	grant = from_response({"access_token": "a"}, NOW)
	assert grant.expires_at is None and grant.refresh_token is None


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
@pytest.mark.parametrize("day", [(2026, 3, 29), (2026, 10, 25), (2026, 3, 8), (2026, 11, 1)])
def test_across_daylight_saving(zone: str, day: tuple[int, int, int]) -> None:
	"""core-defects 16: an hour is an hour on the day when clocks change, whatever zone the reader is in."""
	for hour in range(24):
		now = datetime(*day, hour, 30, tzinfo=timezone.utc)
		grant = from_response({"access_token": "a", "expires_in": 3600}, now)
		local = ZoneInfo(zone)
		assert not grant.is_expired((now + timedelta(seconds=3599)).astimezone(local))
		assert grant.is_expired((now + timedelta(seconds=3600)).astimezone(local))


@pytest.mark.parametrize(
	("life", "leeway", "due_after"),
	[
		(3600, 30, 3570),
		(3600, 0, 3600),
		(3600, -5, 3600),
		(600, 30, 570),
		(60, 30, 45),
		(4, 30, 3),
		(3600, 7200, 2700),
	],
)
def test_leeway(life: int, leeway: int, due_after: int) -> None:
	"""core-defects 17: due a little before expiry, but never earlier than after three quarters of its life."""
	grant = a_grant(expires_at=NOW + timedelta(seconds=life))
	assert not grant.is_due(NOW + timedelta(seconds=due_after - 0.5), leeway)
	assert grant.is_due(NOW + timedelta(seconds=due_after), leeway)


@pytest.mark.parametrize(
	("given_type", "kept"),
	[
		("Bearer", "Bearer"), ("bearer", "Bearer"), ("BEARER", "Bearer"), (None, "Bearer"), ("", "Bearer"), (7, "Bearer"),
		("bot", "bot"), ("User Access Token", "User Access Token"),
	],
)  # fmt: skip
def test_token_type(given_type: Any, kept: str) -> None:
	"""core-defects 18: missing or odd token types are taken (fapi2 token-type-case-insensitivity)."""
	assert from_response({"access_token": "a", "token_type": given_type}, NOW).token_type == kept


@pytest.mark.parametrize(
	("value", "separator", "scopes"),
	[
		(["read,write"], " ", ("read", "write")),
		([["read"], "write", 7], " ", ("write",)),
		("[" * 5000 + "]" * 5000, " ", ("[" * 5000 + "]" * 5000,)),
		('["read", "write"]', " ", ("read", "write")),
		('["read",', " ", ('["read"',)),
		("read ,write", " ", ("read", "write")),
		("read%20write", " ", ("read", "write")),
		("a%20b c", " ", ("a%20b", "c")),
		("repo,gist", " ", ("repo", "gist")),
		("repo, gist", ",", ("repo", "gist")),
		("read write", " ", ("read", "write")),
		("  read   read ", " ", ("read",)),
		("a,b c", " ", ("a,b", "c")),
		(["a", 1, " b "], " ", ("a", "b")),
		("", " ", ()),
		(None, " ", ()),
		({"a": 1}, " ", ()),
	],
)
def test_scopes(value: Any, separator: str, scopes: tuple[str, ...]) -> None:
	"""core-defects 19: commas separate, too."""
	assert parse_scopes(value, separator) == scopes


def test_narrower_scope_shows() -> None:
	"""core-defects 29: what was granted is kept, not what was asked; silence means as asked (RFC 6749 5.1)."""
	asked = ("read", "write")
	assert from_response({"access_token": "a", "scope": "read"}, NOW, asked).scopes == ("read",)
	assert from_response({"access_token": "a"}, NOW, asked).scopes == asked


def test_renewed() -> None:
	"""RFC 6749 6: none keeps the old refresh token, a new one replaces it; scopes likewise."""
	old = a_grant(scopes=("read",))
	bare = old.renewed(from_response({"access_token": "b"}, NOW))
	assert (bare.access_token, bare.refresh_token, bare.scopes, bare.expires_at) == (
		"b",
		old.refresh_token,
		("read",),
		NOW + timedelta(hours=1),
	)
	full = old.renewed(from_response({"access_token": "b", "refresh_token": "r2", "scope": "write"}, NOW))
	assert (full.refresh_token, full.scopes) == ("r2", ("write",))


@pytest.mark.parametrize("token", [None, "", "  ", 7, ["a"], "a\r\nX-Evil: 1", "a\ud800", "ü", "a\x00"])
def test_unusable_access_token(token: Any) -> None:
	"""RFC 6749 A.12: what cannot be sent is no token."""
	with pytest.raises(TemporaryFailure) as caught:
		from_response({"access_token": token}, NOW)
	assert caught.value.code == "response_invalid"


SCALARS = (
	st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text() | st.just("\ud800")
)
JSON = st.recursive(
	SCALARS,
	lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
	max_leaves=8,
)
FIELDS = ["access_token", "refresh_token", "expires_in", "scope", "token_type"]


@given(
	st.dictionaries(st.sampled_from(FIELDS) | st.text(), JSON)
	| st.fixed_dictionaries({"access_token": st.just("a"), "expires_in": JSON, "scope": JSON})
)
def test_any_response(response: dict[str, Any]) -> None:
	"""Whatever JSON comes: a grant with a sane expiry, or an error of ours."""
	try:
		grant = from_response(response, NOW, ("asked",))
	except OAuthError:
		return
	assert grant.expires_at is None or NOW <= grant.expires_at <= NOW + timedelta(seconds=LONGEST_LIFE)
	assert isinstance(grant.is_due(NOW, 30), bool)
	assert all(isinstance(scope, str) and scope for scope in grant.scopes)
	assert len(grant.token_type) <= 140


def test_as_one_text() -> None:
	whole = Grant(
		access_token=Secret("hidden-1"),
		token_type="DPoP",
		refresh_token=Secret("refresh"),
		expires_at=NOW,
		issued_at=NOW - timedelta(hours=1),
		scopes=("openid", "mail"),
		account=Account(id="248", name="alice@example.com"),
		rejected_at=NOW,
		refresh_expires_at=NOW + timedelta(days=90),
		dpop_key=Secret("key"),
		extra={"realm_id": Secret("9130")},
		revision=7,
	)
	for grant in (whole, Grant(access_token=Secret("hidden-1"))):
		read = Grant.from_json(grant.to_json())
		assert read == grant
		assert "hidden-1" not in repr(read) and "9130" not in repr(read)


@pytest.mark.parametrize(
	("before", "now", "another"),
	[
		("alice", "bob", True),
		("alice", "alice", False),
		("alice", "Alice", True),
		("", "bob", False),
		("alice", "", False),
		(None, "bob", False),
	],
)
def test_another_account(before: str | None, now: str, another: bool) -> None:
	def of(account: str) -> Grant:
		return Grant(access_token=Secret("x"), account=Account(id=account) if account else None)

	assert of(now).is_of_another_account(None if before is None else of(before)) is another
