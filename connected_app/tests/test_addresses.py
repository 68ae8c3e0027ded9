"""*Connect by Address*: from an address to a connection, at real servers and at some that lie."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any
from unittest import skipUnless
from unittest.mock import patch
from urllib.parse import urlsplit

import frappe
import requests

from connected_app.oauth import ConfigurationError, OAuthError
from connected_app.oauth.clock import utc_now
from connected_app.site import addresses, passwords, registrations
from connected_app.site.http import _http
from connected_app.site.rows import naive
from connected_app.tests.certificates import certificate
from connected_app.tests.site import (
	ALICE,
	PATIENCE,
	PYTHON,
	REPO,
	Browser,
	Case,
	certified,
	code_of,
	hostile,
	make_app,
	make_user,
	mcp_sdk,
	needs_providers,
	row,
)
from connected_app.tests.test_commands import bench

WELL_KNOWN = "/.well-known/oauth-protected-resource"
# One module for what is scripted and what answers.
lying = cache(hostile)
TOOLS = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
MCP_HEADERS = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}


def has_mcp() -> bool:
	return (
		bool(PYTHON)
		and subprocess.run([PYTHON, "-c", "import mcp.server.mcpserver"], capture_output=True).returncode == 0
	)


@contextmanager
def mcp_server() -> Iterator[dict[str, Any]]:
	"""That of `demo/mcp_server.py`."""
	clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
	command = [PYTHON, "-m", "demo.mcp_server"]
	process = subprocess.Popen(command, cwd=REPO, env=clean, stdout=subprocess.PIPE, text=True)
	try:
		yield json.loads(process.stdout.readline())
	finally:
		process.terminate()
		process.wait(PATIENCE)
		process.stdout.close()


class Addresses(Case):
	def setUp(self) -> None:
		super().setUp()
		for doctype in ("Connected App", "Token Cache", registrations.DOCTYPE):
			frappe.db.delete(doctype)
			frappe.db.delete("__Auth", {"doctype": doctype})
		frappe.db.commit()

	def stored(self) -> tuple[int, int]:
		frappe.db.rollback()
		return frappe.db.count("Connected App"), frappe.db.count(registrations.DOCTYPE)

	def set_up(self, address: str, **more: Any) -> Any:
		made = self.admin.ask("set_up_address", address=address, **more)
		frappe.db.rollback()
		return frappe.get_doc("Connected App", made["name"])

	def delete(self, app: Any) -> None:
		if frappe.db.db_type == "sqlite":
			# NO_TRANSACTION: the tokens could not be revoked, and the client waits for that.
			self.alice.ask("disconnect", connected_app=app.name)
		answer = self.admin.delete(f"{self.admin.base}/api/resource/Connected App/{app.name}")
		self.assertEqual(answer.status_code, 202, answer.text[:300])
		frappe.db.rollback()

	def registered(self) -> dict[str, Any]:
		"""What Authlib's server knows."""
		return requests.get(self.authlib.issuer + "/_registered", timeout=30).json()

	def refuses(self, address: str, code: str) -> None:
		"""Nothing is stored, by either of the two."""
		before = self.stored()
		for method in ("address_offer", "set_up_address"):
			answer = self.admin.call(method, address=address)
			self.assertGreaterEqual(answer.status_code, 400, answer.text[:300])
		with self.assertRaises(OAuthError) as caught:
			addresses.set_up(address)
		self.assertEqual(caught.exception.code, code, str(caught.exception))
		self.assertTrue(caught.exception.message and caught.exception.action)
		self.assertEqual(self.stored(), before)


@needs_providers
class TestAddresses(Addresses):
	def connects(self, app: Any) -> None:
		self.assertEqual(self.connect(app).headers.get("Location"), "/me")
		self.assertTrue(row(app, ALICE).get_password("access_token"))

	@skipUnless(has_mcp(), "PyPI's mcp is not installed")
	def test_mcp(self) -> None:
		"""From the address of an MCP server to the list of its tools, as a user."""
		with mcp_server() as server:
			before = self.stored()
			offer = self.admin.ask("address_offer", address=server["resource"])
			self.assertEqual(self.stored(), before)
			self.assertEqual(
				(offer["resource"], offer["issuer"], offer["scopes"], offer["credentials"], offer["exists"]),
				(server["resource"], server["issuer"], ["notes"], "registered", ""),
			)
			app = self.set_up(server["resource"], provider_name="Notes")
			self.assertEqual(
				(app.provider_name, app.resources, app.issuer),
				("Notes", server["resource"], server["issuer"]),
			)
			url = self.alice.ask("authorize", connected_app=app.name, success_uri="/me")
			back = requests.get(url, allow_redirects=False, timeout=30).headers["Location"]
			self.assertEqual(self.alice.visit(back).headers.get("Location"), "/me")
			self.assertTrue(row(app, ALICE))
			session = app.get_oauth2_session(ALICE)
			answer = session.post(server["resource"], json=TOOLS, headers=MCP_HEADERS)
			self.assertEqual([tool["name"] for tool in answer.json()["result"]["tools"]], ["notes"])
			with self.assertRaises(ConfigurationError) as caught:
				session.get("https://elsewhere.example/mcp")
			self.assertEqual(caught.exception.code, "resource_origin")
			self.assertEqual(self.admin.ask("address_offer", address=server["resource"])["exists"], app.name)
			self.assertEqual(self.set_up(server["resource"]).name, app.name)
			self.assertEqual(len(requests.get(server["issuer"] + "/_stats", timeout=30).json()["clients"]), 1)
			self.delete(app)
			self.assertEqual(self.stored(), (0, 0))

	def test_mcp_sdk(self) -> None:
		"""The same at a server of npm's SDK, whose client secrets end after a month unless it is set otherwise: this site
		then has none there."""
		module = mcp_sdk()
		if not module.AVAILABLE:
			self.skipTest(module.MISSING)
		for secrets_expire, authentication in ((0, "Post"), (None, "None")):
			with module.start(secrets_expire) as server:
				app = self.set_up(server.resource)
				self.assertEqual(
					(app.provider_name, app.issuer, app.resources, app.client_authentication),
					("Notes", server.issuer, server.resource, authentication),
				)
				self.assertEqual(
					bool(app.get_password("client_secret", raise_exception=False)), secrets_expire == 0
				)
				self.assertEqual(self.set_up(server.resource).name, app.name)
				self.assertEqual(len(server.stats()["clients"]), 1 if secrets_expire == 0 else 2)
				url = self.alice.ask("authorize", connected_app=app.name, success_uri="/me")
				back = requests.get(url, allow_redirects=False, timeout=30).headers["Location"]
				self.assertEqual(self.alice.visit(back).headers.get("Location"), "/me")
				self.assertTrue(row(app, ALICE))
				session = app.get_oauth2_session(ALICE)
				session.refresh_token()
				answer = session.post(server.resource, json=TOOLS, headers=MCP_HEADERS)
				self.assertEqual([tool["name"] for tool in answer.json()["result"]["tools"]], ["notes"])
				self.assertEqual(server.stats()["refreshes"], 1)
				self.delete(app)
				self.assertEqual(self.stored(), (0, 0))

	def test_registered_shown_changed_deleted(self) -> None:
		"""RFC 7591 and 7592 at Authlib's server: the registration follows its app."""
		app = self.set_up(self.authlib.issuer)
		self.assertEqual(app.client_authentication, "Basic")
		self.connects(app)
		about = self.admin.ask("registration", "GET", connected_app=app.name)
		self.assertEqual(
			(
				about["kind"],
				about["endpoint"],
				about["client_id"],
				about["can_be_changed"],
				about["shared_with"],
			),
			("Registered", self.authlib.issuer + "/register", app.client_id, True, []),
		)
		self.assertEqual(about["details"]["redirect_uris"], [app.redirect_uri])
		name = registrations.of_app(app.name).name
		secrets = [
			app.get_password("client_secret"),
			passwords.read(registrations.DOCTYPE, name, "management_token"),
		]
		for secret in secrets:
			self.assertTrue(secret)
			self.assertNotIn(secret, json.dumps(about, default=str))
			self.assertNotIn(secret, str(frappe.db.get_value(registrations.DOCTYPE, name, ["*"])))
		for answer in (
			self.admin.call(
				"frappe.client.get_password",
				doctype=registrations.DOCTYPE,
				name=name,
				fieldname="client_secret",
			),
			Browser(make_user("manager@site.example", "System Manager")).get(
				f"{self.admin.base}/api/resource/{registrations.DOCTYPE}/{name}"
			),
		):
			self.assertGreaterEqual(answer.status_code, 400, "nobody reads it")
			self.assertNotIn(secrets[0], answer.text)
		# The site has moved.
		app.db_set("redirect_uri", app.redirect_uri.replace("127.0.0.1", "old.example"))
		frappe.db.commit()
		renewed = self.admin.ask("renew_redirect_uri", connected_app=app.name)
		self.assertEqual(self.registered()[app.client_id]["redirect_uris"], [renewed])
		app.reload()
		self.assertEqual(app.redirect_uri, renewed)
		again = passwords.read(registrations.DOCTYPE, name, "management_token")
		self.assertNotEqual(again, secrets[1], "the server gives a new one")
		self.connects(app)
		self.delete(app)
		# Its tokens have been revoked first.
		self.assertEqual(self.authlib.stats()["revocations"], 2)
		self.assertNotIn(app.client_id, self.registered())
		self.assertEqual(self.stored(), (0, 0))
		self.assertIsNone(
			passwords.read(registrations.DOCTYPE, name, "management_token", raise_exception=False)
		)

	def test_deleted_later(self) -> None:
		"""A server that is down is asked again, after five minutes."""
		app = self.set_up(self.authlib.issuer)
		name = registrations.of_app(app.name).name
		uri = frappe.db.get_value(registrations.DOCTYPE, name, "management_uri")
		frappe.db.set_value(registrations.DOCTYPE, name, "management_uri", "http://127.0.0.1:1/x")
		frappe.db.commit()
		self.delete(app)
		self.assertEqual(self.stored(), (0, 1))
		frappe.db.set_value(registrations.DOCTYPE, name, "management_uri", uri)
		frappe.db.commit()
		registrations.retry()
		self.assertEqual(self.stored(), (0, 1), "not yet")
		frappe.db.set_value(registrations.DOCTYPE, name, "retry_at", "2020-01-01")
		frappe.db.commit()
		registrations.retry()
		self.assertEqual(self.stored(), (0, 0))
		self.assertNotIn(app.client_id, self.registered())

	def test_what_cannot_be_deleted_ends(self) -> None:
		"""A row that nobody can read, or an address that none is: asked ever more rarely, given up after a week, and named.
		It keeps no other waiting."""
		app = self.set_up(self.authlib.issuer)
		name = registrations.of_app(app.name).name
		frappe.db.set_value(registrations.DOCTYPE, name, "management_uri", "http://127.0.0.1:1/x")
		frappe.db.commit()
		self.delete(app)
		for values in ({"details": "["}, {"details": "[]"}, {"management_uri": "http://[x/y"}):
			frappe.db.set_value(registrations.DOCTYPE, name, {**values, "attempts": 0})
			for minutes in (5, 10):
				frappe.db.set_value(registrations.DOCTYPE, name, "retry_at", "2020-01-01")
				frappe.db.commit()
				registrations.retry()
				frappe.db.rollback()
				retry_at = frappe.db.get_value(registrations.DOCTYPE, name, "retry_at")
				self.assertAlmostEqual((retry_at - naive(utc_now())).total_seconds(), minutes * 60, delta=30)
		long_ago = {"ended_on": naive(utc_now() - timedelta(days=8)), "retry_at": "2020-01-01"}
		frappe.db.set_value(registrations.DOCTYPE, name, long_ago)
		frappe.db.commit()
		registrations.retry()
		self.assertEqual(self.stored(), (0, 0))
		log = frappe.get_last_doc("Error Log", {"method": "Connected App: registration not deleted"})
		self.assertIn(app.client_id, log.error)

	def test_found_again(self) -> None:
		"""What was registered before something failed is used by the next attempt."""
		known = len(self.registered())
		with patch.object(type(frappe.new_doc("Connected App")), "check_provider", side_effect=RuntimeError):
			with self.assertRaises(RuntimeError):
				addresses.set_up(self.authlib.issuer)
		self.assertEqual(self.stored(), (0, 1))
		frappe.db.rollback()
		app = self.set_up(self.authlib.issuer)
		self.assertEqual(len(self.registered()), known + 1)
		self.assertEqual(registrations.of_app(app.name).redirect_uri, app.redirect_uri)
		self.connects(app)

	def test_two_admins_at_once(self) -> None:
		"""One registration, and one Connected App."""
		known = len(self.registered())
		with ThreadPoolExecutor(2) as pool:
			asked = [
				pool.submit(Browser.ask, self.admin, "set_up_address", address=self.authlib.issuer)
				for _ in range(2)
			]
		made = [each.result() for each in asked]
		self.assertEqual(len({each["name"] for each in made}), 1)
		self.assertEqual(sorted(each["exists"] for each in made), [False, True])
		self.assertEqual(len(self.registered()), known + 1)
		self.assertEqual(self.stored(), (1, 1))

	def test_shared(self) -> None:
		"""Two APIs of one server: one client, one Redirect URI, and two connections."""
		with self.api() as (server, address):
			first = self.set_up(self.authlib.issuer)
			offer = self.admin.ask("address_offer", address=address)
			self.assertEqual((offer["credentials"], offer["shared_with"]), ("shared", first.name))
			second = self.set_up(address)
			self.assertEqual(
				(second.client_id, second.redirect_uri, second.get_password("client_secret")),
				(first.client_id, first.redirect_uri, first.get_password("client_secret")),
			)
			self.assertEqual(second.resources, address)
			for app in (first, second):
				self.connects(app)
				state = self.alice.ask("connection", "GET", connected_app=app.name)
				self.assertFalse(state["redirect_uri_outdated"])
			about = self.admin.ask("registration", "GET", connected_app=second.name)
			self.assertEqual([each["name"] for each in about["shared_with"]], [first.name])
			for app in (first, second):
				app.db_set("redirect_uri", first.redirect_uri.replace("127.0.0.1", "old.example"))
			frappe.db.commit()
			renewed = self.admin.ask("renew_redirect_uri", connected_app=second.name)
			frappe.db.rollback()
			self.assertEqual(frappe.db.get_value("Connected App", first.name, "redirect_uri"), renewed)
			self.assertEqual(self.registered()[first.client_id]["redirect_uris"], [renewed])
			self.delete(first)
			self.assertIn(first.client_id, self.registered(), "the other app uses it")
			self.connects(second)
			self.delete(second)
			self.assertNotIn(first.client_id, self.registered())

	@contextmanager
	def api(self, **changes: Any) -> Iterator[tuple[Any, str]]:
		"""An API of a hostile server, which names Authlib's as its authorization server."""
		server = lying().Hostile()
		try:
			address = server.url + "/api"
			server.script("/api", lying().Answer(b"", 401, {"WWW-Authenticate": "Bearer"}))
			document = {"resource": address, "authorization_servers": [self.authlib.issuer], **changes}
			server.script(WELL_KNOWN + "/api", lying().as_json(document))
			yield server, address
		finally:
			server.close()

	def test_by_hand(self) -> None:
		"""A server that registers nobody: everything but the credentials is set up."""
		server = lying().Hostile()
		try:
			self.script_server(server)
			offer = self.admin.ask("address_offer", address=server.url + "/api")
			self.assertEqual((offer["credentials"], offer["scopes"]), ("by_hand", ["read", "offline_access"]))
			app = self.set_up(server.url + "/api")
			self.assertEqual((app.client_id, app.token_uri), (None, server.url + "/token"))
			self.assertEqual([each.scope for each in app.scopes], ["read", "offline_access"])
			self.assertEqual(
				[(each.key, each.value) for each in app.query_parameters], [("prompt", "consent")]
			)
		finally:
			server.close()

	def script_server(self, server: Any, resource: dict[str, Any] | None = None, **changes: Any) -> None:
		as_json, answer = lying().as_json, lying().Answer
		server.script("/api", answer(b"", 401, {"WWW-Authenticate": 'Bearer scope="read"'}))
		document = {
			"resource": server.url + "/api",
			"authorization_servers": [server.url],
			**(resource or {}),
		}
		server.script(WELL_KNOWN + "/api", as_json(document))
		server.script(
			"/.well-known/oauth-authorization-server",
			as_json(
				{
					"issuer": server.url,
					"authorization_endpoint": server.url + "/authorize",
					"token_endpoint": server.url + "/token",
					"code_challenge_methods_supported": ["S256"],
					"scopes_supported": ["read", "offline_access"],
					**changes,
				}
			),
		)

	def test_refusals(self) -> None:
		"""Each with a code, and nothing is stored or registered."""
		server = lying().Hostile()
		answer = lying().Answer
		try:
			server.script("/open", lying().as_json({"hello": 1}))
			self.refuses(server.url + "/open", "resource_unknown")
			server.script("/page", answer(b"<html>", headers={"Content-Type": "text/html"}))
			self.refuses(server.url + "/page", "resource_unknown")
			server.script("/moved", answer(status=302, headers={"Location": "https://evil.example/"}))
			self.refuses(server.url + "/moved", "resource_redirects")
			self.refuses("http://example.com/", "uri_insecure")
			self.refuses("ftp://example.com/", "uri_invalid")
			self.refuses("https://10.0.0.1/", "address_refused")
			for resource, code in (
				({"resource": "https://honest.example/"}, "resource_mismatch"),
				({"authorization_servers": ["https://192.168.0.1"]}, "address_refused"),
				({"authorization_servers": []}, "resource_metadata_invalid"),
			):
				self.script_server(server, resource)
				self.refuses(server.url + "/api", code)
			for changes, code in (
				({"issuer": "https://honest.example"}, "discovery_issuer_mismatch"),
				({"code_challenge_methods_supported": None}, "pkce_not_announced"),
				# What cannot be stored is seen before anything is registered.
				({"token_endpoint": "https://as.example/" + "x" * 500}, "authorization_server_unusable"),
				(
					{"registration_endpoint": server.url + "/register?" + "x" * 500},
					"authorization_server_unusable",
				),
			):
				self.script_server(server, **{"registration_endpoint": server.url + "/register", **changes})
				self.refuses(server.url + "/api", code)
			self.assertNotIn("/register", server.paths())
		finally:
			server.close()

	def test_registrations_of_no_use(self) -> None:
		"""They are deleted where they can be, and nothing is stored."""
		server = lying().Hostile()
		try:
			self.script_server(server, registration_endpoint=server.url + "/register")
			server.script("/register/1", lying().Answer(b"", 204))
			for changes in (
				{"grant_types": ["authorization_code"]},
				{"redirect_uris": ["https://evil.example/"]},
				{"client_secret_expires_at": 2000000000},
			):
				given = {
					**{"client_id": "1", "client_secret": "s", "registration_access_token": "t"},
					**{"registration_client_uri": server.url + "/register/1", **changes},
				}
				server.script("/register", lying().as_json(given, 201))
				deleted = len(server.to("/register/1"))
				with self.assertRaises(ConfigurationError) as caught:
					addresses.set_up(server.url + "/api")
				self.assertEqual(caught.exception.code, "registration_unusable")
				self.assertEqual(self.stored(), (0, 0))
				self.assertEqual([each.method for each in server.to("/register/1")[deleted:]], ["DELETE"])
			server.script("/register", lying().as_json({"error": "invalid_redirect_uri"}, 400))
			answer = self.admin.call("set_up_address", address=server.url + "/api")
			self.assertEqual(answer.status_code, 417, answer.text[:300])
			self.assertIn("does not accept the Redirect URI", answer.text)
			self.assertEqual(self.stored(), (0, 0))
		finally:
			server.close()

	def test_odd_names(self) -> None:
		"""What an API calls itself, or an admin calls it, stops nothing after the site is registered there."""
		server = lying().Hostile()
		try:
			for called, typed, name in (
				("<img src=x onerror=alert(1)>", "", "img src=x onerror=alert(1)"),
				("<>", "", "127.0.0.1"),
				("Notes", "n" * 300, "n" * 140),
				("Notes", "<b>My\nnotes</b>", "bMy notes/b"),
			):
				self.script_server(
					server, {"resource_name": called}, registration_endpoint=server.url + "/register"
				)
				server.script("/register", lying().as_json({"client_id": "1", "client_secret": "s"}, 201))
				app = self.set_up(server.url + "/api", provider_name=typed)
				self.assertEqual(app.provider_name, name)
				self.delete(app)
		finally:
			server.close()

	def test_a_change_of_no_use(self) -> None:
		"""The server has changed the registration in another way than asked, and given another secret and another token: those
		count, whatever else is wrong, and the next attempt goes on with them (RFC 7592 2.2)."""
		server = lying().Hostile()
		try:
			self.script_server(server, registration_endpoint=server.url + "/register")
			given = {"client_id": "1", "client_secret": "first", "registration_access_token": "one"}
			uri = {"registration_client_uri": server.url + "/register/1"}
			server.script("/register", lying().as_json({**given, **uri}, 201))
			app = self.set_up(server.url + "/api")
			present = app.redirect_uri
			app.db_set("redirect_uri", present.replace("127.0.0.1", "old.example"))
			frappe.db.commit()
			name = registrations.of_app(app.name).name
			replaced = {"client_id": "1", "client_secret": "second", "registration_access_token": "two"}
			elsewhere = {**replaced, "redirect_uris": ["https://evil.example/"]}
			server.script("/register/1", lying().as_json(elsewhere), lying().as_json({"client_id": "1"}))
			answer = self.admin.call("renew_redirect_uri", connected_app=app.name)
			self.assertEqual(answer.status_code, 417, answer.text[:300])
			self.assertIn("another Redirect URI", answer.text)
			frappe.db.rollback()
			app.reload()
			self.assertIn("old.example", app.redirect_uri)
			self.assertEqual(app.get_password("client_secret"), "second")
			self.assertEqual(passwords.read(registrations.DOCTYPE, name, "management_token"), "two")
			self.assertEqual(self.admin.ask("renew_redirect_uri", connected_app=app.name), present)
			self.assertEqual(server.to("/register/1")[-1].headers["authorization"], "Bearer two")
			self.assertIn(b'"second"', server.to("/register/1")[-1].body)
			frappe.db.rollback()
			self.assertEqual(registrations.of_app(app.name).redirect_uri, present)
			self.assertEqual(len(server.to("/register")), 1)
		finally:
			server.close()

	def test_command(self) -> None:
		ended = bench("new-app", "--address", self.authlib.issuer, "--name", "By hand of bench", "--json")
		self.assertEqual(ended.returncode, 0, ended.stderr[-1000:])
		(made,) = json.loads(ended.stdout)
		self.assertEqual((made["credentials"], made["exists"]), ("registered", False))
		frappe.db.rollback()
		self.assertEqual(
			frappe.db.get_value("Connected App", made["name"], "provider_name"), "By hand of bench"
		)
		ended = bench("new-app", "--address", "http://127.0.0.1:1/", "--json")
		self.assertEqual(ended.returncode, 1)
		self.assertIn("network", ended.stderr)
		for wrong in (
			("new-app",),
			("new-app", "google", "--address", "x"),
			("new-app", "--address", "x", "--client-id", "y"),
		):
			self.assertEqual(bench(*wrong).returncode, 2)

	def test_further_origins(self) -> None:
		app = make_app(resources="https://api.example", further_origins="https://files.example\n*")
		app.further_origins = "files.example"
		with self.assertRaises(frappe.ValidationError):
			app.save()


@needs_providers
class TestClientMetadataDocument(Addresses):
	"""The document by which this site introduces itself, read by npm's certified provider over https."""

	def test_connect(self) -> None:
		with self.over_https() as (address, _seen), self.certified_provider() as running:
			offer = addresses.offer(running.issuer)
			self.assertEqual(offer["credentials"], "published")
			made = addresses.set_up(running.issuer)
			self.assertEqual(made["credentials"], "published")
			frappe.db.rollback()
			app = frappe.get_doc("Connected App", made["name"])
			self.assertTrue(app.client_id.startswith(address + registrations.PATH))
			self.assertEqual(app.client_authentication, "None")
			document = requests.get(self.on_site(app.client_id), timeout=30).json()
			self.assertEqual(
				(document["client_id"], document["redirect_uris"]), (app.client_id, [app.redirect_uri])
			)
			self.assertNotIn("client_secret", json.dumps(document))
			url = self.alice.ask("authorize", connected_app=app.name, success_uri="/me")
			landed = self.alice.visit(self.on_site(running.consent(url)))
			self.assertEqual(landed.headers.get("Location"), "/me", code_of(landed) or landed.text[:300])
			about = registrations.about(app.name)
			self.assertEqual(
				(about["kind"], about["can_be_changed"], about["details"]), ("Published", True, document)
			)
			self.delete(app)
			self.assertEqual(requests.get(self.on_site(app.client_id), timeout=30).status_code, 404)
			self.assertEqual(self.stored(), (0, 0))

	def test_a_document_that_names_us_wrongly(self) -> None:
		"""Something in front of the site changes it: nothing is published, and another way is taken if there is one."""
		with self.over_https() as (_address, seen), self.certified_provider() as running:
			for old, new in (("client_metadata", "another"), ("callback", "elsewhere"), ("{", "<html>")):
				seen.update(old=old, new=new)
				with self.assertRaises(ConfigurationError) as caught:
					addresses.set_up(running.issuer)
				self.assertEqual(caught.exception.code, "client_document_wrong")
				self.assertEqual(self.stored(), (0, 0))
		features = {"registration": {"enabled": True}}
		with self.over_https() as (_address, seen), self.certified_provider(**features) as running:
			seen.update(old="{", new="<html>")
			self.assertEqual(addresses.set_up(running.issuer)["credentials"], "registered")

	def test_not_without_https(self) -> None:
		with self.certified_provider() as running:
			self.assertEqual(addresses.offer(running.issuer)["credentials"], "by_hand")

	def test_unknown(self) -> None:
		for name in ("x", "", "../x"):
			answer = requests.get(self.admin.base + registrations.PATH + name, timeout=30)
			self.assertGreaterEqual(answer.status_code, 400)

	def on_site(self, url: str) -> str:
		"""The same at the site's own address: behind the proxy, cookies would be another host's."""
		parts = urlsplit(url)
		return self.admin.base + url[len(f"{parts.scheme}://{parts.netloc}") :]

	@contextmanager
	def certified_provider(self, **features: Any) -> Iterator[Any]:
		module = certified()
		if not module.AVAILABLE:
			self.skipTest("npm's oidc-provider is not installed")
		documents = {"clientIdMetadataDocument": {"enabled": True, "ack": "draft-02"}}
		with module.start(features={**documents, **features}) as running:
			yield running

	@contextmanager
	def over_https(self) -> Iterator[tuple[str, dict[str, str]]]:
		"""The site at an https address, by a proxy before it.

		:returns: the address; and what the proxy replaces in answers: `old` by `new`
		"""
		seen: dict[str, str] = {}
		with tempfile.TemporaryDirectory() as folder:
			pem = os.path.join(folder, "proxy.pem")
			certificate("localhost").write(pem)
			server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.forwarder(seen))
			context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
			context.load_cert_chain(pem)
			server.socket = context.wrap_socket(server.socket, server_side=True)
			address = f"https://localhost:{server.server_port}"
			thread = threading.Thread(target=server.serve_forever, daemon=True)
			thread.start()
			trusted = {"REQUESTS_CA_BUNDLE": pem, "NODE_EXTRA_CA_CERTS": pem}
			_http.cache_clear()
			try:
				with patch.dict(os.environ, trusted), patch.dict(frappe.conf, {"host_name": address}):
					yield address, seen
			finally:
				_http.cache_clear()
				server.shutdown()
				server.server_close()
				thread.join(10)

	def forwarder(self, seen: dict[str, str]) -> type[http.server.BaseHTTPRequestHandler]:
		site = urlsplit(self.admin.base)

		class Forwarder(http.server.BaseHTTPRequestHandler):
			def do_GET(self) -> None:
				connection = http.client.HTTPConnection(site.hostname, site.port, timeout=30)
				connection.request(
					"GET", self.path, headers={"Host": site.netloc, "Accept": "application/json"}
				)
				answer = connection.getresponse()
				body = answer.read().replace(seen.get("old", "{").encode(), seen.get("new", "{").encode())
				connection.close()
				self.send_response(answer.status)
				self.send_header("Content-Type", answer.headers["Content-Type"])
				self.send_header("Content-Length", str(len(body)))
				self.end_headers()
				self.wfile.write(body)

			def log_message(self, *_arguments: Any) -> None:
				pass

		return Forwarder
