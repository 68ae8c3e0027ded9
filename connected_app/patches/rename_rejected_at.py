"""`refused_at` of Token Cache is called `rejected_at`."""

from __future__ import annotations

import frappe
from frappe.model.utils.rename_field import rename_field


def execute() -> None:
	if frappe.db.has_column("Token Cache", "refused_at"):
		rename_field("Token Cache", "refused_at", "rejected_at")
