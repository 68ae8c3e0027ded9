"""A provider: everything that is true of the server, independent of the client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import catalogue
from .errors import OAuthError, Sentence
from .presenting import BEARER
from .shape import FORM, GET, QUERY, Shape

GOOGLE = "https://www.googleapis.com/auth/userinfo."


@dataclass(frozen=True, kw_only=True)
class Trade:
	"""A request that exchanges a token for a longer-lived one.

	:param fields: may have `{access_token}`, `{client_id}` and `{client_secret}` in their values
	"""

	url: str
	fields: Mapping[str, str] = field(default_factory=dict)
	shape: Shape = QUERY


@dataclass(frozen=True, kw_only=True)
class Revocation:
	"""How a token is revoked at Revocation URI; the default is RFC 7009.

	:param token: the name of the field with the token; the address may have `{token}` instead, and `{client_id}`
	:param authentication: "client", or "bearer" (the token itself authenticates), "basic", "none"
	:param tokens: which of "refresh" and "access" are revoked, in this order
	:param success: `path=value` that a confirmation has
	:param hint: whether to send the kind of the token, for requests that differ from RFC 7009
	"""

	shape: Shape = FORM
	token: str = "token"  # noqa: S105
	authentication: str = "client"
	tokens: tuple[str, ...] = ("refresh", "access")
	success: str = ""
	hint: bool = False


RFC_7009 = Revocation()


@dataclass(frozen=True, kw_only=True)
class Quirks:
	"""Where a provider differs from the standards. The defaults are what nearly all providers do.

	Data, from a provider's template: no provider has code of its own. A *path* is dotted, `data.user.id`; a *word* is an
	error code without regard to case, or `path=value`.

	:param scope_parameter: the consent page's name for the scopes
	:param rename: standard name → the provider's name for it, in every request
	:param redirect_uri: sent as `redirect_uri` instead of the address itself (eBay's RuName)
	:param code_parameter: the callback's name for the authorization code
	:param exchange_fields: more fields of the code exchange; a value may have `{callback.NAME}`, `{redirect_uri}` or
		`{client_id}`. `renewal_fields` and `client_fields` are the same for refresh and client credentials; their values may
		have the names of `keep`
	:param renewal_authentication: the client authentication of a refresh, if it differs
	:param assertion_audience: the audience of the client's assertions: "issuer", if it is known; "token", the Token URI; or
		"endpoint", the address of each request
	:param assertion_claims: claims of the assertion that asks for tokens (RFC 7523 2.1), instead of the usual ones; a value
		may have `{client_id}`, `{subject}`, `{scope}` or `{token_uri}`; a claim is left out if one of them is empty
	:param secret_claims: `iss` and `aud` of a client secret that the client signs itself
	:param token_request: how token requests are sent
	:param headers: of token, userinfo and revocation requests
	:param answer: the paths of `access_token`, `refresh_token`, `token_type`, `scope` and `expires` in token responses, if
		they differ from the standard; the `unit` of `expires`, and a `default_life` in seconds
	:param trade: the request that exchanges a token for a longer-lived one, at once and instead of a refresh
	:param retrade: the same later, if it is another request
	:param keep: name → `callback:PARAMETER` or `answer:PATH`: values that are kept as `Grant.extra`, for developers
	:param more_consent: parameters of the consent page that make the provider add new scopes to those already granted
	:param another_account: parameters of the consent page that let the user choose another account, if not
		`prompt=select_account`
	:param granted_scopes: `callback:PARAMETER` or `answer:PATH` with the granted scopes, if they are not in `scope`
	:param reconnect_errors: words for a grant that is gone, besides `invalid_grant`; a template adds to these
	:param later_errors: words for a failure that passes; a template adds to these
	:param admin_errors: words for errors that an administrator must correct
	:param declined_errors: words in a callback for a consent that the user declined; a template adds to these
	:param scope_aliases: scope → another name by which it may be granted
	:param scope_prefixes: prefixes that make a long scope name from a short one
	:param wider_scopes: pairs of prefixes: a scope with the second one includes the scope with the first
	:param unnamed_scopes: granted without being named
	:param account_request: how the account is asked for, at Userinfo URI
	:param account_body: JSON that this request sends
	:param account_id: paths of the account's identifier in userinfo or ID token; the first with a value counts
	:param account_name: the same for the name that people recognize
	:param api_headers: sent with each request to the API
	:param api_expired: answers that mean "expired", besides HTTP 401: statuses, and `path=value` of a JSON answer
	:param api_base: the address that the API's paths are relative to; it may have the names of `keep`
	:param hosts: patterns of the hosts that are allowed in an address with values from the provider
	:param revocation: how a token is revoked
	:param nonce_is_required: an ID token has the nonce of its attempt (OIDC Core 3.1.3.7, 11)
	:param other_audiences: an ID token may be for others, too, as long as `azp` is this client
	:param api_header: how a token is shown to the API: a header with `{token}` in its value (RFC 6750 2.1)
	"""

	scope_parameter: str = "scope"
	rename: Mapping[str, str] = field(default_factory=dict)
	redirect_uri: str = ""
	code_parameter: str = "code"
	exchange_fields: Mapping[str, str] = field(default_factory=dict)
	renewal_fields: Mapping[str, str] = field(default_factory=dict)
	client_fields: Mapping[str, str] = field(default_factory=dict)
	renewal_authentication: str = ""
	assertion_audience: str = "issuer"
	assertion_claims: Mapping[str, str] = field(default_factory=dict)
	secret_claims: Mapping[str, str] = field(default_factory=dict)
	token_request: Shape = FORM
	headers: Mapping[str, str] = field(default_factory=dict)
	answer: Mapping[str, Any] = field(default_factory=dict)
	trade: Trade | None = None
	retrade: Trade | None = None
	keep: Mapping[str, str] = field(default_factory=dict)
	more_consent: Mapping[str, str] = field(default_factory=dict)
	another_account: Mapping[str, str] = field(default_factory=dict)
	granted_scopes: str = ""
	reconnect_errors: tuple[str, ...] = (
		"bad_refresh_token",
		"invalid_refresh_token",
		"invalid_auth_code",
		"token_expired",
		"token_revoked",
		"invalid_code",
		"bad_verification_code",
	)
	later_errors: tuple[str, ...] = ("rate_limited", "ratelimited")
	admin_errors: tuple[str, ...] = ()
	declined_errors: tuple[str, ...] = ("user_cancelled_authorize", "user_cancelled_login", "user_denied")
	# Google grants these under other names.
	scope_aliases: Mapping[str, str] = field(
		default_factory=lambda: {"email": GOOGLE + "email", "profile": GOOGLE + "profile"}
	)
	# Microsoft Graph's scopes also have short names, in the national clouds as well.
	scope_prefixes: tuple[str, ...] = (
		"https://graph.microsoft.com/",
		"https://graph.microsoft.us/",
		"https://dod-graph.microsoft.us/",
		"https://microsoftgraph.chinacloudapi.cn/",
	)
	# Shopify names only the wider of two scopes.
	wider_scopes: tuple[tuple[str, str], ...] = (("read_", "write_"),)
	# Microsoft omits these. Whether there is a refresh token is seen without the scope.
	unnamed_scopes: frozenset[str] = frozenset({"openid", "profile", "offline_access"})
	account_request: Shape = GET
	account_body: str = ""
	account_id: tuple[str, ...] = ("sub", "id", "user_id")
	account_name: tuple[str, ...] = ("email", "preferred_username", "name", "login", "username")
	api_header: str = BEARER
	api_headers: Mapping[str, str] = field(default_factory=dict)
	api_expired: tuple[str, ...] = ()
	api_base: str = ""
	hosts: tuple[str, ...] = ()
	revocation: Revocation = RFC_7009
	nonce_is_required: bool = True
	other_audiences: bool = False


STANDARD = Quirks()


@dataclass(frozen=True, kw_only=True)
class Provider:
	"""The authorization server, and how it differs from the standards.

	:param refresh_uri: where tokens are refreshed, if not at `token_uri`
	:param scope_separator: a space (RFC 6749 3.3), or a comma for providers that want one
	:param scope_on_refresh: "omit", or "granted" to repeat the granted scopes (RFC 6749 6)
	:param metadata: its metadata document, as fetched (RFC 8414)
	"""

	authorization_uri: str = ""
	token_uri: str = ""
	refresh_uri: str = ""
	revocation_uri: str = ""
	introspection_uri: str = ""
	device_authorization_uri: str = ""
	userinfo_uri: str = ""
	jwks_uri: str = ""
	issuer: str = ""
	scope_separator: str = " "
	scope_on_refresh: str = "omit"
	metadata: Mapping[str, Any] = field(default_factory=dict)
	quirks: Quirks = STANDARD

	def endpoint(self, name: str) -> str:
		"""The URI called `name`.

		:raises ConfigurationError: `endpoint_missing`
		"""
		uri: str = getattr(self, name)
		if not uri:
			raise missing(Sentence(name.replace("_", " ").title().replace("Uri", "URI")))
		return uri

	@property
	def promises_iss(self) -> bool:
		"""Whether the provider promises `iss` in its authorization responses (RFC 9207 3)."""
		return self.metadata.get("authorization_response_iss_parameter_supported") is True


def missing(label: Sentence) -> OAuthError:
	"""The error for an empty field of the form, called `label`."""
	return catalogue.error("endpoint_missing", label)
