"""Several hosts serve a site: what they have to share, and the warning when they do not."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import frappe
from cryptography.fernet import Fernet
from frappe.utils.password import get_encryption_key
from frappe.utils.redis_wrapper import RedisWrapper

from connected_app.oauth.authorization import Attempt
from connected_app.oauth.clock import utc_now
from connected_app.oauth.redact import Secret
from connected_app.site import health, hosts
from connected_app.site.attempts import RedisAttemptStore
from connected_app.tests.site import PATIENCE, in_a_new_job, statements

NOW = utc_now()


def host(since: int, seen: int, redis: str = "one", key: str = "k") -> dict[str, Any]:
	"""Times are minutes ago."""
	ago = {"since": NOW - timedelta(minutes=since), "seen": NOW - timedelta(minutes=seen)}
	return {"name": "host", "redis": redis, "key": key, **ago}


# What they note → whether they differ in Redis and key.
HOSTS = (
	([], (False, False)),
	([host(60, 1)], (False, False)),
	([host(60, 1), host(50, 4)], (False, False)),
	([host(60, 1), host(50, 4, "two")], (True, False)),
	([host(60, 1), host(50, 4, key="other")], (False, True)),
	# Redis was restarted three minutes ago, and the second one has noted nothing since.
	([host(3, 1), host(50, 4, "two")], (False, False)),
	([host(3, 1), host(50, 2, "two")], (True, False)),
)


@unittest.skipIf(frappe.db and frappe.db.db_type == "sqlite", "SQLite: one host")
class TestHosts(unittest.TestCase):
	def setUp(self) -> None:
		in_a_new_job(self.clear)
		self.addCleanup(in_a_new_job, self.clear)

	def clear(self) -> None:
		hosts.forget_all()
		self.five_minutes_later()

	def five_minutes_later(self) -> None:
		frappe.cache.delete(frappe.cache.make_key(f"connected_app_host_{hosts._name()}"))

	def seen(self) -> list[dict[str, Any]]:
		frappe.db.rollback()
		return sorted(hosts.seen(), key=lambda each: each["name"])

	@contextmanager
	def other_host(self) -> Iterator[None]:
		"""This process, as if it ran on another host, with a Redis of its own."""
		folder = tempfile.TemporaryDirectory()
		self.addCleanup(folder.cleanup)
		path = f"{folder.name}/redis"
		command = [shutil.which("redis-server") or "redis-server", "--port", "0", "--unixsocket", path]
		process = subprocess.Popen([*command, "--save", ""], stdout=subprocess.DEVNULL)
		try:
			redis = RedisWrapper.from_url(f"unix://{path}")
			ends = time.monotonic() + PATIENCE
			while not redis.connected():
				self.assertLess(time.monotonic(), ends, "no Redis")
				time.sleep(0.02)
			with patch.object(frappe, "cache", redis), patch.object(hosts, "_name", lambda: "other host"):
				yield
		finally:
			process.terminate()
			process.wait(PATIENCE)

	def test_table(self) -> None:
		for noted, expected in HOSTS:
			self.assertEqual((hosts.differ(noted, "redis"), hosts.differ(noted, "key")), expected, noted)

	def test_noted_now_and_then(self) -> None:
		hosts.note()
		(first,) = self.seen()
		with statements() as sent:
			hosts.note()
		self.assertEqual(sent, [])
		self.five_minutes_later()
		hosts.note()
		(again,) = self.seen()
		self.assertEqual((again["since"], again["redis"]), (first["since"], first["redis"]))
		self.assertGreater(again["seen"], first["seen"])
		with patch.object(hosts, "utc_now", return_value=utc_now() + timedelta(minutes=21)):
			self.assertEqual(self.seen(), [])

	@unittest.skipUnless(shutil.which("redis-server"), "there is no redis-server on this machine")
	def test_two_with_a_redis_each(self) -> None:
		"""A sign-in that returns to the other host fails there, and an admin sees why."""
		attempt = Attempt(
			state=Secret(frappe.generate_hash(length=20)),
			code_verifier=None,
			nonce=None,
			redirect_uri="",
			expires_at=utc_now() + timedelta(minutes=5),
		)
		RedisAttemptStore().put(attempt)
		self.assertNotIn("hosts_redis", self.found())
		with self.other_host():
			self.assertIsNone(RedisAttemptStore().take(attempt.state))
			self.assertNotIn("hosts_redis", self.found(), "this host may be gone")
		self.assertEqual(RedisAttemptStore().take(attempt.state), attempt)
		self.five_minutes_later()
		self.assertIn("hosts_redis", self.found())

	def test_two_keys(self) -> None:
		hosts._note("one", "redis", hosts.fingerprint(get_encryption_key()))
		with patch.dict(frappe.local.conf, encryption_key=Fernet.generate_key().decode()):
			hosts._note("two", "redis", hosts.fingerprint(get_encryption_key()))
		hosts._note("one", "redis", hosts.fingerprint(get_encryption_key()))
		self.assertTrue(hosts.differ(self.seen(), "key"))
		self.assertNotIn(frappe.conf.encryption_key, str(self.seen()))

	def found(self) -> list[str]:
		frappe.db.rollback()
		return [each["check"] for each in health.read()["findings"]]
