"""The outbound policy, against real servers with real certificates. The resolver is falsified where a name has to
resolve to what a test says."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import urllib3.util.connection
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connected_app.oauth import ConfigurationError, Http, OAuthError, TemporaryFailure, net, pools
from connected_app.oauth.discovery import fetch

from .hostile import Answer, Hostile, as_json

TODAY = datetime.now(timezone.utc)
DAY = timedelta(days=1)


def name(text: str) -> x509.Name:
	return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(
	folder: Path,
	*hosts: str,
	ends: datetime = TODAY + DAY,
	issuer: Any = None,
	authority: bool = False,
) -> tuple[Path, Any]:
	"""A certificate for `hosts` with its key, in one file; by `issuer`, or signed by itself. One that is signed by itself, or
	an `authority`, may issue others."""
	key = ec.generate_private_key(ec.SECP256R1())
	alternatives = [
		x509.IPAddress(ipaddress.ip_address(host)) if host.count(".") == 3 else x509.DNSName(host)
		for host in hosts
	]
	signer = issuer[1] if issuer else key
	# Python 3.13 and newer verify by RFC 5280 to the letter (VERIFY_X509_STRICT): 4.2.1.1 to 4.2.1.3.
	uses = dict.fromkeys(
		("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
	)
	uses |= {"encipher_only": False, "decipher_only": False, "digital_signature": True}
	authority = authority or issuer is None
	uses |= dict.fromkeys(("key_cert_sign", "crl_sign"), authority)
	builder = (
		x509.CertificateBuilder()
		.subject_name(name(hosts[0]))
		.issuer_name(issuer[0].subject if issuer else name(hosts[0]))
		.public_key(key.public_key())
		.serial_number(x509.random_serial_number())
		.not_valid_before(TODAY - 30 * DAY)
		.not_valid_after(ends)
		.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
		.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
		.add_extension(x509.KeyUsage(**uses), critical=True)
		.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
		.add_extension(
			x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
		)
	)
	signed = builder.sign(signer, hashes.SHA256())
	path = folder / f"{hosts[0]}-{signed.serial_number}.pem"
	path.write_bytes(
		signed.public_bytes(serialization.Encoding.PEM)
		+ key.private_bytes(
			serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
		)
	)
	return path, (signed, key)


class TlsServer:
	"""Answers every request with `{}`; keeps what it was sent after the handshake."""

	def __init__(self, pem: Path) -> None:
		self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
		self.context.load_cert_chain(pem)
		self.listener = socket.create_server(("127.0.0.1", 0))
		self.port = self.listener.getsockname()[1]
		self.received: list[bytes] = []
		self.thread = threading.Thread(target=self._serve, daemon=True)
		self.thread.start()

	def _serve(self) -> None:
		while True:
			try:
				plain, _ = self.listener.accept()
			except OSError:
				return
			plain.settimeout(60)
			try:
				with self.context.wrap_socket(plain, server_side=True) as sock:
					request = b""
					# The body of a POST comes after its head.
					while not request or (request.startswith(b"POST") and request.endswith(b"\r\n\r\n")):
						request += sock.recv(65536)
					self.received.append(request)
					sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
			except OSError:
				plain.close()

	def close(self) -> None:
		self.listener.shutdown(socket.SHUT_RDWR)
		self.thread.join(5)
		self.listener.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
	return certificate(tmp_path_factory.mktemp("authority"), "authority.example")


@pytest.fixture
def trusting(authority: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch) -> Http:
	"""HTTP that trusts the tests' own authority, as a server's admin sets it up."""
	monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority[0]))
	return Http(allow_http_loopback=True, connect_timeout=30, read_timeout=30, total_timeout=60)


@pytest.fixture
def tls(request: pytest.FixtureRequest, tmp_path: Path, authority: tuple[Path, Any]) -> Iterator[TlsServer]:
	"""A server with the certificate that the test's parameter describes."""
	kind = getattr(request, "param", "good")
	issuer = None if kind == "self-signed" else authority[1]
	hosts = ("other.example",) if kind == "wrong host" else ("localhost", "127.0.0.1")
	ends = TODAY - DAY if kind == "expired" else TODAY + DAY
	server = TlsServer(certificate(tmp_path, *hosts, ends=ends, issuer=issuer)[0])
	yield server
	server.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_good_certificate(host: str, tls: TlsServer, trusting: Http) -> None:
	assert trusting.post(f"https://{host}:{tls.port}/token", {"secret": "s3"}).body == b"{}"
	assert b"secret=s3" in tls.received[0]


@pytest.mark.parametrize("tls", ["self-signed", "wrong host", "expired"], indirect=True)
def test_bad_certificate(tls: TlsServer, trusting: Http) -> None:
	"""The connection ends at the handshake: nothing of the request is sent."""
	with pytest.raises(ConfigurationError) as caught:
		trusting.post(f"https://localhost:{tls.port}/token", {"secret": "s3"})
	assert caught.value.code == "certificate_invalid"
	assert tls.received == []


def test_unknown_authority(tls: TlsServer, http: Http) -> None:
	with pytest.raises(ConfigurationError) as caught:
		http.get(f"https://localhost:{tls.port}/")
	assert caught.value.code == "certificate_invalid"
	assert tls.received == []


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_the_environment_cannot_switch_it_off(
	value: str, tls: TlsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
	for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PYTHONHTTPSVERIFY"):
		monkeypatch.setenv(variable, value)
	with pytest.raises(OAuthError) as caught:
		Http(allow_http_loopback=True).get(f"https://localhost:{tls.port}/")
	assert caught.value.code == ("ca_bundle_unusable" if value else "certificate_invalid")
	assert tls.received == []


def test_no_proxies_and_no_netrc(
	tls: TlsServer, trusting: Http, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
	"""A proxy of the environment would choose the address for us, and a netrc file the credentials."""
	for variable in ("https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
		monkeypatch.setenv(variable, "http://127.0.0.1:1")
	(tmp_path / "netrc").write_text("machine localhost login mallory password m\n")
	monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
	trusting.get(f"https://localhost:{tls.port}/")
	assert b"authorization" not in tls.received[0].lower()


INTERNAL = [
	"127.0.0.1",
	"127.8.9.10",
	"localhost.",
	# As C libraries read numbers.
	"127.1",
	"2130706433",
	"0x7f000001",
	"0177.0.0.1",
	"0",
	"0.0.0.0",
	"10.1.2.3",
	"172.16.0.1",
	"192.168.1.1",
	"169.254.169.254",
	"100.64.0.1",
	"192.0.0.1",
	"198.18.0.1",
	"224.0.0.1",
	"255.255.255.255",
	"[::1]",
	"[::]",
	"[::127.0.0.1]",
	"[::ffff:127.0.0.1]",
	"[::ffff:a9fe:a9fe]",
	"[64:ff9b::7f00:1]",
	"[64:ff9b::a00:1]",
	"[64:ff9b::a9fe:a9fe]",
	"[64:ff9b::6440:1]",
	"[64:ff9b:1::a00:1]",
	"[2002:7f00:1::]",
	"[2001:0:7f00:1::]",
	"[fc00::1]",
	"[fd12:3456::1]",
	"[fe80::1]",
	"[fec0::1]",
	"[ff02::1]",
]


@pytest.mark.parametrize("host", INTERNAL)
def test_internal_addresses(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
	"""core-defects 10: however an internal address is written, no connection is opened."""
	connected = no_connections(monkeypatch)
	with pytest.raises(OAuthError) as caught:
		Http().get(f"https://{host}:1/")
	# What this machine's resolver does not know as an address is no way in either.
	assert caught.value.code == "address_refused" or (
		caught.value.code in ("network", "uri_invalid") and not resolves(host)
	)
	assert connected == []


def resolves(host: str) -> bool:
	try:
		return bool(socket.getaddrinfo(host.strip("[]"), 1))
	except OSError:
		return False


@pytest.mark.parametrize(
	"address",
	[
		"93.184.215.14",
		"2606:2800:21f:cb07:6820:80da:af6b:8b2c",
		# NAT64 of a public address: how networks with IPv6 only reach IPv4 (RFC 6052 2.1).
		"64:ff9b::5db8:d70e",
	],
)
def test_public_addresses(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
	"""The control: these are connected to."""
	connected = no_connections(monkeypatch)
	with pytest.raises(TemporaryFailure):
		Http().get(f"https://{'[' + address + ']' if ':' in address else address}/")
	assert connected == [address]


def no_connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
	"""Nothing is connected to; returns the list of what would have been."""
	connected: list[str] = []

	def refuse(address: tuple[str, int], *args: Any, **kwargs: Any) -> socket.socket:
		connected.append(address[0])
		raise OSError("no connections in this test")

	monkeypatch.setattr(urllib3.util.connection, "create_connection", refuse)
	return connected


def answers(monkeypatch: pytest.MonkeyPatch, *turns: list[str], known: str = "rebound.example") -> list[str]:
	"""Let the resolver say one thing after another of the host `known`; returns the names it was asked."""
	asked: list[str] = []
	real = socket.getaddrinfo

	def resolve(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
		if host != known:
			return real(host, port, *args, **kwargs)
		asked.append(host)
		addresses = turns[min(len(asked), len(turns)) - 1]
		return [
			(
				socket.AF_INET6 if ":" in address else socket.AF_INET,
				socket.SOCK_STREAM,
				6,
				"",
				(address, port),
			)
			for address in addresses
		]

	monkeypatch.setattr(socket, "getaddrinfo", resolve)
	return asked


def test_dns_rebinding(monkeypatch: pytest.MonkeyPatch) -> None:
	"""core-defects 10: the name is resolved once, and what is connected to is the address that was checked."""
	asked = answers(monkeypatch, ["93.184.215.14"], ["127.0.0.1"])
	connected = no_connections(monkeypatch)
	with pytest.raises(TemporaryFailure) as caught:
		Http().get("https://rebound.example/")
	assert caught.value.code == "network"
	assert (asked, connected) == (["rebound.example"], ["93.184.215.14"])
	# The next connection is checked again.
	with pytest.raises(ConfigurationError) as refused:
		Http().get("https://rebound.example/")
	assert refused.value.code == "address_refused"
	assert connected == ["93.184.215.14"]


@pytest.mark.parametrize("internal", ["127.0.0.1", "::1", "10.0.0.1"])
def test_one_internal_address_among_several(internal: str, monkeypatch: pytest.MonkeyPatch) -> None:
	answers(monkeypatch, ["93.184.215.14", internal])
	connected = no_connections(monkeypatch)
	with pytest.raises(ConfigurationError) as caught:
		Http().get("https://rebound.example/")
	assert caught.value.code == "address_refused"
	assert connected == []


def test_the_certificate_is_checked_against_the_name(
	tls: TlsServer, trusting: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
	"""Connecting to the checked address must not mean that a certificate for the address will do."""
	answers(monkeypatch, ["127.0.0.1"])
	with pytest.raises(ConfigurationError) as caught:
		trusting.get(f"https://rebound.example:{tls.port}/")
	assert caught.value.code == "certificate_invalid"


def test_an_allowed_host(tls: TlsServer, trusting: Http, monkeypatch: pytest.MonkeyPatch) -> None:
	"""The exemption is of the name or the address; https stays, and so does the certificate."""
	# Many machines know ::1 by that name, too.
	answers(monkeypatch, ["127.0.0.1"], known="localhost")
	for allowed in ("localhost", "127.0.0.1"):
		http = Http(allowed_hosts=[allowed])
		assert http.get(f"https://localhost:{tls.port}/").body == b"{}"
		with pytest.raises(ConfigurationError) as caught:
			http.get(f"http://localhost:{tls.port}/")
		assert caught.value.code == "uri_insecure"
	with pytest.raises(ConfigurationError):
		Http(allowed_hosts=["localhost.example"]).get(f"https://localhost:{tls.port}/")


def test_addresses_that_do_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
	"""None is tried when the time is up, however many there are: a refresh holds a lock meanwhile."""
	tried: list[object] = []
	real = urllib3.util.connection.create_connection

	def connect(address: object, *args: Any, **kwargs: Any) -> socket.socket:
		# Each takes ten seconds.
		tried.append(address)
		return real(address, *args, **kwargs)

	monkeypatch.setattr(pools, "time", SimpleNamespace(monotonic=lambda: len(tried) * 10))
	# A queue that is full: what comes further is left without an answer.
	with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as first:
		port = full.getsockname()[1]
		first.connect(("127.0.0.1", port))
		answers(monkeypatch, ["127.0.0.1"] * 50)
		monkeypatch.setattr(urllib3.util.connection, "create_connection", connect)
		http = Http(allow_http_loopback=True, connect_timeout=0.1, total_timeout=25)
		with pytest.raises(TemporaryFailure) as caught:
			http.get(f"https://rebound.example:{port}/")
	assert caught.value.code == "timeout"
	assert len(tried) == 3


@pytest.mark.parametrize(
	("location", "code"),
	[
		("http://provider.example/", "uri_insecure"),
		("http://93.184.215.14/", "uri_insecure"),
		("//10.0.0.1/", "uri_insecure"),
		("https://10.0.0.1/", "address_refused"),
		("https://[::ffff:10.0.0.1]/", "address_refused"),
		("https://169.254.169.254/latest/meta-data/", "address_refused"),
		("https://admin:pw@provider.example/", "uri_invalid"),
		("gopher://127.0.0.1/", "uri_invalid"),
	],
)
def test_redirects_of_discovery(location: str, code: str, server: Hostile, http: Http) -> None:
	"""core-defects 10: each step is under the policy: no way down to http, none to an internal address."""
	server.script("/.well-known/openid-configuration", Answer(status=302, headers={"Location": location}))
	with pytest.raises(OAuthError) as caught:
		fetch(server.url, http)
	assert caught.value.code == code
	assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_post_follows_no_redirect(status: int, server: Hostile, http: Http) -> None:
	"""RFC 9700 2.1: credentials stay where they were sent."""
	server.script("/token", Answer(status=status, headers={"Location": "/elsewhere"}))
	server.script("/elsewhere", as_json({}))
	assert http.post(server.url + "/token", {"client_secret": "s"}).status == status
	assert server.paths() == {"/token": 1}


def test_many_requests_within_a_time(server: Hostile, http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
	"""Each of them may take its time, and all of them together no more than they have."""
	passed = [0.0]
	moving = SimpleNamespace(monotonic=lambda: time.monotonic() + passed[0])
	monkeypatch.setattr(net, "time", moving)
	url = server.script("/x", Answer(b""))
	hurried = http.within(60)
	for _ in range(3):
		assert hurried.get(url).status == 200
		passed[0] += 25
	with pytest.raises(TemporaryFailure) as caught:
		hurried.get(url)
	assert caught.value.code == "timeout"
	assert len(server.requests) == 3
	assert http.get(url).status == 200
