"""Client certificates (RFC 8705), against real TLS servers that ask for one, and say whose they were shown."""

from __future__ import annotations

import json
import logging
import os
import socket
import ssl
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

import pytest
import requests
from cryptography import x509
from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.connectionpool import ConnectionPool

from connected_app.oauth import (
	ConfigurationError,
	Http,
	Refresher,
	Secret,
	Session,
	Settings,
	TokenSource,
	endpoint_checks,
	keys,
	mtls,
	token_endpoint,
	userinfo,
)
from connected_app.oauth.certificates import ClientCertificate
from connected_app.oauth.findings import Subject
from connected_app.oauth.provider import STANDARD

from .helpers import a_grant, changed, settings_of
from .stores import MemoryStore
from .test_net import answers, certificate
from .test_proxy import HOST, Proxy, client

TODAY = datetime.now(timezone.utc)
KEYS = {name: keys.generate("ES256", name, TODAY) for name in ("ours", "another")}
CERTIFICATES = {name: ClientCertificate(pem=key.pem, chain=key.certificate) for name, key in KEYS.items()}
FORM = {"grant_type": "refresh_token", "refresh_token": "r"}


class Server:
	"""Answers with the common name of the client's certificate, and keeps connections open.

	:param demands: whether it ends the handshake of a client without one of `authorities`; otherwise any will do
	"""

	def __init__(self, pem: Path, authorities: str = "", *, demands: bool = False) -> None:
		self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
		self.context.load_cert_chain(pem)
		# Python's `ssl` asks for a certificate only to verify it.
		self.context.verify_mode = ssl.CERT_REQUIRED if demands else ssl.CERT_OPTIONAL
		self.context.load_verify_locations(cadata=authorities or trusted())
		self.listener = socket.create_server(("127.0.0.1", 0))
		self.port = self.listener.getsockname()[1]
		self.url = f"https://localhost:{self.port}"
		self.seen: list[tuple[str, int]] = []
		self.requests: list[bytes] = []
		self.location = self.ends = ""
		self._open: list[socket.socket] = []
		threading.Thread(target=self._accept, daemon=True).start()

	def _accept(self) -> None:
		number = 0
		while True:
			try:
				plain, _ = self.listener.accept()
			except OSError:
				return
			number += 1
			self._open.append(plain)
			threading.Thread(target=self._serve, args=(plain, number), daemon=True).start()

	def _serve(self, plain: socket.socket, number: int) -> None:
		plain.settimeout(60)
		# With what the client has sent unread, closing would reset the connection before an alert is read.
		until_read = plain.dup()
		try:
			with self.context.wrap_socket(plain, server_side=True) as sock:
				while request := sock.recv(65536):
					if b"\r\n\r\n" not in request or (
						request.endswith(b"\r\n\r\n") and b"POST" in request[:4]
					):
						request += sock.recv(65536)
					subject = dict(pair[0] for pair in (sock.getpeercert() or {}).get("subject", ()))
					self.seen.append((subject.get("commonName", ""), number))
					self.requests.append(request)
					body = json.dumps({"access_token": "a", "sub": subject.get("commonName", "")}).encode()
					head = (
						f"HTTP/1.1 302 X\r\nLocation: {self.location}" if self.location else "HTTP/1.1 200 X"
					)
					head += f"{self.ends}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
					sock.sendall(head.encode() + body)
		except OSError:
			with suppress(OSError):
				until_read.settimeout(60)
				while until_read.recv(65536):
					pass
		finally:
			until_read.close()

	def close(self) -> None:
		for each in (self.listener, *self._open):
			with suppress(OSError):
				each.shutdown(socket.SHUT_RDWR)
		self.listener.close()


def trusted() -> str:
	return "".join(key.certificate for key in KEYS.values())


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
	"""The certificate of a server, of an authority that is trusted."""
	authority, issuer = certificate(tmp_path, "authority.example")
	monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
	return certificate(tmp_path, "localhost", HOST, issuer=issuer)[0]


@pytest.fixture
def server(tls: Path) -> Iterator[Server]:
	running = Server(tls)
	yield running
	running.close()


@pytest.fixture
def http(tls: Path) -> Http:
	return Http(allow_http_loopback=True, connect_timeout=30, read_timeout=30, total_timeout=60)


def config(server: Server, **values: Any) -> Settings:
	standard: dict[str, Any] = {
		"client_id": "c",
		"authentication": "self_signed_tls_client_auth",
		"signing_key": KEYS["ours"],
		"token_uri": server.url + "/token",
		"userinfo_uri": server.url + "/me",
		"revocation_uri": server.url + "/revoke",
	}
	return settings_of(**{**standard, **values})


def session_of(settings: Settings, http: Http, **grant: Any) -> Session:
	changes = {"expires_at": TODAY + timedelta(hours=1), "issued_at": TODAY, **grant}
	return Session(Refresher(*settings, MemoryStore(a_grant(**changes)), http))


@pytest.mark.parametrize("authentication", ["tls_client_auth", "self_signed_tls_client_auth"])
def test_the_certificate_proves_the_client(authentication: str, server: Server, http: Http) -> None:
	"""RFC 8705 2: at the token endpoint, with the client's ID and without a secret or an assertion."""
	settings = config(server, authentication=authentication, client_secret=Secret("s3cret-of-the-client"))
	token_endpoint.request(*settings, FORM, http)
	assert server.seen == [("ours", 1)]
	assert b"client_id=c" in server.requests[0]
	assert b"s3cret" not in server.requests[0] and b"assertion" not in server.requests[0]


def test_connections_are_not_shared(server: Server, http: Http) -> None:
	"""Requests with the same certificate share a connection; no others do, in either order."""
	plain = config(server, authentication="none")
	for settings, expected in (
		(plain, ("", 1)),
		(config(server), ("ours", 2)),
		(config(server, signing_key=KEYS["another"]), ("another", 3)),
		(config(server), ("ours", 2)),
		(plain, ("", 1)),
	):
		token_endpoint.request(*settings, FORM, http)
		assert server.seen[-1] == expected


def test_sessions_share_with_their_own_certificate_only(server: Server, http: Http) -> None:
	"""Each request to the API is made with the certificate; those of an app without one show none."""
	bound = config(server, certificate_bound=True)
	sessions = [
		session_of(bound, http),
		session_of(changed(bound, signing_key=KEYS["another"]), http),
		session_of(changed(bound, certificate_bound=False), http),
		session_of(bound, http),
	]
	assert [session.get(server.url + "/api").json()["sub"] for session in sessions] == [
		"ours",
		"another",
		"",
		"ours",
	]
	numbers = [number for _name, number in server.seen]
	assert numbers[0] == numbers[3] and len(set(numbers)) == 3


def reachable(*roots: Any) -> list[Any]:
	"""What a Server Script gets hold of by these: attributes without an underscore, items, and what methods of this project's
	give that need no arguments."""
	found: list[Any] = list(roots)
	seen = {id(each) for each in found}
	for each in found:
		inner = [each[key] for key in list(each.keys())] if isinstance(each, Mapping) else []
		inner += each if isinstance(each, list | tuple | set | frozenset) else []
		if not isinstance(each, ModuleType | type | FunctionType | str | bytes | int | float):
			for name in dir(each):
				with suppress(Exception):
					inner.append(None if name.startswith("_") else getattr(each, name))
		if isinstance(each, MethodType) and type(each.__self__).__module__.startswith("connected_app"):
			with suppress(Exception):
				inner.append(each())
		for other in inner:
			if id(other) not in seen:
				seen.add(id(other))
				found.append(other)
	return found


@pytest.mark.filterwarnings("ignore")
def test_what_a_script_reaches(server: Server, http: Http) -> None:
	"""By a session that is apart, nothing that others use: what a script puts in its place would see their tokens. And by
	no way the client's key."""
	bound = config(server, certificate_bound=True)
	of_process = session_of(bound, http)
	assert of_process.get(server.url + "/api").json()["sub"] == "ours"
	apart = Session(Refresher(*bound, MemoryStore(a_grant()), http), apart=True)
	response = apart.get(server.url + "/api", stream=True)
	assert response.raw.connection and response.json()["sub"] == "ours"
	source = TokenSource(Refresher(*bound, MemoryStore(a_grant()), http))
	adapter: Any = apart.get_adapter(server.url + "/")
	pool = adapter.poolmanager.connection_from_url(server.url)
	found = reachable(apart, response, source, adapter, pool, pool.ConnectionCls)
	ids = {id(each) for each in found}
	assert id(adapter.poolmanager) in ids and len(found) > 200
	shared = reachable(*of_process.adapters.values())
	shared = [each for each in shared if isinstance(each, HTTPAdapter | PoolManager | ConnectionPool)]
	assert len(shared) > 4
	facts = [value for value in vars(STANDARD).values() if isinstance(value, dict)]
	for each in (*shared, STANDARD, *facts):
		assert id(each) not in ids, each
	assert not any(isinstance(each, ClientCertificate) for each in found)
	assert not any("PRIVATE KEY" in each for each in found if isinstance(each, str))


def test_another_host_is_shown_none(server: Server, tls: Path, http: Http) -> None:
	"""Where an API redirects to another server, that one gets neither the token nor the certificate."""
	other = Server(tls)
	server.location = other.url + "/elsewhere"
	assert session_of(config(server, certificate_bound=True), http).get(server.url + "/api").ok
	assert server.seen[0][0] == "ours" and other.seen[0][0] == ""
	assert b"access-token" in server.requests[0] and b"access-token" not in other.requests[0]
	other.close()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_unchecked_certificates_stay_with_who_wants_them(tmp_path: Path, http: Http) -> None:
	"""A developer's `verify=False` holds for that request alone."""
	server = Server(certificate(tmp_path, "unknown.example")[0])
	bound = config(server, certificate_bound=True)
	assert session_of(bound, http).get(server.url, verify=False).json()["sub"] == "ours"
	with pytest.raises(requests.exceptions.SSLError):
		session_of(bound, http).get(server.url)
	with pytest.raises(ConfigurationError) as caught:
		token_endpoint.request(*bound, FORM, http)
	assert caught.value.code == "certificate_invalid"
	server.close()


def test_the_address_rule_holds(server: Server, tls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
	"""With a certificate as without: the address that is connected to counts, and nothing is shown to it."""
	settings = config(server)
	answers(monkeypatch, ["127.0.0.1"], known="op.example")
	with pytest.raises(ConfigurationError) as caught:
		token_endpoint.request(
			*changed(settings, token_uri=f"https://op.example:{server.port}/token"), FORM, Http()
		)
	assert caught.value.code == "address_refused" and server.seen == []


def test_through_the_proxy(tls: Path, server: Server, tmp_path: Path) -> None:
	"""The certificate goes to the provider, through the tunnel."""
	proxy = Proxy(tmp_path)
	# It writes a line when a connection has ended.
	server.ends = "\r\nConnection: close"
	try:
		http = client(proxy=proxy.url)
		url = f"https://{HOST}:{server.port}"
		token_endpoint.request(*config(server, token_uri=url + "/token"), FORM, http)
		session = session_of(config(server, certificate_bound=True), http)
		assert session.get(url + "/api").json()["sub"] == "ours"
		assert [name for name, _number in server.seen] == ["ours", "ours"]
		assert set(proxy.targets()) == {f"{HOST}:{server.port}"}
	finally:
		proxy.stop()


def aliases(server: Server, alias: Server) -> dict[str, Any]:
	names = {"token_endpoint": "/token", "userinfo_endpoint": "/me", "revocation_endpoint": "/revoke"}
	return {
		**{name: server.url + path for name, path in names.items()},
		"mtls_endpoint_aliases": {name: alias.url + path for name, path in names.items()},
	}


def test_aliases(server: Server, tls: Path, http: Http) -> None:
	"""oidcc-client-test-mtls-endpoint-aliases (RFC 8705 5): where the client presents a certificate, and where the address is the metadata's own."""
	alias = Server(tls)
	settings = config(server, metadata=aliases(server, alias))
	token_endpoint.request(*settings, FORM, http)
	userinfo.ask(*settings, a_grant(), http)
	assert [name for name, _number in alias.seen] == ["ours", "ours"] and server.seen == []
	mine = changed(settings, token_uri=server.url + "/token?mine=1")
	token_endpoint.request(*mine, FORM, http)
	token_endpoint.request(*changed(settings, authentication="none"), FORM, http)
	assert [name for name, _number in server.seen] == ["ours", ""] and len(alias.seen) == 2
	alias.close()


@pytest.mark.parametrize(
	"value", [None, "x", [], {"token_endpoint": 7}, {"token_endpoint": ""}, {"other": "x"}]
)
def test_aliases_that_are_none(value: Any, server: Server, http: Http) -> None:
	metadata = {"token_endpoint": server.url + "/token", "mtls_endpoint_aliases": value}
	token_endpoint.request(*config(server, metadata=metadata), FORM, http)
	assert server.seen == [("ours", 1)]


def test_an_alias_is_under_the_policy(server: Server, http: Http) -> None:
	insecure = {"token_endpoint": "http://op.example/token"}
	metadata = {"token_endpoint": server.url + "/token", "mtls_endpoint_aliases": insecure}
	with pytest.raises(ConfigurationError) as caught:
		token_endpoint.request(*config(server, metadata=metadata), FORM, http)
	assert caught.value.code == "uri_insecure" and server.seen == []


@pytest.mark.parametrize("authentication", ["tls_client_auth", "none"])
def test_without_a_certificate(authentication: str, server: Server, http: Http) -> None:
	"""Nothing is sent, for client authentication and for bound tokens alike."""
	settings = config(server, authentication=authentication, certificate_bound=authentication == "none")
	bare = keys.read(str(KEYS["ours"].pem), TODAY)
	ended = keys.generate("ES256", "ended", TODAY - keys.CERTIFICATE_LIFETIME)
	for key, code in (
		(None, "signing_key_missing"),
		(bare, "certificate_missing"),
		(ended, "certificate_expired"),
	):
		with pytest.raises(ConfigurationError) as caught:
			token_endpoint.request(*changed(settings, signing_key=key), FORM, http)
		assert caught.value.code == code
	assert server.seen == []


def test_check_configuration(tls: Path, http: Http) -> None:
	"""It presents the certificate, too: some servers let nobody in without one."""
	server = Server(tls, KEYS["ours"].certificate, demands=True)
	for authentication, expected in (("self_signed_tls_client_auth", "ok"), ("none", "error")):
		settings = config(server, authentication=authentication)
		found = list(endpoint_checks.tokens(Subject(*settings, http)))
		assert [each.level for each in found] == [expected], found
	server.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_that_is_refused(version: ssl.TLSVersion, tls: Path, http: Http) -> None:
	"""Its own error, with what the server says, and neither key nor certificate in it."""
	server = Server(tls, KEYS["another"].certificate, demands=True)
	server.context.maximum_version = version
	with pytest.raises(ConfigurationError) as caught:
		token_endpoint.request(*config(server), FORM, http)
	assert caught.value.code == "client_certificate_refused"
	assert "UNKNOWN_CA" in caught.value.action
	token_endpoint.request(*config(server, signing_key=KEYS["another"]), FORM, http)
	assert server.seen[0][0] == "another"
	server.close()


def test_the_chain_is_presented(tls: Path, tmp_path: Path, http: Http) -> None:
	"""What an authority below another has issued, is verified by who knows the upper one only."""
	root = certificate(tmp_path, "root.example")
	middle = certificate(tmp_path, "middle.example", issuer=root[1], authority=True)
	leaf = certificate(tmp_path, "client.example", issuer=middle[1])
	texts = [path.read_text() for path, _made in (root, middle, leaf)]
	public = [
		"-----BEGIN CERTIFICATE" + text.split("-----BEGIN CERTIFICATE")[1].split("-----BEGIN P")[0]
		for text in texts
	]
	key = keys.read("".join((*public[:2], texts[2])), TODAY)
	names = [
		each.subject.rfc4514_string() for each in x509.load_pem_x509_certificates(key.certificate.encode())
	]
	assert names == ["CN=client.example", "CN=middle.example"] and not key.is_self_signed()
	assert len(key.public()["x5c"]) == 2
	server = Server(tls, public[0], demands=True)
	token_endpoint.request(*config(server, signing_key=key), FORM, http)
	assert server.seen[0][0] == "client.example"
	server.close()


def where(descriptor: str) -> str:
	try:
		return os.readlink(f"/proc/self/fd/{descriptor}")
	except FileNotFoundError:
		return ""


@pytest.mark.parametrize("memory", [True, False])
def test_the_key_is_nowhere(
	memory: bool, server: Server, http: Http, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
	"""No file has it, but for the moment in which `ssl` reads it: encrypted, and where the system has no memory for that.
	No log and no traceback shows it, whatever fails."""
	folder = tmp_path / "temporary"
	folder.mkdir()
	monkeypatch.setattr(tempfile, "tempdir", str(folder))
	read: list[tuple[str, bytes]] = []
	load = ssl.SSLContext.load_cert_chain

	def listening(context: ssl.SSLContext, path: str, *args: Any, **kwargs: Any) -> None:
		read.append((path, Path(path).read_bytes()))
		load(context, path, *args, **kwargs)

	monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", listening)
	if not memory:
		monkeypatch.delattr(os, "memfd_create")
	caplog.set_level(logging.DEBUG)
	token_endpoint.request(*config(server), FORM, http)
	assert server.seen == [("ours", 1)]
	(path, content), *more = read
	assert not more and path.startswith("/proc/self/fd/" if memory else str(folder))
	assert b"ENCRYPTED PRIVATE KEY" in content and KEYS["ours"].pem.splitlines()[1].encode() not in content
	assert [each for each in os.listdir("/proc/self/fd") if "memfd:certificate" in where(each)] == []
	assert list(folder.iterdir()) == []
	wrong = ClientCertificate(pem=KEYS["ours"].pem, chain=KEYS["another"].certificate)
	with pytest.raises(ConfigurationError) as caught:
		http.presenting(wrong).post(server.url, FORM)
	shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
	for text in (shown, caplog.text, repr(mtls.certificate_of(config(server).client))):
		assert KEYS["ours"].pem.splitlines()[1] not in text and "BEGIN PRIVATE" not in text
	assert list(folder.iterdir()) == []


def test_the_same_name(tls: Path, http: Http) -> None:
	"""A server that knows a client's certificate and the one before it, both of the same name, takes either."""
	both = [keys.generate("ES256", "the same", TODAY) for _ in range(2)]
	server = Server(tls, "".join(key.certificate for key in both), demands=True)
	for key in both:
		token_endpoint.request(*config(server, signing_key=key), FORM, http)
	assert [name for name, _number in server.seen] == ["the same"] * 2
	server.close()


def test_rotation(server: Server, http: Http) -> None:
	"""A session that is open while the key is replaced: the API refuses what is bound to the old one, and what is renewed is
	bound to the new one, which the session then presents."""
	settings = config(server, certificate_bound=True)
	now = {"settings": settings}
	store = MemoryStore(a_grant(expires_at=TODAY + timedelta(hours=1), issued_at=TODAY))
	session = Session(Refresher(*settings, store, http, latest=lambda: now["settings"]))
	assert session.get(server.url + "/api").json()["sub"] == "ours"
	now["settings"] = changed(settings, signing_key=KEYS["another"])
	session.refresh_token()
	assert session.get(server.url + "/api").json()["sub"] == "another"
