from __future__ import annotations

from ..helpers import OpenIDProvider
from . import refuses_on_refresh


def test_refresh_token_invalid_aud(op: OpenIDProvider) -> None:
	"""OIDC Core 12.2: the audience must be the same on refresh"""
	refuses_on_refresh(op, "id_token_audience", aud="other")
