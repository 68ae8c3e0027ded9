"""Disconnecting: the local grant is forgotten whatever the provider answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connected_app.oauth import revocation
from connected_app.oauth.errors import OAuthError
from connected_app.oauth.grant import Grant
from connected_app.site.grants import TokenCacheStore
from connected_app.site.http import http

if TYPE_CHECKING:
	from connected_app.connections.doctype.connected_app.connected_app import ConnectedApp


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
