from __future__ import annotations

from ..helpers import OpenIDProvider


def test_response_iss_removed(op: OpenIDProvider) -> None:
	"""fapi2 remove-authorization-response-iss: refused where the metadata promise it, else accepted"""
	assert op.connect(callback=op.callback(iss=None)).account
	op.begin(metadata={"authorization_response_iss_parameter_supported": True})
	op.refuses("issuer_mismatch", callback=op.callback(iss=None))
	assert len(op.server.to("/token")) == 1
