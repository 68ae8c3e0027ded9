"""Checks that ask the endpoints, with a code and a token that belong to nobody: nothing is granted, changed or revoked."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from urllib.parse import parse_qs

from . import authorization, catalogue, client_auth, fapi, grant_types, id_token, mtls, token_endpoint, wire
from .client_checks import authentication, signing_key
from .errors import ConfigurationError, OAuthError, ReconnectRequired, Sentence, TemporaryFailure
from .findings import FIELDS, Finding, Level, Subject, label, passed_on
from .paths import split
from .reply import Reply

# Belongs to nobody: an endpoint that works refuses it.
NOBODYS = "connected-app-check"


def token_uri(subject: Subject) -> Iterator[Finding]:
	yield from endpoints(subject, "token_uri")


def service_account(subject: Subject) -> Iterator[Finding]:
	"""Whether the provider accepts the service account's assertion. The token that it gives is not kept."""
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
		yield from passed_on(subject, "service_account", FIELDS.get(error.code, "grant_type"), error)
		return
	yield Finding(
		"ok", "service_account", "grant_type", Sentence("The provider accepts the service account.")
	)


def exchange(subject: Subject) -> Iterator[Finding]:
	"""As much of a token exchange as can be checked without a token to exchange."""
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
				Sentence("{0} is missing.", label(name)),
				Sentence(
					"Use Get OpenID Configuration in the form's menu (⋯), or take it from the provider's documentation."
				),
			)


def consent_page(subject: Subject) -> Iterator[Finding]:
	provider, client = subject.provider, subject.client
	if not (provider.authorization_uri and client.client_id and provider.token_uri):
		return
	if client.profile and any(fapi.lacking(provider, client)):
		# No attempt can begin.
		return
	try:
		reply: Reply = subject.ask(
			provider.authorization_uri,
			lambda: subject.http.get(
				authorization.begin(provider, client, http=subject.http)[0], {"Accept": "text/html"}
			),
		)
	except OAuthError as error:
		yield from passed_on(subject, "endpoint", "authorization_uri", error)
		return
	location = reply.headers.get("location", "")
	if client.redirect_uri and location.startswith(client.redirect_uri):
		claims = {key: values[0] for key, values in parse_qs(split(location).query).items()}
		if "error" in claims and claims["error"] not in ("login_required", "interaction_required"):
			refusal = token_endpoint.error_from(claims)
			about = FIELDS.get(refusal.code, "authorization_uri")
			yield from passed_on(subject, "authorization", about, refusal)
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
	"""Whether Token URI answers a request without credentials with an OAuth error (RFC 6749 5.2), and accepts ours."""
	uri = subject.provider.token_uri
	if not uri:
		return
	try:
		reply: Reply = subject.ask(uri, lambda: _knock(subject, uri, {"grant_type": "authorization_code"}))
	except OAuthError as error:
		yield from passed_on(subject, "endpoint", "token_uri", error)
		return
	if _is_elsewhere(reply) or not reply.json_object():
		yield _of_another_kind("token_uri", reply)
		return
	yield Finding("ok", "token", "token_uri", Sentence("The token endpoint answers."))
	yield from credentials(subject)


def credentials(subject: Subject) -> Iterator[Finding]:
	"""Send a code that belongs to nobody: a provider that accepts the client refuses only the code (RFC 6749 5.2)."""
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
		# Other errors may be about the code.
		if error.code in FIELDS:
			yield from passed_on(subject, "credentials", FIELDS[error.code], error)
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
		yield from passed_on(subject, "endpoint", "jwks_uri", error)
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
	"""Whether an endpoint is there: it refuses a request without a usable token, but does not answer like a web page."""
	for name in ("userinfo_uri", "revocation_uri", "introspection_uri"):
		uri: str = getattr(subject.provider, name)
		# Without a real token or client ID in its placeholder, the address would lead elsewhere.
		if not uri or wire.placeholders(uri):
			continue
		try:
			form = None if name == "userinfo_uri" else {"token": NOBODYS}
			reply: Reply = subject.ask(uri, partial(_knock, subject, uri, form))
		except OAuthError as error:
			yield from passed_on(subject, "endpoint", name, error)
			continue
		page = reply.status < 400 and reply.content_type in ("text/html", "application/xhtml+xml")
		if _is_elsewhere(reply) or page:
			yield _of_another_kind(name, reply, "warning")
		else:
			yield Finding("ok", "endpoint", name, Sentence("{0} answers.", label(name)))


def _knock(subject: Subject, uri: str, form: dict[str, str] | None) -> Reply:
	"""POST `form` to an endpoint, or send a GET; with the client's certificate, which some servers require."""
	try:
		uri, http = mtls.at(subject.provider, subject.client, uri, subject.http)
	except ConfigurationError:
		# Another check reports what is wrong with the certificate.
		http = subject.http
	return http.get(uri) if form is None else http.post(uri, form)


def _is_elsewhere(reply: Reply) -> bool:
	return reply.status in (404, 405) or reply.status >= 500 or 300 <= reply.status < 400


def _of_another_kind(name: str, reply: Reply, level: Level = "error") -> Finding:
	return Finding(
		level,
		"endpoint",
		name,
		Sentence("{0} did not respond like this kind of endpoint (HTTP {1}).", label(name), reply.status),
		Sentence(
			"Compare it with the provider's documentation, or use Get OpenID Configuration in the form's menu (⋯)."
		),
	)
