from __future__ import annotations

from connected_app.oauth import Secret

from ..helpers import CLIENT_SECRET, OpenIDProvider


def test_invalid_sig_hs256(op: OpenIDProvider) -> None:
	"""oidcc-client-test-invalid-sig-hs256: refused unless the metadata name it, and then with any other key"""
	secret = CLIENT_SECRET.ljust(64, "x")
	op.refuses("id_token_algorithm", op.id_token(key=secret, algorithm="HS256"))
	op.begin(
		metadata={"id_token_signing_alg_values_supported": ["RS256", "HS256"]}, client_secret=Secret(secret)
	)
	op.refuses("id_token_signature", op.id_token(key=secret[::-1], algorithm="HS256"))
