"""SQLite under `connected_app.oauth`: grants, attempts and one record per browser, all encrypted.

A database has one lock for writers (`BEGIN IMMEDIATE`). That lock allows one refresh at a time, across threads and
processes. Each caller has its own connection, so commits are separate, too.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet

from connected_app.oauth import Account, Attempt, Failure, Grant, Secret
from connected_app.oauth.clock import utc_now

# Longer than a refresh may take, so that callers that wait find its result.
WAIT = 60

TABLES = """
CREATE TABLE IF NOT EXISTS browser (id TEXT PRIMARY KEY, sealed BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS attempt (id TEXT PRIMARY KEY, expires_at TEXT NOT NULL, sealed BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS grants (id TEXT PRIMARY KEY, sealed BLOB NOT NULL, failure TEXT);
"""


class Database:
	"""One file. The key stays in memory, so the file is worth nothing once the process has ended."""

	def __init__(self, path: Path, key: bytes | None = None) -> None:
		self.path = path
		self.fernet = Fernet(key or Fernet.generate_key())
		path.touch(mode=0o600)
		with self.connection() as connection:
			connection.execute("PRAGMA journal_mode = WAL")
			connection.executescript(TABLES)

	@contextmanager
	def connection(self) -> Iterator[sqlite3.Connection]:
		connection = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)
		# WAL alone may lose the last commits when the machine stops: a rotated refresh token among them.
		connection.execute("PRAGMA synchronous = FULL")
		try:
			yield connection
		finally:
			connection.close()  # rolls back what was not committed

	def seal(self, value: Any) -> bytes:
		return self.fernet.encrypt(json.dumps(value).encode())

	def unseal(self, sealed: bytes) -> Any:
		return json.loads(self.fernet.decrypt(sealed))

	def read_browser(self, browser: str) -> dict[str, Any] | None:
		with self.connection() as connection:
			row = connection.execute("SELECT sealed FROM browser WHERE id = ?", [digest(browser)]).fetchone()
		return self.unseal(row[0]) if row else None

	def write_browser(self, browser: str, values: dict[str, Any]) -> None:
		with self.connection() as connection:
			connection.execute(
				"INSERT OR REPLACE INTO browser VALUES (?, ?)", [digest(browser), self.seal(values)]
			)


class SQLiteAttemptStore:
	"""Attempts, found by a digest of their state: the state itself is a secret until the callback."""

	def __init__(self, database: Database) -> None:
		self.database = database

	def put(self, attempt: Attempt) -> None:
		with self.database.connection() as connection:
			connection.execute("DELETE FROM attempt WHERE expires_at < ?", [utc_now().isoformat()])
			connection.execute(
				"INSERT INTO attempt VALUES (?, ?, ?)",
				[
					digest(attempt.state),
					attempt.expires_at.isoformat(),
					self.database.seal(attempt.to_json()),
				],
			)

	def peek(self, state: str) -> Attempt | None:
		with self.database.connection() as connection:
			return self._read(connection, state)

	def take(self, state: str) -> Attempt | None:
		with self.database.connection() as connection:
			connection.execute("BEGIN IMMEDIATE")
			attempt = self._read(connection, state)
			connection.execute("DELETE FROM attempt WHERE id = ?", [digest(state)])
			connection.execute("COMMIT")
		return attempt

	def _read(self, connection: sqlite3.Connection, state: str) -> Attempt | None:
		row = connection.execute("SELECT sealed FROM attempt WHERE id = ?", [digest(state)]).fetchone()
		return Attempt.from_json(self.database.unseal(row[0])) if row else None


class SQLiteGrantStore:
	"""The grant of one browser."""

	def __init__(self, database: Database, owner: str) -> None:
		self.database = database
		self.id = digest(owner)

	def load(self) -> Grant | None:
		return self.state()[0]

	def state(self) -> tuple[Grant | None, Failure | None]:
		"""The grant, and why its last refresh failed."""
		with self.database.connection() as connection:
			return self._read(connection)

	load_all = load

	@contextmanager
	def exclusive(self) -> Iterator[SQLiteSlot]:
		with self.database.connection() as connection:
			connection.execute("BEGIN IMMEDIATE")
			yield SQLiteSlot(self, connection, *self._read(connection))

	def _read(self, connection: sqlite3.Connection) -> tuple[Grant | None, Failure | None]:
		row = connection.execute("SELECT sealed, failure FROM grants WHERE id = ?", [self.id]).fetchone()
		if not row:
			return None, None
		return read_grant(self.database.unseal(row[0])), read_failure(row[1])


class SQLiteSlot:
	"""A grant held exclusively, until the first of `save`, `fail` and `clear`: each commits."""

	def __init__(
		self,
		store: SQLiteGrantStore,
		connection: sqlite3.Connection,
		grant: Grant | None,
		failure: Failure | None,
	) -> None:
		self.store, self.connection = store, connection
		self.grant, self.failure = grant, failure

	def reread(self) -> Grant | None:
		return self.store._read(self.connection)[0]

	def save(self, grant: Grant) -> Grant:
		sealed = self.store.database.seal(write_grant(grant))
		self._commit("INSERT OR REPLACE INTO grants VALUES (?, ?, NULL)", [self.store.id, sealed])
		self.grant, self.failure = grant, None
		return grant

	def save_refresh_token(self, refresh_token: Secret) -> None:
		if self.grant:
			self.save(replace(self.grant, refresh_token=refresh_token))

	def mark_rejected(self, now: datetime) -> None:
		if self.grant:
			self.save(replace(self.grant, rejected_at=now))

	def fail(self, failure: Failure) -> None:
		self._commit("UPDATE grants SET failure = ? WHERE id = ?", [write_failure(failure), self.store.id])
		self.failure = failure

	def clear(self) -> None:
		self._commit("DELETE FROM grants WHERE id = ?", [self.store.id])
		self.grant = self.failure = None

	def _commit(self, statement: str, values: list[Any]) -> None:
		self.connection.execute(statement, values)
		self.connection.execute("COMMIT")


def digest(text: str) -> str:
	return hashlib.sha256(text.encode()).hexdigest()


INSTANTS = ("expires_at", "issued_at", "rejected_at", "refresh_expires_at")


def write_grant(grant: Grant) -> dict[str, Any]:
	values = asdict(grant)
	for name in INSTANTS:
		values[name] = values[name] and values[name].isoformat()
	return values


def read_grant(values: dict[str, Any]) -> Grant:
	account, refresh_token = values.pop("account"), values.pop("refresh_token")
	for name in INSTANTS:
		values[name] = values[name] and datetime.fromisoformat(values[name])
	grant = Grant(
		**{**values, "access_token": Secret(values["access_token"]), "scopes": tuple(values["scopes"])}
	)
	return replace(
		grant,
		refresh_token=Secret(refresh_token) if refresh_token else None,
		account=Account(**account) if account else None,
		extra={name: Secret(value) for name, value in grant.extra.items()},
	)


def write_failure(failure: Failure) -> str:
	values = asdict(failure)
	return json.dumps({**values, "retry_at": failure.retry_at and failure.retry_at.isoformat()})


def read_failure(text: str | None) -> Failure | None:
	if not text:
		return None
	values = json.loads(text)
	return Failure(
		**{**values, "retry_at": values["retry_at"] and datetime.fromisoformat(values["retry_at"])}
	)
