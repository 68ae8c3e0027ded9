"""The check of templates against the world, against a provider of our own."""

from __future__ import annotations

from connected_app.oauth import Http
from connected_app.oauth.templates import Input, Template

from ..hostile import Answer, Hostile, as_json
from .world import differences, inputs_of


def a_template(server: Hostile, **values: str) -> Template:
	return Template(key="acme", values={"name": "Acme", "token": server.url + "/token", **values})


def test_what_agrees(server: Hostile, http: Http) -> None:
	server.script("/token", as_json({"error": "invalid_request"}, 400))
	document = {"issuer": server.url, "token_endpoint": server.url + "/token"}
	server.script("/.well-known/openid-configuration", as_json(document))
	template = a_template(server, discovery=server.url + "/.well-known/openid-configuration")
	assert list(differences(template, {}, http)) == []
	assert [request.body for request in server.to("/token")] == [b""]


def test_what_differs(server: Hostile, http: Http) -> None:
	server.script("/token", Answer(status=404))
	document = {"issuer": server.url, "token_endpoint": server.url + "/elsewhere"}
	server.script("/.well-known/openid-configuration", as_json(document))
	template = a_template(server, discovery=server.url + "/.well-known/openid-configuration")
	told, gone = differences(template, {}, http)
	assert told.startswith("token is ") and told.endswith("/elsewhere there")
	assert gone.endswith("answers 404")


def test_what_is_not_there(server: Hostile, http: Http) -> None:
	server.script("/token", as_json({"error": "invalid_request"}, 400))
	server.script("/.well-known/openid-configuration", Answer(status=404))
	server.script("/.well-known/oauth-authorization-server", Answer(status=404))
	template = a_template(server, discovery=server.url + "/.well-known/openid-configuration")
	(line,) = differences(template, {}, http)
	assert "discovery_not_found" in line


def test_what_can_be_asked() -> None:
	one = {"ask": {"region": {"label": "Region", "choices": {"eu": "Europe", "us": "USA"}}}}
	assert inputs_of(Template(key="acme", values=one)) == {"region": "eu"}
	assert (
		inputs_of(Template(key="acme", values={"ask": {"shop": {"label": "Shop", "example": "x"}}})) is None
	)
	assert Input(name="shop", label="Shop").default == ""
