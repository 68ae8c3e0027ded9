from __future__ import annotations

from ..helpers import OpenIDProvider


def test_kid_absent_single_jwks(op: OpenIDProvider) -> None:
	"""oidcc-client-test-kid-absent-single-jwks: accepted, by the only key"""
	grant = op.connect(op.id_token(kid=None))
	assert grant.account and (grant.account.id, grant.account.name) == ("alice", "alice@example.com")
