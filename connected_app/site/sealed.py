"""Texts with secrets that wait for a browser to come back: encrypted in the site's Redis, where they expire by themselves
and are taken once, atomically."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import frappe
import redis

from connected_app.oauth import catalogue
from connected_app.oauth.redact import Secret, strip_chain
from connected_app.site.passwords import decrypt, encrypt


@dataclass(frozen=True)
class Sealed:
	"""Texts of one kind, encrypted with the site's key, found by the hash of what names them.

	:param kind: a prefix of the keys in Redis
	:param kept: seconds until it expires
	"""

	kind: str
	kept: timedelta

	def put(self, name: str, text: str, *, only_in_place: bool = False) -> None:
		"""
		:param only_in_place: only replace an existing text of this name
		:raises TemporaryFailure: `attempt_store_unavailable`, as the other methods
		"""
		encrypted = encrypt(text)
		answered(
			lambda: frappe.cache.set(  # nosemgrep
				self._key(name), encrypted, ex=self.kept, xx=only_in_place
			)
		)

	def peek(self, name: str) -> Secret | None:
		return _opened(answered(lambda: frappe.cache.get(self._key(name))))  # nosemgrep

	def take(self, name: str) -> Secret | None:
		return _opened(answered(lambda: frappe.cache.getdel(self._key(name))))

	def _key(self, name: str) -> Any:
		return frappe.cache.make_key(f"{self.kind}:" + hashlib.sha256(name.encode()).hexdigest())


def answered(ask: Callable[[], Any]) -> Any:
	"""The result of `ask`, a call of Redis.

	:raises TemporaryFailure: `attempt_store_unavailable`
	"""
	try:
		return ask()
	except redis.exceptions.RedisError as error:
		cause = strip_chain(error)
	# Outside the handler: the library's frames hold the text.
	raise catalogue.error("attempt_store_unavailable") from cause


def _opened(encrypted: bytes | None) -> Secret | None:
	return Secret(decrypt(encrypted.decode())) if encrypted else None
