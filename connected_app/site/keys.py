"""Keys by which Connected Apps sign: where they are kept, and how they are published.

One key is in use. At most one is new: it is published, so that it can be registered at the provider, but not used. The one
that was replaced stays published for a while.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import Any

import frappe
from frappe.utils import get_url

from connected_app.oauth import catalogue, keys
from connected_app.oauth.clock import utc_now
from connected_app.oauth.keys import SigningKey
from connected_app.oauth.redact import Secret
from connected_app.site import passwords

DOCTYPE = "Connected App"
IN_USE, NEW = "signing_key", "next_signing_key"
FIELDS = (IN_USE, NEW)
REPLACED = "replaced"
# Longer than any provider's assertion is good for, and its copy of the key set is old.
STAYS_PUBLISHED = timedelta(days=1)
# Behind it, in a path: what the key set is found by, which outlives a renaming.
PATH = "/api/method/connected_app.api.keys/"
_IDENTIFIER = re.compile(r"[0-9a-f]{20}")
# Seconds for which a provider need not ask again.
CACHED = 60


def make(connected_app: str, algorithm: str) -> None:
	"""Make a new key, in the place of one that is new.

	:raises ConfigurationError: `key_algorithm`
	"""
	row = _row(connected_app)
	_store_new(row, keys.generate(algorithm, row.provider_name, utc_now()))


def bring(connected_app: str, text: Secret, algorithm: str = "", key_id: str = "") -> None:
	"""Take a key that an admin has, in PEM, as the new one.

	:param algorithm, key_id: as `oauth.keys.read` has them
	:raises ConfigurationError: `key_unreadable`, `key_algorithm`, `certificate_expired`
	"""
	_store_new(_row(connected_app), keys.read(text, utc_now(), algorithm, key_id))


def use_new(connected_app: str) -> None:
	"""Sign with the new key from now on.

	:raises ConfigurationError: `signing_key_missing`, `signing_key_unreadable`
	"""
	row = _row(connected_app)
	if not row.get(NEW):
		raise catalogue.error("signing_key_missing")
	text = passwords.read(DOCTYPE, row.name, NEW, raise_exception=False)
	if text is None:
		raise catalogue.error("signing_key_unreadable")
	known = published(row.published_keys)
	if IN_USE in known:
		known[REPLACED] = {**known[IN_USE], "replaced_on": utc_now().isoformat()}
	known[IN_USE] = known.pop(NEW)
	row.update({IN_USE: text, NEW: "", "published_keys": json.dumps(known)})
	row.save()


def key_set(identifier: str) -> dict[str, Any] | None:
	"""The public keys at `PATH` and `identifier` (RFC 7517 5), or None where there is no such set."""
	if not _IDENTIFIER.fullmatch(identifier):
		return None
	found = frappe.get_all(
		DOCTYPE, {"key_set_uri": ("like", f"%{PATH}{identifier}"), "enabled": 1}, pluck="published_keys"
	)
	if not found:
		return None
	known = published(found[0])
	replaced = known.get(REPLACED)
	if replaced and utc_now() - datetime.fromisoformat(replaced["replaced_on"]) > STAYS_PUBLISHED:
		del known[REPLACED]
	return {"keys": [each["jwk"] for each in known.values()]}


def published(text: str | None) -> dict[str, dict[str, Any]]:
	"""What *Published Keys* says: the keys' public parts, by `FIELDS` and `REPLACED`."""
	try:
		known = json.loads(text or "{}")
	except ValueError:
		return {}
	return known if isinstance(known, dict) else {}


def _row(connected_app: str) -> Any:
	return frappe.get_doc(DOCTYPE, connected_app, for_update=True)


def _store_new(row: Any, key: SigningKey) -> None:
	about = {
		"jwk": key.public(),
		"certificate": key.certificate,
		"fingerprint": key.fingerprint() if key.certificate else "",
		"made_on": utc_now().isoformat(),
	}
	row.update(
		{NEW: key.to_json(), "published_keys": json.dumps({**published(row.published_keys), NEW: about})}
	)
	if not row.key_set_uri:
		row.key_set_uri = get_url(PATH + frappe.generate_hash(length=20))
	row.save()
