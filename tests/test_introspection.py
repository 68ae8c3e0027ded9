"""Introspection (RFC 7662): where only that tells when a token ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from connected_app.oauth import (
	CLIENT_CREDENTIALS,
	Client,
	Http,
	Provider,
	Refresher,
	Secret,
	Settings,
	begin,
	complete,
	discovery,
)
from connected_app.oauth.clock import utc_now
from demo.provider import start

from .helpers import CLIENT_SECRET, NOW, Clock, a_grant, changed
from .hostile import Answer, Hostile, as_json
from .stores import MemoryStore

REDIRECT = "https://site.example/callback/app"


def test_at_authlib(http: Http) -> None:
	"""A provider that does not say it with the token: it is asked at the consent, and later tokens live as long."""
	with start(clients=[f"client:{CLIENT_SECRET}:{REDIRECT}"], untold=True, expires_in=900) as running:
		found = discovery.fetch(running.discovery_url, Http(allow_http_loopback=True))
		provider = Provider(
			authorization_uri=found.authorization_endpoint,
			token_uri=found.token_endpoint,
			introspection_uri=found.introspection_endpoint,
		)
		client = Client(
			client_id="client",
			client_secret=Secret(CLIENT_SECRET),
			redirect_uri=REDIRECT,
			scopes=("read", "offline_access"),
		)

		def connect(provider: Provider) -> Any:
			url, attempt = begin(provider, client)
			landed = dict(parse_qsl(urlsplit(running.consent(url)).query))
			return complete(provider, client, attempt, landed, http)

		def is_soon(expires_at: Any) -> bool:
			return abs((expires_at - utc_now()).total_seconds() - 900) < 20

		assert connect(replace(provider, introspection_uri="")).expires_at is None
		grant = connect(provider)
		assert is_soon(grant.expires_at)
		store = MemoryStore(replace(grant, expires_at=grant.issued_at))
		# Without the end of the one before, nothing would be known of the new one's.
		store.grant = replace(
			grant, issued_at=utc_now() - timedelta(hours=1), expires_at=utc_now() - timedelta(minutes=45)
		)
		assert is_soon(Refresher(provider, client, store, http).renew(store.grant).expires_at)
		own = Refresher(provider, client, MemoryStore(), http, grant_type=CLIENT_CREDENTIALS).renew(None)
		assert is_soon(own.expires_at)


@pytest.mark.parametrize(
	"answer",
	[
		as_json({"active": False}),
		as_json({"active": True}),
		as_json({"active": True, "exp": "soon"}),
		as_json({"active": "true", "exp": 1772370000}),
		as_json({"error": "invalid_client"}, 401),
		Answer(b"<h1>Busy</h1>", 503),
		Answer(b"signed.by.us", headers={"Content-Type": "application/token-introspection+jwt"}),
		Answer(b"", cut=0),
	],
)
def test_costs_nothing(config: Settings, server: Hostile, http: Http, answer: Answer) -> None:
	"""The token is good without: what cannot be told is not known, and signed answers (RFC 9701) are not read."""
	server.script("/token", as_json({"access_token": "access-token-1c7"}))
	server.script("/introspect", answer)
	provider, client = changed(config, introspection_uri=server.url + "/introspect")
	store = MemoryStore()
	Refresher(provider, client, store, http, grant_type=CLIENT_CREDENTIALS).renew(None)
	assert store.grant and store.grant.expires_at is None
	(asked,) = server.to("/introspect")
	assert asked.form["token"] == "access-token-1c7" and asked.form["token_type_hint"] == "access_token"
	assert asked.form["client_secret"] == CLIENT_SECRET


def test_not_asked(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""Where the provider says it, and for a token that is refreshed; one that nobody refreshes is asked about each time."""
	server.script(
		"/token",
		as_json({"access_token": "first", "expires_in": 60}),
		as_json({"access_token": "second"}),
	)
	server.script("/introspect", as_json({"active": True, "exp": int(NOW.timestamp()) + 300}))
	provider, client = changed(config, introspection_uri=server.url + "/introspect")
	store = MemoryStore()
	for number in (0, 1):
		Refresher(provider, client, store, http, clock, grant_type=CLIENT_CREDENTIALS).renew(store.grant)
		assert len(server.to("/introspect")) == number
		clock.advance(60)
	assert store.grant and store.grant.expires_at == NOW + timedelta(seconds=300)
	Refresher(provider, client, MemoryStore(a_grant(expires_at=clock.now)), http, clock).current()
	assert len(server.to("/introspect")) == 1
