"""A provider that gives the answers that a test scripts, byte by byte, and records the requests exactly."""

from __future__ import annotations

import json
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs


@dataclass(frozen=True)
class Request:
	"""One request as it came over the wire."""

	raw: bytes
	method: str
	target: str
	headers: dict[str, str]
	body: bytes
	connection: int

	@property
	def path(self) -> str:
		return self.target.partition("?")[0]

	@property
	def form(self) -> dict[str, str]:
		"""The form; a field sent twice fails the test."""
		fields = parse_qs(self.body.decode(), keep_blank_values=True, strict_parsing=bool(self.body))
		assert all(len(values) == 1 for values in fields.values()), fields
		return {name: values[0] for name, values in fields.items()}


@dataclass(frozen=True)
class Answer:
	"""
	:param delay: seconds before the first byte
	:param trickle: seconds between single bytes of the body
	:param cut: close the connection after so many bytes of the body; None: send it whole
	:param sized: whether to send Content-Length; without it the connection's end ends the body
	"""

	body: bytes = b""
	status: int = 200
	headers: Mapping[str, str] = field(default_factory=dict)
	delay: float = 0
	trickle: float = 0
	cut: int | None = None
	sized: bool = True


def as_json(value: object, status: int = 200, **more: Any) -> Answer:
	headers = {"Content-Type": "application/json", **more.pop("headers", {})}
	return Answer(json.dumps(value).encode(), status, headers, **more)


Scripted = Answer | Callable[[Request], Answer]


class Hostile:
	"""The server: `script` a path, then look at `requests` and `connections`."""

	def __init__(self) -> None:
		self._scripts: dict[str, list[Scripted]] = {}
		self._lock = threading.Lock()
		self._closing = threading.Event()
		self._open: set[socket.socket] = set()
		self._threads: list[threading.Thread] = []
		self.requests: list[Request] = []
		self.connections = 0
		# Released when an answer has been sent, or could not be.
		self.answered = threading.Semaphore(0)
		self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
		self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
		self._spawn(self._accept)

	def script(self, path: str, *answers: Scripted) -> str:
		"""Answer requests to `path` by these, one after the other; the last one repeats. Returns the address."""
		with self._lock:
			self._scripts[path] = list(answers)
		return self.url + path

	def to(self, path: str) -> list[Request]:
		with self._lock:
			return [request for request in self.requests if request.path == path]

	def paths(self) -> dict[str, int]:
		counts: dict[str, int] = defaultdict(int)
		for request in list(self.requests):
			counts[request.path] += 1
		return dict(counts)

	def close(self) -> None:
		self._closing.set()
		self._listener.shutdown(socket.SHUT_RDWR)
		with self._lock:
			for sock in self._open:
				try:
					sock.shutdown(socket.SHUT_RDWR)
				except OSError:
					pass
		for thread in list(self._threads):
			thread.join(5)
		self._listener.close()

	def _spawn(self, target: Callable[..., None], *args: Any) -> None:
		thread = threading.Thread(target=target, args=args, daemon=True)
		self._threads.append(thread)
		thread.start()

	def _accept(self) -> None:
		while not self._closing.is_set():
			try:
				sock, _ = self._listener.accept()
			except OSError:
				return
			# Head and body are sent apart: Nagle's algorithm would hold the body back for 40 ms.
			sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
			with self._lock:
				self.connections += 1
				self._open.add(sock)
				number = self.connections
			self._spawn(self._serve, sock, number)

	def _serve(self, sock: socket.socket, number: int) -> None:
		try:
			while not self._closing.is_set():
				request = self._receive(sock, number)
				if request is None:
					return
				with self._lock:
					self.requests.append(request)
					queue = self._scripts.get(request.path, [Answer(b"not scripted", 404)])
					scripted = queue.pop(0) if len(queue) > 1 else queue[0]
				answer = scripted if isinstance(scripted, Answer) else scripted(request)
				if not self._send(sock, answer):
					return
		except OSError:
			pass
		finally:
			with self._lock:
				self._open.discard(sock)
			sock.close()

	def _receive(self, sock: socket.socket, number: int) -> Request | None:
		raw = b""
		while b"\r\n\r\n" not in raw:
			chunk = sock.recv(65536)
			if not chunk:
				return None
			raw += chunk
		head, _, body = raw.partition(b"\r\n\r\n")
		first, *lines = head.decode("latin-1").split("\r\n")
		headers = {
			name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
		}
		if headers.get("transfer-encoding") == "chunked":
			while not body.endswith(b"0\r\n\r\n"):
				body += self._rest(sock)
		while len(body) < int(headers.get("content-length", 0)):
			body += self._rest(sock)
		method, target, _version = first.split(" ")
		return Request(head + b"\r\n\r\n" + body, method, target, headers, body, number)

	def _rest(self, sock: socket.socket) -> bytes:
		chunk = sock.recv(65536)
		if not chunk:
			raise ConnectionError("closed within a request")
		return chunk

	def _send(self, sock: socket.socket, answer: Answer) -> bool:
		try:
			return self._sent(sock, answer)
		finally:
			self.answered.release()

	def _sent(self, sock: socket.socket, answer: Answer) -> bool:
		"""Whether the connection can be used on."""
		self._closing.wait(answer.delay)
		lines = [
			f"HTTP/1.1 {answer.status} X",
			*(f"{name}: {value}" for name, value in answer.headers.items()),
		]
		lines.append(f"Content-Length: {len(answer.body)}" if answer.sized else "Connection: close")
		sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
		body = answer.body if answer.cut is None else answer.body[: answer.cut]
		if answer.trickle:
			for index in range(len(body)):
				if self._closing.wait(answer.trickle):
					return False
				sock.sendall(body[index : index + 1])
		else:
			sock.sendall(body)
		return answer.sized and answer.cut is None
