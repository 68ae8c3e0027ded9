"""A clock that tests can set, and an OpenID provider whose every statement a test can falsify."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from connected_app.oauth import (
	Account,
	Attempt,
	Client,
	Grant,
	Http,
	OAuthError,
	Provider,
	ReconnectRequired,
	Refresher,
	Secret,
	Settings,
	begin,
	complete,
)

from .hostile import Hostile, as_json
from .stores import MemoryStore

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
CLIENT_SECRET = "client-secret-9f2"
ACCESS_TOKEN = "access-token-1c7"
REFRESH_TOKEN = "refresh-token-5e0"


class Clock:
	def __init__(self, now: datetime = NOW) -> None:
		self.now = now

	def __call__(self) -> datetime:
		return self.now

	def advance(self, seconds: float) -> None:
		self.now += timedelta(seconds=seconds)


def a_grant(**changes: Any) -> Grant:
	"""An hour's grant, issued at NOW."""
	values: dict[str, Any] = {
		"access_token": Secret(ACCESS_TOKEN),
		"refresh_token": Secret(REFRESH_TOKEN),
		"issued_at": NOW,
		"expires_at": NOW + timedelta(hours=1),
	}
	return Grant(**{**values, **changes})


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
	return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
	return ec.generate_private_key(ec.SECP256R1())


def as_jwk(name: str, kid: str | None) -> dict[str, Any]:
	jwk: dict[str, Any] = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key(name).public_key()))
	jwk.pop("key_ops", None)
	return {**jwk, "use": "sig", "alg": "RS256", **({"kid": kid} if kid else {})}


def part(value: object) -> str:
	return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def at_hash(access_token: str) -> str:
	half = hashlib.sha256(access_token.encode()).digest()[:16]
	return base64.urlsafe_b64encode(half).rstrip(b"=").decode()


def consent_parameters(url: str) -> dict[str, str]:
	"""The query of a consent URL; a parameter sent twice fails the test."""
	values = parse_qs(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)
	assert all(len(value) == 1 for value in values.values()), values
	return {name: value[0] for name, value in values.items()}


def settings_of(**values: Any) -> Settings:
	"""A client at a provider, each setting by its name."""
	return changed(Settings(Provider(), Client(client_id="")), **values)


def changed(settings: Settings, **values: Any) -> Settings:
	"""`settings` with some of them changed, each by its name."""
	provider, client = settings
	for name, value in values.items():
		if hasattr(provider, name):
			provider = replace(provider, **{name: value})
		else:
			client = replace(client, **{name: value})
	return Settings(provider, client)


class OpenIDProvider:
	"""An OpenID provider on the hostile server, honest by default, with one attempt begun."""

	def __init__(self, server: Hostile, http: Http) -> None:
		self.server, self.http, self.clock = server, http, Clock()
		self.serve_keys(("a", "kid-a"))
		self.userinfo: dict[str, Any] | None = None
		self.config = settings_of(
			client_id="client",
			client_secret=Secret(CLIENT_SECRET),
			redirect_uri="https://site.example/callback/app",
			authorization_uri=server.url + "/authorize",
			token_uri=server.url + "/token",
			jwks_uri=server.url + "/jwks",
			issuer=server.url,
			scopes=("openid", "email"),
		)
		self.begin()

	def begin(self, **changes: Any) -> str:
		self.config = changed(self.config, **changes)
		url, self.attempt = begin(*self.config, clock=self.clock)
		return url

	def serve_keys(self, *names: tuple[str, str | None]) -> None:
		self.server.script("/jwks", as_json({"keys": [as_jwk(name, kid) for name, kid in names]}))

	def claims(self, without: tuple[str, ...] = (), **changes: Any) -> dict[str, Any]:
		now = int(self.clock().timestamp())
		claims = {
			"iss": self.server.url,
			"sub": "alice",
			"aud": "client",
			"iat": now,
			"exp": now + 300,
			"nonce": str(self.attempt.nonce),
			"email": "alice@example.com",
			**changes,
		}
		return {name: value for name, value in claims.items() if name not in without}

	def id_token(
		self,
		without: tuple[str, ...] = (),
		*,
		key: Any = None,
		kid: str | None = "kid-a",
		algorithm: str = "RS256",
		**changes: Any,
	) -> str:
		key = rsa_key("a") if key is None else key
		headers = {"kid": kid} if kid else {}
		claims = self.claims(without, **changes)
		return jwt.encode(claims, key, algorithm, headers=headers)

	def callback(self, attempt: Attempt | None = None, **changes: Any) -> dict[str, Any]:
		values = {
			"state": str((attempt or self.attempt).state),
			"code": "code-77d",
			"iss": self.server.url,
			**changes,
		}
		return {name: value for name, value in values.items() if value is not None}

	def connect(
		self, id_token: str | None = None, *, callback: dict[str, Any] | None = None, **answer: Any
	) -> Grant:
		"""Run the callback; the token endpoint gives `id_token`."""
		token = {
			"access_token": ACCESS_TOKEN,
			"refresh_token": REFRESH_TOKEN,
			"token_type": "Bearer",
			"expires_in": 3600,
			"id_token": self.id_token() if id_token is None else id_token,
			**answer,
		}
		self.server.script(
			"/token", as_json({key: value for key, value in token.items() if value is not None})
		)
		parameters = self.callback() if callback is None else callback
		return complete(*self.config, self.attempt, parameters, self.http, clock=self.clock)

	def refuses(self, code: str, id_token: str | None = None, **more: Any) -> OAuthError:
		"""`connect` fails with `code`: no grant is returned, and the error holds no secret."""
		with pytest.raises(ReconnectRequired) as caught:
			self.connect(id_token, **more)
		assert caught.value.code == code
		assert caught.value.message and caught.value.action
		for secret in (ACCESS_TOKEN, REFRESH_TOKEN, CLIENT_SECRET, "code-77d", self.attempt.state):
			assert secret not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"
		return caught.value

	def refresher(self, **changes: Any) -> tuple[Refresher, MemoryStore]:
		"""Of a grant that was connected as alice and has expired."""
		store = MemoryStore(a_grant(**{"account": Account(id="alice"), "expires_at": NOW, **changes}))
		return Refresher(*self.config, store, self.http, self.clock), store
