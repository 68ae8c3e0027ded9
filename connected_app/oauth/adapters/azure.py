"""For azure-core, and what is built on it, as Microsoft's libraries for Graph and Azure are."""

from __future__ import annotations

import time
from typing import Any

from azure.core.credentials import AccessToken, AccessTokenInfo
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import BearerTokenCredentialPolicy

from .. import consent
from ..grant import Grant
from ..token_source import TokenSource

# azure-core knows no token without an end.
A_DAY = 24 * 3600
# In the context of a request: what it is repeated with.
REPLACEMENT = "connected_app_replacement"


class Credential:
	"""A TokenCredential.

	azure-core keeps a token until it is due here; where the API rejects it before, `Policy` gets another at once, and without
	that the next request asks again. Scopes are those that the user has granted, whatever is asked for.

	:param source: where the token comes from
	:raises OAuthError: as `TokenSource.usable`, also at a request; `dpop_needs_session` at once
	"""

	def __init__(self, source: TokenSource) -> None:
		source.check_is_bearer()
		self.source = source
		self._given: Grant | None = None

	def get_token(self, *scopes: str, claims: str | None = None, **_options: Any) -> AccessToken:
		"""Called by the library.

		:param claims: what the API wants of another token (continuous access evaluation): it has rejected this one
		"""
		grant = self._next(claims)
		return AccessToken(grant.access_token, _expires_on(grant))

	def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:
		"""As `get_token`, with the time at which the library is to ask again."""
		grant = self._next((options or {}).get("claims"))
		due = grant.due_at(self.source.leeway)
		refresh_on = int(due.timestamp()) if due else None
		return AccessTokenInfo(grant.access_token, _expires_on(grant), refresh_on=refresh_on)

	def close(self) -> None:
		"""There is nothing to close."""

	def __enter__(self) -> Credential:
		return self

	def __exit__(self, *_error: object) -> None:
		self.close()

	def _next(self, claims: str | None) -> Grant:
		source = self.source
		if claims:
			source.replacement(source.grant)
		elif self._given and not source.is_due and not source.is_replaced(self._given):
			# For another client, or after a 401: others may have stored a newer one since.
			source.latest()
		self._given = source.usable()
		return self._given


class Policy(BearerTokenCredentialPolicy[Any, Any]):
	"""As azure-core's own, and after a 401 once more with another token: `authentication_policy=Policy(credential, scope)`.

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
		if consent.wanted_by(401, response.http_response.headers):
			# It is about the user, who has to log in in another way.
			return False
		shown = request.http_request.headers.get("Authorization")
		grant = self.source.grant
		if shown == f"Bearer {grant.access_token}":
			request.context[REPLACEMENT] = fresh = self.source.replacement(grant)
			if not fresh:
				return False
		self.authorize_request(request, *self.scopes)
		return True

	def on_response(self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]) -> None:
		fresh = request.context.pop(REPLACEMENT, None)
		if fresh and response.http_response.status_code == 401:
			self.source.mark_rejected(fresh)


def _expires_on(grant: Grant) -> int:
	return int(grant.expires_at.timestamp() if grant.expires_at else time.time() + A_DAY)
