"""Disconnecting: the local grant is forgotten whatever the provider answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import frappe
from frappe.utils.password import decrypt, encrypt, get_decrypted_password

from connected_app.oauth import revocation
from connected_app.oauth.config import ClientConfig
from connected_app.oauth.errors import OAuthError
from connected_app.oauth.grant import Grant
from connected_app.oauth.redact import Secret
from connected_app.site.database import own_connection
from connected_app.site.grants import TOKENS, TokenCacheStore
from connected_app.site.http import http

if TYPE_CHECKING:
	from connected_app.connections.doctype.connected_app.connected_app import ConnectedApp

# As many are revoked before the browser is answered; more are left to a background job.
AT_ONCE = 5


def disconnect(app: ConnectedApp, user: str) -> bool:
	"""Forget `user`'s grant, durably, then revoke it. Returns whether the provider confirmed."""
	store, revoked = TokenCacheStore(app.name, user), []
	# More than once where renaming left several rows.
	while grant := store.forget():
		revoked.append(revoke(app, grant))
	return bool(revoked) and all(revoked)


def revoke(app: ConnectedApp, grant: Grant) -> bool:
	"""Revoke `grant` at the provider. Returns whether it confirmed; never raises for what it answers."""
	try:
		config = app.get_client_config(with_secret=True)
	except OAuthError:
		return False
	return revocation.revoke(config, grant, http())


def revoke_after_commit(connected_app: str, names: Sequence[str]) -> None:
	"""Revoke the grants of the Token Cache rows `names` when the caller's transaction, which deletes them, and maybe
	the Connected App too, is committed.

	Read by another connection, which still sees what this one has deleted.
	"""
	with own_connection():
		if not frappe.db.get_value("Connected App", connected_app, "revocation_uri"):
			return
		try:
			config = frappe.get_doc("Connected App", connected_app).get_client_config(with_secret=True)
		except OAuthError:
			return
		grants = [grant for name in names if (grant := _stored(name))]
	if len(grants) <= AT_ONCE:
		frappe.db.after_commit.add(lambda: [revocation.revoke(config, grant, http()) for grant in grants])
		return
	# Sealed: a job's arguments can be read in Redis, and in Desk. By then there may be no app to read them from.
	tokens = [[getattr(grant, field) for field in TOKENS] for grant in grants]
	sealed = encrypt(json.dumps({"config": asdict(config), "tokens": tokens}))
	frappe.enqueue(revoke_sealed, queue="long", sealed=sealed, enqueue_after_commit=True)


def _stored(name: str) -> Grant | None:
	try:
		return _grant(
			*(get_decrypted_password("Token Cache", name, field, raise_exception=False) for field in TOKENS)
		)
	except frappe.ValidationError:
		# Unreadable with this site's encryption key.
		frappe.clear_last_message()
		return None


def _grant(access_token: str | None, refresh_token: str | None) -> Grant | None:
	if not access_token:
		return None
	refresh = Secret(refresh_token) if refresh_token else None
	return Grant(access_token=Secret(access_token), refresh_token=refresh)


def revoke_sealed(sealed: str) -> int:
	"""A background job: revoke what `revoke_after_commit` sealed. Returns how many the provider confirmed."""
	config, grants = _opened(sealed)
	return sum(revocation.revoke(config, grant, http()) for grant in grants)


def _opened(sealed: str) -> tuple[ClientConfig, list[Grant]]:
	values = json.loads(decrypt(sealed))
	settings = values["config"]
	if settings["client_secret"]:
		settings["client_secret"] = Secret(settings["client_secret"])
	return ClientConfig(**settings), [grant for tokens in values["tokens"] if (grant := _grant(*tokens))]
