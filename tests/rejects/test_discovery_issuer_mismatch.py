from __future__ import annotations

import pytest

from connected_app.oauth import ConfigurationError, Http
from connected_app.oauth.discovery import fetch

from ..hostile import Hostile, as_json


def test_discovery_issuer_mismatch(server: Hostile, http: Http) -> None:
	"""oidcc-client-test-discovery-issuer-mismatch, and fapi2 discovery-issuer-mismatch (RFC 8414 3.3; Discovery 4.3)"""
	for issuer in ("https://mallory.example", server.url + "/tenant", server.url.upper(), None, 7, ""):
		url = server.script("/.well-known/openid-configuration", as_json({"issuer": issuer}))
		with pytest.raises(ConfigurationError) as caught:
			fetch(url, http)
		assert caught.value.code == "discovery_issuer_mismatch"


def test_placeholder_issuer_by_choice_only(server: Hostile, http: Http) -> None:
	"""Microsoft's `{tenantid}` is accepted when an admin typed it."""
	issuer = server.url + "/{tenantid}/v2.0"
	url = server.script("/common/v2.0/.well-known/openid-configuration", as_json({"issuer": issuer}))
	with pytest.raises(ConfigurationError):
		fetch(url, http)
	assert fetch(url, http, issuer=issuer).issuer == issuer
