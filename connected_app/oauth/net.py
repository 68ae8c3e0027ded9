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
import re
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, getproxies_environment

import requests
from requests.adapters import HTTPAdapter
from requests.utils import default_headers, get_environ_proxies, select_proxy, should_bypass_proxies
from urllib3 import connection, connectionpool
from urllib3.exceptions import HTTPError
from urllib3.util.ssl_ import create_urllib3_context, resolve_cert_reqs

from . import catalogue
from .certificates import ClientCertificate
from .errors import OAuthError
from .paths import split
from .redact import Secret, printable, strip_chain
from .shape import Fields

_current = threading.local()
# The first bytes of gzip with its one method (RFC 1952 2.3).
GZIP = b"\x1f\x8b\x08"
# Of `Http.proxy`: that of the environment.
ENVIRONMENT = "environment"
# What every library reads alike: not with a backslash, with what is percent-encoded, or with a zone (RFC 6874).
_HOST = re.compile(r"[A-Za-z0-9._~:\-\u00a1-\ud7ff\ue000-\U0010ffff]+")
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")

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
# Networks with IPv6 only reach IPv4 through it; the last 32 bits are the IPv4 address (RFC 6052 2.1).
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

# What a server's administrator sets for requests, and for curl.
CA_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


# Levels of JSON: what reads it further calls itself for each.
DEEPEST = 100
# Client certificates that a process keeps connections with.
CERTIFICATES = 64
# What OpenSSL calls the alerts about them (RFC 8446 6.2).
_OF_CERTIFICATES = re.compile(r"ALERT_(\w*CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED|DECRYPT_ERROR)")
_WESTERN = ("iso-8859-1", "latin1", "latin-1", "windows-1252", "cp1252")


class AddressRefused(OSError):
	"""The host resolves to an address that the policy refuses."""


@dataclass(frozen=True, kw_only=True)
class Reply:
	"""An HTTP answer.

	:param complete: whether the whole body arrived; only what says itself where it ends may be read from a part
	"""

	status: int
	headers: Mapping[str, str]
	body: bytes = field(repr=False)
	url: str = ""
	complete: bool = True

	@property
	def content_type(self) -> str:
		return self.headers.get("content-type", "").partition(";")[0].strip().lower()

	@property
	def text(self) -> str:
		"""The body as text. A byte that is not of its encoding becomes U+FFFD, which no token may contain."""
		try:
			# JSON in UTF-16 and a byte order mark are known by their first bytes.
			return self.body.decode(json.detect_encoding(self.body))
		except UnicodeDecodeError:
			declared = self.headers.get("content-type", "").lower().partition("charset=")[2].strip(' ";')
			return self.body.decode(declared if declared in _WESTERN else "utf-8", "replace")

	def check_is_available(self) -> None:
		"""
		:raises TemporaryFailure: `rate_limited`, `server_error`
		"""
		if self.status == 429 or self.status >= 500:
			raise catalogue.error("rate_limited" if self.status == 429 else "server_error", self.status)

	def json_object(self) -> dict[str, Any] | None:
		"""The body as a JSON object, or None."""
		value = self.json_value()
		return value if isinstance(value, dict) else None

	def json_value(self) -> Any:
		"""The body as JSON of any kind; None where it is none, or is nested deeper than `DEEPEST`."""
		try:
			# A line end within a text is no JSON, and harms nothing.
			value = json.loads(self.text, strict=False)
		except (ValueError, RecursionError):
			return None
		level = [value]
		for _ in range(DEEPEST):
			if not (level := [inner for each in level for inner in _inner(each)]):
				return value
		return None


def _inner(value: Any) -> Collection[Any]:
	return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


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
			raise catalogue.error("uri_insecure", host)

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
		if ip in _NAT64:
			ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
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
	parts = split(url)
	if parts.scheme not in ("http", "https") or not is_host(parts.hostname) or parts.username is not None:
		raise catalogue.error("uri_invalid")
	return parts.scheme, str(parts.hostname)


def is_host(host: str | None) -> bool:
	"""Whether `host` is a name or a number that every library reads alike."""
	return bool(host and _HOST.fullmatch(host))


def host_of(url: str) -> str:
	"""The host of `url`; empty for what is no web address."""
	try:
		return check_web_address(url)[1]
	except OAuthError:
		return ""


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
		with suppress(OSError):
			socket.socket.shutdown(sock, socket.SHUT_RDWR)

	def disarm(self) -> None:
		if self.timer:
			self.timer.cancel()


class HTTPConnection(connection.HTTPConnection):
	"""As urllib3's own, by whose name errors call it; but http.client, where somebody has asked it to print what is sent, does
	not: it has a token in it."""

	debuglevel = 0


class HTTPSConnection(connection.HTTPSConnection):
	"""The same."""

	debuglevel = 0


class HTTPConnectionPool(connectionpool.HTTPConnectionPool):
	ConnectionCls = HTTPConnection


class HTTPSConnectionPool(connectionpool.HTTPSConnectionPool):
	ConnectionCls = HTTPSConnection


class _Guarded:
	"""Mixed into urllib3's connections: the policy where the address is chosen, the watch where one waits, and the query of
	the address, which nothing that logs has seen."""

	_dns_host: str

	def _new_conn(self) -> socket.socket:
		policy: Policy | None = _current.policy
		name = self._dns_host
		found = socket.getaddrinfo(name, self.port, type=socket.SOCK_STREAM)  # type: ignore[attr-defined]
		for *_family, address in found:
			if policy:
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

	def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
		super().putrequest(method, _current.target, *args, **kwargs)  # type: ignore[misc]

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


class _PresentingConnection(HTTPSConnection):
	"""Presents a client certificate. Each connection in a context of its own: urllib3 writes into one that it is given
	whether certificates are checked, which would then hold for other connections, too."""

	def __init__(self, *args: Any, certificate: ClientCertificate, **kwargs: Any) -> None:
		super().__init__(*args, **kwargs)
		self._certificate = certificate

	def connect(self) -> None:
		self.ssl_context = create_urllib3_context(cert_reqs=resolve_cert_reqs(self.cert_reqs))
		self._certificate.load_into(self.ssl_context)
		super().connect()


class _GuardedPresentingConnection(_PresentingConnection, _GuardedHTTPSConnection):
	pass


class _Adapter(HTTPAdapter):
	"""
	:param certificate: presented on each of this adapter's connections, which no other adapter uses
	"""

	_classes: Mapping[str, type[connectionpool.HTTPConnectionPool]] = {
		"http": HTTPConnectionPool,
		"https": HTTPSConnectionPool,
	}
	_presenting: type[_PresentingConnection] = _PresentingConnection

	def __init__(self, certificate: ClientCertificate | None = None, **kwargs: Any) -> None:
		self._certificate = certificate
		self._pools: dict[str, Any] = dict(self._classes)
		if certificate:
			self._pools["https"] = self._presenting_pool(certificate)
		super().__init__(**kwargs)

	def _presenting_pool(self, certificate: ClientCertificate) -> Any:
		# Not as partial objects, which give their arguments to whoever holds a connection.
		def connection(*args: Any, **kwargs: Any) -> Any:
			return self._presenting(*args, certificate=certificate, **kwargs)

		def pool(*args: Any, **kwargs: Any) -> Any:
			made: Any = self._classes["https"](*args, **kwargs)
			made.ConnectionCls = connection
			return made

		return pool

	def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
		super().init_poolmanager(*args, **kwargs)
		self.poolmanager.pool_classes_by_scheme = self._pools

	def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
		manager = super().proxy_manager_for(proxy, **kwargs)
		if proxy.lower().startswith("socks"):
			# Whose connections are of classes of their own.
			if self._certificate:
				raise requests.exceptions.InvalidSchema("No client certificate through a SOCKS proxy")
			return manager
		manager.pool_classes_by_scheme = self._pools
		return manager


class _GuardedAdapter(_Adapter):
	_classes = {"http": _GuardedHTTPPool, "https": _GuardedHTTPSPool}  # noqa: RUF012
	_presenting = _GuardedPresentingConnection

	def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
		"""What urllib3 logs at DEBUG, and what its errors name: without the query, in which some providers want secrets."""
		_current.target = super().request_url(request, proxies)
		return str(_current.target).partition("?")[0]


class Http:
	"""HTTP under the policy. One per process is enough; connections are pooled, nothing else is shared.

	:param total_timeout: seconds for the whole exchange, trickling included; what was begun in time may take
		`connect_timeout` more to connect, and as long again for TLS to agree; the resolver takes its own time
	:param max_bytes: the longest body that is read
	:param proxy: the address of an HTTP proxy through which https addresses are reached by CONNECT (RFC 9110 9.3.6);
		"environment" for that of `HTTPS_PROXY`; empty for none. `NO_PROXY` of the environment counts with both. The
		proxy's own address is the server's administrator's choice, and not under the address rule.
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
		# As requests' own sessions: a bundle of the server's admin, who has an authority of their own. Never off.
		self.verify: str | bool = next((path for name in CA_BUNDLES if (path := os.environ.get(name))), True)
		self.proxy = Secret(proxy)
		self.user_agent = user_agent
		self.certificate: ClientCertificate | None = None
		self._until = float("inf")
		self._adapter_for = lru_cache(maxsize=CERTIFICATES)(partial(_GuardedAdapter, pool_maxsize=20))

	def presenting(self, certificate: ClientCertificate) -> Http:
		"""The same policy, with a client certificate on each https connection. Only requests with the same certificate share
		connections."""
		other = copy(self)
		other.certificate = certificate
		return other

	def within(self, seconds: float) -> Http:
		"""The same policy, for all requests together no longer than `seconds`: a person waits, and a server that is asked
		for one document after the other may answer each just in time."""
		other = copy(self)
		other._until = time.monotonic() + seconds
		return other

	def check(self, url: str) -> None:
		"""Whether a request to `url` would be refused, as far as it shows without one: a name is not resolved.

		:raises ConfigurationError: `uri_invalid`, `uri_insecure`, `address_refused`
		"""
		self.policy.check_url(url)
		host = (urlsplit(url).hostname or "").rstrip(".")
		try:
			self.policy.check_address(host, host)
		except AddressRefused:
			refused = _address_refused(host)
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
		return self._send(method, url, data, headers, params=params, json=json)

	def _send(
		self,
		method: str,
		url: str,
		data: Fields | None,
		headers: Mapping[str, str] | None,
		*,
		params: Fields | None = None,
		json: Any = None,
	) -> Reply:
		self.policy.check_url(url)
		# The longest that there is (RFC 1035 2.3.4).
		host = printable(urlsplit(url).hostname or "", 253)
		left = self._until - time.monotonic()
		if left <= 0:
			raise catalogue.error("timeout", host)
		proxy = self.proxy_for(url)
		if proxy:
			# As the library will name it to the proxy; a dot at the end hides a number from the resolver.
			self._check_target((urlsplit(_as_sent(url)).hostname or "").rstrip("."))
		# The connection that a proxied request opens is the proxy's.
		_current.policy = None if proxy else self.policy
		_current.watch = watch = Deadline(min(self.total_timeout, left))
		try:
			# Without a session: no cookies, no netrc, no environment proxies, and nobody who reads the body of a
			# redirect, however long it is.
			fixed = {
				"Accept": "application/json",
				"Accept-Encoding": "identity",
				"User-Agent": self.user_agent,
			}
			prepared = requests.Request(
				method,
				url,
				headers={**default_headers(), **fixed, **(headers or {})},
				params=params,
				data=data,
				json=json,
			).prepare()
			response = self._adapter_for(self.certificate).send(
				prepared,
				stream=True,
				timeout=self.timeouts,
				verify=self.verify,
				proxies={"https": proxy} if proxy else None,
			)
			try:
				body, complete = self._read(response)
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
					complete=complete,
				)
			error: Exception = catalogue.error("response_too_large", host)
			cause: BaseException | None = None
		except (requests.RequestException, HTTPError, OSError, ValueError, zlib.error) as exc:
			error = self._translated(exc, host, proxy, watch.expired)
			if isinstance(exc, requests.RequestException):
				# Its headers and its body are secrets.
				exc.request = exc.response = None
			# What the libraries say has the address in it, and this one may have secrets.
			cause = None if params is not None or isinstance(url, Secret) else strip_chain(exc)
		finally:
			watch.disarm()
		raise error from cause

	def proxy_for(self, url: str) -> str:
		"""The address of the proxy through which `url` is reached; empty for none, as for loopback.

		:raises TemporaryFailure: `proxy_unreachable`, for what is no address of an HTTP proxy
		"""
		parts = split(url)
		if not self.proxy or parts.scheme != "https" or is_loopback(parts.hostname or ""):
			return ""
		if self.proxy == ENVIRONMENT:
			proxy = Secret(select_proxy(url, get_environ_proxies(url)) or "")
		else:
			proxy = Secret("") if should_bypass_proxies(url, no_proxy=None) else self.proxy
		return _checked_proxy(proxy) if proxy else ""

	def _check_target(self, host: str) -> None:
		"""The address rule, for a host that the proxy resolves: by what this machine's resolver says, if it knows it.

		:raises ConfigurationError: `address_refused`
		"""
		try:
			found = socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
		except (OSError, ValueError):
			# Behind a proxy, names of the Internet are often not known.
			return
		try:
			for *_family, address in found:
				self.policy.check_address(host, str(address[0]))
		except AddressRefused:
			refused = _address_refused(host)
		else:
			return
		raise refused

	def _read(self, response: requests.Response) -> tuple[bytes | None, bool]:
		"""The body, None when it is too large; and whether it is complete."""
		# Read until nothing comes: only the empty read tells urllib3 that the connection was closed too early.
		body, complete = b"", True
		try:
			while chunk := response.raw.read(self.max_bytes + 1 - len(body), decode_content=False):
				body += chunk
		except (HTTPError, OSError):
			# What came may hold a refresh token, and the one before it may be spent.
			if not body:
				raise
			complete = False
		if len(body) > self.max_bytes:
			response.close()
			return None, complete
		encoding = response.headers.get("Content-Encoding", "").lower()
		# Some compress unasked, and do not say so; no text begins like that.
		if encoding in ("gzip", "x-gzip", "deflate") or body.startswith(GZIP):
			body = _decompressed(body, self.max_bytes + 1)
		return (body if len(body) <= self.max_bytes else None), complete

	def _translated(self, exc: BaseException, host: str, proxy: str, cut: bool) -> OAuthError:
		"""What went wrong, in our words."""
		chain = list(_chain(exc))
		if any(isinstance(link, AddressRefused) for link in chain):
			return _address_refused(host)
		if isinstance(self.verify, str) and not is_usable_bundle(self.verify):
			return catalogue.error("ca_bundle_unusable", self.verify)
		if cut or isinstance(exc, requests.Timeout):
			return catalogue.error("timeout", host)
		if isinstance(exc, requests.exceptions.ProxyError | requests.exceptions.InvalidProxyURL):
			return _proxy_error(chain, host, _proxy_host(proxy))
		if isinstance(exc, requests.exceptions.InvalidURL | UnicodeError):
			return catalogue.error("uri_invalid")
		tls = next((link for link in chain if isinstance(link, ssl.SSLError)), None)
		if tls or isinstance(exc, requests.exceptions.SSLError):
			return _tls_error(tls, chain, host, self.certificate is not None)
		return catalogue.error("network", host)


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
	"""`body` decompressed, at most `limit` bytes of it; as it is where its label is wrong."""
	for window in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):
		try:
			return zlib.decompressobj(window).decompress(body, limit)
		except zlib.error:
			continue
	return body


def _chain(error: BaseException) -> Iterator[BaseException]:
	"""`error` and what it came from."""
	link: BaseException | None = error
	for _ in range(10):
		if link is None:
			return
		yield link
		# urllib3's `reason` is an exception, that of an SSLError a text; requests hands it on as the argument.
		inner = [getattr(link, "reason", None), *link.args]
		reason = next((each for each in inner if isinstance(each, BaseException)), None)
		link = link.__cause__ or link.__context__ or reason


def _address_refused(host: str) -> OAuthError:
	return catalogue.error("address_refused", host)


def is_usable_bundle(path: str) -> bool:
	"""Whether `path` is a folder, or a file with a certificate in it."""
	try:
		return os.path.isdir(path) or bool(ssl.create_default_context(cafile=path))
	except OSError:
		return False


def _checked_proxy(proxy: Secret) -> Secret:
	"""`proxy` with a scheme.

	:raises TemporaryFailure: `proxy_unreachable`
	"""
	if "://" not in proxy:
		proxy = Secret("http://" + proxy.removeprefix("//"))
	host = _proxy_host(proxy)
	if not host or not proxy.isprintable() or "\\" in proxy or proxy.startswith(" "):
		raise catalogue.error("proxy_unreachable", host or "connected_app_proxy")
	return proxy


def _proxy_host(proxy: str) -> str:
	"""The host of an HTTP proxy; empty where there is none. In a frame of its own, which no traceback of an error has: the
	rest is a password."""
	try:
		parts = urlsplit(proxy)
		host = parts.hostname or ""
		is_address = parts.scheme in ("http", "https") and parts.port != 0
	except ValueError:
		return ""
	return (
		host if is_address and _HOST.fullmatch(host) and not host.startswith(".") and ".." not in host else ""
	)


def _proxy_error(chain: list[BaseException], host: str, proxy: str) -> OAuthError:
	# The status is in the text only: `Tunnel connection failed: 403 Forbidden`.
	status = next((found[1] for link in chain if (found := _TUNNEL.search(str(link)))), "")
	if status and status[0] == "4":
		return catalogue.error("proxy_refused", host, status)
	if status:
		return catalogue.error("network", host)
	return catalogue.error("proxy_unreachable", proxy)


def _tls_error(
	error: ssl.SSLError | None, chain: list[BaseException], host: str, presented: bool
) -> OAuthError:
	"""Why no secure connection was established: certificates are only one of the causes.

	:param presented: whether this client has a certificate that the server may not like
	"""
	if isinstance(error, ssl.SSLCertVerificationError) or error is None:
		why = printable(getattr(error, "verify_message", "") or "")
		return catalogue.error("certificate_invalid/why" if why else "certificate_invalid", host, why)
	reason = error.reason or ""
	if presented and _OF_CERTIFICATES.search(reason):
		return catalogue.error("client_certificate_refused", host, printable(reason))
	if "CERTIFICATE_REQUIRED" in reason or "ALERT_BAD_CERTIFICATE" in reason:
		return catalogue.error("client_certificate_required", host)
	if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError) or "EOF" in reason:
		return catalogue.error("tls_interrupted", host)
	return catalogue.error("tls_unsupported", host, printable(reason))


Adapters = Callable[[ClientCertificate | None], HTTPAdapter]


def adapters() -> Adapters:
	"""Connections to APIs that nobody shares who does not share these: by the certificate that is presented, or None."""
	return lru_cache(maxsize=CERTIFICATES)(partial(_Adapter, pool_connections=20, pool_maxsize=20))


THIS_PROCESS = adapters()


def pooled(session: requests.Session, connections: Adapters = THIS_PROCESS) -> None:
	"""Let `session` share connections; cookies, headers and tokens stay its own."""
	for scheme in ("https://", "http://"):
		session.mount(scheme, connections(None))


def names_proxies() -> bool:
	"""Whether the environment may name proxies, or hosts that need none. On macOS and Windows, the system may."""
	return getproxies is not getproxies_environment or any(
		name.lower().endswith("_proxy") for name in os.environ
	)


def present(
	session: requests.Session, url: str, certificate: ClientCertificate, connections: Adapters = THIS_PROCESS
) -> None:
	"""Let `session` present `certificate` to the server of `url`, and to no other that this one redirects to."""
	if not url.isascii():
		url = requests.Request("GET", url).prepare().url or url
	parts = urlsplit(url.strip())
	session.mount(f"{parts.scheme}://{parts.netloc}/", connections(certificate))
