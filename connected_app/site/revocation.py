"""Disconnecting: the local grant is deleted at once; revoking it at the provider is tried until it succeeds.

A *Pending Revocation* waits for the next attempt. It is stored in the transaction that deletes the grant. It holds
everything that is needed, so that the tokens go to the provider that issued them, whatever becomes of the Connected App: its
name is not enough, since apps are renamed, deleted and recreated.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import frappe
from frappe.utils.password import delete_all_passwords_for

from connected_app.oauth import catalogue, revocation
from connected_app.oauth.client import Settings
from connected_app.oauth.clock import utc_now
from connected_app.oauth.errors import OAuthError
from connected_app.oauth.grant import Account, Grant
from connected_app.oauth.redact import Secret
from connected_app.site import ending, passwords, settings
from connected_app.site.database import BUSY, own_connection, own_transaction, writing
from connected_app.site.grants import LOCK_WAIT, TokenCacheStore
from connected_app.site.http import http
from connected_app.site.identity import ConnectionKey
from connected_app.site.pace import Pace, is_left_alone, leave_alone
from connected_app.site.rows import TOKENS, aware, naive, unreadable

# By revocation endpoint and client: the failures of one run, which does not ask these again.
Failures = dict[tuple[str, str], OAuthError]

DOCTYPE = ending.QUEUE
# So many are revoked before the browser is answered; more are left to a background job.
AT_ONCE = 5
FIRST_PAUSE = timedelta(minutes=5)
# Rows that are looked up at a time.
BATCH = 500
LONGEST_PAUSE = timedelta(hours=12)
GIVEN_UP_AFTER = timedelta(days=7)
# Seconds of one run of the scheduled job; the rest is first in the next run.
RUN = 200
# After so many failures in a row the provider is left alone until the next run.
PATIENCE = 3


def disconnect(key: ConnectionKey) -> bool:
	"""Forget a grant, durably, then revoke it. Returns whether the provider confirmed."""
	client, failures = settings.for_revoking(key.app), Failures()
	# Only once: another account may be the default one by the time the provider has answered.
	with TokenCacheStore(key).exclusive() as locked:
		if not locked.name:
			return False

		def put_its(name: str) -> tuple[str | None, Grant | None]:
			grant = locked.grant if name == locked.name else _stored("Token Cache", name)
			return put(key, grant, client, FIRST_PAUSE), grant

		waiting = locked.delete(put_its)
	return all(
		[bool(kept and grant and attempt(kept, grant, client, failures)[0]) for kept, grant in waiting]
	)


def revoke_after_commit(rows: Sequence[Any]) -> None:
	"""Revoke the grants of a few Token Cache rows once the caller's transaction is committed, which deletes them, and maybe
	also the Connected App.

	The tokens are read through another database connection, which still sees them.

	:param rows: with `name`, `connected_app`, `user`, `shared`, `account` and `generation`
	"""
	with own_connection():
		grants = []
		for row in rows:
			client = ending.client_of(row.connected_app, row.generation or 0)
			if client and (grant := _stored("Token Cache", row.name)):
				key = ConnectionKey.from_row(row)
				grants.append((key, grant, client))
	at_once = len(rows) <= AT_ONCE
	pause = FIRST_PAUSE if at_once else timedelta(0)
	waiting = []
	for key, grant, client in grants:
		if kept := put(key, grant, client, pause):
			waiting.append((kept, grant, client))
	if at_once:
		failures = Failures()
		frappe.db.after_commit.add(lambda: [attempt(*one, failures) for one in waiting])
	elif waiting:
		start_job()


def give_back(key: ConnectionKey, grant: Grant) -> None:
	"""Revoke `grant`, which is not stored: now or later. Not if its Connected App is gone."""
	try:
		client = settings.for_revoking(key.app)
	except frappe.DoesNotExistError:
		frappe.clear_last_message()
		return
	with own_transaction(key.app, LOCK_WAIT), writing():
		waiting = put(key, grant, client, FIRST_PAUSE)
	if waiting:
		attempt(waiting, grant, client, Failures())


def start_job() -> None:
	"""Once the caller's transaction is committed, start a job that does what `retry` would do within five minutes."""
	frappe.enqueue(
		"connected_app.site.revocation.retry",
		queue="long",
		job_id="connected_app_revocation",
		deduplicate=True,
		enqueue_after_commit=True,
	)


def retry() -> None:
	"""Scheduled: remove ended connections, and try again to revoke what is due: app by app, several at once as long as the
	provider keeps up. A provider that is down is asked once in a run."""
	began, failures = time.monotonic(), Failures()
	ending.run(RUN)
	since = naive(utc_now())
	paces: dict[str, Pace] = {}
	tried: set[str] = set()
	while True:
		# Otherwise this transaction keeps seeing rows that others have finished since.
		frappe.db.commit()  # nosemgrep (a job's own, with no more than the log of errors)
		found = 0
		for app in _apps_due(since):
			if app not in paces:
				if is_left_alone(f"revoke_{app}"):
					continue
				paces[app] = Pace.of_app(app, PATIENCE, RUN - (time.monotonic() - began))
			pace = paces[app]
			due = [] if pace.is_over else [name for name in find_due(since, app) if name not in tried]
			found += len(due)
			tried.update(due)
			known = set(failures)
			pace.run(due, partial(_retried, failures, pace))
			if new := set(failures) - known:
				# The rest may be of the same provider.
				pace.ends = 0
				pace.not_before = time.monotonic() + max(failures[whose].retry_after or 0 for whose in new)
		if not found:
			break
	for app, pace in paces.items():
		leave_alone(f"revoke_{app}", pace.wait)


def _retried(failures: Failures, pace: Pace, name: str) -> OAuthError | None:
	"""Retry one. Returns the provider's error if it wants to be asked more slowly."""
	try:
		return _retry(name, failures, pace.ends - time.monotonic())
	except Exception as error:
		# A row that cannot be tried must not stop the others.
		title = "Connected App: revocation failed"
		with writing():
			frappe.log_error(title=title, message=f"{type(error).__name__} for {name}")
		# So that it is given up in the end, too; a row that is locked is tried another time.
		with suppress(*BUSY), own_transaction(name, LOCK_WAIT), writing():
			_postpone(name, catalogue.error("internal_error"))
		return None
	finally:
		frappe.clear_messages()


def _apps_due(since: datetime) -> list[str]:
	waiting = frappe.qb.DocType(DOCTYPE)
	query = frappe.qb.from_(waiting).select(waiting.connected_app).distinct().where(waiting.retry_at <= since)
	return sorted(query.run(pluck=True))


def find_due(since: datetime, connected_app: str) -> list[str]:
	"""The names of an app's first rows that were due at `since`. By SQL: `frappe.get_all` would read the whole index."""
	waiting = frappe.qb.DocType(DOCTYPE)
	query = frappe.qb.from_(waiting).select(waiting.name)
	query = query.where((waiting.connected_app == connected_app) & (waiting.retry_at <= since))
	found: list[str] = query.orderby(waiting.retry_at).limit(BATCH).run(pluck=True)
	return found


def give_up_all(why: str) -> None:
	"""Delete everything that waits, because nothing can be revoked any more. The Error Log names each."""
	for row in frappe.get_all(DOCTYPE, fields=["name", "connected_app", "user"], limit=0):
		_give_up(row, why)


def _whose(client: Settings) -> tuple[str, str]:
	return (client.provider.revocation_uri, client.client.client_id)


def put(
	key: ConnectionKey, grant: Grant | None, client: Settings, pause: timedelta, *, held: bool = False
) -> str | None:
	"""Queue the tokens of `grant`, with the `client` that can revoke them, for an attempt after `pause`. Returns the row's
	name; None if there are no tokens, or the provider cannot revoke.

	:param held: whether it waits for a user's answer, until `withdraw_held`
	"""
	if not grant or not client.provider.revocation_uri:
		return None
	now = utc_now()
	doc = frappe.get_doc(
		{
			"doctype": DOCTYPE,
			"connected_app": key.app,
			"user": key.user,
			"requested_on": naive(now),
			"retry_at": naive(now + pause),
			"held_account": grant.account.id if held and grant.account else None,
		}
	)
	doc.db_insert()
	secrets = {field: getattr(grant, field) for field in TOKENS}
	secrets["client"] = settings.to_json(client)
	for field, secret in secrets.items():
		if secret:
			passwords.store(DOCTYPE, doc.name, field, secret)
	return str(doc.name)


def _retry(name: str, failures: Failures, left: float) -> OAuthError | None:
	with own_transaction(name, LOCK_WAIT):
		with writing():
			row = frappe.db.get_value(DOCTYPE, name, ["*"], as_dict=True, for_update=True)
			if not row or aware(row.retry_at) > utc_now():
				return None
			grant, client = _stored(DOCTYPE, name), _kept(name)
			if client and (failure := failures.get(_whose(client))):
				_postpone(name, failure)
				return None
			# Before the attempt: should this process die, another attempt follows.
			pause = min(FIRST_PAUSE * 2**row.attempts, LONGEST_PAUSE)
			values = {"attempts": row.attempts + 1, "retry_at": naive(utc_now() + pause)}
			frappe.db.set_value(DOCTYPE, name, values)
			if not grant or not client:
				_postpone(name, unreadable())
				return None
		client = _present(client, row.connected_app)
	_confirmed, failure = attempt(name, grant, client, failures, left)
	return None if _whose(client) in failures else failure


def _kept(name: str) -> Settings | None:
	text = _secret(DOCTYPE, name, "client")
	return settings.from_json(text) if text else None


def _present(client: Settings, connected_app: str) -> Settings:
	"""`client` as a Connected App has it now: its secret may have changed. Unchanged if no app has the same client at the same
	endpoint.

	:param connected_app: preferred, if it has the client
	"""
	revocation_uri, client_id = _whose(client)
	same = {"client_id": client_id, "revocation_uri": revocation_uri}
	names = frappe.get_all("Connected App", same, pluck="name")
	for name in sorted(names, key=lambda name: name != connected_app):
		present = settings.for_revoking(name)
		# The database takes upper and lower case for the same.
		if _whose(present) == _whose(client):
			return present
	return client


def _stored(doctype: str, name: str) -> Grant | None:
	"""The tokens of a document; None if there are none, or they cannot be read."""
	tokens = {field: _secret(doctype, name, field) for field in TOKENS}
	if not any(tokens.values()):
		return None
	return Grant(access_token=tokens["access_token"] or Secret(""), refresh_token=tokens["refresh_token"])


def _secret(doctype: str, name: str, field: str) -> Secret | None:
	"""A secret of a document; None if there is none, or the site's encryption key does not open it."""
	try:
		return Secret(passwords.read(doctype, name, field))
	except (frappe.AuthenticationError, frappe.ValidationError):
		# An unreadable secret must not disturb an admin who deletes the document.
		frappe.clear_last_message()
		return None


def attempt(
	name: str, grant: Grant, client: Settings, failures: Failures, left: float = 0
) -> tuple[bool, OAuthError | None]:
	"""One attempt, unless the same client has failed at the same endpoint in this run.

	:param failures: a new failure is added; another attempt follows later
	:param left: seconds left in this run: a provider that wants a pause shorter than these has not failed, but has to be
		asked more slowly
	:returns: whether the provider confirmed, and the error if it has not revoked
	"""
	confirmed, whose = False, _whose(client)
	failure = failures.get(whose)
	if not failure:
		try:
			confirmed = revocation.revoke(*client, grant, http())
		except OAuthError as error:
			failure = error
			if not error.retry_after or error.retry_after > left:
				failures[whose] = error
	with own_transaction(name, LOCK_WAIT), writing():
		if failure:
			_postpone(name, failure)
		else:
			_drop(name)
	return confirmed, failure


def _postpone(name: str, error: OAuthError) -> None:
	row = frappe.db.get_value(DOCTYPE, name, ["*"], as_dict=True, for_update=True)
	if not row:
		return
	why, now = f"{error.code}: {error.message}", utc_now()
	if now - aware(row.requested_on) > GIVEN_UP_AFTER:
		return _give_up(row, why)
	earliest = now + timedelta(seconds=error.retry_after or 0)
	values = {
		"error_code": error.code,
		"error_values": catalogue.to_json(error.code, error.message),
		"retry_at": naive(max(aware(row.retry_at), earliest)),
	}
	frappe.db.set_value(DOCTYPE, name, values)


def _give_up(row: Any, why: str) -> None:
	_drop(row.name)
	frappe.log_error(
		title="Connected App: revocation given up",
		message=f"The provider of Connected App {row.connected_app} could not be told that"
		f" {row.user or 'this site'} has disconnected ({why}). Access can be taken back in the account's"
		" settings there.",
	)


def withdraw(name: str) -> bool:
	"""Take `name` out of the queue: it must not be revoked after all. Returns whether it was still waiting. In the current
	transaction."""
	found = frappe.db.get_value(DOCTYPE, name, "name", for_update=True)
	_drop(name)
	return bool(found)


def withdraw_held(key: ConnectionKey, account: Account | None) -> None:
	"""`account` is connected: take its grants that wait for an answer, in any browser, out of the queue. At some providers,
	revoking one grant revokes all. In the current transaction."""
	if account:
		mine = {"connected_app": key.app, "user": key.user, "held_account": account.id}
		for row in frappe.get_all(DOCTYPE, mine, ["name", "held_account"]):
			# The database takes upper and lower case for the same.
			if row.held_account == account.id:
				withdraw(row.name)


def is_waiting(name: str) -> bool:
	"""Whether `name` is still to be revoked, by the latest commit."""
	with own_connection():
		return bool(frappe.db.exists(DOCTYPE, name))


def _drop(name: str) -> None:
	frappe.db.delete(DOCTYPE, {"name": name})
	delete_all_passwords_for(DOCTYPE, name)
