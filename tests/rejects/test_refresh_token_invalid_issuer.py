from __future__ import annotations

from ..helpers import OpenIDProvider
from . import refuses_on_refresh


def test_refresh_token_invalid_issuer(op: OpenIDProvider) -> None:
	"""oidcc-client-test-refresh-token-invalid-issuer (OIDC Core 12.2)"""
	refuses_on_refresh(op, "id_token_issuer", iss="https://mallory.example")
