"""google-auth, and googleapiclient on it."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from connected_app.oauth import ConfigurationError, ReconnectRequired, Secret, TemporaryFailure, TokenSource

from ..helpers import ACCESS_TOKEN, NOW, Clock
from ..hostile import Answer, Hostile, as_json
from ..test_session import api
from .conftest import MakeSource

pytest.importorskip("google.auth", reason="in the virtualenv of the newest libraries only")
discovery = pytest.importorskip("googleapiclient.discovery")

from google.auth.transport.requests import AuthorizedSession
from googleapiclient.errors import HttpError

from connected_app.oauth.adapters.google import Credentials

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utc:DeprecationWarning")


def service(server: Hostile, source: TokenSource) -> Any:
	"""An API as Google describes its own, on the test's server."""
	method = {"id": "things.list", "path": "api", "httpMethod": "GET", "response": {"$ref": "Thing"}}
	document = {
		"name": "things",
		"version": "v1",
		"rootUrl": server.url + "/",
		"servicePath": "",
		"batchPath": "batch",
		"schemas": {"Thing": {"id": "Thing", "type": "object"}},
		"resources": {"things": {"methods": {"list": method}}},
	}
	return discovery.build_from_document(document, credentials=Credentials(source))


def test_a_service(source: TokenSource, server: Hostile) -> None:
	"""After a 401 with another token, which costs one refresh."""
	server.script("/api", api("new"))
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	with service(server, source) as things:
		for _ in range(2):
			assert things.things().list().execute() == {"ok": True}
	assert server.paths() == {"/api": 3, "/token": 1}


def test_refresh_before_expiry(source: TokenSource, server: Hostile, clock: Clock) -> None:
	"""When a token is due is decided here, not by the library, by whose clock it has ended long ago."""
	server.script("/api", api(ACCESS_TOKEN))
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	session = AuthorizedSession(Credentials(source))
	assert session.get(server.url + "/api").json() == {"ok": True}
	assert server.to("/token") == []
	clock.advance(3600)
	server.script("/api", api("new"))
	assert session.get(server.url + "/api").json() == {"ok": True}
	assert len(server.to("/token")) == 1


def test_a_long_lived_client_uses_what_others_have_refreshed(
	make_source: MakeSource, server: Hostile, clock: Clock
) -> None:
	session, others = AuthorizedSession(Credentials(make_source())), make_source()
	server.script("/api", api("new"))
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	clock.advance(3600)
	others.renew()
	assert session.get(server.url + "/api").json() == {"ok": True}
	assert len(server.to("/token")) == 1


def test_an_api_that_always_refuses(make_source: MakeSource, server: Hostile) -> None:
	"""Google's library repeats twice; all in all that costs one refresh."""
	server.script("/api", Answer(status=401))
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	for _ in range(2):
		with service(server, make_source()) as things:
			for _ in range(2):
				with pytest.raises(HttpError) as caught:
					things.things().list().execute()
				assert caught.value.status_code == 401
	assert server.paths() == {"/api": 12, "/token": 1}


def test_failures_are_ours(source: TokenSource, server: Hostile, clock: Clock) -> None:
	things = service(server, source)
	for status, said, branch in (
		(401, "invalid_client", ConfigurationError),
		(503, "server_error", TemporaryFailure),
		(400, "invalid_grant", ReconnectRequired),
	):
		clock.advance(3600)
		server.script("/token", as_json({"error": said}, status))
		with pytest.raises(branch):
			things.things().list().execute()
	assert server.to("/api") == []


def test_https_only(source: TokenSource) -> None:
	"""RFC 6750 5.3"""
	with pytest.raises(ConfigurationError) as caught:
		AuthorizedSession(Credentials(source)).get("http://api.example/x")
	assert caught.value.code == "uri_insecure"


def test_bound_tokens_are_refused(source: TokenSource) -> None:
	source.grant = replace(source.grant, token_type="DPoP", dpop_key=Secret("k"))
	with pytest.raises(ConfigurationError) as caught:
		Credentials(source)
	assert caught.value.code == "dpop_needs_session"


def test_a_refresh_that_the_caller_asks_for(source: TokenSource, server: Hostile, clock: Clock) -> None:
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	credentials = Credentials(source)
	clock.advance(3600)
	credentials.refresh(None)
	assert credentials.token == "new" and len(server.to("/token")) == 1


def test_what_the_library_knows(source: TokenSource) -> None:
	credentials = Credentials(source)
	assert credentials.token == ACCESS_TOKEN and ACCESS_TOKEN not in repr(vars(credentials))
	assert credentials.expiry and credentials.expiry.tzinfo is None
	assert credentials.expiry > NOW.replace(tzinfo=None)


def test_threads_share_credentials(source: TokenSource, server: Hostile, clock: Clock) -> None:
	server.script("/api", api("new"))
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	credentials = Credentials(source)
	clock.advance(3600)
	answers: list[Any] = []

	def ask() -> None:
		answers.append(AuthorizedSession(credentials).get(server.url + "/api").json())

	threads = [threading.Thread(target=ask) for _ in range(8)]
	for thread in threads:
		thread.start()
	for thread in threads:
		thread.join()
	assert answers == [{"ok": True}] * 8 and len(server.to("/token")) == 1
