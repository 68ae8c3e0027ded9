"""Client authentication at the token endpoint (RFC 6749 2.3.1, OIDC Core 9, RFC 7523 2.2)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote

import jwt

from . import catalogue, keys
from .client import Client
from .clock import utc_now
from .provider import Provider
from .redact import Secret

# RFC 8414 2
SIGNING_ALGORITHMS = "token_endpoint_auth_signing_alg_values_supported"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# RFC 7518 3.1: with a shared secret.
SYMMETRIC = ("HS256", "HS384", "HS512")
# Automatic chooses the first of these that the provider offers.
BY_SECRET = ("client_secret_basic", "client_secret_post", "client_secret_jwt")
# Those that sign with the client's key.
BY_KEY = ("private_key_jwt", "signed_client_secret")
# RFC 8705 2: TLS presents the certificate of that key.
BY_CERTIFICATE = ("tls_client_auth", "self_signed_tls_client_auth")


def client_secret_basic(
	client: Client, provider: Provider, form: dict[str, str], headers: dict[str, str]
) -> None:
	"""RFC 6749 2.3.1"""
	# Form-encoded before base64, or a colon or a non-ASCII character breaks it. A space as %20, not +: form decoders
	# read it, and so do servers that only percent-decode.
	pair = f"{quote(client.client_id, safe='')}:{quote(secret_of(client), safe='')}"
	headers["Authorization"] = Secret("Basic " + base64.b64encode(pair.encode()).decode())
	del pair


def client_secret_post(
	client: Client, provider: Provider, form: dict[str, str], headers: dict[str, str]
) -> None:
	"""RFC 6749 2.3.1, in the body"""
	form["client_id"] = client.client_id
	form["client_secret"] = secret_of(client)


def client_secret_basic_raw(
	client: Client, provider: Provider, form: dict[str, str], headers: dict[str, str]
) -> None:
	"""Basic as RFC 7617 has it, without the form encoding of RFC 6749 2.3.1: for providers that do not decode it."""
	pair = f"{client.client_id}:{secret_of(client)}"
	headers["Authorization"] = Secret("Basic " + base64.b64encode(pair.encode()).decode())
	del pair


def secret_as_user(client: Client, provider: Provider, form: dict[str, str], headers: dict[str, str]) -> None:
	"""Basic with the secret as user and no password (Stripe)."""
	pair = f"{secret_of(client)}:"
	headers["Authorization"] = Secret("Basic " + base64.b64encode(pair.encode()).decode())
	del pair


def none(client: Client, provider: Provider, form: dict[str, str], headers: dict[str, str]) -> None:
	"""A public client (RFC 6749 2.1)"""
	form["client_id"] = client.client_id


def omitted(client: Client, provider: Provider, form: dict[str, str], headers: dict[str, str]) -> None:
	"""Nothing: the assertion that asks for tokens says who the client is (RFC 7521 4.1, RFC 7523 3.1)."""


def client_secret_jwt(
	client: Client, provider: Provider, form: dict[str, str], headers: dict[str, str]
) -> None:
	"""OIDC Core 9: the secret signs an assertion and is never sent.

	:raises ConfigurationError: `client_secret_missing`, `client_secret_is_key`
	"""
	supported = signing_algorithms(provider)
	algorithm = next((each for each in SYMMETRIC if each in supported), SYMMETRIC[0])
	claims = keys.claims(client.client_id, client.client_id, audience(provider), utc_now())
	try:
		assertion = jwt.encode(claims, secret_of(client), algorithm)
	except jwt.InvalidKeyError:
		# Without the cause: its frames hold the secret.
		assertion = ""
	if not assertion:
		raise catalogue.error("client_secret_is_key")
	_assert(client, form, Secret(assertion))


def private_key_jwt(
	client: Client, provider: Provider, form: dict[str, str], headers: dict[str, str]
) -> None:
	"""OIDC Core 9, FAPI 2.0 5.3.2.1"""
	key = key_of(client)
	algorithm = keys.algorithm_for(key, signing_algorithms(provider))
	claims = keys.claims(client.client_id, client.client_id, audience(provider), utc_now())
	_assert(client, form, key.sign(claims, algorithm))


def signed_client_secret(
	client: Client, provider: Provider, form: dict[str, str], headers: dict[str, str]
) -> None:
	"""A client secret that the client signs itself, for each request (Apple)."""
	about = provider.quirks.secret_claims
	claims = keys.claims(
		about.get("iss") or client.client_id,
		client.client_id,
		about.get("aud") or audience(provider),
		utc_now(),
	)
	form["client_id"] = client.client_id
	form["client_secret"] = key_of(client).sign(claims)


def client_certificate(
	client: Client, provider: Provider, form: dict[str, str], headers: dict[str, str]
) -> None:
	"""RFC 8705 2: the connection authenticates the client (see `mtls`); the request names it."""
	form["client_id"] = client.client_id


def _assert(client: Client, form: dict[str, str], assertion: Secret) -> None:
	form["client_id"] = client.client_id
	form["client_assertion_type"] = ASSERTION_TYPE
	form["client_assertion"] = assertion


# By the names in IANA's registry of token endpoint authentication methods (RFC 7591 2).
METHODS: dict[str, Callable[[Client, Provider, dict[str, str], dict[str, str]], None]] = {
	"client_secret_basic": client_secret_basic,
	"client_secret_post": client_secret_post,
	"client_secret_jwt": client_secret_jwt,
	"private_key_jwt": private_key_jwt,
	"tls_client_auth": client_certificate,
	"self_signed_tls_client_auth": client_certificate,
	"none": none,
	# Not in the registry: methods of single providers.
	"client_secret_basic_raw": client_secret_basic_raw,
	"secret_as_user": secret_as_user,
	"signed_client_secret": signed_client_secret,
	"omitted": omitted,
}


def method(provider: Provider, client: Client) -> str:
	"""The name of the method to use.

	Automatic takes the strongest method in the provider's metadata: the client's key if there is one, by a signature or by
	its certificate; then its secret by Basic. Metadata say what a provider supports, not what it expects of this client, so
	a secret signs assertions only if the provider supports nothing else. Without metadata it is Post, which Frappe's own
	Connected App always sent: existing registrations go on working.
	"""
	if client.authentication != "automatic":
		return client.authentication
	has_metadata = bool(provider.metadata.get("token_endpoint"))
	supported = provider.metadata.get("token_endpoint_auth_methods_supported")
	# RFC 8414 2: if omitted, the default is client_secret_basic.
	offered = supported if isinstance(supported, list) else ["client_secret_basic"]
	if client.signing_key:
		by_key = [each for each in _by_key(client.signing_key) if each in offered]
		if by_key or not client.client_secret:
			return by_key[0] if by_key else "private_key_jwt"
	if not client.client_secret:
		return "none"
	if not has_metadata:
		return "client_secret_post"
	by_secret = [each for each in BY_SECRET if each in offered]
	if "client_secret_post" in by_secret and _changes_when_encoded(client):
		return "client_secret_post"
	return by_secret[0] if by_secret else "client_secret_post"


def _by_key(key: keys.SigningKey) -> list[str]:
	"""The methods that use `key`, strongest first. Who signed its certificate decides which of RFC 8705's two it is."""
	if not key.certificate:
		return ["private_key_jwt"]
	return ["private_key_jwt", BY_CERTIFICATE[1] if key.is_self_signed() else BY_CERTIFICATE[0]]


def _changes_when_encoded(client: Client) -> bool:
	"""Whether the form encoding of RFC 6749 2.3.1 changes the ID or the secret in Basic: not every provider decodes it."""
	return any(quote(each, safe="") != each for each in (client.client_id, client.client_secret or ""))


def may_need_key(authentication: str) -> bool:
	"""Whether this method may need a key."""
	return authentication in ("automatic", *BY_KEY, *BY_CERTIFICATE)


def audience(provider: Provider) -> str:
	"""The audience of an assertion: the issuer (FAPI 2.0 5.3.2.1), or the token endpoint (RFC 7523 3)."""
	if provider.issuer and provider.quirks.assertion_audience == "issuer":
		return provider.issuer
	return provider.endpoint("token_uri")


def signing_algorithms(provider: Provider) -> list[str]:
	"""The algorithms of assertions that the provider accepts; empty if it does not say (RFC 8414 2)."""
	found = provider.metadata.get(SIGNING_ALGORITHMS)
	return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def authenticate(
	provider: Provider, client: Client, form: dict[str, str], headers: dict[str, str], url: str = ""
) -> None:
	"""Add the client's authentication to a request, by one method.

	:param url: the request's address, if it is not the Token URI
	:raises ConfigurationError: `client_id_missing`, `client_secret_missing`, `client_authentication_unknown`,
		`signing_key_missing`, `key_algorithm`
	"""
	if not client.client_id:
		raise catalogue.error("client_id_missing")
	name = method(provider, client)
	if name not in METHODS:
		raise catalogue.error("client_authentication_unknown", name)
	if url and provider.quirks.assertion_audience == "endpoint":
		provider = replace(provider, token_uri=url)
	METHODS[name](client, provider, form, headers)


def secret_of(client: Client) -> Secret:
	"""
	:raises ConfigurationError: `client_secret_missing`
	"""
	if not client.client_secret:
		raise catalogue.error("client_secret_missing")
	return client.client_secret


def key_of(client: Client) -> keys.SigningKey:
	"""
	:raises ConfigurationError: `signing_key_missing`
	"""
	if not client.signing_key:
		raise catalogue.error("signing_key_missing")
	return client.signing_key
