"""Check Configuration: what is wrong with a Connected App, found out without connecting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import frappe
from frappe import _
from frappe.utils import get_url

from connected_app.oauth import authorization, client_auth, discovery, id_token, token_endpoint
from connected_app.oauth.client import Settings
from connected_app.oauth.errors import ConfigurationError, OAuthError, ReconnectRequired, TemporaryFailure
from connected_app.oauth.net import Reply, is_loopback
from connected_app.oauth.redact import printable
from connected_app.site import settings
from connected_app.site.errors import localized
from connected_app.site.http import http
from connected_app.site.settings import AppSettings

# Providers that give a refresh token only when these are sent along with the authorization request.
OFFLINE_PARAMETERS = {
	"accounts.google.com": {"access_type": "offline", "prompt": "consent"},
	"www.dropbox.com": {"token_access_type": "offline"},
	"www.reddit.com": {"duration": "permanent"},
}
# Providers that want this scope for the same purpose, whether or not their metadata name it.
OFFLINE_SCOPE_HOSTS = ("login.microsoftonline.com", "auth.atlassian.com")
# The field that an error of the provider is about.
FIELDS = {
	"invalid_client": "client_secret",
	"unauthorized_client": "client_id",
	"redirect_uri_mismatch": "redirect_uri",
	"invalid_scope": "scopes",
}
# Belongs to nobody: an endpoint that works refuses it.
NOBODYS = "connected-app-check"


def check_configuration(connected_app: str) -> list[dict[str, str]]:
	"""What an admin should know about the saved settings of a Connected App, in the order of the form.

	Asks the provider's endpoints with nobody's code and token: nothing is granted, changed or revoked there.

	:returns: findings: `level` ("ok", "warning", "error"), `check` (a stable name), `field` (of the form, or
		empty), `message`, and `action` (what to do; empty when nothing has to be done)
	"""
	return _Check(settings.read(connected_app)).run()


class _Check:
	def __init__(self, app: AppSettings) -> None:
		self.app = app
		self.meta = frappe.get_meta("Connected App")
		self.http = http()
		self.findings: list[dict[str, str]] = []
		# Hosts that cannot be reached: asking each of their endpoints would only add up time-outs.
		self.unreachable: dict[str, TemporaryFailure] = {}

	def run(self) -> list[dict[str, str]]:
		self.check_enabled()
		metadata = self.check_discovery()
		self.check_site()
		self.check_redirect_uri()
		config = self.config(metadata)
		if config:
			self.check_client(config)
			self.check_scopes(config)
			self.check_flow(config)
			self.check_identity(config)
			self.check_endpoints(config)
			self.check_offline(config)
		order = {field.fieldname: field.idx for field in self.meta.fields}
		return sorted(self.findings, key=lambda finding: order.get(finding["field"], 0))

	def say(self, level: str, check: str, field: str, message: str, action: str = "") -> None:
		self.findings.append(
			{"level": level, "check": check, "field": field, "message": message, "action": action}
		)

	def error(self, check: str, field: str, message: str, action: str) -> None:
		self.say("error", check, field, message, action)

	def warn(self, check: str, field: str, message: str, action: str) -> None:
		self.say("warning", check, field, message, action)

	def ok(self, check: str, field: str, message: str) -> None:
		self.say("ok", check, field, message)

	def uri(self, field: str) -> str:
		return getattr(self.app.provider, field)

	def label(self, field: str) -> str:
		return _(self.meta.get_label(field))

	# Without the network

	def check_enabled(self) -> None:
		if not self.app.enabled:
			self.warn(
				"enabled",
				"enabled",
				_("This Connected App is disabled: nobody can connect."),
				_("Tick Enabled when it is ready."),
			)
		if not self.app.everyone_may_connect and not self.app.allowed_roles:
			self.warn(
				"roles",
				"allowed_roles",
				_("Only System Managers may connect."),
				_("Add a role to Allowed Roles, or tick Everyone May Connect."),
			)

	def check_site(self) -> None:
		address = urlsplit(get_url())
		public = not is_loopback(address.hostname or "")
		if public and address.scheme != "https":
			self.error(
				"site_insecure",
				"redirect_uri",
				_("This site is reached over http, so codes and sessions can be read on the way."),
				_(
					"Serve the site over https, set its host_name to the https address, and renew the Redirect URI."
				),
			)
		if public and frappe.conf.developer_mode:
			self.warn(
				"developer_mode",
				"",
				_("Developer mode is on although this site has a public address."),
				_("Turn off developer_mode in the site's configuration."),
			)

	def check_redirect_uri(self) -> None:
		suggested = self.app.suggested_redirect_uri()
		if not self.app.client.redirect_uri:
			self.error(
				"redirect_uri",
				"redirect_uri",
				_("There is no Redirect URI yet."),
				_("Save the Connected App."),
			)
		elif self.app.client.redirect_uri != suggested:
			self.error(
				"redirect_uri",
				"redirect_uri",
				_("The Redirect URI no longer matches the address of this site. It would now be {0}.").format(
					suggested
				),
				_(
					"Use Renew Redirect URI and register the new one at the provider, or set the site's host_name."
				),
			)
		else:
			self.ok("redirect_uri", "redirect_uri", _("The Redirect URI matches the address of this site."))

	def config(self, metadata: dict[str, Any] | None) -> Settings | None:
		try:
			app = settings.read(self.app.name, with_secret=True)
			app.client.check_parameters()
		except ConfigurationError as error:
			field = "query_parameters" if error.code == "parameter_reserved" else "client_secret"
			self.pass_on(error.code, field, error)
			return None
		provider = replace(app.provider, metadata=metadata) if metadata is not None else app.provider
		return Settings(provider, app.client)

	def check_client(self, config: Settings) -> None:
		if not config.client.client_id:
			self.error(
				"client_id",
				"client_id",
				_("Client ID is missing."),
				_("Create an OAuth client at the provider and enter its ID."),
			)
		how = client_auth.method(*config)
		if how != "none" and not config.client.client_secret:
			self.error(
				"client_secret",
				"client_secret",
				_("Client Secret is missing."),
				_("Enter it, or set Client Authentication to None for a public client."),
			)
		supported = _strings(config.provider.metadata.get("token_endpoint_auth_methods_supported"))
		if not supported:
			return
		if how in supported:
			self.ok(
				"client_authentication",
				"client_authentication",
				_("The provider supports this way of client authentication."),
			)
		elif how == "none" and config.client.authentication == "automatic":
			self.error(
				"client_secret",
				"client_secret",
				_("Client Secret is missing, and the provider does not take clients without one."),
				_("Enter it."),
			)
		else:
			self.error(
				"client_authentication",
				"client_authentication",
				_(
					"The provider does not support this way of client authentication; it supports: {0}."
				).format(printable(", ".join(supported))),
				_("Set Client Authentication to Automatic, or to one that the provider supports."),
			)

	def check_scopes(self, config: Settings) -> None:
		supported = _strings(config.provider.metadata.get("scopes_supported"))
		unknown = [scope for scope in config.client.scopes if supported and scope not in supported]
		if unknown:
			self.warn(
				"scopes",
				"scopes",
				_("The provider does not list these scopes: {0}.").format(", ".join(unknown)),
				_("Check how the provider's documentation spells them."),
			)
		elif supported and config.client.scopes:
			self.ok("scopes", "scopes", _("The provider knows all of these scopes."))

	def check_flow(self, config: Settings) -> None:
		"""RFC 8414 2: what the metadata say about the code flow and PKCE."""
		for name, value in (
			("response_types_supported", "code"),
			("grant_types_supported", "authorization_code"),
		):
			supported = _strings(config.provider.metadata.get(name))
			if supported and value not in supported:
				self.error(
					name,
					"authorization_uri",
					_("The provider does not offer the authorization code flow."),
					_("Ask the provider which flow is meant for web applications."),
				)
		methods = _strings(config.provider.metadata.get("code_challenge_methods_supported"))
		if methods and config.client.use_pkce and "S256" not in methods:
			self.error(
				"pkce",
				"use_pkce",
				_("The provider does not support PKCE with S256."),
				_("Turn off Use PKCE."),
			)
		elif "S256" in methods and not config.client.use_pkce:
			self.warn(
				"pkce",
				"use_pkce",
				_("The provider supports PKCE, and it is turned off here."),
				_("Turn on Use PKCE."),
			)
		elif "S256" in methods:
			self.ok("pkce", "use_pkce", _("The provider supports PKCE."))

	def check_identity(self, config: Settings) -> None:
		if "openid" not in config.client.scopes:
			return
		if not config.provider.issuer:
			self.warn(
				"issuer",
				"issuer",
				_("Without Issuer, the provider's statement about who was connected is not checked."),
				_("Use Get OpenID Configuration, or enter the Issuer."),
			)
			return
		if not config.provider.jwks_uri:
			self.warn(
				"jwks_uri",
				"jwks_uri",
				_("Without JWKS URI, the signature of ID tokens is not checked."),
				_("Use Get OpenID Configuration, or enter the JWKS URI."),
			)
		supported = _strings(config.provider.metadata.get("id_token_signing_alg_values_supported"))
		allowed = id_token.ASYMMETRIC + (id_token.SYMMETRIC if config.client.client_secret else ())
		if supported and not set(supported).intersection(allowed):
			self.error(
				"id_token_algorithm",
				"issuer",
				_("The provider signs ID tokens only in ways that are not accepted here: {0}.").format(
					printable(", ".join(supported))
				),
				_("Set RS256 for this client at the provider, or remove the scope openid."),
			)

	def check_offline(self, config: Settings) -> None:
		"""Whether there will be a refresh token: without one, a connection ends with its first access token."""
		host = urlsplit(config.provider.authorization_uri).hostname or ""
		parameters = OFFLINE_PARAMETERS.get(host, {})
		missing = [
			f"{key} = {value}"
			for key, value in parameters.items()
			if config.client.authorization_parameters.get(key) != value
		]
		if missing:
			self.warn(
				"offline",
				"query_parameters",
				_("This provider gives no refresh token without the parameters {0}.").format(
					", ".join(missing)
				),
				_(
					"Add them to Query Parameters, or the connection ends when its first access token expires."
				),
			)
		supported = _strings(config.provider.metadata.get("scopes_supported"))
		wanted = host in OFFLINE_SCOPE_HOSTS or ("offline_access" in supported and not parameters)
		if wanted and "offline_access" not in config.client.scopes:
			self.warn(
				"offline",
				"scopes",
				_("Without the scope offline_access this provider may give no refresh token."),
				_(
					"Add offline_access to Scopes, or the connection ends when its first access token expires."
				),
			)

	# Asking the provider

	def check_discovery(self) -> dict[str, Any] | None:
		"""The metadata as the provider publishes them now, or None where it does not."""
		app, field = self.app, "openid_configuration"
		issuer = app.provider.issuer
		if not app.openid_configuration:
			return None
		try:
			metadata = discovery.fetch(
				app.openid_configuration,
				self.http,
				issuer if "{tenantid}" in issuer else "",
				any_issuer=app.any_issuer,
			)
		except OAuthError as error:
			self.pass_on("discovery", field, error)
			return None
		self.ok("discovery", field, _("The provider's OpenID Configuration can be read."))
		for name, published in (
			(name, getattr(metadata, key)) for name, key in settings.ENDPOINT_FIELDS.items()
		):
			ours = self.uri(name).strip()
			# Tokens are not introspected where no address is set.
			if not published or ours == published or (not ours and name == "introspection_uri"):
				continue
			level = "error" if name == "issuer" and ours else "warning"
			if ours:
				message = _("{0} is not the one that the provider publishes: {1}.")
			else:
				message = _("{0} is empty, and the provider publishes one: {1}.")
			self.say(
				level,
				"discovery_differs",
				name,
				message.format(self.label(name), printable(published)),
				_("Use Get OpenID Configuration, and save."),
			)
		return metadata.document

	def check_endpoints(self, config: Settings) -> None:
		for field in ("authorization_uri", "token_uri"):
			if not getattr(config.provider, field):
				self.error(
					"endpoint_missing",
					field,
					_("{0} is missing.").format(self.label(field)),
					_("Use Get OpenID Configuration, or take it from the provider's documentation."),
				)
		if config.provider.authorization_uri and config.client.client_id and config.provider.token_uri:
			self.check_authorization(config)
		if config.provider.token_uri and self.check_token(config):
			self.check_credentials(config)
		if config.provider.jwks_uri:
			self.check_jwks(config)
		if config.provider.userinfo_uri:
			self.answers("userinfo_uri", lambda: self.http.get(config.provider.userinfo_uri))
		for field in ("revocation_uri", "introspection_uri"):
			if uri := self.uri(field):
				self.answers(field, lambda uri=uri: self.http.post(uri, {"token": NOBODYS}))

	def check_authorization(self, config: Settings) -> None:
		field = "authorization_uri"
		reply = self.ask(
			field, lambda: self.http.get(authorization.begin(*config)[0], {"Accept": "text/html"})
		)
		if reply is None:
			return
		location = reply.headers.get("location", "")
		if location.startswith(config.client.redirect_uri) and config.client.redirect_uri:
			told = {key: values[0] for key, values in parse_qs(urlsplit(location).query).items()}
			if "error" in told and told["error"] not in ("login_required", "interaction_required"):
				error = token_endpoint.error_from(told)
				return self.pass_on("authorization", FIELDS.get(error.code, field), error)
		elif reply.status in (400, 401, 403):
			return self.warn(
				"authorization",
				field,
				_("The provider's consent page refuses this client (HTTP {0}).").format(reply.status),
				_("Check Client ID, and that exactly this Redirect URI is registered at the provider."),
			)
		elif reply.status >= 400:
			return self.not_as_such(field, reply)
		self.ok("authorization", field, _("The provider's consent page answers."))

	def check_token(self, config: Settings) -> bool:
		"""Whether Token URI answers a request without credentials with an OAuth error (RFC 6749 5.2)."""
		field = "token_uri"
		reply = self.ask(
			field, lambda: self.http.post(config.provider.token_uri, {"grant_type": "authorization_code"})
		)
		if reply is None:
			return False
		answer = reply.json_object()
		if reply.status in (404, 405) or reply.status >= 500 or 300 <= reply.status < 400 or not answer:
			self.not_as_such(field, reply)
			return False
		self.ok("token", field, _("The token endpoint answers."))
		return True

	def check_credentials(self, config: Settings) -> None:
		"""Offer nobody's code: a provider that knows the client says so by refusing the code (RFC 6749 5.2)."""
		try:
			client_auth.authenticate(*config, {}, {})
		except ConfigurationError:
			return
		form = {
			"grant_type": "authorization_code",
			"code": NOBODYS,
			"redirect_uri": config.client.redirect_uri,
		}
		if config.client.use_pkce:
			form["code_verifier"] = NOBODYS * 3
		try:
			token_endpoint.request(*config, form, self.http)
		except ReconnectRequired:
			self.ok("credentials", "client_secret", _("The provider accepts Client ID and Client Secret."))
		except ConfigurationError as error:
			# What else there is may be about the code, which is nobody's.
			if error.code in FIELDS:
				self.pass_on("credentials", FIELDS[error.code], error)
		except TemporaryFailure:
			pass

	def check_jwks(self, config: Settings) -> None:
		field, key_sets = "jwks_uri", id_token.KeySets()
		found = self.ask(
			field,
			lambda: [
				key
				for algorithm in ("RS256", "ES256", "EdDSA")
				for key in key_sets.find(config.provider.jwks_uri, None, algorithm, self.http)
			],
		)
		if found:
			self.ok("jwks", field, _("The provider's signing keys can be read."))
		elif found is not None:
			self.error(
				"jwks",
				field,
				_("There is no key at JWKS URI that can be used."),
				_("Check JWKS URI in the provider's documentation."),
			)

	def answers(self, field: str, request: Callable[[], Reply]) -> None:
		"""Whether an endpoint is there: it refuses a request without a usable token, but not as a page would."""
		reply = self.ask(field, request)
		if reply is None:
			return
		page = reply.status < 400 and reply.content_type in ("text/html", "application/xhtml+xml")
		if reply.status in (404, 405) or reply.status >= 500 or 300 <= reply.status < 400 or page:
			self.not_as_such(field, reply, level="warning")
		else:
			self.ok("endpoint", field, _("{0} answers.").format(self.label(field)))

	def ask(self, field: str, request: Callable[[], Any]) -> Any:
		"""What `request` gives; None when it could not be made, which has then been said."""
		host = urlsplit(self.uri(field)).netloc
		try:
			if host in self.unreachable:
				raise self.unreachable[host]
			return request()
		except OAuthError as error:
			if isinstance(error, TemporaryFailure) and error.code in ("network", "timeout"):
				self.unreachable[host] = error
			self.pass_on("endpoint", field, error)
		return None

	def pass_on(self, check: str, field: str, error: OAuthError) -> None:
		self.error(check, field, localized(error.message), localized(error.action))

	def not_as_such(self, field: str, reply: Reply, level: str = "error") -> None:
		self.say(
			level,
			"endpoint",
			field,
			_("{0} does not answer as an endpoint of its kind does (HTTP {1}).").format(
				self.label(field), reply.status
			),
			_("Compare it with the provider's documentation, or use Get OpenID Configuration."),
		)


def _strings(value: object) -> list[str]:
	return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
