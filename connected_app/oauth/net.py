"""Outbound HTTP for every address that an admin can type.

https only (http for loopback where the site allows it), certificates always checked, no redirects unless
asked for, no private, loopback, link-local or otherwise special address unless listed, limits of size and time.
The address rule is applied to the address that is connected to, so DNS rebinding does not help.
"""

from __future__ import annotations

import os
import socket
import time
import zlib
from collections.abc import Collection, Mapping
from copy import copy
from functools import lru_cache, partial
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import requests
from requests.utils import default_headers
from urllib3.exceptions import HTTPError

from . import catalogue, http_errors, pools, proxies
from .certificates import ClientCertificate
from .policy import AddressRefused, Policy
from .redact import Secret, printable, strip_chain
from .reply import Reply
from .shape import Fields

# The first bytes of gzip with its one method (RFC 1952 2.3).
GZIP = b"\x1f\x8b\x08"
# What a server's administrator sets for requests, and for curl.
CA_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class Transport(Protocol):
	"""HTTP under a policy: see `Http`."""

	def check(self, url: str) -> None: ...

	def get(self, url: str, headers: Mapping[str, str] | None = None, redirects: int = 0) -> Reply: ...

	def post(self, url: str, data: Fields, headers: Mapping[str, str] | None = None) -> Reply: ...

	def send(
		self,
		method: str,
		url: str,
		*,
		params: Fields | None = None,
		data: Fields | None = None,
		json: Any = None,
		headers: Mapping[str, str] | None = None,
	) -> Reply: ...

	def presenting(self, certificate: ClientCertificate) -> Transport: ...


class Http:
	"""HTTP under a `Policy`. One per process is enough; only pooled connections are shared.

	:param total_timeout: seconds for the whole exchange, including slow bodies. A connect that began before the deadline
		may add `connect_timeout`, and TLS as long again; DNS is not bounded
	:param max_bytes: the longest body that is read
	:param proxy: the address of the egress proxy; "environment" for that of `HTTPS_PROXY`; empty for none. `NO_PROXY` of
		the environment counts with both. The proxy's own address is the choice of the server's administrator, and not
		under the address rule.
	:param user_agent: sent along with each request (RFC 9110 10.1.5)
	"""

	def __init__(
		self,
		*,
		allow_http_loopback: bool = False,
		allowed_hosts: Collection[str] = (),
		connect_timeout: float = 5,
		read_timeout: float = 15,
		total_timeout: float = 20,
		max_bytes: int = 1_000_000,
		proxy: str = "",
		user_agent: str = "connected_app",
	) -> None:
		self.policy = Policy(
			allow_http_loopback=allow_http_loopback,
			allowed_hosts=frozenset(host.lower() for host in allowed_hosts),
		)
		self.timeouts = (connect_timeout, read_timeout)
		self.total_timeout = total_timeout
		self.max_bytes = max_bytes
		# As in requests' own sessions: the CA bundle of the server's administrator. Checking is never off.
		self.verify: str | bool = next((path for name in CA_BUNDLES if (path := os.environ.get(name))), True)
		self.proxy = Secret(proxy)
		self.user_agent = user_agent
		self.certificate: ClientCertificate | None = None
		self._until = float("inf")
		self._adapter_for = lru_cache(maxsize=pools.CERTIFICATES)(
			partial(pools.GuardedAdapter, pool_maxsize=20)
		)

	def presenting(self, certificate: ClientCertificate) -> Http:
		"""The same, with a client certificate on each https connection. Only requests with the same certificate share
		connections."""
		other = copy(self)
		other.certificate = certificate
		return other

	def within(self, seconds: float) -> Http:
		"""The same, with `seconds` for all its requests together: a person is waiting, and a server could otherwise use up
		the time-out of each request."""
		other = copy(self)
		other._until = time.monotonic() + seconds
		return other

	def check(self, url: str) -> None:
		"""Check whether `url` may be requested, without a request: host names are not resolved.

		:raises ConfigurationError: `uri_invalid`, `uri_insecure`, `address_refused`
		"""
		self.policy.check_url(url)
		host = (urlsplit(url).hostname or "").rstrip(".")
		try:
			self.policy.check_address(host, host)
		except AddressRefused:
			refused = http_errors.address_refused(host)
		except ValueError:
			return
		else:
			return
		raise refused

	def get(self, url: str, headers: Mapping[str, str] | None = None, redirects: int = 0) -> Reply:
		"""GET `url`, following at most `redirects` redirects, each under the policy.

		:raises ConfigurationError: `uri_invalid`, `uri_insecure`, `address_refused`, `certificate_invalid`
		:raises TemporaryFailure: `network`, `timeout`, `response_too_large`
		"""
		reply = self.send("GET", url, headers=headers)
		for _ in range(redirects):
			location = reply.headers.get("location")
			if reply.status not in (301, 302, 303, 307, 308) or not location:
				break
			try:
				url = urljoin(url, location)
			except ValueError:
				url = ""
			reply = self.send("GET", url, headers=headers)
		return reply

	def post(self, url: str, data: Fields, headers: Mapping[str, str] | None = None) -> Reply:
		"""POST `data` as a form to `url`; redirects are never followed. Raises as `get` does."""
		return self.send("POST", url, data=data, headers=headers)

	def send(
		self,
		method: str,
		url: str,
		*,
		params: Fields | None = None,
		data: Fields | None = None,
		json: Any = None,
		headers: Mapping[str, str] | None = None,
	) -> Reply:
		"""Send a request; redirects are never followed. Raises as `get` does.

		:param params: added to the query of `url`; no error names them
		:param data: a form, as the body
		:param json: JSON, as the body
		"""
		self.policy.check_url(url)
		# No host name is longer (RFC 1035 2.3.4).
		host = printable(urlsplit(url).hostname or "", 253)
		left = self._until - time.monotonic()
		if left <= 0:
			raise catalogue.error("timeout", host)
		proxy = self.proxy_for(url)
		if proxy:
			# The host as the library will name it to the proxy; a trailing dot would hide an IP address.
			self._check_target((urlsplit(_as_sent(url)).hostname or "").rstrip("."))
		# A proxied request connects to the proxy.
		deadline = pools.begin(None if proxy else self.policy, min(self.total_timeout, left))
		try:
			request = self._prepared(method, url, params=params, data=data, json=json, headers=headers)
			reply = self._exchange(request, url, proxy, deadline)
			if reply is not None:
				return reply
			error: Exception = catalogue.error("response_too_large", host)
			cause: BaseException | None = None
		except (requests.RequestException, HTTPError, OSError, ValueError, zlib.error) as exc:
			error = http_errors.error_of(
				exc,
				host,
				proxy=proxies.host_of(proxy),
				cut=deadline.expired,
				ca_bundle=self.verify if isinstance(self.verify, str) else "",
				presented=self.certificate is not None,
			)
			if isinstance(exc, requests.RequestException):
				# Its headers and its body are secrets.
				exc.request = exc.response = None
			# The libraries' messages contain the address, which may hold secrets.
			cause = None if params is not None or isinstance(url, Secret) else strip_chain(exc)
		finally:
			deadline.disarm()
		raise error from cause

	def _prepared(
		self, method: str, url: str, *, headers: Mapping[str, str] | None, **content: Any
	) -> requests.PreparedRequest:
		"""Prepared without a session: no cookies, no netrc, no environment proxies; and the body of a redirect, which may be
		long, is not read."""
		fixed = {
			"Accept": "application/json",
			"Accept-Encoding": "identity",
			"User-Agent": self.user_agent,
		}
		headers = {**default_headers(), **fixed, **(headers or {})}
		return requests.Request(method, url, headers=headers, **content).prepare()

	def _exchange(
		self, request: requests.PreparedRequest, url: str, proxy: str, deadline: pools.Deadline
	) -> Reply | None:
		"""The answer to `request`; None where its body is too large."""
		response = self._adapter_for(self.certificate).send(
			request,
			stream=True,
			timeout=self.timeouts,
			verify=self.verify,
			proxies={"https": proxy} if proxy else None,
		)
		try:
			body, complete = self._read(response)
		finally:
			deadline.disarm()
			response.close() if deadline.expired else response.raw.release_conn()
		if deadline.expired:
			# Without a length, a body that was cut off would look complete.
			raise requests.Timeout
		if body is None:
			return None
		return Reply(
			status=response.status_code,
			headers={key.lower(): value for key, value in response.headers.items()},
			body=body,
			url=url,
			complete=complete,
		)

	def proxy_for(self, url: str) -> str:
		"""The address of the proxy through which `url` is reached; empty for none, as for loopback.

		:raises TemporaryFailure: `proxy_unreachable`, for what is no address of an HTTP proxy
		"""
		return proxies.address_for(url, self.proxy)

	def _check_target(self, host: str) -> None:
		"""Apply the address rule to a host that the proxy resolves, if this machine's resolver knows it, too.

		:raises ConfigurationError: `address_refused`
		"""
		try:
			found = socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
		except (OSError, ValueError):
			# Behind a proxy, Internet names often cannot be resolved.
			return
		try:
			for *_family, address in found:
				self.policy.check_address(host, str(address[0]))
		except AddressRefused:
			refused = http_errors.address_refused(host)
		else:
			return
		raise refused

	def _read(self, response: requests.Response) -> tuple[bytes | None, bool]:
		"""The body, None if it is too large; and whether it is complete."""
		# Read until nothing comes: only the empty read tells urllib3 that the connection was closed too early.
		body, complete = b"", True
		try:
			while chunk := response.raw.read(self.max_bytes + 1 - len(body), decode_content=False):
				body += chunk
		except (HTTPError, OSError):
			# The part that came may hold a new refresh token, while the old one is spent.
			if not body:
				raise
			complete = False
		if len(body) > self.max_bytes:
			response.close()
			return None, complete
		encoding = response.headers.get("Content-Encoding", "").lower()
		# Some servers compress unasked and unlabelled; no text begins like gzip.
		if encoding in ("gzip", "x-gzip", "deflate") or body.startswith(GZIP):
			body = _decompressed(body, self.max_bytes + 1)
		return (body if len(body) <= self.max_bytes else None), complete


def _as_sent(url: str) -> str:
	"""`url` as requests sends it.

	:raises ConfigurationError: `uri_invalid`
	"""
	try:
		return requests.Request("GET", url).prepare().url or url
	except (requests.RequestException, ValueError):
		pass
	raise catalogue.error("uri_invalid")


def _decompressed(body: bytes, limit: int) -> bytes:
	"""`body` decompressed, at most `limit` bytes; unchanged if its label is wrong."""
	for window in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):
		try:
			return zlib.decompressobj(window).decompress(body, limit)
		except zlib.error:
			continue
	return body
