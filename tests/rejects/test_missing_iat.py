from __future__ import annotations

from ..helpers import OpenIDProvider


def test_missing_iat(op: OpenIDProvider) -> None:
	"""oidcc-client-test-missing-iat"""
	op.refuses("id_token_issued_at", op.id_token(("iat",)))
