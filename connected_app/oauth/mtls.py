"""Mutual TLS (RFC 8705): which requests present this client's certificate, and to which addresses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import catalogue, client_auth
from .certificates import ClientCertificate
from .client import Client
from .clock import utc_now
from .provider import Provider

if TYPE_CHECKING:
	from .net import Transport

ALIASES = "mtls_endpoint_aliases"
BINDS_TOKENS = "tls_client_certificate_bound_access_tokens"
# The endpoints to which a certificate may be presented, by their names in metadata (RFC 8705 5).
ENDPOINTS = (
	"token_endpoint",
	"revocation_endpoint",
	"introspection_endpoint",
	"pushed_authorization_request_endpoint",
	"device_authorization_endpoint",
	"userinfo_endpoint",
)


def is_presented(provider: Provider, client: Client) -> bool:
	"""Whether the client presents its certificate: to authenticate (RFC 8705 2), or to bind tokens to it (3)."""
	return client.certificate_bound or client_auth.method(provider, client) in client_auth.BY_CERTIFICATE


def certificate_of(client: Client) -> ClientCertificate:
	"""
	:raises ConfigurationError: `signing_key_missing`, `certificate_missing`, `certificate_expired`
	"""
	key = client_auth.key_of(client)
	if not key.certificate:
		raise catalogue.error("certificate_missing")
	if utc_now() >= key.expires_at():
		raise catalogue.error("certificate_expired", key.expires_at().date().isoformat())
	return ClientCertificate(pem=key.pem, chain=key.certificate)


def at(provider: Provider, client: Client, url: str, http: Transport) -> tuple[str, Transport]:
	"""The address and the transport for a request to `url`, an endpoint of the provider. If a certificate has to be
	presented, these are the provider's address for such requests, and a transport that presents it. An address that differs
	from the metadata was set by an admin, and stays.

	:raises ConfigurationError: as `certificate_of`
	"""
	if not is_presented(provider, client):
		return url, http
	return _alias(provider, url), http.presenting(certificate_of(client))


def _alias(provider: Provider, url: str) -> str:
	metadata = provider.metadata
	aliases = metadata.get(ALIASES)
	if isinstance(aliases, dict):
		for name in ENDPOINTS:
			if metadata.get(name) == url and isinstance(alias := aliases.get(name), str) and alias:
				return alias
	return url


def kept(metadata: Mapping[str, Any]) -> dict[str, Any]:
	"""The part of `metadata` that revoking tokens needs later."""
	names = ("revocation_endpoint", ALIASES)
	return {name: metadata[name] for name in names if metadata.get(ALIASES) and name in metadata}
