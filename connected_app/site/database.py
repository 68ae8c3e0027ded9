"""A transaction beside the caller's. The one place that knows how databases differ."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import frappe
from frappe.utils.synchronization import filelock


@contextmanager
def own_transaction(name: str, lock_wait: int) -> Iterator[None]:
	"""Run the body on a connection of its own; the caller's transaction is neither committed nor rolled back.

	At READ COMMITTED: a re-read after waiting for a lock must see what the holder has just committed.

	SQLite has one writer at a time: a second connection would wait for the caller for ever. There the body runs on
	the caller's connection, under a file lock; what it commits, the caller's open work is committed with.

	:param name: what is being locked, for SQLite
	:param lock_wait: seconds to wait for a lock
	"""
	callers = frappe.local.db
	if callers.db_type == "sqlite":
		with filelock(f"connected_app-{frappe.utils.sha256_hash(name)}", timeout=lock_wait):
			yield
		return
	frappe.connect(set_admin_as_user=False)
	own = frappe.local.db
	try:
		if own.db_type == "postgres":
			own.sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
			own.sql(f"SET LOCAL lock_timeout = '{int(lock_wait)}s'")
		else:
			own.sql(f"SET SESSION innodb_lock_wait_timeout = {int(lock_wait)}")
			own.sql("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
			own.rollback()
		yield
	finally:
		# What is to last has been committed by the body.
		try:
			own.rollback()
			own.close()
		finally:
			frappe.local.db = callers
