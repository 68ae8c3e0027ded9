from __future__ import annotations

import jwt

from ..helpers import OpenIDProvider, part, rsa_key


def test_malformed_id_token(op: OpenIDProvider) -> None:
	"""Not a JWT, one whose parts are not JSON objects or have no end, or no text that could be sent"""
	endless = f"{'W1tb' * 100_000}.e30.AA"
	for token in ("x", "a.b.c", "\ud800.b.c", f"{part([])}.{part({})}.AA", endless):
		op.refuses("id_token_invalid", token)


def test_signed_but_no_claims(op: OpenIDProvider) -> None:
	"""A good signature over what is no JSON object says nothing."""
	for payload in (b"[]", b"alice", b'"alice"', b""):
		signed = jwt.PyJWS().encode(payload, rsa_key("a"), "RS256", headers={"kid": "kid-a"})
		op.refuses("id_token_invalid", signed)
