"""The page `/connect?app=NAME`: one's own connection to one Connected App, for users with and without Desk."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import frappe
from frappe import _

from connected_app.api import my_connections
from connected_app.site import cards

no_cache = 1
sitemap = 0


def get_context(context: Any) -> None:
	name = str(frappe.form_dict.get("app") or "")
	here = "/connect?app=" + quote(name, safe="")
	cards.require_login(here)

	# One answer to both, so that nobody can ask which apps there are.
	mine = [state for state in my_connections() if state["name"] == name]
	if not mine:
		frappe.throw(
			_("There is no such app to connect to, or you are not allowed to connect to it."),
			frappe.PermissionError,
		)
	context.title = _("Connect to {0}").format(mine[0]["provider_name"])
	cards.fill_page(context, here, mine)
