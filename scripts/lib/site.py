"""A site on a bench, and its web server."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator

from scripts.lib.bench import Bench
from scripts.lib.checkout import APP
from scripts.lib.console import Problem, say
from scripts.lib.processes import free_port, signals_wait, start, stop_quietly, wait_for


class Site:
	"""A site, and the port of loopback at which it is served."""

	def __init__(self, bench: Bench, name: str, port: int = 0) -> None:
		"""
		:param name: of the folder in the bench's `sites`
		:param port: a free one by default
		"""
		self.bench, self.name, self.port = bench, name, port or free_port()

	@property
	def url(self) -> str:
		return f"http://127.0.0.1:{self.port}"

	def run(self, *arguments: str, show=False, check=True) -> tuple[int, str]:
		return self.bench.run(*arguments, site=self.name, show=show, check=check)

	@property
	def _config_file(self) -> pathlib.Path:
		return self.bench.sites / self.name / "site_config.json"

	@property
	def config(self) -> dict:
		return json.loads(self._config_file.read_text())

	def configure(self, **settings) -> None:
		config = {**self.config, **settings}
		self._config_file.write_text(json.dumps(config, indent=1, sort_keys=True))

	def move(self, port: int = 0) -> None:
		"""Give the site another address."""
		self.port = port or free_port()
		self.configure(host_name=self.url)

	def install(self) -> None:
		self.run("clear-cache")
		say(f"… installing the app on {self.name}")
		_, output = self.run("install-app", APP)
		if APP not in self.run("list-apps")[1]:
			raise Problem(f"the app did not install on {self.name}:\n{output[-2000:]}")

	@contextlib.contextmanager
	def served(self, workers: int = 2) -> Iterator[pathlib.Path]:
		"""Desk on loopback for this one site; gives the path of its log."""
		folder = pathlib.Path(tempfile.mkdtemp(prefix="connected-app-web-"))
		# gunicorn ignores FRAPPE_SITE, and the Host header here is an address.
		(folder / "conf.py").write_text(
			f"def post_worker_init(worker):\n\timport frappe.app\n\n\tfrappe.app._site = {self.name!r}\n"
		)
		log = folder / "web.log"
		command = [
			self.bench.path / "env/bin/gunicorn",
			*("-b", f"127.0.0.1:{self.port}", "-w", workers, "--threads", 4, "-t", 120),
			*("-c", folder / "conf.py", "frappe.app:application_with_statics()"),
		]
		process = None
		try:
			with open(log, "wb") as handle:
				process = start(
					command,
					cwd=self.bench.sites,
					env=self.bench.environment,
					stdout=handle,
					stderr=subprocess.STDOUT,
				)
			if not wait_for(self._answers, 60, process):
				raise Problem(f"no answer from the web server at {self.url}:\n{log.read_text()[-3000:]}")
			yield log
		finally:
			if process is not None:
				stop_quietly(process)
			shutil.rmtree(folder, ignore_errors=True)

	def _answers(self) -> bool:
		with contextlib.suppress(OSError, urllib.error.URLError):
			with urllib.request.urlopen(f"{self.url}/api/method/ping", timeout=20) as reply:
				return reply.status == 200
		return False


@contextlib.contextmanager
def fresh_site(bench: Bench, prefix: str, port: int = 0, app: bool = True) -> Iterator[Site]:
	"""A new site with (or without) the app, which is dropped at the end."""
	site = Site(bench, f"{prefix}-{os.getpid()}.local", port)
	try:
		say(f"… creating {site.name} on {bench.name}")
		bench.run("new-site", site.name, "--admin-password", "admin", "--db-type", bench.db_type)
		site.configure(
			host_name=site.url,
			allow_tests=1,
			# A plain http provider on loopback is accepted in developer mode only.
			developer_mode=1,
			# Made before the first request: two processes would each make their own.
			encryption_key=base64.urlsafe_b64encode(os.urandom(32)).decode(),
		)
		if app:
			site.install()
		site.run("execute", "frappe.utils.install.complete_setup_wizard")
		yield site
	finally:
		with signals_wait():
			bench.drop(site.name)
