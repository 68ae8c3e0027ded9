"""Permissions: who may connect, use a connection, or read its secrets."""

from __future__ import annotations

import sys
from collections.abc import Collection
from types import FrameType
from typing import Protocol
from urllib.parse import urlsplit

import frappe
from frappe import _
from frappe.utils import get_url

from connected_app.oauth import catalogue
from connected_app.site import accounts, callers, settings
from connected_app.site.errors import raises_frappe_errors
from connected_app.site.identity import ConnectionKey


class MayConnect(Protocol):
	"""The settings of a Connected App that decide who may connect: see `site/settings.py`."""

	@property
	def name(self) -> str: ...

	@property
	def enabled(self) -> bool: ...

	@property
	def is_shared(self) -> bool: ...

	@property
	def everyone_may_connect(self) -> bool: ...

	@property
	def allowed_roles(self) -> Collection[str]: ...


class HasUsers(MayConnect, Protocol):
	@property
	def is_for_users(self) -> bool: ...

	@property
	def grant(self) -> str: ...


def is_admin() -> bool:
	return frappe.session.user == "Administrator" or "System Manager" in frappe.get_roles()


def may_connect(app: MayConnect) -> bool:
	"""Whether the session's user may connect to `app`: their own account, or the shared one."""
	return may_use(app) and (is_admin() or not app.is_shared)


def may_use(app: MayConnect) -> bool:
	"""Whether the session's user may have a connection to `app`, or use the shared one."""
	return app.enabled and _is_allowed(app, frappe.session.user)


def _is_allowed(app: MayConnect, user: str) -> bool:
	if user == "Administrator":
		return True
	if user == "Guest" or not frappe.get_cached_value("User", user, "enabled"):
		return False
	roles = frappe.get_roles(user)
	return bool(
		app.everyone_may_connect or "System Manager" in roles or set(app.allowed_roles).intersection(roles)
	)


def check_may_use(app: MayConnect, user: str) -> None:
	"""
	:raises frappe.PermissionError: if `user` may not use the shared connection
	"""
	if app.is_shared and not _is_allowed(app, user):
		frappe.throw(
			_("{0} may not use the shared connection of this app.").format(frappe.utils.escape_html(user)),
			frappe.PermissionError,
		)


def connection_of(app: MayConnect, user: str, account: str | None = None) -> ConnectionKey:
	"""The connection that `user` uses: their own, or the shared one.

	:param account: which of their accounts, by the provider's ID or by its name; by default the default one
	:raises ReconnectRequired: `account_not_connected`, `account_ambiguous`, as a Frappe error
	:raises frappe.PermissionError: as `check_may_use`; to a Server Script that names another user, as `check_caller`
	"""
	if app.is_shared:
		check_caller(app.name, user)
		check_may_use(app, user)
		key = ConnectionKey.of_organisation(app.name)
	else:
		key = ConnectionKey.of_user(app.name, user)
	if not accounts.is_named(account):
		return key
	# A script must not learn which accounts another user has.
	check_caller(app.name, user)
	with raises_frappe_errors(lambda: settings.connect_url(app.name)):
		return accounts.choose(key, str(account))


def connection_to_make(app: MayConnect) -> ConnectionKey:
	"""The connection that the session's user would make."""
	if app.is_shared:
		return ConnectionKey.of_organisation(app.name)
	return ConnectionKey.of_user(app.name, frappe.session.user)


def check_may_connect(app: MayConnect) -> None:
	"""
	:raises frappe.PermissionError:
	:raises ConfigurationError: `app_disabled`
	"""
	if frappe.session.user != "Guest" and not app.enabled:
		raise catalogue.error("app_disabled")
	if not may_connect(app):
		frappe.throw(refusal(app.is_shared), frappe.PermissionError)


def refusal(is_shared: bool) -> str:
	"""The message for a user who may not connect."""
	if is_shared:
		return _("Only a System Manager may connect this app, for all who use it.")
	return _("You are not allowed to connect to this app.")


def check_user_may_have(app: HasUsers, user: str) -> None:
	"""Check that `user` may have a connection to `app` without consenting: by the same rules as for connecting.

	:raises ConfigurationError: `app_disabled`, `not_for_users`, `not_allowed`
	"""
	if not app.enabled:
		raise catalogue.error("app_disabled")
	if not app.is_for_users:
		raise catalogue.error("not_for_users")
	# By the user's name, which only an admin can change: the provider knows the user by this address.
	if app.grant == "service_account" and "@" not in user:
		raise catalogue.error("not_for_users/name", user)
	roles = set(frappe.get_roles(user)) if frappe.db.get_value("User", user, "enabled") else set()
	if not roles or not (app.everyone_may_connect or roles.intersection(app.allowed_roles)):
		raise catalogue.error("not_allowed")


def check_is_logged_in() -> None:
	"""
	:raises frappe.PermissionError: for Guest
	"""
	if frappe.session.user == "Guest":
		frappe.throw(_("Please log in."), frappe.PermissionError)


def check_is_me_or_admin(user: str) -> None:
	"""
	:raises frappe.PermissionError: for another user's connection, unless System Manager
	"""
	if frappe.session.user == "Guest" or (user != frappe.session.user and not is_admin()):
		frappe.throw(_("This is another user's connection."), frappe.PermissionError)


def check_caller(
	connected_app: str,
	user: str | None,
	shared: bool | int = False,
	asking: callers.Caller | None = None,
) -> None:
	"""
	:param shared: whether the shared connection is used, without naming a user
	:param asking: what `callers.caller` has just returned; by default it is called here
	:raises frappe.PermissionError: to an expression or a template; to a Server Script that uses another user's connection,
		unless its user has the Connected App's *Role for Server Scripts*
	"""
	asking = asking or callers.caller()
	if asking is callers.Caller.OTHER:
		callers.refuse()
	own = not shared and (not user or user == frappe.session.user)
	if asking is not callers.Caller.SCRIPT or own:
		return
	# From the database: a script can invent a document.
	role = frappe.db.get_value("Connected App", connected_app, "role_for_scripts")
	if not role or role not in frappe.get_roles():
		frappe.throw(
			_(
				"This server script may not use another user's connection: see {0} of the Connected App."
			).format(_("Role for Server Scripts")),
			frappe.PermissionError,
		)


def check_not_from_a_browser() -> None:
	"""For the parts of a whitelisted method that only code on the server may use.

	:raises frappe.PermissionError: in a request, if only Frappe and this app are on the call stack
	"""
	if not frappe.request:
		return
	apps = set(frappe.get_installed_apps()) - {"frappe", "connected_app"}
	frame: FrameType | None = sys._getframe(1)
	while frame:
		module = str(frame.f_globals.get("__name__"))
		if frame.f_code.co_filename.startswith("<serverscript>") or module.partition(".")[0] in apps:
			return
		frame = frame.f_back
	frappe.throw(_("A connection can be started only by the user it is for."), frappe.PermissionError)


def reads_mail_of(connected_app: str, user: str) -> bool:
	"""Whether the session's user may read an Email Account that uses this connection."""
	if not frappe.has_permission("Email Account"):
		return False
	uses = {"auth_method": "OAuth", "connected_app": connected_app, "connected_user": user}
	return bool(frappe.get_list("Email Account", filters=uses, limit=1))


def check_is_admin() -> None:
	"""
	:raises frappe.PermissionError:
	"""
	if not is_admin():
		frappe.throw(_("Only a System Manager may do this."), frappe.PermissionError)


def return_address(success_uri: str | None) -> str | None:
	"""`success_uri` as a path on this site; core's callers also pass the site's own full address.

	:raises ConfigurationError: `success_uri_refused`, if it leads elsewhere (no open redirector, RFC 9700 4.11)
	"""
	if not success_uri:
		return None
	site = get_url()
	allowed = frappe.conf.get("connected_app_success_origins") or []
	allowed = [allowed] if isinstance(allowed, str) else allowed
	try:
		parts = urlsplit(success_uri)
		origin = f"{parts.scheme}://{parts.netloc}"
	except ValueError:
		origin = ""
	# Browsers read a backslash as a slash, and drop control characters.
	clean = success_uri.isprintable() and "\\" not in success_uri
	if clean and success_uri.startswith("/") and not success_uri.startswith("//"):
		return success_uri
	if clean and origin in [site.rstrip("/"), *allowed]:
		return success_uri
	raise catalogue.error("success_uri_refused")
