"""Checks of the settings against the provider's metadata."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from . import discovery, dpop, fapi, mtls, pushed
from .errors import OAuthError, Sentence
from .findings import Finding, Subject, label, passed_on
from .redact import printable

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
# Endpoints that an app may leave out.
OPTIONAL = ("introspection_uri", "device_authorization_uri")


def published(subject: Subject) -> Iterator[Finding]:
	"""The settings against the document that the provider publishes now."""
	uri, issuer = subject.openid_configuration, subject.provider.issuer
	if not uri:
		return
	chosen = issuer if "{tenantid}" in issuer else ""
	try:
		metadata = subject.ask(
			uri, lambda: discovery.fetch(uri, subject.http, chosen, any_issuer=subject.any_issuer)
		)
	except OAuthError as error:
		yield from passed_on(subject, "discovery", "openid_configuration", error)
		return
	yield Finding(
		"ok",
		"discovery",
		"openid_configuration",
		Sentence("The provider's OpenID Configuration can be read."),
	)
	for name, key in ENDPOINTS.items():
		ours, theirs = getattr(subject.provider, name).strip(), getattr(metadata, key)
		# Optional endpoints are not used while they are empty.
		if not theirs or ours == theirs or (not ours and name in OPTIONAL):
			continue
		shown = printable(theirs)
		yield Finding(
			"error" if name == "issuer" and ours else "warning",
			"discovery_differs",
			name,
			Sentence("{0} is not the one that the provider publishes: {1}.", label(name), shown)
			if ours
			else Sentence("{0} is empty, and the provider publishes one: {1}.", label(name), shown),
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
	"""Whether the provider supports the security profile."""
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
	"""The answer must come in the query of the redirect URI (OAuth 2.0 Multiple Response Types 2.1) or be posted to it (OAuth
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
