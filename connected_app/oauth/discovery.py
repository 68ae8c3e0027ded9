"""Metadata documents: OpenID Connect Discovery 1.0 and RFC 8414."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from . import catalogue
from .errors import OAuthError
from .paths import split

if TYPE_CHECKING:
	from .net import Transport
	from .reply import Reply

OPENID, OAUTH = "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"
# The issuer's path stands before or after it. Some providers use names of their own (Intuit's openid_configuration and
# openid_sandbox_configuration), or a slash at the end (Django).
_WELL_KNOWN = re.compile(r"(?P<before>.*)/\.well-known/[\w.-]+(?P<behind>/.*)?", re.DOTALL)
_WEB = re.compile(r"https?://", re.IGNORECASE)
ENDPOINTS = (
	"authorization_endpoint",
	"token_endpoint",
	"userinfo_endpoint",
	"revocation_endpoint",
	"introspection_endpoint",
	"device_authorization_endpoint",
	"jwks_uri",
)


@dataclass(frozen=True, kw_only=True)
class Metadata:
	"""A provider's metadata; an endpoint that is missing is an empty string."""

	issuer: str
	authorization_endpoint: str = ""
	token_endpoint: str = ""
	userinfo_endpoint: str = ""
	revocation_endpoint: str = ""
	introspection_endpoint: str = ""
	device_authorization_endpoint: str = ""
	jwks_uri: str = ""
	document: dict[str, Any] = field(default_factory=dict, repr=False)


def issuer_of(url: str) -> str:
	"""The issuer that a metadata address stands for.

	Both placements are understood: appended to the issuer (Discovery 4), and between host and path (RFC 8414 3.1). An
	address without a well-known part is the issuer itself.
	"""
	parts = split(url.strip())
	path = parts.path
	if found := _WELL_KNOWN.fullmatch(path):
		behind = found["behind"] or ""
		path = found["before"] + ("" if behind == "/" else behind)
	return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def addresses(url: str) -> list[str]:
	"""Where the metadata of an issuer may be. An address with a well-known part is used as it was typed."""
	parts = split(url.strip())
	if _WELL_KNOWN.fullmatch(parts.path):
		return [url.strip()]
	path = parts.path.rstrip("/")
	paths = [path + OPENID, OAUTH + path, OPENID + path, path + OAUTH]
	return [urlunsplit((parts.scheme, parts.netloc, each, parts.query, "")) for each in dict.fromkeys(paths)]


def fetch(url: str, http: Transport, issuer: str = "", *, any_issuer: bool = False) -> Metadata:
	"""Fetch and check the metadata document at `url`, or of the issuer `url`.

	Members that the OpenID document lacks are taken from the same issuer's RFC 8414 document, if there is one.

	:param issuer: the issuer to expect; by default the one that `url` stands for. An issuer with a placeholder, such as
		Microsoft's `{tenantid}`, is accepted only if it is given here, that is, by explicit choice.
	:param any_issuer: accept the issuer that the document names, by explicit choice: the server at `url` then decides whose
		ID tokens are accepted
	:raises ConfigurationError: `discovery_not_found`, `discovery_invalid`, `discovery_issuer_mismatch`, and
		what `net.Http.get` raises
	:raises TemporaryFailure: `server_error`, `rate_limited`, and what `net.Http.get` raises
	"""
	first, *others = addresses(url)
	reply = http.get(first, redirects=3)
	for address in others:
		if not _is_elsewhere(reply):
			break
		reply = http.get(address, redirects=3)
	document = _read(reply)
	expected = issuer or issuer_of(url)
	found = document.get("issuer")
	# Compared exactly (RFC 8414 3.3), except for the slash that is lost when the well-known path is appended.
	if not isinstance(found, str) or not (
		any_issuer or found == expected or (not issuer and found.rstrip("/") == expected.rstrip("/"))
	):
		raise catalogue.error("discovery_issuer_mismatch")
	if "openid" in urlsplit(reply.url).path.rpartition("/.well-known/")[2]:
		document = {**_oauth_document(found, document, http), **document}
	return Metadata(issuer=found, document=document, **_endpoints(document))


def _is_elsewhere(reply: Reply) -> bool:
	"""Whether the document may be at another address: for an unknown path, some servers answer with a page, or ask for a
	token."""
	if reply.status == 200:
		return not _is_metadata(reply.json_object() or {})
	return 400 <= reply.status < 500 and reply.status != 429


def _is_metadata(document: Mapping[str, Any]) -> bool:
	return not document.keys().isdisjoint(("issuer", *ENDPOINTS))


def _read(reply: Reply) -> dict[str, Any]:
	reply.check_is_available()
	if reply.status != 200:
		raise catalogue.error("discovery_not_found", reply.status)
	document = reply.json_object()
	if (
		not document
		or not _is_metadata(document)
		or reply.content_type in ("text/html", "application/xhtml+xml")
	):
		raise catalogue.error("discovery_invalid")
	# A member that is null or empty is as if it were not there.
	return {name: value for name, value in document.items() if value not in (None, "")}


def _endpoints(document: Mapping[str, Any]) -> dict[str, str]:
	endpoints: dict[str, str] = {}
	for name in ENDPOINTS:
		# Some have false for what there is not.
		value = document.get(name) or ""
		address = value.strip() if isinstance(value, str) else "?"
		if address and not _WEB.match(address):
			raise catalogue.error("discovery_invalid/address", name)
		endpoints[name] = _WEB.sub(lambda scheme: scheme[0].lower(), address, count=1)
	return endpoints


def _oauth_document(issuer: str, document: Mapping[str, Any], http: Transport) -> dict[str, Any]:
	"""The RFC 8414 document of `issuer`, if the OpenID one lacks members that it may have; otherwise, or in doubt, nothing."""
	if all(document.get(name) for name in ("revocation_endpoint", "introspection_endpoint")):
		return {}
	parts = split(issuer)
	address = urlunsplit((parts.scheme, parts.netloc, OAUTH + parts.path.rstrip("/"), "", ""))
	try:
		more = _read(http.get(address))
		_endpoints(more)
	except OAuthError:
		return {}
	return more if more.get("issuer") == issuer else {}
