"""The stand-alone demo: one page over `connected_app.oauth`, without Frappe.

It does what the Frappe app does, in one file: `connect` begins an attempt, `callback` turns it into a grant, and
`call` uses the session that developers are handed. Loopback only. Each browser has its own settings and grant.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import logging
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import requests
from flask import Flask, Response, abort, g, redirect, render_template, request
from werkzeug.serving import make_server

from connected_app.oauth import (
	Client,
	ConfigurationError,
	Http,
	OAuthError,
	Provider,
	ReconnectRequired,
	Refresher,
	Secret,
	Session,
	Settings,
	TokenSource,
	begin,
	complete,
	discovery,
	revoke,
)
from connected_app.oauth import templates as provider_templates
from connected_app.oauth.clock import utc_now
from connected_app.oauth.templates import Template

from . import provider as demo_provider
from .store import Database, SQLiteAttemptStore, SQLiteGrantStore, digest

HOST = "127.0.0.1"
PROVIDERS = Path(__file__).resolve().parents[1] / "connected_app" / "providers"
# Field of the form: its label, and where `discovery.Metadata` has it.
ENDPOINTS = {
	"issuer": ("Issuer", "issuer"),
	"authorization_uri": ("Authorization URI", "authorization_endpoint"),
	"token_uri": ("Token URI", "token_endpoint"),
	"userinfo_uri": ("Userinfo URI", "userinfo_endpoint"),
	"revocation_uri": ("Revocation URI", "revocation_endpoint"),
	"jwks_uri": ("JWKS URI", "jwks_uri"),
}
FIELDS = ("openid_configuration", "client_id", "client_secret", "scopes", "api_uri", *ENDPOINTS)
# A secret that was typed for one provider must not go to another one.
SECRET_BELONGS_TO = ("openid_configuration", "client_id", "token_uri")
SHOWN_BYTES = 4000
# Requests at once.
MANY = 100


@cache
def templates() -> dict[str, Template]:
	"""The providers that can be picked, by name."""
	found = provider_templates.load([PROVIDERS]).values()
	return {
		each.name: each for each in sorted(found, key=lambda each: each.name.casefold()) if each.is_offered
	}


@dataclass
class Page:
	"""The demo's state while it runs."""

	database: Database
	defaults: dict[str, str]
	http: Http = field(default_factory=lambda: Http(allow_http_loopback=True))
	csrf_key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
	port: int = 0

	@property
	def address(self) -> str:
		return f"http://{HOST}:{self.port}"

	@property
	def redirect_uri(self) -> str:
		return self.address + "/callback"

	@property
	def cookie(self) -> str:
		# Browsers do not keep the cookies of two ports apart.
		return f"connected_app_demo_{self.port}"


class Browser:
	"""One browser: its settings, its one-time message, its grant."""

	def __init__(self, page: Page, id: str) -> None:
		self.page, self.id = page, id
		self.values: dict[str, Any] = {
			"fields": dict.fromkeys(FIELDS, "") | page.defaults,
			"metadata": {},
			"provider": "",
			"inputs": {},
			"message": None,
		} | (page.database.read_browser(id) or {})
		self.fields: dict[str, str] = self.values["fields"]
		self.store = SQLiteGrantStore(page.database, id)
		self.attempts = SQLiteAttemptStore(page.database)

	def save(self) -> None:
		self.page.database.write_browser(self.id, self.values)

	def say(self, title: str, text: str = "", *, body: str = "") -> None:
		self.values["message"] = {"tone": "good", "title": title, "text": text, "body": body}
		self.save()

	def warn(self, error: OAuthError) -> None:
		self.values["message"] = {
			"tone": "bad",
			"title": error.message,
			"text": error.action,
			"code": error.code,
			"provider_error": error.provider_error,
		}
		self.save()

	def take_message(self) -> dict[str, Any] | None:
		message = self.values["message"]
		if message:
			self.values["message"] = None
			self.save()
		return message

	def fill_in(self, form: Any) -> None:
		"""Take over what was typed."""
		typed = {name: form[name].strip() for name in FIELDS if name in form}
		secret = typed.pop("client_secret", "")
		same = all(typed.get(name, self.fields[name]) == self.fields[name] for name in SECRET_BELONGS_TO)
		if typed.get("openid_configuration", "") != self.fields["openid_configuration"]:
			self.values.update(metadata={}, provider="", inputs={})
		self.fields.update(typed, client_secret=secret or (self.fields["client_secret"] if same else ""))
		self.save()

	@property
	def template(self) -> Template | None:
		return templates().get(self.values["provider"])

	def fill_in_from(self, template: Template, inputs: dict[str, str]) -> None:
		"""
		:raises OAuthError: as `Template.checked` and `discovery.fetch`
		"""
		given = template.checked(inputs)
		provider = template.provider(given)
		endpoints = {name: getattr(provider, name) for name in ENDPOINTS}
		address, document = template.address("discovery", given), {}
		if not template["token"]:
			any_issuer = template["identity.issuer"] == "any"
			found = discovery.fetch(address, self.page.http, endpoints["issuer"], any_issuer=any_issuer)
			document = found.document
			endpoints = {
				name: endpoints[name] or getattr(found, attribute)
				for name, (_, attribute) in ENDPOINTS.items()
			}
		self.values.update(metadata=document, inputs=given)
		# A client belongs to one provider.
		self.fields.update(
			endpoints,
			openid_configuration=address,
			client_id="",
			client_secret="",
			scopes=" ".join(template.scopes(given)),
			api_uri=provider.quirks.api_base,
		)

	def settings(self) -> Settings:
		fields, template = self.fields, self.template
		inputs = template.checked(self.values["inputs"]) if template else {}
		endpoints = {name: fields[name] for name in ENDPOINTS}
		provider = template.provider(inputs) if template else Provider()
		client = Client(
			client_id=fields["client_id"],
			client_secret=Secret(fields["client_secret"]) if fields["client_secret"] else None,
			redirect_uri=self.page.redirect_uri,
			scopes=tuple(fields["scopes"].split()),
		)
		if template:
			client = replace(
				client,
				use_pkce=template["pkce"],
				authentication=template["client_authentication"],
				authorization_parameters=template.parameters(inputs),
				leeway=template["leeway"],
			)
		return Settings(replace(provider, metadata=self.values["metadata"], **endpoints), client)

	def refresher(self) -> Refresher:
		return Refresher(*self.settings(), self.store, self.page.http)

	@property
	def csrf_token(self) -> str:
		return hmac.new(self.page.csrf_key, self.id.encode(), "sha256").hexdigest()


def create_app(page: Page) -> Flask:
	app = Flask(__name__)

	@app.before_request
	def guard() -> None:
		# Another name for this address is somebody's DNS rebinding.
		if request.host != f"{HOST}:{page.port}":
			abort(400, "Unknown host")
		g.browser = Browser(page, request.cookies.get(page.cookie) or secrets.token_urlsafe(32))
		if request.method == "POST" and not hmac.compare_digest(
			request.form.get("csrf_token", "").encode(), g.browser.csrf_token.encode()
		):
			abort(400, "This form is not of this browser: load the page again.")

	@app.after_request
	def protect(response: Response) -> Response:
		if "browser" in g:
			# Lax, not Strict: the callback is a navigation that starts at the provider.
			response.set_cookie(page.cookie, g.browser.id, httponly=True, samesite="Lax")
		response.headers["Cache-Control"] = "no-store"
		response.headers["Referrer-Policy"] = "no-referrer"
		response.headers["X-Content-Type-Options"] = "nosniff"
		response.headers["Content-Security-Policy"] = (
			"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
		)
		return response

	def action(path: str) -> Callable[[Callable[[Browser], str | None]], None]:
		"""A POST that may go wrong in the ways of `OAuthError`, and ends on the page or at the provider."""

		def register(work: Callable[[Browser], str | None]) -> None:
			def view() -> Any:
				browser: Browser = g.browser
				target = None
				try:
					target = work(browser)
				except OAuthError as error:
					browser.warn(error)
				return redirect(target or "/", 303)

			app.add_url_rule(path, work.__name__, view, methods=["POST"])

		return register

	@app.get("/")
	def show() -> str:
		browser: Browser = g.browser
		grant, failure = browser.store.state()
		now = utc_now()
		status = "Not Connected"
		if grant:
			status = "Connected"
			if failure:
				status = "Reconnect Required" if failure.reconnect else "Temporarily Failing"
		left = int((grant.expires_at - now).total_seconds()) if grant and grant.expires_at else None
		return render_template(
			"page.html",
			fields={**browser.fields, "client_secret": ""},
			has_secret=bool(browser.fields["client_secret"]),
			endpoints=ENDPOINTS,
			templates=templates(),
			template=browser.template,
			provider=browser.values["provider"],
			inputs=browser.values["inputs"],
			redirect_uri=page.redirect_uri,
			csrf_token=browser.csrf_token,
			message=browser.take_message(),
			grant=grant,
			failure=failure,
			status=status,
			left=left,
		)

	@app.get("/callback")
	def callback() -> Any:
		browser: Browser = g.browser
		try:
			grant = finish(browser, request.args.to_dict(flat=False))
		except OAuthError as error:
			browser.warn(error)
		else:
			who = grant.account and (grant.account.name or grant.account.id)
			browser.say(
				f"Connected as {who}." if who else "Connected.",
				"Scopes: " + (", ".join(grant.scopes) or "not stated"),
			)
		# Away from this address at once: it holds the code.
		return redirect("/", 303)

	@action("/configuration")
	def configuration(browser: Browser) -> None:
		"""Get OpenID Configuration."""
		refuse_while_connected(browser)
		browser.fill_in(request.form)
		found = discovery.fetch(browser.fields["openid_configuration"], page.http)
		values = {name: getattr(found, attribute) for name, (_, attribute) in ENDPOINTS.items()}
		browser.fields.update(values)
		browser.values["metadata"] = found.document
		filled = [label for name, (label, _) in ENDPOINTS.items() if values[name]]
		missing = [label for name, (label, _) in ENDPOINTS.items() if not values[name]]
		text = f"The provider has no {', '.join(missing)}." if missing else ""
		browser.say(f"Filled in {', '.join(filled)}.", text)

	@action("/provider")
	def provider(browser: Browser) -> None:
		"""Pick a provider by name, and fill in what its template knows."""
		refuse_while_connected(browser)
		name = request.form.get("provider", "").strip()
		template = templates().get(name)
		if template is None:
			raise ConfigurationError(
				"template_unknown", f"There is no provider template called {name}.", "Choose one of the list."
			)
		if template["unsupported"]:
			raise ConfigurationError(
				"template_unsupported", f"{name} cannot be connected.", template["unsupported"]
			)
		is_new = name != browser.values["provider"]
		inputs = {each.name: request.form.get(f"input_{each.name}", "").strip() for each in template.inputs}
		browser.values.update(provider=name, inputs={} if is_new else inputs, metadata={})
		# The settings of another provider do not fit this one's quirks.
		browser.fields.update(dict.fromkeys(FIELDS, ""))
		browser.save()
		if is_new and any(not each.default for each in template.inputs):
			browser.say(f"{name} has to know more.", "Enter it below the provider, and fill in.")
			return
		browser.fill_in_from(template, inputs)
		register = template["register"]
		browser.say(
			f"Filled in for {name}.",
			" ".join([f"Register the client at {register}." if register else "", *(template["notes"] or [])]),
		)

	@action("/connect")
	def connect(browser: Browser) -> str:
		if not browser.store.load():
			browser.fill_in(request.form)
		url, attempt = begin(*browser.settings(), http=page.http, context={"browser": digest(browser.id)})
		browser.attempts.put(attempt)
		return url

	@action("/call")
	def call(browser: Browser) -> None:
		"""What a developer writes: a session, and a request with it."""
		session = Session(browser.refresher())
		try:
			response = session.get(browser.fields["api_uri"], stream=True)
			body = next(response.iter_content(SHOWN_BYTES), b"").decode("utf-8", "replace")
			response.close()
		except (requests.RequestException, ValueError):
			raise api_unreachable() from None
		browser.say(
			f"The API answered with HTTP {response.status_code}.", browser.fields["api_uri"], body=body
		)

	@action("/calls")
	def calls(browser: Browser) -> None:
		"""What a developer writes with httpx: many requests at once, as if the token had expired a moment ago."""
		source = TokenSource(browser.refresher())
		with browser.store.exclusive() as slot:
			source.grant = slot.save(replace(slot.grant or source.grant, expires_at=utc_now()))
		began = time.monotonic()
		answers = asyncio.run(ask_at_once(source, browser.fields["api_uri"]))
		seconds = time.monotonic() - began
		statuses = ", ".join(f"HTTP {status}: {number}" for status, number in Counter(answers).items())
		browser.say(
			f"The API answered {len(answers)} requests of httpx in {seconds:.1f} seconds.",
			f"{statuses}. One of them renewed the token, and the others waited for it.",
		)

	@action("/refresh")
	def refresh(browser: Browser) -> None:
		grant = browser.store.load()
		if grant is None:
			raise ReconnectRequired("not_connected", "There is no connection yet.", "Please connect first.")
		# As if the API had refused the token: otherwise a failure would quietly leave the old one in use.
		fresh = browser.refresher().renew(grant, rejected=True)
		rotated = fresh.refresh_token != grant.refresh_token
		browser.say("Refreshed.", "The provider also replaced the refresh token." if rotated else "")

	@action("/disconnect")
	def disconnect(browser: Browser) -> None:
		with browser.store.exclusive() as slot:
			try:
				revoked = bool(slot.grant) and revoke(*browser.settings(), slot.grant, page.http)
			except OAuthError:
				revoked = False
			slot.clear()
		if revoked:
			browser.say("Disconnected.", "The provider has revoked the tokens, and they are forgotten here.")
		else:
			browser.say(
				"Disconnected.",
				"The tokens are forgotten here. The provider did not confirm that it revoked them.",
			)

	return app


async def ask_at_once(source: TokenSource, url: str) -> list[int]:
	"""The statuses of `MANY` requests."""
	import httpx

	from connected_app.oauth.adapters.httpx import Auth

	limits = httpx.Limits(max_connections=20)
	async with httpx.AsyncClient(auth=Auth(source), timeout=60, limits=limits, trust_env=False) as client:
		try:
			answers = await asyncio.gather(*(client.get(url) for _ in range(MANY)))
		except (httpx.HTTPError, httpx.InvalidURL):
			raise api_unreachable() from None
	return [answer.status_code for answer in answers]


def api_unreachable() -> ConfigurationError:
	return ConfigurationError("api_unreachable", "The API could not be reached.", "Check the API's address.")


def finish(browser: Browser, parameters: dict[str, list[str]]) -> Any:
	"""Turn the callback's parameters into a stored grant."""
	state = parameters.get("state", [""])[0]
	attempt = browser.attempts.peek(state)
	if attempt is None:
		raise unknown_attempt()
	if attempt.context.get("browser") != digest(browser.id):
		# Do not spend it: the right browser may still come.
		raise ReconnectRequired("attempt_elsewhere", "This attempt was begun in another browser.")
	attempt = browser.attempts.take(state)
	if attempt is None:
		raise unknown_attempt()
	grant = complete(*browser.settings(), attempt, parameters, browser.page.http)
	with browser.store.exclusive() as slot:
		slot.save(grant)
	return grant


def unknown_attempt() -> ReconnectRequired:
	return ReconnectRequired("attempt_unknown", "This attempt has expired, or was finished already.")


def refuse_while_connected(browser: Browser) -> None:
	if browser.store.load():
		raise ConfigurationError(
			"connected", "The provider cannot be changed while connected.", "Disconnect first."
		)


def defaults_for(provider: demo_provider.Provider) -> dict[str, str]:
	"""The form, filled in for the provider that the demo brings along."""
	client_id, secret, _ = demo_provider.DEFAULT_CLIENT.split(":", 2)
	return {
		"openid_configuration": provider.discovery_url,
		"client_id": client_id,
		"client_secret": secret,
		"scopes": "openid profile email offline_access read",
		"api_uri": provider.issuer + "/api/hello",
	}


@contextmanager
def serve(defaults: dict[str, str], port: int = 0) -> Iterator[Page]:
	"""The page, over HTTP, as long as the block lasts. Its database is deleted with it."""
	logging.getLogger("werkzeug").setLevel(logging.ERROR)
	with tempfile.TemporaryDirectory(prefix="connected-app-demo-") as folder:
		page = Page(Database(Path(folder) / "demo.sqlite"), defaults)
		server = make_server(HOST, port, create_app(page), threaded=True)
		server.daemon_threads = True
		page.port = server.port
		thread = threading.Thread(target=server.serve_forever, daemon=True)
		thread.start()
		try:
			yield page
		finally:
			server.shutdown()
			thread.join(5)
			server.server_close()


def main(arguments: list[str] | None = None) -> None:
	parser = argparse.ArgumentParser(prog="python -m demo.app", description=__doc__)
	parser.add_argument("--port", type=int, default=0, help="0 (default): any free port")
	given = parser.parse_args(arguments)
	signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
	try:
		with demo_provider.start() as provider, serve(defaults_for(provider), given.port) as page:
			print(f"The page:           {page.address}", flush=True)
			print(f"The demo provider:  {provider.issuer} (accounts: alice, bob; no passwords)", flush=True)
			print("Press Ctrl+C to stop; nothing stays behind.", flush=True)
			threading.Event().wait()
	except OSError as error:
		sys.exit(f"The page could not be served: {error.strerror or error}.")
	except KeyboardInterrupt:
		pass


if __name__ == "__main__":
	main()
