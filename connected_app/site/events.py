"""Events of connections, reported to the audit trail, the connection's owner, and other apps.

An event is reported after it is durable, outside the lock, and in its own transaction. Nothing here fails its caller: the
Token Cache is the truth, this is the news.
"""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import frappe
from frappe import _
from frappe.utils import cint, escape_html, get_absolute_url, get_fullname, get_url, strip_html
from frappe.utils.user import get_system_managers

from connected_app.site.database import own_transaction, writing
from connected_app.site.identity import ConnectionKey
from connected_app.site.rows import find

# A successful refresh is not written: it happens all the time.
FAILED = ("failing", "broken", "connect_failed")
WRITTEN = (
	"connected",
	"account_changed",
	"default_changed",
	"mended",
	"disconnected",
	"used_for_mail",
	*FAILED,
)
NOTIFIED = ("broken", "mended", "used_for_mail")
HOOK = "connected_app_events"
# Seconds before a listener is called again.
BUSY_PAUSES = (1, 2)


@dataclass(frozen=True)
class Event:
	"""
	:param event: "connected" (a user consented), "account_changed" (to another account), "default_changed" (another of
		several accounts is now the default), "refreshed", "failing" (a refresh failed, for a new reason), "broken" (the
		owner has to reconnect, or refreshes have failed for a day), "mended" (it works again after that), "used_for_mail"
		(somebody else uses the connection in an Email Account), "disconnected", "connect_failed" (without one of the roles,
		or at the callback)
	:param code: why, one of docs/errors.md; empty on success
	:param accounts: if the account has changed, the names of the previous one and the current one
	"""

	event: str
	key: ConnectionKey
	code: str = ""
	accounts: tuple[str, str] = ("", "")


def announce(name: str, key: ConnectionKey, code: str = "", accounts: tuple[str, str] = ("", "")) -> None:
	"""Report the event `name`. Never raises. See `Event` for the parameters."""
	event = Event(name, key, code, accounts)
	messages = list(frappe.local.message_log)
	if name in WRITTEN:
		_guarded(event, _write)
	_guarded(event, _hand_out)
	frappe.local.message_log = messages


def _guarded(event: Event, step: Callable[[Event], None]) -> None:
	try:
		step(event)
	except Exception as error:
		try:
			with own_transaction("events", 5), writing():
				# Without a traceback: it is another app's, and may hold anything.
				frappe.log_error(
					title="Connected App: an event could not be reported",
					message=f"{type(error).__name__} in {step.__name__} for {event}",
				)
		except Exception:
			frappe.logger("connected_app").error(f"{type(error).__name__} in {step.__name__} for {event}")


def _write(event: Event) -> None:
	with own_transaction("events", 5):
		with writing():
			app = frappe.db.get_value(
				"Connected App",
				event.key.app,
				["name", "provider_name", "owner", "email_when_broken"],
				as_dict=True,
			)
			_audit(event, app)
		if app and event.event in NOTIFIED:
			with writing():
				_notify(event, app)


# Audit


def _audit(event: Event, app: Any) -> None:
	"""An Activity Log entry: who did it, whose connection it was, and from which IP address."""
	log = frappe.get_doc(
		{
			"doctype": "Activity Log",
			"subject": _subject(event, escape_html(app.provider_name if app else event.key.app)),
			"user": frappe.session.user,
			"ip_address": getattr(frappe.local, "request_ip", None),
			"reference_doctype": "Connected App" if app else None,
			"reference_name": app.name if app else None,
		}
	)
	log.insert(ignore_permissions=True, ignore_links=True)
	# Frappe's word for an entry that refers to a document is "Linked".
	log.db_set("status", "Failed" if event.event in FAILED else "Success", update_modified=False)


def _subject(event: Event, provider: str) -> str:
	# The event comes first: lists cut the end.
	whose = escape_html(event.key.owner.user) or (
		_("Everybody's connection") if event.key.is_shared else _("The service principal")
	)
	if event.key.account:
		whose = f"{whose} ({escape_html(event.key.account)})"
	if event.event == "connected":
		if event.key.is_shared:
			return _("Connected for everybody to {0}").format(provider)
		return _("{0} connected to {1}").format(whose, provider)
	if event.event == "account_changed":
		before, now = (escape_html(account) for account in event.accounts)
		return _("Account changed: {0} at {1}, from {2} to {3}").format(whose, provider, before, now)
	if event.event == "default_changed":
		before, now = (escape_html(account) for account in event.accounts)
		return _("Default account changed: {0} at {1}, from {2} to {3}").format(
			whose, provider, before or _("none"), now
		)
	if event.event == "failing":
		return _("Could not be renewed ({2}): {0} at {1}").format(whose, provider, event.code)
	if event.event == "broken":
		return _("No longer works ({2}): {0} at {1}").format(whose, provider, event.code)
	if event.event == "mended":
		return _("Works again: {0} at {1}").format(whose, provider)
	if event.event == "used_for_mail":
		return _("Used for an Email Account: {0} at {1}").format(whose, provider)
	if event.event == "disconnected":
		return _("Disconnected: {0} from {1}").format(whose, provider)
	return _("Refused ({2}): {0} at {1}").format(whose, provider, event.code)


def audit_many(name: str, keys: Sequence[ConnectionKey], by: str, ip_address: str | None) -> None:
	"""An Activity Log entry for each of `keys`, for one event, in the current transaction, by a constant number of
	statements.

	:param by: the user who did it
	"""
	apps = {
		app.name: app
		for app in frappe.get_all(
			"Connected App",
			{"name": ("in", list({key.app for key in keys}))},
			["name", "provider_name"],
			limit=0,
		)
	}
	now = frappe.utils.now()
	fields = ["name", "creation", "modified", "owner", "modified_by", "communication_date", "full_name"]
	fields += ["user", "ip_address", "subject", "status", "reference_doctype", "reference_name"]

	def row(key: ConnectionKey) -> tuple[Any, ...]:
		app = apps.get(key.app)
		subject = _subject(Event(name, key), escape_html(app.provider_name if app else key.app))
		about = ("Connected App", app.name) if app else (None, None)
		who = (by, by, now, strip_html(get_fullname(by)), by, ip_address)
		return (frappe.generate_hash(length=20), now, now, *who, subject, "Success", *about)

	frappe.db.bulk_insert("Activity Log", fields, [row(key) for key in keys])


# Notifications


def _notify(event: Event, app: Any) -> None:
	"""A Notification Log entry for the connection's owner, and an e-mail if both they and the app want one."""
	owner = next((reader for user in _concerned(event, app) if (reader := _reader(user))), None)
	if not owner:
		return
	subject, text = _news(event, app, owner.language)
	link = get_url("/connect?app=" + quote(app.name, safe=""))
	about = {"document_type": "Connected App", "document_name": app.name}
	# Earlier notifications about this connection are out of date.
	frappe.db.set_value("Notification Log", {"for_user": owner.name, "read": 0, **about}, "read", 1)
	button = _("Reconnect", owner.language) if event.event == "broken" else _("View", owner.language)
	_send(owner, subject, text, link, button, about, by_email=bool(cint(app.email_when_broken)))


def certificate_ends(app: Any, ends_on: datetime) -> None:
	"""Notify System Managers that the certificate of a Connected App's key expires soon, in the current transaction.

	:param app: its row
	:param ends_on: UTC
	"""
	link = get_url(get_absolute_url("Connected App", app.name))
	about = {"document_type": "Connected App", "document_name": app.name}
	role, user = frappe.qb.DocType("Has Role"), frappe.qb.DocType("User")
	admins = (
		frappe.qb.from_(user)
		.inner_join(role)
		.on((role.parent == user.name) & (role.parenttype == "User") & (role.role == "System Manager"))
		.where(user.enabled == 1)
		.select(user.name, user.email, user.language)
	).run(as_dict=True)
	for admin in admins:
		language = admin.language
		subject = _("The certificate for {0} ends on {1}", language).format(
			escape_html(app.provider_name), ends_on.date().isoformat()
		)
		text = _(
			"From then on nobody can connect, and connections are not renewed. Make or bring a new key, register it at the provider, and click Use New Key.",
			language,
		)
		_send(admin, subject, text, link, _("View", language), about, by_email=True)


def _send(
	to: Any, subject: str, text: str, link: str, button: str, about: dict[str, str], *, by_email: bool
) -> None:
	"""
	:param to: a user, with `name` and `email`
	:param subject, text: as HTML
	:param by_email: whether to send an e-mail, too, unless the user wants none
	"""
	from frappe.desk.doctype.notification_settings.notification_settings import (
		is_email_notifications_enabled,
		is_notifications_enabled,
	)

	if is_notifications_enabled(to.name):
		frappe.get_doc(
			{
				"doctype": "Notification Log",
				# Frappe sends no e-mail for an Alert, and could not link to the page.
				"type": "Alert",
				"for_user": to.name,
				"from_user": to.name,
				"subject": subject,
				"email_content": text,
				"link": link,
				**about,
			}
		).insert(ignore_permissions=True)
	if by_email and is_email_notifications_enabled(to.name) and to.email:
		try:
			frappe.sendmail(
				recipients=to.email,
				subject=html.unescape(subject),
				template="connection_news",
				args={"text": text, "link": link, "button": button},
			)
		except frappe.OutgoingEmailError:
			# A site without outgoing e-mail: the notification is enough.
			pass


def _concerned(event: Event, app: Any) -> Iterator[str]:
	"""The users concerned; the first who can read a notification gets it."""
	if event.key.user:
		yield event.key.user
		return
	if event.key.is_shared:
		found = find("select c.`connected_by` from `tabToken Cache` c", event.key)
		yield from (found[0][0],) if found else ()
	# The service principal's connection concerns the user who set up the app.
	yield app.owner
	if event.key.is_shared:
		# These may all be disabled.
		yield from get_system_managers(only_name=True)
		yield "Administrator"


def _reader(user: str | None) -> Any:
	if not user or user == "Guest":
		return None
	fields = ["name", "email", "language"]
	return frappe.db.get_value("User", {"name": user, "enabled": 1}, fields, as_dict=True)


def _news(event: Event, app: Any, language: str) -> tuple[str, str]:
	"""Subject and text, as HTML, in the owner's language."""
	provider = escape_html(app.provider_name)
	if event.key.account:
		provider = f"{provider} ({escape_html(_account_name(event.key))})"
	if event.key.is_shared:
		return _news_of_all(event, provider, language)
	if event.event == "mended":
		return (
			_("Your connection to {0} works again", language).format(provider),
			_("Nothing has to be done.", language),
		)
	if event.event == "used_for_mail":
		return (
			_("Your connection to {0} is now used for an Email Account of this site", language).format(
				provider
			),
			_(
				"{0} has set that up. If you do not want this, disconnect, or ask an administrator.", language
			).format(escape_html(frappe.session.user)),
		)
	found = find("select c.`status` from `tabToken Cache` c", event.key)
	if found and found[0][0] == "Temporarily Failing":
		return (
			_("Your connection to {0} has not worked for a day", language).format(provider),
			_(
				"This site keeps trying. If you know of no reason, tell an administrator: {0}", language
			).format(escape_html(event.code)),
		)
	return (
		_("Your connection to {0} no longer works", language).format(provider),
		_("Until you reconnect, this site can do nothing there on your behalf. Reason: {0}", language).format(
			escape_html(event.code)
		),
	)


def _account_name(key: ConnectionKey) -> str:
	found = find("select c.`account_name` from `tabToken Cache` c", key)
	return str((found and found[0][0]) or key.account)


def _news_of_all(event: Event, provider: str, language: str) -> tuple[str, str]:
	"""As `_news`, for a shared connection."""
	if event.event == "mended":
		return (
			_("The shared connection to {0} works again", language).format(provider),
			_("Nothing has to be done.", language),
		)
	if event.event == "used_for_mail":
		return (
			_("The shared connection to {0} is now used for an Email Account of this site", language).format(
				provider
			),
			_("{0} has set that up.", language).format(escape_html(frappe.session.user)),
		)
	return (
		_("The shared connection to {0} does not work", language).format(provider),
		_(
			"Nobody on this site can use it. If it says Reconnect Required, please connect again. Reason: {0}",
			language,
		).format(escape_html(event.code)),
	)


# Other apps


def _hand_out(event: Event) -> None:
	if _listeners(event.event):
		frappe.enqueue("connected_app.site.events.deliver", queue="short", **_arguments(event))


def hand_out(name: str, keys: Sequence[ConnectionKey]) -> None:
	"""Report to other apps what `audit_many` has written, once it is committed."""
	if _listeners(name):
		for key in keys:
			_guarded(Event(name, key), _hand_out)


def _arguments(event: Event) -> dict[str, Any]:
	"""Of a job."""
	return {"event_name": event.event, **event.key.arguments, "code": event.code}


def _listeners(event_name: str) -> list[str]:
	return list(frappe.get_hooks(HOOK, {}).get(event_name, []))


def deliver(
	event_name: str, connected_app: str, user: str, code: str, shared: bool = False, account: str = ""
) -> None:
	"""Call the listeners that other apps have registered, each in its own transaction. Runs in a background job."""
	arguments = {
		"event": event_name,
		"connected_app": connected_app,
		"user": user,
		"code": code,
		"shared": shared,
		"account": account,
	}
	# On SQLite, Frappe begins a job without a transaction.
	frappe.db.commit()  # nosemgrep (nothing is written yet)
	for path in _listeners(event_name):
		# A listener's failure must not affect others.
		try:
			_call(path, arguments)
			frappe.db.commit()  # nosemgrep (it is done, and what it runs after that is its own as well)
		except Exception:
			frappe.db.rollback()
			frappe.log_error(title=f"Connected App: {path} failed")
			frappe.db.commit()  # nosemgrep (the log of it)


def _call(path: str, arguments: dict[str, Any]) -> None:
	"""Call a listener with those arguments that it accepts; again where the database was busy, which undoes what it did."""
	for pause in BUSY_PAUSES:
		try:
			return _call_once(path, arguments)
		except (frappe.QueryDeadlockError, frappe.QueryTimeoutError):
			frappe.db.rollback()
			time.sleep(pause)
	_call_once(path, arguments)


def _call_once(path: str, arguments: dict[str, Any]) -> None:
	user = frappe.session.user
	try:
		frappe.call(frappe.get_attr(path), **arguments)
	finally:
		# A listener that works as another user does so for itself.
		if frappe.session.user != user:
			frappe.set_user(user)
