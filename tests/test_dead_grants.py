"""An answer to a refresh that says the refresh token is dead, in whatever words and wherever; and never the other way
round: what is said of the client, of the request or of a passing failure costs nobody a grant."""

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
from connected_app.oauth.templates import tomllib

from .helpers import NOW, REFRESH_TOKEN, Clock, a_grant
from .hostile import Answer, Hostile
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
	"sentence",
	[
		"Failed to refresh token: token is expired or revoked",
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


def test_a_template_cannot_speak_of_the_client() -> None:
	"""Wherever the code stands."""
	for answer in ({"error": "invalid_client"}, {"errors": [{"code": "invalid_client"}]}):
		code = str(answer.get("error", ""))
		assert not dead_grants.is_said(answer, code=code, more=("invalid_client",))
	assert dead_grants.is_said({"errors": [{"code": "e17"}]}, more=("e17",))
