"""What an API says of itself (RFC 9728), from an honest server and from others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_app.oauth import ConfigurationError, Http, OAuthError, TemporaryFailure, discovery
from connected_app.oauth.protected_resource import bearer, covers, find, well_known

from .hostile import Answer, Hostile, as_json

PATH = "/.well-known/oauth-protected-resource/mcp"
SERVER = "/.well-known/oauth-authorization-server"


def metadata(server: Hostile, **changes: Any) -> dict[str, Any]:
	return {"resource": server.url + "/mcp", "authorization_servers": [server.url], **changes}


def authorization_server(server: Hostile, **changes: Any) -> dict[str, Any]:
	return {
		"issuer": server.url,
		"authorization_endpoint": server.url + "/authorize",
		"token_endpoint": server.url + "/token",
		"code_challenge_methods_supported": ["S256"],
		**changes,
	}


def challenge(text: str, status: int = 401) -> Answer:
	return Answer(b"", status, {"WWW-Authenticate": text})


@pytest.fixture
def api(server: Hostile) -> str:
	"""An API as MCP 2025-11-25 and 2026-07-28 have it."""
	server.script("/mcp", challenge(f'Bearer resource_metadata="{server.url}{PATH}", scope="read write"'))
	server.script(PATH, as_json(metadata(server, scopes_supported=["all"], resource_name="Notes")))
	server.script(SERVER, as_json(authorization_server(server)))
	return server.url + "/mcp"


def refused(code: str, address: str, http: Http, kind: type[OAuthError] = ConfigurationError) -> OAuthError:
	with pytest.raises(kind) as caught:
		find(address, http)
	assert caught.value.code == code
	assert caught.value.message and caught.value.action
	return caught.value


def test_by_the_challenge(api: str, server: Hostile, http: Http) -> None:
	"""RFC 9728 5.1: where the answer 401 says; the challenge's scopes count (MCP 2026-07-28, Scope Selection)."""
	found = find(f" {api}#part ", http)
	assert (found.resource, found.address, found.name) == (api, api, "Notes")
	assert found.scopes == ("read", "write")
	assert found.server.token_endpoint == server.url + "/token"
	assert not found.dpop
	assert server.paths()["/mcp"] == 1


def test_by_the_well_known_address(api: str, server: Hostile, http: Http) -> None:
	"""RFC 9728 3.1: of the path first, then of the host; whatever the API answers without a token."""
	for answer in (challenge("Bearer"), Answer(b"", 405), Answer(b"<html>"), Answer(b"", 404)):
		server.script("/mcp", answer)
		server.script(PATH, as_json(metadata(server, scopes_supported=["all"])))
		assert find(api, http).scopes == ("all",)
		assert "/.well-known/oauth-protected-resource" not in server.paths()
	for answer in (Answer(b"", 404), challenge("Bearer"), Answer(b"<html>"), as_json({"error": "x"})):
		server.script(PATH, answer)
		server.script("/.well-known/oauth-protected-resource", as_json(metadata(server, resource=server.url)))
		assert find(api, http).resource == server.url


@pytest.mark.parametrize("nothing", [None, ""])
def test_null_is_as_if_omitted(nothing: object, api: str, server: Hostile, http: Http) -> None:
	"""Servers in Go write an empty list so."""
	names = ("scopes_supported", "bearer_methods_supported", "resource_name", "jwks_uri")
	server.script(PATH, as_json(metadata(server, **dict.fromkeys(names, nothing))))
	server.script("/mcp", challenge(f'Bearer resource_metadata="{server.url}{PATH}", scope=""'))
	found = find(api, http)
	assert (found.resource, found.scopes, found.name) == (api, (), "")
	assert not set(names) & set(found.document)
	server.script(PATH, as_json({**metadata(server), "authorization_servers": nothing}))
	refused("resource_metadata_invalid", api, http)


def test_redirects_within_the_origin(api: str, server: Hostile, http: Http) -> None:
	server.script("/", Answer(status=307, headers={"Location": "/mcp"}))
	assert find(server.url, http).address == api


@pytest.mark.parametrize("location", ["https://evil.example/mcp", "//evil.example/", "http://[", ""])
def test_a_redirect_to_another_host(location: str, api: str, server: Hostile, http: Http) -> None:
	there = Answer(status=302, headers={"Location": location or server.url + "/mcp"})
	server.script("/mcp", there)
	refused("resource_redirects", api, http)
	server.script("/mcp", challenge("Bearer"))
	server.script(PATH, there if location else Answer(status=302, headers={"Location": PATH}))
	refused("resource_redirects", api, http)


def test_an_address_that_answers(server: Hostile, http: Http) -> None:
	"""200, a page, or nothing of use: no authorization server is named, and it is none itself."""
	for answer in (as_json({"hello": "world"}), Answer(b"<html>", headers={"Content-Type": "text/html"})):
		address = server.script("/api", answer)
		assert "without asking" in refused("resource_unknown", address, http).message
	for status in (401, 403, 404, 405):
		address = server.script("/api", Answer(b"", status))
		assert str(status) in refused("resource_unknown", address, http).message
	for status, code in ((503, "server_error"), (429, "rate_limited")):
		address = server.script("/api", Answer(b"", status))
		refused(code, address, http, TemporaryFailure)


@pytest.mark.parametrize(
	"address",
	[
		"",
		"https://",
		"http://[::1",
		"//h",
		"file:///etc/passwd",
		"https://user:pw@h.example/",
		"javascript:x",
	],
)
def test_what_is_no_address(address: str, http: Http) -> None:
	assert "Enter the address" in refused("uri_invalid", address, http).action


def test_an_authorization_server(server: Hostile, http: Http) -> None:
	"""Its own address, without an API."""
	server.script("/.well-known/openid-configuration", as_json(authorization_server(server)))
	found = find(server.url, http)
	assert (found.resource, found.server.issuer) == ("", server.url)


@pytest.mark.parametrize(
	"resource",
	[
		"https://api.example/mcp",
		"http://127.0.0.1:1/mcp",
		"{}/mcpx",
		"{}/other",
		"{}/mcp?x=1",
		"{}/mcp#x",
		"http://[",
	],
)
def test_another_resource(resource: str, api: str, server: Hostile, http: Http) -> None:
	"""RFC 9728 3.3"""
	server.script(PATH, as_json(metadata(server, resource=resource.replace("{}", server.url))))
	refused("resource_mismatch", api, http)


@pytest.mark.parametrize(
	"changes",
	[
		{"resource": None},
		{"resource": 7},
		{"authorization_servers": None},
		{"authorization_servers": []},
		{"authorization_servers": "https://as.example"},
		{"authorization_servers": [7]},
		{"scopes_supported": "read"},
	],
)
def test_metadata_that_say_too_little(changes: dict[str, Any], api: str, server: Hostile, http: Http) -> None:
	server.script(PATH, as_json(metadata(server, **changes)))
	refused("resource_metadata_invalid", api, http)


@pytest.mark.parametrize("answer", [Answer(b"<html>"), as_json(["x"]), Answer(b"", 404), as_json({})])
def test_metadata_that_cannot_be_read(answer: Answer, api: str, server: Hostile, http: Http) -> None:
	"""Where the API itself names the address, no other is asked."""
	server.script(PATH, answer)
	refused("resource_metadata_invalid", api, http)


def test_what_is_not_supported(api: str, server: Hostile, http: Http) -> None:
	for changes in (
		{"bearer_methods_supported": ["body"]},
		{"bearer_methods_supported": []},
		{"tls_client_certificate_bound_access_tokens": True},
	):
		server.script(PATH, as_json(metadata(server, **changes)))
		refused("resource_unsupported", api, http)
	server.script(
		PATH,
		as_json(
			metadata(server, bearer_methods_supported=["header"], dpop_bound_access_tokens_required=True)
		),
	)
	assert find(api, http).dpop


@pytest.mark.parametrize("host", ["10.0.0.1", "[fd00::1]", "169.254.169.254", "192.168.1.1:8443"])
def test_a_server_on_a_private_address(host: str, api: str, server: Hostile, http: Http) -> None:
	server.script(PATH, as_json(metadata(server, authorization_servers=[f"https://{host}"])))
	refused("address_refused", api, http)
	server.script("/mcp", challenge(f'Bearer resource_metadata="https://{host}/metadata"'))
	refused("address_refused", api, http)


@pytest.mark.parametrize(
	"name",
	["token_endpoint", "registration_endpoint", "revocation_endpoint", "jwks_uri", "userinfo_endpoint"],
)
@pytest.mark.parametrize(
	("address", "code"),
	[
		("https://10.0.0.1/x", "address_refused"),
		("https://[fd00::1]/x", "address_refused"),
		("http://as.example/x", "uri_insecure"),
		("https://as.example:99999/x", "uri_invalid"),
		("https://user:pw@as.example/x", "uri_invalid"),
	],
)
def test_endpoints_that_cannot_be_called(
	name: str, address: str, code: str, api: str, server: Hostile, http: Http
) -> None:
	"""It shows before anything is registered, and not when the first user connects."""
	server.script(SERVER, as_json(authorization_server(server, **{name: address})))
	refused(code, api, http)


@pytest.mark.parametrize(
	("answer", "code"),
	[
		(Answer(b"", 404), "discovery_not_found"),
		(Answer(b"<html>"), "discovery_invalid"),
		(as_json({"issuer": "https://honest.example"}), "discovery_issuer_mismatch"),
	],
)
def test_a_server_without_metadata(answer: Answer, code: str, api: str, server: Hostile, http: Http) -> None:
	"""It is said whose are missing: nobody has entered that address."""
	server.script(SERVER, answer)
	error = refused(code, api, http)
	assert server.url in error.message and "OpenID Configuration" not in f"{error.message} {error.action}"


def test_more_scopes_than_anybody_asks_for(api: str, server: Hostile, http: Http) -> None:
	server.script("/mcp", challenge("Bearer"))
	for number, refuses in ((500, False), (501, True)):
		server.script(
			PATH, as_json(metadata(server, scopes_supported=[f"s{each}" for each in range(number)]))
		)
		if refuses:
			assert "501" in refused("resource_unsupported", api, http).message
		else:
			assert len(find(api, http).scopes) == number


def test_several_servers(api: str, server: Hostile, http: Http) -> None:
	"""RFC 9728 7.6: the client chooses; the first that can be used."""
	others = ["https://10.0.0.1", server.url + "/nothing"]
	server.script(PATH, as_json(metadata(server, authorization_servers=[*others, server.url])))
	assert find(api, http).server.issuer == server.url
	server.script(PATH, as_json(metadata(server, authorization_servers=others)))
	refused("address_refused", api, http)


def test_the_server_names_another_issuer(api: str, server: Hostile, http: Http) -> None:
	"""RFC 8414 3.3"""
	server.script(SERVER, as_json(authorization_server(server, issuer="https://honest.example")))
	refused("discovery_issuer_mismatch", api, http)


@pytest.mark.parametrize(
	"changes",
	[
		{"authorization_endpoint": ""},
		{"token_endpoint": ""},
		{"response_types_supported": ["token"]},
		{"grant_types_supported": ["client_credentials"]},
		{"code_challenge_methods_supported": ["plain"]},
		{"code_challenge_methods_supported": 7},
	],
)
def test_a_server_without_what_is_needed(
	changes: dict[str, Any], api: str, server: Hostile, http: Http
) -> None:
	server.script(SERVER, as_json(authorization_server(server, **changes)))
	refused("authorization_server_unusable", api, http)


def test_a_server_that_does_not_say_that_it_takes_pkce(api: str, server: Hostile, http: Http) -> None:
	"""MCP 2025-11-25 and 2026-07-28, Authorization Code Protection: clients refuse it, by either kind of document. The form
	goes on taking it."""
	lacking = {
		name: value
		for name, value in authorization_server(server).items()
		if name != "code_challenge_methods_supported"
	}
	for path, document in (
		(SERVER, lacking),
		("/.well-known/openid-configuration", {**lacking, "jwks_uri": ""}),
	):
		server.script(path, as_json(document))
		for address in (api, server.url):
			error = refused("pkce_not_announced", address, http)
			assert server.url in error.message and "Get OpenID Configuration" in error.action
		assert discovery.fetch(server.url, http).token_endpoint
	server.script(SERVER, as_json({**lacking, "code_challenge_methods_supported": None}))
	refused("pkce_not_announced", api, http)


def test_what_a_server_leaves_out_is_as_the_standard_has_it(api: str, server: Hostile, http: Http) -> None:
	"""RFC 8414 2"""
	assert "response_types_supported" not in authorization_server(server)
	assert find(api, http).server.issuer == server.url


@pytest.mark.parametrize(
	("header", "found"),
	[
		("", {}),
		("Basic realm=x", {}),
		("Bearer", {}),
		("bearer Scope=a", {"scope": "a"}),
		('Basic realm="a, Bearer b=c", Bearer scope="x y"', {"scope": "x y"}),
		('Bearer realm="\\"q\\"", error=invalid_token', {"realm": '"q"', "error": "invalid_token"}),
		('Bearer scope="x", DPoP resource_metadata="u"', {"resource_metadata": "u"}),
		('Negotiate, Bearer resource_metadata = "u" , scope=""', {"resource_metadata": "u", "scope": ""}),
		('Bearer resource_metadata="u", resource_metadata="v"', {"resource_metadata": "u"}),
		("Negotiate YWJj, Bearer scope=a", {"scope": "a"}),
		("Negotiate YWJj==, Bearer scope=a", {"scope": "a"}),
	],
)
def test_challenges(header: str, found: dict[str, str]) -> None:
	"""RFC 9110 11.6.1: several in one header, whose values may have commas in them."""
	assert bearer(header) == found


@given(st.text(st.characters(codec="latin-1")))
def test_any_challenge(header: str) -> None:
	assert isinstance(bearer(header), dict)


def test_well_known_addresses() -> None:
	"""RFC 9728 3.1"""
	host = "https://api.example/.well-known/oauth-protected-resource"
	assert well_known("https://api.example/a/b/?q=1") == [host + "/a/b", host]
	assert well_known("https://api.example/") == [host]


def test_covers() -> None:
	for resource in (
		"https://api.example/a",
		"https://api.example/a/",
		"https://api.example",
		"HTTPS://API.example/",
	):
		assert covers(resource, "https://api.example/a")
	assert covers("https://api.example/a", "https://api.example/a/b?x=1")
	assert not covers("https://api.example/a/b", "https://api.example/a")
	assert not covers("http://api.example/a", "https://api.example/a")
