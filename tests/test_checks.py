"""Check Configuration's findings that need no Frappe."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from connected_app.oauth import Http, checks, client_checks, endpoint_checks, keys, metadata_checks
from connected_app.oauth.checks import CHECKS
from connected_app.oauth.client import Client
from connected_app.oauth.errors import Sentence
from connected_app.oauth.findings import FIELDS, LABELS, Finding, Subject
from connected_app.oauth.provider import Provider
from connected_app.oauth.redact import Secret
from connected_app.oauth.templates import load

from .helpers import as_jwk
from .hostile import Answer, Hostile, as_json

DOCTYPE = "connected_app/connections/doctype/connected_app/connected_app.json"
CLIENT = Client(
	client_id="c", client_secret=Secret("s"), redirect_uri="https://site.example/cb", scopes=("mail",)
)

TEMPLATES = load([Path("connected_app/providers")])


def subject(
	http: Http, provider: Provider | None = None, client: Client = CLIENT, **metadata: Any
) -> Subject:
	provider = provider or Provider(authorization_uri="https://p.example/a", token_uri="https://p.example/t")
	return Subject(replace(provider, metadata=metadata), client, http)


def shown(findings: Any) -> list[tuple[str, str, str]]:
	return [(each.level, each.check, each.field) for each in findings]


def test_fields_and_labels() -> None:
	"""Each field that a finding may be about is one of the form, by its label there."""
	fields = {
		each["fieldname"]: each.get("label") for each in json.loads(Path(DOCTYPE).read_text())["fields"]
	}
	assert all(fields[name] == label for name, label in LABELS.items())
	assert set(FIELDS.values()) <= set(fields)
	assert set(metadata_checks.ENDPOINTS) == set(LABELS)


@pytest.mark.parametrize(
	("check", "metadata", "changes", "expected"),
	[
		(
			metadata_checks.pushed_requests,
			{"require_pushed_authorization_requests": True},
			{"pushed_requests": "never"},
			"error pushed_requests",
		),
		(metadata_checks.pushed_requests, {"require_pushed_authorization_requests": True}, {}, ""),
		(metadata_checks.pushed_requests, {}, {"pushed_requests": "always"}, "error pushed_requests"),
		(metadata_checks.bound_tokens, {"issuer": "https://p.example"}, {"dpop": True}, "error dpop"),
		(metadata_checks.bound_tokens, {"dpop_signing_alg_values_supported": ["ES256"]}, {"dpop": True}, ""),
		(metadata_checks.bound_tokens, {"issuer": "https://p.example"}, {}, ""),
		(metadata_checks.bound_tokens, {}, {"dpop": True}, ""),
		(
			metadata_checks.pushed_requests,
			{"pushed_authorization_request_endpoint": "https://p.example/par"},
			{"pushed_requests": "always"},
			"",
		),
		(metadata_checks.pushed_requests, {"require_pushed_authorization_requests": False}, {}, ""),
		(metadata_checks.pushed_requests, {"require_pushed_authorization_requests": "true"}, {}, ""),
		(
			metadata_checks.response_mode,
			{},
			{"authorization_parameters": {"response_mode": "form_post"}},
			"",
		),
		(
			metadata_checks.response_mode,
			{"response_modes_supported": ["query", "fragment"]},
			{"authorization_parameters": {"response_mode": "form_post"}},
			"error query_parameters",
		),
		(
			metadata_checks.response_mode,
			{"response_modes_supported": ["form_post"]},
			{"authorization_parameters": {"response_mode": "form_post"}},
			"",
		),
		(
			metadata_checks.response_mode,
			{"response_modes_supported": ["fragment"]},
			{},
			"error authorization_uri",
		),
		(
			metadata_checks.response_mode,
			{},
			{"authorization_parameters": {"response_mode": "fragment"}},
			"error query_parameters",
		),
		(
			metadata_checks.response_mode,
			{},
			{"authorization_parameters": {"response_mode": "jwt"}},
			"error query_parameters",
		),
		(metadata_checks.response_mode, {}, {"authorization_parameters": {"response_mode": "query"}}, ""),
		(metadata_checks.response_mode, {}, {}, ""),
		(
			metadata_checks.bound_tokens,
			{"issuer": "x"},
			{"certificate_bound": True},
			"error certificate_bound",
		),
		(
			metadata_checks.bound_tokens,
			{"tls_client_certificate_bound_access_tokens": True},
			{"certificate_bound": True},
			"",
		),
		(metadata_checks.bound_tokens, {}, {"certificate_bound": True}, ""),
		(
			metadata_checks.response_mode,
			{"response_modes_supported": ["form_post"]},
			{},
			"error query_parameters",
		),
		(metadata_checks.response_mode, {"response_modes_supported": ["fragment", "query"]}, {}, ""),
		(client_checks.offline_consent, {"prompt_values_supported": ["none", "consent"]}, {}, ""),
		(
			client_checks.offline_consent,
			{"prompt_values_supported": ["none", "consent"]},
			{"scopes": ("openid", "offline_access")},
			"warning query_parameters",
		),
		(
			client_checks.offline_consent,
			{"prompt_values_supported": ["none", "consent"]},
			{"scopes": ("offline_access",), "authorization_parameters": {"prompt": "login consent"}},
			"",
		),
		(client_checks.offline_consent, {}, {"scopes": ("offline_access",)}, ""),
		(
			metadata_checks.code_flow,
			{"response_types_supported": ["id_token"]},
			{},
			"error authorization_uri",
		),
		(metadata_checks.code_flow, {"grant_types_supported": ["authorization_code"]}, {}, ""),
		(metadata_checks.pkce, {"code_challenge_methods_supported": ["plain"]}, {}, "error use_pkce"),
		(
			metadata_checks.pkce,
			{"code_challenge_methods_supported": ["S256"]},
			{"use_pkce": False},
			"warning use_pkce",
		),
		(metadata_checks.pkce, {"code_challenge_methods_supported": "S256"}, {}, ""),
		(metadata_checks.pkce, {"code_challenge_methods_supported": ["S256", "plain"]}, {}, ""),
		(client_checks.client_id, {}, {"client_id": ""}, "error client_id"),
		(
			client_checks.authentication,
			{},
			{"client_secret": None, "authentication": "client_secret_post"},
			"error client_secret",
		),
		(
			client_checks.authentication,
			{"token_endpoint_auth_methods_supported": ["private_key_jwt"]},
			{"authentication": "client_secret_post"},
			"error client_authentication",
		),
		(
			client_checks.authentication,
			{"token_endpoint_auth_methods_supported": ["client_secret_post"]},
			{},
			"",
		),
		(
			client_checks.authentication,
			{"token_endpoint_auth_methods_supported": ["client_secret_basic"]},
			{"client_secret": None},
			"error client_secret",
		),
		(client_checks.scopes, {"scopes_supported": ["openid"]}, {}, "warning scopes"),
		(client_checks.scopes, {"scopes_supported": ["openid", "mail"]}, {}, ""),
		(client_checks.identity, {}, {"scopes": ("openid",)}, "warning issuer"),
		(client_checks.offline, {"scopes_supported": ["offline_access"]}, {}, "warning scopes"),
	],
)
def test_without_asking(check: Any, metadata: Any, changes: Any, expected: str, http: Http) -> None:
	findings = list(check(subject(http, client=replace(CLIENT, **changes), **metadata)))
	about = [f"{each.level} {each.field}" for each in findings if each.level != "ok"]
	assert about == ([expected] if expected else [])
	for each in findings:
		assert isinstance(each.message, Sentence) and bool(each.action) == (each.level != "ok")


@pytest.mark.parametrize(
	("jwks_uri", "algorithms", "secret", "expected"),
	[
		("", [], "s", [("warning", "jwks_uri", "jwks_uri")]),
		("https://p.example/j", [], "s", []),
		("https://p.example/j", ["none", "RS256"], None, []),
		("https://p.example/j", ["HS256"], "s", []),
		("https://p.example/j", ["HS256"], None, [("error", "id_token_algorithm", "issuer")]),
		("https://p.example/j", ["none"], "s", [("error", "id_token_algorithm", "issuer")]),
	],
)
def test_whether_id_tokens_can_be_checked(
	jwks_uri: str, algorithms: list[str], secret: str | None, expected: Any, http: Http
) -> None:
	client = replace(CLIENT, scopes=("openid",), client_secret=secret and Secret(secret))
	provider = Provider(issuer="https://p.example", jwks_uri=jwks_uri)
	about = subject(http, provider, client, id_token_signing_alg_values_supported=algorithms)
	assert shown(client_checks.identity(about)) == expected


def test_endpoints_that_are_missing(http: Http) -> None:
	"""Said once for each, and nobody is asked."""
	about = subject(http, Provider(issuer="https://p.example"))
	assert shown(endpoint_checks.endpoints(about)) == [
		("error", "endpoint_missing", "authorization_uri"),
		("error", "endpoint_missing", "token_uri"),
	]
	assert not [
		*endpoint_checks.consent_page(about),
		*endpoint_checks.tokens(about),
		*endpoint_checks.keys(about),
	]


@pytest.mark.parametrize("key", [key for key, each in TEMPLATES.items() if each["offline"]])
def test_without_a_refresh_token(key: str, http: Http) -> None:
	"""An app that somebody set up by hand is known by the host of its consent page."""
	template = TEMPLATES[key]
	provider = Provider(authorization_uri=template["authorize"].replace("{tenant}", "contoso"))
	parameters, needed = template["parameters"] or {}, template["offline"]
	expected = {
		("warning", "offline", "query_parameters" if each in parameters else "scopes") for each in needed
	}
	about = replace(subject(http, provider), templates=TEMPLATES.values())
	assert set(shown(client_checks.offline(about))) == expected
	complete = replace(CLIENT, authorization_parameters=parameters, scopes=("offline_access",))
	assert not shown(client_checks.offline(replace(about, client=complete)))
	unknown = replace(about, provider=Provider(authorization_uri="https://p.example/a"))
	assert not shown(client_checks.offline(unknown))


def test_a_host_that_cannot_be_reached_is_asked_once(http: Http) -> None:
	# Taken, so that nobody else listens there.
	with socket.socket() as closed:
		closed.bind(("127.0.0.1", 0))
		base = f"http://127.0.0.1:{closed.getsockname()[1]}"
		provider = Provider(
			authorization_uri=f"{base}/a",
			token_uri=f"{base}/t",
			jwks_uri=f"{base}/j",
			userinfo_uri=f"{base}/u",
		)
		asked = subject(http, provider)
		found = [each for each in checks.run(asked) if each.level == "error"]
	assert [each.field for each in found] == ["authorization_uri", "token_uri", "jwks_uri", "userinfo_uri"]
	assert len({each.message for each in found}) == 1
	assert len(asked.unreachable) == 1


def test_no_certificate_authorities(tmp_path: Path, server: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
	"""Said once, of no field: it stands between this site and every provider."""
	monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
	provider = Provider(
		authorization_uri="https://127.0.0.1:9/a",
		token_uri="https://127.0.0.1:9/t",
		jwks_uri="https://127.0.0.1:9/j",
	)
	http = Http(allow_http_loopback=True, allowed_hosts=frozenset({"127.0.0.1"}))
	findings = list(checks.run(subject(http, provider)))
	assert shown(each for each in findings if each.level != "ok") == [("error", "ca_bundle_unusable", "")]


def test_a_proxy_that_does_not_answer() -> None:
	provider = Provider(authorization_uri="https://p.example/a", token_uri="https://p.example/t")
	http = Http(proxy="http://127.0.0.1:9")
	findings = list(checks.run(subject(http, provider)))
	assert shown(each for each in findings if each.level != "ok") == [("error", "proxy_unreachable", "")]


def test_the_endpoints_of_a_provider(http: Http, server: Hostile) -> None:
	refused = as_json({"error": "invalid_grant"}, status=400)
	provider = Provider(
		authorization_uri=server.script("/a", Answer(status=200, body=b"<html>")),
		token_uri=server.script("/t", refused, refused),
		jwks_uri=server.script("/j", *[as_json({"keys": []})] * 3),
		userinfo_uri=server.script("/u", Answer(status=404)),
		revocation_uri=server.script("/r", Answer(status=200)),
	)
	assert sorted(shown(checks.run(subject(http, provider)))) == [
		("error", "jwks", "jwks_uri"),
		("ok", "authorization", "authorization_uri"),
		("ok", "credentials", "client_secret"),
		("ok", "endpoint", "revocation_uri"),
		("ok", "token", "token_uri"),
		("warning", "endpoint", "userinfo_uri"),
	]


def test_an_address_with_a_placeholder_is_not_tried(http: Http, server: Hostile) -> None:
	"""GitHub's names the client, HubSpot's the token: without those it answers 404, which says nothing."""
	provider = Provider(revocation_uri=f"{server.url}/applications/{{client_id}}/token")
	assert shown(endpoint_checks.other_endpoints(subject(http, provider))) == []
	assert server.requests == []


def test_what_the_consent_page_says(http: Http, server: Hostile) -> None:
	back = {"Location": "https://site.example/cb?error=unauthorized_client"}
	login = {"Location": "https://site.example/cb?error=login_required"}
	answers = [
		(Answer(status=302, headers=back), ("error", "authorization", "client_id")),
		(Answer(status=403), ("warning", "authorization", "authorization_uri")),
		(Answer(status=302, headers=login), ("ok", "authorization", "authorization_uri")),
		(Answer(status=500), ("error", "endpoint", "authorization_uri")),
	]
	provider = Provider(
		authorization_uri=server.script("/a", *[answer for answer, _expected in answers]),
		token_uri="https://p.example/t",
	)
	for _answer, expected in answers:
		assert shown(endpoint_checks.consent_page(subject(http, provider))) == [expected]


@pytest.mark.parametrize(
	("second", "expected"),
	[
		(as_json({"error": "invalid_client"}, 401), [("error", "credentials", "client_secret")]),
		(as_json({"error": "unauthorized_client"}, 400), [("error", "credentials", "client_id")]),
		(as_json({"error": "invalid_request"}, 400), []),
		(as_json({"error": "what"}, 400), []),
		(as_json({"error": "invalid_grant"}, 400), [("ok", "credentials", "client_secret")]),
	],
)
def test_what_the_token_endpoint_says_of_the_client(
	second: Answer, expected: Any, http: Http, server: Hostile
) -> None:
	uri = server.script("/t", as_json({"error": "invalid_request"}, 400), second)
	found = shown(endpoint_checks.tokens(subject(http, Provider(token_uri=uri))))
	assert found == [("ok", "token", "token_uri"), *expected]
	assert server.requests[-1].form["code"] == endpoint_checks.NOBODYS


def test_a_client_that_cannot_prove_itself_is_not_sent(http: Http, server: Hostile) -> None:
	uri = server.script("/t", as_json({"error": "invalid_request"}, 400))
	client = replace(CLIENT, client_secret=None, authentication="client_secret_basic")
	assert shown(endpoint_checks.tokens(subject(http, Provider(token_uri=uri), client))) == [
		("ok", "token", "token_uri")
	]
	assert len(server.requests) == 1


def test_a_page_at_the_token_endpoint(http: Http, server: Hostile) -> None:
	uri = server.script("/t", Answer(b"<html>", headers={"Content-Type": "text/html"}))
	assert shown(endpoint_checks.tokens(subject(http, Provider(token_uri=uri)))) == [
		("error", "endpoint", "token_uri")
	]


def test_keys_that_can_be_read(http: Http, server: Hostile) -> None:
	uri = server.script("/j", as_json({"keys": [as_jwk("a", "kid-a")]}))
	assert shown(endpoint_checks.keys(subject(http, Provider(jwks_uri=uri)))) == [("ok", "jwks", "jwks_uri")]


def test_a_document_that_cannot_be_read(http: Http, server: Hostile) -> None:
	about = subject(http)
	about.openid_configuration = server.script("/.well-known/openid-configuration", Answer(b"no", 404))
	assert shown(metadata_checks.published(about)) == [("error", "discovery", "openid_configuration")]


def test_the_document_against_the_settings(http: Http, server: Hostile) -> None:
	document = {
		"issuer": server.url,
		"authorization_endpoint": f"{server.url}/a",
		"token_endpoint": f"{server.url}/t",
		"response_modes_supported": ["form_post"],
	}
	uri = server.script("/.well-known/openid-configuration", *[as_json(document)] * 2)
	asked = subject(http, Provider(issuer=server.url, authorization_uri=f"{server.url}/a"))
	asked.openid_configuration = uri
	assert shown(metadata_checks.published(asked)) == [
		("ok", "discovery", "openid_configuration"),
		("warning", "discovery_differs", "token_uri"),
	]
	assert asked.supported("response_modes_supported") == [
		"form_post"
	], "the checks after it read this document"


def test_every_check_is_in_the_list() -> None:
	"""What yields findings is run."""
	public = {
		value
		for module in (metadata_checks, client_checks, endpoint_checks)
		for name, value in vars(module).items()
		if not name.startswith("_")
		and getattr(value, "__module__", "") == module.__name__
		and getattr(value, "__annotations__", {}).get("return") == "Iterator[Finding]"
	}
	assert public - {endpoint_checks.credentials} == {*CHECKS, *checks.WITHOUT_CONSENT}
	assert Finding("ok", "c", "f", "m").action == ""


def test_service_accounts(server: Hostile, http: Http) -> None:
	"""No page to be sent to, and nothing comes back: a token is asked for instead."""
	provider = Provider(token_uri=server.url + "/token")
	asked = subject(http, provider, client_id="robot", authentication="omitted")
	asked.grant, asked.acts_as = "service_account", "alice@acme.example"
	assert ("error", "service_key_missing", "grant_type") in shown(checks.run(asked))
	asked.client = replace(
		asked.client, signing_key=keys.generate("RS256", "test", datetime.now(timezone.utc))
	)
	server.script(
		"/token",
		as_json({"error": "invalid_grant"}, 400),
		as_json({"access_token": "access-token-1c7"}),
	)
	assert ("error", "service_account", "grant_type") in shown(checks.run(asked))
	found = shown(checks.run(asked))
	assert ("ok", "service_account", "grant_type") in found
	assert [each for each in found if each[0] == "error"] == []
	asked.provider = Provider()
	assert ("error", "endpoint_missing", "token_uri") in shown(checks.run(asked))


def test_signing_keys(http: Http) -> None:
	"""Whether there is one, whether it fits, and whether its certificate ends soon."""
	now = datetime.now(timezone.utc)
	key = keys.generate("ES256", "test", now)
	client = replace(CLIENT, client_secret=None, authentication="private_key_jwt")
	about = {"token_endpoint_auth_signing_alg_values_supported": ["ES256"]}

	def found(client: Client, **metadata: Any) -> list[str]:
		return [each.level for each in client_checks.signing_key(subject(http, client=client, **metadata))]

	assert found(CLIENT) == []
	assert found(client) == ["error"]
	assert found(replace(client, signing_key=key), **about) == []
	assert found(
		replace(client, signing_key=key), token_endpoint_auth_signing_alg_values_supported=["PS256"]
	) == ["error"]
	old = keys.generate("ES256", "test", now - keys.CERTIFICATE_LIFETIME + timedelta(days=20))
	assert found(replace(client, signing_key=old), **about) == ["warning"]
	assert [
		each.level
		for each in client_checks.authentication(subject(http, client=replace(client, signing_key=key)))
	] == []
	# What is presented has to be valid now, and to be there; by which algorithm it would sign does not matter.
	for presenting in (
		replace(CLIENT, authentication="tls_client_auth", client_secret=None),
		replace(CLIENT, certificate_bound=True),
	):
		ended = keys.generate("ES256", "test", now - keys.CERTIFICATE_LIFETIME)
		for held, levels in (
			(None, ["error"]),
			(keys.read(str(key.pem), now), ["error"]),
			(ended, ["error"]),
			(old, ["warning"]),
			(key, []),
		):
			shown = found(
				replace(presenting, signing_key=held),
				token_endpoint_auth_signing_alg_values_supported=["PS256"],
			)
			assert shown == levels
