"""A server of the Model Context Protocol with its own authorization server, by npm's `@modelcontextprotocol/sdk`, in a process
of its own.

Its modules come from ``npm ci`` in this directory; `AVAILABLE` tells whether they are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from .. import node

HERE = Path(__file__).resolve().parent
AVAILABLE = node.is_available(HERE, "@modelcontextprotocol/sdk")
MISSING = "npm's @modelcontextprotocol/sdk is not installed"


@dataclass(frozen=True)
class Server:
	"""One that runs.

	:param resource: the address to connect to
	"""

	issuer: str
	resource: str
	pid: int

	def stats(self) -> dict[str, Any]:
		"""`refreshes`: how many there were; `clients`: by ID, how each authenticates."""
		said: dict[str, Any] = requests.get(self.issuer + "_stats", timeout=30).json()
		return said


@contextmanager
def start(secrets_expire: int | None = 0) -> Iterator[Server]:
	"""Run the server as long as the `with` block lasts.

	:param secrets_expire: seconds until a client's secret expires, 0 for never; None: what the SDK has by default, a month
	"""
	settings = {"SECRETS_EXPIRE": "" if secrets_expire is None else str(secrets_expire)}
	with node.running(HERE, **settings) as said:
		yield Server(**said)
