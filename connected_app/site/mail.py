"""The mail servers to which an Email Account may send a connection's token, and the notification of its owner.

Frappe sends the access token to the server in the Email Account (XOAUTH2). A System Manager could enter anybody's
connection there, and a server of their own.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import frappe
from frappe import _
from frappe.model.document import Document

from connected_app.oauth.policy import host_of, is_loopback
from connected_app.oauth.templates import Template
from connected_app.site import accounts, settings, templates
from connected_app.site.callers import EMAIL_ACCOUNT
from connected_app.site.events import announce
from connected_app.site.identity import ConnectionKey
from connected_app.site.rows import find

# Frappe wants a user in an Email Account, and asks for the connection as that user. A shared connection has no user, so it
# gets one who never leaves and may always use it.
NOBODY = "Administrator"
ENDPOINTS = ("authorization_uri", "token_uri", "issuer", "userinfo_uri")
# The fields of an Email Account with a server → the field that turns it on.
SERVERS = {"email_server": "enable_incoming", "smtp_server": "enable_outgoing"}


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


def asker() -> Any:
	"""The Email Account for which Frappe asks for the token; None if other code asks."""
	frame: FrameType | None = sys._getframe(1)
	while frame and (frame.f_globals.get("__name__"), frame.f_code.co_name) != (
		EMAIL_ACCOUNT,
		"get_oauth_token",
	):
		frame = frame.f_back
	return frame.f_locals["self"] if frame else None


def account_of(account: Any, key: ConnectionKey) -> str | None:
	"""The ID of the account at the provider, of several, that an Email Account logs in with; None: the default one.

	:param account: the Email Account, which has only its address to name one
	:param key: of the user's default account
	"""
	login = str((account.login_id if account.login_id_is_different else "") or account.email_id or "")
	return accounts.id_of(key, login)


def keep_servers_in_use() -> None:
	"""On installing, list the servers that Email Accounts already use in *Mail Servers*, so that their mail goes on."""
	fields = ["auth_method", "connected_app", *SERVERS, *SERVERS.values()]
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


def _not_allowed(app: Any, account: Any) -> list[str]:
	hosts = [
		(account.get(field) or "").strip().lower() for field, used in SERVERS.items() if account.get(used)
	]
	return [host for host in hosts if host and not is_allowed(app, host)]


def check_servers(app: Any, account: Any) -> None:
	"""
	:param app: a Connected App's document or row
	:param account: the Email Account. An evaluated text of an admin can change it without saving it (`doc.db_set`), so this is
		also called when Frappe asks for the token
	:raises frappe.ValidationError: for a server that does not belong to the provider
	"""
	for host in _not_allowed(app, account):
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
