"""*Set Up E-mail*: an Email Account for a connection, with the mail servers of the provider's template."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import frappe
from frappe.utils import validate_email_address

from connected_app.oauth import catalogue, scopes
from connected_app.oauth.refresh import not_connected
from connected_app.oauth.templates import Template
from connected_app.site import access, accounts, mail, settings, templates, token_caches
from connected_app.site.rows import name_of

# The port of IMAP that begins without TLS (RFC 8314 3.2).
STARTTLS_PORT = 143


def is_offered(connected_app: str) -> bool:
	"""Whether the session's user may create Email Accounts, and the provider's mail servers are known."""
	if not frappe.has_permission("Email Account", "create"):
		return False
	return mail.template_of(frappe.get_cached_doc("Connected App", connected_app)) is not None


def offer(connected_app: str, account: str | None = None) -> dict[str, Any]:
	"""What `set_up` would set up for the connection of the session's user.

	:param account: of several accounts, which one, by its ID or name; by default the default one
	:returns: `email_id`, empty if the provider has not named it; `incoming` and `outgoing`, server and port, the latter
		empty if Frappe cannot send there; `email_account`, an existing one with this address, or empty
	:raises OAuthError: as `_check`
	"""
	template, address = _check(connected_app, account)
	fields = _servers(template)
	outgoing = fields.get("smtp_server")
	return {
		"email_id": address,
		"incoming": f"{fields['email_server']}:{fields['incoming_port']}",
		"outgoing": f"{outgoing}:{fields['smtp_port']}" if outgoing else "",
		"email_account": _existing(address) if address else "",
	}


def set_up(
	connected_app: str, email_id: str = "", update: bool = False, account: str | None = None
) -> dict[str, str]:
	"""Make the Email Account; or change the OAuth settings, and nothing else, of the existing one with this address. Frappe
	logs in to both servers first.

	:param email_id: by default the account's own address; otherwise another address of the same mailbox
	:param update: change an existing Email Account with this address
	:param account: of several accounts, which one, by its ID or name; by default the default one
	:returns: `name`, and what became of it: `created`, `updated`, or `exists` (nothing was changed)
	:raises frappe.PermissionError: to those who may not create, or change, Email Accounts
	:raises frappe.ValidationError: when Frappe cannot log in
	:raises OAuthError: as `_check`, and `mail_address_unknown`, `mail_server_unreachable`
	"""
	template, login = _check(connected_app, account)
	address = email_id.strip() or login
	# An Email Account has nothing but its address to name one of several accounts.
	if not validate_email_address(address) or (accounts.is_named(account) and not login):
		raise catalogue.error("mail_address_unknown")
	oauth = {
		"auth_method": "OAuth",
		"connected_app": connected_app,
		"connected_user": frappe.session.user,
		"backend_app_flow": 0,
		"login_id_is_different": int(bool(login) and login != address),
		"login_id": login,
	}
	if name := _existing(address):
		if not update:
			return {"name": name, "became": "exists"}
		existing = frappe.get_doc("Email Account", name)
		existing.update(oauth)
		with _logging_in(existing):
			existing.save()
		return {"name": name, "became": "updated"}
	made = frappe.new_doc("Email Account")
	made.update({"email_id": address, **_servers(template), **oauth})
	made.autoname()
	if frappe.db.exists("Email Account", made.name):
		made.email_account_name = address
	with _logging_in(made):
		made.insert()
	return {"name": made.name, "became": "created"}


@contextmanager
def _logging_in(account: Any) -> Iterator[None]:
	"""Frappe does not catch errors of the socket to the incoming server.

	:raises TemporaryFailure: `mail_server_unreachable`
	"""
	try:
		yield
	except OSError as error:
		frappe.clear_messages()
		raise catalogue.error("mail_server_unreachable", account.email_server) from error


def _check(connected_app: str, account: str | None) -> tuple[Template, str]:
	"""The template, and the address of the account that the session's user has connected; empty if it is unknown.

	:raises ConfigurationError: `mail_unsupported`, `scope_not_asked`
	:raises ReconnectRequired: `not_connected`, `scope_missing`, `account_not_connected`, `account_ambiguous`
	"""
	app = frappe.get_doc("Connected App", connected_app)
	template = mail.template_of(app)
	if not template:
		raise catalogue.error("mail_unsupported", app.provider_name)
	wanted, quirks = template["mail.scopes"] or [], templates.quirks_of(app)
	if unasked := scopes.missing(wanted, settings.scopes(app), quirks):
		raise catalogue.error("scope_not_asked", ", ".join(unasked))
	name = name_of(access.connection_of(settings.for_session(app), frappe.session.user, account))
	connection = frappe.get_doc("Token Cache", name) if name else None
	if not connection or not token_caches.is_connected(connection):
		raise not_connected()
	if lacking := scopes.missing(wanted, [row.scope for row in connection.scopes], quirks):
		raise catalogue.error("scope_missing", ", ".join(lacking))
	known = (connection.account_name, connection.account_id)
	return template, next((each for each in known if each and validate_email_address(each)), "")


def _servers(template: Template) -> dict[str, Any]:
	"""The fields of an Email Account with the servers for incoming and outgoing mail.

	If TLS comes first (port 465), Frappe sends no EHLO, and servers accept no token: such an account only receives.
	"""
	at_once = template["mail.imap_port"] != STARTTLS_PORT
	fields = {
		"enable_incoming": 1,
		"use_imap": 1,
		"email_server": template["mail.imap"],
		"incoming_port": str(template["mail.imap_port"]),
		"use_ssl": int(at_once),
		"use_starttls": int(not at_once),
		"imap_folder": [{"folder_name": "INBOX"}],
	}
	if template["mail.smtp"] and template["mail.smtp_tls"] == "starttls":
		fields |= {
			"enable_outgoing": 1,
			"smtp_server": template["mail.smtp"],
			"smtp_port": str(template["mail.smtp_port"]),
			"use_tls": 1,
		}
	return fields


def _existing(address: str) -> str:
	return frappe.db.get_value("Email Account", {"email_id": address}) or ""
