"""One refresh at a time, re-read before it, durable before use (RFC 6749 6, RFC 9700 4.14)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from . import id_token, token_endpoint
from .config import ClientConfig
from .errors import ConfigurationError, OAuthError, ReconnectRequired, TemporaryFailure
from .grant import Grant, from_response
from .ports import Failure, utc_now

if TYPE_CHECKING:
	from .ports import Clock, GrantStore, LockedGrant, Transport

COOL_DOWN = 15
# An admin's mending is slower than a network's; saving the settings ends this one at once.
ADMIN_COOL_DOWN = 60
# An API that refuses a new token does so for a reason that yet another one does not mend.
REFUSED_PAUSE = timedelta(seconds=300)


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

		:raises ReconnectRequired: `not_connected`, `expired`, `grant_invalid`, `id_token_subject`
		:raises TemporaryFailure: as `token_endpoint.request`, and `cooling_down`
		"""
		grant = self.store.load()
		if grant is None:
			raise not_connected()
		if not grant.is_due(self.clock(), self.config.leeway):
			return grant
		return self.renew(grant)

	def renew(self, stale: Grant | None, *, rejected: bool = False) -> Grant:
		"""A newer grant than `stale`: the one that someone else has stored meanwhile, or a refreshed one.

		While `stale` has not expired, a passing failure gives it back as it is, unless the resource server has
		`rejected` it. One that is rejected less than `REFUSED_PAUSE` after it was `refused` is given back, too.

		:raises OAuthError: as `current`
		"""
		try:
			with self.store.exclusive() as slot:
				return self._renewed(slot, stale, rejected)
		except (TemporaryFailure, ConfigurationError):
			# Also when the lock cannot be had.
			if stale is None or rejected or stale.is_expired(self.clock()):
				raise
			return stale

	def _renewed(self, slot: LockedGrant, stale: Grant | None, rejected: bool) -> Grant:
		grant, now = slot.grant, self.clock()
		if grant is None:
			return self._without(slot)
		moved_on = stale is None or grant.access_token != stale.access_token
		if not grant.is_due(now, self.config.leeway):
			refused = grant.refused_at is not None and now - grant.refused_at < REFUSED_PAUSE
			if moved_on or (rejected and refused):
				return grant
		still_good = not grant.is_expired(now) and (moved_on or not rejected)
		try:
			return self._refresh(slot, grant)
		except OAuthError as error:
			if still_good:
				return grant
			raise error

	def refused(self, fresh: Grant) -> None:
		"""Note that a resource server rejects `fresh`, which `renew` gave because it had rejected the one before.

		Otherwise an API that rejects whatever it is shown would cost a refresh at each request, in each session.
		"""
		with self.store.exclusive() as slot:
			if slot.grant and slot.grant.access_token == fresh.access_token:
				slot.refuse(self.clock())

	def _without(self, slot: LockedGrant) -> Grant:
		raise not_connected()

	def _refresh(self, slot: LockedGrant, grant: Grant) -> Grant:
		check_failure(slot.failure, self.clock())
		if not grant.refresh_token:
			expired = ReconnectRequired("expired", "The connection has expired and cannot be renewed.")
			if grant.is_expired(self.clock()):
				slot.fail(self._failure(expired))
			raise expired
		form: dict[str, str] = {"grant_type": "refresh_token", "refresh_token": grant.refresh_token}
		if self.config.scope_on_refresh == "granted" and grant.scopes:
			form["scope"] = self.config.scope_separator.join(grant.scopes)
		try:
			answer = token_endpoint.request(self.config, form, self.http)
			fresh = grant.renewed(from_response(answer, self.clock(), (), self.config.scope_separator))
			if self.config.issuer and grant.account:
				try:
					id_token.check_refreshed(self.config, answer.get("id_token"), grant.account.id)
				except ConfigurationError:
					# The old refresh token may be spent; until the setting is mended nothing else is used.
					if fresh.refresh_token and fresh.refresh_token != grant.refresh_token:
						slot.keep(fresh.refresh_token)
					raise
			answer.clear()
			slot.save(fresh)
			return fresh
		except OAuthError as error:
			if error.code == "grant_invalid":
				# Where the lock is weaker than it should be, someone else may have spent the refresh token.
				latest = slot.reread()
				if latest and latest.refresh_token != grant.refresh_token:
					due = latest.is_due(self.clock(), self.config.leeway)
					return self._refresh(slot, latest) if due else latest
			slot.fail(self._failure(error))
			raise

	def _failure(self, error: OAuthError) -> Failure:
		reconnect = isinstance(error, ReconnectRequired)
		configuration = isinstance(error, ConfigurationError)
		wait = error.retry_after
		if wait is None:
			wait = ADMIN_COOL_DOWN if configuration else COOL_DOWN
		return Failure(
			code=error.code,
			message=error.message,
			reconnect=reconnect,
			configuration=configuration,
			retry_at=None if reconnect else self.clock() + timedelta(seconds=wait),
		)


class ClientCredentials(Refresher):
	"""The client's own grant (RFC 6749 4.4). Nobody has to consent: a new token can be had at any time."""

	def current(self) -> Grant:
		"""A token that can be used now, asked for first when there is none or it is due.

		:raises TemporaryFailure: as `token_endpoint.request`, and `cooling_down`
		:raises ConfigurationError: as `token_endpoint.request`
		"""
		try:
			return super().current()
		except ReconnectRequired:
			return self.renew(None)

	def _without(self, slot: LockedGrant) -> Grant:
		return self._refresh(slot, None)

	def _refresh(self, slot: LockedGrant, grant: Grant | None) -> Grant:
		if slot.failure and not slot.failure.reconnect:
			check_failure(slot.failure, self.clock())
		form = {"grant_type": "client_credentials"}
		if self.config.scopes:
			form["scope"] = self.config.scope_separator.join(self.config.scopes)
		try:
			answer = token_endpoint.request(self.config, form, self.http)
			fresh = from_response(answer, self.clock(), self.config.scopes, self.config.scope_separator)
			answer.clear()
			# 4.4.3: there should be no refresh token, and there is no use for one.
			fresh = replace(fresh, refresh_token=None)
			slot.save(fresh)
			return fresh
		except OAuthError as error:
			if isinstance(error, ReconnectRequired):
				# Nobody's consent is missing: what is missing is the provider's leave for this client.
				error = ConfigurationError(
					"unauthorized_client",
					error.message,
					"Allow this client the client credentials grant at the provider.",
					provider_error=error.provider_error,
				)
			slot.fail(self._failure(error))
			raise error


def check_failure(failure: Failure | None, now: datetime) -> None:
	"""
	:raises OAuthError: what failed last, while asking again makes no sense
	"""
	if failure and failure.reconnect:
		raise ReconnectRequired(failure.code, failure.message)
	if failure and failure.retry_at and now < failure.retry_at:
		wait = (failure.retry_at - now).total_seconds()
		if failure.configuration:
			raise ConfigurationError(failure.code, failure.message, retry_after=wait)
		raise TemporaryFailure("cooling_down", failure.message, retry_after=wait)


def not_connected() -> ReconnectRequired:
	return ReconnectRequired("not_connected", "There is no connection yet.", "Please connect first.")
