from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from connected_app.oauth import Http, Secret, Settings, id_token
from demo.provider import Provider, start

from .helpers import CLIENT_SECRET, Clock, OpenIDProvider, settings_of
from .hostile import Hostile

# How long an example takes says how busy the machine is, not what is wrong. A change is tried with the same examples each
# time; CI's weekly run looks for others.
settings.register_profile(
	"ours",
	deadline=None,
	suppress_health_check=[HealthCheck.too_slow],
	derandomize=not os.environ.get("CONNECTED_APP_RANDOM_EXAMPLES"),
)
settings.load_profile("ours")


@pytest.fixture
def server() -> Iterator[Hostile]:
	hostile = Hostile()
	yield hostile
	hostile.close()


@pytest.fixture
def clock() -> Clock:
	return Clock()


@pytest.fixture
def http() -> Http:
	"""Patient: how long a server takes says how busy the machine is, not what is wrong."""
	return Http(allow_http_loopback=True, connect_timeout=30, read_timeout=30, total_timeout=60)


@pytest.fixture
def impatient() -> Http:
	"""For servers that keep it waiting longer than it waits."""
	return Http(allow_http_loopback=True, connect_timeout=2, read_timeout=1, total_timeout=2)


@pytest.fixture
def config(server: Hostile) -> Settings:
	"""Plain OAuth 2.0, no OpenID."""
	return settings_of(
		client_id="client",
		client_secret=Secret(CLIENT_SECRET),
		redirect_uri="https://site.example/callback/app",
		authorization_uri=server.url + "/authorize",
		token_uri=server.url + "/token",
		scopes=("read", "write"),
	)


@pytest.fixture
def op(server: Hostile, http: Http) -> OpenIDProvider:
	return OpenIDProvider(server, http)


@pytest.fixture(autouse=True)
def no_key_sets_from_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(id_token, "key_sets", id_token.KeySets())


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
	"""The demo's provider: a real one, in a process of its own."""
	client = f"client:{CLIENT_SECRET}:https://site.example/callback/app"
	with start(clients=[client]) as running:
		yield running
