"""Protected resources: an API's authorization server, and the tokens that the API wants (RFC 9728)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

from . import catalogue, challenges, discovery
from .discovery import Metadata
from .errors import OAuthError
from .net import Transport
from .policy import check_web_address
from .redact import printable
from .reply import Reply

WELL_KNOWN = "/.well-known/oauth-protected-resource"
REDIRECTS = (301, 302, 303, 307, 308)
# A path that ends in a slash, for instance.
MOST_REDIRECTS = 3
# Authorization servers that an API may name.
MOST_SERVERS = 5
# Scopes that an API may ask for: with more, the consent URL is too long for most servers.
MOST_SCOPES = 500
# Endpoints that this site calls itself.
CALLED = (*discovery.ENDPOINTS, "registration_endpoint", "pushed_authorization_request_endpoint")
# In the messages of errors, for a document whose address nobody has entered.
UNDESCRIBED = {
	"discovery_not_found": "discovery_not_found/server",
	"discovery_invalid": "discovery_invalid/server",
	"discovery_issuer_mismatch": "discovery_issuer_mismatch/server",
}


@dataclass(frozen=True, kw_only=True)
class ProtectedResource:
	"""An API, and its authorization server.

	:param address: the address that was asked
	:param resource: the API's identifier, to be sent as `resource` (RFC 8707); empty if an authorization server was found
		and no API
	:param server: the metadata of its authorization server
	:param scopes: the scopes that it asks for, or else all that it supports
	:param name: its name for people
	:param dpop: whether it accepts only tokens that are bound to a key (RFC 9449)
	"""

	address: str
	server: Metadata
	resource: str = ""
	scopes: tuple[str, ...] = ()
	name: str = ""
	dpop: bool = False
	document: Mapping[str, Any] = field(default_factory=dict, repr=False)


def find(address: str, http: Transport) -> ProtectedResource:
	"""Find the authorization server of the API at `address`: from its 401 answer, or from its metadata document at the
	well-known address, that of the path first (RFC 9728 3.1, 5.1; MCP 2026-07-28, Authorization Server Discovery).

	If there is no such API, `address` may itself be that of an authorization server.

	:raises ConfigurationError: `uri_invalid`, `resource_redirects`, `resource_unknown`, `resource_metadata_invalid`,
		`resource_mismatch`, `resource_unsupported`, `authorization_server_unusable`, `pkce_not_announced`, and as
		`oauth.discovery.fetch` and `net.Http.get`
	:raises TemporaryFailure: `server_error`, `rate_limited`, and as `net.Http.get`
	"""
	address = address.strip()
	try:
		check_web_address(address)
	except OAuthError:
		raise catalogue.error("uri_invalid/address") from None
	# A fragment is part neither of a request nor of a resource's identifier (RFC 8707 2).
	asked, reply = _get(urlunsplit(urlsplit(address)._replace(fragment="")), http)
	challenge = bearer(reply.headers.get("www-authenticate", "")) if reply.status == 401 else {}
	document = _document(asked, challenge, http)
	if document is None:
		return ProtectedResource(address=asked, server=_itself(asked, reply, http))
	resource = str(document["resource"])
	scopes = challenge["scope"].split() if challenge.get("scope") else document.get("scopes_supported", [])
	return ProtectedResource(
		address=asked,
		resource=resource,
		server=_server(document["authorization_servers"], http),
		scopes=tuple(dict.fromkeys(shown for scope in scopes if (shown := printable(scope, 140)))),
		name=printable(document.get("resource_name") or "", 100),
		dpop=document.get("dpop_bound_access_tokens_required") is True,
		document=document,
	)


def bearer(header: str) -> dict[str, str]:
	"""The parameters of the first `Bearer` or `DPoP` challenge that names a metadata document, or else of the first such
	challenge (RFC 9110 11.6.1, RFC 6750 3).

	:param header: `WWW-Authenticate`; it may have several challenges
	"""
	found = [dict(each.parameters) for each in challenges.read(header) if each.scheme in ("bearer", "dpop")]
	return next((each for each in found if each.get("resource_metadata")), found[0] if found else {})


def well_known(address: str) -> list[str]:
	"""Where the metadata of the API at `address` may be: for its path first, then for its host (RFC 9728 3.1)."""
	parts = urlsplit(address)
	paths = dict.fromkeys((WELL_KNOWN + parts.path.rstrip("/"), WELL_KNOWN))
	return [urlunsplit((parts.scheme, parts.netloc, path, "", "")) for path in paths]


def covers(resource: str, address: str) -> bool:
	"""Whether `resource` identifies the API at `address`: it is equal, or its beginning up to a slash.

	RFC 9728 3.3 wants them to be equal. But the document at the host's own well-known address is for all its paths.
	"""
	try:
		one, other = urlsplit(resource), urlsplit(address)
		if (one.scheme.lower(), one.netloc.lower()) != (other.scheme.lower(), other.netloc.lower()):
			return False
	except ValueError:
		return False
	if one.fragment or (one.query and one.query != other.query):
		return False
	path = one.path.rstrip("/")
	return other.path.rstrip("/") == path or other.path.startswith(path + "/")


def _get(address: str, http: Transport) -> tuple[str, Reply]:
	"""The final address and the answer there, after redirects within the origin of `address`.

	:raises ConfigurationError: `resource_redirects`
	"""
	reply = http.get(address)
	for _ in range(MOST_REDIRECTS):
		location = reply.headers.get("location")
		if reply.status not in REDIRECTS or not location:
			break
		try:
			target = urljoin(address, location)
			one, other = urlsplit(address), urlsplit(target)
			same = (one.scheme, one.netloc) == (other.scheme, other.netloc)
		except ValueError:
			same = False
		if not same:
			break
		address, reply = urlunsplit(other._replace(fragment="")), http.get(target)
	if reply.status in REDIRECTS:
		raise catalogue.error(
			"resource_redirects",
			urlsplit(address).netloc,
			printable(reply.headers.get("location") or "", 200),
		)
	reply.check_is_available()
	return address, reply


def _document(address: str, challenge: Mapping[str, str], http: Transport) -> dict[str, Any] | None:
	"""The metadata of the API at `address`; None if it has none.

	:raises ConfigurationError: `resource_metadata_invalid`, `resource_mismatch`, `resource_unsupported`
	"""
	named = challenge.get("resource_metadata")
	for url in [_joined(address, named)] if named else well_known(address):
		_where, reply = _get(url, http)
		# Some servers answer every unknown path with a page, or by asking for a token.
		document = reply.json_object() if reply.status == 200 else None
		if document is not None and (named or "resource" in document):
			# A member that is null or empty is as if it were not there.
			document = {name: value for name, value in document.items() if value not in (None, "")}
			_check(document, address)
			return document
	if named:
		raise catalogue.error("resource_metadata_invalid", urlsplit(address).netloc)
	return None


def _joined(address: str, named: str) -> str:
	try:
		return urljoin(address, named)
	except ValueError:
		return ""


def _check(document: Mapping[str, Any], address: str) -> None:
	host = urlsplit(address).netloc
	resource, servers = document.get("resource"), document.get("authorization_servers")
	scopes = document.get("scopes_supported", [])
	if not isinstance(resource, str) or not _are_texts(servers) or not servers or not _are_texts(scopes):
		raise catalogue.error("resource_metadata_invalid", host)
	if not covers(resource, address):
		raise catalogue.error("resource_mismatch", host, printable(resource, 200))
	if len(scopes) > MOST_SCOPES:
		raise catalogue.error("resource_unsupported/scopes", host, len(scopes))
	methods = document.get("bearer_methods_supported")
	# RFC 9728 2: an empty list means that none is supported.
	if isinstance(methods, list) and "header" not in methods:
		raise catalogue.error("resource_unsupported", host)
	if document.get("tls_client_certificate_bound_access_tokens") is True:
		raise catalogue.error("resource_unsupported/certificates", host)


def _server(issuers: list[str], http: Transport) -> Metadata:
	"""The metadata of the first authorization server that can be used (RFC 9728 7.6).

	:raises OAuthError: why the first of them cannot be used
	"""
	first, *others = issuers[:MOST_SERVERS]
	try:
		return _described(first, http)
	except OAuthError as error:
		failed = error
	for issuer in others:
		with suppress(OAuthError):
			return _described(issuer, http)
	raise failed


def _described(issuer: str, http: Transport) -> Metadata:
	"""The metadata of the authorization server that an API names.

	:raises OAuthError: as `oauth.discovery.fetch` and `checked`
	"""
	try:
		return checked(discovery.fetch(issuer, http), http)
	except OAuthError as error:
		if error.code not in UNDESCRIBED:
			raise
		raise catalogue.error(UNDESCRIBED[error.code], printable(issuer, 200)) from error


def _itself(address: str, reply: Reply, http: Transport) -> Metadata:
	"""The metadata of an authorization server at `address` itself.

	:raises ConfigurationError: `resource_unknown`
	"""
	try:
		return checked(discovery.fetch(address, http), http)
	except OAuthError as error:
		if error.code not in UNDESCRIBED:
			raise
	code = "resource_unknown/open" if reply.status < 400 else "resource_unknown"
	raise catalogue.error(code, urlsplit(address).netloc, reply.status)


def checked(server: Metadata, http: Transport) -> Metadata:
	"""`server`, if people can connect there. It must announce PKCE (MCP 2025-11-25 and 2026-07-28, Authorization Code
	Protection); other members that it leaves out have the defaults of RFC 8414 2.

	:raises ConfigurationError: `authorization_server_unusable`, `pkce_not_announced`, and as `net.Http.check`
	"""
	missing = next(
		(name for name in ("authorization_endpoint", "token_endpoint") if not getattr(server, name)), ""
	)
	for name, wanted in (
		("response_types_supported", "code"),
		("grant_types_supported", "authorization_code"),
		("code_challenge_methods_supported", "S256"),
	):
		given = server.document.get(name, [wanted])
		if not missing and (not isinstance(given, list) or wanted not in given):
			missing = name
	issuer = printable(server.issuer, 200)
	if missing:
		raise catalogue.error("authorization_server_unusable", issuer, missing)
	if "code_challenge_methods_supported" not in server.document:
		raise catalogue.error("pkce_not_announced", issuer)
	for name in CALLED:
		address = server.document.get(name)
		if isinstance(address, str) and address:
			http.check(address)
	return server


def _are_texts(value: object) -> bool:
	return isinstance(value, list) and all(isinstance(each, str) for each in value)
