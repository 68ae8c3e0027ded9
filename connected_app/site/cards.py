"""Connections on the pages for users: their state and scopes in plain words."""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import quote

import frappe
from frappe import _
from frappe.sessions import get_csrf_token
from frappe.utils.jinja_globals import is_rtl

from connected_app import __version__
from connected_app.oauth.grant import Account

INDICATORS = {
	"Connected": "green",
	"Not Connected": "gray",
	"Reconnect Required": "red",
	"Temporarily Failing": "orange",
}


def add_to_menu(context: Any) -> None:
	"""Hook `update_website_context`: *My Connections* in the website's user menu."""
	if frappe.session.user == "Guest":
		return
	label = _("My Connections")
	menu = context.get("post_login") or []
	context.post_login = [*menu[:1], {"label": label, "url": "/my-connections"}, *menu[1:]]
	if isinstance(context.get("boot"), dict):
		context.boot["connected_app_menu"] = label


def require_login(here: str) -> None:
	"""
	:raises frappe.Redirect: to the login page, for guests
	"""
	if frappe.session.user == "Guest":
		frappe.local.flags.redirect_location = "/login?redirect-to=" + quote(here, safe="")
		raise frappe.Redirect(302)


def fill_page(context: Any, here: str, states: list[dict[str, Any]]) -> None:
	"""
	:param states: as `api.my_connections` returns them
	"""
	# Website users have no CSRF token until a page asks for one, and without it Frappe does not check POST requests.
	get_csrf_token()
	context.no_cache = 1
	context.no_breadcrumbs = 1
	context.here = here
	context.code_script = f"/assets/connected_app/js/connected_app_code.js?v={__version__}"
	context.code_style = f"/assets/connected_app/css/connected_app_code.css?v={__version__}"
	context.direction = "rtl" if is_rtl() else "ltr"
	context.connections = cards(states)


def cards(states: list[dict[str, Any]]) -> list[dict[str, Any]]:
	"""`states` in the words of the page, one card for each app."""
	asked: dict[str, list[str]] = {}
	new = [state["name"] for state in states if state["status"] == "Not Connected"]
	for row in frappe.get_all(
		"OAuth Scope",
		{"parenttype": "Connected App", "parent": ("in", new)},
		["parent", "scope"],
		order_by="parent, idx",
	):
		asked.setdefault(row.parent, []).append(row.scope)
	by_app: dict[str, list[dict[str, Any]]] = {}
	for state in states:
		by_app.setdefault(state["name"], []).append(card(state, asked.get(state["name"], [])))
	return [card_of_app(of_app) for of_app in by_app.values()]


def card_of_app(found: list[dict[str, Any]]) -> dict[str, Any]:
	"""The card of one app. If a user may have several accounts, the connected ones are its `accounts`.

	:param found: the card of each account
	"""
	first = found[0]
	if first["status"] == "Not Connected" or not (first["several_accounts"] or len(found) > 1):
		return {**first, "accounts": []}
	titles = Counter(each["account_title"] for each in found)
	accounts = []
	for each in found:
		title, warning = each["account_title"], ""
		if titles[title] > 1 and each["account_id"]:
			title = f"{title} ({each['account_id']})"
		if each["is_default"] and len(found) > 1:
			warning = _("It is the default account, and no other takes its place by itself.")
		accounts.append(
			{**each, "account_title": title, "warning": warning, "is_one_of_several": len(found) > 1}
		)
	return {**first, "accounts": accounts, "lacks_default": not any(each["is_default"] for each in found)}


def card(state: dict[str, Any], asked: list[str]) -> dict[str, Any]:
	status = state["status"]
	words = {
		"Connected": _("Connected"),
		"Not Connected": _("Not Connected"),
		"Reconnect Required": _("Reconnect Required"),
		"Temporarily Failing": _("Temporarily Failing"),
	}
	explanations = {
		"Reconnect Required": _("This connection no longer works. Please connect again."),
		"Temporarily Failing": _("Nothing has to be done: this site tries again by itself."),
	}
	if state["shared"] and not state["may_connect"]:
		explanations |= {
			"Not Connected": _("A System Manager has not connected it yet."),
			"Reconnect Required": _(
				"This connection no longer works. A System Manager has to connect again."
			),
		}
	return {
		**state,
		"indicator": INDICATORS.get(status, "gray"),
		"status_words": words.get(status, status),
		"explanation": explanations.get(status, ""),
		"reason": state["last_error"] if status != "Connected" else "",
		"account_title": state["account_name"],
		"connected_on": utc(state["connected_on"]),
		"failing_since": utc(state["failing_since"]),
		"granted": in_words(state["scopes"]),
		"not_granted": in_words(state["missing_scopes"]),
		"asks_for": in_words(asked),
	}


def question(state: dict[str, Any], before: Account, now: Account) -> dict[str, str]:
	"""The question to a user who has connected another account than before."""
	names = [each.name or each.id for each in (before, now)]
	if names[0] == names[1]:
		names = [f"{each.name} ({each.id})" for each in (before, now)]
	return {
		"name": state["name"],
		"provider_name": state["provider_name"],
		"before": names[0],
		"now": names[1],
		"account": now.id,
	}


def utc(moment: Any) -> str:
	"""To the second, as ISO 8601, without a zone."""
	return str(moment)[:19].replace(" ", "T") if moment else ""


def in_words(scopes: list[str]) -> list[dict[str, str]]:
	"""Each scope with its meaning, if it is known here."""
	known = scope_words()
	return [{"scope": scope, "words": known.get(scope, "")} for scope in scopes]


def scope_words() -> dict[str, str]:
	google, graph = "https://www.googleapis.com/auth/", "https://graph.microsoft.com/"
	mail = {
		"read": _("Read your mail"),
		"write": _("Read, write and delete your mail"),
		"all": _("Read, write, send and delete your mail"),
		"send": _("Send mail as you"),
	}
	calendar = {"read": _("See your calendars"), "all": _("See and change your calendars")}
	files = {"read": _("See your files"), "all": _("See, change and delete your files")}
	contacts = {"read": _("See your contacts"), "all": _("See and change your contacts")}
	words = {
		"openid": _("Know who you are"),
		"email": _("See your e-mail address"),
		"profile": _("See your name and picture"),
		"address": _("See your postal address"),
		"phone": _("See your telephone number"),
		"offline_access": _("Keep access while you are away"),
		"https://mail.google.com/": mail["all"],
		google + "gmail.readonly": mail["read"],
		google + "gmail.send": mail["send"],
		google + "calendar": calendar["all"],
		google + "calendar.readonly": calendar["read"],
		google + "drive": files["all"],
		google + "drive.readonly": files["read"],
		google + "drive.file": _("See and change the files that you open with this site"),
		google + "contacts": contacts["all"],
		google + "contacts.readonly": contacts["read"],
		google + "userinfo.email": _("See your e-mail address"),
		google + "userinfo.profile": _("See your name and picture"),
		"https://outlook.office.com/IMAP.AccessAsUser.All": mail["write"],
		"https://outlook.office.com/POP.AccessAsUser.All": mail["write"],
		"https://outlook.office.com/SMTP.Send": mail["send"],
	}
	microsoft = {
		"User.Read": _("See your name and picture"),
		"Mail.Read": mail["read"],
		"Mail.ReadWrite": mail["write"],
		"Mail.Send": mail["send"],
		"Calendars.Read": calendar["read"],
		"Calendars.ReadWrite": calendar["all"],
		"Files.Read": files["read"],
		"Files.ReadWrite": files["all"],
		"Contacts.Read": contacts["read"],
		"Contacts.ReadWrite": contacts["all"],
	}
	# Microsoft answers with the short names as well as with the long ones.
	return words | microsoft | {graph + scope: text for scope, text in microsoft.items()}
