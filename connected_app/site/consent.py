"""Missing consent: checking for it, and the link where the user gives it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import frappe
import requests

from connected_app.oauth import catalogue, scopes
from connected_app.oauth.consent import MoreConsent, wanted_by
from connected_app.oauth.refresh import not_connected
from connected_app.site import access, accounts, flow, links, token_caches
from connected_app.site.errors import raises_frappe_errors
from connected_app.site.settings import AppSettings


@dataclass(frozen=True)
class Asked:
	"""
	:param reason: why, for the user to read
	:param success_uri: where to land afterwards; None: the page that sent the current request
	:param account: of several accounts, which one, by its ID or name; None: the default one
	"""

	user: str
	reason: str = ""
	success_uri: str | None = None
	account: str | None = None

	def leads_to(self, app: AppSettings, more: MoreConsent) -> AbstractContextManager[None]:
		"""A context whose errors lead to the page that asks the user for `more`."""
		where = access.return_address(self.success_uri) or links.this_page()
		return raises_frappe_errors(
			lambda: links.consent_link(app.name, self.user, more, self.reason, where, self._account_now(app)),
			leads_there=self.user == frappe.session.user,
		)

	def _account_now(self, app: AppSettings) -> str | None:
		"""The account's ID: by the time the link is opened, another account may be the default, or have its name."""
		if not (self.account or app.several_accounts):
			return None
		token_cache = token_caches.of_user(app, self.user, self.account)
		return (token_cache and token_cache.account_id) or self.account


def require_scopes(app: AppSettings, wanted: Sequence[str], asked: Asked) -> None:
	"""
	:raises OAuthError: as `ConnectedApp.require_scopes`
	"""
	access.check_caller(app.name, asked.user)
	with raises_frappe_errors():
		flow.check_scopes(app, wanted)
	token_cache = token_caches.of_user(app, asked.user, asked.account)
	if accounts.is_named(asked.account) and not token_cache:
		# Raises what is wrong with it.
		access.connection_of(app, asked.user, asked.account)
	if not token_cache or not token_caches.is_connected(token_cache):
		with asked.leads_to(app, MoreConsent(scopes=tuple(wanted))):
			raise not_connected()
	granted = [row.scope for row in token_cache.scopes]
	if lacking := scopes.missing(wanted, granted, app.provider.quirks):
		with asked.leads_to(app, MoreConsent(scopes=tuple(lacking))):
			raise catalogue.error("scope_missing", ", ".join(lacking))


def require_consent(app: AppSettings, response: requests.Response, asked: Asked) -> None:
	"""
	:raises OAuthError: as `ConnectedApp.require_consent`
	"""
	access.check_caller(app.name, asked.user)
	more = wanted_by(response.status_code, response.headers)
	if more is None:
		return
	with raises_frappe_errors():
		flow.check_scopes(app, more.scopes)
	with asked.leads_to(app, more):
		if more.is_step_up:
			raise catalogue.error("login_insufficient")
		if more.scopes:
			raise catalogue.error("scope_missing", ", ".join(more.scopes))
		raise catalogue.error("scope_missing/unnamed")
