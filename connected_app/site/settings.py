"""A Connected App's row as settings. The only place that knows which column becomes which setting."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import frappe
from frappe.model.document import Document
from frappe.utils import cint, get_url

from connected_app.oauth import catalogue, client_auth, fapi, mtls
from connected_app.oauth.client import Client, Settings
from connected_app.oauth.errors import OAuthError
from connected_app.oauth.keys import SigningKey
from connected_app.oauth.provider import STANDARD, Provider, Revocation
from connected_app.oauth.redact import Secret, as_secrets
from connected_app.oauth.shape import Shape
from connected_app.site import passwords, templates
from connected_app.site.passwords import has_password

DOCTYPE = "Connected App"
# Core's path, which `hooks.py` points to this app: an address registered at a provider survives installing and removing the
# app. The name follows it in a path; it may have slashes.
CALLBACK = "/api/method/frappe.integrations.doctype.connected_app.connected_app.callback/"
# A choice of *Connection Is*.
SHARED = "Shared"
# The quirks and columns that revoking a token later needs (see `site/revocation.py`).
REVOKING_QUIRKS = ("rename", "headers", "api_header", "assertion_audience", "secret_claims")
REVOKING = ("client_id", "client_secret", "client_authentication", "revocation_uri")
# The form's choices, as `oauth.template_schema` names them.
GRANTS = {"User Consent": "consent", "Service Account": "service_account", "Token Exchange": "token_exchange"}
# The form's choices, in lower case, as `oauth.client_auth` names them.
AUTHENTICATION = {"basic": "client_secret_basic", "post": "client_secret_post"}


@dataclass(frozen=True, kw_only=True)
class AppSettings:
	"""A Connected App.

	:param provider: the provider, for the protocol
	:param client: our client there, for the protocol
	:param optional_scopes: asked for when code needs them
	:param is_shared: whether there is one connection for all, which a System Manager makes
	:param several_accounts: whether a user may have several
	:param allowed_roles: who may connect, or use the shared connection, unless everyone may
	:param grant: how a connection is made: one of the values of `GRANTS`
	:param is_for_users: whether users have connections, and not only the service principal
	:param subject: the user that the service account's own connection acts for; empty for itself
	:param exchange_from: the Connected App whose tokens are exchanged for this one's
	:param offers_codes: whether *Connect with a Code* is offered
	:param refresh_idle_after: days without use after which the background refreshes; 0: it does not
	"""

	name: str
	provider: Provider
	client: Client
	enabled: bool = False
	optional_scopes: tuple[str, ...] = ()
	provider_name: str = ""
	is_shared: bool = False
	several_accounts: bool = False
	grant: str = "consent"
	is_for_users: bool = True
	subject: str = ""
	exchange_from: str = ""
	everyone_may_connect: bool = False
	allowed_roles: tuple[str, ...] = ()
	openid_configuration: str = ""
	any_issuer: bool = False
	offers_codes: bool = False
	refresh_in_background: bool = False
	refresh_idle_after: int = 0

	def check_enabled(self) -> None:
		"""
		:raises ConfigurationError: `app_disabled`
		"""
		if not self.enabled:
			raise catalogue.error("app_disabled")

	def connect_url(self) -> str:
		return connect_url(self.name)

	def suggested_redirect_uri(self) -> str:
		return suggested_redirect_uri(self.name)


def read(connected_app: str, *, with_secret: bool = False) -> AppSettings:
	"""The settings of the Connected App of this name, from the database.

	:raises frappe.DoesNotExistError:
	:raises ConfigurationError: as `of`
	"""
	return of(frappe.get_doc(DOCTYPE, connected_app), with_secret=with_secret)


def usable(connected_app: str) -> AppSettings:
	"""As `read`, with the client secret, for an app that is enabled.

	:raises ConfigurationError: `app_disabled`, `client_secret_unreadable`
	"""
	row = frappe.get_doc(DOCTYPE, connected_app)
	for_session(row).check_enabled()
	return of(row, with_secret=True)


def of(row: Document, *, with_secret: bool = False) -> AppSettings:
	"""The settings in `row`, a Connected App.

	:param with_secret: also read the client secret, and the signing key if there is one: each costs a query and a decrypt
	:raises ConfigurationError: `client_secret_unreadable`, `signing_key_unreadable`
	"""
	provider, client = _provider(row), _client(row, with_secret)
	held = is_held(row)
	if held:
		provider, client = fapi.held(provider, client)
	return AppSettings(
		name=row.name,
		provider=provider,
		client=client,
		enabled=bool(row.enabled),
		optional_scopes=optional_scopes(row),
		provider_name=row.provider_name or "",
		grant=grant_of(row),
		is_for_users=is_for_users(row),
		subject=(row.subject or "").strip(),
		exchange_from=row.exchange_from or "",
		**_who(row, _roles(row)),
		openid_configuration=row.openid_configuration or "",
		any_issuer=bool(row.accept_other_issuer) and not held,
		offers_codes=offers_codes(row),
		refresh_in_background=bool(row.refresh_in_background),
		refresh_idle_after=cint(row.refresh_idle_after),
	)


def _provider(row: Document) -> Provider:
	return Provider(
		authorization_uri=(row.authorization_uri or "").strip(),
		token_uri=row.token_uri or "",
		revocation_uri=row.revocation_uri or "",
		introspection_uri=row.introspection_uri or "",
		device_authorization_uri=(row.device_authorization_uri or "").strip(),
		userinfo_uri=row.userinfo_uri or "",
		jwks_uri=row.jwks_uri or "",
		issuer=row.issuer or "",
		refresh_uri=_refresh_uri(row),
		scope_separator="," if row.scope_separator == "Comma" else " ",
		scope_on_refresh=(row.scope_on_refresh or "Omit").lower(),
		metadata=_metadata(row),
		quirks=templates.quirks_of(row),
	)


def _client(row: Document, with_secret: bool) -> Client:
	return Client(
		client_id=row.client_id or "",
		client_secret=_client_secret(row) if with_secret else None,
		signing_key=_signing_key(row) if with_secret else None,
		redirect_uri=row.redirect_uri or "",
		scopes=scopes(row),
		resources=lines(row.resources),
		further_origins=lines(row.further_origins),
		use_pkce=bool(row.use_pkce),
		authentication=_authentication(row),
		dpop=bool(row.dpop),
		certificate_bound=bool(row.certificate_bound),
		pushed_requests=(row.pushed_requests or "Automatic").lower(),
		authorization_parameters=authorization_parameters(row),
		token_parameters=token_parameters(row),
		leeway=cint(row.leeway),
	)


def offers_codes(row: Any) -> bool:
	"""Whether *Connect with a Code* is offered: FAPI 2.0 has no place for it.

	:param row: of Connected App, with `connect_with_code`, `device_authorization_uri` and `security_profile`
	"""
	return bool(row.connect_with_code and row.device_authorization_uri and not is_held(row))


def grant_of(row: Any) -> str:
	"""
	:param row: of Connected App, with `grant_type`
	"""
	return GRANTS.get(row.grant_type or "", "consent")


def is_for_users(row: Any) -> bool:
	"""Whether users have connections, and not only the service principal.

	:param row: of Connected App, with `grant_type` and `acts_for_users`
	"""
	return bool(grant_of(row) != "service_account" or row.acts_for_users)


def is_held(row: Any) -> bool:
	"""Whether *Security Profile* is FAPI 2.0."""
	return (row.security_profile or "").lower() == fapi.PROFILE


def for_session(row: Document) -> AppSettings:
	"""The settings that a session needs until it refreshes, without secrets. Every session needs them, so they are cached by
	their values in each process."""
	roles = _roles(row) if is_shared(row) else ()
	folders = templates.folders() if row.provider else ()
	return _for_session(_read_by_session(row), scopes(row), roles, folders)


# The columns that `_for_session` uses.
BY_SESSION = (
	*("name", "enabled", "client_id", "redirect_uri", "resources", "further_origins", "certificate_bound"),
	*("leeway", "token_uri", "grant_type", "acts_for_users", "subject", "exchange_from"),
	*("connection_is", "several_accounts", "everyone_may_connect"),
	*("provider", "provider_inputs", "accept_missing_nonce", "accept_other_audiences"),
)
_read_by_session = attrgetter(*BY_SESSION)


@lru_cache(maxsize=512)
def _for_session(
	values: tuple[Any, ...], scopes: tuple[str, ...], roles: tuple[str, ...], _folders: tuple[Path, ...]
) -> AppSettings:
	row = SimpleNamespace(**dict(zip(BY_SESSION, values, strict=True)))
	client = Client(
		client_id=row.client_id or "",
		redirect_uri=row.redirect_uri or "",
		scopes=scopes,
		resources=lines(row.resources),
		further_origins=lines(row.further_origins),
		certificate_bound=bool(row.certificate_bound),
		leeway=cint(row.leeway),
	)
	provider = Provider(token_uri=row.token_uri or "", quirks=templates.quirks_of(row))
	who = _who(row, roles) if is_shared(row) else {}
	return AppSettings(
		name=row.name,
		provider=provider,
		client=client,
		enabled=bool(row.enabled),
		grant=grant_of(row),
		is_for_users=is_for_users(row),
		subject=(row.subject or "").strip(),
		exchange_from=row.exchange_from or "",
		**who,
	)


def _who(row: Any, roles: tuple[str, ...]) -> dict[str, Any]:
	return {
		"is_shared": is_shared(row),
		"several_accounts": has_several_accounts(row),
		"everyone_may_connect": bool(row.everyone_may_connect),
		"allowed_roles": roles,
	}


def _roles(row: Document) -> tuple[str, ...]:
	return tuple(child.role for child in row.allowed_roles)


def is_shared(row: Any) -> bool:
	"""Whether *Connection Is* Shared.

	:param row: with `connection_is` and `grant_type`: only a grant with consent can be shared
	"""
	return bool(row.connection_is == SHARED and grant_of(row) == "consent")


def has_several_accounts(row: Any) -> bool:
	"""Whether a user may connect several accounts.

	:param row: with `several_accounts`, `connection_is` and `grant_type`
	"""
	return bool(row.several_accounts and grant_of(row) == "consent" and not is_shared(row))


def for_revoking(connected_app: str) -> Settings:
	"""The settings with which a Connected App revokes tokens. While its secret cannot be read, every attempt fails, and
	another one follows."""
	row = frappe.get_doc(DOCTYPE, connected_app)
	try:
		app = of(row, with_secret=True)
	except OAuthError:
		client = Client(client_id=row.client_id or "", authentication="client_secret_post")
		return Settings(Provider(revocation_uri=row.revocation_uri or ""), client)
	client = Client(
		client_id=app.client.client_id,
		client_secret=app.client.client_secret,
		signing_key=app.client.signing_key,
		# Resolved now: Automatic depends on the provider's metadata.
		authentication=client_auth.method(app.provider, app.client),
		certificate_bound=app.client.certificate_bound,
	)
	provider = Provider(
		revocation_uri=app.provider.revocation_uri,
		token_uri=app.provider.token_uri,
		issuer=app.provider.issuer,
		metadata={
			client_auth.SIGNING_ALGORITHMS: client_auth.signing_algorithms(app.provider),
			**mtls.kept(app.provider.metadata),
		},
		quirks=app.provider.quirks,
	)
	return Settings(provider, client)


def to_json(revoking: Settings) -> Secret:
	"""The settings of `for_revoking` as text, to store with tokens that wait to be revoked."""
	provider, client = revoking
	values = (client.client_id, client.client_secret, client.authentication, provider.revocation_uri)
	how = asdict(provider.quirks.revocation)
	quirks = {name: getattr(provider.quirks, name) for name in REVOKING_QUIRKS}
	signing = {
		"key": client.signing_key.to_json() if client.signing_key else "",
		"issuer": provider.issuer,
		"token_uri": provider.token_uri,
		"algorithms": client_auth.signing_algorithms(provider),
		"certificate_bound": client.certificate_bound,
		"mtls": mtls.kept(provider.metadata),
	}
	kept = {**dict(zip(REVOKING, values, strict=True)), **quirks, "revocation": how, "signing": signing}
	return Secret(json.dumps(kept))


def from_json(text: Secret) -> Settings | None:
	"""The inverse of `to_json`; None for the form of another version of this app."""
	try:
		return _from_json(text)
	except (ValueError, KeyError, TypeError, AttributeError):
		return None


def _from_json(text: Secret) -> Settings:
	values = as_secrets(json.loads(text))
	signing = values.get("signing") or {}
	client = Client(
		client_id=values["client_id"],
		client_secret=values["client_secret"],
		signing_key=SigningKey.from_json(signing["key"]) if signing.get("key") else None,
		authentication=authentication(values["client_authentication"]),
		certificate_bound=bool(signing.get("certificate_bound")),
	)
	quirks = STANDARD
	if how := values.get("revocation"):
		revocation = Revocation(**{**how, "shape": Shape(**how["shape"]), "tokens": tuple(how["tokens"])})
		known = {name: values[name] for name in REVOKING_QUIRKS if name in values}
		quirks = replace(STANDARD, revocation=revocation, **known)
	provider = Provider(
		revocation_uri=values["revocation_uri"],
		token_uri=signing.get("token_uri", ""),
		issuer=signing.get("issuer", ""),
		metadata={
			client_auth.SIGNING_ALGORITHMS: signing.get("algorithms", []),
			**signing.get("mtls", {}),
		},
		quirks=quirks,
	)
	return Settings(provider, client)


def authentication(choice: str) -> str:
	"""A client authentication of the form, or of an earlier version's row, under its name in `oauth.client_auth`."""
	choice = choice.lower()
	return AUTHENTICATION.get(choice, choice)


def lines(text: str | None) -> tuple[str, ...]:
	"""The lines of a field, without empty ones."""
	return tuple(line.strip() for line in (text or "").splitlines() if line.strip())


def scopes(row: Document) -> tuple[str, ...]:
	return tuple(child.scope for child in row.scopes if child.scope)


def optional_scopes(row: Document) -> tuple[str, ...]:
	return lines(row.optional_scopes)


def authorization_parameters(row: Document) -> dict[str, str]:
	return {child.key: child.value or "" for child in row.query_parameters if child.key}


def token_parameters(row: Document) -> dict[str, str]:
	pairs = (line.partition("=") for line in (row.token_parameters or "").splitlines())
	return {name.strip(): value.strip() for name, _equals, value in pairs if name.strip()}


def _authentication(row: Document) -> str:
	"""The row's choice. *Automatic* takes the template's, which may have methods that are not in the form."""
	chosen = authentication(row.client_authentication or "Automatic")
	template = templates.of_row(row) if chosen == "automatic" else None
	found = str(template["client_authentication"]) if template else chosen
	if found == "automatic" and grant_of(row) == "service_account" and not row.client_secret:
		# Its key signs the assertion that asks for tokens, which is all the authentication that is needed.
		return "omitted"
	return found


def _refresh_uri(row: Document) -> str:
	template = templates.of_row(row)
	if not template or not template["refresh"]:
		return ""
	return template.address("refresh", templates.inputs_of(row))


def suggested_redirect_uri(connected_app: str) -> str:
	"""The redirect URI by the site's current address."""
	return get_url(CALLBACK + quote(connected_app, safe=""))


def connect_url(connected_app: str) -> str:
	"""The page on this site at which a user can connect."""
	return get_url("/connect?app=" + quote(connected_app, safe=""))


def _metadata(row: Document) -> dict[str, Any]:
	try:
		metadata = json.loads(row.provider_metadata or "{}")
	except ValueError:
		return {}
	return metadata if isinstance(metadata, dict) else {}


def _client_secret(row: Document) -> Secret | None:
	if not row.client_secret:
		return None
	try:
		return Secret(row.get_password("client_secret"))
	except (frappe.AuthenticationError, frappe.ValidationError):
		frappe.clear_last_message()
	# Frappe's versions raise different exceptions for a missing password, so look for the row itself.
	if not has_password(DOCTYPE, row.name, "client_secret"):
		return None
	raise catalogue.error("client_secret_unreadable")


def _signing_key(row: Document) -> SigningKey | None:
	needs_key = (
		is_held(row)
		or row.certificate_bound
		or grant_of(row) == "service_account"
		or client_auth.may_need_key(_authentication(row))
	)
	if not row.signing_key or not needs_key:
		return None
	try:
		return SigningKey.from_json(
			passwords.read(DOCTYPE, row.name, "signing_key", raise_exception=False) or ""
		)
	except ValueError:
		pass
	raise catalogue.error("signing_key_unreadable")
