"""Install and uninstall: taking over core's rows, and giving them back."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import frappe
from frappe.installer import remove_app
from frappe.query_builder.functions import Coalesce, Concat
from frappe.utils import get_datetime, get_system_timezone

from connected_app.oauth import catalogue
from connected_app.oauth.clock import utc_now
from connected_app.site import ending, hosts, keys, mail, passwords, registrations, revocation
from connected_app.site.database import in_chunks, show_progress, update_many
from connected_app.site.identity import ConnectionKey
from connected_app.site.passwords import PLACEHOLDER
from connected_app.site.rows import LONGEST_NAME, TOKENS, aware, naive, unreadable, usual_name

# Set in Frappe's global defaults once all of core's rows have been taken over.
TAKEN_OVER = "connected_app_taken_over"


def after_install() -> None:
	give_expiry()
	give_owners()
	hide_lengths()
	passwords.take_over()
	keep_admins_rights()
	mail.keep_servers_in_use()
	report_unreadable(all_of_them=True)
	frappe.db.set_global(TAKEN_OVER, "1")


def after_migrate() -> None:
	if not frappe.db.get_global(TAKEN_OVER):
		# Installing, or uninstalling, was killed half-way.
		return after_install()
	# After a restore, too, people migrate.
	report_unreadable()


def give_owners() -> None:
	"""Give each row to its user. In core it belonged to whoever began the flow (core-defects 23), who could see and delete
	it."""
	cache = frappe.qb.DocType("Token Cache")
	nobodys = cache.user.isnull() | (cache.user == "")
	frappe.qb.update(cache).set(cache.owner, cache.user).where(nobodys.negate()).run()
	frappe.qb.update(cache).set(cache.owner, "Administrator").where(nobodys).run()


def hide_lengths() -> None:
	"""Hide the lengths of secrets: core left one star for each character."""
	for doctype in ("Connected App", "Token Cache"):
		for field in frappe.get_meta(doctype).get("fields", {"fieldtype": "Password"}):
			# Not ("is", "set"): on Frappe 15 an empty text is, too.
			frappe.db.set_value(
				doctype, {field.fieldname: ("!=", "")}, field.fieldname, PLACEHOLDER, update_modified=False
			)


def keep_admins_rights() -> None:
	"""Add level 1 to a site's own permissions for Connected App, which do not have it: the fields for admins are on that
	level. A role that may write the document keeps writing all of it."""
	writers = frappe.get_all(
		"Custom DocPerm", {"parent": "Connected App", "permlevel": 0, "write": 1}, pluck="role", distinct=True
	)
	for role in writers:
		values = {"parent": "Connected App", "role": role, "permlevel": 1}
		if not frappe.db.exists("Custom DocPerm", values):
			frappe.get_doc({"doctype": "Custom DocPerm", **values, "read": 1, "write": 1}).insert()


def before_uninstall() -> None:
	"""Give both DocTypes back to core before Frappe deletes what belongs to this app, tables included."""
	if _is_dry_run():
		return
	frappe.db.set_global(TAKEN_OVER, None)
	ending.give_up_all("the app was uninstalled")
	hand_back_expiry()
	hand_back_names()
	revocation.give_up_all("the app was uninstalled")
	hosts.forget_all()
	keys.forget_all()
	registrations.forget_all()
	passwords.hand_back()
	for doctype in ("connected_app", "token_cache"):
		frappe.reload_doc("integrations", "doctype", doctype, force=True)
	# Frappe leaves these jobs, and the package stays on the bench: they would go on running, on core's rows.
	for job in frappe.get_all("Scheduled Job Type", {"method": ("like", "connected_app.%")}, pluck="name"):
		frappe.delete_doc("Scheduled Job Type", job, force=True)


def _is_dry_run() -> bool:
	"""Whether Frappe only lists what it would remove. It calls the hook then, too; only an argument of the calling function
	tells the two apart."""
	frame = inspect.currentframe()
	while frame and frame.f_code is not remove_app.__code__:
		frame = frame.f_back
	return bool(frame and frame.f_locals.get("dry_run"))


def give_expiry() -> None:
	"""Give core's tokens an absolute expiry, once.

	Core only has `modified + expires_in`, and a click on *Connect* without consent changes `modified`. If such a click is
	pending, all that is certain is that the token was issued after the row was made, so it counts from there.
	"""
	filters = {"status": ("is", "not set"), "access_token": ("is", "set")}
	fields = ("creation", "modified", "expires_in", "refresh_token", "state")
	for rows in in_chunks("Token Cache", filters, fields, "Taking over connections"):
		update_many("Token Cache", {row.name: _expiry(row) for row in rows})


def _expiry(row: Any) -> dict[str, Any]:
	since = _to_utc(row.creation if row.state else row.modified)
	return {
		"status": "Connected",
		"idle_since": naive(since) if row.refresh_token else None,
		"expires_at": naive(since + timedelta(seconds=row.expires_in)) if row.expires_in else None,
	}


def hand_back_expiry() -> None:
	"""Give core's rows an expiry that core understands, the inverse of `give_expiry`. Should this app come back, the expiry is
	derived again, since core may have refreshed the token meanwhile."""
	_drop_dead_tokens()
	filters = {"status": ("is", "set"), "expires_at": (">", "1900-01-01")}
	for rows in in_chunks("Token Cache", filters, ("modified", "expires_at"), "Handing back connections"):
		update_many(
			"Token Cache",
			{
				# Not 0, which would mean "never" when the app comes back.
				row.name: {
					"expires_in": int((aware(row.expires_at) - _to_utc(row.modified, fold=1)).total_seconds())
					or -1
				}
				for row in rows
			},
		)
	cache = frappe.qb.DocType("Token Cache")
	query = frappe.qb.update(cache)
	for field in (
		*("status", "expires_at", "refresh_expires_at", "error_code", "error_values", "retry_at"),
		*("failing_since", "idle_since", "rejected_at"),
	):
		query = query.set(cache[field], None)
	query.where(cache.status != "").run()


def _drop_dead_tokens() -> None:
	"""Delete the tokens of dead grants: core would send them to the provider again and again, and so would this app if it
	comes back. Tokens that cannot be read for now stay."""
	dead = {"status": "Reconnect Required", "error_code": ("!=", unreadable().code)}
	for rows in in_chunks("Token Cache", dead, (), "Removing dead tokens"):
		names = ("in", [row.name for row in rows])
		frappe.db.delete("__Auth", {"doctype": "Token Cache", "name": names, "fieldname": ("in", TOKENS)})
		frappe.db.set_value("Token Cache", {"name": names}, dict.fromkeys(TOKENS, ""), update_modified=False)


def hand_back_names() -> None:
	"""Give rows the names by which core finds them: Frappe does not change these when a user or an app is renamed
	(core-defects 33)."""
	cache = frappe.qb.DocType("Token Cache")
	renamed = frappe.qb.from_(cache).select(
		cache.name, cache.connected_app, cache.user, cache.shared, cache.account
	)
	# Older SQLites have no concat.
	if frappe.db.db_type != "sqlite":
		usual = Concat(Coalesce(cache.connected_app, ""), "-", Coalesce(cache.user, ""))
		renamed = renamed.where(cache.name != usual)
	for row in renamed.run(as_dict=True):
		name = usual_name(ConnectionKey.from_row(row))
		if row.name != name and len(name) <= LONGEST_NAME and not frappe.db.exists("Token Cache", name):
			frappe.rename_doc(
				"Token Cache", row.name, name, force=True, show_alert=False, rebuild_search=False
			)


def report_unreadable(all_of_them: bool = False) -> None:
	"""Report each password that the site's encryption key does not open, on the console and in the Error Log. Connections
	that can be read again become Connected again.

	:param all_of_them: read every password. By default only if one of the first or last cannot be read, or one could not be
		read before: with another key, none can
	"""
	lines = []
	for doctype, label in (("Connected App", "the client secret"), ("Token Cache", "the tokens")):
		if not all_of_them and not _is_suspicious(doctype):
			continue
		total, done = frappe.db.count("__Auth", {"doctype": doctype}), 0
		for rows in passwords.chunks(doctype):
			readable = _readable(doctype, rows)
			for name in sorted(name for name in readable if not readable[name]):
				lines.append(f"{doctype} {name}: {label} cannot be read with this site's encryption key.")
			if doctype == "Token Cache":
				_mark(readable)
			done += len(rows)
			show_progress("Reading secrets", done, total)
	if not lines:
		return
	lines.append("Restore encryption_key in site_config.json, or enter the secret and connect again.")
	text = "\n".join(lines)
	print(text)
	frappe.log_error(title="Connected App: passwords that cannot be read", message=text)


def _is_suspicious(doctype: str) -> bool:
	if doctype == "Token Cache" and frappe.db.exists(doctype, {"error_code": unreadable().code}):
		return True
	ends = (next(passwords.chunks(doctype, first), []) for first in (True, False))
	return not all(all(_readable(doctype, rows).values()) for rows in ends)


def _readable(doctype: str, rows: Sequence[tuple[str, str, str]]) -> dict[str, bool]:
	"""Whether all passwords of each document that is there can be read.

	:param rows: as `passwords.chunks` gives them
	"""
	there = set(frappe.get_all(doctype, {"name": ("in", [name for name, *_rest in rows])}, pluck="name"))
	found: dict[str, bool] = {}
	for name, _field, stored in rows:
		if name in there:
			found[name] = found.get(name, True) and passwords.is_readable(stored)
	return found


def _mark(readable: dict[str, bool]) -> None:
	error = unreadable()
	filters = {"error_code": error.code, "name": ("in", list(readable))}
	known = set(frappe.get_all("Token Cache", filters, pluck="name"))
	lost = {
		"status": "Reconnect Required",
		"error_code": error.code,
		"error_values": catalogue.to_json(error.code, error.message),
		"failing_since": naive(utc_now()),
	}
	found = {"status": "Connected", "error_code": None, "error_values": None, "failing_since": None}
	changed = {name: found if good else lost for name, good in readable.items() if good == (name in known)}
	update_many("Token Cache", changed)


def _to_utc(moment: datetime, fold: int = 0) -> datetime:
	"""A time of the database, which is in the site's time zone.

	:param fold: in the hour that daylight saving time repeats: 0 reads it as the earlier of the two instants, 1 as
		the later
	"""
	local = get_datetime(moment).replace(tzinfo=ZoneInfo(get_system_timezone()), fold=fold)
	return local.astimezone(timezone.utc)
