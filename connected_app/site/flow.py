"""From the click to the stored grant: one authorization attempt on a site."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import frappe

from connected_app.oauth import authorization, catalogue, pushed
from connected_app.oauth.grant import Grant
from connected_app.site import hosts, settings
from connected_app.site.access import check_may_connect, return_address
from connected_app.site.attempts import RedisAttemptStore
from connected_app.site.events import announce
from connected_app.site.grants import TokenCacheStore
from connected_app.site.http import http
from connected_app.site.identity import ConnectionKey
from connected_app.site.settings import AppSettings

attempts = RedisAttemptStore()
# Behind it, in a path: the name, in which a slash is allowed.
CALLBACK = ".callback/"


def begin(app: AppSettings, success_uri: str | None = None) -> str:
	"""Begin an attempt for the session's user, in this browser session. Returns the consent URL.

	:raises frappe.PermissionError:
	:raises OAuthError: `app_disabled`, `endpoint_missing`, `success_uri_refused`, `attempt_store_unavailable`, and as
		`oauth.pushed.push`
	"""
	try:
		check_may_connect(app)
	except frappe.PermissionError:
		announce("connect_failed", ConnectionKey.of_user(app.name, frappe.session.user), "not_allowed")
		raise
	if pushed.is_wanted(app.provider, app.client):
		# The client proves itself already here.
		app = settings.read(app.name, with_secret=True)
	url, attempt = authorization.begin(
		app.provider,
		app.client,
		http=http(),
		context={
			"connected_app": app.name,
			"user": frappe.session.user,
			"session": browser_session(),
			"return_address": return_address(success_uri) or "",
		},
	)
	attempts.put(attempt)
	hosts.note()
	return url


def claim_attempt(name: str, parameters: Mapping[str, Any]) -> authorization.Attempt:
	"""The attempt that a callback belongs to; it is spent.

	It is spent only by the user and browser session that began it, so that nobody else can spoil it.

	:param name: the end of the callback's path. It must be that of the redirect URI, which is distinct for each app
		(RFC 9700 4.4.2.1) and outlives a renaming: the app itself may be called otherwise by now.

	:raises ReconnectRequired: `state_missing`, `attempt_unknown`, `attempt_elsewhere`, `parameter_repeated`
	"""
	state = authorization.single(parameters).get("state")
	if not state:
		raise catalogue.error("state_missing")
	hosts.note()
	attempt = attempts.peek(state)
	if attempt is None or unquote(attempt.redirect_uri.partition(CALLBACK)[2]) != name:
		raise catalogue.error("attempt_unknown")
	context = attempt.context
	if context["user"] != frappe.session.user or context["session"] != browser_session():
		raise catalogue.error("attempt_elsewhere")
	if attempts.take(state) is None:
		raise catalogue.error("attempt_unknown")
	return attempt


def finish(app: AppSettings, attempt: authorization.Attempt, parameters: Mapping[str, Any]) -> Grant:
	"""Exchange the code, and store the grant durably.

	:raises OAuthError: as `oauth.authorization.complete`
	"""
	check_may_connect(app)
	usable = settings.read(app.name, with_secret=True)
	grant = authorization.complete(usable.provider, usable.client, attempt, parameters, http())
	grant = replace(grant, scopes=tuple(scope[:140] for scope in grant.scopes))
	key = ConnectionKey.of_user(app.name, frappe.session.user)
	with TokenCacheStore(key, create=True).exclusive() as locked:
		return locked.save(_with_refresh_token(grant, locked.grant), consented=True)


def _with_refresh_token(grant: Grant, before: Grant | None) -> Grant:
	"""Some providers give a refresh token at the first consent only (Google): the same account keeps it."""
	same = before and before.account and grant.account and before.account.id == grant.account.id
	# One that is bound to another key is of no use with this one.
	if before and same and not grant.refresh_token and grant.dpop_key == before.dpop_key:
		return replace(
			grant, refresh_token=before.refresh_token, refresh_expires_at=before.refresh_expires_at
		)
	return grant


def browser_session() -> str:
	"""What an attempt is bound to: a digest, since a session ID is a credential."""
	return hashlib.sha256(str(frappe.session.sid).encode()).hexdigest()
