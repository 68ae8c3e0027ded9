from __future__ import annotations

from ..helpers import OpenIDProvider


def test_missing_id_token(op: OpenIDProvider) -> None:
	"""An ID token was promised by the scope openid, and there is none"""
	op.refuses("id_token_missing", "")
