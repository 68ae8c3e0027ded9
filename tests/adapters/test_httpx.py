"""httpx and httpx2, with a client that waits and with one that is awaited."""

from __future__ import annotations

import asyncio
import importlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from connected_app.oauth import (
	ConfigurationError,
	Http,
	ReconnectRequired,
	Refresher,
	Secret,
	Settings,
	TemporaryFailure,
	TokenSource,
	dpop,
)

from ..helpers import ACCESS_TOKEN, NOW, Clock, a_grant, changed
from ..hostile import Answer, Hostile, Request, as_json
from ..stores import MemoryStore
from ..test_dpop import Strict
from ..test_session import api
from .conftest import MakeSource

pytest.importorskip("httpx", reason="other libraries are in the virtualenv of the newest libraries only")

MANY = 100


class Library:
	"""One of the libraries, as a caller that waits or awaits.

	`ask` sends one request and gives its answer; `kept` is a client that several of them share.
	"""

	def __init__(self, name: str, awaited: bool) -> None:
		self.httpx = pytest.importorskip(name)
		self.auth = importlib.import_module(f"connected_app.oauth.adapters.{name}").Auth
		self.awaited = awaited

	def __call__(self, source: TokenSource, *requests: dict[str, Any], **client: Any) -> list[Any]:
		"""The answers to `requests`, which one client sends one after the other."""
		auth = self.auth(source)
		# No certificates are read, which takes longer than all else: nothing here has one.
		client |= {"verify": False, "timeout": 60}
		if not self.awaited:
			with self.httpx.Client(auth=auth, **client) as one:
				return [one.request(**{"method": "GET", **each}) for each in requests]

		async def run() -> list[Any]:
			async with self.httpx.AsyncClient(auth=auth, **client) as one:
				return [await one.request(**{"method": "GET", **each}) for each in requests]

		return asyncio.run(run())

	def together(self, source: TokenSource, url: str, number: int) -> list[Any]:
		"""The answers to `number` requests at the same time, by one client."""
		auth = self.auth(source)

		async def run() -> list[Any]:
			async with self.httpx.AsyncClient(auth=auth, timeout=60, verify=False) as one:
				return await asyncio.gather(*(one.get(url) for _ in range(number)))

		return asyncio.run(run())


@pytest.fixture(
	params=[("httpx", False), ("httpx", True), ("httpx2", False), ("httpx2", True)],
	ids=lambda param: f"{param[0]}-{'async' if param[1] else 'sync'}",
)
def library(request: pytest.FixtureRequest) -> Library:
	return Library(*request.param)


@pytest.fixture(params=["httpx", "httpx2"])
def awaited(request: pytest.FixtureRequest) -> Library:
	return Library(request.param, True)


def test_authorized(library: Library, source: TokenSource, server: Hostile) -> None:
	"""RFC 6750 2.1: in the header, and nowhere else."""
	url = server.script("/api", api(ACCESS_TOKEN))
	(answer,) = library(source, {"url": url, "params": {"q": "1"}})
	assert answer.json() == {"ok": True}
	assert server.requests[0].target == "/api?q=1"


@pytest.mark.parametrize(
	"body", [{}, {"json": {"a": 1}}, {"data": {"a": "1"}}, {"content": b"x"}, {"content": "x"}], ids=str
)
def test_401_refreshes_once_and_repeats_once(
	body: dict[str, Any], library: Library, source: TokenSource, server: Hostile, store: MemoryStore
) -> None:
	url = server.script("/api", api("new"))
	server.script("/token", as_json({"access_token": "new", "refresh_token": "r2"}))
	request = {"method": "POST", "url": url, "headers": {"X-Mine": "1"}, **body}
	answers = library(source, request, request)
	assert [answer.json() for answer in answers] == [{"ok": True}] * 2
	first, second, third = server.to("/api")
	assert first.body == second.body == third.body
	assert second.headers["x-mine"] == "1"
	assert len(server.to("/token")) == 1
	assert store.grant and store.grant.refresh_token == "r2"


def test_an_api_that_always_refuses(library: Library, make_source: MakeSource, server: Hostile) -> None:
	"""As in a session: a second 401 is the caller's, and many requests, by several clients, cost one refresh."""
	url = server.script("/api", Answer(status=401))
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	answers = [
		*library(make_source(), {"url": url}, {"url": url}),
		*library(make_source(), {"url": url}, {"url": url}),
	]
	assert [answer.status_code for answer in answers] == [401] * 4
	assert server.paths() == {"/api": 5, "/token": 1}


def test_401_without_refresh_token(library: Library, source: TokenSource, server: Hostile) -> None:
	source.grant = replace(source.grant, refresh_token=None)
	url = server.script("/api", Answer(status=401))
	assert library(source, {"url": url})[0].status_code == 401
	assert server.paths() == {"/api": 1}


def once() -> Iterator[bytes]:
	yield b"x"


async def once_awaited() -> Any:
	yield b"x"


@pytest.mark.parametrize(
	"body", [{"files": {"f": b"x"}}, {"content": "once"}], ids=["files", "what is read once"]
)
def test_what_cannot_be_repeated_is_not(
	body: dict[str, Any], library: Library, source: TokenSource, server: Hostile
) -> None:
	if "content" in body:
		body = {"content": once_awaited() if library.awaited else once()}
	url = server.script("/api", Answer(status=401))
	assert library(source, {"method": "POST", "url": url, **body})[0].status_code == 401
	assert server.paths() == {"/api": 1}


def test_refresh_before_expiry(library: Library, source: TokenSource, server: Hostile, clock: Clock) -> None:
	url = server.script("/api", api("new"))
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	clock.advance(3600)
	assert library(source, {"url": url})[0].json() == {"ok": True}
	assert server.paths() == {"/token": 1, "/api": 1}


def test_a_long_lived_client_uses_what_others_have_refreshed(
	library: Library, make_source: MakeSource, server: Hostile, clock: Clock
) -> None:
	mine, others = make_source(), make_source()
	url = server.script("/api", api("new"))
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	assert library(mine, {"url": server.script("/first", api(ACCESS_TOKEN))})[0].json() == {"ok": True}
	clock.advance(3600)
	assert others.renew().access_token == "new"
	assert library(mine, {"url": url})[0].json() == {"ok": True}
	assert len(server.to("/token")) == 1


def test_many_at_once(awaited: Library, source: TokenSource, server: Hostile, clock: Clock) -> None:
	"""One refreshes, and the others wait for it."""
	url = server.script("/api", api("new"))
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	clock.advance(3600)
	began = time.monotonic()
	answers = awaited.together(source, url, MANY)
	print(f"{MANY} requests with one expired token: {time.monotonic() - began:.2f} s")
	assert [answer.json() for answer in answers] == [{"ok": True}] * MANY
	assert server.paths() == {"/token": 1, "/api": MANY}


def test_many_at_once_whose_token_is_rejected(
	awaited: Library,
	source: TokenSource,
	server: Hostile,
	store: MemoryStore,
	monkeypatch: pytest.MonkeyPatch,
) -> None:
	"""The first of them asks for another one; of the others, none asks even for the lock."""
	locks: list[int] = []
	original = store.exclusive
	monkeypatch.setattr(store, "exclusive", lambda: locks.append(1) or original())
	url = server.script("/api", api("new"))
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	assert all(answer.json()["ok"] for answer in awaited.together(source, url, 20))
	assert len(server.to("/token")) == len(locks) == 1


def held(server: Hostile, answer: Answer) -> tuple[Callable[[Request], Answer], threading.Event]:
	"""A token endpoint that answers when somebody lets it."""
	release = threading.Event()

	def scripted(_request: Request) -> Answer:
		assert release.wait(60), "nobody has let the token endpoint answer"
		return answer

	return scripted, release


def test_the_loop_goes_on(awaited: Library, source: TokenSource, server: Hostile, clock: Clock) -> None:
	"""The provider answers only once something else has run in the same event loop."""
	scripted, release = held(server, as_json({"access_token": "new", "expires_in": 3600}))
	server.script("/token", scripted)
	url = server.script("/api", api("new"))
	clock.advance(3600)

	async def run() -> Any:
		async with awaited.httpx.AsyncClient(auth=awaited.auth(source), timeout=60, verify=False) as client:
			asked = asyncio.create_task(client.get(url))
			while not server.to("/token"):
				await asyncio.sleep(0.001)
			release.set()
			return await asked

	assert asyncio.run(run()).json() == {"ok": True}


def test_a_request_that_is_given_up(
	awaited: Library, make_source: MakeSource, server: Hostile, http: Http, clock: Clock, store: MemoryStore
) -> None:
	"""It does not wait for the provider, whose answer is stored all the same, and used by the next."""
	anyio = pytest.importorskip("anyio")
	source = make_source()
	scripted, release = held(
		server, as_json({"access_token": "new", "expires_in": 3600, "refresh_token": "r2"})
	)
	server.script("/token", scripted)
	url = server.script("/api", api("new"))
	clock.advance(3600)

	async def run() -> Any:
		async with awaited.httpx.AsyncClient(auth=awaited.auth(source), timeout=60, verify=False) as client:
			async with anyio.create_task_group() as group:
				group.start_soon(client.get, url)
				while not server.to("/token"):
					await asyncio.sleep(0.001)
				group.cancel_scope.cancel()
			assert server.to("/api") == [] and store.saves == 0
			release.set()
			return await client.get(url)

	assert asyncio.run(run()).json() == {"ok": True}
	assert (len(server.to("/token")), store.saves) == (1, 1)


def test_in_one_event_loop_after_the_other(
	awaited: Library, source: TokenSource, server: Hostile, clock: Clock
) -> None:
	auth = awaited.auth(source)
	url = server.script("/api", Answer())
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))

	async def run() -> int:
		clock.advance(3600)
		async with awaited.httpx.AsyncClient(auth=auth, timeout=60, verify=False) as client:
			return int((await client.get(url)).status_code)

	assert [asyncio.run(run()) for _ in range(2)] == [200, 200]
	assert server.paths() == {"/token": 2, "/api": 2}


def test_failures_are_ours(library: Library, source: TokenSource, server: Hostile, clock: Clock) -> None:
	"""Each of the three branches comes out of a request as it is."""
	url = server.script("/api", Answer())
	clock.advance(3600)
	server.script("/token", as_json({"error": "invalid_client"}, 401))
	with pytest.raises(ConfigurationError) as refused:
		library(source, {"url": url})
	assert refused.value.code == "invalid_client"
	clock.advance(3600)
	server.script("/token", Answer(status=503))
	with pytest.raises(TemporaryFailure):
		library(source, {"url": url})
	clock.advance(3600)
	server.script("/token", as_json({"error": "invalid_grant"}, 400))
	with pytest.raises(ReconnectRequired):
		library(source, {"url": url})
	assert server.to("/api") == []


@pytest.mark.parametrize("url", ["http://api.example/x", "http://192.0.2.1/"])
def test_https_only(url: str, library: Library, source: TokenSource) -> None:
	"""RFC 6750 5.3"""
	with pytest.raises(ConfigurationError) as caught:
		library(source, {"url": url})
	assert caught.value.code == "uri_insecure"


def test_token_stays_at_its_server(library: Library, source: TokenSource, server: Hostile) -> None:
	"""A redirect to another host does not take the token along, and a 401 from there refreshes nothing."""
	other = server.script("/other", Answer(status=401)).replace("127.0.0.1", "localhost")
	url = server.script("/api", Answer(status=302, headers={"Location": other}))
	assert library(source, {"url": url}, follow_redirects=True)[0].status_code == 401
	assert "authorization" not in server.to("/other")[0].headers
	assert server.paths() == {"/api": 1, "/other": 1}


def test_what_a_provider_does_differently(
	library: Library, make_source: MakeSource, server: Hostile, store: MemoryStore
) -> None:
	"""A header of its own for the token, others beside it, and what it says for "expired"."""
	store.grant = a_grant(extra={"account": Secret("account-7")})
	source = make_source(
		api_header="X-Token: {token}",
		api_headers={"X-Client": "{client_id}", "X-Account": "{account}", "X-Mine": "theirs"},
		api_expired=("error.code=190", "419"),
	)
	server.script("/token", as_json({"access_token": "new"}), as_json({"access_token": "newer"}))
	url = server.script("/api", as_json({"error": {"code": 190}}), Answer(status=419), as_json({"ok": True}))
	answers = library(source, {"url": url, "headers": {"X-Mine": "mine"}}, {"url": url})
	assert [answer.status_code for answer in answers] == [419, 200]
	first, second, third = server.to("/api")
	assert "authorization" not in first.headers
	assert [each.headers["x-token"] for each in (first, second, third)] == [ACCESS_TOKEN, "new", "new"]
	for each in (first, second, third):
		assert (each.headers["x-client"], each.headers["x-account"]) == ("client", "account-7")
	assert (second.headers["x-mine"], third.headers["x-mine"]) == ("mine", "theirs")


def test_a_body_that_the_caller_reads_is_the_callers(
	library: Library, make_source: MakeSource, server: Hostile
) -> None:
	"""What is not a short JSON answer is not read for what it says."""
	source = make_source(api_expired=("error.code=190",))
	text = Answer(b'{"error": {"code": 190}}', headers={"Content-Type": "text/plain"})
	no_json = Answer(b"<html>", headers={"Content-Type": "application/json"})
	deep = Answer(b"[" * 60_000, headers={"Content-Type": "application/json"})
	url = server.script("/api", text, as_json({"error": {"code": 190}, "long": "x" * 70_000}), no_json, deep)
	answers = library(source, *[{"url": url}] * 4)
	assert [answer.status_code for answer in answers] == [200] * 4
	assert server.paths() == {"/api": 4}


@pytest.fixture
def strict(server: Hostile, monkeypatch: pytest.MonkeyPatch) -> Strict:
	monkeypatch.setattr(dpop, "NONCES", dpop.Nonces())
	return Strict(server)


@pytest.mark.parametrize("nonce", [None, "n-1"])
def test_bound_tokens(
	nonce: str | None,
	library: Library,
	strict: Strict,
	server: Hostile,
	config: Settings,
	http: Http,
	clock: Clock,
) -> None:
	"""RFC 9449 7.1, 9: each request has a proof of its own, with the nonce that the API gives; a token that is rejected is
	replaced by one that is bound to the same key."""
	strict.nonce = nonce
	key = dpop.new_key()
	store = MemoryStore(a_grant(access_token=Secret("stale"), token_type="DPoP", dpop_key=key))
	source = TokenSource(Refresher(*changed(config, dpop=True), store, http, clock))
	answers = library(
		source, {"method": "POST", "url": server.url + "/api", "json": {}}, {"url": server.url + "/api"}
	)
	assert [answer.json() for answer in answers] == [{"sub": "alice"}] * 2
	assert len(strict.keys) == 1 and strict.granted == 1


def test_tokens_that_are_bound_to_a_certificate_are_refused(
	library: Library, config: Settings, store: MemoryStore, http: Http, clock: Clock
) -> None:
	"""RFC 8705 3: the certificate is a matter of the connection, which is the client's own."""
	source = TokenSource(Refresher(*changed(config, certificate_bound=True), store, http, clock))
	for refused in (library.auth, TokenSource.access_token):
		with pytest.raises(ConfigurationError) as caught:
			refused(source)
		assert caught.value.code == "certificate_needs_session"


def test_what_is_about_the_user_refreshes_nothing(
	library: Library, source: TokenSource, server: Hostile
) -> None:
	"""RFC 9470 3"""
	challenge = 'Bearer error="insufficient_user_authentication", acr_values="phr"'
	url = server.script("/api", Answer(status=401, headers={"WWW-Authenticate": challenge}))
	assert library(source, {"url": url})[0].status_code == 401
	assert server.paths() == {"/api": 1}


def test_threads_share_a_client(source: TokenSource, server: Hostile, clock: Clock) -> None:
	library = Library("httpx", False)
	url = server.script("/api", api("new"))
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	clock.advance(3600)
	answers: list[Any] = []
	with library.httpx.Client(auth=library.auth(source), timeout=60, verify=False) as client:
		threads = [threading.Thread(target=lambda: answers.append(client.get(url))) for _ in range(8)]
		for thread in threads:
			thread.start()
		for thread in threads:
			thread.join()
	assert [answer.json() for answer in answers] == [{"ok": True}] * 8
	assert len(server.to("/token")) == 1


def test_nothing_shows_the_token(source: TokenSource) -> None:
	auth = Library("httpx", False).auth(source)
	assert ACCESS_TOKEN not in repr(auth) + repr(vars(auth)) + repr(vars(source)) + repr(
		source.access_token()
	)
	assert source.access_token().expires_at and source.access_token().expires_at > NOW
