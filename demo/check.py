"""Drives the demos from end to end over HTTP, as a browser would, and checks that each step truly happened."""

from __future__ import annotations

import argparse
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

from . import app as demo_app
from . import provider as demo_provider
from .store import SQLiteGrantStore

TIMEOUT = 20


class Failed(Exception):
	"""A step did not happen."""


class Steps:
	"""Counts the steps that truly happened; it alone decides the exit code."""

	def __init__(self) -> None:
		self.passed = self.failed = 0

	@contextmanager
	def step(self, text: str) -> Iterator[None]:
		"""One step; an error in it is its failure, and the end."""
		try:
			yield
		except Exception as error:
			self.failed += 1
			print(f"FAILED  {text}\n        {type(error).__name__}: {error}", flush=True)
			raise Failed from None
		self.passed += 1
		print(f"ok      {text}", flush=True)


def expect(found: Any, wanted: Any, what: str) -> None:
	if found != wanted:
		raise AssertionError(f"{what}: expected {wanted!r}, found {found!r}")


def expect_that(fact: bool, what: str) -> None:
	if not fact:
		raise AssertionError(what)


class Form(HTMLParser):
	"""The inputs of a page, and the texts that it marks with data-field."""

	def __init__(self, html: str) -> None:
		super().__init__()
		self.inputs: dict[str, str] = {}
		self.texts: dict[str, str] = {}
		self._open: list[str | None] = []
		self.feed(html)

	def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
		values = dict(attrs)
		if tag == "input":
			if name := values.get("name"):
				self.inputs[name] = values.get("value") or ""
		elif tag not in ("br", "meta", "link"):
			self._open.append(values.get("data-field"))
			if name := values.get("data-field"):
				self.texts[name] = ""

	def handle_endtag(self, tag: str) -> None:
		if self._open:
			self._open.pop()

	def handle_data(self, data: str) -> None:
		for name in self._open:
			if name:
				self.texts[name] = " ".join((self.texts[name] + data).split(" "))

	def text(self, name: str) -> str:
		return " ".join(self.texts.get(name, "").split())


def new_session() -> requests.Session:
	session = requests.Session()
	session.trust_env = False
	return session


class Browser:
	"""A browser on the stand-alone page."""

	def __init__(self, address: str) -> None:
		self.address, self.http = address, new_session()
		self.form = Form("")

	def open(self, url: str = "") -> Form:
		answer = self.http.get(url or self.address, timeout=TIMEOUT)
		answer.raise_for_status()
		self.form = Form(answer.text)
		return self.form

	def press(self, path: str) -> Form:
		"""Press a button of the page, and read the next page."""
		answer = self.http.post(self.address + path, data=self.form.inputs, timeout=TIMEOUT)
		answer.raise_for_status()
		self.form = Form(answer.text)
		return self.form

	def connect(self) -> str:
		"""Press Connect; returns the consent page's address."""
		self.open()
		answer = self.http.post(
			self.address + "/connect", data=self.form.inputs, allow_redirects=False, timeout=TIMEOUT
		)
		expect(answer.status_code, 303, "status of Connect")
		url = answer.headers["Location"]
		expect_that(url.startswith("http"), f"Connect led to {url}: {self.open().text('title')}")
		return url


def standalone(steps: Steps) -> None:
	with demo_provider.start() as provider, demo_app.serve(demo_app.defaults_for(provider)) as page:
		browser = Browser(page.address)
		hello = provider.issuer + "/api/hello"

		def api_status(token: str) -> int:
			headers = {"Authorization": f"Bearer {token}"}
			return new_session().get(hello, headers=headers, timeout=TIMEOUT).status_code

		with steps.step("the page is served, and nobody is connected"):
			expect(browser.open().text("status"), "Not Connected", "status")
			expect(browser.form.inputs["token_uri"], "", "Token URI")
		with steps.step("a form without its token is refused"):
			answer = browser.http.post(page.address + "/connect", data={}, timeout=TIMEOUT)
			expect(answer.status_code, 400, "status")
		with steps.step("Connect without endpoints says what is missing"):
			expect(browser.press("/connect").text("code"), "endpoint_missing", "code")
		with steps.step("an address without a configuration says so"):
			browser.form.inputs["openid_configuration"] = provider.issuer + "/nothing"
			expect(browser.press("/configuration").text("code"), "discovery_not_found", "code")
		with steps.step("a provider is picked by name, and asks for what it has to know"):
			browser.form.inputs["provider"] = "Shopify"
			browser.press("/provider")
			expect(browser.form.text("title"), "Shopify has to know more.", "title")
			expect(browser.form.inputs["input_shop"], "", "Shop")
			expect(browser.press("/connect").text("code"), "provider_input_missing", "code")
		with steps.step("an input that leaves the host is refused, and fills in nothing"):
			for value in ("evil.example/", "shop.example@evil"):
				browser.form.inputs["input_shop"] = value
				expect(browser.press("/provider").text("code"), "provider_input_invalid", "code")
				expect(browser.form.inputs["token_uri"], "", "Token URI")
		with steps.step("a right one fills in the addresses, and the template's ways are used"):
			browser.form.inputs["input_shop"] = "acme"
			expect(browser.press("/provider").text("title"), "Filled in for Shopify.", "title")
			expect(browser.form.inputs["scopes"], "read_products", "scopes")
			browser.form.inputs["client_id"] = "mine"
			consent = browser.http.post(
				page.address + "/connect", data=browser.form.inputs, allow_redirects=False, timeout=TIMEOUT
			).headers["Location"]
			expect_that(consent.startswith("https://acme.myshopify.com/admin/oauth/authorize?"), consent)
		with steps.step("a provider that cannot be connected says why"):
			browser.form.inputs["provider"] = "WooCommerce"
			expect(browser.press("/provider").text("code"), "template_unsupported", "code")
			browser.form.inputs["provider"] = "Nobody"
			expect(browser.press("/provider").text("code"), "template_unknown", "code")
		with steps.step("a provider is filled in, and Get OpenID Configuration fills in its endpoints"):
			browser.form.inputs.update(demo_app.defaults_for(provider))
			browser.press("/configuration")
			expect(browser.form.inputs["issuer"], provider.issuer, "Issuer")
			for name in ("authorization_uri", "token_uri", "userinfo_uri", "revocation_uri", "jwks_uri"):
				expect_that(browser.form.inputs[name].startswith(provider.issuer), f"{name} is not filled in")
			expect_that("Token URI" in browser.form.text("title"), "the page does not say what it filled in")
		with steps.step("a declined consent is reported as such, and stores nothing"):
			browser.open(provider.consent(browser.connect(), allow=False))
			expect(browser.form.text("code"), "consent_declined", "code")
			expect(browser.form.text("status"), "Not Connected", "status")
		with steps.step("Connect leads to the provider with state, nonce and PKCE (S256)"):
			consent_url = browser.connect()
			query = parse_qs(urlsplit(consent_url).query)
			expect(query["code_challenge_method"], ["S256"], "code_challenge_method")
			expect_that(len(query["state"][0]) >= 43 and "nonce" in query, "state or nonce is missing")
			callback = provider.consent(consent_url, account="alice")
		with steps.step("a callback with a wrong state is refused"):
			state = query["state"][0]
			browser.open(callback.replace(state, "x" + state))
			expect(browser.form.text("code"), "attempt_unknown", "code")
			expect(browser.form.text("status"), "Not Connected", "status")
		with steps.step("the callback in another browser is refused"):
			other = Browser(page.address)
			other.open(callback)
			expect(other.form.text("code"), "attempt_elsewhere", "code")
			expect(other.form.text("status"), "Not Connected", "status")
		with steps.step("consent → callback → connected: account, scopes and expiry are shown"):
			browser.open(callback)
			expect(browser.form.text("status"), "Connected", "status")
			expect(browser.form.text("account"), "alice@example.com", "account")
			expect(browser.form.text("scopes"), "openid profile email offline_access read", "scopes")
			expect_that("minutes" in browser.form.text("expires"), "no expiry is shown")
			expect_that(browser.http.get(page.address).url == page.address + "/", "not on the page")
		with steps.step("the same callback a second time is refused, and the connection stays"):
			browser.open(callback)
			expect(browser.form.text("code"), "attempt_unknown", "code")
			expect(browser.form.text("status"), "Connected", "status")

		store = SQLiteGrantStore(page.database, browser.http.cookies[page.cookie])
		first = store.load()
		with steps.step("the tokens are stored, and not readable in the SQLite file"):
			expect_that(
				first is not None and first.refresh_token is not None, "there is no grant in the store"
			)
			kept = b"".join(path.read_bytes() for path in page.database.path.parent.iterdir())
			for secret in (first.access_token, first.refresh_token, "demo-secret"):
				expect_that(secret.encode() not in kept, "a secret stands in the file")
		with steps.step("the API is called with the session"):
			browser.press("/call")
			expect(browser.form.text("title"), "The API answered with HTTP 200.", "title")
			expect_that("Alice" in browser.form.text("body"), "the API's answer is not shown")
			expect(provider.stats()["refreshes"], 0, "refreshes at the provider")
		with steps.step("the access token expires; the next call refreshes it by itself, once"):
			provider.expire()
			expect(api_status(first.access_token), 401, "the API with the expired token")
			browser.press("/call")
			expect(browser.form.text("title"), "The API answered with HTTP 200.", "title")
			expect(provider.stats()["refreshes"], 1, "refreshes at the provider")
		with steps.step("a hundred requests of httpx at once, with an expired token: one refresh"):
			browser.press("/calls")
			expect_that("answered 100 requests" in browser.form.text("title"), browser.form.text("title"))
			expect_that("HTTP 200: 100." in browser.form.text("text"), browser.form.text("text"))
			expect(provider.stats()["refreshes"], 2, "refreshes at the provider")
		second = store.load()
		with steps.step("Refresh gives new tokens; the provider saw no refresh token twice"):
			expect(browser.press("/refresh").text("title"), "Refreshed.", "title")
			third = store.load()
			expect_that(
				len({grant.access_token for grant in (first, second, third)}) == 3
				and len({grant.refresh_token for grant in (first, second, third)}) == 3,
				"a token was not replaced",
			)
			expect(third.account, first.account, "account after the refreshes")
			expect(provider.stats()["refreshes"], 3, "refreshes at the provider")
			expect(provider.stats()["reuses"], 0, "reused refresh tokens")
			expect(api_status(third.access_token), 200, "the API with the new token")
		with steps.step("Disconnect revokes at the provider: the API refuses the old token"):
			browser.press("/disconnect")
			expect(browser.form.text("title"), "Disconnected.", "title")
			expect_that("revoked" in browser.form.text("text"), browser.form.text("text"))
			expect(browser.form.text("status"), "Not Connected", "status")
			expect(store.load(), None, "the grant in the store")
			expect_that(provider.stats()["revocations"] >= 1, "the provider saw no revocation")
			expect(api_status(third.access_token), 401, "the API with the revoked token")
		with steps.step("access that is withdrawn at the provider asks for a reconnect, and it works"):
			browser.open(provider.consent(browser.connect(), account="bob"))
			expect(browser.form.text("account"), "bob@example.com", "account")
			provider.revoke()
			expect(browser.press("/call").text("code"), "grant_invalid", "code")
			expect(browser.form.text("status"), "Reconnect Required", "status")
			browser.open(provider.consent(browser.connect(), account="bob"))
			expect(browser.form.text("status"), "Connected", "status")
	with steps.step("page, provider and database are gone"):
		for address in (page.address, provider.issuer):
			try:
				new_session().get(address, timeout=2)
			except requests.ConnectionError:
				continue
			raise AssertionError(f"{address} still answers")
		expect_that(not page.database.path.exists(), "the database is still there")


class Desk:
	"""A browser that is logged in to a Frappe site."""

	def __init__(self, address: str, user: str, password: str) -> None:
		self.address, self.http = address, new_session()
		self.http.post(
			address + "/api/method/login", data={"usr": user, "pwd": password}, timeout=60
		).raise_for_status()
		html = self.http.get(address + "/app", timeout=60).text
		found = re.search(r"csrf_token\s*=\s*[\"']([0-9a-f]{20,})", html)
		self.http.headers["X-Frappe-CSRF-Token"] = found.group(1) if found else ""
		self.http.headers["Accept"] = "application/json"

	def call(self, method: str, verb: str = "POST", **arguments: Any) -> Any:
		where = "params" if verb == "GET" else "data"
		url = f"{self.address}/api/method/connected_app.api.{method}"
		answer = self.http.request(verb, url, timeout=60, **{where: arguments})
		expect_that(answer.ok, f"{method} answered with HTTP {answer.status_code}: {answer.text[-300:]}")
		return answer.json().get("message")


def on_bench(steps: Steps, address: str, name: str, provider: demo_provider.Provider, mcp: str) -> None:
	"""
	:param mcp: the address of a server to connect to by that alone; or empty
	"""
	with steps.step("log in to the site"):
		desk = Desk(address, "Administrator", "admin")
	with steps.step("the Connected App is ready, and nobody is connected"):
		expect(desk.call("connection", "GET", connected_app=name)["status"], "Not Connected", "status")
	with steps.step("authorize gives the provider's consent page"):
		consent_url = desk.call("authorize", connected_app=name)
		expect_that(consent_url.startswith(provider.issuer), consent_url)
	with steps.step("a declined consent is reported as such"):
		answer = desk.http.get(
			provider.consent(consent_url, allow=False), timeout=60, headers={"Accept": "text/html"}
		)
		expect_that("consent_declined" in answer.text, answer.text[-300:])
		expect(desk.call("connection", "GET", connected_app=name)["status"], "Not Connected", "status")
	with steps.step("authorize → consent → callback lands back on the site"):
		callback = provider.consent(desk.call("authorize", connected_app=name), account="alice")
		answer = desk.http.get(callback, timeout=60, headers={"Accept": "text/html"}, allow_redirects=False)
		expect_that(answer.is_redirect, f"HTTP {answer.status_code}: {answer.text[-300:]}")
	with steps.step("the connection is Connected, as alice"):
		state = desk.call("connection", "GET", connected_app=name)
		expect(state["status"], "Connected", "status")
		expect(state["account_name"], "alice@example.com", "account")
		expect_that(desk.call("has_token", "GET", connected_app=name), "has_token says no")
	with steps.step("disconnect revokes at the provider"):
		expect(desk.call("disconnect", connected_app=name), {"revoked": True}, "disconnect")
		expect_that(provider.stats()["revocations"] >= 1, "the provider saw no revocation")
		expect(desk.call("connection", "GET", connected_app=name)["status"], "Not Connected", "status")

	with steps.step("My Connections and the list have an app in each state"):
		show_states(desk, provider)
		states = {app["provider_name"]: app["status"] for app in desk.call("my_connections", "GET")}
		expect(
			states,
			{
				"Demo Mail": "Reconnect Required",
				"Demo Calendar": "Connected",
				"Demo Provider": "Not Connected",
			},
			"states",
		)
		page = desk.http.get(f"{address}/my-connections", timeout=60, headers={"Accept": "text/html"}).text
		expect_that("Know who you are" in page and "bob@example.com" in page, "the page does not show it")
	if mcp:
		with steps.step(
			"Connect by Address: an MCP server is registered at, and connected, by its address alone"
		):
			made = desk.call("set_up_address", address=mcp, provider_name="Demo Notes")
			expect(made["credentials"], "registered", "credentials")
			desk.http.get(desk.call("authorize", connected_app=made["name"]), timeout=60)
			state = desk.call("connection", "GET", connected_app=made["name"])
			expect(state["status"], "Connected", "status")


def show_states(desk: Desk, provider: demo_provider.Provider) -> None:
	"""Connect two of the demo's apps; the access of one is then withdrawn at the provider."""
	names = {app["provider_name"]: app["name"] for app in desk.call("my_connections", "GET")}

	def connect(provider_name: str) -> None:
		consent_url = desk.call("authorize", connected_app=names[provider_name])
		desk.http.get(provider.consent(consent_url, account="bob"), timeout=60, allow_redirects=False)

	connect("Demo Mail")
	provider.revoke()
	desk.call("test_connection", connected_app=names["Demo Mail"])
	connect("Demo Calendar")
	desk.call("take_message")


def main(arguments: list[str] | None = None) -> int:
	parser = argparse.ArgumentParser(prog="python -m demo.check", description=__doc__)
	parser.add_argument(
		"--site", nargs=3, metavar=("ADDRESS", "CONNECTED_APP", "ISSUER"), help="a demo site instead"
	)
	parser.add_argument("--mcp", default="", help="with --site: a server to connect to by its address")
	parser.add_argument(
		"--states", nargs=2, metavar=("ADDRESS", "ISSUER"), help="only give a demo site an app in each state"
	)
	given = parser.parse_args(arguments)
	if given.states:
		address, issuer = given.states
		show_states(Desk(address, "Administrator", "admin"), demo_provider.Provider(issuer, 0, 0))
		return 0
	signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
	began, steps = time.monotonic(), Steps()
	try:
		if given.site:
			address, name, issuer = given.site
			on_bench(steps, address, name, demo_provider.Provider(issuer, 0, 0), given.mcp)
		else:
			standalone(steps)
	except Failed:
		pass
	except Exception as error:  # between two steps: nobody may take that for a success
		steps.failed += 1
		print(f"FAILED  {type(error).__name__}: {error}", flush=True)
	print(f"{steps.passed} passed, {steps.failed} failed ({time.monotonic() - began:.1f} s)", flush=True)
	return 0 if steps.passed and not steps.failed else 1


if __name__ == "__main__":
	sys.exit(main())
