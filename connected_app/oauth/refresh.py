"""One refresh at a time, re-read before it, durable before use (RFC 6749 6, RFC 9700 4.14)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from . import id_token, token_endpoint
from .config import ClientConfig
from .errors import OAuthError, ReconnectRequired, TemporaryFailure
from .grant import Account, Grant, from_response
from .ports import Failure, utc_now

if TYPE_CHECKING:
	from .ports import Clock, GrantStore, Slot, Transport

COOL_DOWN = 15
# Refusals of an ID token that say nothing about whose tokens these are.
PASSING = ("id_token_expired", "id_token_issued_at", "id_token_key_unknown")


class Refresher:
	"""Keeps the grant of one user for one client usable.

	Everything that refreshes goes through here, so that nobody spends a refresh token that another has spent.
	"""

	def __init__(
		self, config: ClientConfig, store: GrantStore, http: Transport, clock: Clock = utc_now
	) -> None:
		self.config = config
		self.store = store
		self.http = http
		self.clock = clock

	def current(self) -> Grant:
		"""A grant that can be used now, refreshed first when it is due.

		:raises ReconnectRequired: `not_connected`, `expired`, `grant_invalid`, `id_token_*`
		:raises TemporaryFailure: as `token_endpoint.request`, and `cooling_down`
		"""
		grant = self.store.load()
		if grant is None:
			raise not_connected()
		if not grant.is_due(self.clock(), self.config.leeway):
			return grant
		return self.renew(grant)

	def renew(self, stale: Grant, *, rejected: bool = False) -> Grant:
		"""A newer grant than `stale`: the one that someone else has stored meanwhile, or a refreshed one.

		While `stale` has not expired, a passing failure gives it back as it is, unless the resource server has
		`rejected` it.

		:raises OAuthError: as `current`
		"""
		with self.store.exclusive() as slot:
			grant = slot.grant
			if grant is None:
				raise not_connected()
			now = self.clock()
			moved_on = grant.access_token != stale.access_token
			if moved_on and not grant.is_due(now, self.config.leeway):
				return grant
			still_good = not grant.is_expired(now) and (moved_on or not rejected)
			try:
				return self._refresh(slot, grant)
			except OAuthError as error:
				if still_good:
					return grant
				raise error

	def _refresh(self, slot: Slot, grant: Grant) -> Grant:
		failure, now = slot.failure, self.clock()
		if failure and failure.reconnect:
			raise ReconnectRequired(failure.code, failure.message)
		if failure and failure.retry_at and now < failure.retry_at:
			raise TemporaryFailure(
				"cooling_down", failure.message, retry_after=(failure.retry_at - now).total_seconds()
			)
		if not grant.refresh_token:
			expired = ReconnectRequired("expired", "The connection has expired and cannot be renewed.")
			if grant.is_expired(now):
				slot.fail(self._failure(expired))
			raise expired
		form: dict[str, str] = {"grant_type": "refresh_token", "refresh_token": grant.refresh_token}
		if self.config.scope_on_refresh == "granted" and grant.scopes:
			form["scope"] = self.config.scope_separator.join(grant.scopes)
		try:
			answer = token_endpoint.request(self.config, form, self.http)
			fresh = grant.renewed(from_response(answer, self.clock(), (), self.config.scope_separator))
			if self.config.issuer and grant.account and answer.get("id_token"):
				self._check_identity(answer["id_token"], grant.account, fresh)
			answer.clear()
			slot.save(fresh)
			return fresh
		except OAuthError as error:
			slot.fail(self._failure(error))
			raise

	def _check_identity(self, token: object, account: Account, fresh: Grant) -> None:
		"""OIDC Core 12.2: the same issuer, subject and audience as before."""
		try:
			id_token.verify(self.config, token, self.http, self.clock(), grant=fresh, subject=account.id)
		except OAuthError as error:
			# The keys cannot be had just now, or the clocks differ. The tokens came over TLS, and the old refresh token
			# may be spent: refusing the new one would lose the grant.
			if not (isinstance(error, TemporaryFailure) or error.code in PASSING):
				raise

	def _failure(self, error: OAuthError) -> Failure:
		wait = None
		if isinstance(error, TemporaryFailure):
			wait = self.clock() + timedelta(
				seconds=error.retry_after if error.retry_after is not None else COOL_DOWN
			)
		return Failure(
			code=error.code,
			message=error.message,
			reconnect=isinstance(error, ReconnectRequired),
			retry_at=wait,
		)


def not_connected() -> ReconnectRequired:
	return ReconnectRequired("not_connected", "There is no connection yet.", "Please connect first.")
