"""Signing keys on a site: made, brought, published, rotated, and not given to anybody."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from typing import Any

import frappe
import requests
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from connected_app.oauth import ConfigurationError, Secret, keys
from connected_app.oauth.clock import utc_now
from connected_app.site import keys as signing_keys
from connected_app.site import passwords, settings
from connected_app.tests.site import (
	ALICE,
	Case,
	certified,
	code_of,
	forget,
	make_app,
	needs_providers,
	row,
	statements,
)
from connected_app.tests.test_redaction import listening


def pem_of(key: Any) -> str:
	return key.private_bytes(
		serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
	).decode()


@needs_providers
class TestKeys(Case):
	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer, client_authentication="private_key_jwt")

	def ask(self, method: str, **arguments: Any) -> requests.Response:
		answer = self.admin.call(method, connected_app=self.app.name, **arguments)
		frappe.db.rollback()
		self.app.reload()
		return answer

	def published(self) -> list[dict[str, Any]]:
		answer = requests.get(self.app.key_set_uri, timeout=30)
		self.assertEqual(answer.status_code, 200, answer.text[:300])
		return answer.json()["keys"]

	def signs_with(self) -> str:
		return settings.read(self.app.name, with_secret=True).client.signing_key.key_id

	def stored(self) -> list[str]:
		return self.auth("fieldname")

	def auth(self, column: str) -> list[str]:
		table = passwords.AUTH
		at = (table.doctype == "Connected App") & (table.name == self.app.name)
		return [
			found
			for (found,) in frappe.qb.from_(table)
			.select(table[column])
			.where(at)
			.orderby(table.fieldname)
			.run()
		]

	def test_rotation(self) -> None:
		"""A key is published before it is used, and for a while after."""
		self.assertEqual(self.ask("make_key").status_code, 200)
		address = self.app.key_set_uri
		first = self.published()
		self.assertEqual(len(first), 1)
		with self.assertRaises(ConfigurationError) as caught:
			self.app.get_backend_app_token()
		self.assertEqual(caught.exception.code, "signing_key_missing")
		self.assertEqual(self.ask("use_new_key").status_code, 200)
		self.assertEqual(self.signs_with(), first[0]["kid"])
		self.ask("make_key", algorithm="PS256")
		both = self.published()
		self.assertEqual([key["alg"] for key in both], ["ES256", "PS256"])
		self.assertEqual(self.signs_with(), first[0]["kid"])
		# One that was not used yet gives way.
		self.ask("make_key", algorithm="EdDSA")
		self.assertEqual([key["alg"] for key in self.published()], ["ES256", "EdDSA"])
		self.ask("use_new_key")
		self.assertEqual({key["alg"] for key in self.published()}, {"ES256", "EdDSA"})
		self.assertEqual(self.signs_with(), id_of(self.published(), "EdDSA"))
		known = json.loads(self.app.published_keys)
		known["replaced"]["replaced_on"] = (utc_now() - timedelta(days=1, minutes=1)).isoformat()
		self.app.db_set("published_keys", json.dumps(known))
		frappe.db.commit()
		self.assertEqual([key["alg"] for key in self.published()], ["EdDSA"])
		self.assertEqual(self.app.key_set_uri, address)
		self.assertEqual(self.stored(), ["client_secret", "signing_key"])
		self.assertEqual(self.ask("use_new_key").status_code, 417)

	def test_the_address(self) -> None:
		"""For everybody, cached, and the same after a renaming; nothing else is found there."""
		self.ask("make_key")
		answer = requests.get(self.app.key_set_uri, timeout=30)
		self.assertEqual(answer.headers["Cache-Control"], "public, max-age=60")
		self.assertEqual(answer.headers["Content-Type"], "application/jwk-set+json")
		base, _slash, found_by = self.app.key_set_uri.rpartition("/")
		for wrong in ("", "%", "_" * 20, "0" * 20, found_by[:-1], found_by + "0", self.app.name):
			self.assertEqual(requests.get(f"{base}/{wrong}", timeout=30).status_code, 404, wrong)
		frappe.rename_doc("Connected App", self.app.name, "renamed " + self.app.name, force=True)
		frappe.db.commit()
		self.assertEqual(requests.get(self.app.key_set_uri, timeout=30).json(), answer.json())

	def test_a_key_that_is_brought(self) -> None:
		key = ec.generate_private_key(ec.SECP256R1())
		answer = self.ask("bring_key", private_key=pem_of(key), key_id="ABC123")
		self.assertEqual(answer.status_code, 200, answer.text[:300])
		self.assertEqual(self.published()[0]["kid"], "ABC123")
		self.assertEqual(self.published()[0]["x"], keys.read(pem_of(key), utc_now()).public()["x"])
		before = self.app.published_keys
		for text, algorithm, code in (
			("no key", "", "key_unreadable"),
			(pem_of(ec.generate_private_key(ec.SECP384R1())), "", "key_algorithm"),
			(pem_of(key), "RS256", "key_algorithm"),
		):
			refused = self.ask("bring_key", private_key=text, algorithm=algorithm)
			self.assertEqual(refused.status_code, 417, refused.text[:300])
			self.assertNotIn(text[60:90] or text, refused.text)
			with self.assertRaises(ConfigurationError) as caught:
				signing_keys.bring(self.app.name, text, algorithm)
			self.assertEqual(caught.exception.code, code)
			frappe.db.rollback()
			self.assertEqual(self.app.published_keys, before)

	def test_nobody_reads_it(self) -> None:
		"""Not in the row, the form, the versions or the password store as it is, and by no way of Frappe's."""
		self.ask("make_key")
		self.ask("use_new_key")
		self.ask("make_key")
		secrets = [passwords.read("Connected App", self.app.name, field) for field in signing_keys.FIELDS]
		body = [json.loads(secret)["pem"].splitlines()[1] for secret in secrets]
		self.assertNotEqual(*body)
		texts = [
			json.dumps(self.app.as_dict(), default=str),
			*self.auth("password"),
			*frappe.get_all("Version", {"docname": self.app.name}, pluck="data"),
		]
		for field in signing_keys.FIELDS:
			for method, http in (("frappe.client.get_password", "GET"), ("frappe.client.get_value", "GET")):
				answer = self.admin.call(
					method,
					http,
					doctype="Connected App",
					name=self.app.name,
					fieldname=field,
					filters=self.app.name,
				)
				texts.append(answer.text)
			with self.assertRaises(frappe.PermissionError):
				self.app.get_password(field)
		form = self.admin.call(
			"frappe.desk.form.load.getdoc", "GET", doctype="Connected App", name=self.app.name
		)
		self.assertEqual(form.status_code, 200)
		for text in (*texts, form.text):
			for secret in body:
				self.assertNotIn(secret, text)
				self.assertNotIn("PRIVATE KEY", text)

	def test_no_log_shows_it(self) -> None:
		"""Whatever fails while a key is taken: no local, log or Error Log has it."""
		text = pem_of(ec.generate_private_key(ec.SECP256R1()))
		before = frappe.db.count("Error Log")
		with listening() as heard:
			logging.getLogger("frappe").error("the listener hears")
			signing_keys.bring(self.app.name, Secret(text))
			with self.assertRaises(ConfigurationError):
				signing_keys.bring(self.app.name, Secret(text), "PS256")
		frappe.db.rollback()
		self.assertTrue(any("the listener hears" in line for line in heard.texts))
		self.assertNotIn(text.splitlines()[1], "\n".join(heard.texts))
		self.assertEqual(frappe.db.count("Error Log"), before)

	def test_restored_elsewhere(self) -> None:
		"""Without the key that opens it: a clear error, and what it costs is no connection."""
		self.ask("make_key")
		self.ask("use_new_key")
		self.assertTrue(self.signs_with())
		sealed = Fernet(Fernet.generate_key()).encrypt(b"x").decode()
		table = passwords.AUTH
		here = (table.name == self.app.name) & (table.fieldname == "signing_key")
		frappe.qb.update(table).set(table.password, sealed).where(here).run()
		frappe.db.commit()
		with self.assertRaises(ConfigurationError) as caught:
			self.app.get_backend_app_token()
		self.assertEqual(caught.exception.code, "signing_key_unreadable")
		# An app that goes back to the secret needs no key.
		self.app.client_authentication = "Basic"
		self.app.save()
		frappe.db.commit()
		forget()
		self.assertTrue(self.app.get_backend_app_token().get_password("access_token"))

	def test_what_it_costs(self) -> None:
		"""An app without a key is asked for none."""
		plain = make_app(self.authlib.issuer)
		with statements() as sent:
			settings.read(plain.name, with_secret=True)
		self.assertEqual([each for each in sent if "signing_key" in each and "__Auth" in each], [])
		self.assertEqual(len([each for each in sent if "__Auth" in each]), 1)

	def test_the_certified_provider(self) -> None:
		"""It reads the key set at this site's address, over HTTP, and follows the rotation; disconnecting is signed, too."""
		module = certified()
		if not module.AVAILABLE:
			self.skipTest("the certified provider needs Node.js and npm")
		self.ask("make_key")
		self.ask("use_new_key")
		# Published before it is used: the provider keeps what it has read for a minute.
		self.ask("make_key", algorithm="PS256")
		registered = {"jwks_uri": self.app.key_set_uri}
		with module.start(
			"client",
			"",
			self.app.redirect_uri,
			client_authentication="private_key_jwt",
			client=registered,
		) as running:
			self.app.update(
				{
					"openid_configuration": running.discovery_url,
					"client_id": "client",
					"client_secret": "",
					"client_authentication": "Automatic",
					"scopes": [{"scope": scope} for scope in ("openid", "email", "offline_access")],
					"query_parameters": [{"key": "prompt", "value": "consent"}],
					"issuer": "",
				}
			)
			self.app.save()
			frappe.db.commit()
			self.app.update(self.admin.ask("get_openid_configuration", connected_app=self.app.name)["values"])
			self.app.save()
			frappe.db.commit()
			url = self.alice.ask("authorize", connected_app=self.app.name, success_uri="/me")
			# The provider offers it, so that the request is pushed, signed as well.
			self.assertIn("request_uri=", url)
			self.assertNotIn("state=", url)
			landed = self.alice.visit(running.consent(url))
			self.assertEqual(landed.headers.get("Location"), "/me", code_of(landed))
			self.assertEqual(self.ask("use_new_key").status_code, 200)
			before = row(self.app, ALICE).get_password("access_token")
			frappe.db.set_value("Token Cache", row(self.app, ALICE).name, "expires_at", "2020-01-01")
			frappe.db.commit()
			forget()
			session = self.app.get_oauth2_session(ALICE)
			self.assertNotEqual(session.token["access_token"], before)
			self.assertEqual(session.get(self.app.userinfo_uri).json()["sub"], "alice")
			kept = settings.from_json(settings.to_json(settings.for_revoking(self.app.name)))
			self.assertEqual(kept, settings.for_revoking(self.app.name))
			self.assertEqual(kept.client.authentication, "private_key_jwt")
			self.assertTrue(self.alice.ask("disconnect", connected_app=self.app.name)["revoked"])


def id_of(published: list[dict[str, Any]], algorithm: str) -> str:
	return next(key["kid"] for key in published if key["alg"] == algorithm)
