from __future__ import annotations

from ..helpers import OpenIDProvider
from . import keeps_on_refresh


def test_refresh_token_invalid_aud(op: OpenIDProvider) -> None:
	"""OIDC Core 12.2: the audience must be the same on refresh"""
	keeps_on_refresh(op, "id_token_audience", aud="other")


def test_refresh_token_invalid_azp(op: OpenIDProvider) -> None:
	"""OIDC Core 12.2: and so must be the authorized party"""
	keeps_on_refresh(op, "id_token_audience", azp="other")
