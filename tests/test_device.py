"""The device grant (RFC 8628): at Authlib's server, at the certified one, and at one that answers what a test scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from connected_app.oauth import (
	Client,
	ConfigurationError,
	Grant,
	Http,
	OAuthError,
	Provider,
	ReconnectRequired,
	Refresher,
	Secret,
	Session,
	Settings,
	TemporaryFailure,
	device,
	discovery,
	fapi,
)
from connected_app.oauth.device import DeviceAttempt
from connected_app.oauth.templates import load
from demo.provider import Provider as Running
from demo.provider import start

from . import certified
from .helpers import CLIENT_SECRET, Clock, changed
from .hostile import Answer, Hostile, as_json
from .stores import MemoryStore

PROVIDERS = Path(__file__).resolve().parents[1] / "connected_app" / "providers"
CODES: dict[str, Any] = {
	"device_code": "device-code-4e1",
	"user_code": "WDJB-MJHT",
	"verification_uri": "https://provider.example/device",
	"expires_in": 600,
	"interval": 7,
}
TOKENS = {"access_token": "access-token-1c7", "refresh_token": "refresh-token-5e0", "expires_in": 3600}


@pytest.fixture(scope="module")
def authlib() -> Iterator[Running]:
	with start(clients=[f"client:{CLIENT_SECRET}:https://site.example/callback/app"], interval=0) as running:
		yield running


def settings(discovery_url: str, scopes: tuple[str, ...], **client: Any) -> tuple[Provider, Client]:
	found = discovery.fetch(discovery_url, Http(allow_http_loopback=True))
	provider = Provider(
		issuer=found.issuer,
		token_uri=found.token_endpoint,
		device_authorization_uri=found.device_authorization_endpoint,
		userinfo_uri=found.userinfo_endpoint,
		jwks_uri=found.jwks_uri,
		metadata=found.document,
	)
	return provider, Client(client_id="client", scopes=scopes, **client)


def waiting(found: Grant | DeviceAttempt) -> DeviceAttempt:
	assert isinstance(found, DeviceAttempt)
	return found


def granted(found: Grant | DeviceAttempt) -> Grant:
	assert isinstance(found, Grant)
	return found


def scripted(config: Settings, server: Hostile, *answers: Answer, **codes: Any) -> Settings:
	server.script("/device", as_json({**CODES, **codes}))
	server.script("/token", *answers)
	return changed(config, device_authorization_uri=server.url + "/device")


def error(name: str, status: int = 400, **more: Any) -> Answer:
	return as_json({"error": name, **more}, status)


# At real servers


def test_at_authlib(authlib: Running, http: Http) -> None:
	"""RFC 8628 3: waiting, then the grant of the user who has entered the code, with an ID token; it refreshes itself, and the
	code is spent."""
	provider, client = settings(
		authlib.discovery_url, ("openid", "email", "offline_access"), client_secret=Secret(CLIENT_SECRET)
	)
	attempt = device.begin(provider, client, http)
	assert attempt.verification_uri == f"{authlib.issuer}/device"
	assert attempt.user_code in attempt.verification_uri_complete
	assert waiting(device.ask(provider, client, attempt, http)) == attempt
	authlib.enter(attempt.user_code, "bob")
	grant = granted(device.ask(provider, client, attempt, http))
	assert grant.account and (grant.account.id, grant.account.name) == ("bob", "bob@example.com")
	expired = replace(grant, expires_at=grant.issued_at)
	session = Session(Refresher(provider, client, MemoryStore(expired), http))
	assert session.get(provider.userinfo_uri).json()["sub"] == "bob"
	with pytest.raises(OAuthError):
		device.ask(provider, client, attempt, http)


def test_denied_at_authlib(authlib: Running, http: Http) -> None:
	provider, client = settings(authlib.discovery_url, ("openid",), client_secret=Secret(CLIENT_SECRET))
	attempt = device.begin(provider, client, http)
	authlib.enter(attempt.user_code, allow=False)
	with pytest.raises(ReconnectRequired) as caught:
		device.ask(provider, client, attempt, http)
	assert caught.value.code == "consent_declined"
	attempt = device.begin(provider, client, http)
	authlib.expire()
	with pytest.raises(ReconnectRequired) as caught:
		device.ask(provider, client, attempt, http)
	assert caught.value.code == "device_code_expired"


def test_slow_down_at_authlib(http: Http) -> None:
	"""3.5: asked too soon, the provider says so, and each further question comes five seconds later."""
	# No test waits so long: a second question is too early.
	with start(
		clients=[f"client:{CLIENT_SECRET}:https://site.example/callback/app"], interval=900
	) as running:
		provider, client = settings(running.discovery_url, ("openid",), client_secret=Secret(CLIENT_SECRET))
		attempt = waiting(device.ask(provider, client, device.begin(provider, client, http), http))
		assert attempt.interval == 900
		assert waiting(device.ask(provider, client, attempt, http)).interval == 905


@pytest.mark.skipif(not certified.AVAILABLE, reason="needs Node.js and npm")
@pytest.mark.parametrize("dpop", [False, True])
def test_at_the_certified_provider(dpop: bool, http: Http) -> None:
	"""The same at npm's certified provider, for a public client; with tokens that are bound to a key."""
	registered = {"grant_types": ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"]}
	registered |= {"redirect_uris": [], "response_types": [], "dpop_bound_access_tokens": dpop}
	features = {"deviceFlow": {"enabled": True}, "dPoP": {"enabled": True, "requireNonce": dpop}}
	with certified.start("client", client=registered, features=features) as running:
		provider, client = settings(
			running.discovery_url,
			("openid", "email", "offline_access"),
			authorization_parameters={"prompt": "consent"},
			dpop=dpop,
		)
		attempt = device.begin(provider, client, http)
		assert re.fullmatch(r"[A-Z]{4}-[A-Z]{4}", attempt.user_code)
		assert waiting(device.ask(provider, client, attempt, http)).interval == device.INTERVAL
		running.enter(attempt.verification_uri_complete)
		grant = granted(device.ask(provider, client, attempt, http))
		assert grant.account and grant.account.id == "alice" and bool(grant.dpop_key) is dpop
		expired = replace(grant, expires_at=grant.issued_at)
		session = Session(Refresher(provider, client, MemoryStore(expired), http))
		assert session.get(provider.userinfo_uri).json()["email"] == "alice@example.com"
		refused = device.begin(provider, client, http)
		running.enter(refused.verification_uri_complete, allow=False)
		with pytest.raises(ReconnectRequired) as caught:
			device.ask(provider, client, refused, http)
		assert caught.value.code == "consent_declined"


# What is sent


def test_requests(config: Settings, server: Hostile, http: Http) -> None:
	"""3.1 and 3.4: scopes, resources and the admin's parameters; the client proves itself both times."""
	provider, client = scripted(config, server, as_json(TOKENS))
	client = replace(client, authorization_parameters={"audience": "api"}, resources=("https://api.example",))
	attempt = device.begin(provider, client, http)
	granted(device.ask(provider, client, attempt, http))
	asked, polled = server.requests
	about = {"client_id": "client", "client_secret": CLIENT_SECRET, "resource": "https://api.example"}
	assert asked.form == {**about, "audience": "api", "scope": "read write"}
	assert polled.form == {
		**about,
		"grant_type": "urn:ietf:params:oauth:grant-type:device_code",
		"device_code": "device-code-4e1",
	}


def test_an_attempt_is_kept(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	attempt = device.begin(*scripted(config, server), http, clock=clock, context={"user": "alice"})
	assert DeviceAttempt.from_json(attempt.to_json()) == attempt
	assert (attempt.interval, attempt.expires_at) == (7, clock.now + timedelta(seconds=600))
	assert "device-code-4e1" not in f"{attempt}"


# What comes back


@pytest.mark.parametrize(
	("answer", "interval"),
	[
		(error("authorization_pending"), 7),
		(error("authorization_pending", 428), 7),
		(error("authorization_pending", 200, interval=5), 7),
		(error("slow_down"), 12),
		(error("slow_down", 403), 12),
		(as_json({"status": 400, "message": "authorization_pending"}, 400), 7),
		(as_json({"code": "authorization_pending", "message": "x"}, 200), 7),
		(error("AuthorizationPending"), 7),
		(error("authorization-pending"), 7),
		(as_json({"error": {"code": "slow_down"}}, 400), 12),
		(error("slow_down", 429), 14),
		(Answer(b'{"error": "slow_down"}', 429, {"Retry-After": "90"}), 90),
		(Answer(b"busy", 503), 14),
		(Answer(b"busy", 503, {"Retry-After": "90"}), 90),
		(error("temporarily_unavailable", 503), 14),
		(Answer(b"", delay=5), 14),
		(replace(as_json(TOKENS), cut=9), 14),
	],
)
def test_goes_on(
	config: Settings, server: Hostile, http: Http, impatient: Http, answer: Answer, interval: int
) -> None:
	"""3.5, also as Google (428, 403) and GitHub (200) say it, and less often where the provider cannot be had."""
	provider, client = scripted(config, server, answer)
	attempt = device.begin(provider, client, http)
	asking = impatient if answer.delay else http
	assert waiting(device.ask(provider, client, attempt, asking)).interval == interval


def test_slower_and_slower(config: Settings, server: Hostile, http: Http) -> None:
	provider, client = scripted(config, server, Answer(b"", 503), interval=5)
	attempt, seen = device.begin(provider, client, http), []
	for _ in range(5):
		attempt = waiting(device.ask(provider, client, attempt, http))
		seen.append(attempt.interval)
	assert seen == [10, 20, 40, 60, 60]


@pytest.mark.parametrize(
	("answer", "code"),
	[
		(error("access_denied"), "consent_declined"),
		(error("access_denied", 403), "consent_declined"),
		(error("authorization_declined"), "consent_declined"),
		(error("expired_token"), "device_code_expired"),
		(error("ExpiredToken"), "device_code_expired"),
		(error("code_expired"), "device_code_expired"),
		(error("expired_device_code"), "device_code_expired"),
		(as_json({"status": 400, "message": "expired_token"}, 400), "device_code_expired"),
		(error("consent_declined"), "consent_declined"),
		(error("user_cancelled"), "consent_declined"),
		(as_json({"message": "access_denied"}, 403), "consent_declined"),
		(error("invalid_grant"), "grant_invalid"),
		(error("invalid_client", 401), "invalid_client"),
		(error("unauthorized_client"), "unauthorized_client"),
		(error("something_else"), "provider_error"),
		(as_json({"token_type": "Bearer"}), "response_invalid"),
	],
)
def test_ends(config: Settings, server: Hostile, http: Http, answer: Answer, code: str) -> None:
	"""3.5: any other error is the end; the device code is in none of them."""
	provider, client = scripted(config, server, answer)
	attempt = device.begin(provider, client, http)
	with pytest.raises(OAuthError) as caught:
		device.ask(provider, client, attempt, http)
	assert caught.value.code == code
	assert "device-code-4e1" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_not_asked_when_it_has_expired(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	provider, client = scripted(config, server, as_json(TOKENS))
	attempt = device.begin(provider, client, http, clock=clock)
	clock.advance(600)
	with pytest.raises(ReconnectRequired) as caught:
		device.ask(provider, client, attempt, http, clock=clock)
	assert caught.value.code == "device_code_expired"
	assert server.to("/token") == []


@pytest.mark.parametrize(
	("codes", "expected"),
	[
		({"verification_uri": None, "verification_url": "https://google.example/device"}, (7, 600)),
		({"interval": None, "expires_in": None}, (5, 1800)),
		({"interval": "8", "expires_in": "300"}, (8, 300)),
		({"interval": 0, "expires_in": 999999}, (5, 1800)),
		({"interval": "soon"}, (5, 600)),
	],
)
def test_lenient(
	config: Settings, server: Hostile, http: Http, clock: Clock, codes: Any, expected: Any
) -> None:
	"""3.2: Google's older name of the address; what is missing or odd is what the standard says."""
	attempt = device.begin(*scripted(config, server, **codes), http, clock=clock)
	assert (attempt.interval, (attempt.expires_at - clock.now).total_seconds()) == expected
	assert attempt.verification_uri.startswith("https://")


@pytest.mark.parametrize(
	"codes",
	[
		{"device_code": None},
		{"device_code": 7},
		{"user_code": ""},
		{"user_code": "A\u202eB"},
		{"user_code": "A" * 61},
		{"verification_uri": None},
		{"verification_uri": "javascript:alert(1)"},
		{"verification_uri": "https://user@provider.example/"},
		{"verification_uri": "https://provider.example/" + "a" * 1000},
		{"verification_uri_complete": "data:text/html,x"},
	],
)
def test_unusable(config: Settings, server: Hostile, http: Http, codes: Any) -> None:
	"""What a person would be shown, or sent to: nothing but a short code and an address of the web."""
	with pytest.raises(TemporaryFailure) as caught:
		device.begin(*scripted(config, server, **codes), http)
	assert caught.value.code == "response_invalid"


@pytest.mark.parametrize(
	("answer", "code"),
	[
		(error("unauthorized_client"), "unauthorized_client"),
		(error("invalid_client", 401), "invalid_client"),
		(error("invalid_scope"), "invalid_scope"),
		(Answer(b"<h1>Not found</h1>", 404, {"Content-Type": "text/html"}), "response_invalid"),
	],
)
def test_no_code(config: Settings, server: Hostile, http: Http, answer: Answer, code: str) -> None:
	provider, client = scripted(config, server)
	server.script("/device", answer)
	with pytest.raises(OAuthError) as caught:
		device.begin(provider, client, http)
	assert caught.value.code == code
	if code == "unauthorized_client":
		assert "device grant" in caught.value.action


@pytest.mark.parametrize("name", ["github", "github-app", "github-enterprise"])
def test_not_allowed_at_github(name: str, config: Settings, server: Hostile, http: Http) -> None:
	"""It is answered with HTTP 200, and trying again would not help."""
	provider, client = scripted(config, server)
	server.script("/device", as_json({"error": "device_flow_disabled", "error_description": "x"}))
	provider = replace(provider, quirks=load([PROVIDERS])[name].quirks({"host": "git.example"}))
	with pytest.raises(ConfigurationError):
		device.begin(provider, client, http)


def test_not_under_the_profile(config: Settings, server: Hostile, http: Http) -> None:
	"""FAPI 2.0 5.3.2: tokens come by the authorization code flow; and nothing is asked without an address."""
	with pytest.raises(ConfigurationError) as caught:
		device.begin(*fapi.held(*scripted(config, server)), http)
	assert caught.value.code == "device_not_offered"
	with pytest.raises(ConfigurationError) as caught:
		device.begin(*config, http)
	assert caught.value.code == "endpoint_missing"
	assert server.requests == []


def test_by_a_browser(authlib: Running, http: Http) -> None:
	"""The page of the demo's provider: a form for the code, and one for the answer; an unknown code is none."""
	provider, client = settings(authlib.discovery_url, ("openid",), client_secret=Secret(CLIENT_SECRET))
	attempt = device.begin(provider, client, http)
	assert 'name="user_code"' in requests.get(attempt.verification_uri, timeout=10).text
	shown = requests.get(attempt.verification_uri_complete, timeout=10).text
	assert attempt.user_code in shown and 'value="allow"' in shown
	assert requests.get(attempt.verification_uri, {"user_code": "NO-CODE"}, timeout=10).status_code == 400
