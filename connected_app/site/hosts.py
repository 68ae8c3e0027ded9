"""The hosts that serve this site, and whether they share Redis and encryption key.

A host cannot see another's Redis or configuration. So each writes into the database, which they certainly share, which
Redis it uses and a fingerprint of its encryption key. See docs/operations.md.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Literal

import frappe
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from frappe.utils.password import get_encryption_key

from connected_app.oauth.clock import utc_now
from connected_app.site.database import own_transaction, writing

# The key in Frappe's table of defaults, where two-factor authentication also keeps its secrets.
PARENT = "__connected_app_hosts"
# Seconds after which a host notes itself again.
EVERY = 300
# A host that has written nothing for so long is gone, or idle.
RECENT = timedelta(minutes=20)


def note() -> None:
	"""Note this host every few minutes, in requests and jobs that depend on what hosts share. Never raises."""
	# On SQLite there is one host.
	if frappe.db.db_type == "sqlite":
		return
	with suppress(Exception):
		key = frappe.cache.make_key(f"connected_app_host_{_name()}")
		if frappe.cache.set(key, 1, nx=True, ex=EVERY):  # nosemgrep (the key is this site's)
			_note(_name(), frappe.cache.info("server")["run_id"], fingerprint(get_encryption_key()))


def seen() -> list[dict[str, Any]]:
	"""The hosts that have noted themselves lately.

	:returns: for each its `name`, its `redis`, the fingerprint of its `key`, when it was last `seen`, and `since` when it has
		had these two
	"""
	default = frappe.qb.DocType("DefaultValue")
	rows = frappe.qb.from_(default).select(default.defkey, default.defvalue).where(default.parent == PARENT)
	found = [{"name": name, **_times(json.loads(value))} for name, value in rows.run()]
	return [host for host in found if utc_now() - host["seen"] < RECENT]


def is_this(host: dict[str, Any]) -> bool:
	return bool(host["name"] == _name())


def differ(hosts: list[dict[str, Any]], what: Literal["redis", "key"]) -> bool:
	"""Whether two hosts have had a different `what` at the same time. After a restart, or while a key is being replaced, one
	may only not have noted the new one yet."""
	return any(
		one[what] != other[what] and one["seen"] >= other["since"] and other["seen"] >= one["since"]
		for one in hosts
		for other in hosts
	)


def forget_all() -> None:
	frappe.db.delete("DefaultValue", {"parent": PARENT})


def _note(name: str, redis: str, key: str) -> None:
	now = utc_now()
	with own_transaction("hosts", 5), writing():
		known = frappe.db.get_value("DefaultValue", {"parent": PARENT, "defkey": name}, ["name", "defvalue"])
		before = json.loads(known[1]) if known else {}
		same = (before.get("redis"), before.get("key")) == (redis, key)
		since = before["since"] if same else now.isoformat()
		value = json.dumps({"redis": redis, "key": key, "seen": now.isoformat(), "since": since})
		if known:
			frappe.db.set_value("DefaultValue", known[0], "defvalue", value, update_modified=False)
		else:
			row = {"doctype": "DefaultValue", "parent": PARENT, "parenttype": "__default"}
			frappe.get_doc(
				{**row, "parentfield": "system_defaults", "defkey": name, "defvalue": value}
			).db_insert()


def _times(host: dict[str, Any]) -> dict[str, Any]:
	return {**host, **{field: datetime.fromisoformat(host[field]) for field in ("seen", "since")}}


def _name() -> str:
	"""The name of this host; two benches on one machine are two hosts."""
	folder = frappe.utils.sha256_hash(os.path.abspath(frappe.local.sites_path))[:8]
	return f"{socket.gethostname()[:100]} {folder}"


def fingerprint(key: str) -> str:
	"""A fingerprint of an encryption key, which does not disclose the key."""
	return HKDF(SHA256(), 8, salt=None, info=b"connected_app fingerprint").derive(key.encode()).hex()
