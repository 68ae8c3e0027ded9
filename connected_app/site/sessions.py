"""The refresher and the session of a connection."""

from __future__ import annotations

from collections.abc import Callable

from connected_app.oauth.client import Settings
from connected_app.oauth.grant import Grant
from connected_app.oauth.grant_types import CLIENT_CREDENTIALS, REFRESH_TOKEN
from connected_app.oauth.refresh import Refresher
from connected_app.oauth.session import Session
from connected_app.oauth.token_source import TokenSource
from connected_app.site import access, settings
from connected_app.site.errors import raises_frappe_errors
from connected_app.site.grants import TokenCacheStore
from connected_app.site.http import http
from connected_app.site.identity import SERVICE_PRINCIPAL, ConnectionKey
from connected_app.site.settings import AppSettings
from connected_app.site.threads import Anywhere


def refresher(
	app: AppSettings, key: ConnectionKey, usable: Callable[[str], AppSettings] = settings.usable
) -> Refresher:
	"""
	:param app: that of `key`; what only a refresh needs, the client secret above all, is read then
	:param usable: gives it by the app's name, as `settings.usable`
	:raises frappe.PermissionError: as `access.check_caller`
	"""
	access.check_caller(app.name, key.user)
	own = key.owner == SERVICE_PRINCIPAL

	def latest() -> Settings:
		# As they are now, not as they were when a long job began: under the lock, the latest commits are seen.
		now = usable(app.name)
		return Settings(now.provider, now.client)

	return Refresher(
		app.provider,
		app.client,
		TokenCacheStore(key, create=own),
		http(),
		grant_type=CLIENT_CREDENTIALS if own else REFRESH_TOKEN,
		latest=latest,
	)


def current(app: AppSettings, key: ConnectionKey) -> Grant:
	"""A grant that can be used now, refreshed first when it is due.

	:raises OAuthError: in Frappe's kind of error
	"""
	with raises_frappe_errors(app.connect_url):
		app.check_enabled()
		return refresher(app, key).current()


def session(app: AppSettings, key: ConnectionKey) -> Session:
	"""
	:raises OAuthError: in Frappe's kind of error
	"""
	if not app.enabled:
		with raises_frappe_errors(app.connect_url):
			app.check_enabled()
	return Session(refresher(app, key), lambda: raises_frappe_errors(app.connect_url))


def token_source(app: AppSettings, key: ConnectionKey) -> TokenSource:
	"""
	:raises OAuthError: in Frappe's kind of error
	"""
	with raises_frappe_errors(app.connect_url):
		app.check_enabled()
	return TokenSource(
		refresher(app, key), lambda: raises_frappe_errors(app.connect_url), Anywhere(key, app.connect_url)
	)
