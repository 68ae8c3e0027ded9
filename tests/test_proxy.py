"""An egress proxy: a real one (proxy.py) in a process of its own, which speaks CONNECT (RFC 9110 9.3.6)."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from connected_app.oauth import ConfigurationError, Http, OAuthError, Refresher, Secret, Session, Settings

from .helpers import Clock, a_grant
from .stores import MemoryStore
from .test_logs import shown
from .test_net import TlsServer, answers, certificate, no_connections

# As a proxied name has to be: this machine, and not known as such by its very name.
HOST = "127.1"
PASSWORD = "proxy-password-8d1"


class Proxy:
	def __init__(self, folder: Path, *options: str) -> None:
		self.log, port = folder / "proxy.log", folder / "proxy.port"
		command = [sys.executable, "-m", "proxy", "--hostname", "127.0.0.1"]
		# Any free port, of which it writes the number when it listens there.
		command += ["--port", "0", "--port-file", str(port), "--timeout", "60"]
		command += ["--num-workers", "1", "--num-acceptors", "1", "--log-file", str(self.log), *options]
		self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
		try:
			(number,) = self.written(port, r"(\d+)\n")
		except AssertionError:
			self.stop()
			raise
		self.url = f"http://127.0.0.1:{number}"

	def written(self, file: Path, pattern: str) -> list[str]:
		"""What it has written of this kind, as soon as there is something."""
		for _ in range(1200):
			if file.exists() and (found := re.findall(pattern, file.read_text())):
				return found
			assert self.process.poll() is None, f"it has ended with status {self.process.poll()}"
			time.sleep(0.05)
		raise AssertionError(f"it has written no {pattern} to {file.name} within a minute")

	def targets(self) -> list[str]:
		"""What it was asked to connect to. It writes a line when a connection has ended."""
		return self.written(self.log, r"CONNECT (\S+)")

	def stop(self) -> None:
		self.process.terminate()
		try:
			self.process.wait(10)
		except subprocess.TimeoutExpired:
			self.process.kill()
			self.process.wait()


@pytest.fixture
def proxy(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Proxy]:
	running = Proxy(tmp_path, *getattr(request, "param", ()))
	yield running
	running.stop()


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TlsServer]:
	authority = certificate(tmp_path, "authority.example")
	monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority[0]))
	server = TlsServer(certificate(tmp_path, "localhost", HOST, issuer=authority[1])[0])
	yield server
	server.close()


def client(**settings: Any) -> Http:
	return Http(allow_http_loopback=True, connect_timeout=30, read_timeout=30, total_timeout=60, **settings)


def test_the_setting(proxy: Proxy, tls: TlsServer) -> None:
	reply = client(proxy=proxy.url).post(f"https://{HOST}:{tls.port}/token", {"secret": "s3"})
	assert reply.body == b"{}" and b"secret=s3" in tls.received[0]
	assert proxy.targets() == [f"{HOST}:{tls.port}"]


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_the_environment(
	variable: str, proxy: Proxy, tls: TlsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
	monkeypatch.setenv(variable, proxy.url)
	address = f"https://{HOST}:{tls.port}/"
	assert client(proxy="environment").get(address).body == b"{}"
	assert proxy.targets() == [f"{HOST}:{tls.port}"]
	assert client().proxy_for(address) == ""


@pytest.mark.parametrize("setting", ["environment", "http://127.0.0.1:1"])
@pytest.mark.parametrize("without", [HOST, "localhost", "*", "a.example, 127.1"])
def test_no_proxy(without: str, setting: str, tls: TlsServer, monkeypatch: pytest.MonkeyPatch) -> None:
	"""NO_PROXY lists what is reached directly; at the proxy's port here nobody answers."""
	monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	monkeypatch.setenv("NO_PROXY", without)
	assert (
		client(proxy=setting)
		.get(f"https://{'localhost' if without == 'localhost' else HOST}:{tls.port}/")
		.body
	)


def test_loopback_is_reached_directly(tls: TlsServer) -> None:
	assert client(proxy="http://127.0.0.1:1").get(f"https://localhost:{tls.port}/").body == b"{}"


@pytest.mark.parametrize(
	"host",
	[
		"10.0.0.1", "169.254.169.254", "[::ffff:10.0.0.1]", "rebound.example", "rebound.example.", "10.0.0.1.",
		"169.254.169.254.", "localhost.", "167772161", "0xa000001", "0xA.0.0.1", "012.0.0.1", "10.1", "0", "0.0.0.0",
		"[::ffff:a00:1]", "[64:ff9b::a00:1]", "[::10.0.0.1]", "[fd00::1]", "[::]", "[::1]", "[fe80::1]", "１０.0.0.1",
		"10。0。0。1", "①⓪.0.0.1",
	],
)  # fmt: skip
def test_internal_targets(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
	"""The address rule holds for the target as far as this machine can resolve it; the proxy is not even asked."""
	answers(monkeypatch, ["10.0.0.7"])
	connected = no_connections(monkeypatch)
	with pytest.raises(ConfigurationError) as caught:
		Http(proxy="http://127.0.0.1:1").get(f"https://{host}/")
	assert caught.value.code == ("address_refused" if host.isascii() else "uri_invalid") and connected == []


@pytest.mark.parametrize(
	"host",
	[
		# requests takes a backslash for the end of the host, and decodes what is percent-encoded in it.
		"10.0.0.1\\.good.example", "10.0.0.1\\", "10.0.0.1\\@good.example", "good.example\\@10.0.0.1", "10.0.0.1:443\\x",
		"%31%30.0.0.1", "10.0.0.1%2f.good.example", "10.0.0.1%00", "10.0.0.1\x00.good.example", "good.example@10.0.0.1",
		"[fe80::1%25eth0]", "[::1%25lo]", "[::1%lo]", "10.0.0.1;x", "10.0.0.1 x.example", "a\x7f.example",
	],
)  # fmt: skip
@pytest.mark.parametrize("proxy_url", ["http://127.0.0.1:1", ""])
def test_hosts_that_are_none(host: str, proxy_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
	"""What one library reads as one host and another as another is no address."""
	connected = no_connections(monkeypatch)
	with pytest.raises(ConfigurationError) as caught:
		Http(proxy=proxy_url).get(f"https://{host}/")
	assert caught.value.code == "uri_invalid" and connected == []
	with pytest.raises(ConfigurationError):
		Http().check(f"https://{host}/")


def test_a_name_that_only_the_proxy_knows(monkeypatch: pytest.MonkeyPatch) -> None:
	"""Without a resolver of its own for the Internet, a site relies on the proxy's."""
	connected = no_connections(monkeypatch)
	with pytest.raises(OAuthError) as caught:
		Http(proxy="http://127.0.0.1:1").get("https://provider.invalid/")
	assert caught.value.code == "proxy_unreachable" and connected == ["127.0.0.1"]


def test_certificates_through_the_proxy(
	proxy: Proxy, tls: TlsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
	monkeypatch.delenv("REQUESTS_CA_BUNDLE")
	with pytest.raises(ConfigurationError) as caught:
		client(proxy=proxy.url).post(f"https://{HOST}:{tls.port}/", {"secret": "s3"})
	assert caught.value.code == "certificate_invalid" and tls.received == []


def test_a_proxy_that_is_away() -> None:
	with pytest.raises(OAuthError) as caught:
		client(proxy=f"http://admin:{PASSWORD}@127.0.0.1:1").get(f"https://{HOST}:1/")
	assert caught.value.code == "proxy_unreachable" and "127.0.0.1" in str(caught.value)
	assert PASSWORD not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize("proxy", [("--basic-auth", f"admin:{PASSWORD}")], indirect=True)
def test_a_proxy_that_wants_a_password(proxy: Proxy, tls: TlsServer) -> None:
	address = f"https://{HOST}:{tls.port}/"
	for url in (proxy.url, proxy.url.replace("//", "//admin:wrong@")):
		with pytest.raises(ConfigurationError) as caught:
			client(proxy=url).get(address)
		assert caught.value.code == "proxy_refused" and "407" in caught.value.action
	assert client(proxy=proxy.url.replace("//", f"//admin:{PASSWORD}@")).get(address).body == b"{}"


@pytest.mark.parametrize("proxy", [("--basic-auth", "admin:p@s s5")], indirect=True)
@pytest.mark.parametrize("written", ["p%40s%20s5", "p@s s5"])
def test_a_password_as_people_write_it(written: str, proxy: Proxy, tls: TlsServer) -> None:
	url = proxy.url.replace("//", f"//admin:{written}@")
	assert client(proxy=url).get(f"https://{HOST}:{tls.port}/").body == b"{}"


def test_a_target_that_is_away(proxy: Proxy) -> None:
	"""It is not the proxy's fault, nor the admin's."""
	with pytest.raises(OAuthError) as caught:
		client(proxy=proxy.url).get(f"https://{HOST}:1/")
	assert caught.value.code in ("network", "tls_interrupted", "timeout")


def everything(error: BaseException) -> str:
	"""What an error log may show of it, and what is within reach of it."""
	links, texts = [error], [shown(error)]
	for link in links:
		inner = [link.__cause__, link.__context__, getattr(link, "reason", None), *link.args]
		links += [each for each in inner if isinstance(each, BaseException) and each not in links]
		texts += [f"{link} {link!r} {link.args} {vars(link)}"]
		request = getattr(link, "request", None)
		texts.append(str(vars(request) if request else "") if link is error.__cause__ else "")
	return "\n".join(texts)


BAD_PROXIES = [
	"http://admin:{}@127.0.0.1:99999999", "http://admin:{}@[", "http://admin:{}@", "http://admin:{}@127.0.0.1:x",
	"http://admin:{}@127.0.0.1:1", "admin:{}@127.0.0.1:1", "//admin:{}@127.0.0.1:1", "http://admin:{}/@127.0.0.1:1",
	"http://admin:{}#@127.0.0.1:1", "http://admin:{} @127.0.0.1:1", "http://admin:{}\n@127.0.0.1:1", "ftp://admin:{}@127.0.0.1:1",
	"socks5://admin:{}@127.0.0.1:1", "socks5h://admin:{}@127.0.0.1:1", "http://admin:{}@[::1%25x]:1",
	"http:admin:{}@127.0.0.1:1", " http://admin:{}@127.0.0.1:1", "http://admin:{}@127.0.0.1:1 ", "http://admin:{}@a..b:1", "http://admin:{}@127.0.0.1\\x:1", "http://admin:{}\x00@x",
]  # fmt: skip


@pytest.mark.parametrize("template", BAD_PROXIES)
@pytest.mark.parametrize("from_environment", [False, True])
def test_a_proxy_that_cannot_be_used(
	template: str,
	from_environment: bool,
	config: Settings,
	clock: Clock,
	monkeypatch: pytest.MonkeyPatch,
) -> None:
	"""Neither its password nor what is asked of the provider is told."""
	url = template.format(PASSWORD)
	if from_environment:
		if "\0" in url:
			return
		monkeypatch.setenv("HTTPS_PROXY", url)
		url = "environment"
	http, secret = Http(proxy=url, connect_timeout=1), Secret("s3-secret")
	with pytest.raises(OAuthError) as caught:
		http.post("https://provider.example/token", {"secret": secret}, {"Authorization": secret})
	assert caught.value.code == "proxy_unreachable"
	text = everything(caught.value)
	assert PASSWORD not in text and secret not in text
	session = Session(Refresher(*config, MemoryStore(a_grant()), http, clock))
	with pytest.raises((OAuthError, requests.RequestException)) as failed:
		session.get("https://api.example/")
	assert PASSWORD not in everything(failed.value)


def test_a_password_in_the_locals_of_a_failed_request(config: Settings, clock: Clock) -> None:
	http = Http(proxy=f"http://admin:{PASSWORD}@127.0.0.1:1", connect_timeout=1)
	with pytest.raises(requests.RequestException) as caught:
		Session(Refresher(*config, MemoryStore(a_grant()), http, clock)).get("https://api.example/")
	assert PASSWORD not in shown(caught.value)


def test_a_socks_proxy_of_the_environment(
	config: Settings, clock: Clock, http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
	"""A developer's own requests follow the environment, as those of requests do."""
	monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
	with pytest.raises(requests.ConnectionError, match="SOCKS"):
		Session(Refresher(*config, MemoryStore(a_grant()), http, clock)).get("https://api.example/")
