from __future__ import annotations

from ..helpers import OpenIDProvider
from ..hostile import as_json


def test_userinfo_invalid_sub(op: OpenIDProvider) -> None:
	"""oidcc-client-test-userinfo-invalid-sub (OIDC Core 5.3.2)"""
	op.begin(
		userinfo_uri=op.server.script("/userinfo", as_json({"sub": "mallory", "email": "m@example.com"}))
	)
	op.refuses("userinfo_subject_mismatch", op.id_token(("email",)))
	# One that does not say whom it is about costs nobody the connection, and names nobody.
	op.server.script("/userinfo", as_json({"email": "m@example.com"}))
	account = op.connect(op.id_token(("email",))).account
	assert account and (account.id, account.name) == ("alice", "")
