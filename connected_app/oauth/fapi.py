"""The FAPI 2.0 Security Profile (Final), 5.3.2 and 5.3.3: what a client under it does, and wants of its provider.

In the variant private_key_jwt with DPoP.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from . import catalogue, client_auth, dpop
from .client import Client, Settings
from .errors import Sentence
from .provider import Provider
from .shape import FORM

PROFILE = "fapi 2.0"
# 5.4.1; EdDSA is Ed25519 there.
ALGORITHMS = ("PS256", "ES256", "EdDSA", "Ed25519")
ID_TOKENS = "id_token_signing_alg_values_supported"


def held(provider: Provider, client: Client) -> Settings:
	"""The settings as the profile has them, whatever they were: none of them can be weaker."""
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
			authentication="private_key_jwt",
			pushed_requests="always",
			dpop=True,
			use_pkce=True,
		),
	)


def lacking(provider: Provider) -> Iterator[tuple[str, str]]:
	"""What the profile wants of a provider, and this one does not offer by its metadata.

	:returns: for each: a field of the settings that it is about, and what is lacking
	"""

	def lists(name: str, *wanted: str) -> bool:
		offered = provider.metadata.get(name)
		return isinstance(offered, list) and any(each in offered for each in wanted)

	if not provider.issuer:
		yield "issuer", Sentence("an Issuer")
	if not provider.metadata.get("pushed_authorization_request_endpoint"):
		yield "pushed_requests", Sentence("pushed authorization requests")
	if not lists("token_endpoint_auth_methods_supported", "private_key_jwt"):
		yield "client_authentication", Sentence("the client authentication private_key_jwt")
	if not lists("dpop_signing_alg_values_supported", dpop.ALGORITHM):
		yield "dpop", Sentence("tokens that are bound to a key")
	if not lists("code_challenge_methods_supported", "S256"):
		yield "use_pkce", Sentence("PKCE with S256")
	if provider.metadata.get("authorization_response_iss_parameter_supported") is not True:
		yield "issuer", Sentence("its name in the answer (iss)")


def check(provider: Provider, client: Client) -> None:
	"""
	:raises ConfigurationError: `profile_unmet`, under the profile, where the provider cannot keep it
	"""
	if client.profile != PROFILE:
		return
	if missing := next(lacking(provider), None):
		raise catalogue.error("profile_unmet", missing[1])


def _allowed(provider: Provider, name: str) -> list[str]:
	offered = provider.metadata.get(name)
	return [each for each in ALGORITHMS if not isinstance(offered, list) or each in offered]
