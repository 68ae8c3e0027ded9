"""azure-core, as the libraries for Microsoft Graph and Azure use it."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import Awaitable, Callable
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

from azure.core import AsyncPipelineClient, PipelineClient
from azure.core.credentials import SupportsTokenInfo, TokenCredential
from azure.core.credentials_async import AsyncSupportsTokenInfo, AsyncTokenCredential
from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy, BearerTokenCredentialPolicy
from azure.core.pipeline.transport import AsyncioRequestsTransport, RequestsTransport
from azure.core.rest import HttpRequest

from connected_app.oauth.adapters.azure import AsyncCredential, AsyncPolicy, Credential, Policy

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


def test_a_credential(source: TokenSource, clock: Clock) -> None:
	credential = Credential(source)
	assert isinstance(credential, TokenCredential) and isinstance(credential, SupportsTokenInfo)
	with credential:
		given = credential.get_token(SCOPE)
	assert given.token == ACCESS_TOKEN
	assert given.expires_on == int(clock().timestamp()) + 3600


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


class AsyncClient:
	"""As a library of Microsoft's for clients that are awaited is built; azure-core's own transport needs nothing else."""

	def __init__(self, url: str, policy: Any) -> None:
		self.url = url + "/api"
		self.pipeline = AsyncPipelineClient(url, policies=[policy], transport=AsyncioRequestsTransport())

	async def get(self) -> Any:
		return await self.pipeline.send_request(HttpRequest("GET", self.url), enforce_https=False)


def test_an_async_credential(source: TokenSource, clock: Clock) -> None:
	credential = AsyncCredential(source)
	assert isinstance(credential, AsyncTokenCredential) and isinstance(credential, AsyncSupportsTokenInfo)

	async def run() -> Any:
		async with credential:
			return await credential.get_token(SCOPE), await credential.get_token_info(SCOPE)

	given, info = asyncio.run(run())
	assert given.token == info.token == ACCESS_TOKEN
	assert given.expires_on == int(clock().timestamp()) + 3600
	assert info.refresh_on == info.expires_on - source.leeway


@pytest.mark.parametrize("number", [1, 10])
def test_many_at_once_refresh_once(number: int, source: TokenSource, server: Hostile, clock: Clock) -> None:
	"""By one client, whose policy has a lock of its own, or by many with one credential."""
	server.script("/api", api("new"))
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	clock.advance(3599)
	credential = AsyncCredential(source)
	clients = [AsyncClient(server.url, AsyncPolicy(credential, SCOPE)) for _ in range(number)]

	async def run() -> list[Any]:
		return await asyncio.gather(*(clients[turn % number].get() for turn in range(10)))

	assert [answer.json() for answer in asyncio.run(run())] == [{"ok": True}] * 10
	assert server.paths() == {"/api": 10, "/token": 1}


def held(server: Hostile) -> threading.Event:
	"""The token endpoint answers only when this is set."""
	free = threading.Event()

	def answer(_request: Any) -> Answer:
		assert free.wait(60)
		return as_json({"access_token": "new", "expires_in": 3600})

	server.script("/token", answer)
	return free


async def asking(credential: AsyncCredential, server: Hostile) -> asyncio.Task[Any]:
	"""A request for a token that is at the provider by now."""
	asked = asyncio.create_task(credential.get_token(SCOPE))
	while not server.to("/token"):
		await asyncio.sleep(0.001)
	return asked


def test_the_loop_goes_on(source: TokenSource, server: Hostile, clock: Clock) -> None:
	"""The provider answers only once something else has run in the same event loop."""
	ran = held(server)
	clock.advance(3599)
	credential = AsyncCredential(source)

	async def run() -> Any:
		asked = await asking(credential, server)
		ran.set()
		return await asked

	assert asyncio.run(run()).token == "new"


def test_one_who_gives_up_does_not_wait(source: TokenSource, server: Hostile, clock: Clock) -> None:
	"""What was begun is finished, and stored: the refresh token before it is spent."""
	given_up = held(server)
	clock.advance(3599)
	credential = AsyncCredential(source)

	async def run() -> Any:
		asked = await asking(credential, server)
		asked.cancel()
		with pytest.raises(asyncio.CancelledError):
			await asked
		given_up.set()
		return await credential.get_token(SCOPE)

	assert asyncio.run(run()).token == "new"
	assert len(server.to("/token")) == 1


def test_awaited_in_one_event_loop_after_the_other(source: TokenSource, server: Hostile) -> None:
	server.script("/api", api(ACCESS_TOKEN))
	credential = AsyncCredential(source)

	async def run() -> list[int]:
		clients = [AsyncClient(server.url, AsyncPolicy(credential, SCOPE)) for _ in range(3)]
		return [answer.status_code for answer in await asyncio.gather(*(each.get() for each in clients))]

	assert [asyncio.run(run()) for _ in range(2)] == [[200] * 3] * 2


def awaited(work: Callable[[], Awaitable[Any]], times: int = 2) -> list[Any]:
	async def run() -> list[Any]:
		return [await work() for _ in range(times)]

	return asyncio.run(run())


def test_awaited_after_a_401(make_source: MakeSource, server: Hostile) -> None:
	"""With `AsyncPolicy` the request is repeated once; with azure-core's own policy the next one has another token."""
	server.script("/api", challenged(api("new")))
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	mine, others = make_source(), make_source()
	client = AsyncClient(server.url, AsyncPolicy(AsyncCredential(mine), SCOPE))
	assert [answer.json() for answer in awaited(client.get)] == [{"ok": True}] * 2
	assert server.paths() == {"/api": 3, "/token": 1}
	client = AsyncClient(server.url, AsyncBearerTokenCredentialPolicy(AsyncCredential(others), SCOPE))
	assert [answer.status_code for answer in awaited(client.get)] == [401, 200]
	assert server.paths() == {"/api": 5, "/token": 1}


def test_awaited_many_after_a_401(source: TokenSource, server: Hostile) -> None:
	server.script("/api", challenged(api("new")))
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	client = AsyncClient(server.url, AsyncPolicy(AsyncCredential(source), SCOPE))

	async def run() -> list[Any]:
		return await asyncio.gather(*(client.get() for _ in range(10)))

	assert {answer.status_code for answer in asyncio.run(run())} == {200}
	assert len(server.to("/token")) == 1


def test_awaited_at_an_api_that_always_refuses(make_source: MakeSource, server: Hostile) -> None:
	server.script("/api", challenged(lambda _request: Answer(status=401)))
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	for _ in range(2):
		client = AsyncClient(server.url, AsyncPolicy(AsyncCredential(make_source()), SCOPE))
		assert [answer.status_code for answer in awaited(client.get)] == [401] * 2
	assert server.paths() == {"/api": 5, "/token": 1}


def test_awaited_what_an_api_claims_of_another_token(source: TokenSource, server: Hostile) -> None:
	claims = base64.b64encode(b'{"access_token":{"nbf":{"essential":true}}}').decode()
	challenge = f'Bearer error="insufficient_claims", claims="{claims}"'
	server.script("/api", Answer(status=401, headers={"WWW-Authenticate": challenge}), api("new"))
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	client = AsyncClient(server.url, AsyncPolicy(AsyncCredential(source), SCOPE))
	assert awaited(client.get, 1)[0].json() == {"ok": True}
	assert server.paths() == {"/api": 2, "/token": 1}


def test_awaited_what_is_about_the_user_refreshes_nothing(source: TokenSource, server: Hostile) -> None:
	"""RFC 9470 3"""
	challenge = 'Bearer error="insufficient_user_authentication", acr_values="phr"'
	server.script("/api", Answer(status=401, headers={"WWW-Authenticate": challenge}))
	client = AsyncClient(server.url, AsyncPolicy(AsyncCredential(source), SCOPE))
	assert awaited(client.get, 1)[0].status_code == 401
	assert server.paths() == {"/api": 1}


def test_awaited_failures_are_ours(source: TokenSource, server: Hostile, clock: Clock) -> None:
	client = AsyncClient(server.url, AsyncPolicy(AsyncCredential(source), SCOPE))
	for status, said, branch in (
		(401, "invalid_client", ConfigurationError),
		(503, "server_error", TemporaryFailure),
		(400, "invalid_grant", ReconnectRequired),
	):
		clock.advance(3600)
		server.script("/token", as_json({"error": said}, status))
		with pytest.raises(branch):
			awaited(client.get)
	plain = AsyncClient("http://api.example", AsyncPolicy(AsyncCredential(source), SCOPE))
	with pytest.raises(ConfigurationError) as caught:
		awaited(plain.get)
	assert caught.value.code == "uri_insecure"
	source.grant = replace(source.grant, token_type="DPoP", dpop_key=Secret("k"))
	with pytest.raises(ConfigurationError):
		AsyncCredential(source)
	assert server.to("/api") == []
