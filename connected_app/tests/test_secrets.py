"""Tokens and client secrets: what Desk's and REST's many ways say of them, to whomever they say it."""

from __future__ import annotations

import json
import re
from typing import Any
from unittest.mock import patch

import frappe
import requests
from cryptography.fernet import Fernet
from frappe.utils.password import get_encryption_key, set_encrypted_password

from connected_app.oauth import ConfigurationError, Grant, Secret
from connected_app.oauth.clock import utc_now
from connected_app.patches import encrypt_clear_secrets
from connected_app.site import install, passwords, settings
from connected_app.site.grants import TokenCacheStore
from connected_app.site.identity import ConnectionKey
from connected_app.tests.site import (
	ALICE,
	MALLORY,
	Browser,
	Case,
	add_field,
	make_app,
	make_user,
	needs_providers,
	row,
)
from connected_app.tests.test_redaction import locals_of

NO_VALUES = ("Section Break", "Column Break", "Tab Break", "HTML")
CLIENT_SECRET = "demo-secret"
LONG_SECRET = "another-client-secret-of-41-characters-001"


@needs_providers
class TestSecrets(Case):
	@classmethod
	def setUpClass(cls) -> None:
		super().setUpClass()
		cls.manager = Browser(make_user("manager@site.example", "System Manager"))

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

	def assertSecretless(self, text: str, where: str) -> None:
		"""No secret, and no row of stars as long as one."""
		for secret in self.secrets:
			self.assertNotIn(secret, text, where)
		self.assertEqual(set(re.findall(r"\*{3,}", text)) - {"*" * 8}, set(), where)

	def ways(
		self, browser: Browser, doctype: str, name: str, fields: list[str]
	) -> dict[str, requests.Response]:
		"""Every way of Frappe's to read a document."""
		base = browser.base
		columns = json.dumps([f"`tab{doctype}`.`{field}`" for field in ("name", *fields)])
		document = {"doctype": doctype, "name": name}
		query = {"doctype": doctype, "fields": columns, "filters": json.dumps({"name": name})}
		ways = {
			"REST": browser.get(f"{base}/api/resource/{doctype}/{name}"),
			"REST list": browser.get(
				f"{base}/api/resource/{doctype}",
				params={"fields": json.dumps(fields), "filters": json.dumps({"name": name})},
			),
			"REST 2": browser.get(f"{base}/api/v2/document/{doctype}/{name}"),
			"REST 2 list": browser.get(
				f"{base}/api/v2/document/{doctype}",
				params={"fields": json.dumps(fields), "filters": json.dumps({"name": name})},
			),
			"form": browser.call("frappe.desk.form.load.getdoc", "GET", **document),
			"client.get": browser.call("frappe.client.get", "GET", **document),
			"report": browser.call("frappe.desk.reportview.get", **query),
			"export": browser.call("frappe.desk.reportview.export_query", file_format_type="CSV", **query),
			"print": browser.get(f"{base}/printview", params=document),
			"page": browser.get(f"{base}/app/{doctype.lower().replace(' ', '-')}/{name}"),
			"search": browser.call("frappe.desk.search.search_link", "GET", doctype=doctype, txt=name),
			"data export": browser.call(
				"frappe.core.doctype.data_export.exporter.export_data",
				doctype=doctype,
				with_data=1,
				select_columns=json.dumps({doctype: fields}),
				filters=json.dumps({"name": name}),
				file_type="CSV",
			),
		}
		for field in fields:
			ways[f"value of {field}"] = browser.call(
				"frappe.client.get_value", "GET", doctype=doctype, fieldname=field, filters=name
			)
		return ways

	def test_no_way_shows_them(self) -> None:
		"""core-defects 14: neither a secret nor its length, to anybody, by any of Desk's and REST's ways."""
		for browser, doctype, name, fields, opened in (
			(self.alice, "Token Cache", self.kept.name, ["access_token", "refresh_token"], True),
			(self.manager, "Token Cache", self.kept.name, ["access_token", "refresh_token"], True),
			(self.admin, "Token Cache", self.kept.name, ["access_token", "refresh_token"], True),
			(self.alice, "Connected App", self.app.name, ["client_secret"], True),
			(self.manager, "Connected App", self.app.name, ["client_secret"], True),
			(self.admin, "Connected App", self.app.name, ["client_secret"], True),
			(Browser(), "Token Cache", self.kept.name, ["access_token"], False),
			(Browser(), "Connected App", self.app.name, ["client_secret"], False),
		):
			for way, answer in self.ways(browser, doctype, name, fields).items():
				self.assertLess(answer.status_code, 501, way)
				self.assertSecretless(answer.text, f"{way} of {doctype}: HTTP {answer.status_code}")
				if way in ("REST", "form", "client.get"):
					self.assertEqual(answer.status_code == 200, opened, f"{way}: {answer.text[:300]}")
					self.assertEqual(name in answer.text, opened, way)

	def test_get_password_is_not_for_tokens(self) -> None:
		"""Frappe gives a System Manager any stored password; tokens it does not, by whatever way it is called."""
		for browser in (self.alice, self.manager, self.admin):
			for doctype in ("Token Cache", "token cache", "Token Cache "):
				for field in ("access_token", "refresh_token"):
					arguments = {"doctype": doctype, "name": self.kept.name, "fieldname": field}
					for answer in (
						browser.call("frappe.client.get_password", **arguments),
						browser.call("frappe.client.get_password", "GET", **arguments),
						browser.get(
							f"{browser.base}/api/v2/method/frappe.client.get_password", params=arguments
						),
						browser.post(
							f"{browser.base}/", data={"cmd": "frappe.client.get_password", **arguments}
						),
						browser.call(
							"frappe.desk.treeview.get_all_nodes",
							"GET",
							doctype=doctype,
							label="x",
							parent=self.kept.name,
							tree_method="frappe.client.get_password",
							fieldname=field,
						),
						browser.post(
							f"{browser.base}/api/v2/document/{doctype}/{self.kept.name}/method/get_password",
							data={"fieldname": field},
						),
					):
						self.assertGreaterEqual(answer.status_code, 400, answer.text[:300])
						self.assertSecretless(answer.text, answer.url)
		# What Frappe offers for other documents stays.
		arguments = {"doctype": "Connected App", "name": self.app.name, "fieldname": "client_secret"}
		self.assertEqual(self.manager.ask("frappe.client.get_password", **arguments), CLIENT_SECRET)
		self.assertGreaterEqual(self.alice.call("frappe.client.get_password", **arguments).status_code, 400)
		self.assertEqual(self.kept.get_password("access_token"), self.secrets[0])

	def test_templates(self) -> None:
		"""Whoever may write a template (a print format, a web page, an email) cannot print a secret by it."""
		names = {"app": self.app.name, "kept": self.kept.name}
		for call in (
			'frappe.get_doc("Token Cache", kept).get_password("access_token")',
			'frappe.get_doc("Token Cache", kept).get_auth_header()',
			'frappe.get_doc("Token Cache", kept).get_json()',
			'frappe.get_doc("Connected App", app).get_password("client_secret")',
			f'frappe.get_doc("Connected App", app).get_oauth2_session("{ALICE}").token',
			f'frappe.get_doc("Connected App", app).get_active_token("{ALICE}").get_password("access_token")',
		):
			with self.assertRaises(Exception, msg=call) as caught:
				print(frappe.render_template("{{ " + call + " }}", names))
			self.assertIn("only for the code of apps", str(caught.exception), call)
		shown = frappe.render_template(
			"{{ frappe.get_doc('Token Cache', kept).access_token }}"
			"{{ frappe.db.get_value('Token Cache', kept, 'refresh_token') }}",
			names,
		)
		self.assertEqual(shown, "*" * 16)

	def test_a_query_report_has_the_ciphertext_only(self) -> None:
		report = frappe.get_doc(
			{
				"doctype": "Report",
				"report_name": f"Secrets {frappe.generate_hash(length=8)}",
				"report_type": "Query Report",
				"ref_doctype": "Token Cache",
				"is_standard": "No",
				"query": "select a.*, t.access_token, t.refresh_token from `__Auth` a, `tabToken Cache` t",
				"roles": [{"role": "System Manager"}],
			}
		).insert()
		self.afterwards(frappe.delete_doc, "Report", report.name, ignore_missing=True)
		frappe.db.commit()
		answer = self.admin.call("frappe.desk.query_report.run", report_name=report.name)
		self.assertEqual(answer.status_code, 200, answer.text[:500])
		self.assertIn(self.kept.name, answer.text)
		self.assertSecretless(answer.text, "query report")

	def test_versions_and_deleted_documents(self) -> None:
		for secret in (LONG_SECRET, "x"):
			where = f"{self.admin.base}/api/resource/Connected App/{self.app.name}"
			changes = {"client_secret": secret, "provider_name": f"Was {len(secret)}"}
			self.assertEqual(self.admin.put(where, json=changes).status_code, 200)
		self.secrets.append(LONG_SECRET)
		frappe.db.rollback()
		filters = {"ref_doctype": "Connected App", "docname": self.app.name}
		versions = frappe.get_all("Version", filters, pluck="data")
		self.assertIn("Was 1", str(versions))
		self.assertSecretless(str(versions), "versions")
		self.admin.ask("disconnect", connected_app=self.app.name, user=ALICE)
		frappe.db.rollback()
		frappe.delete_doc("Connected App", self.app.name)
		frappe.db.commit()
		names = ("in", (self.app.name, self.kept.name))
		deleted = frappe.get_all("Deleted Document", {"deleted_name": names}, pluck="data")
		self.assertEqual(len(deleted), 2)
		self.assertSecretless(str(deleted), "deleted documents")


@needs_providers
class TestPlaceholder(Case):
	def secret(self, app: Any) -> str | None:
		return passwords.read("Connected App", app.name, "client_secret", raise_exception=False)

	def test_saving_again_keeps_the_secret(self) -> None:
		"""core-defects 14: stars of one length stand in the row, and saving the form with them keeps the secret."""
		app = make_app(client_secret=LONG_SECRET)
		where = f"{self.admin.base}/api/resource/Connected App/{app.name}"
		for change in ({"provider_name": "Again"}, {"client_secret": "*" * 8}, {"client_secret": "*" * 3}):
			shown = self.admin.put(where, json=change).json()["data"]
			self.assertEqual(shown["client_secret"], "*" * 8)
			frappe.db.rollback()
			self.assertEqual(frappe.db.get_value("Connected App", app.name, "client_secret"), "*" * 8)
			self.assertEqual(self.secret(app), LONG_SECRET)
		self.assertEqual(self.admin.put(where, json={"client_secret": "new"}).status_code, 200)
		frappe.db.rollback()
		self.assertEqual(frappe.db.get_value("Connected App", app.name, "client_secret"), "*" * 8)
		self.assertEqual(self.secret(app), "new")
		self.assertEqual(self.admin.put(where, json={"client_secret": ""}).status_code, 200)
		frappe.db.rollback()
		self.assertFalse(frappe.db.get_value("Connected App", app.name, "client_secret"))
		self.assertIsNone(self.secret(app))

	def test_saving_whatever_the_request_holds(self) -> None:
		"""Other apps' tests make a request up, and code that runs a script gives it documents and sessions as its form."""
		self.addCleanup(setattr, frappe.local, "request", getattr(frappe.local, "request", None))
		self.addCleanup(setattr, frappe.local, "form_dict", frappe.local.form_dict)
		nested: list[Any] = [LONG_SECRET]
		nested.append(nested)
		frappe.local.request = frappe._dict(method="POST")
		frappe.local.form_dict = frappe._dict(session=object(), nested=nested, sent={"x": LONG_SECRET})
		self.assertEqual(self.secret(make_app(client_secret=LONG_SECRET)), LONG_SECRET)
		self.assertEqual(list(frappe.form_dict), ["session"])

	def test_missing_is_not_unreadable(self) -> None:
		app = make_app(client_secret=LONG_SECRET)
		frappe.db.sql("update `__Auth` set password='nonsense' where name=%s", app.name)
		self.assertRaisesRegex(ConfigurationError, "cannot be read", settings.of, app, with_secret=True)
		self.assertIsNone(app.get_password("client_secret", False))
		self.assertRaises(frappe.ValidationError, app.get_password, "client_secret")
		frappe.db.delete("__Auth", {"doctype": "Connected App", "name": app.name})
		self.assertIsNone(settings.of(app, with_secret=True).client.client_secret)
		self.assertRaises(frappe.AuthenticationError, app.get_password, "client_secret")
		frappe.db.rollback()

	def test_what_no_key_opens(self) -> None:
		"""What is logged of that, with the locals of each frame, shows none of the site's keys."""
		app = make_app(client_secret=LONG_SECRET)
		frappe.db.sql("update `__Auth` set password='nonsense' where name=%s", app.name)
		keys = {"encryption_key": get_encryption_key()}
		keys |= {name: Fernet.generate_key().decode() for name in (passwords.NEXT, passwords.PREVIOUS)}
		logged = ""
		with patch.dict(frappe.local.conf, keys):
			try:
				app.get_password("client_secret")
			except frappe.ValidationError as error:
				logged = locals_of(error)
		frappe.db.rollback()
		self.assertIn("in decrypt", logged)
		for key in keys.values():
			self.assertNotIn(key, logged)

	def test_what_core_left(self) -> None:
		"""core-defects 14: installing gives rows that core wrote stars of one length; the secrets stay."""
		app = make_app(client_secret=LONG_SECRET)
		empty = make_app()
		cache = frappe.get_doc(
			{"doctype": "Token Cache", "connected_app": app.name, "user": ALICE, "token_type": "Bearer"}
		).insert()
		frappe.db.set_value("Connected App", app.name, "client_secret", "*" * len(LONG_SECRET))
		frappe.db.set_value("Token Cache", cache.name, {"access_token": "*" * 30, "status": "Connected"})
		set_encrypted_password("Token Cache", cache.name, "t" * 30, "access_token")
		before = frappe.db.get_value("Connected App", app.name, "modified")
		install.after_install()
		self.assertEqual(frappe.db.get_value("Connected App", app.name, "client_secret"), "*" * 8)
		self.assertEqual(frappe.db.get_value("Connected App", app.name, "modified"), before)
		self.assertFalse(frappe.db.get_value("Connected App", empty.name, "client_secret"))
		self.assertEqual(frappe.db.get_value("Token Cache", cache.name, "access_token"), "*" * 8)
		self.assertFalse(frappe.db.get_value("Token Cache", cache.name, "refresh_token"))
		self.assertEqual(self.secret(app), LONG_SECRET)
		self.assertEqual(frappe.get_doc("Token Cache", cache.name).get_password("access_token"), "t" * 30)
		frappe.db.rollback()

	def test_whose_rows_core_left(self) -> None:
		"""core-defects 23: a row belongs to its user, not to whoever began the flow; the service principal's to nobody
		but Administrator, whoever's request fetched its token."""
		app = make_app()
		rows = {}
		for user in (ALICE, None):
			cache = frappe.get_doc({"doctype": "Token Cache", "connected_app": app.name, "user": user})
			rows[user] = cache.insert(set_name=f"{app.name}-{user or ''}").name
			frappe.db.set_value("Token Cache", rows[user], "owner", MALLORY)
		install.give_owners()
		self.assertEqual(frappe.db.get_value("Token Cache", rows[ALICE], "owner"), ALICE)
		self.assertEqual(frappe.db.get_value("Token Cache", rows[None], "owner"), "Administrator")
		frappe.db.rollback()

		frappe.set_user(MALLORY)
		token = Grant(access_token=Secret("t"), issued_at=utc_now())
		for user in (ALICE, ""):
			with TokenCacheStore(ConnectionKey.from_columns(app.name, user), create=True).exclusive() as slot:
				slot.save(token)
		frappe.set_user("Administrator")
		self.assertEqual(row(app, ALICE).owner, ALICE)
		self.assertEqual(row(app, "").owner, "Administrator")

	def test_a_token_saved_by_code(self) -> None:
		app = make_app()
		cache = frappe.get_doc(
			{"doctype": "Token Cache", "connected_app": app.name, "user": ALICE, "access_token": "t" * 30}
		).insert(ignore_permissions=True)
		self.assertEqual(frappe.db.get_value("Token Cache", cache.name, "access_token"), "*" * 8)
		self.assertEqual(cache.get_password("access_token"), "t" * 30)
		frappe.db.rollback()


class TestFieldsOfTheSite(Case):
	"""A site adds Password fields of its own to these DocTypes."""

	DOCTYPES = ("Connected App", "Token Cache")

	@classmethod
	def setUpClass(cls) -> None:
		super().setUpClass()
		for doctype in cls.DOCTYPES:
			add_field(cls.addClassCleanup, doctype, "site_secret", fieldtype="Password")

	def documents(self, **values: Any) -> list[Any]:
		app = make_app(**values)
		cache = {"doctype": "Token Cache", "connected_app": app.name, "user": ALICE, **values}
		return [app, frappe.get_doc(cache).insert()]

	def test_stored_as_the_others(self) -> None:
		for document in self.documents(site_secret=LONG_SECRET):
			where = (document.doctype, document.name, "site_secret")
			self.assertEqual(frappe.db.get_value(*where), "*" * 8)
			self.assertEqual(passwords.read(*where), LONG_SECRET)
			self.assertEqual(document.get_password("site_secret"), LONG_SECRET)
			document = frappe.get_doc(*where[:2])
			document.save()
			self.assertEqual(document.get_password("site_secret"), LONG_SECRET)
			document.update({"site_secret": "new"})
			document.save()
			self.assertEqual(passwords.read(*where), "new")
			document.update({"site_secret": ""})
			document.save()
			self.assertFalse(passwords.has_password(*where))
		frappe.db.rollback()

	def test_what_was_stored_in_clear(self) -> None:
		"""By an earlier version: it is encrypted when the site is migrated, and what core has encrypted stays."""
		clear, cores = (self.documents()[0].name for _ in range(2))
		where = [("Connected App", name, "site_secret") for name in (clear, cores)]
		frappe.db.set_value(*where[0], LONG_SECRET)
		frappe.db.set_value(*where[1], "*" * 20)
		set_encrypted_password(*where[1][:2], "from-core", where[1][2])
		for _twice in range(2):
			encrypt_clear_secrets.execute()
			self.assertEqual([frappe.db.get_value(*each) for each in where], ["*" * 8] * 2)
			self.assertEqual([passwords.read(*each) for each in where], [LONG_SECRET, "from-core"])
		frappe.db.rollback()


@needs_providers
class TestFieldsForAdmins(Case):
	def test_plain_users_see_names_only(self) -> None:
		"""Role All may read a Connected App, to connect to it; its settings are for System Managers."""
		app = make_app(self.authlib.issuer)
		manager = Browser(make_user("manager@site.example", "System Manager"))
		private = {field.fieldname for field in app.meta.fields if field.permlevel}
		self.assertEqual(
			{field.fieldname for field in app.meta.get("fields", {"permlevel": 0})}
			- {field.fieldname for field in app.meta.fields if field.fieldtype in NO_VALUES},
			{"provider_name", "enabled"},
		)
		for browser, sees in ((self.alice, False), (manager, True)):
			seen = [
				browser.get(f"{browser.base}/api/resource/Connected App/{app.name}").json()["data"],
				browser.call(
					"frappe.desk.form.load.getdoc", "GET", doctype="Connected App", name=app.name
				).json()["docs"][0],
				browser.ask(
					"frappe.client.get_list",
					"GET",
					doctype="Connected App",
					filters=json.dumps({"name": app.name}),
					fields=json.dumps(["name", "provider_name", "client_id", "token_uri"]),
				)[0],
			]
			for document in seen:
				self.assertEqual(document["provider_name"], "Demo")
				values = {field for field in private if document.get(field)}
				self.assertEqual(bool(values), sees, values)

	def test_permissions_of_the_sites_own(self) -> None:
		"""A site that had its own permissions for Connected App: who may write it still sees all of it."""
		frappe.get_doc(
			{
				"doctype": "Custom DocPerm", "parent": "Connected App", "role": "Blogger",
				"permlevel": 0, "read": 1, "write": 1,
			}
		).insert()  # fmt: skip
		install.keep_admins_rights()
		install.keep_admins_rights()
		levels = frappe.get_all(
			"Custom DocPerm", {"parent": "Connected App", "role": "Blogger"}, pluck="permlevel"
		)
		self.assertEqual(sorted(levels), [0, 1])
		frappe.db.rollback()
		frappe.clear_cache(doctype="Connected App")
