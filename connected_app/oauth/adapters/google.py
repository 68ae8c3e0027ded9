"""For google-auth and the libraries built on it: `build("calendar", "v3", credentials=Credentials(source))`."""

from __future__ import annotations

from collections.abc import MutableMapping
from datetime import timezone
from typing import Any

import google.auth.credentials

from ..grant import Grant
from ..token_source import TokenSource


class Credentials(google.auth.credentials.Credentials):
	"""Credentials whose tokens are renewed here, never by Google's library itself.

	Google's libraries repeat a request twice after a 401; only the first repetition can have another token.

	:param source: where the token comes from
	:raises OAuthError: as `TokenSource.usable`, also at a request; `dpop_needs_session` at once
	"""

	def __init__(self, source: TokenSource) -> None:
		super().__init__()  # type: ignore[no-untyped-call]
		source.check_is_bearer()
		self._source = source
		# The grant that replaced the one that the last 401 was about.
		self._replacement: Grant | None = None
		self._show(source.usable())

	def before_request(self, request: Any, method: str, url: str, headers: MutableMapping[str, str]) -> None:
		"""Called by the library before each request. The library does not decide when a token is due."""
		self._source.check(url)
		self._show(self._source.usable())
		self.apply(headers)  # type: ignore[no-untyped-call]

	def refresh(self, request: Any) -> None:
		"""Called by the library when an API has rejected the token."""
		if self._source.is_due:
			self._show(self._source.usable())
			return
		rejected = self._source.grant
		if self._replacement and not rejected.differs_from(self._replacement):
			self._source.mark_rejected(rejected)
		self._replacement = self._source.replacement(rejected)
		self._show(self._source.grant)

	def _show(self, grant: Grant) -> None:
		self.token = grant.access_token
		# UTC without a zone, as the library expects.
		self.expiry = grant.expires_at and grant.expires_at.astimezone(timezone.utc).replace(tzinfo=None)
