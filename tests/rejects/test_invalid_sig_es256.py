from __future__ import annotations

from ..helpers import OpenIDProvider, ec_key


def test_invalid_sig_es256(op: OpenIDProvider) -> None:
	"""oidcc-client-test-invalid-sig-es256, and fapi2 invalid-alternate-alg"""
	token = op.id_token(key=ec_key("a"), algorithm="ES256")
	op.refuses("id_token_algorithm", token)
	op.begin(metadata={"id_token_signing_alg_values_supported": ["RS256", "ES256"]})
	op.refuses("id_token_key_unknown", op.id_token(key=ec_key("a"), algorithm="ES256"))
