"""Connected Apps as text, to set them up on another site in the same way: without secrets and connections."""

from __future__ import annotations

import json
from typing import Any

import frappe
from frappe.utils import strip_html

from connected_app import __version__
from connected_app.site import passwords

DOCTYPE = "Connected App"
# Fields that belong to a site: made from its address, or from a key that does not leave it.
OF_A_SITE = ("redirect_uri", "key_set_uri", "published_keys", "generation")
# Fields that existing connections depend on: the client at its server, and others whose change ends connections.
OF_CONNECTIONS = ("client_id", "token_uri", "grant_type", "connection_is", "enabled")
FORMAT = 1
# Field types with rows; and, below, field types without a value.
TABLES = ("Table", "Table MultiSelect")
EMPTY = ("Section Break", "Column Break", "Tab Break", "HTML", "Button", "Heading", "Fold")
OTHER_TEXT = "This is not what `connected-app export` prints."


def export(names: list[str]) -> str:
	"""The settings of Connected Apps, as JSON."""
	apps = [_exported(frappe.get_doc(DOCTYPE, name)) for name in names]
	return json.dumps(
		{"format": FORMAT, "version": __version__, "connected_apps": apps},
		indent=1,
		ensure_ascii=False,
		# A site's own fields may be dates.
		default=str,
	)


def import_apps(text: str, update: bool) -> list[dict[str, str]]:
	"""Create Connected Apps from the text of `export`. One that fails does not affect the others.

	:param update: whether to change existing ones; their secrets, connections and addresses stay
	:returns: for each its `name`, the `result` ("created", "updated", "exists" or "failed"), the `redirect_uri` to register,
		and `notes`: fields that were left out, and secrets to be entered
	:raises ValueError: for any other text
	"""
	try:
		exported = json.loads(text)
		apps = exported["connected_apps"]
		for app in apps:
			app["name"]
	except (ValueError, KeyError, TypeError, RecursionError):
		raise ValueError(OTHER_TEXT) from None
	if exported.get("format") != FORMAT:
		raise ValueError("This was exported by a newer version of the app.")
	# An app that exchanges the tokens of another comes after it.
	order = sorted(range(len(apps)), key=lambda number: bool(apps[number].get("exchange_from")))
	outcomes = {number: _imported(apps[number], update) for number in order}
	return [outcomes[number] for number in range(len(apps))]


def _exported(row: Any) -> dict[str, Any]:
	values: dict[str, Any] = {"name": row.name}
	for field in _fields(DOCTYPE):
		# Empty fields, too: a new document may have a default, an existing one a value.
		value = row.get(field.fieldname)
		if field.fieldtype in TABLES:
			columns = [column.fieldname for column in _fields(field.options)]
			value = [{column: child.get(column) for column in columns} for child in value]
		values[field.fieldname] = value
	# To be entered on the other site.
	values["secrets"] = [
		field.fieldname
		for field in frappe.get_meta(DOCTYPE).get("fields", {"fieldtype": "Password"})
		if row.get(field.fieldname)
	]
	return values


def _fields(doctype: str) -> list[Any]:
	meta = frappe.get_meta(doctype)
	return [
		field
		for field in meta.fields
		if field.fieldtype not in (*EMPTY, "Password")
		and not field.get("is_virtual")
		and field.fieldname not in OF_A_SITE
	]


def _imported(app: dict[str, Any], update: bool) -> dict[str, str]:
	outcome = {"name": str(app["name"])[:140], "result": "failed", "redirect_uri": "", "notes": ""}
	try:
		values = _read(app)
	except ValueError as error:
		return {**outcome, "notes": str(error)}
	name = app["name"]
	there = bool(frappe.db.exists(DOCTYPE, name))
	if there and not update:
		return {**outcome, "result": "exists"}
	known = {*values, "name", "secrets"}
	notes = [f"left out: {field}" for field in app if field not in known]
	notes += _without_unknown_roles(values)
	frappe.db.savepoint("connected_app_import")
	try:
		row = frappe.get_doc(DOCTYPE, name) if there else frappe.new_doc(DOCTYPE)
		# The secrets of another client do not work for this one.
		has_secrets = there and not _changed(row, values, ("client_id",))
		for field in app.get("secrets") or ():
			if not (has_secrets and passwords.has_password(DOCTYPE, name, field)):
				notes.append(f"to be entered: {field}")
		if there:
			_check_connections(row, values)
		row.update(values)
		if there:
			row.save()
		else:
			row.insert(set_name=name)
	except Exception as error:
		# Any error, such as a value that the database rejects, concerns this app only.
		frappe.db.rollback(save_point="connected_app_import")
		frappe.clear_messages()
		return {**outcome, "notes": (strip_html(str(error)) or type(error).__name__)[:300]}
	result = "updated" if there else "created"
	return {**outcome, "result": result, "redirect_uri": row.redirect_uri, "notes": "; ".join(notes)}


def _read(app: dict[str, Any]) -> dict[str, Any]:
	"""The values in `app` for fields that exist here.

	:raises ValueError: if it is not in the form that `export` prints
	"""
	values = {}
	if not (isinstance(app["name"], str) and app["name"].strip()):
		raise ValueError("It has no name.")
	if not _is_list(app.get("secrets") or [], str):
		raise ValueError(f"{OTHER_TEXT} See secrets.")
	for field in _fields(DOCTYPE):
		if field.fieldname not in app:
			continue
		value = app[field.fieldname]
		cells = [value]
		if field.fieldtype in TABLES:
			if not _is_list(value, dict):
				raise ValueError(f"{OTHER_TEXT} See {field.fieldname}.")
			columns = [column.fieldname for column in _fields(field.options)]
			value = [{column: child.get(column) for column in columns} for child in value]
			cells = [cell for child in value for cell in child.values()]
		if any(isinstance(cell, list | dict) for cell in cells):
			raise ValueError(f"{OTHER_TEXT} See {field.fieldname}.")
		values[field.fieldname] = value
	return values


def _is_list(value: Any, of: type) -> bool:
	return isinstance(value, list) and all(isinstance(each, of) for each in value)


def _check_connections(row: Any, values: dict[str, Any]) -> None:
	"""
	:raises ValueError: if `row` has users' connections that would stop working with `values`
	"""
	changed = _changed(row, values, OF_CONNECTIONS)
	connections = {
		"connected_app": row.name,
		"generation": row.generation,
		"access_token": ("is", "set"),
	}
	owned = {"user": ("is", "set"), "shared": 1}
	if changed and frappe.get_all("Token Cache", connections, or_filters=owned, limit=1):
		raise ValueError(
			f"It has connections, which would not go on with another {', '.join(changed)}. End them first, or change"
			" this in Desk."
		)


def _changed(row: Any, values: dict[str, Any], fields: tuple[str, ...]) -> list[str]:
	"""The `fields` whose value in `values` differs from `row`."""
	return [field for field in fields if field in values and (values[field] or "") != (row.get(field) or "")]


def _without_unknown_roles(values: dict[str, Any]) -> list[str]:
	"""Remove roles that this site does not have from `values`; returns a note for each."""
	roles = values.get("allowed_roles") or []
	asked = {child["role"] or "" for child in roles} | {values.get("role_for_scripts") or ""}
	unknown = {str(role) for role in asked - {""} if not frappe.db.exists("Role", role)}
	if "allowed_roles" in values:
		values["allowed_roles"] = [child for child in roles if str(child["role"]) not in unknown]
	if values.get("role_for_scripts") in unknown:
		values["role_for_scripts"] = ""
	return [f"no such role here: {role}" for role in sorted(unknown)]
