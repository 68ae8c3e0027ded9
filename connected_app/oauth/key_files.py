"""Key files of service accounts, as providers give them: Google's and Box's in JSON, else a private key in PEM."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from . import catalogue, keys
from .errors import Sentence
from .keys import SigningKey
from .redact import Secret, printable

LONGEST = 50_000


@dataclass(frozen=True, kw_only=True)
class KeyFile:
	"""The content of a key file. Its addresses are ignored: they could send the assertions elsewhere.

	:param client_id, client_secret: empty if the file has none
	:param inputs: values for the inputs of the provider's template
	"""

	key: SigningKey
	client_id: str = ""
	client_secret: Secret = field(default=Secret(""), repr=False)
	inputs: Mapping[str, str] = field(default_factory=dict)


def read(text: str, now: datetime) -> KeyFile:
	"""
	:raises ConfigurationError: `key_file_unknown`, and as `keys.read`
	"""
	found = _json(text)
	if found is None:
		return KeyFile(key=_key(text, now))
	del text
	if found.get("type") == "service_account":
		return KeyFile(
			key=_key(_text(found, "private_key"), now, key_id=_text(found, "private_key_id")),
			client_id=_text(found, "client_email"),
		)
	if isinstance(settings := found.get("boxAppSettings"), dict):
		about = settings.get("appAuth")
		about = about if isinstance(about, dict) else {}
		return KeyFile(
			key=_key(_without_passphrase(about), now, key_id=_text(about, "publicKeyID")),
			client_id=_text(settings, "clientID"),
			client_secret=Secret(_text(settings, "clientSecret")),
			inputs={"enterprise": _text(found, "enterpriseID")},
		)
	raise catalogue.error("key_file_unknown", _kind(found))


def _key(text: str, now: datetime, key_id: str = "") -> SigningKey:
	"""Signs by RS256, as these providers want of an RSA key."""
	key = keys.read(text, now, key_id=key_id)
	return replace(key, algorithm="RS256") if key.algorithm == "PS256" else key


def _json(text: str) -> dict[str, Any] | None:
	"""The file as JSON; None if it is no JSON at all."""
	if not text.lstrip().startswith(("{", "[")) or len(text) > LONGEST:
		return None
	try:
		found = json.loads(text)
	except (ValueError, RecursionError):
		found = None
	if isinstance(found, dict):
		return found
	raise catalogue.error("key_file_unknown", Sentence("it cannot be read"))


def _kind(found: Mapping[str, Any]) -> str:
	if any(isinstance(found.get(name), dict) for name in ("web", "installed")):
		return Sentence("it is that of an OAuth client")
	kind = found.get("type")
	return printable(kind, 60) if isinstance(kind, str) and kind else Sentence("it does not say what it is")


def _text(found: Mapping[str, Any], name: str) -> str:
	value = found.get(name)
	if not isinstance(value, str) or not value:
		raise catalogue.error("key_file_unknown/lacks", name)
	return Secret(value) if "rivate" in name or "ecret" in name or name == "passphrase" else value


def _without_passphrase(about: Mapping[str, Any]) -> Secret:
	"""The key, decrypted: Box encrypts it, and writes the passphrase beside it."""
	pem, passphrase = _text(about, "privateKey"), _text(about, "passphrase")
	try:
		key = serialization.load_pem_private_key(pem.encode(), passphrase.encode())
	except (ValueError, TypeError, UnsupportedAlgorithm):
		key = None
	del pem, passphrase
	if key is None:
		raise catalogue.error("key_unreadable")
	return Secret(
		key.private_bytes(
			serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
		).decode()
	)
