from __future__ import annotations

from ..helpers import OpenIDProvider


def test_invalid_aud(op: OpenIDProvider) -> None:
	"""oidcc-client-test-invalid-aud (3.1.3.7, 3)"""
	op.refuses("id_token_audience", op.id_token(aud="client2"))
