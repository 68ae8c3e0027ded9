"""Requests that the client authenticates, and how a token is shown to an API."""

from __future__ import annotations

from typing import Any

import pytest

from connected_app.oauth import (
	ConfigurationError,
	Http,
	OAuthError,
	Refresher,
	Secret,
	Session,
	Settings,
	client_auth,
	keys,
	revoke,
	token_endpoint,
)
from connected_app.oauth.presenting import header
from connected_app.oauth.provider import Quirks

from .helpers import ACCESS_TOKEN, CLIENT_SECRET, NOW, REFRESH_TOKEN, Clock, a_grant, changed
from .hostile import Answer, Hostile, Request, as_json
from .stores import MemoryStore

SECRETS = {
	"refresh_token": "secret-refresh",
	"code": "secret-code",
	"code_verifier": "secret-verifier",
	"assertion": "secret-assertion",
	"client_assertion": "secret-client-assertion",
	"subject_token": "secret-subject",
	"device_code": "secret-device",
	"a_field_of_its_own": "secret-of-its-own",
}


@pytest.mark.parametrize("authentication", client_auth.METHODS)
def test_what_an_answer_echoes(authentication: str, config: Settings, server: Hostile, http: Http) -> None:
	"""One rule for all requests: what is not on the short list of public fields is never shown."""

	def echo(request: Request) -> Answer:
		sent = " ".join([*request.form.values(), request.headers.get("authorization", "")])
		return as_json({"error": "invalid_scope", "error_description": sent}, 400)

	key = keys.generate("ES256", "test", NOW)
	secret_of_ours = Secret(CLIENT_SECRET * 3)
	config = changed(config, authentication=authentication, signing_key=key, client_secret=secret_of_ours)
	for name, secret in SECRETS.items():
		server.script("/token", echo)
		with pytest.raises(OAuthError) as caught:
			token_endpoint.request(*config, {"grant_type": "x", name: secret}, http)
		said = f"{caught.value} {caught.value.provider_error}"
		credentials = server.requests[-1].headers.get("authorization", "none").split()[-1]
		assertion = server.requests[-1].form.get("client_assertion", "none").split(".")[0]
		for hidden in (secret, CLIENT_SECRET, credentials, assertion):
			assert hidden not in said
		assert "client" in said or authentication == "client_secret_basic", "nothing was echoed at all"


def test_what_a_revocation_echoes(config: Settings, server: Hostile, http: Http) -> None:
	def echo(request: Request) -> Answer:
		return as_json({"error": "invalid_client", "error_description": " ".join(request.form.values())}, 401)

	config = changed(config, revocation_uri=server.script("/revoke", echo))
	with pytest.raises(ConfigurationError) as caught:
		revoke(*config, a_grant(), http)
	assert "token" in str(caught.value)
	for hidden in (ACCESS_TOKEN, REFRESH_TOKEN, CLIENT_SECRET):
		assert hidden not in str(caught.value)


def test_unknown_client_authentication(config: Settings, server: Hostile, http: Http) -> None:
	"""Nothing is sent in place of what is not known."""
	with pytest.raises(ConfigurationError) as caught:
		token_endpoint.request(
			*changed(config, authentication="private_key_jwt_2"), {"grant_type": "x"}, http
		)
	assert caught.value.code == "client_authentication_unknown"
	assert server.requests == []


def test_refresh_at_another_address(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""Some providers refresh elsewhere (Figma, Adobe Sign, UPS); the code is exchanged where it always is."""
	config = changed(config, refresh_uri=server.script("/refresh", as_json({"access_token": "new"})))
	store = MemoryStore(a_grant(expires_at=clock()))
	assert Refresher(*config, store, http, clock).current().access_token == "new"
	server.script("/token", as_json({"access_token": "first"}))
	token_endpoint.request(*config, {"grant_type": "authorization_code", "code": "c"}, http)
	assert server.paths() == {"/refresh": 1, "/token": 1}


@pytest.mark.parametrize(
	("template", "expected"),
	[
		("Authorization: Bearer {token}", {"Authorization": "Bearer t"}),
		("X-Shopify-Access-Token: {token}", {"X-Shopify-Access-Token": "t"}),
		("Authorization: OAuth oauth_token={token}, v=1", {"Authorization": "OAuth oauth_token=t, v=1"}),
	],
)
def test_header(template: str, expected: dict[str, str]) -> None:
	found = header("t", template)
	assert found == expected and "t'" not in repr(list(found.values()))


def test_a_header_of_the_providers_own(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""Shopify and others take the token in a header of theirs, and in no other; a 401 renews as ever."""

	def api(request: Request) -> Answer:
		return as_json({}, 200 if request.headers.get("x-shop-token") == "new" else 401)

	config = changed(config, quirks=Quirks(api_header="X-Shop-Token: {token}"))
	server.script("/token", as_json({"access_token": "new"}))
	session = Session(Refresher(*config, MemoryStore(a_grant()), http, clock))
	assert session.get(server.script("/api", api)).ok
	sent: list[Any] = [request.headers for request in server.to("/api")]
	assert [headers["x-shop-token"] for headers in sent] == [ACCESS_TOKEN, "new"]
	assert all("authorization" not in headers for headers in sent)


def test_a_header_of_the_providers_own_stays_at_its_server(
	config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	config = changed(config, quirks=Quirks(api_header="X-Shop-Token: {token}"))
	session = Session(Refresher(*config, MemoryStore(a_grant()), http, clock))
	elsewhere = server.script("/other", as_json({})).replace("127.0.0.1", "localhost")
	for there in ("/here", elsewhere):
		server.script("/here", as_json({}))
		url = server.script("/api", Answer(status=302, headers={"Location": there}))
		assert session.get(url).ok
	assert server.to("/here")[0].headers["x-shop-token"] == ACCESS_TOKEN
	assert "x-shop-token" not in server.to("/other")[0].headers
