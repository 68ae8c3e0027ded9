"""Stores of attempts and grants, as small protocols. An implementation is passed in, never looked up."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from .grant import Grant
from .redact import Secret

if TYPE_CHECKING:
	from .authorization import Attempt


@dataclass(frozen=True, kw_only=True)
class Failure:
	"""Why the last refresh failed.

	:param reconnect: only the user's consent helps
	:param configuration: an administrator must act
	:param retry_at: UTC instant before which the provider is not asked again
	:param attempts: how many have failed in a row, this one included; 0 if the store does not count
	"""

	code: str
	message: str
	reconnect: bool = False
	configuration: bool = False
	retry_at: datetime | None = None
	attempts: int = 0


class LockedGrant(Protocol):
	"""A grant held exclusively: nobody else refreshes it meanwhile."""

	grant: Grant | None
	failure: Failure | None

	def reread(self) -> Grant | None:
		"""The grant as it is stored now, in case the lock failed to exclude others."""

	def save(self, grant: Grant) -> Grant:
		"""Store `grant` durably; when this returns, it outlives this process.

		:returns: `grant` as it is stored, with its revision
		"""

	def save_refresh_token(self, refresh_token: Secret) -> None:
		"""Store a new refresh token durably, and nothing else of the answer that it came with."""

	def mark_rejected(self, now: datetime) -> None:
		"""Record that a resource server rejects the access token though it is new."""

	def fail(self, failure: Failure) -> None:
		"""Record why the refresh failed; the tokens stay."""


class GrantStore(Protocol):
	"""The store of one owner's grant for one client."""

	def load(self) -> Grant | None:
		"""The grant as this caller sees it. It may be older than one that another process has just stored, and without the
		parts that a session seldom needs: refresh token, scopes, account and `extra`."""

	def load_all(self) -> Grant | None:
		"""As `load`, with scopes, account and `extra`."""

	def exclusive(self) -> AbstractContextManager[LockedGrant]:
		"""Wait for a refresh that is under way, then lock the latest stored state."""


class AttemptStore(Protocol):
	"""The store of authorization attempts that wait for their callback."""

	def put(self, attempt: Attempt) -> None: ...

	def peek(self, state: str) -> Attempt | None: ...

	def take(self, state: str) -> Attempt | None:
		"""The attempt, once: of two concurrent callers one gets None."""
