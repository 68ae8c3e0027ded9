from __future__ import annotations

import json

import jwt
import pytest

from ..helpers import OpenIDProvider, ec_key, rsa_key
from ..hostile import as_json


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_private_jwk(algorithm: str, op: OpenIDProvider) -> None:
	"""A key set with private keys in it: a reader can sign anything"""
	key = rsa_key("a") if algorithm == "RS256" else ec_key("a")
	jwk = json.loads(jwt.get_algorithm_by_name(algorithm).to_jwk(key))
	assert "d" in jwk
	op.server.script("/jwks", as_json({"keys": [{**jwk, "kid": "kid-a"}]}))
	op.begin(metadata={"id_token_signing_alg_values_supported": [algorithm]})
	op.refuses("id_token_key_unknown", op.id_token(key=key, algorithm=algorithm))
