"""Fetching a provider's metadata document, by an admin's settings."""

from __future__ import annotations

import json
from typing import Any

import frappe
from frappe import _

from connected_app.oauth import catalogue, discovery
from connected_app.oauth.discovery import Metadata
from connected_app.oauth.metadata_checks import ENDPOINTS
from connected_app.site.http import http
from connected_app.site.settings import AppSettings


def fetch(openid_configuration: str | None, issuer: str | None, *, any_issuer: bool = False) -> Metadata:
	"""Fetch the document (OIDC Discovery 4, RFC 8414 3).

	:param openid_configuration: the address, as an admin typed it
	:param issuer: the field *Issuer*; it counts if it has a placeholder, such as Microsoft's `{tenantid}`
	:param any_issuer: *Issuer May Differ from Address*
	:raises ConfigurationError: `openid_configuration_missing`, and what `oauth.discovery.fetch` raises
	:raises TemporaryFailure: as `oauth.discovery.fetch`
	"""
	if not openid_configuration:
		raise catalogue.error("openid_configuration_missing")
	chosen = issuer if issuer and "{tenantid}" in issuer else ""
	return discovery.fetch(openid_configuration, http(), chosen, any_issuer=any_issuer)


def for_form(app: AppSettings) -> dict[str, Any]:
	"""The document's values, as `api.get_openid_configuration` returns them to the form.

	:raises OAuthError: as `fetch`
	"""
	metadata = fetch(app.openid_configuration, app.provider.issuer, any_issuer=app.any_issuer)
	values = {field: getattr(metadata, name) for field, name in ENDPOINTS.items()}
	labels = {field: _(frappe.get_meta("Connected App").get_label(field)) for field in values}
	found = {field: value for field, value in values.items() if value}
	return {
		"values": {**found, "provider_metadata": json.dumps(metadata.document, indent=1, sort_keys=True)},
		"filled": [labels[field] for field in found],
		# Few providers give codes, and few sites need them.
		"missing": [
			labels[field] for field in values if field not in found and field != "device_authorization_uri"
		],
	}
