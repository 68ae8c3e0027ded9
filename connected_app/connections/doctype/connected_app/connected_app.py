"""A client at a provider. Thin: the protocol is in `oauth/`, storage and permissions are in `site/`."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import partial
from typing import Any

import frappe
import requests
from frappe import _
from frappe.utils import cint
from requests_oauthlib import OAuth2Session

from connected_app.oauth import AccessToken, ReconnectRequired, TokenSource, fapi
from connected_app.oauth.client import ANYWHERE, RESERVED_PARAMETERS, origin
from connected_app.site import (
	access,
	accounts,
	consent,
	discovery,
	ending,
	flow,
	keys,
	links,
	mail,
	offboarding,
	providers,
	registrations,
	sessions,
	settings,
	templates,
	token_caches,
)
from connected_app.site.accounts import ConnectedAccount
from connected_app.site.callers import Caller, caller, for_code
from connected_app.site.errors import raises_frappe_errors
from connected_app.site.identity import ConnectionKey
from connected_app.site.passwords import SecretKeeper
from connected_app.site.settings import AppSettings

# The values in the form under the security profile; `oauth.fapi` enforces them, whatever is stored.
UNDER_FAPI = {
	"use_pkce": 1,
	"pushed_requests": "Always",
	"accept_missing_nonce": 0,
	"accept_other_audiences": 0,
	"accept_other_issuer": 0,
}
# Numbers that may not be negative.
COUNTS = (
	*("leeway", "refresh_ahead", "refresh_at_once", "refresh_idle_after"),
	*("requests_per_minute", "rotate_keys_after"),
)


class ConnectedApp(SecretKeeper):
	# begin: auto-generated types
	# This code is auto-generated. Do not modify anything in this block.

	from typing import TYPE_CHECKING

	if TYPE_CHECKING:
		from frappe.core.doctype.has_role.has_role import HasRole
		from frappe.integrations.doctype.oauth_scope.oauth_scope import OAuthScope
		from frappe.integrations.doctype.query_parameters.query_parameters import QueryParameters
		from frappe.types import DF

		accept_missing_nonce: DF.Check
		accept_other_audiences: DF.Check
		accept_other_issuer: DF.Check
		acts_for_users: DF.Check
		allowed_roles: DF.TableMultiSelect[HasRole]
		authorization_uri: DF.SmallText | None
		certificate_bound: DF.Check
		client_authentication: DF.Literal[
			"Automatic",
			"Basic",
			"Post",
			"client_secret_jwt",
			"private_key_jwt",
			"tls_client_auth",
			"self_signed_tls_client_auth",
			"None",
		]
		client_id: DF.Data | None
		client_secret: DF.Password | None
		connect_with_code: DF.Check
		device_authorization_uri: DF.Data | None
		connection_is: DF.Literal["Each User's Own", "Shared"]
		dpop: DF.Check
		email_when_broken: DF.Check
		enabled: DF.Check
		everyone_may_connect: DF.Check
		exchange_from: DF.Link | None
		further_origins: DF.SmallText | None
		generation: DF.Int
		grant_type: DF.Literal["User Consent", "Service Account", "Token Exchange"]
		introspection_uri: DF.Data | None
		issuer: DF.Data | None
		jwks_uri: DF.Data | None
		key_set_uri: DF.Data | None
		leeway: DF.Int
		mail_servers: DF.SmallText | None
		next_signing_key: DF.Password | None
		openid_configuration: DF.Data | None
		optional_scopes: DF.SmallText | None
		provider: DF.Autocomplete | None
		provider_inputs: DF.Code | None
		provider_metadata: DF.Code | None
		provider_name: DF.Data
		published_keys: DF.Code | None
		pushed_requests: DF.Literal["Automatic", "Always", "Never"]
		query_parameters: DF.Table[QueryParameters]
		redirect_uri: DF.Data | None
		refresh_ahead: DF.Int
		refresh_at_once: DF.Int
		refresh_idle_after: DF.Int
		refresh_in_background: DF.Check
		requests_per_minute: DF.Int
		resources: DF.SmallText | None
		revocation_uri: DF.Data | None
		role_for_scripts: DF.Link | None
		rotate_keys_after: DF.Int
		security_profile: DF.Literal["Standard", "FAPI 2.0"]
		several_accounts: DF.Check
		scope_on_refresh: DF.Literal["Omit", "Granted"]
		scope_separator: DF.Literal["Space", "Comma"]
		scopes: DF.Table[OAuthScope]
		signing_key: DF.Password | None
		subject: DF.Data | None
		token_parameters: DF.SmallText | None
		token_uri: DF.Data | None
		use_pkce: DF.Check
		userinfo_uri: DF.Data | None
	# end: auto-generated types

	SECRETS = ("client_secret", *keys.FIELDS)
	FOR_SCRIPTS = ("client_secret",)

	@partial(for_code, also=("frappe.client", "get_password"))
	def get_password(self, fieldname: str = "password", raise_exception: bool = True) -> str | None:
		"""As Frappe's. Admins may read the client secret, which an admin has entered. Nobody may read a key."""
		if fieldname in keys.FIELDS:
			raise frappe.PermissionError(_("Keys do not leave this site."))
		return super().get_password(fieldname, raise_exception)

	def hide_secrets(self) -> None:
		# Pasted with a blank or a newline, which nobody sees behind stars.
		if type(self.client_secret) is str:
			self.client_secret = self.client_secret.strip()
		super().hide_secrets()

	def before_validate(self) -> None:
		"""What is pasted may have blanks around it, and several scopes in one row (RFC 6749 3.3)."""
		for field in self.meta.get("fields", {"fieldtype": ("in", ("Data", "Small Text"))}):
			if isinstance(value := self.get(field.fieldname), str):
				self.set(field.fieldname, value.strip())
		scopes = list(dict.fromkeys(scope for row in self.scopes for scope in (row.scope or "").split()))
		if scopes != [row.scope for row in self.scopes]:
			self.set("scopes", [{"scope": scope} for scope in scopes])

	def validate(self) -> None:
		before = self.get_doc_before_save()
		# Set once, because it is registered at the provider; `api.renew_redirect_uri` changes it. An app that shares another
		# app's client shares its Redirect URI.
		self.redirect_uri = (
			(before and before.redirect_uri)
			or self.flags.redirect_uri
			or settings.suggested_redirect_uri(self.name)
		)
		self.generation = before.generation if before else ending.next_generation(self.name)
		self.check_client()
		self.check_parameters()
		self.check_grant()
		self.check_origins()
		self.check_accounts(before)
		if settings.is_held(self):
			self.update(UNDER_FAPI)
			self.client_authentication = fapi.authentication(self.client_authentication)
			self.dpop = int(not self.certificate_bound)
		for field in COUNTS:
			self.set(field, max(cint(self.get(field)), 0))
		self.check_provider(before)

	def check_client(self) -> None:
		"""Some providers give the client as a file. All of it would go into the address of the consent page."""
		with suppress(ValueError, RecursionError):
			if isinstance(json.loads(self.client_id or ""), dict):
				frappe.throw(
					_(
						"This is a whole file. Enter only its client_id here, and its client_secret in the field Client Secret."
					),
					title=_("Client ID"),
				)

	def check_parameters(self) -> None:
		for row in self.query_parameters:
			if row.key in RESERVED_PARAMETERS:
				frappe.throw(
					_("Row {0}: the parameter {1} is set by the flow itself.").format(row.idx, row.key),
					title=_("Query Parameters"),
				)
		if wrong := RESERVED_PARAMETERS.intersection(settings.token_parameters(self)):
			frappe.throw(
				_("The parameter {0} is set by the flow itself.").format(", ".join(sorted(wrong))),
				title=_("Token Parameters"),
			)

	def check_grant(self) -> None:
		if settings.grant_of(self) == "token_exchange":
			source = frappe.db.get_value("Connected App", self.exchange_from, "grant_type")
			if source is None or settings.GRANTS.get(source) == "token_exchange":
				frappe.throw(
					_("Choose a Connected App that does not exchange tokens itself."),
					title=_("Exchange the Tokens Of"),
				)

	def check_origins(self) -> None:
		for line in settings.lines(self.further_origins):
			if line != ANYWHERE and not origin(line):
				frappe.throw(
					_("{0} is not the address of an origin, such as {1}").format(
						frappe.bold(frappe.utils.escape_html(line)), "https://files.example.com"
					),
					title=_("Further Origins"),
				)

	def check_accounts(self, before: ConnectedApp | None) -> None:
		"""Only a user who consents, to connections of their own, can have several accounts."""
		if self.several_accounts and not settings.has_several_accounts(self):
			frappe.throw(
				_("Several Accounts are for apps to which each user connects accounts of their own."),
				title=_("Several Accounts"),
			)
		if not before or self.several_accounts or not before.several_accounts:
			return
		if number := accounts.users_with_further(self.name, self.generation):
			frappe.throw(
				_("Users with further accounts: {0}. They have to disconnect these first.").format(number),
				title=_("Several Accounts"),
			)

	def check_provider(self, before: ConnectedApp | None) -> None:
		"""Check a template when it is chosen. A template that was chosen earlier may be gone with its app; the fields go on
		working."""
		if not self.provider:
			self.provider_inputs = None
		elif not before or any(
			before.get(field) != self.get(field) for field in ("provider", "provider_inputs")
		):
			with raises_frappe_errors():
				self.provider_inputs = providers.checked_inputs(self.provider, templates.inputs_of(self))

	def on_update(self) -> None:
		before = self.get_doc_before_save()
		if not before:
			return
		turned = settings.is_shared(before) != settings.is_shared(self)
		if turned or (before.enabled and not self.enabled):
			offboarding.end_app(self)
		if turned and settings.is_shared(self):
			mail.give_to_nobody(self.name)

	def before_rename(self, old: str, new: str, merge: bool = False) -> None:
		if merge:
			ending.prepare_merge(old, new)
		else:
			ending.check_none_ends(new)
		# Frappe writes the new name to the rows, which may have been refreshed since.
		offboarding.make_changeable({"connected_app": self.name})
		if merge:
			accounts.prepare_merge({"connected_app": old}, {"connected_app": new})

	def on_trash(self) -> None:
		offboarding.end_app(self)
		registrations.end_of_app(self.name)
		keys.end_of_app(self)

	@for_code
	def get_oauth2_session(
		self, user: str | None = None, init: bool = False, account: str | None = None
	) -> OAuth2Session:
		"""An authorized `requests` session for `user`: it refreshes itself, and has default time-outs.

		:param user: whose grant to use, or who uses the shared one; the session's user by default
		:param init: a session without a token, to begin a flow with
		:param account: which of their accounts, by the provider's ID or by its name; by default the default one
		:raises frappe.PermissionError: if the connection is shared, and `user` may not use it
		:raises connected_app.oauth.ReconnectRequired: the user must consent (again); `connect_url` says where. Of several
			accounts: `account_not_connected`, `account_ambiguous`, `no_default_account`
		:raises connected_app.oauth.TemporaryFailure: try later
		:raises connected_app.oauth.ConfigurationError: an admin must act
		"""
		if init:
			return OAuth2Session(
				client_id=self.client_id, redirect_uri=self.redirect_uri, scope=self.get_scopes()
			)
		app, user = self._settings(), user or frappe.session.user
		return sessions.session(app, access.connection_of(app, user, account), user)

	@for_code
	def get_access_token(self, user: str | None = None, account: str | None = None) -> AccessToken:
		"""A token of `user` that is valid now, and its expiry, for code that sends it in its own way. It does not renew
		itself: ask again before each piece of work, and do not store it.

		:param user: whose grant to use; the session's user by default
		:param account: which of their accounts, by the provider's ID or by its name; by default the default one
		:raises OAuthError: as `get_oauth2_session`
		:raises connected_app.oauth.ConfigurationError: `dpop_needs_session`, `certificate_needs_session`: a bound token is
			useless by itself
		"""
		app, user = self._settings(), user or frappe.session.user
		return sessions.token_source(app, access.connection_of(app, user, account), user).access_token()

	@for_code
	def get_token_source(self, user: str | None = None, account: str | None = None) -> TokenSource:
		"""The connection for an adapter in `connected_app.oauth.adapters`, that is, for other libraries. Every thread can use
		it.

		:param user: whose grant to use; the session's user by default
		:param account: which of their accounts, by the provider's ID or by its name; by default the default one
		:raises OAuthError: as `get_oauth2_session`
		"""
		app, user = self._settings(), user or frappe.session.user
		return sessions.token_source(app, access.connection_of(app, user, account), user)

	@for_code
	def get_accounts(self, user: str | None = None) -> list[ConnectedAccount]:
		"""The accounts that `user` has connected, the default one first.

		:param user: the session's user by default
		:raises frappe.PermissionError: to a script that may not use another user's connection; if the connection is shared, and
			`user` may not use it
		"""
		user = user or frappe.session.user
		access.check_caller(self.name, user)
		return accounts.of_owner(access.connection_of(self._settings(), user))

	@frappe.whitelist(methods=["POST"])
	def initiate_web_application_flow(self, user: str | None = None, success_uri: str | None = None) -> str:
		"""The provider's consent URL for the session's user; for another `user`, a link on this site that leads there once
		that user has logged in.

		:param user: another user's only from code on the server
		:param success_uri: where to land afterwards: a path on this site
		:raises frappe.PermissionError: for another user, if a browser asks, or a script without permission
		:raises OAuthError: as `site.flow.begin`
		"""
		if user and user != frappe.session.user:
			access.check_not_from_a_browser()
			access.check_caller(self.name, user)
			with raises_frappe_errors():
				self._settings().check_enabled()
				return links.link_for(self.name, user, success_uri)
		with raises_frappe_errors():
			# Called over HTTP this document is what the browser posted: only its name is used.
			return flow.begin(settings.read(self.name), success_uri)

	@frappe.whitelist(methods=["POST"])
	def get_openid_configuration(self) -> dict[str, Any]:
		"""The provider's metadata document, as core's method of this name gives it.

		The form asks `api.get_openid_configuration`, which says what to fill in.

		:raises frappe.PermissionError: unless System Manager
		:raises OAuthError: as `site.discovery.fetch`
		"""
		access.check_is_admin()
		# Called over HTTP this document is what the browser posted: only its name is used.
		app = settings.read(self.name)
		with raises_frappe_errors():
			metadata = discovery.fetch(
				app.openid_configuration, app.provider.issuer, any_issuer=app.any_issuer
			)
			return dict(metadata.document)

	@for_code
	def get_user_token(self, user: str | None = None, success_uri: str | None = None) -> Any:
		"""The user's Token Cache; without one, redirect the browser to the consent screen.

		In a background job there is no browser: see `get_oauth2_session` for what is raised.
		"""
		user = user or frappe.session.user
		token_cache = self.get_token_cache(user)
		if token_cache and token_caches.is_connected(token_cache):
			return token_cache
		if not frappe.request or user != frappe.session.user:
			self.get_oauth2_session(user)
		location = self.initiate_web_application_flow(user, success_uri)
		frappe.local.response["type"] = "redirect"
		frappe.local.response["location"] = location
		return location

	def _settings(self) -> AppSettings:
		"""What a session needs."""
		return settings.for_session(self._as_trusted())

	def _all_settings(self) -> AppSettings:
		return settings.of(self._as_trusted())

	def _as_trusted(self) -> ConnectedApp:
		"""This document if code asks. A script or an expression can invent or change a document: for these, the saved one."""
		if caller() is Caller.CODE:
			return self
		saved: ConnectedApp = frappe.get_doc("Connected App", self.name)
		return saved

	def get_token_cache(self, user: str, account: str | None = None) -> Any:
		"""The Token Cache of `user`, or None. An empty `user` is the service principal. A shared one is found for everybody
		who may use it; so is one that was stored after the caller's transaction began.

		:param account: which of their accounts, by the provider's ID or by its name; by default the default one
		"""
		return token_caches.of_user(self._settings(), user, account)

	@for_code
	def get_active_token(self, user: str | None = None, account: str | None = None) -> Any:
		"""The Token Cache of `user` with an access token that is valid now, or None without a connection.

		:param account: which of their accounts, by the provider's ID or by its name; by default the default one

		:raises OAuthError: as `get_oauth2_session`, when a refresh failed
		"""
		app, user = self._settings(), user or frappe.session.user
		asker, methods = mail.asker()
		if asker and self.several_accounts and not accounts.is_named(account):
			account = mail.account_of(asker, ConnectionKey.of_user(self.name, user))
		try:
			key = access.connection_of(app, user, account)
		except ReconnectRequired as error:
			if error.code != "account_not_connected":
				raise
			frappe.clear_last_message()
			return None
		token_cache = token_caches.of_key(key)
		if not token_cache or not token_caches.is_connected(token_cache):
			return None
		if asker:
			mail.check_servers(self, asker, methods)
		sessions.current(app, key, user)
		return token_caches.of_key(key)

	@for_code
	def get_backend_app_token(self, include_client_id: bool | None = None) -> Any:
		"""The Token Cache of the service principal, from the client credentials grant (RFC 6749 4.4).

		:param include_client_id: for compatibility; *Client Authentication* decides
		:raises OAuthError: as `get_oauth2_session`
		"""
		mail.check_asker(self)
		sessions.current(self._settings(), ConnectionKey.of_service_principal(self.name))
		return self.get_token_cache("")

	@for_code
	def require_scopes(
		self,
		*wanted: str,
		user: str | None = None,
		reason: str = "",
		success_uri: str | None = None,
		account: str | None = None,
	) -> None:
		"""Check that `user` granted all of `wanted`, before doing what needs them.

		`offline_access` is not checked: providers grant it without naming it.

		:param wanted: scopes of *Scopes* or *Optional Scopes*
		:param user: the session's user by default
		:param reason: why they are needed; the user reads it at `connect_url`
		:param success_uri: where to land afterwards: a path on this site; by default the page that sent this request
		:param account: which of their accounts, by the provider's ID or by its name; by default the default one
		:raises connected_app.oauth.ReconnectRequired: `scope_missing`, `not_connected`; `connect_url` asks this user for the
			missing scopes, and works for a week
		:raises connected_app.oauth.ConfigurationError: `scope_not_asked`, `success_uri_refused`
		"""
		asked = consent.Asked(user or frappe.session.user, reason, success_uri, account)
		consent.require_scopes(self._all_settings(), wanted, asked)

	@for_code
	def require_consent(
		self,
		response: requests.Response,
		*,
		user: str | None = None,
		reason: str = "",
		success_uri: str | None = None,
		account: str | None = None,
	) -> None:
		"""Check that an API has not refused a request because consent is missing: 403 `insufficient_scope` (RFC 6750 3.1) or
		401 `insufficient_user_authentication` (RFC 9470).

		:param response: of a session of `user`
		:raises connected_app.oauth.ReconnectRequired: `scope_missing`, `login_insufficient`; for this and the other parameters
			see `require_scopes`
		:raises connected_app.oauth.ConfigurationError: `scope_not_asked`, `success_uri_refused`
		"""
		asked = consent.Asked(user or frappe.session.user, reason, success_uri, account)
		consent.require_consent(self._all_settings(), response, asked)

	def get_scopes(self) -> list[str]:
		return list(settings.scopes(self))

	def get_query_params(self) -> dict[str, str]:
		return settings.authorization_parameters(self)

	def connect_url(self) -> str:
		"""The page on this site at which a user can connect."""
		return settings.connect_url(self.name)
