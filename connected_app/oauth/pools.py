"""Pooled connections to servers. The `Guarded` classes apply a `Policy` to the address; others present a certificate.

Why not a library: libraries that filter addresses either resolve once and pin (and rewrite Host and SNI), or need a newer
requests than Frappe pins; urllib3's own connection class has the one seam that is needed.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import connection, connectionpool
from urllib3.exceptions import HTTPError
from urllib3.util.ssl_ import create_urllib3_context, resolve_cert_reqs

from .certificates import ClientCertificate
from .policy import Policy

# Client certificates that a process keeps connections with.
CERTIFICATES = 64
# The request that this thread sends: its `policy`, its `deadline`, and its `target` with the query.
_current = threading.local()


class Deadline:
	"""Cuts the connection when the time is up, however slowly bytes still trickle in."""

	def __init__(self, seconds: float) -> None:
		self.end = time.monotonic() + seconds
		self.timer: threading.Timer | None = None
		self.expired = False

	def arm(self, sock: socket.socket) -> None:
		self.timer = threading.Timer(max(self.end - time.monotonic(), 0), self._cut, [sock])
		self.timer.daemon = True
		self.timer.start()

	def _cut(self, sock: socket.socket) -> None:
		self.expired = True
		with suppress(OSError):
			socket.socket.shutdown(sock, socket.SHUT_RDWR)

	def disarm(self) -> None:
		if self.timer:
			self.timer.cancel()


def begin(policy: Policy | None, seconds: float) -> Deadline:
	"""Begin the next request of this thread.

	:param policy: the address rule; None for a request that the proxy resolves
	:param seconds: for the whole exchange
	"""
	_current.policy = policy
	_current.deadline = deadline = Deadline(seconds)
	return deadline


class HTTPConnection(connection.HTTPConnection):
	"""As urllib3's own, with the same name for its errors. But it never prints what is sent, which holds a token, even if
	http.client's debug level is set."""

	debuglevel = 0


class HTTPSConnection(connection.HTTPSConnection):
	"""The same."""

	debuglevel = 0


class HTTPConnectionPool(connectionpool.HTTPConnectionPool):
	ConnectionCls = HTTPConnection


class HTTPSConnectionPool(connectionpool.HTTPSConnectionPool):
	ConnectionCls = HTTPSConnection


class _Guarded:
	"""Mixed into urllib3's connections: the policy when an address is chosen, the deadline while waiting for the
	answer, and the query of the URL, which urllib3 itself never has and so cannot log."""

	_dns_host: str

	def _new_conn(self) -> socket.socket:
		policy: Policy | None = _current.policy
		name = self._dns_host
		found = socket.getaddrinfo(name, self.port, type=socket.SOCK_STREAM)  # type: ignore[attr-defined]
		for *_family, address in found:
			if policy:
				policy.check_address(name, str(address[0]))
		# Connect to the address that was checked; the certificate is still checked against the name. No further address
		# is tried once the time is up: somebody may be waiting for a lock that we hold.
		failed: Exception = TimeoutError()
		try:
			for *_family, address in found:
				self._dns_host = str(address[0])
				try:
					return super()._new_conn()  # type: ignore[misc,no-any-return]
				except (HTTPError, OSError) as error:
					failed = error
				if time.monotonic() >= _current.deadline.end:
					break
			raise failed
		finally:
			self._dns_host = name

	def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
		super().putrequest(method, _current.target, *args, **kwargs)  # type: ignore[misc]

	def getresponse(self, *args: Any, **kwargs: Any) -> Any:
		_current.deadline.arm(self.sock)  # type: ignore[attr-defined]
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
	"""Presents a client certificate. Each connection has its own context: urllib3 writes into a context whether certificates
	are checked, which would change other connections."""

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
		# No partial objects, which show their arguments to everybody who holds a connection.
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
			# SOCKS has its own connection classes.
			if self._certificate:
				raise requests.exceptions.InvalidSchema("No client certificate through a SOCKS proxy")
			return manager
		manager.pool_classes_by_scheme = self._pools
		return manager


class GuardedAdapter(_Adapter):
	_classes = {"http": _GuardedHTTPPool, "https": _GuardedHTTPSPool}  # noqa: RUF012
	_presenting = _GuardedPresentingConnection

	def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
		"""The URL that urllib3 logs at DEBUG and names in errors: without the query, where some providers want secrets."""
		_current.target = super().request_url(request, proxies)
		return str(_current.target).partition("?")[0]


Adapters = Callable[[ClientCertificate | None], HTTPAdapter]


def adapters() -> Adapters:
	"""Connections of their own to APIs: gives the adapter for the certificate that is presented, or for None."""
	return lru_cache(maxsize=CERTIFICATES)(partial(_Adapter, pool_connections=20, pool_maxsize=20))


# Connections that all sessions of this process share.
THIS_PROCESS = adapters()


def pooled(session: requests.Session, connections: Adapters = THIS_PROCESS) -> None:
	"""Let `session` share connections; cookies, headers and tokens stay its own."""
	for scheme in ("https://", "http://"):
		session.mount(scheme, connections(None))


def present(
	session: requests.Session, url: str, certificate: ClientCertificate, connections: Adapters = THIS_PROCESS
) -> None:
	"""Let `session` present `certificate` to the server of `url`, but not to a server that it redirects to."""
	if not url.isascii():
		url = requests.Request("GET", url).prepare().url or url
	parts = urlsplit(url.strip())
	session.mount(f"{parts.scheme}://{parts.netloc}/", connections(certificate))
