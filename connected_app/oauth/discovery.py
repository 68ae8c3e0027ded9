"""Metadata documents: OpenID Connect Discovery 1.0 and RFC 8414."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from .errors import ConfigurationError, Sentence, TemporaryFailure

if TYPE_CHECKING:
	from .ports import Transport

WELL_KNOWN = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")
ENDPOINTS = (
	"authorization_endpoint",
	"token_endpoint",
	"userinfo_endpoint",
	"revocation_endpoint",
	"introspection_endpoint",
	"jwks_uri",
)


@dataclass(frozen=True, kw_only=True)
class Metadata:
	"""A provider's metadata; an endpoint that it does not have is an empty string."""

	issuer: str
	authorization_endpoint: str = ""
	token_endpoint: str = ""
	userinfo_endpoint: str = ""
	revocation_endpoint: str = ""
	introspection_endpoint: str = ""
	jwks_uri: str = ""
	document: dict[str, Any] = field(default_factory=dict, repr=False)


def issuer_of(url: str) -> str:
	"""The issuer that a metadata address stands for.

	Both placements are understood: appended to the issuer (Discovery 4), and put between host and path
	(RFC 8414 3.1). An address without a well-known part is the issuer itself.
	"""
	parts = urlsplit(url.strip())
	path = parts.path
	for suffix in WELL_KNOWN:
		if path.endswith(suffix):
			path = path[: -len(suffix)]
			break
		if path.startswith(suffix + "/"):
			path = path[len(suffix) :]
			break
	return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def fetch(url: str, http: Transport, issuer: str = "") -> Metadata:
	"""Fetch and check the metadata document at `url`.

	:param issuer: the issuer to expect; by default the one that `url` stands for. An issuer with a placeholder,
		such as Microsoft's `{tenantid}`, is accepted only when it is given here, that is, by explicit choice.
	:raises ConfigurationError: `discovery_not_found`, `discovery_invalid`, `discovery_issuer_mismatch`, and
		what `net.Http.get` raises
	:raises TemporaryFailure: `server_error`, `rate_limited`, and what `net.Http.get` raises
	"""
	url = url.strip()
	if not any(known in url for known in WELL_KNOWN):
		url = url.rstrip("/") + WELL_KNOWN[0]
	reply = http.get(url, redirects=3)
	if reply.status == 429 or reply.status >= 500:
		code = "rate_limited" if reply.status == 429 else "server_error"
		raise TemporaryFailure(code, Sentence("The provider answered with HTTP {0}.", reply.status))
	if reply.status != 200:
		raise ConfigurationError(
			"discovery_not_found",
			Sentence("There is no OpenID Configuration at this address (HTTP {0}).", reply.status),
			"Check the OpenID Configuration URL in the provider's documentation.",
		)
	document = reply.json_object()
	if document is None or reply.content_type in ("text/html", "application/xhtml+xml"):
		raise ConfigurationError(
			"discovery_invalid",
			"The answer is not an OpenID Configuration document.",
			"Check the OpenID Configuration URL: opened in a browser it shows JSON.",
		)
	expected = issuer or issuer_of(url)
	found = document.get("issuer")
	# Compared exactly (RFC 8414 3.3), but for the slash that appending the well-known path loses.
	if not isinstance(found, str) or (
		found != expected and (issuer or found.rstrip("/") != expected.rstrip("/"))
	):
		raise ConfigurationError(
			"discovery_issuer_mismatch",
			"The document names another issuer than the address it was fetched from.",
			"Use the address that belongs to the issuer; for Microsoft, the one with your own tenant's ID.",
		)
	endpoints: dict[str, str] = {}
	for name in ENDPOINTS:
		value = document.get(name, "")
		if not isinstance(value, str) or (value and not value.startswith(("https://", "http://"))):
			raise ConfigurationError(
				"discovery_invalid", Sentence("{0} in the provider's document is not a web address.", name)
			)
		endpoints[name] = value
	return Metadata(issuer=found, document=document, **endpoints)
