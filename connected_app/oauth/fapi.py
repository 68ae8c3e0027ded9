"""The FAPI 2.0 Security Profile (Final), 5.3.2 and 5.3.3: what a client must do, and what its provider must support.

In its four variants: the client authenticates by private_key_jwt or by a certificate, and tokens are bound to a key (DPoP)
or to a certificate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from . import catalogue, client_auth, dpop, mtls
from .client import Client, Settings
from .errors import Sentence
from .provider import Provider
from .shape import FORM

PROFILE = "fapi 2.0"
# 5.4.1; EdDSA is Ed25519 there.
ALGORITHMS = ("PS256", "ES256", "EdDSA", "Ed25519")
ID_TOKENS = "id_token_signing_alg_values_supported"
# 5.3.2.1; any other method becomes the first of these.
AUTHENTICATION = {
	"private_key_jwt": Sentence("the client authentication private_key_jwt"),
	"tls_client_auth": Sentence("the client authentication tls_client_auth"),
	"self_signed_tls_client_auth": Sentence("the client authentication self_signed_tls_client_auth"),
}


def held(provider: Provider, client: Client) -> Settings:
	"""The settings made as strict as the profile requires."""
	strict = {name: _allowed(provider, name) for name in (ID_TOKENS, client_auth.SIGNING_ALGORITHMS)}
	metadata = {
		**provider.metadata,
		# An empty list would mean that the provider does not say.
		**{name: algorithms or list(ALGORITHMS[:1]) for name, algorithms in strict.items()},
		"authorization_response_iss_parameter_supported": True,
	}
	quirks = replace(
		provider.quirks,
		assertion_audience="issuer",
		nonce_is_required=True,
		other_audiences=False,
		renewal_authentication="",
		token_request=FORM,
		trade=None,
		retrade=None,
	)
	return Settings(
		replace(provider, metadata=metadata, quirks=quirks),
		replace(
			client,
			profile=PROFILE,
			authentication=authentication(client.authentication),
			pushed_requests="always",
			dpop=not client.certificate_bound,
			use_pkce=True,
		),
	)


def authentication(chosen: str) -> str:
	"""The client authentication under the profile, if `chosen` is set."""
	return chosen if chosen in AUTHENTICATION else next(iter(AUTHENTICATION))


def lacking(provider: Provider, client: Client) -> Iterator[tuple[str, str]]:
	"""What the profile requires of a provider, in the client's variant, and this provider's metadata do not offer.

	:returns: for each: the field of the settings that it is about, and what is missing
	"""

	def lists(name: str, *wanted: str) -> bool:
		offered = provider.metadata.get(name)
		return isinstance(offered, list) and any(each in offered for each in wanted)

	if not provider.issuer:
		yield "issuer", Sentence("an Issuer")
	if not provider.metadata.get("pushed_authorization_request_endpoint"):
		yield "pushed_requests", Sentence("pushed authorization requests")
	proof = authentication(client.authentication)
	if not lists("token_endpoint_auth_methods_supported", proof):
		yield "client_authentication", AUTHENTICATION[proof]
	if client.certificate_bound:
		if provider.metadata.get(mtls.BINDS_TOKENS) is not True:
			yield "certificate_bound", Sentence("tokens that are bound to a certificate")
	elif not lists("dpop_signing_alg_values_supported", dpop.ALGORITHM):
		yield "dpop", Sentence("tokens that are bound to a key")
	if not lists("code_challenge_methods_supported", "S256"):
		yield "use_pkce", Sentence("PKCE with S256")
	if provider.metadata.get("authorization_response_iss_parameter_supported") is not True:
		yield "issuer", Sentence("its name in the answer (iss)")


def check(provider: Provider, client: Client) -> None:
	"""
	:raises ConfigurationError: `profile_unmet`, under the profile, if the provider does not support it
	"""
	if client.profile != PROFILE:
		return
	if missing := next(lacking(provider, client), None):
		raise catalogue.error("profile_unmet", missing[1])


def _allowed(provider: Provider, name: str) -> list[str]:
	offered = provider.metadata.get(name)
	return [each for each in ALGORITHMS if not isinstance(offered, list) or each in offered]
