"""Keys of this client: making, reading and publishing them, and the assertions that they sign."""

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
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from . import catalogue
from .redact import Secret

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
# RFC 7518 3.1, RFC 8037 3.1; with the name of this kind of key where a person chooses one.
MAKERS: dict[str, Callable[[], PrivateKey]] = {
	"ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
	"PS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
	"RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
	"EdDSA": ed25519.Ed25519PrivateKey.generate,
}
# Seconds for which an assertion is valid: FAPI 2.0 allows 60.
LIFETIME = 60
CERTIFICATE_LIFETIME = timedelta(days=730)
# RFC 5280 4.2.1.3: uses that the certificate does not allow.
UNUSED = (
	"content_commitment",
	"key_encipherment",
	"data_encipherment",
	"key_agreement",
	"key_cert_sign",
	"crl_sign",
	"encipher_only",
	"decipher_only",
)
# RFC 7518 3.3
SHORTEST_RSA = 2048
LONGEST_TEXT = 50_000
SHA1 = hashes.SHA1()  # noqa: S303 (names a certificate, and proves nothing)
# No hyphen inside, so that a text with many beginnings and no end is read once only.
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----([^-]+)-----END \1-----")
# PKCS #12 begins with this byte, PEM does not (X.690 8.9).
_DER_SEQUENCE = b"\x30"
# X.520's upper bound of a common name, in bytes.
LONGEST_NAME = 64


@dataclass(frozen=True, kw_only=True)
class SigningKey:
	"""A private key by which this client signs.

	:param pem: PKCS 8, in PEM, without a passphrase
	:param algorithm: one of `MAKERS`
	:param key_id: the provider's name for the key (`kid`)
	:param certificate: X.509, in PEM, followed by the issuing certificates, if they came with it; empty without one
	"""

	pem: Secret = field(repr=False)
	algorithm: str
	key_id: str
	certificate: str = ""

	def sign(self, claims: Mapping[str, Any], algorithm: str = "") -> Secret:
		"""`claims` as a JWT (RFC 7519); `algorithm` names another one for the same kind of key."""
		headers = {"kid": self.key_id}
		if self.certificate:
			# RFC 7515 4.1.7, 4.1.8; Entra finds the key by either, AD FS by the older one only.
			headers |= {"x5t#S256": self.fingerprint(), "x5t": _encoded(self._x509.fingerprint(SHA1))}
		return Secret(jwt.encode(dict(claims), load(self.pem), algorithm or self.algorithm, headers=headers))

	def fingerprint(self) -> str:
		"""The certificate's SHA-256 fingerprint, as in `x5t#S256`."""
		return _encoded(self._x509.fingerprint(hashes.SHA256()))

	def thumbprint(self) -> str:
		"""The certificate's SHA-1 thumbprint, as Microsoft's portals show it."""
		return self._x509.fingerprint(SHA1).hex().upper()

	def expires_at(self) -> datetime:
		"""When the certificate expires (UTC)."""
		return self._x509.not_valid_after_utc

	def is_self_signed(self) -> bool:
		"""Whether no authority has issued the certificate."""
		return self._x509.issuer == self._x509.subject

	@property
	def _x509(self) -> x509.Certificate:
		return x509.load_pem_x509_certificate(self.certificate.encode())

	def public(self) -> dict[str, Any]:
		"""The public part, for publishing: a JWK (RFC 7517 4) with the certificate, by which RFC 8705 2.2 finds its key."""
		jwk: dict[str, Any] = public_jwk(load(self.pem))
		if self.certificate:
			chain = x509.load_pem_x509_certificates(self.certificate.encode())
			jwk["x5c"] = [
				base64.b64encode(each.public_bytes(serialization.Encoding.DER)).decode() for each in chain
			]
			jwk["x5t#S256"] = self.fingerprint()
		return {**jwk, "kid": self.key_id, "use": "sig", "alg": self.algorithm}

	def to_json(self) -> Secret:
		return Secret(json.dumps(self.__dict__))

	@classmethod
	def from_json(cls, text: str) -> SigningKey:
		"""
		:raises ValueError: for any text that `to_json` has not made
		"""
		values = json.loads(text)
		if not isinstance(values, dict) or set(values) != {"pem", "algorithm", "key_id", "certificate"}:
			raise ValueError("not a signing key")
		return cls(**{**values, "pem": Secret(values["pem"])})


def generate(algorithm: str, name: str, now: datetime) -> SigningKey:
	"""A new key, with a certificate that it has signed itself.

	:param name: the certificate's subject
	:raises ConfigurationError: `key_algorithm`
	"""
	if algorithm not in MAKERS:
		raise catalogue.error("key_algorithm", ", ".join(MAKERS))
	key = MAKERS[algorithm]()
	return _signing_key(key, algorithm, _certificate(key, name, now))


def read(
	text: str, now: datetime, algorithm: str = "", key_id: str = "", passphrase: Secret | None = None
) -> SigningKey:
	"""An existing key, in PEM, with its certificate and the issuing certificates, if the text has them.

	:param algorithm: to sign with; by default the first of `MAKERS` that fits
	:param key_id: by default its thumbprint (RFC 7638)
	:param passphrase: of an encrypted key
	:raises ConfigurationError: `key_unreadable`, `key_passphrase`, `key_algorithm`, `certificate_mismatch`,
		`certificate_expired`
	"""
	# Line ends that were copied out of a JSON file are two characters.
	blocks = [(label, Secret(body)) for label, body in _PEM.findall(text[:LONGEST_TEXT].replace("\\n", "\n"))]
	keys = [block for block in blocks if block[0].endswith("PRIVATE KEY")]
	key = _parsed(*keys[0], passphrase) if len(keys) == 1 else None
	del text
	if key is None:
		encrypted = len(keys) == 1 and keys[0][0].startswith("ENCRYPTED")
		raise catalogue.error("key_passphrase" if encrypted else "key_unreadable")
	certificates = [found for block in blocks if (found := _parsed_certificate(block))]
	return _taken(key, certificates, now, algorithm, key_id)


def read_file(
	encoded: Secret, now: datetime, algorithm: str = "", key_id: str = "", passphrase: Secret | None = None
) -> SigningKey:
	"""An existing key from a file: PKCS #12 (RFC 7292), or PEM. Other parameters and errors as in `read`.

	:param encoded: the file, in base64
	"""
	try:
		content = base64.b64decode(encoded[: 2 * LONGEST_TEXT])
	except ValueError:
		content = b""
	if not content.startswith(_DER_SEQUENCE):
		text = Secret(content.decode("ascii", "replace"))
		del content
		return read(text, now, algorithm, key_id, passphrase)
	key: Any = None
	beside: list[Any] = []
	try:
		found = pkcs12.load_pkcs12(content, (passphrase or "").encode() or None)
		key, beside = found.key, [found.cert, *found.additional_certs]
	except (ValueError, TypeError, UnsupportedAlgorithm):
		pass
	del content
	if key is None:
		raise catalogue.error("key_passphrase/file")
	if not isinstance(key, PrivateKey):
		raise catalogue.error("key_unreadable")
	return _taken(key, [each.certificate for each in beside if each], now, algorithm, key_id)


def _taken(
	key: PrivateKey, certificates: list[x509.Certificate], now: datetime, algorithm: str, key_id: str
) -> SigningKey:
	fitting = [each for each in MAKERS if _fits(key, each)]
	if not fitting or (algorithm and algorithm not in fitting):
		raise catalogue.error("key_algorithm", ", ".join(fitting or MAKERS))
	certificates = [each for each in certificates if _is_readable(each)]
	chain = _chain(key, certificates)
	if certificates and not chain:
		raise catalogue.error("certificate_mismatch")
	if chain and not chain[0].not_valid_before_utc <= now < chain[0].not_valid_after_utc:
		raise catalogue.error("certificate_expired", chain[0].not_valid_after_utc.date().isoformat())
	pem = "".join(each.public_bytes(serialization.Encoding.PEM).decode() for each in chain)
	return _signing_key(key, algorithm or fitting[0], pem, key_id.strip())


def algorithm_for(key: SigningKey, supported: Iterable[str]) -> str:
	"""The first of the provider's algorithms that `key` can sign with; its own if the provider names none.

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
	"""The claims of an assertion (RFC 7523 3), with a `jti` of its own."""
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
	public = key.public_key()
	uses = dict.fromkeys(UNUSED, False) | {"digital_signature": True}
	built = (
		x509.CertificateBuilder()
		.subject_name(subject)
		.issuer_name(subject)
		.public_key(public)
		.serial_number(x509.random_serial_number())
		# The provider's clock may be slow.
		.not_valid_before(now.astimezone(timezone.utc) - timedelta(hours=1))
		.not_valid_after(now.astimezone(timezone.utc) + CERTIFICATE_LIFETIME)
		.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
		.add_extension(x509.KeyUsage(**uses), critical=True)
		.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
		# By these, servers tell this certificate from an earlier one with the same name (RFC 5280 4.2.1.1).
		.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
		.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
		.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
	)
	return built.public_bytes(serialization.Encoding.PEM).decode()


def _chain(key: PrivateKey, certificates: list[x509.Certificate]) -> list[x509.Certificate]:
	"""The certificate of `key`, then its issuing certificates, without the root, which servers have."""
	chain = [each for each in certificates if each.public_key() == key.public_key()][:1]
	while chain and chain[-1].issuer != chain[-1].subject:
		above = [each for each in certificates if each.subject == chain[-1].issuer and each not in chain]
		if not above or above[0].issuer == above[0].subject:
			break
		chain.append(above[0])
	return chain


def _parsed_certificate(block: tuple[str, str]) -> x509.Certificate | None:
	if block[0] != "CERTIFICATE":
		return None
	try:
		return x509.load_pem_x509_certificate(_wrapped(*block))
	except (ValueError, x509.InvalidVersion):
		return None


def _is_readable(certificate: x509.Certificate) -> bool:
	"""Whether its parts can be read: the library parses them on demand."""
	try:
		for part in ("subject", "issuer", "not_valid_before_utc", "not_valid_after_utc"):
			getattr(certificate, part)
		certificate.public_key()
	except (ValueError, TypeError, UnsupportedAlgorithm):
		return False
	return True


def _parsed(label: str, body: str, passphrase: Secret | None) -> PrivateKey | None:
	password = (passphrase or "").encode() if label.startswith("ENCRYPTED") else None
	try:
		key = serialization.load_pem_private_key(_wrapped(label, body), password=password or None)
	except (ValueError, TypeError, UnsupportedAlgorithm):
		# TypeError: the passphrase is missing.
		return None
	return key if isinstance(key, PrivateKey) else None


def _wrapped(label: str, body: str) -> bytes:
	"""A PEM block with proper line ends: pasting may have lost them."""
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
	# It was validated then; for RSA, that takes much longer than signing.
	key = serialization.load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)
	if not isinstance(key, PrivateKey):
		raise catalogue.error("key_unreadable")
	return key


def public_jwk(key: PrivateKey) -> dict[str, str]:
	"""The public part of `key` (RFC 7518 6, RFC 8037 2), with the members of the thumbprint only."""
	public = key.public_key()
	if isinstance(public, rsa.RSAPublicKey):
		text = RSAAlgorithm.to_jwk(public)
	elif isinstance(public, ec.EllipticCurvePublicKey):
		# Not by PyJWT: 2.8, which Frappe pins, drops leading zeros (RFC 7518 6.2.1.2), which one key in 128 has.
		numbers = public.public_numbers()
		x, y = (_encoded(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
		return {"kty": "EC", "crv": "P-256", "x": x, "y": y}
	else:
		text = OKPAlgorithm.to_jwk(public)
	found = json.loads(text)
	return {name: found[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in found}


def _encoded(raw: bytes) -> str:
	return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
