"""An API to call: HTTP/1.1 on loopback with connections kept alive, which it counts. Standard library only.

Prints its address; `/connections` answers how many there have been.
"""

from __future__ import annotations

import itertools
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HELLO = json.dumps({"items": [{"id": number, "subject": "Hello"} for number in range(30)]}).encode()


class Handler(BaseHTTPRequestHandler):
	protocol_version = "HTTP/1.1"
	# Head and body in one packet: two would wait for each other's acknowledgement.
	wbufsize = -1
	numbers = itertools.count(1)

	def setup(self) -> None:
		super().setup()
		self.number = next(self.numbers)

	def do_GET(self) -> None:
		if self.path == "/connections":
			self._answer(200, str(self.number).encode())
		elif self.headers.get("Authorization", "").startswith(("Bearer ", "DPoP ")):
			self._answer(200, HELLO)
		else:
			self._answer(401, b"{}")

	def _answer(self, status: int, body: bytes) -> None:
		self.send_response(status)
		self.send_header("Content-Type", "application/json")
		self.send_header("Content-Length", str(len(body)))
		self.end_headers()
		self.wfile.write(body)

	def log_message(self, *args: object) -> None:
		pass


def main() -> None:
	server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
	server.daemon_threads = True
	print(f"http://127.0.0.1:{server.server_port}", flush=True)
	server.serve_forever()


if __name__ == "__main__":
	main()
