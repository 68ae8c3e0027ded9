"""Service accounts (RFC 7523 2.1): their key files, the assertions beside google-auth's, and Authlib's server that takes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from google.auth import jwt as google_jwt
from google.oauth2 import service_account

from connected_app.oauth import (
	Client,
	ConfigurationError,
	Http,
	OAuthError,
	Provider,
	Quirks,
	Refresher,
	Secret,
	Session,
	Settings,
	discovery,
	key_files,
	keys,
)
from connected_app.oauth.clock import utc_now
from connected_app.oauth.grant_types import JwtBearer
from connected_app.oauth.templates import load
from demo.provider import Provider as Running
from demo.provider import start

from .helpers import NOW, Clock, a_grant, changed, rsa_key
from .hostile import Hostile, as_json
from .stores import MemoryStore

KEY = keys.generate("RS256", "test", NOW)
PLAIN = keys.read(
	rsa_key("service")
	.private_bytes(
		serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
	)
	.decode(),
	NOW,
	"RS256",
	"key-7",
)
TEMPLATES = load([Path(__file__).resolve().parents[1] / "connected_app" / "providers"])
TOKENS = {"access_token": "access-token-1c7", "token_type": "Bearer", "expires_in": 3600}
GOOGLE = {
	"type": "service_account",
	"project_id": "acme",
	"private_key_id": "key-7",
	"private_key": str(PLAIN.pem),
	"client_email": "robot@acme.iam.gserviceaccount.example",
	"client_id": "1234567890",
	"token_uri": "https://oauth2.googleapis.com/token",
}


def box(passphrase: str = "open sesame") -> dict[str, Any]:
	sealed = rsa_key("service").private_bytes(
		serialization.Encoding.PEM,
		serialization.PrivateFormat.PKCS8,
		serialization.BestAvailableEncryption(passphrase.encode()),
	)
	about = {"publicKeyID": "pub-1", "privateKey": sealed.decode(), "passphrase": "open sesame"}
	settings = {"clientID": "box-client", "clientSecret": "box-secret-2c", "appAuth": about}
	return {"boxAppSettings": settings, "enterpriseID": "99"}


# Key files


def test_key_file_of_google() -> None:
	found = key_files.read(json.dumps(GOOGLE), NOW)
	assert (found.client_id, found.key.key_id, found.key.algorithm) == (
		"robot@acme.iam.gserviceaccount.example",
		"key-7",
		"RS256",
	)
	assert keys.load(found.key.pem).private_numbers() == rsa_key("service").private_numbers()  # type: ignore[union-attr]
	assert "PRIVATE" not in f"{found!r}"


def test_key_file_of_box() -> None:
	"""Its key is encrypted, by a passphrase that stands beside it."""
	found = key_files.read(json.dumps(box()), NOW)
	assert (found.client_id, str(found.client_secret), found.key.key_id) == (
		"box-client",
		"box-secret-2c",
		"pub-1",
	)
	assert found.inputs == {"enterprise": "99"}
	assert found.key.sign({"a": 1}).count(".") == 2
	assert "box-secret" not in f"{found!r}"


def test_key_file_in_pem() -> None:
	found = key_files.read(str(PLAIN.pem), NOW)
	assert (found.client_id, found.key.algorithm) == ("", "RS256")


@pytest.mark.parametrize(
	("text", "code", "words"),
	[
		(
			json.dumps({"web": {"client_id": "x", "client_secret": "s3cret-f00"}}),
			"key_file_unknown",
			"OAuth client",
		),
		(json.dumps({"installed": {"client_secret": "s3cret-f00"}}), "key_file_unknown", "OAuth client"),
		(
			json.dumps({"type": "authorized_user", "refresh_token": "s3cret-f00"}),
			"key_file_unknown",
			"authorized_user",
		),
		(json.dumps({"type": "external_account"}), "key_file_unknown", "external_account"),
		(json.dumps({}), "key_file_unknown", "does not say"),
		(json.dumps({**GOOGLE, "client_email": 7}), "key_file_unknown", "client_email"),
		(json.dumps({**GOOGLE, "private_key": ""}), "key_file_unknown", "private_key"),
		(json.dumps({**GOOGLE, "private_key": "s3cret-f00"}), "key_unreadable", ""),
		(json.dumps({"boxAppSettings": {"clientID": "x"}}), "key_file_unknown", "privateKey"),
		(json.dumps(box("another")), "key_unreadable", ""),
		('{"type": "service_account", ', "key_file_unknown", "cannot be read"),
		("[" * 20_000, "key_file_unknown", "cannot be read"),
		("[1, 2]", "key_file_unknown", "cannot be read"),
		("s3cret-f00", "key_unreadable", ""),
		("", "key_unreadable", ""),
	],
)
def test_key_files_of_another_kind(text: str, code: str, words: str) -> None:
	"""Refused by a code that says what is wrong, and nothing of what the file holds."""
	with pytest.raises(ConfigurationError) as caught:
		key_files.read(text, NOW)
	assert caught.value.code == code
	assert words in caught.value.message
	assert "s3cret-f00" not in f"{caught.value!r} {caught.value.__cause__!r}"


# Assertions


def of_template(key: str, inputs: dict[str, str] | None = None, **client: Any) -> tuple[Provider, Client]:
	template = TEMPLATES[key]
	values = {"client_id": GOOGLE["client_email"], "signing_key": PLAIN, **client}
	provider = template.provider(template.checked(inputs or {}))
	return provider, Client(authentication=template["client_authentication"], **values)


def told(form: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
	assertion = form["assertion"]
	claims = jwt.decode(assertion, options={"verify_signature": False})
	return jwt.get_unverified_header(assertion), claims


@pytest.mark.parametrize("user", ["", "alice@acme.example"])
def test_the_same_as_google_auths(user: str) -> None:
	"""google-auth makes the same assertion of the same key file, with and without a user of the domain, and takes ours;
	but for how long it is good, and for `jti`."""
	scopes = ("https://www.googleapis.com/auth/drive.readonly", "https://www.googleapis.com/auth/calendar")
	provider, client = of_template("google-service-account", scopes=scopes)
	theirs = service_account.Credentials.from_service_account_info(
		GOOGLE, scopes=scopes, subject=user or None
	)
	expected = theirs._make_authorization_grant_assertion().decode()
	form = JwtBearer(user).form(provider, client, None)
	header, claims = told(form)
	assert header == jwt.get_unverified_header(expected)
	wanted = jwt.decode(expected, options={"verify_signature": False})
	assert {name for name in claims if name not in wanted} == {"jti"}
	assert {name: value for name, value in claims.items() if name not in ("iat", "exp", "jti")} == {
		name: value for name, value in wanted.items() if name not in ("iat", "exp")
	}
	assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
	assert set(form) == {"grant_type", "assertion"}
	public = (
		rsa_key("service")
		.public_key()
		.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
	)
	assert (
		google_jwt.decode(str(form["assertion"]), certs=public, audience=provider.token_uri)["iss"]
		== claims["iss"]
	)
	assert 0 < claims["exp"] - claims["iat"] <= 60


def test_salesforce() -> None:
	provider, client = of_template("salesforce-jwt", {"host": "test.salesforce.com"}, client_id="consumer")
	form = JwtBearer("robot@acme.example").form(provider, client, None)
	_header, claims = told(form)
	assert (claims["iss"], claims["sub"], claims["aud"]) == (
		"consumer",
		"robot@acme.example",
		"https://test.salesforce.com",
	)
	assert set(form) == {"grant_type", "assertion"} and "scope" not in claims


def test_docusign() -> None:
	scopes = ("signature", "impersonation")
	provider, client = of_template("docusign-jwt", client_id="integration", scopes=scopes)
	_header, claims = told(JwtBearer("7a1c").form(provider, client, None))
	assert (claims["iss"], claims["sub"], claims["aud"], claims["scope"]) == (
		"integration",
		"7a1c",
		"account.docusign.com",
		"signature impersonation",
	)


def test_box(server: Hostile, http: Http) -> None:
	"""For the enterprise, with the client's secret beside the assertion; it acts for no user."""
	provider, client = of_template(
		"box-key-file", {"enterprise": "99"}, client_id="box-client", client_secret=Secret("box-secret-2c")
	)
	_header, claims = told(JwtBearer().form(provider, client, None))
	assert (claims["sub"], claims["box_sub_type"], claims["aud"]) == (
		"99",
		"enterprise",
		"https://api.box.com/oauth2/token",
	)
	assert len(claims["jti"]) >= 16
	with pytest.raises(ConfigurationError) as caught:
		JwtBearer("alice@acme.example").form(provider, client, None)
	assert caught.value.code == "not_for_users"
	provider = replace(provider, token_uri=server.script("/token", as_json(TOKENS)))
	Refresher(provider, client, MemoryStore(), http, grant_type=JwtBearer()).renew(None)
	(sent,) = server.requests
	assert (sent.form["client_id"], sent.form["client_secret"]) == ("box-client", "box-secret-2c")


def test_without_a_template(config: Settings, server: Hostile, http: Http) -> None:
	"""RFC 7523 2.1, 3: as the standard has it; the scopes are a field of the request."""
	server.script("/token", as_json(TOKENS))
	provider, client = changed(config, signing_key=KEY, authentication="omitted")
	Refresher(provider, client, MemoryStore(), http, grant_type=JwtBearer()).renew(None)
	(sent,) = server.requests
	assert set(sent.form) == {"grant_type", "assertion", "scope"} and sent.form["scope"] == "read write"
	assert "authorization" not in sent.headers
	_header, claims = told(sent.form)
	assert (claims["iss"], claims["sub"], claims["aud"]) == ("client", "client", server.url + "/token")


@pytest.mark.parametrize(
	("changes", "code"),
	[({"signing_key": None}, "service_key_missing"), ({"client_id": ""}, "client_id_missing")],
)
def test_incomplete(config: Settings, changes: dict[str, Any], code: str) -> None:
	provider, client = changed(config, **{"signing_key": KEY, **changes})
	with pytest.raises(ConfigurationError) as caught:
		JwtBearer().form(provider, client, None)
	assert caught.value.code == code


@pytest.mark.parametrize(
	("error", "code"),
	[
		("invalid_grant", "service_account_refused"),
		("consent_required", "service_account_refused"),
		("unauthorized_client", "unauthorized_client"),
		("invalid_scope", "invalid_scope"),
		("temporarily_unavailable", "server_error"),
	],
)
def test_refused(config: Settings, server: Hostile, http: Http, error: str, code: str) -> None:
	"""Nobody's consent is missing: an administrator has to act, and the provider is not asked at each call."""
	server.script("/token", as_json({"error": error}, 400))
	provider, client = changed(config, signing_key=KEY, authentication="omitted")
	store, clock = MemoryStore(), Clock()
	refresher = Refresher(provider, client, store, http, clock, grant_type=JwtBearer("alice@acme.example"))
	for _ in range(3):
		with pytest.raises(OAuthError) as caught:
			refresher.renew(None)
	assert caught.value.code in (code, "cooling_down")
	assert store.failure and store.failure.code == code and not store.failure.reconnect
	assert len(server.requests) == 1
	assertion = server.requests[0].form["assertion"]
	assert assertion not in f"{caught.value!r} {caught.value.__cause__!r} {store.failure}"


# At Authlib's server


@pytest.fixture(scope="module")
def authlib() -> Iterator[Running]:
	publisher = Hostile()
	try:
		address = publisher.script("/keys", as_json({"keys": [KEY.public()]}))
		redirect = "http://127.0.0.1:1/callback"
		with start(clients=[f"robot::{redirect}"], keys={"robot": address}) as running:
			yield running
	finally:
		publisher.close()


@pytest.fixture
def robot(authlib: Running) -> tuple[Provider, Client]:
	found = discovery.fetch(authlib.discovery_url, Http(allow_http_loopback=True))
	provider = Provider(token_uri=found.token_endpoint, userinfo_uri=found.userinfo_endpoint)
	return provider, Client(
		client_id="robot", signing_key=KEY, authentication="omitted", scopes=("openid", "email")
	)


@pytest.mark.parametrize("user", ["", "alice@acme.example"])
def test_at_authlib(robot: tuple[Provider, Client], http: Http, user: str) -> None:
	"""For itself, and for a user: a session that renews itself by a new assertion."""
	provider, client = robot
	store = MemoryStore()

	def ask() -> requests.Response:
		refresher = Refresher(provider, client, store, http, grant_type=JwtBearer(user))
		return Session(refresher).get(provider.userinfo_uri)

	assert ask().json()["sub"] == (user.partition("@")[0] or "robot")
	first = store.grant
	assert first and not first.refresh_token and bool(first.account) is bool(user)
	assert ask().ok and store.saves == 1
	store.grant = replace(first, expires_at=first.issued_at)
	assert ask().ok and store.grant.access_token != first.access_token and store.saves == 2


def test_not_allowed_at_authlib(robot: tuple[Provider, Client], http: Http) -> None:
	provider, client = robot
	for user, code in (
		("bob@acme.example", "invalid_client"),
		("nobody@acme.example", "service_account_refused"),
	):
		with pytest.raises(ConfigurationError) as caught:
			Refresher(provider, client, MemoryStore(), http, grant_type=JwtBearer(user)).renew(None)
		assert caught.value.code == code


class Later(JwtBearer):
	"""Whose clock is off."""

	def assertion(self, provider: Provider, client: Client) -> Secret:
		assert client.signing_key
		claims = keys.claims("robot", "robot", provider.token_uri, utc_now() - timedelta(minutes=10))
		return client.signing_key.sign(claims)


@pytest.mark.parametrize("wrong", ["audience", "key", "clock", "issuer", "replayed"])
def test_wrong_at_authlib(robot: tuple[Provider, Client], http: Http, wrong: str) -> None:
	"""What a strict server refuses: another audience, another key, a clock that is off, another account, and the same
	assertion twice."""
	provider, client = robot
	grant_type = JwtBearer()
	if wrong == "audience":
		provider = replace(provider, quirks=Quirks(assertion_claims={"aud": "https://elsewhere.example"}))
	elif wrong == "key":
		client = replace(client, signing_key=replace(PLAIN, key_id=KEY.key_id))
	elif wrong == "clock":
		grant_type = Later()
	elif wrong == "issuer":
		client = replace(client, client_id="another")
	else:
		form = grant_type.form(provider, client, None)
		answers = [requests.post(provider.token_uri, data=form, timeout=10) for _ in range(2)]
		assert [answer.status_code for answer in answers] == [200, 400]
		return
	with pytest.raises(ConfigurationError) as caught:
		Refresher(provider, client, MemoryStore(), http, grant_type=grant_type).renew(None)
	assert caught.value.code == "service_account_refused"


def test_an_old_refresh_token_is_not_kept(config: Settings, server: Hostile, http: Http) -> None:
	"""An app that asked for consent before: what renews it now is the assertion alone."""
	server.script("/token", as_json({**TOKENS, "refresh_token": "of-no-use-41"}))
	provider, client = changed(config, signing_key=KEY, authentication="omitted")
	store = MemoryStore(a_grant(expires_at=NOW))
	Refresher(provider, client, store, http, Clock(), grant_type=JwtBearer("alice@acme.example")).current()
	assert store.grant and store.grant.refresh_token is None
	assert store.grant.account and store.grant.account.id == "alice@acme.example"
