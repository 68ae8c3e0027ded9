"""How the client proves itself at the token endpoint (RFC 6749 2.3.1, OIDC Core 9)."""

from __future__ import annotations

import base64
from urllib.parse import quote

from .config import ClientConfig
from .errors import ConfigurationError
from .redact import Secret


def method(config: ClientConfig) -> str:
	"""The method to use: "basic", "post" or "none".

	Automatic follows the provider's metadata, Basic first; without metadata it is Post, which is what Frappe's
	own Connected App always sent, so that existing registrations go on working.
	"""
	if config.client_authentication != "automatic":
		return config.client_authentication
	if not config.client_secret:
		return "none"
	supported = config.metadata.get("token_endpoint_auth_methods_supported")
	if config.metadata.get("token_endpoint"):
		# RFC 8414 2: if omitted, the default is client_secret_basic.
		supported = supported if isinstance(supported, list) else ["client_secret_basic"]
		return "basic" if "client_secret_basic" in supported else "post"
	return "post"


def authenticate(config: ClientConfig, form: dict[str, str], headers: dict[str, str]) -> None:
	"""Add the client's authentication to a request, one method only.

	:raises ConfigurationError: `client_id_missing`, `client_secret_missing`
	"""
	if not config.client_id:
		raise ConfigurationError("client_id_missing", "Client ID is not set.", "Fill in Client ID.")
	how = method(config)
	if how == "none":
		form["client_id"] = config.client_id
		return
	if not config.client_secret:
		raise ConfigurationError(
			"client_secret_missing",
			"Client Secret is not set.",
			"Fill in Client Secret, or set Client Authentication to None for a public client.",
		)
	if how == "post":
		form["client_id"] = config.client_id
		form["client_secret"] = config.client_secret
	else:
		# Form-encoded before base64, or a colon or a non-ASCII character breaks it (RFC 6749 2.3.1). A space as
		# %20, not +: every form decoder reads that, and so do servers that only percent-decode.
		pair = f"{quote(config.client_id, safe='')}:{quote(config.client_secret, safe='')}"
		headers["Authorization"] = Secret("Basic " + base64.b64encode(pair.encode()).decode())
		del pair
