from __future__ import annotations

import base64
import threading
from copy import copy
from dataclasses import replace
from typing import Any

import pytest

from connected_app.oauth import (
	ConfigurationError,
	Http,
	OAuthError,
	ReconnectRequired,
	Refresher,
	Secret,
	Settings,
	TemporaryFailure,
	dead_grants,
	token_endpoint,
)

from .helpers import NOW, Clock, a_grant, changed
from .hostile import Answer, Hostile, Request, as_json
from .stores import MemoryStore

FORM = {"grant_type": "refresh_token", "refresh_token": "r"}
HTML = {"Content-Type": "text/html; charset=utf-8"}
GOOD = as_json({"access_token": "a"})

FAULTS: list[tuple[str, Answer, type[OAuthError], str]] = [
	("200 with HTML", Answer(b"<html>access_token=x</html>", headers=HTML), TemporaryFailure, "response_invalid"),
	("200 with nothing", Answer(), TemporaryFailure, "response_invalid"),
	("200 with a list", as_json(["access_token"]), TemporaryFailure, "response_invalid"),
	("200 with bytes", Answer(b"\xff\xfe\x00", headers={"Content-Type": "application/json"}), TemporaryFailure, "response_invalid"),
	("deep nesting", Answer(b"[" * 100_000, headers={"Content-Type": "application/json"}), TemporaryFailure, "response_invalid"),
	("50 MB", Answer(b" " * 50_000_000), TemporaryFailure, "response_too_large"),
	("50 MB without a length", Answer(b" " * 50_000_000, sized=False), TemporaryFailure, "response_too_large"),
	("redirect", Answer(status=302, headers={"Location": "/elsewhere"}), TemporaryFailure, "redirected"),
	("redirect that keeps the body", Answer(status=307, headers={"Location": "/elsewhere"}), TemporaryFailure, "redirected"),
	("redirect with 50 MB", Answer(b" " * 50_000_000, 302, {"Location": "/elsewhere"}), TemporaryFailure, "response_too_large"),
	("redirect to nowhere", Answer(status=302, headers={"Location": "http://["}), TemporaryFailure, "redirected"),
	("hang", replace(GOOD, delay=5), TemporaryFailure, "timeout"),
	("trickle", replace(GOOD, trickle=0.3), TemporaryFailure, "timeout"),
	("trickle of a form without a length", Answer(b"access_token=" + b"a" * 40, trickle=0.2, sized=False), TemporaryFailure, "timeout"),
	("closed early", replace(GOOD, cut=5), TemporaryFailure, "network"),
	("rate limit", Answer(b"{}", 429, {"Retry-After": "7"}), TemporaryFailure, "rate_limited"),
	("503 page", Answer(b"<h1>down</h1>", 503, HTML), TemporaryFailure, "server_error"),
	("503 that says invalid_grant", as_json({"error": "invalid_grant"}, 503), TemporaryFailure, "server_error"),
	("invalid_grant", as_json({"error": "invalid_grant"}, 400), ReconnectRequired, "grant_invalid"),
	("invalid_grant with HTTP 200", as_json({"error": "invalid_grant"}), ReconnectRequired, "grant_invalid"),
	("HubSpot", as_json({"status": "BAD_REFRESH_TOKEN", "error": "BAD_REFRESH_TOKEN"}, 400), ReconnectRequired, "grant_invalid"),
	("GitHub", as_json({"error": "bad_verification_code"}), ReconnectRequired, "grant_invalid"),
	("Slack", as_json({"ok": False, "error": "token_revoked"}), ReconnectRequired, "grant_invalid"),
	("Slack, unknown", as_json({"ok": False, "error": "what"}), TemporaryFailure, "provider_error"),
	("Slack, silent", as_json({"ok": False}), TemporaryFailure, "provider_error"),
	("Facebook", as_json({"error": {"type": "OAuthException", "message": "m"}}, 400), TemporaryFailure, "provider_error"),
	("form-encoded error", Answer(b"error=incorrect_client_credentials", headers={"Content-Type": "application/x-www-form-urlencoded"}), ConfigurationError, "invalid_client"),
	("invalid_client", as_json({"error": "invalid_client"}, 401), ConfigurationError, "invalid_client"),
	("401 without a reason", as_json({"message": "no"}, 401), ConfigurationError, "invalid_client"),
	("401 with nothing", Answer(status=401), ConfigurationError, "invalid_client"),
	("unauthorized_client", as_json({"error": "unauthorized_client"}, 400), ConfigurationError, "unauthorized_client"),
	("invalid_scope", as_json({"error": "invalid_scope"}, 400), ConfigurationError, "invalid_scope"),
	("invalid_target", as_json({"error": "invalid_target"}, 400), ConfigurationError, "invalid_target"),
	("invalid_resource", as_json({"error": "invalid_resource"}, 400), ConfigurationError, "invalid_resource"),
	("access_denied", as_json({"error": "access_denied"}, 403), ConfigurationError, "access_denied"),
	("Zoho, too many requests", as_json({"error": "Access Denied", "error_description": "You have made too many requests"}), TemporaryFailure, "provider_error"),
	("temporarily_unavailable", as_json({"error": "temporarily_unavailable"}, 400), TemporaryFailure, "server_error"),
	("error of an odd kind", as_json({"error": [1, 2]}, 400), TemporaryFailure, "provider_error"),
	("404 page", Answer(b"<h1>no</h1>", 404, HTML), TemporaryFailure, "response_invalid"),
]  # fmt: skip


@pytest.mark.parametrize(
	("answer", "kind", "code"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS]
)
def test_fault(
	answer: Answer,
	kind: type[OAuthError],
	code: str,
	config: Settings,
	server: Hostile,
	http: Http,
	impatient: Http,
) -> None:
	"""core-defects 21, 24: each fault has its own code and its branch of the tree. Those that are a matter of time end
	before the answer is whole: else there would be no error."""
	server.script("/token", answer)
	with pytest.raises(OAuthError) as caught:
		token_endpoint.request(*config, FORM, impatient if code == "timeout" else http)
	assert (type(caught.value), caught.value.code) == (kind, code)
	assert server.paths() == {"/token": 1}
	assert config.client.client_secret and str(config.client.client_secret) not in str(caught.value)


@pytest.mark.parametrize(
	("grant_type", "words"),
	[
		("authorization_code", "authorization code grant"),
		("refresh_token", "refresh token grant"),
		("client_credentials", "client credentials grant"),
	],
)
def test_unauthorized_client(
	grant_type: str, words: str, config: Settings, server: Hostile, http: Http
) -> None:
	"""RFC 6749 5.2: the client may not use *this* grant type; an admin reads which."""
	server.script("/token", as_json({"error": "unauthorized_client"}, 400))
	with pytest.raises(ConfigurationError) as caught:
		token_endpoint.request(*config, {"grant_type": grant_type, "refresh_token": "r"}, http)
	assert words in caught.value.action


@pytest.mark.parametrize(
	("headers", "seconds"),
	[
		({"Retry-After": "7"}, 7),
		({"Retry-After": "0"}, 0),
		({"Retry-After": "-5"}, 0),
		({"Retry-After": "1e9"}, 86400),
		({"Retry-After": "inf"}, 86400),
		({"Retry-After": "7s"}, 7),
		({"Retry-After": "7 seconds"}, 7),
		# The instant itself, as seconds or milliseconds.
		({"Retry-After": "1772366460", "Date": "Sun, 01 Mar 2026 12:00:00 GMT"}, 60),
		({"Retry-After": "1772366460000", "Date": "Sun, 01 Mar 2026 12:00:00 GMT"}, 60),
		({"Retry-After": "1772366300", "Date": "Sun, 01 Mar 2026 12:00:00 GMT"}, 0),
		({"Retry-After": "2026-03-01T12:01:00Z", "Date": "Sun, 01 Mar 2026 12:00:00 GMT"}, 60),
		({"Retry-After": "2026-03-01T12:01:00Z"}, None),
		({"Retry-After": "nan"}, None),
		({"Retry-After": "soon"}, None),
		({}, None),
		({"Retry-After": "Sun, 01 Mar 2026 12:01:00 GMT", "Date": "Sun, 01 Mar 2026 12:00:00 GMT"}, 60),
		({"Retry-After": "Sun, 01 Mar 2026 12:01:00 GMT"}, None),
		({"Retry-After": "Mon, 01 Jan 0001 00:00:00 -0000", "Date": "Sun, 01 Mar 2026 12:00:00 GMT"}, 0),
	],
)
def test_retry_after(
	headers: dict[str, str], seconds: float | None, config: Settings, server: Hostile, http: Http
) -> None:
	"""RFC 9110 10.2.3, never more than a day; where it cannot be read, the caller's own pause counts."""
	server.script("/token", Answer(b"", 429, headers))
	with pytest.raises(TemporaryFailure) as caught:
		token_endpoint.request(*config, FORM, http)
	assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
	"content_type", ["application/x-www-form-urlencoded", "text/plain; charset=utf-8", ""]
)
def test_form_encoded_answer(content_type: str, config: Settings, server: Hostile, http: Http) -> None:
	"""GitHub, Facebook of old"""
	server.script(
		"/token", Answer(b"access_token=a%2Bb&scope=repo%2Cgist", headers={"Content-Type": content_type})
	)
	assert token_endpoint.request(*config, FORM, http) == {"access_token": "a+b", "scope": "repo,gist"}


def basic(pair: str) -> str:
	return "Basic " + base64.b64encode(pair.encode()).decode()


DISCOVERED = {"token_endpoint": "x"}


@pytest.mark.parametrize(
	("settings", "authorization", "fields"),
	[
		({"authentication": "client_secret_basic"}, basic("cl%3Aient%20%C3%BC:s%26%3A%2B"), {}),
		({"authentication": "client_secret_post"}, None, {"client_id": "cl:ient ü", "client_secret": "s&:+"}),
		({"authentication": "none"}, None, {"client_id": "cl:ient ü"}),
		({"authentication": "automatic"}, None, {"client_id": "cl:ient ü", "client_secret": "s&:+"}),
		({"metadata": DISCOVERED}, basic("cl%3Aient%20%C3%BC:s%26%3A%2B"), {}),
		(
			{"metadata": {**DISCOVERED, "token_endpoint_auth_methods_supported": ["client_secret_post"]}},
			None,
			{"client_id": "cl:ient ü", "client_secret": "s&:+"},
		),
		({"client_secret": None}, None, {"client_id": "cl:ient ü"}),
	],
)
def test_client_authentication(
	settings: dict[str, Any],
	authorization: str | None,
	fields: dict[str, str],
	config: Settings,
	server: Hostile,
	http: Http,
) -> None:
	"""core-defects 28: one method per request, Basic form-encoded, and public clients
	(oidcc-client-test-client-secret-basic; RFC 6749 2.3.1)."""
	config = changed(config, **{"client_id": "cl:ient ü", "client_secret": Secret("s&:+"), **settings})
	server.script("/token", GOOD)
	token_endpoint.request(*config, FORM, http)
	(request,) = server.requests
	assert request.headers.get("authorization") == authorization
	assert request.form == {**FORM, **fields}


@pytest.mark.parametrize(
	("settings", "code"),
	[
		({"client_id": ""}, "client_id_missing"),
		({"client_secret": None, "authentication": "client_secret_basic"}, "client_secret_missing"),
		({"token_uri": ""}, "endpoint_missing"),
		({"token_uri": "http://provider.example/token"}, "uri_insecure"),
		({"token_uri": "ftp://provider.example/token"}, "uri_invalid"),
		({"token_uri": "https://u:p@provider.example/token"}, "uri_invalid"),
		({"token_uri": "http://["}, "uri_invalid"),
		({"token_uri": "https://10.0.0.1/token"}, "address_refused"),
		({"token_uri": "https://169.254.169.254/token"}, "address_refused"),
		({"token_uri": "https://[::ffff:10.0.0.1]/token"}, "address_refused"),
		({"token_uri": "https://[fd00::1]/token"}, "address_refused"),
	],
)
def test_settings(settings: dict[str, Any], code: str, config: Settings, http: Http) -> None:
	"""core-defects 10: internal addresses are refused where they are connected to."""
	with pytest.raises(ConfigurationError) as caught:
		token_endpoint.request(*changed(config, **settings), FORM, http)
	assert caught.value.code == code


def test_loopback_needs_leave(config: Settings, server: Hostile) -> None:
	"""core-defects 10: neither http nor this machine, unless the site says so."""
	with pytest.raises(ConfigurationError) as caught:
		token_endpoint.request(*config, FORM, Http())
	assert caught.value.code == "uri_insecure"
	port = server.url.rpartition(":")[2]
	with pytest.raises(ConfigurationError) as caught:
		token_endpoint.request(*changed(config, token_uri=f"https://localhost:{port}/"), FORM, Http())
	assert caught.value.code == "address_refused"
	assert server.connections == 0


def test_certificate_is_checked(config: Settings, server: Hostile, impatient: Http) -> None:
	"""A server that does not speak TLS is not spoken to in the clear."""
	with pytest.raises(OAuthError) as caught:
		token_endpoint.request(
			*changed(config, token_uri=server.url.replace("http:", "https:") + "/token"), FORM, impatient
		)
	assert caught.value.code in ("certificate_invalid", "network", "timeout")
	assert all(not request.body for request in server.requests)


def test_connection_refused(config: Settings, http: Http) -> None:
	with pytest.raises(TemporaryFailure) as caught:
		token_endpoint.request(*changed(config, token_uri="http://127.0.0.1:1/token"), FORM, http)
	assert caught.value.code == "network"


def test_localhost_by_either_family(config: Settings, server: Hostile, http: Http) -> None:
	"""A name with several addresses: the next one is tried when the first does not answer."""
	server.script("/token", GOOD)
	token_endpoint.request(
		*changed(config, token_uri=server.url.replace("127.0.0.1", "localhost") + "/token"), FORM, http
	)


def test_next_address(monkeypatch: pytest.MonkeyPatch, config: Settings, server: Hostile, http: Http) -> None:
	"""As above, whatever this machine's resolver says."""
	import socket

	real = socket.getaddrinfo

	def two(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
		if host == "localhost":
			return [*real("127.0.0.9", port, *args, **kwargs), *real("127.0.0.1", port, *args, **kwargs)]
		return real(host, port, *args, **kwargs)

	monkeypatch.setattr(socket, "getaddrinfo", two)
	server.script("/token", GOOD)
	token_endpoint.request(
		*changed(config, token_uri=server.url.replace("127.0.0.1", "localhost") + "/token"), FORM, http
	)


def test_connections_are_reused_and_cookies_are_not(config: Settings, server: Hostile, http: Http) -> None:
	"""core-defects 36: one connection for many requests; nothing else is shared."""
	server.script("/token", replace(GOOD, headers={"Set-Cookie": "who=alice"}))
	for _ in range(5):
		token_endpoint.request(*config, FORM, http)
	assert server.connections == 1
	assert all("cookie" not in request.headers for request in server.requests)


def test_after_a_timeout_the_next_request_is_clean(config: Settings, server: Hostile, http: Http) -> None:
	"""core-defects 24: a late answer is never taken for the answer to another request."""
	given_up = threading.Event()

	def late(_request: Request) -> Answer:
		assert given_up.wait(60)
		return as_json({"access_token": "late"})

	server.script("/token", late, as_json({"access_token": "right"}))
	# With the same connections.
	hurried = copy(http)
	hurried.timeouts = (30, 1)
	with pytest.raises(TemporaryFailure) as caught:
		token_endpoint.request(*config, FORM, hurried)
	assert caught.value.code == "timeout"
	given_up.set()
	assert server.answered.acquire(timeout=60)
	assert token_endpoint.request(*config, FORM, http) == {"access_token": "right"}


def test_environment_is_not_asked(
	monkeypatch: pytest.MonkeyPatch, config: Settings, server: Hostile, http: Http
) -> None:
	"""A proxy of the environment would choose the address for us."""
	for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
		monkeypatch.setenv(name, "http://127.0.0.1:1")
	server.script("/token", GOOD)
	token_endpoint.request(*config, FORM, http)


@pytest.mark.parametrize(
	("name", "code"),
	[
		("InvalidClient", "invalid_client"),
		("invalid-client", "invalid_client"),
		("invalidScope", "invalid_scope"),
		("TemporarilyUnavailable", "server_error"),
		("InvalidGrant", "grant_invalid"),
		("account_selection_required", "grant_invalid"),
		("InvalidClientele", "provider_error"),
		# Zoho, Slack, and others.
		("invalid_client_secret", "invalid_client"),
		("bad_client_secret", "invalid_client"),
		("invalid_client_id", "invalid_client"),
		("INVALID_CLIENT_ID", "invalid_client"),
		("client_not_found", "invalid_client"),
		("unknown_client", "invalid_client"),
		("client_secret_expired", "invalid_client"),
		("invalid_client_credentials", "invalid_client"),
		("bad_redirect_uri", "redirect_uri_mismatch"),
		("invalid_redirect_uri", "redirect_uri_mismatch"),
		("redirect_uri_invalid", "redirect_uri_mismatch"),
		("invalid_client_token", "provider_error"),
	],
)
def test_codes_in_other_spellings(
	name: str, code: str, config: Settings, server: Hostile, http: Http
) -> None:
	server.script("/token", as_json({"error": name}, 400))
	form = {"grant_type": "authorization_code", "code": "c"}
	with pytest.raises(OAuthError) as caught:
		token_endpoint.request(*config, form, http)
	assert caught.value.code == code


@pytest.mark.parametrize("status", [200, 400, 401])
@pytest.mark.parametrize(
	"wrap",
	[
		lambda code: {"message": code},
		lambda code: {"status": 400, "message": code},
		lambda code: {"code": code, "detail": "x"},
		lambda code: {"errors": [{"errorType": code, "message": "x"}], "success": False},
		lambda code: {"error": {"type": "x", "reason": code}},
		lambda code: {"error": [code]},
		lambda code: {"error": "Bad Request", "message": code},
		lambda code: {"error": 1, "error_description": code},
		lambda code: {"fault": {"detail": {"errorcode": code.title().replace("_", "")}}},
	],
)
@pytest.mark.parametrize(
	("name", "code"),
	[
		("invalid_client", "invalid_client"),
		("invalid_scope", "invalid_scope"),
		("temporarily_unavailable", "server_error"),
		("slow_down", "rate_limited"),
		("invalid_grant", "grant_invalid"),
	],
)
def test_codes_elsewhere(
	name: str, code: str, wrap: Any, status: int, config: Settings, server: Hostile, http: Http
) -> None:
	"""As Fitbit and Twitch have them, with a code that is spent: "Try again later" would be of no use."""
	server.script("/token", as_json(wrap(name), status))
	with pytest.raises(OAuthError) as caught:
		token_endpoint.request(*config, {"grant_type": "authorization_code", "code": "c"}, http)
	assert (caught.value.code, dead_grants.as_code(caught.value.provider_error)) == (code, name)


@pytest.mark.parametrize(
	"answer",
	[
		{"error": "unknown_error", "error_description": "The client is not an invalid_client"},
		{"error": "Access Denied", "error_description": "Too many requests"},
		{"error": "E1", "message": "Invalid client secret given"},
	],
)
def test_words_are_no_codes(answer: Any, config: Settings, server: Hostile, http: Http) -> None:
	server.script("/token", as_json(answer, 400))
	with pytest.raises(TemporaryFailure) as caught:
		token_endpoint.request(*config, {"grant_type": "authorization_code", "code": "c"}, http)
	assert caught.value.code == "provider_error"


@pytest.mark.parametrize(
	("name", "text", "code"),
	[
		*(
			(name, text, "rate_limited")
			for name in ("invalid_request", "unauthorized_client", "access_denied")
			for text in (
				"Too many requests",
				"rate_limit_exceeded",
				"Rate limit reached",
				"Request was throttled",
			)
		),
		("invalid_request", "Too many failed attempts", "rate_limited"),
		("invalid_request", "Too many parameters", "invalid_request"),
		("invalid_request", "separate limits", "invalid_request"),
		("access_denied", "too many scopes", "access_denied"),
		("invalid_scope", "rate limit: unknown scope", "invalid_scope"),
		("invalid_client", "the client is not throttled", "invalid_client"),
	],
)
def test_too_many_requests_under_a_code_about_the_request(
	name: str, text: str, code: str, config: Settings, server: Hostile, http: Http
) -> None:
	server.script("/token", as_json({"error": name, "error_description": text}, 400))
	with pytest.raises(OAuthError) as caught:
		token_endpoint.request(*config, {"grant_type": "authorization_code", "code": "c"}, http)
	assert caught.value.code == code


def test_what_is_shown_of_it(config: Settings, server: Hostile, http: Http) -> None:
	"""Also where it does not stand in `error`, or in a list there."""
	for answer in ({"ErrorCode": "invalid_client"}, {"error": ["invalid_client", 7]}, {"error": [7]}):
		server.script("/token", as_json(answer, 401))
		with pytest.raises(ConfigurationError) as caught:
			token_endpoint.request(*config, {"grant_type": "authorization_code", "code": "c"}, http)
		assert caught.value.code == "invalid_client" and "Secret(" not in caught.value.message
		assert ("invalid_client" in caught.value.message) == (answer != {"error": [7]})


@pytest.mark.parametrize("depth", [90, 110, 600, 990, 100_000])
@pytest.mark.parametrize("ends", ['{"error":', '{"a":', "["])
def test_nested_without_end(
	depth: int, ends: str, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""What is read by functions that call themselves is no exception of Python's, and the failure is stored."""
	body = ends * depth + '"x"' + ("}" if ends.startswith("{") else "]") * depth
	for status in (200, 400):
		server.script("/token", Answer(body.encode(), status, {"Content-Type": "application/json"}))
		store = MemoryStore(a_grant(expires_at=NOW))
		with pytest.raises(TemporaryFailure):
			Refresher(*config, store, http, clock).current()
		assert store.failure and not store.failure.reconnect
