"""The settings of one client at one provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import ConfigurationError, Sentence
from .redact import Secret

# Parameters that the protocol itself sets: an admin's row must not replace them (core-defects 7).
RESERVED_PARAMETERS = frozenset(
	{
		"client_id",
		"client_secret",
		"code",
		"code_challenge",
		"code_challenge_method",
		"code_verifier",
		"grant_type",
		"nonce",
		"redirect_uri",
		"request",
		"request_uri",
		"response_type",
		"scope",
		"state",
	}
)


@dataclass(frozen=True, kw_only=True)
class ClientConfig:
	"""Frozen settings of one client at one provider.

	:param scopes: asked for at authorization
	:param scope_separator: a space (RFC 6749 3.3), or a comma for providers that want one
	:param client_authentication: "automatic", "basic", "post" or "none" (RFC 6749 2.3.1)
	:param authorization_parameters: extra parameters of the authorization request, nowhere else
	:param scope_on_refresh: "omit", or "granted" to repeat the granted scopes (RFC 6749 6)
	:param leeway: seconds before expiry at which a token is refreshed
	:param metadata: the provider's metadata document, as fetched (RFC 8414)
	"""

	client_id: str
	client_secret: Secret | None = None
	redirect_uri: str = ""
	authorization_uri: str = ""
	token_uri: str = ""
	revocation_uri: str = ""
	userinfo_uri: str = ""
	jwks_uri: str = ""
	issuer: str = ""
	scopes: tuple[str, ...] = ()
	scope_separator: str = " "
	use_pkce: bool = True
	client_authentication: str = "automatic"
	authorization_parameters: Mapping[str, str] = field(default_factory=dict)
	scope_on_refresh: str = "omit"
	leeway: int = 30
	metadata: Mapping[str, Any] = field(default_factory=dict)

	def check_parameters(self) -> None:
		"""
		:raises ConfigurationError: `parameter_reserved`
		"""
		if reserved := sorted(RESERVED_PARAMETERS.intersection(self.authorization_parameters)):
			raise ConfigurationError(
				"parameter_reserved",
				Sentence("Query Parameters may not contain {0}.", ", ".join(reserved)),
				"Remove the row: this parameter is set by the flow itself.",
			)

	def endpoint(self, name: str) -> str:
		"""The URI called `name`.

		:raises ConfigurationError: `endpoint_missing`
		"""
		uri: str = getattr(self, name)
		if not uri:
			label = Sentence(name.replace("_", " ").title().replace("Uri", "URI"))
			raise ConfigurationError(
				"endpoint_missing",
				Sentence("{0} is not set.", label),
				Sentence("Fill in {0}, or use Get OpenID Configuration.", label),
			)
		return uri

	@property
	def promises_iss(self) -> bool:
		"""Whether the provider promises `iss` in its authorization responses (RFC 9207 3)."""
		return self.metadata.get("authorization_response_iss_parameter_supported") is True
