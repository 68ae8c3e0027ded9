"""Each reason why a secure connection fails has its own error: certificates are only one of them."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from connected_app.oauth import ConfigurationError, Http, OAuthError, TemporaryFailure

from .test_net import TODAY, TlsServer, certificate

Serve = Callable[[socket.socket, Path], None]


def hangs_up_at_once(plain: socket.socket, _pem: Path) -> None:
	plain.recv(65536)


def hangs_up_in_the_handshake(plain: socket.socket, _pem: Path) -> None:
	plain.recv(65536)
	# The beginning of a handshake record, and no more.
	plain.sendall(b"\x16\x03\x03\x00\x7a\x02")


def resets(plain: socket.socket, _pem: Path) -> None:
	plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
	plain.recv(10)


def speaks_plain_http(plain: socket.socket, _pem: Path) -> None:
	plain.recv(65536)
	plain.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def wants_a_certificate(version: ssl.TLSVersion) -> Serve:
	def serve(plain: socket.socket, pem: Path) -> None:
		context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
		context.load_cert_chain(pem)
		context.load_verify_locations(pem)
		context.verify_mode = ssl.CERT_REQUIRED
		context.maximum_version = version
		# With what the client has sent unread, closing would reset the connection before the alert is read.
		with plain.dup() as open_until_read:
			with suppress(OSError), context.wrap_socket(plain, server_side=True) as sock:
				sock.recv(65536)
			open_until_read.settimeout(60)
			while open_until_read.recv(65536):
				pass

	return serve


def shares_no_cipher(plain: socket.socket, pem: Path) -> None:
	context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
	context.load_cert_chain(pem)
	context.maximum_version = ssl.TLSVersion.TLSv1_2
	# Needs an RSA key, which the certificate does not have.
	context.set_ciphers("AES128-SHA256")
	with context.wrap_socket(plain, server_side=True) as sock:
		sock.recv(65536)


CASES: dict[str, tuple[Serve, type[OAuthError], set[str]]] = {
	"hangs up at once": (hangs_up_at_once, TemporaryFailure, {"tls_interrupted"}),
	"hangs up in the handshake": (hangs_up_in_the_handshake, TemporaryFailure, {"tls_interrupted"}),
	"resets": (resets, TemporaryFailure, {"tls_interrupted", "network"}),
	"plain http": (speaks_plain_http, ConfigurationError, {"tls_unsupported"}),
	"client certificate, TLS 1.2": (
		wants_a_certificate(ssl.TLSVersion.TLSv1_2),
		ConfigurationError,
		{"client_certificate_required", "tls_unsupported"},
	),
	"client certificate, TLS 1.3": (
		wants_a_certificate(ssl.TLSVersion.TLSv1_3),
		ConfigurationError,
		{"client_certificate_required"},
	),
	"no common cipher": (shares_no_cipher, ConfigurationError, {"tls_unsupported"}),
}


@pytest.fixture
def serving(
	request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[int, str]]:
	authority = certificate(tmp_path, "authority.example")
	monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority[0]))
	pem, _ = certificate(tmp_path, "localhost", "127.0.0.1", issuer=authority[1])
	listener = socket.create_server(("127.0.0.1", 0))

	def run() -> None:
		while True:
			try:
				plain, _address = listener.accept()
			except OSError:
				return
			plain.settimeout(60)
			try:
				CASES[request.param][0](plain, pem)
			except OSError:
				pass
			finally:
				plain.close()

	thread = threading.Thread(target=run, daemon=True)
	thread.start()
	yield listener.getsockname()[1], request.param
	listener.shutdown(socket.SHUT_RDWR)
	thread.join(5)
	listener.close()


@pytest.mark.parametrize("serving", CASES, indirect=True)
def test_each_has_its_own_message(serving: tuple[int, str], http: Http) -> None:
	port, case = serving
	_serve, branch, codes = CASES[case]
	with pytest.raises(OAuthError) as caught:
		http.post(f"https://localhost:{port}/token", {"client_secret": "s3"})
	assert caught.value.code in codes and isinstance(caught.value, branch), caught.value
	assert "certificate of" not in caught.value.message


def test_the_reason_of_a_bad_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
	"""Expired, of another name, and unknown are different work for whoever runs the server."""
	authority = certificate(tmp_path, "authority.example")
	monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority[0]))
	seen = []
	for hosts, ends, issuer in (
		(("localhost",), TODAY - timedelta(days=1), authority[1]),
		(("other.example",), TODAY + timedelta(days=1), authority[1]),
		(("localhost",), TODAY + timedelta(days=1), None),
	):
		server = TlsServer(certificate(tmp_path, *hosts, ends=ends, issuer=issuer)[0])
		with pytest.raises(ConfigurationError) as caught:
			Http(allow_http_loopback=True).get(f"https://localhost:{server.port}/")
		server.close()
		assert caught.value.code == "certificate_invalid"
		seen.append(caught.value.action)
	assert len(set(seen)) == 3, seen
	assert "expired" in seen[0]


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("content", [None, "", "no certificate\n"])
def test_a_bundle_that_cannot_be_used(
	content: str | None, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
	monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
	path = tmp_path / "authorities.pem"
	if content is not None:
		path.write_text(content)
	monkeypatch.setenv(variable, str(path))
	with pytest.raises(ConfigurationError) as caught:
		Http(allow_http_loopback=True).get("https://localhost:1/")
	assert caught.value.code == "ca_bundle_unusable"
	assert str(path) in caught.value.message and variable in caught.value.action


def test_the_bundle_of_curl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
	"""As requests: REQUESTS_CA_BUNDLE first, then CURL_CA_BUNDLE."""
	authority = certificate(tmp_path, "authority.example")
	server = TlsServer(certificate(tmp_path, "localhost", issuer=authority[1])[0])
	monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
	monkeypatch.setenv("CURL_CA_BUNDLE", str(authority[0]))
	assert Http(allow_http_loopback=True).get(f"https://localhost:{server.port}/").body == b"{}"
	server.close()
