"""ID tokens that are signed on an Edwards curve: by the names of RFC 9864 and by the older one, and their `at_hash`."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .helpers import ACCESS_TOKEN, OpenIDProvider, part
from .hostile import as_json

CURVES: dict[str, Any] = {"Ed25519": ed25519.Ed25519PrivateKey, "Ed448": ed448.Ed448PrivateKey}


def encoded(raw: bytes) -> str:
	return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def at_hash(curve: str) -> str:
	token = ACCESS_TOKEN.encode()
	hashed = hashlib.sha512(token).digest() if curve == "Ed25519" else hashlib.shake_256(token).digest(114)
	return encoded(hashed[: len(hashed) // 2])


class Signer:
	def __init__(self, op: OpenIDProvider, curve: str, jwk_alg: str | None, supported: list[str]) -> None:
		self.op, self.curve, self.key = op, curve, CURVES[curve].generate()
		raw = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
		jwk = {"kty": "OKP", "crv": curve, "x": encoded(raw), "kid": "kid-a", "use": "sig"}
		op.server.script("/jwks", as_json({"keys": [{**jwk, **({"alg": jwk_alg} if jwk_alg else {})}]}))
		op.begin(metadata={"id_token_signing_alg_values_supported": supported})

	def token(self, alg: str, **changes: Any) -> str:
		text = f"{part({'alg': alg, 'kid': 'kid-a'})}.{part(self.op.claims(**changes))}"
		return f"{text}.{encoded(self.key.sign(text.encode()))}"


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("jwk_alg", ["by its curve", "EdDSA", None])
@pytest.mark.parametrize("supported", ["by its curve", "EdDSA"])
@pytest.mark.parametrize("alg", ["by its curve", "EdDSA"])
def test_names(curve: str, jwk_alg: str | None, supported: str, alg: str, op: OpenIDProvider) -> None:
	def named(name: str) -> str:
		return curve if name == "by its curve" else name

	signer = Signer(op, curve, named(jwk_alg) if jwk_alg else None, [named(supported)])
	token = signer.token(named(alg), at_hash=at_hash(curve))
	assert op.connect(token).account
	op.refuses("id_token_at_hash", signer.token(named(alg), at_hash=at_hash("Ed25519")[:-2] + "AA"))
	other = at_hash("Ed448" if curve == "Ed25519" else "Ed25519")
	op.refuses("id_token_at_hash", signer.token(named(alg), at_hash=other))
	head, body, signature = token.split(".")
	op.refuses("id_token_signature", f"{head}.{part(op.claims(sub='bob'))}.{signature}")


@pytest.mark.parametrize(("curve", "alg"), [("Ed25519", "Ed448"), ("Ed448", "Ed25519")])
def test_a_key_of_another_curve(curve: str, alg: str, op: OpenIDProvider) -> None:
	signer = Signer(op, curve, None, ["EdDSA"])
	op.refuses("id_token_key_unknown", signer.token(alg))


def test_not_where_it_is_not_listed(op: OpenIDProvider) -> None:
	signer = Signer(op, "Ed25519", None, ["RS256"])
	for alg in ("Ed25519", "EdDSA"):
		op.refuses("id_token_algorithm", signer.token(alg))
