"""Which Token Cache row holds the grant of a user for a Connected App.

Renaming and merging users leaves rows with other names than the usual one, and several for one user (core-defects 33).
The row with the usual name counts while it works. Else it is one that works, or has tokens at least, of several the
one written last.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import frappe

from connected_app.site.identity import ConnectionKey

# With no user: the row of the service principal.
OF_USER = "c.`connected_app` = %s and c.`user` = %s"
OF_NOBODY = "c.`connected_app` = %s and (c.`user` = %s or c.`user` is null)"
WORKING = ("Connected", "Temporarily Failing")
WORKS = f"c.`status` in {WORKING}"
BEST = f"""
	order by case when {WORKS} then 0 when c.`access_token` <> '' then 1 else 2 end, c.`modified` desc
	limit 1
"""


def usual_name(key: ConnectionKey) -> str:
	"""What a new row is called, in core as well."""
	return "-".join(key.columns)


def find(what: str, key: ConnectionKey) -> Any:
	"""Read the row that counts; that with the usual name is what the database finds fastest.

	:param what: the statement up to its condition; the table is `c`
	:returns: at most one row
	"""
	whose = OF_USER if key.user else OF_NOBODY
	named = f"{what} where c.`name` = %s and {whose} and {WORKS}"
	found = frappe.db.sql(named, (usual_name(key), *key.columns))  # nosemgrep
	return found or frappe.db.sql(f"{what} where {whose} {BEST}", key.columns)  # nosemgrep


def name_of(key: ConnectionKey) -> str | None:
	"""The name of the row that counts, as this transaction sees it."""
	found = find("select c.`name` from `tabToken Cache` c", key)
	return found[0][0] if found else None


def by_app(rows: Iterable[Any], user: str) -> dict[str, Any]:
	"""The rows that count, by Connected App, of all that `user` has.

	:param rows: those with tokens, with `name`, `connected_app`, `status` and `modified`
	"""

	def worth(row: Any) -> tuple[Any, ...]:
		works = row.status in WORKING
		return (
			works,
			works and row.name == usual_name(ConnectionKey.of_user(row.connected_app, user)),
			row.modified,
		)

	return {row.connected_app: row for row in sorted(rows, key=worth)}
