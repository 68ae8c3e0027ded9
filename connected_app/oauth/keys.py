"""Keys of this client: how they are made and read, what is published of them, and the assertions that they sign."""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import jwt
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from . import catalogue
from .redact import Secret

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
# RFC 7518 3.1, RFC 8037 3.1; with what a key of this kind is called where a person chooses one.
MAKERS: dict[str, Callable[[], PrivateKey]] = {
	"ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
	"PS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
	"RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
	"EdDSA": ed25519.Ed25519PrivateKey.generate,
}
# Seconds that an assertion is good for: FAPI 2.0 wants at most 60.
LIFETIME = 60
CERTIFICATE_LIFETIME = timedelta(days=730)
# RFC 7518 3.3
SHORTEST_RSA = 2048
LONGEST_TEXT = 50_000
# Without a hyphen inside: of what begins often and never ends, nothing is read twice.
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----([^-]+)-----END \1-----")
# X.520's upper bound of a common name, in bytes.
LONGEST_NAME = 64


@dataclass(frozen=True, kw_only=True)
class SigningKey:
	"""A private key by which this client signs.

	:param pem: PKCS 8, in PEM, without a passphrase
	:param algorithm: one of `MAKERS`
	:param key_id: what the provider calls the key (`kid`)
	:param certificate: X.509, in PEM; empty without one
	"""

	pem: Secret = field(repr=False)
	algorithm: str
	key_id: str
	certificate: str = ""

	def sign(self, claims: Mapping[str, Any], algorithm: str = "") -> Secret:
		"""`claims` as a JWT (RFC 7519), by another algorithm of the same kind of key if one is named."""
		headers = {"kid": self.key_id}
		if self.certificate:
			# RFC 7515 4.1.8; Entra finds the key by it.
			headers["x5t#S256"] = self.fingerprint()
		return Secret(jwt.encode(dict(claims), load(self.pem), algorithm or self.algorithm, headers=headers))

	def fingerprint(self) -> str:
		"""That of the certificate, as `x5t#S256` has it."""
		return _encoded(
			x509.load_pem_x509_certificate(self.certificate.encode()).fingerprint(hashes.SHA256())
		)

	def expires_at(self) -> datetime:
		"""When the certificate ends (UTC)."""
		return x509.load_pem_x509_certificate(self.certificate.encode()).not_valid_after_utc

	def public(self) -> dict[str, Any]:
		"""What may be published: a JWK (RFC 7517 4)."""
		jwk = public_jwk(load(self.pem))
		return {**jwk, "kid": self.key_id, "use": "sig", "alg": self.algorithm}

	def to_json(self) -> Secret:
		return Secret(json.dumps(self.__dict__))

	@classmethod
	def from_json(cls, text: str) -> SigningKey:
		"""
		:raises ValueError: for what `to_json` has not made
		"""
		values = json.loads(text)
		if not isinstance(values, dict) or set(values) != {"pem", "algorithm", "key_id", "certificate"}:
			raise ValueError("not a signing key")
		return cls(**{**values, "pem": Secret(values["pem"])})


def generate(algorithm: str, name: str, now: datetime) -> SigningKey:
	"""A new key, with a certificate that it has signed itself.

	:param name: that of the certificate's subject
	:raises ConfigurationError: `key_algorithm`
	"""
	if algorithm not in MAKERS:
		raise catalogue.error("key_algorithm", ", ".join(MAKERS))
	key = MAKERS[algorithm]()
	return _signing_key(key, algorithm, _certificate(key, name, now))


def read(text: str, now: datetime, algorithm: str = "", key_id: str = "") -> SigningKey:
	"""A key that somebody brings, in PEM, with its certificate if that stands beside it.

	:param algorithm: by which it is to sign; by default the first of `MAKERS` that fits
	:param key_id: by default its thumbprint (RFC 7638)
	:raises ConfigurationError: `key_unreadable`, `key_algorithm`, `certificate_expired`
	"""
	# Copied out of a JSON file, line ends are two characters.
	blocks = [(label, Secret(body)) for label, body in _PEM.findall(text[:LONGEST_TEXT].replace("\\n", "\n"))]
	keys = [block for block in blocks if block[0].endswith("PRIVATE KEY")]
	key = _parsed(*keys[0]) if len(keys) == 1 else None
	del text
	if key is None:
		raise catalogue.error("key_unreadable")
	fitting = [each for each in MAKERS if _fits(key, each)]
	if not fitting or (algorithm and algorithm not in fitting):
		raise catalogue.error("key_algorithm", ", ".join(fitting or MAKERS))
	certificate = next((each for each in map(_own_certificate(key), blocks) if each), None)
	if certificate and not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
		raise catalogue.error("certificate_expired", certificate.not_valid_after_utc.date().isoformat())
	pem = certificate.public_bytes(serialization.Encoding.PEM).decode() if certificate else ""
	return _signing_key(key, algorithm or fitting[0], pem, key_id.strip())


def algorithm_for(key: SigningKey, supported: Iterable[str]) -> str:
	"""By which of the provider's algorithms `key` can sign; its own if the provider names none.

	:raises ConfigurationError: `key_algorithm`
	"""
	supported = [*supported]
	if not supported or key.algorithm in supported:
		return key.algorithm
	private = load(key.pem)
	for algorithm in MAKERS:
		if algorithm in supported and _fits(private, algorithm):
			return algorithm
	raise catalogue.error("key_algorithm", ", ".join(each for each in MAKERS if each in supported) or "?")


def claims(
	issuer: str, subject: str, audience: str, now: datetime, lifetime: int = LIFETIME
) -> dict[str, Any]:
	"""Those of an assertion (RFC 7523 3), each with a `jti` of its own."""
	issued = int(now.timestamp())
	return {
		"iss": issuer,
		"sub": subject,
		"aud": audience,
		"jti": secrets.token_urlsafe(16),
		"iat": issued,
		"exp": issued + lifetime,
	}


def thumbprint(jwk: Mapping[str, str]) -> str:
	"""RFC 7638 3."""
	names = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}[jwk["kty"]]
	digest = hashes.Hash(hashes.SHA256())
	digest.update(json.dumps({name: jwk[name] for name in names}, separators=(",", ":")).encode())
	return _encoded(digest.finalize())


def _signing_key(key: PrivateKey, algorithm: str, certificate: str, key_id: str = "") -> SigningKey:
	pem = key.private_bytes(
		serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
	)
	return SigningKey(
		pem=Secret(pem.decode()),
		algorithm=algorithm,
		key_id=key_id or thumbprint(public_jwk(key)),
		certificate=certificate,
	)


def _certificate(key: PrivateKey, name: str, now: datetime) -> str:
	short = name.encode(errors="ignore")[:LONGEST_NAME].decode(errors="ignore")
	subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, short or "connected_app")])
	built = (
		x509.CertificateBuilder()
		.subject_name(subject)
		.issuer_name(subject)
		.public_key(key.public_key())
		.serial_number(x509.random_serial_number())
		# The provider's clock may be behind.
		.not_valid_before(now.astimezone(timezone.utc) - timedelta(hours=1))
		.not_valid_after(now.astimezone(timezone.utc) + CERTIFICATE_LIFETIME)
		.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
		.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
	)
	return built.public_bytes(serialization.Encoding.PEM).decode()


def _own_certificate(key: PrivateKey) -> Callable[[tuple[str, str]], x509.Certificate | None]:
	def own(block: tuple[str, str]) -> x509.Certificate | None:
		if block[0] != "CERTIFICATE":
			return None
		try:
			found = x509.load_pem_x509_certificate(_wrapped(*block))
			return found if found.public_key() == key.public_key() else None
		except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
			return None

	return own


def _parsed(label: str, body: str) -> PrivateKey | None:
	try:
		key = serialization.load_pem_private_key(_wrapped(label, body), password=None)
	except (ValueError, TypeError, UnsupportedAlgorithm):
		# TypeError: it has a passphrase.
		return None
	return key if isinstance(key, PrivateKey) else None


def _wrapped(label: str, body: str) -> bytes:
	"""A block of PEM in lines as they should be: what is pasted may have lost them."""
	joined = "".join(body.split())
	lines = "\n".join(joined[start : start + 64] for start in range(0, len(joined), 64))
	return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode()


def _fits(key: PrivateKey, algorithm: str) -> bool:
	if isinstance(key, rsa.RSAPrivateKey):
		return algorithm in ("PS256", "RS256") and key.key_size >= SHORTEST_RSA
	if isinstance(key, ec.EllipticCurvePrivateKey):
		return algorithm == "ES256" and isinstance(key.curve, ec.SECP256R1)
	return algorithm == "EdDSA"


def load(pem: Secret) -> PrivateKey:
	"""
	:param pem: of a key that this app has made or read
	:raises ConfigurationError: `key_unreadable`
	"""
	key = serialization.load_pem_private_key(pem.encode(), password=None)
	if not isinstance(key, PrivateKey):
		raise catalogue.error("key_unreadable")
	return key


def public_jwk(key: PrivateKey) -> dict[str, str]:
	"""Its public part (RFC 7518 6, RFC 8037 2), and no more than makes the thumbprint."""
	public = key.public_key()
	if isinstance(public, rsa.RSAPublicKey):
		text = RSAAlgorithm.to_jwk(public)
	elif isinstance(public, ec.EllipticCurvePublicKey):
		text = ECAlgorithm.to_jwk(public)
	else:
		text = OKPAlgorithm.to_jwk(public)
	found = json.loads(text)
	return {name: found[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in found}


def _encoded(raw: bytes) -> str:
	return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
