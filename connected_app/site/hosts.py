"""Which hosts serve this site, and whether they share what they have to.

A host cannot see another's Redis or configuration. So each notes in the database, which they share for certain, which
Redis it uses, and a fingerprint of its encryption key. See docs/operations.md.
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

# In Frappe's table of defaults, as two-factor authentication keeps its secrets there.
PARENT = "__connected_app_hosts"
# Seconds after which a host notes itself again.
EVERY = 300
# One that has noted nothing for so long is gone, or idle.
RECENT = timedelta(minutes=20)


def note() -> None:
	"""Note this host, every few minutes: in requests and jobs that need what hosts have to share. Fails nobody."""
	# On SQLite there is one host.
	if frappe.db.db_type == "sqlite":
		return
	with suppress(Exception):
		if frappe.cache.set(frappe.cache.make_key(f"connected_app_host_{_name()}"), 1, nx=True, ex=EVERY):
			_note(_name(), frappe.cache.info("server")["run_id"], fingerprint(get_encryption_key()))


def seen() -> list[dict[str, Any]]:
	"""The hosts that have noted themselves lately.

	:returns: for each its `name`, which `redis` it uses, the fingerprint of its `key`, when it was last `seen`, and
		`since` when it has these two
	"""
	default = frappe.qb.DocType("DefaultValue")
	rows = frappe.qb.from_(default).select(default.defkey, default.defvalue).where(default.parent == PARENT)
	found = [{"name": name, **_times(json.loads(value))} for name, value in rows.run()]
	return [host for host in found if utc_now() - host["seen"] < RECENT]


def is_this(host: dict[str, Any]) -> bool:
	return bool(host["name"] == _name())


def differ(hosts: list[dict[str, Any]], what: Literal["redis", "key"]) -> bool:
	"""Whether two hosts have had another `what` at the same time. After a restart, or while a key is being replaced, one of
	them has only not noted the new one yet."""
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
	"""Two benches of one machine are two hosts."""
	folder = frappe.utils.sha256_hash(os.path.abspath(frappe.local.sites_path))[:8]
	return f"{socket.gethostname()[:100]} {folder}"


def fingerprint(key: str) -> str:
	"""Of an encryption key; says nothing of it."""
	return HKDF(SHA256(), 8, salt=None, info=b"connected_app fingerprint").derive(key.encode()).hex()
