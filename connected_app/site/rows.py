"""Which Token Cache row holds the grant of a user for a Connected App."""

from __future__ import annotations

from typing import Any

import frappe

# With no user: the row of the service principal.
OF_USER = "c.`connected_app` = %s and c.`user` = %s"
OF_NOBODY = "c.`connected_app` = %s and (c.`user` = %s or c.`user` is null)"


def usual_name(connected_app: str, user: str) -> str:
	"""What a new row is called, in core as well."""
	return f"{connected_app}-{user}"


def find(what: str, connected_app: str, user: str) -> Any:
	"""From the row with the usual name, which the database finds fastest. Where renaming has left no such row, or
	several others (core-defects 33), from the one written last.

	:param what: the statement up to its condition; the table is `c`
	:param user: empty for the service principal
	:returns: at most one row
	"""
	whose = OF_USER if user else OF_NOBODY
	key = (connected_app, user)
	found = frappe.db.sql(f"{what} where c.`name` = %s and {whose}", (usual_name(*key), *key))  # nosemgrep
	return found or frappe.db.sql(
		f"{what} where {whose} order by c.`modified` desc limit 1", key
	)  # nosemgrep


def name_of(connected_app: str, user: str) -> str | None:
	"""The row's name, as this transaction sees it.

	:param user: empty for the service principal
	"""
	found = find("select c.`name` from `tabToken Cache` c", connected_app, user)
	return found[0][0] if found else None
