"""The whitelisted endpoints. Each takes names, reads the documents itself, and begins with its permission check."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import frappe
from frappe.utils import cint
from werkzeug.wrappers import Response

from connected_app.oauth import catalogue
from connected_app.oauth.errors import OAuthError
from connected_app.oauth.grant import Grant
from connected_app.oauth.redact import Secret
from connected_app.site import (
	access,
	accounts,
	addresses,
	callbacks,
	checks,
	codes,
	discovery,
	email_accounts,
	flow,
	gallery,
	links,
	pages,
	passwords,
	providers,
	registrations,
	revocation,
	service_accounts,
	settings,
	templates,
)
from connected_app.site import connections as overview
from connected_app.site import health as operations
from connected_app.site import keys as signing_keys
from connected_app.site import metrics as prometheus
from connected_app.site.errors import in_words, raises_frappe_errors
from connected_app.site.identity import ConnectionKey
from connected_app.site.rows import name_of
from connected_app.site.settings import AppSettings


def _app(name: str) -> AppSettings:
	"""
	:raises frappe.PermissionError: for Guest, before anything is disclosed
	:raises frappe.DoesNotExistError:
	"""
	access.check_is_logged_in()
	return settings.read(str(name))


def _token_cache(app: AppSettings, user: str) -> Any:
	"""The Token Cache of `user`; or the shared one, if the session's user may use it."""
	if app.is_shared and not access.may_use(app):
		return None
	name = name_of(ConnectionKey.from_columns(app.name, user, app.is_shared))
	return frappe.get_doc("Token Cache", name) if name else None


@frappe.whitelist(methods=["POST"])
def authorize(
	connected_app: str,
	success_uri: str | None = None,
	another: bool = False,
	account: str | None = None,
) -> str:
	"""Begin an attempt for the session's user.

	:param success_uri: where to land afterwards: a path on this site
	:param another: connect another account besides those that are connected; the provider lets the user choose
	:param account: reconnect this one of the user's accounts, by its ID or name
	:returns: the provider's consent URL; for an app that needs no consent, the page to land on, connected already
	"""
	with raises_frappe_errors():
		app = _app(connected_app)
		if app.grant != "consent":
			grant = service_accounts.connect(app)
			pages.leave_connected(app, grant, app.client.scopes)
			return access.return_address(success_uri) or pages.home(app)
		return flow.begin(app, success_uri, another=bool(cint(another)), account=account or None)


@frappe.whitelist(methods=["GET"], allow_guest=True)
def begin() -> None:
	"""The target of a link from `ConnectedApp.initiate_web_application_flow`: begin an attempt, and redirect to the
	provider's consent URL. Guests log in first.

	By GET, although it begins an attempt: code on the server has signed the link for one user, who must still consent. Takes
	no arguments: the signature covers the query as it stands.
	"""
	try:
		parameters = links.opened()
		if frappe.session.user == "Guest":
			here = f"{links.PATH}?{frappe.safe_decode(frappe.request.query_string)}"
			location = "/login?" + urlencode({"redirect-to": here})
		else:
			links.check_is_for_me(parameters)
			location = flow.begin(
				_app(parameters["app"]),
				parameters["success_uri"],
				links.more_in(parameters),
				account=parameters.get("account"),
			)
	except OAuthError as error:
		return pages.refuse(error, "/my-connections")
	pages.redirect(location)


@frappe.whitelist(methods=["GET", "POST"], allow_guest=True)
def callback() -> Response | None:
	"""The provider sends the browser back here (RFC 6749 4.1.2). The path ends with the name that the Connected App had when
	its redirect URI was made.

	By POST if the response mode is form_post: the browser then comes back by GET, with its session.

	Takes no arguments: a code among them would end up in tracebacks.
	"""
	name = frappe.request.path.partition(flow.CALLBACK)[2]
	if frappe.request.method == "POST":
		return callbacks.keep_posted(name)
	callbacks.finish(name)
	return None


@frappe.whitelist(methods=["POST"])
def choose_account(connected_app: str, replace: bool = False, account: str | None = None) -> dict[str, str]:
	"""Decide whether the account that was just connected replaces the previous one. The other of the two is revoked.

	:param account: the ID of the account that was just connected, as the page shows it: another tab may show another one
	:returns: `location`: the page to go to
	"""
	app = _app(connected_app)
	with raises_frappe_errors():
		decided, stored = flow.decide_replacement(app, bool(frappe.utils.cint(replace)), account)
	if stored:
		pages.leave_connected(app, stored, decided.asked)
	else:
		pages.tell_kept(app, decided.before.name or decided.before.id)
	return {"location": decided.where}


@frappe.whitelist(methods=["POST"])
def connect_with_code(connected_app: str) -> dict[str, Any]:
	"""Begin an attempt by a code for the session's user, in this browser session (RFC 8628).

	:returns: as `site.codes.begin_here`, with the `words` of the dialog
	"""
	with raises_frappe_errors():
		app = _app(connected_app)
		return {**codes.begin_here(app.name), "words": pages.code_words(app)}


@frappe.whitelist(methods=["POST"])
def look_at_code(attempt: str) -> dict[str, Any]:
	"""How an attempt of this browser session stands.

	:returns: `state` ("waiting", "connected" or "failed"); seconds to `wait` before asking again; `message` and `action` for
		the user; on failure also the error's `code`
	"""
	access.check_is_logged_in()
	failure: OAuthError | None = None
	try:
		grant, begun, wait = codes.look(str(attempt))
	except OAuthError as error:
		failure = error
	except frappe.PermissionError:
		failure = catalogue.error("not_allowed")
	if failure:
		# The error is the answer; no dialog besides.
		frappe.clear_messages()
		return {"state": "failed", "wait": 0, "code": failure.code, **in_words(failure)}
	if grant is None:
		return {"state": "waiting", "wait": wait, "message": "", "action": ""}
	app = settings.read(begun.context["connected_app"])
	if isinstance(grant, Grant):
		message = pages.connected(app, grant, app.client.scopes)
	else:
		message = pages.another_account(app)
	return {"state": "connected", "wait": 0, "message": message, "action": ""}


@frappe.whitelist(methods=["POST"])
def cancel_code(attempt: str) -> None:
	"""Forget an attempt of this browser session that nobody waits for any more."""
	access.check_is_logged_in()
	codes.cancel(str(attempt))


@frappe.whitelist(methods=["POST"])
def take_message() -> dict[str, str] | None:
	"""The message that the last callback left for the session's user, once."""
	if frappe.session.user == "Guest":
		return None
	return pages.take_message()


@frappe.whitelist(methods=["POST"])
def disconnect(connected_app: str, user: str | None = None, account: str | None = None) -> dict[str, bool]:
	"""Forget a connection and revoke it at the provider.

	:param user: another user's, or a shared connection, only as System Manager
	:param account: of several accounts, which one, by its ID or name; by default the default one. No other account then
		becomes the default
	:returns: `revoked`: whether the provider confirmed
	"""
	user = user or frappe.session.user
	access.check_is_me_or_admin(user)
	app = _app(connected_app)
	if app.is_shared:
		access.check_is_admin()
	key = ConnectionKey.from_columns(app.name, user, app.is_shared)
	with raises_frappe_errors():
		if account:
			key = accounts.choose(key, str(account))
		return {"revoked": revocation.disconnect(key)}


@frappe.whitelist(methods=["POST"])
def make_default(connected_app: str, account: str = "", user: str | None = None) -> None:
	"""Make one of several accounts the default: it is used if no account is named.

	:param account: by its ID or name
	:param user: another user only as System Manager
	"""
	user = user or frappe.session.user
	access.check_is_me_or_admin(user)
	key = ConnectionKey.of_user(_app(connected_app).name, user)
	with raises_frappe_errors():
		accounts.make_default(accounts.choose(key, str(account)))


@frappe.whitelist()
def has_token(connected_app: str, connected_user: str | None = None) -> bool:
	"""Whether there is a connection that works, or will work when the provider is back. For one's own connection, the one of
	an Email Account that one may read (its form asks), and any as System Manager."""
	user = connected_user or frappe.session.user
	if not access.reads_mail_of(connected_app, user):
		access.check_is_me_or_admin(user)
	token_cache = _token_cache(_app(connected_app), user)
	if not token_cache or token_cache.status == "Reconnect Required":
		return False
	return bool(token_cache.get_password("access_token", False))


@frappe.whitelist(methods=["POST"])
def get_openid_configuration(connected_app: str) -> dict[str, Any]:
	"""Fetch the provider's metadata from the saved *OpenID Configuration*, for the form to fill in.

	:returns: `values` by fieldname; the labels of the fields that are `filled`, and of those that are `missing`
	"""
	access.check_is_admin()
	app = _app(connected_app)
	with raises_frappe_errors():
		return discovery.for_form(app)


@frappe.whitelist()
def provider_templates(search: str = "") -> list[dict[str, Any]]:
	"""The provider templates of this site, by name.

	:param search: words of the name, key or category
	:returns: for each: `key`, `name`, `category`, the required `inputs`, `scopes` and `scope_words`, the address to
		`register` at, the provider's `guide`, `notes`, why it is `unsupported`, and by whom and when it was `checked`
	"""
	access.check_is_admin()
	return [templates.about(template) for template in templates.search(search)]


@frappe.whitelist()
def provider_gallery() -> dict[str, list[dict[str, Any]]]:
	"""The gallery in Desk, for users who may create Connected Apps.

	:returns: the `providers` to choose from, and the `apps` of this site with their numbers of connections, of broken ones,
		and the next expiry; see `site/gallery.py`
	"""
	frappe.has_permission("Connected App", "create", throw=True)
	return gallery.gallery()


@frappe.whitelist(methods=["POST"])
def provider_settings(provider: str, inputs: str | dict[str, str] | None = None) -> dict[str, Any]:
	"""The values that a provider template puts into the fields of a Connected App, for the form to fill in. Saves nothing.

	:param inputs: the provider's inputs, by name, as a JSON object
	:returns: values by fieldname, child tables as lists of rows; or only `wrong_inputs`: `message` and `action` by the name
		of the input
	"""
	access.check_is_admin()
	given = templates.inputs_in(inputs)
	with raises_frappe_errors():
		if wrong := providers.wrong_inputs(templates.find(provider), given):
			return {"wrong_inputs": {name: in_words(error) for name, error in wrong.items()}}
		return providers.settings_with_endpoints(provider, given)


@frappe.whitelist(methods=["POST"])
def address_offer(address: str) -> dict[str, Any]:
	"""What *Connect by Address* would set up for the address of an API or a server. Asks the server, but stores and registers
	nothing.

	:returns: as `site.addresses.offer`
	"""
	access.check_is_admin()
	with raises_frappe_errors():
		return addresses.offer(address)


@frappe.whitelist(methods=["POST"])
def set_up_address(address: str, provider_name: str = "") -> dict[str, Any]:
	"""Make a Connected App from the address of an API or a server, with a client if one can be obtained.

	:param provider_name: the name that people see; by default the API's own
	:returns: as `site.addresses.set_up`
	"""
	access.check_is_admin()
	with raises_frappe_errors():
		return addresses.set_up(address, provider_name)


@frappe.whitelist()
def registration(connected_app: str) -> dict[str, Any]:
	"""The registration of a Connected App's client.

	:returns: as `site.registrations.about`
	"""
	access.check_is_admin()
	return registrations.about(_app(connected_app).name)


@frappe.whitelist()
def provider_differences(connected_app: str) -> list[dict[str, Any]]:
	"""Where the saved fields differ from what the app's provider template would set today.

	:returns: `field`, `label`, its value (`is`), and the template's value (`offers`)
	"""
	access.check_is_admin()
	return providers.differences(frappe.get_doc("Connected App", str(connected_app)))


@frappe.whitelist()
def connection(connected_app: str) -> dict[str, Any]:
	"""The connection of the session's user, without secrets, and what else the form needs.

	:returns: as `site.connections.own`. Of several accounts it is the default one; `accounts` has all of them, as in
		`my_connections`
	"""
	app = _app(connected_app)
	return overview.own(app, _token_cache(app, frappe.session.user))


@frappe.whitelist()
def email_account_offer(connected_app: str, account: str | None = None) -> dict[str, str]:
	"""What *Set Up E-mail* would set up for the connection of the session's user.

	:param account: of several accounts, which one, by its ID or name; by default the default one
	:returns: `email_id` (empty if unknown), the servers for `incoming` and `outgoing` mail, and the existing `email_account`
		with this address
	"""
	frappe.has_permission("Email Account", "create", throw=True)
	with raises_frappe_errors():
		return email_accounts.offer(_app(connected_app).name, account)


@frappe.whitelist(methods=["POST"])
def set_up_email(
	connected_app: str, email_id: str = "", update: bool = False, account: str | None = None
) -> dict[str, str]:
	"""Make an Email Account that uses the connection of the session's user.

	:param email_id: the account's own address by default
	:param update: if an Email Account with this address exists, change its OAuth settings
	:param account: of several accounts, which one, by its ID or name; by default the default one
	:returns: its `name`, and what it `became`: "created", "updated", or "exists" if nothing was changed
	"""
	frappe.has_permission("Email Account", "create", throw=True)
	with raises_frappe_errors():
		return email_accounts.set_up(_app(connected_app).name, email_id, update, account)


@frappe.whitelist(methods=["POST"])
def renew_redirect_uri(connected_app: str) -> str:
	"""Set the redirect URI again from the site's current address. It must then be registered at the provider, unless this
	site may do so itself: see `registration`."""
	access.check_is_admin()
	with raises_frappe_errors():
		return registrations.renew_redirect_uri(_app(connected_app))


@frappe.whitelist(methods=["POST"])
def check_configuration(connected_app: str) -> list[dict[str, str]]:
	"""Check the saved settings without connecting.

	:returns: findings in the order of the form: `level` ("ok", "warning" or "error"), `check` (a stable name),
		`field` (a fieldname of the form, or empty), `message`, and `action` (empty if nothing has to be done)
	"""
	access.check_is_admin()
	return checks.check_configuration(_app(connected_app).name)


@frappe.whitelist(methods=["POST"])
def test_connection(connected_app: str, account: str | None = None) -> dict[str, Any]:
	"""Use the connection of the session's user as a job would: refresh it if due, and ask the provider for its account.

	:param account: of several accounts, which one, by its ID or name
	:returns: `ok`, `account` (its name, if known), `message`; on failure also the error's `code` and `action`
	"""
	return overview.try_out(access.connection_of(_app(connected_app), frappe.session.user, account))


@frappe.whitelist()
def my_connections() -> list[dict[str, Any]]:
	"""The apps that the session's user may connect to, or is connected to, by provider name. Each account is an entry of its
	own, the default one of an app first.

	:returns: for each: `name`, `provider_name`, `status` ("Connected", "Not Connected", "Reconnect Required" or
		"Temporarily Failing"), `account_name`, `scopes` (granted), `missing_scopes` (asked for, not granted),
		`connected_on` and `failing_since` (UTC), `error_code` and `last_error` (a sentence), `may_connect`, `offers_codes`,
		`shared` (one for all who may use the app) and `may_disconnect`; for several accounts: `several_accounts` (whether
		others can be connected), `account` (the ID of a further account; empty for the default one), `account_id` (the ID of
		any account, empty if it is unknown) and `is_default`
	"""
	access.check_is_logged_in()
	return overview.of_user(frappe.session.user)


@frappe.whitelist()
def connections(connected_app: str, start: int = 0, page_length: int = 20) -> dict[str, Any]:
	"""Who is connected to an app, the broken ones first.

	:param page_length: at most 100
	:returns: `total`, `counts` by status, and `rows`: `name` (of the Token Cache), `user` (empty: the service principal, or
		`shared`), `account`, `account_id` and `is_default` as in `my_connections`, `connected_by`, `full_name`, `status`,
		`account_name`, `connected_on`, `last_refreshed_on`, `expires_at`, `failing_since` (UTC), `error_code` and
		`last_error`
	"""
	access.check_is_admin()
	return overview.of_app(_app(connected_app).name, int(start), int(page_length))


@frappe.whitelist(methods=["POST"])
def make_key(connected_app: str, algorithm: str = "ES256") -> None:
	"""Make a new signing key, which is published and not used yet.

	:param algorithm: one of `oauth.keys.MAKERS`
	"""
	access.check_is_admin()
	with raises_frappe_errors():
		signing_keys.make(_app(connected_app).name, algorithm)


@frappe.whitelist(methods=["POST"])
def bring_key(
	connected_app: str,
	private_key: str = "",
	algorithm: str = "",
	key_id: str = "",
	passphrase: str = "",
	is_file: bool = False,
) -> None:
	"""Import an existing key as the new signing key.

	:param private_key: in PEM, with its certificate if there is one
	:param algorithm: to sign with; by default the first that fits the key
	:param key_id: the provider's name for the key; by default its thumbprint
	:param passphrase: of an encrypted key; it is not stored
	:param is_file: `private_key` is a file in base64: PKCS #12, or PEM
	"""
	access.check_is_admin()
	# Of what was sent, nothing stays for a traceback or a log to show.
	private_key, passphrase = Secret(private_key), Secret(passphrase)
	passwords.forget_sent(private_key, passphrase)
	with raises_frappe_errors():
		signing_keys.bring(
			_app(connected_app).name, private_key, algorithm, key_id, passphrase, is_file=bool(cint(is_file))
		)


@frappe.whitelist(methods=["POST"])
def take_key_file(connected_app: str, key_file: str = "") -> None:
	"""Import the key of a service account, and use it from now on.

	:param key_file: from the provider: JSON, or a private key in PEM
	"""
	access.check_is_admin()
	# Of what was sent, nothing stays for a traceback or a log to show.
	key_file = Secret(key_file)
	passwords.forget_sent(key_file)
	with raises_frappe_errors():
		service_accounts.take_key_file(_app(connected_app).name, key_file)


@frappe.whitelist(methods=["POST"])
def test_service_account(connected_app: str) -> dict[str, Any]:
	"""As `test_connection`, for the service account's own connection."""
	access.check_is_admin()
	return overview.try_out(ConnectionKey.of_service_principal(_app(connected_app).name))


@frappe.whitelist(methods=["POST"])
def use_new_key(connected_app: str) -> None:
	"""Sign with the new key from now on. It must be registered at the provider by then."""
	access.check_is_admin()
	with raises_frappe_errors():
		signing_keys.use_new(_app(connected_app).name)


@frappe.whitelist(methods=["GET"], allow_guest=True)
def keys() -> Response:
	"""The public keys of a Connected App (RFC 7517 5), for its provider. The path ends with the identifier of the key set."""
	found = signing_keys.key_set(frappe.request.path.partition(signing_keys.PATH)[2])
	if found is None:
		return Response('{"error": "not found"}', 404, mimetype="application/json")
	headers = {"Cache-Control": f"public, max-age={signing_keys.CACHED}"}
	return Response(json.dumps(found), headers=headers, mimetype="application/jwk-set+json")


@frappe.whitelist()
def health() -> dict[str, Any]:
	"""The health of this site's connections: numbers, and what an admin should do. See `site/health.py`."""
	access.check_is_admin()
	return operations.read()


@frappe.whitelist(methods=["GET"], allow_guest=True)
def metrics() -> Response:
	"""The same for Prometheus, if the site's configuration has a token for it, which the request must send."""
	if not prometheus.is_on():
		return Response("not found\n", 404, mimetype="text/plain")
	if not prometheus.is_allowed(frappe.get_request_header(prometheus.HEADER) or ""):
		return Response("forbidden\n", 403, mimetype="text/plain")
	return Response(prometheus.text(operations.read()), content_type=prometheus.MEDIA_TYPE)


@frappe.whitelist(methods=["GET"], allow_guest=True)
def client_metadata() -> Response:
	"""This site's client ID metadata document, for authorization servers. The path ends with the document's identifier."""
	found = registrations.document(frappe.request.path.partition(registrations.PATH)[2])
	if found is None:
		return Response('{"error": "not found"}', 404, mimetype="application/json")
	headers = {"Cache-Control": f"public, max-age={registrations.CACHED}"}
	return Response(json.dumps(found), headers=headers, mimetype="application/json")
