"""Check Configuration, Test Connection, and what people see of connections: against a good provider and broken ones."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import frappe
import jwt

from connected_app.oauth.clock import utc_now
from connected_app.site import connections
from connected_app.site.checks import check_configuration
from connected_app.site.rows import naive
from connected_app.tests.site import (
	ALICE,
	VISITOR,
	Browser,
	Case,
	hostile,
	make_app,
	make_user,
	needs_providers,
	row,
	statements,
)


def found(app: Any, *levels: str) -> list[tuple[str, str, str]]:
	"""Level, check and field of the findings, `ok` left out unless asked for."""
	frappe.db.rollback()
	findings = check_configuration(app.name)
	for finding in findings:
		assert finding["message"], finding
		assert bool(finding["action"]) == (finding["level"] != "ok"), finding
		assert not finding["field"] or app.meta.has_field(finding["field"]), finding
		for secret in ("demo-secret", "wrong-secret"):
			assert secret not in str(finding)
	return [
		(finding["level"], finding["check"], finding["field"])
		for finding in findings
		if finding["level"] in (levels or ("warning", "error"))
	]


@needs_providers
class TestSettings(Case):
	"""Against a provider that works."""

	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer)

	def change(self, **values: Any) -> None:
		frappe.db.set_value("Connected App", self.app.name, values)
		frappe.db.commit()

	def test_all_is_well(self) -> None:
		self.assertEqual(found(self.app), [])
		checked = {check for _level, check, _field in found(self.app, "ok")}
		self.assertEqual(
			checked,
			{
				"discovery",
				"redirect_uri",
				"client_authentication",
				"scopes",
				"pkce",
				"authorization",
				"token",
				"credentials",
				"jwks",
				"endpoint",
			},
		)
		self.assertEqual(self.authlib.stats()["revocations"], 0)
		self.assertEqual(self.authlib.stats()["refreshes"], 0)

	def test_what_the_last_user_was_given(self) -> None:
		"""No refresh token, or one that ends before the background refreshes: said once somebody has connected."""
		self.assertEqual(self.connect(self.app).status_code, 302)
		name = f"{self.app.name}-{ALICE}"
		self.assertEqual(found(self.app), [])
		ends = naive(utc_now() + timedelta(days=5))
		frappe.db.set_value("Token Cache", name, "refresh_expires_at", ends)
		frappe.db.commit()
		self.assertEqual(found(self.app), [("warning", "refresh_token_ends", "refresh_idle_after")])
		self.change(refresh_idle_after=3)
		self.assertEqual(found(self.app), [])
		self.change(refresh_in_background=0)
		self.assertEqual(found(self.app), [("warning", "refresh_token_ends", "refresh_in_background")])
		frappe.db.set_value("Token Cache", name, {"refresh_token": "", "refresh_expires_at": None})
		frappe.db.commit()
		self.assertEqual(found(self.app), [("warning", "no_refresh_token", "query_parameters")])

	def test_pasted_with_blanks(self) -> None:
		"""Nobody sees the blank beside a Client ID, or the newline behind a secret, and providers refuse both. Two scopes
		in one row are two scopes (RFC 6749 3.3)."""
		values = {
			field: f" {value}\n"
			for field, value in self.app.as_dict().items()
			if isinstance(value, str) and (field.endswith("_uri") or field in ("issuer", "client_id"))
		}
		pasted = {"provider_name": " Demo ", "client_secret": "\tdemo-secret\n", **values}
		scopes = [{"scope": " openid email"}, {"scope": "email"}, {"scope": "profile\n"}]
		app = make_app(**pasted, scopes=scopes)
		self.assertEqual(app.provider_name, "Demo")
		self.assertEqual([each.scope for each in app.scopes], ["openid", "email", "profile"])
		self.app.reload()
		self.app.update(pasted)
		self.app.save(ignore_permissions=True)
		frappe.db.commit()
		self.assertEqual(found(self.app), [])
		self.assertEqual(self.connect(self.app).status_code, 302)
		self.assertRaises(frappe.MandatoryError, make_app, provider_name=" ")

	def test_over_http(self) -> None:
		findings = self.admin.ask("check_configuration", connected_app=self.app.name)
		self.assertEqual({finding["level"] for finding in findings}, {"ok"}, findings)

	def test_an_empty_form(self) -> None:
		self.assertEqual(
			found(make_app()),
			[
				("error", "client_id", "client_id"),
				("error", "endpoint_missing", "authorization_uri"),
				("error", "endpoint_missing", "token_uri"),
			],
		)

	def test_discovery(self) -> None:
		base = self.authlib.issuer
		for url in (
			"http://127.0.0.1:1/.well-known/openid-configuration",
			f"{base}/nothing/.well-known/openid-configuration",
			"http://provider.example",
		):
			self.change(openid_configuration=url)
			self.assertIn(("error", "discovery", "openid_configuration"), found(self.app))

	def test_differs_from_what_is_published(self) -> None:
		self.change(
			issuer="https://other.example", revocation_uri=None, token_uri=self.authlib.issuer + "/revoke"
		)
		seen = found(self.app)
		self.assertIn(("error", "discovery_differs", "issuer"), seen)
		self.assertIn(("warning", "discovery_differs", "revocation_uri"), seen)
		self.assertIn(("warning", "discovery_differs", "token_uri"), seen)

	def test_credentials(self) -> None:
		"""A secret that the provider does not know is found without connecting; so is an unknown client."""
		self.app.client_secret = "wrong-secret"
		self.app.save()
		frappe.db.commit()
		self.assertEqual(found(self.app), [("error", "credentials", "client_secret")])
		self.change(client_id="nobody")
		self.assertEqual(
			found(self.app),
			[("error", "credentials", "client_secret"), ("warning", "authorization", "authorization_uri")],
		)
		self.app.reload()
		self.app.client_secret = ""
		self.app.client_authentication = "Post"
		self.app.save()
		frappe.db.commit()
		self.assertIn(("error", "client_secret", "client_secret"), found(self.app))

	def test_redirect_uri(self) -> None:
		self.change(redirect_uri="https://old.example/callback")
		self.assertEqual(
			found(self.app),
			[("error", "redirect_uri", "redirect_uri"), ("warning", "authorization", "authorization_uri")],
		)

	def test_scopes(self) -> None:
		self.app.scopes = []
		for scope in ("openid", "raed"):
			self.app.append("scopes", {"scope": scope})
		self.app.save()
		frappe.db.commit()
		self.assertEqual(
			found(self.app),
			[
				("warning", "scopes", "scopes"),
				("error", "authorization", "scopes"),
				("warning", "offline", "scopes"),
			],
		)

	def test_offline_parameters(self) -> None:
		self.app.update({"authorization_uri": "https://accounts.google.com:1/", "openid_configuration": ""})
		self.app.save()
		frappe.db.commit()
		self.assertIn(("warning", "offline", "query_parameters"), found(self.app))
		for key, value in (("access_type", "offline"), ("prompt", "consent")):
			self.app.append("query_parameters", {"key": key, "value": value})
		self.app.save()
		frappe.db.commit()
		self.assertNotIn(("warning", "offline", "query_parameters"), found(self.app))

	def test_reserved_parameters(self) -> None:
		"""A row from before this app forbade it."""
		self.app.append("query_parameters", {"key": "prompt", "value": "consent"})
		self.app.save()
		frappe.db.set_value("Query Parameters", self.app.query_parameters[0].name, "key", "state")
		frappe.db.commit()
		self.assertEqual(found(self.app), [("error", "parameter_reserved", "query_parameters")])

	def test_an_unreadable_secret(self) -> None:
		"""A site restored without its encryption key."""
		frappe.db.sql("update `__Auth` set password='nonsense' where name=%s", self.app.name)
		frappe.db.commit()
		self.assertEqual(found(self.app), [("error", "client_secret_unreadable", "client_secret")])

	def test_a_public_site(self) -> None:
		"""http and developer mode are for one's own machine."""
		self.addCleanup(frappe.conf.update, host_name=frappe.conf.host_name)
		frappe.conf.host_name = "http://erp.example.com"
		seen = found(self.app)
		self.assertIn(("error", "site_insecure", "redirect_uri"), seen)
		self.assertIn(("warning", "developer_mode", ""), seen)
		frappe.conf.host_name = "https://erp.example.com"
		self.assertNotIn(("error", "site_insecure", "redirect_uri"), found(self.app))

	def test_who_may_connect(self) -> None:
		self.change(enabled=0, everyone_may_connect=0)
		self.assertEqual(
			found(self.app), [("warning", "enabled", "enabled"), ("warning", "roles", "allowed_roles")]
		)

	def test_internal_addresses(self) -> None:
		"""core-defects 10: a check reaches no internal address either."""
		self.addCleanup(frappe.conf.update, developer_mode=frappe.conf.developer_mode)
		frappe.conf.developer_mode = 0
		fields = {"authorization_uri", "token_uri", "jwks_uri", "userinfo_uri", "revocation_uri"}
		self.change(**{field: "https://127.0.0.1:1/x" for field in (*fields, "openid_configuration")})
		refused = [
			finding
			for finding in check_configuration(self.app.name)
			if "internal address" in finding["message"]
		]
		self.assertEqual({finding["field"] for finding in refused}, fields | {"openid_configuration"})


@needs_providers
class TestBrokenProviders(Case):
	def setUp(self) -> None:
		super().setUp()
		self.module = hostile()
		self.server = self.module.Hostile()
		self.addCleanup(self.server.close)
		url = self.server.url
		self.document = {
			"issuer": url,
			"authorization_endpoint": url + "/authorize",
			"token_endpoint": url + "/token",
			"revocation_endpoint": url + "/revoke",
			"userinfo_endpoint": url + "/userinfo",
			"jwks_uri": url + "/jwks",
		}
		self.publish()
		error = self.module.as_json({"error": "invalid_request"}, 400)
		for path in ("/token", "/revoke", "/userinfo"):
			self.server.script(path, error)
		self.server.script(
			"/authorize", self.module.Answer(b"<p>Who are you?</p>", 200, {"Content-Type": "text/html"})
		)
		keys = frappe.safe_decode(
			__import__("requests").get(f"{self.authlib.issuer}/jwks", timeout=30).content
		)
		self.server.script("/jwks", self.module.as_json(json.loads(keys)))
		self.app = make_app(url)

	def publish(self, **more: Any) -> None:
		self.server.script(
			"/.well-known/openid-configuration", self.module.as_json({**self.document, **more})
		)

	def page(self, status: int = 200) -> Any:
		return self.module.Answer(b"<html>Welcome</html>", status, {"Content-Type": "text/html"})

	def test_what_is_not_said_is_not_held_against_it(self) -> None:
		self.assertEqual(found(self.app), [])

	def test_endpoints_that_are_none(self) -> None:
		"""A page, nothing, a failure or a redirect in place of each endpoint."""
		for path, field, level, answers in (
			("/authorize", "authorization_uri", "error", (self.page(404), self.page(503))),
			(
				"/token",
				"token_uri",
				"error",
				(
					self.page(),
					self.page(404),
					self.page(503),
					self.module.Answer(b"", 302, {"Location": "/"}),
				),
			),
			("/jwks", "jwks_uri", "error", (self.page(), self.page(404), self.module.as_json({"keys": []}))),
			("/revoke", "revocation_uri", "warning", (self.page(), self.page(404))),
			("/userinfo", "userinfo_uri", "warning", (self.page(), self.page(404))),
		):
			before = self.server._scripts[path]
			for answer in answers:
				self.server.script(path, answer)
				self.assertEqual(
					[(one, where) for one, _check, where in found(self.app)], [(level, field)], (path, answer)
				)
			self.server.script(path, *before)

	def test_what_the_consent_page_says(self) -> None:
		"""An error that is sent back to the redirect URI (RFC 6749 4.1.2.1), and a page that refuses."""
		back = self.app.redirect_uri + "?error=invalid_scope&error_description=no+such+scope"
		self.server.script("/authorize", self.module.Answer(b"", 302, {"Location": back}))
		self.assertEqual(found(self.app), [("error", "authorization", "scopes")])
		self.server.script("/authorize", self.page(400))
		self.assertEqual(found(self.app), [("warning", "authorization", "authorization_uri")])

	def test_secrets_stay_at_home(self) -> None:
		"""The client secret is not sent to what has not answered as a token endpoint."""
		self.server.script("/token", self.page())
		found(self.app)
		self.assertEqual(len(self.server.to("/token")), 1)
		for request in self.server.requests:
			self.assertNotIn(b"demo-secret", request.raw)

	def test_metadata(self) -> None:
		for more, expected in (
			({"code_challenge_methods_supported": ["plain"]}, ("error", "pkce", "use_pkce")),
			(
				{"token_endpoint_auth_methods_supported": ["private_key_jwt"]},
				("error", "client_authentication", "client_authentication"),
			),
			(
				{"response_types_supported": ["token"]},
				("error", "response_types_supported", "authorization_uri"),
			),
			(
				{"grant_types_supported": ["implicit"]},
				("error", "grant_types_supported", "authorization_uri"),
			),
			({"id_token_signing_alg_values_supported": ["none"]}, ("error", "id_token_algorithm", "issuer")),
			({"issuer": "https://other.example"}, ("error", "discovery", "openid_configuration")),
		):
			self.publish(**more)
			self.assertEqual(found(self.app), [expected], more)
		self.publish(code_challenge_methods_supported=["S256"])
		frappe.db.set_value("Connected App", self.app.name, "use_pkce", 0)
		frappe.db.commit()
		self.assertEqual(found(self.app), [("warning", "pkce", "use_pkce")])

	def test_an_unreachable_host_is_asked_once(self) -> None:
		"""Its other endpoints would only add up time-outs."""
		gone = self.module.Hostile()
		self.addCleanup(gone.close)
		fields = {
			f"{name}_uri": f"{gone.url}/{name}" for name in ("authorization", "token", "jwks", "userinfo")
		}
		for name in ("authorization", "token", "jwks", "userinfo"):
			gone.script(f"/{name}", self.module.Answer(b"cut", cut=0))
		frappe.db.set_value("Connected App", self.app.name, {**fields, "openid_configuration": ""})
		frappe.db.commit()
		self.assertEqual({field for level, _check, field in found(self.app) if level == "error"}, set(fields))
		self.assertEqual(len(gone.requests), 1)


@needs_providers
class TestTestConnection(Case):
	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer)

	def test_without_a_connection(self) -> None:
		answer = self.alice.call("test_connection", connected_app=self.app.name)
		told = answer.json()["message"]
		self.assertEqual((told["ok"], told["code"]), (False, "not_connected"))
		self.assertTrue(told["message"] and told["action"])
		self.assertNotIn("_server_messages", answer.json())

	def test_works_and_breaks(self) -> None:
		self.assertEqual(self.connect(self.app).status_code, 302)
		told = self.alice.ask("test_connection", connected_app=self.app.name)
		self.assertEqual((told["ok"], told["account"], told["code"]), (True, "alice@example.com", ""))
		self.authlib.command("expire")
		self.assertTrue(self.alice.ask("test_connection", connected_app=self.app.name)["ok"])
		self.assertEqual(self.authlib.stats()["refreshes"], 1)
		self.authlib.command("revoke")
		answer = self.alice.call("test_connection", connected_app=self.app.name)
		told = answer.json()["message"]
		self.assertEqual((told["ok"], told["code"]), (False, "grant_invalid"))
		self.assertNotIn("_server_messages", answer.json())
		kept = row(self.app, ALICE)
		self.assertEqual(kept.status, "Reconnect Required")
		for field in ("access_token", "refresh_token"):
			self.assertNotIn(kept.get_password(field), answer.text)

	def test_userinfo(self) -> None:
		"""A connection is not called broken because its scopes do not cover the userinfo endpoint."""
		self.assertEqual(self.connect(self.app).status_code, 302)
		for uri, said in ((f"{self.authlib.issuer}/nothing", "HTTP 404"), ("", "no Userinfo URI")):
			frappe.db.set_value("Connected App", self.app.name, "userinfo_uri", uri)
			frappe.db.commit()
			told = self.alice.ask("test_connection", connected_app=self.app.name)
			self.assertTrue(told["ok"])
			self.assertIn(said, told["message"])
		frappe.db.set_value("Connected App", self.app.name, "userinfo_uri", "http://127.0.0.1:1/")
		frappe.db.commit()
		told = self.alice.ask("test_connection", connected_app=self.app.name)
		self.assertEqual((told["ok"], told["code"]), (False, "network"))

	def test_userinfo_signed_with_the_client_secret(self) -> None:
		"""OIDC Core 5.3.2: it is read without a refresh, too, and may not name another account (5.3.4)."""
		self.assertEqual(self.connect(self.app).status_code, 302)
		answers = hostile()
		server = answers.Hostile()
		self.addCleanup(server.close)
		metadata = {"userinfo_signing_alg_values_supported": ["HS256"]}
		frappe.db.set_value(
			"Connected App",
			self.app.name,
			{"userinfo_uri": server.url + "/userinfo", "provider_metadata": json.dumps(metadata)},
		)
		frappe.db.commit()
		subject = row(self.app, ALICE).account_id
		for claimed, ok, code in ((subject, True, ""), ("mallory", False, "userinfo_subject_mismatch")):
			signed = jwt.encode({"sub": claimed}, "demo-secret", algorithm="HS256").encode()
			server.script("/userinfo", answers.Answer(signed, 200, {"Content-Type": "application/jwt"}))
			told = self.alice.ask("test_connection", connected_app=self.app.name)
			self.assertEqual((told["ok"], told["code"]), (ok, code), told)
		self.assertEqual(self.authlib.stats()["refreshes"], 0)


@needs_providers
class TestOverview(Case):
	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer)
		self.assertEqual(self.connect(self.app, scopes=["openid", "email"]).status_code, 302)

	def mine(self, browser: Browser) -> dict[str, Any]:
		return {app["name"]: app for app in browser.ask("my_connections", "GET")}

	def test_my_connections(self) -> None:
		hidden = make_app(self.authlib.issuer, everyone_may_connect=0)
		disabled = make_app(self.authlib.issuer, enabled=0)
		mine = self.mine(self.alice)
		self.assertNotIn(hidden.name, mine)
		self.assertNotIn(disabled.name, mine)
		state = mine[self.app.name]
		self.assertEqual(state["status"], "Connected")
		self.assertEqual(state["account_name"], "alice@example.com")
		self.assertEqual(state["scopes"], ["openid", "email"])
		self.assertEqual(state["missing_scopes"], ["profile", "read"])
		self.assertTrue(state["connected_on"] and state["may_connect"])
		visitor = self.mine(Browser(VISITOR))[self.app.name]
		self.assertEqual((visitor["status"], visitor["scopes"]), ("Not Connected", []))
		# What was connected before stays visible, to be disconnected.
		frappe.db.set_value("Connected App", self.app.name, "enabled", 0)
		frappe.db.set_value(
			"Token Cache",
			f"{self.app.name}-{ALICE}",
			{
				"status": "Reconnect Required",
				"error_code": "grant_invalid",
				"error_values": '{"text": "It is over: really."}',
			},
		)
		frappe.db.commit()
		state = self.mine(self.alice)[self.app.name]
		self.assertEqual((state["status"], state["may_connect"]), ("Reconnect Required", False))
		self.assertEqual((state["error_code"], state["last_error"]), ("grant_invalid", "It is over: really."))
		self.assertNotIn(self.app.name, self.mine(Browser(VISITOR)))

	def test_statements(self) -> None:
		"""However many apps there are."""

		def asked() -> int:
			connections.of_user(ALICE)  # what Frappe reads once, it has read
			with statements() as sent:
				connections.of_user(ALICE)
			return len(sent)

		frappe.set_user(ALICE)
		before = asked()
		frappe.set_user("Administrator")
		for _number in range(5):
			make_app(self.authlib.issuer, everyone_may_connect=0, allowed_roles=[{"role": "Blogger"}])
		frappe.set_user(ALICE)
		# One more where an app is shared, as other tests leave some.
		self.assertLessEqual(before, 5 + bool(frappe.db.exists("Connected App", {"connection_is": "Shared"})))
		self.assertEqual(asked(), before)

	def test_connections(self) -> None:
		names = [make_user(f"many{number}@site.example") for number in range(3)]
		for name in names:
			frappe.get_doc(
				{
					"doctype": "Token Cache",
					"connected_app": self.app.name,
					"user": name,
					"access_token": "x" * 8,
				}
			).insert(ignore_permissions=True)
		frappe.db.set_value(
			"Token Cache",
			f"{self.app.name}-{names[1]}",
			{
				"status": "Temporarily Failing",
				"error_code": "network",
				"error_values": '{"text": "No answer."}',
				"failing_since": "2026-01-01 00:00:00",
			},
		)
		frappe.db.commit()
		told = self.admin.ask("connections", "GET", connected_app=self.app.name)
		self.assertEqual(told["total"], 4)
		self.assertEqual(told["counts"], {"Connected": 3, "Temporarily Failing": 1})
		first = told["rows"][0]
		self.assertEqual(
			(first["user"], first["status"], first["error_code"], first["last_error"]),
			(names[1], "Temporarily Failing", "network", "No answer."),
		)
		alice = next(one for one in told["rows"] if one["user"] == ALICE)
		self.assertEqual((alice["account_name"], alice["full_name"]), ("alice@example.com", "alice"))
		self.assertTrue(alice["connected_on"])
		pages = [
			self.admin.ask("connections", "GET", connected_app=self.app.name, start=start, page_length=2)[
				"rows"
			]
			for start in (0, 2)
		]
		self.assertEqual(
			[one["name"] for page in pages for one in page], [one["name"] for one in told["rows"]]
		)
		self.assertNotIn("token", str([list(one) for one in told["rows"]]))
