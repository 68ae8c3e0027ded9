"""From the click to the API call, over HTTP, against the running web server and real providers."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import replace
from html import unescape
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, quote, unquote, urljoin, urlsplit

import frappe
import requests
from cryptography.fernet import Fernet
from frappe.utils.password import remove_encrypted_password

from connected_app.oauth import ConfigurationError, OAuthError, ReconnectRequired, Secret
from connected_app.oauth.clock import utc_now
from connected_app.site import grants, links, passwords, rows, settings
from connected_app.site.attempts import ATTEMPTS, RedisAttemptStore
from connected_app.site.identity import ConnectionKey
from connected_app.tests.site import (
	ALICE,
	CORE,
	MALLORY,
	SCOPES,
	VISITOR,
	Browser,
	Case,
	certified,
	code_of,
	forget,
	in_processes,
	make_app,
	make_user,
	needs_providers,
	other_app,
	provider,
	row,
	statements,
)


@needs_providers
class TestTheWholeLine(Case):
	def test_from_the_form_to_the_api(self) -> None:
		"""core-defects 35: the server, not the browser, fetches the configuration. Then the whole line."""
		app = make_app(openid_configuration=f"{self.authlib.issuer}/.well-known/openid-configuration")
		found = self.admin.ask("get_openid_configuration", connected_app=app.name)
		self.assertEqual(len(found["filled"]), 8)
		self.assertEqual(found["missing"], [])
		scopes = [{"scope": scope} for scope in SCOPES]
		app.reload()
		app.update({**found["values"], "client_id": "demo", "client_secret": "demo-secret", "scopes": scopes})
		app.save()
		frappe.db.commit()

		landed = self.connect(app)
		self.assertEqual((landed.status_code, landed.headers["Location"]), (302, "/me"))
		self.assertEqual(landed.cookies.get("connected_app_message"), "1")
		message = self.alice.ask("take_message")
		self.assertIn("alice@example.com", message["message"])
		self.assertIn("read", message["message"])
		self.assertEqual(message["indicator"], "green")
		self.assertIsNone(self.alice.ask("take_message"))

		kept = row(app, ALICE)
		self.assertEqual(
			(kept.status, kept.account_id, kept.account_name), ("Connected", "alice", "alice@example.com")
		)
		self.assertEqual([line.scope for line in kept.scopes], list(SCOPES))
		self.assertTrue(3500 < kept.get_expires_in() <= 3600)

		session = frappe.get_doc("Connected App", app.name).get_oauth2_session(ALICE)
		self.assertEqual(session.get(f"{self.authlib.issuer}/api/hello").json(), {"hello": "Alice"})
		self.authlib.command("expire")
		self.assertEqual(session.get(f"{self.authlib.issuer}/api/hello").json(), {"hello": "Alice"})
		self.assertEqual(self.authlib.stats()["refreshes"], 1)

		self.assertTrue(self.alice.ask("has_token", connected_app=app.name))
		self.assertEqual(self.alice.ask("disconnect", connected_app=app.name), {"revoked": True})
		self.assertFalse(self.alice.ask("has_token", "GET", connected_app=app.name))
		self.assertIsNone(row(app, ALICE))
		self.assertEqual(self.authlib.stats()["revocations"], 2)

	def test_a_website_user_connects(self) -> None:
		app = make_app(self.authlib.issuer)
		visitor = Browser(VISITOR)
		page = visitor.open(f"/connect?app={app.name}")
		self.assertIn("Not Connected", page.text)
		url = visitor.ask("authorize", connected_app=app.name)
		landed = visitor.visit(self.authlib.consent(url, account="bob"))
		self.assertEqual(landed.headers.get("Location"), f"/connect?app={app.name}")
		self.assertEqual(
			visitor.ask("connection", "GET", connected_app=app.name)["account_name"], "bob@example.com"
		)

	def test_links_that_are_wrong(self) -> None:
		"""They say where to look, and not which apps there are."""
		visitor = Browser(VISITOR)
		self.assertEqual(visitor.open("/connect").url, f"{visitor.base}/my-connections")
		foreign = make_app(self.authlib.issuer, everyone_may_connect=0)
		for name in (foreign.name, "nothing"):
			page = visitor.open(f"/connect?app={name}")
			self.assertEqual(page.status_code, 403)
			self.assertIn('href="/my-connections"', page.text)

	def test_the_certified_provider(self) -> None:
		module = certified()
		if not module.AVAILABLE:
			self.skipTest("the certified provider needs Node.js and npm")
		app = make_app(
			client_id="client",
			client_secret="s:cret%",
		)
		with module.start("client", "s:cret%", app.redirect_uri) as running:
			self.discover(app, running)
			self.connect_at(app, running)
			self.assertEqual(row(app, ALICE).account_name, "alice@example.com")
			before = row(app, ALICE).get_password("access_token")
			frappe.db.set_value("Token Cache", row(app, ALICE).name, "expires_at", "2020-01-01")
			frappe.db.commit()
			forget()
			session = app.get_oauth2_session(ALICE)
			self.assertNotEqual(session.token["access_token"], before)
			self.assertEqual(session.get(app.userinfo_uri).json()["sub"], "alice")

	def test_frappes_own_provider(self) -> None:
		"""The provider's session is another user's, who clicks Allow there."""
		app = make_app()
		client = frappe.get_doc(
			{
				"doctype": "OAuth Client",
				"app_name": "connected_app test",
				"scopes": "all openid",
				"redirect_uris": app.redirect_uri,
				"default_redirect_uri": app.redirect_uri,
				"grant_type": "Authorization Code",
				"response_type": "Code",
			}
		).insert(ignore_permissions=True)
		base = frappe.utils.get_url() + "/api/method/frappe.integrations.oauth2."
		app.update(
			{
				"client_id": client.client_id,
				"client_secret": client.client_secret,
				"authorization_uri": base + "authorize",
				"token_uri": base + "get_token",
				"revocation_uri": base + "revoke_token",
				"userinfo_uri": base + "openid_profile",
			}
		)
		app.append("scopes", {"scope": "all"})
		app.append("scopes", {"scope": "openid"})
		app.save()
		frappe.db.commit()
		there = Browser(MALLORY)
		page = there.visit(self.alice.ask("authorize", connected_app=app.name, success_uri="/me"))
		where = re.search(r'location\.replace\("(/api/method/[^"]*approve[^"]*)"', page.text)
		self.assertIsNotNone(where, page.text[-2000:])
		allowed = there.visit(there.base + unescape(where.group(1)))
		landed = self.alice.visit(allowed.headers["Location"])
		self.assertEqual(landed.headers.get("Location"), "/me", landed.text[:500])
		self.assertEqual(row(app, ALICE).account_name, MALLORY)

		who = frappe.utils.get_url() + "/api/method/frappe.auth.get_logged_user"
		session = app.get_oauth2_session(ALICE)
		self.assertEqual(session.get(who).json()["message"], MALLORY)
		before = session.token["access_token"]
		frappe.db.set_value("Token Cache", row(app, ALICE).name, "expires_at", "2020-01-01")
		frappe.db.commit()
		forget()
		session = app.get_oauth2_session(ALICE)
		self.assertNotEqual(session.token["access_token"], before)
		self.assertEqual(session.get(who).json()["message"], MALLORY)
		token = session.token["access_token"]
		self.assertEqual(self.alice.ask("disconnect", connected_app=app.name), {"revoked": True})
		frappe.db.rollback()
		self.assertEqual(
			frappe.get_all("OAuth Bearer Token", {"access_token": token}, pluck="status"), ["Revoked"]
		)

	def test_frappes_own_provider_by_its_configuration(self) -> None:
		"""Frappe's metadata name no client authentication, and ID tokens signed with the client's secret."""
		base = frappe.utils.get_url()
		app = make_app(
			openid_configuration=f"{base}/.well-known/openid-configuration",
			client_authentication="Post",
			scopes=[{"scope": "all"}, {"scope": "openid"}],
		)
		found = self.admin.ask("get_openid_configuration", connected_app=app.name)
		self.assertEqual(found["missing"], ["JWKS URI"])
		client = frappe.get_doc(
			{
				"doctype": "OAuth Client",
				"app_name": "connected_app discovery",
				"scopes": "all openid",
				"redirect_uris": app.redirect_uri,
				"default_redirect_uri": app.redirect_uri,
				"grant_type": "Authorization Code",
				"response_type": "Code",
				"skip_authorization": 1,
			}
		).insert(ignore_permissions=True)
		app.update({**found["values"], "client_id": client.client_id, "client_secret": client.client_secret})
		app.save()
		frappe.db.commit()
		where = self.alice.ask("authorize", connected_app=app.name, success_uri="/me")
		while not where.startswith(app.redirect_uri):
			where = urljoin(base, self.alice.visit(where).headers["Location"])
		landed = self.alice.visit(where)
		self.assertEqual(landed.headers.get("Location"), "/me", code_of(landed))
		answer = app.get_oauth2_session(ALICE).get(f"{base}/api/method/frappe.auth.get_logged_user")
		self.assertEqual(answer.json()["message"], ALICE)


@needs_providers
class TestCallback(Case):
	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer)

	def begin(self, browser: Browser | None = None) -> str:
		return (browser or self.alice).ask("authorize", connected_app=self.app.name)

	def test_without_state(self) -> None:
		"""core-defects 1: after a success, a callback without state is refused."""
		self.assertEqual(self.connect(self.app).status_code, 302)
		account = row(self.app, ALICE).account_id
		back = self.authlib.consent(self.begin(), account="bob")
		code = parse_qs(urlsplit(back).query)["code"][0]
		self.assertRefused(self.alice.visit(f"{self.app.redirect_uri}?code={code}"), "state_missing")
		self.assertEqual(row(self.app, ALICE).account_id, account)

	def test_pkce(self) -> None:
		"""core-defects 2: S256 in the request, the verifier in the exchange."""
		query = parse_qs(urlsplit(self.begin()).query)
		self.assertEqual(query["code_challenge_method"], ["S256"])
		self.assertEqual(len(query["code_challenge"][0]), 43)
		self.connect(self.app)
		self.assertIn("code_verifier", self.authlib.stats()["requests"][-1]["form"])

	def test_two_tabs(self) -> None:
		"""core-defects 3: several attempts side by side, finished in any order."""
		first, second = self.begin(), self.begin()
		for url in (second, first):
			self.assertEqual(self.alice.visit(self.authlib.consent(url)).status_code, 302)

	def test_twice(self) -> None:
		"""core-defects 4: a state is used once."""
		back = self.authlib.consent(self.begin())
		self.assertEqual(self.alice.visit(back).status_code, 302)
		self.assertRefused(self.alice.visit(back), "attempt_unknown")

	def test_at_once(self) -> None:
		"""core-defects 4: of two concurrent callbacks with one state, one exchanges the code."""
		back = self.authlib.consent(self.begin())
		answers: list[int] = []
		cookies = self.alice.cookies.get_dict()

		def visit() -> None:
			answers.append(requests.get(back, cookies=cookies, allow_redirects=False).status_code)

		threads = [threading.Thread(target=visit) for _ in range(6)]
		for thread in threads:
			thread.start()
		for thread in threads:
			thread.join()
		self.assertEqual(sorted(answers), [302, 400, 400, 400, 400, 400])
		self.assertEqual(self.authlib.stats()["token_requests"], 1)

	def test_another_browser_or_user(self) -> None:
		"""core-defects 4 and core-defects 38: an attempt belongs to its user and browser session; others cannot spoil it."""
		back = self.authlib.consent(self.begin())
		self.assertRefused(Browser(MALLORY).visit(back), "attempt_elsewhere")
		self.assertRefused(Browser(ALICE).visit(back), "attempt_elsewhere")
		self.assertEqual(self.authlib.stats()["token_requests"], 0)
		self.assertEqual(self.alice.visit(back).status_code, 302)

	def test_guest(self) -> None:
		"""core-defects 5: no code and no state in a login redirect."""
		back = self.authlib.consent(self.begin())
		query = parse_qs(urlsplit(back).query)
		page = Browser().visit(back)
		self.assertRefused(page, "not_logged_in")
		for secret in (query["code"][0], query["state"][0]):
			self.assertNotIn(secret, page.text + str(page.headers))

	def test_declined(self) -> None:
		"""core-defects 32: a declined consent is a page, not a traceback; nothing is stored."""
		page = self.connect(self.app, allow=False)
		self.assertRefused(page, "consent_declined")
		self.assertEqual(page.status_code, 400)
		self.assertIn("/me", page.text)
		self.assertIsNone(row(self.app, ALICE))

	def test_deleted_meanwhile(self) -> None:
		back = self.authlib.consent(self.begin())
		self.app.delete()
		frappe.db.commit()
		self.assertRefused(self.alice.visit(back), "app_unknown")
		self.assertEqual(self.authlib.stats()["token_requests"], 0)

	def test_repeated_parameters_and_unknown_apps(self) -> None:
		base = self.app.redirect_uri
		self.assertRefused(self.alice.visit(f"{base}?state=a&state=b&code=c"), "parameter_repeated")
		self.assertRefused(self.alice.visit(f"{base}?state=ä%00&code=c"), "attempt_unknown")
		self.assertRefused(self.alice.visit(base.replace(self.app.name, "n%C3%B6pe")), "state_missing")
		self.assertRefused(self.alice.visit(base), "state_missing")

	def test_code_used_twice(self) -> None:
		back = self.authlib.consent(self.begin())
		code = parse_qs(urlsplit(back).query)["code"][0]
		self.alice.visit(back)
		state = parse_qs(urlsplit(self.begin()).query)["state"][0]
		page = self.alice.visit(
			f"{self.app.redirect_uri}?code={code}&state={state}&iss={self.authlib.issuer}"
		)
		self.assertRefused(page, "grant_invalid")

	def test_narrower_scope(self) -> None:
		"""core-defects 29: a narrower grant is kept and shown."""
		self.assertEqual(self.connect(self.app, scopes=["email", "offline_access"]).status_code, 302)
		message = self.alice.ask("take_message")
		self.assertEqual(message["indicator"], "orange")
		self.assertIn(
			"read", self.alice.ask("connection", "GET", connected_app=self.app.name)["missing_scopes"]
		)

	def test_require_scopes(self) -> None:
		"""core-defects 29: code can ask whether a scope was granted, and is shown where to get it."""
		self.assertEqual(
			self._error(lambda: self.app.require_scopes("read", user=ALICE)).code, "not_connected"
		)
		self.connect(self.app, scopes=["email", "offline_access"])
		frappe.db.rollback()
		self.app.require_scopes("email", "openid", "offline_access", user=ALICE)
		self.app.require_scopes(user=ALICE)
		error = self._error(lambda: self.app.require_scopes("email", "read", user=ALICE))
		self.assertIsInstance(error, ReconnectRequired)
		self.assertEqual(error.code, "scope_missing")
		self.assertIn(f"/connect?app={self.app.name}&user=alice", error.connect_url)
		self.assertIn("read", str(error))
		self.assertNotIn("email", str(error))
		error = self._error(lambda: self.app.require_scopes("write", user=ALICE))
		self.assertEqual((type(error).__name__, error.code), ("ConfigurationError", "scope_not_asked"))
		self.connect(self.app)
		frappe.db.rollback()
		self.app.require_scopes("read", user=ALICE)

	def test_switched_off_meanwhile(self) -> None:
		back = self.authlib.consent(self.begin())
		frappe.db.set_value("Connected App", self.app.name, "enabled", 0)
		frappe.db.commit()
		self.assertRefused(self.alice.visit(back), "app_disabled")
		self.assertIsNone(row(self.app, ALICE))
		self.assertIn(
			"app_disabled",
			str(
				self._error(
					lambda: frappe.get_doc("Connected App", self.app.name).get_oauth2_session(ALICE)
				).code
			),
		)

	def _error(self, action: Any) -> Any:
		with self.assertRaises(OAuthError) as caught:
			action()
		return caught.exception

	def test_another_provider_answers(self) -> None:
		"""core-defects 6: `iss` is compared (RFC 9207), and required where the metadata promise it."""
		self.app.provider_metadata = '{"authorization_response_iss_parameter_supported": true}'
		self.app.save()
		frappe.db.commit()
		for change in (
			lambda back: back.replace("&iss=http", "&iss=https"),
			lambda back: back.partition("&iss=")[0],
		):
			back = self.authlib.consent(self.begin())
			self.assertIn("&iss=", back)
			self.assertRefused(self.alice.visit(change(back)), "issuer_mismatch")
		self.assertEqual(self.authlib.stats()["token_requests"], 0)
		self.assertIsNone(row(self.app, ALICE))

	def test_attempts_expire_and_are_sealed(self) -> None:
		"""core-defects 4: an attempt expires; Redis holds neither its state nor its verifier in the clear."""
		back = self.authlib.consent(self.begin())
		state = parse_qs(urlsplit(back).query)["state"][0]
		store = RedisAttemptStore()
		attempt = store.peek(state)
		key = ATTEMPTS._key(state)
		sealed = frappe.cache.get(key)
		for secret in (state, attempt.code_verifier, attempt.nonce):
			self.assertNotIn(secret.encode(), key + sealed)
		self.assertGreater(frappe.cache.ttl(key), 0)
		store.put(replace(attempt, expires_at=utc_now()))
		self.assertRefused(self.alice.visit(back), "attempt_expired")
		self.assertEqual(self.authlib.stats()["token_requests"], 0)
		self.assertIsNone(row(self.app, ALICE))

	def test_another_app(self) -> None:
		"""core-defects 4: a state belongs to its Connected App, and trying it at another does not spend it."""
		other = make_app(self.authlib.issuer)
		back = self.authlib.consent(self.begin())
		moved = back.replace(self.app.name, other.name)
		self.assertRefused(self.alice.visit(moved), "attempt_unknown")
		self.assertEqual(self.alice.visit(back).status_code, 302)
		self.assertIsNone(row(other, ALICE))

	def test_nothing_of_it_is_markup(self) -> None:
		"""What a provider or an admin has written is shown as text."""
		evil = "<img src=x onerror=alert(1)>"
		app = make_app(self.authlib.issuer, provider_name="Evil " + evil)
		frappe.db.set_value("Connected App", app.name, "provider_name", "Evil " + evil)
		frappe.db.commit()
		self.assertEqual(self.connect(app).status_code, 302)
		self.assertNotIn("<img", self.alice.ask("take_message")["message"])
		self.assertNotIn(evil, self.alice.open(f"/connect?app={app.name}").text)
		state = parse_qs(urlsplit(self.begin()).query)["state"][0]
		parameters = {"state": state, "error": evil, "error_description": evil, "iss": self.authlib.issuer}
		page = self.alice.get(self.app.redirect_uri, params=parameters, allow_redirects=False)
		self.assertGreaterEqual(page.status_code, 400)
		self.assertTrue(code_of(page))
		self.assertNotIn("<img", page.text)

	def test_a_failed_exchange_tells_no_secrets(self) -> None:
		"""A wrong client secret: the admin has to fix it, and a page says so; no code, state or secret in logs."""
		self.app.client_secret = "wrong-secret-of-the-test"
		self.app.save()
		frappe.db.commit()
		back = self.authlib.consent(self.begin())
		query = parse_qs(urlsplit(back).query)
		page = self.alice.visit(back)
		self.assertRefused(page, "invalid_client")
		self.assertEqual(page.status_code, 409)
		self.assertIsNone(row(self.app, ALICE))
		logged = str(frappe.get_all("Error Log", fields=["method", "error"]))
		for secret in (query["code"][0], query["state"][0], "wrong-secret-of-the-test"):
			self.assertNotIn(secret, page.text + logged)

	def test_the_message_is_for_its_user(self) -> None:
		mallory = Browser(MALLORY)
		mallory.ask("take_message")  # one that another test left
		self.assertEqual(self.connect(self.app).status_code, 302)
		self.assertIsNone(mallory.ask("take_message"))
		self.assertIsNotNone(self.alice.ask("take_message"))

	def test_no_markup_in_the_way_back(self) -> None:
		"""The page that refuses leads to where the flow began; Frappe's puts that into its HTML as it is."""
		for where in (
			"/x' onclick='alert(1)",
			"/x'><script>alert(1)</script>",
			'/x"><img src=x onerror=alert(1)>',
			"/my-connections?a=b%20c&d=e#f",
		):
			url = self.alice.ask("authorize", connected_app=self.app.name, success_uri=where)
			page = self.alice.visit(self.authlib.consent(url, allow=False)).text
			link = re.search(r"""<a href='([^'"<> ]*)' class='btn btn-primary""", page)
			self.assertTrue(link, where)
			self.assertEqual(unquote(link.group(1)), unquote(where))

	def test_success_uri(self) -> None:
		"""core-defects 9: no open redirector."""
		for target in (
			"https://evil.example",
			"//evil.example",
			"/\\evil.example",
			"javascript:alert(1)",
			"/\tx",
		):
			answer = self.alice.call("authorize", connected_app=self.app.name, success_uri=target)
			self.assertEqual(answer.status_code, 417, target)
		own = frappe.utils.get_url() + "/me"
		self.assertEqual(
			self.alice.call("authorize", connected_app=self.app.name, success_uri=own).status_code, 200
		)

	def test_client_authentication(self) -> None:
		"""core-defects 28: Basic, form-encoded, and public clients."""
		secret = "se%c ret+ü"
		redirect = "http://127.0.0.1:*"
		with provider("--client", f"basic:{secret}:{redirect}", "--client", f"open::{redirect}") as authlib:
			for how, client, password, seen in (
				("Basic", "basic", secret, "client_secret_basic"),
				("Post", "basic", secret, "client_secret_post"),
				("None", "open", "", "none"),
			):
				app = make_app(
					authlib.issuer, client_authentication=how, client_id=client, client_secret=password
				)
				url = self.alice.ask("authorize", connected_app=app.name, success_uri="/me")
				landed = self.alice.visit(authlib.consent(url))
				self.assertEqual(landed.status_code, 302, f"{how}: {code_of(landed)}")
				self.assertIn(
					authlib.stats()["requests"][-1]["auth_method"],
					(seen, seen.removeprefix("client_secret_")),
				)

	def test_query_parameters(self) -> None:
		"""core-defects 7: rows go into the authorization request only, and cannot replace the flow's own."""
		app = make_app(
			self.authlib.issuer,
			query_parameters=[{"key": "prompt", "value": "consent"}, {"key": "verify", "value": "0"}],
		)
		url = self.alice.ask("authorize", connected_app=app.name)
		self.assertIn("prompt=consent", url)
		self.assertEqual(self.alice.visit(self.authlib.consent(url)).status_code, 302)
		self.assertEqual(set(self.authlib.stats()["requests"][-1]["form"]) & {"prompt", "verify"}, set())
		app.reload()
		app.append("query_parameters", {"key": "state", "value": "fixed"})
		self.assertRaises(frappe.ValidationError, app.save)

	def test_without_endpoints(self) -> None:
		answer = self.alice.call("authorize", connected_app=make_app().name)
		self.assertEqual(answer.status_code, 417)
		self.assertIn("Authorization URI is not set", answer.text)


@needs_providers
class TestGrants(Case):
	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer)
		self.assertEqual(self.connect(self.app).status_code, 302)

	def expire(self) -> None:
		frappe.db.set_value("Token Cache", row(self.app, ALICE).name, "expires_at", "2020-01-01")
		frappe.db.commit()
		forget()

	def test_saving_does_not_move_expiry(self) -> None:
		"""core-defects 16: expiry is an instant of its own."""
		before = row(self.app, ALICE)
		instant = before.expires_at
		frappe.db.set_value("Token Cache", before.name, "modified", "2030-01-01")
		frappe.db.commit()
		self.alice.ask("authorize", connected_app=self.app.name)
		after = row(self.app, ALICE)
		after.save(ignore_permissions=True)
		frappe.db.commit()
		self.assertEqual(row(self.app, ALICE).expires_at, instant)
		self.assertLessEqual(row(self.app, ALICE).get_expires_in(), 3600)

	def test_without_expires_in(self) -> None:
		"""core-defects 15: such a token does not expire, and is not refreshed."""
		with provider("--expires-in", "0") as authlib:
			app = make_app(authlib.issuer)
			url = self.alice.ask("authorize", connected_app=app.name)
			self.alice.visit(authlib.consent(url))
			kept = row(app, ALICE)
			self.assertIsNone(kept.expires_at)
			self.assertFalse(kept.is_expired())
			self.assertTrue(app.get_active_token(ALICE).get_password("access_token"))
			self.assertEqual(authlib.stats()["refreshes"], 0)

	def test_odd_token_responses(self) -> None:
		"""core-defects 18 and core-defects 19: token types of Slack and eBay; scopes separated by commas."""
		kept = row(self.app, ALICE)
		kept.update_data({"access_token": "xoxb", "token_type": "bot", "scope": "repo,gist"})
		kept = row(self.app, ALICE)
		self.assertEqual([line.scope for line in kept.scopes], ["repo", "gist"])
		self.assertEqual(kept.get_auth_header(), {"Authorization": "Bearer xoxb"})
		kept.update_data({"access_token": "x"})
		self.assertEqual(row(self.app, ALICE).get_password("access_token"), "x")

	def test_a_token_response_for_a_new_document(self) -> None:
		"""As core: a document that was never stored becomes the row, in a transaction that was open before."""
		self.afterwards(frappe.db.delete, "Token Cache", {"user": MALLORY})
		frappe.db.get_value("Token Cache", {"user": MALLORY}, "expires_at")
		for user in (MALLORY, None):
			new = frappe.new_doc("Token Cache")
			new.update({"connected_app": self.app.name, "user": user})
			self.assertIs(new.update_data({"access_token": "a", "expires_in": 60}), new)
			self.assertFalse(new.is_new())
			self.assertEqual(new.get_password("access_token"), "a")
			self.assertGreater(new.get_expires_in(), 50)
			self.assertEqual(row(self.app, user or "").as_dict(), new.as_dict())

	def test_an_abandoned_click_of_cores(self) -> None:
		"""Core left a row without tokens where somebody never finished connecting: that is no connection."""
		self.afterwards(frappe.db.delete, "Token Cache", {"user": MALLORY})
		frappe.get_doc(
			{"doctype": "Token Cache", "connected_app": self.app.name, "user": MALLORY, "state": "abandoned"}
		).insert()
		frappe.db.commit()
		forget()
		self.assertIsNone(self.app.get_active_token(MALLORY))
		with self.assertRaises(ReconnectRequired) as caught:
			self.app.get_user_token(MALLORY)
		self.assertEqual(caught.exception.code, "not_connected")
		location = self.user_token_in_a_request()
		self.assertTrue(location.startswith(f"{self.authlib.issuer}/authorize?"), location)

	def test_without_a_grant(self) -> None:
		"""core-defects 20: an error that says where to connect, and no side effect."""
		frappe.local.response = frappe._dict()
		with self.assertRaises(ReconnectRequired) as caught:
			self.app.get_oauth2_session(MALLORY)
		self.assertIsInstance(caught.exception, frappe.ValidationError)
		self.assertEqual(caught.exception.code, "not_connected")
		self.assertTrue(caught.exception.connect_url.endswith(f"/connect?app={self.app.name}"))
		self.assertRaises(ReconnectRequired, self.app.get_user_token, MALLORY)
		self.assertNotEqual(frappe.local.response.get("type"), "redirect")
		self.assertIsNone(self.app.get_active_token(MALLORY))

	def test_an_address_without_https(self) -> None:
		"""RFC 6750 5.3: what the session refuses, Desk can show."""
		with self.assertRaises(ConfigurationError) as caught:
			self.app.get_oauth2_session(ALICE).get("http://api.example.com/things")
		self.assertEqual(caught.exception.code, "uri_insecure")
		self.assertIsInstance(caught.exception, frappe.ValidationError)

	def test_without_a_grant_in_a_request(self) -> None:
		"""core-defects 20: in a web request `get_user_token` leads the browser to the consent page."""
		location = self.user_token_in_a_request()
		self.assertTrue(location.startswith(f"{self.authlib.issuer}/authorize?"), location)

	def user_token_in_a_request(self) -> Any:
		frappe.set_user(MALLORY)
		frappe.local.request, response = frappe._dict(path="/app"), frappe.local.response
		frappe.local.response = frappe._dict()
		try:
			location = self.app.get_user_token(success_uri="/me")
			self.assertEqual(frappe.local.response, {"type": "redirect", "location": location})
			return location
		finally:
			frappe.local.request, frappe.local.response = None, response

	def test_for_another_user(self) -> None:
		"""core-defects 8 and core-defects 22: a browser begins a flow for its own user only, and is refused at once, not
		at the callback."""
		mallory = Browser(MALLORY)
		self.assertEqual(
			mallory.call("has_token", connected_app=self.app.name, connected_user=ALICE).status_code, 403
		)
		self.assertEqual(mallory.call("disconnect", connected_app=self.app.name, user=ALICE).status_code, 403)
		core = mallory.call(CORE + "has_token", connected_app=self.app.name, connected_user=ALICE)
		self.assertEqual(core.status_code, 403)
		self.assertTrue(self.admin.ask("has_token", connected_app=self.app.name, connected_user=ALICE))

	def link(self, user: str, success_uri: str | None = None) -> str:
		"""As a job of another app makes it."""
		link = frappe.get_doc("Connected App", self.app.name).initiate_web_application_flow(user, success_uri)
		self.assertTrue(link.startswith(frappe.utils.get_url()), link)
		return link

	def test_a_link_for_another_user(self) -> None:
		"""core-defects 22: code on the server gets a link, by which that user begins the flow, as often as they like."""
		self.afterwards(frappe.db.delete, "Token Cache", {"user": MALLORY})
		frappe.set_user(ALICE)
		link = self.link(MALLORY, "/me")
		mallory = Browser(MALLORY)
		for _time in range(2):
			answer = mallory.visit(link)
			self.assertTrue(answer.headers["Location"].startswith(f"{self.authlib.issuer}/authorize?"))
		landed = mallory.visit(self.authlib.consent(answer.headers["Location"], account="bob"))
		self.assertEqual(landed.headers.get("Location"), "/me", landed.text[:300])
		self.assertEqual(row(self.app, MALLORY).account_name, "bob@example.com")

	def test_a_link_leads_through_the_login(self) -> None:
		link = self.link(MALLORY)
		answer = Browser().visit(link)
		where = parse_qs(urlsplit(answer.headers["Location"]).query)["redirect-to"][0]
		self.assertEqual(frappe.utils.get_url(where), link)

	def test_a_link_is_for_one_user_and_one_week(self) -> None:
		link = self.link(MALLORY)
		self.assertRefused(self.alice.visit(link), "link_elsewhere")
		mallory = Browser(MALLORY)
		forged = self.alice.visit(link.replace("mallory%40", "alice%40"))
		self.assertRefused(forged, "link_invalid")
		for changed in (link + "0", link + "&user=mallory", link.partition("&_signature")[0], links.PATH):
			self.assertRefused(mallory.visit(frappe.utils.get_url(changed)), "link_invalid")
		with patch.object(links, "LIVES", -1):
			self.assertRefused(mallory.visit(self.link(MALLORY)), "link_invalid")
		self.assertRaises(ConfigurationError, self.link, MALLORY, "https://evil.example/")
		frappe.db.rollback()
		self.app.db_set("enabled", 0, commit=True)
		self.assertRefused(mallory.visit(link), "app_disabled")

	def test_who_gets_a_link(self) -> None:
		"""Within a request, only what an app or a script has asked for."""
		frappe.local.request = frappe._dict(path="/app")
		self.assertRaises(frappe.PermissionError, self.app.initiate_web_application_flow, MALLORY)
		with other_app("def link(app, user):\n\treturn app.initiate_web_application_flow(user)") as module:
			self.assertIn("connected_app.api.begin?", module.link(self.app, MALLORY))

	def test_stored_since_the_transaction_began(self) -> None:
		"""What a browser has stored meanwhile is found, by a transaction that does not see it."""
		self.afterwards(frappe.db.delete, "Token Cache", {"user": MALLORY})
		self.assertIsNone(self.app.get_token_cache(MALLORY))
		self.connect(self.app, Browser(MALLORY), account="bob")
		found = self.app.get_token_cache(MALLORY)
		self.assertEqual(found.account_name, "bob@example.com")
		for field in ("access_token", "refresh_token"):
			self.assertTrue(found.get_password(field))
		answer = self.app.get_oauth2_session(MALLORY).get(f"{self.authlib.issuer}/api/hello")
		self.assertEqual(answer.json(), {"hello": "Bob"})
		frappe.db.commit()
		# What the caller itself has deleted stays deleted.
		self.app.get_token_cache(MALLORY).delete()
		self.assertIsNone(self.app.get_token_cache(MALLORY))
		frappe.db.rollback()

	def test_a_token_response_within_the_callers_transaction(self) -> None:
		"""As core: the row that the caller has inserted or saved takes the tokens, and is rolled back with it."""
		self.not_on_sqlite("the caller's open work is committed first")
		for user in (MALLORY, ALICE):
			frappe.db.rollback()
			forget()
			if user == MALLORY:
				cache = frappe.get_doc(
					{"doctype": "Token Cache", "connected_app": self.app.name, "user": user}
				)
				cache.insert()
			else:
				cache = row(self.app, user)
				cache.save()
			before = cache.get_password("refresh_token", raise_exception=False)
			answer = {"access_token": "here", "expires_in": "60", "scope": "read write"}
			self.assertIs(cache.update_data(answer), cache)
			for seen in (cache, self.app.get_token_cache(user)):
				self.assertEqual(seen.get_password("access_token"), "here")
				self.assertEqual(seen.get_password("refresh_token", raise_exception=False), before)
				self.assertEqual([line.scope for line in seen.scopes], ["read", "write"])
				self.assertEqual(seen.access_token, "*" * 8)
				self.assertTrue(50 < seen.get_expires_in() <= 60)
				self.assertEqual(seen.status, "Connected")
			self.assertEqual(self.app.get_oauth2_session(user).token["access_token"], "here")
			token = "(cache := app.get_token_cache(user)) and cache.get_password('access_token')"
			self.assertEqual(in_processes(1, f"({token}) == 'here'", self.app, user), ["gave False"])
		frappe.db.rollback()
		forget()
		self.assertIsNone(self.app.get_token_cache(MALLORY))
		self.assertNotEqual(self.app.get_token_cache(ALICE).get_password("access_token"), "here")

	def test_owner_and_placeholder(self) -> None:
		"""core-defects 14 and core-defects 23: the row belongs to its user; the placeholder tells nothing of the token."""
		kept = row(self.app, ALICE)
		self.assertEqual(kept.owner, ALICE)
		seen = self.admin.get(f"{self.admin.base}/api/resource/Token Cache/{kept.name}").json()["data"]
		self.assertEqual(seen["access_token"], "*" * 8)
		self.assertNotEqual(len(kept.get_password("access_token")), 8)

	def test_a_cross_site_get(self) -> None:
		"""core-defects 38: nothing begins by GET, nor for a posted document's own endpoints."""
		url = f"{self.alice.base}/api/method/run_doc_method"
		forged = {
			"doctype": "Connected App",
			"name": self.app.name,
			"authorization_uri": "https://evil.example",
			"modified": str(self.app.modified),
		}
		args = {"docs": frappe.as_json(forged), "method": "initiate_web_application_flow"}
		self.assertGreaterEqual(self.alice.get(url, params=args).status_code, 400)
		self.assertGreaterEqual(
			self.alice.call("authorize", "GET", connected_app=self.app.name).status_code, 400
		)
		posted = self.alice.post(url, data=args)
		self.assertTrue(posted.json().get("message", "").startswith(self.authlib.issuer), posted.text[:300])

	def test_renamed_user(self) -> None:
		"""core-defects 33: renaming a user keeps the connection."""
		for name in ("before@site.example", "after@site.example"):
			self.afterwards(frappe.delete_doc, "User", name, force=True, ignore_missing=True)
		old = make_user("before@site.example", "Blogger")
		self.connect(self.app, Browser(old))
		frappe.rename_doc("User", old, "after@site.example", force=True)
		frappe.db.commit()
		forget()
		session = self.app.get_oauth2_session("after@site.example")
		self.assertEqual(session.get(f"{self.authlib.issuer}/api/hello").status_code, 200)

	def test_redirect_uri(self) -> None:
		"""core-defects 34: the redirect URI stays on save; a changed address is shown, and renewed on request."""
		registered = self.app.redirect_uri
		self.assertTrue(registered.endswith(f"/{self.app.name}"))
		elsewhere = registered.replace(frappe.utils.get_url(), "https://old.example")
		frappe.db.set_value("Connected App", self.app.name, "redirect_uri", elsewhere)
		frappe.db.commit()
		answer = self.admin.put(
			f"{self.admin.base}/api/resource/Connected App/{self.app.name}",
			json={"redirect_uri": "https://evil.example", "provider_name": "Ünï"},
		)
		self.assertEqual(answer.json()["data"]["redirect_uri"], elsewhere)
		state = self.admin.ask("connection", "GET", connected_app=self.app.name)
		self.assertTrue(state["redirect_uri_outdated"])
		self.assertEqual(self.alice.call("renew_redirect_uri", connected_app=self.app.name).status_code, 403)
		self.assertEqual(self.admin.ask("renew_redirect_uri", connected_app=self.app.name), registered)

	def test_a_long_redirect_uri(self) -> None:
		"""A staging host has a long name, and so may an app: the URI is saved, renewed, and works."""
		host = frappe.conf.host_name
		self.addCleanup(frappe.conf.update, host_name=host)
		frappe.conf.host_name = "https://" + ".".join(["a-long-label-of-a-staging-host" * 2] * 4)
		app = make_app(self.authlib.issuer)
		self.assertGreater(len(app.redirect_uri), 340)
		app.reload()
		self.assertTrue(app.redirect_uri.startswith(frappe.conf.host_name))
		app.save()
		frappe.conf.host_name = host

		long = f"A long name, for 20 € / {app.name}{'n' * 100}"
		name = frappe.rename_doc("Connected App", app.name, long, force=True)
		frappe.db.commit()
		app = frappe.get_doc("Connected App", name)
		renewed = self.admin.ask("renew_redirect_uri", connected_app=app.name)
		self.assertEqual(renewed, settings.suggested_redirect_uri(app.name))
		self.assertGreater(len(renewed), 240)
		where = f"{self.admin.base}/api/resource/Connected App/{quote(app.name, safe='')}"
		self.assertEqual(self.admin.put(where, json={"provider_name": "Long"}).status_code, 200)
		self.assertEqual(self.connect(app).headers.get("Location"), "/me")
		self.assertEqual(row(app, ALICE).account_name, "alice@example.com")

	def test_long_endpoints(self) -> None:
		"""As long as the providers' own: what discovery finds can be saved."""
		long = "https://login.example/" + "realm/" * 70
		fields = ("openid_configuration", "client_id", "token_uri", "userinfo_uri", "issuer", "jwks_uri")
		app = make_app(**{field: f"{long}{field}" for field in fields})
		app.reload()
		for field in fields:
			self.assertEqual(app.get(field), f"{long}{field}")

	def test_durable_before_use(self) -> None:
		"""core-defects 30: the caller's rollback loses no token; its work is not committed by the refresh."""
		self.expire()
		note = frappe.get_doc({"doctype": "ToDo", "description": "half done"}).insert()
		new = self.app.get_oauth2_session(ALICE).token["access_token"]
		self.assertEqual(self.app.get_active_token(ALICE).get_password("access_token"), new)
		frappe.db.rollback()
		# SQLite has one writer at a time: there a refresh commits what the caller has done.
		self.assertEqual(bool(frappe.db.exists("ToDo", note.name)), frappe.db.db_type == "sqlite")
		self.assertEqual(row(self.app, ALICE).get_password("access_token"), new)
		self.assertEqual(self.authlib.stats()["refreshes"], 1)
		self.assertEqual(self.authlib.stats()["reuses"], 0)

	def test_expired_for_good(self) -> None:
		"""An expired token without a refresh token asks for a reconnect, and a new consent fixes it."""
		remove_encrypted_password("Token Cache", row(self.app, ALICE).name, "refresh_token")
		frappe.db.commit()
		self.expire()
		with self.assertRaises(ReconnectRequired) as caught:
			self.app.get_oauth2_session(ALICE)
		self.assertEqual(caught.exception.code, "expired")
		self.assertEqual(row(self.app, ALICE).status, "Reconnect Required")
		self.assertEqual(self.connect(self.app).status_code, 302)
		self.assertEqual(row(self.app, ALICE).status, "Connected")

	def test_statements(self) -> None:
		"""core-defects 36: one statement for a session, none for the next in the same request."""
		frappe.get_cached_doc("Connected App", self.app.name)
		with statements() as sent:
			for expected in (1, 0):
				sent.clear()
				frappe.get_cached_doc("Connected App", self.app.name).get_oauth2_session(ALICE)
				self.assertEqual(len(sent), expected, sent)
			forget()
			sent.clear()
			frappe.get_doc("Connected App", self.app.name).get_oauth2_session(ALICE)
			self.assertLessEqual(len(sent), 5)

	def test_connection_of_a_session(self) -> None:
		"""What is known besides the tokens costs three statements, and a decrypt where something is kept, once."""
		key = ConnectionKey.of_user(self.app.name, ALICE)
		with grants.TokenCacheStore(key).exclusive() as locked:
			locked.save(replace(locked.grant, extra={"realm_id": Secret("4620816365")}))
		for fresh, asked, decrypted in ((True, 3, 1), (False, 0, 0)):
			frappe.db.rollback()
			if fresh:
				forget()
			session = self.app.get_oauth2_session(ALICE)
			if not fresh:
				session.refresh_token()
			with (
				statements() as sent,
				patch.object(passwords, "decrypt", side_effect=passwords.decrypt) as decrypt,
			):
				for _again in range(2):
					self.assertEqual(session.connection["realm_id"], "4620816365")
			self.assertEqual((len(sent), decrypt.call_count), (asked, decrypted), sent)
			self.assertEqual(session.connection.account_id, "alice")
			self.assertIn("read", session.connection.scopes)
			self.assertTrue(session.connection.expires_at)

	def test_deleted_while_connecting(self) -> None:
		"""A row that is deleted while a callback waits for its lock is recreated."""
		if frappe.db.db_type == "sqlite":
			self.skipTest("SQLite has one writer at a time")
		back = self.authlib.consent(self.alice.ask("authorize", connected_app=self.app.name))
		landed: list[requests.Response] = []
		callback = threading.Thread(target=lambda: landed.append(self.alice.visit(back)))
		with grants.TokenCacheStore(ConnectionKey.of_user(self.app.name, ALICE)).exclusive() as locked:
			callback.start()
			while callback.is_alive() and not self.authlib.stats()["token_requests"] > 1:
				time.sleep(0.05)
			time.sleep(1)  # from the provider's answer to the lock
			locked.delete(lambda _name: None)
		callback.join(60)
		self.assertEqual(landed[0].status_code, 302, landed[0].text[:500])
		self.assertEqual(row(self.app, ALICE).account_id, "alice")

	def test_decrypts(self) -> None:
		"""core-defects 36: a session decrypts the access token only, once in a process; the refresh token can be had all
		the same."""
		rows.unpacked.cache_clear()
		with patch.object(passwords, "decrypt", side_effect=passwords.decrypt) as decrypt:
			for decrypted in (1, 0):
				forget()
				decrypt.reset_mock()
				session = self.app.get_oauth2_session(ALICE)
				self.assertEqual(decrypt.call_count, decrypted)
			before = session.access_token
			session.refresh_token()
			frappe.db.rollback()
			forget()
			self.assertNotEqual(self.app.get_oauth2_session(ALICE).access_token, before)
			self.assertGreater(decrypt.call_count, 0)
			# By the key of the site: with another one, nothing that was read before is given.
			forget()
			decrypt.reset_mock()
			with patch.dict(frappe.local.conf, encryption_key=Fernet.generate_key().decode()):
				self.app.get_oauth2_session(ALICE)
			self.assertEqual(decrypt.call_count, 1)
		stored = row(self.app, ALICE).get_password("refresh_token")
		self.assertTrue(stored)
		kept = self.app.get_token_cache(ALICE)
		self.assertEqual(kept.get_password("refresh_token"), stored)
		self.assertEqual(kept.get_json()["refresh_token"], stored)


@needs_providers
class TestDiscovery(Case):
	def test_bad_configurations(self) -> None:
		"""Each answers with a sentence, fills nothing in, and stays off internal addresses (core-defects 10)."""
		base = self.authlib.issuer
		for url, said in (
			("", "OpenID Configuration is not set"),
			(f"{base}/nothing", "no OpenID Configuration at this address"),
			("http://127.0.0.1:1/.well-known/openid-configuration", "could not be reached"),
			("https://169.254.169.254/.well-known/openid-configuration", "internal address"),
			("http://provider.example/.well-known/openid-configuration", "must be reached over https"),
			("file:///etc/passwd", "not a valid web address"),
		):
			app = make_app(openid_configuration=url)
			answer = self.admin.call("get_openid_configuration", connected_app=app.name)
			self.assertEqual(answer.status_code, 417, f"{url}: {answer.text[:300]}")
			self.assertIn(said, answer.text)

	def test_admins_only(self) -> None:
		app = make_app(self.authlib.issuer)
		for browser in (self.alice, Browser()):
			answer = browser.call("get_openid_configuration", connected_app=app.name)
			self.assertEqual(answer.status_code, 403)
