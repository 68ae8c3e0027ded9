"""The requests-oauthlib session for developers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import cache, cached_property, partial
from os import environ
from typing import TYPE_CHECKING, Any

import requests
from oauthlib.oauth2 import WebApplicationClient
from requests.cookies import RequestsCookieJar
from requests.sessions import merge_setting
from requests.structures import CaseInsensitiveDict
from requests_oauthlib import OAuth2Session
from urllib3.exceptions import HTTPError

from . import catalogue, dpop
from .certificates import ClientCertificate
from .connection import Connection
from .grant import Grant
from .pools import THIS_PROCESS, adapters, pooled, present
from .presenting import BoundPresenter, Presenter, header
from .proxies import names_proxies
from .redact import strip_frames
from .rejection import LONGEST_ERROR, is_rejected
from .token_source import Errors, TokenSource

if TYPE_CHECKING:
	from .refresh import Refresher

TIMEOUT = (10.0, 60.0)
# Libraries that parse addresses.
_OF_ADDRESSES = frozenset({"encodings", "http", "idna", "ipaddress", "socket", "urllib", "urllib3"})


class Session(OAuth2Session):
	"""An authorized `requests` session: refreshes before expiry, and once after a 401.

	Requests do not go through `OAuth2Session.request`: that logs tokens at DEBUG, hands a request's own arguments
	to the token endpoint on refresh (requests-oauthlib #264), and refreshes without a lock.

	:param refresher: gives the grant for each request
	:param errors: a context in which the session raises every OAuthError
	:param apart: whether the session has connections of its own. Code that may not see other requests of this process must
		not get the shared connections, which hold them
	"""

	_token: dict[str, Any] | None

	def __init__(self, refresher: Refresher, errors: Errors = nullcontext, *, apart: bool = False) -> None:
		# Not by OAuth2Session's own constructor: making its adapters and oauthlib client costs more than everything else
		# that a request does here.
		vars(self).update(_pristine()[0])
		self._refresher = refresher
		self._errors = errors
		self._source = TokenSource(refresher, errors)
		self._adapters = THIS_PROCESS
		if apart:
			self._adapters = adapters()
			pooled(self, self._adapters)
		self._grant = self._source.grant
		self._scope = list(refresher.client.scopes)
		self.redirect_uri = refresher.client.redirect_uri
		self.auto_refresh_url = refresher.provider.token_uri

	def __getattr__(self, name: str) -> Any:
		"""An attribute of requests that this session has not used yet: many sessions are made for one request, or none."""
		copied = _pristine()[1].get(name)
		if copied is None:
			# Raises what Python has raised, which a property may have.
			return super().__getattribute__(name)
		# Another thread may have been first.
		return vars(self).setdefault(name, copied())

	@cached_property
	def _client(self) -> WebApplicationClient:
		return WebApplicationClient(self._refresher.client.client_id, token=self.token)

	@property
	def connection(self) -> Connection:
		"""The connection without its tokens. It is read on first use, and again after the token was renewed.

		:raises OAuthError: as the store does
		"""
		return self._source.connection

	@property
	def token(self) -> dict[str, Any]:
		"""The token in requests-oauthlib's form. Setting it does not change requests: they use the refresher's token."""
		if self._token is None:
			self._token = _token(self._grant)
		return self._token

	@token.setter
	def token(self, value: dict[str, Any]) -> None:
		self._token = value
		self._client.populate_token_attributes(value)

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

		The caller's own `auth`, or own header where the token would be, is sent instead of the token. The token is still
		renewed when it is due, so that an `auth` can show it in another way; the API's answer is left to the caller.

		:param withhold_token: send the request without the token
		:param client_id, client_secret: taken for compatibility, not used
		:raises OAuthError: when a refresh was needed and failed
		"""
		kwargs.setdefault("timeout", TIMEOUT)
		if withhold_token:
			return requests.Session.request(self, method, url, data=data, headers=headers, **kwargs)
		self._source.check(url)
		grant = self._adopt(self._source.usable())
		if self._is_callers_own(headers, kwargs):
			return self._request(method, url, data, headers, kwargs)
		response = self._send(method, url, data, headers, grant, kwargs)
		if self._is_rejected(response) and self._can_repeat(response, data, kwargs):
			if fresh := self._source.replacement(grant):
				response.close()
				response = self._send(method, url, data, headers, self._adopt(fresh), kwargs)
				if self._is_rejected(response):
					self._source.mark_rejected(fresh)
		return response

	def refresh_token(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
		"""Refresh now, under the lock. Arguments of `OAuth2Session.refresh_token` are not needed."""
		self._adopt(self._source.renew())
		return self.token

	def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
		"""As in requests, but faster: requests reads the whole environment several times, which takes a tenth of a request
		to a nearby host."""
		if self.trust_env:
			if names_proxies():
				return super().merge_environment_settings(url, proxies, stream, verify, cert)
			if verify is True or verify is None:
				verify = environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE") or verify
		given = {"proxies": proxies, "stream": stream, "verify": verify, "cert": cert}
		return {name: merge_setting(value, getattr(self, name)) for name, value in given.items()}  # type: ignore[no-untyped-call]

	def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
		"""Withhold the token, in whatever header, and the other headers for this API from another host that it redirects
		to."""
		super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]
		if "DPoP" in prepared_request.headers:
			# A proof is for one request; without the token there is none.
			del prepared_request.headers["DPoP"]
			if self._prover and "Authorization" in prepared_request.headers:
				BoundPresenter(self._grant.access_token, self._prover)(prepared_request)
		if self.should_strip_auth(response.request.url, prepared_request.url):  # type: ignore[no-untyped-call]
			quirks = self._refresher.provider.quirks
			for name in (*header("", quirks.api_header), *quirks.api_headers):
				prepared_request.headers.pop(name, None)

	def close(self) -> None:
		"""Close connections that are this session's own. Those of the process stay open for others."""
		if self._adapters is not THIS_PROCESS:
			super().close()

	@cached_property
	def _prover(self) -> dpop.Prover | None:
		return dpop.Prover(self._grant.dpop_key) if self._grant.dpop_key else None

	@cached_property
	def _certificate(self) -> ClientCertificate:
		with self._errors():
			return self._refresher.certificate()

	def _adopt(self, grant: Grant) -> Grant:
		if grant is not self._grant:
			self._grant = grant
			self._token = None
			# Read again on next use.
			vars(self).pop("_client", None)
			vars(self).pop("_prover", None)
			vars(self).pop("_certificate", None)
		return grant

	def _send(
		self, method: str, url: str, data: Any, headers: Any, grant: Grant, kwargs: dict[str, Any]
	) -> requests.Response:
		if self._prover:
			return self._send_bound(method, url, data, headers, grant, self._prover, kwargs)
		template = self._refresher.provider.quirks.api_header
		return self._request(
			method, url, data, headers, {**kwargs, "auth": Presenter(grant.access_token, template)}
		)

	def _send_bound(
		self,
		method: str,
		url: str,
		data: Any,
		headers: Any,
		grant: Grant,
		prover: dpop.Prover,
		kwargs: dict[str, Any],
	) -> requests.Response:
		"""Send with a proof by the grant's key; again if the API supplies a nonce for it (RFC 9449 9)."""
		kwargs = {**kwargs, "auth": BoundPresenter(grant.access_token, prover)}
		response = self._request(method, url, data, headers, kwargs)
		for each in (*response.history, response):
			dpop.NONCES.learn(each.url, each.headers)
		if dpop.is_asked_for_nonce(response.status_code, response.headers) and _is_repeatable(
			response, data, kwargs
		):
			response.close()
			response = self._request(method, url, data, headers, kwargs)
			dpop.NONCES.learn(response.url, response.headers)
		return response

	def _request(
		self, method: str, url: str, data: Any, headers: Any, kwargs: dict[str, Any]
	) -> requests.Response:
		if self._refresher.provider.quirks.api_headers:
			headers = {**self._source.api_headers(), **(headers or {})}
		if self._refresher.client.certificate_bound:
			present(self, url, self._certificate, self._adapters)
		if proxy := self._source.proxy_for(url):
			kwargs.setdefault("proxies", {"https": proxy})
		try:
			return requests.Session.request(self, method, url, data=data, headers=headers, **kwargs)
		except (requests.RequestException, OSError) as error:
			strip_frames(error)
			raise error
		except (ValueError, HTTPError) as error:
			# Also if an API redirects to an invalid address.
			is_header = isinstance(error, UnicodeEncodeError) and error.encoding == "latin-1"
			if not is_header and not _is_of_an_address(error):
				strip_frames(error)
				raise error
		if not is_header:
			self._source.fail(catalogue.error("uri_invalid/api"))
		raise requests.exceptions.InvalidHeader("A header that is not in Latin-1")

	def _is_rejected(self, response: requests.Response) -> bool:
		"""As `rejection.is_rejected`."""
		if self._prover and dpop.is_asked_for_nonce(response.status_code, response.headers):
			# It is about the proof: another token would not help.
			return False
		words = self._refresher.provider.quirks.api_expired
		return is_rejected(response.status_code, response.headers, words, partial(_answer, response))

	def _is_callers_own(self, headers: Any, kwargs: dict[str, Any]) -> bool:
		name = self._refresher.provider.quirks.api_header.partition(":")[0].strip()
		return bool(kwargs.get("auth") or name in self.headers or name in CaseInsensitiveDict(headers or {}))

	def _can_repeat(self, response: requests.Response, data: Any, kwargs: dict[str, Any]) -> bool:
		return self._grant.is_renewable and _is_repeatable(response, data, kwargs)


@cache
def _pristine() -> tuple[dict[str, Any], dict[str, Callable[[], Any]]]:
	"""The attributes of an unused OAuth2Session except its oauthlib client: those that never change, and for each of the
	others a function that copies it."""
	session = OAuth2Session()
	pooled(session)
	fixed: dict[str, Any] = {"_token": None}
	own: dict[str, Callable[[], Any]] = {}
	for name, value in vars(session).items():
		if isinstance(value, RequestsCookieJar):
			own[name] = RequestsCookieJar
		elif name in ("hooks", "compliance_hook"):
			own[name] = partial(_copied, value)
		elif isinstance(value, CaseInsensitiveDict):
			own[name] = partial(_headers, value)
		elif isinstance(value, dict | list | set):
			own[name] = value.copy
		elif name != "_client":
			fixed[name] = value
	return fixed, own


def _headers(value: CaseInsensitiveDict[str]) -> CaseInsensitiveDict[str]:
	"""A copy. Faster than its own method and constructor, which add each header again."""
	made: CaseInsensitiveDict[str] = CaseInsensitiveDict.__new__(CaseInsensitiveDict)
	vars(made).update(_copied(vars(value)))
	return made


def _copied(value: dict[str, Any]) -> dict[str, Any]:
	return {key: each.copy() for key, each in value.items()}


def _answer(response: requests.Response) -> Any:
	"""The JSON of an answer that has been read; None for a stream, which is for the caller to read."""
	if not response._content_consumed or len(response.content) > LONGEST_ERROR:  # type: ignore[attr-defined]
		return None
	try:
		return response.json()
	except (ValueError, RecursionError):
		return None


def _is_repeatable(response: requests.Response, data: Any, kwargs: dict[str, Any]) -> bool:
	"""Whether the request that got `response` can be sent again: not after a redirect, which may lead to another server."""
	return not response.history and not kwargs.get("files") and _lasts(data) and _lasts(kwargs.get("params"))


def _is_of_an_address(error: Exception) -> bool:
	"""Whether a library failed to parse an address, rather than a hook, a body that is read, or a caller's argument."""
	frame = error.__traceback__
	while frame and frame.tb_next:
		frame = frame.tb_next
	raised_by = str(frame.tb_frame.f_globals.get("__name__")).partition(".")[0] if frame else ""
	return raised_by in _OF_ADDRESSES or (raised_by == "requests" and isinstance(error, UnicodeError))


def _lasts(value: Any) -> bool:
	"""Whether a request with `value` as its body can be sent twice. Anything that is read or iterated over may be used up;
	of the types that requests accepts, only texts and these collections are not."""
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
