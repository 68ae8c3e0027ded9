"""Connected Apps that move to another site: without secrets, and as they were."""

from __future__ import annotations

import json
from typing import Any

import frappe

from connected_app.site import keys, moving, passwords
from connected_app.tests.site import Case, make_app
from connected_app.tests.test_commands import bench

VALUES = {
	"provider_name": "Büro",
	"client_id": "client-1",
	"client_secret": "the-client-secret",
	"token_uri": "https://provider.example/token",
	"enabled": 0,
	"everyone_may_connect": 0,
	"leeway": 0,
	"client_authentication": "private_key_jwt",
	"refresh_ahead": 5,
	"provider_metadata": '{"issuer": "https://provider.example"}',
	"role_for_scripts": "Blogger",
	"scopes": [{"scope": "read"}, {"scope": "write"}],
	"query_parameters": [{"key": "prompt", "value": "consent"}],
	"allowed_roles": [{"role": "Blogger"}, {"role": "Website Manager"}],
}


class TestMoving(Case):
	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(**VALUES)
		keys.make(self.app.name, "ES256")
		frappe.db.commit()
		self.app.reload()
		self.addCleanup(self.remove)

	def remove(self) -> None:
		frappe.db.rollback()
		frappe.delete_doc("Connected App", self.app.name, force=True, ignore_missing=True)
		frappe.db.commit()

	def settings(self) -> dict[str, Any]:
		"""Of the app, without what belongs to a site."""
		row = frappe.get_doc("Connected App", self.app.name).as_dict(no_default_fields=True)
		for child in ("scopes", "query_parameters", "allowed_roles"):
			row[child] = [
				{key: each[key] for key in ("scope", "key", "value", "role") if key in each}
				for each in row[child]
			]
		ours = ("client_secret", "signing_key", "next_signing_key", *moving.OF_A_SITE)
		return {key: value or None for key, value in row.items() if key not in ours}

	def test_there_and_back(self) -> None:
		before = self.settings()
		said = bench("export", self.app.name)
		self.assertEqual(said.returncode, 0, said.stderr)
		text = said.stdout
		secret = json.loads(passwords.read("Connected App", self.app.name, keys.NEW))
		for word in (
			"the-client-secret",
			secret["pem"].splitlines()[1],
			self.app.redirect_uri,
			self.app.key_set_uri,
			"****",
		):
			self.assertNotIn(word, text)
		frappe.delete_doc("Connected App", self.app.name, force=True)
		frappe.db.commit()
		done = bench("import", "-", "--json", stdin=text)
		self.assertEqual(done.returncode, 0, done.stderr)
		(told,) = json.loads(done.stdout)
		frappe.db.rollback()
		self.assertEqual(self.settings(), before)
		again = frappe.get_doc("Connected App", self.app.name)
		self.assertEqual((told["name"], told["result"]), (again.name, "created"))
		self.assertEqual(told["redirect_uri"], again.redirect_uri)
		for field in ("client_secret", "next_signing_key"):
			self.assertIn(f"to be entered: {field}", told["notes"])
		self.assertFalse(again.client_secret or again.key_set_uri or again.published_keys)
		# It is there now.
		done = bench("import", "-", "--json", stdin=text)
		self.assertEqual((done.returncode, json.loads(done.stdout)[0]["result"]), (1, "exists"))

	def test_update(self) -> None:
		"""Secrets, addresses and connections of the app that is there stay."""
		text = moving.export([self.app.name])
		kept = {field: self.app.get(field) for field in ("redirect_uri", "key_set_uri", "published_keys")}
		self.app.db_set({"token_uri": "https://other.example/token", "enabled": 0, "leeway": 60})
		(told,) = moving.import_apps(text, update=True)
		self.assertEqual(told["result"], "updated")
		self.app.reload()
		self.assertEqual((self.app.token_uri, self.app.leeway), ("https://provider.example/token", 0))
		self.assertEqual({field: self.app.get(field) for field in kept}, kept)
		self.assertEqual(self.app.get_password("client_secret"), "the-client-secret")
		self.assertEqual(len(self.app.scopes), 2)

	def test_what_the_other_site_lacks(self) -> None:
		exported = json.loads(moving.export([self.app.name]))
		(app,) = exported["connected_apps"]
		app["allowed_roles"].append({"role": "Made Up"})
		app.update(role_for_scripts="Made Up Too", of_tomorrow="x")
		broken = {**app, "name": "broken", "provider": "nowhere"}
		frappe.delete_doc("Connected App", self.app.name, force=True)
		text = json.dumps({**exported, "connected_apps": [broken, app]})
		failed, told = moving.import_apps(text, update=False)
		self.assertEqual((failed["result"], told["result"]), ("failed", "created"))
		self.assertFalse(frappe.db.exists("Connected App", "broken"))
		for note in ("left out: of_tomorrow", "no such role here: Made Up", "no such role here: Made Up Too"):
			self.assertIn(note, told["notes"])
		again = frappe.get_doc("Connected App", self.app.name)
		self.assertEqual([each.role for each in again.allowed_roles], ["Blogger", "Website Manager"])
		self.assertFalse(again.role_for_scripts or again.everyone_may_connect)

	def test_another_text(self) -> None:
		for text in ("", "[]", "{}", '{"connected_apps": [{}]}', '{"connected_apps": 3}'):
			with self.assertRaisesRegex(ValueError, "not what"):
				moving.import_apps(text, update=False)
		with self.assertRaisesRegex(ValueError, "newer"):
			moving.import_apps('{"connected_apps": [], "format": 2}', update=False)
		said = bench("import", "-", stdin="{}")
		self.assertEqual(said.returncode, 2)
		self.assertNotIn("Traceback", said.stderr)
