"""Against a real provider, in a process of its own: what Authlib's server thinks of this client."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from connected_app.oauth import (
	Http,
	ReconnectRequired,
	Refresher,
	Secret,
	Session,
	Settings,
	begin,
	complete,
	revoke,
)
from connected_app.oauth.discovery import fetch
from demo.provider import Provider

from .helpers import CLIENT_SECRET, changed, settings_of
from .stores import MemoryStore


@pytest.fixture
def fresh(provider: Provider) -> Iterator[Provider]:
	provider.reset()
	yield provider


@pytest.fixture
def settings(fresh: Provider, http: Http) -> Settings:
	found = fetch(fresh.discovery_url, http)
	return settings_of(
		client_id="client",
		client_secret=Secret(CLIENT_SECRET),
		redirect_uri="https://site.example/callback/app",
		authorization_uri=found.authorization_endpoint,
		token_uri=found.token_endpoint,
		revocation_uri=found.revocation_endpoint,
		userinfo_uri=found.userinfo_endpoint,
		jwks_uri=found.jwks_uri,
		issuer=found.issuer,
		metadata=found.document,
		scopes=("openid", "email", "offline_access", "read"),
	)


def connect(provider: Provider, config: Settings, http: Http, **consent: Any) -> MemoryStore:
	url, attempt = begin(*config)
	back = provider.consent(url, **consent)
	assert back.startswith(config.client.redirect_uri + "?")
	parameters = parse_qs(urlsplit(back).query)
	return MemoryStore(complete(*config, attempt, parameters, http))


@pytest.mark.parametrize("method", ["automatic", "client_secret_basic", "client_secret_post"])
def test_connect_call_refresh_revoke(method: str, fresh: Provider, settings: Settings, http: Http) -> None:
	"""oidcc-client-test, oidcc-client-test-discovery-openid-config, oidcc-client-test-discovery-jwks-uri-keys,
	oidcc-client-test-refresh-token; core-defects 2, 6, 17, 28"""
	config = changed(settings, authentication=method)
	store = connect(fresh, config, http)
	assert store.grant and store.grant.account and store.grant.account.id == "alice"
	session = Session(Refresher(*config, store, http))
	assert session.get(fresh.issuer + "/api/hello").json() == {"hello": "Alice"}
	fresh.expire()
	before = store.grant
	assert session.get(fresh.issuer + "/api/hello").json() == {"hello": "Alice"}
	assert store.grant.refresh_token != before.refresh_token
	stats = fresh.stats()
	assert (stats["token_requests"], stats["refreshes"], stats["reuses"]) == (2, 1, 0)
	expected = "client_secret_basic" if method == "automatic" else method
	assert {request["auth_method"] for request in stats["requests"]} == {expected}
	assert revoke(*config, store.grant, http) is True
	with pytest.raises(ReconnectRequired) as caught:
		session.get(fresh.issuer + "/api/hello")
	assert caught.value.code == "grant_invalid"


def test_declined(fresh: Provider, settings: Settings, http: Http) -> None:
	"""core-defects 32"""
	with pytest.raises(ReconnectRequired) as caught:
		connect(fresh, settings, http, allow=False)
	assert caught.value.code == "consent_declined"


def test_narrower_scope(fresh: Provider, settings: Settings, http: Http) -> None:
	"""core-defects 29: what the person unticked is not among the grant's scopes."""
	store = connect(fresh, settings, http, scopes=["offline_access"])
	assert store.grant and set(store.grant.scopes) == {"openid", "offline_access"}


def test_code_is_spent(fresh: Provider, settings: Settings, http: Http) -> None:
	url, attempt = begin(*settings)
	parameters = parse_qs(urlsplit(fresh.consent(url)).query)
	complete(*settings, attempt, parameters, http)
	with pytest.raises(ReconnectRequired) as caught:
		complete(*settings, attempt, parameters, http)
	assert caught.value.code == "grant_invalid"


def test_stolen_code_is_worth_nothing(fresh: Provider, settings: Settings, http: Http) -> None:
	"""core-defects 1, 2: another's code in one's own attempt fails at the verifier (RFC 7636 4.6)."""
	stolen = parse_qs(urlsplit(fresh.consent(begin(*settings)[0])).query)
	_, attempt = begin(*settings)
	with pytest.raises(ReconnectRequired) as caught:
		complete(*settings, attempt, {**stolen, "state": attempt.state}, http)
	assert caught.value.code == "grant_invalid"


def test_sixteen_threads_after_a_401(fresh: Provider, settings: Settings, http: Http) -> None:
	"""core-defects 25: many sessions, all rejected at once: one refresh, no reuse, everybody is served."""
	store = connect(fresh, settings, http)
	refresher = Refresher(*settings, store, http)
	sessions = [Session(refresher) for _ in range(16)]
	fresh.expire()
	statuses: list[int] = []
	start = threading.Barrier(len(sessions))

	def work(session: Session) -> None:
		start.wait()
		statuses.append(session.get(fresh.issuer + "/api/hello").status_code)

	threads = [threading.Thread(target=work, args=[session]) for session in sessions]
	for thread in threads:
		thread.start()
	for thread in threads:
		thread.join()
	assert statuses == [200] * 16
	assert (fresh.stats()["refreshes"], fresh.stats()["reuses"]) == (1, 0)
