"""The requests-oauthlib session that developers are handed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase
from requests_oauthlib import OAuth2Session

from .errors import ConfigurationError, OAuthError
from .grant import Grant
from .net import is_loopback, pooled
from .redact import Secret, strip_frames

if TYPE_CHECKING:
	from .refresh import Refresher

TIMEOUT = (10.0, 60.0)


class Session(OAuth2Session):
	"""An authorized `requests` session: refreshes before expiry, and once after a 401.

	Requests do not go through `OAuth2Session.request`: that logs tokens at DEBUG, hands a request's own arguments
	to the token endpoint on refresh (requests-oauthlib #264), and refreshes without a lock.

	:param refresher: where the grant comes from, at each request
	"""

	def __init__(self, refresher: Refresher) -> None:
		self.refresher = refresher
		self._grant = refresher.current()
		config = refresher.config
		super().__init__(
			client_id=config.client_id,
			redirect_uri=config.redirect_uri,
			scope=list(config.scopes),
			token=_token(self._grant),
			auto_refresh_url=config.token_uri,
		)
		pooled(self)

	def request(  # type: ignore[override]
		self,
		method: str,
		url: str,
		data: Any = None,
		headers: Any = None,
		withhold_token: bool = False,
		client_id: str | None = None,
		client_secret: str | None = None,
		**kwargs: Any,
	) -> requests.Response:
		"""As `requests.Session.request`, authorized (RFC 6750 2.1), with a default time-out of 10 s to connect
		and 60 s to answer.

		:param withhold_token: send the request without the token
		:param client_id, client_secret: taken for compatibility, not used
		:raises OAuthError: when a refresh was needed and failed
		"""
		kwargs.setdefault("timeout", TIMEOUT)
		if withhold_token:
			return requests.Session.request(self, method, url, data=data, headers=headers, **kwargs)
		self._check(url)
		grant = self._usable()
		response = self._send(method, url, data, headers, grant, kwargs)
		if response.status_code == 401 and self._can_repeat(response, data, kwargs):
			fresh = self._adopt(self.refresher.renew(grant, rejected=True))
			if fresh.access_token != grant.access_token or not fresh.refused_at:
				response.close()
				response = self._send(method, url, data, headers, fresh, kwargs)
				if response.status_code == 401:
					# The answer is the caller's, whether or not this can be noted.
					with suppress(OAuthError):
						self.refresher.refused(fresh)
		return response

	def refresh_token(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
		"""Refresh now, under the lock. Arguments of `OAuth2Session.refresh_token` are not needed."""
		self._adopt(self.refresher.renew(self._grant))
		return self.token  # type: ignore[no-any-return]

	def close(self) -> None:
		"""Leave the process's pooled connections open for others."""

	def _usable(self) -> Grant:
		if self._grant.is_due(self.refresher.clock(), self.refresher.config.leeway):
			self._adopt(self.refresher.renew(self._grant))
		return self._grant

	def _adopt(self, grant: Grant) -> Grant:
		if grant.access_token != self._grant.access_token:
			self.token = _token(grant)
		self._grant = grant
		return grant

	def _send(
		self, method: str, url: str, data: Any, headers: Any, grant: Grant, kwargs: dict[str, Any]
	) -> requests.Response:
		# As `auth`, not as a header: netrc would replace a header.
		kwargs = {**kwargs, "auth": _Bearer(grant.access_token)}
		try:
			return requests.Session.request(self, method, url, data=data, headers=headers, **kwargs)
		except (requests.RequestException, OSError) as error:
			strip_frames(error)
			raise error

	def _check(self, url: str) -> None:
		parts = urlsplit(url)
		if parts.scheme == "https":
			return
		policy = getattr(self.refresher.http, "policy", None)
		if (
			parts.scheme == "http"
			and policy
			and policy.allow_http_loopback
			and is_loopback(parts.hostname or "")
		):
			return
		raise ConfigurationError(
			"uri_insecure", "A token is sent over https only (RFC 6750 5.3).", "Call the https address."
		)

	def _can_repeat(self, response: requests.Response, data: Any, kwargs: dict[str, Any]) -> bool:
		# A redirect may have led to another server.
		return (
			self._grant.is_renewable
			and not response.history
			and not kwargs.get("files")
			and _lasts(data)
			and _lasts(kwargs.get("params"))
		)


class _Bearer(AuthBase):
	def __init__(self, token: Secret) -> None:
		self.token = token

	def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
		request.headers["Authorization"] = Secret(f"Bearer {self.token}")
		return request


def _lasts(value: Any) -> bool:
	"""Whether a request that is made of `value` is the same when it is made again. What is read, or iterated over, may
	be spent after the first time; of what requests takes, only texts and these collections are not."""
	if isinstance(value, Mapping):
		value = list(value.items())
	if isinstance(value, list | tuple | set | frozenset):
		return all(_lasts(part) for part in value)
	return isinstance(value, str | bytes) or not (hasattr(value, "__iter__") or hasattr(value, "read"))


def _token(grant: Grant) -> dict[str, Any]:
	token: dict[str, Any] = {"access_token": grant.access_token, "token_type": grant.token_type}
	if grant.expires_at:
		token["expires_at"] = grant.expires_at.timestamp()
	if grant.scopes:
		token["scope"] = list(grant.scopes)
	return token
