"""Token exchange (RFC 8693), and client credentials with parameters of one's own, at the demo's provider and scripted ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from connected_app.oauth import (
	Account,
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
	catalogue,
	checks,
	device,
	discovery,
)
from connected_app.oauth.findings import Subject
from connected_app.oauth.grant_types import CLIENT_CREDENTIALS, TokenExchange
from demo.provider import Provider as Running
from demo.provider import start

from .helpers import CLIENT_SECRET, NOW, a_grant, changed
from .hostile import Hostile, as_json
from .stores import MemoryStore

TOKENS = {"access_token": "exchanged-8c1", "refresh_token": "of-no-use-41", "expires_in": 600}
SOURCE = a_grant(access_token=Secret("source-token-3d"), account=Account(id="alice", name="Alice"))


@pytest.fixture(scope="module")
def authlib() -> Iterator[Running]:
	redirect = "https://site.example/callback/app"
	with start(
		clients=[f"front:{CLIENT_SECRET}:{redirect}", f"back:other-secret:{redirect}"], interval=0
	) as running:
		yield running


def settings(authlib: Running, client_id: str, secret: str, **client: Any) -> tuple[Provider, Client]:
	found = discovery.fetch(authlib.discovery_url, Http(allow_http_loopback=True))
	provider = Provider(
		token_uri=found.token_endpoint,
		device_authorization_uri=found.device_authorization_endpoint,
		userinfo_uri=found.userinfo_endpoint,
		metadata=found.document,
	)
	values = {"scopes": ("openid", "email"), **client}
	return provider, Client(client_id=client_id, client_secret=Secret(secret), **values)


@pytest.fixture
def source(authlib: Running, http: Http) -> Grant:
	"""What alice has granted to another client."""
	provider, client = settings(authlib, "front", CLIENT_SECRET, scopes=("openid", "offline_access"))
	attempt = device.begin(provider, client, http)
	authlib.enter(attempt.user_code)
	found = device.ask(provider, client, attempt, http)
	assert isinstance(found, Grant)
	return found


def test_at_a_provider(authlib: Running, source: Grant, http: Http) -> None:
	"""2.1, 2.2: the token is another one, for the same user; the next comes from the next exchange."""
	provider, client = settings(authlib, "back", "other-secret", token_parameters={"audience": "api"})
	store = MemoryStore()

	def session() -> Session:
		return Session(Refresher(provider, client, store, http, grant_type=TokenExchange(lambda: source)))

	assert session().get(provider.userinfo_uri).json()["sub"] == "alice"
	first = store.grant
	assert first and first.access_token != source.access_token and first.account == source.account
	store.grant = replace(first, expires_at=first.issued_at)
	assert session().get(provider.userinfo_uri).ok
	assert store.grant and store.grant.access_token != first.access_token


@pytest.mark.parametrize("wrong", ["audience", "token"])
def test_refused_at_a_provider(authlib: Running, source: Grant, http: Http, wrong: str) -> None:
	parameters = {"audience": "elsewhere"} if wrong == "audience" else {}
	provider, client = settings(authlib, "back", "other-secret", token_parameters=parameters)
	subject = replace(source, access_token=Secret("revoked")) if wrong == "token" else source
	refresher = Refresher(provider, client, MemoryStore(), http, grant_type=TokenExchange(lambda: subject))
	with pytest.raises(ConfigurationError) as caught:
		refresher.renew(None)
	assert caught.value.code == {"audience": "invalid_target", "token": "exchange_refused"}[wrong]
	assert source.access_token not in f"{caught.value!r}"


def test_what_is_sent(config: Settings, server: Hostile, http: Http) -> None:
	server.script("/token", as_json(TOKENS))
	provider, client = changed(config, token_parameters={"audience": "api", "requested_token_type": "x"})
	client = replace(client, resources=("https://api.example",))
	store = MemoryStore()
	Refresher(provider, client, store, http, grant_type=TokenExchange(lambda: SOURCE)).renew(None)
	(sent,) = server.requests
	assert sent.form == {
		"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
		"subject_token": "source-token-3d",
		"subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
		"audience": "api",
		"requested_token_type": "x",
		"resource": "https://api.example",
		"scope": "read write",
		"client_id": "client",
		"client_secret": CLIENT_SECRET,
	}
	assert store.grant and store.grant.refresh_token is None and store.grant.account == SOURCE.account


def test_the_source_is_asked_before_the_lock(config: Settings, server: Hostile, http: Http) -> None:
	"""It takes a lock of its own: two that wait for each other would wait forever."""
	server.script("/token", as_json(TOKENS))
	store, free = MemoryStore(), []

	def source() -> Grant:
		free.append(not store.lock.locked())
		return SOURCE

	Refresher(*config, store, http, grant_type=TokenExchange(source)).renew(None)
	assert free == [True]


@pytest.mark.parametrize(
	("code", "expected"),
	[("not_connected", "source_not_connected"), ("network", "network"), ("app_disabled", "app_disabled")],
)
def test_the_source_fails(config: Settings, server: Hostile, http: Http, code: str, expected: str) -> None:
	"""The provider is not asked, nothing is stored, and a token that is still good is used meanwhile; but for one whose
	user is no longer connected."""

	def source() -> Grant:
		raise catalogue.error(code, "x")

	store = MemoryStore()
	refresher = Refresher(*config, store, http, grant_type=TokenExchange(source))
	with pytest.raises(OAuthError) as caught:
		refresher.renew(None)
	assert caught.value.code == expected
	assert isinstance(caught.value, ReconnectRequired) is (code == "not_connected")
	assert (server.requests, store.failure, store.grant) == ([], None, None)


def test_refused_for_a_while(config: Settings, server: Hostile, http: Http) -> None:
	"""A provider that does not exchange is not asked at each call."""
	server.script("/token", as_json({"error": "invalid_grant"}, 400))
	refresher = Refresher(*config, MemoryStore(), http, grant_type=TokenExchange(lambda: SOURCE))
	for _ in range(3):
		with pytest.raises(ConfigurationError) as caught:
			refresher.renew(None)
		assert caught.value.code == "exchange_refused"
	assert len(server.requests) == 1


def test_client_credentials_with_own_parameters(config: Settings, server: Hostile, http: Http) -> None:
	"""Auth0's audience, for one; what the protocol itself sets cannot be replaced."""
	server.script("/token", as_json(TOKENS))
	provider, client = changed(config, token_parameters={"audience": "https://api.example", "scope": "x"})
	Refresher(provider, client, MemoryStore(), http, grant_type=CLIENT_CREDENTIALS).renew(None)
	(sent,) = server.requests
	assert (sent.form["audience"], sent.form["scope"]) == ("https://api.example", "read write")
	with pytest.raises(ConfigurationError) as caught:
		client.check_parameters()
	assert caught.value.code == "parameter_reserved"


def test_check_configuration(authlib: Running, http: Http) -> None:
	provider, client = settings(authlib, "back", "other-secret")
	found = {
		each.check: each.level for each in checks.run(Subject(provider, client, http, grant="token_exchange"))
	}
	assert found["credentials"] == "ok" and "error" not in found.values()
	assert "authorization" not in found and NOW
