"""Connected Apps as text, to set them up on another site as they are on this one: without secrets and connections."""

from __future__ import annotations

import json
from typing import Any

import frappe

from connected_app import __version__
from connected_app.oauth.errors import OAuthError

DOCTYPE = "Connected App"
# What belongs to a site: made from its address, or from a key that does not leave it.
OF_A_SITE = ("redirect_uri", "key_set_uri", "published_keys", "generation")
FORMAT = 1
# Fields of these types have rows; those of the others below have no value.
TABLES = ("Table", "Table MultiSelect")
EMPTY = ("Section Break", "Column Break", "Tab Break", "HTML", "Button", "Heading", "Fold")


def export(names: list[str]) -> str:
	"""The settings of Connected Apps, as JSON."""
	apps = [_exported(frappe.get_doc(DOCTYPE, name)) for name in names]
	return json.dumps(
		{"format": FORMAT, "version": __version__, "connected_apps": apps}, indent=1, ensure_ascii=False
	)


def import_apps(text: str, update: bool) -> list[dict[str, str]]:
	"""Create Connected Apps from what `export` gave. One that cannot be created keeps no other from it.

	:param update: whether to change those that are there already; their secrets, connections and addresses stay
	:returns: for each its `name`, the `result` ("created", "updated", "exists" or "failed"), the `redirect_uri` that has
		to be registered, and `notes`: what was left out, and what has to be entered
	:raises ValueError: for another text
	"""
	try:
		apps = json.loads(text)["connected_apps"]
		names = [str(app["name"]) for app in apps]
	except (ValueError, KeyError, TypeError):
		raise ValueError("This is not what `connected-app export` prints.") from None
	if json.loads(text).get("format") != FORMAT:
		raise ValueError("This was exported by a newer version of the app.")
	return [_imported(name, app, update) for name, app in zip(names, apps, strict=True)]


def _exported(row: Any) -> dict[str, Any]:
	values: dict[str, Any] = {"name": row.name}
	for field in _fields(DOCTYPE):
		value = row.get(field.fieldname)
		if field.fieldtype in TABLES:
			columns = [column.fieldname for column in _fields(field.options)]
			value = [{column: child.get(column) for column in columns} for child in value]
		if value:
			values[field.fieldname] = value
	# Empty is not what a new document has: Enabled, for example.
	for field in frappe.get_meta(DOCTYPE).fields:
		if field.default and field.fieldname not in values and field.fieldname not in OF_A_SITE:
			values[field.fieldname] = row.get(field.fieldname)
	# What has to be entered there.
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


def _imported(name: str, app: dict[str, Any], update: bool) -> dict[str, str]:
	there = bool(frappe.db.exists(DOCTYPE, name))
	told = {"name": name, "result": "exists", "redirect_uri": "", "notes": ""}
	if there and not update:
		return told
	known = {field.fieldname for field in _fields(DOCTYPE)}
	values = {field: value for field, value in app.items() if field in known}
	notes = [f"left out: {field}" for field in app if field not in (*known, "name", "secrets")]
	notes += _without_unknown_roles(values)
	notes += [f"to be entered: {field}" for field in app.get("secrets") or ()]
	row = frappe.get_doc(DOCTYPE, name) if there else frappe.new_doc(DOCTYPE)
	row.update(values)
	frappe.db.savepoint("connected_app_import")
	try:
		if there:
			row.save()
		else:
			row.insert(set_name=name)
	except (OAuthError, frappe.ValidationError) as error:
		frappe.db.rollback(save_point="connected_app_import")
		frappe.clear_messages()
		return {**told, "result": "failed", "notes": str(error)}
	told.update(
		result="updated" if there else "created", redirect_uri=row.redirect_uri, notes="; ".join(notes)
	)
	return told


def _without_unknown_roles(values: dict[str, Any]) -> list[str]:
	"""Roles that this site does not have are taken out of `values`, and named."""
	roles = values.get("allowed_roles") or []
	asked = {child["role"] for child in roles} | {values.get("role_for_scripts") or ""}
	unknown = {role for role in asked - {""} if not frappe.db.exists("Role", role)}
	values["allowed_roles"] = [child for child in roles if child["role"] not in unknown]
	if values.get("role_for_scripts") in unknown:
		values["role_for_scripts"] = ""
	return [f"no such role here: {role}" for role in sorted(unknown)]
