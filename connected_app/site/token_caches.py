"""The Token Cache of a connection, for code that asks for it: also one that this transaction cannot see yet."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import frappe

from connected_app.oauth.errors import ReconnectRequired
from connected_app.oauth.grant import Grant
from connected_app.site import access, accounts, recent, rows
from connected_app.site.database import own_connection
from connected_app.site.identity import ConnectionKey
from connected_app.site.rows import DOCTYPE
from connected_app.site.settings import AppSettings


def of_user(app: AppSettings, user: str, account: str | None = None) -> Any:
	"""The Token Cache of `user`, or None. An empty `user` is the service principal. A shared one is found for everybody who
	may use it.

	:param account: which of their accounts, by the provider's ID or by its name; by default the default one
	"""
	if not user or not (accounts.is_named(account) or app.is_shared):
		return of_key(ConnectionKey.from_columns(app.name, user))
	try:
		key = access.connection_of(app, user, account)
	except (frappe.PermissionError, ReconnectRequired):
		frappe.clear_last_message()
		return None
	return of_key(key)


def of_key(key: ConnectionKey) -> Any:
	"""The Token Cache of one connection, or None. One that was stored after the caller's transaction began is found, too."""
	name = rows.name_of(key)
	return frappe.get_doc(DOCTYPE, name) if name else _stored_since(key)


def is_connected(token_cache: Any) -> bool:
	"""Whether there is an access token: an attempt that was abandoned in core leaves a row without one."""
	return bool(token_cache.access_token or latest_known(token_cache.name))


def latest_known(name: str) -> Grant | None:
	"""The newest grant of a row that this request has stored, or read under the lock; None if its transaction sees a newer
	one.

	:param name: of the row, for which permission was checked: a script can invent a document
	"""
	grants = recent.of_row(name)
	if not grants:
		return None
	seen = frappe.db.get_value(DOCTYPE, name, ["revision", "account_id"], as_dict=True)
	if seen and seen.account_id:
		# Another account may be the default one by now.
		grants = [grant for grant in grants if not grant.account or grant.account.id == seen.account_id]
	grant = max(grants, key=lambda grant: grant.revision, default=None)
	return None if seen and grant and (seen.revision or 0) > grant.revision else grant


def _stored_since(key: ConnectionKey) -> Any:
	"""The Token Cache that others have stored after the caller's transaction began, or None.

	Its tokens are remembered, so that `TokenCache.get_password` returns them.
	"""
	# The caller itself may have deleted it.
	if recent.has_changed(frappe.local.db, key):
		return None
	with own_connection():
		name = rows.name_of(key)
		if not name:
			return None
		found = frappe.get_doc(DOCTYPE, name)
		with suppress(ReconnectRequired):
			if grant := rows.read_whole(name, found):
				recent.note(key, grant, name)
	return found
