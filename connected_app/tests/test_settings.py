"""What a session takes of a Connected App: it is made once of the same values, and of nothing else."""

from __future__ import annotations

import json
import unittest
from typing import Any

import frappe

from connected_app.site import settings
from connected_app.site.settings import BY_SESSION

OTHERWISE: dict[str, Any] = {
	"provider": "github",
	"provider_inputs": '{"host": "https://idp.example"}',
	"grant_type": "Service Account",
	"connection_is": "Shared",
	"leeway": 31,
	"name": "other",
}
TABLES = {"scopes": [{"scope": "write"}], "allowed_roles": [{"role": "Blogger"}]}


def an_app(**values: Any) -> Any:
	"""One that nobody has saved."""
	app = frappe.get_doc({"doctype": "Connected App", "client_id": "demo", "scopes": [{"scope": "read"}]})
	app.update({"enabled": 1, **values})
	return app


class TestForm(unittest.TestCase):
	def test_half_filled_in(self) -> None:
		"""What was saved once can be saved again: the rest is entered when the provider has given it, and a service
		account never has an Authorization URI. *Check Configuration* says what is missing."""
		fields = frappe.get_meta("Connected App").fields
		demanded = {field.fieldname for field in fields if field.reqd or field.mandatory_depends_on}
		self.assertEqual(demanded, {"provider_name", "exchange_from"})

	def test_a_file_as_client_id(self) -> None:
		"""Such as providers give it: the secret in it would be in the address of the consent page."""
		file = json.dumps({"web": {"client_id": "demo", "client_secret": "demo-secret"}}, indent=1)
		with self.assertRaisesRegex(frappe.ValidationError, "Client Secret") as refused:
			an_app(provider_name="Demo", client_id=f"\n{file}\n").insert()
		self.assertNotIn("demo-secret", str(refused.exception))
		for client_id in ("", "123456", '"quoted"', "{8f2c", "{0e1c6a5e-8f2c-4a58-9a51-0f6d2f6a1b77}"):
			an_app(provider_name="Demo", client_id=client_id).insert()
		frappe.db.rollback()


class TestForSession(unittest.TestCase):
	def test_made_once(self) -> None:
		first = settings.for_session(an_app())
		self.assertIs(settings.for_session(an_app()), first)
		self.assertIsNone(first.client.client_secret)

	def test_as_it_is_now(self) -> None:
		"""Whatever is changed counts at once, saved or not."""
		for base in ({}, {"connection_is": "Shared"}):
			unchanged = settings.for_session(an_app(**base))
			for field in (*BY_SESSION, *TABLES):
				app = an_app(**base)
				value = TABLES.get(field) or OTHERWISE.get(field) or (0 if app.get(field) else "1")
				if app.get(field) == value or (field == "allowed_roles" and not base):
					continue
				app.update({field: value})
				with self.subTest(field, base=base):
					self.assertIsNot(settings.for_session(app), unchanged)

	def test_the_same_as_in_all_settings(self) -> None:
		changed = {field: OTHERWISE.get(field, "1") for field in BY_SESSION}
		kinds = (
			{},
			{"connection_is": "Shared", **TABLES},
			{"grant_type": "Service Account", "acts_for_users": 1},
			{"provider": "github"},
			{**changed, **TABLES},
		)
		for values in kinds:
			app = an_app(**values)
			few, all_ = settings.for_session(app), settings.of(app)
			with self.subTest(values):
				for name in (
					"name",
					"enabled",
					"is_shared",
					"grant",
					"is_for_users",
					"subject",
					"exchange_from",
				):
					self.assertEqual(getattr(few, name), getattr(all_, name), name)
				if few.is_shared:
					self.assertEqual(few.allowed_roles, all_.allowed_roles)
					self.assertEqual(few.everyone_may_connect, all_.everyone_may_connect)
				self.assertEqual(few.provider.token_uri, all_.provider.token_uri)
				self.assertEqual(few.provider.quirks, all_.provider.quirks)
				for name in ("client_id", "redirect_uri", "scopes", "resources", "further_origins", "leeway"):
					self.assertEqual(getattr(few.client, name), getattr(all_.client, name), name)
				self.assertEqual(few.client.certificate_bound, all_.client.certificate_bound)
