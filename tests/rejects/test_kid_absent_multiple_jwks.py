from __future__ import annotations

from ..helpers import OpenIDProvider, rsa_key


def test_kid_absent_multiple_jwks(op: OpenIDProvider) -> None:
	"""oidcc-client-test-kid-absent-multiple-jwks: every suitable key is tried"""
	op.serve_keys(("b", "kid-b"), ("a", "kid-a"))
	assert op.connect(op.id_token(kid=None)).account
	op.refuses("id_token_signature", op.id_token(kid=None, key=rsa_key("c")))
