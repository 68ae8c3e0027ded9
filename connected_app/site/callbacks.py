"""The request with which a browser comes back from the provider (RFC 6749 4.1.2)."""

from __future__ import annotations

from urllib.parse import quote

import frappe
from frappe.auth import CookieManager
from werkzeug.wrappers import Response

from connected_app.oauth import catalogue
from connected_app.oauth.errors import OAuthError
from connected_app.oauth.grant import Grant
from connected_app.oauth.redact import as_secrets
from connected_app.site import flow, pages, settings
from connected_app.site.events import announce
from connected_app.site.identity import ConnectionKey


def keep_posted(name: str) -> Response:
	"""Store the posted parameters, and send the browser here again, by GET and with its session.

	:param name: the end of the callback's path
	"""
	parameters = as_secrets(frappe.request.form.to_dict(flat=False))
	# Hide the parameters from logs. Without a session, Frappe's cookies would log the browser out.
	frappe.form_dict.clear()
	frappe.local.cookie_manager = CookieManager()
	state = flow.keep_posted(name, parameters)
	location = quote(frappe.request.path) + (f"?state={quote(state[:200], safe='')}" if state else "")
	headers = {"Location": location, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
	return Response(status=303, headers=headers)


def finish(name: str) -> None:
	"""Connect, and redirect the browser; or show what went wrong.

	:param name: the end of the callback's path
	"""
	again = "/connect?app=" + quote(name, safe="")
	if frappe.session.user == "Guest":
		# The login redirect gets nothing of this request, which holds a code and a state.
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
		where = attempt.context["return_address"] or pages.home(app)
		finished = flow.finish(app, attempt, parameters, where)
		if not isinstance(finished, Grant):
			# Another account than before: that page asks the user.
			return pages.redirect("/connect?app=" + quote(app.name, safe=""))
		pages.leave_connected(app, finished, flow.asked_scopes(app, attempt))
		return pages.redirect(where)
	except OAuthError as exc:
		error = exc
	except frappe.PermissionError:
		error = catalogue.error("not_allowed")
	except Exception as exc:
		# No traceback: its locals would hold the code.
		frappe.log_error(title="Connected App: callback failed", message=f"{type(exc).__name__} for {name!r}")
		error = catalogue.error("internal_error")
	# Not for Guests (above), nor for invented addresses: anybody could fill the log with those.
	if known:
		announce("connect_failed", ConnectionKey.of_user(name, frappe.session.user), error.code)
	return pages.refuse(error, again)
