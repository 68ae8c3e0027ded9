"""The pages for users: what they show, to whom, and in which language."""

from __future__ import annotations

from unittest.mock import patch

import frappe
from frappe import _

from connected_app.oauth import catalogue
from connected_app.oauth.errors import Sentence
from connected_app.site import cards, pages
from connected_app.tests.site import ALICE, VISITOR, Browser, Case, make_app, needs_providers, row


@needs_providers
class TestMyConnections(Case):
	@classmethod
	def setUpClass(cls) -> None:
		super().setUpClass()
		cls.visitor = Browser(VISITOR)

	def test_guests_log_in_first(self) -> None:
		answer = Browser().visit(f"{self.alice.base}/my-connections")
		self.assertEqual(answer.status_code, 302)
		self.assertIn("/login?redirect-to=%2Fmy-connections", answer.headers["Location"])

	def test_shows_what_one_may_connect_to(self) -> None:
		"""One's own connection with its scopes in words; nothing that one may not connect to."""
		open_to_all = make_app(self.authlib.issuer, provider_name="For all")
		make_app(self.authlib.issuer, provider_name="For others", everyone_may_connect=0)
		make_app(self.authlib.issuer, provider_name="Switched off", enabled=0)
		before = self.visitor.open("/my-connections").text
		self.assertIn("For all", before)
		self.assertNotIn("For others", before)
		self.assertNotIn("Switched off", before)
		self.connect(open_to_all, self.visitor, account="bob")
		after = self.visitor.open("/my-connections").text
		for words in ("Connected", "bob@example.com", "Know who you are", "<code>read</code>"):
			self.assertIn(words, after)
		hers = self.alice.open("/my-connections").text.split('data-app="')
		(card,) = (each for each in hers if each.startswith(open_to_all.name))
		self.assertIn("Not Connected", card)
		self.assertNotIn("bob@example.com", card)

	def test_names_are_text(self) -> None:
		app = make_app(self.authlib.issuer)
		app.db_set("provider_name", '<img src=x onerror="alert(1)">', commit=True)
		page = self.visitor.open("/my-connections").text
		self.assertNotIn("<img src=x", page)
		self.assertIn("&lt;img src=x", page)

	def test_several_accounts(self) -> None:
		"""One card, with what can be done with each; two of one name differ by their IDs."""
		app = make_app(self.authlib.issuer, several_accounts=1)
		self.connect(app)
		url = self.alice.ask("authorize", connected_app=app.name, success_uri="/me", another=1)
		self.alice.visit(self.authlib.consent(url, account="bob"))
		frappe.db.set_value("Token Cache", {"connected_app": app.name}, "account_name", "<i>sales</i>")
		frappe.db.commit()
		for path in ("/my-connections", f"/connect?app={app.name}"):
			parts = self.alice.open(path).text.split('data-app="')
			(card,) = (each for each in parts if each.startswith(app.name))
			self.assertNotIn("<i>sales", card)
			first, second = card.split('data-account="')[1:]
			self.assertTrue(first.startswith('alice"') and second.startswith('bob"'), path)
			self.assertIn("&lt;i&gt;sales&lt;/i&gt; (alice)", first)
			self.assertIn("&lt;i&gt;sales&lt;/i&gt; (bob)", second)
			self.assertEqual([part.count('data-action="default"') for part in (first, second)], [0, 1])
			self.assertEqual([part.count("Default account") for part in (first, second)], [1, 0])
			self.assertEqual(card.count('data-action="another"'), 1)

	def test_a_reason_is_shown(self) -> None:
		app = make_app(self.authlib.issuer, provider_name="Broken")
		self.connect(app)
		token_cache = row(app, ALICE)
		frappe.db.set_value(
			"Token Cache",
			token_cache.name,
			{
				"status": "Reconnect Required",
				"error_code": "expired",
				"error_values": '{"sentence": "expired", "values": []}',
			},
		)
		frappe.db.commit()
		page = self.alice.open(f"/connect?app={app.name}").text
		self.assertIn("This connection no longer works. Please connect again.", page)
		self.assertIn("The connection has expired and cannot be renewed.", page)
		self.assertNotIn("expired:", page)

	def test_leads_there(self) -> None:
		"""The website's user menu, with and without Desk, has the page."""
		for browser in (self.alice, self.visitor):
			self.assertRegex(
				browser.open("/my-connections").text.partition("<main")[0], r'href="[^"]*/my-connections"'
			)
		self.assertNotIn("/my-connections", Browser().open("/").text)


class TestDesk(Case):
	def test_where_a_connection_lands(self) -> None:
		"""On the app's form, at the address that this Frappe gives it: /app, from released 16 on /desk."""
		app = make_app()
		self.assertEqual(pages.home(app), frappe.utils.get_absolute_url("Connected App", app.name))
		with patch.object(pages, "get_absolute_url", side_effect=lambda *of: "/".join(("/desk", *of))):
			self.assertEqual(pages.home(app), f"/desk/Connected App/{app.name}")
			frappe.set_user(VISITOR)
			self.assertEqual(pages.home(app), f"/connect?app={app.name}")


@needs_providers
class TestLanguages(Case):
	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer, provider_name="Acme")
		self.afterwards(self.speak, "en")

	def speak(self, language: str) -> None:
		frappe.db.set_value("User", ALICE, "language", language)
		frappe.db.commit()
		frappe.clear_cache(user=ALICE)

	def test_german(self) -> None:
		self.speak("de")
		page = self.alice.open(f"/connect?app={self.app.name}").text
		for words in ("Nicht verbunden", "Mit Acme verbinden", "Wissen, wer Sie sind", 'dir="ltr"'):
			self.assertIn(words, page)

	def test_arabic_from_right_to_left(self) -> None:
		self.speak("ar")
		page = self.alice.open("/my-connections").text
		for words in ("اتصالاتي", "غير متصل", "معرفة من أنت", 'dir="rtl"'):
			self.assertIn(words, page)

	def test_refusals(self) -> None:
		"""A sentence of `oauth/`, which knows no languages, is said in the user's."""
		self.speak("de")
		answer = self.connect(self.app, allow=False)
		self.assertIn("Der Zugriff wurde beim Anbieter nicht gewährt.", answer.text)
		self.app.db_set("token_uri", "https://provider.invalid/token", commit=True)
		answer = self.connect(self.app)
		self.assertIn("provider.invalid war nicht erreichbar.", answer.text)

	def test_stored_reasons(self) -> None:
		"""A Token Cache holds a code and values; who looks reads it in their own language."""
		self.connect(self.app)
		name = row(self.app, ALICE).name
		told = {
			("timeout", "login.example"): "login.example hat nicht rechtzeitig geantwortet.",
			("expired",): "Die Verbindung ist abgelaufen",
			("endpoint_missing", Sentence("Token URI")): "Token-URI ist nicht angegeben.",
		}
		self.speak("de")
		for (code, *filled_in), said in told.items():
			message = catalogue.error(code, *filled_in).message
			values = {
				"status": "Temporarily Failing",
				"error_code": code,
				"error_values": catalogue.to_json(code, message),
			}
			frappe.db.set_value("Token Cache", name, values)
			frappe.db.commit()
			self.assertIn(said, self.alice.open(f"/connect?app={self.app.name}").text)

	def test_frappe_reads_every_line(self) -> None:
		for language, said in (("de", "Verbunden als {0}"), ("ar", "متصل باسم {0}")):
			with self.subTest(language):
				frappe.local.lang = language
				try:
					self.assertEqual(_("Connected as {0}"), said)
					self.assertEqual(_("Post", context="Connected App"), "Post")
				finally:
					frappe.local.lang = "en"

	def test_known_scopes_have_words(self) -> None:
		for scope, words in cards.scope_words().items():
			self.assertTrue(words, scope)
		self.assertEqual(cards.in_words(["repo"]), [{"scope": "repo", "words": ""}])
