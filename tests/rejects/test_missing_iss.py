from __future__ import annotations

from ..helpers import OpenIDProvider


def test_missing_iss(op: OpenIDProvider) -> None:
	"""fapi2 invalid-missing-iss"""
	op.refuses("id_token_issuer", op.id_token(("iss",)))
