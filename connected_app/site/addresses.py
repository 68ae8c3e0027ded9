"""*Connect by Address*: find the API at an address, and set up a Connected App for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import frappe
from frappe.utils import cint
from frappe.utils.file_lock import LockTimeoutError
from frappe.utils.synchronization import filelock

from connected_app.oauth import catalogue, protected_resource
from connected_app.oauth.errors import OAuthError
from connected_app.oauth.metadata_checks import ENDPOINTS
from connected_app.oauth.protected_resource import ProtectedResource
from connected_app.oauth.redact import Secret, printable
from connected_app.site import passwords, registrations, settings
from connected_app.site.database import own_connection, own_transaction, writing
from connected_app.site.http import http
from connected_app.site.providers import AUTHENTICATION

APP = "Connected App"
# The origins of a Client ID.
SHARED, PUBLISHED, REGISTERED, BY_HAND = "shared", "published", "registered", "by_hand"
# For a server without an API of its own: enough to name the account.
IDENTITY = ("openid", "email", "profile")
OFFLINE = "offline_access"
# Seconds. Another administrator may be waiting for the same server.
LOCK_WAIT = 30
# Seconds for all requests before the registration. Web servers end a request after 120.
ASKING = 45


def offer(address: str) -> dict[str, Any]:
	"""What `set_up` would set up for an address. Stores nothing, and registers nothing.

	:returns: `name` for people, `resource` (empty for an authorization server), `issuer`, `scopes`, the Connected App that
		already `exists` for it, and `credentials`: "shared" (with the app `shared_with`), "published", "registered" (at
		`endpoint`) or "by_hand"
	:raises OAuthError: as `oauth.protected_resource.find`
	"""
	found = _find(address)
	shared = _sharing(found)
	how = SHARED if shared else (_ways(found) or [BY_HAND])[0]
	return {
		"name": _name(found),
		"resource": found.resource,
		"issuer": printable(found.server.issuer, 500),
		"scopes": scopes(found),
		"exists": _existing(found) or "",
		"credentials": how,
		"shared_with": shared.name if shared else "",
		"endpoint": _endpoint(found) if how == REGISTERED else "",
	}


def set_up(address: str, provider_name: str = "") -> dict[str, Any]:
	"""Make a Connected App for an address, durably; or find the existing one.

	:returns: its `name`, and whether it `exists` already; otherwise its `credentials`, as in `offer`, and `redirect_uri`
	:raises OAuthError: as `oauth.protected_resource.find`, `registrations.register` and `publish`; no app is made then
	"""
	found = _find(address)
	with _alone(found.server.issuer):
		if name := _existing(found):
			return {"name": name, "exists": True, "credentials": "", "redirect_uri": ""}
		app = frappe.new_doc(APP)
		app.update(values(found))
		app.provider_name = _readable(provider_name, 140) or _name(found)
		name, how = _with_credentials(app, found)
		# Durably, as the registration is: others, who wait, must see it.
		with own_transaction(name, LOCK_WAIT), writing():
			app.insert(set_name=name)
	return {"name": app.name, "exists": False, "credentials": how, "redirect_uri": app.redirect_uri}


def values(found: ProtectedResource) -> dict[str, Any]:
	"""The values for the fields of a Connected App."""
	server = found.server
	wanted = scopes(found)
	return {
		"openid_configuration": server.issuer,
		**{field: getattr(server, name) for field, name in ENDPOINTS.items()},
		"provider_metadata": json.dumps(server.document, indent=1, sort_keys=True),
		"resources": found.resource,
		"dpop": int(found.dpop),
		"scopes": [{"scope": scope} for scope in wanted],
		# Without it, no refresh token (OIDC Core 11).
		"query_parameters": [{"key": "prompt", "value": "consent"}] if OFFLINE in wanted else [],
	}


def scopes(found: ProtectedResource) -> list[str]:
	"""The scopes that the API asks for; and `offline_access`, if the server supports it (MCP 2026-07-28, Refresh Tokens)."""
	known = found.server.document.get("scopes_supported")
	known = [scope for scope in known if isinstance(scope, str)] if isinstance(known, list) else []
	wanted = list(found.scopes) or ([] if found.resource else [scope for scope in IDENTITY if scope in known])
	return [*wanted, *([OFFLINE] if OFFLINE in known and OFFLINE not in wanted else [])]


def _find(address: str) -> ProtectedResource:
	"""
	:raises OAuthError: as `oauth.protected_resource.find`; also if the result cannot be stored, so that nothing is registered
		in vain
	"""
	address = address.strip()
	web_address = address if "://" in address else f"https://{address}"
	found = protected_resource.find(web_address, http().within(ASKING))
	kept = {APP: values(found), registrations.DOCTYPE: {"endpoint": _endpoint(found)}}
	for doctype, texts in kept.items():
		for field, text in texts.items():
			longest = cint(frappe.get_meta(doctype).get_field(field).length)
			if longest and isinstance(text, str) and len(text) > longest:
				issuer = printable(found.server.issuer, 200)
				raise catalogue.error("authorization_server_unusable/long", issuer, printable(text, 100))
	return found


def _name(found: ProtectedResource) -> str:
	host = urlsplit(found.resource or found.server.issuer).hostname
	return _readable(found.name, 100) or _readable(host or "", 100) or found.address


def _readable(text: str, limit: int) -> str:
	"""`text` without markup, which Frappe would remove."""
	return printable(text.replace("<", "").replace(">", ""), limit)


def _existing(found: ProtectedResource) -> str | None:
	"""The Connected App for this API at this server."""
	for row in _apps_of(found):
		if settings.lines(row.resources) == ((found.resource,) if found.resource else ()):
			return str(row.name)
	return None


def _apps_of(found: ProtectedResource) -> list[Any]:
	with own_connection():
		rows = frappe.get_all(
			APP,
			{"issuer": found.server.issuer, "enabled": 1, "accept_other_issuer": 0},
			[
				*("name", "issuer", "client_id", "client_secret", "redirect_uri", "resources"),
				*("signing_key", "client_authentication", "security_profile"),
			],
			order_by="creation",
			limit=0,
		)
	return [row for row in rows if row.issuer == found.server.issuer]


def _sharing(found: ProtectedResource) -> Any:
	"""A Connected App at the same server whose client the new app can share (MCP 2026-07-28, Authorization Server Binding).
	Not one that signs with a key, which does not leave its app; nor one with a metadata document, of which another is easily
	made."""
	for row in _apps_of(found):
		if not row.client_id or row.signing_key or row.security_profile == "FAPI 2.0":
			continue
		with own_connection():
			registered = registrations.of_app(row.name)
			secret = passwords.read(APP, row.name, "client_secret", raise_exception=False)
		if registered and (
			registered.kind == registrations.PUBLISHED
			or not registrations.covers(json.loads(registered.details or "{}"), scopes(found))
		):
			continue
		# A secret that cannot be read cannot be shared.
		if secret or not row.client_secret:
			return frappe._dict(row, client_secret=Secret(secret or ""))
	return None


def _ways(found: ProtectedResource) -> list[str]:
	"""The automatic ways to get a Client ID, the best first (MCP 2026-07-28, Client Registration)."""
	ways = []
	if (
		found.server.document.get("client_id_metadata_document_supported") is True
		and registrations.can_publish()
	):
		ways.append(PUBLISHED)
	if _endpoint(found):
		ways.append(REGISTERED)
	return ways


def _endpoint(found: ProtectedResource) -> str:
	endpoint = found.server.document.get("registration_endpoint")
	return endpoint if isinstance(endpoint, str) else ""


def _with_credentials(app: Any, found: ProtectedResource) -> tuple[str, str]:
	"""Give `app`, which is not saved, a client.

	:returns: the app's name, and the origin of its client
	"""
	name = frappe.generate_hash(length=10)
	if other := _sharing(found):
		app.update(
			{
				"client_id": other.client_id,
				"client_secret": other.client_secret,
				"client_authentication": other.client_authentication,
			}
		)
		app.flags.redirect_uri = other.redirect_uri
		return name, SHARED
	ways = _ways(found)
	for way in ways:
		try:
			if way == PUBLISHED:
				name, app.client_id = registrations.publish(found.server, name)
				app.client_authentication = "None"
			else:
				name, given = registrations.register(found.server, name, scopes(found))
				app.client_id, app.client_secret = given.client_id, given.client_secret
				app.client_authentication = AUTHENTICATION.get(given.authentication, given.authentication)
			return name, way
		except OAuthError as error:
			# Servers cannot read the document, which is this site's problem; registering may still work.
			if error.code != "client_document_wrong" or way == ways[-1]:
				raise
	return name, BY_HAND


@contextmanager
def _alone(issuer: str) -> Iterator[None]:
	"""Register at one server from one process at a time.

	:raises TemporaryFailure: `busy`
	"""
	try:
		with filelock(f"connected_app-{frappe.utils.sha256_hash(issuer)}", timeout=LOCK_WAIT):
			yield
			return
	except LockTimeoutError:
		pass
	raise catalogue.error("busy/address")
