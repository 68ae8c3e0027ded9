"""The servers that a bench needs, started for one run in temporary folders and stopped by their process ID.

Where a server is not installed on this machine, the one that the bench's configuration names serves.
"""

from __future__ import annotations

import contextlib
import glob
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterator

from scripts.lib.bench import Bench, beside
from scripts.lib.console import Problem
from scripts.lib.processes import (
	answers,
	free_port,
	process_runs,
	run,
	signals_wait,
	start,
	stop,
	stop_quietly,
	wait_for,
)

DATABASES = {"mariadb": "MariaDB", "postgres": "PostgreSQL", "sqlite": "SQLite"}
FOLDER = "connected-app-server"
HOST, PASSWORD = "127.0.0.1", "connected-app"


def why_not(bench: Bench, db_type: str) -> str | None:
	"""Why sites of this bench cannot be made on this database, in one sentence; None if they can."""
	if db_type == "sqlite":
		return None if bench.has_sqlite() else "its Frappe, or its Python's SQLite, cannot do it"
	if _program(db_type) or bench.db_type == db_type:
		return None
	return f"there is no {DATABASES[db_type]} server on this machine"


@contextlib.contextmanager
def borrowed(bench: Bench, db_type: str = "", snapshot_isolation: bool | None = None) -> Iterator[Bench]:
	"""A bench beside `bench`, with servers of its own.

	:param db_type: `mariadb`, `postgres` or `sqlite`; by default what the bench's configuration says
	:param snapshot_isolation: MariaDB's innodb_snapshot_isolation; by default what the server has
	"""
	db_type = db_type or bench.db_type
	_sweep()
	with contextlib.ExitStack() as stack:
		config = redis(bench, stack)
		if db_type == "mariadb":
			config |= mariadb(bench, stack, snapshot_isolation)
		elif db_type == "postgres":
			config |= postgres(bench, stack)
		else:
			# Not used, but Frappe looks for it where no site is named.
			config["db_user"] = "nobody"
		yield stack.enter_context(beside(bench, **config, db_type=db_type))


def redis(bench: Bench, stack: contextlib.ExitStack) -> dict[str, object]:
	"""One Redis for all that Frappe uses it for."""
	if not shutil.which("redis-server"):
		url = urllib.parse.urlparse(bench.config.get("redis_cache", ""))
		if not url.port or not answers(url.hostname, url.port):
			raise Problem("there is no redis-server on this machine, and the bench's Redis gives no answer.")
		return {}
	port = free_port()
	command = ["redis-server", "--bind", HOST, "--port", port, "--save", "", "--appendonly", "no"]
	process = start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
	stack.callback(stop_quietly, process)
	if not wait_for(lambda: answers(HOST, port), 15, process):
		raise Problem("Redis did not start.")
	return dict.fromkeys(("redis_cache", "redis_queue", "redis_socketio"), f"redis://{HOST}:{port}")


def mariadb(
	bench: Bench, stack: contextlib.ExitStack, snapshot_isolation: bool | None = None
) -> dict[str, object]:
	server = _program("mariadb")
	if not server:
		return _configured(bench, 3306)
	user = _account("mysql")
	folder, port = _folder(stack, user), free_port()
	where = ["--no-defaults", f"--datadir={folder / 'data'}", *([f"--user={user}"] if user else [])]
	# In a folder that it shares, a server that starts removes the temporary tables of the others.
	where.append(f"--tmpdir={folder}")
	make = [server.with_name("mariadb-install-db"), *where, "--auth-root-authentication-method=normal"]
	if not make[0].exists():
		make[0] = pathlib.Path(shutil.which("mariadb-install-db") or "mariadb-install-db")
	code, output = run([*make, "--skip-test-db", "--skip-name-resolve"], cwd=folder)
	if code:
		raise Problem(f"MariaDB's data folder could not be made:\n{output[-2000:]}")
	first = folder / "first.sql"
	accounts = [f"'root'@'{host}'" for host in ("localhost", HOST)]
	first.write_text(
		"".join(
			f"CREATE USER IF NOT EXISTS {account};\nALTER USER {account} IDENTIFIED BY '{PASSWORD}';\n"
			f"GRANT ALL ON *.* TO {account} WITH GRANT OPTION;\n"
			for account in accounts
		)
	)
	first.chmod(0o644)
	command = [
		*(server, *where, f"--port={port}", f"--bind-address={HOST}", f"--socket={folder / 'socket'}"),
		*("--character-set-server=utf8mb4", "--collation-server=utf8mb4_unicode_ci", f"--init-file={first}"),
		# Nothing here outlives the run.
		*("--innodb-flush-log-at-trx-commit=0", "--skip-log-bin", "--skip-name-resolve"),
		# Else a change of a table waits for a day for a transaction that was left open.
		"--lock-wait-timeout=120",
	]
	if snapshot_isolation is not None:
		command.append(f"--loose-innodb-snapshot-isolation={'ON' if snapshot_isolation else 'OFF'}")
	_serve(stack, command, folder, port, "MariaDB")
	return {"db_host": HOST, "db_port": port, "root_login": "root", "root_password": PASSWORD}


def postgres(bench: Bench, stack: contextlib.ExitStack) -> dict[str, object]:
	server = _program("postgres")
	if not server:
		return _configured(bench, 5432)
	user = _account("postgres")
	folder, port = _folder(stack, user), free_port()
	secret = folder / "password"
	secret.write_text(PASSWORD)
	secret.chmod(0o644)
	command = [server.with_name("initdb"), "-D", folder / "data", "-U", "postgres", f"--pwfile={secret}"]
	command += ["-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
	code, output = run(command, cwd=folder, **_as(user))
	if code:
		raise Problem(f"PostgreSQL's data folder could not be made:\n{output[-2000:]}")
	settings = {"port": port, "listen_addresses": HOST, "unix_socket_directories": folder}
	settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
	command = [server, "-D", folder / "data", *(f"--{key}={value}" for key, value in settings.items())]
	_serve(stack, command, folder, port, "PostgreSQL", at_end=signal.SIGQUIT, **_as(user))
	return {"db_host": HOST, "db_port": port, "root_login": "postgres", "root_password": PASSWORD}


def _program(db_type: str) -> pathlib.Path | None:
	"""The newest server of this kind on this machine."""
	path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
	if db_type == "mariadb":
		found = shutil.which("mariadbd", path=path)
		return pathlib.Path(found) if found else None
	folders = glob.glob("/usr/lib/postgresql/*/bin") + glob.glob("/usr/pgsql-*/bin")
	newest_first = sorted(
		folders, key=lambda name: [int(part) for part in re.findall(r"\d+", name)], reverse=True
	)
	found = shutil.which("postgres", path=":".join([*newest_first, path]))
	return pathlib.Path(found).resolve() if found else None


def _configured(bench: Bench, usual_port: int) -> dict[str, object]:
	host = bench.config.get("db_host") or HOST
	port = int(bench.config.get("db_port") or usual_port)
	if not answers(host, port):
		raise Problem(
			f"the database of {bench.name} does not answer at {host}:{port}: start it and run this again."
		)
	return {}


def _account(name: str) -> str:
	"""Whom a server runs as: neither of them wants to be root."""
	if os.geteuid() != 0:
		return ""
	try:
		return pwd.getpwnam(name).pw_name
	except KeyError:
		raise Problem(f"there is no user {name} on this machine, which its server could run as.") from None


def _as(user: str) -> dict[str, object]:
	return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}


def _folder(stack: contextlib.ExitStack, user: str) -> pathlib.Path:
	folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{FOLDER}-{os.getpid()}-"))
	stack.callback(shutil.rmtree, folder, ignore_errors=True)
	if user:
		shutil.chown(folder, user)
	return folder


def _serve(stack, command, folder, port, what, at_end=signal.SIGTERM, **options) -> None:
	log = folder / "log"
	with open(log, "wb") as handle:
		process = start(command, cwd=folder, stdout=handle, stderr=subprocess.STDOUT, **options)
	stack.callback(_end, process, at_end)
	if not wait_for(lambda: answers(HOST, port), 60, process):
		raise Problem(f"{what} did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _end(process: subprocess.Popen, number: int) -> None:
	with signals_wait():
		with contextlib.suppress(ProcessLookupError):
			os.killpg(process.pid, number)
		with contextlib.suppress(subprocess.TimeoutExpired):
			process.wait(20)
		stop(process)


def _sweep() -> None:
	"""End the servers that a killed run left, and remove their folders."""
	for folder in pathlib.Path(tempfile.gettempdir()).glob(f"{FOLDER}-*-*"):
		if process_runs(folder.name[len(FOLDER) + 1 :].split("-")[0]):
			continue
		for cmdline in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
			with contextlib.suppress(OSError):
				if str(folder).encode() in cmdline.read_bytes():
					os.kill(int(cmdline.parent.name), signal.SIGKILL)
		shutil.rmtree(folder, ignore_errors=True)
