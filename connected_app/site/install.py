"""Taking core's place, and giving it back."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import frappe
from frappe.utils import get_datetime, get_system_timezone

from connected_app.site.grants import naive


def after_install() -> None:
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


def before_uninstall() -> None:
	"""Give both DocTypes back to core before Frappe deletes what belongs to this app, tables included."""
	for doctype in ("connected_app", "token_cache"):
		frappe.reload_doc("integrations", "doctype", doctype, force=True)


def _to_utc(moment: datetime) -> datetime:
	return moment.replace(tzinfo=ZoneInfo(get_system_timezone()))
