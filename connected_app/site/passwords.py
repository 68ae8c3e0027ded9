"""What every document with a secret has in common: its length is not kept, and templates cannot read it."""

from __future__ import annotations

import sys

import frappe
from frappe import _
from frappe.model.document import Document
from jinja2.sandbox import unsafe

# A fixed length: Frappe's own placeholder is as long as the secret (core-defects 14). Any number of stars means
# "unchanged" to Frappe, so saving a form again keeps the secret.
PLACEHOLDER = "*" * 8


class SecretKeeper(Document):
	"""A document with Password fields."""

	def _save_passwords(self) -> None:
		super()._save_passwords()
		for field in self.meta.get("fields", {"fieldtype": "Password"}):
			if self.get(field.fieldname):
				self.set(field.fieldname, PLACEHOLDER)

	@unsafe
	def get_password(self, fieldname: str = "password", raise_exception: bool = True) -> str | None:
		return super().get_password(fieldname, raise_exception)


def has_password(doctype: str, name: str, fieldname: str) -> bool:
	"""Whether a password is stored, readable or not."""
	auth = frappe.qb.Table("__Auth")
	stored = (
		frappe.qb.from_(auth)
		.select(auth.name)
		.where((auth.doctype == doctype) & (auth.name == name) & (auth.fieldname == fieldname))
		.where(auth.encrypted == 1)
		.limit(1)
	)
	return bool(stored.run())


def check_not_for_browsers() -> None:
	"""For the `get_password` of a document whose secrets are for code on the server only.

	`frappe.client.get_password` gives a System Manager any stored password. It can be reached by other names than
	its own (`frappe.desk.treeview.get_all_nodes` calls what it is told to), so the caller is looked at, not the URL.

	:raises frappe.PermissionError:
	"""
	caller = sys._getframe(2)
	if caller.f_globals.get("__name__") == "frappe.client":
		frappe.throw(_("Tokens are not shown to anybody."), frappe.PermissionError)
