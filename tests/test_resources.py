"""Resource indicators (RFC 8707): for which APIs a token is."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from connected_app.oauth import (
	CLIENT_CREDENTIALS,
	Client,
	ConfigurationError,
	Http,
	Refresher,
	Session,
	Settings,
	begin,
	revoke,
	token_endpoint,
)

from .helpers import Clock, a_grant, changed
from .hostile import Answer, Hostile, as_json
from .stores import MemoryStore

RESOURCES = ("https://api.example/accounts", "https://api.example/payments?x=1", "urn:example:files")


@pytest.fixture
def bound(config: Settings, server: Hostile) -> Settings:
	server.script("/token", as_json({"access_token": "a"}))
	return changed(
		config,
		resources=RESOURCES,
		authorization_uri=server.url + "/authorize",
		redirect_uri="https://site.example/cb",
	)


def sent(server: Hostile) -> list[str]:
	return parse_qs(server.requests[-1].body.decode()).get("resource", [])


def test_authorization_request(bound: Settings) -> None:
	"""2.1: one parameter for each."""
	assert parse_qs(urlsplit(begin(*bound)[0]).query)["resource"] == list(RESOURCES)


def test_token_requests(bound: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""2.2: the code, the refresh token and the client's own grant; nothing else has them."""
	token_endpoint.request(*bound, {"grant_type": "authorization_code", "code": "c"}, http)
	assert sent(server) == list(RESOURCES)
	for grant_type in ({}, {"grant_type": CLIENT_CREDENTIALS}):
		store = MemoryStore(a_grant(expires_at=clock()))
		Refresher(*bound, store, http, clock, **grant_type).current()  # type: ignore[arg-type]
		assert sent(server) == list(RESOURCES)
	server.script("/revoke", as_json({}))
	revoke(*changed(bound, revocation_uri=server.url + "/revoke"), a_grant(), http)
	assert server.to("/revoke") and sent(server) == []
	token_endpoint.request(
		*changed(bound, resources=()), {"grant_type": "authorization_code", "code": "c"}, http
	)
	assert sent(server) == []


def test_pushed(bound: Settings, server: Hostile, http: Http) -> None:
	"""RFC 9126: in the pushed request, and no longer in the address."""
	server.script("/par", as_json({"request_uri": "urn:x"}, 201))
	metadata = {"pushed_authorization_request_endpoint": server.url + "/par"}
	url, _attempt = begin(*changed(bound, metadata=metadata), http=http)
	assert "resource" not in url and sent(server) == list(RESOURCES)


@pytest.mark.parametrize(
	"resource", ["accounts", "/accounts", "https://api.example/#x", "https:", "http://[", "a b"]
)
def test_no_address(resource: str, bound: Settings) -> None:
	with pytest.raises(ConfigurationError) as caught:
		begin(*changed(bound, resources=(RESOURCES[0], resource)))
	assert caught.value.code == "resource_invalid" and resource in str(caught.value)


def test_refused(bound: Settings, server: Hostile, http: Http) -> None:
	"""2: `invalid_target` is an administrator's, who reads which address was meant."""
	server.script("/token", as_json({"error": "invalid_target", "error_description": RESOURCES[0]}, 400))
	with pytest.raises(ConfigurationError) as caught:
		token_endpoint.request(*bound, {"grant_type": "refresh_token", "refresh_token": "r"}, http)
	assert caught.value.code == "invalid_target" and RESOURCES[0] in str(caught.value)


@pytest.mark.parametrize(
	("resources", "further", "allowed", "refused"),
	[
		((), (), ["https://any.example/"], []),
		(("urn:example:files",), (), ["https://any.example/"], []),
		(("https://api.example", "urn:example:files"), (), ["https://any.example/"], []),
		(
			("https://api.example/accounts",),
			(),
			["https://api.example/other", "https://API.example:443/x?y=1"],
			["https://evil.example/", "https://api.example:8443/", "http://api.example/", "https://api.example.evil/",
			 "https://api.example@evil.example/", "https://[", "api.example",
			 # requests sends this to evil.example.
			 "https://evil.example\\@api.example/", "https://evil.example\\@api.example:443/accounts"],
		),
		(
			("https://api.example", "https://b.example:8443/x"),
			("https://files.example/ignored",),
			["https://files.example/x", "https://b.example:8443"],
			["https://b.example/", "https://evil.example/"],
		),
		(("https://api.example",), ("*",), ["https://any.example/"], []),
	],
)  # fmt: skip
def test_where_a_token_is_sent(
	resources: tuple[str, ...], further: tuple[str, ...], allowed: list[str], refused: list[str]
) -> None:
	"""RFC 8707 3, RFC 9728 7.4: to no other origin than those that it is for, where they are known."""
	client = Client(client_id="x", resources=resources, further_origins=further)
	for url in allowed:
		client.check_destination(url)
	for url in refused:
		with pytest.raises(ConfigurationError) as caught:
			client.check_destination(url)
		assert caught.value.code == "resource_origin"


def test_a_session_sends_it_nowhere_else(bound: Settings, server: Hostile, http: Http) -> None:
	"""Nothing is sent: not even the request without the token, nor a refresh for its sake."""
	settings = changed(bound, resources=("https://api.example",))
	session = Session(Refresher(*settings, MemoryStore(a_grant()), http, Clock()))
	for method in (session.get, session.post):
		with pytest.raises(ConfigurationError) as caught:
			method(server.url + "/api")
		assert caught.value.code == "resource_origin"
	assert server.requests == []
	server.script("/api", Answer(b"ok"))
	assert session.get(server.url + "/api", withhold_token=True).text == "ok"
	assert "authorization" not in server.requests[-1].headers
	own = changed(settings, further_origins=(server.url,))
	session = Session(Refresher(*own, MemoryStore(a_grant()), http, Clock()))
	assert session.get(server.url + "/api").text == "ok"
	assert server.requests[-1].headers["authorization"].startswith("Bearer ")
