"""What a Server Script reaches: real scripts, run by Frappe's own runner, as the users they run as."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import frappe

from connected_app.site import callers, passwords
from connected_app.site.database import own_connection, see_latest
from connected_app.tests.site import (
	ALICE,
	MALLORY,
	Browser,
	Case,
	forget,
	hostile,
	make_app,
	make_user,
	needs_providers,
	other_app,
	row,
	server_scripts,
)

OPERATOR = "operator@site.example"


@needs_providers
class TestServerScripts(Case):
	@classmethod
	def setUpClass(cls) -> None:
		super().setUpClass()
		make_user(OPERATOR, "System Manager")
		switched_on = server_scripts()
		switched_on.__enter__()
		cls.addClassCleanup(switched_on.__exit__, None, None, None)

	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer)
		self.assertEqual(self.connect(self.app).status_code, 302)
		self.token = row(self.app, ALICE).get_password("access_token")
		forget()

	def run_script(self, body: str, user: str, kind: str = "API", **values: Any) -> Any:
		"""What the script `body` leaves in `frappe.flags.found`, run as `user`."""
		frappe.set_user("Administrator")
		name = f"script_{frappe.generate_hash(length=8)}"
		names = f"app = {self.app.name!r}\nkept = {self.app.name + '-' + ALICE!r}\nalice = {ALICE!r}\n"
		values = {"api_method": name} if kind == "API" else {"event_frequency": "Daily", **values}
		script = frappe.get_doc(
			{
				"doctype": "Server Script",
				"name": name,
				"script_type": kind,
				"script": names + body,
				**values,
			}
		).insert()
		forget()
		frappe.set_user(user)
		try:
			return (
				script.execute_method().get("found") if kind == "API" else script.execute_scheduled_method()
			)
		finally:
			frappe.set_user("Administrator")

	# Each of them gives the access token, where it gives anything.
	WAYS = (
		'frappe.flags.found = frappe.get_doc("Connected App", app).get_oauth2_session(alice).token["access_token"]',
		'frappe.flags.found = frappe.get_cached_doc("Connected App", app).get_active_token(alice).get_password("access_token")',
		'frappe.flags.found = frappe.get_doc("Token Cache", kept).get_password("access_token")',
		'frappe.flags.found = frappe.get_doc("Token Cache", kept).get_auth_header()["Authorization"][7:]',
		'frappe.flags.found = frappe.get_doc("Token Cache", kept).get_json()["access_token"]',
		'frappe.flags.found = frappe.get_doc("Connected App", app).get_access_token(alice).value',
		'frappe.flags.found = frappe.get_doc("Connected App", app).get_token_source(alice).access_token().value',
		# Documents that the script makes up.
		'frappe.flags.found = frappe.get_doc({"doctype": "Token Cache", "name": kept, "user": frappe.session.user,'
		' "connected_app": app, "access_token": "***"}).get_password("access_token")',
		'frappe.flags.found = frappe.get_doc({"doctype": "Connected App", "name": app, "enabled": 1, "client_id": "x",'
		' "role_for_scripts": "All"}).get_oauth2_session(alice).token["access_token"]',
	)

	def test_ones_own(self) -> None:
		for way in self.WAYS:
			self.assertEqual(self.run_script(way, ALICE), self.token, way)

	def test_another_users(self) -> None:
		"""A script that runs as a user without the role reaches no other user's token, by whatever way."""
		for way in self.WAYS:
			with self.assertRaises(frappe.PermissionError, msg=way) as caught:
				self.run_script(way, MALLORY)
			self.assertNotIn(self.token, str(caught.exception))
		call = f"{self.authlib.issuer}/api/hello"
		with self.assertRaises(frappe.PermissionError):
			self.run_script(
				f'frappe.get_doc("Connected App", app).get_oauth2_session(alice).get("{call}")', MALLORY
			)

	def test_made_up_names(self) -> None:
		"""A document with the name of the script's own row and another user in it, after other code of the request has
		used that user's connection and refreshed it: neither the token is read, nor one put in its place."""
		self.afterwards(frappe.db.delete, "Token Cache", {"user": MALLORY})
		self.connect(self.app, Browser(MALLORY), account="bob")
		mine = row(self.app, MALLORY).get_password("access_token")
		made_up = (
			'made_up = frappe.get_doc({"doctype": "Token Cache", "name": app + "-" + frappe.session.user,'
			' "user": alice, "connected_app": app, "access_token": "***"})\n'
		)
		real = forget
		ways = (
			'frappe.flags.found = made_up.get_password("access_token")',
			'frappe.flags.found = made_up.get_auth_header()["Authorization"][7:]',
			'frappe.flags.found = made_up.get_json()["access_token"]',
		)
		for way in ways:
			frappe.db.set_value("Token Cache", f"{self.app.name}-{ALICE}", "expires_at", "2020-01-01")
			frappe.db.commit()

			def other_code() -> None:
				real()
				self.app.get_oauth2_session(ALICE)

			with patch("connected_app.tests.test_scripts.forget", other_code):
				self.assertEqual(self.run_script(made_up + way, MALLORY), mine, way)
		token = row(self.app, ALICE).get_password("access_token")
		self.assertNotIn(token, (mine, self.token))
		with self.assertRaises(frappe.PermissionError):
			self.run_script(made_up + 'made_up.update_data({"access_token": "x"})', MALLORY)
		self.assertEqual(row(self.app, ALICE).get_password("access_token"), token)

	# Of one who has a connection, and makes it, or a document, into another's.
	CHANGED = (
		'store = frappe.get_doc("Connected App", app).get_oauth2_session().refresher.store\n'
		"store.key = store.key.of_user(app, alice)\nfrappe.flags.found = store.load().access_token",
		'source = frappe.get_doc("Connected App", app).get_token_source()\n'
		"source.refresher.store.key = source.refresher.store.key.of_user(app, alice)\n"
		"frappe.flags.found = source.latest().access_token",
		'frappe.flags.found = frappe.get_doc("Connected App", app).get_oauth2_session().refresher.latest()',
		'doc = frappe.get_doc("Token Cache", app + "-" + frappe.session.user)\n'
		'doc.doctype = "Connected App"\ndoc.name = app\nfrappe.flags.found = doc.get_password("signing_key")',
		'doc = frappe.get_doc("Connected App", app)\ndoc.doctype = "Token Cache"\ndoc.name = kept\n'
		'frappe.flags.found = doc.get_password("access_token")',
		'doc = frappe.get_doc("Connected App", app)\ndoc.doctype = "Client Registration"\ndoc.name = "of-alice"\n'
		'frappe.flags.found = doc.get_password("client_secret")',
	)

	def test_what_a_script_changes(self) -> None:
		"""Neither a session of its own, nor a document that it may read, becomes another's."""
		self.afterwards(frappe.db.delete, "Token Cache", {"user": MALLORY})
		self.connect(self.app, Browser(MALLORY), account="bob")
		# The web server has written since this transaction began.
		see_latest()
		for doctype, name, field in (
			("Connected App", self.app.name, "signing_key"),
			("Client Registration", "of-alice", "client_secret"),
		):
			of_script = {"doctype": doctype, "name": name, "fieldname": field}
			self.afterwards(frappe.db.delete, "__Auth", of_script)
			passwords.store(doctype, name, field, "a secret")
		frappe.db.commit()
		for way in self.CHANGED:
			# What a script cannot see is None to it.
			with self.assertRaises((frappe.PermissionError, AttributeError, TypeError), msg=way):
				print(self.run_script(way, MALLORY))

	def test_what_only_code_reads(self) -> None:
		"""What waits to be revoked, and what is registered, with the client's secrets and its key in it: no script."""
		for doctype, fields in (
			("Pending Revocation", ("access_token", "refresh_token", "client")),
			("Offboarding", ("client",)),
			("Client Registration", ("client_secret", "management_token")),
		):
			for field in fields:
				passwords.store(doctype, "of-alice", field, "a secret")
				way = (
					f'frappe.get_doc({{"doctype": "{doctype}", "name": "of-alice"}}).get_password("{field}")'
				)
				for user in (MALLORY, OPERATOR, "Administrator"):
					with self.assertRaises(frappe.PermissionError, msg=way):
						print(self.run_script(f"frappe.flags.found = {way}", user))
				self.assertEqual(
					frappe.get_doc({"doctype": doctype, "name": "of-alice"}).get_password(field), "a secret"
				)

	def test_made_up_settings(self) -> None:
		"""A Connected App with a token endpoint of the script's own choice is not where a refresh goes."""
		server = hostile().Hostile()
		self.addCleanup(server.close)
		frappe.db.set_value("Token Cache", f"{self.app.name}-{ALICE}", "expires_at", "2020-01-01")
		frappe.db.commit()
		body = (
			'made_up = frappe.get_doc({"doctype": "Connected App", "name": app, "enabled": 1, "client_id": "x",'
			f' "client_secret": "***", "token_uri": "{server.url}/token"}})\n'
			'frappe.flags.found = made_up.get_oauth2_session(alice).token["access_token"]'
		)
		token = self.run_script(body, ALICE)
		self.assertEqual(token, row(self.app, ALICE).get_password("access_token"))
		self.assertEqual((self.authlib.stats()["refreshes"], server.requests), (1, []))

	def test_with_the_role(self) -> None:
		"""*Role for Server Scripts*: System Manager unless the admin says otherwise; scheduled scripts run as
		Administrator, who has every role."""
		self.assertEqual(self.app.role_for_scripts, "System Manager")
		for way in self.WAYS:
			self.assertEqual(self.run_script(way, OPERATOR), self.token, way)
		self.run_script(
			'session = frappe.get_doc("Connected App", app).get_oauth2_session(alice)\n'
			f'if session.get("{self.authlib.issuer}/api/hello").status_code != 200:\n'
			'	frappe.throw("no answer")',
			"Administrator",
			"Scheduler Event",
		)
		self.app.db_set("role_for_scripts", "Blogger")
		self.assertEqual(self.run_script(self.WAYS[0], MALLORY), self.token)
		self.assertRaises(frappe.PermissionError, self.run_script, self.WAYS[0], OPERATOR)
		self.app.db_set("role_for_scripts", "")
		for user in (MALLORY, OPERATOR, "Administrator"):
			self.assertRaises(frappe.PermissionError, self.run_script, self.WAYS[0], user)
		self.assertEqual(self.run_script(self.WAYS[0], ALICE), self.token)

	def test_what_frappe_hands_out(self) -> None:
		"""Neither Frappe's function nor the database gives a script a token, with or without the role."""
		for user in (MALLORY, OPERATOR, "Administrator"):
			with self.assertRaises(frappe.PermissionError):
				self.run_script(
					'frappe.flags.found = frappe.call("frappe.client.get_password", doctype="Token Cache",'
					' name=kept, fieldname="access_token")',
					user,
				)
			found = self.run_script(
				'frappe.flags.found = [frappe.db.get_value("Token Cache", kept, ["access_token", "refresh_token"]),'
				' frappe.db.sql("select * from `__Auth`"), frappe.get_doc("Token Cache", kept).as_dict()]',
				user,
			)
			self.assertIn(self.app.name, str(found))
			self.assertNotIn(self.token, str(found))

	def test_libraries_in_the_call_stack(self) -> None:
		"""Whether they are installed apps is known without a look at the list of these, which may be in Redis."""
		with patch.object(frappe, "get_installed_apps", side_effect=AssertionError):
			self.assertIs(callers.caller(), callers.Caller.CODE)

	def test_code_beneath_a_script(self) -> None:
		"""A script runs somebody's code, which uses a connection of its own choice: that is not the script's doing."""
		asked: list[callers.Caller] = []
		frappe.local.response.ask = lambda: asked.append(callers.caller())
		with other_app("def hook(ask):\n\task()") as app:
			frappe.local.response.hook = app.hook
			self.run_script(
				"frappe.response.hook(frappe.response.ask)\nfrappe.response.ask()", "Administrator"
			)
		self.assertEqual(asked, [callers.Caller.CODE, callers.Caller.SCRIPT])

	def test_what_a_script_passes_on(self) -> None:
		"""A method that a script has looked up, and that others call for it, is still the script's call."""
		for put in ("alice_session", "as_dict"):
			frappe.local.response.target = target = frappe.get_doc("Connected App", self.app.name)
			self.run_script(
				f'frappe.response.target.set("{put}", frappe.get_doc("Token Cache", kept).get_json)', MALLORY
			)
			with other_app(f"def call(doc):\n\treturn doc.{put}()") as app:
				frappe.set_user(MALLORY)
				with self.assertRaises(frappe.PermissionError):
					print(app.call(target))

	# What a script of somebody else's leaves for the next request of this process.
	PLANTED = (
		'session.get_adapter("https://api.example").send = planted',
		"session.get(hello).connection.send = planted",
		'session.get_adapter("http://x").poolmanager.connection_from_url(hello).urlopen = planted',
		"session.get(hello, stream=True).raw.connection.request = planted",
	)

	def test_what_a_script_leaves_behind(self) -> None:
		"""Connections are the process's, and have the tokens of all on them: those of a script are its own."""
		self.afterwards(frappe.db.delete, "Token Cache", {"user": MALLORY})
		self.connect(self.app, Browser(MALLORY), account="bob")
		see_latest()
		frappe.db.commit()
		hello = f"{self.authlib.issuer}/api/hello"
		app = frappe.get_doc("Connected App", self.app.name)
		app.get_oauth2_session(ALICE).get(hello)
		body = (
			f"hello = {hello!r}\ncalls = frappe.response.calls\n"
			'session = frappe.get_doc("Connected App", app).get_oauth2_session()\n'
			'def planted(*args, **kwargs):\n\tcalls.append(1)\n\tfrappe.throw("planted")\n'
		)
		for way in self.PLANTED:
			frappe.local.response.calls = []
			self.run_script(body + way, MALLORY)
			forget()
			self.assertEqual(app.get_oauth2_session(ALICE).get(hello).status_code, 200)
			self.assertEqual(frappe.local.response.calls, [], way)

	def test_what_a_script_does_not_see(self) -> None:
		"""What is all users' of an app, and the app's key."""
		for name in ("quirks", "certificate"):
			found = self.run_script(
				f'frappe.flags.found = frappe.get_doc("Connected App", app).get_token_source().{name}', ALICE
			)
			self.assertIsNone(found, name)

	def test_what_a_script_writes_on_a_grant(self) -> None:
		"""This process remembers what it has decrypted, for other requests, too."""
		self.run_script(
			'frappe.get_doc("Connected App", app).get_token_source().grant.extra["realm"] = "planted"', ALICE
		)
		forget()
		source = frappe.get_doc("Connected App", self.app.name).get_token_source(ALICE)
		self.assertEqual(source.grant.extra, {})

	def test_a_script_that_was_edited_since_the_job_began(self) -> None:
		"""Frappe runs the new one, which this transaction cannot see."""
		name = f"script_{frappe.generate_hash(length=8)}"
		found = f'frappe.get_doc("Token Cache", "{self.app.name}-{ALICE}").get_password("access_token")'
		values = {
			"script_type": "DocType Event",
			"reference_doctype": "ToDo",
			"doctype_event": "Before Insert",
		}
		self.afterwards(frappe.delete_doc, "Server Script", name, ignore_missing=True)
		frappe.get_doc({"doctype": "Server Script", "name": name, "script": "x = 1", **values}).insert()
		frappe.db.commit()
		self.assertEqual(frappe.db.get_value("Server Script", name, "script"), "x = 1")
		with own_connection():
			script = frappe.get_doc("Server Script", name)
			script.update({"script": f"frappe.response.found = {found}"}).save()
			frappe.db.commit()
			script = frappe.get_doc("Server Script", name)
		frappe.set_user(ALICE)
		script.execute_doc(frappe.get_doc({"doctype": "ToDo"}))
		self.assertEqual(frappe.response.found, self.token)

	def test_a_web_pages_script(self) -> None:
		"""Anybody who edits the website can write one: it is no Server Script."""
		page = frappe.get_doc(
			{
				"doctype": "Web Page",
				"title": f"Page {frappe.generate_hash(length=8)}",
				"published": 1,
				"content_type": "HTML",
				"main_section_html": "{{ found }}",
				"dynamic_template": 1,
				"context_script": f"context.found = {self.WAYS[2][21:]}".replace(
					"kept", repr(f"{self.app.name}-{ALICE}")
				),
			}
		).insert()
		self.afterwards(frappe.delete_doc, "Web Page", page.name, ignore_missing=True)
		frappe.db.commit()
		shown = self.alice.open(f"/{page.route}")
		self.assertNotIn(self.token, shown.text)
		self.assertEqual(shown.status_code, 403, shown.text[:500])

	# By the author of a template, and by a script that runs as somebody else. Each gives the token, where it gives anything.
	MADE_UP = (
		"frappe.get_doc({'doctype': 'Server Script', 'name': name, 'script_type': 'API', 'script': script})"
		".execute_method().found",
		"frappe.get_doc({'doctype': 'Report', 'name': name, 'report_script': 'data = ' ~ script.partition('= ')[2]})"
		".execute_script({})",
		"frappe.get_doc({'doctype': 'System Console', 'type': 'Python', 'console': script ~ '; print(frappe.flags.found)'})",
	)

	# What Frappe's documents write without asking whether the user may; it is undone at the end of a GET request.
	WRITTEN = (
		"{% set saved = frappe.get_doc('Server Script', name) %}{% set done = saved.db_set('script', script) %}"
		"{{ saved.execute_method().found }}",
		"{% set made = frappe.get_doc({'doctype': 'Server Script', 'name': name ~ '2', 'script_type': 'API',"
		" 'api_method': 'x', 'script': script}) %}{% set done = made.db_insert() %}{{ made.execute_method().found }}",
		"{% set made = frappe.get_doc({'doctype': 'Server Script', 'name': name ~ '3', 'script_type': 'API',"
		" 'api_method': 'x', 'script': script}) %}{% set done = made.set('validate', made.as_dict) %}"
		"{% set done = made.insert(ignore_permissions=True) %}{{ made.execute_method().found }}",
	)

	def test_scripts_that_a_text_makes_up(self) -> None:
		"""A text that a Script Manager has not written does not become a script by having a document run it: not one that is
		made up, nor one whose script was changed."""
		found = f'frappe.flags.found = frappe.get_doc("Token Cache", {self.app.name + "-" + ALICE!r})'
		script = f'{found}.get_password("access_token")'
		saved = frappe.get_doc(
			{
				"doctype": "Server Script",
				"name": f"script_{frappe.generate_hash(length=8)}",
				"script_type": "API",
				"api_method": frappe.generate_hash(length=8),
				"script": "frappe.flags.found = 1",
			}
		).insert()
		changed = f"frappe.get_doc('Server Script', '{saved.name}').update({{'script': script}}).execute_method().found"
		note = frappe.get_doc({"doctype": "Console Log", "script": script}).insert()
		renamed = (
			f"frappe.get_doc('Server Script', '{saved.name}').update({{'script': script, 'doctype': 'Console Log',"
			f" 'name': '{note.name}'}}).execute_method().found"
		)
		for way in (*self.MADE_UP[:2], changed, renamed):
			for name in ("x", saved.name):
				forget()
				frappe.set_user(OPERATOR)
				with self.assertRaises(Exception, msg=way) as caught:
					print(frappe.render_template("{{ " + way + " }}", {"script": script, "name": name}))
				frappe.set_user("Administrator")
				self.assertIn("only for the code of apps", str(caught.exception), way)
				self.assertNotIn(self.token, str(caught.exception))
		for way in self.WRITTEN:
			forget()
			frappe.set_user(OPERATOR)
			with self.assertRaises(Exception, msg=way) as caught:
				print(frappe.render_template(way, {"script": script, "name": saved.name}))
			frappe.set_user("Administrator")
			self.assertIn("only for the code of apps", str(caught.exception), way)
		frappe.set_user(OPERATOR)
		text = "{% set console = " + self.MADE_UP[2] + " %}{{ console.run() }}{{ console.output }}"
		shown = frappe.render_template(text, {"script": script})
		self.assertNotIn(self.token, shown)

	SHARED_WAYS = (
		'frappe.flags.found = frappe.get_doc("Connected App", app).get_oauth2_session().token["access_token"]',
		'frappe.flags.found = frappe.get_doc("Connected App", app).get_active_token().get_password("access_token")',
		'frappe.flags.found = frappe.get_doc("Token Cache", app + "-shared").get_password("access_token")',
		'frappe.flags.found = frappe.get_doc("Token Cache", app + "-shared").get_auth_header()["Authorization"][7:]',
	)
	# Of those who may not use it: another's name, and documents that the script makes up.
	TRICKS = (
		'frappe.get_doc("Connected App", app).get_oauth2_session(alice).token["access_token"]',
		'frappe.get_doc("Connected App", app).get_oauth2_session("Administrator").token["access_token"]',
		'frappe.get_doc({"doctype": "Connected App", "name": app, "enabled": 1, "client_id": "x", "connection_is": "Shared",'
		' "everyone_may_connect": 1, "role_for_scripts": "All"}).get_oauth2_session().token["access_token"]',
		'frappe.get_doc({"doctype": "Connected App", "name": app, "enabled": 1, "client_id": "x", "connection_is": "Shared",'
		' "everyone_may_connect": 1}).get_active_token().get_password("access_token")',
		'frappe.get_doc({"doctype": "Token Cache", "name": app + "-shared", "user": frappe.session.user,'
		' "connected_app": app, "access_token": "***"}).get_password("access_token")',
		'frappe.get_doc({"doctype": "Email Account", "auth_method": "OAuth", "connected_app": app,'
		' "connected_user": alice}).get_oauth_token().get_password("access_token")',
		'frappe.get_doc({"doctype": "Token Cache", "connected_app": app, "shared": 1}).update_data({"access_token": "mine"})',
	)

	def test_a_shared_connection(self) -> None:
		"""A script that runs as somebody who may use it has it; nobody else's has, by whatever way. None without the
		role puts a token in its place."""
		self.app.update({"connection_is": "Shared", "everyone_may_connect": 0})
		self.app.append("allowed_roles", {"role": "Website Manager"})
		self.app.save()
		frappe.db.commit()
		user = make_user("script-user@site.example", "Website Manager")
		self.assertEqual(self.connect(self.app, self.admin).status_code, 302)
		frappe.db.rollback()
		shared = frappe.get_doc("Token Cache", f"{self.app.name}-shared").get_password("access_token")
		forget()
		for way in self.SHARED_WAYS:
			self.assertEqual(self.run_script(way, user), shared, way)
		for way in (*self.SHARED_WAYS, *self.TRICKS):
			with self.assertRaises((frappe.PermissionError, AttributeError), msg=way) as caught:
				self.run_script(way, MALLORY)
			self.assertNotIn(shared, str(caught.exception))
		with self.assertRaises(frappe.PermissionError):
			self.run_script(self.TRICKS[-1], user)
		frappe.db.rollback()
		forget()
		stored = frappe.get_doc("Token Cache", f"{self.app.name}-shared")
		self.assertEqual(stored.get_password("access_token"), shared)
