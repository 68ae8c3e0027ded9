from __future__ import annotations

import base64
import hashlib
import time
from dataclasses import replace
from typing import Any

import pytest

from connected_app.oauth import (
	Attempt,
	ConfigurationError,
	Http,
	OAuthError,
	ReconnectRequired,
	Secret,
	Settings,
	TemporaryFailure,
	begin,
	complete,
)

from .helpers import (
	ACCESS_TOKEN,
	NOW,
	REFRESH_TOKEN,
	Clock,
	OpenIDProvider,
	changed,
	consent_parameters,
	settings_of,
)
from .hostile import Answer, Hostile, as_json
from .stores import MemoryAttempts

TOKEN = as_json({"access_token": ACCESS_TOKEN, "refresh_token": REFRESH_TOKEN, "expires_in": 3600})


def test_consent_url(config: Settings, clock: Clock) -> None:
	"""core-defects 2: PKCE by S256 (RFC 7636 4.2, 4.3), fresh each time, and nothing secret in the address."""
	url, attempt = begin(*config, clock=clock)
	assert attempt.code_verifier and len(attempt.code_verifier) == 64
	digest = hashlib.sha256(attempt.code_verifier.encode()).digest()
	assert url.startswith(config.provider.authorization_uri + "?")
	assert consent_parameters(url) == {
		"response_type": "code",
		"client_id": "client",
		"redirect_uri": "https://site.example/callback/app",
		"scope": "read write",
		"state": attempt.state,
		"code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
		"code_challenge_method": "S256",
	}
	assert attempt.nonce is None
	again = begin(*config, clock=clock)[1]
	assert again.state != attempt.state and again.code_verifier != attempt.code_verifier
	assert len(attempt.state) >= 43


def test_nonce(op: OpenIDProvider) -> None:
	"""oidcc-client-test-nonce-unless-code-flow: sent whenever openid is asked for, fresh each time, 256 bits."""
	first, second = (consent_parameters(op.begin())["nonce"] for _ in range(2))
	assert first != second and len(first) >= 43
	assert op.attempt.nonce == second


def test_without_pkce(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""core-defects 2: PKCE is left out only when the admin says that the provider cannot."""
	config = changed(config, use_pkce=False)
	url, attempt = begin(*config, clock=clock)
	assert not {"code_challenge", "code_challenge_method"} & set(consent_parameters(url))
	server.script("/token", TOKEN)
	complete(*config, attempt, {"state": attempt.state, "code": "c"}, http, clock=clock)
	assert "code_verifier" not in server.to("/token")[0].form


def test_existing_query_and_separator(config: Settings) -> None:
	"""An endpoint's own query is kept (RFC 6749 3.1); comma scopes; core-defects 19"""
	config = changed(
		config, authorization_uri=config.provider.authorization_uri + "?tenant=7", scope_separator=","
	)
	parameters = consent_parameters(begin(*config)[0])
	assert parameters["tenant"] == "7" and parameters["scope"] == "read,write"


def test_exchange_sends_exactly(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""RFC 6749 4.1.3, 7636 4.5: the whole request, by POST, in the body only."""
	config = changed(config, authorization_parameters={"prompt": "consent", "audience": "api"})
	server.script("/token", TOKEN)
	_, attempt = begin(*config, clock=clock)
	grant = complete(*config, attempt, {"state": attempt.state, "code": "a code&=+"}, http, clock=clock)
	(request,) = server.requests
	assert (request.method, request.target) == ("POST", "/token")
	assert request.form == {
		"grant_type": "authorization_code",
		"code": "a code&=+",
		"redirect_uri": "https://site.example/callback/app",
		"code_verifier": attempt.code_verifier,
		"client_id": "client",
		"client_secret": config.client.client_secret,
	}
	assert request.headers["accept"] == "application/json"
	assert "authorization" not in request.headers and "cookie" not in request.headers
	assert (grant.access_token, grant.refresh_token) == (ACCESS_TOKEN, REFRESH_TOKEN)


@pytest.mark.parametrize(
	"callback", [{}, {"state": ""}, {"state": []}, {"state": None}, {"state": [""]}, {"state": 7}]
)
@pytest.mark.parametrize("error", [{}, {"error": "access_denied"}])
def test_callback_without_state(
	callback: dict[str, Any], error: dict[str, str], config: Settings, server: Hostile, http: Http
) -> None:
	"""core-defects 1: nothing is never equal to nothing, also after a success."""
	server.script("/token", TOKEN)
	_, attempt = begin(*config)
	for _ in range(2):
		with pytest.raises(ReconnectRequired) as caught:
			complete(*config, attempt, {"code": "attacker", **callback, **error}, http)
		assert caught.value.code == "state_mismatch"
	assert server.requests == []


def test_two_tabs(config: Settings, server: Hostile, http: Http) -> None:
	"""core-defects 3: attempts do not disturb each other, in whatever order they come back."""
	server.script("/token", TOKEN)
	attempts = MemoryAttempts()
	states = []
	for _ in range(2):
		_, attempt = begin(*config, context={"user": "a@example.com"})
		attempts.put(attempt)
		states.append(str(attempt.state))
	for state in states:
		taken = attempts.take(state)
		assert taken and taken.context == {"user": "a@example.com"}
		complete(*config, taken, {"state": state, "code": "c"}, http)
	verifiers = [request.form["code_verifier"] for request in server.to("/token")]
	assert len(set(verifiers)) == 2
	assert attempts.take(states[0]) is None


def test_attempt_survives_its_store() -> None:
	"""An attempt comes back from JSON as it was, with its secrets still secret."""
	config = settings_of(
		client_id="c",
		authorization_uri="https://p.example/a",
		token_uri="https://p.example/t",
		scopes=("openid",),
	)
	_, attempt = begin(*config, context={"user": "ü"})
	again = Attempt.from_json(attempt.to_json())
	assert again == attempt
	assert isinstance(again.state, Secret) and isinstance(again.code_verifier, Secret)
	for secret in (attempt.state, attempt.code_verifier, attempt.nonce):
		assert secret and secret not in repr(again)
	posted = replace(attempt, posted={"state": [str(attempt.state)], "code": ["code-77d"]})
	again = Attempt.from_json(posted.to_json())
	assert again == posted and "code-77d" not in repr(again)


def test_expired_attempt(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""core-defects 4: an attempt has an end."""
	_, attempt = begin(*config, clock=clock, lifetime=600)
	server.script("/token", TOKEN)
	clock.advance(599)
	complete(*config, attempt, {"state": attempt.state, "code": "c"}, http, clock=clock)
	clock.advance(1)
	with pytest.raises(ReconnectRequired) as caught:
		complete(*config, attempt, {"state": attempt.state, "code": "c"}, http, clock=clock)
	assert caught.value.code == "attempt_expired"
	assert len(server.requests) == 1


RESERVED = [
	"state", "scope", "redirect_uri", "response_type", "client_id", "client_secret", "code", "code_challenge",
	"code_challenge_method", "code_verifier", "nonce", "request", "request_uri", "grant_type",
]  # fmt: skip


@pytest.mark.parametrize("name", RESERVED)
def test_reserved_parameters(name: str, config: Settings) -> None:
	"""core-defects 7: a Query Parameters row cannot replace what the flow sets."""
	with pytest.raises(ConfigurationError) as caught:
		begin(*changed(config, authorization_parameters={name: "fixed"}))
	assert caught.value.code == "parameter_reserved" and name in caught.value.message


def test_parameters_that_named_python_arguments(config: Settings, server: Hostile, http: Http) -> None:
	"""core-defects 7: `verify`, `timeout`, `proxies` are plain parameters of the consent URL, and sent nowhere else."""
	rows = {
		"verify": "",
		"timeout": "0",
		"method": "GET",
		"proxies": "x",
		"prompt": "consent",
		"url": "y",
		"body": "z",
	}
	config = changed(config, authorization_parameters=rows)
	server.script("/token", TOKEN)
	url, attempt = begin(*config)
	shown = consent_parameters(url)
	assert {name: shown[name] for name in rows} == rows
	complete(*config, attempt, {"state": attempt.state, "code": "c"}, http)
	assert server.requests[0].method == "POST"
	assert not set(rows) & set(server.requests[0].form)


@pytest.mark.parametrize(
	("parameters", "kind", "code"),
	[
		({"error": "access_denied"}, ReconnectRequired, "consent_declined"),
		({"error": "temporarily_unavailable"}, TemporaryFailure, "server_error"),
		({"error": "server_error", "code": "c"}, TemporaryFailure, "server_error"),
		({"error": "invalid_scope"}, ConfigurationError, "invalid_scope"),
		({"error": "unauthorized_client"}, ConfigurationError, "unauthorized_client"),
		({"error": "login_required"}, ReconnectRequired, "interaction_required"),
		({"error": "consent_required"}, ReconnectRequired, "interaction_required"),
		(
			{"error": "interaction_required", "error_description": ""},
			ReconnectRequired,
			"interaction_required",
		),
		({"error": "user_cancelled_login"}, ReconnectRequired, "consent_declined"),
		({"error": "User_Cancelled_Authorize"}, ReconnectRequired, "consent_declined"),
		({"error": "ACCESS_DENIED"}, ReconnectRequired, "consent_declined"),
		({"error": "AccessDenied"}, ReconnectRequired, "consent_declined"),
		({"error": "access-denied"}, ReconnectRequired, "consent_declined"),
		({"error": "Access denied"}, ReconnectRequired, "consent_declined"),
		({"error": "user_cancelled"}, ReconnectRequired, "consent_declined"),
		({"error": "cancelled_by_user"}, ReconnectRequired, "consent_declined"),
		({"error": "CANCELLED_CONSENT"}, ReconnectRequired, "consent_declined"),
		({"error": "cancelled"}, ReconnectRequired, "consent_declined"),
		({"error": "consent_denied"}, ReconnectRequired, "consent_declined"),
		({"error": "authorization_declined"}, ReconnectRequired, "consent_declined"),
		({"error": "E9", "error_description": "access_denied"}, ReconnectRequired, "consent_declined"),
		(
			{"error": "E9", "error_description": "The user denied the request"},
			ReconnectRequired,
			"consent_declined",
		),
		(
			{
				"error": "consent_required",
				"error_description": "AADSTS65004: User declined to consent to access the app.",
			},
			ReconnectRequired,
			"consent_declined",
		),
		(
			{"error": "interaction_required", "error_description": "Cancelled by the user"},
			ReconnectRequired,
			"consent_declined",
		),
		(
			{"error": "server_error", "error_description": "The user denied the request"},
			TemporaryFailure,
			"server_error",
		),
		({"error": "request_rejected"}, TemporaryFailure, "provider_error"),
		({"error": "E9", "error_description": "invalid_scope"}, ConfigurationError, "invalid_scope"),
		({"error": "invalid_target"}, ConfigurationError, "invalid_target"),
		({"error": "never_heard_of"}, TemporaryFailure, "provider_error"),
		({}, ReconnectRequired, "code_missing"),
		({"code": ""}, ReconnectRequired, "code_missing"),
		({"code": []}, ReconnectRequired, "code_missing"),
	],
)
def test_rejected_at_the_provider(
	parameters: dict[str, Any],
	kind: type[OAuthError],
	code: str,
	config: Settings,
	server: Hostile,
	http: Http,
) -> None:
	"""core-defects 32: an error in the callback is one of ours, not a crash (oidcc-client-test-form-post-error)."""
	_, attempt = begin(*config)
	with pytest.raises(kind) as caught:
		complete(*config, attempt, {"state": attempt.state, **parameters}, http)
	assert caught.value.code == code
	assert server.requests == []


def test_an_error_by_other_names(config: Settings, server: Hostile, http: Http) -> None:
	"""As Facebook's consent page has it: what the provider says is not lost."""
	_, attempt = begin(*config)
	given = {"state": attempt.state, "error_code": "1349126", "error_message": "App not active: <b>x</b>"}
	with pytest.raises(TemporaryFailure) as caught:
		complete(*config, attempt, given, http)
	assert (caught.value.code, caught.value.provider_error) == ("provider_error", "1349126")
	assert "App not active" in caught.value.message
	with pytest.raises(ReconnectRequired) as refused:
		complete(*config, attempt, {"state": attempt.state, "error_message": "access_denied"}, http)
	assert refused.value.code == "consent_declined"
	assert server.requests == []
	# Beside a code it is none.
	server.script("/token", as_json({"access_token": "a"}))
	assert complete(*config, attempt, {**given, "code": "c"}, http).access_token == "a"


@pytest.mark.parametrize("error", ["login_required", "consent_required", "interaction_required"])
def test_a_prompt_of_none(error: str, config: Settings, http: Http) -> None:
	"""OIDC Core 3.1.2.6: what an admin has asked for cannot work at a first consent, and is theirs to correct."""
	config = changed(config, authorization_parameters={"prompt": "none"})
	_, attempt = begin(*config)
	with pytest.raises(ConfigurationError) as caught:
		complete(*config, attempt, {"state": attempt.state, "error": error}, http)
	assert caught.value.code == "prompt_none"


def test_an_error_without_the_promised_issuer(op: OpenIDProvider) -> None:
	"""RFC 9207 2.4: it is missed in an answer that could be taken for another's; what the provider says is not lost."""
	op.begin(metadata={"authorization_response_iss_parameter_supported": True})
	for given, code in (
		({"iss": None, "error": "access_denied"}, "consent_declined"),
		({"iss": "", "error": "invalid_scope", "code": None}, "invalid_scope"),
		({"iss": None}, "issuer_mismatch"),
		({"iss": "https://mallory.example", "error": "access_denied"}, "issuer_mismatch"),
	):
		with pytest.raises(OAuthError) as caught:
			complete(*op.config, op.attempt, op.callback(**given), op.http, clock=op.clock)
		assert caught.value.code == code, given
		assert ("promises" in caught.value.message) == (given == {"iss": None})


def test_providers_words_are_cleaned(config: Settings, http: Http) -> None:
	"""error_description is quoted on one line, cut, and can be encoded."""
	_, attempt = begin(*config)
	words = "Sorry\r\n\x00\x1b[31m\ud800" + "x" * 1000
	with pytest.raises(ConfigurationError) as caught:
		complete(
			*config,
			attempt,
			{"state": attempt.state, "error": "invalid_scope", "error_description": words},
			http,
		)
	caught.value.message.encode()
	assert caught.value.message.isprintable() and len(caught.value.message) < 300


@pytest.mark.parametrize("missing", ["authorization_uri", "token_uri", "client_id"])
def test_settings_missing(missing: str, config: Settings) -> None:
	with pytest.raises(ConfigurationError) as caught:
		begin(*changed(config, **{missing: ""}))
	assert caught.value.code == "endpoint_missing"


@pytest.mark.parametrize("uri", ["http://[", "javascript:alert(1)", "//p.example/authorize", "https:///x"])
def test_consent_address_is_one(uri: str, config: Settings) -> None:
	"""Nobody is sent to what is not a web address."""
	with pytest.raises(ConfigurationError) as caught:
		begin(*changed(config, authorization_uri=uri))
	assert caught.value.code == "uri_invalid"


def test_connect_with_openid(op: OpenIDProvider) -> None:
	"""oidcc-client-test, oidcc-client-test-idtoken-sig-rs256; core-defects 6: it is known who was connected."""
	grant = op.connect()
	assert grant.account and (grant.account.id, grant.account.name) == ("alice", "alice@example.com")


def test_userinfo_claims(op: OpenIDProvider) -> None:
	"""oidcc-client-test-scope-userinfo-claims, oidcc-client-test-userinfo-bearer-header"""
	op.begin(
		userinfo_uri=op.server.script("/userinfo", as_json({"sub": "alice", "email": "alice@home.example"}))
	)
	grant = op.connect(op.id_token(("email",)))
	assert grant.account and grant.account.name == "alice@home.example"
	(request,) = op.server.to("/userinfo")
	assert request.method == "GET" and request.target == "/userinfo"
	assert request.headers["authorization"] == f"Bearer {ACCESS_TOKEN}"


@pytest.mark.parametrize(
	"answer", [Answer(b"", 503), Answer(b"<html>"), as_json([1]), as_json({}), Answer(b"{", cut=0)]
)
def test_userinfo_is_not_essential(answer: Answer, op: OpenIDProvider) -> None:
	"""The code is spent by then: a userinfo endpoint that fails costs the name, not the grant."""
	op.begin(userinfo_uri=op.server.script("/userinfo", answer))
	grant = op.connect(op.id_token(("email",)))
	assert grant.account and (grant.account.id, grant.account.name) == ("alice", "")


def test_microsoft_tenant(op: OpenIDProvider) -> None:
	"""A `{tenantid}` issuer is filled in from the token's own `tid`."""
	op.begin(issuer=op.server.url + "/{tenantid}/v2.0")
	callback = op.callback(iss=None)
	assert op.connect(op.id_token(iss=op.server.url + "/t1/v2.0", tid="t1"), callback=callback).account
	op.refuses("id_token_issuer", op.id_token(iss=op.server.url + "/t1/v2.0", tid="t2"), callback=callback)
	op.refuses("id_token_issuer", op.id_token(iss=op.server.url + "/t1/v2.0"), callback=callback)


def test_a_key_that_takes_for_ever(op: OpenIDProvider) -> None:
	"""A private part, even an empty one, has the library check that its factors are prime: a minute for a key of 10,000 digits,
	and each key set may have a hundred. No key with one is used, and none is read."""

	def encoded(number: int) -> str:
		raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
		return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

	prime = 2**4423 - 1
	factors = {"p": encoded(prime), "q": encoded(prime), **dict.fromkeys(("dp", "dq", "qi"), "Aw")}
	for private in ("", None, False):
		key = {"kty": "RSA", "kid": "x", "n": encoded(prime**2), "e": "AQAB", "d": private, **factors}
		op.server.script("/jwks", as_json({"keys": [key]}))
		began = time.process_time()
		op.refuses("id_token_key_unknown")
		assert time.process_time() - began < 2


def test_signature_keys_out_of_reach(op: OpenIDProvider) -> None:
	"""No keys, no grant: but it is a passing failure."""
	op.server.script("/jwks", Answer(b"", 503))
	with pytest.raises(TemporaryFailure) as caught:
		op.connect()
	assert caught.value.code == "keys_unavailable"
	assert NOW == op.clock()
