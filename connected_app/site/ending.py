"""Ending many connections: they stop counting at once, and are removed in chunks by a background job.

Every connection belongs to a *generation* of its Connected App. Disabling or deleting an app with many connections writes
one row, an *Offboarding*, and increases the app's generation: from then on, none of them is found. The job then moves
their tokens, chunk by chunk, to the queue of revocations (see `site/revocation.py`). Each chunk is one transaction:
connections, queue, audit trail and progress change together, or not at all. After a job was killed, the next one
continues. See docs/decisions/0025-ending-many-connections.md.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import frappe
from frappe import _
from frappe.utils import cint

from connected_app.oauth.client import Settings
from connected_app.oauth.clock import utc_now
from connected_app.oauth.redact import Secret
from connected_app.site import events, passwords, recent, settings
from connected_app.site.database import lock_free, own_connection, own_transaction, writing
from connected_app.site.identity import ConnectionKey
from connected_app.site.rows import DOCTYPE as TOKEN_CACHE
from connected_app.site.rows import TOKENS, aware, naive

DOCTYPE = "Offboarding"
QUEUE = "Pending Revocation"
# Connections in one transaction.
CHUNK = 200
# An attempt or a refresh that had begun may still store its grant for so long.
SETTLED = timedelta(minutes=2)
# Seconds to wait for the row of an Offboarding, which another job holds for one chunk.
LOCK_WAIT = 10


@dataclass(frozen=True)
class Ended:
	"""A connection that ends.

	:param name: of the Token Cache
	:param tokens: encrypted, as in the database, by field; none if they cannot be read or revoked
	:param client: the client that can revoke them, encrypted
	"""

	name: str
	key: ConnectionKey
	tokens: dict[str, str]
	client: str = ""


def begin(app: Any) -> None:
	"""From now on no connection to `app`, a Connected App, counts; a job removes them.

	In the caller's transaction. It changes none of their rows, and waits for none of their locks.
	"""
	of_app = {"connected_app": app.name, "generation": app.generation}
	doc = frappe.get_doc(
		{
			"doctype": DOCTYPE,
			**of_app,
			"requested_on": naive(utc_now()),
			"ended_by": frappe.session.user,
			"ip_address": getattr(frappe.local, "request_ip", None),
			"total": frappe.db.count(TOKEN_CACHE, of_app),
		}
	)
	with own_connection():
		# If the app is being deleted, this connection still sees its secret.
		client = client_of(app.name, app.generation)
	doc.db_insert()
	if client:
		passwords.store(DOCTYPE, doc.name, "client", settings.to_json(client))
	app.generation = next_generation(app.name)
	frappe.db.set_value("Connected App", app.name, "generation", app.generation, update_modified=False)
	recent.forget_app(app.name)


def next_generation(connected_app: str) -> int:
	"""The next generation of a Connected App of this name: later than every generation with connections still to be removed,
	also those of a deleted app."""
	found = frappe.get_all(
		DOCTYPE, {"connected_app": connected_app}, order_by="generation desc", limit=1, pluck="generation"
	)
	return found[0] + 1 if found else 0


def client_of(connected_app: str, generation: int) -> Settings | None:
	"""The client that can revoke connections of this generation: as it was when they were ended, or as it is now. None if the
	provider cannot revoke, or the client is lost."""
	ended = frappe.db.get_value(DOCTYPE, {"connected_app": connected_app, "generation": generation})
	if ended:
		return _kept(ended)
	if not frappe.db.get_value("Connected App", connected_app, "revocation_uri"):
		return None
	return settings.for_revoking(connected_app)


def check_none_ends(*connected_apps: str) -> None:
	"""Check this before a Connected App takes the name of another, which may be deleted.

	:raises frappe.ValidationError: while connections of one of these are still to be removed
	"""
	if frappe.db.exists(DOCTYPE, {"connected_app": ("in", connected_apps)}):
		frappe.throw(_("Connections of this app are still being removed. Please try again later."))


def prepare_merge(old: str, new: str) -> None:
	"""Prepare for the connections of the Connected App `old` to become those of `new`.

	:raises frappe.ValidationError: while some are still to be removed; if one app's connection is shared and the other's
		are each user's own
	"""
	columns = ["connection_is", "grant_type", "several_accounts"]
	both = [frappe.db.get_value("Connected App", name, columns, as_dict=True) for name in (old, new)]
	if settings.is_shared(both[0]) != settings.is_shared(both[1]):
		frappe.throw(_("{0} is not the same in the two apps.").format(_("Connection Is")))
	if settings.has_several_accounts(both[0]) != settings.has_several_accounts(both[1]):
		frappe.throw(_("{0} is not the same in the two apps.").format(_("Several Accounts")))
	check_none_ends(old, new)
	generation = cint(frappe.db.get_value("Connected App", new, "generation"))
	cache = frappe.qb.DocType(TOKEN_CACHE)
	frappe.qb.update(cache).set(cache.generation, generation).where(cache.connected_app == old).run()


# Chunks


def run(seconds: float) -> None:
	"""Remove ended connections for at most `seconds`."""
	began = time.monotonic()
	for name in frappe.get_all(DOCTYPE, order_by="requested_on", pluck="name", limit=0):
		try:
			while time.monotonic() - began < seconds and _chunk(name):
				pass
		except Exception as error:
			# That chunk was rolled back; the next run does it. The other apps do not wait.
			title = "Connected App: connections could not be removed"
			frappe.log_error(title=title, message=f"{type(error).__name__} for {DOCTYPE} {name}")


def _chunk(name: str) -> bool:
	"""Remove a chunk of an Offboarding's connections, and the Offboarding itself once none is left. Returns whether there were
	any."""
	with own_transaction(name, LOCK_WAIT):
		with writing():
			row = frappe.db.get_value(DOCTYPE, name, ["*"], as_dict=True, for_update=True)
			if not row:
				return False
			of_app = {"connected_app": row.connected_app, "generation": row.generation}
			caches = lock_free(
				TOKEN_CACHE, of_app, ("name", "connected_app", "user", "shared", "account"), CHUNK
			)
			if caches:
				client = _kept(name)
				if not client and not row.ended and passwords.has_password(DOCTYPE, name, "client"):
					frappe.log_error(
						title="Connected App: revocation given up",
						message=f"What would revoke the connections of Connected App {row.connected_app} cannot be read: they"
						" are removed here. Access can be taken back in the accounts' settings at the provider.",
					)
				ended = read(caches, passwords.encrypt(settings.to_json(client)) if client else "")
				write(ended, row.ended_by, row.ip_address)
				done = row.ended + len(caches)
				total = max(row.total, done)
				frappe.db.set_value(
					DOCTYPE, name, {"ended": done, "total": total, "progress": 100 * done / total}
				)
			elif utc_now() - aware(row.requested_on) > SETTLED and not frappe.db.exists(TOKEN_CACHE, of_app):
				_drop(name)
		if caches:
			events.hand_out("disconnected", [entry.key for entry in ended])
	return bool(caches)


def read(caches: Iterable[Any], client: str) -> list[Ended]:
	"""The tokens in rows of Token Cache that have to be revoked, by one statement.

	:param caches: with `name`, `connected_app`, `user`, `shared` and `account`
	:param client: the client that can revoke, encrypted; empty if none can
	"""
	caches = list(caches)
	tokens: dict[str, dict[str, str]] = {cache.name: {} for cache in caches}
	if client:
		auth = passwords.AUTH
		found = (
			frappe.qb.from_(auth)
			.select(auth.name, auth.fieldname, auth.password)
			.where((auth.doctype == TOKEN_CACHE) & auth.name.isin(list(tokens)) & auth.fieldname.isin(TOKENS))
			.where(auth.encrypted == 1)
		).run()
		for name, field, encrypted in found:
			if passwords.is_readable(encrypted):
				tokens[name][field] = encrypted
	return [
		Ended(
			cache.name,
			ConnectionKey.from_row(cache),
			tokens[cache.name],
			client if tokens[cache.name] else "",
		)
		for cache in caches
	]


def read_all(caches: Sequence[Any]) -> list[Ended]:
	"""As `read`, for several apps.

	:param caches: also with `generation`
	"""
	by_client: dict[tuple[str, int], list[Any]] = {}
	for cache in caches:
		by_client.setdefault((cache.connected_app, cache.generation), []).append(cache)
	ended = []
	for whose, some in by_client.items():
		client = client_of(*whose)
		ended += read(some, passwords.encrypt(settings.to_json(client)) if client else "")
	return ended


def write(ended: Sequence[Ended], ended_by: str, ip_address: str | None) -> None:
	"""Remove connections in the current transaction, queue their tokens to be revoked, and write the audit trail."""
	_remove([entry.name for entry in ended])
	waiting = [(frappe.generate_hash(length=20), entry) for entry in ended if entry.client]
	if waiting:
		here, now = frappe.utils.now(), naive(utc_now())
		by = frappe.session.user
		rows = (
			(name, here, here, by, by, entry.key.app, entry.key.user, now, now) for name, entry in waiting
		)
		fields = ["name", "creation", "modified", "owner", "modified_by", "connected_app", "user"]
		frappe.db.bulk_insert(QUEUE, [*fields, "requested_on", "retry_at"], rows)
		passwords.store_encrypted(
			(QUEUE, name, field, encrypted)
			for name, entry in waiting
			for field, encrypted in {**entry.tokens, "client": entry.client}.items()
		)
	events.audit_many("disconnected", [entry.key for entry in ended], ended_by, ip_address)


def give_up_all(why: str) -> None:
	"""Remove all ended connections without revoking them. The Error Log names each app."""
	ended = [
		(row.connected_app, row.generation)
		for row in frappe.get_all(DOCTYPE, fields=["connected_app", "generation"], limit=0)
	]
	# Also if the Offboarding was lost: ended connections must never count again.
	apps = frappe.get_all("Connected App", fields=["name", "generation"], limit=0)
	ended += [(app.name, ("!=", app.generation)) for app in apps]
	for connected_app, generation in ended:
		of_app = {"connected_app": connected_app, "generation": generation}
		number = frappe.db.count(TOKEN_CACHE, of_app)
		while names := frappe.get_all(TOKEN_CACHE, of_app, pluck="name", limit=CHUNK):
			_remove(names)
		if number:
			frappe.log_error(
				title="Connected App: revocation given up",
				message=f"The provider of Connected App {connected_app} could not be told that {number} connections"
				f" were ended ({why}). Access can be taken back in the accounts' settings there.",
			)
	for name in frappe.get_all(DOCTYPE, pluck="name", limit=0):
		_drop(name)
	for doctype in (TOKEN_CACHE, "Connected App"):
		table = frappe.qb.DocType(doctype)
		frappe.qb.update(table).set(table.generation, 0).where(table.generation != 0).run()


def _remove(names: Sequence[str]) -> None:
	frappe.db.delete(TOKEN_CACHE, {"name": ("in", names)})
	remove_details(names)


def remove_details(names: Sequence[str]) -> None:
	"""Remove the scopes and secrets of Token Cache rows that are deleted by SQL and not as documents."""
	frappe.db.delete("OAuth Scope", {"parenttype": TOKEN_CACHE, "parent": ("in", names)})
	frappe.db.delete("__Auth", {"doctype": TOKEN_CACHE, "name": ("in", names)})


def _kept(name: str) -> Settings | None:
	text = passwords.read(DOCTYPE, name, "client", raise_exception=False)
	return settings.from_json(Secret(text)) if text else None


def _drop(name: str) -> None:
	frappe.db.delete(DOCTYPE, {"name": name})
	frappe.db.delete("__Auth", {"doctype": DOCTYPE, "name": name})
