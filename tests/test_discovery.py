from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_app.oauth import ConfigurationError, Http, OAuthError, TemporaryFailure
from connected_app.oauth.discovery import ENDPOINTS, fetch, issuer_of
from connected_app.oauth.net import Reply

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
	],
)
def test_placements(path: str, tail: str, server: Hostile, http: Http) -> None:
	"""oidcc-client-test-discovery-openid-config: both placements (RFC 8414 3.1, Discovery 4)."""
	url = server.script(path, as_json(document(server.url + tail)))
	metadata = fetch(url, http)
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
	"""oidcc-client-test-mtls-endpoint-aliases: they are for clients with a certificate, which this is not (RFC 8705 5)."""
	aliases = {"token_endpoint": "https://mtls.example/token", "userinfo_endpoint": "https://mtls.example/me"}
	url = server.script(
		"/.well-known/openid-configuration", as_json(document(server.url, mtls_endpoint_aliases=aliases))
	)
	metadata = fetch(url, http)
	assert (metadata.token_endpoint, metadata.userinfo_endpoint) == (server.url + "/token", "")


@pytest.mark.parametrize("value", [7, None, ["x"], "javascript:alert(1)", "/token"])
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
