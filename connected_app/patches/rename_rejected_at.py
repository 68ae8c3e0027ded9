"""`refused_at` of Token Cache is called `rejected_at`."""

from __future__ import annotations

import frappe


def execute() -> None:
	# Not by Frappe's `rename_field`, which PostgreSQL does not understand.
	if frappe.db.has_column("Token Cache", "refused_at"):
		cache = frappe.qb.DocType("Token Cache")
		frappe.qb.update(cache).set(cache.rejected_at, cache.refused_at).where(
			cache.refused_at.notnull()
		).run()
