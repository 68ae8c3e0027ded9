from __future__ import annotations

from ..helpers import OpenIDProvider, rsa_key


def test_invalid_sig_rs256(op: OpenIDProvider) -> None:
	"""oidcc-client-test-invalid-sig-rs256"""
	op.refuses("id_token_signature", op.id_token(key=rsa_key("b")))
