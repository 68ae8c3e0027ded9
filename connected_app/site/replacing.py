"""A user connects another account than before, where only one is possible: ask before the old one is replaced.

The new account's grant waits for the answer, which only the browser session that connected it can give. It is also queued
to be revoked, so that a user who walks away leaves no access behind. If it replaces the old grant, the old one is revoked
as by a disconnect.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import timedelta

import frappe

from connected_app.oauth import catalogue
from connected_app.oauth.client import Settings
from connected_app.oauth.grant import Account, Grant
from connected_app.site import revocation, settings
from connected_app.site.database import own_transaction, writing
from connected_app.site.grants import LOCK_WAIT, TokenCacheStore
from connected_app.site.identity import ConnectionKey
from connected_app.site.sealed import Sealed

HELD = Sealed("connected_app_replacement", timedelta(minutes=10))
# Seconds after which nobody can answer any more.
REVOKED_AFTER = timedelta(minutes=15)


@dataclass(frozen=True, kw_only=True)
class Replacement:
	"""A replacement that waits for the user's answer.

	:param grant: of the new account
	:param before: the account that it would replace
	:param where: the page to go to afterwards
	:param asked: the scopes that were asked for
	:param waiting: the Pending Revocation of `grant`, and those of earlier grants of the same account that were never answered;
		none if the provider cannot revoke
	"""

	key: ConnectionKey
	grant: Grant
	before: Account
	where: str
	asked: tuple[str, ...] = ()
	waiting: tuple[str, ...] = ()

	@property
	def now(self) -> Account:
		return self.grant.account or Account(id="")


def hold(
	key: ConnectionKey,
	grant: Grant,
	before: Account,
	session: str,
	where: str,
	asked: tuple[str, ...] = (),
) -> Replacement:
	"""Store `grant` until the user decides.

	:param session: the browser session, from `flow.browser_session`
	:raises TemporaryFailure: `attempt_store_unavailable`; the grant is revoked later then
	"""
	client = settings.for_revoking(key.app)
	with own_transaction(key.app, LOCK_WAIT), writing():
		put = revocation.put(key, grant, client, REVOKED_AFTER, held=True)
	waiting: tuple[str, ...] = (put,) if put else ()
	earlier = find(key, session)
	grant = grant.consented_after(earlier.grant if earlier else None)
	if earlier and not grant.is_of_another_account(earlier.grant):
		# At some providers, revoking one revokes both.
		waiting += earlier.waiting
	replacement = Replacement(key=key, grant=grant, before=before, where=where, asked=asked, waiting=waiting)
	values = {
		"before": asdict(before),
		"grant": grant.to_json(),
		"where": where,
		"asked": asked,
		"waiting": waiting,
	}
	HELD.put(_name(key, session), json.dumps(values))
	return replacement


def find(key: ConnectionKey, session: str) -> Replacement | None:
	"""The replacement that waits for an answer from this browser session."""
	return _read(key, HELD.peek(_name(key, session)))


def decide(
	key: ConnectionKey, session: str, replace: bool, account: str | None = None
) -> tuple[Replacement, Grant | None]:
	"""Replace the old account by the new one, or revoke the new one.

	:param account: the ID of the new account in the question; another tab may have connected another one since
	:returns: the replacement, and the grant that is stored now; None for it if the old one stays
	:raises ReconnectRequired: `attempt_unknown`, if the question was answered already, has expired, or has changed
	"""
	replacement = find(key, session)
	if not replacement or account not in (None, replacement.now.id):
		raise catalogue.error("attempt_unknown")
	client = settings.for_revoking(key.app)
	if not replace:
		_spend(replacement, session)
		# Earlier grants of the same account are revoked when they are due.
		for waiting in replacement.waiting[:1]:
			if revocation.is_waiting(waiting):
				_revoke(waiting, replacement.grant, client)
		return replacement, None
	with TokenCacheStore(key, create=True).exclusive() as locked:
		old, before = locked.grant, locked.account
		changes = bool(before and before.id != replacement.now.id)
		if before and changes and before.id != replacement.before.id:
			# The question was about another account.
			raise catalogue.error("attempt_unknown")
		# Not before the lock: while the row is busy, the user can answer again.
		_spend(replacement, session)
		if old and before and not changes:
			# Another browser has connected it meanwhile.
			return replacement, old
		of_old: list[str | None] = []

		def exchange() -> None:
			"""Queue the old grant to be revoked instead of the new one, in the transaction that stores the new one."""
			withdrawn = [revocation.withdraw(waiting) for waiting in replacement.waiting]
			if withdrawn and not withdrawn[0]:
				raise catalogue.error("attempt_unknown")
			revocation.withdraw_held(key, replacement.grant.account)
			of_old[:] = [revocation.put(key, old if changes else None, client, revocation.FIRST_PAUSE)]

		stored = locked.save(replacement.grant, consented=True, together_with=exchange)
		if changes:
			accounts = (_title(replacement.before), _title(replacement.now))
			locked.events.append(("account_changed", "", accounts))
	if old and of_old[0]:
		_revoke(of_old[0], old, client)
	return replacement, stored


def _spend(replacement: Replacement, session: str) -> None:
	"""
	:raises ReconnectRequired: `attempt_unknown`, if another request has spent it
	"""
	if _read(replacement.key, HELD.take(_name(replacement.key, session))) != replacement:
		raise catalogue.error("attempt_unknown")


def _title(account: Account) -> str:
	return account.name or account.id


def _revoke(waiting: str, grant: Grant, client: Settings) -> None:
	revocation.attempt(waiting, grant, client, revocation.Failures())


def _name(key: ConnectionKey, session: str) -> str:
	return json.dumps([*key.columns, frappe.session.user, session])


def _read(key: ConnectionKey, text: str | None) -> Replacement | None:
	if not text:
		return None
	values = json.loads(text)
	return Replacement(
		key=key,
		grant=Grant.from_json(values["grant"]),
		before=Account(**values["before"]),
		where=values["where"],
		asked=tuple(values["asked"]),
		waiting=tuple(values["waiting"]),
	)
