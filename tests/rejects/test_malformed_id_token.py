from __future__ import annotations

from ..helpers import OpenIDProvider, part


def test_malformed_id_token(op: OpenIDProvider) -> None:
	"""Not a JWT, one whose parts are not JSON objects or have no end, or no text that could be sent"""
	endless = f"{'W1tb' * 100_000}.e30.AA"
	for token in ("x", "a.b.c", "\ud800.b.c", f"{part([])}.{part({})}.AA", endless):
		op.refuses("id_token_invalid", token)
