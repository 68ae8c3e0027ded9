"""Taking core's place on a site that lives: what is renamed, merged, moved or restored. The whole life, from core's
rows to core's rows, is in `tests/life/`."""

from __future__ import annotations

import ast
import inspect
import io
import json
from contextlib import redirect_stdout
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import TestCase
from unittest.mock import patch
from urllib.parse import quote
from zoneinfo import ZoneInfo

import frappe
from cryptography.fernet import Fernet
from frappe.installer import remove_app
from frappe.utils.password import encrypt as frappes_encrypt
from frappe.utils.password import set_encrypted_password

from connected_app.connections.doctype.connected_app.connected_app import ConnectedApp
from connected_app.connections.doctype.token_cache.token_cache import TokenCache
from connected_app.oauth import ConfigurationError, ReconnectRequired
from connected_app.oauth.clock import utc_now
from connected_app.site import database, install, passwords, settings
from connected_app.site.rows import aware
from connected_app.tests.site import (
	ALICE,
	Browser,
	Case,
	forget,
	make_app,
	make_user,
	needs_providers,
	row,
)

CORE_PATH = Path(frappe.get_app_path("frappe")) / "integrations" / "doctype"
OUR_PATH = Path(frappe.get_app_path("connected_app")) / "connections" / "doctype"
PAIRS = (("connected_app", "Connected App", ConnectedApp), ("token_cache", "Token Cache", TokenCache))


class TestForward(TestCase):
	"""Fails, naming it, when the Frappe of this bench has something that this app lacks."""

	def definition(self, folder: Path, name: str) -> dict[str, Any]:
		return json.loads((folder / name / f"{name}.json").read_text())

	def test_fields(self) -> None:
		for name, doctype, _controller in PAIRS:
			ours = {field["fieldname"]: field for field in self.definition(OUR_PATH, name)["fields"]}
			on_site = frappe.get_meta(doctype)
			for field in self.definition(CORE_PATH, name)["fields"]:
				where = f"{doctype}.{field['fieldname']}"
				with self.subTest(where):
					self.assertIn(field["fieldname"], ours, f"{where} is core's, and not ours")
					mine = ours[field["fieldname"]]
					for key in ("fieldtype", "options"):
						self.assertEqual(
							mine.get(key), field.get(key), f"{where}: {key} is not what core has"
						)
					# Longer ones are given back without losing anything: see tests/life.
					self.assertGreaterEqual(mine.get("length") or 140, field.get("length") or 140, where)
					self.assertEqual(on_site.get_field(field["fieldname"]).fieldtype, field["fieldtype"])
					if field.get("fieldtype") not in ("Section Break", "Column Break"):
						self.assertFalse(
							mine.get("reqd") and not field.get("reqd"), f"{where}: core does not require it"
						)

	def test_naming(self) -> None:
		for name, doctype, _controller in PAIRS:
			core, ours = self.definition(CORE_PATH, name), self.definition(OUR_PATH, name)
			for key in ("autoname", "naming_rule", "istable", "issingle", "title_field", "is_submittable"):
				self.assertEqual(ours.get(key), core.get(key), f"{doctype}: {key}")

	def test_python_api(self) -> None:
		"""Every public method of core's controllers, with its parameters; every whitelisted function of its modules."""
		overridden = frappe.get_hooks("override_whitelisted_methods")
		for name, doctype, controller in PAIRS:
			tree = ast.parse((CORE_PATH / name / f"{name}.py").read_text())
			for node in ast.walk(tree):
				if isinstance(node, ast.ClassDef) and node.name == controller.__name__:
					for method in node.body:
						if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
							self._has_method(doctype, controller, method)
			for node in tree.body:
				if isinstance(node, ast.FunctionDef) and node.decorator_list:
					path = f"frappe.integrations.doctype.{name}.{name}.{node.name}"
					self.assertIn(path, overridden, "core publishes it, and it does not reach this app")
					frappe.get_attr(overridden[path][-1])

	def _has_method(self, doctype: str, controller: type, method: ast.FunctionDef) -> None:
		ours = getattr(controller, method.name, None)
		self.assertTrue(callable(ours), f"{doctype}.{method.name}() is core's, and not ours")
		wanted = [argument.arg for argument in method.args.args]
		mine = list(inspect.signature(ours).parameters)
		self.assertEqual(mine[: len(wanted)], wanted, f"{doctype}.{method.name}()")


@needs_providers
class TestRenaming(Case):
	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer)
		self.assertEqual(self.connect(self.app).status_code, 302)

	def hello(self, app: str, user: str = ALICE) -> int:
		forget()
		session = frappe.get_doc("Connected App", app).get_oauth2_session(user)
		return session.get(f"{self.authlib.issuer}/api/hello").status_code

	def test_a_renamed_app(self) -> None:
		"""core-defects 34: the redirect URI that is registered keeps the old name, and reaches the app."""
		registered, new = self.app.redirect_uri, f"Mail/50 %25 Ü+{frappe.generate_hash(length=6)}"
		frappe.rename_doc("Connected App", self.app.name, new, force=True, show_alert=False)
		frappe.db.commit()
		self.assertEqual(self.hello(new), 200)
		app = frappe.get_doc("Connected App", new)
		self.assertEqual(app.redirect_uri, registered)
		landed = self.connect(app)
		self.assertEqual((landed.status_code, landed.headers["Location"]), (302, "/me"), landed.text[:300])
		state = self.admin.ask("connection", "GET", connected_app=new)
		self.assertTrue(state["redirect_uri_outdated"])
		self.assertEqual(
			self.admin.ask("renew_redirect_uri", connected_app=new),
			registered.replace(self.app.name, quote(new, safe="")),
		)
		self.assertEqual(self.connect(frappe.get_doc("Connected App", new)).status_code, 302)

	def test_another_apps_path(self) -> None:
		"""An answer is taken only at the redirect URI of the attempt (RFC 9700 4.4.2.1)."""
		other = make_app(self.authlib.issuer)
		back = self.authlib.consent(self.alice.ask("authorize", connected_app=self.app.name))
		page = self.alice.visit(back.replace(self.app.name, other.name))
		self.assertRefused(page, "attempt_unknown")

	def test_core_finds_renamed_rows_again(self) -> None:
		"""core-defects 33: when the app is removed, rows have the names that core looks for."""
		old, new = (f"{frappe.generate_hash(length=8)}@site.example" for _user in range(2))
		self.connect(self.app, Browser(make_user(old, "Blogger")))
		before = row(self.app, old).get_password("refresh_token")
		frappe.rename_doc("User", old, new, force=True, show_alert=False)
		install.hand_back_names()
		name = f"{self.app.name}-{new}"
		self.assertEqual(frappe.db.get_value("Token Cache", name, "user"), new)
		frappe.db.commit()
		forget()
		self.assertEqual(frappe.get_doc("Token Cache", name).get_password("refresh_token"), before)
		self.assertEqual(len(frappe.get_doc("Token Cache", name).scopes), 5)


@needs_providers
class TestServicePrincipal(Case):
	def test_its_first_token_in_an_open_transaction(self) -> None:
		"""core-defects 37: seen at once by who asked, whose transaction is older than the row; asked for once."""
		app = make_app(self.authlib.issuer)
		self.assertEqual(frappe.db.count("Token Cache", {"connected_app": app.name}), 0)
		tokens = {app.get_backend_app_token().get_password("access_token") for _time in range(2)}
		self.assertEqual(len(tokens), 1)
		self.assertEqual(self.authlib.stats()["token_requests"], 1)
		kept = row(app, "")
		self.assertEqual((kept.name, kept.user, kept.status), (f"{app.name}-", None, "Connected"))
		self.assertEqual({kept.get_password("access_token")}, tokens)


@needs_providers
class TestExpiry(Case):
	"""core-defects 16: core knows `modified + expires_in`, in the site's time zone."""

	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer)
		self.connect(self.app)
		self.zone = ZoneInfo(frappe.utils.get_system_timezone())

	def core_row(self, modified: datetime, **values: Any) -> Any:
		"""As core left it: none of this app's columns is set."""
		name = f"{self.app.name}-{ALICE}"
		values = {"status": None, "expires_at": None, "modified": modified, **values}
		frappe.db.set_value("Token Cache", name, values, update_modified=False)
		install.give_expiry()
		return frappe.db.get_value("Token Cache", name, "*", as_dict=True)

	def test_derived_once(self) -> None:
		modified = utc_now().astimezone(self.zone).replace(tzinfo=None)
		found = self.core_row(modified, expires_in=3600)
		due = aware(found.expires_at)
		self.assertAlmostEqual((due - utc_now()).total_seconds(), 3600, delta=60)
		self.assertEqual(found.status, "Connected")
		frappe.db.set_value("Token Cache", found.name, "expires_in", 99999)
		install.give_expiry()
		self.assertEqual(aware(frappe.db.get_value("Token Cache", found.name, "expires_at")), due)

	def test_a_click_does_not_revive_a_dead_token(self) -> None:
		"""core-defects 16: a pending attempt moved `modified`; the token is from the row's creation at the earliest."""
		now = utc_now().astimezone(self.zone).replace(tzinfo=None)
		found = self.core_row(now, creation=now - timedelta(days=2), expires_in=3600, state="pending")
		self.assertLess(aware(found.expires_at), utc_now() - timedelta(days=1))
		found = self.core_row(now, creation=now - timedelta(seconds=60), expires_in=3600, state="pending")
		self.assertGreater(aware(found.expires_at), utc_now() + timedelta(seconds=3000))

	def test_without_an_expiry(self) -> None:
		"""core-defects 15: a provider that names none means never."""
		self.assertIsNone(self.core_row(datetime(2020, 1, 1), expires_in=0).expires_at)

	def test_the_hour_that_comes_twice(self) -> None:
		"""Either reading is possible: the earlier is taken, so that no dead token looks alive."""
		# Nothing of this test is committed.
		self.addCleanup(frappe.clear_cache)
		frappe.db.set_single_value("System Settings", "time_zone", "Europe/Berlin")
		frappe.clear_cache()
		found = self.core_row(datetime(2025, 10, 26, 2, 30), expires_in=600)
		self.assertEqual(found.expires_at, datetime(2025, 10, 26, 0, 40))
		install.hand_back_expiry()
		handed = frappe.db.get_value("Token Cache", found.name, "*", as_dict=True)
		# Core 15 reads the hour as the later one: 01:30 UTC.
		self.assertEqual((handed.status, handed.expires_at, handed.expires_in), (None, None, -3000))

	def test_handed_back(self) -> None:
		"""Core sees a token expire when it does, and never counts a dead one as alive."""
		name = f"{self.app.name}-{ALICE}"
		for left in (timedelta(hours=5), timedelta(hours=-5)):
			due = (utc_now() + left).replace(tzinfo=None, microsecond=0)
			values = {"status": "Temporarily Failing", "expires_at": due, "error_code": "timeout"}
			frappe.db.set_value("Token Cache", name, values)
			install.hand_back_expiry()
			handed = frappe.db.get_value("Token Cache", name, "*", as_dict=True)
			core = install._to_utc(handed.modified) + timedelta(seconds=handed.expires_in)
			self.assertAlmostEqual((core - aware(due)).total_seconds(), 0, delta=2)
			self.assertEqual((handed.status, handed.error_code), (None, None))
			install.give_expiry()
			again = frappe.db.get_value("Token Cache", name, "*", as_dict=True)
			self.assertEqual(again.status, "Connected")
			self.assertEqual(aware(again.expires_at) > utc_now(), left > timedelta())

	def test_dead_grants_are_not_handed_back(self) -> None:
		"""Core would send a refresh token that the provider has refused forever, and coming back this app would call it
		connected. One that only this site's key does not open may be opened again."""
		name = f"{self.app.name}-{ALICE}"
		for code, left in (("grant_invalid", 0), ("secret_unreadable", 2)):
			frappe.db.rollback()
			frappe.db.set_value("Token Cache", name, {"status": "Reconnect Required", "error_code": code})
			install.hand_back_expiry()
			tokens = frappe.db.count("__Auth", {"doctype": "Token Cache", "name": name})
			columns = frappe.db.get_value("Token Cache", name, ["access_token", "refresh_token", "status"])
			self.assertEqual((tokens, [bool(each) for each in columns]), (left, [bool(left)] * 2 + [False]))
			install.give_expiry()
			self.assertEqual(bool(frappe.db.get_value("Token Cache", name, "status")), bool(left))


@needs_providers
class TestDryRun(Case):
	def test_changes_nothing(self) -> None:
		"""Frappe calls the hook for `uninstall-app --dry-run`, too."""
		app = make_app(self.authlib.issuer)
		self.connect(app)

		def state() -> list[Any]:
			tables = ("Token Cache", "Connected App", "__Auth", "Scheduled Job Type")
			rows = [frappe.db.sql(f"select * from `tab{name}`".replace("tab__", "__")) for name in tables]
			return [sorted(str(each) for each in found) for found in rows]

		before = state()
		# Should this fail, the site stays this app's.
		with patch.object(frappe, "reload_doc") as given_back, redirect_stdout(io.StringIO()):
			remove_app("connected_app", dry_run=True, yes=True, no_backup=True)
			after = state()
			frappe.db.rollback()
		given_back.assert_not_called()
		self.assertEqual(after, before)


@needs_providers
class TestKilled(Case):
	def test_the_next_migrate_goes_on(self) -> None:
		"""Frappe takes the app for installed as soon as its DocTypes are there, and while they are being given back."""
		app = make_app(self.authlib.issuer)
		self.connect(app)
		name = f"{app.name}-{ALICE}"
		self.addCleanup(frappe.clear_cache)
		given_back = patch.object(frappe, "reload_doc", side_effect=KeyboardInterrupt)
		with given_back, self.assertRaises(KeyboardInterrupt):
			install.before_uninstall()
		self.assertIsNone(frappe.db.get_value("Token Cache", name, "status"))
		stored = frappe.db.get_value("Token Cache", name, ["status", "expires_at"])
		self.assertEqual(stored, (None, None))
		for _twice in range(2):
			install.after_migrate()
			stored = frappe.db.get_value("Token Cache", name, ["status", "expires_at"])
			self.assertEqual(stored[0], "Connected")
			self.assertGreater(aware(stored[1]), utc_now())
		frappe.db.set_value("Token Cache", name, "status", None)
		install.after_migrate()
		self.assertIsNone(frappe.db.get_value("Token Cache", name, "status"), "it is done once")


class TestManyRows(Case):
	def test_chunk_by_chunk(self) -> None:
		"""Installing and uninstalling read a few rows at a time, and change each."""
		app = make_app()
		names = [f"{app.name}-many{n}@site.example" for n in range(5)]
		fields = ["name", "creation", "modified", "connected_app", "user", "access_token", "expires_in"]
		when = frappe.utils.now()
		rows = [(name, when, when, app.name, name.partition("-")[2], "*", n) for n, name in enumerate(names)]
		frappe.db.bulk_insert("Token Cache", fields, rows)
		tokens = [("Token Cache", name, "access_token", frappes_encrypt(name)) for name in names]
		lost = Fernet(Fernet.generate_key()).encrypt(b"lost").decode()
		passwords.store_encrypted([*tokens[:4], (*tokens[4][:3], lost)])
		of_app = {"connected_app": app.name}

		def stored(name: str) -> str:
			(rows,) = (each for each in passwords.chunks("Token Cache") if name in str(each))
			return next(kept for document, _field, kept in rows if document == name)

		progress = patch.object(database, "update_progress_bar")
		with progress as shown, patch.object(database, "CHUNK", 2), patch.object(passwords, "CHUNK", 2):
			install.give_expiry()
			passwords.take_over()
			found = frappe.get_all("Token Cache", of_app, ["status", "expires_at"], order_by="name", limit=0)
			self.assertEqual([each.status for each in found], ["Connected"] * 5)
			self.assertEqual([bool(each.expires_at) for each in found], [False] + [True] * 4)
			for name in names[:4]:
				self.assertEqual(passwords.opened(stored(name), passwords.cipher(self.key())), name)
			install.report_unreadable()
			states = frappe.get_all("Token Cache", of_app, pluck="status", order_by="name", limit=0)
			self.assertEqual(states, ["Connected"] * 4 + ["Reconnect Required"])
			install.hand_back_expiry()
			passwords.hand_back()
			for name in names[:4]:
				self.assertEqual(passwords.opened(stored(name), passwords.frappes_cipher(self.key())), name)
			self.assertEqual(stored(names[4]), lost)
			shown.assert_any_call("Taking over connections", 4, 5)
			self.assertEqual(frappe.get_all("Token Cache", of_app, pluck="status", limit=0), [None] * 5)
		frappe.db.rollback()
		frappe.delete_doc("Connected App", app.name)
		frappe.db.commit()

	def key(self) -> str:
		return str(frappe.conf.encryption_key)


@needs_providers
class TestAnotherKey(Case):
	"""A backup that was restored on a site with another encryption key."""

	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer)
		self.connect(self.app)
		self.key = frappe.local.conf.encryption_key
		self.addCleanup(frappe.local.conf.update, {"encryption_key": self.key})
		# Where no key opens a secret, the file is read again: it has the other key, too.
		file = patch.object(frappe, "get_site_config", lambda: frappe.local.conf)
		file.start()
		self.addCleanup(file.stop)

	def test_reported_row_by_row_and_mended_by_the_key(self) -> None:
		name = f"{self.app.name}-{ALICE}"
		frappe.local.conf.encryption_key = Fernet.generate_key().decode()
		install.after_migrate()
		self.assertEqual(row(self.app, ALICE).status, "Connected", "nothing is committed by the check itself")
		install.after_migrate()
		self.assertEqual(frappe.db.get_value("Token Cache", name, "status"), "Reconnect Required")
		self.assertEqual(frappe.db.get_value("Token Cache", name, "error_code"), "secret_unreadable")
		unreadable = f"Token Cache {name}: the tokens cannot be read"
		log = frappe.get_last_doc("Error Log", {"error": ("like", f"%{unreadable}%")})
		self.assertIn(f"Connected App {self.app.name}: the client secret cannot be read", log.error)
		forget()
		frappe.clear_messages()
		with self.assertRaises(ReconnectRequired) as caught:
			self.app.get_oauth2_session(ALICE)
		self.assertEqual(caught.exception.code, "secret_unreadable")
		with self.assertRaises(ConfigurationError) as caught:
			settings.of(self.app, with_secret=True)
		self.assertEqual(caught.exception.code, "client_secret_unreadable")
		self.assertEqual(frappe.local.message_log, [], "core's message about the key is not left over")

		frappe.local.conf.encryption_key = self.key
		frappe.db.set_value("Token Cache", name, "expires_at", "2020-01-01")
		frappe.db.commit()
		forget()
		session = self.app.get_oauth2_session(ALICE)
		self.assertEqual(session.get(f"{self.authlib.issuer}/api/hello").status_code, 200)
		self.assertEqual(row(self.app, ALICE).status, "Connected")

	def test_one_row_only(self) -> None:
		"""The others go on working, and the check can be repeated."""
		bob = make_user("bob@site.example", "Blogger")
		self.connect(self.app, Browser(bob), account="bob")
		name = f"{self.app.name}-{bob}"
		sealed = Fernet(Fernet.generate_key()).encrypt(b"token").decode()
		frappe.db.sql(
			"update `__Auth` set password=%s where name=%s and fieldname='access_token'", (sealed, name)
		)
		install.after_install()
		install.after_install()
		self.assertEqual(frappe.db.get_value("Token Cache", name, "status"), "Reconnect Required")
		self.assertEqual(
			frappe.db.get_value("Token Cache", f"{self.app.name}-{ALICE}", "status"), "Connected"
		)
		set_encrypted_password("Token Cache", name, "token", "access_token")
		install.after_migrate()
		self.assertEqual(frappe.db.get_value("Token Cache", name, "status"), "Connected")
