"""Several accounts of one user at a provider: which one is named, which one a consent is for, and which is the default.

The default account has the row with the usual name, which core finds, too. Other accounts have rows with other names.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import frappe
from frappe.utils import cint

from connected_app.oauth import catalogue
from connected_app.oauth.errors import OAuthError
from connected_app.oauth.grant import Grant
from connected_app.oauth.redact import printable, strip_chain
from connected_app.site import ending, recent, rows
from connected_app.site.database import BUSY, is_lost, own_connection, own_transaction, writing
from connected_app.site.events import announce
from connected_app.site.grants import LOCK_WAIT, being_renewed, store_unavailable
from connected_app.site.identity import ConnectionKey, slot

OF_ACCOUNTS = """
	select c.`name`, c.`account`, c.`account_id`, c.`account_name`, c.`status`, c.`connected_on`
	from `tabToken Cache` c
"""
LONGEST = 140


@dataclass(frozen=True)
class ConnectedAccount:
	"""An account that a user has connected.

	:param id: the provider's ID; empty if it is unknown
	:param name: the name that people know it by
	:param is_default: whether it is used if no account is named
	:param status: "Connected", "Reconnect Required" or "Temporarily Failing"
	:param connected_on: UTC
	:param scopes: the granted ones
	"""

	id: str
	name: str
	is_default: bool
	status: str
	connected_on: datetime | None
	scopes: tuple[str, ...]


def of_owner(key: ConnectionKey) -> list[ConnectedAccount]:
	"""The accounts that the owner of `key` has connected, the default one first; by two statements."""
	found = _by_slot(rows.of_all_accounts(OF_ACCOUNTS, key))
	names = [row.name for row in found.values()]
	scopes: dict[str, list[str]] = {name: [] for name in names}
	filters = {"parenttype": rows.DOCTYPE, "parent": ("in", names or [""])}
	for child in frappe.get_all("OAuth Scope", filters, ["parent", "scope"], order_by="idx"):
		scopes[child.parent].append(child.scope)
	return [
		ConnectedAccount(
			id=row.account_id or "",
			name=row.account_name or row.account_id or "",
			is_default=not account,
			status=row.status or "Connected",
			connected_on=rows.aware(row.connected_on),
			scopes=tuple(scopes[row.name]),
		)
		for account, row in sorted(found.items())
	]


def _by_slot(found: list[Any]) -> dict[str, Any]:
	"""The row that counts for each account: merging users may have left several."""
	by_slot: dict[str, Any] = {}
	for row in found:
		by_slot.setdefault(row.account or "", row)
	return by_slot


def is_named(account: object) -> bool:
	"""Whether an account is named. A programming error (0, an empty list) names an account that is not connected; it does not
	mean the default one."""
	return account is not None and account != ""


def choose(key: ConnectionKey, account: str) -> ConnectionKey:
	"""The connection of the owner of `key` with this `account`, by one statement, which also reads its grant.

	:param account: the provider's ID, or the name that people know it by, whose case does not matter
	:raises ReconnectRequired: `account_not_connected`, `account_ambiguous`
	"""
	found = rows.read_accounts(key)
	known = {row.account or "": row for row in reversed(found)}
	places = [place for place, row in sorted(known.items()) if account in (row.account_id, place) and account]
	places = places[:1] or [
		place for place, row in sorted(known.items()) if _is_called(row.account_name, account)
	]
	if len(places) > 1:
		ids = ", ".join(known[place].account_id or "" for place in places)
		raise catalogue.error("account_ambiguous", printable(account, LONGEST), ids)
	if not places:
		return _remembered(key, account)
	row = known[places[0]]
	chosen = replace(key, account=places[0], wanted=row.account_id or "")
	if not recent.find(chosen) and (grant := rows.grant_in(row.packed)):
		recent.note(chosen, grant)
	return chosen


def _remembered(key: ConnectionKey, account: str) -> ConnectionKey:
	"""As `choose`, for an account that was connected in this request, whose transaction does not see it."""
	for other, remembered in list(recent.known().items()):
		of_grant = remembered.grant.account
		if other.default == key.default and remembered.row and of_grant:
			if account == of_grant.id or _is_called(of_grant.name, account):
				chosen = replace(other, wanted=of_grant.id)
				recent.note(chosen, remembered.grant, remembered.row)
				return chosen
	raise catalogue.error("account_not_connected", printable(account, LONGEST))


def _is_called(name: str | None, account: str) -> bool:
	return bool(name) and str(name).casefold() == account.casefold()


def id_of(key: ConnectionKey, called: str) -> str | None:
	"""The ID of the account whose name or ID is `called`, ignoring case; None if there is none, or more than one."""
	found = rows.of_all_accounts(OF_ACCOUNTS, key)
	ids = {
		row.account_id
		for row in found
		if any(_is_called(known, called) for known in (row.account_id, row.account_name))
	}
	return ids.pop() if len(ids) == 1 else None


def title(key: ConnectionKey) -> str:
	"""The name or ID by which people and the provider know the account of `key`; empty if it is unknown."""
	found = rows.find(f"{OF_ACCOUNTS}", key)
	return str(found[0][3] or found[0][2] or "") if found else ""


def for_consent(key: ConnectionKey, grant: Grant, another: bool) -> ConnectionKey:
	"""The connection for `grant`, to which a user has just consented.

	It replaces the connection of the same account. Another account becomes a further one, or the default if the user has
	none.

	:param key: of the user's default account
	:param another: whether the user wants to add an account
	:raises ConfigurationError: `account_unknown`, if it is impossible to tell whether it is another one
	"""
	found = _by_slot(rows.of_all_accounts(OF_ACCOUNTS, key))
	default = found.get("")
	if not grant.account:
		if found and (another or any(row.account_id for row in found.values())):
			raise catalogue.error("account_unknown")
		return key
	account = grant.account.id
	for place, row in sorted(found.items()):
		if row.account_id == account:
			return replace(key, account=place)
	if not default:
		return key
	if not default.account_id:
		if another:
			raise catalogue.error("account_unknown/default")
		return key
	return replace(key, account=slot(account))


def for_consent_now(key: ConnectionKey, grant: Grant, another: bool) -> ConnectionKey:
	"""As `for_consent`, by the latest commits and not the caller's snapshot."""
	with own_connection():
		return for_consent(key, grant, another)


def make_default(key: ConnectionKey) -> None:
	"""Give the row with the usual name to the account of `key`, which `choose` has found; the previous default becomes a
	further account. Durable, in one transaction, and under the locks that a refresh takes.

	:raises TemporaryFailure: `busy`, `store_unavailable`
	:raises ReconnectRequired: `account_not_connected`, if it is gone
	:raises ConfigurationError: `account_unknown`, if the previous default account is unknown; `not_committed`
	"""
	if not key.account:
		return
	if frappe.flags.read_only:
		raise store_unavailable()
	callers, cause = frappe.local.db, None
	try:
		with own_transaction(rows.usual_name(key.default), LOCK_WAIT):
			if any(recent.has_changed(callers, each) for each in (key, key.default)):
				raise catalogue.error("not_committed")
			with writing():
				changed = _exchange(key)
			for each, _name, _state in changed:
				recent.forget(each)
			for each, name, state in changed:
				if grant := _read(name, state):
					recent.note(each, grant, name)
	except (*BUSY, Exception) as error:
		if isinstance(error, OAuthError) or not (isinstance(error, BUSY) or is_lost(error)):
			raise
		cause, failure = error, being_renewed() if isinstance(error, BUSY) else store_unavailable()
	if cause:
		# Outside the handler, as in `TokenCacheStore.exclusive`.
		raise failure from strip_chain(cause)
	if changed:
		titles = [state.account_name or state.account_id or "" for _key, _name, state in changed]
		announce("default_changed", key.default, "", ("".join(titles[1:]), titles[0]))


def _exchange(key: ConnectionKey) -> list[tuple[ConnectionKey, str, Any]]:
	"""
	:returns: the changed rows, the new default account first: the key, the name, and the state of each
	"""
	chosen, current = rows.name_of(key), rows.name_of(key.default) or ""
	if not chosen:
		raise catalogue.error("account_not_connected", key.wanted)
	if chosen == current:
		return []
	# Always in the same order, so that two of these wait for each other and do not deadlock.
	states = {name: _lock(name) for name in sorted({chosen, current} - {""})}
	now, before = states[chosen], states.get(current)
	if not now or not now.account or now.account_id != key.wanted or (before and before.account):
		# Another process has done it meanwhile.
		raise being_renewed()
	if before and before.access_token and not before.account_id:
		raise catalogue.error("account_unknown/default")
	aside, usual = frappe.generate_hash(length=20), current or rows.usual_name(key.default)
	if before and before.access_token:
		_rename(current, aside)
	elif before:
		# The empty row of an attempt that failed.
		frappe.db.delete(rows.DOCTYPE, {"name": current})
		ending.remove_details([current])
	elif len(usual) > rows.LONGEST_NAME or frappe.db.exists(rows.DOCTYPE, usual):
		usual = chosen
	_rename(chosen, usual)
	now.account = ""
	changed = [(key.default, usual, now)]
	if before and before.access_token:
		before.account = slot(before.account_id)
		_rename(aside, chosen)
		changed.append((replace(key.default, account=before.account), chosen, before))
		if before.revision == now.revision:
			# By the revision, a process that has lost its lock notices the change.
			now.revision = rows.next_revision(now.revision)
	for _key, name, state in changed:
		values = {"account": state.account, "revision": cint(state.revision)}
		frappe.db.set_value(rows.DOCTYPE, name, values, update_modified=False)
	return changed


def _lock(name: str) -> Any:
	columns = [*rows.STATE, "access_token"]
	return frappe.db.get_value(rows.DOCTYPE, name, columns, as_dict=True, for_update=True)


def _rename(old: str, new: str) -> None:
	"""Rename by SQL: Frappe would search all tables for links, of which there are none."""
	if old == new:
		return
	cache, child = frappe.qb.DocType(rows.DOCTYPE), frappe.qb.DocType("OAuth Scope")
	auth = frappe.qb.Table("__Auth")
	frappe.qb.update(cache).set(cache.name, new).where(cache.name == old).run()
	of_old = (child.parent == old) & (child.parenttype == rows.DOCTYPE)
	frappe.qb.update(child).set(child.parent, new).where(of_old).run()
	of_old = (auth.name == old) & (auth.doctype == rows.DOCTYPE)
	frappe.qb.update(auth).set(auth.name, new).where(of_old).run()


def _read(name: str, state: Any) -> Grant | None:
	try:
		return rows.read_whole(name, state)
	except OAuthError:
		# Unreadable: its next use says so.
		return None


# Users and apps that become one


def prepare_merge(moving: dict[str, str], staying: dict[str, str]) -> None:
	"""Prepare for Frappe to give rows to another user or Connected App that has connections of its own. A second default
	account becomes a further one; of two connections of the same account, one counts. In the caller's transaction. Apps
	without *Several Accounts* keep the row that counts, as before.

	:param moving: the fields of the rows that move: a user, or a Connected App, or both
	:param staying: the values that these fields will have
	"""
	field = next(iter(moving))
	by = "user" if field == "connected_app" else "connected_app"
	columns = ["name", "connected_app", "user", "account", "account_id"]
	connected = {"access_token": ("is", "set"), "user": ("is", "set")}
	theirs: dict[str, list[Any]] = {}
	for row in frappe.get_all(rows.DOCTYPE, {**connected, **staying}, columns, limit=0):
		theirs.setdefault(row[by], []).append(row)
	several = set(frappe.get_all("Connected App", {"several_accounts": 1}, pluck="name", limit=0))
	for row in frappe.get_all(rows.DOCTYPE, {**connected, **moving}, columns, limit=0):
		if row.connected_app not in several or row[by] not in theirs or not row.account_id:
			continue
		same = [other for other in theirs[row[by]] if other.account_id == row.account_id]
		account = (same[0].account or "") if same else slot(row.account_id)
		if account != (row.account or ""):
			frappe.db.set_value(rows.DOCTYPE, row.name, "account", account, update_modified=False)


def users_with_further(connected_app: str, generation: int) -> int:
	"""How many users have connected further accounts."""
	of_app = {"connected_app": connected_app, "generation": generation, "account": ("is", "set")}
	return len(set(frappe.get_all(rows.DOCTYPE, of_app, pluck="user", limit=0)))
