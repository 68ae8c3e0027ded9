"""A user's grant for one Connected App. Tokens are Password fields; `site/grants.py` writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import frappe

from connected_app.oauth import catalogue
from connected_app.oauth.clock import utc_now
from connected_app.oauth.errors import ReconnectRequired
from connected_app.oauth.grant import Grant, from_response
from connected_app.oauth.presenting import header
from connected_app.site import errors, mail, recent, rows, settings, token_caches
from connected_app.site.access import check_caller, may_use
from connected_app.site.callers import Caller, caller, for_code
from connected_app.site.database import add_indexes_of_users, add_search_indexes, own_connection
from connected_app.site.errors import raises_frappe_errors
from connected_app.site.events import announce
from connected_app.site.grants import TokenCacheStore
from connected_app.site.identity import ConnectionKey
from connected_app.site.offboarding import make_changeable
from connected_app.site.passwords import SecretKeeper
from connected_app.site.revocation import revoke_after_commit


class TokenCache(SecretKeeper):
	# begin: auto-generated types
	# This code is auto-generated. Do not modify anything in this block.

	from typing import TYPE_CHECKING

	if TYPE_CHECKING:
		from frappe.integrations.doctype.oauth_scope.oauth_scope import OAuthScope
		from frappe.types import DF

		access_token: DF.Password | None
		account: DF.Data | None
		account_id: DF.Data | None
		account_name: DF.Data | None
		admin_must_act: DF.Check
		attempts: DF.Int
		connected_app: DF.Link | None
		connected_by: DF.Link | None
		connected_on: DF.Datetime | None
		dpop_key: DF.Password | None
		error_code: DF.Data | None
		error_values: DF.SmallText | None
		expires_at: DF.Datetime | None
		expires_in: DF.Int
		extra: DF.Password | None
		failing_since: DF.Datetime | None
		generation: DF.Int
		idle_since: DF.Datetime | None
		last_refreshed_on: DF.Datetime | None
		notified_on: DF.Datetime | None
		provider_name: DF.Data | None
		refresh_expires_at: DF.Datetime | None
		refresh_token: DF.Password | None
		rejected_at: DF.Datetime | None
		retry_at: DF.Datetime | None
		revision: DF.Int
		scopes: DF.Table[OAuthScope]
		shared: DF.Check
		state: DF.Data | None
		status: DF.Literal["Connected", "Reconnect Required", "Temporarily Failing"]
		success_uri: DF.Data | None
		token_type: DF.Data | None
		user: DF.Link | None
	# end: auto-generated types

	SECRETS = FOR_SCRIPTS = rows.SECRETS

	@property
	def last_error(self) -> str | None:
		return errors.last_error(self)

	def before_insert(self) -> None:
		# Only rows of the app's current generation count.
		self.generation = frappe.db.get_value("Connected App", self.connected_app, "generation") or 0

	def validate(self) -> None:
		self.revision = rows.next_revision(self.revision)

	def on_update(self) -> None:
		self._forget()

	def delete(self, *args: Any, **kwargs: Any) -> Any:
		now = self._row_now()
		if now is not self:
			return now.delete(*args, **kwargs) if now else None
		make_changeable({"name": self.name})
		return super().delete(*args, **kwargs)

	def on_trash(self) -> None:
		self._forget()
		if not self.flags.keep_at_provider:
			revoke_after_commit([self])
			key = self.key()
			frappe.db.after_commit.add(lambda: announce("disconnected", key))

	def _forget(self) -> None:
		recent.note_change(self.key())

	def key(self) -> ConnectionKey:
		return ConnectionKey.from_row(self)

	def _row_now(self) -> TokenCache | None:
		"""The row of this account: since this document was read, another account may have taken its name (see
		`accounts.make_default`). None if the account is no longer connected."""
		seen = self.account_id and frappe.db.get_value("Token Cache", self.name, "account_id")
		if not seen or seen == self.account_id:
			return self
		name = rows.name_of(replace(self.key(), wanted=str(self.account_id)))
		if name:
			found: TokenCache = frappe.get_doc("Token Cache", name)
			return found
		several = frappe.db.get_value("Connected App", self.connected_app, "several_accounts")
		# With one account only, the user has chosen to replace it.
		return None if several else self

	@for_code
	def get_password(self, fieldname: str = "password", raise_exception: bool = True) -> str | None:
		"""As Frappe's. But a token that was refreshed in this request is returned even if the caller's transaction began
		before the refresh and cannot see it.

		:raises frappe.PermissionError: to browsers, expressions and templates, and to scripts without permission
		"""
		if caller() is Caller.SCRIPT:
			# From the database: a script can invent a document.
			columns = ["connected_app", "user", "shared"]
			app, user, shared = frappe.db.get_value("Token Cache", self.name, columns) or ("", None, False)
			check_caller(app, user, shared and not may_use(settings.read(app)))
		if fieldname in rows.SECRETS:
			now = self._row_now()
			if now and now is not self:
				return now.get_password(fieldname, raise_exception)
			if not now:
				if raise_exception:
					raise frappe.AuthenticationError(f"{self.account_id} is not connected")
				return None
			if grant := token_caches.latest_known(self.name):
				secret = rows.secrets(grant).get(fieldname)
				return mail.for_asker(str(secret)) if secret else None
			if self.name and rows.is_ended(self.name):
				if raise_exception:
					raise frappe.AuthenticationError(f"Token Cache {self.name} was ended")
				return None
		stored = super().get_password(fieldname, raise_exception)
		return mail.for_asker(stored) if stored else stored

	@for_code
	def get_auth_header(self) -> dict[str, str]:
		"""
		:raises frappe.DoesNotExistError: without an access token
		:raises connected_app.oauth.ConfigurationError: `dpop_needs_session`: a bound token is useless in a header
		"""
		if self.token_type and self.token_type.lower() == "dpop":
			with raises_frappe_errors():
				raise catalogue.error("dpop_needs_session")
		if token := self.get_password("access_token", raise_exception=False):
			return header(token)
		raise frappe.DoesNotExistError

	@for_code
	def update_data(self, data: Mapping[str, Any]) -> TokenCache:
		"""Store a token response (RFC 6749 5.1), durably and at once.

		If the caller's open transaction has inserted or saved the row, the tokens are stored in that transaction, and are lost
		if it is rolled back.

		:raises connected_app.oauth.TemporaryFailure: `response_invalid`, `busy`
		:raises connected_app.oauth.ConfigurationError: `not_committed`, if the Connected App or the user is not committed
		:raises connected_app.oauth.ReconnectRequired: `account_not_connected`, if another account has taken its row
		:raises frappe.PermissionError: to a script that may not use this connection
		"""
		key = self.key()
		check_caller(key.app, key.user, key.is_shared)
		now = self._row_now()
		with raises_frappe_errors():
			if not now:
				raise catalogue.error("account_not_connected", self.account_id)
			store = TokenCacheStore(now.key(), create=True)
			if recent.has_changed(frappe.local.db, store.key) and frappe.db.exists("Token Cache", self.name):
				return self._update_here(from_response(data, utc_now()))
			with store.exclusive() as locked:
				fresh = from_response(data, utc_now())
				locked.save(locked.grant.renewed(fresh) if locked.grant else fresh)
		# This document may be new, and the caller's transaction older than the row.
		self.name = locked.name or self.name
		for new in ("__islocal", "__unsaved"):
			self.delete_key(new)
		with own_connection():
			return self.reload()

	def _update_here(self, fresh: Grant) -> TokenCache:
		"""Store `fresh` in the caller's transaction, which commits it."""
		before = None
		with suppress(ReconnectRequired):
			before = rows.read_whole(self.name, self)
		grant = before.renewed(fresh) if before else fresh
		self.update({**rows.columns(grant), "last_refreshed_on": rows.naive(utc_now())})
		self.update({field: str(secret or "") for field, secret in rows.secrets(grant).items()})
		self.set("scopes", [{"scope": scope[:140]} for scope in grant.scopes])
		self.save(ignore_permissions=True)
		key, event = self.key(), "refreshed" if before else "connected"
		frappe.db.after_commit.add(lambda: announce(event, key))
		return self

	def is_connected(self) -> bool:
		"""Whether there is an access token: an attempt that was abandoned in core has left a row without."""
		return token_caches.is_connected(self)

	def get_expires_in(self) -> int:
		"""Seconds until the access token expires, negative afterwards. A token that never expires has a year."""
		expires_at = self._expires_at()
		if expires_at is None:
			return 365 * 24 * 3600
		return int((expires_at - utc_now()).total_seconds())

	def is_expired(self) -> bool:
		expires_at = self._expires_at()
		return expires_at is not None and utc_now() >= expires_at

	def _expires_at(self) -> Any:
		grant = token_caches.latest_known(self.name)
		return grant.expires_at if grant else rows.aware(self.expires_at)

	@for_code
	def get_extra(self) -> dict[str, str]:
		"""Further values from the provider that an API call needs, by name. For code on the server."""
		text = self.get_password("extra", raise_exception=False)
		return json.loads(text) if text else {}

	@for_code
	def get_json(self) -> dict[str, Any]:
		"""The token in requests-oauthlib's form. For code on the server: it holds secrets."""
		return {
			"access_token": self.get_password("access_token", False),
			"refresh_token": self.get_password("refresh_token", False),
			"expires_in": self.get_expires_in(),
			"token_type": self.token_type,
		}


def on_doctype_update() -> None:
	frappe.db.add_index("Token Cache", ["connected_app", "user"])
	# For `site/ending.py`, and for the numbers of `site/connections.py`.
	frappe.db.add_index("Token Cache", ["connected_app", "generation", "status"])
	frappe.db.add_index("Token Cache", ["connected_app", "failing_since"])
	add_search_indexes("Token Cache", "user", "connected_by", "expires_at")
	# Scopes are read at each refresh.
	add_search_indexes("OAuth Scope", "parent")
	# For `site/schedule.py`, beside the one of `expires_at`.
	frappe.db.add_index("Token Cache", ["connected_app", "status", "idle_since"])
	for doctype in ("Token Cache", "OAuth Scope"):
		add_indexes_of_users(doctype)
