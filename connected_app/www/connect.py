"""The page `/connect?app=NAME`: a user's own connection to one Connected App, with or without Desk. A link that was signed
by code on the server asks for more scopes there, and gives a reason."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import frappe
from frappe import _

from connected_app.api import my_connections
from connected_app.oauth.errors import OAuthError
from connected_app.site import access, cards, flow, links, settings
from connected_app.site.errors import localized

no_cache = 1
sitemap = 0


def get_context(context: Any) -> None:
	name = str(frappe.form_dict.get("app") or "")
	here = "/connect?app=" + quote(name, safe="")
	query = frappe.safe_decode(frappe.request.query_string) if "_signature" in frappe.request.args else ""
	cards.require_login(f"{links.PAGE}?{query}" if query else here)

	if not name:
		frappe.local.flags.redirect_location = "/my-connections"
		raise frappe.Redirect(302)
	# The same answer for a missing and a forbidden app, so that nobody can find out which apps exist.
	mine = [state for state in my_connections() if state["name"] == name]
	if not mine:
		frappe.throw(
			_(
				"There is no such app to connect to, or you are not allowed to connect to it. Those that you may connect to are under {0}."
			).format(f'<a href="/my-connections">{_("My Connections")}</a>'),
			frappe.PermissionError,
		)
	provider = mine[0]["provider_name"]
	context.title = _("Connect to {0}").format(provider) if mine[0]["may_connect"] else provider
	cards.fill_page(context, here, mine)
	if query:
		return _ask_for_more(context, query, mine)
	replacement = flow.find_replacement(settings.read(name))
	if replacement:
		context.title = _("Use another account?")
		context.question = cards.question(mine[0], replacement.before, replacement.now)


def _ask_for_more(context: Any, query: str, mine: list[dict[str, Any]]) -> None:
	state = mine[0]
	if not state["may_connect"]:
		context.refused = access.refusal(state["shared"])
		return
	try:
		parameters = links.opened()
		links.check_is_for_me(parameters)
	except OAuthError as error:
		context.refused = f"{localized(error.message)} {localized(error.action)}"
		return
	more = links.more_in(parameters)
	account = parameters.get("account") or ""
	context.asked = {
		"account": next((each["account_name"] for each in mine if each["account_id"] == account), account),
		"reason": parameters.get("reason") or "",
		"scopes": cards.in_words(list(more.scopes) if more else []),
		"login": bool(more and more.is_step_up),
		"address": f"{links.PATH}?{query}",
	}
