"""Grant types: the fields of a token request, and how its response is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol, TypeVar

from . import catalogue, id_token, keys, wire
from .client import Client
from .clock import utc_now
from .errors import OAuthError, ReconnectRequired
from .grant import Account, Grant, from_response
from .provider import Provider
from .redact import Secret

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class GrantType(Protocol):
	"""One `grant_type` (RFC 6749 1.3, 4.5)."""

	@property
	def needs_consent(self) -> bool:
		"""Whether the first grant needs a user's consent."""

	def prepared(self) -> GrantType:
		"""The grant type with everything that must be fetched before the request."""

	def form(self, provider: Provider, client: Client, grant: Grant | None) -> dict[str, str]:
		"""The request's fields.

		:param grant: the grant that the new one replaces, if any
		"""

	def read(
		self,
		provider: Provider,
		client: Client,
		answer: Mapping[str, Any],
		now: datetime,
		grant: Grant | None,
	) -> Grant:
		"""The grant in a token response.

		:param now: UTC instant at which the response was received
		:raises TemporaryFailure: `response_invalid`
		"""


T = TypeVar("T")


class _Prepared:
	"""A grant type that needs nothing from elsewhere."""

	def prepared(self: T) -> T:
		return self


class _Consented(_Prepared):
	"""A grant type to which a user has just consented."""

	needs_consent = True

	def read(
		self,
		provider: Provider,
		client: Client,
		answer: Mapping[str, Any],
		now: datetime,
		grant: Grant | None,
	) -> Grant:
		return read(provider, answer, now, client.scopes)


@dataclass(frozen=True)
class AuthorizationCode(_Consented):
	"""RFC 6749 4.1.3, with the verifier of RFC 7636 4.5.

	:param callback: parameters of the callback that the provider wants back
	"""

	code: Secret
	redirect_uri: str
	code_verifier: Secret | None = None
	callback: Mapping[str, str] = field(default_factory=dict)

	def form(self, provider: Provider, client: Client, grant: Grant | None) -> dict[str, str]:
		form = {
			"grant_type": "authorization_code",
			"code": self.code,
			"redirect_uri": self.redirect_uri,
		}
		if self.code_verifier:
			form["code_verifier"] = self.code_verifier
		values = {f"callback.{name}": value for name, value in self.callback.items()}
		return {**form, **more(provider.quirks.exchange_fields, provider, client, values)}


@dataclass(frozen=True)
class DeviceCode(_Consented):
	"""RFC 8628 3.4."""

	code: Secret

	def form(self, provider: Provider, client: Client, grant: Grant | None) -> dict[str, str]:
		# 3.4: the request has the client ID, however the client authenticates.
		return {"grant_type": DEVICE_CODE, "device_code": self.code, "client_id": client.client_id}


@dataclass(frozen=True)
class RefreshToken(_Prepared):
	"""RFC 6749 6."""

	needs_consent = True

	def form(self, provider: Provider, client: Client, grant: Grant | None) -> dict[str, str]:
		"""
		:raises ReconnectRequired: `expired`
		"""
		if grant is None or not grant.refresh_token:
			raise expired()
		form: dict[str, str] = {"grant_type": "refresh_token", "refresh_token": grant.refresh_token}
		if provider.scope_on_refresh == "granted" and grant.scopes:
			form["scope"] = provider.scope_separator.join(grant.scopes)
		return {**form, **more(provider.quirks.renewal_fields, provider, client, grant.extra)}

	def read(
		self,
		provider: Provider,
		client: Client,
		answer: Mapping[str, Any],
		now: datetime,
		grant: Grant | None,
	) -> Grant:
		"""
		:raises ReconnectRequired, ConfigurationError: as `id_token.check_refreshed`
		"""
		fresh = read(provider, answer, now, ())
		if grant is None:
			return fresh
		fresh = grant.renewed(fresh)
		if provider.issuer and grant.account:
			id_token.check_refreshed(provider, client, answer.get("id_token"), grant.account.id)
		return fresh


@dataclass(frozen=True)
class ClientCredentials(_Prepared):
	"""RFC 6749 4.4. Nobody has to consent: the client can ask for a new token at any time."""

	needs_consent = False

	def form(self, provider: Provider, client: Client, grant: Grant | None) -> dict[str, str]:
		form = {**client.token_parameters, "grant_type": "client_credentials"}
		if client.scopes:
			form["scope"] = provider.scope_separator.join(client.scopes)
		return {**form, **more(provider.quirks.client_fields, provider, client, {})}

	def read(
		self,
		provider: Provider,
		client: Client,
		answer: Mapping[str, Any],
		now: datetime,
		grant: Grant | None,
	) -> Grant:
		# 4.4.3: there should be no refresh token, and it is not needed.
		return _for_once(read(provider, answer, now, client.scopes))


@dataclass(frozen=True)
class JwtBearer(_Prepared):
	"""RFC 7523 2.1: an assertion that the client signs, for itself or on behalf of a user. Nobody has to consent: the next
	token comes from the next assertion.

	:param subject: the user; empty for the client itself
	"""

	subject: str = ""
	needs_consent = False

	def form(self, provider: Provider, client: Client, grant: Grant | None) -> dict[str, str]:
		"""
		:raises ConfigurationError: `client_id_missing`, `service_key_missing`, `not_for_users`
		"""
		scope = provider.scope_separator.join(client.scopes)
		form = {
			**client.token_parameters,
			"grant_type": JWT_BEARER,
			"assertion": self.assertion(provider, client),
		}
		if scope and "scope" not in provider.quirks.assertion_claims:
			form["scope"] = scope
		return {**form, **more(provider.quirks.client_fields, provider, client, {})}

	def assertion(self, provider: Provider, client: Client) -> Secret:
		"""RFC 7523 3: issuer, subject, audience, and a short life."""
		if not client.client_id:
			raise catalogue.error("client_id_missing")
		if not client.signing_key:
			raise catalogue.error("service_key_missing")
		token_uri, own = provider.endpoint("token_uri"), provider.quirks.assertion_claims
		if self.subject and "{subject}" not in own.get("sub", "{subject}"):
			# Otherwise the token would act for somebody else.
			raise catalogue.error("not_for_users")
		claims = keys.claims(client.client_id, self.subject or client.client_id, token_uri, utc_now())
		values = {
			"subject": self.subject,
			"scope": provider.scope_separator.join(client.scopes),
			"token_uri": token_uri,
		}
		claims = {name: value for name, value in claims.items() if name not in own}
		return client.signing_key.sign({**claims, **more(own, provider, client, values)})

	def read(
		self,
		provider: Provider,
		client: Client,
		answer: Mapping[str, Any],
		now: datetime,
		grant: Grant | None,
	) -> Grant:
		# RFC 7521 4.1: there should be no refresh token, and it is not needed.
		fresh = _for_once(read(provider, answer, now, client.scopes))
		return replace(fresh, account=Account(id=self.subject, name=self.subject)) if self.subject else fresh


@dataclass(frozen=True)
class TokenExchange:
	"""RFC 8693: exchanges an access token of another connection, to which the user has consented, for one of this client.

	:param source: gives the other connection's grant, usable now
	"""

	source: Callable[[], Grant]
	subject: Grant | None = None
	needs_consent = False

	def prepared(self) -> TokenExchange:
		"""
		:raises OAuthError: `source_not_connected`, and what `source` raises
		"""
		try:
			return replace(self, subject=self.source())
		except ReconnectRequired as error:
			failure = catalogue.error("source_not_connected", error.message)
		raise failure

	def form(self, provider: Provider, client: Client, grant: Grant | None) -> dict[str, str]:
		subject = self.subject or self.source()
		form = {
			**client.token_parameters,
			"grant_type": TOKEN_EXCHANGE,
			"subject_token": subject.access_token,
			"subject_token_type": ACCESS_TOKEN,
		}
		if client.scopes:
			form["scope"] = provider.scope_separator.join(client.scopes)
		return {**form, **more(provider.quirks.client_fields, provider, client, {})}

	def read(
		self,
		provider: Provider,
		client: Client,
		answer: Mapping[str, Any],
		now: datetime,
		grant: Grant | None,
	) -> Grant:
		# 2.2.1: the next token comes from the other connection, which may have ended by then.
		fresh = _for_once(read(provider, answer, now, client.scopes))
		return replace(fresh, account=self.subject.account if self.subject else None)


def more(
	templates: Mapping[str, str], provider: Provider, client: Client, values: Mapping[str, str]
) -> dict[str, str]:
	"""Further fields that the provider requires."""
	known = {
		"client_id": client.client_id,
		"redirect_uri": provider.quirks.redirect_uri or client.redirect_uri,
	}
	return wire.fields(templates, {**known, **values})


def read(provider: Provider, answer: Mapping[str, Any], now: datetime, asked: tuple[str, ...]) -> Grant:
	"""The grant in a token response, with the values to keep."""
	quirks = provider.quirks
	grant = from_response(wire.standard(answer, quirks), now, asked, provider.scope_separator)
	if quirks.trade:
		# The token itself renews it.
		grant = replace(grant, refresh_token=grant.access_token)
	return replace(grant, extra=wire.kept(quirks, "answer", answer))


def _for_once(grant: Grant) -> Grant:
	"""`grant` without its refresh token."""
	return replace(grant, refresh_token=None, refresh_expires_at=None)


def expired() -> OAuthError:
	return catalogue.error("expired")


REFRESH_TOKEN = RefreshToken()
CLIENT_CREDENTIALS = ClientCredentials()
