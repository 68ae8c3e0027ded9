from __future__ import annotations

from ..helpers import OpenIDProvider


def test_invalid_iss(op: OpenIDProvider) -> None:
	"""oidcc-client-test-invalid-iss (OIDC Core 3.1.3.7, 2; core-defects 6)"""
	op.refuses("id_token_issuer", op.id_token(iss=op.server.url + "/"))
