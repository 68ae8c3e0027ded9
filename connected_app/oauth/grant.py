"""Tokens, when they expire, and what a refresh response changes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from . import catalogue, lifetimes
from .redact import Secret, as_secrets

# A longer leeway than this part of a token's life would refresh the token all the time.
LEEWAY_SHARE = 4
# Characters of a subject that are stored and compared.
LONGEST_SUBJECT = 140
_UNUSABLE = re.compile(r"[^\x20-\x7e]")


@dataclass(frozen=True, kw_only=True)
class Account:
	"""The account that was connected: its subject at the provider, and a name that people recognize."""

	id: str
	name: str = ""


@dataclass(frozen=True, kw_only=True)
class Grant:
	"""What a user has granted.

	:param refresh_token_unread: there is a refresh token, but the store has not read it: only a refresh needs it
	:param expires_at: UTC instant at which the access token expires; None: it does not expire
	:param issued_at: UTC instant at which the access token was received
	:param scopes: granted; may be narrower than asked (RFC 6749 3.3)
	:param refresh_expires_at: UTC instant at which the refresh token expires, if the provider says so
	:param dpop_key: the key that the tokens are bound to (RFC 9449); None: anybody who has them can use them
	:param extra: further values from the provider, named by `Quirks.keep`
	:param revision: of the stored grant: each write increases it. 0 if the store does not count
	:param rejected_at: UTC instant at which a resource server rejected the access token though it was new
	"""

	access_token: Secret
	token_type: str = "Bearer"  # noqa: S105
	refresh_token: Secret | None = None
	refresh_token_unread: bool = False
	expires_at: datetime | None = None
	issued_at: datetime | None = None
	scopes: tuple[str, ...] = ()
	account: Account | None = None
	rejected_at: datetime | None = None
	refresh_expires_at: datetime | None = None
	dpop_key: Secret | None = None
	extra: Mapping[str, Secret] = field(default_factory=dict)
	revision: int = 0

	def to_json(self) -> Secret:
		"""For a store that keeps it as one text. Holds secrets: encrypt it."""
		return Secret(json.dumps(asdict(self), default=datetime.isoformat))

	@classmethod
	def from_json(cls, text: str) -> Grant:
		"""The inverse of `to_json`."""
		values = json.loads(text)
		for name in ("access_token", "refresh_token", "dpop_key"):
			values[name] = Secret(values[name]) if values[name] is not None else None
		for name in ("expires_at", "issued_at", "rejected_at", "refresh_expires_at"):
			values[name] = datetime.fromisoformat(values[name]) if values[name] else None
		values["scopes"] = tuple(values["scopes"])
		values["account"] = Account(**values["account"]) if values["account"] else None
		return cls(**{**values, "extra": as_secrets(values["extra"])})

	def is_of_another_account(self, before: Grant | None) -> bool:
		"""Whether `before` is of another account at the provider. If one of the two is unknown, they count as the same."""
		return bool(before and before.account and self.account and before.account.id != self.account.id)

	@property
	def is_renewable(self) -> bool:
		"""Whether there is a refresh token."""
		return self.refresh_token_unread or bool(self.refresh_token)

	def is_expired(self, now: datetime) -> bool:
		"""Whether the access token is past its expiry at `now` (UTC)."""
		return self.expires_at is not None and now >= self.expires_at

	def is_due(self, now: datetime, leeway: int) -> bool:
		"""Whether the access token expires within `leeway` seconds of `now`, or has.

		The leeway is cut to a quarter of the token's life, so that short tokens are not refreshed at once.
		"""
		# Nearly always the answer: the token is far from its expiry.
		if self.expires_at is None or now < self.expires_at - timedelta(seconds=max(leeway, 0)):
			return False
		due = self.due_at(leeway)
		return due is not None and now >= due

	def due_at(self, leeway: int) -> datetime | None:
		"""UTC instant from which the access token `is_due`; None: never."""
		if self.expires_at is None:
			return None
		margin = timedelta(seconds=max(leeway, 0))
		if self.issued_at is not None:
			margin = min(margin, max(self.expires_at - self.issued_at, timedelta(0)) / LEEWAY_SHARE)
		return self.expires_at - margin

	def differs_from(self, other: Grant) -> bool:
		"""Whether one of the two was stored after the other.

		Comparing access tokens is not enough: some providers repeat the token, with a new expiry.
		"""
		if self.revision or other.revision:
			return self.revision != other.revision
		return (self.access_token, self.expires_at) != (other.access_token, other.expires_at)

	def renewed(self, fresh: Grant) -> Grant:
		"""This grant after a refresh gave `fresh`.

		A new refresh token replaces the old one; without one, the old one stays (RFC 6749 6). The same goes for scopes and
		account. A new access token without a stated lifetime lives as long as the one before it.
		"""
		expires_at = fresh.expires_at
		if expires_at is None and self.expires_at and self.issued_at and fresh.issued_at:
			expires_at = fresh.issued_at + (self.expires_at - self.issued_at)
		kept = not fresh.refresh_token
		return replace(
			fresh,
			expires_at=expires_at,
			refresh_token=fresh.refresh_token or self.refresh_token,
			refresh_expires_at=fresh.refresh_expires_at or (self.refresh_expires_at if kept else None),
			scopes=fresh.scopes or self.scopes,
			account=fresh.account or self.account,
			dpop_key=fresh.dpop_key or self.dpop_key,
			extra={**self.extra, **fresh.extra},
			revision=self.revision,
		)

	def consented_after(self, before: Grant | None) -> Grant:
		"""This grant, to which a user has just consented.

		Some providers give a refresh token at the first consent only (Google): the same account keeps the one of `before`.
		"""
		same = before and before.account and self.account and not self.is_of_another_account(before)
		# A refresh token that is bound to another key does not work with this one.
		if before and same and not self.refresh_token and self.dpop_key == before.dpop_key:
			return replace(
				self, refresh_token=before.refresh_token, refresh_expires_at=before.refresh_expires_at
			)
		return self


def from_response(
	response: Mapping[str, Any], now: datetime, asked: tuple[str, ...] = (), separator: str = " "
) -> Grant:
	"""Read a token response (RFC 6749 5.1), leniently where providers are.

	`token_type` may be missing or odd (Shopify, Slack, eBay); `expires_in` may be missing, 0 (Mailchimp: "never")
	or a string (PayPal); scopes may be separated by commas (GitHub, Slack) or be a list.

	:param now: UTC instant at which the response was received
	:param asked: scopes of the request; granted if the response names none (RFC 6749 5.1)
	:raises TemporaryFailure: `response_invalid`, when there is no usable access token
	"""
	access_token = response.get("access_token")
	# RFC 6749 A.12; anything else cannot be sent in a header.
	if not isinstance(access_token, str) or not access_token.strip() or _UNUSABLE.search(access_token):
		raise catalogue.error("response_invalid")
	token_type = response.get("token_type")
	if (
		not isinstance(token_type, str)
		or not token_type.isprintable()
		or token_type.lower() in ("", "bearer")
	):
		token_type = "Bearer"  # noqa: S105
	return Grant(
		access_token=Secret(access_token),
		token_type=token_type[:140],
		refresh_token=refresh_token_of(response),
		expires_at=lifetimes.access_expiry(response, now),
		refresh_expires_at=lifetimes.refresh_expiry(response, now),
		issued_at=now,
		scopes=parse_scopes(response.get("scope"), separator) or asked,
	)


def refresh_token_of(response: Mapping[str, Any]) -> Secret | None:
	"""The refresh token of a token response (RFC 6749 A.17). None if it could not be sent or stored: it would replace the old
	one in vain."""
	token = response.get("refresh_token")
	is_one = isinstance(token, str) and lifetimes.is_said(token) and not _UNUSABLE.search(token)
	return Secret(token) if is_one else None


def parse_scopes(value: object, separator: str = " ") -> tuple[str, ...]:
	"""Scopes from a response: a list, also as JSON in a string, or a string with spaces, or commas where there are no
	spaces."""
	if isinstance(value, str) and value.startswith("["):
		with suppress(ValueError, RecursionError):
			value = json.loads(value)
	texts = value if isinstance(value, list) else [value]
	parts = [part for each in texts if isinstance(each, str) for part in _separated(each, separator)]
	return tuple(dict.fromkeys(part for part in parts if part.isprintable()))


def _separated(text: str, separator: str) -> list[str]:
	if " " not in text:
		text = text.replace("%20", " ")
	if separator == "," or " " not in text.strip() or ", " in text or " ," in text:
		text = text.replace(",", " ")
	return text.split()
