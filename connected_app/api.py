"""The whitelisted endpoints. Each takes names, reads the documents itself, and begins with its permission check."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

import frappe
from frappe import _
from frappe.auth import CookieManager
from frappe.utils import cint, get_absolute_url
from werkzeug.wrappers import Response

from connected_app.oauth import catalogue, scopes
from connected_app.oauth.checks import ENDPOINTS
from connected_app.oauth.errors import OAuthError
from connected_app.oauth.grant import Grant
from connected_app.oauth.redact import Secret, as_secrets
from connected_app.site import (
	access,
	accounts,
	addresses,
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
from connected_app.site.events import announce
from connected_app.site.identity import ConnectionKey
from connected_app.site.rows import name_of
from connected_app.site.settings import AppSettings


def _app(name: str) -> AppSettings:
	"""
	:raises frappe.PermissionError: for Guest, before anything else is told
	:raises frappe.DoesNotExistError:
	"""
	access.check_is_logged_in()
	return settings.read(str(name))


def _token_cache(app: AppSettings, user: str) -> Any:
	"""That of `user`; or the shared one, for a session's user who may use it."""
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
	:param another: connect another account beside those that are connected; the provider lets the user choose
	:param account: reconnect this one of the user's accounts, by its ID or name
	:returns: the provider's consent URL; of an app that needs no consent, where to land, connected already
	"""
	with raises_frappe_errors():
		app = _app(connected_app)
		if app.grant != "consent":
			grant = service_accounts.connect(app)
			pages.leave_connected(app, grant, app.client.scopes)
			return access.return_address(success_uri) or _home(app)
		return flow.begin(app, success_uri, another=bool(cint(another)), account=account or None)


@frappe.whitelist(methods=["GET"], allow_guest=True)
def begin() -> None:
	"""Where a link leads that `ConnectedApp.initiate_web_application_flow` gave for this user: begin an attempt, and
	redirect to the provider's consent URL. Guests log in first.

	By GET, though it begins something: code on the server has signed it, for one user, whom the provider still asks.
	Takes no arguments: what was signed is the query as it stands.
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
	"""Where the provider sends the browser back to (RFC 6749 4.1.2). The path ends with the Connected App as it was
	called when its redirect URI was made.

	By POST where the response mode is form_post: the browser then comes back by GET, with its session.

	Takes no arguments: a code among them would end up in tracebacks.
	"""
	name = frappe.request.path.partition(flow.CALLBACK)[2]
	if frappe.request.method == "POST":
		return _posted(name)
	_called_back(name)
	return None


def _posted(name: str) -> Response:
	parameters = as_secrets(frappe.request.form.to_dict(flat=False))
	# What was sent is for nobody else to see; and without a session, Frappe's cookies would log the browser out.
	frappe.form_dict.clear()
	frappe.local.cookie_manager = CookieManager()
	state = flow.keep_posted(name, parameters)
	location = quote(frappe.request.path) + (f"?state={quote(state[:200], safe='')}" if state else "")
	headers = {"Location": location, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
	return Response(status=303, headers=headers)


def _called_back(name: str) -> None:
	again = "/connect?app=" + quote(name, safe="")
	if frappe.session.user == "Guest":
		# Nothing of this request goes into a login redirect: it holds a code and a state.
		error: OAuthError = catalogue.error("not_logged_in")
		return pages.refuse(error, "/login?" + "redirect-to=" + quote(again, safe=""))
	known = False
	try:
		parameters = as_secrets(frappe.request.args.to_dict(flat=False))
		known = bool(frappe.db.exists("Connected App", name))
		attempt = flow.claim_attempt(name, parameters)
		parameters = attempt.posted or parameters
		name = attempt.context["connected_app"]
		again = attempt.context["return_address"] or "/connect?app=" + quote(name, safe="")
		known = bool(frappe.db.exists("Connected App", name))
		if not known:
			raise catalogue.error("app_unknown")
		app = settings.read(name)
		where = attempt.context["return_address"] or _home(app)
		finished = flow.finish(app, attempt, parameters, where)
		if not isinstance(finished, Grant):
			# Another account than before: that page asks.
			return pages.redirect("/connect?app=" + quote(app.name, safe=""))
		pages.leave_connected(app, finished, flow.asked_scopes(app, attempt))
		return pages.redirect(where)
	except OAuthError as exc:
		error = exc
	except frappe.PermissionError:
		error = catalogue.error("not_allowed")
	except Exception as exc:
		# A traceback with locals would hold the code.
		frappe.log_error(title="Connected App: callback failed", message=f"{type(exc).__name__} for {name!r}")
		error = catalogue.error("internal_error")
	# Not for Guests (above), nor for made-up addresses: anybody could fill the log with those.
	if known:
		announce("connect_failed", ConnectionKey.of_user(name, frappe.session.user), error.code)
	return pages.refuse(error, again)


@frappe.whitelist(methods=["POST"])
def choose_account(connected_app: str, replace: bool = False, account: str | None = None) -> dict[str, str]:
	"""Decide whether the account that was just connected replaces the one before. The other one is revoked.

	:param account: the ID of the one that was just connected, as the page shows it: another tab may ask of another by now
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


def _home(app: AppSettings) -> str:
	desk = frappe.db.get_value("User", frappe.session.user, "user_type") == "System User"
	# Desk's path is Frappe's to know: /app, from released 16 on /desk.
	return get_absolute_url("Connected App", app.name) if desk else "/connect?app=" + quote(app.name, safe="")


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

	:returns: `state` ("waiting", "connected" or "failed"); seconds to `wait` until the next look; what there is to say as
		`message` and `action`; on failure also the error's `code`
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
		# It is the answer, not a dialog beside it.
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
	"""Forget an attempt of this browser session: nobody waits for it any more."""
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

	:param user: somebody else's, and a shared one, only as System Manager
	:param account: of several accounts, which one, by its ID or name; by default the default one. No other takes its
		place
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
	"""Make one of several accounts the one that is used where none is named.

	:param account: by its ID or name
	:param user: somebody else only as System Manager
	"""
	user = user or frappe.session.user
	access.check_is_me_or_admin(user)
	key = ConnectionKey.of_user(_app(connected_app).name, user)
	with raises_frappe_errors():
		accounts.make_default(accounts.choose(key, str(account)))


@frappe.whitelist()
def has_token(connected_app: str, connected_user: str | None = None) -> bool:
	"""Whether there is a connection that can be used, or will be when the provider is back: one's own, that of an
	Email Account one may read, whose form asks, or anybody's as System Manager."""
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

	:returns: `values` by fieldname, the labels of what was `filled`, and of what is `missing`
	"""
	access.check_is_admin()
	app = _app(connected_app)
	with raises_frappe_errors():
		metadata = discovery.fetch(app.openid_configuration, app.provider.issuer, any_issuer=app.any_issuer)
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


@frappe.whitelist()
def provider_templates(search: str = "") -> list[dict[str, Any]]:
	"""The provider templates of this site, by name.

	:param search: words of the name, key or category
	:returns: for each: `key`, `name`, `category`, `inputs` that are needed, `scopes` and `scope_words`, where to
		`register`, the provider's `guide`, `notes`, why it is `unsupported`, and by whom and when it was `checked`
	"""
	access.check_is_admin()
	return [templates.about(template) for template in templates.search(search)]


@frappe.whitelist()
def provider_gallery() -> dict[str, list[dict[str, Any]]]:
	"""What the gallery in Desk shows, to those who may create Connected Apps.

	:returns: `providers` that can be chosen, and the `apps` of this site with how many are connected, what is broken and
		what ends soon; see `site/gallery.py`
	"""
	frappe.has_permission("Connected App", "create", throw=True)
	return gallery.gallery()


@frappe.whitelist(methods=["POST"])
def provider_settings(provider: str, inputs: str | dict[str, str] | None = None) -> dict[str, Any]:
	"""What a provider template puts into the fields of a Connected App, for the form to fill in. Saves nothing.

	:param inputs: what the provider needs, by name, as a JSON object
	:returns: values by fieldname, those of child tables as lists of rows; or only `wrong_inputs`: `message` and `action`
		by the name of the input
	"""
	access.check_is_admin()
	given = templates.inputs_in(inputs)
	with raises_frappe_errors():
		if wrong := providers.wrong_inputs(templates.find(provider), given):
			return {"wrong_inputs": {name: in_words(error) for name, error in wrong.items()}}
		return providers.settings_with_endpoints(provider, given)


@frappe.whitelist(methods=["POST"])
def address_offer(address: str) -> dict[str, Any]:
	"""What *Connect by Address* would make of the address of an API or a server. Asks it, stores nothing, and registers
	nothing.

	:returns: as `site.addresses.offer`
	"""
	access.check_is_admin()
	with raises_frappe_errors():
		return addresses.offer(address)


@frappe.whitelist(methods=["POST"])
def set_up_address(address: str, provider_name: str = "") -> dict[str, Any]:
	"""Make a Connected App of the address of an API or a server, with a client where one can be had.

	:param provider_name: what people see; by default what the API calls itself
	:returns: as `site.addresses.set_up`
	"""
	access.check_is_admin()
	with raises_frappe_errors():
		return addresses.set_up(address, provider_name)


@frappe.whitelist()
def registration(connected_app: str) -> dict[str, Any]:
	"""What was registered for a Connected App, where and with what.

	:returns: as `site.registrations.about`
	"""
	access.check_is_admin()
	return registrations.about(_app(connected_app).name)


@frappe.whitelist()
def provider_differences(connected_app: str) -> list[dict[str, Any]]:
	"""Where the saved fields differ from what the app's provider template would set today.

	:returns: `field`, `label`, what it `is`, and what the template `offers`
	"""
	access.check_is_admin()
	return providers.differences(frappe.get_doc("Connected App", str(connected_app)))


@frappe.whitelist()
def connection(connected_app: str) -> dict[str, Any]:
	"""The connection of the session's user, without secrets, and what the form has to know beside it.

	:returns: of several accounts, the default one's; `accounts` has all that are connected, as in `my_connections`
	"""
	app = _app(connected_app)
	token_cache = _token_cache(app, frappe.session.user)
	connected = bool(token_cache and token_cache.access_token)
	granted = [row.scope for row in token_cache.scopes] if connected else []
	suggested = registrations.suggested_redirect_uri(app)
	several = overview.accounts_of(app.name, frappe.session.user) if app.several_accounts else []
	return {
		"provider_name": app.provider_name,
		"status": (token_cache.status or "Connected") if connected else "Not Connected",
		"account_id": token_cache.account_id if connected else None,
		"account_name": token_cache.account_name if connected else None,
		"scopes": granted,
		"missing_scopes": scopes.missing(app.client.scopes, granted) if connected else [],
		"connected_on": token_cache.connected_on if connected else None,
		"expires_at": token_cache.expires_at if connected else None,
		"failing_since": token_cache.failing_since if connected else None,
		**overview.reason(token_cache if connected else {}),
		"shared": app.is_shared,
		"several_accounts": app.several_accounts,
		"accounts": several,
		"may_use": access.may_use(app),
		"may_connect": app.is_for_users and access.may_connect(app),
		"may_disconnect": not app.is_shared or access.is_admin(),
		"offers_codes": app.offers_codes,
		"may_set_up_email": (connected or bool(several)) and email_accounts.is_offered(app.name),
		"redirect_uri_outdated": bool(app.client.redirect_uri) and app.client.redirect_uri != suggested,
		"suggested_redirect_uri": suggested,
	}


@frappe.whitelist()
def email_account_offer(connected_app: str, account: str | None = None) -> dict[str, str]:
	"""What *Set Up E-mail* would make of the connection of the session's user.

	:param account: of several accounts, which one, by its ID or name; by default the default one
	:returns: `email_id` (empty: not known), the servers for `incoming` and `outgoing` mail, and the `email_account` that
		has this address already
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
	:param update: where an Email Account has this address already, change its OAuth settings
	:param account: of several accounts, which one, by its ID or name; by default the default one
	:returns: its `name`, and what it `became`: "created", "updated", or "exists", where nothing was changed
	"""
	frappe.has_permission("Email Account", "create", throw=True)
	with raises_frappe_errors():
		return email_accounts.set_up(_app(connected_app).name, email_id, update, account)


@frappe.whitelist(methods=["POST"])
def renew_redirect_uri(connected_app: str) -> str:
	"""Set the redirect URI anew from the site's present address. It must then be registered at the provider, unless this
	site may do so itself: see `registration`."""
	access.check_is_admin()
	with raises_frappe_errors():
		return registrations.renew_redirect_uri(_app(connected_app))


@frappe.whitelist(methods=["POST"])
def check_configuration(connected_app: str) -> list[dict[str, str]]:
	"""What is wrong with the saved settings, found out without connecting.

	:returns: findings in the order of the form: `level` ("ok", "warning" or "error"), `check` (a stable name),
		`field` (a fieldname of the form, or empty), `message`, and `action` (empty where nothing is to be done)
	"""
	access.check_is_admin()
	return checks.check_configuration(_app(connected_app).name)


@frappe.whitelist(methods=["POST"])
def test_connection(connected_app: str, account: str | None = None) -> dict[str, Any]:
	"""Use the connection of the session's user as a job would: refresh it if due, and ask whose it is.

	:param account: of several accounts, which one, by its ID or name
	:returns: `ok`, `account` (its name, where known), `message`; on failure also the error's `code` and `action`
	"""
	return overview.try_out(access.connection_of(_app(connected_app), frappe.session.user, account))


@frappe.whitelist()
def my_connections() -> list[dict[str, Any]]:
	"""The apps that the session's user may connect to, or is connected to, by provider name; each account by itself, the
	default one of an app first.

	:returns: for each: `name`, `provider_name`, `status` ("Connected", "Not Connected", "Reconnect Required" or
		"Temporarily Failing"), `account_name`, `scopes` (granted), `missing_scopes` (asked for, not granted),
		`connected_on` and `failing_since` (UTC), `error_code` and `last_error` (a sentence), `may_connect`, `offers_codes`,
		`shared` (one for all who may use the app) and `may_disconnect`; of several accounts: `several_accounts` (whether
		others can be connected), `account` (the ID of a further one; empty for the default one), `account_id` (the ID of
		any, empty where it is not known) and `is_default`
	"""
	access.check_is_logged_in()
	return overview.of_user(frappe.session.user)


@frappe.whitelist()
def connections(connected_app: str, start: int = 0, page_length: int = 20) -> dict[str, Any]:
	"""Who is connected to an app, the broken ones first.

	:param page_length: at most 100
	:returns: `total`, `counts` by status, and `rows`: `name` (of the Token Cache), `user` (empty: the service
		principal, or `shared`), `account`, `account_id` and `is_default` as in `my_connections`, `connected_by`, `full_name`, `status`, `account_name`, `connected_on`, `last_refreshed_on`, `expires_at`,
		`failing_since` (UTC), `error_code` and `last_error`
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
	"""Take a key that the admin has as the new signing key.

	:param private_key: in PEM, with its certificate if there is one
	:param algorithm: by which it signs; by default what fits it
	:param key_id: what the provider calls it; by default its thumbprint
	:param passphrase: with which the key is encrypted; it is not stored
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
	"""Take the key of a service account, which is used from now on.

	:param key_file: what the provider gave: JSON, or a private key in PEM
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
	"""The public keys of a Connected App (RFC 7517 5), for its provider. The path ends with what they are found by."""
	found = signing_keys.key_set(frappe.request.path.partition(signing_keys.PATH)[2])
	if found is None:
		return Response('{"error": "not found"}', 404, mimetype="application/json")
	headers = {"Cache-Control": f"public, max-age={signing_keys.CACHED}"}
	return Response(json.dumps(found), headers=headers, mimetype="application/jwk-set+json")


@frappe.whitelist()
def health() -> dict[str, Any]:
	"""How the connections of this site are doing: numbers, and what an admin should do. See `site/health.py`."""
	access.check_is_admin()
	return operations.read()


@frappe.whitelist(methods=["GET"], allow_guest=True)
def metrics() -> Response:
	"""The same for Prometheus, where the site's configuration has a token for it, to those who send that."""
	if not prometheus.is_on():
		return Response("not found\n", 404, mimetype="text/plain")
	if not prometheus.is_allowed(frappe.get_request_header(prometheus.HEADER) or ""):
		return Response("forbidden\n", 403, mimetype="text/plain")
	return Response(prometheus.text(operations.read()), content_type=prometheus.MEDIA_TYPE)


@frappe.whitelist(methods=["GET"], allow_guest=True)
def client_metadata() -> Response:
	"""What this site says of itself to authorization servers (client ID metadata document). The path ends with what it is
	found by."""
	found = registrations.document(frappe.request.path.partition(registrations.PATH)[2])
	if found is None:
		return Response('{"error": "not found"}', 404, mimetype="application/json")
	headers = {"Cache-Control": f"public, max-age={registrations.CACHED}"}
	return Response(json.dumps(found), headers=headers, mimetype="application/json")
