"""More consent when it is needed: the link that asks for it, what is asked, and who may open it."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import frappe
import requests
from frappe.utils import get_url

from connected_app.oauth.errors import OAuthError
from connected_app.tests.site import ALICE, MALLORY, Case, logged_in, make_app, needs_providers, row

REASON = "To send <b>the</b> invoice, this site has to write."


def refused(status: int, words: str) -> requests.Response:
	response = requests.Response()
	response.status_code = status
	response.headers["WWW-Authenticate"] = words
	return response


@needs_providers
class TestConsent(Case):
	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer, optional_scopes="write\n\n admin ")

	def error(self, action: Any) -> Any:
		with self.assertRaises(OAuthError) as caught:
			action()
		return caught.exception

	def lacking(self, *wanted: str, **more: Any) -> Any:
		frappe.db.rollback()
		return self.error(lambda: self.app.require_scopes(*wanted, user=ALICE, **more))

	def asked(self, url: str) -> dict[str, list[str]]:
		"""What the page at `url` leads to: the parameters of the provider's consent page."""
		page = self.alice.get(url)
		self.assertEqual(page.status_code, 200)
		self.assertIn("More is needed", page.text)
		begun = self.alice.visit(url.replace("/connect?", "/api/method/connected_app.api.begin?"))
		self.location = begun.headers["Location"]
		return parse_qs(urlsplit(self.location).query)

	def test_exactly_that_more(self) -> None:
		"""Asked for with a reason, landing where it was needed; nothing that was granted is lost."""
		self.connect(self.app)
		error = self.lacking("write", "read", reason=REASON, success_uri="/app/todo")
		self.assertEqual(error.code, "scope_missing")
		self.assertIn("write", str(error))
		page = self.alice.get(error.connect_url).text
		self.assertIn("To send &lt;b&gt;the&lt;/b&gt; invoice", page)
		asked = self.asked(error.connect_url)
		self.assertEqual(asked["scope"], ["openid email profile offline_access read write"])
		landed = self.alice.visit(self.authlib.consent(self.location))
		self.assertEqual(landed.headers["Location"], "/app/todo")
		frappe.db.rollback()
		self.app.require_scopes("write", "read", user=ALICE)
		self.assertEqual(self.lacking("admin").code, "scope_missing")

	def test_connecting_again_keeps_it(self) -> None:
		self.connect(self.app)
		self.asked(self.lacking("write").connect_url)
		self.alice.visit(self.authlib.consent(self.location))
		url = self.alice.ask("authorize", connected_app=self.app.name)
		self.assertIn("write", parse_qs(urlsplit(url).query)["scope"][0].split())
		self.assertNotIn("admin", url)

	def test_before_there_is_a_connection(self) -> None:
		error = self.lacking("write")
		self.assertEqual(error.code, "not_connected")
		self.assertIn("write", self.asked(error.connect_url)["scope"][0].split())

	def test_declined(self) -> None:
		"""What was granted before stays."""
		self.connect(self.app)
		self.asked(self.lacking("write").connect_url)
		self.alice.visit(self.authlib.consent(self.location, allow=False))
		frappe.db.rollback()
		self.app.require_scopes("read", user=ALICE)

	def test_only_what_an_admin_has_entered(self) -> None:
		"""Neither code nor an API widens it; nor does a link outlive what it asks for."""
		self.connect(self.app)
		self.assertEqual(self.lacking("everything").code, "scope_not_asked")
		api = refused(403, 'Bearer error="insufficient_scope", scope="everything"')
		self.assertEqual(
			self.error(lambda: self.app.require_consent(api, user=ALICE)).code, "scope_not_asked"
		)
		url = self.lacking("write").connect_url
		frappe.db.set_value("Connected App", self.app.name, "optional_scopes", "")
		frappe.db.commit()
		begun = self.alice.visit(url.replace("/connect?", "/api/method/connected_app.api.begin?"))
		self.assertEqual(begun.status_code, 409)
		self.assertIn("scope_not_asked", begun.text)

	def test_what_an_api_wants(self) -> None:
		"""RFC 6750 3.1 and RFC 9470: scopes, and a login that is newer or stronger."""
		self.connect(self.app)
		frappe.db.rollback()
		self.app.require_consent(refused(403, ""), user=ALICE)
		api = refused(403, 'Bearer error="insufficient_scope", scope="write"')
		error = self.error(lambda: self.app.require_consent(api, user=ALICE, reason=REASON))
		self.assertEqual(error.code, "scope_missing")
		self.assertIn("write", self.asked(error.connect_url)["scope"][0].split())
		api = refused(401, 'Bearer error="insufficient_user_authentication", acr_values="gold", max_age="30"')
		error = self.error(lambda: self.app.require_consent(api, user=ALICE))
		self.assertEqual(error.code, "login_insufficient")
		asked = self.asked(error.connect_url)
		self.assertEqual((asked["acr_values"], asked["max_age"]), (["gold"], ["30"]))
		self.assertIn("read", asked["scope"][0].split())
		self.assertEqual(self.alice.visit(self.authlib.consent(self.location)).status_code, 302)
		api = refused(403, 'Bearer error="insufficient_scope"')
		error = self.error(lambda: self.app.require_consent(api, user=ALICE))
		self.assertEqual(error.code, "scope_missing")
		self.assertEqual(self.alice.get(error.connect_url).status_code, 200)

	def test_who_may_open_it(self) -> None:
		"""One user, for a week, as it was signed. To the others the page is the ordinary one, with a sentence."""
		self.connect(self.app)
		url = self.lacking("write", reason=REASON).connect_url
		for browser, address, words in (
			(logged_in(MALLORY), url, "another user"),
			(self.alice, url.replace("scopes=write", "scopes=admin"), "not valid"),
			(self.alice, url.replace("reason=To", "reason=Not"), "not valid"),
			(self.alice, url + "x", "not valid"),
		):
			page = browser.get(address)
			self.assertEqual(page.status_code, 200)
			self.assertIn(words, page.text)
			self.assertNotIn("More is needed", page.text)
			self.assertNotIn("invoice", page.text)
			self.assertIn("connected-app-cards", page.text)
		guest = requests.get(url, allow_redirects=False, timeout=30)
		self.assertTrue(guest.headers["Location"].startswith("/login?redirect-to=%2Fconnect%3Fapp"))
		self.assertIn("_signature", guest.headers["Location"])

	def test_where_one_lands(self) -> None:
		"""Where it was needed: the page that the request was sent from, unless code says another."""
		self.connect(self.app)
		for referrer, where in (("/app/todo/1?a=b", "/app/todo/1?a=b"), ("//evil.example", "")):
			frappe.local.request = frappe._dict(
				method="POST", path="/api/method/x", referrer=get_url() + referrer, full_path=""
			)
			try:
				url = self.lacking("write").connect_url
			finally:
				frappe.local.request = None
			self.assertEqual(parse_qs(urlsplit(url).query).get("success_uri", [""]), [where])
		with self.assertRaises(OAuthError) as caught:
			self.app.require_scopes("write", user=ALICE, success_uri="https://evil.example/")
		self.assertEqual(caught.exception.code, "success_uri_refused")

	def test_a_long_reason(self) -> None:
		"""Web servers take no longer addresses than 4,094 bytes."""
		self.connect(self.app)
		url = self.lacking("write", reason="ش" * 5000).connect_url
		self.assertLess(len(url), 3000)
		self.assertEqual(self.alice.get(url).status_code, 200)

	def test_what_a_row_knows(self) -> None:
		self.connect(self.app)
		self.asked(self.lacking("write").connect_url)
		self.alice.visit(self.authlib.consent(self.location))
		self.assertIn("write", [each.scope for each in row(self.app, ALICE).scopes])
