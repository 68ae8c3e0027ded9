"""ID tokens: OIDC Core 3.1.3.7 (after the code exchange) and 12.2 (after a refresh)."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt.algorithms import OKPAlgorithm

from . import catalogue, lifetimes, paths
from .client import Client
from .errors import ConfigurationError, OAuthError, ReconnectRequired, TemporaryFailure
from .grant import LONGEST_SUBJECT, Grant
from .provider import Provider
from .redact import Secret, constant_time_equal, strip_chain

if TYPE_CHECKING:
	from .net import Transport

CLOCK_SKEW = 60
KEYS_LIVE = 3600
KEYS_REST = 30
# EdDSA by the names of RFC 9864, which name the curve, and by the older name, which does not.
EDWARDS: dict[str, tuple[type, ...]] = {
	"Ed25519": (Ed25519PublicKey,),
	"Ed448": (Ed448PublicKey,),
	"EdDSA": (Ed25519PublicKey, Ed448PublicKey),
}
ASYMMETRIC = (
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", *EDWARDS,
)  # fmt: skip
# Only if the provider's metadata name them, as Frappe's own provider does.
SYMMETRIC = ("HS256", "HS384", "HS512")
# PyJWT checks the signature only. Claims are checked below, by our own clock and with our own error codes.
_JWS = jwt.PyJWS()
for _name in set(EDWARDS).difference(_JWS.get_algorithms()):
	_JWS.register_algorithm(_name, OKPAlgorithm())
# Older releases of PyJWT raise the last one for a hundred thousand nested brackets.
_MALFORMED = (jwt.PyJWTError, UnicodeError, RecursionError)
_HASHES: dict[str, Callable[[bytes], bytes]] = {
	"256": lambda text: hashlib.sha256(text).digest(),
	"384": lambda text: hashlib.sha384(text).digest(),
	"512": lambda text: hashlib.sha512(text).digest(),
	# The curve's own hash (RFC 8032 5.1, 5.2); OIDC Core 3.1.3.6 only says "the hash of `alg`".
	"Ed25519": lambda text: hashlib.sha512(text).digest(),
	"Ed448": lambda text: hashlib.shake_256(text).digest(114),
}


class KeySets:
	"""Key sets by address, cached. A key that is not found makes us fetch the set again, at most once in `KEYS_REST` seconds:
	invented tokens cannot make us ask the provider all the time."""

	def __init__(self) -> None:
		# Fetched when; last fetched for a missing key when; the keys.
		self._sets: dict[str, tuple[float, float, list[jwt.PyJWK]]] = {}
		self._lock = threading.Lock()

	def find(
		self, uri: str, kid: str | None, algorithm: str, http: Transport, *, again: bool = False
	) -> list[jwt.PyJWK]:
		"""The keys that may have signed.

		:param again: the cached keys did not verify the token; returns nothing unless the set could be fetched again
		:raises TemporaryFailure: `keys_unavailable`, and what `net.Http.get` raises
		"""
		now = time.monotonic()
		with self._lock:
			fetched, searched, keys = self._sets.get(uri, (-math.inf, -math.inf, []))
		found = [] if again else _suitable(keys, kid, algorithm)
		expired = now - fetched > KEYS_LIVE
		if expired or (not found and now - searched > KEYS_REST):
			keys = self._fetch(uri, http)
			with self._lock:
				self._sets[uri] = (now, searched if expired else now, keys)
			found = _suitable(keys, kid, algorithm)
		return found

	def _fetch(self, uri: str, http: Transport) -> list[jwt.PyJWK]:
		reply = http.get(uri)
		document = reply.json_object() if reply.status == 200 else None
		entries = document.get("keys") if document else None
		if not isinstance(entries, list):
			raise catalogue.error("keys_unavailable")
		keys = []
		for entry in entries[:100]:
			if not isinstance(entry, dict) or (entry.get("use") or "sig") != "sig":
				continue
			# Anybody can sign with a key that is published with its private part, or with a published shared secret. Reading a
			# private part takes a minute if its factors are long.
			if entry.get("kty") == "oct" or "d" in entry:
				continue
			try:
				# PyJWT may not know the `alg` of an Edwards curve.
				keys.append(jwt.PyJWK(entry, "EdDSA" if entry.get("kty") == "OKP" else None))
			except Exception:  # noqa: S112  a key of a kind that is not known here is no reason to refuse the others
				continue
		return keys


key_sets = KeySets()


def _suitable(keys: list[jwt.PyJWK], kid: str | None, algorithm: str) -> list[jwt.PyJWK]:
	family = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}[algorithm[:2]]
	family_keys = [
		key
		for key in keys
		if key.key_type == family and (family != "OKP" or isinstance(key.key, EDWARDS[algorithm]))
	]
	return [key for key in family_keys if key.key_id == kid] if kid else family_keys


def verify(
	provider: Provider,
	client: Client,
	token: object,
	http: Transport,
	now: datetime,
	*,
	nonce: str | None = None,
	max_age: int | None = None,
	grant: Grant | None = None,
) -> dict[str, Any]:
	"""The claims of a valid ID token.

	Without a JWKS URI the signature is not checked: the token came straight from the token endpoint over TLS
	(OIDC Core 3.1.3.7, 6). `alg: none` is refused even so.

	:param now: UTC
	:param nonce: that of the attempt
	:param max_age: how old the login may be, in seconds, if the token says how old it is (3.1.3.7, 13)
	:param grant: its access token must match `at_hash`, if present
	:raises ReconnectRequired: `id_token_*`
	:raises TemporaryFailure: if the keys cannot be fetched
	"""
	if not isinstance(token, str) or not token:
		raise catalogue.error("id_token_missing")
	claims, hashes = _opened(provider, client, token, "id_token_signing_alg_values_supported", http)
	_check(provider, client, claims, now, nonce)
	if max_age is not None and (since := _seconds(claims.get("auth_time"))) is not None:
		if now.timestamp() > since + max_age + CLOCK_SKEW:
			raise catalogue.error("id_token_login_too_old")
	if grant is not None and claims.get("at_hash"):
		_check_at_hash(claims["at_hash"], grant.access_token, hashes)
	return claims


def check_refreshed(provider: Provider, client: Client, token: object, account_id: str) -> None:
	"""Check an ID token that came with a refresh (OIDC Core 12.2): the same subject, issuer and audience as before.

	The signature is not checked: TLS to the token endpoint vouches for it (3.1.3.7, 6), and no key set is fetched while
	others wait for the lock. Nor are the times: clocks that differ are no reason to lose a grant. A token that cannot be
	read is ignored.

	The account may be identified by another claim than `sub`, or by the account request alone. Then `sub` is not known, and
	only the same claim is compared.

	:param account_id: of the account that was connected, from the first path of `Quirks.account_id` that had a value
	:raises ReconnectRequired: `id_token_subject`: these tokens belong to another account
	:raises ConfigurationError: `id_token_issuer`, `id_token_audience`: a setting of ours may also be the reason
	"""
	if not isinstance(token, str):
		return
	try:
		claims = _claims(token)
	except _MALFORMED:
		return
	names = provider.quirks.account_id
	said = {name: subject_of({"sub": paths.at(claims, name)})[:LONGEST_SUBJECT] for name in (*names, "sub")}
	if said[names[0]] and account_id[:LONGEST_SUBJECT] not in said.values():
		raise catalogue.error("id_token_subject")
	try:
		_check_parties(provider, client, claims)
	except ReconnectRequired as error:
		failure = ConfigurationError(error.code, error.message, "Check Issuer and Client ID.")
	else:
		return
	raise failure


def signed_userinfo(provider: Provider, client: Client, token: str, http: Transport) -> dict[str, Any]:
	"""The claims of a userinfo response that is a signed JWT (OIDC Core 5.3.2): by this issuer, for this client.

	:raises ReconnectRequired: `id_token_*`
	:raises TemporaryFailure: if the keys cannot be fetched
	"""
	claims, _ = _opened(provider, client, token, "userinfo_signing_alg_values_supported", http)
	audience = claims.get("aud", client.client_id)
	if claims.get("iss", provider.issuer) != provider.issuer:
		raise catalogue.error("id_token_issuer")
	if client.client_id not in (audience if isinstance(audience, list) else [audience]):
		raise catalogue.error("id_token_audience")
	return claims


def _opened(
	provider: Provider, client: Client, token: str, algorithms: str, http: Transport
) -> tuple[dict[str, Any], list[str]]:
	"""The claims of `token` after its signature was verified, and the names in `_HASHES` that its algorithm may stand for.

	:param algorithms: the member of the provider's metadata that lists the allowed algorithms
	"""
	error: OAuthError
	cause: BaseException
	try:
		header = jwt.get_unverified_header(token)
		algorithm = _algorithm(provider, client, header, algorithms)
		claims, hashes = _decoded(provider, client, token, header, algorithm, http)
		if isinstance(claims.get("nonce"), str):
			claims["nonce"] = Secret(claims["nonce"])
		return claims, hashes
	except _MALFORMED as exc:
		signature = isinstance(exc, jwt.InvalidSignatureError)
		error = catalogue.error("id_token_signature") if signature else catalogue.error("id_token_invalid")
		cause = strip_chain(exc)
	raise error from cause


def _algorithm(provider: Provider, client: Client, header: dict[str, Any], member: str) -> str:
	supported = provider.metadata.get(member)
	allowed = ["RS256"]
	if isinstance(supported, list):
		allowed = [
			alg for alg in supported if alg in ASYMMETRIC or (alg in SYMMETRIC and client.client_secret)
		]
	if set(EDWARDS).intersection(allowed):
		# Providers move from the older name to the newer ones, in tokens first or in metadata first.
		allowed += EDWARDS
	algorithm = header.get("alg")
	if not isinstance(algorithm, str) or algorithm not in allowed:
		raise catalogue.error("id_token_algorithm")
	return algorithm


def _decoded(
	provider: Provider, client: Client, token: str, header: dict[str, Any], algorithm: str, http: Transport
) -> tuple[dict[str, Any], list[str]]:
	hashes = (
		list(EDWARDS) if algorithm == "EdDSA" else [algorithm if algorithm in EDWARDS else algorithm[-3:]]
	)
	if algorithm in SYMMETRIC:
		# The key is the client secret, never one of the key set (OIDC Core 3.1.3.7, 8).
		return _claims(token, str(client.client_secret), algorithm), hashes
	if not provider.jwks_uri:
		return _claims(token), hashes
	kid = header.get("kid")
	kid = kid if isinstance(kid, str) else None
	wrong: jwt.PyJWTError | None = None
	# The second time with a key set that was fetched again, if that is allowed now: the provider may have changed a key
	# without changing its name, or have given it no name.
	for again in (False, True):
		try:
			keys = key_sets.find(provider.jwks_uri, kid, algorithm, http, again=again)
		except TemporaryFailure:
			if wrong:
				break
			raise
		for key in keys:
			try:
				claims = _claims(token, key.key, algorithm)
			except (jwt.InvalidSignatureError, jwt.InvalidKeyError) as exc:
				wrong = exc
				continue
			curves = [name for name in ("Ed25519", "Ed448") if isinstance(key.key, EDWARDS[name])]
			return claims, curves or hashes
	raise wrong or catalogue.error("id_token_key_unknown")


def _claims(token: str, key: Any = None, algorithm: str = "") -> dict[str, Any]:
	"""The claims of a JWT. Without a key its signature is not checked.

	:raises jwt.PyJWTError: `InvalidSignatureError` for a wrong signature
	"""
	if key is None:
		signed = _JWS.decode_complete(token, options={"verify_signature": False})
	else:
		signed = _JWS.decode_complete(token, key, algorithms=[algorithm])
	try:
		claims = json.loads(signed["payload"])
	except ValueError:
		claims = None
	if not isinstance(claims, dict):
		raise jwt.DecodeError("The payload is no JSON object.")
	# A member that is null or empty counts as missing.
	return {name: value for name, value in claims.items() if value not in (None, "")}


def subject_of(claims: Mapping[str, Any]) -> str:
	"""`sub` as text: some providers send a number. Empty where there is none."""
	sub = claims.get("sub")
	return str(sub) if isinstance(sub, str) or (isinstance(sub, int) and not isinstance(sub, bool)) else ""


def _check(
	provider: Provider, client: Client, claims: dict[str, Any], now: datetime, nonce: str | None
) -> None:
	_check_parties(provider, client, claims)
	if not subject_of(claims):
		raise catalogue.error("id_token_subject/nobody")
	instant = now.timestamp()
	expires, issued = _seconds(claims.get("exp")), _seconds(claims.get("iat"))
	if expires is None or instant >= expires + CLOCK_SKEW:
		raise catalogue.error("id_token_expired")
	if issued is None or issued > instant + CLOCK_SKEW:
		raise catalogue.error("id_token_issued_at")
	valid_from = _seconds(claims.get("nbf"))
	if "nbf" in claims and (valid_from is None or valid_from > instant + CLOCK_SKEW):
		raise catalogue.error("id_token_issued_at/not_yet")
	if nonce is not None and (provider.quirks.nonce_is_required or claims.get("nonce")):
		given = claims.get("nonce")
		if not isinstance(given, str) or not constant_time_equal(given, nonce):
			raise catalogue.error("id_token_nonce")


def _check_parties(provider: Provider, client: Client, claims: dict[str, Any]) -> None:
	"""Check that the token is by this issuer and for this client."""
	issuer = provider.issuer
	if "{tenantid}" in issuer and isinstance(claims.get("tid"), str):
		# Microsoft's multi-tenant issuer, which an admin chose explicitly.
		issuer = issuer.replace("{tenantid}", claims["tid"])
	if claims.get("iss") != issuer:
		raise catalogue.error("id_token_issuer")
	audience = claims.get("aud")
	audiences = [audience] if isinstance(audience, str) else audience
	if not isinstance(audiences, list) or client.client_id not in audiences:
		raise catalogue.error("id_token_audience")
	# 3.1.3.7, 3: no audience that the client does not trust; we trust only ourselves. By explicit choice, others may be
	# named beside this client if it is the one that asked (`azp`).
	others = any(each != client.client_id for each in audiences) and not (
		provider.quirks.other_audiences and claims.get("azp")
	)
	if others or claims.get("azp", client.client_id) != client.client_id:
		raise catalogue.error("id_token_audience/others")


def _seconds(value: object) -> float | None:
	"""An instant as a number (RFC 7519 2), or as a text that is one."""
	found = lifetimes.number(value)
	return found if found is not None and math.isfinite(found) else None


def _check_at_hash(given: object, access_token: Secret, hashes: list[str]) -> None:
	"""OIDC Core 3.1.3.6: the left half of the access token's hash."""
	for name in hashes:
		if name not in _HASHES:
			continue
		hashed = _HASHES[name](access_token.encode())
		half = base64.urlsafe_b64encode(hashed[: len(hashed) // 2]).rstrip(b"=").decode()
		if isinstance(given, str) and constant_time_equal(given.rstrip("="), half):
			return
	raise catalogue.error("id_token_at_hash")
