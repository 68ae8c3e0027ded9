from __future__ import annotations

from ..helpers import OpenIDProvider


def test_missing_sub(op: OpenIDProvider) -> None:
	"""oidcc-client-test-missing-sub"""
	op.refuses("id_token_subject", op.id_token(("sub",)))
