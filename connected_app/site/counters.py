"""How many refreshes there were, and why some failed: counted by app and code in the site's Redis, which every process
shares. A restart of Redis begins again from zero."""

from __future__ import annotations

from contextlib import suppress

import frappe
from redis.exceptions import RedisError

KEY = "connected_app_refreshes"


def count(connected_app: str, code: str = "") -> None:
	"""Count a refresh. Without Redis, nothing is counted and nothing raised.

	:param code: why it failed; empty if it did not
	"""
	with suppress(RedisError):
		frappe.cache.hincrby(frappe.cache.make_key(KEY), f"{code}|{connected_app}", 1)  # nosemgrep


def read() -> dict[str, dict[str, int]] | None:
	"""The numbers, by Connected App and code; None if Redis does not answer."""
	try:
		# Frappe's own `hgetall` expects pickles.
		found = frappe.cache.execute_command("HGETALL", frappe.cache.make_key(KEY))
	except RedisError:
		return None
	counts: dict[str, dict[str, int]] = {}
	for field, number in found.items():
		code, _bar, connected_app = field.decode().partition("|")
		counts.setdefault(connected_app, {})[code] = int(number)
	return counts
