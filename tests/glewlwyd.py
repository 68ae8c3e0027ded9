"""Debian's Glewlwyd, an OpenID provider, in a process of its own, with a browser for its pages.

It is started where it is installed (`apt-get install glewlwyd`), or where `scripts/test` has unpacked it. Nothing of an
installation's own is touched: its database is a new one.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

UNPACKED = Path(__file__).resolve().parents[1] / ".venvs" / "glewlwyd"
ROOT = UNPACKED if (UNPACKED / "usr/bin/glewlwyd").exists() else Path("/")
PROGRAM = ROOT / "usr/bin/glewlwyd"
TABLES = ROOT / "usr/share/dbconfig-common/data/glewlwyd/install/sqlite3"
AVAILABLE = PROGRAM.exists() and TABLES.exists()
MISSING = "Glewlwyd is not installed: on Debian, apt-get install glewlwyd"
# That of the administrator, as the tables are delivered.
PASSWORD = "password"
# Seconds in which it has to be ready.
READY = 60


class Glewlwyd:
	"""One running provider with one client, and with the user alice, who has consented."""

	def __init__(self, address: str) -> None:
		self.api = address + "/api"
		self.issuer = self.api + "/oidc"
		self.discovery_url = self.issuer + "/.well-known/openid-configuration"

	def logged_in(self, user: str) -> requests.Session:
		browser = requests.Session()
		browser.trust_env = False
		self.sent(browser, "POST", "/auth/", {"username": user, "password": PASSWORD})
		return browser

	def sent(self, browser: requests.Session, method: str, path: str, values: dict[str, Any]) -> None:
		answer = browser.request(method, self.api + path, json=values, timeout=30)
		if not answer.ok:
			raise RuntimeError(f"{method} {path}: HTTP {answer.status_code}: {answer.text}")

	def consent(self, url: str) -> str:
		"""Where alice is sent, away from the provider.

		:raises requests.HTTPError: the provider says itself that it does not do that
		"""
		with self.logged_in("alice") as browser:
			answer = browser.get(url + "&g_continue", allow_redirects=False, timeout=30)
		answer.raise_for_status()
		return urljoin(url, answer.headers["Location"])

	def enter(self, user_code: str) -> str:
		"""Enter the code of a device as alice; returns the page that the browser is sent to."""
		with self.logged_in("alice") as browser:
			answer = browser.get(
				f"{self.issuer}/device?code={user_code}&g_continue", allow_redirects=False, timeout=30
			)
		return answer.headers["Location"]


@contextmanager
def start(redirect_uri: str, client: dict[str, Any], parameters: dict[str, Any]) -> Iterator[Glewlwyd]:
	"""Run it as long as the `with` block lasts.

	:param client: more of the client, as its API takes it
	:param parameters: more of the plug-in for OpenID Connect
	"""
	with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
		tables = sqlite3.connect(Path(folder) / "glewlwyd.db")
		tables.executescript(TABLES.read_text())
		tables.close()
		for _attempt in range(3):
			address = stack.enter_context(_process(Path(folder)))
			if _is_there(address):
				break
			# It takes its port from a file, and does not mind that somebody else has got that port meanwhile.
			stack.close()
		running = Glewlwyd(address)
		_fill(running, redirect_uri, client, parameters)
		yield running


@contextmanager
def _process(folder: Path) -> Iterator[str]:
	"""The address of one that says that it is ready."""
	with socket.create_server(("127.0.0.1", 0)) as free:
		port = free.getsockname()[1]
	address = f"http://127.0.0.1:{port}"
	(folder / "glewlwyd.conf").write_text(_configuration(folder, address, port))
	libraries = ":".join(str(path) for path in ROOT.glob("usr/lib/*-linux-gnu"))
	with subprocess.Popen(
		[PROGRAM, "-c", folder / "glewlwyd.conf"],
		env={**os.environ, "LD_LIBRARY_PATH": libraries},
		stdin=subprocess.DEVNULL,
		stdout=subprocess.PIPE,
		stderr=subprocess.STDOUT,
		text=True,
	) as process:
		assert process.stdout
		watch = threading.Timer(READY, process.kill)
		watch.start()
		lines: list[str] = []
		while "Glewlwyd started" not in "".join(lines[-1:]):
			line = process.stdout.readline()
			if not line:
				watch.cancel()
				raise RuntimeError("Glewlwyd ended before it was ready:\n" + "".join(lines))
			lines.append(line)
		watch.cancel()
		# Else it would wait for somebody to read its log.
		reader = threading.Thread(target=process.stdout.read)
		reader.start()
		try:
			yield address
		finally:
			# Asked to end, it waits for what it may never get; nothing of it is kept.
			process.kill()
			reader.join()


def _is_there(address: str) -> bool:
	try:
		return "admin_scope" in requests.get(f"{address}/config", timeout=10).text
	except requests.RequestException:
		return False


def _configuration(folder: Path, address: str, port: int) -> str:
	modules = ROOT / "usr/lib/glewlwyd"
	return f"""
port = {port}
bind_address = "127.0.0.1"
external_url = "{address}"
login_url = "login.html"
api_prefix = "api"
log_mode = "console"
log_level = "INFO"
cookie_secure = 0
session_expiration = 3600
session_key = "GLEWLWYD2_SESSION_ID"
admin_scope = "g_admin"
profile_scope = "g_profile"
user_module_path = "{modules}/user"
client_module_path = "{modules}/client"
user_auth_scheme_module_path = "{modules}/scheme"
plugin_module_path = "{modules}/plugin"
hash_algorithm = "SHA512"
database = {{ type = "sqlite3"; path = "{folder}/glewlwyd.db"; }};
"""


def _fill(running: Glewlwyd, redirect_uri: str, client: dict[str, Any], parameters: dict[str, Any]) -> None:
	key = ec.generate_private_key(ec.SECP256R1())
	private = key.private_bytes(
		serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
	)
	public = key.public_key().public_bytes(
		serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
	)
	plugin = {
		"iss": running.issuer,
		"jwt-type": "ecdsa",
		"jwt-key-size": "256",
		"key": private.decode(),
		"cert": public.decode(),
		"jwks-show": True,
		"access-token-duration": 3600,
		"refresh-token-duration": 86400,
		"code-duration": 600,
		"refresh-token-rolling": True,
		"refresh-token-one-use": "always",
		"allow-non-oidc": True,
		"auth-type-code-enabled": True,
		"auth-type-refresh-enabled": True,
		"pkce-allowed": True,
		"name-claim": "mandatory",
		"email-claim": "mandatory",
		"oauth-as-iss-id": True,
		**parameters,
	}
	with running.logged_in("admin") as admin:
		running.sent(
			admin,
			"POST",
			"/mod/plugin/",
			{"module": "oidc", "name": "oidc", "display_name": "OpenID", "parameters": plugin},
		)
		alice = {"username": "alice", "name": "Alice", "email": "alice@example.com", "password": PASSWORD}
		running.sent(admin, "POST", "/user/", {**alice, "enabled": True, "scope": ["openid"]})
		about = {
			"client_id": "client",
			"name": "Client",
			"confidential": True,
			"redirect_uri": [redirect_uri],
			"scope": ["openid"],
			"enabled": True,
			**client,
		}
		running.sent(admin, "POST", "/client/", about)
	with running.logged_in("alice") as browser:
		running.sent(browser, "PUT", "/auth/grant/client", {"scope": "openid"})
