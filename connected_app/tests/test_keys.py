"""Signing keys on a site: made, brought, published, rotated, and not given to anybody."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import ssl
import tempfile
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import patch

import frappe
import requests
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

from connected_app.oauth import ConfigurationError, Grant, Secret, TemporaryFailure, keys
from connected_app.oauth.clock import utc_now
from connected_app.site import http as site_http
from connected_app.site import keys as signing_keys
from connected_app.site import passwords, registrations, revocation, sessions, settings
from connected_app.site.identity import ConnectionKey
from connected_app.tests.certificates import certificate, pem_of
from connected_app.tests.site import (
	ALICE,
	Case,
	certified,
	code_of,
	forget,
	make_app,
	make_user,
	needs_providers,
	row,
	statements,
)
from connected_app.tests.test_redaction import listening


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

	def test_another_request_makes_one_meanwhile(self) -> None:
		"""What is used is what is published as used, however the database shows two changes to one transaction."""
		self.ask("make_key")
		self.ask("use_new_key")
		self.ask("make_key")
		frappe.db.rollback()
		frappe.db.get_value("Connected App", self.app.name, "modified")
		made = self.admin.call("make_key", connected_app=self.app.name, algorithm="PS256")
		self.assertEqual(made.status_code, 200)
		try:
			signing_keys.use_new(self.app.name)
			frappe.db.commit()
		except (TemporaryFailure, frappe.QueryDeadlockError, frappe.db.OperationalError):
			frappe.db.rollback()
		known = json.loads(frappe.db.get_value("Connected App", self.app.name, "published_keys"))
		for field in signing_keys.FIELDS:
			text = passwords.read("Connected App", self.app.name, field, raise_exception=False)
			public = keys.SigningKey.from_json(text).public() if text else None
			self.assertEqual(public, known.get(field, {}).get("jwk"), field)

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

	def test_published_while_connections_are_revoked(self) -> None:
		"""What is revoked when an app is disabled or deleted is signed with its keys, which the provider looks up."""
		self.ask("make_key")
		self.ask("use_new_key")
		self.afterwards(frappe.db.delete, "DefaultValue", {"parent": signing_keys.DELETED})
		self.app.update({"enabled": 0, "revocation_uri": "http://127.0.0.1:1/revoke"})
		self.app.save()
		frappe.db.commit()
		keys_of_app = self.published()
		self.app.delete()
		frappe.db.commit()
		self.assertEqual(self.published(), keys_of_app)
		identifier = self.app.key_set_uri.rpartition("/")[2]
		for days, left in ((7, 1), (9, 0)):
			with patch.object(signing_keys, "utc_now", lambda days=days: utc_now() + timedelta(days=days)):
				self.assertEqual(bool(signing_keys.key_set(identifier)), bool(left))
				signing_keys.care()
			frappe.db.rollback()
			kept = {"parent": signing_keys.DELETED, "defkey": identifier}
			self.assertEqual(frappe.db.count("DefaultValue", kept), left)

	def test_the_document_while_connections_are_revoked(self) -> None:
		"""The provider reads there that the client signs, and with which keys; also once another app has its name."""
		self.ask("make_key")
		self.ask("use_new_key")
		name = frappe.generate_hash(length=20)
		for doctype, filters in (
			("DefaultValue", {"parent": signing_keys.DELETED}),
			(registrations.DOCTYPE, {"name": name}),
			(revocation.DOCTYPE, {"connected_app": self.app.name}),
		):
			self.afterwards(frappe.db.delete, doctype, filters)
		client_id = self.admin.base + registrations.PATH + name
		values = {"connected_app": self.app.name, "kind": registrations.PUBLISHED, "client_id": client_id}
		frappe.get_doc({"doctype": registrations.DOCTYPE, "name": name, **values}).db_insert()
		self.app.update({"client_id": client_id, "revocation_uri": "http://127.0.0.1:1/revoke"})
		self.app.save()
		key = ConnectionKey.of_user(self.app.name, ALICE)
		revocation.put(key, Grant(access_token=Secret("x")), settings.for_revoking(key.app), timedelta())
		frappe.db.commit()
		document = requests.get(client_id, timeout=30).json()
		self.assertEqual(document["jwks_uri"], self.app.key_set_uri)
		self.app.delete()
		frappe.db.commit()
		self.assertEqual(requests.get(client_id, timeout=30).json(), document)
		frappe.get_doc({"doctype": "Connected App", "provider_name": "Other"}).insert(set_name=key.app)
		frappe.db.commit()
		self.assertEqual(requests.get(client_id, timeout=30).json(), document)

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

	def test_a_file_that_is_brought(self) -> None:
		"""PKCS #12 with its passphrase, which is nowhere afterwards."""
		private = ec.generate_private_key(ec.SECP256R1())
		passphrase = "the passphrase of a file"
		content = pkcs12.serialize_key_and_certificates(
			b"x", private, None, None, serialization.BestAvailableEncryption(passphrase.encode())
		)
		file = base64.b64encode(content).decode()
		refused = self.ask("bring_key", private_key=file, is_file=1, passphrase="another")
		self.assertEqual(refused.status_code, 417)
		self.assertIn("passphrase is wrong", refused.text)
		answer = self.ask("bring_key", private_key=file, is_file=1, passphrase=passphrase)
		self.assertEqual(answer.status_code, 200, answer.text[:300])
		self.assertEqual(self.published()[0]["kid"], keys.read(pem_of(private), utc_now()).key_id)
		texts = [json.dumps(self.app.as_dict(), default=str), *frappe.get_all("Error Log", pluck="error")]
		texts += frappe.get_all("Version", {"docname": self.app.name}, pluck="data")
		texts += [passwords.read("Connected App", self.app.name, "next_signing_key") or ""]
		for text in texts:
			self.assertNotIn(passphrase, text)
			self.assertNotIn(file[100:140], text)
		self.assertFalse(frappe.get_all("File", {"file_name": ("like", "%p12%")}))

	def use(self, algorithm: str = "ES256", days: int = 0) -> None:
		"""Make and use a key; replaced by schedule after so many `days`."""
		self.ask("make_key", algorithm=algorithm)
		self.ask("use_new_key")
		self.app.db_set("rotate_keys_after", days)
		frappe.db.commit()

	def pass_days(self, days: float) -> None:
		"""As if the daily job ran so many days later."""
		frappe.db.commit()
		with patch.object(signing_keys, "utc_now", lambda: utc_now() + timedelta(days=days)):
			signing_keys.care()
		self.app.reload()

	def in_use(self) -> dict[str, str]:
		return signing_keys.published(self.app.published_keys)["signing_key"]

	def names(self) -> dict[str, str]:
		"""What the keys are called, by their part."""
		known = signing_keys.published(self.app.published_keys)
		return {name: about["jwk"]["kid"] for name, about in known.items()}

	def test_the_schedule(self) -> None:
		"""Off by default. A new key of the same kind is published three days before it is used; the one before it stays
		published for a while."""
		self.use("PS256")
		before = self.names()
		self.pass_days(4000)
		self.assertEqual(self.names(), before)
		self.app.db_set("rotate_keys_after", 30)
		self.pass_days(26)
		self.assertEqual(self.names(), before)
		self.pass_days(27.5)
		published = self.names()
		self.assertEqual(published["signing_key"], before["signing_key"])
		self.assertEqual([key["alg"] for key in self.published()], ["PS256", "PS256"])
		self.pass_days(29)
		self.assertEqual(self.names(), published)
		self.pass_days(31)
		rotated = self.names()
		self.assertEqual(rotated["signing_key"], published["next_signing_key"])
		self.assertEqual(rotated["replaced"], before["signing_key"])
		self.assertEqual(self.signs_with(), rotated["signing_key"])
		self.pass_days(31.5)
		self.assertEqual(self.names(), rotated)

	def test_what_the_schedule_leaves_alone(self) -> None:
		"""A key that was brought, a new one that an admin has made, and an app that is switched off."""
		self.ask("bring_key", private_key=pem_of(ec.generate_private_key(ec.SECP256R1())))
		self.ask("use_new_key")
		self.app.db_set("rotate_keys_after", 10)
		before = self.names()
		self.pass_days(100)
		self.assertEqual(self.names(), before)
		self.use(days=10)
		self.ask("make_key")
		before = self.names()
		self.pass_days(100)
		self.assertEqual(self.names(), before)
		self.app.db_set("enabled", 0)
		self.pass_days(100)
		self.assertEqual(self.names(), before)

	def test_one_app_stops_no_other(self) -> None:
		self.use(days=10)
		broken = make_app(self.authlib.issuer, key_set_uri=self.app.key_set_uri[:-20] + "0" * 20)
		self.afterwards(frappe.delete_doc, "Connected App", broken.name)
		broken.db_set({"published_keys": '{"signing_key": {"made_by": "admin"}}', "rotate_keys_after": 1})
		before = self.names()
		self.pass_days(11)
		self.assertNotEqual(self.names(), before)
		logged = frappe.get_all("Error Log", {"method": "Connected App: keys"}, pluck="error")
		self.assertEqual([text for text in logged if broken.name in text], [f"KeyError for {broken.name}"])

	def news(self, user: str) -> list[str]:
		found = {"for_user": user, "document_name": self.app.name}
		return frappe.get_all("Notification Log", found, pluck="subject", order_by="creation")

	def test_certificates_that_end(self) -> None:
		"""System Managers are notified a month and a week before, once each; nobody else is."""
		manager = make_user("manager@site.example", "System Manager")
		self.use()
		life = keys.CERTIFICATE_LIFETIME.days
		# Not counted from now: it may be another day by now.
		ends = self.in_use()["ends_on"][:10]
		for days, number in (
			(0, 0),
			(life - 31, 0),
			(life - 29, 1),
			(life - 20, 1),
			(life - 6, 2),
			(life + 1, 2),
		):
			self.pass_days(days)
			self.assertEqual(len(self.news(manager)), number, days)
		self.assertEqual(self.news(manager)[0], f"The certificate for Demo ends on {ends}")
		self.assertEqual(len(self.news("Administrator")), 2)
		self.assertEqual(self.news(ALICE), [])
		found = self.admin.ask("check_configuration", connected_app=self.app.name)
		self.assertEqual([each for each in found if each["check"] == "signing_key"], [])

	def test_a_client_certificate(self) -> None:
		"""Presented at the token endpoint and by the session, which reads it once; it is that of the key in use. Making a
		session costs no more than without one."""
		self.use()
		server = TlsServer()
		self.addCleanup(server.close)
		server.trust(self.in_use()["certificate"])
		self.app.update(
			{
				"client_authentication": "self_signed_tls_client_auth",
				"certificate_bound": 1,
				"token_uri": server.url + "/token",
				"openid_configuration": "",
				"revocation_uri": "",
				"issuer": "",
			}
		)
		self.app.save()
		frappe.db.commit()
		trusted = {"REQUESTS_CA_BUNDLE": server.certificate}
		with patch.dict(os.environ, trusted), patch.object(site_http, "_http", site_http._http.__wrapped__):
			self.app.get_backend_app_token()
			session = sessions.session(
				settings.for_session(self.app), ConnectionKey.of_service_principal(self.app.name)
			)
			forget()
			with statements() as sent:
				presented = session.get(server.url + "/api").json()["certificate"]
				session.get(server.url + "/api")
			self.assertLessEqual(len(sent), 6, sent)
			self.assertEqual(server.seen, [presented] * 3)
			self.assertEqual(presented, self.in_use()["fingerprint"])
			self.ask("make_key")
			self.ask("use_new_key")
			server.trust(self.in_use()["certificate"])
			forget()
			session.refresh_token()
			again = session.get(server.url + "/api").json()["certificate"]
		self.assertNotEqual(again, presented)
		kept = settings.from_json(settings.to_json(settings.for_revoking(self.app.name)))
		self.assertEqual(kept, settings.for_revoking(self.app.name))
		self.assertTrue(kept.client.certificate_bound)
		self.assertEqual(kept.client.authentication, "self_signed_tls_client_auth")

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


class TlsServer:
	"""Answers with the fingerprint of the client's certificate, as a token endpoint and as an API."""

	def __init__(self) -> None:
		with tempfile.NamedTemporaryFile("w", suffix=".pem", delete=False) as file:
			file.write(certificate("localhost").pem)
		self.certificate = file.name
		self.seen: list[str] = []
		seen = self.seen

		class Handler(BaseHTTPRequestHandler):
			def do_POST(self) -> None:
				seen.append(fingerprint(self.connection.getpeercert(binary_form=True) or b""))
				self.rfile.read(int(self.headers.get("Content-Length") or 0))
				body = json.dumps(
					{"access_token": "a", "token_type": "Bearer", "certificate": seen[-1]}
				).encode()
				self.send_response(200)
				self.send_header("Content-Type", "application/json")
				self.send_header("Content-Length", str(len(body)))
				self.end_headers()
				self.wfile.write(body)

			do_GET = do_POST

			def log_message(self, *args: Any) -> None:
				pass

		self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
		self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
		self.context.load_cert_chain(file.name)
		self.context.verify_mode = ssl.CERT_OPTIONAL
		self.server.socket = self.context.wrap_socket(self.server.socket, server_side=True)
		self.url = f"https://localhost:{self.server.server_port}"
		threading.Thread(target=self.server.serve_forever, daemon=True).start()

	def trust(self, certificate: str) -> None:
		self.context.load_verify_locations(cadata=certificate)

	def close(self) -> None:
		self.server.shutdown()
		self.server.server_close()
		os.unlink(self.certificate)


def fingerprint(certificate: bytes) -> str:
	return base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).rstrip(b"=").decode()


def id_of(published: list[dict[str, Any]], algorithm: str) -> str:
	return next(key["kid"] for key in published if key["alg"] == algorithm)
