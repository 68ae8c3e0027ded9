from __future__ import annotations

from ..helpers import OpenIDProvider


def test_invalid_azp(op: OpenIDProvider) -> None:
	"""OIDC Core 3.1.3.7, 5: azp names another client"""
	op.refuses("id_token_audience", op.id_token(azp="other"))
