"""Check Configuration of a site: what is wrong with a Connected App, found without connecting.

Checks that need no Frappe are in `oauth/checks.py`; those here ask the site and its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import frappe
from frappe.utils import get_url

from connected_app.oauth import catalogue, checks, userinfo
from connected_app.oauth.errors import ConfigurationError, Sentence
from connected_app.oauth.findings import Finding, Subject
from connected_app.oauth.grant_types import DEVICE_CODE
from connected_app.oauth.metadata_checks import published
from connected_app.oauth.policy import is_loopback
from connected_app.site import settings, templates
from connected_app.site.errors import localized
from connected_app.site.http import http
from connected_app.site.settings import AppSettings


def check_configuration(connected_app: str) -> list[dict[str, str]]:
	"""All findings about the saved settings of a Connected App, in the order of the form.

	Asks the provider's endpoints with a code and a token that belong to nobody: nothing is granted, changed or revoked.

	:returns: findings: `level` ("ok", "warning", "error"), `check` (a stable name), `field` (of the form, or empty),
		`message`, and `action` (what to do; empty if nothing has to be done)
	"""
	app = settings.read(connected_app)
	findings = [finding for check in CHECKS for finding in check(app)]
	order = {field.fieldname: field.idx for field in frappe.get_meta("Connected App").fields}
	findings.sort(key=lambda finding: order.get(finding.field, 0))
	return [
		{
			"level": finding.level,
			"check": finding.check,
			"field": finding.field,
			"message": localized(finding.message),
			"action": localized(finding.action),
		}
		for finding in findings
	]


def who_may_connect(app: AppSettings) -> Iterator[Finding]:
	if not app.enabled:
		yield Finding(
			"warning",
			"enabled",
			"enabled",
			Sentence("This Connected App is disabled: nobody can connect."),
			Sentence("Tick Enabled when it is ready."),
		)
	if not app.everyone_may_connect and not app.allowed_roles:
		yield Finding(
			"warning",
			"roles",
			"allowed_roles",
			Sentence("Only System Managers may connect."),
			Sentence("Add a role to Allowed Roles, or tick Everyone May Connect."),
		)


def site_address(_app: AppSettings) -> Iterator[Finding]:
	address = urlsplit(get_url())
	public = not is_loopback(address.hostname or "")
	if public and address.scheme != "https":
		yield Finding(
			"error",
			"site_insecure",
			"redirect_uri",
			Sentence("This site is reached over http, so codes and sessions can be read on the way."),
			Sentence(
				"Serve the site over https, set its host_name to the https address, and renew the Redirect URI."
			),
		)
	if public and frappe.conf.developer_mode:
		yield Finding(
			"warning",
			"developer_mode",
			"",
			Sentence("Developer mode is on although this site has a public address."),
			Sentence("Turn off developer_mode in the site's configuration."),
		)


def redirect_uri(app: AppSettings) -> Iterator[Finding]:
	suggested = app.suggested_redirect_uri()
	if app.grant != "consent":
		return
	if not app.client.redirect_uri:
		yield Finding(
			"error",
			"redirect_uri",
			"redirect_uri",
			Sentence("There is no Redirect URI yet."),
			Sentence("Save the Connected App."),
		)
	elif app.client.redirect_uri != suggested:
		yield Finding(
			"error",
			"redirect_uri",
			"redirect_uri",
			Sentence(
				"The Redirect URI no longer matches the address of this site. It would now be {0}.", suggested
			),
			Sentence(
				"Use Renew Redirect URI and register the new one at the provider, or set the site's host_name."
			),
		)
	else:
		yield Finding(
			"ok",
			"redirect_uri",
			"redirect_uri",
			Sentence("The Redirect URI matches the address of this site."),
		)


def codes(app: AppSettings) -> Iterator[Finding]:
	if not frappe.db.get_value("Connected App", app.name, "connect_with_code"):
		return
	grants = app.provider.metadata.get("grant_types_supported")
	if not app.provider.device_authorization_uri:
		yield Finding(
			"error",
			"device_authorization_uri",
			"device_authorization_uri",
			Sentence("Connect with a Code is not offered without the Device Authorization URI."),
			Sentence(
				"Use Get OpenID Configuration in the form's menu (⋯), or take it from the provider's documentation."
			),
		)
	elif isinstance(grants, list) and DEVICE_CODE not in grants:
		yield Finding(
			"warning",
			"device_grant",
			"connect_with_code",
			Sentence("The provider does not say that it offers the device grant."),
			Sentence("Look it up in the provider's documentation."),
		)


def several_accounts(app: AppSettings) -> Iterator[Finding]:
	if app.several_accounts and not userinfo.tells_account(app.provider, app.client):
		error = catalogue.error("account_unknown")
		yield Finding(
			"error",
			"several_accounts",
			"several_accounts",
			Sentence(
				"Several accounts cannot be told apart: the provider does not say which one was connected."
			),
			error.action,
		)


def provider_and_client(app: AppSettings) -> Iterator[Finding]:
	try:
		app = settings.read(app.name, with_secret=True)
		app.client.check_parameters()
	except ConfigurationError as error:
		field = "query_parameters" if error.code == "parameter_reserved" else "client_secret"
		yield Finding("error", error.code, field, error.message, error.action)
		yield from published(_subject(app))
		return
	yield from checks.run(_subject(app))


def _subject(app: AppSettings) -> Subject:
	return Subject(
		app.provider,
		app.client,
		http(),
		app.openid_configuration,
		app.any_issuer,
		app.grant,
		app.subject,
		templates.all_templates().values(),
	)


def refresh_tokens(app: AppSettings) -> Iterator[Finding]:
	"""Whether the user who connected last got a refresh token, and whether it is used before it expires."""
	if app.grant != "consent":
		return
	latest = frappe.get_all(
		"Token Cache",
		# Not "is set": Frappe 15 then compares a time with an empty text, which PostgreSQL refuses.
		{"connected_app": app.name, "access_token": ("is", "set"), "connected_on": (">", "2000-01-01")},
		["refresh_token", "refresh_expires_at", "last_refreshed_on", "connected_on"],
		order_by="connected_on desc",
		limit=1,
	)
	if not latest:
		return
	row = latest[0]
	if not row.refresh_token:
		consent = "prompt" not in app.client.authorization_parameters
		yield Finding(
			"warning",
			"no_refresh_token",
			"query_parameters",
			Sentence("The last user who connected was given no refresh token."),
			Sentence("If the scope offline_access is asked for, add prompt = consent to Query Parameters.")
			if consent
			else Sentence("Look up in the provider's documentation what it gives refresh tokens for."),
		)
	elif row.refresh_expires_at:
		days = (row.refresh_expires_at - (row.last_refreshed_on or row.connected_on)) / timedelta(days=1)
		keeps = app.refresh_in_background and app.refresh_idle_after
		if not keeps or app.refresh_idle_after >= days:
			yield Finding(
				"warning",
				"refresh_token_ends",
				"refresh_idle_after" if app.refresh_in_background else "refresh_in_background",
				Sentence("Connections to this provider end after {0} days without use.", f"{days:.1f}"),
				Sentence("Refresh in the background, after fewer days than that."),
			)


CHECKS: tuple[Callable[[AppSettings], Iterator[Finding]], ...] = (
	who_may_connect,
	site_address,
	redirect_uri,
	codes,
	several_accounts,
	provider_and_client,
	refresh_tokens,
)
