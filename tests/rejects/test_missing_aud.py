from __future__ import annotations

from ..helpers import OpenIDProvider


def test_missing_aud(op: OpenIDProvider) -> None:
	"""oidcc-client-test-missing-aud, and fapi2 invalid-missing-aud"""
	op.refuses("id_token_audience", op.id_token(("aud",)))
