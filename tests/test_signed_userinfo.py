from __future__ import annotations

from typing import Any

import jwt
import pytest

from .helpers import OpenIDProvider, rsa_key
from .hostile import Answer


def answer(op: OpenIDProvider, key: str = "a", algorithm: str = "RS256", **changes: Any) -> Answer:
	claims = {
		"iss": op.server.url,
		"aud": "client",
		"sub": "alice",
		"email": "alice@signed.example",
		**changes,
	}
	claims = {name: value for name, value in claims.items() if value is not None}
	secret = None if algorithm == "none" else rsa_key(key)
	token = jwt.encode(claims, secret, algorithm, headers={"kid": "kid-a"})
	return Answer(token.encode(), headers={"Content-Type": "application/jwt; charset=utf-8"})


def name(op: OpenIDProvider, reply: Answer) -> str:
	op.begin(userinfo_uri=op.server.script("/userinfo", reply))
	account = op.connect(op.id_token(("email",))).account
	assert account and account.id == "alice"
	return account.name


@pytest.mark.parametrize("changes", [{}, {"iss": None, "aud": None}, {"aud": ["client", "other"]}])
def test_signed_userinfo(op: OpenIDProvider, changes: dict[str, Any]) -> None:
	"""oidcc-client-test-userinfo-signed (OIDC Core 5.3.2)"""
	assert name(op, answer(op, **changes)) == "alice@signed.example"


@pytest.mark.parametrize(
	"changes",
	[{"key": "b"}, {"algorithm": "none"}, {"iss": "https://other.example"}, {"aud": "other"}, {"aud": 7}],
)
def test_what_is_signed_wrongly_is_not_believed(op: OpenIDProvider, changes: dict[str, Any]) -> None:
	"""The grant is good, and the ID token says whose it is; only the name is missing."""
	assert name(op, answer(op, **changes)) == ""


def test_not_a_jwt(op: OpenIDProvider) -> None:
	assert name(op, Answer(b"\xff\xfe.x", headers={"Content-Type": "application/jwt"})) == ""


def test_signed_for_another_account(op: OpenIDProvider) -> None:
	"""oidcc-client-test-userinfo-invalid-sub, signed"""
	op.begin(userinfo_uri=op.server.script("/userinfo", answer(op, sub="mallory")))
	op.refuses("userinfo_subject_mismatch", op.id_token(("email",)))
