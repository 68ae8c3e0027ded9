"""Answers that say that the refresh token is dead are recognized, in any words and place. Answers about the client, about
the request, or about a passing failure cost nobody the grant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_app.oauth import (
	ConfigurationError,
	Http,
	OAuthError,
	ReconnectRequired,
	Refresher,
	Settings,
	TemporaryFailure,
	dead_grants,
)
from connected_app.oauth.provider import Quirks
from connected_app.oauth.templates import tomllib

from .helpers import NOW, REFRESH_TOKEN, Clock, a_grant, changed
from .hostile import Answer, Hostile, as_json
from .stores import MemoryStore

ANSWERS = tomllib.loads((Path(__file__).parent / "real_answers.toml").read_text())["refresh"]
BRANCHES = {"reconnect": ReconnectRequired, "later": TemporaryFailure, "admin": ConfigurationError}


def refused(config: Settings, http: Http, clock: Clock) -> tuple[OAuthError, MemoryStore]:
	store = MemoryStore(a_grant(expires_at=NOW))
	with pytest.raises(OAuthError) as caught:
		Refresher(*config, store, http, clock).current()
	return caught.value, store


@pytest.mark.parametrize("real", ANSWERS, ids=[each["server"] for each in ANSWERS])
def test_real_answers(
	real: dict[str, Any], config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	kind = "text/html" if real["body"].startswith("<") else "application/json"
	server.script("/token", Answer(real["body"].encode(), real["status"], {"Content-Type": kind}))
	error, store = refused(config, http, clock)
	assert isinstance(error, BRANCHES[real["branch"]]), error
	assert store.grant and store.grant.refresh_token == REFRESH_TOKEN
	assert store.failure and store.failure.reconnect == (real["branch"] == "reconnect")


@pytest.mark.parametrize("kind", ["text/plain", "", "application/json"])
def test_plain_text(kind: str, config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	server.script("/token", Answer(b"The refresh token has expired", 400, {"Content-Type": kind}))
	assert refused(config, http, clock)[0].code == "grant_invalid"


@pytest.mark.parametrize("status", [404, 408, 409, 423, 429, 500, 502, 503])
def test_only_an_answer_of_the_token_endpoint_itself(
	status: int, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	server.script("/token", Answer(b'{"message": "invalid refresh token"}', status))
	assert isinstance(refused(config, http, clock)[0], TemporaryFailure)


def test_a_page_says_nothing(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""A proxy's or a login page is not the token endpoint's word."""
	for kind in ("text/html", "text/plain"):
		server.script("/token", Answer(b"<p>Your token is invalid</p>", 400, {"Content-Type": kind}))
		assert isinstance(refused(config, http, clock)[0], TemporaryFailure)


def test_an_echo_is_no_verdict(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""Some repeat what they were sent; a refresh token may be made of any letters."""
	server.script("/token", Answer(b'{"error": "x", "refresh_token": "expired"}', 400))
	store = MemoryStore(a_grant(expires_at=NOW, refresh_token="expired"))
	with pytest.raises(TemporaryFailure):
		Refresher(*config, store, http, clock).current()


@pytest.mark.parametrize("code", ["invalid_code", "bad_verification_code", "invalid_grant"])
def test_not_at_the_exchange(code: str) -> None:
	"""Words for the refresh token are looked for in answers to a refresh only; these codes are of both."""
	assert dead_grants.is_said({"error": code}) == (code in dead_grants.CODES)


SUBJECTS = [
	"refresh token",
	"refresh_token",
	"refreshToken",
	"RefreshToken",
	"Refresh-Token",
	"refresh Token",
]
VERDICTS = [
	"is invalid", "has expired", "was revoked", "is expired or revoked", "is not valid", "is no longer valid",
	"was already used", "has already been used", "could not be found", "does not exist", "is inactive", "isn't active",
	"has been invalidated", "is unknown", "(expired)", ": invalid", "was consumed", "not found", "has been rotated",
	"expired due to inactivity of the user", "is invalid for this user",
]  # fmt: skip
BEFORE = [
	"Invalid",
	"Expired",
	"Unknown",
	"The provided",
	"Bad",
	"Revoked",
	"Invalid or expired",
	"Unrecognized",
]
CODES = [
	"invalid_request",
	"unauthorized_client",
	"invalid_token",
	"access_denied",
	"Bad Request",
	"E1023",
	"400",
]


@st.composite
def dead(draw: st.DrawFn) -> str:
	subject, before = (
		draw(st.sampled_from(SUBJECTS)),
		draw(st.sampled_from(["The ", "Your ", "Provided ", ""])),
	)
	if draw(st.booleans()):
		verdict = draw(st.sampled_from([each for each in BEFORE if each != "The provided"]))
		sentence = f"{verdict} {subject}"
	else:
		sentence = f"{before}{subject} {draw(st.sampled_from(VERDICTS))}"
	return draw(
		st.sampled_from(["{}", "{}.", "{}!", "Error: {}.", "{}. Please log in.", "Something failed. {}"])
	).format(sentence)


def somewhere(text: str) -> st.SearchStrategy[Any]:
	"""`text` in one of the places where providers put it."""
	key = st.sampled_from(
		["error_description", "message", "hint", "reason", "msg", "detail", "errorMessage", "title", "error"]
	)
	return st.one_of(
		st.builds(lambda k, code: {"error": code, k: text}, key, st.sampled_from(CODES)),
		st.builds(lambda k: {"errors": [{k: text, "code": 7}], "success": False}, key),
		st.builds(lambda k: {"status": 400, "data": {"error": {k: text}}}, key),
		st.builds(lambda: {"error": [text]}),
		st.builds(lambda: [{"x": {"y": [text]}}]),
	)


@given(st.data())
def test_dead_in_any_place_and_wording(data: st.DataObject) -> None:
	text = data.draw(dead())
	answer = data.draw(somewhere(text))
	code = answer.get("error") if isinstance(answer, dict) else ""
	assert dead_grants.is_said(answer, code=code if isinstance(code, str) else ""), (text, answer)


ABOUT_OTHERS = [
	"The client is invalid", "Invalid client secret", "Client authentication failed", "Unknown client",
	"The client secret has expired", "The client has been revoked", "Your application is inactive",
	"Client is not allowed to use refresh tokens", "The refresh token grant is not valid for this client",
	"Invalid client for refresh token", "The client of this refresh token is unknown",
	"Missing refresh token", "The refresh token is missing", "refresh_token is required",
	"The refresh token parameter must not be empty", "Invalid grant_type: refresh_token", "Unsupported grant type",
	"Invalid scope for refresh token", "Invalid content type for a refresh token request", "Invalid redirect_uri",
	"The access token has expired", "access_token not expired", "Invalid access token", "Bearer token is invalid",
	"The id token is invalid", "CSRF token invalid or expired", "The assertion token has expired",
	"The refresh token has not expired yet", "Refresh token is not revoked", "The refresh token is valid",
	"Too many refresh token requests", "Refresh token rate limit exceeded", "The refresh token service is unavailable",
	"The refresh token could not be verified temporarily", "Try the refresh token again later",
	"Refresh token lock timeout", "The refresh token database is not available", "Invalid token endpoint",
	"Invalid token type", "Refresh token endpoint not found", "The token service is down", "Invalid request",
	"The certificate has expired", "The license is expired", "The password is wrong", "Account not found",
	"The refresh token is being used by a concurrent request and is invalid until it ends",
	"Invalid or missing refresh token parameter", "The DPoP proof is invalid", "invalid signature of token request",
	"Could not decrypt refresh token: key invalid", "The token policy is invalid", "Not found", "Expired", "revoked",
]  # fmt: skip


@pytest.mark.parametrize("text", ABOUT_OTHERS)
def test_never_the_other_way_round(text: str) -> None:
	for key in ("error_description", "message", "hint"):
		for code in (*CODES, *dead_grants.OTHERS):
			assert not dead_grants.is_said({"error": code, key: text}, code=code), (code, text)
	assert not dead_grants.is_said({"errors": [{"message": text}]})
	assert not dead_grants.is_said(None, text)


@given(dead(), st.sampled_from(sorted(dead_grants.OTHERS)))
def test_a_code_that_names_something_else_settles_it(text: str, code: str) -> None:
	assert not dead_grants.is_said({"error": code, "error_description": text}, code=code)


@given(
	st.recursive(
		st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=60),
		lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
	)
)
def test_whatever_comes(answer: Any) -> None:
	"""It is read within bounds, and random text is no verdict."""
	assert dead_grants.is_said(answer, str(answer)) in (True, False)


def test_bounds() -> None:
	deep: Any = "invalid refresh token"
	for _ in range(1000):
		deep = {"a": deep}
	assert not dead_grants.is_said(deep)
	assert not dead_grants.is_said({str(number): "x" * 5000 for number in range(5000)})


def test_what_a_template_adds() -> None:
	for answer, word in (
		({"errcode": 42002, "errmsg": "x"}, "errcode=42002"),
		({"code": 20026}, "code=20026"),
		({"error": "GONE"}, "gone"),
		({"errors": [{"code": "E7"}]}, "errors.0.code=E7"),
		({"a": {"b": 1}, "c": "d"}, "a.b=1 & c=D"),
	):
		assert dead_grants.is_said(answer, more=[word])
		assert not dead_grants.is_said(answer)
		assert not dead_grants.is_said(answer, more=[word + "0"])
	# A template cannot make a word about the client one about the grant.
	assert not dead_grants.is_said(
		{"error": "invalid_client"}, code="invalid_client", more=["invalid_client"]
	)


@pytest.mark.parametrize("kind", ["text/plain", "application/json", ""])
def test_what_a_template_adds_for_a_plain_text(
	kind: str, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	config = changed(config, quirks=Quirks(reconnect_errors=("Unknown Basecamp ID.", "a.b=1")))
	server.script("/token", Answer(b"Unknown Basecamp ID.\n", 401, {"Content-Type": kind}))
	assert refused(config, http, clock)[0].code == "grant_invalid"
	server.script("/token", Answer(b"Unknown Basecamp ID. Or not.", 401, {"Content-Type": kind}))
	assert isinstance(refused(config, http, clock)[0], ConfigurationError)


def test_the_table_is_of_json() -> None:
	assert (
		sum(bool(each["body"]) and isinstance(json.loads(each["body"]), dict) for each in ANSWERS[:-1]) > 25
	)


@pytest.mark.parametrize(
	"sentence",
	[
		"Invalid refresh token or client credentials.",
		"Client credentials or refresh token is invalid",
		"Refresh token is invalid because the client was disabled",
		"Either the client secret is wrong or the refresh token has expired",
		"API key or token is invalid",
		"Refresh token not accepted: client authentication failed",
		"Refresh token not found in request",
		"refresh_token not found in request body",
		"The refresh token was not present in the form",
		"refresh_token is not a valid parameter",
		"Refresh token is not accepted by this endpoint",
		"Refresh token is not in a valid format",
		"The refresh token does not exist in this region",
		"Could not refresh token: bad status code 502",
		"Failed to refresh token: unknown error",
		"Developer token is invalid",
		"The partner token has expired",
		"PKCE token invalid",
		"The user token is invalid",
		"Refresh token is not valid at this time",
		"Refresh token is invalid for now",
		"refresh token is being rotated",
		"Refresh token not found in cache",
		"Refresh token not found, please sign in again later",
		"Refresh token not found, please authenticate the client",
		"RefreshTokenUnknownException",
		"ClientRefreshTokenInvalidException",
		"RefreshTokenException",
		"Authorization: token is invalid",
		"Authorization failed: invalid token",
		"Bearer: token invalid",
		"Refresh token could not be found, service restarting",
		"The refresh token is invalid for tenant migration",
		"Refresh token could not be found: storage offline",
		"Refresh token not found (replication lag)",
		"The refresh token does not exist on this replica",
		"Refresh token could not be found because the store is down",
		"Refresh token is not valid for the requested resource",
		"The refresh token is not valid for this audience",
		"Refresh token is invalid in this environment",
		"The refresh token is not usable from this IP",
		"Invalid token '<' at line 1",
		"token is invalid: unexpected character",
		"invalid token at position 5",
		"Illegal token at offset 0",
		"Lexical error: invalid token",
		"Invalid token in input",
		"grant type refresh_token invalid",
		"The grant_type refresh_token is unknown",
		"The grant type 'refresh_token' is not active for this app",
		"The value refresh_token is invalid for grantType",
		"Value 'refresh_token' is invalid",
		'Unknown value "refresh_token"',
		"El cliente del refresh token es inválido",
		"刷新令牌的客户端无效",
	],
)
def test_sentences_about_something_else(sentence: str) -> None:
	"""Or that may be about something else: in doubt it is not dead."""
	assert not dead_grants.is_said({"error": "invalid_request", "error_description": sentence})


@pytest.mark.parametrize(
	"answer",
	[
		{"error": {"code": "invalid_client", "message": "Invalid token"}},
		{"errors": [{"errorType": "invalid_client", "message": "The token is invalid"}]},
		{"error": ["invalid_client"], "message": "token is invalid"},
		{"error": "invalid_client_secret", "message": "token is invalid"},
		{"error": {"code": "client_not_found"}, "message": "The refresh token is invalid"},
		{"error": "bad_redirect_uri", "message": "The refresh token is invalid"},
		{"error": "InvalidClient", "message": "token is invalid"},
		{"error": "Invalid Client", "message": "token is invalid"},
		{"status": "temporarily_unavailable", "message": "token is invalid"},
		{"error_code": "rate_limit_exceeded", "message": "token is invalid"},
		{"error": "x", "message": "The refresh token is invalid? Retry later", "code": "try_later"},
	],
)
def test_a_code_of_another_kind_anywhere(answer: dict[str, Any]) -> None:
	code = answer.get("error")
	assert not dead_grants.is_said(answer, code=code if isinstance(code, str) else "")


@pytest.mark.parametrize(
	"answer",
	[
		{
			"errors": [
				{"type": "field", "value": "refresh_token", "msg": "Invalid value", "path": "grant_type"}
			]
		},
		{"errors": [{"field": "grant_type", "message": "refresh_token is invalid"}]},
		{"errors": {"grant_type": ["refresh_token is unknown"]}},
		{"grantType": "refresh_token", "message": "expired"},
		{"error": "invalid_request", "grant_type": "refresh_token", "error_description": "Invalid"},
		{"error": "unauthorized", "grant_type": "refresh_token", "status": "inactive"},
		{"name": "grant-type", "reason": "bad", "given": "refresh_token"},
		{"error": "x", "request": {"grant_type": "refresh_token", "state": "unknown"}},
	],
)
def test_the_grant_type_has_the_same_name(answer: dict[str, Any]) -> None:
	"""What is said beside an echo of the request, or of that field, is not said of the token."""
	assert not dead_grants.is_said(answer)
	assert dead_grants.is_said({"errors": [answer], "detail": "The refresh token has expired"})


@pytest.mark.parametrize(
	"sentence",
	[
		"Failed to refresh token: token is expired or revoked",
		"The value of the refresh token is invalid",
		"refresh token expired, please re-authorize the application",
		"The refresh token was revoked, please reconnect your app with the client",
		"Invalid refresh token, please sign in again with your credentials",
		"RefreshTokenExpiredException",
		"InvalidRefreshTokenException",
		"com.example.RefreshTokenNotFoundException: refresh token not found",
		"Invalid value for refresh_token",
		"The refresh token is invalid, expired or was issued to another client",
		"No such refresh token",
		"refresh_token 已过期",
		"刷新令牌无效",
		"El refresh token ha expirado",
		"Le refresh token est invalide",
		"Das Refresh-Token ist abgelaufen oder ungültig",
		"Il refresh token non è valido",
		"O refresh token expirou",
		"リフレッシュトークンの有効期限が切れています",
	],
)
def test_other_wordings_and_languages(sentence: str) -> None:
	assert dead_grants.is_said({"error": "invalid_request", "error_description": sentence})


@pytest.mark.parametrize(
	"text",
	[
		'Invalid "refresh_token" in request.', "Unknown refresh token in the request", "refresh_token is invalid rid: 62b2e603-1",
		"Refresh token has been used already", "The refresh token has been redeemed",
		"The refresh token was not issued to this client", "Refresh token does not belong to this user",
		"Refresh token is not associated with this client", "Refresh token '0a1b-2c3d-4e5f' is invalid",
		"Refresh token [b7e1f00d5] not found", "Refresh token 62b2e603-7d737b55 has expired", "Invalid JWT Refresh Token",
		"Refresh token with id 1234 was not found", "Invalid OAuth 2.0 refresh token", "User has revoked access",
		"The user has revoked access to the application", "The user has deauthorized the application",
		"The merchant has uninstalled the app", "Access has been revoked by the user", "The grant was revoked",
		"Grant has expired", "Authorization has been revoked", "The OAuth grant is no longer valid", "Consent was withdrawn",
		"The user's authorization has expired", "access was revoked", "Refresh token lifetime exceeded",
		"Could not find the refresh token", "Cannot find refresh token", "No matching refresh token",
		"session not found", "The session no longer exists", "User session has been revoked", "user not found",
		"The user has revoked the app's access", "Merchant revoked their consent for this app", "User withdrew",
		"The user has been deleted", "User no longer exists", "missing user, user may have been deleted",
	],
)  # fmt: skip
@pytest.mark.parametrize("code", ["invalid_request", "access_denied", "unauthorized_client", "E17"])
def test_further_wordings(code: str, text: str) -> None:
	assert dead_grants.is_said({"error": code, "error_description": text}, code=code)
	assert dead_grants.is_said({"errors": [{"code": code, "detail": text.rstrip(".") + "."}]})


@pytest.mark.parametrize(
	"text",
	[
		"Refresh token was not issued", "The grant type is no longer valid", "The grant request has expired",
		"The refresh token grant was revoked for this client", "Authorization header has expired", "Authorization required",
		"Access has been revoked for this client", "The client's access was revoked", "The admin has revoked the client",
		"Refresh token not found in the request", "The refresh token does not match the client", "Session expired",
		"The user has not revoked access", "The authorization server was removed", "The grant has not expired",
		"The authorization code has expired", "Unknown parameter refresh_token in request",
		"No refresh token found", "Could not find refresh token in the request", "The refresh token lifetime is invalid",
		"Session cookie not found", "User agent not found", "Account not found", "User not found in cache", "user is locked",
		"Session not found, try again later", "The user's session could not be read", "No valid refresh token",
		"User disconnected from the directory server", "The user has revoked the client secret", "Owner revoked the API key",
		"The user has revoked an application password", "The member has deauthorized this device",
	],
)  # fmt: skip
@pytest.mark.parametrize("code", ["invalid_request", "access_denied", "unauthorized_client", "E17"])
def test_and_their_neighbours(code: str, text: str) -> None:
	assert not dead_grants.is_said({"error": code, "error_description": text}, code=code)


@pytest.mark.parametrize(
	"code",
	[
		"token_inactive", "inactive_token", "expired_token", "revoked_token", "grant_expired", "expired_grant",
		"grant_revoked", "grant_not_found", "TokenInactive", "invalid_grant.", "Invalid grant.", "error.invalid_grant",
		"oidc.invalid_grant", "OAUTH_INVALID_GRANT", "invalidgrant", "invalid_grant - session gone",
		"invalid_grant: Token is expired or invalid.", "oauth2: cannot fetch token: 400 {invalid_grant}",
	],
)  # fmt: skip
def test_further_codes(code: str, config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	for body in ({"error": code}, {"code": code, "message": "x"}, {"errors": [{"type": code}]}):
		server.script("/token", as_json(body, 401))
		assert refused(config, http, clock)[0].code == "grant_invalid", body
	server.script("/token", as_json({"error": "invalid_client", "error_description": code}, 401))
	assert refused(config, http, clock)[0].code == "invalid_client"


def test_a_type_of_problem(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""RFC 9457 3.1.1: an address, whose end is the code."""
	for end, code in (
		("invalid_grant", "grant_invalid"),
		("refresh-token-expired", "grant_invalid"),
		("invalid-client", "invalid_client"),
	):
		problem = {"type": f"https://errors.example/v1/{end}", "title": "x", "status": 401}
		server.script("/token", as_json(problem, 401))
		assert refused(config, http, clock)[0].code == code
	assert not dead_grants.is_said({"error": "x", "doc": "https://docs.example/refresh-token-expired"})


@pytest.mark.parametrize(
	"body",
	[
		'{"error":"invalid_grant",}', '{"error":"invalid_grant"}{"error":"invalid_grant"}', "{'error': 'invalid_grant'}",
		"callback({\"error\":\"invalid_grant\"});", ")]}'\n{\"error\":\"invalid_grant\"}", '{"error":"invalid_grant","error_desc',
		'{"error":"invalid_grant"}<!-- 12 ms -->', '<br />\n<b>Notice</b>: x in <b>/v</b><br />\n{"error" : "invalid_grant"}',
		'<?xml version="1.0"?><oauth><error_description>x</error_description><error>invalid_grant</error></oauth>',
		"<OAuth><error_code>invalid_grant</error_code></OAuth>", '"invalid_grant"', '"{\\"error\\":\\"invalid_grant\\"}"',
	],
)  # fmt: skip
def test_the_code_in_what_is_no_json(
	body: str, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	for kind in ("application/json", "text/html", "application/xml"):
		server.script("/token", Answer(body.encode(), 400, {"Content-Type": kind}))
		assert refused(config, http, clock)[0].code == "grant_invalid", kind
		server.script("/token", Answer(b"Server is busy. " + body.encode(), 400, {"Content-Type": kind}))
		assert isinstance(refused(config, http, clock)[0], TemporaryFailure), kind
	for start in ("<!DOCTYPE html>", "<HTML lang='en'>"):
		# A page where tokens should be is another server's, or about the protocol.
		page = f'{start}<h1>Errors</h1><pre>{{"error": "invalid_grant"}}</pre>'
		server.script("/token", Answer(page.encode(), 200, {"Content-Type": "text/html"}))
		assert isinstance(refused(config, http, clock)[0], TemporaryFailure), start
	for other in ("<p>What invalid_grant means</p>", "<p>invalid_grant_type</p>"):
		server.script("/token", Answer(other.encode(), 400, {"Content-Type": "text/html"}))
		assert isinstance(refused(config, http, clock)[0], TemporaryFailure)


@pytest.mark.parametrize(
	("status", "body", "kind"),
	[
		(400, '[{"error": "invalid_grant", "error_description": "x"}]', "application/json"),
		(400, json.dumps({"message": json.dumps({"error": "invalid_grant"})}), "application/json"),
		(400, '{"error": "InvalidGrant"}', "application/json"),
		(410, '{"error": "refresh token expired"}', "application/json"),
		(422, '{"errors": {"refresh_token": ["is invalid"]}}', "application/json"),
		(
			400,
			"error=invalid_request&error_description=The%20refresh%20token%20is%20invalid",
			"application/x-www-form-urlencoded",
		),
		(400, "Refresh token expired (id=5)", "text/plain"),
	],
)
def test_other_shapes(
	status: int, body: str, kind: str, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	server.script("/token", Answer(body.encode(), status, {"Content-Type": kind}))
	assert refused(config, http, clock)[0].code == "grant_invalid"


def test_an_echoed_secret_with_a_backslash(
	config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	store = MemoryStore(a_grant(expires_at=NOW, refresh_token="abcdefgh\\"))
	body = json.dumps({"error": "invalid_request", "error_description": "what is abcdefgh\\"})
	server.script("/token", Answer(body.encode(), 400))
	with pytest.raises(ConfigurationError) as caught:
		Refresher(*config, store, http, clock).current()
	assert "abcdefgh" not in str(caught.value)


@pytest.mark.parametrize(
	"said", ["Old refresh token used", "refresh token rotated", "The refresh token was revoked"]
)
def test_what_is_said_beside_new_tokens(
	said: str, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""It is of the old one, wherever the new ones stand."""
	for name in ("data", "result"):
		server.script("/token", as_json({name: {"accessToken": "a", "refreshToken": "r2"}, "message": said}))
		error, store = refused(config, http, clock)
		assert error.code == "response_invalid" and store.grant and store.grant.refresh_token == "r2"
	for answer in (
		{"refresh_token": "expired", "access_token": ""},
		{"data": {"access_token": "a"}, "message": "The refresh token was revoked"},
		{
			"data": {"access_token": "a", "refresh_token": REFRESH_TOKEN},
			"message": "The refresh token was revoked",
		},
		{"data": {"access_token": "a", "refresh_token": "r2"}, "error": "invalid_grant"},
	):
		server.script("/token", as_json(answer))
		assert refused(config, http, clock)[0].code == "grant_invalid"


def test_a_template_cannot_speak_of_the_client() -> None:
	"""Wherever the code stands."""
	for answer in ({"error": "invalid_client"}, {"errors": [{"code": "invalid_client"}]}):
		code = str(answer.get("error", ""))
		assert not dead_grants.is_said(answer, code=code, more=("invalid_client",))
	assert dead_grants.is_said({"errors": [{"code": "e17"}]}, more=("e17",))


PASSING = [
	"token request is already being processed", "A refresh of this token is already in progress",
	"Another request with the same token is being processed", "Concurrent refresh requests are not allowed",
	"inactive organization", "Organization is locked", "org locked", "The organization has been suspended",
	"The instance is under maintenance", "The tenant is inactive", "Workspace suspended", "user is locked",
	"The account is locked, you have tried to sign in too many times", "ip restricted",
	"ip restricted or invalid login hours", "invalid login hours", "IP address is not allowed",
	"Your IP address has been blocked", "Sign-in was blocked because it came from an IP address with malicious activity",
	"Login rate exceeded", "Rate limit exceeded", "rate_limit_exceeded", "Too many requests", "too many refresh attempts",
	"Quota exceeded", "You have exceeded the number of login attempts", "Request was throttled",
	"authentication failure", "Authentication failed", "Unable to refresh the token, try again later",
	"Unable to process the request", "The request could not be processed", "We are unable to issue a token at this time",
	"Please retry your request", "Please try again in 5 minutes", "unknown_error: retry your request",
	"Internal server error", "An internal error occurred", "An unexpected error occurred", "Unexpected exception",
	"Database unavailable", "Service temporarily unavailable", "The token service is unavailable", "upstream connect error",
	"Connection refused", "Connection reset by peer", "The request timed out", "Gateway timeout", "Read timeout",
	"A transient error has occurred", "Could not reach the user store", "Failed to connect to the database",
	"The server is overloaded", "The server is too busy", "Deadlock found", "The token is not yet valid",
	"Rate limit exceeded: access_token not expired", "The access token has not expired yet",
	"The server terminated an operation because it encountered a client request loop",
	"Could not check the refresh token: HTTP 503 from upstream", "Failed to reconnect to the database",
	"Too many concurrent requests", "Concurrent refresh detected", "The access token is not expired",
	"The token has not expired yet", "Please retry with the same refresh token", "The server is busy, sign in again later",
	"Getting the token timed out", "The token request timed out", "We cannot complete the request. Sign in again.",
	"Concurrent token refresh", "Do not retry before 30 seconds have passed", "Please try again later or reconnect",
	"token not expired", "The token is not expired", "Access token still valid", "The access token is still active",
	"The refresh token was used too recently", "Tokens were refreshed too often", "The token was requested too early",
	"You can only refresh a token once every 30 seconds", "Limit of requests reached", "The token is being refreshed",
	"A refresh is already in flight", "Failed to acquire lock", "Could not obtain a lock on the row",
	"Something went wrong, please try again", "An error occurred while processing your request", "NullPointerException",
	"SQLSTATE[40001]: Serialization failure", "The service is not available", "The server is not ready", "System error",
	"The service is currently not available", "The system is offline", "Server is shutting down", "A technical problem",
	"Unknown error", "Unhandled exception", "Service error", "Bad gateway", "502 Bad Gateway", "Error 500", "Status code 503",
	"connect ECONNREFUSED 127.0.0.1:5432", "read ECONNRESET", "ETIMEDOUT", "getaddrinfo EAI_AGAIN db", "socket hang up",
	"context deadline exceeded", "context canceled", "Operation aborted", "The request was canceled", "Out of memory",
	"Query execution was interrupted", "Request limit exceeded", "API limit reached", "Daily limit exceeded",
	"Maximum number of requests reached", "Requests are too frequent", "Please wait 30 seconds", "Please wait",
	"Please try again", "Please wait before refreshing", "Already refreshing", "Refresh request is already in process",
	"Another process is refreshing the token", "The user is blocked for 15 minutes", "The IP is not in the whitelist",
	"Request blocked by the firewall", "Clock skew is too great", "The request timestamp is invalid",
	"The access token has expired. The service is temporarily unavailable.", "Access token expired, rate limit exceeded",
	"Database session expired: connection lost", "API token revoked. Too many requests", "refresh_token is required",
	"LDAP session terminated, try again later", "Missing parameter: refresh_token", "No refresh token supplied",
	"The refresh token is missing", "Unsupported grant type", "grant_type is invalid", "Unknown grant type: refresh_token",
	"The CSRF token has expired", "Invalid CAPTCHA", "DPoP proof already used", "The nonce has already been used",
	"The invitation code has expired", "The invitation has been revoked",
]  # fmt: skip


@pytest.mark.parametrize("text", PASSING)
def test_a_passing_failure_under_the_code_of_a_dead_grant(
	text: str, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""RFC 6749 5.2 has no code for them at the token endpoint, and some servers have this one for whatever fails."""
	for body in (
		{"error": "invalid_grant", "error_description": text},
		{"error": "InvalidGrant", "message": text.upper()},
		{"errors": [{"code": "invalid_grant", "detail": text}]},
		[{"error": "invalid_grant", "hint": text}],
	):
		server.script("/token", Answer(json.dumps(body).encode(), 400))
		error, store = refused(config, http, clock)
		assert isinstance(error, TemporaryFailure), (error, body)
		assert store.failure and store.failure.retry_at and not store.failure.reconnect


def test_a_word_of_a_template_for_what_passes(
	config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""It counts beside the code of a dead grant, too."""
	server.script("/token", as_json({"error": "invalid_grant", "error_description": "E17"}, 400))
	config = changed(config, quirks=Quirks(later_errors=("error_description=e17",)))
	error, _store = refused(config, http, clock)
	assert isinstance(error, TemporaryFailure)


def test_a_passing_failure_as_a_code_of_its_own(
	config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	for more in (
		"temporarily_unavailable",
		"rate_limit_exceeded",
		"server_error",
		"too_many_requests",
		"slow_down",
		"transient_error",
	):
		for name in ("suberror", "error_code", "reason", "error_description"):
			server.script("/token", as_json({"error": "invalid_grant", name: more}, 400))
			assert isinstance(refused(config, http, clock)[0], TemporaryFailure), (name, more)


@pytest.mark.parametrize(
	"text",
	[
		"Client authentication failed", "invalid client credentials", "Invalid client secret", "client secret has expired",
		"The client secret is wrong", "Client assertion signature is invalid", "invalid_client", "Unknown client",
		"client authentication failed: unknown key", "Bad client credentials", "Application credentials are invalid",
		"Missing required client_id", "Missing a required client_secret", "client_id is required", "client_secret is missing",
		"Client is disabled", "The client has been disabled", "The application is suspended", "Client not found", "App is inactive",
		"Invalid API key", "The API key is invalid", "Invalid app_id", "Client authentication required", "No client credentials",
		"API key has been revoked", "Your API key has expired", "Client assertion jti was already used", "client secret revoked",
	],
)  # fmt: skip
def test_a_failure_of_the_client_under_the_code_of_a_dead_grant(
	text: str, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	server.script("/token", as_json({"error": "invalid_grant", "error_description": text}, 400))
	error, _store = refused(config, http, clock)
	assert (type(error), error.code) == (ConfigurationError, "invalid_client")


STILL_DEAD = [
	"", "expired access/refresh token", "inactive user", "user hasn't approved this consumer", "password expired",
	"Token has been expired or revoked.", "Bad Request", "Account has been deleted", "reauth related error (invalid_rapt)",
	"Maximum allowed refresh token reuse exceeded", "Token is not active", "Session not active", "Stale token",
	"Offline user session not found", "Session doesn't have required client", "Unmatching clients",
	"Invalid refresh token. Token client and authorized client don't match", "User disabled",
	"Token expired due to inactivity timeout", "Session timed out", "The session has timed out", "SSO session timeout",
	"Incorrect Token type or clientID", "The provided authorization grant (e.g., authorization code, resource owner "
	"credentials) or refresh token is invalid, expired, revoked, does not match the redirection URI used in the "
	"authorization request, or was issued to another client.", "Unknown or invalid refresh token.",
	"unknown, invalid, or expired refresh token", "Refresh token limit exceeded", "Refresh token usage limit reached",
	"Too many refresh tokens: this one was revoked", "too many active sessions for this user",
	"The refresh token was revoked, please try again", "Invalid refresh token. Please try again later.",
	"The refresh token has already been used by a concurrent request", "refresh token already redeemed",
	"Refresh token has already been used (concurrent request)", "Invalid refresh token, please log in and try again",
	"AADSTS700082: The refresh token has expired due to inactivity. The token was issued on 2026-01-01 and was inactive for "
	"90 days.", "AADSTS50173: The provided grant has expired due to it being revoked, a fresh auth token is needed. The user "
	"might have changed or reset their password.", "AADSTS50076: you must use multi-factor authentication",
	"AADSTS53003: Access has been blocked by Conditional Access policies.", "AADSTS65001: The user has not consented",
	"AADSTS70043: The refresh token has expired or is invalid due to sign-in frequency checks by conditional access.",
	"The request has an invalid grant parameter : refresh_token", "The refresh token is malformed",
	"refresh token was issued to another client", "Authorization has been revoked by the user", "Consent revoked",
	"Authorization code was already redeemed", "The user has not yet consented", "no such user",
	"The grant expired because the user changed their password", "Token not found in database", "Unable to find token",
	"Could not decode the refresh token", "Unable to verify the signature of the refresh token", "User account is disabled",
	"The provided access grant is invalid, expired, or revoked (e.g. invalid assertion, expired authorization token, bad "
	"end-user password credentials, or mismatching authorization code and redirection URI).",
	"Session expired on Tuesday later than allowed", "The refresh token is invalid or was rotated by a later refresh",
	"User authentication required", "The user must authenticate again", "login timeout exceeded, token revoked",
	"Make sure that the refresh token is not expired", "Verify that the refresh token has not expired or been revoked",
	"Please log in again in the app", "The user must sign in again after the password change", "Log in and try again later",
	"Please authenticate again after resetting your password", "Please retry the OAuth flow", "Do not retry",
	"Please retry with a new refresh token", "Too many concurrent sessions", "Maximum number of simultaneous logins reached",
	"Session ended by a concurrent login", "The refresh token has timed out", "Cannot complete: the user revoked access",
	"Could not complete the request because the user has removed the app", "Access was revoked, retry is of no use",
	"Invalid refresh token or client credentials", "Refresh token or client secret is invalid",
	"Invalid client secret, client id or refresh token", "The app authentication has expired",
	"The client certificate is not the one that the refresh token is bound to: invalid client certificate",
	"The refresh token can be used only once", "The refresh token has not expired but was revoked", "Still not authorized",
	"The refresh token was replaced during another refresh", "The connection was closed by the user",
	"Your organization has disabled this app for the user", "token lifetime timeout", "Refresh token is not available",
	"The session was deactivated for 30 minutes of inactivity", "The server's session has been revoked", "System user deleted",
	"missing or unknown refresh token", "No refresh token found", "Incorrect password. Please log in and try again",
	"Refresh token limit exceeded", "expired access/refresh token, try again later", "Code 503: token revoked",
	"The refresh token is not the one that the DPoP proof is bound to", "The nonce is fine, the token has expired",
	"The refresh token was revoked: the API key has expired", "The token is still active but the user has revoked it", "OAuthException", "The refresh token was used too often: revoked",
]  # fmt: skip


@pytest.mark.parametrize("text", STILL_DEAD)
def test_a_dead_grant_is_not_taken_for_a_passing_failure(
	text: str, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""It would be asked about for ever, and nobody be told."""
	for body in (
		{"error": "invalid_grant", "error_description": text},
		{"errors": [{"code": "invalid_grant", "x": text}]},
	):
		server.script("/token", Answer(json.dumps(body).encode(), 400))
		assert refused(config, http, clock)[0].code == "grant_invalid", body


@given(dead(), st.sampled_from(["invalid_grant", "InvalidGrant", "invalid-grant"]))
def test_what_is_said_of_the_token_outweighs_the_rest(text: str, code: str) -> None:
	for more in ("Try again later.", "Internal server error", "Too many requests"):
		assert dead_grants.is_said({"error": code, "error_description": text, "message": more}, code=code)
		assert dead_grants.is_said(
			{"error": code, "error_description": f"{text.rstrip('.!')}. {more}"}, code=code
		)


@pytest.mark.parametrize(
	("status", "code"),
	[
		*((status, "grant_invalid") for status in (200, 400, 401, 403, 404, 410, 422, 498)),
		*((status, "server_error") for status in (408, 409, 423, 425, 500, 502, 503)),
		(429, "rate_limited"),
	],
)
def test_the_status_of_the_code(
	status: int, code: str, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""No page in between has this code (RFC 6749 5.2); a conflict, a lock or a server that fails will pass."""
	server.script("/token", as_json({"error": "invalid_grant"}, status))
	assert refused(config, http, clock)[0].code == code
