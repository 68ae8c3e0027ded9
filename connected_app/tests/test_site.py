"""What the tests of this lane share: after one that has failed, the others find the site as it was."""

from __future__ import annotations

import json
import os
import unittest
from collections.abc import Callable
from typing import Any

import frappe

from connected_app.tests.site import ALICE, Case, in_a_new_job, make_user, needs_providers, processes, run

BOB = "bob-of-tests@site.example"


@needs_providers
class TestAfterwards(Case):
	def errors_of(self, body: Callable[[Case], Any]) -> list[str]:
		"""What is said of a test with this `body`, beside its own failure."""

		class Other(Case):
			def runTest(self) -> None:
				body(self)

		Other.authlib = self.authlib
		result = unittest.TestResult()
		Other().run(result)
		problems = [text for _test, text in (*result.failures, *result.errors)]
		return [text for text in problems if "of the test itself" not in text]

	def test_a_transaction_that_is_open(self) -> None:
		"""Nothing of it is committed by what tidies up, which is done as Administrator."""
		seen = []

		def body(test: Case) -> None:
			test.afterwards(lambda: seen.append(frappe.session.user))
			frappe.db.set_value("User", ALICE, "enabled", 0)
			frappe.set_user(ALICE)
			frappe.local.request = frappe._dict(path="/app")
			test.fail("of the test itself")

		self.assertEqual(self.errors_of(body), [])
		self.assertEqual(seen, ["Administrator"])
		self.assertEqual((frappe.session.user, frappe.local.request), ("Administrator", None))
		self.assertEqual(frappe.db.get_value("User", ALICE, "enabled"), 1)

	def test_what_lasts(self) -> None:
		"""It is put right, and named beside the test."""
		field = {"dt": "Connected App", "fieldname": "custom_left", "label": "Left", "fieldtype": "Data"}
		config = frappe.get_site_path("site_config.json")
		with open(config) as file:
			before = file.read()

		def body(test: Case) -> None:
			frappe.get_doc({"doctype": "Custom Field", **field}).insert()
			frappe.db.commit()
			frappe.conf.left_by_a_test = 1
			with open(config, "w") as file:
				json.dump({**json.loads(before), "left_by_a_test": 1}, file)
			test.fail("of the test itself")

		(error,) = self.errors_of(body)
		for left in ("frappe.conf", "site_config.json", "Connected App.custom_left"):
			self.assertIn(left, error)
		self.assertFalse(frappe.db.exists("Custom Field", "Connected App-custom_left"))
		self.assertNotIn("left_by_a_test", frappe.conf)
		with open(config) as file:
			self.assertEqual(file.read(), before)

	def test_a_user_who_was_disabled(self) -> None:
		make_user(BOB)
		self.afterwards(frappe.delete_doc, "User", BOB, force=True)
		frappe.db.set_value("User", BOB, "enabled", 0)
		make_user(BOB, "Blogger")
		in_a_new_job(lambda: None)
		self.assertEqual(frappe.db.get_value("User", BOB, "enabled"), 1)
		self.assertIn("Blogger", frappe.get_roles(BOB))

	def test_a_process_that_nobody_has_waited_for(self) -> None:
		"""It is killed, and its exit code is not taken for that of the next one."""
		with open(os.devnull, "r+") as nothing:
			streams = [nothing.fileno()] * 3
			began = processes().begin("-c", "import time; time.sleep(1000)", streams=streams)
		self.assertEqual(run("-c", "raise SystemExit(7)").returncode, 7)
		self.assertRaises(ProcessLookupError, os.kill, began, 0)
