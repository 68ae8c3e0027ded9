"""Callbacks by POST (OAuth 2.0 Form Post Response Mode), which come without the browser's session, as Apple's do."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import frappe
import requests

from connected_app.site import flow
from connected_app.tests.site import ALICE, Browser, Case, certified, code_of, make_app, needs_providers, row
from connected_app.tests.test_redaction import listening

USER = '{"name": {"firstName": "Alïce", "lastName": "Example"}, "email": "alice@example.com"}'


@needs_providers
class TestFormPost(Case):
	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer)

	def answer(self, **more: str) -> dict[str, str]:
		"""What the provider has the browser post, for an attempt that alice has begun."""
		url = self.alice.ask("authorize", connected_app=self.app.name, success_uri="/me")
		query = urlsplit(self.authlib.consent(url)).query
		return {**{name: values[0] for name, values in parse_qs(query).items()}, **more}

	def post(self, parameters: Any, address: str = "", **kwargs: Any) -> requests.Response:
		"""From a page of another site: without any cookie."""
		address = address or self.app.redirect_uri
		return requests.post(address, data=parameters, allow_redirects=False, timeout=30, **kwargs)

	def come_back(self, posted: requests.Response, browser: Browser | None = None) -> requests.Response:
		self.assertEqual(posted.status_code, 303, posted.text[:300])
		return (browser or self.alice).visit(self.alice.base + posted.headers["Location"])

	def test_connecting(self) -> None:
		"""The browser is sent to the same address with the state alone, and is connected there, once."""
		answer = self.answer(user=USER)
		posted = self.post(answer)
		location = posted.headers["Location"]
		self.assertEqual(location, f"{urlsplit(self.app.redirect_uri).path}?state={answer['state']}")
		self.assertNotIn(answer["code"], posted.text + str(posted.headers))
		self.assertEqual(posted.headers["Referrer-Policy"], "no-referrer")
		self.assertIn("no-store", posted.headers["Cache-Control"])
		landed = self.come_back(posted)
		self.assertEqual(landed.headers.get("Location"), "/me", code_of(landed))
		self.assertEqual(row(self.app, ALICE).status, "Connected")
		self.assertRefused(self.come_back(self.post(answer)), "attempt_unknown")

	def test_nobody_is_logged_out(self) -> None:
		"""Frappe gives who comes without a session one of Guest, by cookies that would replace the browser's own."""
		self.assertIn("sid", requests.get(self.alice.base + "/login", timeout=30).cookies)
		for parameters in (self.answer(), {"state": "x"}, {}):
			posted = self.post(parameters)
			self.assertNotIn("Set-Cookie", posted.headers)

	def test_whose_session_it_is(self) -> None:
		"""The post proves nothing: who comes back must be the one who has begun; and what was posted waits."""
		posted = self.post(self.answer())
		self.assertRefused(self.come_back(posted, Browser("Administrator", "admin")), "attempt_elsewhere")
		guest = self.come_back(posted, Browser())
		self.assertEqual(code_of(guest), "not_logged_in")
		self.assertEqual(self.come_back(posted).headers.get("Location"), "/me")

	def test_refused_at_the_provider(self) -> None:
		"""oidcc-client-test-form-post-error: an error is posted as well."""
		state = self.answer()["state"]
		posted = self.post({"error": "access_denied", "error_description": "no", "state": state})
		self.assertRefused(self.come_back(posted), "consent_declined")
		self.assertIsNone(row(self.app, ALICE))

	def test_what_was_posted_counts(self) -> None:
		"""What somebody adds to the address does not."""
		posted = self.post(self.answer())
		landed = self.alice.visit(f"{self.alice.base}{posted.headers['Location']}&code=another&error=x")
		self.assertEqual(landed.headers.get("Location"), "/me", code_of(landed))

	def test_what_is_wrong(self) -> None:
		"""Each says why where the person sees it, and nothing is kept for nobody's state."""
		answer = self.answer()
		other = self.app.redirect_uri.rpartition("/")[0] + "/other"
		keys = len(frappe.cache.keys("connected_app_attempt:*"))
		for parameters, address, code in (
			({}, "", "state_missing"),
			({"code": "x"}, "", "state_missing"),
			({"state": "x" * 5000, "code": "x"}, "", "attempt_unknown"),
			({"state": "é\n%2F", "code": "x"}, "", "attempt_unknown"),
			(answer, other, "attempt_unknown"),
			([("state", "a"), ("state", "b")], "", "state_missing"),
		):
			with self.subTest(code=code, parameters=parameters):
				self.assertRefused(self.come_back(self.post(parameters, address)), code)
		self.assertLessEqual(len(frappe.cache.keys("connected_app_attempt:*")), keys)
		repeated = [*answer.items(), ("code", "another")]
		self.assertRefused(self.come_back(self.post(repeated)), "parameter_repeated")
		long = {**self.answer(), "user": "x" * flow.LONGEST_POST}
		self.assertRefused(self.come_back(self.post(long)), "code_missing")

	def test_it_cannot_come_back_to_life(self) -> None:
		"""What is posted while the attempt is being spent is not kept: it would be good a second time."""
		answer = {name: [value] for name, value in self.answer().items()}
		attempts = flow.attempts
		attempt = attempts.peek(answer["state"][0])
		with patch.object(attempts, "peek", lambda _state: attempt):
			attempts.take(attempt.state)
			name = self.app.redirect_uri.partition(flow.CALLBACK)[2]
			self.assertEqual(flow.keep_posted(name, answer), attempt.state)
		self.assertIsNone(attempts.peek(attempt.state))

	def test_nothing_of_it_is_logged(self) -> None:
		"""Not in this process's logs, and sealed in Redis."""
		answer = self.answer(user=USER)
		with listening() as heard:
			name = self.app.redirect_uri.partition(flow.CALLBACK)[2]
			flow.keep_posted(name, {each: [value] for each, value in answer.items()})
		kept = b"".join(frappe.cache.get(key) or b"" for key in frappe.cache.keys("connected_app_attempt:*"))
		for secret in (answer["code"], "firstName"):
			self.assertNotIn(secret, "\n".join(heard.texts))
			self.assertNotIn(secret.encode(), kept)
			self.assertFalse(frappe.get_all("Error Log", {"error": ("like", f"%{secret}%")}))

	def test_a_session_with_its_own_csrf_token(self) -> None:
		"""A provider under the site's own domain: its form comes with the session, and Frappe refuses it as any form without
		a token. It costs nothing: nobody is connected, and the attempt waits."""
		answer = self.answer()
		browser = requests.Session()
		browser.cookies.update(self.alice.cookies)
		refused = browser.post(self.app.redirect_uri, data=answer, allow_redirects=False, timeout=30)
		self.assertEqual(refused.status_code, 400)
		self.assertEqual(self.come_back(self.post(answer)).headers.get("Location"), "/me")

	def test_the_certified_provider(self) -> None:
		"""It is asked for form_post, and its page posts to the callback."""
		module = certified()
		if not module.AVAILABLE:
			self.skipTest("the certified provider needs Node.js and npm")
		app = make_app(client_id="client", client_secret="a secret of the tests")
		with module.start("client", "a secret of the tests", app.redirect_uri) as running:
			self.discover(app, running)
			app.append("query_parameters", {"key": "response_mode", "value": "form_post"})
			app.save()
			frappe.db.commit()
			found = self.admin.ask("check_configuration", connected_app=app.name)
			self.assertEqual([each for each in found if each["check"] == "response_mode"], [])
			url = self.alice.ask("authorize", connected_app=app.name, success_uri="/me")
			address, fields = running.posting(url)
			self.assertEqual(address, app.redirect_uri)
			landed = self.come_back(self.post(fields, address))
			self.assertEqual(landed.headers.get("Location"), "/me", code_of(landed))
			self.assertEqual(row(app, ALICE).account_name, "alice@example.com")
