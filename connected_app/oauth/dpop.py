"""Tokens that are bound to a key (RFC 9449): each request needs a proof that the key has signed for it."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlunsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from . import catalogue, challenges, keys
from .clock import utc_now
from .paths import split
from .redact import Secret

if TYPE_CHECKING:
	from .grant import Grant
	from .reply import Reply

ALGORITHM = "ES256"
TOKEN_TYPE = "DPoP"  # noqa: S105
# RFC 9449 8.1: the characters of a nonce.
_NONCE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,1000}")


class Nonces:
	"""The last nonce of each server, by its origin (RFC 9449 8, 9). Losing one costs a request."""

	def __init__(self, size: int = 500) -> None:
		self._size = size
		self._known: OrderedDict[str, str] = OrderedDict()
		self._lock = threading.Lock()

	def find(self, url: str) -> str:
		"""The nonce for `url`; empty if the server has given none."""
		with self._lock:
			return self._known.get(_origin(url), "")

	def learn(self, url: str, headers: Mapping[str, str]) -> None:
		"""Remember the nonce in an answer from `url`, if it is a valid one."""
		nonce = headers.get("dpop-nonce") or ""
		if not _NONCE.fullmatch(nonce):
			return
		with self._lock:
			self._known[_origin(url)] = nonce
			self._known.move_to_end(_origin(url))
			while len(self._known) > self._size:
				self._known.popitem(last=False)


NONCES = Nonces()


class Prover:
	"""Makes proofs with one key.

	:param key: from `new_key`
	"""

	def __init__(self, key: Secret) -> None:
		self._key = key
		self._private = keys.load(key)
		self._jwk = keys.public_jwk(self._private)

	def thumbprint(self) -> str:
		"""The name of the key in the authorization request (`dpop_jkt`, RFC 9449 10)."""
		return keys.thumbprint(self._jwk)

	def proof(self, method: str, url: str, access_token: str = "") -> Secret:
		"""The header `DPoP` of one request (RFC 9449 4.2).

		:param url: of the request; its query and fragment are left out
		:param access_token: the token that the request shows to an API
		"""
		parts = split(url)
		claims = {
			"jti": secrets.token_urlsafe(16),
			"htm": method.upper(),
			"htu": urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")),
			"iat": int(utc_now().timestamp()),
		}
		if nonce := NONCES.find(url):
			claims["nonce"] = nonce
		if access_token:
			digest = hashlib.sha256(access_token.encode()).digest()
			claims["ath"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
		headers = {"typ": "dpop+jwt", "jwk": self._jwk}
		return Secret(jwt.encode(claims, self._private, ALGORITHM, headers=headers))

	def headers(self, method: str, url: str, access_token: str) -> dict[str, str]:
		"""The headers that show a token to an API (RFC 9449 7.1)."""
		return {
			"Authorization": Secret(f"{TOKEN_TYPE} {access_token}"),
			"DPoP": self.proof(method, url, access_token),
		}


def new_key() -> Secret:
	"""A private key, in PEM. It is stored with the tokens, and is as secret as they are."""
	pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
		serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
	)
	return Secret(pem.decode())


def is_asked_for_nonce(status: int, headers: Mapping[str, str]) -> bool:
	"""Whether an API wants the request again, with the nonce that its answer supplies (RFC 9449 9)."""
	return (
		status == 401
		and "dpop-nonce" in headers
		and any(
			challenge.scheme == "dpop" and challenge.parameters.get("error") == "use_dpop_nonce"
			for challenge in challenges.read(headers.get("www-authenticate"))
		)
	)


def endpoint_asks_for_nonce(reply: Reply) -> bool:
	"""The same of the authorization server (RFC 9449 8)."""
	if reply.status not in (400, 401) or "dpop-nonce" not in reply.headers:
		return False
	return (reply.json_object() or {}).get("error") == "use_dpop_nonce"


def check_is_bound(grant: Grant) -> None:
	"""
	:raises ConfigurationError: `dpop_not_bound`: a client that asks for bound tokens must not use others (RFC 9449 5)
	"""
	if grant.token_type.lower() != TOKEN_TYPE.lower():
		raise catalogue.error("dpop_not_bound")


def _origin(url: str) -> str:
	parts = split(url)
	return f"{parts.scheme}://{parts.netloc}".lower()
