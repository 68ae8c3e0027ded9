"""Assertions at Authlib's server, which reads the client's keys at their address: ours, and such as it must refuse."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
import requests

from connected_app.oauth import (
	ConfigurationError,
	Http,
	Secret,
	Settings,
	client_auth,
	discovery,
	keys,
	token_endpoint,
)
from demo.provider import Provider, start

from .helpers import NOW, changed, settings_of
from .hostile import Hostile, as_json

REDIRECT = "http://127.0.0.1:1/callback"
LONG = Secret("a secret that is as long as HS256 wants it to be")
OURS, OTHERS = (keys.generate("ES256", "test", NOW) for _ in range(2))
FORM = {"grant_type": "client_credentials"}


@pytest.fixture(scope="module")
def authlib() -> Iterator[tuple[Provider, Hostile]]:
	"""With it, the server at which the client publishes its keys."""
	publisher = Hostile()
	try:
		address = publisher.script("/keys", as_json({"keys": [OURS.public()]}))
		clients = [f"signs::{REDIRECT}", f"knows:{LONG}:{REDIRECT}"]
		with start(clients=clients, keys={"signs": address}) as running:
			yield running, publisher
	finally:
		publisher.close()


@pytest.fixture
def settings(authlib: tuple[Provider, Hostile]) -> Settings:
	running, _publisher = authlib
	found = discovery.fetch(running.discovery_url, Http(allow_http_loopback=True))
	return settings_of(
		client_id="signs",
		signing_key=OURS,
		issuer=found.issuer,
		token_uri=found.token_endpoint,
		metadata=found.document,
	)


def test_accepted(settings: Settings, http: Http) -> None:
	"""By our key for the issuer and for the token endpoint, by the secret, and different each time."""
	by_secret = changed(
		settings, client_id="knows", client_secret=LONG, signing_key=None, authentication="client_secret_jwt"
	)
	for each in (settings, settings, changed(settings, issuer=""), by_secret):
		assert token_endpoint.request(*each, FORM, http)["access_token"]


def test_rotation(settings: Settings, http: Http, authlib: tuple[Provider, Hostile]) -> None:
	"""The old key works as long as it is published, the new one from then on."""
	new = changed(settings, signing_key=OTHERS)
	with pytest.raises(ConfigurationError):
		token_endpoint.request(*new, FORM, http)
	authlib[1].script("/keys", as_json({"keys": [OURS.public(), OTHERS.public()]}))
	for each in (settings, new):
		assert token_endpoint.request(*each, FORM, http)["access_token"]
	authlib[1].script("/keys", as_json({"keys": [OURS.public()]}))


@pytest.mark.parametrize(
	"changes",
	[
		{"aud": "https://elsewhere.example"},
		{"exp": 1000},
		{"iss": "knows"},
		{"sub": "knows", "iss": "knows"},
		{"jti": None},
		{"exp": None},
		{"aud": None},
		"used before",
		"another key",
		"another algorithm",
	],
	ids=str,
)
def test_refused(changes: Any, settings: Settings) -> None:
	"""What makes the server a counterpart worth having: each mutation of a good assertion is refused."""
	form: dict[str, str] = {}
	client_auth.authenticate(*settings, form, {})
	claims = jwt.decode(form["client_assertion"], options={"verify_signature": False})
	assert claims["exp"] > time.time()
	if isinstance(changes, dict):
		claims = {name: value for name, value in {**claims, **changes}.items() if value is not None}
		form["client_assertion"] = OURS.sign(claims)
	elif changes == "another key":
		form["client_assertion"] = OTHERS.sign(claims)
	elif changes == "another algorithm":
		form["client_assertion"] = jwt.encode(claims, str(LONG), "HS256", headers={"kid": OURS.key_id})
	else:
		assert requests.post(settings.provider.token_uri, {**FORM, **form}, timeout=10).ok
	answer = requests.post(settings.provider.token_uri, {**FORM, **form}, timeout=10)
	assert answer.status_code in (400, 401) and "access_token" not in answer.text, answer.text
