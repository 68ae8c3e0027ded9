"""What is known of a connection besides its tokens, as developers see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from .grant import Grant


@dataclass(frozen=True, eq=False)
class Connection(Mapping[str, str]):
	"""A read-only mapping of what the provider said besides the tokens, by the names in `keep` of its template, such as
	`connection["realm_id"]`.

	:param account_id: the account's identifier at the provider; empty if it is not known
	:param account_name: a name of the account that people recognize; may be empty
	:param scopes: granted; may be narrower than asked (RFC 6749 3.3)
	:param expires_at: UTC instant at which the access token expires; None: it does not
	:param ends_at: UTC instant at which the refresh token expires, if the provider says so
	"""

	said: Mapping[str, str]
	account_id: str = ""
	account_name: str = ""
	scopes: tuple[str, ...] = ()
	expires_at: datetime | None = None
	ends_at: datetime | None = None

	def __getitem__(self, name: str) -> str:
		return self.said[name]

	def __iter__(self) -> Iterator[str]:
		return iter(self.said)

	def __len__(self) -> int:
		return len(self.said)

	@classmethod
	def of(cls, grant: Grant) -> Connection:
		"""
		:param grant: as `GrantStore.load_all` gives it
		"""
		return cls(
			said=MappingProxyType(dict(grant.extra)),
			account_id=grant.account.id if grant.account else "",
			account_name=grant.account.name if grant.account else "",
			scopes=grant.scopes,
			expires_at=grant.expires_at,
			ends_at=grant.refresh_expires_at,
		)
