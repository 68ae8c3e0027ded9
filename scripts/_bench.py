"""Helpers that scripts/test, scripts/check, scripts/demo and scripts/bench share. Standard library only.

Two halves: the virtualenvs of the checkout (`.venvs/`), and a Frappe bench that is *borrowed*: everything
that is put into it (app link, line in apps.txt, site, servers) is taken out again when the `with` block ends,
also after a failure or an interrupt. This file never builds a bench.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import glob
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
VENVS = CHECKOUT / ".venvs"
APP = "connected_app"
# The oldest libraries the app promises to run on: what Frappe 15 pins.
OLDEST = ["requests-oauthlib==1.3.1", "oauthlib==3.2.2", "PyJWT==2.8.0"]
ENVIRONMENTS = {"pinned": (".[test]", OLDEST), "newest": (".[test,check]", [])}


class Problem(Exception):
	"""Something a person can mend; the text is one plain sentence."""


def say(text: str = "") -> None:
	print(text, flush=True)


# --- processes -------------------------------------------------------------------------------------------


def exit_on_signals() -> None:
	"""Turn a polite kill into an ordinary exit, so that every `with` block cleans up."""

	def leave(number, _frame):
		ignore_signals()
		sys.exit(128 + number)

	for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
		signal.signal(number, leave)


def ignore_signals() -> None:
	"""A second Ctrl-C must not stop the cleaning up."""
	for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
		signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def _cleaning_up() -> Iterator[None]:
	"""Signals wait while a borrowed thing is given back."""
	numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
	before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
	try:
		yield
	finally:
		signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start(command, **options) -> subprocess.Popen:
	"""Start a process in a group of its own: a Ctrl-C reaches this script only, which then ends the group."""
	options.setdefault("stdin", subprocess.DEVNULL)
	return subprocess.Popen(
		[str(part) for part in command],
		start_new_session=True,
		preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, set()),
		**options,
	)


def stop(process: subprocess.Popen, patience: float = 20) -> None:
	if process.poll() is not None:
		return
	for number, wait in ((signal.SIGTERM, patience), (signal.SIGKILL, 5)):
		with contextlib.suppress(ProcessLookupError):
			os.killpg(process.pid, number)
		with contextlib.suppress(subprocess.TimeoutExpired):
			process.wait(wait)
			return


def run(command, show=False, **options) -> tuple[int, str]:
	"""Run to the end; returns exit code and output (also shown line by line if asked)."""
	process = start(
		command,
		stdout=subprocess.PIPE,
		stderr=subprocess.STDOUT,
		text=True,
		errors="replace",
		**options,
	)
	lines = []
	try:
		for line in process.stdout:
			lines.append(line)
			if show:
				sys.stdout.write(line)
				sys.stdout.flush()
		code = process.wait()
	finally:
		stop(process, patience=10)
	return code, "".join(lines)


def environment() -> dict[str, str]:
	"""For processes that import from the checkout."""
	return {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"}


@contextlib.contextmanager
def serving(*command) -> Iterator[str]:
	"""A server of the checkout while the block runs; gives the line that it prints when it is ready."""
	process = start(command, cwd=CHECKOUT, env=environment(), stdout=subprocess.PIPE, text=True)
	try:
		line = process.stdout.readline().strip()
		if not line:
			raise Problem(f"{command[-1]} did not start: see the lines above.")
		yield line
	finally:
		_stop_quietly(process)
		process.stdout.close()


def free_port() -> int:
	with socket.socket() as probe:
		probe.bind(("127.0.0.1", 0))
		return probe.getsockname()[1]


def answers(host: str, port: int) -> bool:
	with contextlib.suppress(OSError):
		socket.create_connection((host, port), timeout=2).close()
		return True
	return False


def wait_for(check, seconds: float, process: subprocess.Popen | None = None) -> bool:
	deadline = time.monotonic() + seconds
	while time.monotonic() < deadline:
		if check():
			return True
		if process is not None and process.poll() is not None:
			return False
		time.sleep(0.2)
	return False


@contextlib.contextmanager
def locked(path: pathlib.Path, waiting_for: str) -> Iterator[None]:
	path.parent.mkdir(parents=True, exist_ok=True)
	with open(path, "w") as handle:
		try:
			fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
		except BlockingIOError:
			say(f"… waiting: {waiting_for} is in use by another run of these scripts")
			fcntl.flock(handle, fcntl.LOCK_EX)
		yield


# --- the checkout's own virtualenvs ----------------------------------------------------------------------


def venv_python(name: str) -> pathlib.Path:
	"""The interpreter of `.venvs/<name>`, which is made or renewed first when pyproject.toml has changed."""
	install, extra = ENVIRONMENTS[name]
	folder = VENVS / name
	python = folder / "bin" / "python"
	stamp = folder / ".stamp"
	# The path is part of it: a virtualenv that was copied along with its checkout is not usable.
	wanted = hashlib.sha256(
		repr((sys.version, str(CHECKOUT), install, extra)).encode()
		+ (CHECKOUT / "pyproject.toml").read_bytes()
	).hexdigest()
	with locked(VENVS / f".{name}.lock", f".venvs/{name}"):
		if stamp.exists() and stamp.read_text() == wanted and python.exists():
			return python
		say(f"… installing .venvs/{name} (once; later runs reuse it)")
		shutil.rmtree(folder, ignore_errors=True)
		code, output = run([sys.executable, "-m", "venv", folder])
		if code:
			shutil.rmtree(folder, ignore_errors=True)
			if "ensurepip" in output or "No module named venv" in output:
				raise Problem(
					"Python's venv module is missing on this machine: install it (on Debian and Ubuntu: "
					"apt-get install python3-venv) and run this again."
				)
			raise Problem(f"a virtualenv could not be made in .venvs/{name}:\n{output[-2000:]}")
		pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
		code, output = run([*pip, "-U", "pip"])
		if not code:
			code, output = run([*pip, "-U", "-e", install, *extra], cwd=CHECKOUT)
		if code:
			raise Problem(f"the libraries for .venvs/{name} could not be installed:\n{output[-3000:]}")
		stamp.write_text(wanted)
	return python


def prepare_certified_provider() -> str | None:
	"""Install the npm provider of tests/certified. Returns a sentence when its tests cannot run."""
	folder = CHECKOUT / "tests" / "certified"
	if not (folder / "package.json").exists():
		return None
	if not shutil.which("node") or not shutil.which("npm"):
		return (
			"the tests against the certified provider were left out: they need Node.js 20 or newer and npm."
		)
	with locked(VENVS / ".certified.lock", "tests/certified"):
		if (folder / "node_modules").exists():
			return None
		say("… installing the certified provider (tests/certified)")
		code, output = run(
			["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder
		)
	if code:
		return f"the certified provider could not be installed with npm: {output.strip()[-600:]}"
	return None


# --- a bench ---------------------------------------------------------------------------------------------

HOW_TO_GET_A_BENCH = (
	"no bench found. Frappe comes from its git repository: with Frappe's bench tool, "
	"`bench init ~/frappe-bench --frappe-branch version-15` makes one; then put root_login and root_password of "
	"MariaDB into its sites/common_site_config.json. A bench elsewhere is named by FRAPPE_BENCH=/path/to/bench."
)


def find_benches(text: str = "") -> list[Bench]:
	"""$FRAPPE_BENCH, else each ~/frappe-bench*; `text` keeps those with it in their path."""
	named = os.environ.get("FRAPPE_BENCH")
	if named and not (pathlib.Path(named).expanduser() / "sites").is_dir():
		raise Problem(f"FRAPPE_BENCH is {named}, which is not a bench: it has no folder named sites.")
	paths = [named] if named else sorted(glob.glob(os.path.expanduser("~/frappe-bench*")))
	found = [pathlib.Path(path).expanduser().resolve() for path in paths]
	return [
		Bench(path)
		for path in found
		if text in str(path) and (path / "sites").is_dir() and (path / "apps" / "frappe").is_dir()
	]


class Bench:
	"""One bench that is already there, and what these scripts do in it."""

	def __init__(self, path: pathlib.Path, db_type: str = ""):
		"""
		:param db_type: of the sites that are made here; what the bench's configuration says by default
		"""
		self.path = path
		self.sites = path / "sites"
		self.python = path / "env" / "bin" / "python"
		self.name = path.name
		self.db_type = db_type or self.config.get("db_type") or "mariadb"

	@property
	def version(self) -> str:
		text = (self.path / "apps/frappe/frappe/__init__.py").read_text()
		found = re.search(r"^__version__\s*=\s*[\"']([^\"']+)", text, re.M)
		return found.group(1) if found else "?"

	@property
	def config(self) -> dict:
		path = self.sites / "common_site_config.json"
		return json.loads(path.read_text()) if path.exists() else {}

	@property
	def database(self) -> str:
		names = {"mariadb": "MariaDB", "postgres": "PostgreSQL", "sqlite": "SQLite"}
		return names.get(self.db_type, self.db_type)

	def on_sqlite(self) -> Bench | None:
		"""This bench with sites on SQLite, where its Frappe has that and its SQLite is new enough (CONCAT_WS)."""
		if self.db_type == "sqlite" or not (self.path / "apps/frappe/frappe/database/sqlite").is_dir():
			return None
		probe = "import sqlite3; sqlite3.connect(':memory:').execute(\"select concat_ws(',', 1, 2)\")"
		code, _ = run([self.python, "-c", probe])
		return None if code else Bench(self.path, "sqlite")

	@property
	def environment(self) -> dict[str, str]:
		"""For every process on this bench: `connected_app` is imported from the checkout, whatever is installed."""
		own = {**os.environ, "PYTHONPATH": str(self.path / "apps" / APP), "PYTHONDONTWRITEBYTECODE": "1"}
		own["CONNECTED_APP_REPO"] = str(CHECKOUT)
		python = VENVS / "newest" / "bin" / "python"
		if python.exists():
			own["CONNECTED_APP_TEST_PYTHON"] = str(python)
		for name in ("VIRTUAL_ENV", "PYTHONHOME", "FRAPPE_SITE"):
			own.pop(name, None)
		return own

	def run(self, *arguments: str, site: str | None = None, show=False, check=True) -> tuple[int, str]:
		"""What the `bench` command does, without it (it refuses to run as root)."""
		where = ["--site", site] if site else []
		command = [self.python, "-m", "frappe.utils.bench_helper", "frappe", *where, *arguments]
		code, output = run(command, show=show, cwd=self.sites, env=self.environment)
		if check and code:
			raise Problem(f"`bench {' '.join(arguments[:2])}` failed on {self.name}:\n{output[-3000:]}")
		return code, output

	def lock(self):
		"""One run at a time: the app link and apps.txt are the bench's, not a site's."""
		digest = hashlib.sha256(str(self.path).encode()).hexdigest()[:12]
		return locked(pathlib.Path(tempfile.gettempdir()) / f"connected-app-{digest}.lock", self.name)

	# Services

	@contextlib.contextmanager
	def services(self) -> Iterator[None]:
		"""MariaDB and Redis answer; what had to be started is stopped again."""
		with contextlib.ExitStack() as stack:
			self._start_redis(stack)
			if self.database == "MariaDB":
				self._start_mariadb(stack)
			yield

	def _start_redis(self, stack: contextlib.ExitStack) -> None:
		for key, file in (("redis_cache", "redis_cache.conf"), ("redis_queue", "redis_queue.conf")):
			url = urllib.parse.urlparse(self.config.get(key, ""))
			if not url.port or answers(url.hostname, url.port):
				continue
			if not shutil.which("redis-server") or url.hostname not in ("127.0.0.1", "localhost"):
				raise Problem(
					f"Redis does not answer at {url.hostname}:{url.port}, and cannot be started here."
				)
			process = start(
				["redis-server", f"config/{file}"],
				cwd=self.path,
				stdout=subprocess.DEVNULL,
				stderr=subprocess.DEVNULL,
			)
			stack.callback(_stop_quietly, process)
			if not wait_for(lambda url=url: answers(url.hostname, url.port), 15, process):
				raise Problem(f"Redis did not come up at port {url.port}: see {self.path}/config/{file}.")

	def _start_mariadb(self, stack: contextlib.ExitStack) -> None:
		host = self.config.get("db_host") or "127.0.0.1"
		port = int(self.config.get("db_port") or 3306)
		if answers(host, port):
			return
		server = (
			shutil.which("mariadbd") or shutil.which("mysqld") or shutil.which("mariadbd", path="/usr/sbin")
		)
		if not server or host not in ("127.0.0.1", "localhost") or os.geteuid() != 0:
			raise Problem(f"MariaDB does not answer at {host}:{port}: start it and run this again.")
		socket_folder = pathlib.Path("/run/mysqld")
		socket_folder.mkdir(exist_ok=True)
		shutil.chown(socket_folder, "mysql")
		process = start(
			[server, "--user=mysql", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
		)
		stack.callback(_stop_quietly, process, 60)
		if not wait_for(lambda: answers(host, port), 60, process):
			raise Problem(f"MariaDB did not come up at {host}:{port}.")

	# The app

	@contextlib.contextmanager
	def app_linked(self, checkout: pathlib.Path = CHECKOUT) -> Iterator[None]:
		"""The checkout is an app of this bench while the block runs; then the bench is as it was."""
		with contextlib.ExitStack() as stack:
			self._borrow_link(stack, self.path / "apps" / APP, checkout)
			self._borrow_import_path(stack)
			self._borrow_apps_txt(stack)
			public = checkout / APP / "public"
			if public.is_dir():
				(self.sites / "assets").mkdir(exist_ok=True)
				self._borrow_link(
					stack, self.sites / "assets" / APP, self.path / "apps" / APP / APP / "public"
				)
			yield

	def _borrow_link(self, stack: contextlib.ExitStack, link: pathlib.Path, target: pathlib.Path) -> None:
		if link.exists() and link.resolve() == target.resolve():
			return
		before = os.readlink(link) if link.is_symlink() else None
		if before is None and link.exists():
			raise Problem(
				f"{link} is a real folder, so this checkout cannot be linked there: move it away, or run the "
				"tests of the checkout that is in the bench."
			)

		def restore():
			link.unlink(missing_ok=True)
			if before is not None:
				link.symlink_to(before)

		stack.callback(restore)
		link.unlink(missing_ok=True)
		link.symlink_to(target)

	def _borrow_import_path(self, stack: contextlib.ExitStack) -> None:
		"""Other processes of the bench (a web server that runs already) read apps.txt too and must find it."""
		bare = {key: value for key, value in self.environment.items() if key != "PYTHONPATH"}
		code, _ = run([self.python, "-c", f"import {APP}"], cwd=self.sites, env=bare)
		if code == 0:
			return
		_, packages = run([self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"])
		file = pathlib.Path(packages.strip().splitlines()[-1]) / f"{APP}-borrowed.pth"
		stack.callback(file.unlink, missing_ok=True)
		file.write_text(f"{self.path / 'apps' / APP}\n")

	def _borrow_apps_txt(self, stack: contextlib.ExitStack) -> None:
		file = self.sites / "apps.txt"
		before = file.read_text()
		if APP in before.split():
			return

		def restore():
			now = file.read_text()
			if now == added:
				file.write_text(before)
			else:
				kept = [line for line in now.splitlines() if line.strip() != APP]
				file.write_text("\n".join(kept) + "\n")

		added = before + ("" if before.endswith("\n") or not before else "\n") + APP + "\n"
		stack.callback(restore)
		file.write_text(added)

	# A site

	@contextlib.contextmanager
	def fresh_site(self, name: str, port: int, keep=False, app=True, **settings) -> Iterator[str]:
		"""A new site with (or without) the app, reachable at `port` later; dropped at the end unless kept."""
		base_url = f"http://127.0.0.1:{port}"
		try:
			say(f"… creating {name} on {self.name}")
			self.run("new-site", name, "--admin-password", "admin", "--db-type", self.db_type)
			self.configure(
				name,
				host_name=base_url,
				allow_tests=1,
				# A plain http provider on loopback is accepted in developer mode only.
				developer_mode=1,
				# Made before the first request: two processes would each make their own.
				encryption_key=base64.urlsafe_b64encode(os.urandom(32)).decode(),
				**settings,
			)
			if app:
				self.install(name)
			self.run("execute", "frappe.utils.install.complete_setup_wizard", site=name)
			yield base_url
		finally:
			if not keep:
				with _cleaning_up():
					self.drop(name)

	def install(self, site: str) -> None:
		self.run("clear-cache", site=site)
		say(f"… installing the app on {site}")
		_, output = self.run("install-app", APP, site=site)
		if APP not in self.run("list-apps", site=site)[1]:
			raise Problem(f"the app did not install on {site}:\n{output[-2000:]}")

	def site_config(self, site: str) -> dict:
		return json.loads((self.sites / site / "site_config.json").read_text())

	def configure(self, site: str, **settings) -> None:
		config = {**self.site_config(site), **settings}
		(self.sites / site / "site_config.json").write_text(json.dumps(config, indent=1, sort_keys=True))

	def drop(self, site: str) -> None:
		folder = self.sites / site
		if not folder.exists():
			return
		archive = pathlib.Path(tempfile.mkdtemp(prefix="connected-app-archive-"))
		root = []
		if self.database != "SQLite":
			root = ["--root-login", self.config.get("root_login") or "root"]
			if self.config.get("root_password"):
				root += ["--root-password", self.config["root_password"]]
		options = ["--no-backup", "--force", "--archived-sites-path", str(archive)]
		code, output = self.run("drop-site", site, *options, *root, check=False)
		shutil.rmtree(archive, ignore_errors=True)
		if code or folder.exists():
			say(f"! {site} could not be dropped cleanly: {output.strip().splitlines()[-1:]}")
			shutil.rmtree(folder, ignore_errors=True)

	def sweep(self, prefix: str) -> None:
		"""Drop sites that a killed run left behind: PREFIX-PID.local whose process is gone."""
		for folder in self.sites.glob(f"{prefix}-*.local"):
			number = folder.name[len(prefix) + 1 : -len(".local")]
			if number.isdigit() and not pathlib.Path(f"/proc/{number}").exists():
				say(f"… dropping {folder.name}, which an earlier run left")
				self.drop(folder.name)

	@contextlib.contextmanager
	def web_server(self, site: str, port: int, workers: int = 2) -> Iterator[pathlib.Path]:
		"""Desk on loopback for this one site; gives the path of its log."""
		folder = pathlib.Path(tempfile.mkdtemp(prefix="connected-app-web-"))
		# gunicorn ignores FRAPPE_SITE, and the Host header here is an address.
		(folder / "conf.py").write_text(
			f"def post_worker_init(worker):\n\timport frappe.app\n\n\tfrappe.app._site = {site!r}\n"
		)
		log = folder / "web.log"
		command = [
			self.path / "env/bin/gunicorn",
			*("-b", f"127.0.0.1:{port}", "-w", workers, "--threads", 4, "-t", 120),
			*("-c", folder / "conf.py", "frappe.app:application_with_statics()"),
		]
		process = None
		try:
			with open(log, "wb") as handle:
				process = start(
					command, cwd=self.sites, env=self.environment, stdout=handle, stderr=subprocess.STDOUT
				)
			if not wait_for(lambda: _ping(port), 60, process):
				raise Problem(f"the web server did not answer on port {port}:\n{log.read_text()[-3000:]}")
			yield log
		finally:
			if process is not None:
				_stop_quietly(process)
			shutil.rmtree(folder, ignore_errors=True)


def _stop_quietly(process: subprocess.Popen, patience: float = 20) -> None:
	with _cleaning_up():
		stop(process, patience)


def _ping(port: int) -> bool:
	with contextlib.suppress(OSError, urllib.error.URLError):
		with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/method/ping", timeout=20) as reply:
			return reply.status == 200
	return False
