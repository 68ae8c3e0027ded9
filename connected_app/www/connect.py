"""The page `/connect?app=NAME`: one's own connection to one Connected App, for users with and without Desk."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import frappe
from frappe import _
from frappe.sessions import get_csrf_token

from connected_app.api import connection

no_cache = 1
sitemap = 0

INDICATORS = {
	"Connected": "green",
	"Not Connected": "gray",
	"Reconnect Required": "red",
	"Temporarily Failing": "orange",
}


def get_context(context: Any) -> None:
	name = str(frappe.form_dict.get("app") or "")
	here = "/connect?app=" + quote(name, safe="")
	if frappe.session.user == "Guest":
		frappe.local.flags.redirect_location = "/login?redirect-to=" + quote(here, safe="")
		raise frappe.Redirect(302)

	# One answer to both, so that nobody can ask which apps there are.
	state = connection(name) if name and frappe.db.exists("Connected App", name) else None
	if not state or not (state["may_connect"] or state["status"] != "Not Connected"):
		frappe.throw(
			_("There is no such app to connect to, or you are not allowed to connect to it."),
			frappe.PermissionError,
		)

	# Website users have no token until one is asked for, and Frappe then does not check POST requests.
	get_csrf_token()
	context.no_cache = 1
	context.no_breadcrumbs = 1
	context.title = _("Connect to {0}").format(state["provider_name"])
	context.app = name
	context.here = here
	context.state = state
	context.indicator = INDICATORS.get(state["status"], "gray")
	context.status_label = _(state["status"])
	context.account = state["account_name"] or state["account_id"]
