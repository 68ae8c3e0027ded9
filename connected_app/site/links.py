"""A link on this site by which one user begins a flow that code on the server has asked for."""

from __future__ import annotations

import time
from typing import Any

import frappe
from frappe.utils import get_url
from frappe.utils.verified_command import get_signed_params, verify_request

from connected_app.oauth import catalogue
from connected_app.site.access import return_address

PATH = "/api/method/connected_app.api.begin"
# Seconds. Long enough for an e-mail to be read.
LIVES = 7 * 24 * 3600


def link_for(connected_app: str, user: str, success_uri: str | None = None) -> str:
	"""The address of `api.begin`, signed with the site's secret: only code on the server can make one.

	It can be opened more than once, for a week, by `user` alone.

	:raises ConfigurationError: `success_uri_refused`
	"""
	parameters = {
		"app": connected_app,
		"user": user,
		"success_uri": return_address(success_uri) or "",
		"until": int(time.time()) + LIVES,
	}
	return get_url(f"{PATH}?{get_signed_params(parameters)}")


def opened() -> dict[str, Any]:
	"""The parameters of the link that this request has opened.

	:raises ReconnectRequired: `link_invalid`, also when it has expired
	"""
	# Frappe's check makes a page of its own where it fails; the caller's replaces it.
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
