from __future__ import annotations

from ..helpers import NOW, OpenIDProvider


def test_expired_exp(op: OpenIDProvider) -> None:
	"""fapi2 invalid-expired-exp, with one minute of tolerance"""
	now = int(NOW.timestamp())
	op.refuses("id_token_expired", op.id_token(iat=now - 600, exp=now - 60))
	assert op.connect(op.id_token(iat=now - 600, exp=now - 59)).account
