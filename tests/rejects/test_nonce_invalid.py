from __future__ import annotations

from ..helpers import OpenIDProvider


def test_nonce_invalid(op: OpenIDProvider) -> None:
	"""oidcc-client-test-nonce-invalid, and fapi2 invalid-missing-nonce"""
	op.refuses("id_token_nonce", op.id_token(nonce="wrong"))
	op.refuses("id_token_nonce", op.id_token(("nonce",)))
	op.refuses("id_token_nonce", op.id_token(nonce="\ud800"))
