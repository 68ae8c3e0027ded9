"""One refresh at a time, re-read before it, durable before use (RFC 6749 6, RFC 9700 4.14)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from . import catalogue, dpop, introspection, mtls, token_endpoint, wire
from .certificates import ClientCertificate
from .client import Client, Settings
from .clock import Clock, utc_now
from .errors import ConfigurationError, OAuthError, ReconnectRequired, Sentence, TemporaryFailure
from .grant import Grant, refresh_token_of
from .grant_types import REFRESH_TOKEN, GrantType, expired
from .provider import Provider
from .store import Failure

if TYPE_CHECKING:
	from .net import Transport
	from .store import GrantStore, LockedGrant

# Seconds after a first failure; each further one doubles them.
COOL_DOWN = 15
# An administrator is slower than a network; saving the settings ends this pause at once.
ADMIN_COOL_DOWN = 60
LONGEST_COOL_DOWN = 4 * 3600
# After so many failures in a row, a person whose token has expired is also offered to connect again: some providers never
# say that a grant is dead (Glewlwyd's answer is empty).
MANY = 3
# If an API rejects a new token, another one would not help.
REJECTED_PAUSE = timedelta(seconds=300)


@dataclass(frozen=True)
class Use:
	"""The stored grant can be used as it is."""

	grant: Grant


@dataclass(frozen=True)
class Ask:
	"""The provider has to be asked.

	:param otherwise: a grant that is still good, to use if the request fails
	"""

	otherwise: Grant | None = None


@dataclass(frozen=True)
class Raise:
	"""There is no usable grant.

	:param is_new: whether the failure has to be stored
	"""

	error: OAuthError
	is_new: bool = False


def decide(
	stored: Grant | None,
	failure: Failure | None,
	stale: Grant | None,
	rejected: bool,
	now: datetime,
	leeway: int,
	*,
	needs_consent: bool = True,
) -> Use | Ask | Raise:
	"""What to do under the lock.

	:param stored: the grant as it is stored now
	:param failure: why the last refresh failed, unless one has succeeded since
	:param stale: the grant that the caller has; None to accept any
	:param rejected: whether a resource server has rejected `stale`
	:param now: UTC
	:param leeway: seconds before expiry at which a token is refreshed
	:param needs_consent: see `GrantType`
	"""
	if stored is None:
		if needs_consent:
			return Raise(not_connected())
		blocked = last_failure(failure, now, needs_consent)
		return Raise(blocked) if blocked else Ask()
	moved_on = stale is None or stored.differs_from(stale)
	if not stored.is_due(now, leeway):
		new_one_rejected = stored.rejected_at is not None and now - stored.rejected_at < REJECTED_PAUSE
		if moved_on or (rejected and new_one_rejected):
			return Use(stored)
	otherwise = stored if not stored.is_expired(now) and (moved_on or not rejected) else None
	blocked = last_failure(failure, now, needs_consent)
	is_new = False
	if not blocked and needs_consent and not stored.refresh_token:
		blocked, is_new = expired(), stored.is_expired(now)
	if not blocked:
		return Ask(otherwise)
	return Use(otherwise) if otherwise else Raise(blocked, is_new)


def last_failure(failure: Failure | None, now: datetime, needs_consent: bool = True) -> OAuthError | None:
	"""The last failure, as long as asking again makes no sense."""
	if failure and failure.reconnect:
		return ReconnectRequired(failure.code, failure.message) if needs_consent else None
	if not failure or not failure.retry_at or now >= failure.retry_at:
		return None
	wait = (failure.retry_at - now).total_seconds()
	if failure.configuration:
		return ConfigurationError(failure.code, failure.message, retry_after=wait)
	action = what_to_do(failure.attempts) if needs_consent else ""
	return TemporaryFailure("cooling_down", failure.message, action, retry_after=wait)


def what_to_do(attempts: int) -> str:
	"""What a person can do about a passing failure that has cost them a usable token."""
	return Sentence("Please try again later. If this goes on, connect again.") if attempts >= MANY else ""


def cool_down(error: OAuthError, attempts: int) -> timedelta:
	"""How long not to ask the provider after `error`, the last of `attempts` failures; at least as long as it asks for."""
	first = ADMIN_COOL_DOWN if isinstance(error, ConfigurationError) else COOL_DOWN
	grown = min(first * 2 ** min(attempts - 1, 20), LONGEST_COOL_DOWN)
	return timedelta(seconds=max(grown, error.retry_after or 0))


class Refresher:
	"""Keeps the grant of one owner for one client usable.

	Every refresh goes through here, so that no refresh token is spent twice.

	:param grant_type: how to get a new access token
	:param latest: returns the settings as they are stored now, read under the lock; by default `settings`, which may be
		reduced to what a session needs without a refresh

	`error` is why the last request to the provider failed, even if the grant could still be used.
	"""

	def __init__(
		self,
		provider: Provider,
		client: Client,
		store: GrantStore,
		http: Transport,
		clock: Clock = utc_now,
		*,
		grant_type: GrantType = REFRESH_TOKEN,
		latest: Callable[[], Settings] | None = None,
	) -> None:
		self.provider = provider
		self.client = client
		self.store = store
		self.http = http
		self.clock = clock
		self.grant_type = grant_type
		self.latest = latest
		self.error: OAuthError | None = None

	def certificate(self) -> ClientCertificate:
		"""The certificate to which tokens are bound, as it is now.

		:raises ConfigurationError: as `mtls.certificate_of`
		"""
		return mtls.certificate_of(self.latest().client if self.latest else self.client)

	def current(self) -> Grant:
		"""A grant that can be used now, refreshed first when it is due.

		:raises ReconnectRequired: `not_connected`, `expired`, `grant_invalid`, `id_token_subject`
		:raises TemporaryFailure: as `token_endpoint.request`, and `cooling_down`
		:raises ConfigurationError: as `token_endpoint.request`
		"""
		try:
			grant = self.store.load()
			if grant is None:
				raise not_connected()
			if not grant.is_due(self.clock(), self.client.leeway):
				return grant
		except ReconnectRequired:
			# If no consent is needed, an unreadable grant is replaced.
			if self.grant_type.needs_consent:
				raise
			grant = None
		return self.renew(grant)

	def renew(self, stale: Grant | None, *, rejected: bool = False) -> Grant:
		"""A newer grant than `stale`: the one that another process has stored meanwhile, or a refreshed one.

		While `stale` has not expired, it is returned after a passing failure, unless the resource server has `rejected` it.
		A grant that is rejected less than `REJECTED_PAUSE` after it was new is returned, too.

		:raises OAuthError: as `current`
		"""
		try:
			# Before the lock: this may need another lock.
			self.grant_type = self.grant_type.prepared()
			with self.store.exclusive() as locked:
				decision = decide(
					locked.grant,
					locked.failure,
					stale,
					rejected,
					self.clock(),
					self.client.leeway,
					needs_consent=self.grant_type.needs_consent,
				)
				if isinstance(decision, Use):
					return decision.grant
				if isinstance(decision, Raise):
					if decision.is_new:
						locked.fail(self._failure(decision.error, locked.failure))
					raise decision.error
				try:
					return self._ask(locked, locked.grant)
				except OAuthError as error:
					if decision.otherwise:
						return decision.otherwise
					raise error
		except (TemporaryFailure, ConfigurationError):
			# Also if the lock cannot be acquired.
			if stale is None or rejected or stale.is_expired(self.clock()):
				raise
			return stale

	def mark_rejected(self, fresh: Grant) -> None:
		"""Note that a resource server rejects `fresh`, which `renew` returned because the grant before was rejected.

		Otherwise an API that rejects every token would cost a refresh at each request, in each session.
		"""
		with self.store.exclusive() as locked:
			if locked.grant and locked.grant.access_token == fresh.access_token:
				locked.mark_rejected(self.clock())

	def _ask(self, locked: LockedGrant, grant: Grant | None) -> Grant:
		if self.latest:
			self.provider, self.client = self.latest()
		provider, client = self.provider, self.client
		try:
			form = self.grant_type.form(provider, client, grant)
			# The refresh token of a public client is bound to the key, too (RFC 9449 5).
			key = (grant.dpop_key if grant else None) or (dpop.new_key() if client.dpop else None)
			said = grant.extra if grant else None
			answer = token_endpoint.request(provider, client, form, self.http, said, dpop_key=key)
			try:
				fresh = self.grant_type.read(provider, client, answer, self.clock(), grant)
				if key:
					dpop.check_is_bound(fresh)
					fresh = replace(fresh, dpop_key=key)
				if grant is None or not self.grant_type.needs_consent:
					# A refreshed token lives as long as the one before.
					fresh = introspection.with_expiry(provider, client, fresh, self.http, self.clock())
			except (ConfigurationError, TemporaryFailure):
				# The old refresh token may be spent, even if the rest of the answer is unusable.
				token = refresh_token_of(wire.standard(answer, provider.quirks))
				# A sentence is a message: "This field is required."
				if token and " " not in token and grant and token != grant.refresh_token:
					locked.save_refresh_token(token)
				raise
			answer.clear()
			return locked.save(fresh)
		except OAuthError as error:
			if error.code == "grant_invalid" and grant:
				# If the lock failed to exclude others, another process may have spent the refresh token.
				latest = locked.reread()
				if latest and latest.refresh_token != grant.refresh_token:
					return self._ask(locked, latest) if latest.is_due(self.clock(), client.leeway) else latest
			self.error = error
			failure = self._failure(error, locked.failure)
			locked.fail(failure)
			if isinstance(error, TemporaryFailure) and self.grant_type.needs_consent:
				error.action = what_to_do(failure.attempts) or error.action
			raise

	def _failure(self, error: OAuthError, before: Failure | None) -> Failure:
		reconnect = isinstance(error, ReconnectRequired)
		attempts = before.attempts + 1 if before and not before.reconnect else 1
		return Failure(
			code=error.code,
			message=error.message,
			reconnect=reconnect,
			configuration=isinstance(error, ConfigurationError),
			retry_at=None if reconnect else self.clock() + cool_down(error, attempts),
			attempts=attempts,
		)


def not_connected() -> OAuthError:
	return catalogue.error("not_connected")
