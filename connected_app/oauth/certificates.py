"""A client's certificate and its private key, and how TLS gets them."""

from __future__ import annotations

import os
import secrets
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import serialization

from .redact import Secret


@dataclass(frozen=True, kw_only=True)
class ClientCertificate:
	"""What this client presents to a server that asks for it (RFC 8446 4.4.2).

	:param pem: the private key, PKCS 8 in PEM, without a passphrase
	:param chain: X.509 in PEM: the certificate, then those that issued it
	"""

	pem: Secret = field(repr=False)
	chain: str

	def load_into(self, context: ssl.SSLContext) -> None:
		"""Present it on connections of `context`.

		Python's `ssl` takes keys from files only. Ours is a file in memory that other processes cannot see by name; systems
		without such memory get a temporary file. It is encrypted with a passphrase that is used for this call alone.

		:raises ssl.SSLError: if the key does not belong to the certificate
		"""
		passphrase = secrets.token_bytes(32)
		# The key was validated when it was made or imported; for RSA, validation is by far the slowest step.
		key = serialization.load_pem_private_key(
			self.pem.encode(), password=None, unsafe_skip_rsa_key_validation=True
		)
		encrypted = key.private_bytes(
			serialization.Encoding.PEM,
			serialization.PrivateFormat.PKCS8,
			serialization.BestAvailableEncryption(passphrase),
		)
		with _as_file(self.chain.encode() + b"\n" + encrypted) as path:
			context.load_cert_chain(path, password=passphrase)


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
	"""A path at which only this process can read `content`."""
	if hasattr(os, "memfd_create"):
		descriptor, path = os.memfd_create("certificate", os.MFD_CLOEXEC), ""
	else:
		descriptor, path = tempfile.mkstemp(suffix=".pem")
	try:
		with open(descriptor, "wb", closefd=False) as file:
			file.write(content)
		yield path or f"/proc/self/fd/{descriptor}"
	finally:
		os.close(descriptor)
		if path:
			with suppress(FileNotFoundError):
				os.unlink(path)
