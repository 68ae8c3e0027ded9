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

		Python's `ssl` takes keys from files only. This one is in memory that no other process sees by a name, and is
		encrypted with a passphrase that exists for this call alone, since where the system has no such memory it is a file.

		:raises ssl.SSLError: for a key that is not the certificate's
		"""
		passphrase = secrets.token_bytes(32)
		# It was validated when it was made or brought; for RSA that takes much longer than all else.
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
	"""A path under which this process, and nobody else, can read `content`."""
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
