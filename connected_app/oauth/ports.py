"""What `oauth/` needs from outside, as small protocols. Passed in, never looked up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
	from .authorization import Attempt
	from .grant import Grant
	from .net import Reply
	from .redact import Secret

Clock = Callable[[], datetime]


def utc_now() -> datetime:
	"""The current instant, aware, in UTC."""
	return datetime.now(timezone.utc)


class Transport(Protocol):
	"""HTTP under a policy: see `net.Http`."""

	def get(self, url: str, headers: Mapping[str, str] | None = None, redirects: int = 0) -> Reply: ...

	def post(self, url: str, data: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Reply: ...


@dataclass(frozen=True, kw_only=True)
class Failure:
	"""Why the last refresh failed.

	:param reconnect: whether only the user's consent helps
	:param configuration: whether an admin must mend something
	:param retry_at: UTC instant before which the provider is not asked again
	"""

	code: str
	message: str
	reconnect: bool = False
	configuration: bool = False
	retry_at: datetime | None = None


class LockedGrant(Protocol):
	"""A grant held exclusively: nobody else refreshes it meanwhile."""

	grant: Grant | None
	failure: Failure | None

	def reread(self) -> Grant | None:
		"""The grant as it is stored now, in case the slot is not as exclusive as it should be."""

	def save(self, grant: Grant) -> None:
		"""Store `grant` durably; when this returns, it outlives this process."""

	def keep(self, refresh_token: Secret) -> None:
		"""Store a new refresh token durably, and nothing else of the answer that it came with."""

	def refuse(self, now: datetime) -> None:
		"""Record that the grant's access token is refused though it is new."""

	def fail(self, failure: Failure) -> None:
		"""Record why the refresh failed; the tokens stay."""


class GrantStore(Protocol):
	"""Where the grant of one user for one client is kept."""

	def load(self) -> Grant | None:
		"""The grant as this caller sees it; may be older than what others stored just now."""

	def exclusive(self) -> AbstractContextManager[LockedGrant]:
		"""Wait for whoever refreshes, then give the latest stored state, exclusively."""


class AttemptStore(Protocol):
	"""Where authorization attempts wait for their callback."""

	def put(self, attempt: Attempt) -> None: ...

	def peek(self, state: str) -> Attempt | None: ...

	def take(self, state: str) -> Attempt | None:
		"""The attempt, once: of two concurrent callers one gets None."""
