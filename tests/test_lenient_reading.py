"""Answers that are labelled wrongly, or broken where it does not matter, are read; nothing is followed or executed."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import zlib
from collections.abc import Iterator

import pytest

from connected_app.oauth import Http, OAuthError
from connected_app.oauth.reply import Reply

from .hostile import Answer, Hostile

PLAIN = b'{"access_token": "abc", "refresh_token": "def"}'
RAW_DEFLATE = zlib.compressobj(wbits=-zlib.MAX_WBITS)


@pytest.mark.parametrize("label", ["gzip", "x-gzip", "deflate", "GZIP"])
@pytest.mark.parametrize(
	"body",
	[PLAIN, gzip.compress(PLAIN), zlib.compress(PLAIN), RAW_DEFLATE.compress(PLAIN) + RAW_DEFLATE.flush()],
	ids=["plain", "gzip", "zlib", "deflate"],
)
def test_content_encoding(body: bytes, label: str, server: Hostile, http: Http) -> None:
	server.script("/token", Answer(body=body, headers={"Content-Encoding": label}))
	assert http.post(server.url + "/token", {}).json_object() == json.loads(PLAIN)


def test_decoded_once(server: Hostile, http: Http) -> None:
	once = gzip.compress(PLAIN)
	twice = gzip.compress(once)
	server.script("/token", Answer(body=twice, headers={"Content-Encoding": "gzip"}))
	assert http.post(server.url + "/token", {}).body == once


def test_a_bomb(server: Hostile, http: Http) -> None:
	bomb = gzip.compress(b" " * 50_000_000)
	server.script("/token", Answer(body=bomb, headers={"Content-Encoding": "gzip"}))
	with pytest.raises(OAuthError) as caught:
		http.post(server.url + "/token", {})
	assert caught.value.code == "response_too_large"


@pytest.mark.parametrize(
	("body", "content_type", "name"),
	[
		('{"name": "Müller"}'.encode("latin-1"), "application/json", "M\ufffdller"),
		('{"name": "Müller"}'.encode("latin-1"), "application/json; charset=ISO-8859-1", "Müller"),
		('{"name": "Müller"}'.encode(), "application/json; charset=ISO-8859-1", "Müller"),
		('{"name": "Müller"}'.encode("utf-8-sig"), "text/html", "Müller"),
		('{"name": "Müller"}'.encode("utf-16"), "", "Müller"),
		(b'{"name": "a\xff\xfeb"}', "application/json; charset=rot13", "a\ufffd\ufffdb"),
	],
)
def test_encodings(body: bytes, content_type: str, name: str) -> None:
	reply = Reply(status=200, headers={"content-type": content_type}, body=body)
	assert reply.json_object() == {"name": name}


@pytest.fixture
def breaking_off() -> Iterator[tuple[str, list[bytes]]]:
	"""A server that promises more than it sends, and closes the connection."""
	bodies: list[bytes] = []
	listener = socket.create_server(("127.0.0.1", 0))

	def run() -> None:
		while True:
			try:
				plain, _ = listener.accept()
			except OSError:
				return
			with plain:
				plain.recv(65536)
				head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n"
				plain.sendall(head + bodies[-1])

	thread = threading.Thread(target=run, daemon=True)
	thread.start()
	yield f"http://127.0.0.1:{listener.getsockname()[1]}/token", bodies
	listener.shutdown(socket.SHUT_RDWR)
	thread.join(5)
	listener.close()


def test_an_answer_that_breaks_off(breaking_off: tuple[str, list[bytes]], http: Http) -> None:
	"""JSON says where it ends: a whole object is read. Of anything else it is said that it is a part."""
	url, bodies = breaking_off
	bodies.append(PLAIN)
	reply = http.post(url, {})
	assert reply.json_object() == json.loads(PLAIN) and not reply.complete
	bodies.append(PLAIN[:30])
	reply = http.post(url, {})
	assert reply.json_object() is None and not reply.complete and reply.text == PLAIN[:30].decode()
	bodies.append(b"")
	with pytest.raises(OAuthError) as caught:
		http.post(url, {})
	assert caught.value.code == "network"
