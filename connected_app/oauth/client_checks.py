"""Checks of the client: how it proves itself, and what it asks for."""

from __future__ import annotations

from collections.abc import Iterator

from . import client_auth, id_token, keys, mtls
from .clock import utc_now
from .errors import ConfigurationError, Sentence
from .findings import Finding, Subject
from .paths import split
from .redact import printable
from .templates import Template

# Days before a certificate ends at which it is time to make another.
SOON = 30


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
	"""Whether the client can authenticate, by a method that the provider supports."""
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
	# A secret that the client signs itself is sent like any other.
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
	"""Whether there is a key that can sign for this provider, and a certificate to present."""
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
			keys.algorithm_for(key, client_auth.signing_algorithms(subject.provider))
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
	template = _with_offline(subject)
	names = template["offline"] if template else []
	parameters = (template["parameters"] or {}) if template else {}
	needed = {name: parameters[name] for name in names if name in parameters}
	sent = subject.client.authorization_parameters
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
	wanted = "offline_access" in names or (
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


def _with_offline(subject: Subject) -> Template | None:
	"""The template that says what the provider at this consent page needs before it gives a refresh token."""
	host = split(subject.provider.authorization_uri).hostname
	found = (each for each in subject.templates if each["offline"] and each["authorize"])
	return next((each for each in found if host and split(each["authorize"]).hostname == host), None)


def offline_consent(subject: Subject) -> Iterator[Finding]:
	"""OIDC Core 11: a provider may ignore offline_access unless the user is asked for consent. Providers that list their
	prompts (Initiating User Registration 1.0, 5) take this literally."""
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
