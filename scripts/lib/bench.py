"""A Frappe bench that is already there, and a folder beside it that shares its apps. Nothing here builds a bench."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator

from scripts.lib.checkout import APP, CHECKOUT, VENVS
from scripts.lib.console import Problem, say
from scripts.lib.processes import environment, process_runs, run, signals_wait

HOW_TO_GET_A_BENCH = (
	"no bench found. Frappe comes from its git repository: with Frappe's bench tool, "
	"`bench init ~/frappe-bench --frappe-branch version-15` makes one; then put root_login and root_password of "
	"MariaDB into its sites/common_site_config.json. A bench elsewhere is named by FRAPPE_BENCH=/path/to/bench."
)
FOLDER = "connected-app-bench"


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
	"""A folder with apps, a Python environment and sites."""

	def __init__(self, path: pathlib.Path, name: str = ""):
		self.path = path
		self.name = name or path.name
		self.sites = path / "sites"
		self.python = path / "env" / "bin" / "python"
		# Where `connected_app` is imported from.
		self.app = CHECKOUT

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
	def db_type(self) -> str:
		return self.config.get("db_type") or "mariadb"

	@property
	def environment(self) -> dict[str, str]:
		"""For each process on this bench: `connected_app` is imported from the checkout, not from what is installed."""
		own = environment(
			PYTHONPATH=os.pathsep.join(dict.fromkeys((str(self.app), str(CHECKOUT)))),
			FRAPPE_BENCH_ROOT=str(self.path),
			CONNECTED_APP_REPO=str(CHECKOUT),
		)
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

	def link_app(self, folder: pathlib.Path) -> None:
		"""Make the app in `folder` the one of this bench, which is `beside` another."""
		self.app = folder
		links = {self.path / "apps" / APP: folder, self.sites / "assets" / APP: folder / APP / "public"}
		for link, target in links.items():
			link.unlink(missing_ok=True)
			link.symlink_to(target)

	def has_sqlite(self) -> bool:
		"""Whether this Frappe knows SQLite, and its Python has one that is new enough (CONCAT_WS)."""
		if not (self.path / "apps/frappe/frappe/database/sqlite").is_dir():
			return False
		probe = "import sqlite3; sqlite3.connect(':memory:').execute(\"select concat_ws(',', 1, 2)\")"
		return run([self.python, "-c", probe])[0] == 0

	def drop(self, site: str) -> None:
		folder = self.sites / site
		if not folder.exists():
			return
		archive = pathlib.Path(tempfile.mkdtemp(prefix="connected-app-archive-"))
		root = []
		config = {**self.config, **json.loads((folder / "site_config.json").read_text())}
		if config.get("db_type") != "sqlite":
			root = ["--root-login", config.get("root_login") or "root"]
			if config.get("root_password"):
				root += ["--root-password", config["root_password"]]
		options = ["--no-backup", "--force", "--archived-sites-path", str(archive)]
		code, output = self.run("drop-site", site, *options, *root, check=False)
		shutil.rmtree(archive, ignore_errors=True)
		if code or folder.exists():
			say(f"! {site} could not be dropped cleanly: {output.strip().splitlines()[-1:]}")
			shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def beside(bench: Bench, **config: object) -> Iterator[Bench]:
	"""A bench that shares apps, Python and built assets with `bench` by links, and has sites of its own.

	The checkout is one of its apps. `bench` is not changed, so several of these can be in use at once.

	:param config: added to the bench's common_site_config.json
	"""
	_sweep()
	folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{FOLDER}-{os.getpid()}-"))
	copy = Bench(folder, bench.name)
	try:
		_link(bench, copy, {**bench.config, **config})
		yield copy
	finally:
		with signals_wait():
			shutil.rmtree(folder, ignore_errors=True)


def _link(bench: Bench, copy: Bench, config: dict) -> None:
	for name in ("apps", "logs", "sites/assets"):
		(copy.path / name).mkdir(parents=True)
	for name in ("env", "config"):
		(copy.path / name).symlink_to(bench.path / name)
	for shared in ("apps", "sites/assets"):
		for entry in (bench.path / shared).iterdir():
			if entry.name != APP:
				(copy.path / shared / entry.name).symlink_to(entry)
	copy.link_app(CHECKOUT)
	apps = [app for app in (bench.sites / "apps.txt").read_text().split() if app != APP]
	(copy.sites / "apps.txt").write_text("\n".join([*apps, APP]) + "\n")
	(copy.sites / "common_site_config.json").write_text(json.dumps(config, indent=1, sort_keys=True))


def _sweep() -> None:
	"""Remove what a killed run left: folders whose process is gone, and the databases of their sites."""
	for folder in pathlib.Path(tempfile.gettempdir()).glob(f"{FOLDER}-*-*"):
		if process_runs(folder.name[len(FOLDER) + 1 :].split("-")[0]):
			continue
		left = Bench(folder)
		for config in left.sites.glob("*/site_config.json"):
			say(f"… dropping {config.parent.name}, which an earlier run left")
			left.drop(config.parent.name)
		shutil.rmtree(folder, ignore_errors=True)
