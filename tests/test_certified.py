"""The certified provider, over sockets, in the ways to prove and to ask that the other tests have no counterpart for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
import pytest
import requests

from connected_app.oauth import (
	Client,
	ConfigurationError,
	Grant,
	Http,
	Provider,
	ReconnectRequired,
	Refresher,
	Secret,
	Session,
	begin,
	complete,
	discovery,
	fapi,
	keys,
	revoke,
)

from . import certified
from .stores import MemoryStore
from .test_net import certificate

pytestmark = pytest.mark.skipif(not certified.AVAILABLE, reason="needs Node.js and npm")
REDIRECT_URI = "http://127.0.0.1/callback"
SECRET = Secret("a secret that is as long as HS256 wants it to be")


@contextmanager
def settings(**start: Any) -> Iterator[tuple[certified.Provider, Provider, Client]]:
	"""A provider that runs, and what its metadata say to a client with the scopes that give a refresh token."""
	with certified.start("client", redirect_uri=REDIRECT_URI, **start) as running:
		found = discovery.fetch(running.discovery_url, Http(allow_http_loopback=True))
		provider = Provider(
			issuer=found.issuer,
			authorization_uri=found.authorization_endpoint,
			token_uri=found.token_endpoint,
			userinfo_uri=found.userinfo_endpoint,
			revocation_uri=found.revocation_endpoint,
			jwks_uri=found.jwks_uri,
			metadata=found.document,
		)
		client = Client(
			client_id="client",
			redirect_uri=REDIRECT_URI,
			scopes=("openid", "email", "offline_access"),
			authorization_parameters={"prompt": "consent"},
		)
		yield running, provider, client


def connect(running: certified.Provider, provider: Provider, client: Client, http: Http) -> Grant:
	url, attempt = begin(provider, client)
	landed = running.consent(url)
	return complete(provider, client, attempt, dict(parse_qsl(urlsplit(landed).query)), http)


def renewed(provider: Provider, client: Client, grant: Grant, http: Http) -> Session:
	"""A session whose token was due, and has been refreshed."""
	expired = replace(grant, expires_at=datetime.now(timezone.utc) - timedelta(seconds=1))
	session = Session(Refresher(provider, client, MemoryStore(expired), http))
	assert session.token["access_token"] != grant.access_token
	return session


def public(*made: keys.SigningKey) -> dict[str, Any]:
	return {"jwks": {"keys": [key.public() for key in made]}}


@pytest.mark.parametrize("algorithm", keys.MAKERS)
def test_private_key_jwt(algorithm: str, http: Http) -> None:
	"""Automatic takes the key, for the code and for the refresh; the old key works until it is no longer in the set."""
	old, new, unknown = (keys.generate(algorithm, "test", datetime.now(timezone.utc)) for _ in range(3))
	registered = {**public(old, new), "token_endpoint_auth_signing_alg": algorithm}
	with settings(client_authentication="private_key_jwt", client=registered) as (running, provider, client):
		grant = connect(running, provider, replace(client, signing_key=old), http)
		assert grant.account and grant.account.id == "alice"
		assert renewed(provider, replace(client, signing_key=new), grant, http).get(provider.userinfo_uri).ok
		with pytest.raises(ConfigurationError) as caught:
			connect(running, provider, replace(client, signing_key=unknown), http)
		assert caught.value.code == "invalid_client"


def test_client_secret_jwt(http: Http) -> None:
	with settings(client_secret=str(SECRET), client_authentication="client_secret_jwt") as (
		running,
		provider,
		client,
	):
		client = replace(client, client_secret=SECRET, authentication="client_secret_jwt")
		grant = connect(running, provider, client, http)
		assert renewed(provider, client, grant, http).get(provider.userinfo_uri).json()["sub"] == "alice"
		with pytest.raises(ConfigurationError) as caught:
			connect(running, provider, replace(client, client_secret=Secret(SECRET + "!")), http)
		assert caught.value.code == "invalid_client"


def test_pushed_requests(http: Http) -> None:
	"""A provider that takes no other requests: the client proves itself when it pushes, and the flow goes through."""
	features = {"pushedAuthorizationRequests": {"enabled": True, "requirePushedAuthorizationRequests": True}}
	with settings(client_secret=str(SECRET), features=features) as (running, provider, client):
		client = replace(client, client_secret=SECRET)
		assert provider.metadata["require_pushed_authorization_requests"] is True
		url, attempt = begin(provider, client, http=http)
		assert str(attempt.state) not in url
		landed = running.consent(url)
		grant = complete(provider, client, attempt, dict(parse_qsl(urlsplit(landed).query)), http)
		assert grant.account and grant.account.id == "alice"
		with pytest.raises(ConfigurationError) as caught:
			begin(provider, replace(client, client_secret=Secret("wrong")), http=http)
		assert caught.value.code == "invalid_client"
		refused = running.consent(begin(provider, replace(client, pushed_requests="never"), http=http)[0])
		assert "error=invalid_request" in refused


def test_resources(http: Http) -> None:
	"""RFC 8707: the access token is a JWT for the API alone, and so is the refreshed one; another API is refused."""
	features = {"resourceIndicators": {"enabled": True}}
	api = "https://api.example/accounts"
	with settings(client_secret=str(SECRET), features=features) as (running, provider, client):
		client = replace(
			client, client_secret=SECRET, scopes=("openid", "offline_access", "read"), resources=(api,)
		)
		grant = connect(running, provider, client, http)
		session = renewed(provider, client, grant, http)
		for token in (grant.access_token, session.token["access_token"]):
			claims = jwt.decode(token, options={"verify_signature": False})
			assert (claims["aud"], claims["scope"]) == (api, "read")
		again = connect(running, provider, client, http)
		with pytest.raises(ConfigurationError) as caught:
			renewed(provider, replace(client, resources=("https://api.example/others",)), again, http)
		assert caught.value.code == "invalid_target"


@dataclass(frozen=True)
class Tls:
	"""What a provider behind TLS, and a client that it knows by a certificate, are made of.

	:param issued: with a certificate of the authority that the provider trusts
	"""

	options: dict[str, Any]
	issued: keys.SigningKey
	http: Http


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tls:
	authority, issuer = certificate(tmp_path, "authority.example")
	monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
	pem, _ = certificate(tmp_path, "localhost", issuer=issuer)
	client, _ = certificate(tmp_path, "client.example", issuer=issuer)
	issued = keys.read(client.read_text(), datetime.now(timezone.utc))
	return Tls({"pem": str(pem), "authority": str(authority)}, issued, Http(allow_http_loopback=True))


MTLS = {
	"mTLS": {
		"enabled": True,
		"certificateBoundAccessTokens": True,
		"selfSignedTlsClientAuth": True,
		"tlsClientAuth": True,
	}
}
PUSHED = {"pushedAuthorizationRequests": {"enabled": True, "requirePushedAuthorizationRequests": True}}


def happy(running: certified.Provider, provider: Provider, weak: Client, http: Http) -> Session:
	"""Connect under FAPI 2.0, refresh, and ask the API; returns the session. What `weak` is without the profile, the
	provider refuses."""
	assert list(fapi.lacking(provider, weak)) == []
	provider, client = fapi.held(provider, weak)
	url, attempt = begin(provider, client, http=http)
	assert set(dict(parse_qsl(urlsplit(url).query))) == {"client_id", "request_uri"}
	landed = running.consent(url)
	grant = complete(provider, client, attempt, dict(parse_qsl(urlsplit(landed).query)), http)
	assert grant.token_type == ("DPoP" if client.dpop else "Bearer")
	assert grant.account and grant.account.name == "alice@example.com"
	session = renewed(provider, client, grant, http)
	api = userinfo_of(provider)
	assert session.get(api).json()["sub"] == "alice"
	bare = {"Authorization": f"{grant.token_type} {session.token['access_token']}"}
	assert requests.get(api, headers=bare, timeout=30).status_code in (400, 401)
	with pytest.raises(ConfigurationError) as caught:
		connect(running, provider, replace(weak, pushed_requests="never"), http)
	assert caught.value.code == "invalid_request"
	return session


def userinfo_of(provider: Provider) -> str:
	"""An API of the provider's that takes certificates."""
	return str(
		provider.metadata.get("mtls_endpoint_aliases", {}).get("userinfo_endpoint", provider.userinfo_uri)
	)


@pytest.mark.parametrize("nonce", [False, True])
def test_fapi(nonce: bool, http: Http) -> None:
	"""fapi2-security-profile-final-client-test-happy-path and
	fapi2-security-profile-final-client-test-happy-path-no-dpop-nonce, by private_key_jwt with DPoP: pushed, signed by a key,
	bound to another, with the nonce that provider and API ask for; the refreshed token is
	bound as well, and a bare one refused."""
	key = keys.generate("PS256", "test", datetime.now(timezone.utc))
	features = {"dPoP": {"enabled": True, "requireNonce": nonce}, **PUSHED}
	registered = {**public(key), "dpop_bound_access_tokens": True, "id_token_signed_response_alg": "ES256"}
	with settings(client_authentication="private_key_jwt", client=registered, features=features) as (
		running,
		provider,
		client,
	):
		session = happy(running, provider, replace(client, signing_key=key), http)
		bare = {"Authorization": f"DPoP {session.token['access_token']}"}
		assert session.get(provider.userinfo_uri, headers=bare).status_code in (400, 401)


@pytest.mark.parametrize(
	("authentication", "certificate_bound", "aliases"),
	[
		("private_key_jwt", True, True),
		("tls_client_auth", False, True),
		("tls_client_auth", True, True),
		("self_signed_tls_client_auth", False, True),
		("self_signed_tls_client_auth", True, False),
	],
)
def test_fapi_by_certificate(authentication: str, certificate_bound: bool, aliases: bool, tls: Tls) -> None:
	"""fapi2-security-profile-final-client-test-happy-path and
	fapi2-security-profile-final-client-test-happy-path-no-mtls-endpoint-aliases, where the client proves itself by
	a certificate (RFC 8705 2), or tokens are bound to it (3), or both.
	Another certificate is of no use, at the provider or at the API."""
	own, other = (keys.generate("ES256", "test", datetime.now(timezone.utc)) for _ in range(2))
	key = tls.issued if authentication == "tls_client_auth" else own
	registered = {**public(key), "id_token_signed_response_alg": "ES256"}
	if authentication == "tls_client_auth":
		registered = {"tls_client_auth_san_dns": "client.example", "id_token_signed_response_alg": "ES256"}
	bound = "tls_client_certificate_bound_access_tokens" if certificate_bound else "dpop_bound_access_tokens"
	with settings(
		client_authentication=authentication,
		client={**registered, bound: True},
		features={**MTLS, "dPoP": {"enabled": True, "requireNonce": True}, **PUSHED},
		tls={**tls.options, "aliases": aliases},
	) as (running, provider, client):
		assert bool(provider.metadata.get("mtls_endpoint_aliases")) is aliases
		weak = replace(
			client, signing_key=key, authentication=authentication, certificate_bound=certificate_bound
		)
		session = happy(running, provider, weak, tls.http)
		if authentication != "private_key_jwt":
			with pytest.raises(ConfigurationError) as caught:
				begin(*fapi.held(provider, replace(weak, signing_key=other)), http=tls.http)
			assert caught.value.code == "invalid_client"
		grant = session._refresher.store.load()
		assert grant
		if certificate_bound:
			stolen = Session(
				Refresher(
					provider,
					replace(weak, signing_key=other),
					MemoryStore(replace(grant, refresh_token=None)),
					tls.http,
				)
			)
			assert stolen.get(userinfo_of(provider)).status_code == 401
		assert revoke(provider, weak, grant, tls.http)
		with pytest.raises(ReconnectRequired):
			session.get(userinfo_of(provider))


def test_automatic_takes_the_certificate(tls: Tls) -> None:
	"""Where the provider does not take signatures; for the code, the refresh, and what the account is."""
	key = keys.generate("ES256", "test", datetime.now(timezone.utc))
	with settings(
		client_authentication="self_signed_tls_client_auth",
		client=public(key),
		features=MTLS,
		tls={**tls.options, "aliases": False},
	) as (running, provider, client):
		offered = ["client_secret_basic", "self_signed_tls_client_auth"]
		provider = replace(
			provider, metadata={**provider.metadata, "token_endpoint_auth_methods_supported": offered}
		)
		grant = connect(running, provider, replace(client, signing_key=key), tls.http)
		assert renewed(provider, replace(client, signing_key=key), grant, tls.http)
		assert grant.account and grant.account.id == "alice"
