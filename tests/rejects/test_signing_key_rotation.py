from __future__ import annotations

import pytest

from ..helpers import OpenIDProvider, rsa_key
from ..hostile import Answer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
	now = [1000.0]
	monkeypatch.setattr("connected_app.oauth.id_token.time.monotonic", lambda: now[0])
	return now


def rotated(op: OpenIDProvider, name: str, kid: str | None) -> str:
	"""The provider now signs with another key, and publishes that one only. An ID token signed with it."""
	op.serve_keys((name, kid))
	return op.id_token(key=rsa_key(name), kid=kid)


def test_signing_key_rotation(op: OpenIDProvider, clock: list[float]) -> None:
	"""oidcc-client-test-signing-key-rotation: the key set is cached, and fetched again for a key that is not in it"""
	assert op.connect().account
	assert op.connect().account
	assert len(op.server.to("/jwks")) == 1
	clock[0] += 600
	assert op.connect(rotated(op, "b", "kid-b")).account
	assert len(op.server.to("/jwks")) == 2
	op.refuses("id_token_key_unknown", op.id_token())


def test_signing_key_rotation_just_before_signing(op: OpenIDProvider, clock: list[float]) -> None:
	"""oidcc-client-test-signing-key-rotation-just-before-signing: also a moment after the key set was fetched, since
	the code is spent and cannot be tried again; but made-up keys do not make us ask all the time"""
	assert op.connect().account
	assert op.connect(rotated(op, "b", "kid-b")).account
	assert len(op.server.to("/jwks")) == 2
	for kid in ("made-up", "kid-a", "made-up too"):
		op.refuses("id_token_key_unknown", op.id_token(kid=kid))
	op.refuses("id_token_key_unknown", rotated(op, "c", "kid-c"))
	assert len(op.server.to("/jwks")) == 2
	clock[0] += 31
	assert op.connect(op.id_token(key=rsa_key("c"), kid="kid-c")).account
	assert len(op.server.to("/jwks")) == 3


@pytest.mark.parametrize("kid", [None, "kid-a"])
def test_rotation_without_another_name(op: OpenIDProvider, clock: list[float], kid: str | None) -> None:
	"""A key that was changed under its old name, or has none: the signature is wrong, and the set is fetched again."""
	op.serve_keys(("a", kid))
	assert op.connect(op.id_token(kid=kid)).account
	assert op.connect(rotated(op, "b", kid)).account
	op.refuses("id_token_signature", op.id_token(key=rsa_key("c"), kid=kid))
	assert len(op.server.to("/jwks")) == 2


def test_a_wrong_signature_stays_wrong(op: OpenIDProvider, clock: list[float]) -> None:
	"""Also where the key set cannot be fetched again."""
	assert op.connect().account
	op.server.script("/jwks", Answer(status=503))
	op.refuses("id_token_signature", op.id_token(key=rsa_key("b")))
