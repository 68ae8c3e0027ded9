"""The authorization of requests in httpx and httpx2: the token is renewed before it expires, and once after a 401."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import anyio
import anyio.to_thread

from .. import dpop
from ..grant import Grant
from ..presenting import header
from ..rejection import LONGEST_ERROR, is_rejected
from ..token_source import TokenSource


@dataclass(frozen=True)
class Ask:
	"""Slow work: it may wait for a database and a provider.

	:param is_needed: whether it is still needed once the others who ask are done
	"""

	work: Callable[[], Any]
	is_needed: Callable[[], bool] = lambda: True


@dataclass(frozen=True)
class Read:
	"""The body of a response is needed."""

	response: Any


# Each step of the flow asks, reads, or sends a request.
Steps = Generator[Any, Any, Any]


class AuthFlow:
	"""Mixed into a library's own `Auth`.

	When an API redirects to another host, httpx withholds `Authorization`, but it does send a provider's own header and the
	headers that a template adds: do not follow redirects there.

	:param source: where the token comes from
	:raises OAuthError: as `TokenSource.check_needs_no_certificate`; at a request, as `TokenSource.usable`
	"""

	# The library's class for a body that can be sent twice.
	FixedBody: ClassVar[type]

	def __init__(self, source: TokenSource) -> None:
		source.check_needs_no_certificate()
		self.source = source
		self._turn = anyio.Lock()
		self._proving: tuple[Grant, dpop.Prover] | None = None
		self._api_headers: tuple[Grant, dict[str, str]] | None = None

	def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
		steps, given = self._steps(request), None
		while True:
			try:
				step = steps.send(given)
			except StopIteration:
				return
			if isinstance(step, Ask):
				given = step.work()
			elif isinstance(step, Read):
				given = step.response.read()
			else:
				given = yield step

	async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
		steps, given = self._steps(request), None
		while True:
			try:
				step = steps.send(given)
			except StopIteration:
				return
			if isinstance(step, Ask):
				given = await self._ask(step)
			elif isinstance(step, Read):
				given = await step.response.aread()
			else:
				given = yield step

	async def _ask(self, step: Ask) -> Any:
		"""Run `step` in a thread, one at a time: when many requests need a new token, one asks, and no thread waits for it.

		A request that is cancelled meanwhile stops waiting; work that has begun is finished and stored.
		"""
		async with self._turn:
			if not step.is_needed():
				return step.work()
			self.source.prepare()
			return await anyio.to_thread.run_sync(step.work, abandon_on_cancel=True)

	def _steps(self, request: Any) -> Steps:
		source = self.source
		source.check(str(request.url))
		if source.is_due:
			yield Ask(source.usable, lambda: source.is_due)
		grant = source.grant
		response = yield from self._send(request, grant)
		if not self._can_repeat(request, response) or not (yield from self._is_rejected(grant, response)):
			return
		fresh = yield Ask(partial(source.replacement, grant), lambda: not source.is_replaced(grant))
		if fresh:
			response = yield from self._send(request, fresh)
			if (yield from self._is_rejected(fresh, response)):
				yield Ask(partial(source.mark_rejected, fresh))

	def _send(self, request: Any, grant: Grant) -> Steps:
		if self.source.has_api_headers:
			if not self._api_headers or self._api_headers[0] is not grant:
				self._api_headers = (grant, (yield Ask(self.source.api_headers)))
			for name, value in self._api_headers[1].items():
				request.headers.setdefault(name, value)
		prover = self._prover(grant)
		if not prover:
			request.headers.update(header(grant.access_token, self.source.api_header))
			return (yield request)
		# Once more where the API gives a nonce for the proof (RFC 9449 9).
		for _attempt in range(2):
			request.headers.update(prover.headers(request.method, str(request.url), grant.access_token))
			response = yield request
			dpop.NONCES.learn(str(response.url), response.headers)
			if not self._can_repeat(request, response) or not _is_asked_for_nonce(response):
				break
		return response

	def _can_repeat(self, request: Any, response: Any) -> bool:
		"""Whether the request can be sent twice. Not after a redirect to another address, nor with a body that is read or
		iterated over: it may be used up."""
		return response.request is request and isinstance(request.stream, self.FixedBody)

	def _is_rejected(self, grant: Grant, response: Any) -> Steps:
		if grant.dpop_key and _is_asked_for_nonce(response):
			# It is about the proof: another token would not help.
			return False
		words = self.source.api_expired
		status, headers = response.status_code, response.headers
		is_said = status == 403 or any("=" in word for word in words)
		if status != 401 and is_said and _is_short_json(response):
			yield Read(response)
			return is_rejected(status, headers, words, partial(_json, response))
		return is_rejected(status, headers, words)

	def _prover(self, grant: Grant) -> dpop.Prover | None:
		if not grant.dpop_key:
			return None
		if not self._proving or self._proving[0] is not grant:
			self._proving = (grant, dpop.Prover(grant.dpop_key))
		return self._proving[1]


def _is_asked_for_nonce(response: Any) -> bool:
	return dpop.is_asked_for_nonce(response.status_code, response.headers)


def _is_short_json(response: Any) -> bool:
	"""Whether the body may be read here: an error states its length and is short. Any other body may be a stream, which is
	for the caller to read."""
	kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
	length = response.headers.get("content-length", "")
	return kind == "application/json" and length.isdecimal() and int(length) <= LONGEST_ERROR


def _json(response: Any) -> Any:
	try:
		return response.json()
	except (ValueError, RecursionError):
		return None
