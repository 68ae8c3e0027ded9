from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_app.oauth import ConfigurationError, Http, OAuthError, TemporaryFailure
from connected_app.oauth.discovery import ENDPOINTS, fetch, issuer_of
from connected_app.oauth.reply import Reply

from .hostile import Answer, Hostile, as_json
from .test_grant import JSON


def document(issuer: str, **changes: Any) -> dict[str, Any]:
	return {"issuer": issuer, "token_endpoint": issuer + "/token", "jwks_uri": issuer + "/jwks", **changes}


@pytest.mark.parametrize(
	("path", "tail"),
	[
		("/.well-known/openid-configuration", ""),
		("/realms/a/.well-known/openid-configuration", "/realms/a"),
		("/.well-known/openid-configuration/realms/a", "/realms/a"),
		("/.well-known/oauth-authorization-server/realms/a", "/realms/a"),
		("/.well-known/oauth-authorization-server", ""),
		("/o/.well-known/openid-configuration/", "/o"),
		("/.well-known/openid_configuration", ""),
		("/.well-known/openid_sandbox_configuration", ""),
		("/t/v2.0/.well-known/openid-configuration?p=b2c_1_sign_in", "/t/v2.0"),
	],
)
def test_placements(path: str, tail: str, server: Hostile, http: Http) -> None:
	"""oidcc-client-test-discovery-openid-config: both placements (RFC 8414 3.1, Discovery 4)."""
	query = path.partition("?")[2]
	url = server.script(path.partition("?")[0], as_json(document(server.url + tail))) + (
		query and "?" + query
	)
	metadata = fetch(url, http)
	assert server.requests[0].target == path
	assert metadata.issuer == issuer_of(url) == server.url + tail
	assert metadata.token_endpoint == server.url + tail + "/token"
	assert metadata.userinfo_endpoint == ""


def test_bare_issuer(server: Hostile, http: Http) -> None:
	"""An issuer is good enough; its own slash at the end is kept as the provider writes it."""
	server.script("/.well-known/openid-configuration", as_json(document(server.url + "/")))
	assert fetch(f" {server.url}/ ", http).issuer == server.url + "/"


@pytest.mark.parametrize(
	("answer", "kind", "code"),
	[
		(Answer(b"no", 404), ConfigurationError, "discovery_not_found"),
		(Answer(b"", 401), ConfigurationError, "discovery_not_found"),
		(Answer(b"", 503), TemporaryFailure, "server_error"),
		(Answer(b"", 429), TemporaryFailure, "rate_limited"),
		(Answer(b"<html>"), ConfigurationError, "discovery_invalid"),
		(Answer(b"{}", headers={"Content-Type": "text/html"}), ConfigurationError, "discovery_invalid"),
		(as_json(["x"]), ConfigurationError, "discovery_invalid"),
		(Answer(b" " * 2_000_000), TemporaryFailure, "response_too_large"),
		(Answer(status=302, headers={"Location": "http://10.0.0.1/"}), ConfigurationError, "uri_insecure"),
		(
			Answer(status=302, headers={"Location": "https://10.0.0.1/"}),
			ConfigurationError,
			"address_refused",
		),
		(Answer(status=302, headers={"Location": "file:///etc/passwd"}), ConfigurationError, "uri_invalid"),
		(Answer(status=302, headers={"Location": "http://["}), ConfigurationError, "uri_invalid"),
		(Answer(status=302, headers={"Location": "?again"}), ConfigurationError, "discovery_not_found"),
	],
)
def test_faults(answer: Answer, kind: type[OAuthError], code: str, server: Hostile, http: Http) -> None:
	"""core-defects 10: redirects of discovery are followed under the policy, thrice at most."""
	url = server.script("/.well-known/openid-configuration", answer)
	with pytest.raises(kind) as caught:
		fetch(url, http)
	assert caught.value.code == code
	assert len(server.requests) <= 4


def test_mtls_endpoint_aliases(server: Hostile, http: Http) -> None:
	"""The fields get the usual addresses, whoever the client is: aliases are for requests with a certificate (RFC 8705 5)."""
	aliases = {"token_endpoint": "https://mtls.example/token", "userinfo_endpoint": "https://mtls.example/me"}
	url = server.script(
		"/.well-known/openid-configuration", as_json(document(server.url, mtls_endpoint_aliases=aliases))
	)
	metadata = fetch(url, http)
	assert (metadata.token_endpoint, metadata.userinfo_endpoint) == (server.url + "/token", "")


@pytest.mark.parametrize(
	"path",
	[
		"/realms/a/.well-known/openid-configuration",
		"/.well-known/oauth-authorization-server/realms/a",
		"/.well-known/openid-configuration/realms/a",
		"/realms/a/.well-known/oauth-authorization-server",
	],
)
def test_of_an_issuer(path: str, server: Hostile, http: Http) -> None:
	"""All placements are tried for an address without a well-known part."""
	server.script(path, as_json(document(server.url + "/realms/a")))
	assert fetch(server.url + "/realms/a", http).token_endpoint == server.url + "/realms/a/token"


def test_servers_that_answer_each_path_alike(server: Hostile, http: Http) -> None:
	"""By a page, or by asking for a token: the document may be at another placement all the same."""
	for answer in (
		Answer(b"<html>"),
		Answer(b"", 401),
		Answer(b"", 403),
		as_json(["x"]),
		as_json({"error": "not_found", "status": 404}),
		as_json({}),
	):
		server.script("/a/.well-known/openid-configuration", answer)
		server.script("/.well-known/oauth-authorization-server/a", as_json(document(server.url + "/a")))
		assert fetch(server.url + "/a", http).issuer == server.url + "/a"


@pytest.mark.parametrize("issuer", ["", "/realms/a"])
def test_the_other_document(issuer: str, server: Hostile, http: Http) -> None:
	"""RFC 8414 beside OpenID: it adds what is lacking, and changes nothing that is there."""
	url = server.script(issuer + "/.well-known/openid-configuration", as_json(document(server.url + issuer)))
	other = "/.well-known/oauth-authorization-server" + issuer
	more = {"revocation_endpoint": server.url + "/revoke", "token_endpoint": server.url + "/other"}
	server.script(other, as_json(document(server.url + issuer, **more)))
	metadata = fetch(url, http)
	assert metadata.revocation_endpoint == metadata.document["revocation_endpoint"] == server.url + "/revoke"
	assert metadata.token_endpoint == server.url + issuer + "/token"
	for bad in (
		as_json(document("https://other.example", **more)),
		as_json(document(server.url + issuer, revocation_endpoint=7)),
		Answer(b"", 500),
		Answer(b"<html>"),
		Answer(status=302, headers={"Location": "http://10.0.0.1/"}),
	):
		server.script(other, bad)
		assert fetch(url, http).revocation_endpoint == ""


def test_the_other_document_is_not_asked_for_in_vain(server: Hostile, http: Http) -> None:
	more = {name: server.url + "/" + name for name in ("revocation_endpoint", "introspection_endpoint")}
	url = server.script("/.well-known/openid-configuration", as_json(document(server.url, **more)))
	fetch(url, http)
	assert len(server.requests) == 1


def test_another_issuer(server: Hostile, http: Http) -> None:
	"""Azure AD B2C, Oracle, PayPal, Salesforce My Domain: accepted by explicit choice only."""
	url = server.script("/.well-known/openid-configuration", as_json(document("https://issuer.example")))
	with pytest.raises(ConfigurationError) as caught:
		fetch(url, http)
	assert caught.value.code == "discovery_issuer_mismatch"
	assert fetch(url, http, any_issuer=True).issuer == "https://issuer.example"
	assert fetch(url, http, "https://issuer.example").issuer == "https://issuer.example"
	for nobody in (None, "", 7):
		server.script(
			"/.well-known/openid-configuration", as_json({**document(server.url), "issuer": nobody})
		)
		with pytest.raises(ConfigurationError):
			fetch(url, http, any_issuer=True)


@pytest.mark.parametrize("nothing", [None, ""])
@pytest.mark.parametrize("name", [name for name in ENDPOINTS if name != "token_endpoint"])
def test_null_is_as_if_omitted(name: str, nothing: object, server: Hostile, http: Http) -> None:
	url = server.script("/.well-known/openid-configuration", as_json(document(server.url, **{name: nothing})))
	metadata = fetch(url, http)
	assert getattr(metadata, name) == "" and name not in metadata.document


def test_what_means_the_same(server: Hostile, http: Http) -> None:
	"""A scheme in capitals, blanks around an address, and `false` for an endpoint that there is not."""
	more = {
		"token_endpoint": "HTTPS://p.example/token",
		"jwks_uri": " https://p.example/keys\n",
		"userinfo_endpoint": False,
	}
	url = server.script("/.well-known/openid-configuration", as_json(document(server.url, **more)))
	found = fetch(url, http)
	assert (found.token_endpoint, found.jwks_uri) == ("https://p.example/token", "https://p.example/keys")
	assert found.userinfo_endpoint == ""


def test_no_metadata_name_no_other_issuer(server: Hostile, http: Http) -> None:
	"""JSON that is no metadata is not reported as from another issuer."""
	for answer in (as_json({"error": "not_found"}), as_json({})):
		url = server.script("/.well-known/openid-configuration", answer)
		with pytest.raises(ConfigurationError) as caught:
			fetch(url, http)
		assert caught.value.code == "discovery_invalid"


@pytest.mark.parametrize("value", [7, ["x"], "javascript:alert(1)", "/token"])
@pytest.mark.parametrize("name", ["token_endpoint", "jwks_uri"])
def test_endpoints_are_addresses(name: str, value: Any, server: Hostile, http: Http) -> None:
	url = server.script("/.well-known/openid-configuration", as_json(document(server.url, **{name: value})))
	with pytest.raises(ConfigurationError) as caught:
		fetch(url, http)
	assert caught.value.code == "discovery_invalid"


class Fixed:
	def __init__(self, body: bytes) -> None:
		self.body = body

	def get(self, url: str, headers: Any = None, redirects: int = 0) -> Reply:
		return Reply(status=200, headers={"content-type": "application/json"}, body=self.body, url=url)

	def post(self, url: str, data: Any, headers: Any = None) -> Reply:
		raise AssertionError


@given(
	st.binary()
	| st.dictionaries(st.sampled_from([*ENDPOINTS, "issuer"]), JSON).map(lambda value: as_json(value).body)
)
def test_any_document(body: bytes) -> None:
	"""Whatever document comes: metadata whose endpoints are web addresses, or an error of ours."""
	try:
		metadata = fetch("https://p.example", Fixed(body))
	except OAuthError:
		return
	assert metadata.issuer.rstrip("/") == "https://p.example"
	for name in ENDPOINTS:
		value = getattr(metadata, name)
		assert value == "" or value.startswith(("https://", "http://"))
