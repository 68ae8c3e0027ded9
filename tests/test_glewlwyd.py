"""Glewlwyd, as Debian has it, over sockets: keys instead of secrets, pushed requests, the device grant, and rotation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from connected_app.oauth import (
	Client,
	ConfigurationError,
	Grant,
	Http,
	Provider,
	Refresher,
	Session,
	TemporaryFailure,
	begin,
	complete,
	device,
	discovery,
	keys,
	revoke,
)
from connected_app.oauth.device import DeviceAttempt
from connected_app.oauth.provider import Quirks

from . import glewlwyd
from .glewlwyd import Glewlwyd
from .helpers import consent_parameters
from .stores import MemoryStore

pytestmark = pytest.mark.skipif(not glewlwyd.AVAILABLE, reason=glewlwyd.MISSING)
REDIRECT_URI = "https://site.example/callback/app"
KEY, UNKNOWN = (keys.generate("ES256", "test", datetime.now(timezone.utc)) for _ in range(2))
CLIENT = Client(client_id="client", redirect_uri=REDIRECT_URI, scopes=("openid",), signing_key=KEY)
# It wants an assertion to be for the address that it is sent to: the issuer, as RFC 9126 2 has it, is nobody to it.
QUIRKS = Quirks(assertion_audience="endpoint")


@pytest.fixture(scope="module")
def running() -> Iterator[Glewlwyd]:
	client = {
		"authorization_type": ["code", "refresh_token", "device_authorization"],
		"token_endpoint_auth_method": ["private_key_jwt"],
		"jwks": {"keys": [KEY.public()]},
	}
	parameters = {
		"request-parameter-allow": True,
		"request-maximum-exp": 3600,
		"client-jwks-parameter": "jwks",
		"oauth-par-allowed": True,
		"oauth-par-required": True,
		"oauth-par-request_uri-prefix": "urn:ietf:params:oauth:request_uri:",
		"oauth-par-duration": 90,
		"auth-type-device-enabled": True,
		"device-authorization-expiration": 1800,
		# No test waits so long: a second request is too early.
		"device-authorization-interval": 900,
		"introspection-revocation-allowed": True,
		"introspection-revocation-allow-target-client": True,
	}
	with glewlwyd.start(REDIRECT_URI, client, parameters) as started:
		yield started


@pytest.fixture
def provider(running: Glewlwyd, http: Http) -> Provider:
	found = discovery.fetch(running.discovery_url, http)
	return Provider(
		issuer=found.issuer,
		authorization_uri=found.authorization_endpoint,
		token_uri=found.token_endpoint,
		userinfo_uri=found.userinfo_endpoint,
		revocation_uri=found.revocation_endpoint,
		jwks_uri=found.jwks_uri,
		device_authorization_uri=found.device_authorization_endpoint,
		metadata=found.document,
		quirks=QUIRKS,
	)


def connect(running: Glewlwyd, provider: Provider, http: Http) -> Grant:
	url, attempt = begin(provider, CLIENT, http=http)
	assert set(consent_parameters(url)) == {"client_id", "request_uri"}
	landed = running.consent(url)
	return complete(provider, CLIENT, attempt, dict(parse_qsl(urlsplit(landed).query)), http)


def due(grant: Grant) -> MemoryStore:
	return MemoryStore(replace(grant, expires_at=grant.issued_at))


def test_a_key_and_pushed_requests(running: Glewlwyd, provider: Provider, http: Http) -> None:
	"""Connected, refreshed by a refresh token for one use, and given back."""
	grant = connect(running, provider, http)
	assert grant.account and grant.account.name == "alice@example.com"
	store = due(grant)
	session = Session(Refresher(provider, CLIENT, store, http))
	assert session.get(provider.userinfo_uri).json()["email"] == "alice@example.com"
	assert store.grant and store.grant.refresh_token != grant.refresh_token
	assert revoke(provider, CLIENT, store.grant, http)


def test_another_key(provider: Provider, http: Http) -> None:
	with pytest.raises(ConfigurationError) as caught:
		begin(provider, replace(CLIENT, signing_key=UNKNOWN), http=http)
	assert caught.value.code == "invalid_client"


@pytest.mark.parametrize("audience", ["issuer", "token"])
def test_an_assertion_for_another_address(provider: Provider, http: Http, audience: str) -> None:
	"""What the template is for."""
	other = replace(provider, quirks=Quirks(assertion_audience=audience))
	with pytest.raises(ConfigurationError) as caught:
		begin(other, CLIENT, http=http)
	assert caught.value.code == "invalid_client"


def test_a_request_that_is_not_pushed(running: Glewlwyd, provider: Provider) -> None:
	url, _attempt = begin(provider, replace(CLIENT, pushed_requests="never"))
	with pytest.raises(requests.HTTPError, match="403"):
		running.consent(url)


@pytest.mark.parametrize("dead", ["token", "client"])
def test_a_refresh_that_is_refused(running: Glewlwyd, provider: Provider, http: Http, dead: str) -> None:
	"""A refresh token that was used before, and a client that it does not know, get the same answer, which says nothing: it
	costs nobody the grant."""
	grant, client = connect(running, provider, http), CLIENT
	if dead == "token":
		Refresher(provider, client, due(grant), http).renew(None)
	else:
		client = replace(client, signing_key=UNKNOWN)
	store = due(grant)
	with pytest.raises(TemporaryFailure) as caught:
		Refresher(provider, client, store, http).renew(None)
	assert caught.value.code == "response_invalid"
	assert store.grant and store.grant.refresh_token == grant.refresh_token


def test_a_code(running: Glewlwyd, provider: Provider, http: Http) -> None:
	"""RFC 8628, authenticated by the key, too."""
	attempt = device.begin(provider, CLIENT, http)
	assert attempt.user_code in attempt.verification_uri_complete and attempt.interval == 900
	assert "prompt=deviceComplete" in running.enter(attempt.user_code)
	grant = device.ask(provider, CLIENT, attempt, http)
	assert isinstance(grant, Grant) and grant.account and grant.account.name == "alice@example.com"
	assert Session(Refresher(provider, CLIENT, due(grant), http)).get(provider.userinfo_uri).ok


def test_a_code_that_waits(provider: Provider, http: Http) -> None:
	attempt = device.begin(provider, CLIENT, http)
	waiting = device.ask(provider, CLIENT, attempt, http)
	assert isinstance(waiting, DeviceAttempt) and waiting.interval == attempt.interval
	slower = device.ask(provider, CLIENT, waiting, http)
	assert isinstance(slower, DeviceAttempt) and slower.interval > attempt.interval


def test_a_code_for_another_key(provider: Provider, http: Http) -> None:
	with pytest.raises(ConfigurationError) as caught:
		device.begin(provider, replace(CLIENT, signing_key=UNKNOWN), http)
	assert caught.value.code == "unauthorized_client"
