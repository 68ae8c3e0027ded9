from __future__ import annotations

from ..helpers import OpenIDProvider, changed
from . import refuses_on_refresh


def test_refresh_token_invalid_sub(op: OpenIDProvider) -> None:
	"""oidcc-client-test-refresh-token-invalid-sub (OIDC Core 12.2)"""
	refuses_on_refresh(op, "id_token_subject", sub="mallory")
	refuses_on_refresh(op, "id_token_subject", sub="alice2")


def test_whatever_else_is_wrong(op: OpenIDProvider) -> None:
	"""OIDC Core 12.2: another subject is refused whatever else is wrong, here or there."""
	refuses_on_refresh(
		op, "id_token_subject", sub="mallory", iss="https://mallory.example", aud="other", exp=1
	)
	op.config = changed(op.config, jwks_uri="https://10.0.0.1/")
	refuses_on_refresh(op, "id_token_subject", sub="mallory")
