from __future__ import annotations

from ..helpers import OpenIDProvider


def test_response_iss(op: OpenIDProvider) -> None:
	"""fapi2 invalid-authorization-response-iss: refused before the code is spent (RFC 9207 2.4; core-defects 6)"""
	op.refuses("issuer_mismatch", callback=op.callback(iss="https://mallory.example"))
	op.refuses("issuer_mismatch", callback=op.callback(iss=op.server.url + "/"))
	assert op.server.to("/token") == []
