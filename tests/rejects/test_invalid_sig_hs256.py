from __future__ import annotations

from ..helpers import CLIENT_SECRET, OpenIDProvider


def test_invalid_sig_hs256(op: OpenIDProvider) -> None:
	"""oidcc-client-test-invalid-sig-hs256: symmetric signatures are refused, right or wrong"""
	secret = CLIENT_SECRET.ljust(64, "x")
	op.refuses("id_token_algorithm", op.id_token(key=secret, algorithm="HS256"))
	op.begin(metadata={"id_token_signing_alg_values_supported": ["RS256", "HS256"]})
	op.refuses("id_token_algorithm", op.id_token(key=secret, algorithm="HS256"))
