"""Grants in Token Cache rows: the GrantStore of a site."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import frappe
from frappe.utils import sha256_hash
from redis.exceptions import RedisError

from connected_app.oauth import catalogue
from connected_app.oauth.clock import utc_now
from connected_app.oauth.errors import OAuthError, ReconnectRequired, TemporaryFailure
from connected_app.oauth.grant import Account, Grant
from connected_app.oauth.redact import Secret, strip_chain
from connected_app.oauth.store import Failure
from connected_app.site import counters, recent, rows
from connected_app.site.database import (
	BUSY,
	begin,
	is_lost,
	own_transaction,
	see_latest,
	writing,
)
from connected_app.site.events import announce
from connected_app.site.identity import ConnectionKey
from connected_app.site.rows import DOCTYPE, LONGEST_NAME, STATE, aware, naive, usual_name

T = TypeVar("T")
# Seconds. Longer than the one token request under the lock: 20 s for the exchange, 10 s for a connect that began at its end
# (oauth/net.py), and 10 s for DNS and the database. No key set is fetched under the lock.
LOCK_WAIT = 40
# How often to wait for a row again after a deadlock.
DEADLOCKS = 5
# How often to look for an account's row again after it was exchanged with another account's.
EXCHANGES = 5
# Seconds between attempts to store a new grant after the database went away: a restart takes that long.
SAVE_PAUSES = (0, 1, 2, 4, 8)
# After so long, the owner hears of a passing failure.
PATIENCE = timedelta(days=1)
# Seconds to wait for the list of scopes, which is not worth more.
SCOPES_WAIT = 3


class TokenCacheStore:
	"""The grant of one connection.

	:param create: whether `exclusive` makes a missing row, so that there is something to lock
	:param may_create: called before that; raises if there may be no row
	"""

	def __init__(
		self, key: ConnectionKey, create: bool = False, may_create: Callable[[], object] | None = None
	) -> None:
		self.key = key
		self.create = create
		self.may_create = may_create

	def load(self) -> Grant | None:
		"""The grant as this transaction sees it; refresh token, scopes and account are read when they are needed.

		:raises ReconnectRequired: `no_default_account`
		"""
		grant = recent.find(self.key)
		if grant is None:
			grant = rows.read(self.key)
			if grant:
				recent.note(self.key, grant)
			elif self.key.user and not (self.key.account or self.key.wanted) and rows.has_others(self.key):
				# Never use another account instead: the caller would act as somebody else.
				raise catalogue.error("no_default_account")
		return grant

	def load_all(self) -> Grant | None:
		"""As `load`, with everything but the refresh token."""
		grant = self.load()
		if grant is None or recent.is_whole(self.key):
			return grant
		return rows.with_details(self.key, grant)

	@contextmanager
	def exclusive(self) -> Iterator[LockedTokenCache]:
		"""
		:raises TemporaryFailure: `busy`, if the row stays locked for `LOCK_WAIT` seconds; `store_unavailable`, if the database
			or the connection to it is lost
		:raises ConfigurationError: `not_committed`
		"""
		if frappe.flags.read_only:
			# Maintenance: a new grant could not be stored.
			raise store_unavailable()
		locked: LockedTokenCache | None = None
		callers = frappe.local.db
		try:
			# On SQLite, all accounts of a user share a lock: the default one may change.
			with own_transaction(usual_name(self.key.default), LOCK_WAIT):
				if recent.has_changed(callers, self.key):
					# The caller would wait for itself.
					raise catalogue.error("not_committed")
				name, state = self._lock_in_spite_of_deadlocks()
				if self.create and not name:
					self._create()
					name, state = self.lock()
				if self.create and not name:
					raise being_renewed()
				locked = LockedTokenCache(self, name, state)
				yield locked
				_write_scopes(locked)
			return
		except BUSY as error:
			cause: BaseException = error
			failure = being_renewed()
		except Exception as error:
			if not is_lost(error):
				raise
			cause = error
			failure = store_unavailable()
		finally:
			for event, code, *accounts in locked.events if locked else ():
				announce(event, self.key, code, *accounts)
			for code in locked.refreshes if locked else ():
				counters.count(self.key.app, code)
		# Outside the handler: Frappe's frames hold what was to be written.
		raise failure from strip_chain(cause)

	def lock(self) -> tuple[str | None, Any]:
		"""The row's name, and its columns `STATE` under a lock; neither if there is no row, or it is deleted while we wait.

		:raises TemporaryFailure: `busy`, if rows exchange their names again and again (see `accounts.make_default`)
		"""
		for _ in range(EXCHANGES):
			name = rows.name_of(self.key)
			if not name:
				return (None, None)
			# By primary key, so that no other row is locked. The values are those after the wait.
			state = frappe.db.get_value(DOCTYPE, name, STATE, as_dict=True, for_update=True)
			if state and self._is_meant(state):
				# MariaDB ignores the case of the name, so take the key from the row.
				key = ConnectionKey.from_columns(self.key.app, state.user, state.shared, state.account)
				self.key = replace(key, wanted=self.key.wanted)
				return (name, state)
			begin(LOCK_WAIT)
		raise being_renewed()

	def _is_meant(self, state: Any) -> bool:
		"""Whether the row still belongs to the account that was asked for."""
		if self.key.wanted:
			return bool(state.account_id == self.key.wanted)
		return (state.account or "") == self.key.account

	def _lock_in_spite_of_deadlocks(self) -> tuple[str | None, Any]:
		"""`lock`, repeated after a deadlock: on Galera, a wait for a row ends with one when another node stores the row.
		Nothing has been asked or written by then."""
		for _ in range(DEADLOCKS):
			with suppress(frappe.QueryDeadlockError):
				return self.lock()
			begin(LOCK_WAIT)
		return self.lock()

	def _create(self) -> None:
		app, user, shared, account = self.key.columns
		# Not by Frappe's own check, whose caches have the caller's open work, too.
		known = frappe.db.get_value("Connected App", app) and (not user or frappe.db.get_value("User", user))
		if not known:
			raise catalogue.error("not_committed/app")
		if self.may_create:
			self.may_create()
		# Fallbacks where the usual name is too long, or taken by somebody else since a renaming. The second is
		# deterministic, so that concurrent creators collide.
		usual, digest = usual_name(self.key), sha256_hash("\n".join((app, user)) + account)[:8]
		for name in (usual, f"{usual[:120]}-{digest}", frappe.generate_hash(length=20)):
			with writing():
				# On SQLite, Frappe's tables accept a name twice, and both rows would have the same tokens.
				if len(name) <= LONGEST_NAME and not frappe.db.get_value(DOCTYPE, name):
					doc = frappe.get_doc(
						{
							"doctype": DOCTYPE,
							"connected_app": app,
							"user": user or None,
							"shared": int(shared),
							"account": account,
						}
					)
					# Otherwise Frappe deletes the tokens that another process has stored under this name by now.
					doc.flags.ignore_save_passwords = True
					# Duplicates are ignored by the database, without an error: Frappe 15 prints the stack of each on
					# PostgreSQL.
					doc.insert(ignore_permissions=True, ignore_if_duplicate=True, set_name=name)
			begin(LOCK_WAIT)
			# Also if another process has made the row: there must be one only.
			if rows.name_of(self.key):
				return


class LockedTokenCache:
	"""A Token Cache row under its lock. Every change of it goes through `_write`.

	`events`: to announce when the lock is released, with the arguments of `announce` after the key.
	`refreshes`: error codes to count then, empty for a success.
	"""

	def __init__(self, store: TokenCacheStore, name: str | None, state: Any) -> None:
		self.store = store
		self.name = name
		self.state = state or frappe._dict()
		self.events: list[tuple[Any, ...]] = []
		self.refreshes: list[str] = []
		self.new_scopes: tuple[str, ...] = ()
		try:
			self.grant = rows.read_whole(name, self.state) if name else None
		except ReconnectRequired:
			# Unreadable: it can still be replaced, or deleted.
			self.grant = None
		# After waiting, this request uses the grant that the winner stored, even if its own transaction cannot see it.
		if self.grant:
			recent.note(store.key, self.grant, name or "")
		else:
			recent.forget(store.key)
		saved = (
			frappe.db.get_value("Connected App", store.key.app, "modified") if self.state.error_code else None
		)
		self.failure = rows.read_failure(self.state, saved)
		if self.grant and self.failure and self.failure.code == "secret_unreadable":
			# The encryption key was restored.
			self.failure = None

	@property
	def account(self) -> Account | None:
		"""The account of the row, also if its tokens cannot be read."""
		account_id, name = self.state.account_id, self.state.account_name
		return Account(id=account_id, name=name or "") if account_id else None

	def reread(self) -> Grant | None:
		"""The grant as it is stored now, even if the row has been renamed."""
		see_latest()
		name = rows.name_of(replace(self.store.key, wanted=self.state.account_id or ""))
		return rows.read_whole(name, self.state) if name else None

	def save(
		self, grant: Grant, *, consented: bool = False, together_with: Callable[[], object] | None = None
	) -> Grant:
		"""Store `grant` durably. The provider may already have spent the old refresh token. So if the connection to the
		database is lost, new ones are tried for some seconds, and a lock is waited for again.

		:param consented: whether the user has just consented to it
		:param together_with: writes in the same transaction; it may be called again
		:returns: the stored grant: this one with its revision, or a newer one that another process has stored
		:raises TemporaryFailure: `store_unavailable`
		"""
		again: Callable[[], AbstractContextManager[LockedTokenCache]] = self.store.exclusive
		pauses: Sequence[int] = SAVE_PAUSES
		try:
			return self._save(grant, consented, together_with)
		except BUSY:
			again, pauses = partial(_lock_again, self), SAVE_PAUSES[:2]
		except Exception as error:
			if not is_lost(error):
				raise
		if self.state.account_id:
			# Keep to this account, even if another becomes the default.
			self.store.key = replace(self.store.key, wanted=self.state.account_id)
		for pause in pauses:
			time.sleep(pause)
			with suppress(TemporaryFailure, *BUSY), again() as locked:
				# Our lock may have been lost, too: a grant that another process has stored meanwhile is newer.
				if locked.grant and locked.state.revision != self.state.revision and not consented:
					return locked.grant
				return locked._save(grant, consented, together_with)
		raise store_unavailable()

	def save_refresh_token(self, refresh_token: Secret) -> None:
		"""Store a new refresh token durably, and nothing else of the answer that it came with."""
		if not self.grant:
			return
		grant = replace(
			self.grant, refresh_token=refresh_token, revision=rows.next_revision(self.state.revision)
		)
		self._write({"revision": grant.revision}, {"refresh_token": refresh_token})
		recent.note(self.store.key, grant, self.name or "")

	def mark_rejected(self, now: datetime) -> None:
		"""Record that a resource server rejects the grant's access token although it is new."""
		self._write({"rejected_at": naive(now)})

	def fail(self, failure: Failure) -> None:
		"""Record why the refresh failed; the tokens stay."""
		if not self.name:
			return
		status = "Reconnect Required" if failure.reconnect else "Temporarily Failing"
		since = aware(self.state.failing_since) or utc_now()
		values = {
			"status": status,
			"error_code": failure.code,
			"error_values": catalogue.to_json(failure.code, failure.message),
			"retry_at": naive(failure.retry_at),
			"attempts": failure.attempts,
			"failing_since": naive(since),
			"admin_must_act": int(failure.configuration),
		}
		if failure.reconnect:
			values["idle_since"] = None
		lasts = not self.state.notified_on and utc_now() - since >= PATIENCE
		broken = status != self.state.status if failure.reconnect else lasts
		if broken:
			values["notified_on"] = naive(utc_now())
		if not self._write(values):
			return
		self.refreshes.append(failure.code)
		if broken:
			self.events.append(("broken", failure.code))
		elif not self.failure or failure.code != self.failure.code:
			self.events.append(("failing", failure.code))

	def delete(self, together_with: Callable[[str], T]) -> list[T]:
		"""Delete the row, and any others that renaming has left, so that none takes its place.

		:param together_with: called with the name of each; writes in the same transaction
		:returns: its results
		"""
		results = []
		with writing():
			for name in rows.names_of(self.store.key):
				results.append(together_with(name))
				doc = frappe.get_doc(DOCTYPE, name)
				doc.flags.keep_at_provider = True
				doc.delete(ignore_permissions=True, force=True)
		self.events.append(("disconnected", ""))
		return results

	def drop_empty(self) -> None:
		"""Delete the row if nothing was stored in it: it was made only to be locked."""
		if self.name and not self.grant and not self.state.status:
			with writing():
				frappe.db.delete(DOCTYPE, {"name": self.name})

	def _save(self, grant: Grant, consented: bool, together_with: Callable[[], object] | None) -> Grant:
		before = self.grant
		now = naive(utc_now())
		grant = replace(grant, revision=rows.next_revision(self.state.revision), rejected_at=None)
		values = {
			**rows.columns(grant),
			"revision": grant.revision,
			"last_refreshed_on": None if consented else now,
			# Not the user who happens to be logged in (core-defects 23): an owner may see and delete the row.
			"owner": self.store.key.user or "Administrator",
		}
		if consented:
			values |= {"connected_on": now, "state": None}
			if self.store.key.is_shared:
				values["connected_by"] = frappe.session.user
		was_broken = self.state.notified_on
		if not self._write(values, rows.secrets(grant), together_with):
			return self.reread() or grant
		# The service principal never consents, so its first grant counts as "connected".
		self.events.append(("connected" if consented or not before else "refreshed", ""))
		if not consented:
			self.refreshes.append("")
		if was_broken:
			self.events.append(("mended", ""))
		if grant.scopes and (not before or grant.scopes != before.scopes):
			self.new_scopes = grant.scopes
		recent.note(self.store.key, grant, self.name or "")
		return grant

	def _write(
		self,
		values: dict[str, Any],
		secrets: Mapping[str, Secret | None] | None = None,
		together_with: Callable[[], object] | None = None,
	) -> bool:
		"""Write to the row, and commit. Returns False and writes nothing if another process has stored a grant since: an
		earlier commit has released the lock.

		:raises TemporaryFailure: `busy`, if there is no row
		"""
		if not self.name:
			raise being_renewed()
		with writing():
			held = frappe.db.get_value(DOCTYPE, self.name, "revision", for_update=True)
			if held != self.state.revision:
				return False
			if together_with:
				together_with()
			for field, secret in (secrets or {}).items():
				if secret or field != "extra" or not self.grant or self.grant.extra:
					rows.write_secret(self.name, field, secret)
			# Last: after a lock time-out, MariaDB keeps the earlier writes, and a new revision would look like another
			# process's.
			frappe.db.set_value(DOCTYPE, self.name, values)
		self.state.update(values)
		return True


@contextmanager
def _lock_again(locked: LockedTokenCache) -> Iterator[LockedTokenCache]:
	"""The same row on the same connection, after a lock time-out."""
	if frappe.db.db_type == "postgres":
		# PostgreSQL needs a new transaction after the error. MariaDB keeps our lock.
		begin(LOCK_WAIT)
	again = LockedTokenCache(locked.store, *locked.store.lock())
	yield again
	locked.events += again.events
	locked.refreshes += again.refreshes
	locked.new_scopes, locked.state = again.new_scopes, again.state


def _write_scopes(locked: LockedTokenCache) -> None:
	"""Write the rows of granted scopes, once the tokens are safe.

	While somebody saves a Connected App, MariaDB lets nobody add rows next to its child rows, which are in the same table. A
	job then waits longer.
	"""
	if not locked.new_scopes:
		return
	try:
		_write_list(locked.name, locked.new_scopes, SCOPES_WAIT, locked.state.revision)
	except Exception as error:
		if not (isinstance(error, BUSY) or is_lost(error)):
			raise
		# Without Redis the next refresh that names scopes writes them.
		with suppress(RedisError):
			frappe.enqueue(
				"connected_app.site.grants.store_scopes",
				queue="short",
				**locked.store.key.arguments,
				scopes=list(locked.new_scopes),
				connected_on=str(locked.state.connected_on),
			)


def store_scopes(
	connected_app: str,
	user: str,
	scopes: list[str],
	connected_on: str,
	shared: bool = False,
	account: str = "",
) -> None:
	"""Job: write the list of granted scopes, unless the user has connected again since `connected_on`."""
	key = ConnectionKey.from_columns(connected_app, user, shared, account)
	with TokenCacheStore(key).exclusive() as locked:
		if locked.name and str(locked.state.connected_on) == connected_on:
			# If the wait fails, the next refresh that names scopes writes them.
			with suppress(*BUSY):
				_write_list(locked.name, scopes, LOCK_WAIT, locked.state.revision)


def _write_list(name: str | None, scopes: Sequence[str], wait: int, revision: int) -> None:
	"""
	:param wait: seconds to wait for a lock
	:param revision: of the row, which may have another account's connection by now
	"""
	begin(wait)
	with writing():
		if frappe.db.get_value(DOCTYPE, name, "revision", for_update=True) != revision:
			return
		frappe.db.delete("OAuth Scope", {"parent": name, "parenttype": DOCTYPE})
		for index, scope in enumerate(scopes, 1):
			row = frappe.get_doc(
				{
					"doctype": "OAuth Scope",
					"parent": name,
					"parenttype": DOCTYPE,
					"parentfield": "scopes",
					"idx": index,
					"scope": scope[:140],
				}
			)
			row.db_insert()


def being_renewed() -> OAuthError:
	return catalogue.error("busy")


def store_unavailable() -> OAuthError:
	return catalogue.error("store_unavailable")
