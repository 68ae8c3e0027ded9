"""A client: what is true of us at one provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple
from urllib.parse import urlsplit

from . import catalogue
from .keys import SigningKey
from .provider import Provider
from .redact import Secret, printable

# Parameters that the protocol itself sets: an admin's row must not replace them (core-defects 7).
RESERVED_PARAMETERS = frozenset(
	{
		"assertion",
		"client_assertion",
		"client_assertion_type",
		"client_id",
		"client_secret",
		"code",
		"code_challenge",
		"code_challenge_method",
		"code_verifier",
		"device_code",
		"dpop_jkt",
		"grant_type",
		"nonce",
		"redirect_uri",
		"request",
		"request_uri",
		"response_type",
		"scope",
		"state",
		"subject_token",
		"subject_token_type",
	}
)

PORTS = {"https": 443, "http": 80}
# Of `Client.further_origins`.
ANYWHERE = "*"


@dataclass(frozen=True, kw_only=True)
class Client:
	"""A client that is registered at a provider.

	:param scopes: asked for at authorization
	:param ask_for: the part of `scopes` that the consent page names, if the provider adds it to the rest; empty: all
	:param resources: the APIs that tokens are for (RFC 8707), absolute addresses without a fragment
	:param further_origins: origins that tokens are sent to besides those of `resources`; `ANYWHERE` for all
	:param use_pkce: RFC 7636, always S256
	:param signing_key: signs this client's assertions; its certificate is presented to the provider
	:param authentication: a name in `client_auth.METHODS`, or "automatic"
	:param pushed_requests: "automatic", "always" or "never": whether requests are pushed to the provider (RFC 9126)
	:param dpop: whether tokens are bound to a key, one for each grant (RFC 9449)
	:param certificate_bound: whether tokens are bound to the certificate of `signing_key` (RFC 8705 3)
	:param profile: `fapi.PROFILE` if the settings must keep to it
	:param authorization_parameters: extra parameters of the authorization request, nowhere else
	:param token_parameters: extra fields of token requests that need no consent, such as client credentials
	:param leeway: seconds before expiry at which a token is refreshed
	"""

	client_id: str
	client_secret: Secret | None = None
	signing_key: SigningKey | None = None
	redirect_uri: str = ""
	scopes: tuple[str, ...] = ()
	ask_for: tuple[str, ...] = ()
	resources: tuple[str, ...] = ()
	further_origins: tuple[str, ...] = ()
	use_pkce: bool = True
	authentication: str = "automatic"
	pushed_requests: str = "automatic"
	dpop: bool = False
	certificate_bound: bool = False
	profile: str = ""
	authorization_parameters: Mapping[str, str] = field(default_factory=dict)
	token_parameters: Mapping[str, str] = field(default_factory=dict)
	leeway: int = 30

	def check_parameters(self) -> None:
		"""
		:raises ConfigurationError: `parameter_reserved`, `resource_invalid`
		"""
		for resource in self.resources:
			if not _is_absolute(resource):
				raise catalogue.error("resource_invalid", printable(resource, 100))
		if reserved := sorted(RESERVED_PARAMETERS.intersection(self.authorization_parameters)):
			raise catalogue.error("parameter_reserved", ", ".join(reserved))
		if reserved := sorted(RESERVED_PARAMETERS.intersection(self.token_parameters)):
			raise catalogue.error("parameter_reserved", ", ".join(reserved))

	def check_destination(self, url: str) -> None:
		"""Check that a token may be sent to `url`: if the origins that it is for are known, to these only (RFC 8707 3,
		RFC 9728 7.4).

		:raises ConfigurationError: `resource_origin`
		"""
		if self.resources and self._origins and (given := origin(url)) not in self._origins:
			raise catalogue.error("resource_origin", ", ".join(sorted(self._origins)), printable(given, 200))

	@cached_property
	def _origins(self) -> frozenset[str]:
		"""Where tokens may be sent; empty for anywhere. A resource that is no web address may be anywhere."""
		known = frozenset(origin(each) for each in self.resources)
		if "" in known or ANYWHERE in self.further_origins:
			return frozenset()
		return known | {origin(each) for each in self.further_origins}


def origin(url: str) -> str:
	"""Scheme, host and port (RFC 6454 4); empty for what is no web address. A backslash in the host makes it none: requests
	ends the host there, while `urlsplit` takes it for part of the user name before an @."""
	try:
		parts = urlsplit(url)
		host, port = parts.hostname, parts.port
	except ValueError:
		return ""
	if not host or parts.scheme not in PORTS or "\\" in parts.netloc:
		return ""
	host = f"[{host}]" if ":" in host else host
	return f"{parts.scheme}://{host}{'' if port in (None, PORTS[parts.scheme]) else f':{port}'}"


def _is_absolute(resource: str) -> bool:
	"""RFC 8707 2; RFC 3986 4.3"""
	try:
		parts = urlsplit(resource)
	except ValueError:
		return False
	return bool(parts.scheme and (parts.netloc or parts.path)) and "#" not in resource


class Settings(NamedTuple):
	"""One client at one provider."""

	provider: Provider
	client: Client
