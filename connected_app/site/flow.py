"""One authorization attempt on a site, from the click to the stored grant."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import frappe

from connected_app.oauth import authorization, catalogue, consent, pushed, scopes, userinfo
from connected_app.oauth.client import Client
from connected_app.oauth.consent import MoreConsent
from connected_app.oauth.errors import ConfigurationError, OAuthError, ReconnectRequired
from connected_app.oauth.grant import Grant
from connected_app.site import accounts, hosts, replacing, revocation, settings
from connected_app.site.access import check_may_connect, connection_to_make, refusal, return_address
from connected_app.site.attempts import RedisAttemptStore
from connected_app.site.events import announce
from connected_app.site.grants import LockedTokenCache, TokenCacheStore, being_renewed
from connected_app.site.http import http
from connected_app.site.identity import ConnectionKey
from connected_app.site.rows import name_of
from connected_app.site.settings import AppSettings

attempts = RedisAttemptStore()
# The name follows it in a path; it may have slashes.
CALLBACK = ".callback/"
# In an attempt's context: the user wants to add an account.
ANOTHER = "another"
# Tries to find the row of an account while others exchange rows.
ATTEMPTS = 5
# Characters of the parameters of a callback by POST; Apple's have the name of a person.
LONGEST_POST = 16_000


def begin(
	app: AppSettings,
	success_uri: str | None = None,
	more: MoreConsent | None = None,
	*,
	another: bool = False,
	account: str | None = None,
) -> str:
	"""Begin an attempt for the session's user, in this browser session. Returns the consent URL.

	:param more: what the user is asked for beyond *Scopes*
	:param another: let the user choose an account at the provider, for a further connection
	:param account: reconnect this one of the user's accounts
	:raises frappe.PermissionError:
	:raises OAuthError: `app_disabled`, `endpoint_missing`, `success_uri_refused`, `scope_not_asked`,
		`attempt_store_unavailable`, `one_account_only`, `account_unknown`, `account_not_connected`, `account_ambiguous`,
		and as `oauth.pushed.push`
	"""
	if not app.is_for_users:
		raise catalogue.error("not_for_users")
	try:
		check_may_connect(app)
	except frappe.PermissionError:
		announce("connect_failed", ConnectionKey.of_user(app.name, frappe.session.user), "not_allowed")
		raise
	more = more or MoreConsent()
	check_scopes(app, more.scopes)
	if pushed.is_wanted(app.provider, app.client):
		# Pushing needs the client's authentication.
		app = settings.read(app.name, with_secret=True)
	client = _client(app, more, another, account)
	url, attempt = authorization.begin(
		app.provider,
		client,
		http=http(),
		max_age=more.max_age,
		context={
			"connected_app": app.name,
			"user": frappe.session.user,
			"session": browser_session(),
			"return_address": return_address(success_uri) or "",
			"shared": str(app.is_shared),
			**({ANOTHER: "1"} if another else {}),
		},
	)
	attempts.put(attempt)
	hosts.note()
	return url


def _client(app: AppSettings, more: MoreConsent, another: bool, account: str | None) -> Client:
	"""The client as it asks for this consent: with `more`, and for the right account."""
	key, quirks = connection_to_make(app), app.provider.quirks
	if another:
		check_takes_another(app)
		return consent.choosing_account(more.client(app.client, quirks), quirks)
	if account:
		key = accounts.choose(key, account)
	client = more.client(app.client, quirks, _kept(app, key))
	return consent.for_account(client, accounts.title(key)) if account else client


def check_takes_another(app: AppSettings) -> None:
	"""
	:raises ConfigurationError: `one_account_only`; `account_unknown`, if the provider will not name the account, before
		anything is granted
	"""
	if not app.several_accounts:
		raise catalogue.error("one_account_only")
	if not userinfo.tells_account(app.provider, app.client):
		raise catalogue.error("account_unknown")


def check_scopes(app: AppSettings, wanted: Collection[str]) -> None:
	"""
	:raises ConfigurationError: `scope_not_asked`: only scopes that an admin has entered are asked for
	"""
	may_ask = (*app.client.scopes, *app.optional_scopes)
	if unasked := scopes.missing(wanted, may_ask, app.provider.quirks):
		raise catalogue.error("scope_not_asked", ", ".join(unasked))


def _kept(app: AppSettings, key: ConnectionKey) -> list[str]:
	"""The optional scopes that were granted before: reconnecting must not lose them."""
	name = name_of(key) if app.optional_scopes else None
	if not name:
		return []
	granted = frappe.get_all("OAuth Scope", {"parenttype": "Token Cache", "parent": name}, pluck="scope")
	quirks = app.provider.quirks
	return [
		scope for scope in app.optional_scopes if granted and not scopes.missing([scope], granted, quirks)
	]


def keep_posted(name: str, parameters: Mapping[str, Sequence[str]]) -> str:
	"""Store the parameters that a browser has posted to the callback (OAuth 2.0 Form Post Response Mode) with their attempt.
	The user is unknown here: browsers send no session with another site's form. `claim_attempt` reads them with the session,
	and spends the attempt.

	:param name: as in `claim_attempt`
	:returns: the state with which the browser comes back; empty for none
	"""
	try:
		state = authorization.single(parameters, ("state",)).get("state", "")
		attempt = _find(name, state) if state else None
		length = sum(len(each) for values in parameters.values() for each in values)
		if attempt and length <= LONGEST_POST:
			attempts.replace(replace(attempt, posted=parameters))
	except OAuthError:
		# The user sees the reason on coming back.
		return ""
	return state


def claim_attempt(name: str, parameters: Mapping[str, Any]) -> authorization.Attempt:
	"""The attempt of a callback; it is spent.

	Only the user and browser session that began an attempt can spend it, so that nobody else can spoil it.

	:param name: the end of the callback's path. It must match the redirect URI, which is distinct for each app
		(RFC 9700 4.4.2.1) and stays when the app is renamed.

	:raises ReconnectRequired: `state_missing`, `attempt_unknown`, `attempt_elsewhere`, `parameter_repeated`
	"""
	state = authorization.single(parameters).get("state")
	if not state:
		raise catalogue.error("state_missing")
	hosts.note()
	attempt = _find(name, state)
	if attempt is None:
		raise catalogue.error("attempt_unknown")
	context = attempt.context
	if context["user"] != frappe.session.user or context["session"] != browser_session():
		raise catalogue.error("attempt_elsewhere")
	taken = attempts.take(state)
	if taken is None:
		raise catalogue.error("attempt_unknown")
	return taken


def _find(name: str, state: str) -> authorization.Attempt | None:
	attempt = attempts.peek(state)
	known = attempt and unquote(attempt.redirect_uri.partition(CALLBACK)[2]) == name
	return attempt if known else None


def finish(
	app: AppSettings, attempt: authorization.Attempt, parameters: Mapping[str, Any], where: str
) -> Grant | replacing.Replacement:
	"""Exchange the code, and store the grant durably.

	:param where: the page to go to afterwards
	:returns: the stored grant; or the replacement of another account, for the user to decide on
	:raises OAuthError: as `oauth.authorization.complete`
	"""
	check_may_connect(app)
	if attempt.context.get("shared", str(app.is_shared)) != str(app.is_shared):
		# The user has consented to another kind of connection.
		raise catalogue.error("attempt_unknown")
	usable = settings.read(app.name, with_secret=True)
	grant = authorization.complete(usable.provider, usable.client, attempt, parameters, http())
	another = bool(attempt.context.get(ANOTHER))
	return store(app, grant, where, asked_scopes(app, attempt), another=another)


def store(
	app: AppSettings, grant: Grant, where: str, asked: tuple[str, ...], *, another: bool = False
) -> Grant | replacing.Replacement:
	"""Store a grant durably, to which the session's user has just consented. See `finish`.

	:param another: whether the user wants to add an account
	:raises frappe.PermissionError: if the user may no longer connect; the grant is revoked
	:raises OAuthError: `app_disabled`, `one_account_only`, `attempt_unknown` (another kind of connection), and with `another`
		also `account_unknown`: the grant is revoked; `busy`
	"""
	key = connection_to_make(app)
	grant = replace(grant, scopes=tuple(scope[:140] for scope in grant.scopes))
	try:
		if app.several_accounts:
			return _store_account(key, grant, another)
		with _store(key).exclusive() as locked:
			before = locked.account
			if not before or not grant.account or grant.account.id == before.id:
				return _save(locked, grant)
			# Under the lock: otherwise another browser could connect that account in between, and this would revoke it.
			return replacing.hold(key, grant, before, browser_session(), where, asked)
	except (ConfigurationError, ReconnectRequired, frappe.PermissionError) as error:
		# Not if its account may be connected already: at some providers, revoking one grant revokes all.
		if another or getattr(error, "code", "") != "account_unknown":
			revocation.give_back(key, grant)
		raise


def _store(key: ConnectionKey) -> TokenCacheStore:
	return TokenCacheStore(key, create=True, may_create=lambda: _check_may_still(key))


def _store_account(key: ConnectionKey, grant: Grant, another: bool) -> Grant:
	"""Store `grant` for its account.

	:param key: of the user's default account
	:raises OAuthError: as `store`
	"""
	for _attempt in range(ATTEMPTS):
		chosen = accounts.for_consent_now(key, grant, another)
		with _store(chosen).exclusive() as locked:
			# Check again under the lock: others may have connected, disconnected, or chosen another default meanwhile.
			if accounts.for_consent(key, grant, another) == chosen:
				return _save(locked, grant)
			locked.drop_empty()
	raise being_renewed()


def _save(locked: LockedTokenCache, grant: Grant) -> Grant:
	def withdraw() -> None:
		revocation.withdraw_held(locked.store.key, grant.account)

	grant = grant.consented_after(locked.grant)
	return locked.save(grant, consented=True, together_with=withdraw)


def _check_may_still(key: ConnectionKey) -> None:
	"""Check that the user may still connect. User or app may have been disabled while the provider was asked; a connection
	that is stored now would survive that."""
	now = settings.read(key.app)
	if now.is_shared != key.is_shared:
		raise catalogue.error("attempt_unknown")
	if key.account and not now.several_accounts:
		raise catalogue.error("one_account_only")
	check_may_connect(now)
	# Read again: this request may have a cached value.
	if not frappe.db.get_value("User", frappe.session.user, "enabled"):
		frappe.throw(refusal(now.is_shared), frappe.PermissionError)


def asked_scopes(app: AppSettings, attempt: authorization.Attempt) -> tuple[str, ...]:
	return app.client.scopes if attempt.scopes is None else tuple(attempt.scopes)


def find_replacement(app: AppSettings) -> replacing.Replacement | None:
	"""The account in this browser session that waits for the user's decision whether it replaces the previous one."""
	return replacing.find(connection_to_make(app), browser_session())


def decide_replacement(
	app: AppSettings, replace: bool, account: str | None = None
) -> tuple[replacing.Replacement, Grant | None]:
	"""As `replacing.decide`, for the session's user.

	:raises frappe.PermissionError: if the user may no longer connect
	:raises OAuthError: as `replacing.decide`
	"""
	if replace:
		check_may_connect(app)
	return replacing.decide(connection_to_make(app), browser_session(), replace, account)


def browser_session() -> str:
	"""The browser session that an attempt is bound to: a digest, because a session ID is a credential."""
	return hashlib.sha256(str(frappe.session.sid).encode()).hexdigest()
