"""When a user or a Connected App is deleted or disabled: their grants are removed, and revoked at the providers."""

from __future__ import annotations

from functools import partial
from typing import Any

import frappe
from frappe import _
from frappe.model.document import Document

from connected_app.site import accounts, ending, recent, revocation
from connected_app.site.database import allow_newer_rows, keeps_snapshot, own_connection
from connected_app.site.events import announce, hand_out
from connected_app.site.identity import ConnectionKey


def user_changed(user: Document, _event: str) -> None:
	before = user.get_doc_before_save()
	if before and before.enabled and not user.enabled:
		end_connections({"user": user.name})


def user_deleted(user: Document, _event: str) -> None:
	end_connections({"user": user.name})


def user_renamed(user: Document, _event: str, old: str, new: str, merge: bool = False) -> None:
	"""Before Frappe writes the new name to the rows."""
	make_changeable({"user": user.name})
	make_changeable({"connected_by": user.name})
	if merge:
		accounts.prepare_merge({"user": old}, {"user": new})


def before_user_deleted(settings: Document, _event: str) -> None:
	"""Hook of Notification Settings, which `User.on_trash` deletes before Token Cache rows."""
	make_changeable({"user": settings.name})


def make_changeable(filters: dict[str, Any]) -> None:
	"""Let the caller's transaction change or delete the connections that match `filters`, although they may have been
	refreshed since it began.

	:raises frappe.ValidationError: if the database cannot do that, before anything is changed
	"""
	allow_newer_rows()
	if not keeps_snapshot():
		return
	with own_connection():
		latest = frappe.get_all("Token Cache", filters, ["name", "modified"], as_list=True, limit=0)
	seen = dict(frappe.get_all("Token Cache", filters, ["name", "modified"], as_list=True, limit=0))
	if any(seen.get(name, modified) != modified for name, modified in latest):
		frappe.throw(
			_("A connection was renewed while this was going on. Nothing has been changed; please try again.")
		)


def end_app(app: Document) -> None:
	"""End the connections to a Connected App that is disabled or deleted, or that becomes shared or is no longer: a few at
	once, many by a job."""
	filters = {"connected_app": app.name, "generation": app.generation}
	if len(frappe.get_all("Token Cache", filters, limit=revocation.AT_ONCE + 1)) > revocation.AT_ONCE:
		ending.begin(app)
		revocation.start_job()
	else:
		end_connections(filters)


def end_connections(filters: dict[str, Any]) -> None:
	"""Remove the connections that match `filters`, in the caller's transaction; revoke them once it is committed: a few at
	once, more by a job.

	They are found through another database connection: Frappe has already deleted a user's rows, but not their passwords.
	"""
	make_changeable(filters)
	with own_connection():
		rows = frappe.get_all(
			"Token Cache",
			filters,
			["name", "connected_app", "user", "shared", "account", "generation"],
			limit=0,
		)
	# Merging two users moves the rows to the other before this one is deleted.
	moved = {
		row.name
		for row in frappe.get_all(
			"Token Cache", {"name": ("in", [row.name for row in rows])}, ["name", *filters], limit=0
		)
		if any(row[field] != value for field, value in filters.items())
	}
	rows = [row for row in rows if row.name not in moved]
	keys = [ConnectionKey.from_row(row) for row in rows]
	for key in keys:
		recent.note_change(key)
	names = [row.name for row in rows]
	if not names:
		return
	# Waits for a refresh that is under way. Afterwards nobody can refresh, so the tokens read below are the last ones.
	frappe.db.delete("Token Cache", {"name": ("in", names)})
	if len(names) > revocation.AT_ONCE:
		with own_connection():
			ended = ending.read_all(rows)
		ending.write(ended, frappe.session.user, getattr(frappe.local, "request_ip", None))
		frappe.db.after_commit.add(lambda: hand_out("disconnected", keys))
		revocation.start_job()
		return
	revocation.revoke_after_commit(rows)
	ending.remove_details(names)
	for key in keys:
		frappe.db.after_commit.add(partial(announce, "disconnected", key))
