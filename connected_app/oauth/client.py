"""A client: what is true of us at one provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True, kw_only=True)
class Client:
	"""A client that is registered at a provider.

	:param scopes: asked for at authorization
	:param ask_for: those of them that the consent page names, where the provider adds them to the others; empty: all
	:param resources: the APIs that tokens are for (RFC 8707), absolute addresses without a fragment
	:param use_pkce: RFC 7636, always S256
	:param signing_key: that of this client at the provider, by which it signs assertions, and whose certificate it presents
	:param authentication: a name in `client_auth.METHODS`, or "automatic"
	:param pushed_requests: "automatic", "always" or "never": whether requests are pushed to the provider (RFC 9126)
	:param dpop: whether tokens are bound to a key, one for each grant (RFC 9449)
	:param certificate_bound: whether tokens are bound to the certificate of `signing_key` (RFC 8705 3)
	:param profile: `fapi.PROFILE` where the settings are held to that
	:param authorization_parameters: extra parameters of the authorization request, nowhere else
	:param token_parameters: extra fields of token requests to which nobody consents: client credentials and the like
	:param leeway: seconds before expiry at which a token is refreshed
	"""

	client_id: str
	client_secret: Secret | None = None
	signing_key: SigningKey | None = None
	redirect_uri: str = ""
	scopes: tuple[str, ...] = ()
	ask_for: tuple[str, ...] = ()
	resources: tuple[str, ...] = ()
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
