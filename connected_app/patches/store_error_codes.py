"""The reason for a failure was stored as an English sentence. Now it is a code and values."""

from __future__ import annotations

import frappe

from connected_app.oauth import catalogue


def execute() -> None:
	for doctype in ("Token Cache", "Pending Revocation"):
		if not frappe.db.has_column(doctype, "last_error"):
			continue
		table = frappe.qb.DocType(doctype)
		rows = (
			frappe.qb.from_(table)
			.select(table.name, table.last_error)
			.where(table.last_error.isnotnull() & (table.last_error != "") & table.error_code.isnull())
		).run()
		for name, last_error in rows:
			code, _separator, message = last_error.partition(": ")
			values = {"error_code": code[:140], "error_values": catalogue.recognized(code, message)}
			frappe.db.set_value(doctype, name, values, update_modified=False)
