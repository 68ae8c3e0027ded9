"""Stores in memory, for tests: what a site keeps in its database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from connected_app.oauth import Attempt, Failure, Grant, Secret


@dataclass
class MemorySlot:
	grant: Grant | None
	failure: Failure | None
	store: MemoryStore

	def reread(self) -> Grant | None:
		return self.store.grant

	def save(self, grant: Grant) -> Grant:
		self.store.grant, self.store.failure = grant, None
		self.store.saves += 1
		return grant

	def save_refresh_token(self, refresh_token: Secret) -> None:
		assert self.store.grant
		self.store.grant = replace(self.store.grant, refresh_token=refresh_token)

	def mark_rejected(self, now: datetime) -> None:
		assert self.store.grant
		self.store.grant = replace(self.store.grant, rejected_at=now)

	def fail(self, failure: Failure) -> None:
		self.store.failure = failure


@dataclass
class MemoryStore:
	grant: Grant | None = None
	failure: Failure | None = None
	saves: int = 0
	lock: threading.Lock = field(default_factory=threading.Lock)

	def load(self) -> Grant | None:
		return self.grant

	load_all = load

	@contextmanager
	def exclusive(self) -> Iterator[MemorySlot]:
		with self.lock:
			yield MemorySlot(self.grant, self.failure, self)


class MemoryAttempts:
	def __init__(self) -> None:
		self._attempts: dict[str, str] = {}
		self._lock = threading.Lock()

	def put(self, attempt: Attempt) -> None:
		with self._lock:
			self._attempts[attempt.state] = attempt.to_json()

	def peek(self, state: str) -> Attempt | None:
		with self._lock:
			text = self._attempts.get(state)
		return Attempt.from_json(text) if text else None

	def take(self, state: str) -> Attempt | None:
		with self._lock:
			text = self._attempts.pop(state, None)
		return Attempt.from_json(text) if text else None
