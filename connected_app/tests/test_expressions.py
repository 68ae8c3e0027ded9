"""What an admin without *Script Manager* reaches by the texts that Frappe evaluates: conditions, formulas, templates."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import frappe
from frappe.utils.safe_exec import get_safe_globals

from connected_app.oauth import Secret, catalogue
from connected_app.site import keys, passwords
from connected_app.site.errors import in_words
from connected_app.tests.site import (
	ALICE,
	Case,
	add_field,
	forget,
	frappes_own,
	make_app,
	needs_providers,
	other_app,
	row,
)

CLIENT_SECRET = "demo-secret"
PLANTED = "planted-by-an-expression"
# By `app`, `kept` (the Token Cache of Alice), and `other` (a document of another DocType).
THEFTS = (
	"kept.get_password('access_token')",
	"kept.get_auth_header()",
	"kept.get_json()",
	"kept.run_method('get_json')",
	"kept.get_password",
	"kept._latest_known().access_token",
	f"kept.update_data({{'access_token': '{PLANTED}'}})",
	"app.get_password('client_secret')",
	f"app.get_oauth2_session('{ALICE}').token",
	f"app.get_access_token('{ALICE}')",
	f"app.get_access_token('{ALICE}').value",
	f"app.get_token_source('{ALICE}')",
	f"app.get_active_token('{ALICE}').get_password('access_token')",
	f"app.get_user_token('{ALICE}').get_password('access_token')",
	"app.get_backend_app_token().get_password('access_token')",
	f"app.initiate_web_application_flow('{ALICE}')",
	f"app.require_scopes('read', user='{ALICE}')",
	# A document of Frappe's that says it is one of this app's.
	"other.update({'doctype': 'Token Cache', 'name': kept.name}).get_password('access_token')",
	"other.update({'doctype': 'Connected App', 'name': app.name}).get_password('client_secret')",
	# A method in the place of another, for others to call.
	"[app.set('as_dict', kept.get_json), app.as_dict()]",
	"[other.set('validate', kept.get_json), other.run_method('validate')]",
)


class Thefts(Case):
	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer)
		self.assertEqual(self.connect(self.app).status_code, 302)
		self.kept = row(self.app, ALICE)
		self.secrets = [
			self.kept.get_password("access_token"),
			self.kept.get_password("refresh_token"),
			CLIENT_SECRET,
		]
		forget()

	def assertSecretless(self, text: str, where: str) -> None:
		for secret in self.secrets:
			self.assertNotIn(secret, text, where)


@needs_providers
class TestWays(Thefts):
	"""Each way of stealing, by each of Frappe's evaluators."""

	def evaluators(self, text: str) -> Iterator[Any]:
		"""Functions that evaluate `text`."""

		def names() -> dict[str, Any]:
			return {
				"app": frappe.get_doc("Connected App", self.app.name),
				"kept": frappe.get_doc("Token Cache", self.kept.name),
				"other": frappe.get_doc({"doctype": "ToDo", "description": "x"}),
			}

		yield lambda: frappe.safe_eval(text, None, names())
		yield lambda: frappe.safe_eval(text, get_safe_globals(), names())
		yield lambda: frappe.render_template("{{ " + text + " }}", names())
		yield lambda: frappe.get_jenv().from_string("{% set x = " + text + " %}{{ x }}").render(names())

	def test_none_gives_anything(self) -> None:
		for text in THEFTS:
			for evaluate in self.evaluators(text):
				forget()
				frappe.clear_messages()
				with self.assertRaises(Exception, msg=text) as caught:
					print(text, evaluate())
				self.assertSecretless(f"{caught.exception} {frappe.get_traceback(with_context=True)}", text)
				self.assertSecretless(str(frappe.local.message_log), text)
		self.assertEqual(row(self.app, ALICE).get_password("access_token"), self.secrets[0])

	def test_they_would_if_they_could(self) -> None:
		"""The expressions are right: as code of an app, each of them gives something."""
		names = {
			"app": frappe.get_doc("Connected App", self.app.name),
			"kept": frappe.get_doc("Token Cache", self.kept.name),
		}
		only_expressions = ("other", "_latest_known", "run_method")
		ours = [text for text in THEFTS if not any(name in text for name in only_expressions)]
		self.assertGreater(len(ours), 10)
		for text in ours:
			with other_app(f"def steal(app, kept):\n\treturn {text}") as module:
				module.steal(**names)
			frappe.db.rollback()

	def test_what_this_request_remembers(self) -> None:
		"""An app's code used the connection, and refreshed it: an expression evaluated afterwards finds nothing more."""
		frappe.db.set_value("Token Cache", self.kept.name, "expires_at", "2020-01-01")
		frappe.db.commit()
		forget()
		self.app.get_oauth2_session(ALICE)
		self.secrets.append(row(self.app, ALICE).get_password("access_token"))
		forget()
		self.app.get_oauth2_session(ALICE)
		for text in THEFTS[:6]:
			for evaluate in self.evaluators(text):
				with self.assertRaises(Exception, msg=text) as caught:
					print(text, evaluate())
				self.assertSecretless(str(caught.exception), text)

	def test_a_method_passed_on(self) -> None:
		"""Neither Frappe nor another app calls, for an expression, what that has put in a method's place. Sending mail
		gives no token back."""
		account = frappe.get_doc(
			{
				"doctype": "Email Account",
				"email_account_name": "x",
				"auth_method": "OAuth",
				"connected_app": self.app.name,
				"connected_user": ALICE,
				"smtp_server": "localhost",
			}
		)
		for method in ("sendmail_config", "get_oauth_token", "get_smtp_server", "get_incoming_server"):
			frappe.safe_eval(
				f"[doc.set('as_dict', account.{method})]", None, {"doc": account, "account": account}
			)
			for answer in ("doc.as_dict()", "doc.run_method('as_dict')"):
				with other_app(f"def answer(doc):\n\treturn {answer}") as app:
					with self.assertRaises(frappe.PermissionError, msg=f"{method} {answer}"):
						print(app.answer(account))
			# As `frappe.api` does.
			with self.assertRaises(frappe.PermissionError, msg=method):
				print(frappes_own("def _api(doc):\n\treturn doc.as_dict()")(account))
			# What an app calls by its name is its own.
			with other_app(f"def answer(account):\n\treturn account.{method}()") as app:
				try:
					app.answer(account)
				except Exception as error:
					self.assertNotIsInstance(error, frappe.PermissionError)

	def test_a_method_passed_to_what_sends(self) -> None:
		"""What sends mail for everybody calls no method that a text has put in the place of one of its own."""
		account = {"doctype": "Email Account", "email_account_name": "x", "auth_method": "OAuth"}
		account |= {"connected_app": self.app.name, "connected_user": ALICE, "smtp_server": "localhost"}
		queue = {"doctype": "Email Queue", "status": "Not Sent", "sender": "x@example.com"}
		for method in ("sendmail_config", "get_oauth_token", "get_smtp_server"):
			text = (
				"{% set _ = queue.append('recipients', {'recipient': 'y@example.com'}).set('is_mail_sent', account."
				+ method
				+ ") %}{{ queue.send() }}"
			)
			names = {"account": frappe.get_doc(account), "queue": frappe.get_doc(queue)}
			with patch.dict(frappe.flags, mute_emails=False), self.assertRaises(Exception) as caught:
				print(frappe.render_template(text, names))
			self.assertIn("only for the code of apps", str(caught.exception), method)

	def test_a_message_that_a_text_has_written(self) -> None:
		"""What a row says of its last error, and how that is translated, is filled in, and formats nothing: by attributes and
		items one comes from any function to the site's configuration, and so to its key."""
		key = frappe.utils.password.get_encryption_key()
		way = "__globals__[__builtins__][exit].__init__.__globals__[sys].modules[frappe].local.conf"
		nested = {"template": "", "values": []}
		for template in (f"{{0.__new__.{way}}}", f"{{0.__getnewargs__.{way}}}", "{0.__class__}", "{0!r:>99}"):
			said = {"sentence": "network", "values": [{"template": template, "values": [nested]}]}
			values = {"error_code": "network", "error_values": json.dumps(said)}
			with patch.dict(frappe.local.conf, encryption_key=key):
				frappe.safe_eval("doc.db_set(values)", None, {"doc": self.kept, "values": values})
				shown = frappe.render_template(
					"{{ doc.last_error }}", {"doc": frappe.get_doc("Token Cache", self.kept.name)}
				)
				# As it is in an exception, too.
				shown += catalogue.from_json(values["error_values"])
			self.assertNotIn(key, shown)
			self.assertIn(template, shown)
		frappe.db.rollback()
		error = catalogue.error("network", Secret("op.example"))
		translated = {error.message.template: f"{{0.__repr__.{way}}}"}
		with patch("connected_app.site.errors._", lambda text: translated.get(text, text)):
			with patch.dict(frappe.local.conf, encryption_key=key):
				self.assertNotIn(key, in_words(error)["message"])

	def test_hooks_see_no_new_secret(self) -> None:
		"""What is not stored yet stands in no field either, while the document's hooks run."""
		seen: list[Any] = []
		fields = {"Connected App": "client_secret", "Token Cache": "access_token"}
		original = frappe.model.document.Document.run_method

		def run_method(document: Any, method: str, *args: Any, **kwargs: Any) -> Any:
			if document.doctype in fields:
				context = {"doc": document, **vars(document)}
				text = "{{ doc.%s }}{{ doc.as_dict() }}{{ %s }}" % ((fields[document.doctype],) * 2)
				seen.append(frappe.render_template(text, context))
			return original(document, method, *args, **kwargs)

		frappe.model.document.Document.run_method = run_method
		try:
			app = make_app(client_secret="new-client-secret")
			app.client_secret = "newer-client-secret"
			app.save()
			cache = frappe.get_doc(
				{
					"doctype": "Token Cache",
					"connected_app": app.name,
					"user": ALICE,
					"access_token": "new-token",
				}
			).insert()
			cache.update_data({"access_token": "newer-token"})
		finally:
			frappe.model.document.Document.run_method = original
		self.assertGreater(len(seen), 10)
		for secret in ("new-client-secret", "newer-client-secret", "new-token", "newer-token"):
			self.assertNotIn(secret, str(seen))
		self.assertEqual(cache.get_password("access_token"), "newer-token")
		self.assertEqual(app.get_password("client_secret"), "newer-client-secret")
		frappe.db.rollback()

	def test_a_new_secret_stays_in_its_field(self) -> None:
		"""What puts it into another field, whose secret an admin may read, has it stored nowhere; nor does a job get it."""
		move = "[doc.set('client_secret', doc.signing_key), kept.set('access_token', doc.signing_key), kept.save()]"
		jobs: list[bytes] = []
		original = frappe.model.document.Document.run_method

		def run_method(document: Any, method: str, *args: Any, **kwargs: Any) -> Any:
			if (document.doctype, method) == ("Connected App", "before_validate"):
				kept = frappe.get_doc("Token Cache", self.kept.name)
				frappe.safe_eval(move, None, {"doc": document, "kept": kept})
				jobs.append(pickle.dumps(document))
			return original(document, method, *args, **kwargs)

		keys.make(self.app.name, "ES256")
		made = passwords.read("Connected App", self.app.name, "next_signing_key")
		with patch.object(frappe.model.document.Document, "run_method", run_method):
			keys.use_new(self.app.name)
		self.assertEqual(passwords.read("Connected App", self.app.name, "signing_key"), made)
		self.assertEqual(passwords.read("Connected App", self.app.name, "client_secret"), CLIENT_SECRET)
		self.assertEqual(passwords.read("Token Cache", self.kept.name, "access_token"), self.secrets[0])
		self.assertEqual(len(jobs), 1)
		self.assertNotIn(b"PRIVATE KEY", jobs[0])
		frappe.db.rollback()

	def test_what_was_sent(self) -> None:
		"""What an admin has just typed is in no text's reach either, whichever way Frappe is sent it: a formula sees the request."""
		formula = "as_json([frappe.form_dict, frappe.request.form, frappe.request.values, frappe.request.get_data(as_text=True), frappe.request.get_json(silent=True)])"
		peek = {"fieldtype": "Small Text", "is_virtual": 1, "options": formula}
		add_field(self.addCleanup, "Connected App", "custom_peek", **peek)
		base, name, typed = self.admin.base, self.app.name, 'typed "secret" \\ ü'
		sent = {"client_secret": typed}
		where = f"{base}/api/resource/Connected App/{name}"
		document = {**self.admin.get(where).json()["data"], "doctype": "Connected App", **sent}
		field_of = {"doctype": "Connected App", "name": name, "fieldname": "client_secret", "value": typed}
		for answer in (
			lambda: self.admin.put(where, json=sent),
			lambda: self.admin.put(where, data={"data": json.dumps(sent)}),
			lambda: self.admin.put(f"{base}/api/v2/document/Connected App/{name}", json=sent),
			lambda: self.admin.call("frappe.client.set_value", **field_of),
			lambda: self.admin.call("frappe.client.save", doc=json.dumps({**document, **self.latest()})),
			lambda: self.admin.call(
				"frappe.desk.form.save.savedocs", doc=json.dumps({**document, **self.latest()}), action="Save"
			),
		):
			shown = answer()
			self.assertEqual(shown.status_code, 200, shown.text[:500])
			self.assertIn("custom_peek", shown.text)
			for form in (typed, "typed ", "typed%20", "typed+"):
				self.assertNotIn(form, shown.text, shown.url)
			frappe.db.rollback()
			self.assertEqual(self.app.get_password("client_secret"), typed)
			passwords.store("Connected App", name, "client_secret", "another")
			frappe.db.commit()

	def latest(self) -> dict[str, str]:
		frappe.db.rollback()
		return {"modified": str(frappe.db.get_value("Connected App", self.app.name, "modified"))}

	def test_frappes_key_opens_none(self) -> None:
		"""What is stored for this app's documents is closed to Frappe's functions; each field that holds a secret is
		known."""
		stored = frappe.db.sql(
			"select `doctype`, `password` from `__Auth` where `name` in (%s, %s) and `encrypted` = 1",
			(self.app.name, self.kept.name),
		)
		self.assertEqual(len(stored), 3)
		for doctype, password in stored:
			self.assertRaises(frappe.ValidationError, frappe.utils.password.decrypt, password)
			self.assertIn(passwords.decrypt(password), self.secrets, doctype)
		for doctype in passwords.DOCTYPES:
			fields = {
				field.fieldname for field in frappe.get_meta(doctype).get("fields", {"fieldtype": "Password"})
			}
			self.assertEqual(set(frappe.get_doc({"doctype": doctype}).SECRETS), fields, doctype)
