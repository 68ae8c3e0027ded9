"""Consent that is missing, and the link at which it is given."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import frappe
import requests

from connected_app.oauth import catalogue, scopes
from connected_app.oauth.consent import MoreConsent, wanted_by
from connected_app.oauth.refresh import not_connected
from connected_app.site import access, accounts, flow, links, settings
from connected_app.site.errors import raises_frappe_errors


@dataclass(frozen=True)
class Asked:
	"""
	:param reason: why, for the user to read
	:param success_uri: where to land afterwards; None: where the present request was sent from
	:param account: of several accounts, which one, by its ID or name; None: the default one
	"""

	user: str
	reason: str = ""
	success_uri: str | None = None
	account: str | None = None

	def leads_to(self, app: Any, more: MoreConsent) -> AbstractContextManager[None]:
		"""A context in which errors lead to the page at which the user is asked for `more`.

		:param app: the Connected App's document
		"""
		where = access.return_address(self.success_uri) or links.this_page()
		return raises_frappe_errors(
			lambda: links.consent_link(app.name, self.user, more, self.reason, where, self._account_now(app)),
			leads_there=self.user == frappe.session.user,
		)

	def _account_now(self, app: Any) -> str | None:
		"""By its ID: when the link is opened, another may be the default one, or have the name."""
		if not (self.account or app.several_accounts):
			return None
		token_cache = app.get_token_cache(self.user, self.account)
		return (token_cache and token_cache.account_id) or self.account


def require_scopes(app: Any, wanted: Sequence[str], asked: Asked) -> None:
	"""
	:param app: the Connected App's document
	:raises OAuthError: as `ConnectedApp.require_scopes`
	"""
	access.check_caller(app.name, asked.user)
	read = settings.of(app)
	with raises_frappe_errors():
		flow.check_scopes(read, wanted)
	token_cache = app.get_token_cache(asked.user, asked.account)
	if accounts.is_named(asked.account) and not token_cache:
		# Raises what is wrong with it.
		access.connection_of(settings.for_session(app), asked.user, asked.account)
	if not token_cache or not token_cache.is_connected():
		with asked.leads_to(app, MoreConsent(scopes=tuple(wanted))):
			raise not_connected()
	granted = [row.scope for row in token_cache.scopes]
	if lacking := scopes.missing(wanted, granted, read.provider.quirks):
		with asked.leads_to(app, MoreConsent(scopes=tuple(lacking))):
			raise catalogue.error("scope_missing", ", ".join(lacking))


def require_consent(app: Any, response: requests.Response, asked: Asked) -> None:
	"""
	:raises OAuthError: as `ConnectedApp.require_consent`
	"""
	access.check_caller(app.name, asked.user)
	more = wanted_by(response.status_code, response.headers)
	if more is None:
		return
	with raises_frappe_errors():
		flow.check_scopes(settings.of(app), more.scopes)
	with asked.leads_to(app, more):
		if more.is_step_up:
			raise catalogue.error("login_insufficient")
		if more.scopes:
			raise catalogue.error("scope_missing", ", ".join(more.scopes))
		raise catalogue.error("scope_missing/unnamed")
