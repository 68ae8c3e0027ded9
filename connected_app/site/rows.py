"""Token Cache rows: which one is whose, and which column holds what of a grant.

Renaming and merging users leaves rows with other names than the usual one, and several for one user (core-defects 33).
The row with the usual name counts while it works. Else it is one that works, or has tokens at least, of several the
one written last.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, overload

import frappe
from frappe.utils import cint
from frappe.utils.password import get_encryption_key, remove_encrypted_password

from connected_app.oauth import catalogue
from connected_app.oauth.clock import utc_now
from connected_app.oauth.errors import OAuthError
from connected_app.oauth.grant import Account, Grant
from connected_app.oauth.redact import Secret, as_secrets
from connected_app.oauth.store import Failure
from connected_app.site import passwords
from connected_app.site.identity import ConnectionKey
from connected_app.site.passwords import PLACEHOLDER

DOCTYPE = "Token Cache"
LONGEST_NAME = 140
TOKENS = ("access_token", "refresh_token")
SECRETS = (*TOKENS, "extra", "dpop_key")
# Connections that were ended, and wait to be removed, are of an earlier generation (see `site/ending.py`). Joined: as a
# subquery it takes a tenth longer to read a session's row.
THAT_COUNT = """
	join `tabConnected App` g on g.`name` = c.`connected_app` and g.`generation` = c.`generation`
"""
# With no user: the row of the service principal.
OF_OWNER = "c.`connected_app` = %s and c.`user` = %s"
OF_USER = f"{OF_OWNER} and (c.`account` is null or c.`account` = '')"
OF_ACCOUNT = f"{OF_OWNER} and c.`account` = %s"
# To MariaDB, IDs are the same in another case.
EXACTLY = {"mariadb": "binary"}
OF_NOBODY = "c.`connected_app` = %s and (c.`user` = %s or c.`user` is null) and c.`shared` = 0"
SHARED = "c.`connected_app` = %s and (c.`user` = %s or c.`user` is null) and c.`shared` = 1"
WORKING = ("Connected", "Temporarily Failing")
WORKS = f"c.`status` in {WORKING}"
RANK = f"case when {WORKS} then 0 when c.`access_token` <> '' then 1 else 2 end, c.`modified` desc"
BEST = f"""
	order by {RANK}
	limit 1
"""
# As text: every session comes this way, and building it would take longer than running it. No column more than a
# session needs, for the same reason: what only a refresh has to know is read along with the lock.
OF_SESSION = (
	"c.`name`, c.`token_type`, c.`expires_at`, c.`expires_in`, c.`refresh_token`, c.`revision`, a.`password`"
)
# In one column: the database describes each to the driver, and reading seven descriptions takes a fifth of the whole.
PACKED = {
	"mariadb": f"json_array({OF_SESSION})",
	"postgres": f"json_build_array({OF_SESSION})::text",
	"sqlite": f"json_array({OF_SESSION})",
}
FROM = """
	from `tabToken Cache` c
	left join `__Auth` a on a.`doctype` = 'Token Cache' and a.`name` = c.`name`
		and a.`fieldname` = 'access_token' and a.`encrypted` = 1
"""
READ = {database: f"select {packed} {FROM}" for database, packed in PACKED.items()}
READ_ACCOUNTS = {
	database: f"select {packed} as packed, c.`account`, c.`account_id`, c.`account_name` {FROM}"
	for database, packed in PACKED.items()
}
READ_DETAILS = "select c.`name`, c.`account_id`, c.`account_name`, c.`refresh_expires_at`, c.`revision` from `tabToken Cache` c"
STATE = (
	"status",
	"account_id",
	"account_name",
	"error_code",
	"error_values",
	"retry_at",
	"attempts",
	"failing_since",
	"notified_on",
	"admin_must_act",
	"rejected_at",
	"refresh_expires_at",
	"connected_on",
	"revision",
	"modified",
	"user",
	"shared",
	"account",
)
READ_SECRET = """
	select `password` from `__Auth`
	where `doctype` = 'Token Cache' and `name` = %s and `fieldname` = %s and `encrypted` = 1
"""  # noqa: S105
READ_SECRETS = """
	select `fieldname`, `password` from `__Auth`
	where `doctype` = 'Token Cache' and `name` = %s and `fieldname` in ('refresh_token', 'extra') and `encrypted` = 1
"""
READ_SCOPES = (
	"select `scope` from `tabOAuth Scope` where `parent` = %s and `parenttype` = 'Token Cache' order by `idx`"
)
# Revisions begin at the milliseconds since then.
EPOCH = datetime(2025, 1, 1, tzinfo=timezone.utc)


@overload
def naive(instant: datetime) -> datetime: ...
@overload
def naive(instant: None) -> None: ...
def naive(instant: datetime | None) -> datetime | None:
	"""For a Datetime column, which knows no zone: these hold UTC."""
	return instant.astimezone(timezone.utc).replace(tzinfo=None) if instant else None


@overload
def aware(value: datetime | str) -> datetime: ...
@overload
def aware(value: None) -> None: ...
def aware(value: datetime | str | None) -> datetime | None:
	return frappe.utils.get_datetime(value).replace(tzinfo=timezone.utc) if value else None


# Which row


def usual_name(key: ConnectionKey) -> str:
	"""What a new row is called, in core as well. That of a shared one is no user's in core, since no user is called so;
	nor is that of a further account."""
	usual = f"{key.app}-{'shared' if key.is_shared else key.user}"
	if not key.account:
		return usual
	digest = frappe.utils.sha256_hash("\n".join((key.app, key.user, key.account)))[:16]
	return f"{usual[: LONGEST_NAME - 17]}-{digest}"


def find(what: str, key: ConnectionKey) -> Any:
	"""Read the row that counts; that with the usual name is what the database finds fastest.

	:param what: the statement up to its condition; the table is `c`
	:returns: at most one row
	"""
	whose, values = _whose(key)
	if not key.wanted:
		named = f"{what} {THAT_COUNT} where c.`name` = %s and {whose} and {WORKS}"
		if found := frappe.db.sql(named, (usual_name(key), *values)):  # nosemgrep
			return found
	return frappe.db.sql(f"{what} {THAT_COUNT} where {whose} {BEST}", values)  # nosemgrep


def _whose(key: ConnectionKey) -> tuple[str, tuple[str, ...]]:
	"""The condition for the rows of `key`, and its values."""
	values: tuple[str, ...] = (key.app, key.user)
	if key.wanted:
		# In one statement with what is read: between two, another account may get the row's name.
		exact = EXACTLY.get(frappe.db.db_type, "")
		return f"{_whose_all(key)} and {exact} c.`account_id` = %s", (*values, key.wanted)
	if key.account:
		return OF_ACCOUNT, (*values, key.account)
	return OF_USER if key.user else _whose_all(key), values


def _whose_all(key: ConnectionKey) -> str:
	"""The condition for the rows of all accounts of the owner of `key`."""
	return OF_OWNER if key.user else SHARED if key.is_shared else OF_NOBODY


def of_all_accounts(what: str, key: ConnectionKey) -> Any:
	"""As `find`, the rows of all accounts of the same owner: the better ones first, as dictionaries."""
	order = f"{THAT_COUNT} where {_whose_all(key)} and c.`access_token` <> '' order by {RANK}"
	return frappe.db.sql(f"{what} {order}", (key.app, key.user), as_dict=True)  # nosemgrep


def read_accounts(key: ConnectionKey) -> list[Any]:
	"""Of all accounts of the owner of `key`: `account`, `account_id`, `account_name`, and `packed`, which `grant_in` takes."""
	found: list[Any] = of_all_accounts(READ_ACCOUNTS[frappe.db.db_type], key)
	return found


def has_others(key: ConnectionKey) -> bool:
	"""Whether the user of `key` has connected further accounts."""
	others = f"{THAT_COUNT} where {OF_OWNER} and c.`account` <> '' and c.`access_token` <> '' limit 1"
	return bool(frappe.db.sql(f"select 1 from `tabToken Cache` c {others}", (key.app, key.user)))  # noqa: S608 # nosemgrep


def name_of(key: ConnectionKey) -> str | None:
	"""The name of the row that counts, as this transaction sees it."""
	found = find("select c.`name` from `tabToken Cache` c", key)
	return found[0][0] if found else None


def names_of(key: ConnectionKey) -> list[str]:
	"""The names of all rows of one connection: that which counts, and those that renaming has left."""
	whose, values = _whose(key)
	found: list[str] = frappe.db.sql(  # nosemgrep
		f"select c.`name` from `tabToken Cache` c {THAT_COUNT} where {whose}",  # noqa: S608
		values,
		pluck=True,
	)  # nosemgrep
	return found


def is_ended(name: str) -> bool:
	"""Whether the connection of the row `name` was ended: its tokens may not be used any more."""
	ended = f"select 1 from `tabToken Cache` c left {THAT_COUNT} where c.`name` = %s and g.`name` is null"  # noqa: S608
	return bool(frappe.db.sql(ended, (name,)))  # nosemgrep


def by_account(rows: Iterable[Any], user: str) -> dict[tuple[str, str], Any]:
	"""The rows that count, by Connected App and account, of all that `user` has or shares.

	:param rows: those with tokens, with `name`, `connected_app`, `shared`, `account`, `status` and `modified`
	"""

	def worth(row: Any) -> tuple[Any, ...]:
		works = row.status in WORKING
		usual = usual_name(ConnectionKey.from_columns(row.connected_app, user, row.shared, row.account))
		return works, works and row.name == usual, str(row.modified or "")

	return {(row.connected_app, row.account or ""): row for row in sorted(rows, key=worth)}


# What a row holds


def read(key: ConnectionKey) -> Grant | None:
	"""The grant as this transaction sees it, in one statement: all that a session needs. A token that is bound to a key
	costs a second one.

	:raises ReconnectRequired: `secret_unreadable`, when the site's encryption key is not the one it was stored with
	"""
	rows = find(READ[frappe.db.db_type], key)
	return grant_in(rows[0][0]) if rows else None


def read_whole(name: str, state: Any) -> Grant | None:
	"""The grant of the row `name`, with all that a session does without.

	:param state: the row's columns `STATE`
	:raises ReconnectRequired: `secret_unreadable`
	"""
	rows = frappe.db.sql(READ[frappe.db.db_type] + "where c.`name` = %s", (name,))  # nosemgrep
	grant = grant_in(rows[0][0]) if rows else None
	if grant is None:
		return None
	secrets = {
		field: _decrypted(encrypted)
		for field, encrypted in frappe.db.sql(READ_SECRETS, (name,))  # nosemgrep
	}
	return replace(
		_detailed(grant, name, state, secrets.get("extra")),
		refresh_token=secrets.get("refresh_token"),
		refresh_token_unread=False,
		rejected_at=aware(state.rejected_at),
	)


def with_details(key: ConnectionKey, grant: Grant) -> Grant:
	"""`grant`, as `read` gives it, with scopes, account, end and `extra`, as this transaction sees them.

	:raises ReconnectRequired: `secret_unreadable`
	"""
	found = find(READ_DETAILS, key)
	if found and found[0][4] != grant.revision and key.user:
		# Another account may be the default one by now.
		values = (key.app, key.user, grant.revision)
		named = f"{READ_DETAILS} {THAT_COUNT} where {OF_OWNER} and c.`revision` = %s"
		found = frappe.db.sql(named, values) or found  # nosemgrep
	if not found:
		return grant
	name, account_id, account_name, ends, _revision = found[0]
	details = frappe._dict(account_id=account_id, account_name=account_name, refresh_expires_at=ends)
	return _detailed(grant, name, details, _secret(name, "extra"))


def _detailed(grant: Grant, name: str, state: Any, extra: Secret | None) -> Grant:
	return replace(
		grant,
		scopes=tuple(frappe.db.sql(READ_SCOPES, (name,), pluck=True)),  # nosemgrep
		account=Account(id=state.account_id, name=state.account_name or "") if state.account_id else None,
		refresh_expires_at=aware(state.refresh_expires_at),
		extra=as_secrets(json.loads(extra)) if extra else {},
	)


def read_failure(state: Any, app_saved_on: datetime | None) -> Failure | None:
	"""Why the last refresh failed. Saving the Connected App since then ends the pause, and begins the count again.

	:param state: the row's columns `STATE`
	:param app_saved_on: when the Connected App was last saved
	"""
	if not state.error_code:
		return None
	corrected = bool(app_saved_on and app_saved_on > state.modified)
	return Failure(
		code=state.error_code,
		message=catalogue.from_json(state.error_values),
		reconnect=state.status == "Reconnect Required",
		configuration=bool(state.admin_must_act),
		retry_at=None if corrected else aware(state.retry_at),
		attempts=0 if corrected else cint(state.attempts),
	)


def columns(grant: Grant) -> dict[str, Any]:
	"""The columns of a row in which `grant` is stored and works, without the secrets themselves."""
	return {
		**{field: PLACEHOLDER if secret else "" for field, secret in secrets(grant).items()},
		"token_type": grant.token_type,
		"expires_at": naive(grant.expires_at),
		"expires_in": int((grant.expires_at - grant.issued_at).total_seconds())
		if grant.expires_at and grant.issued_at
		else 0,
		"refresh_expires_at": naive(grant.refresh_expires_at),
		"account_id": grant.account.id if grant.account else None,
		"account_name": grant.account.name if grant.account else None,
		"status": "Connected",
		"error_code": None,
		"error_values": None,
		"retry_at": None,
		"attempts": 0,
		"failing_since": None,
		"notified_on": None,
		"admin_must_act": 0,
		"rejected_at": None,
		"idle_since": naive(utc_now()) if grant.refresh_token else None,
	}


def secrets(grant: Grant) -> dict[str, Secret | None]:
	"""What of `grant` is encrypted, by field. A key only where there is one: nothing is written for others."""
	key = {"dpop_key": grant.dpop_key} if grant.dpop_key else {}
	return {
		**key,
		"access_token": grant.access_token,
		"refresh_token": grant.refresh_token,
		"extra": Secret(json.dumps(dict(grant.extra))) if grant.extra else None,
	}


def write_secret(name: str, field: str, secret: Secret | None) -> None:
	if secret:
		passwords.store(DOCTYPE, name, field, secret)
	else:
		remove_encrypted_password(DOCTYPE, name, field)


def next_revision(last: int | None) -> int:
	"""Of a row that is stored: greater than its last one, and than those of a row that was deleted and recreated."""
	return max(cint(last) + 1, (utc_now() - EPOCH) // timedelta(milliseconds=1))


def unreadable() -> OAuthError:
	return catalogue.error("secret_unreadable")


def grant_in(packed: str) -> Grant | None:
	"""
	:param packed: as `PACKED`
	:raises ReconnectRequired: `secret_unreadable`
	"""
	grant = unpacked(packed, get_encryption_key())
	if grant is None:
		return None
	is_bound = grant.token_type.lower() == "dpop"
	# A caller can write to `extra`, and the one in memory is also for other requests.
	return replace(grant, dpop_key=_secret(json.loads(packed)[0], "dpop_key") if is_bound else None, extra={})


@lru_cache(maxsize=256)
def unpacked(packed: str, _site_key: str) -> Grant | None:
	"""As `grant_in`, without a key that the token is bound to. What this process has read before is not decrypted again: see
	docs/decisions/0034-decrypted-once-a-process.md."""
	_name, token_type, expires_at, life, placeholder, revision, encrypted = json.loads(packed)
	if not encrypted:
		return None
	expires_at = aware(expires_at)
	return Grant(
		access_token=_decrypted(encrypted),
		refresh_token_unread=bool(placeholder),
		token_type=token_type or "Bearer",
		expires_at=expires_at,
		issued_at=expires_at - timedelta(seconds=life) if expires_at and life else None,
		revision=cint(revision),
	)


def _secret(name: str, field: str) -> Secret | None:
	encrypted = frappe.db.sql(READ_SECRET, (name, field), pluck=True)  # nosemgrep
	return _decrypted(encrypted[0]) if encrypted else None


def _decrypted(text: str) -> Secret:
	try:
		return Secret(passwords.decrypt(text))
	except frappe.ValidationError:
		frappe.clear_last_message()
	raise unreadable()
