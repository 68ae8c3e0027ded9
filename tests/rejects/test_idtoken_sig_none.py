from __future__ import annotations

from ..helpers import OpenIDProvider, part


def test_idtoken_sig_none(op: OpenIDProvider) -> None:
	"""oidcc-client-test-idtoken-sig-none, and fapi2 invalid-null-alg: refused with and without a JWKS URI"""
	for algorithm in ("none", "None", None):
		token = f"{part({'alg': algorithm})}.{part(op.claims())}."
		op.refuses("id_token_algorithm", token)
	op.begin(jwks_uri="")
	op.refuses("id_token_algorithm", f"{part({'alg': 'none'})}.{part(op.claims())}.")
