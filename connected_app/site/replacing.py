"""Another account than before, where there is one connection: the user who has connected is asked before it is replaced.

The grant of the new account waits for the answer, and only the browser session in which it was given can answer. It waits
to be revoked as well, so that somebody who walks away leaves no access behind. If it takes the old one's place, the old
one is revoked as by a disconnect.
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
# When nobody can answer any more.
REVOKED_AFTER = timedelta(minutes=15)


@dataclass(frozen=True, kw_only=True)
class Replacement:
	"""What waits for an answer.

	:param grant: of the new account
	:param before: the account that it would replace
	:param where: the page to go to afterwards
	:param asked: the scopes that were asked for
	:param waiting: the Pending Revocation of `grant`, and those of grants that the same account gave before, while its user
		had not answered yet; none where the provider cannot revoke
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
	"""Keep `grant` until it is decided on.

	:param session: of the browser, as `flow.browser_session` gives it
	:raises TemporaryFailure: `attempt_store_unavailable`; the grant is then revoked by and by
	"""
	client = settings.for_revoking(key.app)
	with own_transaction(key.app, LOCK_WAIT), writing():
		put = revocation.put(key, grant, client, REVOKED_AFTER, held=True)
	waiting: tuple[str, ...] = (put,) if put else ()
	earlier = find(key, session)
	grant = grant.consented_after(earlier.grant if earlier else None)
	if earlier and not grant.is_of_another_account(earlier.grant):
		# At some providers the end of one is the end of both.
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
	"""What waits for an answer from this browser session."""
	return _read(key, HELD.peek(_name(key, session)))


def decide(
	key: ConnectionKey, session: str, replace: bool, account: str | None = None
) -> tuple[Replacement, Grant | None]:
	"""Let the new account take the place of the old one, or give it back.

	:param account: the ID of the new account of which it was asked; another tab may have been asked of another since
	:returns: what was decided on, and the grant that is stored now; None where the old one stays
	:raises ReconnectRequired: `attempt_unknown`, when it has been decided, has expired, or is no longer what was asked
	"""
	replacement = find(key, session)
	if not replacement or account not in (None, replacement.now.id):
		raise catalogue.error("attempt_unknown")
	client = settings.for_revoking(key.app)
	if not replace:
		_spend(replacement, session)
		# Earlier ones of the same account are revoked when it is their time.
		for waiting in filter(revocation.is_waiting, replacement.waiting[:1]):
			_revoke(waiting, replacement.grant, client)
		return replacement, None
	with TokenCacheStore(key, create=True).exclusive() as locked:
		old, before = locked.grant, locked.account
		changes = bool(before and before.id != replacement.now.id)
		if before and changes and before.id != replacement.before.id:
			# Not the one of which was said that it would be replaced.
			raise catalogue.error("attempt_unknown")
		# Only now: while the row is busy, the answer can be given again.
		_spend(replacement, session)
		if old and before and not changes:
			# Another browser has connected it meanwhile.
			return replacement, old
		of_old: list[str | None] = []

		def exchange() -> None:
			"""What waits to be revoked is the old one from now on, in one transaction with the storing of the new one."""
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
	:raises ReconnectRequired: `attempt_unknown`, where somebody else has
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
