"""Whose connection to which app: the identity of a connection throughout `site/`."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

# Every collation distinguishes IDs of these characters.
PLAIN = re.compile(r"[a-z0-9@._+-]{1,140}")


@dataclass(frozen=True)
class Owner:
	"""Whose a connection is. Made by `ConnectionKey`'s constructors.

	:param user: the User's name; only a user has one
	"""

	kind: Literal["user", "organisation", "service principal"]
	user: str = ""

	def __str__(self) -> str:
		return self.user or f"the {self.kind}"


SERVICE_PRINCIPAL = Owner("service principal")
ORGANISATION = Owner("organisation")


@dataclass(frozen=True)
class ConnectionKey:
	"""One connection.

	:param app: the Connected App's name
	:param account: a further account of the same owner at the provider, as `slot` names it; empty for the default one
	:param wanted: the provider's ID of the account that was asked for; it counts even if another one is now the default
	"""

	app: str
	owner: Owner
	account: str = ""
	wanted: str = ""

	@classmethod
	def of_user(cls, app: str, user: str) -> ConnectionKey:
		"""
		:raises ValueError: without a user; use `from_columns` for a row's column, which may be empty
		"""
		if not user:
			raise ValueError("A user's connection needs the user's name.")
		return cls(app, Owner("user", user))

	@classmethod
	def of_service_principal(cls, app: str) -> ConnectionKey:
		"""The client itself (RFC 6749 4.4)."""
		return cls(app, SERVICE_PRINCIPAL)

	@classmethod
	def of_organisation(cls, app: str) -> ConnectionKey:
		"""Shared by everybody whom the site lets use it."""
		return cls(app, ORGANISATION)

	@classmethod
	def from_columns(
		cls, app: str, user: str | None, shared: bool | int = False, account: str | None = None
	) -> ConnectionKey:
		"""From a row, a job's arguments or core's Python API. Without a user it is the service principal's, unless it is
		shared."""
		if shared:
			return cls.of_organisation(app)
		return (
			replace(cls.of_user(app, user), account=account or "") if user else cls.of_service_principal(app)
		)

	@classmethod
	def from_row(cls, row: Any) -> ConnectionKey:
		"""
		:param row: of Token Cache, with `connected_app`, `user`, `shared` and `account`
		"""
		return cls.from_columns(row.connected_app or "", row.user, row.shared, row.account)

	@property
	def user(self) -> str:
		"""Empty for the service principal and the organisation."""
		return self.owner.user

	@property
	def is_shared(self) -> bool:
		return self.owner == ORGANISATION

	@property
	def columns(self) -> tuple[str, str, bool, str]:
		"""As `from_columns` takes them."""
		return (self.app, self.user, self.is_shared, self.account)

	@property
	def arguments(self) -> dict[str, Any]:
		"""The same by name, for a job."""
		return {
			"connected_app": self.app,
			"user": self.user,
			"shared": self.is_shared,
			"account": self.account,
		}

	def may_be(self, other: ConnectionKey) -> bool:
		"""Whether both may be the same connection: the default account, or the account of a row, can change."""
		same_owner = (self.app, self.owner) == (other.app, other.owner)
		return same_owner and (self.account == other.account or bool(self.wanted or other.wanted))

	@property
	def default(self) -> ConnectionKey:
		"""The same owner's default account."""
		return replace(self, account="", wanted="")


def slot(account_id: str) -> str:
	"""The name of a further account in its row: the provider's ID, or a digest if a database might confuse it with another ID,
	or could not store it."""
	if PLAIN.fullmatch(account_id):
		return account_id
	return hashlib.sha256(account_id.encode()).hexdigest()[:40]
