"""Outbound HTTP policy for every address that an admin can type.

https only (http for loopback where the site allows it), certificates always checked, no redirects unless
asked for, no private, loopback, link-local or otherwise special address unless listed, limits of size and time.
The address rule is applied to the address that is connected to, so DNS rebinding does not help.

Why not a library: those that filter addresses either resolve once and pin (and rewrite Host and SNI), or demand a
newer requests than Frappe pins; urllib3's own connection class has the one seam that is needed.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import threading
import time
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import default_headers
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from .errors import ConfigurationError, Sentence, TemporaryFailure
from .redact import strip_chain

_current = threading.local()

# Not "private" to every supported Python's ipaddress, yet never a public provider.
_SPECIAL = tuple(
	ipaddress.ip_network(net)
	for net in (
		"100.64.0.0/10",
		"192.0.0.0/24",
		"192.88.99.0/24",
		"2002::/16",
	)
)

# All that the Internet uses of IPv6; the rest is reserved, local, or an IPv4 address in disguise.
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")


class AddressRefused(OSError):
	"""The host resolves to an address that the policy refuses."""


@dataclass(frozen=True, kw_only=True)
class Reply:
	"""An HTTP answer, read whole."""

	status: int
	headers: Mapping[str, str]
	body: bytes = field(repr=False)
	url: str = ""

	@property
	def content_type(self) -> str:
		return self.headers.get("content-type", "").partition(";")[0].strip().lower()

	def json_object(self) -> dict[str, Any] | None:
		"""The body as a JSON object, or None."""
		try:
			value = json.loads(self.body)
		except (ValueError, RecursionError):
			return None
		return value if isinstance(value, dict) else None


@dataclass(frozen=True, kw_only=True)
class Policy:
	"""Where requests may go.

	:param allow_http_loopback: http to 127.0.0.0/8 and ::1, and these addresses at all (development)
	:param allowed_hosts: host names and addresses that are exempt from the address rule
	"""

	allow_http_loopback: bool = False
	allowed_hosts: frozenset[str] = frozenset()

	def check_url(self, url: str) -> None:
		"""
		:raises ConfigurationError: `uri_invalid`, `uri_insecure`
		"""
		scheme, host = check_web_address(url)
		if scheme == "http" and not (self.allow_http_loopback and is_loopback(host)):
			raise ConfigurationError(
				"uri_insecure",
				Sentence("{0} must be reached over https.", host),
				"Enter the endpoint's https address.",
			)

	def check_address(self, host: str, address: str) -> None:
		"""
		:raises AddressRefused: when `address`, which `host` resolved to, must not be connected to
		"""
		if host.lower() in self.allowed_hosts or address in self.allowed_hosts:
			return
		ip = ipaddress.ip_address(address.partition("%")[0])
		if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
			ip = ip.ipv4_mapped
		if ip.is_loopback and self.allow_http_loopback:
			return
		if (
			not ip.is_global
			or ip.is_multicast
			or (ip.version == 6 and ip not in _GLOBAL_UNICAST)
			or any(ip in net for net in _SPECIAL if net.version == ip.version)
		):
			raise AddressRefused(host)


def check_web_address(url: str) -> tuple[str, str]:
	"""The scheme and host of `url`.

	:raises ConfigurationError: `uri_invalid`
	"""
	try:
		parts = urlsplit(url)
		scheme, host, _port = parts.scheme, parts.hostname, parts.port
		user = parts.username
	except ValueError:
		scheme, host, user = "", None, None
	if not host or scheme not in ("http", "https") or user is not None:
		raise ConfigurationError("uri_invalid", "An endpoint of the provider is not a valid web address.")
	return scheme, host


def is_loopback(host: str) -> bool:
	"""Whether `host` is this machine by its very name or number."""
	if host == "localhost":
		return True
	try:
		return ipaddress.ip_address(host).is_loopback
	except ValueError:
		return False


class Deadline:
	"""Cuts the connection when the time is up, however slowly bytes still trickle in."""

	def __init__(self, seconds: float) -> None:
		self.deadline = time.monotonic() + seconds
		self.timer: threading.Timer | None = None
		self.expired = False

	def arm(self, sock: socket.socket) -> None:
		self.timer = threading.Timer(max(self.deadline - time.monotonic(), 0), self._cut, [sock])
		self.timer.daemon = True
		self.timer.start()

	def _cut(self, sock: socket.socket) -> None:
		self.expired = True
		try:
			socket.socket.shutdown(sock, socket.SHUT_RDWR)
		except OSError:
			pass

	def disarm(self) -> None:
		if self.timer:
			self.timer.cancel()


class _Guarded:
	"""Mixed into urllib3's connections: the policy where the address is chosen, the watch where one waits."""

	_dns_host: str

	def _new_conn(self) -> socket.socket:
		policy: Policy = _current.policy
		name = self._dns_host
		found = socket.getaddrinfo(name, self.port, type=socket.SOCK_STREAM)  # type: ignore[attr-defined]
		for *_family, address in found:
			policy.check_address(name, str(address[0]))
		# Connect to what was checked; the certificate is still checked against the name. No further address is tried
		# when the time is up: somebody may be waiting for a lock that we hold.
		failed: Exception = TimeoutError()
		try:
			for *_family, address in found:
				self._dns_host = str(address[0])
				try:
					return super()._new_conn()  # type: ignore[misc,no-any-return]
				except (HTTPError, OSError) as error:
					failed = error
				if time.monotonic() >= _current.watch.deadline:
					break
			raise failed
		finally:
			self._dns_host = name

	def getresponse(self, *args: Any, **kwargs: Any) -> Any:
		_current.watch.arm(self.sock)  # type: ignore[attr-defined]
		return super().getresponse(*args, **kwargs)  # type: ignore[misc]


class _GuardedHTTPConnection(_Guarded, HTTPConnection):
	pass


class _GuardedHTTPSConnection(_Guarded, HTTPSConnection):
	pass


class _GuardedHTTPPool(HTTPConnectionPool):
	ConnectionCls = _GuardedHTTPConnection


class _GuardedHTTPSPool(HTTPSConnectionPool):
	ConnectionCls = _GuardedHTTPSConnection


class _GuardedAdapter(HTTPAdapter):
	def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
		super().init_poolmanager(*args, **kwargs)
		self.poolmanager.pool_classes_by_scheme = {"http": _GuardedHTTPPool, "https": _GuardedHTTPSPool}


class Http:
	"""HTTP under the policy. One per process is enough; connections are pooled, nothing else is shared.

	:param total_timeout: seconds for the whole exchange, trickling included; what was begun in time may take
		`connect_timeout` more to connect, and as long again for TLS to agree; the resolver takes its own time
	:param max_bytes: the longest body that is read
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
	) -> None:
		self.policy = Policy(
			allow_http_loopback=allow_http_loopback,
			allowed_hosts=frozenset(host.lower() for host in allowed_hosts),
		)
		self.timeouts = (connect_timeout, read_timeout)
		self.total_timeout = total_timeout
		self.max_bytes = max_bytes
		# As requests' own sessions: a bundle of the server's admin, who has an authority of their own. Never off.
		self.verify: str | bool = os.environ.get("REQUESTS_CA_BUNDLE") or True
		self._adapter = _GuardedAdapter(pool_maxsize=20)

	def get(self, url: str, headers: Mapping[str, str] | None = None, redirects: int = 0) -> Reply:
		"""GET `url`, following at most `redirects` redirects, each under the policy.

		:raises ConfigurationError: `uri_invalid`, `uri_insecure`, `address_refused`, `certificate_invalid`
		:raises TemporaryFailure: `network`, `timeout`, `response_too_large`
		"""
		reply = self._send("GET", url, None, headers)
		for _ in range(redirects):
			location = reply.headers.get("location")
			if reply.status not in (301, 302, 303, 307, 308) or not location:
				break
			try:
				url = urljoin(url, location)
			except ValueError:
				url = ""
			reply = self._send("GET", url, None, headers)
		return reply

	def post(self, url: str, data: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Reply:
		"""POST `data` as a form to `url`; redirects are never followed. Raises as `get` does."""
		return self._send("POST", url, data, headers)

	def _send(
		self, method: str, url: str, data: Mapping[str, str] | None, headers: Mapping[str, str] | None
	) -> Reply:
		self.policy.check_url(url)
		host = urlsplit(url).hostname
		_current.policy = self.policy
		_current.watch = watch = Deadline(self.total_timeout)
		try:
			# Without a session: no cookies, no netrc, no environment proxies, and nobody who reads the body of a
			# redirect, however long it is.
			fixed = {"Accept": "application/json", "Accept-Encoding": "identity"}
			prepared = requests.Request(
				method, url, headers={**default_headers(), **fixed, **(headers or {})}, data=data
			).prepare()
			response = self._adapter.send(prepared, stream=True, timeout=self.timeouts, verify=self.verify)
			try:
				body = self._read(response)
			finally:
				watch.disarm()
				response.close() if watch.expired else response.raw.release_conn()
			if watch.expired:
				# A body without a length would look complete where it was cut.
				raise requests.Timeout
			if body is not None:
				return Reply(
					status=response.status_code,
					headers={key.lower(): value for key, value in response.headers.items()},
					body=body,
					url=url,
				)
			error: Exception = TemporaryFailure(
				"response_too_large", Sentence("The answer of {0} is too large.", host)
			)
			cause: BaseException | None = None
		except (requests.RequestException, HTTPError, OSError, ValueError, zlib.error) as exc:
			error, cause = _translated(exc, host, watch.expired), strip_chain(exc)
		finally:
			watch.disarm()
		raise error from cause

	def _read(self, response: requests.Response) -> bytes | None:
		# Read until nothing comes: only the empty read tells urllib3 that the connection was closed too early.
		body = b""
		while chunk := response.raw.read(self.max_bytes + 1 - len(body), decode_content=False):
			body += chunk
		if len(body) > self.max_bytes:
			response.close()
			return None
		if response.headers.get("Content-Encoding", "").lower() in ("gzip", "deflate"):
			body = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, self.max_bytes + 1)
		return body if len(body) <= self.max_bytes else None


def _translated(exc: BaseException, host: str | None, cut: bool) -> Exception:
	chain: BaseException | None = exc
	seen = 0
	while chain is not None and seen < 10:
		if isinstance(chain, AddressRefused):
			return ConfigurationError(
				"address_refused",
				Sentence("{0} is an internal address, which this site may not call.", host),
				"Enter the provider's public address, or list the host in the site's configuration.",
			)
		# urllib3's `reason` is an exception, that of an SSLError a text.
		reason = getattr(chain, "reason", None)
		chain = (
			chain.__cause__ or chain.__context__ or (reason if isinstance(reason, BaseException) else None)
		)
		seen += 1
	if isinstance(exc, requests.exceptions.SSLError):
		return ConfigurationError(
			"certificate_invalid", Sentence("The certificate of {0} could not be verified.", host)
		)
	if cut or isinstance(exc, requests.Timeout):
		return TemporaryFailure("timeout", Sentence("{0} did not answer in time.", host))
	return TemporaryFailure("network", Sentence("{0} could not be reached.", host))


_api_adapter = HTTPAdapter(pool_connections=20, pool_maxsize=20)


def pooled(session: requests.Session) -> None:
	"""Let `session` share this process's connections; cookies, headers and tokens stay its own."""
	session.mount("https://", _api_adapter)
	session.mount("http://", _api_adapter)
