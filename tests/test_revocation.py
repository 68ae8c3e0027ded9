from __future__ import annotations

import pytest

from connected_app.oauth import Http, OAuthError, Secret, Settings, revoke

from .helpers import ACCESS_TOKEN, CLIENT_SECRET, REFRESH_TOKEN, a_grant, changed
from .hostile import Answer, Hostile, as_json


def test_refresh_token_first(config: Settings, server: Hostile, http: Http) -> None:
	"""core-defects 13 (the protocol's part): RFC 7009 2.1, authenticated, the refresh token first."""
	config = changed(config, revocation_uri=server.script("/revoke", Answer()))
	assert revoke(*config, a_grant(), http) is True
	client = {"client_id": "client", "client_secret": CLIENT_SECRET}
	assert [request.form for request in server.requests] == [
		{"token": REFRESH_TOKEN, "token_type_hint": "refresh_token", **client},
		{"token": ACCESS_TOKEN, "token_type_hint": "access_token", **client},
	]


@pytest.mark.parametrize(
	("answer", "code"),
	[
		(Answer(status=503), "server_error"),
		(Answer(status=429, headers={"Retry-After": "7"}), "rate_limited"),
		(Answer(status=302), "redirected"),
		(Answer(b"x", cut=0), "network"),
		(Answer(delay=5), "timeout"),
		(Answer(status=401), "invalid_client"),
		(as_json({"error": "invalid_client"}, 400), "invalid_client"),
		(as_json({"error": "unauthorized_client"}, 403), "unauthorized_client"),
		(as_json({"error": "invalid_client"}, 200), "invalid_client"),
		(as_json({"error": "temporarily_unavailable"}, 400), "server_error"),
		(as_json({"ok": False, "error": "ratelimited"}, 200, headers={"Retry-After": "7"}), "rate_limited"),
	],
)
def test_what_may_be_confirmed_later(
	answer: Answer, code: str, config: Settings, server: Hostile, http: Http
) -> None:
	"""core-defects 13: RFC 7009 2.2.1. The access token is tried all the same."""
	config = changed(config, revocation_uri=server.script("/revoke", answer, Answer()))
	with pytest.raises(OAuthError) as caught:
		revoke(*config, a_grant(), http)
	assert caught.value.code == code
	assert caught.value.retry_after == (7 if code == "rate_limited" else None)
	assert [request.form["token"] for request in server.requests] == [REFRESH_TOKEN, ACCESS_TOKEN]


@pytest.mark.parametrize(
	("answer", "confirmed"),
	[
		(Answer(), True),
		(Answer(status=204), True),
		(as_json({"ok": True}), True),
		(as_json({"ok": False, "error": "not_authed"}), False),
		(as_json({"ok": False}), False),
		(as_json({"success": False}), False),
		(as_json({"error": "anything"}), False),
		(as_json({"error": None}), True),
		(as_json({"error": ""}), True),
		(as_json({"ok": False, "error": "token_revoked"}), True),
		(as_json({"error": "invalid_token"}, 400), True),
		(as_json({"error": "unsupported_token_type"}, 400), False),
		(Answer(status=404), False),
	],
)
def test_definite_answers(
	answer: Answer, confirmed: bool, config: Settings, server: Hostile, http: Http
) -> None:
	"""RFC 7009 2.2: a token that is invalid already needs no revoking; Google says so by an error."""
	config = changed(config, revocation_uri=server.script("/revoke", Answer(), answer))
	assert revoke(*config, a_grant(), http) is confirmed


def test_what_a_provider_echoes(config: Settings, server: Hostile, http: Http) -> None:
	"""The error is kept and shown: it holds nothing of what was sent."""
	echo = as_json({"error": "invalid_client", "error_description": f"{REFRESH_TOKEN} {CLIENT_SECRET}"}, 401)
	config = changed(config, revocation_uri=server.script("/revoke", echo))
	with pytest.raises(OAuthError) as caught:
		revoke(*config, a_grant(access_token=Secret("")), http)
	assert REFRESH_TOKEN not in str(caught.value) and CLIENT_SECRET not in str(caught.value)


def test_only_what_there_is(config: Settings, server: Hostile, http: Http) -> None:
	config = changed(config, revocation_uri=server.script("/revoke", Answer()))
	assert revoke(*config, a_grant(refresh_token=None), http) is True
	assert revoke(*config, a_grant(access_token=Secret("")), http) is True
	assert [request.form["token"] for request in server.requests] == [ACCESS_TOKEN, REFRESH_TOKEN]


def test_no_endpoint(config: Settings, server: Hostile, http: Http) -> None:
	assert revoke(*config, a_grant(), http) is False
	assert server.requests == []
