"""The refresher and the session of a connection."""

from __future__ import annotations

from collections.abc import Callable

from connected_app.oauth import catalogue
from connected_app.oauth.client import Settings
from connected_app.oauth.grant import Grant
from connected_app.oauth.grant_types import (
	CLIENT_CREDENTIALS,
	REFRESH_TOKEN,
	GrantType,
	JwtBearer,
	TokenExchange,
)
from connected_app.oauth.refresh import Refresher
from connected_app.oauth.session import Session
from connected_app.oauth.token_source import TokenSource
from connected_app.site import access, callers, settings
from connected_app.site.errors import raises_frappe_errors
from connected_app.site.grants import TokenCacheStore
from connected_app.site.http import http
from connected_app.site.identity import SERVICE_PRINCIPAL, ConnectionKey
from connected_app.site.settings import AppSettings
from connected_app.site.threads import Anywhere


def refresher(
	app: AppSettings,
	key: ConnectionKey,
	usable: Callable[[str], AppSettings] = settings.usable,
	asking: callers.Caller | None = None,
) -> Refresher:
	"""
	:param app: the settings of the app of `key`; a refresh reads what only it needs, such as the client secret
	:param usable: returns these settings by the app's name, as `settings.usable`
	:param asking: as `access.check_caller`
	:raises frappe.PermissionError: as `access.check_caller`
	"""
	access.check_caller(app.name, key.user, asking=asking)
	grant_type = _grant_type(app, key)

	def latest() -> Settings:
		# The current settings, not those at the start of a long job: under the lock, the latest commits are visible.
		now = usable(app.name)
		if key.user and not grant_type.needs_consent:
			access.check_user_may_have(now, key.user)
		return Settings(now.provider, now.client)

	return Refresher(
		app.provider,
		app.client,
		TokenCacheStore(key, create=not grant_type.needs_consent, may_create=latest if key.user else None),
		http(),
		grant_type=grant_type,
		latest=latest,
	)


def _grant_type(app: AppSettings, key: ConnectionKey) -> GrantType:
	own = key.owner == SERVICE_PRINCIPAL
	if app.grant == "service_account":
		return JwtBearer(app.subject if own else key.user)
	if app.grant == "token_exchange":
		return TokenExchange(lambda: _source(app, key))
	return CLIENT_CREDENTIALS if own else REFRESH_TOKEN


def _source(app: AppSettings, key: ConnectionKey) -> Grant:
	"""The same owner's grant for the app whose tokens are exchanged: usable now, and with its account.

	:raises OAuthError: as `refresher`, `Refresher.current`
	"""
	source = settings.usable(app.exchange_from)
	_check_is_for(source, ConnectionKey.from_columns(source.name, key.user))
	found = refresher(source, ConnectionKey.from_columns(source.name, key.user))
	grant = found.current()
	return grant if grant.account else found.store.load_all() or grant


def _check_is_for(app: AppSettings, key: ConnectionKey) -> None:
	"""
	:raises ConfigurationError: `app_disabled`, `not_for_users`
	"""
	app.check_enabled()
	if key.user and not app.is_for_users:
		raise catalogue.error("not_for_users")


def current(app: AppSettings, key: ConnectionKey, user: str = "") -> Grant:
	"""A grant that can be used now, refreshed first when it is due.

	:param user: as `session`
	:raises OAuthError: in Frappe's kind of error
	"""
	with raises_frappe_errors(app.connect_url):
		_check_is_for(app, key)
		return refresher(app, key, _usable_by(key, user)).current()


def session(app: AppSettings, key: ConnectionKey, user: str = "") -> Session:
	"""
	:param user: of a shared connection: at each refresh, this user must still be allowed to use it
	:raises OAuthError: in Frappe's kind of error
	"""
	if not app.enabled or (key.user and not app.is_for_users):
		with raises_frappe_errors(app.connect_url):
			_check_is_for(app, key)
	asking = callers.caller()
	return Session(
		refresher(app, key, _usable_by(key, user), asking),
		lambda: raises_frappe_errors(app.connect_url),
		# A script can replace a function of a connection with its own, which the next user of the connection would call.
		apart=asking is callers.Caller.SCRIPT,
	)


def token_source(app: AppSettings, key: ConnectionKey, user: str = "") -> TokenSource:
	"""
	:param user: as `session`
	:raises OAuthError: in Frappe's kind of error
	"""
	with raises_frappe_errors(app.connect_url):
		_check_is_for(app, key)
	return TokenSource(
		refresher(app, key, _usable_by(key, user)),
		lambda: raises_frappe_errors(app.connect_url),
		Anywhere(key, app.connect_url),
	)


def _usable_by(key: ConnectionKey, user: str) -> Callable[[str], AppSettings]:
	"""As `settings.usable`, for `user`.

	:raises frappe.PermissionError: as `access.check_may_use`
	"""
	if not (user and key.is_shared):
		return settings.usable

	def usable(connected_app: str) -> AppSettings:
		app = settings.usable(connected_app)
		access.check_may_use(app, user)
		return app

	return usable
