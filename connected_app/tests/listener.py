"""What another app would register for events. Called by a background worker."""

from __future__ import annotations

import frappe


def heard(event: str, connected_app: str, user: str, code: str) -> None:
	told = {"event": event, "connected_app": connected_app, "user": user, "code": code}
	frappe.get_doc({"doctype": "ToDo", "description": frappe.as_json(told, indent=None)}).insert(
		ignore_permissions=True
	)


def fails(**event: str) -> None:
	half_done = {"doctype": "ToDo", "description": f"half done for {event['connected_app']}"}
	frappe.get_doc(half_done).insert(ignore_permissions=True)
	raise ValueError("a listener that fails")
