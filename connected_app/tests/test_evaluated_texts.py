"""What is neither code of an app nor a Server Script gets no secret and no session, by whatever way it is evaluated.

Frappe evaluates texts in many places. They are found in its source (`test_every_place_is_known`), and what an administrator
without *Script Manager* can write there is tried over HTTP as far as it has a way in, else as Frappe itself evaluates it.
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import frappe
from frappe.utils import background_jobs
from frappe.utils.safe_exec import get_safe_globals

from connected_app.tests.site import (
	ALICE,
	Browser,
	Case,
	add_field,
	make_app,
	make_user,
	needs_providers,
	row,
)

ADMIN = "expression-admin@site.example"
# Everything of the two documents that gives a secret, a session, or acts with somebody's connection.
OF_TOKEN_CACHE = (
	"get_password('access_token')",
	"get_password('refresh_token', False)",
	"get_auth_header()",
	"get_json()",
	"run_method('get_json')",
	"run_method('get_password', 'access_token')",
	"update_data({'access_token': 'planted'})",
)
OF_APP = (
	"get_oauth2_session('{user}')",
	"get_oauth2_session('{user}').token",
	"get_access_token('{user}')",
	"get_access_token('{user}').value",
	"get_token_source('{user}')",
	"get_active_token('{user}')",
	"get_active_token('{user}').get_json()",
	"get_backend_app_token()",
	"get_token_cache('{user}').get_password('access_token')",
	"get_token_cache('{user}').get_auth_header()",
	"get_user_token('{user}').get_json()",
	"get_password('client_secret')",
	"require_scopes('openid', user='{user}')",
	"run_method('get_oauth2_session', '{user}')",
	"run_method('get_access_token', '{user}')",
	"initiate_web_application_flow('{user}')",
)
# The files of Frappe 15 and 16 that evaluate a text or render a template, and what comes in there.
PLACES = {
	"automation/doctype/assignment_rule/assignment_rule.py": "conditions, over a dict of the document",
	"automation/doctype/auto_repeat/auto_repeat.py": "Jinja of subject and message",
	"contacts/doctype/address/address.py": "Jinja of address templates",
	"core/doctype/page/page.py": "Jinja of files",
	"core/doctype/server_script/server_script.py": "Server Scripts, and a check of their syntax",
	"email/doctype/auto_email_report/auto_email_report.py": "Jinja of files",
	"email/doctype/email_account/email_account.py": "Jinja of signatures and of files",
	"email/doctype/email_group/email_group.py": "Jinja of the welcome mail",
	"email/doctype/email_template/email_template.py": "Jinja of e-mail templates",
	"email/doctype/newsletter/newsletter.py": "Jinja of newsletters",
	"email/doctype/notification/notification.py": "conditions and Jinja, with the document",
	"email/receive.py": "Jinja of files",
	"integrations/doctype/webhook/__init__.py": "conditions and Jinja, with the document",
	"integrations/doctype/webhook/webhook.py": "previews of those",
	"integrations/oauth2.py": "Jinja of files",
	"model/base_document.py": "formulas of virtual fields, with the document and all that scripts know",
	"model/workflow.py": "conditions, over a dict of the document",
	"sessions.py": "Jinja of files",
	"social/doctype/energy_point_rule/energy_point_rule.py": "conditions, with the document",
	"twofactor.py": "Jinja of files",
	"website/doctype/discussion_reply/discussion_reply.py": "Jinja of files",
	"website/doctype/web_form/web_form.py": "breadcrumbs, without a document; Jinja",
	"website/doctype/web_page/web_page.py": "breadcrumbs, without a document; Jinja; scripts",
	"website/doctype/web_template/web_template.py": "Jinja of web templates",
	"website/doctype/website_theme/website_theme.py": "Jinja of files",
	"website/page_renderers/template_page.py": "Jinja of pages",
	"workflow/doctype/workflow_action/workflow_action.py": "Jinja of e-mails",
	"www/list.py": "Jinja of rows",
	"www/printview.py": "Jinja of print formats, with the document",
	"www/search.py": "Jinja of files",
}
# These hold the functions themselves.
MACHINERY = {
	"__init__.py", "deprecation_dumpster.py", "locale.py", "patches/v15_0/migrate_session_data.py", "utils/__init__.py",
	"utils/data.py", "utils/jinja.py", "utils/jinja_globals.py", "utils/number_format.py", "utils/pdf.py",
	"utils/safe_exec.py", "utils/weasyprint.py",
}  # fmt: skip
EVALUATES = re.compile(r"\b(safe_eval|render_template|from_string|compile_restricted)\(")


class TestPlaces(Case):
	def test_every_place_is_known(self) -> None:
		"""A place that a newer Frappe has fails this: try it below, and add it to `PLACES`."""
		root = Path(frappe.get_app_path("frappe"))
		found = {
			str(path.relative_to(root))
			for path in root.rglob("*.py")
			if "tests" not in path.parts and not path.name.startswith("test_")
			if EVALUATES.search(path.read_text(errors="replace"))
		}
		self.assertTrue(found)
		self.assertEqual(found - set(PLACES) - MACHINERY, set())


@needs_providers
class TestExpressions(Case):
	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer)
		self.assertEqual(self.connect(self.app).status_code, 302)
		self.cache = row(self.app, ALICE)
		self.admin = Browser(make_user(ADMIN, "System Manager", "Website Manager"))
		self.secrets = [
			self.cache.get_password("access_token"),
			self.cache.get_password("refresh_token"),
			"demo-secret",
		]
		frappe.set_user(ADMIN)
		self.addCleanup(frappe.set_user, "Administrator")

	def expressions(self, subject: str = "doc") -> list[tuple[Any, str]]:
		"""Each with the document that `doc` is."""
		return [
			*((self.cache, f"{subject}.{call}") for call in OF_TOKEN_CACHE),
			*((self.app, f"{subject}.{call.replace('{user}', ALICE)}") for call in OF_APP),
		]

	def ask(self, method: str, args: dict[str, str]) -> Any:
		"""As Desk does, of any method of Frappe's."""
		url = f"{self.admin.base}/api/method/{method}"
		return self.admin.request("POST", url, data=args, headers={"Accept": "application/json"})

	def assertTellsNothing(self, text: str, where: str) -> None:
		for secret in self.secrets:
			self.assertNotIn(secret, text, where)
		self.assertNotIn("Session object", text, where)
		self.assertEqual(row(self.app, ALICE).get_password("access_token"), self.secrets[0], where)

	def test_safe_eval(self) -> None:
		for doc, expression in self.expressions():
			for context in ({"doc": doc}, doc):
				if context is doc and not expression.startswith("doc."):
					continue
				with self.assertRaises(Exception, msg=expression) as caught:
					frappe.safe_eval(expression, None, {"doc": doc})
				self.assertTellsNothing(str(caught.exception), expression)

	def test_what_scripts_know_in_an_expression(self) -> None:
		"""Formulas of virtual fields know `frappe.get_doc` and all else that a Server Script knows."""
		for doctype, calls in (("Token Cache", OF_TOKEN_CACHE), ("Connected App", OF_APP)):
			name = self.cache.name if doctype == "Token Cache" else self.app.name
			for call in calls:
				expression = f"frappe.get_doc('{doctype}', '{name}').{call.replace('{user}', ALICE)}"
				with self.assertRaises(Exception, msg=expression) as caught:
					frappe.safe_eval(expression, get_safe_globals(), {"doc": self.cache})
				self.assertTellsNothing(str(caught.exception), expression)

	def test_jinja(self) -> None:
		"""Also where a filter calls, and where the text is made by another one."""
		for doc, expression in self.expressions():
			for template in (
				"{{ %s }}",
				"{%% set x = %s %%}{{ x }}",
				"{{ [doc] | map('string') | list }}{{ %s | string }}",
				"{{ frappe.render_template('{{ ' ~ \"%s\" ~ ' }}', {'doc': doc}) }}",
			):
				try:
					told = frappe.render_template(template % expression, {"doc": doc})
				except Exception as error:
					told = str(error)
				self.assertTellsNothing(told, template % expression)

	def test_filters_that_call(self) -> None:
		for template in (
			"{{ [doc] | map(attribute='get_json') | list }}",
			"{{ [doc] | map('attr', 'get_auth_header') | list }}",
			"{{ doc | attr('get_json')() }}",
			"{{ (doc | attr('get_password'))('access_token') }}",
			"{{ '{0.access_token}'.format(doc) }}{{ '%s' % doc.get_json }}",
			"{{ doc.as_json() }}{{ doc.as_dict() }}{{ doc.__dict__ }}",
			"{{ doc._latest_known() }}",
		):
			try:
				told = frappe.render_template(template, {"doc": self.cache})
			except Exception as error:
				told = str(error)
			self.assertTellsNothing(told, template)

	def test_email_accounts(self) -> None:
		"""Frappe's own methods get a token for mail; a text that calls them gets none."""
		account = frappe.get_doc(
			{
				"doctype": "Email Account",
				"email_account_name": "expression",
				"email_id": ALICE,
				"auth_method": "OAuth",
				"connected_app": self.app.name,
				"connected_user": ALICE,
				"service": "",
			}
		)
		for call in ("get_oauth_token().get_json()", "get_oauth_token().access_token", "get_access_token()",
			"sendmail_config()", "get_smtp_server().access_token", "get_incoming_server().settings"):  # fmt: skip
			try:
				told = str(frappe.safe_eval(f"doc.{call}", None, {"doc": account}))
			except Exception as error:
				told = str(error)
			self.assertTellsNothing(told, call)

	def test_notifications_and_webhooks_over_http(self) -> None:
		"""The previews evaluate at once; an error in one shows what it was about."""
		for doc, expression in self.expressions():
			for doctype, values in (
				("Notification", {"name": "n", "document_type": doc.doctype, "event": "Save"}),
				("Webhook", {"name": "w", "webhook_doctype": doc.doctype, "webhook_docevent": "on_update"}),
			):
				for method, field in (
					("preview_meets_condition", "condition"),
					("preview_message", "message"),
					("preview_subject", "subject"),
					("preview_request_body", "webhook_json"),
				):
					text = expression if field == "condition" else "{{ %s }}" % expression
					posted = {"doctype": doctype, **values, field: text, "preview_document": doc.name}
					reply = self.ask("run_doc_method", {"method": method, "docs": json.dumps(posted)})
					self.assertTellsNothing(reply.text, f"{doctype} {method} {text}")
					self.assertNotIn('"message":"Yes"', reply.text.replace(" ", ""), text)

	def test_virtual_fields_over_http(self) -> None:
		"""The formula is evaluated whenever somebody reads the document."""
		frappe.set_user("Administrator")
		for doc, expression in (
			(self.cache, OF_TOKEN_CACHE[0]),
			(self.app, OF_APP[5].replace("{user}", ALICE)),
		):
			peek = {"fieldtype": "Data", "is_virtual": 1, "options": f"doc.{expression}"}
			add_field(self.addCleanup, doc.doctype, "custom_peek", **peek)
			reply = self.admin.open(f"/api/resource/{doc.doctype}/{doc.name}")
			self.assertTellsNothing(reply.text, expression)

	def test_print_formats_over_http(self) -> None:
		for doc, expression in self.expressions()[:10]:
			frappe.set_user("Administrator")
			made = frappe.get_doc(
				{
					"doctype": "Print Format",
					"name": frappe.generate_hash(length=8),
					"doc_type": doc.doctype,
					"print_format_type": "Jinja",
					"custom_format": 1,
					"standard": "No",
					"html": "{{ %s }}" % expression,
				}
			).insert()
			frappe.db.commit()
			reply = self.admin.open(
				f"/printview?doctype={doc.doctype}&name={doc.name}&format={made.name}&no_letterhead=1"
			)
			self.assertTellsNothing(reply.text, expression)
			made.delete()
			frappe.db.commit()

	def test_methods_that_a_browser_names(self) -> None:
		"""No way of Frappe's to call a method of a document reaches these."""
		for doc, call in (
			(self.cache, "get_json"),
			(self.cache, "get_auth_header"),
			(self.app, "get_active_token"),
		):
			for method, args in (
				("run_doc_method", {"method": call, "dt": doc.doctype, "dn": doc.name}),
				("frappe.model.document.execute_action", {
					"__doctype": doc.doctype, "__name": doc.name, "__action": call,
				}),
				("frappe.client.get_password", {
					"doctype": doc.doctype, "name": doc.name, "fieldname": "access_token",
				}),
			):  # fmt: skip
				reply = self.ask(method, args)
				self.assertTellsNothing(reply.text, method)
				self.assertNotEqual(reply.status_code, 200, (method, call))

	def test_a_job_that_a_document_is_asked_for(self) -> None:
		"""`doc.queue_action` in an expression makes a job, in which no text is on the stack any more."""
		self.not_on_sqlite("a job beside this one waits for its transaction")
		frappe.set_user("Administrator")
		frappe.db.set_value("Token Cache", self.cache.name, "expires_at", "2020-01-01")
		frappe.db.commit()
		before = self.authlib.stats()["refreshes"]
		job = partial(
			background_jobs.execute_job,
			site=frappe.local.site,
			method="frappe.model.document.execute_action",
			event=None,
			job_name="action",
			kwargs={
				"__doctype": "Connected App",
				"__name": self.app.name,
				"__action": "get_active_token",
				"user": ALICE,
			},
			user="Administrator",
		)
		# A stack without this file.
		thread = Thread(target=job)
		thread.start()
		thread.join(60)
		self.assertEqual(self.authlib.stats()["refreshes"], before)
		self.assertEqual(self.app.get_active_token(ALICE).name, self.cache.name)
		self.assertEqual(self.authlib.stats()["refreshes"], before + 1)

	def test_code_may(self) -> None:
		"""The control: this file is code of an installed app."""
		self.assertEqual(self.cache.get_password("access_token"), self.secrets[0])
		self.assertEqual(self.app.get_oauth2_session(ALICE).token["access_token"], self.secrets[0])
		self.assertEqual(self.app.get_active_token(ALICE).name, self.cache.name)
		self.assertEqual(self.app.get_password("client_secret"), "demo-secret")

	def test_hidden_names(self) -> None:
		"""A text that calls itself a module is none."""
		names: dict[str, Any] = {"__name__": "frappe.email.smtp", "doc": self.cache}
		with self.assertRaises(frappe.PermissionError):
			eval("doc.get_json()", names)  # nosemgrep (what Frappe does)
		exec(compile("def f(): return doc.get_json()", "/tmp/app.py", "exec"), names)
		with self.assertRaises(frappe.PermissionError):
			names["f"]()
