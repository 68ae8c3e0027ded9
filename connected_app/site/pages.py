"""The messages and pages after a callback, and where the user lands."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import quote

import frappe
import redis
from frappe import _
from frappe.utils import escape_html, get_absolute_url

from connected_app.oauth import scopes
from connected_app.oauth.errors import ConfigurationError, OAuthError, TemporaryFailure
from connected_app.oauth.grant import Grant
from connected_app.site.errors import localized
from connected_app.site.settings import AppSettings

MESSAGE_COOKIE = "connected_app_message"
MESSAGE_LIVES = 300
# Reserved characters of an address (RFC 3986 2.2) that stay as they are, except the quotation mark; and the percent sign.
IN_ADDRESSES = "%:/?#[]@!$&()*+,;="


def redirect(where: str) -> None:
	frappe.local.response["type"] = "redirect"
	frappe.local.response["location"] = where


def home(app: AppSettings) -> str:
	"""Where a user lands by default: on the app's form, or on its page for users."""
	desk = frappe.db.get_value("User", frappe.session.user, "user_type") == "System User"
	# Frappe knows Desk's path: /app, or /desk since released 16.
	return get_absolute_url("Connected App", app.name) if desk else "/connect?app=" + quote(app.name, safe="")


def leave_connected(app: AppSettings, grant: Grant, asked: Sequence[str]) -> None:
	"""Leave the message of a new connection."""
	leave_message(
		{
			"title": _("Connected"),
			"message": connected(app, grant, asked),
			"indicator": "orange" if scopes.missing(asked, grant.scopes) else "green",
		}
	)


def connected(app: AppSettings, grant: Grant, asked: Sequence[str]) -> str:
	"""The message about a new connection, as HTML."""
	provider = escape_html(app.provider_name)
	who = escape_html(grant.account.name or grant.account.id) if grant.account else ""
	if who:
		lines = [_("You are connected to {0} as {1}.").format(f"<b>{provider}</b>", f"<b>{who}</b>")]
	else:
		lines = [_("You are connected to {0}.").format(f"<b>{provider}</b>")]
	if grant.scopes:
		lines.append(_("Granted: {0}").format(escape_html(", ".join(grant.scopes))))
	if missing := scopes.missing(asked, grant.scopes):
		lines.append(_("Not granted: {0}").format(escape_html(", ".join(missing))))
	return "<br>".join(lines)


def another_account(app: AppSettings) -> str:
	"""The message, as HTML, if a code was entered for another account than before."""
	address = "/connect?app=" + quote(app.name, safe="")
	said = _("You have just signed in with another account than before.")
	return f'{said} <a href="{address}">{_("Choose which one to use")}</a>'


def code_words(app: AppSettings) -> dict[str, str]:
	"""The words of the dialog of *Connect with a Code*."""
	return {
		"title": _("Connect to {0} with a Code").format(app.provider_name),
		"open": _("On this or any other device, open"),
		"enter": _("Enter this code there, and allow the access:"),
		"copy": _("Copy"),
		"copy_code": _("Copy the code"),
		"copied": _("Copied"),
		"scan": _("Or scan this with your phone."),
		"picture": _("QR code of the address"),
		"waiting": _("Waiting for you to allow it at the provider…"),
		"until": _("The code can be used until {0}."),
		"warning": _("The code connects your user on this site. Send it to nobody."),
		"failed": _("That did not work. Please try again."),
		"again": _("Get a New Code"),
		"cancel": _("Cancel"),
		"close": _("Close"),
	}


def tell_kept(app: AppSettings, account: str) -> None:
	"""Leave a message for the next page that the connection is unchanged."""
	provider, who = f"<b>{escape_html(app.provider_name)}</b>", f"<b>{escape_html(account)}</b>"
	message = _("You are still connected to {0} as {1}. Nothing was changed.").format(provider, who)
	leave_message({"title": _("Connected"), "message": message, "indicator": "green"})


def leave_message(message: dict[str, str]) -> None:
	# The connection is stored; if Redis is down or full, only the message is lost.
	with suppress(redis.exceptions.RedisError):
		frappe.cache.set_value(_message_key(), message, expires_in_sec=MESSAGE_LIVES)
		# The cookie only says that there is a message; the text is fetched with the user's session.
		frappe.local.cookie_manager.set_cookie(MESSAGE_COOKIE, "1")


def take_message() -> dict[str, str] | None:
	with suppress(redis.exceptions.RedisError):
		message: dict[str, str] | None = frappe.cache.get_value(_message_key(), expires=True)
		frappe.cache.delete_value(_message_key())
		return message
	return None


def _message_key() -> str:
	return f"{MESSAGE_COOKIE}:{frappe.session.user}"


def refuse(error: OAuthError, again: str) -> None:
	"""Show a page with the error and what to do, and a button to start `again`."""
	status = 400
	if isinstance(error, TemporaryFailure):
		status = 503
	elif isinstance(error, ConfigurationError):
		status = 409
	title = _("Not connected")
	message, action = escape_html(localized(error.message)), escape_html(localized(error.action))
	html = f"<p>{message}</p><p>{action}</p><p><code>{escape_html(error.code)}</code></p>"
	frappe.respond_as_web_page(
		title,
		html,
		http_status_code=status,
		indicator_color="red",
		# Frappe's page does not escape it: it must not end an attribute.
		primary_action=quote(again, safe=IN_ADDRESSES),
		primary_label=_("Start again"),
	)
