"""A provider's metadata document, as an admin's settings lead to it."""

from __future__ import annotations

from connected_app.oauth import catalogue, discovery
from connected_app.oauth.discovery import Metadata
from connected_app.site.http import http


def fetch(openid_configuration: str | None, issuer: str | None, *, any_issuer: bool = False) -> Metadata:
	"""Fetch the document (OIDC Discovery 4, RFC 8414 3).

	:param openid_configuration: the address, as an admin typed it
	:param issuer: what *Issuer* says. It counts where it has a placeholder, such as Microsoft's `{tenantid}`.
	:param any_issuer: *Issuer May Differ from Address*
	:raises ConfigurationError: `openid_configuration_missing`, and what `oauth.discovery.fetch` raises
	:raises TemporaryFailure: as `oauth.discovery.fetch`
	"""
	if not openid_configuration:
		raise catalogue.error("openid_configuration_missing")
	chosen = issuer if issuer and "{tenantid}" in issuer else ""
	return discovery.fetch(openid_configuration, http(), chosen, any_issuer=any_issuer)
