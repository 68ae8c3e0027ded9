"""The mail servers to which an Email Account may send a connection's token, and the notification of its owner.

Frappe sends the access token to the server in the Email Account (XOAUTH2). A System Manager could enter anybody's
connection there, and a server of their own.
"""

from __future__ import annotations

import re
import sys
from base64 import b64decode
from collections.abc import Collection
from types import FrameType
from typing import Any

import frappe
from frappe import _
from frappe.email import oauth
from frappe.model.document import Document

from connected_app.oauth.policy import host_of, is_loopback
from connected_app.oauth.templates import Template
from connected_app.site import accounts, settings, templates
from connected_app.site.callers import EMAIL_ACCOUNT, Caller, caller
from connected_app.site.events import announce
from connected_app.site.identity import ConnectionKey
from connected_app.site.passwords import Hidden, behind
from connected_app.site.rows import find

# Frappe wants a user in an Email Account, and asks for the connection as that user. A shared connection has no user, so it
# gets one who never leaves and may always use it.
NOBODY = "Administrator"
ENDPOINTS = ("authorization_uri", "token_uri", "issuer", "userinfo_uri")
# The fields of an Email Account with a server → the field and value that turn it on, and the method that shows the token to
# it. A mail in the queue is sent by the account that it was written for, even if that has been turned off.
SERVERS = {
	"email_server": ("enable_incoming", "1", "get_incoming_server"),
	"smtp_server": ("enable_outgoing", "1", "sendmail_config"),
	"frappe_mail_site": ("service", "Frappe Mail", "_frappe_mail_client"),
}
FRAPPE_MAIL = "frappe.email.frappemail"
# XOAUTH2, and OAUTHBEARER (RFC 7628 3.1).
_SHOWN = re.compile(r"(auth=Bearer )[^\s\\'\"\x01]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{24,}={0,2}")


def before_validate(account: Document, _event: str) -> None:
	"""Hook of Email Account, before Frappe itself logs in with the token.

	:raises frappe.ValidationError: for a server that does not belong to the provider
	"""
	if app := _app_of(account):
		check_servers(app, account)
		if settings.is_shared(app) and not account.get("backend_app_flow"):
			account.set("connected_user", NOBODY)


def give_to_nobody(connected_app: str) -> None:
	"""Change the user of a Connected App's Email Accounts when its connection becomes shared."""
	uses: dict[str, Any] = {"auth_method": "OAuth", "connected_app": connected_app}
	# Frappe 15 has no service principal in Email Accounts.
	if frappe.get_meta("Email Account").has_field("backend_app_flow"):
		uses["backend_app_flow"] = 0
	frappe.db.set_value("Email Account", uses, "connected_user", NOBODY)


def asker() -> tuple[Any, set[str]]:
	"""The Email Account for which Frappe asks for the token, and the methods by which it asks; None if other code asks."""
	frame: FrameType | None = sys._getframe(1)
	account, methods = None, set()
	while frame:
		if frame.f_globals.get("__name__") == EMAIL_ACCOUNT:
			if account is None and frame.f_code.co_name == "get_oauth_token":
				account = frame.f_locals["self"]
			methods.add(frame.f_code.co_name)
		frame = frame.f_back
	return account, methods


class MailToken(Hidden):
	"""An access token that shows itself to mail servers only. Frappe keeps it on the Email Account once it has used it,
	where a text, or a script, that sends a mail or comes after one finds it, without asking for it."""

	__slots__ = ()

	def __format__(self, spec: str) -> str:
		"""As Frappe writes it into XOAUTH2."""
		shows = sys._getframe(1).f_globals is vars(oauth)
		return format(behind(self) if shows else str(self), spec)

	def __radd__(self, before: str) -> MailToken:
		"""As Frappe writes it into a header, for its mail service."""
		return MailToken.of(before + behind(self))

	def encode(self, *args: Any, **kwargs: Any) -> bytes:
		"""As that header is sent."""
		frame: FrameType | None = sys._getframe(1)
		# Through the libraries that send, and whatever traces them.
		while frame and _package(frame) != "frappe":
			frame = frame.f_back
		by_frappe_mail = frame and frame.f_globals.get("__name__") == FRAPPE_MAIL
		shows = by_frappe_mail and caller() is Caller.CODE
		return (behind(self) if shows else str(self)).encode(*args, **kwargs)


def for_asker(token: str) -> str:
	"""`token` as the code gets it that asks for a Token Cache's password."""
	frame: FrameType | None = sys._getframe(1)
	while frame and _package(frame) == "connected_app":
		frame = frame.f_back
	if frame and frame.f_globals.get("__name__") == EMAIL_ACCOUNT:
		_account, methods = asker()
		if methods.intersection(method for _used, _value, method in SERVERS.values()):
			return MailToken.of(token)
	return token


def _package(frame: FrameType) -> str:
	return str(frame.f_globals.get("__name__")).partition(".")[0]


def hide_tokens(log: Document, _event: str) -> None:
	"""Hook of Error Log. Python's mail libraries have what they show to a server in a variable of theirs, most of them in
	base64, and where a server refuses it, Frappe notes their variables."""
	for field in ("method", "error"):
		if text := log.get(field):
			log.set(field, _BASE64.sub(_without_token, _SHOWN.sub(r"\1…", str(text))))


def _without_token(word: re.Match[str]) -> str:
	"""A word of base64, which may be cut off, if it is no token."""
	encoded = word[0][: len(word[0]) // 4 * 4]
	return "…" if _SHOWN.search(b64decode(encoded).decode("latin-1")) else word[0]


def account_of(account: Any, key: ConnectionKey) -> str | None:
	"""The ID of the account at the provider, of several, that an Email Account logs in with; None: the default one.

	:param account: the Email Account, which has only its address to name one
	:param key: of the user's default account
	"""
	login = str((account.login_id if account.login_id_is_different else "") or account.email_id or "")
	return accounts.id_of(key, login)


def keep_servers_in_use() -> None:
	"""On installing, list the servers that Email Accounts already use in *Mail Servers*, so that their mail goes on."""
	meta = frappe.get_meta("Email Account")
	known = (field for field in SERVERS if meta.has_field(field))
	fields = ["auth_method", "connected_app", *known, *(used for used, *_rest in SERVERS.values())]
	filters = {"auth_method": "OAuth", "connected_app": ("is", "set")}
	for account in frappe.get_all("Email Account", filters, fields):
		if (app := _app_of(account)) and (added := _not_allowed(app, account)):
			servers = "\n".join(each for each in (app.mail_servers, *dict.fromkeys(added)) if each)
			frappe.db.set_value("Connected App", app.name, "mail_servers", servers, update_modified=False)


def _app_of(account: Any) -> Any:
	if account.get("auth_method") != "OAuth" or not account.get("connected_app"):
		return None
	fields = ["name", "provider", "mail_servers", "connection_is", "grant_type", *ENDPOINTS]
	return frappe.db.get_value("Connected App", account.connected_app, fields, as_dict=True)


def _not_allowed(app: Any, account: Any, methods: Collection[str] = ()) -> list[str]:
	hosts = [
		_host(field, (account.get(field) or "").strip().lower())
		for field, (used, value, method) in SERVERS.items()
		if str(account.get(used)) == value or method in methods
	]
	return [host for host in hosts if host and not is_allowed(app, host)]


def _host(field: str, server: str) -> str:
	"""The host of `server`; an address whose host cannot be trusted with a token is nobody's, and stays as it is."""
	host = host_of(server) if field == "frappe_mail_site" else ""
	return host if host and (server.startswith("https:") or is_loopback(host)) else server


def check_asker(app: Any) -> None:
	"""As `check_servers`, where an Email Account asks for a token.

	:param app: the Connected App's document
	"""
	account, methods = asker()
	if account:
		check_servers(app, account, methods)


def check_servers(app: Any, account: Any, methods: Collection[str] = ()) -> None:
	"""
	:param app: a Connected App's document or row
	:param account: the Email Account. An evaluated text of an admin can change it without saving it (`doc.db_set`), so this is
		also called when Frappe asks for the token
	:param methods: of the Email Account, that ask for the token
	:raises frappe.ValidationError: for a server that does not belong to the provider
	"""
	for host in _not_allowed(app, account, methods):
		frappe.throw(
			_(
				"{0} is not known as a mail server of this Connected App's provider, so it gets no token. An administrator can add it to Mail Servers of the Connected App."
			).format(frappe.bold(frappe.utils.escape_html(host))),
			title=_("Mail Servers"),
		)


def on_update(account: Document, _event: str) -> None:
	"""Hook of Email Account: notify a connection's owner if somebody else uses it there."""
	if account.get("auth_method") != "OAuth" or not account.get("connected_app"):
		return
	user, before = account.get("connected_user"), account.get_doc_before_save()
	changed = not before or (before.connected_app, before.connected_user) != (account.connected_app, user)
	shared = settings.is_shared(_app_of(account))
	key = ConnectionKey.from_columns(account.connected_app, user, shared)
	found = find("select c.`connected_by` from `tabToken Cache` c", key) if shared else []
	owner = found[0][0] if found else user
	if user and changed and owner != frappe.session.user:
		frappe.db.after_commit.add(lambda: announce("used_for_mail", key))


def is_allowed(app: Any, host: str) -> bool:
	"""Whether `host` belongs to the provider of `app`: it is the host of an endpoint, a mail server in the provider's
	template, or listed by an administrator.

	A shared domain proves nothing: without a list of public suffixes, `a.co.uk` and `b.co.uk` share one.
	"""
	endpoints = _endpoint_hosts(app)
	listed = {line.strip().lower() for line in (app.mail_servers or "").splitlines()}
	if host in endpoints or host in listed:
		return True
	if is_loopback(host) and any(is_loopback(each) for each in endpoints):
		return True
	for template in templates.all_templates().values():
		known = {template["mail.imap"], template["mail.smtp"]}
		if host in known and (template.key == app.provider or _is_of(template, endpoints)):
			return True
	return False


def template_of(app: Any) -> Template | None:
	"""The template with the mail servers of a Connected App: its own; or, if an administrator has filled in the fields by
	hand, one of the same provider whose mail scopes are asked for.

	:param app: the document
	"""
	known = templates.all_templates()
	own = known.get(app.provider or "")
	if own and own["mail.imap"]:
		return own
	endpoints = _endpoint_hosts(app)
	asked = {row.scope for row in app.scopes}
	return next(
		(
			each
			for each in known.values()
			if each["mail.imap"] and asked.issuperset(each["mail.scopes"] or [""]) and _is_of(each, endpoints)
		),
		None,
	)


def _endpoint_hosts(app: Any) -> set[str]:
	return {host_of(app.get(field) or "") for field in ENDPOINTS} - {""}


def _is_of(template: Template, endpoints: set[str]) -> bool:
	hosts = {host_of(template[path] or "") for path in ("authorize", "token", "discovery", "issuer")}
	return bool(endpoints.intersection(hosts))
