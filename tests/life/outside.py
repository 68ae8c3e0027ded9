"""What can be seen and done from outside: the site, its web server, the provider, browsers."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import subprocess
import sys

import requests

from connected_app.tests.processes import Processes
from scripts.lib.bench import Bench
from scripts.lib.checkout import CHECKOUT
from scripts.lib.site import Site, fresh_site
from tests.life.people import PASSWORD

SITE_PREFIX = "connected-app-life"
CORE = "frappe.integrations.doctype.connected_app.connected_app."


class Browser:
	def __init__(self, base: str, user: str) -> None:
		self.session, self.base = requests.Session(), base
		# The web server closes a connection that has been idle for two seconds, maybe just when the next request is sent.
		self.session.headers["Connection"] = "close"
		password = "admin" if user == "Administrator" else PASSWORD
		self.session.post(
			f"{base}/api/method/login", data={"usr": user, "pwd": password}, timeout=60
		).raise_for_status()
		page = self.session.get(f"{base}/app", timeout=60).text
		self.session.headers["X-Frappe-CSRF-Token"] = re.search(
			r"csrf_token\s*=\s*['\"]([0-9a-f]{20,})", page
		)[1]

	def call(self, path: str, http: str = "POST", **args: object):
		kwargs = {"params": args} if http == "GET" else {"data": args}
		answer = self.session.request(http, f"{self.base}/api/method/{path}", timeout=60, **kwargs)
		assert answer.status_code == 200, f"{path}: HTTP {answer.status_code}: {answer.text[:800]}"
		return answer.json().get("message")

	def landing(self, url: str) -> str:
		answer = self.session.get(url, allow_redirects=False, timeout=60)
		return answer.headers.get("Location", answer.text[:500])


class Provider:
	"""The provider of `demo/provider.py`, in a process of its own."""

	def __init__(self) -> None:
		self.process = subprocess.Popen(
			[sys.executable, "-m", "demo.provider"], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
		)
		self.issuer = json.loads(self.process.stdout.readline())["issuer"]

	def consent(self, url: str, account: str = "alice") -> str:
		form = {"account": account, "decision": "allow"}
		answer = requests.post(url, data=form, allow_redirects=False, timeout=60)
		return answer.headers["Location"]

	def stats(self) -> dict:
		return requests.get(f"{self.issuer}/_stats", timeout=60).json()

	def withdraw_consents(self) -> None:
		requests.post(f"{self.issuer}/_revoke", timeout=60).raise_for_status()

	def refreshes(self) -> int:
		return self.stats()["refreshes"]

	def stop(self) -> None:
		self.process.terminate()
		self.process.wait(120)


class Life:
	"""The site, its web server, and the ways to act on them."""

	def __init__(self, bench: Bench, stack: contextlib.ExitStack) -> None:
		self.bench, self.stack = bench, stack
		self.site: Site
		self.serving = contextlib.ExitStack()
		self.loaded: dict[pathlib.Path, Processes] = {}
		self.provider = Provider()
		stack.callback(self.provider.stop)

	def new_site(self) -> None:
		self.site = self.stack.enter_context(fresh_site(self.bench, SITE_PREFIX, app=False))
		self.stack.callback(self.stop_serving)
		self.inside("prepare_site")

	def serve(self, moved: bool = False) -> None:
		if moved:
			self.site.move()
		self.serving.enter_context(self.site.served(workers=1))

	def stop_serving(self) -> None:
		self.serving.close()

	def install(self) -> str:
		self.site.run("clear-cache")
		return self.site.run("install-app", "connected_app")[1]

	def processes(self) -> Processes:
		"""They have loaded the app that is the bench's now."""
		app = self.bench.app
		if app not in self.loaded:
			bench = self.bench
			self.loaded[app] = Processes(str(bench.python), str(bench.sites), bench.environment)
			self.stack.callback(self.loaded[app].close)
		return self.loaded[app]

	def inside(self, step: str, **args: object):
		"""Run one of the functions of `inside.py` in the bench's Python."""
		# As somebody with a shell.
		program = "import sys; from tests.life.inside import inside; inside(*sys.argv[1:])"
		done = self.processes().run("-c", program, self.site.name, step, json.dumps(args))
		assert done.returncode == 0, f"{step}: {done.stdout[-1000:]}{done.stderr[-3000:]}"
		return json.loads(done.stdout.rpartition("RESULT ")[2])

	def browser(self, user: str) -> Browser:
		return Browser(self.site.url, user)

	def hello(self, app: str, user: str, account: str = ""):
		"""What the API says to `user`'s session and how many refreshes that took, or the error."""
		before = self.provider.refreshes()
		said = self.inside("hello", app=app, user=user, issuer=self.provider.issuer, account=account)
		return said if " " in said else [said, self.provider.refreshes() - before]

	def connect(self, user: str, app: str) -> str:
		browser = self.browser(user)
		url = browser.call("connected_app.api.authorize", connected_app=app, success_uri="/me")
		return browser.landing(self.provider.consent(url))

	def connect_another(self, user: str, app: str) -> str:
		browser = self.browser(user)
		url = browser.call("connected_app.api.authorize", connected_app=app, success_uri="/me", another=1)
		return browser.landing(self.provider.consent(url, "bob"))

	def core_url(self, user: str, app: str, browser: Browser | None = None) -> str:
		"""As core's form does: the whole document is posted."""
		browser = browser or self.browser(user)
		answer = browser.session.get(f"{browser.base}/api/resource/Connected App/{app}", timeout=60).json()
		return browser.call(
			"run_doc_method", docs=json.dumps(answer["data"]), method="initiate_web_application_flow"
		)

	def connect_by_core(self, user: str, app: str) -> None:
		browser = self.browser(user)
		browser.landing(self.provider.consent(self.core_url(user, app, browser)))

	def has_token(self, user: str, app: str) -> bool:
		return self.browser(user).call(CORE + "has_token", "GET", connected_app=app)

	def token(self, snapshot: dict, app: str, user: str) -> str:
		return snapshot["passwords"][f"Token Cache/{app}-{user}/access_token"]["opened"]
