"""What is said of this site's connections to those who run it: numbers, what to do, and Prometheus's text of it."""

from __future__ import annotations

import copy
import json
import re
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import frappe
import requests
from redis.exceptions import ConnectionError as RedisDown

from connected_app import api
from connected_app.oauth import OAuthError
from connected_app.oauth.clock import utc_now
from connected_app.site import counters, ending, health, metrics, schedule
from connected_app.site.rows import naive
from connected_app.tests.site import ALICE, Case, forget, make_app, needs_providers
from connected_app.tests.test_commands import bench

APP = {
	"name": "app",
	"provider_name": "Acme",
	"enabled": True,
	"connections": {"Connected": 40},
	"failures": {},
	"admin_must_act": 0,
	"overdue": 0,
	"refreshes": {"": 3},
}
WELL: dict[str, Any] = {
	"apps": [APP],
	"revocations": {"waiting": 0, "due": 0, "oldest": 0},
	"ending": [],
	"jobs": [{"method": "connected_app.site.schedule.run", "stopped": False, "ago": 10, "behind": False}],
	"scheduler": True,
	"workers": 1,
	"hosts": {"number": 1, "differ": []},
	"two_keys": False,
}
ENDING = {"name": "o", "connected_app": "gone", "provider_name": "gone", "total": 9, "ended": 3}
# What differs from a site that is well → the checks that find something.
WRONG = (
	({}, {}, []),
	({"scheduler": False}, {}, ["scheduler"]),
	# Nothing can be expected of jobs then.
	({"scheduler": False, "workers": 0}, {}, ["scheduler"]),
	({"workers": 0}, {}, ["workers"]),
	({"workers": None}, {}, ["redis"]),
	({"jobs": [{**WELL["jobs"][0], "behind": True}]}, {}, ["jobs"]),
	({"jobs": [{**WELL["jobs"][0], "stopped": True}]}, {}, ["jobs"]),
	({"revocations": {"waiting": 3, "due": 1, "oldest": 86400}}, {}, []),
	({"revocations": {"waiting": 3, "due": 1, "oldest": 86401}}, {}, ["revocations"]),
	({"ending": [{**ENDING, "ago": 7200}]}, {}, []),
	({"ending": [{**ENDING, "ago": 7201}]}, {}, ["ending"]),
	({"two_keys": True}, {}, ["two_keys"]),
	({"hosts": {"number": 2, "differ": ["redis", "key"]}}, {}, ["hosts_redis", "hosts_key"]),
	# One of them knows the new key already.
	({"hosts": {"number": 2, "differ": ["key"]}, "two_keys": True}, {}, ["two_keys"]),
	({}, {"refreshes": None}, ["redis"]),
	({}, {"failures": {"secret_unreadable": 1}}, ["secret_unreadable"]),
	({}, {"admin_must_act": 1}, ["admin_must_act"]),
	({}, {"admin_must_act": 1, "enabled": False}, []),
	({}, {"connections": {"Connected": 8, "Reconnect Required": 2}}, []),
	({}, {"connections": {"Connected": 2, "Reconnect Required": 2}}, []),
	({}, {"connections": {"Connected": 2, "Reconnect Required": 3}}, ["broken"]),
	({}, {"connections": {"Connected": 2, "Temporarily Failing": 3}}, ["failing"]),
	({}, {"connections": {"Connected": 90, "Temporarily Failing": 10}}, []),
	({}, {"overdue": 3600}, []),
	({}, {"overdue": 3601}, ["overdue"]),
)
SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? (\d+)')


class TestFindings(Case):
	def test_table(self) -> None:
		for differs, of_app, expected in WRONG:
			state = {**copy.deepcopy(WELL), **differs, "apps": [{**APP, **of_app}]}
			found = [finding for check in health.CHECKS for finding in check(state)]
			self.assertEqual([finding.check for finding in found], expected, (differs, of_app))
			for finding in found:
				self.assertIn(finding.level, health.LEVELS)
				self.assertTrue(finding.message and finding.action)
				self.assertEqual(
					finding.app, {"ending": "gone", "redis": ""}.get(finding.check, "app" if of_app else "")
				)

	def test_each_check_is_documented(self) -> None:
		checks = {check for *_differs, found in WRONG for check in found}
		with open(frappe.get_app_path("connected_app", "..", "docs", "operations.md")) as file:
			told = set(re.findall(r"^\| `([a-z_]+)` \|", file.read(), re.M))
		self.assertEqual(checks - told, set())


@needs_providers
class TestHealth(Case):
	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer, provider_name='Acme "Files"', refresh_idle_after=7)
		for doctype in (ending.DOCTYPE, ending.QUEUE, "Token Cache"):
			self.afterwards(frappe.db.delete, doctype, {"connected_app": self.app.name})

	def add(self, number: int, **values: Any) -> None:
		for _n in range(number):
			user = frappe.generate_hash(length=8)
			# On SQLite nothing else fills in the generation.
			usual = {"connected_app": self.app.name, "user": user, "generation": self.app.generation}
			row = {"name": f"{self.app.name}-{user}", **usual, **values}
			frappe.db.bulk_insert("Token Cache", list(row), [tuple(row.values())])
		frappe.db.commit()

	def of_app(self) -> dict[str, Any]:
		frappe.db.rollback()
		return next(app for app in health.read()["apps"] if app["name"] == self.app.name)

	def test_numbers(self) -> None:
		now = naive(utc_now())
		self.add(3, status="Connected")
		self.add(1, status="Reconnect Required", failing_since=now, error_code="grant_invalid")
		failing = {"status": "Temporarily Failing", "failing_since": now}
		self.add(2, **failing, error_code="client_rejected", admin_must_act=1)
		self.add(1, **failing, error_code="network")
		# Nobody is connected by these.
		self.add(1, status=None)
		self.add(5, status="Connected", generation=7)
		found = self.of_app()
		self.assertEqual(
			found["connections"], {"Connected": 3, "Reconnect Required": 1, "Temporarily Failing": 3}
		)
		self.assertEqual(found["failures"], {"grant_invalid": 1, "client_rejected": 2, "network": 1})
		self.assertEqual(found["admin_must_act"], 2)
		self.app.db_set("generation", 1)
		frappe.db.commit()
		found = self.of_app()
		self.assertEqual((found["connections"], found["failures"], found["admin_must_act"]), ({}, {}, 0))

	def test_overdue(self) -> None:
		"""As long as something has been due, by each of the two ways in which it can be."""
		now, name = utc_now(), f"{self.app.name}-{ALICE}"
		self.assertEqual(self.of_app()["overdue"], 0)
		self.add(
			1,
			name=name,
			user=ALICE,
			status="Connected",
			idle_since=naive(now - timedelta(days=7, hours=3)),
			expires_at=naive(now + timedelta(minutes=2)),
			expires_in=3600,
		)
		self.assertAlmostEqual(self.of_app()["overdue"], 3 * 3600, delta=60)
		self.app.db_set({"refresh_idle_after": 0, "refresh_ahead": 10})
		frappe.db.commit()
		self.assertAlmostEqual(self.of_app()["overdue"], 8 * 60, delta=60)
		# Not before a quarter of its life is left.
		frappe.db.set_value("Token Cache", name, "expires_in", 720)
		frappe.db.commit()
		self.assertAlmostEqual(self.of_app()["overdue"], 60, delta=60)
		self.app.db_set("refresh_in_background", 0)
		frappe.db.commit()
		self.assertEqual(self.of_app()["overdue"], 0)
		self.assertEqual(schedule.overdue().get(self.app.name), None)

	def test_what_leaves(self) -> None:
		long_ago = naive(utc_now() - timedelta(hours=30))
		before = health.read()["revocations"]
		frappe.db.bulk_insert(
			ending.QUEUE,
			["name", "connected_app", "user", "requested_on", "retry_at"],
			[
				(frappe.generate_hash(length=8), self.app.name, ALICE, long_ago, when)
				for when in (long_ago, "2099-01-01")
			],
		)
		frappe.get_doc(
			{
				"doctype": ending.DOCTYPE,
				"connected_app": self.app.name,
				"requested_on": long_ago,
				"total": 10,
				"ended": 4,
			}
		).db_insert()
		frappe.db.commit()
		found = health.read()
		self.assertEqual(found["revocations"]["waiting"] - before["waiting"], 2)
		self.assertEqual(found["revocations"]["due"] - before["due"], 1)
		self.assertAlmostEqual(found["revocations"]["oldest"], 30 * 3600, delta=600)
		(left,) = (each for each in found["ending"] if each["connected_app"] == self.app.name)
		self.assertEqual((left["total"], left["ended"], left["provider_name"]), (10, 4, 'Acme "Files"'))
		self.assertTrue({"revocations", "ending"} <= {each["check"] for each in found["findings"]})
		total = sum(each["total"] - each["ended"] for each in found["ending"])
		self.assertIn(f"connected_app_ending_connections {total}\n", metrics.text(found))

	def test_jobs_by_their_own_frequency(self) -> None:
		"""Each is behind when it has missed its time by far: one that runs every five minutes after 20, one of each day after
		26 hours; one that has never run from the time on that it has been there."""
		table = (
			("connected_app.site.schedule.run", 19 / 60, 21 / 60),
			("connected_app.site.keys.care", 25.9, 26.1),
		)
		for field in ("last_execution", "creation"):
			for method, in_time, late in table:
				for hours, behind in ((in_time, False), (late, True)):
					when = frappe.utils.now_datetime() - timedelta(hours=hours)
					job = {"method": method}
					frappe.db.set_value("Scheduled Job Type", job, {"last_execution": None, field: when})
					found = next(each for each in health.read()["jobs"] if each["method"] == method)
					self.assertEqual(found["behind"], behind, (field, method, hours))

	def test_refreshes_are_counted(self) -> None:
		self.assertEqual(self.of_app()["refreshes"], {})
		self.assertEqual(self.connect(self.app).status_code, 302)
		self.assertEqual(self.of_app()["refreshes"], {})
		name = f"{self.app.name}-{ALICE}"

		def use() -> str:
			frappe.db.set_value("Token Cache", name, {"expires_at": "2020-01-01", "retry_at": None})
			frappe.db.commit()
			forget()
			try:
				self.app.get_oauth2_session(ALICE).get(f"{self.authlib.issuer}/userinfo")
			except OAuthError as error:
				return error.code
			return ""

		self.assertEqual([use(), use()], ["", ""])
		self.assertEqual(self.of_app()["refreshes"], {"": 2})
		self.app.db_set("token_uri", "http://127.0.0.1:1/token")
		frappe.db.commit()
		self.assertEqual([use(), use()], ["network", "network"])
		self.assertEqual(self.of_app()["refreshes"], {"": 2, "network": 2})
		self.assertEqual(self.of_app()["failures"], {"network": 1})

	def test_the_cache_is_cleared(self) -> None:
		"""By an admin, or a migrate: what is no cache stays, for people who are at the provider just now above all."""
		counters.count(self.app.name)
		url = self.alice.ask("authorize", connected_app=self.app.name, success_uri="/me")
		frappe.clear_cache()
		self.assertEqual(self.of_app()["refreshes"], {"": 1})
		self.assertEqual(self.alice.visit(self.authlib.consent(url)).headers["Location"], "/me")

	def test_without_redis(self) -> None:
		"""A refresh does not fail without it, and an admin is notified."""
		with patch.object(frappe.cache, "execute_command", side_effect=RedisDown):
			counters.count(self.app.name)
			self.assertIsNone(counters.read())
		with patch.object(counters, "read", return_value=None):
			found = health.read()
		self.assertIn("redis", [each["check"] for each in found["findings"]])
		self.assertEqual(found["level"], "error")
		self.assertNotIn("refreshes_total{", metrics.text(found))


@needs_providers
class TestMetrics(Case):
	def setUp(self) -> None:
		super().setUp()
		self.app = make_app(self.authlib.issuer, provider_name='Acme\\ "Files"')
		self.afterwards(frappe.db.delete, "Token Cache", {"connected_app": self.app.name})
		frappe.db.bulk_insert(
			"Token Cache",
			["name", "connected_app", "user", "status", "generation"],
			[(f"{self.app.name}-{ALICE}", self.app.name, ALICE, "Reconnect Required", 0)],
		)
		frappe.db.commit()

	def samples(self, text: str) -> dict[tuple[str, str], int]:
		found, known = {}, set()
		self.assertTrue(text.endswith("\n"))
		for line in text.splitlines():
			if line.startswith("# TYPE "):
				known.add(line.split()[2])
			elif not line.startswith("# HELP "):
				matched = SAMPLE.fullmatch(line)
				self.assertTrue(matched, line)
				self.assertIn(matched[1], known, "its type comes first")
				self.assertNotIn((matched[1], matched[2]), found, "one is there twice")
				found[matched[1], matched[2]] = int(matched[3])
		return found

	def test_text(self) -> None:
		samples = self.samples(metrics.text(health.read()))
		labels = f'app="{self.app.name}",provider="Acme\\\\ \\"Files\\"",state="reconnect_required"'
		self.assertEqual(samples["connected_app_connections", labels], 1)
		self.assertIn(samples["connected_app_level", None], (0, 1, 2))

	def ask(self, **headers: str) -> requests.Response:
		return requests.get(
			frappe.utils.get_url("/api/method/connected_app.api.metrics"), headers=headers, timeout=60
		)

	def test_off(self) -> None:
		for headers in ({}, {metrics.HEADER: ""}, {metrics.HEADER: "None"}):
			answer = self.ask(**headers)
			self.assertEqual((answer.status_code, answer.text), (404, "not found\n"))
		with patch.dict(frappe.conf, {metrics.TOKEN: ""}):
			self.assertEqual(self.answer(""), 404)

	def test_the_token(self) -> None:
		with patch.dict(frappe.conf, {metrics.TOKEN: "a-long-token"}):
			for token, status in (
				("a-long-token", 200),
				("a-long-toke", 403),
				("", 403),
				(None, 403),
				("ä-löng", 403),
			):
				self.assertEqual(self.answer(token), status, token)

	def answer(self, token: str | None) -> int:
		with patch.object(frappe, "get_request_header", return_value=token):
			answer = api.metrics()
		known = self.app.name in answer.get_data(as_text=True)
		self.assertEqual(known, answer.status_code == 200)
		return answer.status_code

	def test_commands(self) -> None:
		said = bench("status", "--json")
		found = json.loads(said.stdout)
		self.assertEqual(said.returncode, int(found["level"] == "error"), said.stderr)
		self.assertIn(self.app.name, [app["name"] for app in found["apps"]])
		said = bench("status", "--prometheus")
		self.assertIn("connected_app_connections", {name for name, _labels in self.samples(said.stdout)})
		said = bench("status")
		self.assertEqual(said.returncode, int(found["level"] == "error"), said.stderr)
		for words in (self.app.name, "to be revoked: ", f"level: {found['level']}"):
			self.assertIn(words, said.stdout)
