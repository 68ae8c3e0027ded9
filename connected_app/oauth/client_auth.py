"""How the client proves itself at the token endpoint (RFC 6749 2.3.1, OIDC Core 9)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from urllib.parse import quote

from . import catalogue
from .client import Client
from .provider import Provider
from .redact import Secret


def client_secret_basic(
	client: Client, provider: Provider, form: dict[str, str], headers: dict[str, str]
) -> None:
	"""RFC 6749 2.3.1"""
	# Form-encoded before base64, or a colon or a non-ASCII character breaks it. A space as %20, not +: every form
	# decoder reads that, and so do servers that only percent-decode.
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


# By the name that IANA's registry of token endpoint authentication methods has (RFC 7591 2).
METHODS: dict[str, Callable[[Client, Provider, dict[str, str], dict[str, str]], None]] = {
	"client_secret_basic": client_secret_basic,
	"client_secret_post": client_secret_post,
	"none": none,
	# Not in the registry: what single providers want.
	"client_secret_basic_raw": client_secret_basic_raw,
	"secret_as_user": secret_as_user,
}


def method(provider: Provider, client: Client) -> str:
	"""The name of the method to use.

	Automatic follows the provider's metadata, Basic first; without metadata it is Post, which is what Frappe's
	own Connected App always sent, so that existing registrations go on working.
	"""
	if client.authentication != "automatic":
		return client.authentication
	if not client.client_secret:
		return "none"
	if not provider.metadata.get("token_endpoint"):
		return "client_secret_post"
	supported = provider.metadata.get("token_endpoint_auth_methods_supported")
	# RFC 8414 2: if omitted, the default is client_secret_basic.
	if not isinstance(supported, list) or "client_secret_basic" in supported:
		return "client_secret_basic"
	return "client_secret_post"


def authenticate(provider: Provider, client: Client, form: dict[str, str], headers: dict[str, str]) -> None:
	"""Add the client's authentication to a request, one method only.

	:raises ConfigurationError: `client_id_missing`, `client_secret_missing`, `client_authentication_unknown`
	"""
	if not client.client_id:
		raise catalogue.error("client_id_missing")
	name = method(provider, client)
	if name not in METHODS:
		raise catalogue.error("client_authentication_unknown", name)
	METHODS[name](client, provider, form, headers)


def secret_of(client: Client) -> Secret:
	"""
	:raises ConfigurationError: `client_secret_missing`
	"""
	if not client.client_secret:
		raise catalogue.error("client_secret_missing")
	return client.client_secret
