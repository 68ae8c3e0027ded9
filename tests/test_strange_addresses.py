"""Whatever stands where an address should: nothing but the errors of this package comes out of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import requests

from connected_app.oauth import (
	Http,
	OAuthError,
	Provider,
	Refresher,
	Secret,
	Session,
	Settings,
	authorization,
	checks,
	device,
	discovery,
	dpop,
	mtls,
	protected_resource,
	pushed,
	registration,
	revocation,
	token_endpoint,
	userinfo,
	wire,
)
from connected_app.oauth.client import origin
from connected_app.oauth.findings import Subject
from connected_app.oauth.policy import host_of
from connected_app.oauth.reply import Reply

from .helpers import ACCESS_TOKEN, Clock, a_grant, changed, settings_of
from .hostile import Answer, Hostile, as_json
from .stores import MemoryStore
from .test_logs import shown

ADDRESSES = [
	"", " ", "x", "/", "//", "https:", "https:/", "https://", "https:///", "https:///x", "https://[", "https://]", "https://[]/",
	"https://[::1", "https://[x]/", "https://[::1%25eth0]/", "https://[v1.x]/", "https://a:b:c/", "https://host:99999999/",
	"https://host:-1/", "https://host:x/", "https://host:٣/", "https://:443/", "https://@/", "https://a@b@c/", "https://a b/",
	"https://a\x00b/", "https://a.example/\x00", "https://a.example\r\nX-Y: z/", "https://a.example/\r\nX-Y: z",
	"https://a\\b/", "https://a..b/", "https://.a/", "https://a./", "https://./", "https://*/", "https://%41/", "https://%zz/",
	f"https://{'a' * 64}.example/", f"https://{'a.' * 200}example/", "https://xn--a/", "https://xn--\u00e4/", "https://ａ℀.example/",
	"https://\ud800.example/", "https://a\u200d.example/", "https://\u2100/", "https://\u00df\u2024/", "javascript:x", "data:,x",
	"file:///etc/passwd", "urn:x", "https://a.example/{", "https://{x", "https://[{tenant}", "https://{tenant}:x/", "http://[/",
	"https://1.2.3.4.5/", "https://0x/", "https://[::ffff:1.2.3]/", "//[", "/x//[", "?[", "#[", "https://a.example/%", "\\\\a\\b",
]  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES)
def test_functions(address: str, http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr("urllib3.util.connection.create_connection", refuse)
	monkeypatch.setattr("socket.getaddrinfo", refuse)
	names = (
		"authorization_uri",
		"token_uri",
		"revocation_uri",
		"userinfo_uri",
		"issuer",
		"device_authorization_uri",
	)
	names += ("jwks_uri", "introspection_uri", "refresh_uri")
	config = settings_of(
		client_id="client",
		client_secret=Secret("secret-1"),
		redirect_uri=address,
		resources=(address,),
		further_origins=(address,),
		scopes=("openid",),
		**dict.fromkeys(names, address),
	)
	provider, client = config
	metadata = replace(provider, metadata={"pushed_authorization_request_endpoint": address})
	filled = replace(provider, quirks=replace(provider.quirks, hosts=("*",)))
	grant = a_grant(extra={"tenant": Secret("x")})
	proxied = Http(proxy="http://127.0.0.1:1")
	calls: list[Callable[[], Any]] = [
		lambda: http.check(address),
		lambda: http.get(address),
		lambda: proxied.get(address),
		lambda: http.post(address, {}),
		lambda: http.send("GET", address, params={"a": "b"}),
		lambda: http.proxy_for(address),
		lambda: proxied.proxy_for(address),
		lambda: Http(proxy="environment").proxy_for(address),
		lambda: discovery.issuer_of(address),
		lambda: discovery.addresses(address),
		lambda: discovery.fetch(address, http),
		lambda: protected_resource.find(address, http),
		lambda: protected_resource.covers(address, "https://a.example/"),
		lambda: protected_resource.covers("https://a.example/", address),
		lambda: registration.wanted(
			discovery.Metadata(issuer="x"), client_name="x", client_uri=address, redirect_uri=address
		),
		lambda: registration.register(address, {}, http),
		lambda: registration.delete(
			registration.Registration(client_id="x", management_uri=address, management_token=Secret("x")),
			http,
		),
		lambda: origin(address),
		lambda: host_of(address),
		lambda: client.check_destination(address),
		lambda: client.check_parameters(),
		lambda: authorization.begin(provider, client),
		lambda: authorization.begin(metadata, client, http=http),
		lambda: token_endpoint.request(provider, client, {"grant_type": "refresh_token"}, http),
		lambda: revocation.revoke(provider, client, grant, http),
		lambda: revocation.revoke(filled, client, grant, http),
		lambda: userinfo.ask(provider, client, grant, http),
		lambda: userinfo.ask(filled, client, grant, http),
		lambda: device.begin(provider, client, http),
		lambda: wire.address(address, {"tenant": "x", "x": "y"}, ("*",)),
		lambda: list(checks.run(Subject(provider, client, http=http, openid_configuration=address))),
	]
	for number, call in enumerate(calls):
		try:
			call()
		except OAuthError as error:
			assert "secret-1" not in shown(error)
		except Exception as error:
			raise AssertionError(f"call {number}: {type(error).__name__}: {error}") from error


def refuse(*_args: Any, **_kwargs: Any) -> Any:
	raise OSError("no connections in this test")


@pytest.mark.parametrize("address", ADDRESSES)
def test_requests_of_a_session(
	address: str, config: Settings, http: Http, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
	monkeypatch.setattr("urllib3.util.connection.create_connection", refuse)
	session = Session(Refresher(*config, MemoryStore(a_grant()), http, clock))
	bound = Session(Refresher(*config, MemoryStore(a_grant(dpop_key=dpop.new_key())), http, clock))
	for each in (session, bound):
		with pytest.raises((OAuthError, requests.RequestException)) as caught:
			each.get(address)
		assert ACCESS_TOKEN not in shown(caught.value)


@pytest.mark.parametrize("address", [each for each in ADDRESSES if each.isprintable() and each.isascii()])
def test_redirects_of_an_api(
	address: str, config: Settings, server: Hostile, http: Http, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
	api = server.script("/api", Answer(b"{}", 302, {"Location": address}))
	session = Session(Refresher(*config, MemoryStore(a_grant()), http, clock))
	try:
		session.get(api, timeout=3)
	except (OAuthError, requests.RequestException) as error:
		assert ACCESS_TOKEN not in shown(error)
	try:
		http.get(api, redirects=3)
	except OAuthError:
		pass


@pytest.mark.parametrize(
	("name", "value"),
	[
		("X", "a\x00b"),
		("X", "a\nb"),
		("X\n", "a"),
		("X\x00", "a"),
		("X", "\ud800"),
		("ü\u0100", "a"),
		("", "a"),
	],
)
def test_headers(name: str, value: str, config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	session = Session(Refresher(*config, MemoryStore(a_grant()), http, clock))
	address = server.script("/api", as_json({}))
	try:
		session.get(address, headers={name: value})
	except (OAuthError, requests.RequestException) as error:
		assert ACCESS_TOKEN not in shown(error)
	try:
		http.get(address, {name: value})
	except OAuthError:
		pass


@pytest.mark.parametrize(
	"value",
	[
		"", " ", "-1", "1e999", "-1e999", "nan", "inf", "0x10", "٣", "9" * 5000, "1_0", "Mon, 99 Xyz 99999 99:99:99 GMT",
		"Mon, 01 Jan 0000 00:00:00 GMT", "Mon, 01 Jan 9999 23:59:59 -9999", "(" * 3000, '"' * 3000, "," * 3000, "<" * 3000,
		"Mon, 01 Jan 2026 00:00:00 +99999999999999", "1" * 60 + " Jan 2026", "0001-01-01", "\x85", "a" * 7000, "Jan " * 1500,
	],
)  # fmt: skip
def test_retry_after(value: str) -> None:
	for date in ("", "Mon, 01 Jan 2026 00:00:00 GMT", value):
		found = token_endpoint.retry_after(
			Reply(status=429, body=b"", headers={"retry-after": value, "date": date})
		)
		assert found is None or 0 <= found <= 86400


@pytest.mark.parametrize("address", [each for each in ADDRESSES if each.isascii()])
def test_addresses_that_an_api_or_a_provider_names(
	address: str, server: Hostile, http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
	quoted = "".join(char for char in address if char.isprintable()).replace("\\", "\\\\")
	challenge = Answer(b"", 401, {"WWW-Authenticate": f'Bearer resource_metadata="{quoted}"'})
	document = {"resource": server.url + "/api", "authorization_servers": [address]}
	server.script("/.well-known/oauth-protected-resource/api", as_json(document))
	server.script("/.well-known/oauth-protected-resource", as_json({**document, "resource": address}))
	for answer in (challenge, Answer(b"", 401), Answer(b"", 302, {"Location": quoted})):
		server.script("/api", answer)
		with pytest.raises(OAuthError):
			protected_resource.find(server.url + "/api", http)
	metadata = dict.fromkeys((*discovery.ENDPOINTS, "registration_endpoint"), address)
	metadata = {"issuer": server.url, **metadata, "code_challenge_methods_supported": ["S256"]}
	server.script("/.well-known/openid-configuration", Answer(json.dumps(metadata).encode()))
	try:
		found = discovery.fetch(server.url, http)
		protected_resource.checked(found, http)
	except OAuthError:
		pass
	aliases = {"token_endpoint": address, "revocation_endpoint": address}
	provider = Provider(token_uri=server.url, metadata={**metadata, "mtls_endpoint_aliases": aliases})
	config = changed(settings_of(client_id="x"), token_uri=server.url)
	try:
		mtls.at(provider, config.client, server.url, http)
		pushed.push(provider, config.client, {}, http)
	except OAuthError:
		pass
