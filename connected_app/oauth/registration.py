"""Dynamic client registration (RFC 7591), and managing a registration (RFC 7592)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from . import catalogue
from .discovery import Metadata
from .errors import OAuthError
from .net import Transport
from .paths import split
from .redact import Secret, printable, redact
from .reply import Reply

AUTHORIZATION_CODE, REFRESH_TOKEN = "authorization_code", "refresh_token"
# A new client has no key yet: an admin makes it later.
BY_SECRET = ("client_secret_basic", "client_secret_post", "client_secret_jwt")
METHODS = (*BY_SECRET, "none")
# Members of a response that hold secrets (RFC 7591 3.2.1, RFC 7592 3).
SECRETS = ("client_secret", "registration_access_token")
# Characters of a Client ID and the other values that are stored: no honest server sends more.
LONGEST_ID, LONGEST = 500, 10_000


@dataclass(frozen=True, kw_only=True)
class Registration:
	"""A client as a server has registered it.

	:param client_secret: None for a public client
	:param authentication: the client authentication, by the registered name
	:param management_uri: where the registration is read, changed and deleted (RFC 7592); empty if it cannot be
	:param management_token: the token for these requests
	:param document: the metadata that the server has registered, without secrets
	"""

	client_id: str
	client_secret: Secret | None = None
	authentication: str = "client_secret_basic"
	management_uri: str = ""
	management_token: Secret | None = None
	document: Mapping[str, Any] = field(default_factory=dict, repr=False)

	@property
	def expires(self) -> bool:
		"""Whether its secret expires (RFC 7591 3.2.1)."""
		return self.document.get("client_secret_expires_at") not in (None, 0, "0", "")


def wanted(
	server: Metadata, *, client_name: str, client_uri: str, redirect_uri: str, scopes: Sequence[str] = ()
) -> dict[str, Any]:
	"""The metadata to register this client with (RFC 7591 2; OIDC Registration 2).

	:param scopes: if there are none, the server's default applies
	"""
	# The defaults of RFC 8414 2.
	offered = _list(server, "token_endpoint_auth_methods_supported", ("client_secret_basic",))
	grants = _list(server, "grant_types_supported", (AUTHORIZATION_CODE, REFRESH_TOKEN))
	values: dict[str, Any] = {
		"client_name": client_name,
		"client_uri": client_uri,
		"redirect_uris": [redirect_uri],
		"grant_types": [AUTHORIZATION_CODE, *([REFRESH_TOKEN] if REFRESH_TOKEN in grants else [])],
		"response_types": ["code"],
		"token_endpoint_auth_method": _method(offered),
		# The site is on the developer's own machine (OIDC Registration 2; MCP 2026-07-28, Application Type).
		"application_type": "native" if split(redirect_uri).scheme == "http" else "web",
	}
	if scopes:
		values["scope"] = " ".join(scopes)
	return values


def as_public(wanted: Mapping[str, Any], server: Metadata) -> dict[str, Any] | None:
	"""`wanted` for a public client; None if it already is one, or the server registers none."""
	offered = _list(server, "token_endpoint_auth_methods_supported", ())
	public = {**wanted, "token_endpoint_auth_method": "none"}
	return public if "none" in offered and public != wanted else None


def register(endpoint: str, wanted: Mapping[str, Any], http: Transport) -> Registration:
	"""Register a client. The caller stores it first, and then checks it with `check`.

	:param wanted: from `wanted`
	:raises ConfigurationError: `registration_refused`, `registration_invalid`, and as `net.Http.get`
	:raises TemporaryFailure: `server_error`, `rate_limited`, and as `net.Http.get`
	"""
	given = _read(http.send("POST", endpoint, json=dict(wanted)), endpoint)
	# Both, or it cannot be managed (RFC 7592 3).
	is_managed = given.management_uri and given.management_token
	return given if is_managed else replace(given, management_uri="", management_token=None)


def update(registration: Registration, wanted: Mapping[str, Any], http: Transport) -> Registration:
	"""Replace what is registered (RFC 7592 2.2).

	:raises ConfigurationError: as `register`
	:raises TemporaryFailure: as `register`
	"""
	values = {**wanted, "client_id": registration.client_id}
	if registration.client_secret:
		values["client_secret"] = registration.client_secret
	reply = http.send("PUT", registration.management_uri, json=values, headers=_authorization(registration))
	secrets = [each for each in (registration.client_secret, registration.management_token) if each]
	given = _read(reply, registration.management_uri, secrets)
	# Members that the response omits have not changed.
	return Registration(
		client_id=given.client_id,
		client_secret=given.client_secret or registration.client_secret,
		authentication=given.authentication,
		management_uri=given.management_uri or registration.management_uri,
		management_token=given.management_token or registration.management_token,
		document=given.document,
	)


def delete(registration: Registration, http: Transport) -> bool:
	"""Delete a registration (RFC 7592 2.3). Returns whether the server did; it may not offer that.

	:raises ConfigurationError: as `net.Http.get`
	:raises TemporaryFailure: `server_error`, `rate_limited`, and as `net.Http.get`
	"""
	if not registration.management_uri or not registration.management_token:
		return False
	reply = http.send("DELETE", registration.management_uri, headers=_authorization(registration))
	reply.check_is_available()
	# 401 and 404: somebody has deleted it already (RFC 7592 2.3), and the token with it.
	return reply.status in (200, 202, 204, 401, 404, 410)


def check(registration: Registration, wanted: Mapping[str, Any]) -> None:
	"""Check that a registration can be used: the server may have replaced what was asked for (RFC 7591 3.2.1). Members that
	its response omits are as asked.

	:raises ConfigurationError: `registration_unusable`
	"""
	for name in ("grant_types", "response_types", "redirect_uris"):
		given = registration.document.get(name) or wanted[name]
		known = given if isinstance(given, list) else str(given).split()
		if lacking := [each for each in wanted[name] if each not in known]:
			code = (
				"registration_unusable/redirect_uri"
				if name == "redirect_uris"
				else "registration_unusable/grants"
			)
			raise catalogue.error(code, printable(", ".join(lacking), 300))
	if registration.expires:
		raise catalogue.error("registration_unusable/expires")
	if registration.authentication not in METHODS:
		raise catalogue.error(
			"registration_unusable/authentication", printable(registration.authentication, 100)
		)
	if registration.authentication != "none" and not registration.client_secret:
		raise catalogue.error("registration_unusable")


def _read(reply: Reply, endpoint: str, sent: Sequence[str] = ()) -> Registration:
	host = split(endpoint).netloc
	reply.check_is_available()
	if reply.status not in (200, 201):
		raise _refusal(reply, host, sent)
	answer = reply.json_object()
	known = {name: value for name, value in (answer or {}).items() if value not in (None, "")}
	client_id, (secret, token) = known.get("client_id"), (known.get(name) for name in SECRETS)
	if not _can_be_kept(client_id, LONGEST_ID) or (isinstance(secret, str) and not _can_be_kept(secret)):
		raise catalogue.error("registration_invalid", host)
	management_uri = known.get("registration_client_uri")
	return Registration(
		client_id=str(client_id),
		client_secret=Secret(secret) if isinstance(secret, str) else None,
		# RFC 7591 2: the default, where there is a secret.
		authentication=str(
			known.get("token_endpoint_auth_method") or ("client_secret_basic" if secret else "none")
		),
		management_uri=str(management_uri) if _can_be_kept(management_uri) else "",
		management_token=Secret(token) if _can_be_kept(token) else None,
		document={name: value for name, value in known.items() if name not in SECRETS},
	)


def _refusal(reply: Reply, host: str, sent: Sequence[str]) -> OAuthError:
	"""The error in the server's words, without the secrets that were `sent` to it."""
	answer = reply.json_object() or {}
	error = redact(str(answer.get("error") or ""), sent)
	said = printable(
		redact(str(answer.get("error_description") or ""), sent) or error or f"HTTP {reply.status}"
	)
	code = "registration_refused/redirect_uri" if error == "invalid_redirect_uri" else "registration_refused"
	if reply.status in (401, 403):
		code = "registration_refused/closed"
	return catalogue.error(code, host, said, provider_error=printable(error, 100))


def _can_be_kept(value: object, longest: int = LONGEST) -> bool:
	"""Whether `value` is a text that can be stored and sent again (RFC 6749 appendix A)."""
	return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable()


def _authorization(registration: Registration) -> dict[str, str]:
	return {"Authorization": Secret(f"Bearer {registration.management_token}")}


def _method(offered: Sequence[Any]) -> str:
	"""The first method with a secret that the server names: it works best there. MCP's own server names Basic second, and
	accepts it only with a `client_id` beside it."""
	by_secret = (each for each in offered if each in BY_SECRET)
	return next(by_secret, "none" if "none" in offered else BY_SECRET[0])


def _list(server: Metadata, name: str, default: Sequence[str]) -> Sequence[Any]:
	value = server.document.get(name)
	return value if isinstance(value, list) else default
