"""Provider templates on a site: what fills a Connected App's fields, who may see them, what an update offers."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from unittest.mock import patch

import frappe

from connected_app.oauth.errors import ConfigurationError
from connected_app.oauth.templates import Template
from connected_app.site import providers, templates
from connected_app.tests.site import Browser, Case, known, make_user, needs_providers

PLAIN = Template(
	key="acme",
	values={
		"name": "Acme",
		"category": "crm",
		"authorize": "https://acme.example/authorize",
		"token": "https://{region}.acme.example/token",
		"account": {"url": "https://acme.example/me", "id": "uuid"},
		"revoke": {"url": "https://acme.example/revoke"},
		"scopes": ["read", "offline"],
		"separator": ",",
		"pkce": False,
		"client_authentication": "client_secret_basic",
		"parameters": {"access_type": "offline"},
		"idle_days": 7,
		"ask": {"region": {"label": "Region", "example": "eu"}},
	},
)
SIGNED = Template(
	key="signed",
	values={"name": "Signed", "category": "other", "unsupported": "Each request has to be signed."},
)


class TestProviderTemplates(Case):
	def test_fields(self) -> None:
		"""Core and other apps find the plain fields filled."""
		app = frappe.new_doc("Connected App")
		with known(PLAIN):
			providers.apply(app, "acme", {"region": " eu "})
			app.insert()
			app.reload()
			self.assertEqual(
				{
					field: app.get(field)
					for field in (
						*("provider", "provider_name", "authorization_uri", "token_uri", "userinfo_uri"),
						*("revocation_uri", "scope_separator", "use_pkce", "client_authentication"),
						*("refresh_idle_after", "leeway"),
					)
				},
				{
					"provider": "acme",
					"provider_name": "Acme",
					"authorization_uri": "https://acme.example/authorize",
					"token_uri": "https://eu.acme.example/token",
					"userinfo_uri": "https://acme.example/me",
					"revocation_uri": "https://acme.example/revoke",
					"scope_separator": "Comma",
					"use_pkce": 0,
					"client_authentication": "Basic",
					"refresh_idle_after": 3,
					"leeway": 30,
				},
			)
			self.assertEqual(app.get_scopes(), ["read", "offline"])
			self.assertEqual(app.get_query_params(), {"access_type": "offline"})
			self.assertEqual(templates.inputs_of(app), {"region": "eu"})

	def test_what_an_admin_changed_stays(self) -> None:
		"""A newer template offers, and never overwrites; saving changes nothing by itself."""
		app = frappe.new_doc("Connected App")
		newer = Template(key="acme", values={**PLAIN.values, "authorize": "https://acme.example/v2"})
		with known(PLAIN):
			providers.apply(app, "acme", {"region": "eu"})
			app.append("scopes", {"scope": "write"})
			app.insert()
			self.assertEqual(providers.differences(app), [])
			app.leeway = 60
			app.save()
			(found,) = providers.differences(app)
			self.assertEqual((found["field"], found["is"], found["offers"]), ("leeway", 60, 30))
		with known(newer):
			app.reload()
			app.save()
			self.assertEqual((app.leeway, app.authorization_uri), (60, "https://acme.example/authorize"))
			self.assertEqual(app.get_scopes(), ["read", "offline", "write"])
			offered = {each["field"]: each["offers"] for each in providers.differences(app)}
			self.assertEqual(offered, {"leeway": 30, "authorization_uri": "https://acme.example/v2"})
		with known():
			self.assertEqual(providers.differences(app), [])

	def test_bad_input(self) -> None:
		for key, inputs, code in (
			("acme", {}, "provider_input_missing"),
			("acme", {"region": "evil.example/"}, "provider_input_invalid"),
			("acme", {"region": "eu@evil"}, "provider_input_invalid"),
			("signed", {}, "template_unsupported"),
			("nobody", {}, "template_unknown"),
		):
			app = frappe.new_doc("Connected App")
			with known(PLAIN, SIGNED), self.assertRaises(ConfigurationError) as caught:
				providers.apply(app, key, inputs)
			self.assertEqual(caught.exception.code, code)
			self.assertFalse(app.token_uri)

	def test_another_provider_leaves_nothing_behind(self) -> None:
		app = frappe.new_doc("Connected App")
		app.update(
			{"issuer": "https://old.example", "jwks_uri": "https://old.example/k", "provider_metadata": "{}"}
		)
		with known(PLAIN):
			providers.apply(app, "acme", {"region": "eu"})
		self.assertEqual((app.issuer, app.jwks_uri, app.provider_metadata), ("", "", ""))

	def test_inputs_are_checked_when_saved(self) -> None:
		"""What is missing may be known only once the client is registered; what is wrong is not stored."""
		with known(PLAIN, SIGNED):
			for provider, inputs, code in (
				("acme", '{"region": "evil.example/"}', "provider_input_invalid"),
				("acme", '{"region": "..", "more": "x"}', "provider_input_invalid"),
				("signed", "", "template_unsupported"),
				("nobody", "", "template_unknown"),
			):
				app = frappe.new_doc("Connected App", provider_name="Acme", provider=provider)
				app.provider_inputs = inputs
				with self.assertRaises(ConfigurationError) as caught:
					app.insert()
				self.assertEqual(caught.exception.code, code)
			for inputs, stored in (
				(None, "{}"),
				('{"region": ""}', "{}"),
				("not JSON", "{}"),
				('["region"]', "{}"),
				('{"region": " eu ", "more": "x"}', '{"region": "eu"}'),
			):
				app = frappe.new_doc("Connected App", provider_name="Acme", provider="acme")
				app.provider_inputs = inputs
				app.insert()
				self.assertEqual(app.provider_inputs, stored, inputs)
			app.provider = ""
			app.save()
			self.assertIsNone(app.provider_inputs)

	def test_a_template_that_is_gone_stops_nobody(self) -> None:
		with known(PLAIN):
			app = frappe.new_doc("Connected App")
			providers.apply(app, "acme", {"region": "eu"})
			app.insert()
		with known():
			app.client_id = "changed"
			app.save()
			self.assertEqual((app.provider, app.provider_inputs), ("acme", '{"region": "eu"}'))
			app.provider_inputs = "{}"
			self.assertRaises(ConfigurationError, app.save)

	def test_bad_inputs_over_http(self) -> None:
		"""Each is an error of its own input, and nothing is stored."""
		admin = Browser(make_user("template-admin@site.example", "System Manager"))
		before = frappe.db.count("Connected App")
		for provider, name, value in (
			("shopify", "shop", "evil.example/"),
			("shopify", "shop", "shop.example@evil"),
			("shopify", "shop", "acme.evil.example"),
			("shopify", "shop", "-acme"),
			("shopify", "shop", "{shop}"),
			("keycloak", "host", "sso.example.com/realms"),
			("keycloak", "host", "user:secret@sso.example.com"),
			("keycloak", "host", "sso..example.com"),
			("keycloak", "host", "sso.example.com?x="),
			("keycloak", "host", "sso.example.com#"),
			("keycloak", "host", "sso.example.com\\@evil.example"),
			("keycloak", "realm", ".."),
			("keycloak", "realm", "a/b"),
			("zoho-crm", "domain", "zoho.evil"),
			("microsoft-tenant", "tenant", "contoso.example\r\nx"),
		):
			inputs = json.dumps({name: value})
			answer = admin.ask("provider_settings", provider=provider, inputs=inputs)
			self.assertEqual(list(answer), ["wrong_inputs"], value)
			self.assertEqual(list(answer["wrong_inputs"]), [name])
			self.assertIn("does not have the form", answer["wrong_inputs"][name]["message"])
			saved = admin.post(
				f"{admin.base}/api/resource/Connected App",
				json={"provider_name": "x", "provider": provider, "provider_inputs": inputs},
			)
			self.assertEqual(saved.status_code, 417, value)
			self.assertIn("does not have the form", saved.text)
		frappe.db.rollback()
		self.assertEqual(frappe.db.count("Connected App"), before)

	def test_other_bad_questions_over_http(self) -> None:
		admin = Browser(make_user("template-admin@site.example", "System Manager"))
		for inputs in ("", "[]", "7", "not JSON", '"shop"', '{"shop": null}', '{"shop": {}}', '{"shop": ""}'):
			answer = admin.call("provider_settings", provider="shopify", inputs=inputs)
			self.assertIn(answer.status_code, (200, 417), inputs)
			self.assertNotIn("token_uri", answer.text)
		for provider in ("sevdesk", "nobody", "", "../shopify", "shopify.toml"):
			answer = admin.call("provider_settings", provider=provider, inputs='{"shop": "acme"}')
			self.assertEqual(answer.status_code, 417, provider)

	def test_good_inputs_over_http(self) -> None:
		admin = Browser(make_user("template-admin@site.example", "System Manager"))
		values = admin.ask("provider_settings", provider="shopify", inputs='{"shop": " acme-2 "}')
		self.assertEqual(values["token_uri"], "https://acme-2.myshopify.com/admin/oauth/access_token")
		saved = admin.post(
			f"{admin.base}/api/resource/Connected App", json={"doctype": "Connected App", **values}
		).json()["data"]
		self.assertEqual(
			(saved["provider_inputs"], saved["scope_separator"]), ('{"shop": "acme-2"}', "Comma")
		)
		self.assertEqual(admin.ask("provider_differences", http="GET", connected_app=saved["name"]), [])

	def test_what_the_picker_is_given(self) -> None:
		"""For every template: a category in words, examples that are right, words for the usual scopes."""
		for template in templates.search():
			about = templates.about(template)
			self.assertTrue(about["category_name"], template.key)
			self.assertEqual(about["category_name"] == "Other", about["category"] == "other", template.key)
			self.assertTrue(
				about["checked_on"] and about["confidence"] in ("high", "medium", "low"), template.key
			)
			for each in about["inputs"]:
				usual = each["default"] or each["example"] or next(iter(each["choices"]))
				self.assertFalse(providers.wrong_inputs(template, {each["name"]: usual}), template.key)
		words = templates.about(templates.find("google"))["scope_words"]
		self.assertEqual(words["openid"], "Know who you are")

	def test_short_names(self) -> None:
		"""Without what the brackets say, as long as no two providers have the same."""
		found = {each.key: templates.about(each)["short_name"] for each in templates.search()}
		self.assertEqual(len(set(found.values())), len(found))
		for key, name in (
			("google", "Google"),
			("google-mail", "Gmail"),
			("shopify", "Shopify"),
			("slack", "Slack (bot)"),
			("slack-user", "Slack (user)"),
			("box", "Box"),
			("box-jwt", "Box (server to server)"),
			("microsoft-graph", "Microsoft 365 (Graph)"),
		):
			self.assertEqual(found[key], name)
			if key.startswith("google"):
				self.assertEqual(providers.settings(templates.find(key), {})["provider_name"], name)

	def test_over_http(self) -> None:
		admin = Browser(make_user("template-admin@site.example", "System Manager"))
		found = admin.ask("provider_templates", http="GET", search="google")
		self.assertIn("google", [each["key"] for each in found])
		values = admin.ask("provider_settings", provider="google")
		self.assertEqual(
			values["query_parameters"],
			[
				{"key": "access_type", "value": "offline"},
				{"key": "prompt", "value": "consent"},
			],
		)
		self.assertEqual(json.loads(values["provider_inputs"]), {})
		for method, args in (
			("provider_templates", {}),
			("provider_settings", {"provider": "google"}),
			("provider_differences", {"connected_app": "x"}),
		):
			reply = self.alice.call(method, **args)
			self.assertEqual(reply.status_code, 403, method)

	def test_the_folder_of_another_app(self) -> None:
		with patch.object(frappe, "get_hooks", lambda hook: ["frappe/nothing_here"]):
			self.assertIn("google", templates.all_templates())

	def test_a_file_of_another_app_that_is_wrong(self) -> None:
		"""It costs that app's templates, and is named in the Error Log: nobody's connection fails for it."""
		with tempfile.TemporaryDirectory() as good, tempfile.TemporaryDirectory() as wrong:
			text = 'name = "Theirs"\ncategory = "crm"\nauthorize = "https://x.example/a"\ntoken = "https://x.example/t"\n'
			Path(good, "theirs-good.toml").write_text(text)
			Path(wrong, "theirs-wrong.toml").write_text("[")
			folders = (templates.OWN, Path(wrong), Path(good), Path(good, "nowhere"))
			with (
				patch.object(templates, "folders", lambda: folders),
				patch.object(frappe, "log_error") as log,
			):
				found = templates.all_templates()
		self.assertLessEqual({"google", "theirs-good"}, found.keys())
		self.assertNotIn("theirs-wrong", found)
		self.assertIn("theirs-wrong", str(log.call_args))


@needs_providers
class TestDiscoveredTemplates(Case):
	def test_endpoints_of_the_metadata(self) -> None:
		"""A template that relies on discovery fills the endpoints at once."""
		discovered = Template(
			key="demo",
			values={
				"name": "Demo",
				"category": "identity",
				"discovery": f"{self.authlib.issuer}/.well-known/openid-configuration",
				"account": {"url": "https://elsewhere.example/me"},
			},
		)
		app = frappe.new_doc("Connected App")
		with known(discovered):
			providers.apply(app, "demo", {})
		self.assertEqual(
			(app.issuer, app.userinfo_uri), (self.authlib.issuer, "https://elsewhere.example/me")
		)
		self.assertTrue(app.token_uri.startswith(self.authlib.issuer) and app.provider_metadata)
