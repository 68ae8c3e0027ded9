"""Who may do what, over HTTP: every whitelisted endpoint, every kind of user; documents, secrets and addresses."""

from __future__ import annotations

import json
from typing import Any

import frappe
import requests

from connected_app import api
from connected_app.oauth import ConfigurationError
from connected_app.tests.site import (
	ALICE,
	CORE,
	MALLORY,
	VISITOR,
	Browser,
	Case,
	forget,
	make_app,
	make_user,
	needs_providers,
	row,
)

TABLE = (
	# endpoint, method, arguments, guest, website user, desk user, admin
	("authorize", "POST", {}, 403, 200, 200, 200),
	("connection", "GET", {}, 403, 200, 200, 200),
	("has_token", "GET", {}, 403, 200, 200, 200),
	("has_token", "GET", {"connected_user": ALICE}, 403, 403, 403, 200),
	(CORE + "has_token", "GET", {"connected_user": ALICE}, 403, 403, 403, 200),
	("disconnect", "POST", {}, 403, 200, 200, 200),
	# Nobody has another account here, and this app takes only one.
	("authorize", "POST", {"another": 1}, 403, 417, 417, 417),
	("authorize", "POST", {"account": "x"}, 403, 417, 417, 417),
	("disconnect", "POST", {"account": "x"}, 403, 417, 417, 417),
	("disconnect", "POST", {"account": "x", "user": ALICE}, 403, 403, 403, 417),
	("test_connection", "POST", {"account": "x"}, 403, 417, 417, 417),
	("make_default", "POST", {"account": "x"}, 403, 417, 417, 417),
	("make_default", "POST", {"account": "x", "user": ALICE}, 403, 403, 403, 417),
	("choose_account", "POST", {"replace": 1}, 403, 417, 417, 417),
	("disconnect", "POST", {"user": "nobody@site.example"}, 403, 403, 403, 200),
	("get_openid_configuration", "POST", {}, 403, 403, 403, 200),
	("renew_redirect_uri", "POST", {}, 403, 403, 403, 200),
	("check_configuration", "POST", {}, 403, 403, 403, 200),
	("test_connection", "POST", {}, 403, 200, 200, 200),
	("my_connections", "GET", {}, 403, 200, 200, 200),
	("connections", "GET", {}, 403, 403, 403, 200),
	("health", "GET", {}, 403, 403, 403, 200),
	("metrics", "GET", {}, 404, 404, 404, 404),
	("provider_templates", "GET", {}, 403, 403, 403, 200),
	("provider_gallery", "GET", {}, 403, 403, 403, 200),
	("provider_settings", "POST", {"provider": "google"}, 403, 403, 403, 200),
	("provider_differences", "GET", {}, 403, 403, 403, 200),
	("address_offer", "POST", {"address": "https://10.0.0.1"}, 403, 403, 403, 417),
	("set_up_address", "POST", {"address": "https://10.0.0.1"}, 403, 403, 403, 417),
	("registration", "GET", {}, 403, 403, 403, 200),
	("make_key", "POST", {}, 403, 403, 403, 200),
	("use_new_key", "POST", {}, 403, 403, 403, 200),
	("take_key_file", "POST", {"key_file": "x"}, 403, 403, 403, 417),
	("test_service_account", "POST", {}, 403, 403, 403, 200),
	("bring_key", "POST", {"private_key": "x"}, 403, 403, 403, 417),
	("connect_with_code", "POST", {}, 403, 417, 417, 417),
	("look_at_code", "POST", {"attempt": "x"}, 403, 200, 200, 200),
	("cancel_code", "POST", {"attempt": "x"}, 403, 200, 200, 200),
	("email_account_offer", "GET", {}, 403, 403, 403, 417),
	("set_up_email", "POST", {}, 403, 403, 403, 417),
)
OF_NO_APP = (
	"my_connections",
	"provider_gallery",
	"provider_templates",
	"provider_settings",
	"health",
	"metrics",
	"look_at_code",
	"cancel_code",
	"address_offer",
	"set_up_address",
)
POST_ONLY = (
	"authorize",
	"choose_account",
	"disconnect",
	"make_default",
	"get_openid_configuration",
	"renew_redirect_uri",
	"take_message",
	"check_configuration",
	"test_connection",
	"provider_settings",
	"address_offer",
	"set_up_address",
	"make_key",
	"use_new_key",
	"bring_key",
	"take_key_file",
	"test_service_account",
	"connect_with_code",
	"look_at_code",
	"cancel_code",
	"set_up_email",
)
# Methods of the two documents that are not for browsers.
NOT_FOR_BROWSERS = {
	"Connected App": (
		"get_oauth2_session",
		"get_accounts",
		"get_token_cache",
		"get_active_token",
		"get_user_token",
		"get_backend_app_token",
		"get_password",
		"db_set",
	),
	"Token Cache": ("get_json", "get_auth_header", "update_data", "get_password", "db_set"),
}


class Permissions(Case):
	@classmethod
	def setUpClass(cls) -> None:
		super().setUpClass()
		cls.visitor, cls.mallory = Browser(VISITOR), Browser(MALLORY)
		cls.manager = Browser(make_user("manager@site.example", "System Manager"))
		cls.visitor.open("/me")

	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer)


@needs_providers
class TestEndpoints(Permissions):
	def test_table(self) -> None:
		"""core-defects 8: who may call what."""
		for method, http, arguments, *expected in TABLE:
			who = (Browser(), self.visitor, self.mallory, self.manager)
			seen = [browser.call(method, http, connected_app=self.app.name, **arguments) for browser in who]
			said = [(answer.status_code, answer.text[:200]) for answer in seen]
			self.assertEqual(
				[answer.status_code for answer in seen], expected, f"{method} {arguments}: {said}"
			)

	def test_the_table_is_complete(self) -> None:
		ours = {
			function.__name__
			for function in frappe.whitelisted
			if getattr(function, "__module__", "") == api.__name__
		}
		covered = {row[0].rpartition(".")[2] for row in TABLE} | {
			*("begin", "callback", "take_message", "keys", "client_metadata"),
		}
		self.assertEqual({getattr(api, name).__name__ for name in covered}, covered)
		self.assertEqual(ours - covered, set())

	def test_nothing_changes_by_get(self) -> None:
		"""core-defects 38: what changes something takes POST only."""
		for method in POST_ONLY:
			for browser in (Browser(), self.alice, self.admin):
				answer = browser.call(method, "GET", connected_app=self.app.name)
				self.assertGreaterEqual(answer.status_code, 400, method)
		# A callback by POST keeps what was posted, and changes nothing.
		self.assertEqual(self.alice.post(self.app.redirect_uri + "?state=x&code=y").status_code, 400)

	def test_csrf_token(self) -> None:
		"""core-defects 38: a foreign page, which cannot read the CSRF token, starts and ends nothing."""
		foreign = requests.Session()
		foreign.headers["Connection"] = "close"
		foreign.cookies.update(self.alice.cookies)
		for method in POST_ONLY:
			answer = foreign.post(
				f"{self.alice.base}/api/method/connected_app.api.{method}",
				data={"connected_app": self.app.name},
				headers={"Accept": "application/json"},
			)
			self.assertEqual(answer.status_code, 400, f"{method}: {answer.text[:200]}")
			self.assertIn("CSRF", answer.text)

	def test_roles(self) -> None:
		app = make_app(self.authlib.issuer, everyone_may_connect=0)
		self.assertEqual(self.alice.call("authorize", connected_app=app.name).status_code, 403)
		self.assertFalse(self.alice.ask("connection", "GET", connected_app=app.name)["may_connect"])
		self.assertEqual(self.visitor.get(f"{self.visitor.base}/connect?app={app.name}").status_code, 403)
		app.append("allowed_roles", {"role": "Blogger"})
		app.save()
		frappe.db.commit()
		self.assertEqual(self.alice.call("authorize", connected_app=app.name).status_code, 200)
		self.assertEqual(self.visitor.call("authorize", connected_app=app.name).status_code, 403)

	def test_unknown_and_disabled(self) -> None:
		"""One answer for what is not there; a disabled app says so, also to a controller."""
		for method, http, *_rest in TABLE:
			if method in OF_NO_APP:
				continue
			answer = self.manager.call(method, http, connected_app="nöpe")
			self.assertEqual(answer.status_code, 404, f"{method}: {answer.text[:200]}")
		self.assertEqual(self.alice.get(f"{self.alice.base}/connect?app=nope").status_code, 403)
		self.app.enabled = 0
		self.app.save()
		frappe.db.commit()
		answer = self.alice.call("authorize", connected_app=self.app.name)
		self.assertEqual(answer.status_code, 417)
		self.assertIn("disabled", answer.text)
		for action in (self.app.get_oauth2_session, self.app.get_backend_app_token):
			with self.assertRaises(ConfigurationError) as caught:
				action()
			self.assertEqual(caught.exception.code, "app_disabled")


@needs_providers
class TestDocuments(Permissions):
	def setUp(self) -> None:
		super().setUp()
		self.assertEqual(self.connect(self.app).status_code, 302)
		self.kept = row(self.app, ALICE)
		self.secrets = [
			self.kept.get_password("access_token"),
			self.kept.get_password("refresh_token"),
			"demo-secret",
		]

	def resource(
		self, browser: Browser, doctype: str, name: str, http: str = "GET", **values: Any
	) -> requests.Response:
		where = f"{browser.base}/api/resource/{doctype}/{name}".rstrip("/")
		return browser.request(http, where, json=values or None)

	def test_secrets_are_not_shown(self) -> None:
		"""core-defects 14: neither a secret nor its length, to anybody, by any of Desk's ways."""
		for browser in (self.alice, self.manager):
			for doctype, name in (("Token Cache", self.kept.name), ("Connected App", self.app.name)):
				seen = [
					self.resource(browser, doctype, name),
					browser.call("frappe.desk.form.load.getdoc", "GET", doctype=doctype, name=name),
					browser.call("frappe.client.get", "GET", doctype=doctype, name=name),
				]
				for answer in seen:
					self.assertEqual(answer.status_code, 200, answer.text[:300])
					for secret in self.secrets:
						self.assertNotIn(secret, answer.text)
			listed = browser.call(
				"frappe.client.get_list",
				"GET",
				doctype="Token Cache",
				fields='["access_token","refresh_token"]',
			)
			if listed.status_code == 200:
				for line in listed.json()["message"]:
					for value in line.values():
						self.assertIn(value, (None, "", "*" * 8))
		for field in ("access_token", "refresh_token"):
			self.assertEqual(frappe.db.get_value("Token Cache", self.kept.name, field), "*" * 8)
			answer = self.alice.call(
				"frappe.client.get_password", doctype="Token Cache", name=self.kept.name, fieldname=field
			)
			self.assertGreaterEqual(answer.status_code, 400)

	def test_rows_belong_to_their_user(self) -> None:
		"""core-defects 23: only the user (and an admin) sees the row; nobody writes one by hand."""
		self.assertEqual(self.resource(self.alice, "Token Cache", self.kept.name).status_code, 200)
		for stranger in (self.mallory, self.visitor, Browser()):
			self.assertEqual(self.resource(stranger, "Token Cache", self.kept.name).status_code, 403)
			# Frappe deletes passwords before it asks for the permission, and on SQLite it opens no transaction at the
			# start of a request: there the tokens would be gone.
			if frappe.db.db_type != "sqlite":
				deleted = self.resource(stranger, "Token Cache", self.kept.name, "DELETE")
				self.assertEqual(deleted.status_code, 403)
		listed = self.resource(self.mallory, "Token Cache", "").json().get("data", [])
		self.assertEqual([line for line in listed if not line["name"].endswith(f"-{MALLORY}")], [])
		# Administrator, whom Frappe refuses nothing, is left out.
		for browser in (self.alice, self.manager, self.mallory):
			changed = self.resource(
				browser, "Token Cache", self.kept.name, "PUT", user=MALLORY, access_token="planted"
			)
			self.assertEqual(changed.status_code, 403, changed.text[:200])
		for browser in (self.alice, self.manager, self.mallory):
			made = self.resource(
				browser, "Token Cache", "", "POST", connected_app=self.app.name, user=MALLORY
			)
			self.assertEqual(made.status_code, 403)
		self.assertEqual(row(self.app, ALICE).get_password("access_token"), self.secrets[0])

	def test_apps_belong_to_admins(self) -> None:
		for browser in (self.alice, self.mallory):
			changed = self.resource(
				browser, "Connected App", self.app.name, "PUT", token_uri="https://evil.example"
			)
			self.assertEqual(changed.status_code, 403)
			self.assertEqual(
				self.resource(browser, "Connected App", "", "POST", provider_name="x").status_code, 403
			)

	def test_methods_of_documents(self) -> None:
		"""core-defects 8 and core-defects 38: a posted document runs nothing but what is meant for browsers, and for its own user."""
		names = {"Connected App": self.app.name, "Token Cache": self.kept.name}
		for doctype, methods in NOT_FOR_BROWSERS.items():
			for method in methods:
				answer = self.admin.post(
					f"{self.admin.base}/api/method/run_doc_method",
					data={"dt": doctype, "dn": names[doctype], "method": method},
				)
				self.assertGreaterEqual(answer.status_code, 400, f"{method}: {answer.text[:200]}")
				for secret in self.secrets:
					self.assertNotIn(secret, answer.text)
		forged = frappe.get_doc("Connected App", self.app.name).as_dict()
		forged.update(
			authorization_uri="https://evil.example", client_id="evil", redirect_uri="https://evil.example"
		)
		arguments = {"docs": frappe.as_json(forged), "method": "initiate_web_application_flow"}
		url = f"{self.mallory.base}/api/method/run_doc_method"
		began = self.mallory.post(url, data=arguments)
		self.assertTrue(
			began.json()["message"].startswith(self.authlib.issuer + "/authorize?"), began.text[:300]
		)
		self.assertNotIn("evil", began.json()["message"])
		for_alice = self.mallory.post(url, data={**arguments, "args": frappe.as_json({"user": ALICE})})
		self.assertEqual(for_alice.status_code, 403, for_alice.text[:300])
		self.assertGreaterEqual(Browser().post(url, data=arguments).status_code, 400)

	def test_the_documents_discovery(self) -> None:
		"""Frappe 16's method of the document gives the provider's metadata, by the saved address, to admins only."""
		forged = frappe.get_doc("Connected App", self.app.name).as_dict()
		forged.update(openid_configuration="https://evil.example/.well-known/openid-configuration")
		arguments = {"docs": frappe.as_json(forged), "method": "get_openid_configuration"}
		for browser, status in ((self.alice, 403), (self.visitor, 403), (self.manager, 200)):
			answer = browser.post(f"{browser.base}/api/method/run_doc_method", data=arguments)
			self.assertEqual(answer.status_code, status, answer.text[:300])
		found = answer.json()["message"]
		self.assertEqual(found["issuer"], self.authlib.issuer)
		self.assertEqual(found["token_endpoint"], f"{self.authlib.issuer}/token")
		self.assertEqual(self.app.get_openid_configuration(), found)


@needs_providers
class TestAddresses(Permissions):
	"""Outside developer mode."""

	def setUp(self) -> None:
		super().setUp()
		mode = frappe.conf.developer_mode
		self.addCleanup(frappe.conf.update, developer_mode=mode)
		self.addCleanup(frappe.conf.pop, "connected_app_allowed_hosts", None)
		frappe.conf.developer_mode = 0

	def code(self, action: Any, *arguments: Any) -> str:
		forget()
		with self.assertRaises(ConfigurationError) as caught:
			action(*arguments)
		return str(caught.exception.code)

	def test_internal_addresses(self) -> None:
		"""core-defects 10: neither discovery nor a token endpoint nor userinfo reaches an internal address."""
		self.assertEqual(self.code(api.get_openid_configuration, self.app.name), "uri_insecure")
		for host in (
			"127.0.0.1",
			"localhost",
			"10.0.0.1",
			"169.254.169.254",
			"[::1]",
			"[::ffff:127.0.0.1]",
			"2130706433",
		):
			url = f"https://{host}:1/.well-known/openid-configuration"
			self.app.db_set("openid_configuration", url)
			self.assertEqual(self.code(api.get_openid_configuration, self.app.name), "address_refused", host)
		frappe.db.rollback()
		frappe.conf.developer_mode = 1
		self.assertEqual(self.connect(self.app).status_code, 302)
		frappe.conf.developer_mode = 0
		frappe.db.set_value("Token Cache", f"{self.app.name}-{ALICE}", "expires_at", "2020-01-01")
		frappe.db.set_value("Connected App", self.app.name, "token_uri", "https://127.0.0.1:1/token")
		frappe.db.commit()
		app = frappe.get_doc("Connected App", self.app.name)
		self.assertEqual(self.code(app.get_oauth2_session, ALICE), "address_refused")
		self.assertEqual(self.authlib.stats()["refreshes"], 0)

	def test_allowed_hosts(self) -> None:
		"""core-defects 10: a host that the site's configuration lists is exempt from the address rule."""
		frappe.conf.connected_app_allowed_hosts = ["127.0.0.1"]
		self.app.db_set("openid_configuration", "https://127.0.0.1:1/.well-known/openid-configuration")
		with self.assertRaises(frappe.ValidationError) as caught:
			api.get_openid_configuration(self.app.name)
		self.assertEqual(caught.exception.code, "network")


# Every right that Frappe knows. Who holds it: nobody but Administrator, unless named here.
RIGHTS = ("select", "read", "write", "create", "delete", "submit", "cancel", "amend",
	"print", "email", "report", "import", "export", "share")  # fmt: skip
MANAGED = ("write", "create", "delete", "print", "email", "report", "export", "share")
HOLDERS = {
	"Connected App": {
		"read": {"website user", "desk user", "owner", "editor", "manager"},
		**{right: {"manager"} for right in MANAGED},
	},
	"Token Cache": {"read": {"owner", "manager"}, "delete": {"owner", "manager"}},
}


@needs_providers
class TestRights(Permissions):
	"""Each right on each DocType: who has it, as Frappe answers over HTTP, and whether it is so when it is used."""

	@classmethod
	def setUpClass(cls) -> None:
		super().setUpClass()
		cls.editor = Browser(make_user("editor@site.example", "Website Manager", "Script Manager"))
		cls.people = {
			"guest": Browser(),
			"website user": cls.visitor,
			"desk user": cls.mallory,
			"owner": cls.alice,
			"editor": cls.editor,
			"manager": cls.manager,
		}

	def setUp(self) -> None:
		super().setUp()
		self.assertEqual(self.connect(self.app).status_code, 302)
		self.names = {"Connected App": self.app.name, "Token Cache": f"{self.app.name}-{ALICE}"}

	def test_table(self) -> None:
		"""core-defects 23: what Frappe says of every right."""
		for doctype, holders in HOLDERS.items():
			for right in RIGHTS:
				for who, browser in self.people.items():
					answer = browser.call(
						"frappe.client.has_permission",
						"GET",
						doctype=doctype,
						docname=self.names[doctype],
						perm_type=right,
					)
					where = f"{right} of {doctype} for {who}: {answer.text[:200]}"
					if who == "guest":
						self.assertEqual(answer.status_code, 403, where)
						continue
					expected = who in holders.get(right, ())
					self.assertEqual(answer.json()["message"]["has_permission"], expected, where)

	def use(self, browser: Browser, right: str, doctype: str, name: str) -> requests.Response:
		where = f"{browser.base}/api/resource/{doctype}"
		document = {"doctype": doctype, "name": name}
		match right:
			case "read":
				return browser.get(f"{where}/{name}")
			case "write":
				return browser.put(f"{where}/{name}", json={"provider_name": "Changed"})
			case "create":
				return browser.post(where, json={"provider_name": "New", "connected_app": self.app.name})
			case "delete":
				return browser.delete(f"{where}/{name}")
			case "print":
				return browser.call("frappe.www.printview.get_html_and_style", "GET", doc=doctype, name=name)
			case "email":
				return browser.call(
					"frappe.core.doctype.communication.email.make",
					recipients="x@site.example", subject="x", content="x", send_email=0, **document,
				)  # fmt: skip
			case "export":
				return browser.call(
					"frappe.desk.reportview.export_query",
					doctype=doctype,
					fields=json.dumps([f"`tab{doctype}`.`name`"]),
					file_format_type="CSV",
				)
			case "share":
				return browser.call("frappe.share.add", user=VISITOR, read=1, **document)
		raise AssertionError(right)

	def test_used(self) -> None:
		"""core-defects 23: the rights in use; a user without one is refused, and nothing has changed."""
		for doctype, holders in HOLDERS.items():
			for right in ("read", "write", "create", "print", "email", "export", "share", "delete"):
				for who, browser in self.people.items():
					# On SQLite the passwords of what may not be deleted are gone (NO_TRANSACTION).
					if right == "delete" and (who in holders["delete"] or frappe.db.db_type == "sqlite"):
						continue
					# Frappe 15's export does not work on PostgreSQL: it takes the quoted table for a DocType.
					if right == "export" and frappe.db.db_type == "postgres":
						continue
					answer = self.use(browser, right, doctype, self.names[doctype])
					# Frappe prints for whoever may read, without what they may not read, and lets a System Manager
					# export everything.
					expected = who in holders.get("read" if right == "print" else right, ())
					expected = expected or (right, who) == ("export", "manager")
					if right == "print" and who != "manager":
						self.assertNotIn(self.authlib.issuer, answer.text, who)
					self.assertEqual(
						answer.status_code < 400,
						expected,
						f"{right} of {doctype} by {who}: HTTP {answer.status_code} {answer.text[:300]}",
					)
				frappe.db.rollback()
				self.assertTrue(frappe.db.exists(doctype, self.names[doctype]))
		frappe.db.delete("DocShare", {"share_doctype": ("in", tuple(HOLDERS))})
		frappe.db.commit()
		for browser in (self.alice, self.manager):
			self.assertEqual(self.connect(self.app).status_code, 302)
			answer = self.use(browser, "delete", "Token Cache", self.names["Token Cache"])
			self.assertEqual(answer.status_code, 202, answer.text[:300])
		answer = self.use(self.manager, "delete", "Connected App", self.app.name)
		self.assertEqual(answer.status_code, 202, answer.text[:300])

	def test_lists_show_what_may_be_read(self) -> None:
		for who, browser in self.people.items():
			for doctype in HOLDERS:
				answer = browser.get(
					f"{browser.base}/api/resource/{doctype}",
					params={"filters": json.dumps({"name": self.names[doctype]})},
				)
				listed = answer.json().get("data", []) if answer.status_code == 200 else []
				self.assertEqual(bool(listed), who in HOLDERS[doctype]["read"], f"{doctype} for {who}")
