"""For azure-core and the libraries built on it, such as Microsoft's for Graph and Azure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from azure.core.credentials import AccessToken, AccessTokenInfo
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy, BearerTokenCredentialPolicy

from ..grant import Grant
from ..rejection import is_rejected
from ..token_source import TokenSource

T = TypeVar("T")
# azure-core wants an expiry for every token.
A_DAY = 24 * 3600
# In the context of a request: the grant that it is repeated with.
REPLACEMENT = "connected_app_replacement"


class _Given:
	"""What the credentials for both kinds of clients have in common."""

	def __init__(self, source: TokenSource) -> None:
		source.check_is_bearer()
		self.source = source
		self._last: Grant | None = None

	def _has_to_ask(self, claims: str | None) -> bool:
		return bool(claims) or self.source.is_due or not self._is_news()

	def _next(self, claims: str | None) -> Grant:
		source = self.source
		if claims:
			source.replacement(source.grant)
		elif not source.is_due and not self._is_news():
			# For another client, or after a 401: others may have stored a newer one since.
			source.latest()
		self._last = source.usable()
		return self._last

	def _is_news(self) -> bool:
		"""Whether there is a grant that this credential has not given yet."""
		return not self._last or self.source.is_replaced(self._last)

	def _token(self, grant: Grant) -> AccessToken:
		return AccessToken(grant.access_token, _expires_on(grant))

	def _token_info(self, grant: Grant) -> AccessTokenInfo:
		due = grant.due_at(self.source.leeway)
		refresh_on = int(due.timestamp()) if due else None
		return AccessTokenInfo(grant.access_token, _expires_on(grant), refresh_on=refresh_on)


class Credential(_Given):
	"""A TokenCredential.

	azure-core keeps a token until it is due here. If the API rejects it before, `Policy` gets another at once; without
	`Policy`, the next request asks again. The scopes are those that the user has granted; the ones passed in are ignored.

	:param source: where the token comes from
	:raises OAuthError: as `TokenSource.usable`, also at a request; `dpop_needs_session` at once
	"""

	def get_token(self, *scopes: str, claims: str | None = None, **_options: Any) -> AccessToken:
		"""Called by the library.

		:param claims: what the API wants of another token, after it has rejected this one (continuous access evaluation)
		"""
		return self._token(self._next(claims))

	def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:
		"""As `get_token`, with the time at which the library is to ask again."""
		return self._token_info(self._next((options or {}).get("claims")))

	def close(self) -> None:
		"""There is nothing to close."""

	def __enter__(self) -> Credential:
		return self

	def __exit__(self, *_error: object) -> None:
		self.close()


class AsyncCredential(_Given):
	"""An AsyncTokenCredential, for asyncio, with `AsyncPolicy`; otherwise as `Credential`. Slow work runs in a thread, one at
	a time: when many need a new token, one asks, and the event loop goes on.

	:param source: where the token comes from
	:raises OAuthError: as `Credential`
	"""

	def __init__(self, source: TokenSource) -> None:
		super().__init__(source)
		self._loop: asyncio.AbstractEventLoop | None = None
		self._lock = asyncio.Lock()

	async def get_token(self, *scopes: str, claims: str | None = None, **_options: Any) -> AccessToken:
		"""As that of `Credential`."""
		return self._token(await self._awaited(claims))

	async def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:
		"""As that of `Credential`."""
		return self._token_info(await self._awaited((options or {}).get("claims")))

	async def close(self) -> None:
		"""There is nothing to close."""

	async def __aenter__(self) -> AsyncCredential:
		return self

	async def __aexit__(self, *_error: object) -> None:
		await self.close()

	async def ask(self, work: Callable[[], T], is_needed: Callable[[], bool] = lambda: True) -> T:
		"""Do `work` in a thread, after the others who ask. A caller that is cancelled stops waiting; work that has begun is
		finished and stored.

		:param is_needed: whether it is still needed once the others are done
		"""
		async with self._turn():
			if not is_needed():
				return work()
			self.source.prepare()
			return await asyncio.to_thread(work)

	async def _awaited(self, claims: str | None) -> Grant:
		return await self.ask(partial(self._next, claims), partial(self._has_to_ask, claims))

	def _turn(self) -> asyncio.Lock:
		"""The lock of the running event loop: a lock serves one loop only."""
		loop = asyncio.get_running_loop()
		if self._loop is not loop:
			self._loop, self._lock = loop, asyncio.Lock()
		return self._lock


class Policy(BearerTokenCredentialPolicy[Any, Any]):
	"""As azure-core's own, and repeats a request once after a 401: `authentication_policy=Policy(credential, scope)`.

	:param credential: where the token comes from
	:param scopes: as the library wants them
	"""

	def __init__(self, credential: Credential, *scopes: str, **options: Any) -> None:
		super().__init__(credential, *scopes, **options)
		self.source = credential.source
		self.scopes = scopes

	def on_request(self, request: PipelineRequest[Any]) -> None:
		self.source.check(request.http_request.url)
		super().on_request(request)

	def on_challenge(self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]) -> bool:
		if super().on_challenge(request, response):
			return True
		if not is_rejected(401, response.http_response.headers):
			return False
		grant = self.source.grant
		if _shows(request, grant):
			request.context[REPLACEMENT] = fresh = self.source.replacement(grant)
			if not fresh:
				return False
		self.authorize_request(request, *self.scopes)
		return True

	def on_response(self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]) -> None:
		fresh = request.context.pop(REPLACEMENT, None)
		if fresh and response.http_response.status_code == 401:
			self.source.mark_rejected(fresh)


class AsyncPolicy(AsyncBearerTokenCredentialPolicy[Any, Any]):
	"""As `Policy`, for clients that are awaited.

	:param credential: where the token comes from
	:param scopes: as the library wants them
	"""

	def __init__(self, credential: AsyncCredential, *scopes: str, **options: Any) -> None:
		super().__init__(credential, *scopes, **options)
		self.credential = credential
		self.scopes = scopes

	async def on_request(self, request: PipelineRequest[Any]) -> None:
		self.credential.source.check(request.http_request.url)
		await super().on_request(request)

	async def on_challenge(self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]) -> bool:
		if await super().on_challenge(request, response):
			return True
		if not is_rejected(401, response.http_response.headers):
			return False
		source = self.credential.source
		grant = source.grant
		if _shows(request, grant):
			request.context[REPLACEMENT] = fresh = await self.credential.ask(
				partial(source.replacement, grant), lambda: not source.is_replaced(grant)
			)
			if not fresh:
				return False
		await self.authorize_request(request, *self.scopes)
		return True

	async def on_response(self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]) -> None:
		fresh = request.context.pop(REPLACEMENT, None)
		if fresh and response.http_response.status_code == 401:
			await self.credential.ask(partial(self.credential.source.mark_rejected, fresh))


def _shows(request: PipelineRequest[Any], grant: Grant) -> bool:
	return bool(request.http_request.headers.get("Authorization") == f"Bearer {grant.access_token}")


def _expires_on(grant: Grant) -> int:
	return int(grant.expires_at.timestamp() if grant.expires_at else time.time() + A_DAY)
