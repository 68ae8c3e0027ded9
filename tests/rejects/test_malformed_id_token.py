from __future__ import annotations

from ..helpers import OpenIDProvider, part


def test_malformed_id_token(op: OpenIDProvider) -> None:
	"""Not a JWT, or one whose parts are not JSON objects"""
	for token in ("x", "a.b.c", f"{part([])}.{part({})}.AA"):
		op.refuses("id_token_invalid", token)
