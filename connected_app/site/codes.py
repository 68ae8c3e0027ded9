"""*Connect with a Code*: one attempt by the device grant (RFC 8628) on a site, from the click to the stored grant.

The page that shows the code asks this site, and this site asks the provider, no more often than the provider wants, however
many tabs ask. So no worker waits, and the provider is not asked about a page that was closed. A browser session has one
attempt.
"""

from __future__ import annotations

import hashlib
import io
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import frappe
import pyqrcode
from frappe import _

from connected_app.oauth import catalogue, device
from connected_app.oauth.clock import utc_now
from connected_app.oauth.device import DeviceAttempt
from connected_app.oauth.errors import OAuthError
from connected_app.oauth.grant import Grant
from connected_app.site import flow, replacing, revocation, settings
from connected_app.site.access import check_may_connect
from connected_app.site.events import announce
from connected_app.site.http import http
from connected_app.site.identity import ConnectionKey
from connected_app.site.replacing import Replacement
from connected_app.site.sealed import Sealed, answered
from connected_app.site.settings import AppSettings

ATTEMPTS = Sealed("connected_app_code", timedelta(seconds=device.LONGEST_LIFE))
# Seconds. Longer than a request to the provider takes: there is one at a time.
TURN = 60
SCALE = 5


def begin(connected_app: str) -> DeviceAttempt:
	"""Ask the provider for a code, for the session's user.

	:raises frappe.PermissionError:
	:raises OAuthError: `app_disabled`, `device_not_offered`, and as `oauth.device.begin`
	"""
	app = _usable(connected_app)
	context = {"connected_app": app.name, "user": frappe.session.user, "session": flow.browser_session()}
	context["shared"] = str(app.is_shared)
	return device.begin(app.provider, app.client, http(), context=context)


def ask(attempt: DeviceAttempt) -> Grant | DeviceAttempt:
	"""Ask the provider whether the user has answered. A user who may not connect any more gets nothing.

	:returns: a grant, not yet stored; or the attempt to continue with
	:raises frappe.PermissionError:
	:raises OAuthError: the attempt has failed: as `oauth.device.ask`, `app_unknown`, `app_disabled`, `device_not_offered`
	"""
	app = _usable(attempt.context["connected_app"])
	_check_is_as_begun(attempt, app)
	return device.ask(app.provider, app.client, attempt, http())


def store(attempt: DeviceAttempt, grant: Grant) -> Grant | Replacement:
	"""Store the grant durably, for the user who began the attempt.

	:returns: as `flow.finish`
	"""
	app = settings.read(attempt.context["connected_app"])
	try:
		_check_is_as_begun(attempt, app)
	except OAuthError:
		revocation.give_back(_key_of(attempt), grant)
		raise
	return flow.store(app, grant, "/connect?app=" + quote(app.name, safe=""), app.client.scopes)


def _check_is_as_begun(attempt: DeviceAttempt, app: AppSettings) -> None:
	if attempt.context.get("shared", str(app.is_shared)) != str(app.is_shared):
		# The user has not consented to that.
		raise catalogue.error("attempt_unknown")


def _usable(connected_app: str) -> AppSettings:
	if not frappe.db.exists("Connected App", connected_app):
		raise catalogue.error("app_unknown")
	app = settings.read(connected_app, with_secret=True)
	check_may_connect(app)
	if not app.offers_codes:
		raise catalogue.error("device_not_offered")
	return app


def run(connected_app: str, show: Callable[[DeviceAttempt], None]) -> Grant:
	"""Connect the session's user without a browser session: for a command, which waits itself.

	:param show: called with the attempt, to show its code
	:raises frappe.PermissionError:
	:raises OAuthError: as `begin` and `ask`
	"""
	attempt = begin(connected_app)
	show(attempt)
	while True:
		time.sleep(attempt.interval)
		_see_what_others_have_changed()
		found = ask(attempt)
		if isinstance(found, Grant):
			return _chosen(store(attempt, found))
		attempt = found


def _chosen(stored: Grant | Replacement) -> Grant:
	"""The stored grant. If another account was connected, nobody can be asked here, so the previous one stays.

	:raises ReconnectRequired: `account_differs`
	"""
	if isinstance(stored, Grant):
		return stored
	replacing.decide(stored.key, flow.browser_session(), False)
	raise catalogue.error(
		"account_differs", stored.now.name or stored.now.id, stored.before.name or stored.before.id
	)


def _see_what_others_have_changed() -> None:
	"""Begin a new transaction, as at the start of a request. The old one has written nothing."""
	frappe.db.rollback()
	frappe.local.cache = {}
	user = frappe.session.user
	if not frappe.db.get_value("User", user, "enabled"):
		frappe.throw(_("You are not allowed to connect to this app."), frappe.PermissionError)


# In a browser session


def begin_here(connected_app: str) -> dict[str, Any]:
	"""Begin an attempt in this browser session; it replaces an earlier one.

	:returns: `attempt`, its name; the `code` and the `address` to enter it at; a `link` with the code in it, if the provider
		offers one; `qr_code`, a picture of link or address as a data URI, or empty; seconds until the code expires
		(`expires_in`), and to `wait` before `look`
	:raises OAuthError: as `begin`, and `attempt_store_unavailable`
	"""
	attempt = begin(connected_app)
	name = frappe.generate_hash(length=32)
	life = _life(attempt)
	ATTEMPTS.put(_here(name), attempt.to_json())
	before = answered(lambda: frappe.cache.set(_current_key(), name, ex=life, get=True))  # nosemgrep
	if before:
		_forget(before.decode())
	_take_turn(name, attempt.interval)
	return {
		"attempt": name,
		"code": attempt.user_code,
		"address": attempt.verification_uri,
		"link": attempt.verification_uri_complete,
		"qr_code": qr_code(attempt.verification_uri_complete or attempt.verification_uri),
		"expires_in": life,
		"wait": attempt.interval,
	}


def look(name: str) -> tuple[Grant | Replacement | None, DeviceAttempt, int]:
	"""The state of an attempt of this browser session. The provider is asked if it is time.

	:returns: the grant that is stored now, or what would replace another account, or None; the attempt; and the seconds to
		wait before the next `look`
	:raises frappe.PermissionError:
	:raises OAuthError: the attempt has failed, and is forgotten: `attempt_unknown`, and as `ask`
	"""
	attempt = _mine(name)
	if wait := _take_turn(name, TURN):
		return None, attempt, wait
	try:
		found = ask(attempt)
	except (OAuthError, frappe.PermissionError) as error:
		code = error.code if isinstance(error, OAuthError) else "not_allowed"
		if _forget(name):
			announce("connect_failed", _key_of(attempt), code)
		raise
	if isinstance(found, DeviceAttempt):
		# Unless it was cancelled meanwhile.
		ATTEMPTS.put(_here(name), found.to_json(), only_in_place=True)
		answered(lambda: frappe.cache.set(_turn(name), 1, ex=found.interval))  # nosemgrep
		return None, found, found.interval
	if not _forget(name):
		# The attempt has failed.
		revocation.give_back(_key_of(attempt), found)
		raise catalogue.error("attempt_unknown")
	return store(attempt, found), attempt, 0


def cancel(name: str) -> None:
	"""Forget an attempt of this browser session."""
	with suppress(OAuthError):
		_mine(name)
		_forget(name)


def _mine(name: str) -> DeviceAttempt:
	"""
	:raises ReconnectRequired: `attempt_unknown`: over, replaced by another, or not of this browser session
	"""
	known = answered(lambda: frappe.cache.get(_current_key()))  # nosemgrep
	text = ATTEMPTS.peek(_here(name)) if known == name.encode() else None
	attempt = DeviceAttempt.from_json(text) if text else None
	if attempt is None or attempt.context["user"] != frappe.session.user:
		raise catalogue.error("attempt_unknown")
	return attempt


def _forget(name: str) -> bool:
	"""Delete an attempt. Returns whether it still existed: of two callers, one gets True."""
	answered(lambda: frappe.cache.execute_command("DEL", _turn(name)))
	return ATTEMPTS.take(_here(name)) is not None


def _take_turn(name: str, seconds: int) -> int:
	"""0 if nobody has asked within the interval, and then nobody else may for `seconds`; otherwise the seconds to wait."""
	if answered(lambda: frappe.cache.set(_turn(name), 1, ex=seconds, nx=True)):  # nosemgrep
		return 0
	return max(int(answered(lambda: frappe.cache.ttl(_turn(name)))), 1)


def _key_of(attempt: DeviceAttempt) -> ConnectionKey:
	return ConnectionKey.of_user(attempt.context["connected_app"], attempt.context["user"])


def _life(attempt: DeviceAttempt) -> int:
	return max(int((attempt.expires_at - utc_now()).total_seconds()), 1)


def _here(name: str) -> str:
	"""The key of the attempt `name`, for this browser session only."""
	return f"{flow.browser_session()}\n{name}"


def _current_key() -> Any:
	"""The key that holds the name of this browser session's attempt."""
	digest = hashlib.sha256(_here("").encode()).hexdigest()
	return frappe.cache.make_key(f"connected_app_code_mine:{digest}")


def _turn(name: str) -> Any:
	digest = hashlib.sha256(name.encode()).hexdigest()
	return frappe.cache.make_key(f"connected_app_code_turn:{digest}")


def qr_code(text: str) -> str:
	"""A QR code of `text`, as a data URI; empty if the text is too long."""
	picture = io.BytesIO()
	try:
		pyqrcode.create(text).svg(picture, scale=SCALE, quiet_zone=2, background="#fff", module_color="#000")
	except ValueError:
		return ""
	return "data:image/svg+xml;base64," + b64encode(picture.getvalue()).decode()


def in_terminal(text: str) -> str:
	"""The same for a terminal; empty without a text."""
	try:
		return str(pyqrcode.create(text).terminal(quiet_zone=1)) if text else ""
	except ValueError:
		return ""
