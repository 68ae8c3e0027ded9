"""Token exchange (RFC 8693) at a server that is not ours: idpyoidc, over sockets."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any
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
	Secret,
	Session,
	begin,
	complete,
	discovery,
)
from connected_app.oauth.grant_types import TokenExchange

from .helpers import CLIENT_SECRET
from .stores import MemoryStore

pytest.importorskip("idpyoidc")
REDIRECT_URI = "https://site.example/callback/app"
API = "https://api.example"
FRONT = Client(
	client_id="front",
	client_secret=Secret(CLIENT_SECRET),
	redirect_uri=REDIRECT_URI,
	scopes=("openid", "email"),
)
BACK = replace(
	FRONT, client_id="back", client_secret=Secret("other-secret"), token_parameters={"audience": API}
)


@pytest.fixture(scope="module")
def idp() -> Iterator[Provider]:
	clients = [f"{client.client_id}:{client.client_secret}:{REDIRECT_URI}" for client in (FRONT, BACK)]
	command = [sys.executable, "-m", "tests.idpyoidc_server", *clients]
	with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
		assert process.stdout
		try:
			issuer = json.loads(process.stdout.readline())["issuer"]
			found = discovery.fetch(
				f"{issuer}/.well-known/openid-configuration", Http(allow_http_loopback=True)
			)
			yield Provider(
				issuer=found.issuer,
				authorization_uri=found.authorization_endpoint,
				token_uri=found.token_endpoint,
				userinfo_uri=found.userinfo_endpoint,
				jwks_uri=found.jwks_uri,
				metadata=found.document,
			)
		finally:
			process.kill()


@pytest.fixture
def source(idp: Provider, http: Http) -> Grant:
	"""What diana has granted to another client."""
	url, attempt = begin(idp, FRONT)
	landed = requests.get(url, allow_redirects=False, timeout=10).headers["Location"]
	return complete(idp, FRONT, attempt, dict(parse_qsl(urlsplit(landed).query)), http)


def exchanged(idp: Provider, client: Client, source: Grant, http: Http) -> tuple[Refresher, MemoryStore]:
	store = MemoryStore()
	return Refresher(idp, client, store, http, grant_type=TokenExchange(lambda: source)), store


def test_exchange(idp: Provider, source: Grant, http: Http) -> None:
	"""2.1, 2.2: another token, for the same user; the next comes from the next exchange, and has no refresh token."""
	refresher, store = exchanged(idp, BACK, source, http)
	assert Session(refresher).get(idp.userinfo_uri).json()["email"] == "diana@example.com"
	first = store.grant
	assert first and first.access_token != source.access_token
	assert first.account == source.account and first.refresh_token is None and first.expires_at
	assert set(first.scopes or ()) == {"openid", "email"}
	assert first.expires_at > datetime.now(timezone.utc)
	store.grant = replace(first, expires_at=first.issued_at)
	assert Session(refresher).get(idp.userinfo_uri).ok
	assert store.grant and store.grant.access_token != first.access_token


@pytest.mark.parametrize(
	("changes", "code"),
	[
		({"token_parameters": {"audience": "https://elsewhere.example"}}, "invalid_target"),
		({"resources": ("https://elsewhere.example",)}, "invalid_target"),
		({"scopes": ("profile",)}, "invalid_scope"),
		({"client_secret": Secret("wrong")}, "invalid_client"),
		({"token_parameters": {"requested_token_type": "urn:example:token"}}, "exchange_refused"),
	],
)
def test_refused(idp: Provider, source: Grant, http: Http, changes: dict[str, Any], code: str) -> None:
	refresher, store = exchanged(idp, replace(BACK, **changes), source, http)
	with pytest.raises(ConfigurationError) as caught:
		refresher.renew(None)
	assert caught.value.code == code
	assert store.grant is None and source.access_token not in f"{caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize("wrong", ["no-token", "other.provider.token"])
def test_a_token_that_is_none(idp: Provider, source: Grant, http: Http, wrong: str) -> None:
	"""2.2.2: the error is `invalid_request`, where others say `invalid_grant`."""
	refresher, store = exchanged(idp, BACK, replace(source, access_token=Secret(wrong)), http)
	with pytest.raises(ConfigurationError) as caught:
		refresher.renew(None)
	assert caught.value.code == "exchange_refused"
	assert store.grant is None
