from __future__ import annotations

from ..helpers import ACCESS_TOKEN, OpenIDProvider, at_hash


def test_invalid_athash(op: OpenIDProvider) -> None:
	"""oidcc-client-test-invalid-athash: checked where present (OIDC Core 3.1.3.6)"""
	assert op.connect(op.id_token(at_hash=at_hash(ACCESS_TOKEN))).account
	op.refuses("id_token_at_hash", op.id_token(at_hash=at_hash("another")))
	op.refuses("id_token_at_hash", op.id_token(at_hash="\ud800"))
	# null is as if omitted, which OIDC Core allows here.
	assert op.connect(op.id_token(at_hash=None)).account
