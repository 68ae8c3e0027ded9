from __future__ import annotations

from ..helpers import OpenIDProvider


def test_invalid_secondary_aud(op: OpenIDProvider) -> None:
	"""fapi2 invalid-secondary-aud; valid-aud-as-array is accepted"""
	op.refuses("id_token_audience", op.id_token(aud=["client", "other"]))
	assert op.connect(op.id_token(aud=["client"])).account
