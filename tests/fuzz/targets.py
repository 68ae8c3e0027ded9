"""Input from strangers, as bytes. Whatever it is, the result must be an error of ours, or something valid.

`test_targets.py` throws Hypothesis' inputs at these, `run.py` those that atheris breeds by coverage.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from connected_app.oauth import (
	Attempt,
	ConfigurationError,
	OAuthError,
	Secret,
	Settings,
	TemporaryFailure,
	complete,
	id_token,
	keys,
	token_endpoint,
)
from connected_app.oauth.discovery import ENDPOINTS, fetch
from connected_app.oauth.grant import from_response
from connected_app.oauth.reply import Reply

from ..helpers import changed, part, settings_of

ISSUER = "https://provider.example"
NOW = datetime.fromtimestamp(int(time.time()), timezone.utc)
CONFIG = settings_of(
	client_id="client",
	client_secret=Secret("secret-of-the-client"),
	redirect_uri="https://site.example/callback",
	authorization_uri=ISSUER + "/authorize",
	token_uri=ISSUER + "/token",
	issuer=ISSUER,
	scopes=("openid", "email"),
	metadata={"authorization_response_iss_parameter_supported": True},
)
ATTEMPT = Attempt(
	state=Secret("s" * 43),
	code_verifier=Secret("v" * 64),
	nonce=Secret("n" * 43),
	redirect_uri=CONFIG.client.redirect_uri,
	expires_at=NOW + timedelta(days=365),
)
PASSPHRASE = Secret("a passphrase")
CONTENT_TYPES = ("application/json", "application/x-www-form-urlencoded", "text/html", "")


class Fixed:
	"""A provider with one answer."""

	def __init__(self, body: bytes = b"", content_type: str = "application/json", status: int = 200) -> None:
		self.reply = Reply(status=status, headers={"content-type": content_type}, body=body, url=ISSUER)
		self.asked: list[str] = []

	def get(self, url: str, headers: Any = None, redirects: int = 0) -> Reply:
		self.asked.append(url)
		return self.reply

	def post(self, url: str, data: Any, headers: Any = None) -> Reply:
		self.asked.append(url)
		return self.reply


def is_ours(error: OAuthError) -> None:
	"""It can be shown and stored, and holds no secret."""
	text = f"{error} {error.code} {error.provider_error}"
	text.encode()
	assert error.code and error.message and "\n" not in text
	assert "secret-of-the-client" not in text and "v" * 64 not in text


def callback(data: bytes) -> None:
	"""A query. Nothing is sent to the provider unless state and issuer are right."""
	parameters = parse_qs(data.decode(errors="surrogateescape"), keep_blank_values=True)
	provider = Fixed(b"{}")
	try:
		complete(*CONFIG, ATTEMPT, parameters, provider, clock=lambda: NOW)
	except OAuthError as error:
		is_ours(error)
	else:
		raise AssertionError("accepted")
	if provider.asked:
		# Without a value it is as if omitted (RFC 6749 3.1).
		given = {name: [value for value in values if value] for name, values in parameters.items()}
		assert given["state"] == [str(ATTEMPT.state)] and given["iss"] == [ISSUER]
		assert len(given["code"]) == 1 and not given.get("error")


def discovery(data: bytes) -> None:
	"""A metadata document. What is taken from it are web addresses, of the issuer that was asked."""
	try:
		metadata = fetch(ISSUER, Fixed(data))
	except OAuthError as error:
		return is_ours(error)
	assert metadata.issuer.rstrip("/") == ISSUER
	for name in ENDPOINTS:
		value = getattr(metadata, name)
		assert value == "" or value.startswith(("https://", "http://"))
	config = changed(CONFIG, metadata=metadata.document)
	assert config.provider.promises_iss in (True, False)
	try:
		token_endpoint.request(*config, {"grant_type": "x"}, Fixed(b'{"access_token": "a"}'))
	except ConfigurationError as error:
		is_ours(error)


def token_response(data: bytes) -> None:
	"""A token endpoint's answer: its first byte is the content type, the second the status."""
	kind, status, body = data[:1], data[1:2], data[2:]
	provider = Fixed(
		body,
		CONTENT_TYPES[kind[0] % len(CONTENT_TYPES)] if kind else "",
		(200, 400, 401, 302, 429, 503)[status[0] % 6] if status else 200,
	)
	form = {"grant_type": "authorization_code", "code": "c" * 20, "code_verifier": "v" * 64}
	try:
		answer = token_endpoint.request(*CONFIG, form, provider)
		grant = from_response(answer, NOW, CONFIG.client.scopes)
	except OAuthError as error:
		return is_ours(error)
	assert status == b"" or provider.reply.status == 200
	assert grant.access_token.strip() and grant.access_token.isprintable() and grant.access_token.isascii()
	assert repr(grant) == repr(replace(grant, access_token=Secret("another"))), "it shows its token"
	assert grant.expires_at is None or grant.expires_at >= NOW
	assert len(grant.token_type) <= 140


def id_token_text(data: bytes) -> None:
	"""A whole ID token, of a provider without a key set: nothing but its checks stands between it and us."""
	_verify(CONFIG, data.decode(errors="surrogateescape"), Fixed())


def id_token_claims(data: bytes) -> None:
	"""The claims of an ID token, in a header that is right."""
	try:
		claims = json.loads(data)
	except (ValueError, RecursionError):
		return
	try:
		token = f"{part({'alg': 'RS256'})}.{part(claims)}.c2ln"
	except (ValueError, RecursionError):
		return
	_verify(CONFIG, token, Fixed())


def id_token_header(data: bytes) -> None:
	"""A header, over claims that are right: without a signature that fits no key accepts it."""
	import base64

	header = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
	now = int(NOW.timestamp())
	claims = {"iss": ISSUER, "sub": "a", "aud": "client", "iat": now, "exp": now + 60, "nonce": "n" * 43}
	signed = changed(
		CONFIG,
		jwks_uri=ISSUER + "/jwks",
		metadata={"id_token_signing_alg_values_supported": ["RS256", "HS256", "none", 7]},
	)
	id_token.key_sets = id_token.KeySets()
	try:
		id_token.verify(
			*signed, f"{header}.{part(claims)}.c2ln", Fixed(b'{"keys": []}'), NOW, nonce=ATTEMPT.nonce
		)
	except OAuthError as error:
		return is_ours(error)
	raise AssertionError("accepted without a signature")


def _verify(config: Settings, token: str, provider: Fixed) -> None:
	with suppress(OAuthError):
		id_token.check_refreshed(*config, token, "alice")
	try:
		claims = id_token.verify(*config, token, provider, NOW, nonce=ATTEMPT.nonce)
	except OAuthError as error:
		return is_ours(error)
	assert claims["iss"] == ISSUER and claims["aud"] in ("client", ["client"])
	assert claims["sub"] and isinstance(claims["sub"], str)
	assert claims["exp"] + id_token.CLOCK_SKEW > NOW.timestamp()
	assert claims["iat"] - id_token.CLOCK_SKEW <= NOW.timestamp()
	assert claims["nonce"] == ATTEMPT.nonce


def key_set(data: bytes) -> None:
	"""A JWKS document: the keys that are found in it are of the kind that is looked for, and public."""
	for algorithm, family in (("RS256", "RSA"), ("ES256", "EC"), ("EdDSA", "OKP")):
		try:
			found = id_token.KeySets().find(ISSUER + "/jwks", None, algorithm, Fixed(data))
		except TemporaryFailure as error:
			is_ours(error)
			continue
		assert all(key.key_type == family for key in found)


def key_file(data: bytes) -> None:
	"""A file with a private key: what is taken can sign, and nothing of it is published."""
	try:
		key = keys.read_file(Secret(base64.b64encode(data).decode()), NOW, passphrase=PASSPHRASE)
	except ConfigurationError as error:
		is_ours(error)
		return
	assert key.sign({"iss": "client"}) and "d" not in key.public()


TARGETS: dict[str, Callable[[bytes], None]] = {
	function.__name__: function
	for function in (
		callback, discovery, token_response, id_token_text, id_token_claims, id_token_header, key_set, key_file,
	)
}  # fmt: skip

_KEY = keys.generate("ES256", "test", NOW)
_ARCHIVE = pkcs12.serialize_key_and_certificates(
	b"x",
	keys.load(_KEY.pem),
	x509.load_pem_x509_certificate(_KEY.certificate.encode()),
	None,
	serialization.BestAvailableEncryption(PASSPHRASE.encode()),
)
_CLAIMS = {
	"iss": ISSUER, "sub": "alice", "aud": "client", "iat": int(NOW.timestamp()), "exp": int(NOW.timestamp()) + 300,
	"nonce": "n" * 43,
}  # fmt: skip
# Valid ones, to begin with.
SEEDS: dict[str, list[bytes]] = {
	"callback": [
		f"state={ATTEMPT.state}&code=c&iss={ISSUER}".encode(),
		b"error=access_denied&error_description=x",
	],
	"discovery": [
		json.dumps(
			{"issuer": ISSUER, "token_endpoint": ISSUER + "/token", "jwks_uri": ISSUER + "/jwks"}
		).encode()
	],
	"token_response": [
		b"\x00\x00" + json.dumps({"access_token": "a" * 20, "expires_in": "3600", "scope": "a,b"}).encode(),
		b"\x01\x00access_token=a&scope=b",
		b"\x00\x01" + json.dumps({"error": "invalid_grant", "error_description": "no"}).encode(),
		b"\x00\x00" + json.dumps({"ok": False, "error": {"type": "x", "message": "y"}}).encode(),
	],
	"id_token_text": [f"{part({'alg': 'RS256'})}.{part(_CLAIMS)}.c2ln".encode()],
	"id_token_claims": [
		json.dumps(_CLAIMS).encode(),
		json.dumps({**_CLAIMS, "aud": ["client"], "azp": "client", "nbf": 1.5}).encode(),
	],
	"id_token_header": [
		b'{"alg": "RS256", "kid": "k"}',
		b'{"alg": "none"}',
		b'{"alg": "HS256", "crit": ["b64"]}',
	],
	"key_set": [
		b'{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}, {"kty": "oct", "k": "AQAB"}]}',
		b'{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, {"kty": "OKP", "crv": "Ed25519", "x": "AA"}]}',
	],
	"key_file": [_ARCHIVE, (_KEY.pem + _KEY.certificate).encode()],
}
