"""Certificates for servers on this machine, and for clients of theirs."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from connected_app.oauth.clock import utc_now


@dataclass(frozen=True)
class Certificate:
	"""A certificate with its key."""

	key: ec.EllipticCurvePrivateKey
	made: x509.Certificate

	@property
	def pem(self) -> str:
		"""Certificate and key."""
		return self.made.public_bytes(serialization.Encoding.PEM).decode() + pem_of(self.key)

	def write(self, path: str | pathlib.Path) -> None:
		pathlib.Path(path).write_text(self.pem)


def certificate(host: str, issuer: Certificate | None = None) -> Certificate:
	"""For `host`: issued by another, or by itself; one of the latter may issue others.

	Python 3.13 and newer verify by RFC 5280 to the letter (VERIFY_X509_STRICT): 4.2.1.1 to 4.2.1.3.
	"""
	key = ec.generate_private_key(ec.SECP256R1())
	name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
	signer = issuer.key if issuer else key
	uses = dict.fromkeys(
		("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
	)
	uses |= {"encipher_only": False, "decipher_only": False, "digital_signature": True}
	uses |= dict.fromkeys(("key_cert_sign", "crl_sign"), issuer is None)
	made = (
		x509.CertificateBuilder()
		.subject_name(name)
		.issuer_name(issuer.made.subject if issuer else name)
		.public_key(key.public_key())
		.serial_number(x509.random_serial_number())
		.not_valid_before(utc_now() - timedelta(days=1))
		.not_valid_after(utc_now() + timedelta(days=30))
		.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
		.add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
		.add_extension(x509.KeyUsage(**uses), critical=True)
		.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
		.add_extension(
			x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
		)
		.sign(signer, hashes.SHA256())
	)
	return Certificate(key, made)


def pem_of(key: ec.EllipticCurvePrivateKey) -> str:
	"""PKCS 8, without a passphrase."""
	return key.private_bytes(
		serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
	).decode()
