from __future__ import annotations

import json

import pytest

from connected_app.oauth import Http, OAuthError, Secret, Settings, revoke
from connected_app.oauth.provider import Quirks, Revocation
from connected_app.oauth.shape import Shape

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
		(as_json({"errors": [{"code": "invalid_client"}]}, 400), "invalid_client"),
		(as_json({"error": "invalid_client"}, 200), "invalid_client"),
		(as_json({"error": "temporarily_unavailable"}, 400), "server_error"),
		(
			Answer(b"error=invalid_client", headers={"Content-Type": "application/x-www-form-urlencoded"}),
			"invalid_client",
		),
		(as_json([{"error": "invalid_client"}], 400), "invalid_client"),
		(as_json({"error": "invalid_client", "reason": "token_expired"}, 401), "invalid_client"),
		(as_json({"errors": [{"code": "InvalidClient"}, {"code": "invalid_token"}]}, 400), "invalid_client"),
		(Answer(status=409), "response_invalid"),
		(as_json({"message": "locked"}, 423), "provider_error"),
		(as_json({"ok": False, "error": "ratelimited"}, 200, headers={"Retry-After": "7"}), "rate_limited"),
	],
)
def test_what_may_be_confirmed_later(
	answer: Answer, code: str, config: Settings, server: Hostile, http: Http, impatient: Http
) -> None:
	"""core-defects 13: RFC 7009 2.2.1. The access token is tried all the same."""
	config = changed(config, revocation_uri=server.script("/revoke", answer, Answer()))
	with pytest.raises(OAuthError) as caught:
		revoke(*config, a_grant(), impatient if code == "timeout" else http)
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
		(as_json({"success": "false"}), False),
		(as_json({"status": "error"}), False),
		(as_json({"errors": [{"message": "no"}]}), False),
		(as_json({"errors": [], "status": "success"}), True),
		(as_json({"error": "anything"}), False),
		(as_json({"error": None}), True),
		(as_json({"error": ""}), True),
		(as_json({"ok": False, "error": "token_revoked"}), True),
		(as_json({"error": "invalid_token"}, 400), True),
		(as_json({"error": "unsupported_token_type"}, 400), False),
		(Answer(status=404), False),
		(Answer(status=501), False),
		(Answer(b"OK", headers={"Content-Type": "text/plain"}), True),
		(Answer(b"true"), True),
		(Answer(b"false"), False),
		(as_json("false"), False),
		(as_json({"success": 0}), False),
		(as_json({"success": 1}), True),
		(as_json({"revoked": False}), False),
		(as_json({"revoked": True}), True),
		(as_json([{"error": "anything"}]), False),
		(as_json([]), True),
		(as_json({"statusCode": 400, "message": "x"}), False),
		(as_json({"status": 200, "code": 0}), True),
		(as_json({"status": "403"}), False),
		(as_json({"errcode": 40013, "errmsg": "x"}), False),
		(as_json({"errcode": 0, "errmsg": "ok"}), True),
		(as_json({"data": {"error_code": 10002}, "message": "error"}), False),
		(as_json({"data": {"error_code": 0}, "message": "success"}), True),
		(
			Answer(
				b"error=anything&error_description=x",
				headers={"Content-Type": "application/x-www-form-urlencoded"},
			),
			False,
		),
		(as_json({"error": {"code": "invalid_token"}}, 400), True),
		(as_json({"message": "invalid_token"}, 400), True),
		(as_json({"error": "InvalidToken"}, 400), True),
		(as_json({"error": "0", "errors": "none"}), True),
		(as_json({"error": "None"}), True),
		(as_json({"error": "false"}), True),
		(as_json({"error_code": False}), True),
		(as_json({"errcode": "SUCCESS"}), True),
		(as_json({"error": "1"}), False),
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


def test_in_the_providers_own_way(config: Settings, server: Hostile, http: Http) -> None:
	"""The token in the address, and by itself the proof of who asks: nothing of the client is sent."""
	how = Revocation(shape=Shape(method="DELETE", body="none"), authentication="bearer", tokens=("access",))
	server.script(f"/tokens/{ACCESS_TOKEN}", Answer(status=204))
	config = changed(config, revocation_uri=server.url + "/tokens/{token}", quirks=Quirks(revocation=how))
	assert revoke(*config, a_grant(), http) is True
	(request,) = server.requests
	assert (request.method, request.target, request.body) == ("DELETE", f"/tokens/{ACCESS_TOKEN}", b"")
	assert request.headers["authorization"] == f"Bearer {ACCESS_TOKEN}"


@pytest.mark.parametrize(("authentication", "proof"), [("basic", "Basic "), ("none", "")])
def test_how_the_client_proves_itself(
	authentication: str, proof: str, config: Settings, server: Hostile, http: Http
) -> None:
	how = Revocation(token="access_token", authentication=authentication, tokens=("access",))
	config = changed(config, revocation_uri=server.script("/revoke", Answer()), quirks=Quirks(revocation=how))
	assert revoke(*config, a_grant(), http) is True
	(request,) = server.requests
	assert request.form == {"access_token": ACCESS_TOKEN}
	assert request.headers.get("authorization", "").startswith(proof)
	assert bool(proof) == ("authorization" in request.headers)


@pytest.mark.parametrize("hint", [True, False])
def test_the_kind_of_the_token(hint: bool, config: Settings, server: Hostile, http: Http) -> None:
	"""Some providers refuse a request without it, though the rest is not as in RFC 7009."""
	how = Revocation(shape=Shape(body="json"), tokens=("refresh",), hint=hint)
	config = changed(config, revocation_uri=server.script("/revoke", Answer()), quirks=Quirks(revocation=how))
	assert revoke(*config, a_grant(), http) is True
	sent = json.loads(server.requests[0].body)
	assert sent.get("token_type_hint") == ("refresh_token" if hint else None)


@pytest.mark.parametrize(
	("answer", "confirmed"), [({"success": "true"}, True), ({"data": "error"}, False), ({}, False)]
)
def test_what_a_confirmation_has(
	answer: dict[str, str], confirmed: bool, config: Settings, server: Hostile, http: Http
) -> None:
	"""HTTP 200 says nothing where the template knows a confirmation by its words."""
	how = Revocation(success="success=true")
	config = changed(
		config, revocation_uri=server.script("/revoke", as_json(answer)), quirks=Quirks(revocation=how)
	)
	assert revoke(*config, a_grant(), http) is confirmed


def test_a_token_that_is_both_is_given_back_once(config: Settings, server: Hostile, http: Http) -> None:
	config = changed(config, revocation_uri=server.script("/revoke", Answer()))
	assert revoke(*config, a_grant(refresh_token=Secret(ACCESS_TOKEN)), http) is True
	assert len(server.requests) == 1
