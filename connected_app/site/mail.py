"""Which mail servers an Email Account may send a connection's token to, and that its owner hears of it.

Frappe sends the access token to the server that the Email Account names (XOAUTH2). A System Manager writes that account, and
could name anybody's connection and a server of their own.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import frappe
from frappe import _
from frappe.model.document import Document

from connected_app.oauth.net import is_loopback
from connected_app.oauth.templates import Template
from connected_app.site import templates
from connected_app.site.events import announce
from connected_app.site.identity import ConnectionKey

ENDPOINTS = ("authorization_uri", "token_uri", "issuer", "userinfo_uri")
# The fields of an Email Account with a server, and when each is used.
SERVERS = {"email_server": "enable_incoming", "smtp_server": "enable_outgoing"}


def before_validate(account: Document, _event: str) -> None:
	"""Hook of Email Account, before Frappe itself logs in with the token.

	:raises frappe.ValidationError: for a server that does not belong to the provider
	"""
	if account.get("auth_method") != "OAuth" or not account.get("connected_app"):
		return
	app = frappe.db.get_value(
		"Connected App", account.connected_app, ["name", "provider", "mail_servers", *ENDPOINTS], as_dict=True
	)
	if not app:
		return
	for field, used in SERVERS.items():
		host = (account.get(field) or "").strip().lower()
		if account.get(used) and host and not is_allowed(app, host):
			frappe.throw(
				_(
					"{0} is not known as a mail server of this Connected App's provider, so it gets no token. An administrator can add it to Mail Servers of the Connected App."
				).format(frappe.bold(frappe.utils.escape_html(host))),
				title=_("Mail Servers"),
			)


def on_update(account: Document, _event: str) -> None:
	"""Hook of Email Account: the owner of a connection hears that somebody else has put it to use."""
	if account.get("auth_method") != "OAuth" or not account.get("connected_app"):
		return
	user, before = account.get("connected_user"), account.get_doc_before_save()
	changed = not before or (before.connected_app, before.connected_user) != (account.connected_app, user)
	if user and changed and user != frappe.session.user:
		key = ConnectionKey.of_user(account.connected_app, user)
		frappe.db.after_commit.add(lambda: announce("used_for_mail", key))


def is_allowed(app: frappe._dict, host: str) -> bool:
	"""Whether `host` belongs to the provider of `app`: it is one of its endpoints' hosts, or what is known of the provider,
	or what an administrator has listed.

	A domain that two hosts share says nothing: without a list of public suffixes, `a.co.uk` and `b.co.uk` share one.
	"""
	endpoints = {urlsplit(app.get(field) or "").hostname or "" for field in ENDPOINTS} - {""}
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


def _is_of(template: Template, endpoints: set[str]) -> bool:
	hosts = {
		urlsplit(template[path] or "").hostname for path in ("authorize", "token", "discovery", "issuer")
	}
	return bool(endpoints.intersection(hosts))
