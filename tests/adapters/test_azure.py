"""azure-core, as the libraries for Microsoft Graph and Azure use it."""

from __future__ import annotations

import base64
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from connected_app.oauth import ConfigurationError, ReconnectRequired, Secret, TemporaryFailure, TokenSource

from ..helpers import ACCESS_TOKEN, Clock, a_grant
from ..hostile import Answer, Hostile, as_json
from ..stores import MemoryStore
from ..test_session import api
from .conftest import MakeSource

pytest.importorskip("azure.core", reason="in the virtualenv of the newest libraries only")

from azure.core import PipelineClient
from azure.core.credentials import SupportsTokenInfo, TokenCredential
from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.policies import BearerTokenCredentialPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest

from connected_app.oauth.adapters.azure import Credential, Policy

SCOPE = "https://graph.microsoft.com/.default"


@pytest.fixture
def clock() -> Clock:
	"""azure-core goes by the time of day."""
	return Clock(datetime.now(timezone.utc))


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
	return MemoryStore(a_grant(issued_at=clock(), expires_at=clock() + timedelta(hours=1)))


class Client:
	"""As a library of Microsoft's is built."""

	def __init__(self, url: str, policy: Any) -> None:
		self.url = url + "/api"
		self.pipeline = PipelineClient(url, policies=[policy], transport=RequestsTransport())

	def get(self) -> Any:
		return self.pipeline.send_request(HttpRequest("GET", self.url), enforce_https=False)


def test_a_credential(source: TokenSource) -> None:
	credential = Credential(source)
	assert isinstance(credential, TokenCredential) and isinstance(credential, SupportsTokenInfo)
	with credential:
		given = credential.get_token(SCOPE)
	assert given.token == ACCESS_TOKEN
	assert 3590 < given.expires_on - time.time() <= 3600


def test_refresh_before_expiry(source: TokenSource, server: Hostile, clock: Clock) -> None:
	"""The library keeps the token until it is due here."""
	client = Client(server.url, BearerTokenCredentialPolicy(Credential(source), SCOPE))
	server.script("/api", api(ACCESS_TOKEN))
	for _ in range(3):
		assert client.get().json() == {"ok": True}
	assert len(server.to("/api")) == 3
	credential = Credential(source)
	given = credential.get_token_info(SCOPE)
	assert given.refresh_on == given.expires_on - source.leeway
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	clock.advance(3599)
	assert credential.get_token_info(SCOPE).token == credential.get_token(SCOPE).token == "new"
	assert len(server.to("/token")) == 1


def test_a_token_without_an_end(source: TokenSource) -> None:
	source.grant = replace(source.grant, expires_at=None)
	given = Credential(source).get_token_info(SCOPE)
	assert given.refresh_on is None and given.expires_on > time.time() + 3600


def test_after_a_401_the_next_request_uses_what_others_have_refreshed(
	make_source: MakeSource, server: Hostile
) -> None:
	"""With azure-core's own policy."""
	mine, others = make_source(), make_source()
	client = Client(server.url, BearerTokenCredentialPolicy(Credential(mine), SCOPE))
	url = server.script("/api", api(ACCESS_TOKEN))
	assert client.get().json() == {"ok": True}
	server.script("/api", api("new"))
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	others.renew()
	assert others.grant.access_token == "new" and url
	assert [client.get().status_code for _ in range(2)] == [401, 200]
	assert len(server.to("/token")) == 1


def challenged(answer: Any) -> Any:
	"""As RFC 6750 3 has it: with the scheme."""

	def scripted(request: Any) -> Answer:
		given = answer(request)
		return replace(given, headers={**given.headers, "WWW-Authenticate": "Bearer"})

	return scripted


def test_401_refreshes_once_and_repeats_once(source: TokenSource, server: Hostile) -> None:
	client = Client(server.url, Policy(Credential(source), SCOPE))
	server.script("/api", challenged(api("new")))
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	assert [client.get().json() for _ in range(2)] == [{"ok": True}] * 2
	assert server.paths() == {"/api": 3, "/token": 1}


def test_an_api_that_always_refuses(make_source: MakeSource, server: Hostile) -> None:
	server.script("/api", challenged(lambda _request: Answer(status=401)))
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	for _ in range(2):
		client = Client(server.url, Policy(Credential(make_source()), SCOPE))
		assert [client.get().status_code for _ in range(2)] == [401] * 2
	assert server.paths() == {"/api": 5, "/token": 1}


def test_what_an_api_claims_of_another_token(source: TokenSource, server: Hostile) -> None:
	"""Continuous access evaluation: azure-core itself asks again, with what the API wants."""
	claims = base64.b64encode(b'{"access_token":{"nbf":{"essential":true}}}').decode()
	challenge = f'Bearer error="insufficient_claims", claims="{claims}"'
	server.script("/api", Answer(status=401, headers={"WWW-Authenticate": challenge}), api("new"))
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	client = Client(server.url, BearerTokenCredentialPolicy(Credential(source), SCOPE))
	assert client.get().json() == {"ok": True}
	assert server.paths() == {"/api": 2, "/token": 1}


def test_what_is_about_the_user_refreshes_nothing(source: TokenSource, server: Hostile) -> None:
	"""RFC 9470 3"""
	challenge = 'Bearer error="insufficient_user_authentication", acr_values="phr"'
	server.script("/api", Answer(status=401, headers={"WWW-Authenticate": challenge}))
	client = Client(server.url, Policy(Credential(source), SCOPE))
	assert client.get().status_code == 401
	assert server.paths() == {"/api": 1}


def test_failures_are_ours(source: TokenSource, server: Hostile, clock: Clock) -> None:
	client = Client(server.url, Policy(Credential(source), SCOPE))
	for status, said, branch in (
		(401, "invalid_client", ConfigurationError),
		(503, "server_error", TemporaryFailure),
		(400, "invalid_grant", ReconnectRequired),
	):
		clock.advance(3600)
		server.script("/token", as_json({"error": said}, status))
		with pytest.raises(branch):
			client.get()
	assert server.to("/api") == []


def test_https_only(source: TokenSource) -> None:
	"""With its own policy, azure-core itself sees to it."""
	client = PipelineClient(
		"http://api.example", policies=[BearerTokenCredentialPolicy(Credential(source), SCOPE)]
	)
	with pytest.raises(ServiceRequestError):
		client.send_request(HttpRequest("GET", "http://api.example/x"))
	client = PipelineClient("http://api.example", policies=[Policy(Credential(source), SCOPE)])
	with pytest.raises(ConfigurationError) as caught:
		client.send_request(HttpRequest("GET", "http://api.example/x"), enforce_https=False)
	assert caught.value.code == "uri_insecure"


def test_bound_tokens_are_refused(source: TokenSource) -> None:
	source.grant = replace(source.grant, token_type="DPoP", dpop_key=Secret("k"))
	with pytest.raises(ConfigurationError) as caught:
		Credential(source)
	assert caught.value.code == "dpop_needs_session"
