"""The OpenID Foundation's client plan fapi2-security-profile-final-client-test, module by module, under *Security Profile*
FAPI 2.0: a provider that keeps the profile, but for the one thing that the module's name says.

The happy paths are in `test_certified.py`, at the certified provider.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import jwt
import pytest

from connected_app.oauth import ConfigurationError, Http, Refresher, Session, begin, discovery, fapi, keys

from .helpers import ACCESS_TOKEN, OpenIDProvider, changed, consent_parameters, ec_key, part
from .hostile import Answer, Hostile, as_json
from .stores import MemoryStore
from .test_fapi import OFFERS

KEY = keys.generate("PS256", "test", datetime.now(timezone.utc))


class FapiProvider(OpenIDProvider):
	"""Takes pushed requests, signs by ES256, binds tokens, and says who it is in its answers."""

	def __init__(self, server: Hostile, http: Http) -> None:
		super().__init__(server, http)
		server.script("/par", as_json({"request_uri": "urn:example:1", "expires_in": 60}, 201))
		metadata = {**OFFERS, "pushed_authorization_request_endpoint": server.url + "/par"}
		strong = changed(self.config, metadata=metadata, signing_key=KEY, client_secret=None)
		self.config = fapi.held(*strong)
		self.begin()

	def begin(self, **changes: Any) -> str:
		self.config = changed(self.config, **changes)
		url, self.attempt = begin(*self.config, http=self.http, clock=self.clock)
		return url

	def serve_keys(self, *names: tuple[str, str | None]) -> None:
		jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(ec_key("op").public_key()))
		self.server.script(
			"/jwks", as_json({"keys": [{**jwk, "use": "sig", "alg": "ES256", "kid": "kid-a"}]})
		)

	def id_token(self, without: tuple[str, ...] = (), **changes: Any) -> str:
		standard = {"key": ec_key("op"), "algorithm": "ES256"}
		return super().id_token(without, **{**standard, **changes})

	def connect(self, id_token: str | None = None, **answer: Any) -> Any:
		return super().connect(id_token, **{"token_type": "DPoP", **answer})

	def refuses_answer(self, code: str, **callback: Any) -> None:
		"""An authorization response is refused before its code is sent to anybody."""
		self.refuses(code, callback=self.callback(**callback))
		assert self.server.to("/token") == []


@pytest.fixture
def op(server: Hostile, http: Http) -> FapiProvider:
	return FapiProvider(server, http)


def test_what_every_module_looks_at(op: FapiProvider) -> None:
	"""The request is pushed, authenticated by an assertion as 5.3.2.1 wants it, and nothing else is in the address; the code
	is exchanged with a proof by the key that was named then."""
	parameters = consent_parameters(op.begin())
	assert parameters == {"client_id": "client", "request_uri": "urn:example:1"}
	pushed = op.server.to("/par")[-1].form
	assert op.connect().account
	exchanged = op.server.to("/token")[-1]
	for form in (pushed, exchanged.form):
		assertion = form["client_assertion"]
		claims = jwt.decode(assertion, jwt.PyJWK(KEY.public()).key, ["PS256"], audience=op.server.url)
		assert claims["iss"] == claims["sub"] == "client" and isinstance(claims["aud"], str)
		assert claims["exp"] - claims["iat"] <= 60
	assert pushed["code_challenge_method"] == "S256" and "client_secret" not in pushed
	header = jwt.get_unverified_header(exchanged.headers["dpop"])
	assert keys.thumbprint(header["jwk"]) == pushed["dpop_jkt"]


def test_rs_dpop_auth_scheme(op: FapiProvider) -> None:
	"""fapi2-security-profile-final-client-test-rs-dpop-auth-scheme-case-insensitivity"""
	challenge = {"WWW-Authenticate": 'dPoP error="use_dpop_nonce"', "DPoP-Nonce": "n-1"}
	url = op.server.script("/api", Answer(b"", 401, challenge), as_json({"ok": True}))
	session = Session(Refresher(*op.config, MemoryStore(op.connect()), op.http, op.clock))
	assert session.get(url).json() == {"ok": True}
	proofs = [
		jwt.decode(request.headers["dpop"], options={"verify_signature": False})
		for request in op.server.to("/api")
	]
	assert [proof.get("nonce") for proof in proofs] == [None, "n-1"]


def test_token_type(op: FapiProvider) -> None:
	"""fapi2-security-profile-final-client-test-token-type-case-insensitivity"""
	assert op.connect(token_type="dpOp").account


def test_without_expires_in(op: FapiProvider) -> None:
	"""fapi2-security-profile-final-client-test-token-endpoint-response-without-expires_in"""
	grant = op.connect(expires_in=None)
	assert grant.access_token == ACCESS_TOKEN and grant.expires_at is None


def test_valid_aud_as_array(op: FapiProvider) -> None:
	"""fapi2-security-profile-final-client-test-valid-aud-as-array"""
	assert op.connect(op.id_token(aud=["client"])).account


def test_discovery_issuer_mismatch(server: Hostile, http: Http) -> None:
	"""fapi2-security-profile-final-client-test-discovery-issuer-mismatch: nothing else is sent"""
	url = server.script("/.well-known/openid-configuration", as_json({"issuer": "https://mallory.example"}))
	with pytest.raises(ConfigurationError) as caught:
		discovery.fetch(url, http)
	assert caught.value.code == "discovery_issuer_mismatch" and len(server.requests) == 1


def test_invalid_iss(op: FapiProvider) -> None:
	"""fapi2-security-profile-final-client-test-invalid-iss"""
	op.refuses("id_token_issuer", op.id_token(iss=op.server.url + "/"))


def test_invalid_aud(op: FapiProvider) -> None:
	"""fapi2-security-profile-final-client-test-invalid-aud"""
	op.refuses("id_token_audience", op.id_token(aud="client2"))


def test_invalid_secondary_aud(op: FapiProvider) -> None:
	"""fapi2-security-profile-final-client-test-invalid-secondary-aud"""
	op.refuses("id_token_audience", op.id_token(aud=["client", "other"]))
	op.refuses("id_token_audience", op.id_token(aud=["client", "other"], azp="client"))


def test_invalid_null_alg(op: FapiProvider) -> None:
	"""fapi2-security-profile-final-client-test-invalid-null-alg"""
	op.refuses("id_token_algorithm", f"{part({'alg': 'none'})}.{part(op.claims())}.")


def test_invalid_alternate_alg(op: FapiProvider) -> None:
	"""fapi2-security-profile-final-client-test-invalid-alternate-alg: by RS256, which the profile does not allow, and by a
	secret"""
	op.refuses("id_token_algorithm", OpenIDProvider.id_token(op))
	op.refuses("id_token_algorithm", op.id_token(key="k" * 64, algorithm="HS256"))


def test_invalid_expired_exp(op: FapiProvider) -> None:
	"""fapi2-security-profile-final-client-test-invalid-expired-exp"""
	now = int(op.clock().timestamp())
	op.refuses("id_token_expired", op.id_token(iat=now - 900, exp=now - 600))


@pytest.mark.parametrize(
	("claim", "code"), [("exp", "id_token_expired"), ("aud", "id_token_audience"), ("iss", "id_token_issuer")]
)
def test_invalid_missing_claim(claim: str, code: str, op: FapiProvider) -> None:
	"""fapi2-security-profile-final-client-test-invalid-missing-exp,
	fapi2-security-profile-final-client-test-invalid-missing-aud,
	fapi2-security-profile-final-client-test-invalid-missing-iss"""
	op.refuses(code, op.id_token((claim,)))


def test_invalid_nonce(op: FapiProvider) -> None:
	"""fapi2-security-profile-final-client-test-invalid-nonce"""
	op.refuses("id_token_nonce", op.id_token(nonce=f"{op.attempt.nonce}1"))


def test_invalid_missing_nonce(op: FapiProvider) -> None:
	"""fapi2-security-profile-final-client-test-invalid-missing-nonce"""
	op.refuses("id_token_nonce", op.id_token(("nonce",)))


def test_invalid_authorization_response_iss(op: FapiProvider) -> None:
	"""fapi2-security-profile-final-client-test-invalid-authorization-response-iss"""
	op.refuses_answer("issuer_mismatch", iss="https://mallory.example")


def test_remove_authorization_response_iss(op: FapiProvider) -> None:
	"""fapi2-security-profile-final-client-test-remove-authorization-response-iss: also where the metadata no longer promise
	it"""
	op.refuses_answer("issuer_mismatch", iss=None)
	metadata = {**op.config.provider.metadata, "authorization_response_iss_parameter_supported": False}
	provider = replace(op.config.provider, metadata=metadata)
	op.config = fapi.held(provider, op.config.client)
	op.refuses_answer("issuer_mismatch", iss=None)


def test_invalid_state(op: FapiProvider) -> None:
	"""fapi2-security-profile-final-client-test-ensure-authorization-response-with-invalid-state-fails"""
	op.refuses_answer("state_mismatch", state=f"{op.attempt.state}1")


def test_missing_state(op: FapiProvider) -> None:
	"""fapi2-security-profile-final-client-test-ensure-authorization-response-with-invalid-missing-state-fails"""
	op.refuses_answer("state_mismatch", state=None)
