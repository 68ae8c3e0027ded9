"""Among many connections each look-up reads what it finds, through an index: no table is read as a whole."""

from __future__ import annotations

import json
import unittest
from collections.abc import Callable
from datetime import datetime
from typing import Any
from unittest.mock import patch

import frappe

from connected_app.oauth.clock import utc_now
from connected_app.site import connections, ending, health, passwords, revocation, schedule
from connected_app.site.database import lock_free
from connected_app.site.identity import ConnectionKey
from connected_app.site.rows import naive, name_of
from connected_app.tests.site import in_a_new_job, make_app, start_over

NUMBER, OTHERS = 500, 2500
TABLES = ("tabToken Cache", "tabPending Revocation", "tabOAuth Scope", "__Auth")


class TestIndexes(unittest.TestCase):
	"""One app with `NUMBER` connections beside `OTHERS` of another."""

	@classmethod
	def setUpClass(cls) -> None:
		if frappe.db.db_type == "sqlite":
			raise unittest.SkipTest("EXPLAIN of MariaDB and PostgreSQL")
		start_over()
		cls.app, cls.other = make_app(refresh_ahead=5), make_app()
		cls.addClassCleanup(in_a_new_job, cls.remove)
		now, past = naive(utc_now()), "2020-01-01"
		fields = ["name", "connected_app", "user", "status", "access_token", "idle_since", "expires_at"]
		caches, pending, scopes, tokens = [], [], [], []
		for app, number in ((cls.app, NUMBER), (cls.other, OTHERS)):
			for n in range(number):
				user = f"indexed{n}@site.example"
				name = f"{app.name}-{user}"
				idle = past if n < 5 else now
				failing = ("Reconnect Required", past) if n % 50 == 49 else ("Connected", None)
				caches.append((name, app.name, user, failing[0], "*", idle, now, failing[1]))
				pending.append((name, app.name, user, now, past if n < 5 else "2099-01-01"))
				scopes.append((name, name, "Token Cache", "scopes", 1, "read"))
				tokens.append(("Token Cache", name, "access_token", "nonsense"))
		insert = frappe.db.bulk_insert
		insert("Token Cache", [*fields, "failing_since"], caches)
		insert("Pending Revocation", ["name", "connected_app", "user", "requested_on", "retry_at"], pending)
		insert("OAuth Scope", ["name", "parent", "parenttype", "parentfield", "idx", "scope"], scopes)
		passwords.store_encrypted(tokens)
		frappe.db.commit()
		for table in TABLES:
			frappe.db.sql(
				f"analyze table `{table}`" if frappe.db.db_type == "mariadb" else f'analyze "{table}"'
			)
		frappe.db.commit()

	@classmethod
	def remove(cls) -> None:
		apps = {"connected_app": ("in", [cls.app.name, cls.other.name])}
		names = frappe.get_all("Token Cache", apps, pluck="name", limit=0)
		frappe.db.delete("Token Cache", apps)
		frappe.db.delete("Pending Revocation", apps)
		frappe.db.delete("OAuth Scope", {"parent": ("in", [*names, ""])})
		frappe.db.delete("__Auth", {"doctype": "Token Cache", "name": ("in", [*names, ""])})

	def scans(self, work: Callable[[], Any], kind: str = "select") -> tuple[int, list[str]]:
		"""How many statements of a `kind` on our tables `work` sends, and those that read one of these as a whole. What it
		writes is rolled back."""
		frappe.db.rollback()
		number, found = 0, []
		original = frappe.db.sql

		def explained(query: Any, *args: Any, **kwargs: Any) -> Any:
			nonlocal number
			text = str(query)
			if any(table in text for table in TABLES) and text.lstrip().lower().startswith(kind):
				number += 1
				if self.reads_all(original, text, *args[:1]):
					found.append(text)
			return original(query, *args, **kwargs)

		try:
			with patch.object(frappe.db, "sql", explained):
				work()
		finally:
			frappe.db.rollback()
		return number, found

	def reads_all(self, sql: Any, query: str, *values: Any) -> bool:
		if frappe.db.db_type == "mariadb":
			steps = sql(f"explain {query}", *values, as_dict=True)
			# The small tables of Frappe's own may be read as a whole; and what asks for much of a table, if it could do
			# otherwise.
			return any(
				step.type in ("ALL", "index") and int(step.rows) >= NUMBER and not step.possible_keys
				for step in steps
			)
		# It prefers reading a small table as a whole: what is asked is whether it could do without.
		sql("set local enable_seqscan = off")
		(plan,) = sql(f"explain (format json) {query}", *values)
		plan = plan[0] if isinstance(plan[0], list) else json.loads(plan[0])

		def nodes(node: dict[str, Any]) -> Any:
			yield node
			for child in node.get("Plans", ()):
				yield from nodes(child)

		return any(
			node["Node Type"] == "Seq Scan" and node["Relation Name"] in TABLES
			for node in nodes(plan[0]["Plan"])
		)

	def test_lookups(self) -> None:
		user = "indexed7@site.example"
		app = self.app.name
		works: dict[str, Callable[[], Any]] = {
			"who is connected": lambda: connections.of_app(app, 0, 20),
			"who is connected, later": lambda: connections.of_app(app, 100, 20),
			"my connections": lambda: connections.of_user(user),
			"due": lambda: schedule.due(100, app),
			"list by user": lambda: frappe.get_list("Token Cache", {"user": user}, limit=20),
			"list by app": lambda: frappe.get_list("Token Cache", {"connected_app": app}, limit=20),
			"to be revoked": lambda: revocation.find_due(datetime(2020, 1, 2), app),
			"to be revoked, of an app": lambda: frappe.db.count(ending.QUEUE, {"connected_app": app}),
			"the row that counts": lambda: name_of(ConnectionKey.of_user(app, user)),
			"how many of each state": health.connections,
			"why they fail": health.failures,
			"overdue": schedule.overdue,
			"a chunk": lambda: ending.read(
				lock_free(
					"Token Cache",
					{"connected_app": app, "generation": 0},
					("name", "connected_app", "user"),
					20,
				),
				"client",
			),
		}
		for what, work in works.items():
			with self.subTest(what):
				number, found = self.scans(work)
				self.assertGreater(number, 0)
				self.assertEqual(found, [])

	def test_renaming_a_user(self) -> None:
		"""Frappe writes the new name into each column that may hold the old one. A table that is read for it as a whole is
		locked as a whole on MariaDB, until the renaming is committed."""
		user, renamed = "indexed-renamed@site.example", "indexed-new@site.example"

		def rename() -> None:
			frappe.db.bulk_insert("User", ["name", "email", "first_name", "enabled"], [(user, user, "R", 1)])
			frappe.rename_doc("User", user, renamed, force=True, rebuild_search=False, show_alert=False)

		number, found = self.scans(rename, "update")
		# At least `user`, `connected_by`, `owner` and `modified_by` of Token Cache.
		self.assertGreaterEqual(number, 4)
		self.assertEqual(found, [])

	def test_a_scan_is_seen(self) -> None:
		number, found = self.scans(lambda: frappe.get_all("Token Cache", {"account_name": "nobody"}))
		self.assertEqual((number, len(found)), (1, 1))

	def test_the_page_is_the_same(self) -> None:
		"""Page by page, the broken first: nobody twice, nobody missing."""
		seen = []
		for start in range(0, NUMBER, 7):
			page = connections.of_app(self.app.name, start, 7)
			seen += page["rows"]
		self.assertEqual(
			(page["total"], page["counts"]), (NUMBER, {"Connected": 490, "Reconnect Required": 10})
		)
		self.assertEqual(len({row.name for row in seen}), NUMBER)
		order = [row.failing_since is None for row in seen]
		self.assertEqual(order, sorted(order))
