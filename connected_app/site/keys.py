"""Signing keys of Connected Apps: storing, publishing and replacing them.

One key is in use. At most one is new: published, so that it can be registered at the provider, but not used yet. A key that
was replaced stays published for a while.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import Any

import frappe
from frappe.utils import cint, get_url

from connected_app.oauth import catalogue, keys
from connected_app.oauth.clock import utc_now
from connected_app.oauth.keys import SigningKey
from connected_app.oauth.redact import Secret
from connected_app.site import events, passwords
from connected_app.site.database import writing

DOCTYPE = "Connected App"
IN_USE, NEW = "signing_key", "next_signing_key"
FIELDS = (IN_USE, NEW)
REPLACED = "replaced"
# Longer than an assertion is valid, and than providers cache a key set.
STAYS_PUBLISHED = timedelta(days=1)
# In Frappe's table of defaults: the key sets of deleted apps, as long as their connections may still be revoked.
DELETED = "__connected_app_key_sets"
STAYS_AFTER_DELETION = timedelta(days=8)
# How long a scheduled key is published before it is used: longer than providers cache a key set.
OVERLAP = timedelta(days=3)
# Days before a certificate expires at which admins are notified.
NOTICES = (30, 7)
# The key set's identifier follows it in a path; it stays when the app is renamed.
PATH = "/api/method/connected_app.api.keys/"
_IDENTIFIER = re.compile(r"[0-9a-f]{20}")
# Seconds for which a provider need not ask again.
CACHED = 60


def make(connected_app: str, algorithm: str) -> None:
	"""Make a new key; it replaces one that is new, too.

	:raises ConfigurationError: `key_algorithm`
	"""
	row = _row(connected_app)
	_store_new(row, keys.generate(algorithm, row.provider_name, utc_now()), made_by="admin")


def bring(
	connected_app: str,
	text: Secret,
	algorithm: str = "",
	key_id: str = "",
	passphrase: Secret | None = None,
	*,
	is_file: bool = False,
) -> None:
	"""Import an admin's existing key as the new one.

	:param text: in PEM, or the file in base64; the other parameters as in `oauth.keys.read`
	:raises ConfigurationError: as `oauth.keys.read`
	"""
	read = keys.read_file if is_file else keys.read
	_store_new(_row(connected_app), read(text, utc_now(), algorithm, key_id, passphrase))


def use_new(connected_app: str) -> None:
	"""Sign with the new key from now on.

	:raises ConfigurationError: `signing_key_missing`, `signing_key_unreadable`
	:raises TemporaryFailure: `busy`
	"""
	row = _row(connected_app)
	if not row.get(NEW):
		raise catalogue.error("signing_key_missing")
	text = passwords.read(DOCTYPE, row.name, NEW, raise_exception=False)
	if text is None:
		raise catalogue.error("signing_key_unreadable")
	known = published(row.published_keys)
	if SigningKey.from_json(text).public() != known[NEW]["jwk"]:
		# If another request has changed both, this reads the current row, but the key as of the start of this transaction.
		raise catalogue.error("busy")
	if IN_USE in known:
		known[REPLACED] = {**known[IN_USE], "replaced_on": utc_now().isoformat()}
	known[IN_USE] = {**known.pop(NEW), "used_on": utc_now().isoformat()}
	row.update({IN_USE: text, NEW: "", "published_keys": json.dumps(known)})
	row.save()


def care() -> None:
	"""Scheduled, once a day: replace the keys that are due, and notify admins of certificates that expire. An app that fails
	stops no other."""
	with writing():
		for identifier, until, _keys in _deleted():
			if until < utc_now():
				frappe.db.delete("DefaultValue", {"parent": DELETED, "defkey": identifier})
	for name in frappe.get_all(DOCTYPE, {"enabled": 1, "key_set_uri": ("is", "set")}, pluck="name", limit=0):
		try:
			with writing():
				_rotate(name)
			with writing():
				_tell(name)
		except Exception as error:
			frappe.db.rollback()
			# Without a traceback, which might show a key.
			with writing():
				frappe.log_error(title="Connected App: keys", message=f"{type(error).__name__} for {name}")


def _rotate(connected_app: str) -> None:
	"""Make a new key in time, and use it once providers know it. A new key that an admin has made or imported waits for the
	admin; and an imported key in use is never replaced: this site cannot make what an authority has issued."""
	row = _row(connected_app)
	age, known, now = cint(row.rotate_keys_after), published(row.published_keys), utc_now()
	if not age or not known.get(IN_USE, {}).get("made_by"):
		return
	if NEW in known:
		made_on = datetime.fromisoformat(known[NEW]["made_on"])
		if known[NEW].get("made_by") == "schedule" and now - made_on >= OVERLAP:
			use_new(connected_app)
		return
	if now - datetime.fromisoformat(known[IN_USE]["used_on"]) >= timedelta(days=age) - OVERLAP:
		key = keys.generate(known[IN_USE]["jwk"]["alg"], row.provider_name, now)
		_store_new(row, key, made_by="schedule")


def _tell(connected_app: str) -> None:
	row = _row(connected_app)
	known = published(row.published_keys)
	about = known.get(IN_USE, {})
	if not about.get("ends_on"):
		return
	ends_on = datetime.fromisoformat(about["ends_on"])
	due = [days for days in NOTICES if ends_on - utc_now() <= timedelta(days=days)]
	if not due or about.get("told") == min(due):
		return
	known[IN_USE] = {**about, "told": min(due)}
	row.db_set("published_keys", json.dumps(known), update_modified=False)
	events.certificate_ends(row, ends_on)


def key_set(identifier: str) -> dict[str, Any] | None:
	"""The public keys at `PATH` and `identifier` (RFC 7517 5), or None if there is no such set."""
	if not _IDENTIFIER.fullmatch(identifier):
		return None
	found = frappe.get_all(
		DOCTYPE, {"key_set_uri": ("like", f"%{PATH}{identifier}")}, pluck="published_keys"
	) or [text for deleted, until, text in _deleted() if deleted == identifier and until >= utc_now()]
	if not found:
		return None
	known = published(found[0])
	replaced = known.get(REPLACED)
	if replaced and utc_now() - datetime.fromisoformat(replaced["replaced_on"]) > STAYS_PUBLISHED:
		del known[REPLACED]
	return {"keys": [each["jwk"] for each in known.values()]}


def end_of_app(app: Any) -> None:
	"""A Connected App is deleted, in the caller's transaction. Keep its key set: its connections are still revoked, by
	requests that its keys have signed."""
	if not (app.key_set_uri and app.revocation_uri):
		return
	kept = {"until": (utc_now() + STAYS_AFTER_DELETION).isoformat(), "keys": app.published_keys}
	frappe.get_doc(
		{
			"doctype": "DefaultValue",
			"parent": DELETED,
			"parenttype": "__default",
			"parentfield": "system_defaults",
			"defkey": app.key_set_uri.rpartition("/")[2],
			"defvalue": json.dumps(kept),
		}
	).db_insert()


def forget_all() -> None:
	frappe.db.delete("DefaultValue", {"parent": DELETED})


def _deleted() -> list[tuple[str, datetime, str]]:
	"""For each deleted app: the identifier of its key set, until when it stays, and *Published Keys*."""
	default = frappe.qb.DocType("DefaultValue")
	rows = frappe.qb.from_(default).select(default.defkey, default.defvalue).where(default.parent == DELETED)
	found = [(identifier, json.loads(kept)) for identifier, kept in rows.run()]
	return [(identifier, datetime.fromisoformat(kept["until"]), kept["keys"]) for identifier, kept in found]


def published(text: str | None) -> dict[str, dict[str, Any]]:
	"""The public parts in *Published Keys*, by `FIELDS` and `REPLACED`."""
	try:
		known = json.loads(text or "{}")
	except ValueError:
		return {}
	return known if isinstance(known, dict) else {}


def _row(connected_app: str) -> Any:
	return frappe.get_doc(DOCTYPE, connected_app, for_update=True)


def _store_new(row: Any, key: SigningKey, made_by: str = "") -> None:
	"""
	:param made_by: "admin", or "schedule"; empty for an imported key
	"""
	about = {"jwk": key.public(), "made_on": utc_now().isoformat(), "made_by": made_by}
	if key.certificate:
		about |= {
			"certificate": key.certificate,
			"fingerprint": key.fingerprint(),
			"thumbprint": key.thumbprint(),
			"ends_on": key.expires_at().isoformat(),
		}
	row.update(
		{NEW: key.to_json(), "published_keys": json.dumps({**published(row.published_keys), NEW: about})}
	)
	if not row.key_set_uri:
		row.key_set_uri = get_url(PATH + frappe.generate_hash(length=20))
	row.save()
