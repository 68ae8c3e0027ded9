"""The source of tokens for one client of an API, for as long as the client lives."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

from . import catalogue, wire
from .access_token import AccessToken, check_is_bearer
from .client import origin
from .connection import Connection
from .errors import OAuthError
from .grant import Grant
from .paths import split
from .policy import is_host, is_loopback

if TYPE_CHECKING:
	from .refresh import Refresher

T = TypeVar("T")
# A context in which an OAuthError becomes the caller's own kind of error.
Errors = Callable[[], AbstractContextManager[None]]


class Runner(Protocol):
	"""Runs work that needs the store. Libraries ask for tokens in their own threads, where the store may be unavailable."""

	def prepare(self) -> None:
		"""Called in the thread that has the store, before another thread uses it.

		:raises OAuthError: if the other thread could not use it
		"""

	def __call__(self, work: Callable[[], T]) -> T: ...


class Here:
	"""Runs work in the current thread."""

	def prepare(self) -> None:
		pass

	def __call__(self, work: Callable[[], T]) -> T:
		return work()


class TokenSource:
	"""Gives a grant that can be used now. It keeps the grant until it is due or an API rejects it; then it takes the one that
	another process has stored meanwhile, or a refreshed one.

	:param refresher: gives the grant
	:param errors: a context in which every OAuthError is raised
	:param runner: runs work that needs the store
	:raises OAuthError: as `Refresher.current`

	`grant` is the one that was used last. A Server Script can read and set attributes without an underscore: so none of them
	decides whose grant it is, is shared with others, or gives the client's key.
	"""

	def __init__(
		self, refresher: Refresher, errors: Errors = nullcontext, runner: Runner | None = None
	) -> None:
		self._refresher = refresher
		self._errors = errors
		self._runner = runner or Here()
		self._connection: Connection | None = None
		self.grant = self._ask(refresher.current)

	@property
	def api_header(self) -> str:
		"""As in `Quirks`, which itself is this process's."""
		return self._refresher.provider.quirks.api_header

	@property
	def api_expired(self) -> tuple[str, ...]:
		"""As in `Quirks`."""
		return self._refresher.provider.quirks.api_expired

	@property
	def has_api_headers(self) -> bool:
		return bool(self._refresher.provider.quirks.api_headers)

	@property
	def leeway(self) -> int:
		"""Seconds before the end of a token at which it is due."""
		return self._refresher.client.leeway

	def prepare(self) -> None:
		"""As `Runner.prepare`."""
		self._runner.prepare()

	@property
	def is_due(self) -> bool:
		"""Whether `usable` has to ask."""
		return self.grant.is_due(self._refresher.clock(), self._refresher.client.leeway)

	def usable(self) -> Grant:
		"""
		:raises OAuthError: as `Refresher.renew`
		"""
		return self.renew() if self.is_due else self.grant

	def access_token(self) -> AccessToken:
		"""The token by itself.

		:raises OAuthError: as `usable`, and `check_is_bearer`
		"""
		grant = self.usable()
		self.check_is_bearer()
		return AccessToken(value=grant.access_token, expires_at=grant.expires_at)

	def renew(self) -> Grant:
		"""A newer grant than the current one.

		:raises OAuthError: as `Refresher.renew`
		"""
		return self._adopt(self._ask(lambda: self._refresher.renew(self.grant)))

	def latest(self) -> Grant:
		"""The grant as it is stored now, refreshed first when it is due.

		:raises OAuthError: as `Refresher.renew`
		"""
		return self._adopt(self._ask(lambda: self._refresher.renew(None)))

	def replacement(self, rejected: Grant) -> Grant | None:
		"""A newer grant than the one that an API has rejected; None if there is none, or the newest was also rejected a
		moment ago.

		:raises OAuthError: as `Refresher.renew`
		"""
		if self.is_replaced(rejected):
			return self.grant
		if not rejected.is_renewable:
			return None
		fresh = self._adopt(self._ask(lambda: self._refresher.renew(rejected, rejected=True)))
		return fresh if fresh.access_token != rejected.access_token or not fresh.rejected_at else None

	def is_replaced(self, rejected: Grant) -> bool:
		"""Whether `replacement` need not ask: another request was rejected before, and has replaced the grant."""
		return self.grant.differs_from(rejected)

	def mark_rejected(self, fresh: Grant) -> None:
		"""Note that an API rejects the grant that `replacement` gave. If it cannot be noted, nothing is raised: the caller
		gets the API's answer."""
		with suppress(OAuthError):
			self._ask(lambda: self._refresher.mark_rejected(fresh))

	@property
	def connection(self) -> Connection:
		"""The connection without its tokens. It is read on first use, and again after the token was renewed.

		:raises OAuthError: as the store does
		"""
		if self._connection is None:
			self._connection = self._ask(
				lambda: Connection.of(self._refresher.store.load_all() or self.grant)
			)
		return self._connection

	def api_headers(self) -> dict[str, str]:
		"""The headers, besides the token, that the provider's API wants in each request.

		:raises OAuthError: as `connection`
		"""
		wanted = self._refresher.provider.quirks.api_headers
		values = {"client_id": self._refresher.client.client_id}
		if any(wire.placeholders(text) - values.keys() for text in wanted.values()):
			values |= self.connection
		return wire.fields(wanted, values)

	def check(self, url: str) -> None:
		"""Check that a token may be sent to `url` (RFC 6750 5.3, RFC 8707 3).

		:raises ConfigurationError: `uri_invalid`, `uri_insecure`, `resource_origin`
		"""
		try:
			self._refresher.client.check_destination(url)
		except OAuthError as error:
			self.fail(error)
		parts = split(url)
		named = split(origin(url)).hostname
		if parts.scheme == "https" and not is_host(named):
			self.fail(catalogue.error("uri_invalid/api"))
		if parts.scheme == "https":
			return
		policy = getattr(self._refresher.http, "policy", None)
		if parts.scheme == "http" and policy and policy.allow_http_loopback and is_loopback(named or ""):
			return
		self.fail(catalogue.error("uri_insecure/api"))

	def proxy_for(self, url: str) -> str:
		"""The proxy for an API; empty for none. Raises as `net.Http.proxy_for`."""
		find = getattr(self._refresher.http, "proxy_for", None)
		try:
			return find(url) if find else ""
		except OAuthError as error:
			self.fail(error)
		return ""

	def check_needs_no_certificate(self) -> None:
		"""For clients that make their own connections.

		:raises ConfigurationError: `certificate_needs_session`
		"""
		if self._refresher.client.certificate_bound:
			self.fail(catalogue.error("certificate_needs_session"))

	def check_is_bearer(self) -> None:
		"""Raises as `access_token.check_is_bearer` and `check_needs_no_certificate`."""
		self.check_needs_no_certificate()
		try:
			check_is_bearer(self.grant)
		except OAuthError as error:
			self.fail(error)

	def fail(self, error: OAuthError) -> None:
		"""Raise `error` in the caller's own kind of error."""

		def work() -> None:
			raise error

		self._ask(work)

	def _ask(self, work: Callable[[], T]) -> T:
		with self._errors():
			return self._runner(work)

	def _adopt(self, grant: Grant) -> Grant:
		if grant is not self.grant:
			self.grant, self._connection = grant, None
		return grant
