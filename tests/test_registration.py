"""Clients that register themselves (RFC 7591, 7592), at real servers and at one that lies."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from connected_app.oauth import (
	ConfigurationError,
	Http,
	OAuthError,
	Refresher,
	Secret,
	Settings,
	TemporaryFailure,
	authorization,
	registration,
	revocation,
)
from connected_app.oauth.discovery import Metadata
from connected_app.oauth.protected_resource import ProtectedResource, find
from connected_app.oauth.registration import Registration
from connected_app.oauth.session import Session
from demo.provider import Provider

from . import certified, mcp_sdk
from .helpers import consent_parameters, settings_of
from .hostile import Answer, Hostile, as_json
from .stores import MemoryStore

REDIRECT_URI = "https://site.example/callback/app"
SECRET = "registered-secret-5d1"
TOKEN = "registration-token-8c2"


def wanted(server: Metadata | None = None, **changes: Any) -> dict[str, Any]:
	about = {
		"client_name": "site.example",
		"client_uri": "https://site.example",
		"redirect_uri": REDIRECT_URI,
	}
	return registration.wanted(server or Metadata(issuer="x"), **{**about, **changes})


def answered(server: Hostile, **changes: Any) -> dict[str, Any]:
	"""What an honest server says."""
	return {
		**wanted(),
		"client_id": "id-1",
		"client_secret": SECRET,
		"client_secret_expires_at": 0,
		"registration_client_uri": server.url + "/register/id-1",
		"registration_access_token": TOKEN,
		**changes,
	}


def ask(server: Hostile, http: Http, answer: Answer) -> Registration:
	return registration.register(server.script("/register", answer), wanted(), http)


def test_what_is_asked_for() -> None:
	"""RFC 7591 2, with what the server offers; `application_type` as MCP 2026-07-28 wants it."""
	given = wanted(scopes=("read", "write"))
	assert given == {
		"client_name": "site.example",
		"client_uri": "https://site.example",
		"redirect_uris": [REDIRECT_URI],
		"grant_types": ["authorization_code", "refresh_token"],
		"response_types": ["code"],
		"token_endpoint_auth_method": "client_secret_basic",
		"application_type": "web",
		"scope": "read write",
	}
	for offered, method in (
		(["none"], "none"),
		(["private_key_jwt", "none", "client_secret_post", "client_secret_basic"], "client_secret_post"),
		(["private_key_jwt"], "client_secret_basic"),
		("nonsense", "client_secret_basic"),
	):
		server = Metadata(issuer="x", document={"token_endpoint_auth_methods_supported": offered})
		assert wanted(server)["token_endpoint_auth_method"] == method
	server = Metadata(issuer="x", document={"grant_types_supported": ["authorization_code"]})
	assert wanted(server)["grant_types"] == ["authorization_code"]
	for uri in ("http://localhost:8000/cb", "http://127.0.0.1/cb", "http://site.localhost:8000/cb"):
		assert wanted(redirect_uri=uri)["application_type"] == "native"


def test_an_honest_answer(server: Hostile, http: Http) -> None:
	given = ask(server, http, as_json(answered(server), 201))
	registration.check(given, wanted())
	assert (given.client_id, given.client_secret, given.management_token) == ("id-1", SECRET, TOKEN)
	assert given.authentication == "client_secret_basic"
	assert SECRET not in repr(given) + str(dict(given.document)) and TOKEN not in repr(given) + str(
		dict(given.document)
	)
	assert server.requests[-1].headers["content-type"] == "application/json"


def test_what_an_answer_omits_is_as_asked(server: Hostile, http: Http) -> None:
	given = ask(server, http, as_json({"client_id": "id-1", "client_secret": SECRET, "grant_types": None}))
	registration.check(given, wanted())
	assert given.authentication == "client_secret_basic" and not given.management_uri
	public = ask(server, http, as_json({"client_id": "id-1", "client_secret": ""}))
	registration.check(public, wanted())
	assert (public.authentication, public.client_secret) == ("none", None)


@pytest.mark.parametrize(
	("changes", "word"),
	[
		({"grant_types": ["authorization_code"]}, "refresh_token"),
		({"grant_types": ["implicit"]}, "authorization_code"),
		({"response_types": ["token"]}, "code"),
		({"redirect_uris": ["https://evil.example/cb"]}, REDIRECT_URI),
		({"redirect_uris": [REDIRECT_URI + "/"]}, REDIRECT_URI),
		({"client_secret_expires_at": 2000000000}, "expires"),
		({"client_secret": None}, "client secret"),
		({"token_endpoint_auth_method": "private_key_jwt"}, "private_key_jwt"),
		({"token_endpoint_auth_method": "tls_client_auth"}, "tls_client_auth"),
		# Of another kind than the standard has it, or a word within another.
		({"grant_types": 7}, "authorization_code"),
		({"grant_types": {"refresh_token": True}}, "authorization_code"),
		({"grant_types": "x_authorization_code refresh_token"}, "authorization_code"),
		({"response_types": True}, "code"),
		({"redirect_uris": 7}, REDIRECT_URI),
		({"redirect_uris": REDIRECT_URI + "x"}, REDIRECT_URI),
		({"client_secret_expires_at": "soon"}, "expires"),
	],
)
def test_a_registration_of_no_use(changes: dict[str, Any], word: str, server: Hostile, http: Http) -> None:
	given = ask(server, http, as_json(answered(server, **changes), 201))
	with pytest.raises(ConfigurationError) as caught:
		registration.check(given, wanted())
	assert caught.value.code == "registration_unusable" and word in caught.value.message
	assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
	("answer", "kind", "code", "word"),
	[
		(as_json({"error": "invalid_client_metadata", "error_description": "no\u202e"}, 400), ConfigurationError, "registration_refused", "no"),
		(as_json({"error": "invalid_redirect_uri"}, 400), ConfigurationError, "registration_refused", "Redirect URI"),
		(as_json({"error": "invalid_token"}, 401), ConfigurationError, "registration_refused", "permission"),
		(Answer(b"", 403), ConfigurationError, "registration_refused", "permission"),
		(Answer(b"", 404), ConfigurationError, "registration_refused", "HTTP 404"),
		(Answer(status=302, headers={"Location": "https://evil.example"}), ConfigurationError, "registration_refused", "302"),
		(as_json({}, 201), ConfigurationError, "registration_invalid", ""),
		(as_json({"client_id": 7}, 201), ConfigurationError, "registration_invalid", ""),
		(as_json({"client_id": "x" * 501}, 201), ConfigurationError, "registration_invalid", ""),
		(as_json({"client_id": "a\x00b"}, 201), ConfigurationError, "registration_invalid", ""),
		(as_json({"client_id": "\ud800"}, 201), ConfigurationError, "registration_invalid", ""),
		(as_json({"client_id": "x", "client_secret": "a\nb"}, 201), ConfigurationError, "registration_invalid", ""),
		(as_json({"client_id": "x", "client_secret": "x" * 10_001}, 201), ConfigurationError, "registration_invalid", ""),
		(as_json(["x"], 201), ConfigurationError, "registration_invalid", ""),
		(Answer(b"<html>"), ConfigurationError, "registration_invalid", ""),
		(Answer(b"", 503), TemporaryFailure, "server_error", "503"),
		(Answer(b"", 429), TemporaryFailure, "rate_limited", "429"),
	],
)  # fmt: skip
def test_refusals(
	answer: Answer, kind: type[OAuthError], code: str, word: str, server: Hostile, http: Http
) -> None:
	with pytest.raises(kind) as caught:
		ask(server, http, answer)
	assert caught.value.code == code and word in caught.value.message
	assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["registration_client_uri", "registration_access_token"])
@pytest.mark.parametrize("value", [None, 7, {"a": 1}, "a\nb", "\ud800", "x" * 10_001])
def test_what_cannot_be_managed(name: str, value: object, server: Hostile, http: Http) -> None:
	"""RFC 7592 3: an address and a token, or neither. The client is of use all the same."""
	given = ask(server, http, as_json(answered(server, **{name: value}), 201))
	registration.check(given, wanted())
	assert (given.management_uri, given.management_token) == ("", None)
	assert registration.delete(given, http) is False


def test_as_a_public_client() -> None:
	"""Where the server registers such; once only."""
	both = Metadata(
		issuer="x", document={"token_endpoint_auth_methods_supported": ["client_secret_post", "none"]}
	)
	asked = wanted(both)
	public = registration.as_public(asked, both)
	assert public == {**asked, "token_endpoint_auth_method": "none"}
	assert registration.as_public(public, both) is None
	assert registration.as_public(wanted(), Metadata(issuer="x")) is None


def test_update(server: Hostile, http: Http) -> None:
	"""RFC 7592 2.2: all of it is sent, and new values in the answer are stored."""
	given = ask(server, http, as_json(answered(server), 201))
	server.script("/register/id-1", as_json({"client_id": "id-1", "registration_access_token": "another"}))
	changed = registration.update(given, wanted(redirect_uri="https://new.example/cb"), http)
	assert (changed.client_secret, changed.management_token) == (SECRET, "another")
	assert changed.management_uri == given.management_uri
	request = server.requests[-1]
	assert (request.method, request.headers["authorization"]) == ("PUT", f"Bearer {TOKEN}")
	assert b"https://new.example/cb" in request.body and SECRET.encode() in request.body


def test_delete(server: Hostile, http: Http) -> None:
	"""RFC 7592 2.3"""
	given = ask(server, http, as_json(answered(server), 201))
	for status, done in ((204, True), (404, True), (401, True), (403, False), (405, False)):
		server.script("/register/id-1", Answer(b"", status))
		assert registration.delete(given, http) is done
	server.script("/register/id-1", Answer(b"", 500))
	with pytest.raises(TemporaryFailure):
		registration.delete(given, http)
	assert registration.delete(Registration(client_id="x"), http) is False


def test_authlib(provider: Provider, http: Http) -> None:
	"""Authlib's server: register, change the redirect URI, delete."""
	found = find(provider.issuer, http)
	asked = wanted(found.server)
	given = registration.register(found.server.document["registration_endpoint"], asked, http)
	registration.check(given, asked)
	asked["redirect_uris"] = ["https://site.example/moved"]
	changed = registration.update(given, asked, http)
	assert changed.management_token != given.management_token
	assert _known(provider)[given.client_id]["redirect_uris"] == ["https://site.example/moved"]
	# The token before is of no use any more.
	with pytest.raises(ConfigurationError):
		registration.update(given, asked, http)
	assert registration.delete(changed, http)
	assert given.client_id not in _known(provider)


def _known(provider: Provider) -> dict[str, Any]:
	found: dict[str, Any] = requests.get(provider.issuer + "/_registered", timeout=10).json()
	return found


def _settings(found: ProtectedResource, given: registration.Registration, **more: Any) -> Settings:
	"""Of the client that was registered, at the server that was found."""
	return settings_of(
		client_id=given.client_id,
		client_secret=given.client_secret,
		authentication=given.authentication,
		redirect_uri=REDIRECT_URI,
		authorization_uri=found.server.authorization_endpoint,
		token_uri=found.server.token_endpoint,
		**more,
	)


@pytest.mark.skipif(not certified.AVAILABLE, reason="npm's oidc-provider is not installed")
def test_certified_provider(http: Http) -> None:
	"""npm's certified provider: registered from nothing but its address, connected, changed and deleted."""
	features = {"registration": {"enabled": True}, "registrationManagement": {"enabled": True}}
	with certified.start(features=features) as running:
		found = find(running.issuer, http)
		asked = wanted(found.server)
		given = registration.register(found.server.document["registration_endpoint"], asked, http)
		registration.check(given, asked)
		provider, client = _settings(
			found,
			given,
			jwks_uri=found.server.jwks_uri,
			issuer=found.server.issuer,
			scopes=("openid",),
		)
		url, attempt = authorization.begin(provider, client)
		back = running.consent(url)
		grant = authorization.complete(provider, client, attempt, consent_parameters(back), http)
		assert grant.account and grant.account.id == "alice"
		changed = registration.update(given, {**asked, "redirect_uris": ["https://site.example/moved"]}, http)
		registration.check(changed, {**asked, "redirect_uris": ["https://site.example/moved"]})
		assert registration.delete(changed, http)
		with pytest.raises(ConfigurationError):
			registration.update(changed, asked, http)


def test_mcp(http: Http) -> None:
	"""PyPI's `mcp`."""
	mcp_server = pytest.importorskip("demo.mcp_server")
	pytest.importorskip("mcp.server.mcpserver")
	with mcp_server.start() as running:
		_connects_to_mcp(running.resource, http)


@pytest.mark.skipif(not mcp_sdk.AVAILABLE, reason=mcp_sdk.MISSING)
def test_mcp_sdk(http: Http) -> None:
	"""npm's `@modelcontextprotocol/sdk`."""
	with mcp_sdk.start() as running:
		_connects_to_mcp(running.resource, http)
		assert (running.stats()["refreshes"], [*running.stats()["clients"].values()]) == (
			1,
			["client_secret_post"],
		)


def _connects_to_mcp(address: str, http: Http) -> None:
	"""From the address of a server to the list of its tools, for tokens that are for it alone."""
	found = find(address, http)
	assert (found.resource, found.scopes) == (address, ("notes",))
	asked = wanted(found.server, scopes=found.scopes)
	given = registration.register(found.server.document["registration_endpoint"], asked, http)
	registration.check(given, asked)
	provider, client = _settings(
		found,
		given,
		revocation_uri=found.server.revocation_endpoint,
		scopes=found.scopes,
		resources=(found.resource,),
	)
	url, attempt = authorization.begin(provider, client)
	back = requests.get(url, allow_redirects=False, timeout=10).headers["Location"]
	grant = authorization.complete(provider, client, attempt, consent_parameters(back), http)
	store = MemoryStore(grant)
	session = Session(Refresher(provider, client, store, http))
	assert _tools(session, address) == ["notes"]
	session.refresh_token()
	assert _tools(session, address) == ["notes"]
	# For no other API: that is refused before anything is sent.
	with pytest.raises(ConfigurationError) as caught:
		session.get("https://other.example/mcp")
	assert caught.value.code == "resource_origin"
	last = store.load()
	assert last
	revocation.revoke(provider, client, last, http)
	bare = {"Authorization": f"Bearer {last.access_token}"}
	assert requests.post(address, json={}, headers=bare, timeout=10).status_code == 401


def _tools(session: Session, url: str) -> list[str]:
	answer = session.post(
		url,
		json={"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}},
		headers={"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"},
	)
	assert answer.status_code == 200, answer.text
	return [tool["name"] for tool in answer.json()["result"]["tools"]]


def test_secrets_are_secrets() -> None:
	given = Registration(client_id="x", client_secret=Secret(SECRET), management_token=Secret(TOKEN))
	assert SECRET not in repr(given) and TOKEN not in repr(given)
