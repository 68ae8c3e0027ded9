"""Connected Apps that move to another site: without secrets, and as they were."""

from __future__ import annotations

import json
import tempfile
from typing import Any

import frappe

from connected_app.site import keys, moving, passwords
from connected_app.tests.site import ALICE, Case, add_field, make_app
from connected_app.tests.test_commands import bench
from connected_app.tests.test_ending import add_connections

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
		self.assertEqual((told["result"], told["notes"]), ("updated", ""))
		self.app.reload()
		self.assertEqual((self.app.token_uri, self.app.leeway), ("https://provider.example/token", 0))
		self.assertEqual({field: self.app.get(field) for field in kept}, kept)
		self.assertEqual(self.app.get_password("client_secret"), "the-client-secret")
		self.assertEqual(len(self.app.scopes), 2)

	def test_update_asks_for_the_secrets_that_are_lacking(self) -> None:
		"""Those of another client are not this one's."""
		exported = json.loads(moving.export([self.app.name]))
		exported["connected_apps"][0]["client_id"] = "another"
		(told,) = moving.import_apps(json.dumps(exported), update=True)
		self.assertEqual(told["notes"], "to be entered: client_secret; to be entered: next_signing_key")
		(told,) = moving.import_apps(json.dumps(exported), update=True)
		self.assertEqual(told["notes"], "")
		self.app.reload()
		self.app.client_secret = ""
		self.app.save()
		(told,) = moving.import_apps(json.dumps(exported), update=True)
		self.assertEqual((told["result"], told["notes"]), ("updated", "to be entered: client_secret"))

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

	def test_what_is_empty_is_moved_too(self) -> None:
		text = moving.export([self.app.name])
		self.app.update({"optional_scopes": "more", "leeway": 7, "scope_separator": "Comma"})
		self.app.save()
		moving.import_apps(text, update=True)
		self.app.reload()
		self.assertFalse(self.app.optional_scopes or self.app.leeway)
		self.assertEqual(self.app.scope_separator, "Space")

	def test_not_under_connections(self) -> None:
		"""They belong to a client at a server: their refresh tokens would go to another. Nor does a file end them."""
		exported = json.loads(moving.export([self.app.name]))
		self.app.db_set("enabled", 1)
		add_connections(self.app, 1)
		for field, value in (
			("token_uri", "https://elsewhere.example/token"),
			("client_id", "client-2"),
			("connection_is", "Shared"),
			("enabled", 0),
		):
			(app,) = exported["connected_apps"]
			changed = {**app, "enabled": 1, "leeway": 9, field: value}
			(told,) = moving.import_apps(json.dumps({**exported, "connected_apps": [changed]}), update=True)
			self.assertEqual(told["result"], "failed", field)
			self.assertIn(field, told["notes"])
			self.app.reload()
			self.assertNotEqual(self.app.get(field), value)
			self.assertEqual(self.app.leeway, 0)
			self.assertEqual(frappe.db.count("Token Cache", {"connected_app": self.app.name}), 1)
		exported["connected_apps"] = [{**exported["connected_apps"][0], "enabled": 1, "leeway": 9}]
		(told,) = moving.import_apps(json.dumps(exported), update=True)
		self.assertEqual(told["result"], "updated", told)
		frappe.db.delete("Token Cache", {"connected_app": self.app.name})

	def test_made_by_hand(self) -> None:
		"""One app that is no app keeps no other from being created, and changes nothing else."""
		exported = json.loads(moving.export([self.app.name]))
		(app,) = exported["connected_apps"]
		scope = frappe.get_doc("Connected App", self.app.name).scopes[0]
		wrong: list[Any] = [
			{"scopes": "read"},
			{"scopes": [1]},
			{"scopes": {"scope": "read"}},
			{"allowed_roles": [{}]},
			{"allowed_roles": [{"role": ["Blogger"]}]},
			{"secrets": 7},
			{"secrets": [["client_secret"]]},
			{"leeway": 10**30},
			{"leeway": "soon"},
			{"client_id": ["client"]},
			{"client_id": {"a": 1}},
			{"client_id": "x" * 100_000},
			{"client_id": "\0"},
			{"token_parameters": 5},
			{"provider": "../../templates/etc"},
			{"provider_inputs": "[[["},
			{"role_for_scripts": ["Blogger"]},
			{"role_for_scripts": {}},
			{"grant_type": "Made Up"},
			{"name": ""},
			{"name": None},
			{"name": ["x"]},
			{"name": "x" * 141},
			{"name": "<b>x</b>"},
			{"doctype": "User", "owner": ALICE, "docstatus": 1, "generation": 9, "client_secret": "clear"},
			{"scopes": [{"scope": "read", "name": scope.name, "doctype": "User", "parent": "x"}]},
		]
		apps = [{**app, "name": f"by hand {n}", **values} for n, values in enumerate(wrong)]
		told = moving.import_apps(
			json.dumps({**exported, "connected_apps": [*apps, {**app, "name": "good"}]}), True
		)
		self.assertEqual(told[-1]["result"], "created")
		self.assertEqual(len(told), len(wrong) + 1)
		self.assertEqual({each["result"] for each in told}, {"created", "failed"})
		self.assertEqual([each["result"] for each in told[-3:]], ["created"] * 3, told[-3:])
		made = frappe.get_doc("Connected App", told[-3]["name"])
		self.assertEqual((made.docstatus, made.generation, made.client_secret or ""), (0, 0, ""))
		self.assertEqual(frappe.db.get_value("OAuth Scope", scope.name, "parent"), self.app.name)
		for each in told[:24]:
			self.assertLess(len(each["notes"]), 1000)
		frappe.db.rollback()

	def test_the_app_that_is_exchanged_from_comes_later_in_the_file(self) -> None:
		later = make_app(**{**VALUES, "client_authentication": "Basic"})
		self.app.update(
			{"grant_type": "Token Exchange", "exchange_from": later.name, "allowed_roles": [], "enabled": 0}
		)
		self.app.save()
		text = moving.export([self.app.name, later.name])
		frappe.delete_doc("Connected App", self.app.name, force=True)
		frappe.delete_doc("Connected App", later.name, force=True)
		told = moving.import_apps(text, update=False)
		self.assertEqual([each["result"] for each in told], ["created", "created"], told)
		self.assertEqual([each["name"] for each in told], [self.app.name, later.name])
		frappe.db.rollback()
		frappe.delete_doc("Connected App", later.name, force=True)
		frappe.db.commit()

	def test_a_field_of_the_site(self) -> None:
		add_field(self.addCleanup, "Connected App", "contract_ends_on", fieldtype="Date")
		app = frappe.get_doc("Connected App", self.app.name)
		app.update({"contract_ends_on": "2030-01-31"})
		app.save()
		text = moving.export([self.app.name])
		frappe.delete_doc("Connected App", self.app.name, force=True)
		(told,) = moving.import_apps(text, update=False)
		self.assertEqual(told["result"], "created", told)
		again = frappe.get_doc("Connected App", self.app.name)
		self.assertEqual(str(again.contract_ends_on), "2030-01-31")

	def test_no_text(self) -> None:
		said = bench("import", frappe.get_app_path("connected_app", "public", "images", "nothing.json"))
		self.assertEqual(said.returncode, 2)
		with tempfile.NamedTemporaryFile(suffix=".json") as file:
			file.write(b"\xff\xfe\x00")
			file.flush()
			said = bench("import", file.name)
		self.assertEqual(said.returncode, 2)
		self.assertNotIn("Traceback", said.stderr)
		with self.assertRaisesRegex(ValueError, "not what"):
			moving.import_apps("[" * 100_000, update=False)

	def test_another_text(self) -> None:
		for text in ("", "[]", "{}", '{"connected_apps": [{}]}', '{"connected_apps": 3}'):
			with self.assertRaisesRegex(ValueError, "not what"):
				moving.import_apps(text, update=False)
		with self.assertRaisesRegex(ValueError, "newer"):
			moving.import_apps('{"connected_apps": [], "format": 2}', update=False)
		said = bench("import", "-", stdin="{}")
		self.assertEqual(said.returncode, 2)
		self.assertNotIn("Traceback", said.stderr)
