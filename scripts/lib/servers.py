"""The servers that a bench needs: Redis of its own, and a database."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
import urllib.parse
from collections.abc import Iterator

from scripts.lib.bench import Bench, beside
from scripts.lib.console import Problem
from scripts.lib.processes import answers, free_port, start, stop_quietly, wait_for

DATABASES = {"mariadb": "MariaDB", "postgres": "PostgreSQL", "sqlite": "SQLite"}


def database(bench: Bench) -> str:
	"""The name of the database that sites of this bench are made on."""
	return DATABASES.get(bench.db_type, bench.db_type)


@contextlib.contextmanager
def borrowed(bench: Bench, **config: object) -> Iterator[Bench]:
	"""A bench beside `bench` whose servers answer; what had to be started is stopped again."""
	with contextlib.ExitStack() as stack:
		config = {**redis(bench, stack), **config}
		copy = stack.enter_context(beside(bench, **config))
		if copy.db_type == "mariadb":
			mariadb(copy, stack)
		yield copy


def redis(bench: Bench, stack: contextlib.ExitStack) -> dict[str, str]:
	"""One Redis for all that Frappe uses it for; without redis-server on this machine, the bench's own."""
	if not shutil.which("redis-server"):
		url = urllib.parse.urlparse(bench.config.get("redis_cache", ""))
		if not url.port or not answers(url.hostname, url.port):
			raise Problem("there is no redis-server on this machine, and the bench's Redis gives no answer.")
		return {}
	port = free_port()
	command = ["redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no"]
	process = start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
	stack.callback(stop_quietly, process)
	if not wait_for(lambda: answers("127.0.0.1", port), 15, process):
		raise Problem("Redis did not start.")
	return dict.fromkeys(("redis_cache", "redis_queue", "redis_socketio"), f"redis://127.0.0.1:{port}")


def mariadb(bench: Bench, stack: contextlib.ExitStack) -> None:
	host = bench.config.get("db_host") or "127.0.0.1"
	port = int(bench.config.get("db_port") or 3306)
	if answers(host, port):
		return
	server = shutil.which("mariadbd") or shutil.which("mysqld") or shutil.which("mariadbd", path="/usr/sbin")
	if not server or host not in ("127.0.0.1", "localhost") or os.geteuid() != 0:
		raise Problem(f"MariaDB does not answer at {host}:{port}: start it and run this again.")
	socket_folder = pathlib.Path("/run/mysqld")
	socket_folder.mkdir(exist_ok=True)
	shutil.chown(socket_folder, "mysql")
	process = start(
		[server, "--user=mysql", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
	)
	stack.callback(stop_quietly, process, 60)
	if not wait_for(lambda: answers(host, port), 60, process):
		raise Problem(f"MariaDB did not come up at {host}:{port}.")
