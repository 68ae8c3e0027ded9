"""Taking core's place, and giving it back."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import frappe
from frappe.utils import get_datetime, get_system_timezone

from connected_app.site.grants import naive
from connected_app.site.passwords import PLACEHOLDER


def after_install() -> None:
	give_expiry()
	hide_lengths()
	keep_admins_rights()


def give_expiry() -> None:
	"""Give core's tokens an absolute expiry, once.

	Core knows `modified + expires_in` only, and a click on *Connect* without consent moves `modified`: where such a
	click is pending, the token counts as expired.
	"""
	rows = frappe.get_all(
		"Token Cache",
		filters={"status": ("is", "not set"), "access_token": ("is", "set")},
		fields=["name", "modified", "expires_in", "state"],
	)
	for row in rows:
		values = {"status": "Connected"}
		if row.expires_in:
			life = timedelta(seconds=0 if row.state else row.expires_in)
			values["expires_at"] = naive(_to_utc(get_datetime(row.modified)) + life)
		frappe.db.set_value("Token Cache", row.name, values, update_modified=False)


def hide_lengths() -> None:
	"""Core left one star per character in the rows."""
	for doctype in ("Connected App", "Token Cache"):
		for field in frappe.get_meta(doctype).get("fields", {"fieldtype": "Password"}):
			frappe.db.set_value(
				doctype, {field.fieldname: ("is", "set")}, field.fieldname, PLACEHOLDER, update_modified=False
			)


def keep_admins_rights() -> None:
	"""Where a site made its own permissions for Connected App, those know nothing of level 1, on which all that
	is not for plain users stands: whoever may write the document may go on writing it all."""
	writers = frappe.get_all(
		"Custom DocPerm", {"parent": "Connected App", "permlevel": 0, "write": 1}, pluck="role", distinct=True
	)
	for role in writers:
		values = {"parent": "Connected App", "role": role, "permlevel": 1}
		if not frappe.db.exists("Custom DocPerm", values):
			frappe.get_doc({"doctype": "Custom DocPerm", **values, "read": 1, "write": 1}).insert()


def before_uninstall() -> None:
	"""Give both DocTypes back to core before Frappe deletes what belongs to this app, tables included."""
	for doctype in ("connected_app", "token_cache"):
		frappe.reload_doc("integrations", "doctype", doctype, force=True)


def _to_utc(moment: datetime) -> datetime:
	return moment.replace(tzinfo=ZoneInfo(get_system_timezone()))
