"""The refresher and the session of a connection."""

from __future__ import annotations

from connected_app.oauth.grant import Grant
from connected_app.oauth.refresh import ClientCredentials, Refresher
from connected_app.oauth.session import Session
from connected_app.site import access, settings
from connected_app.site.errors import raises_frappe_errors
from connected_app.site.grants import LockedTokenCache, TokenCacheStore
from connected_app.site.http import http
from connected_app.site.identity import SERVICE_PRINCIPAL, ConnectionKey
from connected_app.site.settings import AppSettings


def refresher(app: AppSettings, key: ConnectionKey) -> SiteRefresher:
	"""
	:param app: that of `key`
	:raises frappe.PermissionError: to a script that may not use this connection
	"""
	access.check_script(app.name, key.user)
	if key.owner == SERVICE_PRINCIPAL:
		return SiteClientCredentials(app, TokenCacheStore(key, create=True))
	return SiteRefresher(app, TokenCacheStore(key))


def current(app: AppSettings, key: ConnectionKey) -> Grant:
	"""A grant that can be used now, refreshed first when it is due.

	:raises OAuthError: in Frappe's kind of error
	"""
	with raises_frappe_errors(app.connect_url):
		app.check_enabled()
		return refresher(app, key).current()


def session(app: AppSettings, key: ConnectionKey) -> SiteSession:
	"""
	:raises OAuthError: in Frappe's kind of error
	"""
	with raises_frappe_errors(app.connect_url):
		app.check_enabled()
		return SiteSession(refresher(app, key))


class SiteRefresher(Refresher):
	"""Reads most settings, and the client secret, only when a refresh needs them, and speaks Frappe's kind of error."""

	def __init__(self, app: AppSettings, store: TokenCacheStore) -> None:
		super().__init__(app.config, store, http())
		self.app = app

	def renew(self, stale: Grant | None, *, rejected: bool = False) -> Grant:
		with raises_frappe_errors(self.app.connect_url):
			return super().renew(stale, rejected=rejected)

	def _refresh(self, slot: LockedTokenCache, grant: Grant | None) -> Grant:
		# As they are now, not as they were when a long job began: under the lock, the latest commits are seen.
		self.config = settings.usable(self.app.name).config
		return super()._refresh(slot, grant)


class SiteClientCredentials(SiteRefresher, ClientCredentials):
	pass


class SiteSession(Session):
	"""Refuses an address in Frappe's kind of error."""

	def _check(self, url: str) -> None:
		with raises_frappe_errors():
			super()._check(url)
