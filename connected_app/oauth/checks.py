"""What is wrong with settings, found out without connecting. Each check is small, and yields findings.

The endpoints are asked with nobody's code and token: nothing is granted, changed or revoked at the provider.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal
from urllib.parse import parse_qs

from . import (
	authorization,
	catalogue,
	client_auth,
	discovery,
	dpop,
	fapi,
	grant_types,
	id_token,
	mtls,
	pushed,
	token_endpoint,
	wire,
)
from . import keys as signing
from .client import Client
from .clock import utc_now
from .errors import ConfigurationError, OAuthError, ReconnectRequired, Sentence, TemporaryFailure
from .net import Reply, Transport
from .paths import split
from .provider import Provider
from .redact import printable

Level = Literal["ok", "warning", "error"]
# Fields of the settings → what metadata documents call them (RFC 8414 2, OIDC Discovery 3).
ENDPOINTS = {
	"issuer": "issuer",
	"authorization_uri": "authorization_endpoint",
	"token_uri": "token_endpoint",
	"revocation_uri": "revocation_endpoint",
	"userinfo_uri": "userinfo_endpoint",
	"introspection_uri": "introspection_endpoint",
	"device_authorization_uri": "device_authorization_endpoint",
	"jwks_uri": "jwks_uri",
}
LABELS = {
	"issuer": "Issuer",
	"authorization_uri": "Authorization URI",
	"token_uri": "Token URI",
	"revocation_uri": "Revocation URI",
	"userinfo_uri": "Userinfo URI",
	"introspection_uri": "Introspection URI",
	"device_authorization_uri": "Device Authorization URI",
	"jwks_uri": "JWKS URI",
}
# Endpoints that one can do without.
OPTIONAL = ("introspection_uri", "device_authorization_uri")
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
# Days before a certificate ends at which it is time to make another.
SOON = 30
# What stands between this site and every provider: said once, and nobody is asked any more.
IN_THE_WAY = ("ca_bundle_unusable", "proxy_unreachable")


@dataclass(frozen=True)
class Finding:
	"""
	:param check: a stable name
	:param field: the setting that it is about; empty for none of them
	:param action: what to do; empty where nothing has to be done
	"""

	level: Level
	check: str
	field: str
	message: str
	action: str = ""


@dataclass
class Subject:
	"""What is checked.

	:param provider: with the metadata that it publishes now, once `published` has run
	:param client: with its secret
	:param openid_configuration: where the metadata document is; empty for none
	:param any_issuer: whether the document may name another issuer than its address
	:param grant: how the first grant is had: one of `templates.GRANTS`
	:param acts_as: on whose behalf the service account's own connection is
	"""

	provider: Provider
	client: Client
	http: Transport
	openid_configuration: str = ""
	any_issuer: bool = False
	grant: str = "consent"
	acts_as: str = ""
	# Hosts that cannot be reached: asking each of their endpoints would only add up time-outs.
	unreachable: dict[str, OAuthError] = field(default_factory=dict)
	in_the_way: OAuthError | None = None

	def supported(self, name: str) -> list[str]:
		"""A list of the provider's metadata; empty where it says nothing."""
		value = self.provider.metadata.get(name)
		return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []

	def ask(self, uri: str, request: Callable[[], Any]) -> Any:
		"""What `request` gives.

		:raises OAuthError: also where the same host could not be reached before
		"""
		host = split(uri).netloc
		if error := self.in_the_way or self.unreachable.get(host):
			raise error
		try:
			return request()
		except OAuthError as error:
			if error.code in IN_THE_WAY:
				self.in_the_way = error
			elif isinstance(error, TemporaryFailure) and error.code in ("network", "timeout"):
				self.unreachable[host] = error
			raise


Check = Callable[[Subject], Iterator[Finding]]


def run(subject: Subject) -> Iterator[Finding]:
	"""All findings about `subject`."""
	for check in CHECKS if subject.grant == "consent" else WITHOUT_CONSENT:
		yield from check(subject)
	if error := subject.in_the_way:
		yield Finding("error", error.code, "", error.message, error.action)


# What the metadata document says


def published(subject: Subject) -> Iterator[Finding]:
	"""The document as the provider publishes it now, against the settings."""
	uri, issuer = subject.openid_configuration, subject.provider.issuer
	if not uri:
		return
	chosen = issuer if "{tenantid}" in issuer else ""
	try:
		metadata = subject.ask(
			uri, lambda: discovery.fetch(uri, subject.http, chosen, any_issuer=subject.any_issuer)
		)
	except OAuthError as error:
		yield from _passed_on(subject, "discovery", "openid_configuration", error)
		return
	yield Finding(
		"ok",
		"discovery",
		"openid_configuration",
		Sentence("The provider's OpenID Configuration can be read."),
	)
	for name, key in ENDPOINTS.items():
		ours, theirs = getattr(subject.provider, name).strip(), getattr(metadata, key)
		# What is not used where no address is set.
		if not theirs or ours == theirs or (not ours and name in OPTIONAL):
			continue
		shown = printable(theirs)
		yield Finding(
			"error" if name == "issuer" and ours else "warning",
			"discovery_differs",
			name,
			Sentence("{0} is not the one that the provider publishes: {1}.", _label(name), shown)
			if ours
			else Sentence("{0} is empty, and the provider publishes one: {1}.", _label(name), shown),
			Sentence("Use Get OpenID Configuration in the form's menu (⋯), and save."),
		)
	subject.provider = replace(subject.provider, metadata=metadata.document)


def code_flow(subject: Subject) -> Iterator[Finding]:
	"""RFC 8414 2: whether the provider offers the authorization code flow."""
	for name, value in (
		("response_types_supported", "code"),
		("grant_types_supported", "authorization_code"),
	):
		if (supported := subject.supported(name)) and value not in supported:
			yield Finding(
				"error",
				name,
				"authorization_uri",
				Sentence("The provider does not offer the authorization code flow."),
				Sentence("Ask the provider which flow is meant for web applications."),
			)


def pushed_requests(subject: Subject) -> Iterator[Finding]:
	"""RFC 9126 5."""
	required = subject.provider.metadata.get("require_pushed_authorization_requests") is True
	if required and subject.client.pushed_requests == "never":
		yield Finding(
			"error",
			"pushed_requests",
			"pushed_requests",
			Sentence("The provider takes only authorization requests that are pushed to it first."),
			Sentence("Set Pushed Requests to Automatic."),
		)
	elif subject.client.pushed_requests == "always" and not pushed.endpoint(subject.provider):
		yield Finding(
			"error",
			"pushed_requests",
			"pushed_requests",
			Sentence("The provider publishes no endpoint for pushed authorization requests."),
			Sentence(
				"Use Get OpenID Configuration in the form's menu (⋯), or set Pushed Requests to Automatic."
			),
		)


def bound_tokens(subject: Subject) -> Iterator[Finding]:
	"""RFC 9449 5.1, RFC 8705 3.3"""
	supported = subject.supported("dpop_signing_alg_values_supported")
	if subject.client.dpop and subject.provider.metadata and dpop.ALGORITHM not in supported:
		yield Finding(
			"error",
			"bound_tokens",
			"dpop",
			Sentence("The provider does not say that it can bind tokens to a key."),
			Sentence("Turn off Bind Tokens to a Key."),
		)
	binds = subject.provider.metadata.get(mtls.BINDS_TOKENS) is True
	if subject.client.certificate_bound and subject.provider.metadata and not binds:
		yield Finding(
			"error",
			"bound_tokens",
			"certificate_bound",
			Sentence("The provider does not say that it can bind tokens to a certificate."),
			Sentence("Turn off Bind Tokens to the Certificate."),
		)


def profile(subject: Subject) -> Iterator[Finding]:
	"""Whether the provider can keep the security profile."""
	if subject.client.profile != fapi.PROFILE:
		return
	lacking = list(fapi.lacking(subject.provider, subject.client))
	for about, what in lacking:
		yield Finding(
			"error",
			"profile",
			about,
			Sentence("The security profile FAPI 2.0 needs what this provider does not offer: {0}.", what),
			Sentence("Ask the provider, or set Security Profile to Standard."),
		)
	if not lacking:
		yield Finding(
			"ok", "profile", "security_profile", Sentence("The provider offers what FAPI 2.0 needs.")
		)


def response_mode(subject: Subject) -> Iterator[Finding]:
	"""The answer comes in the query of the redirect URI (OAuth 2.0 Multiple Response Types 2.1), or is posted to it (OAuth
	2.0 Form Post Response Mode): a fragment never reaches this site."""
	chosen = subject.client.authorization_parameters.get("response_mode", "query")
	supported = subject.supported("response_modes_supported")
	if chosen not in ("query", "form_post") or (
		chosen == "form_post" and supported and chosen not in supported
	):
		yield Finding(
			"error",
			"response_mode",
			"query_parameters",
			Sentence(
				"With response_mode = {0} the provider's answer cannot be read here.", printable(chosen)
			),
			Sentence("Remove the row response_mode from Query Parameters."),
		)
	elif "query" not in supported and "form_post" in supported and chosen == "query":
		yield Finding(
			"error",
			"response_mode",
			"query_parameters",
			Sentence("The provider does not answer in the query of the Redirect URI."),
			Sentence("Add response_mode = form_post to Query Parameters."),
		)
	elif chosen == "query" and supported and chosen not in supported:
		yield Finding(
			"error",
			"response_mode",
			"authorization_uri",
			Sentence("The provider does not answer in the query of the Redirect URI."),
			Sentence("Ask the provider to allow this client the response mode query."),
		)


def pkce(subject: Subject) -> Iterator[Finding]:
	methods = subject.supported("code_challenge_methods_supported")
	if methods and subject.client.use_pkce and "S256" not in methods:
		yield Finding(
			"error",
			"pkce",
			"use_pkce",
			Sentence("The provider does not support PKCE with S256."),
			Sentence("Turn off Use PKCE."),
		)
	elif "S256" in methods and not subject.client.use_pkce:
		yield Finding(
			"warning",
			"pkce",
			"use_pkce",
			Sentence("The provider supports PKCE, and it is turned off here."),
			Sentence("Turn on Use PKCE."),
		)
	elif "S256" in methods:
		yield Finding("ok", "pkce", "use_pkce", Sentence("The provider supports PKCE."))


# What the client is


def client_id(subject: Subject) -> Iterator[Finding]:
	if not subject.client.client_id:
		yield Finding(
			"error",
			"client_id",
			"client_id",
			Sentence("Client ID is missing."),
			Sentence("Create an OAuth client at the provider and enter its ID."),
		)


def authentication(subject: Subject) -> Iterator[Finding]:
	"""Whether the client can prove itself, in a way that the provider supports."""
	how = client_auth.method(subject.provider, subject.client)
	needs_no_secret = ("none", *client_auth.BY_KEY, *client_auth.BY_CERTIFICATE)
	if how not in needs_no_secret and not subject.client.client_secret:
		yield Finding(
			"error",
			"client_secret",
			"client_secret",
			Sentence("Client Secret is missing."),
			Sentence("Enter it, or set Client Authentication to None for a public client."),
		)
	supported = subject.supported("token_endpoint_auth_methods_supported")
	if not supported:
		return
	# Such a secret is sent as any other.
	if how in supported or (how == "signed_client_secret" and "client_secret_post" in supported):
		yield Finding(
			"ok",
			"client_authentication",
			"client_authentication",
			Sentence("The provider supports this way of client authentication."),
		)
	elif how == "none" and subject.client.authentication == "automatic":
		yield Finding(
			"error",
			"client_secret",
			"client_secret",
			Sentence("Client Secret is missing, and the provider does not take clients without one."),
			Sentence("Enter it."),
		)
	else:
		yield Finding(
			"error",
			"client_authentication",
			"client_authentication",
			Sentence(
				"The provider does not support this way of client authentication; it supports: {0}.",
				printable(", ".join(supported)),
			),
			Sentence("Set Client Authentication to Automatic, or to one that the provider supports."),
		)


def signing_key(subject: Subject) -> Iterator[Finding]:
	"""Whether there is a key by which the provider takes signatures, and a certificate to present."""
	signs = client_auth.method(subject.provider, subject.client) in client_auth.BY_KEY
	presents = mtls.is_presented(subject.provider, subject.client)
	if not signs and not presents:
		return
	key = subject.client.signing_key
	if not key:
		yield Finding(
			"error",
			"signing_key",
			"keys_html",
			Sentence("There is no signing key in use."),
			Sentence("Make one under Keys, register it at the provider, and click Use New Key."),
		)
		return
	try:
		if signs:
			signing.algorithm_for(key, client_auth.signing_algorithms(subject.provider))
		if presents:
			mtls.certificate_of(subject.client)
	except ConfigurationError as error:
		yield Finding("error", "signing_key", "keys_html", error.message, error.action)
		if error.code == "certificate_expired":
			return
	if key.certificate and (key.expires_at() - utc_now()).days < SOON:
		yield Finding(
			"warning",
			"signing_key",
			"keys_html",
			Sentence("The certificate of the key in use ends on {0}.", key.expires_at().date().isoformat()),
			Sentence("Make a new key, register it at the provider, and click Use New Key."),
		)


def scopes(subject: Subject) -> Iterator[Finding]:
	supported = subject.supported("scopes_supported")
	unknown = [scope for scope in subject.client.scopes if supported and scope not in supported]
	if unknown:
		yield Finding(
			"warning",
			"scopes",
			"scopes",
			Sentence("The provider does not list these scopes: {0}.", ", ".join(unknown)),
			Sentence("Check how the provider's documentation spells them."),
		)
	elif supported and subject.client.scopes:
		yield Finding("ok", "scopes", "scopes", Sentence("The provider knows all of these scopes."))


def identity(subject: Subject) -> Iterator[Finding]:
	"""Whether ID tokens can be checked."""
	if "openid" not in subject.client.scopes:
		return
	if not subject.provider.issuer:
		yield Finding(
			"warning",
			"issuer",
			"issuer",
			Sentence("Without Issuer, the provider's statement about who was connected is not checked."),
			Sentence("Use Get OpenID Configuration in the form's menu (⋯), or enter the Issuer."),
		)
		return
	if not subject.provider.jwks_uri:
		yield Finding(
			"warning",
			"jwks_uri",
			"jwks_uri",
			Sentence("Without JWKS URI, the signature of ID tokens is not checked."),
			Sentence("Use Get OpenID Configuration in the form's menu (⋯), or enter the JWKS URI."),
		)
	supported = subject.supported("id_token_signing_alg_values_supported")
	allowed = id_token.ASYMMETRIC + (id_token.SYMMETRIC if subject.client.client_secret else ())
	if supported and not set(supported).intersection(allowed):
		yield Finding(
			"error",
			"id_token_algorithm",
			"issuer",
			Sentence(
				"The provider signs ID tokens only in ways that are not accepted here: {0}.",
				printable(", ".join(supported)),
			),
			Sentence("Set RS256 for this client at the provider, or remove the scope openid."),
		)


def offline(subject: Subject) -> Iterator[Finding]:
	"""Whether there will be a refresh token: without one, a connection ends with its first access token."""
	host = split(subject.provider.authorization_uri).hostname or ""
	needed, sent = OFFLINE_PARAMETERS.get(host, {}), subject.client.authorization_parameters
	missing = [f"{key} = {value}" for key, value in needed.items() if sent.get(key) != value]
	if missing:
		yield Finding(
			"warning",
			"offline",
			"query_parameters",
			Sentence("This provider gives no refresh token without the parameters {0}.", ", ".join(missing)),
			Sentence(
				"Add them to Query Parameters, or the connection ends when its first access token expires."
			),
		)
	wanted = host in OFFLINE_SCOPE_HOSTS or (
		"offline_access" in subject.supported("scopes_supported") and not needed
	)
	if wanted and "offline_access" not in subject.client.scopes:
		yield Finding(
			"warning",
			"offline",
			"scopes",
			Sentence("Without the scope offline_access this provider may give no refresh token."),
			Sentence(
				"Add offline_access to Scopes, or the connection ends when its first access token expires."
			),
		)


def offline_consent(subject: Subject) -> Iterator[Finding]:
	"""OIDC Core 11: offline_access may be ignored unless the person is asked. Providers that say which prompts they know
	(Initiating User Registration 1.0, 5) follow the letter."""
	asked = subject.client.authorization_parameters.get("prompt", "").split()
	if (
		"offline_access" in subject.client.scopes
		and "consent" in subject.supported("prompt_values_supported")
		and "consent" not in asked
	):
		yield Finding(
			"warning",
			"offline_consent",
			"query_parameters",
			Sentence("This provider may ignore offline_access unless prompt = consent is sent along."),
			Sentence(
				"Add prompt = consent to Query Parameters, or the connection may end when its first access token expires."
			),
		)


# What the endpoints answer


def token_uri(subject: Subject) -> Iterator[Finding]:
	yield from endpoints(subject, "token_uri")


def service_account(subject: Subject) -> Iterator[Finding]:
	"""Whether the provider takes the service account's assertion: a token is had, and not kept."""
	provider, client = subject.provider, subject.client
	if subject.grant != "service_account" or not (provider.token_uri and client.client_id):
		return
	if not client.signing_key:
		error: OAuthError = catalogue.error("service_key_missing")
		yield Finding("error", error.code, "grant_type", error.message, error.action)
		return
	form = grant_types.JwtBearer(subject.acts_as).form(provider, client, None)
	try:
		subject.ask(provider.token_uri, lambda: token_endpoint.request(provider, client, form, subject.http))
	except OAuthError as error:
		yield from _passed_on(subject, "service_account", FIELDS.get(error.code, "grant_type"), error)
		return
	yield Finding(
		"ok", "service_account", "grant_type", Sentence("The provider accepts the service account.")
	)


def exchange(subject: Subject) -> Iterator[Finding]:
	"""What of the token endpoint can be said without a token to exchange."""
	if subject.grant == "token_exchange":
		for check in (authentication, signing_key, tokens):
			yield from check(subject)


def endpoints(subject: Subject, *names: str) -> Iterator[Finding]:
	for name in names or ("authorization_uri", "token_uri"):
		if not getattr(subject.provider, name):
			yield Finding(
				"error",
				"endpoint_missing",
				name,
				Sentence("{0} is missing.", _label(name)),
				Sentence(
					"Use Get OpenID Configuration in the form's menu (⋯), or take it from the provider's documentation."
				),
			)


def consent_page(subject: Subject) -> Iterator[Finding]:
	provider, client = subject.provider, subject.client
	if not (provider.authorization_uri and client.client_id and provider.token_uri):
		return
	if client.profile and any(fapi.lacking(provider, client)):
		# Nothing is asked then.
		return
	try:
		reply: Reply = subject.ask(
			provider.authorization_uri,
			lambda: subject.http.get(
				authorization.begin(provider, client, http=subject.http)[0], {"Accept": "text/html"}
			),
		)
	except OAuthError as error:
		yield from _passed_on(subject, "endpoint", "authorization_uri", error)
		return
	location = reply.headers.get("location", "")
	if client.redirect_uri and location.startswith(client.redirect_uri):
		claims = {key: values[0] for key, values in parse_qs(split(location).query).items()}
		if "error" in claims and claims["error"] not in ("login_required", "interaction_required"):
			refusal = token_endpoint.error_from(claims)
			about = FIELDS.get(refusal.code, "authorization_uri")
			yield from _passed_on(subject, "authorization", about, refusal)
			return
	elif reply.status in (400, 401, 403):
		yield Finding(
			"warning",
			"authorization",
			"authorization_uri",
			Sentence("The provider's consent page refuses this client (HTTP {0}).", reply.status),
			Sentence("Check Client ID, and that exactly this Redirect URI is registered at the provider."),
		)
		return
	elif reply.status >= 400:
		yield _of_another_kind("authorization_uri", reply)
		return
	yield Finding(
		"ok", "authorization", "authorization_uri", Sentence("The provider's consent page answers.")
	)


def tokens(subject: Subject) -> Iterator[Finding]:
	"""Whether Token URI answers a request without credentials with an OAuth error (RFC 6749 5.2), and takes ours."""
	uri = subject.provider.token_uri
	if not uri:
		return
	try:
		reply: Reply = subject.ask(uri, lambda: _knock(subject, uri, {"grant_type": "authorization_code"}))
	except OAuthError as error:
		yield from _passed_on(subject, "endpoint", "token_uri", error)
		return
	if _is_elsewhere(reply) or not reply.json_object():
		yield _of_another_kind("token_uri", reply)
		return
	yield Finding("ok", "token", "token_uri", Sentence("The token endpoint answers."))
	yield from credentials(subject)


def credentials(subject: Subject) -> Iterator[Finding]:
	"""Offer nobody's code: a provider that knows the client says so by refusing the code (RFC 6749 5.2)."""
	provider, client = subject.provider, subject.client
	try:
		client_auth.authenticate(provider, client, {}, {})
	except ConfigurationError:
		return
	form = {"grant_type": "authorization_code", "code": NOBODYS, "redirect_uri": client.redirect_uri}
	if client.use_pkce:
		form["code_verifier"] = NOBODYS * 3
	try:
		token_endpoint.request(provider, client, form, subject.http)
	except ReconnectRequired:
		yield Finding(
			"ok",
			"credentials",
			"client_secret",
			Sentence("The provider accepts Client ID and Client Secret."),
		)
	except ConfigurationError as error:
		# What else there is may be about the code, which is nobody's.
		if error.code in FIELDS:
			yield from _passed_on(subject, "credentials", FIELDS[error.code], error)
	except TemporaryFailure:
		pass


def keys(subject: Subject) -> Iterator[Finding]:
	uri, key_sets = subject.provider.jwks_uri, id_token.KeySets()
	if not uri:
		return
	try:
		found = subject.ask(
			uri,
			lambda: [
				key
				for algorithm in ("RS256", "ES256", "EdDSA")
				for key in key_sets.find(uri, None, algorithm, subject.http)
			],
		)
	except OAuthError as error:
		yield from _passed_on(subject, "endpoint", "jwks_uri", error)
		return
	if found:
		yield Finding("ok", "jwks", "jwks_uri", Sentence("The provider's signing keys can be read."))
	else:
		yield Finding(
			"error",
			"jwks",
			"jwks_uri",
			Sentence("There is no key at JWKS URI that can be used."),
			Sentence("Check JWKS URI in the provider's documentation."),
		)


def other_endpoints(subject: Subject) -> Iterator[Finding]:
	"""Whether an endpoint is there: it refuses a request without a usable token, but not as a page would."""
	for name in ("userinfo_uri", "revocation_uri", "introspection_uri"):
		uri: str = getattr(subject.provider, name)
		# Nobody's token, or no client ID, in the place of a placeholder would lead elsewhere.
		if not uri or wire.placeholders(uri):
			continue
		try:
			form = None if name == "userinfo_uri" else {"token": NOBODYS}
			reply: Reply = subject.ask(uri, partial(_knock, subject, uri, form))
		except OAuthError as error:
			yield from _passed_on(subject, "endpoint", name, error)
			continue
		page = reply.status < 400 and reply.content_type in ("text/html", "application/xhtml+xml")
		if _is_elsewhere(reply) or page:
			yield _of_another_kind(name, reply, "warning")
		else:
			yield Finding("ok", "endpoint", name, Sentence("{0} answers.", _label(name)))


CHECKS: tuple[Check, ...] = (
	published,
	client_id,
	authentication,
	signing_key,
	scopes,
	code_flow,
	pushed_requests,
	bound_tokens,
	profile,
	response_mode,
	pkce,
	identity,
	endpoints,
	consent_page,
	tokens,
	keys,
	other_endpoints,
	offline,
	offline_consent,
)


# Nobody is sent to the provider, and comes back.
WITHOUT_CONSENT: tuple[Check, ...] = (
	published,
	client_id,
	scopes,
	profile,
	token_uri,
	service_account,
	exchange,
	other_endpoints,
)


def _knock(subject: Subject, uri: str, form: dict[str, str] | None) -> Reply:
	"""POST `form` to an endpoint, or ask it by GET. With the client's certificate, without which some let nobody in."""
	try:
		uri, http = mtls.at(subject.provider, subject.client, uri, subject.http)
	except ConfigurationError:
		# What is wrong with the certificate is said by another check.
		http = subject.http
	return http.get(uri) if form is None else http.post(uri, form)


def _label(name: str) -> Sentence:
	return Sentence(LABELS[name])


def _is_elsewhere(reply: Reply) -> bool:
	return reply.status in (404, 405) or reply.status >= 500 or 300 <= reply.status < 400


def _passed_on(subject: Subject, check: str, name: str, error: OAuthError) -> Iterator[Finding]:
	if error is not subject.in_the_way:
		yield Finding("error", check, name, error.message, error.action)


def _of_another_kind(name: str, reply: Reply, level: Level = "error") -> Finding:
	return Finding(
		level,
		"endpoint",
		name,
		Sentence("{0} did not respond like this kind of endpoint (HTTP {1}).", _label(name), reply.status),
		Sentence(
			"Compare it with the provider's documentation, or use Get OpenID Configuration in the form's menu (⋯)."
		),
	)
