"""This request's memory of grants: the newest that the request or job has read or stored.

It lasts as long as the request. Rows that the caller's own open transaction changes are forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass

import frappe

from connected_app.oauth.grant import Grant
from connected_app.site.identity import ConnectionKey


@dataclass(frozen=True)
class Known:
	"""
	:param row: the row's name, if the grant was stored or read under the lock, and is therefore whole
	"""

	grant: Grant
	row: str = ""


def find(key: ConnectionKey) -> Grant | None:
	found = known().get(key)
	return found.grant if found else None


def is_whole(key: ConnectionKey) -> bool:
	"""Whether the grant is whole: it was stored, or read under the lock."""
	found = known().get(key)
	return bool(found and found.row)


def of_row(name: str) -> list[Grant]:
	"""The grants of a row that was locked. There may be several: a request may have seen the row as another account's."""
	return [found.grant for found in known().values() if name and found.row == name]


def clear() -> None:
	"""Forget everything, as at the start of a request."""
	known().clear()


def note(key: ConnectionKey, grant: Grant, row: str = "") -> None:
	known()[key] = Known(grant, row)


def forget(key: ConnectionKey) -> None:
	for each in [each for each in known() if each.may_be(key)]:
		del known()[each]


def forget_app(connected_app: str) -> None:
	"""Forget the grants of all connections to a Connected App."""
	for key in [key for key in known() if key.app == connected_app]:
		forget(key)


def note_change(key: ConnectionKey) -> None:
	"""Note that the caller's open transaction has changed or deleted a row of `key`: until it ends, no other can write
	there."""
	forget(key)
	changed = _changed(frappe.local.db)
	changed.add(key)
	frappe.db.after_commit.add(changed.clear)
	frappe.db.after_rollback.add(changed.clear)


def has_changed(connection: object, key: ConnectionKey) -> bool:
	"""Whether the open transaction of `connection` has changed a row of `key`."""
	return any(key.may_be(changed) for changed in _changed(connection))


def known() -> dict[ConnectionKey, Known]:
	"""The whole memory. Another thread that gets it shares it with this request."""
	# By site: `frappe.init` for another site keeps flags.
	if not hasattr(frappe.local, "connected_app_grants"):
		frappe.local.connected_app_grants = {}
	grants: dict[ConnectionKey, Known] = frappe.local.connected_app_grants.setdefault(frappe.local.site, {})
	return grants


def _changed(connection: object) -> set[ConnectionKey]:
	changed: set[ConnectionKey] = vars(connection).setdefault("connected_app_changed", set())
	return changed
