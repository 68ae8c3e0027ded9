"""Grants in Token Cache rows: the GrantStore of a site."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import frappe
from frappe.utils.password import decrypt, remove_encrypted_password, set_encrypted_password
from redis.exceptions import RedisError

from connected_app.oauth.clock import utc_now
from connected_app.oauth.errors import ConfigurationError, ReconnectRequired, TemporaryFailure
from connected_app.oauth.grant import Account, Grant
from connected_app.oauth.redact import Secret, strip_chain
from connected_app.oauth.store import Failure
from connected_app.site.database import (
	BUSY,
	before_writing,
	begin,
	has_changed,
	is_lost,
	note_change,
	own_connection,
	own_transaction,
)
from connected_app.site.events import announce
from connected_app.site.identity import ConnectionKey
from connected_app.site.passwords import PLACEHOLDER
from connected_app.site.rows import find, name_of, usual_name

# Longer than the one token request that the lock guards: 20 s for the exchange, 10 s for a connection that is begun
# at the end of it (oauth/net.py), and 10 s for the resolver and the database. No key set is fetched under it.
LOCK_WAIT = 40
# Seconds between attempts to store what a provider has given, when the database went away: a restart takes that long.
SAVE_PAUSES = (0, 1, 2, 4, 8)
# For so long a passing failure is nobody's concern.
PATIENCE = timedelta(days=1)
# For the list of scopes, which is not worth a long wait.
SCOPES_WAIT = 3
TOKENS = ("access_token", "refresh_token")
LONGEST_NAME = 140
STORED = ("last_refreshed_on", "connected_on")
# As text: every session comes this way, and building it would take longer than running it. No column more than a
# session needs, for the same reason: what only a refresh has to know is read along with the lock.
READ = """
	select c.`token_type`, c.`expires_at`, c.`expires_in`, c.`refresh_token`, a.`password`
	from `tabToken Cache` c
	left join `__Auth` a on a.`doctype` = 'Token Cache' and a.`name` = c.`name`
		and a.`fieldname` = 'access_token' and a.`encrypted` = 1
"""
STATE = (
	"status",
	"account_id",
	"account_name",
	"last_error",
	"retry_at",
	"failing_since",
	"notified_on",
	"admin_must_act",
	"refused_at",
	"modified",
	"user",
	*STORED,
)
READ_REFRESH_TOKEN = """
	select `password` from `__Auth`
	where `doctype` = 'Token Cache' and `name` = %s and `fieldname` = 'refresh_token' and `encrypted` = 1
"""  # noqa: S105
READ_SCOPES = (
	"select `scope` from `tabOAuth Scope` where `parent` = %s and `parenttype` = 'Token Cache' order by `idx`"
)


def remembered() -> dict[ConnectionKey, Grant]:
	"""The grants that this request or job has read already."""
	return _kept("remembered")


def locked() -> dict[str, tuple[datetime, Grant]]:
	"""Those among them that it has stored, or read under the lock: by the row's name, with `stored_on`."""
	return _kept("locked")


def _kept(what: str) -> Any:
	# By site: `frappe.init` for another one keeps them.
	if not hasattr(frappe.local, "connected_app_grants"):
		frappe.local.connected_app_grants = {}
	return frappe.local.connected_app_grants.setdefault((frappe.local.site, what), {})


def stored_on(row: Any) -> datetime:
	"""When the tokens of a row were stored: connecting empties `last_refreshed_on`."""
	stored = row.get("last_refreshed_on") or row.get("connected_on")
	return frappe.utils.get_datetime(stored) if stored else datetime.min


def forget(name: str, key: ConnectionKey) -> None:
	"""For a row that the caller changes or deletes in its own transaction."""
	remembered().pop(key, None)
	locked().pop(name, None)
	note_change(key)


def naive(instant: datetime | None) -> datetime | None:
	"""For a Datetime column, which knows no zone: these hold UTC."""
	return instant.astimezone(timezone.utc).replace(tzinfo=None) if instant else None


def aware(value: datetime | str | None) -> datetime | None:
	return frappe.utils.get_datetime(value).replace(tzinfo=timezone.utc) if value else None


def stored_since(key: ConnectionKey) -> Any:
	"""The Token Cache that others have stored since the caller's transaction began, which does not see it; or None.

	Its tokens are remembered, so that `TokenCache.get_password` gives them.
	"""
	store = TokenCacheStore(key)
	# One that the caller itself has deleted is gone.
	if has_changed(frappe.local.db, key):
		return None
	with own_connection():
		name = name_of(key)
		if not name:
			return None
		found = frappe.get_doc("Token Cache", name)
		slot = LockedTokenCache(store, name, found)
	if slot.grant:
		slot.remember(slot.grant, found)
	return found


def columns(grant: Grant) -> dict[str, Any]:
	"""The columns of a Token Cache that say what is known of `grant`, but for the tokens themselves."""
	return {
		"access_token": PLACEHOLDER,
		"refresh_token": PLACEHOLDER if grant.refresh_token else "",
		"token_type": grant.token_type,
		"expires_at": naive(grant.expires_at),
		"expires_in": int((grant.expires_at - grant.issued_at).total_seconds())
		if grant.expires_at and grant.issued_at
		else 0,
		"account_id": grant.account.id if grant.account else None,
		"account_name": grant.account.name if grant.account else None,
		"status": "Connected",
		"last_error": None,
		"retry_at": None,
		"failing_since": None,
		"notified_on": None,
		"admin_must_act": 0,
		"refused_at": None,
		"idle_since": naive(utc_now()) if grant.refresh_token else None,
	}


class TokenCacheStore:
	"""The grant of one connection.

	:param create: whether `exclusive` makes the row where there is none, so that there is something to lock
	"""

	def __init__(self, key: ConnectionKey, create: bool = False) -> None:
		self.key = key
		self.create = create

	def load(self) -> Grant | None:
		"""As this transaction sees it; the refresh token, scopes and account are read when they are needed."""
		grant = remembered().get(self.key)
		if grant is None:
			grant = self._read()
			if grant:
				remembered()[self.key] = grant
		return grant

	@contextmanager
	def exclusive(self) -> Iterator[LockedTokenCache]:
		"""
		:raises TemporaryFailure: `busy`, when the row stays locked for `LOCK_WAIT` seconds; `store_unavailable`, when
			the database or the connection to it is lost
		:raises ConfigurationError: `not_committed`
		"""
		if frappe.flags.read_only:
			# Maintenance: what a provider gave could not be stored.
			raise store_unavailable()
		remembered().pop(self.key, None)
		slot: LockedTokenCache | None = None
		callers = frappe.local.db
		try:
			with own_transaction(usual_name(self.key), LOCK_WAIT):
				if has_changed(callers, self.key):
					# The caller would wait for itself.
					raise ConfigurationError(
						"not_committed",
						"The connection was changed by a transaction that is still open.",
						"Commit it, and then use the connection.",
					)
				name, state = self._lock()
				if self.create and not name:
					self._create()
					name, state = self._lock()
				if self.create and not name:
					raise being_renewed()
				slot = LockedTokenCache(self, name, state)
				if slot.grant:
					# Whoever waited goes on with what the winner stored, though its own transaction may not see it.
					slot.remember(slot.grant, slot.state)
				yield slot
				slot.write_scopes()
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
			for happened, code in slot.happened if slot else ():
				announce(happened, self.key, code)
		# Outside the handler: Frappe's frames hold what was to be written.
		raise failure from strip_chain(cause)

	def _create(self) -> None:
		app, user = self.key.columns
		# Frappe's own check may ask its caches, where the caller's open work is, too.
		known = frappe.db.get_value("Connected App", app) and (not user or frappe.db.get_value("User", user))
		if not known:
			raise ConfigurationError(
				"not_committed",
				"The Connected App, or the user, is not stored yet.",
				"Commit the transaction that makes it, and then use the connection.",
			)
		# The others where the usual name is too long, or renaming has left it to somebody else. The second is the same for
		# all who make it at once.
		usual, digest = usual_name(self.key), frappe.utils.sha256_hash("\n".join((app, user)))[:8]
		for name in (usual, f"{usual[:120]}-{digest}", frappe.generate_hash(length=20)):
			before_writing()
			# Frappe's tables on SQLite take a name twice, and both rows would have the same tokens.
			if len(name) > LONGEST_NAME or frappe.db.get_value("Token Cache", name):
				continue
			doc = frappe.get_doc({"doctype": "Token Cache", "connected_app": app, "user": user or None})
			# Asked of the database, which has no error to report then: Frappe 15 prints the stack of each on PostgreSQL.
			doc.insert(ignore_permissions=True, ignore_if_duplicate=True, set_name=name)
			frappe.db.commit()  # nosemgrep (a transaction of its own)
			begin(LOCK_WAIT)
			if name_of(self.key):
				return

	def _lock(self) -> tuple[str | None, Any]:
		"""The row's name, and its state under a lock; neither when it is deleted while we wait."""
		name = name_of(self.key)
		# By its key, so that no other row is locked. What is read afterwards is what waiting has changed.
		state = name and frappe.db.get_value("Token Cache", name, STATE, as_dict=True, for_update=True)
		if not state:
			return (None, None)
		# MariaDB finds it by a name in another case, too.
		self.key = ConnectionKey.from_columns(self.key.app, state.user)
		return (name, state)

	def _read(self, name: str | None = None) -> Grant | None:
		"""One statement for all that a session needs.

		:param name: of the row that is locked, where there may be several
		:raises ReconnectRequired: `secret_unreadable`, when the site's encryption key is not the one it was stored with
		"""
		if name:
			rows = frappe.db.sql(READ + "where c.`name` = %s", (name,))  # nosemgrep
		else:
			rows = find(READ, self.key)
		token_type, expires_at, life, placeholder, sealed = rows[0] if rows else (None,) * 5
		if not sealed:
			return None
		expires_at = aware(expires_at)
		return Grant(
			access_token=Secret(_opened(sealed)),
			refresh_token_unread=bool(placeholder),
			token_type=token_type or "Bearer",
			expires_at=expires_at,
			issued_at=expires_at - timedelta(seconds=life) if expires_at and life else None,
		)


class LockedTokenCache:
	"""A Token Cache row under its lock.

	`happened`: the events, with their codes, that are announced when the lock is gone.
	"""

	def __init__(self, store: TokenCacheStore, name: str | None, state: Any) -> None:
		self.store = store
		self.name = name
		self.state = state or frappe._dict()
		self.happened: list[tuple[str, str]] = []
		try:
			self.grant = self._whole()
		except ReconnectRequired:
			# Unreadable: it can still be replaced, or deleted.
			self.grant = None
		self.failure = self._failure()
		self.new_scopes: tuple[str, ...] = ()
		self.connected_on = self.state.connected_on

	def _whole(self) -> Grant | None:
		"""The grant with all that a session does without.

		:raises ReconnectRequired: `secret_unreadable`
		"""
		grant = self.store._read(self.name) if self.name else None
		if grant is None:
			return None
		sealed = frappe.db.sql(READ_REFRESH_TOKEN, (self.name,), pluck=True)  # nosemgrep
		scopes = frappe.db.sql(READ_SCOPES, (self.name,), pluck=True)  # nosemgrep
		state = self.state
		return replace(
			grant,
			refresh_token=Secret(_opened(sealed[0])) if sealed else None,
			refresh_token_unread=False,
			scopes=tuple(scopes),
			account=Account(id=state.account_id, name=state.account_name or "") if state.account_id else None,
			rejected_at=aware(state.refused_at),
		)

	def _failure(self) -> Failure | None:
		state = self.state
		code, _separator, message = (state.last_error or "").partition(": ")
		if not code or (self.grant and code == "secret_unreadable"):
			return None
		retry_at = aware(state.retry_at)
		if retry_at and state.admin_must_act:
			saved = frappe.db.get_value("Connected App", self.store.key.app, "modified")
			if saved and saved > state.modified:
				# What failed may have been mended.
				retry_at = None
		return Failure(
			code=code,
			message=message,
			reconnect=state.status == "Reconnect Required",
			configuration=bool(state.admin_must_act),
			retry_at=retry_at,
		)

	def remember(self, grant: Grant, row: Any) -> None:
		remembered()[self.store.key] = grant
		locked()[self.name] = (stored_on(row), grant)

	def reread(self) -> Grant | None:
		before_writing()
		return self._whole()

	def save(self, grant: Grant) -> Grant:
		"""Store `grant` durably. The provider may have spent the old refresh token already: when the connection to the
		database is lost, another is tried for some seconds, and a lock in the way is waited for again.

		:raises TemporaryFailure: `store_unavailable`
		"""
		values = {"last_refreshed_on": naive(utc_now())}
		# The service principal consents to nothing.
		happened = "refreshed" if self.grant else "connected"
		try:
			self._write(grant, values, happened)
			return grant
		except BUSY:
			again, pauses = self._locked_again, SAVE_PAUSES[:2]
		except Exception as error:
			if not is_lost(error):
				raise
			again, pauses = self.store.exclusive, SAVE_PAUSES
		for pause in pauses:
			time.sleep(pause)
			with suppress(TemporaryFailure, *BUSY), again() as slot:
				# Our lock may have been lost, too: what someone else has stored meanwhile is newer.
				if (slot.grant and slot.grant.access_token) == (self.grant and self.grant.access_token):
					slot._write(grant, values, happened)
				return grant
		raise store_unavailable()

	@contextmanager
	def _locked_again(self) -> Iterator[LockedTokenCache]:
		"""The same row on the same connection, after somebody else's lock was waited for in vain."""
		if frappe.db.db_type == "postgres":
			# Else nothing can be done any more. MariaDB keeps our lock.
			begin(LOCK_WAIT)
		slot = LockedTokenCache(self.store, *self.store._lock())
		yield slot
		self.happened += slot.happened
		self.new_scopes, self.connected_on = slot.new_scopes, slot.connected_on

	def connect(self, grant: Grant) -> Grant:
		"""Store what a user has just consented to.

		Some providers give a refresh token at the first consent only (Google): the same account keeps it.
		"""
		before = self.grant
		if (
			before and before.account and grant.account
			and before.account.id == grant.account.id and not grant.refresh_token
		):  # fmt: skip
			grant = replace(grant, refresh_token=before.refresh_token)
		values = {"connected_on": naive(utc_now()), "last_refreshed_on": None, "state": None}
		self._write(grant, values, "connected")
		return grant

	def save_refresh_token(self, refresh_token: Secret) -> None:
		before_writing()
		set_encrypted_password("Token Cache", self.name, refresh_token, "refresh_token")
		frappe.db.commit()  # nosemgrep (a transaction of its own)
		if self.grant:
			self.remember(replace(self.grant, refresh_token=refresh_token), self.state)

	def mark_rejected(self, now: datetime) -> None:
		before_writing()
		frappe.db.set_value("Token Cache", self.name, "refused_at", naive(now))
		frappe.db.commit()  # nosemgrep (a transaction of its own)

	def fail(self, failure: Failure) -> None:
		if not self.name:
			return
		status = "Reconnect Required" if failure.reconnect else "Temporarily Failing"
		since = aware(self.state.failing_since) or utc_now()
		values = {
			"status": status,
			"last_error": f"{failure.code}: {failure.message}",
			"retry_at": naive(failure.retry_at),
			"failing_since": naive(since),
			"admin_must_act": int(failure.configuration),
		}
		if failure.reconnect:
			values["idle_since"] = None
		lasts = not self.state.notified_on and utc_now() - since >= PATIENCE
		broken = status != self.state.status if failure.reconnect else lasts
		if broken:
			values["notified_on"] = naive(utc_now())
		before_writing()
		frappe.db.set_value("Token Cache", self.name, values)
		frappe.db.commit()  # nosemgrep (a transaction of its own)
		if broken:
			self.happened.append(("broken", failure.code))
		elif not self.failure or failure.code != self.failure.code:
			self.happened.append(("failing", failure.code))

	def delete(self) -> None:
		if self.name:
			doc = frappe.get_doc("Token Cache", self.name)
			doc.flags.keep_at_provider = True
			doc.delete(ignore_permissions=True, force=True)
			self.happened.append(("disconnected", ""))
		frappe.db.commit()  # nosemgrep (a transaction of its own)

	def _write(self, grant: Grant, values: dict[str, Any], happened: str) -> None:
		values |= columns(grant)
		# Not whoever happens to be logged in (core-defects 23): owners may see and delete the row.
		values["owner"] = self.store.key.user or "Administrator"
		self.connected_on = values.get("connected_on", self.connected_on)
		before_writing()
		frappe.db.set_value("Token Cache", self.name, values)
		for field in TOKENS:
			token = getattr(grant, field)
			if token:
				set_encrypted_password("Token Cache", self.name, token, field)
			else:
				remove_encrypted_password("Token Cache", self.name, field)
		frappe.db.commit()  # nosemgrep (a transaction of its own)
		self.remember(grant, values)
		self.happened.append((happened, ""))
		if self.state.notified_on:
			self.happened.append(("mended", ""))
		if grant.scopes and (not self.grant or grant.scopes != self.grant.scopes):
			self.new_scopes = grant.scopes

	def write_scopes(self) -> None:
		"""The rows of granted scopes, once the tokens are safe.

		While somebody saves a Connected App, MariaDB keeps others from adding rows beside its child rows, which are
		in the same table. A job then waits for longer.
		"""
		if not self.new_scopes:
			return
		try:
			self.write_list(self.new_scopes, SCOPES_WAIT)
		except Exception as error:
			if not (isinstance(error, BUSY) or is_lost(error)):
				raise
			# Without Redis the next refresh that names scopes writes them.
			with suppress(RedisError):
				frappe.enqueue(
					"connected_app.site.grants.store_scopes",
					queue="short",
					connected_app=self.store.key.app,
					user=self.store.key.user,
					scopes=list(self.new_scopes),
					connected_on=str(self.connected_on),
				)

	def write_list(self, scopes: Sequence[str], wait: int) -> None:
		"""
		:param wait: seconds to wait for a lock
		"""
		begin(wait)
		before_writing()
		frappe.db.get_value("Token Cache", self.name, "name", for_update=True)
		frappe.db.delete("OAuth Scope", {"parent": self.name, "parenttype": "Token Cache"})
		for index, scope in enumerate(scopes, 1):
			row = frappe.get_doc(
				{
					"doctype": "OAuth Scope",
					"parent": self.name,
					"parenttype": "Token Cache",
					"parentfield": "scopes",
					"idx": index,
					"scope": scope[:140],
				}
			)
			row.db_insert()
		frappe.db.commit()  # nosemgrep (a transaction of its own)


def store_scopes(connected_app: str, user: str, scopes: list[str], connected_on: str) -> None:
	"""Job: the list of granted scopes, unless the user has connected again since `connected_on`."""
	with TokenCacheStore(ConnectionKey.from_columns(connected_app, user)).exclusive() as slot:
		if slot.name and str(slot.connected_on) == connected_on:
			# In vain: the next refresh that names scopes writes them.
			with suppress(*BUSY):
				slot.write_list(scopes, LOCK_WAIT)


def being_renewed() -> TemporaryFailure:
	return TemporaryFailure("busy", "The connection is being renewed by someone else.")


def store_unavailable() -> TemporaryFailure:
	return TemporaryFailure("store_unavailable", "The site's database cannot be reached.")


def _opened(text: str) -> str:
	try:
		return decrypt(text)
	except frappe.ValidationError:
		frappe.clear_last_message()
	raise unreadable()


def unreadable() -> ReconnectRequired:
	return ReconnectRequired(
		"secret_unreadable", "The stored connection cannot be read with this site's encryption key."
	)
