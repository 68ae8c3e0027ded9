"""Provider templates on a site: what fills a Connected App's fields, who may see them, what an update offers."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

import frappe

from connected_app.oauth.errors import ConfigurationError
from connected_app.oauth.templates import Template
from connected_app.site import providers, templates
from connected_app.tests.site import Browser, Case, make_user, needs_providers

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


def known(*given: Template) -> Any:
	return patch.object(templates, "all_templates", lambda: {each.key: each for each in given})


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
