"""This site's clients at authorization servers: registered there, or published here for them.

A *Client Registration* is stored durably as soon as a server has answered, before there is a Connected App, so that a later
failure costs no second registration. When its app is deleted, it stays until the server has deleted it, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import frappe
from frappe.utils import get_url
from frappe.utils.password import delete_all_passwords_for

from connected_app.oauth import catalogue, registration
from connected_app.oauth.clock import utc_now
from connected_app.oauth.discovery import Metadata
from connected_app.oauth.errors import OAuthError
from connected_app.oauth.redact import Secret
from connected_app.oauth.registration import Registration
from connected_app.site import passwords, settings
from connected_app.site.database import own_connection, own_transaction, writing
from connected_app.site.http import http
from connected_app.site.rows import aware, naive
from connected_app.site.settings import CALLBACK, AppSettings

DOCTYPE = "Client Registration"
APP = "Connected App"
# By the server (RFC 7591), or at an address of this site (client ID metadata document).
REGISTERED, PUBLISHED = "Registered", "Published"
SECRETS = ("client_secret", "management_token")
# The name of the row follows it in a path.
PATH = "/api/method/connected_app.api.client_metadata/"
# Seconds for which a server need not ask again.
CACHED = 60
LOCK_WAIT = 10
NOT_DELETED = "Connected App: registration not deleted"
FIRST_PAUSE, LONGEST_PAUSE, GIVEN_UP_AFTER = timedelta(minutes=5), timedelta(hours=12), timedelta(days=7)


def register(server: Metadata, connected_app: str, scopes: Sequence[str]) -> tuple[str, Registration]:
	"""Register this site at `server` and store the registration durably; or reuse one whose app was never stored.

	:param connected_app: the intended name of the new app
	:returns: the app's name, which is another one if a registration is reused, and the registration
	:raises OAuthError: as `oauth.registration.register` and `check`
	"""
	for row in _left_over(server.issuer, REGISTERED):
		found = _read(row)
		uri = settings.suggested_redirect_uri(row.connected_app)
		if found.client_id and row.redirect_uri == uri and covers(found.document, scopes):
			return row.connected_app, found
	redirect_uri = settings.suggested_redirect_uri(connected_app)
	wanted = _wanted(server, redirect_uri, scopes)
	endpoint = str(server.document["registration_endpoint"])
	given = registration.register(endpoint, wanted, http())
	if given.expires and (public := registration.as_public(wanted, server)):
		# By default, npm's MCP SDK lets secrets expire after a month; public clients have none.
		_try_to_delete(given)
		wanted, given = public, registration.register(endpoint, public, http())
	try:
		registration.check(given, wanted)
		_put(
			{
				"connected_app": connected_app,
				"kind": REGISTERED,
				"issuer": server.issuer,
				"endpoint": endpoint,
				"client_id": given.client_id,
				"redirect_uri": redirect_uri,
				**_columns(given),
			},
			given,
		)
	except Exception:
		# Delete a useless registration, if the server offers that.
		_try_to_delete(given)
		raise
	return connected_app, given


def publish(server: Metadata, connected_app: str) -> tuple[str, str]:
	"""Publish a client ID metadata document for a new app, and check that it can be read as a server would read it.

	:returns: the app's name, and its Client ID: the document's address
	:raises ConfigurationError: `client_document_wrong`: nothing is published then
	"""
	for row in _left_over(server.issuer, PUBLISHED):
		if row.client_id == get_url(PATH + row.name):
			connected_app, name = row.connected_app, row.name
			break
	else:
		name = frappe.generate_hash(length=20)
		_put(
			{
				"name": name,
				"connected_app": connected_app,
				"kind": PUBLISHED,
				"issuer": server.issuer,
				"client_id": get_url(PATH + name),
				"redirect_uri": settings.suggested_redirect_uri(connected_app),
			}
		)
	client_id = get_url(PATH + name)
	if not _is_readable(client_id, settings.suggested_redirect_uri(connected_app)):
		with own_transaction(name, LOCK_WAIT), writing():
			_drop(name)
		raise catalogue.error("client_document_wrong", client_id)
	return connected_app, client_id


def can_publish() -> bool:
	"""Whether this site has an address at which a server could read a document (draft-ietf-oauth-client-id-metadata-document 3)."""
	return urlsplit(get_url()).scheme == "https"


def document(identifier: str) -> dict[str, Any] | None:
	"""The client ID metadata document at `PATH` and `identifier`, or None if there is none."""
	row = frappe.db.get_value(DOCTYPE, {"name": identifier, "kind": PUBLISHED}, ["*"], as_dict=True)
	if not row:
		return None
	if row.ended and row.details:
		kept: dict[str, Any] = json.loads(row.details)
		return kept
	columns = ["redirect_uri", "client_authentication", "key_set_uri"]
	app = frappe.db.get_value(APP, row.connected_app, columns, as_dict=True) or frappe._dict()
	signs = app.client_authentication == "private_key_jwt" and app.key_set_uri
	return {
		"client_id": row.client_id,
		"client_name": urlsplit(row.client_id).netloc,
		"client_uri": row.client_id.partition(PATH)[0],
		"redirect_uris": [app.redirect_uri or row.redirect_uri],
		"grant_types": [registration.AUTHORIZATION_CODE, registration.REFRESH_TOKEN],
		"response_types": ["code"],
		"token_endpoint_auth_method": "private_key_jwt" if signs else "none",
		**({"jwks_uri": app.key_set_uri} if signs else {}),
	}


def of_app(connected_app: str) -> Any:
	"""The row of a Connected App's client; None if an admin has entered the client, or another app's is used."""
	client_id = frappe.db.get_value(APP, connected_app, "client_id")
	filters = {"connected_app": connected_app, "ended": 0}
	rows = frappe.get_all(DOCTYPE, filters, ["*"], order_by="creation desc", limit=0)
	return next((row for row in rows if row.client_id == client_id), None)


def about(connected_app: str) -> dict[str, Any]:
	"""The registration of a Connected App's client, without secrets; for admins.

	:returns: `kind` (empty: entered by hand), `issuer`, `endpoint`, `client_id`, `redirect_uri`, `registered_on` (UTC),
		whether it `can_be_changed` by this site, the server's `details`, and `shared_with`: other apps with the same client
	"""
	app = frappe.db.get_value(APP, connected_app, ["client_id", "issuer", "redirect_uri"], as_dict=True)
	row = of_app(connected_app) or frappe._dict()
	return {
		"kind": row.kind or "",
		"issuer": row.issuer or app.issuer or "",
		"endpoint": row.endpoint or "",
		"client_id": app.client_id or "",
		"redirect_uri": app.redirect_uri or "",
		"registered_on": row.registered_on,
		"can_be_changed": bool(row.management_uri) or row.kind == PUBLISHED,
		"details": json.loads(row.details or "{}")
		if row.kind == REGISTERED
		else document(row.name or "") or {},
		"shared_with": [
			{"name": each.name, "provider_name": each.provider_name} for each in sharing(connected_app)
		],
	}


def sharing(connected_app: str) -> list[Any]:
	"""The other Connected Apps that are the same client at the same server."""
	app = frappe.db.get_value(APP, connected_app, ["client_id", "issuer"], as_dict=True)
	if not app or not app.client_id or not app.issuer:
		return []
	same = {"client_id": app.client_id, "issuer": app.issuer, "name": ("!=", connected_app)}
	found = frappe.get_all(APP, same, ["name", "provider_name", "client_id", "issuer", "redirect_uri"])
	# The database takes upper and lower case for the same.
	return [each for each in found if (each.client_id, each.issuer) == (app.client_id, app.issuer)]


def suggested_redirect_uri(app: AppSettings) -> str:
	"""The Redirect URI by the site's current address: of this app, or of the app whose client it shares."""
	suggested = app.suggested_redirect_uri()
	present = app.client.redirect_uri
	if present != suggested and any(each.redirect_uri == present for each in sharing(app.name)):
		return get_url(CALLBACK + present.partition(CALLBACK)[2])
	return suggested


def renew_redirect_uri(app: AppSettings) -> str:
	"""Set the Redirect URI by the site's current address; first at the server, if this site may change its registration there
	(RFC 7592 2.2). Apps that share the client change, too.

	:raises OAuthError: as `oauth.registration.update`; nothing has changed then
	"""
	renewed = suggested_redirect_uri(app)
	others = [each.name for each in sharing(app.name) if each.redirect_uri == app.client.redirect_uri]
	row = next((found for name in (app.name, *others) if (found := of_app(name))), None)
	values = {"redirect_uri": renewed}
	if row and row.kind == PUBLISHED:
		values["client_id"] = get_url(PATH + row.name)
		frappe.db.set_value(DOCTYPE, row.name, values)
	elif row and row.management_uri:
		_update(row, app, renewed)
	for name in (app.name, *others):
		frappe.get_doc(APP, name).db_set(values)
	return renewed


def end_of_app(connected_app: str) -> None:
	"""A Connected App is deleted, in the caller's transaction. Once that is committed, its registration is deleted, unless
	another app uses it."""
	heir = next((each for each in sharing(connected_app)), None)
	for row in frappe.get_all(DOCTYPE, {"connected_app": connected_app, "ended": 0}, ["*"], limit=0):
		if heir and row.client_id == heir.client_id:
			frappe.db.set_value(DOCTYPE, row.name, "connected_app", heir.name)
		elif row.management_uri or row.kind == PUBLISHED:
			now = utc_now()
			values = {"ended": 1, "ended_on": naive(now), "retry_at": naive(now + FIRST_PAUSE)}
			if row.kind == PUBLISHED:
				# Needed when connections are revoked, with the values that the app has now.
				values["details"] = json.dumps(document(row.name))
			frappe.db.set_value(DOCTYPE, row.name, values)
			frappe.db.after_commit.add(_deleting(row.name))
		else:
			_drop(row.name)


def retry() -> None:
	"""Scheduled: ask servers again to delete the registrations of deleted apps."""
	due = {"ended": 1, "retry_at": ("<=", naive(utc_now()))}
	for name in frappe.get_all(DOCTYPE, due, order_by="retry_at", pluck="name", limit=50):
		try:
			_delete(name)
		except Exception as error:
			frappe.log_error(title=NOT_DELETED, message=f"{type(error).__name__} for {name}")


def forget_all() -> None:
	"""The app is uninstalled. Clients stay registered: core goes on using them."""
	for name in frappe.get_all(DOCTYPE, pluck="name", limit=0):
		_drop(name)


def covers(details: Any, scopes: Iterable[str]) -> bool:
	"""Whether a client registered with `details` may ask for `scopes` (RFC 7591 2)."""
	allowed = details.get("scope") if isinstance(details, dict) else None
	return not isinstance(allowed, str) or set(scopes) <= set(allowed.split())


def _client_name() -> str:
	"""The client's name for people at the server: the site's host, which is unambiguous."""
	return urlsplit(get_url()).netloc


def _wanted(server: Metadata, redirect_uri: str, scopes: Sequence[str]) -> dict[str, Any]:
	return registration.wanted(
		server, client_name=_client_name(), client_uri=get_url(), redirect_uri=redirect_uri, scopes=scopes
	)


def _left_over(issuer: str, kind: str) -> list[Any]:
	"""The rows for apps that do not exist."""
	with own_connection():
		found = frappe.get_all(
			DOCTYPE,
			{"issuer": issuer, "kind": kind, "ended": 0},
			["*"],
			order_by="creation desc",
			limit=0,
		)
		names = [row.connected_app for row in found]
		known = set(frappe.get_all(APP, {"name": ("in", names)}, pluck="name")) if names else set()
	return [row for row in found if row.issuer == issuer and row.connected_app not in known]


def _put(values: dict[str, Any], given: Registration | None = None) -> None:
	name = values.get("name") or frappe.generate_hash(length=20)
	with own_transaction(name, LOCK_WAIT), writing():
		now = naive(utc_now())
		doc = frappe.get_doc({"doctype": DOCTYPE, "registered_on": now, **values, "name": name})
		doc.db_insert()
		if given:
			_store_secrets(name, given)


def _columns(given: Registration) -> dict[str, str]:
	details = json.dumps(dict(given.document), indent=1, sort_keys=True)
	return {"management_uri": given.management_uri, "details": details}


def _store_secrets(name: str, given: Registration) -> None:
	for field in SECRETS:
		if secret := getattr(given, field):
			passwords.store(DOCTYPE, name, field, secret)


def _read(row: Any) -> Registration:
	secrets = {field: passwords.read(DOCTYPE, row.name, field, raise_exception=False) for field in SECRETS}
	details = json.loads(row.details or "{}")
	return Registration(
		client_id=row.client_id or "",
		authentication=details.get("token_endpoint_auth_method")
		or ("client_secret_basic" if secrets["client_secret"] else "none"),
		management_uri=row.management_uri or "",
		document=details,
		**{field: Secret(secret) if secret else None for field, secret in secrets.items()},
	)


def _is_readable(client_id: str, redirect_uri: str) -> bool:
	try:
		reply = http().get(client_id)
	except OAuthError:
		return False
	found = reply.json_object() if reply.status == 200 else None
	return bool(
		found and found.get("client_id") == client_id and found.get("redirect_uris") == [redirect_uri]
	)


def _update(row: Any, app: AppSettings, redirect_uri: str) -> None:
	present = _read(row)
	server = Metadata(issuer=app.provider.issuer, document=dict(app.provider.metadata))
	wanted = _wanted(server, redirect_uri, (present.document.get("scope") or "").split())
	wanted["token_endpoint_auth_method"] = present.authentication
	given = registration.update(present, wanted, http())
	apps = (app.name, *(each.name for each in sharing(app.name)))
	# Store these even if the rest of the response is unusable: the server may have replaced secret and token, and the old ones
	# no longer work (RFC 7592 2.2, 3).
	with own_transaction(row.name, LOCK_WAIT), writing():
		frappe.db.set_value(DOCTYPE, row.name, _columns(given))
		_store_secrets(row.name, given)
		if given.client_secret and given.client_secret != present.client_secret:
			for name in apps:
				passwords.store(APP, name, "client_secret", given.client_secret)
	registration.check(given, wanted)
	with own_transaction(row.name, LOCK_WAIT), writing():
		frappe.db.set_value(DOCTYPE, row.name, "redirect_uri", redirect_uri)


def _deleting(name: str) -> Callable[[], None]:
	def attempt() -> None:
		_delete(name)

	return attempt


def _delete(name: str) -> None:
	"""One attempt to delete at the server, after the tokens of its connections are revoked, which needs the registration."""
	with own_transaction(name, LOCK_WAIT):
		with writing():
			row = frappe.db.get_value(
				DOCTYPE, {"name": name, "ended": 1}, ["*"], as_dict=True, for_update=True
			)
			if not row:
				return
			of_app = {"connected_app": row.connected_app}
			waits = frappe.db.exists("Pending Revocation", of_app) or frappe.db.exists("Offboarding", of_app)
			pause = min(FIRST_PAUSE * 2**row.attempts, LONGEST_PAUSE)
			frappe.db.set_value(
				DOCTYPE, name, {"attempts": row.attempts + 1, "retry_at": naive(utc_now() + pause)}
			)
			given_up = utc_now() - aware(row.ended_on) > GIVEN_UP_AFTER
	if waits and not given_up:
		return
	try:
		is_deleted = row.kind == PUBLISHED or _try_to_delete(_read(row))
	except Exception as error:
		# The row, or its address, is unusable: give it up like others, and go on.
		is_deleted = False
		with own_transaction(name, LOCK_WAIT), writing():
			frappe.log_error(title=NOT_DELETED, message=f"{type(error).__name__} for {name}")
	if not is_deleted and not given_up:
		return
	with own_transaction(name, LOCK_WAIT), writing():
		_drop(name)
		if not is_deleted:
			frappe.log_error(
				title=NOT_DELETED,
				message=f"{row.endpoint} still knows this site as the client {row.client_id}: it did not delete that.",
			)


def _try_to_delete(given: Registration) -> bool:
	try:
		return registration.delete(given, http())
	except OAuthError:
		return False


def _drop(name: str) -> None:
	frappe.db.delete(DOCTYPE, {"name": name})
	delete_all_passwords_for(DOCTYPE, name)
