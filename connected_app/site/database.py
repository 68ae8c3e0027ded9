"""Transactions besides the caller's. The only module that knows how databases differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import frappe
from frappe.query_builder import Case
from frappe.utils import update_progress_bar
from frappe.utils.file_lock import LockTimeoutError
from frappe.utils.synchronization import filelock

# Raised if a lock is not acquired in time.
BUSY = (frappe.QueryTimeoutError, frappe.QueryDeadlockError, LockTimeoutError)


# Rows that `in_chunks` reads and changes at a time.
CHUNK = 500
# Attributes that this module sets on a connection: that `claim_connection` was called, and what `begin` has set.
WHOLE, SET = "connected_app_whole", "connected_app_set"


@contextmanager
def own_connection() -> Iterator[None]:
	"""Run the body on its own connection, which sees committed data only, and not the caller's open work. Anything that the
	body does not commit is rolled back."""
	callers = frappe.local.db
	own = None
	try:
		# Within: where it is interrupted, by the end of a job's time for instance, it has set `frappe.local.db` already.
		frappe.connect(set_admin_as_user=False)
		own = frappe.local.db
		yield
	finally:
		own = own or frappe.local.db
		try:
			if own is not callers:
				# A lost connection cannot be closed properly.
				with suppress(Exception):
					own.rollback()
				with suppress(Exception):
					own.close()
		finally:
			frappe.local.db = callers


@contextmanager
def own_transaction(name: str, wait: int) -> Iterator[None]:
	"""Run the body, which writes, on its own connection; the caller's transaction is neither committed nor rolled back.

	At READ COMMITTED: a re-read after waiting for a lock must see what the lock's holder has just committed.

	SQLite has one writer at a time: a second connection would wait for the caller forever, and a transaction that has read
	cannot write after others have written. There the caller's open work is committed first, and the body runs on the
	caller's connection, under a file lock.

	After `claim_connection` there is no caller's transaction, and the body runs on that connection.

	:param name: of the lock, for SQLite
	:param wait: seconds to wait for a lock
	"""
	if vars(frappe.local.db).get(WHOLE):
		begin(wait)
		try:
			yield
		finally:
			with suppress(Exception):
				frappe.db.rollback()
		return
	if frappe.db.db_type == "sqlite":
		# Before waiting: the holder of the lock may be waiting for the caller to be done with the database.
		frappe.db.commit()  # nosemgrep (see above)
		frappe.db.set_execution_timeout(wait)
		with filelock(f"connected_app-{frappe.utils.sha256_hash(name)}", timeout=wait):
			try:
				yield
			finally:
				frappe.db.rollback()
		return
	try:
		with own_connection():
			begin(wait)
			yield
	finally:
		allow_newer_rows()


def claim_connection() -> None:
	"""Promise that only `own_transaction` writes on the current connection from now on; it then needs no second one. For
	threads that refresh many grants; not on SQLite."""
	vars(frappe.local.db)[WHOLE] = True


def allow_newer_rows() -> None:
	"""Let an open transaction change and delete rows that another connection has changed since it began, until it ends.

	With innodb_snapshot_isolation, which is ON by default since MariaDB 11.6.2, such a statement fails (error 1020) and the
	whole transaction is rolled back: a job that has refreshed a token could no longer delete the user. OFF is the behaviour
	of all older versions. See docs/decisions/0022-snapshot-isolation.md.
	"""
	connection = frappe.local.db
	if connection.db_type != "mariadb":
		return
	try:
		variable = connection.sql("SHOW VARIABLES LIKE 'innodb_snapshot_isolation'")  # nosemgrep
		if not variable or variable[0][1] != "ON":
			return
		connection.sql("SET SESSION innodb_snapshot_isolation = OFF")  # nosemgrep
	except Exception as error:
		# Restored on the caller's connection; the body has run on another.
		if is_lost(error):
			return
		raise

	def restore() -> None:
		connection.sql("SET SESSION innodb_snapshot_isolation = ON")  # nosemgrep

	connection.after_commit.add(restore)
	connection.after_rollback.add(restore)


def keeps_snapshot() -> bool:
	"""Whether the open transaction cannot change rows that others have changed since it began: PostgreSQL at REPEATABLE READ,
	Frappe's level there until its first commit or rollback."""
	if frappe.db.db_type != "postgres":
		return False
	return bool(frappe.db.sql("SHOW transaction_isolation")[0][0] == "repeatable read")  # nosemgrep


def begin(wait: int) -> None:
	"""In `own_transaction`: begin a transaction whose statements see the latest commits.

	:param wait: seconds to wait for a lock
	"""
	# The query builder has no SET. The settings last as long as the connection.
	if frappe.db.db_type == "mariadb" and vars(frappe.local.db).get(SET) != wait:
		frappe.db.sql(f"SET SESSION innodb_lock_wait_timeout = {int(wait)}")  # nosemgrep
		frappe.db.sql("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")  # nosemgrep
		vars(frappe.local.db)[SET] = wait
	frappe.db.rollback()
	if frappe.db.db_type == "postgres":
		frappe.db.sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")  # nosemgrep
		frappe.db.sql(f"SET LOCAL lock_timeout = '{int(wait)}s'")  # nosemgrep


@contextmanager
def writing() -> Iterator[None]:
	"""Write in the body, within `own_transaction` or a job, and commit. The only place that does both: anything written
	outside it is rolled back.
	"""
	see_latest()
	yield
	frappe.db.commit()  # nosemgrep (a transaction of its own)


def see_latest() -> None:
	"""On SQLite, begin again: a transaction that began before another process wrote can no longer write."""
	if frappe.db.db_type == "sqlite":
		frappe.db.rollback()
		frappe.db.sql("ROLLBACK")  # nosemgrep
		frappe.db.sql("BEGIN IMMEDIATE")  # nosemgrep


def update_many(doctype: str, values: dict[str, dict[str, Any]]) -> None:
	"""Change many rows by one statement; Frappe 15 has no function for it.

	:param values: by the row's name; each with the same fields
	"""
	table = frappe.qb.DocType(doctype)
	query = frappe.qb.update(table).where(table.name.isin(list(values)))
	for field in next(iter(values.values()), {}):
		case = Case()
		for name, of_row in values.items():
			case = case.when(table.name == name, of_row[field])
		query = query.set(table[field], case.else_(table[field]))
	if values:
		query.run()


def in_chunks(doctype: str, filters: dict[str, Any], fields: Sequence[str], what: str) -> Iterator[list[Any]]:
	"""All matching rows of `doctype`, in the order of their names, with progress on the console.

	:param what: is done with the rows, for the console
	"""
	total, done, last = frappe.db.count(doctype, filters), 0, ""
	while rows := frappe.get_all(
		doctype, {**filters, "name": (">", last)}, ["name", *fields], order_by="name", limit=CHUNK
	):
		yield rows
		done, last = done + len(rows), rows[-1].name
		show_progress(what, done, total)


def show_progress(what: str, done: int, total: int) -> None:
	"""Show progress on the console, for work that takes long."""
	if total > CHUNK:
		update_progress_bar(what, min(done, total) - 1, total)


def add_search_indexes(doctype: str, *fields: str) -> None:
	"""Add the indexes that Frappe omits on PostgreSQL: index names are unique in a schema there, so a field with
	*search_index* gets none if another table has an index for a field of that name."""
	if frappe.db.db_type == "postgres":
		for field in fields:
			frappe.db.add_index(doctype, [field], f"{frappe.scrub(doctype)}_{field}_index")


def add_indexes_of_users(doctype: str) -> None:
	"""Add indexes for the renaming of users: Frappe writes the new name wherever the old one stands. Without an index it
	reads every row, and on MariaDB locks each until the commit, so that no token could be refreshed meanwhile."""
	for field in ("owner", "modified_by"):
		# With two columns, so that Frappe does not take it for a field's *search_index*.
		frappe.db.add_index(doctype, [field, "name"], f"{frappe.scrub(doctype)}_{field}_index")


def lock_free(doctype: str, filters: dict[str, Any], fields: Sequence[str], limit: int) -> list[Any]:
	"""In `own_transaction`: lock and return at most `limit` rows that nobody else has locked."""
	table = frappe.qb.DocType(doctype)
	query = frappe.qb.from_(table).select(*(table[field] for field in fields)).limit(limit)
	for field, value in filters.items():
		query = query.where(table[field] == value)
	if frappe.db.db_type != "sqlite":
		query = query.for_update(skip_locked=True)
	found: list[Any] = query.run(as_dict=True)
	return found


def is_lost(error: BaseException) -> bool:
	"""Whether `error` says that the connection to the database, or the server behind it, is gone."""
	if frappe.db.db_type == "sqlite":
		return False
	return isinstance(error, frappe.db.OperationalError) or frappe.db.is_interface_error(error)
