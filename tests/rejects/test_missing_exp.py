from __future__ import annotations

from ..helpers import OpenIDProvider


def test_missing_exp(op: OpenIDProvider) -> None:
	"""fapi2 invalid-missing-exp; NaN is no time either"""
	op.refuses("id_token_expired", op.id_token(("exp",)))
	op.refuses("id_token_expired", op.id_token(exp=float("nan")))
