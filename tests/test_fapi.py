"""The FAPI 2.0 Security Profile: what it holds settings to, and providers that cannot keep it."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from connected_app.oauth import (
	ConfigurationError,
	Http,
	Settings,
	begin,
	client_auth,
	fapi,
	keys,
	metadata_checks,
	mtls,
)
from connected_app.oauth.findings import Subject
from connected_app.oauth.provider import Quirks, Trade
from connected_app.oauth.shape import QUERY

from .helpers import NOW, OpenIDProvider, changed

OFFERS: dict[str, Any] = {
	"token_endpoint_auth_methods_supported": ["client_secret_basic", "private_key_jwt"],
	"dpop_signing_alg_values_supported": ["ES256", "PS256"],
	"code_challenge_methods_supported": ["S256"],
	"authorization_response_iss_parameter_supported": True,
	"id_token_signing_alg_values_supported": ["RS256", "ES256"],
}
WEAK: dict[str, Any] = {
	"use_pkce": False,
	"authentication": "client_secret_post",
	"pushed_requests": "never",
	"dpop": False,
	"quirks": Quirks(
		nonce_is_required=False,
		other_audiences=True,
		assertion_audience="token",
		renewal_authentication="none",
		token_request=QUERY,
		trade=Trade(url="https://p.example/trade"),
		headers={"X-Bank": "1"},
	),
}


def offering(settings: Settings, **changes: Any) -> Settings:
	"""At a provider that can keep the profile, but for `changes` of its metadata; None leaves one out."""
	metadata = {
		**OFFERS,
		"pushed_authorization_request_endpoint": settings.provider.token_uri + "/par",
		**changes,
	}
	return changed(settings, metadata={name: value for name, value in metadata.items() if value is not None})


def test_nothing_weaker(config: Settings) -> None:
	"""Whatever was set, and whatever a template says: what is left is the provider's headers."""
	provider, client = fapi.held(*offering(changed(config, **WEAK)))
	assert (client.use_pkce, client.authentication, client.pushed_requests, client.dpop) == (
		True,
		"private_key_jwt",
		"always",
		True,
	)
	strict = Quirks(headers={"X-Bank": "1"})
	assert provider.quirks == strict
	assert provider.promises_iss
	assert provider.metadata["id_token_signing_alg_values_supported"] == ["ES256"]


@pytest.mark.parametrize("authentication", [*client_auth.METHODS, "automatic"])
@pytest.mark.parametrize("certificate_bound", [False, True])
def test_variants(authentication: str, certificate_bound: bool, config: Settings) -> None:
	"""5.3.2.1: by a key or a certificate, and tokens that are bound to one of them; all else becomes private_key_jwt with
	DPoP."""
	settings = changed(config, authentication=authentication, certificate_bound=certificate_bound)
	_provider, client = fapi.held(*settings)
	strong = ("private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth")
	assert client.authentication == (authentication if authentication in strong else "private_key_jwt")
	assert (client.dpop, client.certificate_bound) == (not certificate_bound, certificate_bound)


@pytest.mark.parametrize(
	("changes", "offers", "fields"),
	[
		({"authentication": "tls_client_auth"}, {}, ["client_authentication"]),
		({"authentication": "self_signed_tls_client_auth"}, {}, ["client_authentication"]),
		(
			{"authentication": "tls_client_auth"},
			{"token_endpoint_auth_methods_supported": ["tls_client_auth"]},
			[],
		),
		({"certificate_bound": True}, {}, ["certificate_bound"]),
		({"certificate_bound": True}, {mtls.BINDS_TOKENS: "true"}, ["certificate_bound"]),
		(
			{"certificate_bound": True},
			{mtls.BINDS_TOKENS: True, "dpop_signing_alg_values_supported": None},
			[],
		),
	],
)
def test_lacking_in_a_variant(
	changes: dict[str, Any], offers: dict[str, Any], fields: list[str], config: Settings
) -> None:
	settings = changed(offering(changed(config, issuer="https://op.example"), **offers), **changes)
	assert [field for field, _what in fapi.lacking(*settings)] == fields


@pytest.mark.parametrize(
	("name", "value", "field"),
	[
		("pushed_authorization_request_endpoint", None, "pushed_requests"),
		("token_endpoint_auth_methods_supported", ["client_secret_basic"], "client_authentication"),
		("token_endpoint_auth_methods_supported", None, "client_authentication"),
		("dpop_signing_alg_values_supported", None, "dpop"),
		("dpop_signing_alg_values_supported", ["RS256"], "dpop"),
		("code_challenge_methods_supported", ["plain"], "use_pkce"),
		("authorization_response_iss_parameter_supported", None, "issuer"),
		("issuer", "", "issuer"),
	],
)
def test_lacking(name: str, value: Any, field: str, op: OpenIDProvider, http: Http) -> None:
	"""Check Configuration says what is lacking, and at which field; nothing is begun (but for `iss`, which shows in the
	answer)."""
	settings = (
		changed(offering(op.config), issuer="") if name == "issuer" else offering(op.config, **{name: value})
	)
	assert [each for each, _what in fapi.lacking(*settings)] == [field]
	held = fapi.held(*settings)
	found = list(metadata_checks.profile(Subject(settings.provider, held.client, http)))
	assert [(each.level, each.field) for each in found] == [("error", field)]
	if name != "authorization_response_iss_parameter_supported":
		with pytest.raises(ConfigurationError) as caught:
			begin(*held, http=http)
		assert caught.value.code == "profile_unmet"
	assert op.server.requests == []


def test_nothing_lacks(op: OpenIDProvider, http: Http) -> None:
	held = fapi.held(*offering(op.config))
	assert [each.level for each in metadata_checks.profile(Subject(held.provider, held.client, http))] == [
		"ok"
	]
	assert list(metadata_checks.profile(Subject(*op.config, http))) == []


def test_answers(op: OpenIDProvider) -> None:
	"""5.3.3: an ID token by RS256, or an answer without `iss`, is rejected though the provider's metadata allow it."""
	op.config = changed(op.config, metadata=fapi.held(*offering(op.config)).provider.metadata)
	op.refuses("id_token_algorithm")
	op.refuses("issuer_mismatch", callback=op.callback(iss=None))


@pytest.mark.parametrize(
	("made", "supported", "algorithm"),
	[
		("ES256", None, "ES256"),
		("PS256", ["RS256", "PS256"], "PS256"),
		("RS256", ["RS256", "PS256"], "PS256"),
		("RS256", None, "PS256"),
		("PS256", ["RS256"], "PS256"),
	],
)
def test_assertions(made: str, supported: Any, algorithm: str, config: Settings) -> None:
	"""5.4.1: never by RS256, even with a key that was made for it, or where the provider offers nothing else."""
	settings = offering(
		changed(config, signing_key=keys.generate(made, "test", NOW), issuer="https://op.example"),
		token_endpoint_auth_signing_alg_values_supported=supported,
	)
	form: dict[str, str] = {}
	client_auth.authenticate(*fapi.held(*settings), form, {})
	assert jwt.get_unverified_header(form["client_assertion"])["alg"] == algorithm
	claims = jwt.decode(form["client_assertion"], options={"verify_signature": False})
	assert claims["aud"] == "https://op.example"
