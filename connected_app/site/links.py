"""Links on this site, signed by code on the server for one user: to begin a flow, and to consent to more."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import frappe
from frappe.utils import get_url
from frappe.utils.verified_command import get_signed_params, verify_request

from connected_app.oauth import catalogue
from connected_app.oauth.consent import MoreConsent
from connected_app.oauth.errors import OAuthError
from connected_app.site.access import return_address

PATH = "/api/method/connected_app.api.begin"
# The page that gives the reason, and leads on to PATH.
PAGE = "/connect"
# Seconds. Long enough for an e-mail to be read.
LIVES = 7 * 24 * 3600
# Characters: some web servers accept addresses of at most 4,094 bytes.
LONGEST_REASON = 300


def link_for(connected_app: str, user: str, success_uri: str | None = None) -> str:
	"""The address of `api.begin`, signed with the site's secret: only code on the server can make one.

	It can be opened more than once, for a week, by `user` alone.

	:raises ConfigurationError: `success_uri_refused`
	"""
	return _signed(PATH, connected_app, user, success_uri)


def consent_link(
	connected_app: str,
	user: str,
	more: MoreConsent,
	reason: str = "",
	success_uri: str | None = None,
	account: str | None = None,
) -> str:
	"""A signed link to the page that asks `user` for more.

	:param reason: why, for that user to read; it is cut to 300 characters
	:param account: of several accounts, which one is asked for, by its ID or name
	:raises ConfigurationError: `success_uri_refused`
	"""
	wanted = {
		"scopes": " ".join(more.scopes),
		"acr_values": more.acr_values,
		"max_age": "" if more.max_age is None else str(more.max_age),
		"reason": reason[:LONGEST_REASON],
		"account": account or "",
	}
	return _signed(
		PAGE, connected_app, user, success_uri, **{key: text for key, text in wanted.items() if text}
	)


def _signed(path: str, connected_app: str, user: str, success_uri: str | None, **more: str) -> str:
	parameters = {
		"app": connected_app,
		"user": user,
		"success_uri": return_address(success_uri) or "",
		"until": int(time.time()) + LIVES,
		**more,
	}
	return get_url(f"{path}?{get_signed_params(parameters)}")


def opened() -> dict[str, Any]:
	"""The parameters of the link that this request has opened.

	:raises ReconnectRequired: `link_invalid`, also when it has expired
	"""
	# If Frappe's check fails, it makes a page of its own, which the caller's page replaces.
	parameters = frappe.request.args.to_dict() if verify_request() else {}
	if int(parameters.get("until", 0)) < time.time():
		raise catalogue.error("link_invalid")
	return parameters


def check_is_for_me(parameters: dict[str, Any]) -> None:
	"""
	:raises ReconnectRequired: `link_elsewhere`
	"""
	if parameters["user"] != frappe.session.user:
		raise catalogue.error("link_elsewhere")


def more_in(parameters: dict[str, Any]) -> MoreConsent | None:
	"""What the link asks for beyond the Connected App's scopes."""
	more = MoreConsent(
		scopes=tuple(parameters.get("scopes", "").split()),
		acr_values=parameters.get("acr_values", ""),
		max_age=int(parameters["max_age"]) if parameters.get("max_age") else None,
	)
	return more if more.scopes or more.is_step_up else None


def this_page() -> str | None:
	"""The page that sent the current request, as a path on this site."""
	request = frappe.request
	if not request:
		return None
	site = get_url()
	if request.method == "GET" and not request.path.startswith("/api/"):
		path = str(request.full_path).rstrip("?")
	else:
		path = (request.referrer or "").removeprefix(site)
	with suppress(OAuthError):
		return return_address(path)
	return None
