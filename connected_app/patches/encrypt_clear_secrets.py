"""Password fields that a site had added to this app's DocTypes were stored unencrypted."""

from __future__ import annotations

import frappe

from connected_app.site import passwords


def execute() -> None:
	for doctype in passwords.DOCTYPES:
		for field in frappe.get_meta(doctype).get("fields", {"fieldtype": "Password"}):
			table = frappe.qb.DocType(doctype)
			column = table[field.fieldname]
			kept = ("", passwords.PLACEHOLDER)
			rows = frappe.qb.from_(table).select(table.name, column).where(column.notin(kept)).run()
			for name, value in rows:
				if value.strip("*"):
					passwords.store(doctype, name, field.fieldname, value)
				frappe.db.set_value(
					doctype, name, field.fieldname, passwords.PLACEHOLDER, update_modified=False
				)
