from __future__ import annotations

from ..helpers import OpenIDProvider, part


def test_malformed_id_token(op: OpenIDProvider) -> None:
	"""Not a JWT, one whose parts are not JSON objects, or no text that could be sent"""
	for token in ("x", "a.b.c", "\ud800.b.c", f"{part([])}.{part({})}.AA"):
		op.refuses("id_token_invalid", token)
