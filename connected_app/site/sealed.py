"""Texts with secrets that wait for a browser to come back: encrypted in the site's Redis, where they expire by themselves
and are taken once, atomically."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import frappe

from connected_app.oauth.redact import Secret
from connected_app.site.attempts import answered
from connected_app.site.passwords import decrypt, encrypt


@dataclass(frozen=True)
class Sealed:
	"""Texts of one kind, encrypted with the site's key, found by the hash of what names them.

	:param kind: a prefix of the keys in Redis
	:param kept: how long
	"""

	kind: str
	kept: timedelta

	def put(self, name: str, text: str) -> None:
		"""
		:raises TemporaryFailure: `attempt_store_unavailable`, as the others
		"""
		encrypted = encrypt(text)
		answered(lambda: frappe.cache.set(self._key(name), encrypted, ex=self.kept))  # nosemgrep

	def peek(self, name: str) -> Secret | None:
		return _opened(answered(lambda: frappe.cache.get(self._key(name))))  # nosemgrep

	def take(self, name: str) -> Secret | None:
		return _opened(answered(lambda: frappe.cache.getdel(self._key(name))))

	def _key(self, name: str) -> Any:
		return frappe.cache.make_key(f"{self.kind}:" + hashlib.sha256(name.encode()).hexdigest())


def _opened(encrypted: bytes | None) -> Secret | None:
	return Secret(decrypt(encrypted.decode())) if encrypted else None
