from __future__ import annotations

from ..helpers import OpenIDProvider
from . import keeps_on_refresh


def test_refresh_token_invalid_issuer(op: OpenIDProvider) -> None:
	"""oidcc-client-test-refresh-token-invalid-issuer (OIDC Core 12.2)"""
	keeps_on_refresh(op, "id_token_issuer", iss="https://mallory.example")
