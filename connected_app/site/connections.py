"""Connections as people see them: their own, an app's, and whether one works."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import frappe
from frappe import _
from frappe.query_builder import DocType
from frappe.query_builder.functions import Count

from connected_app.oauth import catalogue, userinfo
from connected_app.oauth.errors import OAuthError
from connected_app.oauth.grant import Grant
from connected_app.oauth.refresh import Refresher
from connected_app.oauth.scopes import missing
from connected_app.site import access, email_accounts, registrations, sessions, settings
from connected_app.site.errors import localized
from connected_app.site.identity import ConnectionKey
from connected_app.site.rows import by_account, name_of
from connected_app.site.settings import AppSettings, is_for_users, offers_codes

LONGEST_PAGE = 100


def of_user(user: str) -> list[dict[str, Any]]:
	"""The apps that the session's `user` may use or is connected to. Each account is an entry of its own, the default one
	first. By five statements, however many, and one more if any app is shared."""
	apps = frappe.get_all(
		"Connected App",
		fields=[
			*("name", "provider_name", "enabled", "everyone_may_connect", "connection_is", "generation"),
			*("connect_with_code", "device_authorization_uri", "security_profile"),
			*("grant_type", "acts_for_users", "several_accounts"),
		],
		order_by="provider_name, name",
	)
	caches = _connected(apps, user)
	mine: dict[str, list[Any]] = defaultdict(list)
	for (app_name, _account), cache in sorted(by_account(caches, user).items(), key=_default_first):
		mine[app_name].append(cache)
	names = [app.name for app in apps]
	roles = _children("Has Role", "role", "Connected App", "allowed_roles", names)
	asked = _children("OAuth Scope", "scope", "Connected App", "scopes", names)
	granted = _children("OAuth Scope", "scope", "Token Cache", "scopes", [cache.name for cache in caches])
	shown = []
	for app in apps:
		app.allowed_roles, app.is_shared = roles[app.name], settings.is_shared(app)
		may_use = access.may_use(app)
		may_connect = access.may_connect(app) and is_for_users(app)
		if (app.is_shared and not may_use) or not (mine[app.name] or (may_use and is_for_users(app))):
			continue
		of_app = {
			"name": app.name,
			"provider_name": app.provider_name,
			"shared": app.is_shared,
			"several_accounts": settings.has_several_accounts(app),
			"may_connect": may_connect,
			"may_disconnect": not app.is_shared or access.is_admin(),
			"offers_codes": offers_codes(app),
		}
		for cache in mine[app.name] or [None]:
			scopes = granted[cache.name] if cache else []
			lacking = missing(asked[app.name], scopes) if cache else []
			shown.append({**of_app, **state(cache), "scopes": scopes, "missing_scopes": lacking})
	return shown


def _connected(apps: list[Any], user: str) -> list[Any]:
	"""The rows of Token Cache that `user` can use."""
	fields = [
		*("name", "connected_app", "shared", "account", "status", "account_id", "account_name"),
		*("connected_on", "failing_since", "error_code", "error_values", "modified", "generation"),
	]
	connected = {"access_token": ("is", "set")}
	caches = frappe.get_all("Token Cache", {"user": user, **connected}, fields)
	if shared := [app.name for app in apps if settings.is_shared(app)]:
		caches = [cache for cache in caches if cache.connected_app not in shared]
		of_all = {"connected_app": ("in", shared), "user": ("is", "not set"), "shared": 1}
		caches += frappe.get_all("Token Cache", {**of_all, **connected}, fields)
	generations = {app.name: app.generation for app in apps}
	return [cache for cache in caches if cache.generation == generations.get(cache.connected_app)]


def accounts_of(connected_app: str, user: str) -> list[dict[str, Any]]:
	"""The accounts that the session's `user` has connected to one app, as `of_user` gives them."""
	return [
		each for each in of_user(user) if each["name"] == connected_app and each["status"] != "Not Connected"
	]


def own(app: AppSettings, token_cache: Any) -> dict[str, Any]:
	"""The connection of the session's user to one app, as its form shows it, and what they may do with it.

	:param token_cache: the document that the user uses; None without a connection
	"""
	connected = bool(token_cache and token_cache.access_token)
	granted = [row.scope for row in token_cache.scopes] if connected else []
	suggested = registrations.suggested_redirect_uri(app)
	several = accounts_of(app.name, frappe.session.user) if app.several_accounts else []
	return {
		"provider_name": app.provider_name,
		"status": (token_cache.status or "Connected") if connected else "Not Connected",
		"account_id": token_cache.account_id if connected else None,
		"account_name": token_cache.account_name if connected else None,
		"scopes": granted,
		"missing_scopes": missing(app.client.scopes, granted) if connected else [],
		"connected_on": token_cache.connected_on if connected else None,
		"expires_at": token_cache.expires_at if connected else None,
		"failing_since": token_cache.failing_since if connected else None,
		**reason(token_cache if connected else {}),
		"shared": app.is_shared,
		"several_accounts": app.several_accounts,
		"accounts": several,
		"for_users": app.is_for_users,
		"may_use": access.may_use(app),
		"may_connect": app.is_for_users and access.may_connect(app),
		"may_disconnect": not app.is_shared or access.is_admin(),
		"offers_codes": app.offers_codes,
		"may_set_up_email": (connected or bool(several)) and email_accounts.is_offered(app.name),
		"redirect_uri_outdated": bool(app.client.redirect_uri) and app.client.redirect_uri != suggested,
		"suggested_redirect_uri": suggested,
	}


def _default_first(entry: tuple[tuple[str, str], Any]) -> tuple[str, bool, str]:
	(connected_app, account), cache = entry
	return connected_app, bool(account), (cache.account_name or cache.account_id or "").casefold()


def state(cache: Any) -> dict[str, Any]:
	"""The state of a connection, as `api.my_connections` returns it.

	:param cache: the row of Token Cache; None without a connection
	"""
	if not cache:
		status, account, name, default = "Not Connected", "", "", True
	else:
		status, default = cache.status or "Connected", not cache.account
		account = "" if default else cache.account_id or cache.account
		name = cache.account_name or cache.account_id or ""
	return {
		"status": status,
		"account": account,
		"account_id": (cache.account_id or "") if cache else "",
		"account_name": name,
		"is_default": default,
		"connected_on": cache.connected_on if cache else None,
		"failing_since": cache.failing_since if cache else None,
		**reason(cache or {}),
	}


def of_app(connected_app: str, start: int, page_length: int) -> dict[str, Any]:
	"""Who is connected to a Connected App, the broken ones first.

	:param page_length: at most `LONGEST_PAGE`
	"""
	cache = DocType("Token Cache")
	of_app = (cache.connected_app == connected_app) & (
		cache.generation == frappe.db.get_value("Connected App", connected_app, "generation")
	)
	counts = _counts(of_app)
	total, broken = (
		sum(counts.values()),
		_number(of_app & cache.failing_since.isnotnull() & _has_token(cache)),
	)
	start, left = max(start, 0), min(max(page_length, 1), LONGEST_PAGE)
	rows: list[Any] = []
	if start < broken:
		failing = of_app & cache.failing_since.isnotnull()
		rows = _page(failing, [cache.failing_since, cache.user, cache.name], start, left)
	if left > len(rows):
		# In the order of an index, so that only this page is read.
		working = of_app & cache.failing_since.isnull()
		rows += _page(working, [cache.user, cache.name], max(start - broken, 0), left - len(rows))
	for row in rows:
		row.status = row.status or "Connected"
		row.update(is_default=not row.account, account=(row.account_id or row.account) if row.account else "")
		row.account_id = row.account_id or ""
		row.account_name = row.account_name or row.account_id
		row.update(reason(row))
		del row["error_values"]
	return {"total": total, "counts": counts, "rows": rows}


def _has_token(cache: Any) -> Any:
	return cache.access_token.isnotnull() & (cache.access_token != "")


def _number(where: Any) -> int:
	return int(frappe.qb.from_(DocType("Token Cache")).select(Count("*")).where(where).run()[0][0])


def _counts(of_app: Any) -> dict[str, int]:
	"""How many connections there are of each status.

	Counted in an index, which has the status of all rows. Then rows without a token, which are no connections, are taken
	off: these have no status, or no user (the service principal's first failure).
	"""
	cache = DocType("Token Cache")
	found = frappe.qb.from_(cache).select(cache.status, Count("*")).where(of_app).groupby(cache.status).run()
	by_status: dict[str, int] = defaultdict(int)
	for status, number in found:
		by_status[status or "Connected"] += number
	of_nobody = cache.user.isnull() | (cache.user == "")
	without = frappe.qb.from_(cache).select(cache.status).where(of_app & _has_token(cache).negate())
	# A service account that has never had a token: it is failing.
	unusual_users = of_nobody.negate() & (
		cache.status.isnull() | (cache.status == "") | cache.failing_since.isnotnull()
	)
	for unusual in (of_nobody, unusual_users):
		for (status,) in without.where(unusual).run():
			by_status[status or "Connected"] -= 1
	return {status: number for status, number in by_status.items() if number}


def _page(where: Any, order: list[Any], start: int, length: int) -> list[Any]:
	cache, user = DocType("Token Cache"), DocType("User")
	found: list[Any] = (
		frappe.qb.from_(cache)
		.left_join(user)
		.on(user.name == cache.user)
		.select(
			cache.name, cache.user, cache.shared, cache.account, cache.connected_by, user.full_name, cache.status, cache.account_id, cache.account_name,
			cache.connected_on, cache.last_refreshed_on, cache.expires_at, cache.failing_since,
			cache.error_code, cache.error_values,
		)
		.where(where & _has_token(cache))
		.orderby(*order)
		.limit(length)
		.offset(start)
		.run(as_dict=True)
	)  # fmt: skip
	return found


def reason(row: Any) -> dict[str, str]:
	"""Why a connection fails: `error_code` for machines, `last_error` for people, in their language.

	:param row: of Token Cache, with `error_code` and `error_values`
	"""
	return {
		"error_code": row.get("error_code") or "",
		"last_error": localized(catalogue.from_json(row.get("error_values"))),
	}


def _children(
	doctype: str, field: str, parenttype: str, parentfield: str, parents: list[str]
) -> dict[str, list[str]]:
	"""Values of child rows, by parent, for which these tables have an index."""
	filters: dict[str, Any] = {"parenttype": parenttype, "parentfield": parentfield}
	filters["parent"] = ("in", parents or [""])
	found: dict[str, list[str]] = defaultdict(list)
	for row in frappe.get_all(doctype, filters=filters, fields=["parent", field], order_by="idx"):
		found[row.parent].append(row[field])
	return found


def try_out(key: ConnectionKey) -> dict[str, Any]:
	"""Use a connection as a job would: refresh it if due, and ask the provider for its account.

	:returns: `ok`, the `account`'s name, a `message`, and on failure the error's `code` and `action`
	"""
	account = ""
	try:
		app = settings.usable(key.app)
		refresher = sessions.refresher(app, key)
		grant = refresher.current()
		name, subject = _account(key, grant)
		account = name or subject or ""
		status = _ask_userinfo(app, refresher, grant, subject)
	except OAuthError as error:
		if getattr(error, "was_shown", False):
			# The error is the answer; no dialog besides.
			frappe.clear_last_message()
		return {
			"ok": False,
			"account": account,
			"message": localized(error.message),
			"code": error.code,
			"action": localized(error.action),
		}
	if status == 200:
		message = _("The connection works.")
	elif status:
		message = _(
			"The connection can be used, but the provider did not return the account's name (HTTP {0})."
		)
		message = message.format(status)
	else:
		message = _("The connection can be used. This provider has no Userinfo URI to try it with.")
	return {"ok": True, "account": account, "message": message, "code": "", "action": ""}


def _account(key: ConnectionKey, grant: Grant) -> tuple[str, str]:
	"""The account's name and subject; from the grant, if this transaction does not see the row, which is new."""
	row = name_of(key)
	if not row:
		return (grant.account.name, grant.account.id) if grant.account else ("", "")
	name, subject = frappe.db.get_value("Token Cache", row, ["account_name", "account_id"])
	return name or "", subject or ""


def _ask_userinfo(app: AppSettings, refresher: Refresher, grant: Grant, subject: str | None) -> int:
	"""The HTTP status of the userinfo endpoint, 0 if there is none. A rejected token is refreshed once.

	:raises OAuthError: if the provider cannot be reached, or rejects both this token and a new one
	"""
	if not app.provider.userinfo_uri:
		return 0
	reply = userinfo.ask(app.provider, app.client, grant, refresher.http)
	if reply.status == 401:
		grant = refresher.renew(grant, rejected=True)
		reply = userinfo.ask(app.provider, app.client, grant, refresher.http)
	if reply.status == 401:
		raise catalogue.error("token_rejected")
	said = userinfo.read(app.provider, app.client, reply, refresher.http) or {}
	if reply.status == 200 and subject and said.get("sub", subject) != subject:
		raise catalogue.error("userinfo_subject_mismatch")
	return reply.status
