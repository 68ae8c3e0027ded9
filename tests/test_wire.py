"""Requests in a provider's shape, and its responses in the standard's shape."""

from __future__ import annotations

from typing import Any

import pytest

from connected_app.oauth import (
	ConfigurationError,
	Http,
	Secret,
	Settings,
	TemporaryFailure,
	token_endpoint,
	userinfo,
	wire,
)
from connected_app.oauth.provider import Quirks
from connected_app.oauth.shape import Shape

from .helpers import ACCESS_TOKEN, CLIENT_SECRET, a_grant, changed
from .hostile import Answer, Hostile, as_json

REFRESH = {"grant_type": "refresh_token", "refresh_token": "r"}


@pytest.mark.parametrize(
	("shape", "target", "body"),
	[
		(Shape(), "/t", b"a=1+2"),
		(Shape(body="json"), "/t", b'{"a": "1 2"}'),
		(Shape(method="GET", body="query"), "/t?a=1+2", b""),
		(Shape(method="DELETE", body="none"), "/t", b""),
		(Shape(method="PUT"), "/t", b"a=1+2"),
	],
	ids=lambda value: f"{value.method} {value.body}" if isinstance(value, Shape) else None,
)
def test_shapes(shape: Shape, target: str, body: bytes, server: Hostile, http: Http) -> None:
	shape = Shape(method=shape.method, body=shape.body, headers={"X-Fixed": "1"})
	wire.send(shape, server.script("/t", Answer()), {"a": "1 2"}, {"X-More": "2"}, http)
	(request,) = server.requests
	assert (request.method, request.target, request.body) == (shape.method, target, body)
	assert (request.headers["x-fixed"], request.headers["x-more"]) == ("1", "2")


def test_placeholders() -> None:
	values = {"shop": "a b/c", "empty": ""}
	assert wire.filled("{shop}.x", values) == "a b/c.x"
	assert wire.filled("{shop}.x", values, encode=True) == "a%20b%2Fc.x"
	assert isinstance(wire.filled("{shop}", values), Secret), "what was filled in may be a token"
	assert wire.filled("{empty}", values) is None and wire.filled("{unknown}", values) is None
	assert wire.filled("as it is", {}) == "as it is"
	assert wire.fields({"a": "{shop}", "b": "{unknown}", "c": "1"}, values) == {"a": "a b/c", "c": "1"}
	assert wire.known("query { me { id } } {shop}", values) == "query { me { id } } a b/c"


@pytest.mark.parametrize(
	("said", "address"),
	[
		("api.shop.example", "https://api.shop.example/v1"),
		("API.SHOP.EXAMPLE", "https://API.SHOP.EXAMPLE/v1"),
		("shop.example", None),
		("api.shop.example.evil.example", None),
		# No way out of the host's name.
		("evil.example/.shop.example", None),
		("user@evil.example#.shop.example", None),
	],
)
def test_a_host_that_the_provider_names(said: str, address: str | None) -> None:
	"""Tokens and secrets go only to hosts that the template allows, whatever a callback says."""
	hosts = ("*.shop.example",)
	if address:
		assert wire.address("https://{host}/v1", {"host": said}, hosts) == address
		return
	with pytest.raises(ConfigurationError) as caught:
		wire.address("https://{host}/v1", {"host": said}, hosts)
	assert caught.value.code == "host_not_allowed"


def test_an_address_with_what_the_provider_said() -> None:
	assert wire.address("https://p.example/t", {}, ()) == "https://p.example/t"
	assert wire.address("https://p.example/{id}/t", {"id": "a/b"}, ()) == "https://p.example/a%2Fb/t"
	assert wire.address("https://p.example/{id}/t", {}, ()) is None


@pytest.mark.parametrize(
	("unit", "value", "expected"),
	[
		("seconds", 3600, {"expires_in": 3600}),
		("milliseconds", 3600000, {"expires_in": 3600.0}),
		("milliseconds", "3600000", {"expires_in": 3600.0}),
		("milliseconds", "soon", {"expires_in": "soon"}),
		("milliseconds", None, {"expires_in": 60}),
		("milliseconds", True, {"expires_in": True}),
		("epoch", 1772370000, {"expires_at": 1772370000}),
		("iso", "2026-03-01T13:00:00Z", {"expires_at": "2026-03-01T13:00:00Z"}),
	],
)
def test_lives(unit: str, value: Any, expected: dict[str, Any]) -> None:
	quirks = Quirks(answer={"expires": "data.life", "unit": unit, "default_life": 60})
	answer = {"data": {"life": value}, "expires_in": 1, "expires_at": 2}
	found = wire.standard(answer, quirks)
	del found["data"]
	assert found == expected


def test_what_is_kept() -> None:
	quirks = Quirks(keep={"realm": "callback:realmId", "url": "answer:a.url", "list": "answer:a.list"})
	answer = {"a": {"url": "https://x.example/" + "x" * 3000, "list": ["no text"]}}
	kept = wire.kept(quirks, "answer", answer)
	assert list(kept) == ["url"] and len(kept["url"]) == wire.LONGEST_KEPT and isinstance(kept["url"], Secret)
	assert wire.kept(quirks, "callback", {"realmId": 42}) == {"realm": "42"}
	assert wire.kept(quirks, "callback", {"realmId": ""}) == {}


def test_endpoints_with_what_the_provider_has_said(config: Settings, server: Hostile, http: Http) -> None:
	"""Such an address is not asked before that is known."""
	path = server.script("/shop-1/x", as_json({"access_token": "a", "id": "alice"}))
	address = path.replace("shop-1", "{shop}")
	provider, client = changed(config, token_uri=address, userinfo_uri=address)
	said = {"shop": Secret("shop-1")}
	assert token_endpoint.request(provider, client, REFRESH, http, said)["access_token"] == "a"
	assert userinfo.ask(provider, client, a_grant(extra=said), http).status == 200
	for ask in (
		lambda: token_endpoint.request(provider, client, REFRESH, http),
		lambda: userinfo.ask(provider, client, a_grant(), http),
	):
		with pytest.raises(ConfigurationError) as caught:
			ask()
		assert caught.value.code == "endpoint_missing"
	assert server.paths() == {"/shop-1/x": 2}


def test_the_client_proves_itself_otherwise_at_a_refresh(
	config: Settings, server: Hostile, http: Http
) -> None:
	quirks = Quirks(renewal_authentication="client_secret_basic")
	config = changed(config, authentication="client_secret_post", quirks=quirks)
	server.script("/token", as_json({"access_token": "a"}))
	token_endpoint.request(*config, REFRESH, http)
	token_endpoint.request(*config, {"grant_type": "authorization_code"}, http)
	refresh, exchange = server.requests
	assert refresh.headers["authorization"].startswith("Basic ") and "client_secret" not in refresh.form
	assert "authorization" not in exchange.headers and exchange.form["client_secret"] == CLIENT_SECRET


@pytest.mark.parametrize("status", [200, 400])
def test_a_form_of_many_fields(status: int, config: Settings, server: Hostile, http: Http) -> None:
	"""No token response has a hundred fields: it is unreadable, as any other that is none."""
	body = "&".join(f"a{number}=1" for number in range(200)).encode()
	server.script("/token", Answer(body, status, {"Content-Type": "text/plain"}))
	with pytest.raises(TemporaryFailure) as caught:
		token_endpoint.request(*config, REFRESH, http)
	assert caught.value.code == "response_invalid"


def test_the_account_is_asked_for_with_what_it_needs(config: Settings, server: Hostile, http: Http) -> None:
	"""A POST with the token in its body, and the client's secret where a template names it."""
	quirks = Quirks(
		account_request=Shape(method="POST", body="json"),
		account_body='{"token": "{token}", "secret": "{client_secret}"}',
	)
	config = changed(config, userinfo_uri=server.script("/me", as_json({"id": 1})), quirks=quirks)
	userinfo.ask(*config, a_grant(), http)
	(request,) = server.requests
	assert request.body == f'{{"token": "{ACCESS_TOKEN}", "secret": "{CLIENT_SECRET}"}}'.encode()


@pytest.mark.parametrize("said", [".", ".."])
def test_what_the_provider_said_is_no_other_path(said: str) -> None:
	"""`..` is not changed by percent-encoding, and HTTP libraries resolve it."""
	assert wire.address("https://api.example/company/{realm}/me", {"realm": said}, ()) is None
	assert wire.fields({"realm": "{realm}"}, {"realm": said}) == {"realm": said}
