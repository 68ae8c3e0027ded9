from __future__ import annotations

import pytest

from ..helpers import OpenIDProvider, rsa_key


def test_signing_key_rotation(op: OpenIDProvider, monkeypatch: pytest.MonkeyPatch) -> None:
	"""oidcc-client-test-signing-key-rotation: unknown key, key set fetched again, but not all the time"""
	clock = [1000.0]
	monkeypatch.setattr("connected_app.oauth.id_token.time.monotonic", lambda: clock[0])
	assert op.connect().account
	assert op.connect().account
	assert len(op.server.to("/jwks")) == 1
	op.serve_keys(("b", "kid-b"))
	rotated = op.id_token(key=rsa_key("b"), kid="kid-b")
	op.refuses("id_token_key_unknown", rotated)
	assert len(op.server.to("/jwks")) == 1
	clock[0] += 31
	assert op.connect(rotated).account
	op.refuses("id_token_key_unknown", op.id_token())
	op.refuses("id_token_key_unknown", op.id_token(kid="made-up"))
	assert len(op.server.to("/jwks")) == 2
