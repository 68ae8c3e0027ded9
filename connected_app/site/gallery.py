"""The gallery in Desk: which providers there are, and how the Connected Apps of this site are doing."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import frappe
from frappe.query_builder import Case, DocType
from frappe.query_builder.functions import Count, Min
from frappe.utils import get_datetime

from connected_app.oauth.clock import utc_now
from connected_app.site import templates
from connected_app.site.rows import naive

# A connection that ends within this time is worth a word.
SOON = timedelta(days=14)


def gallery() -> dict[str, list[dict[str, Any]]]:
	"""In two statements, however many apps and connections there are.

	:returns: `providers`: as `templates.summary`; `apps`: as `_apps`
	"""
	return {"providers": [templates.summary(template) for template in templates.search()], "apps": _apps()}


def _apps() -> list[dict[str, Any]]:
	"""The Connected Apps by name.

	:returns: for each `name`, `provider_name`, `provider`, `enabled`, how many are connected (`total`), how many of
		these have to reconnect (`broken`) or fail for now (`failing`), and `ends_on`: when the first of the others
		ends, where that is soon (UTC)
	"""
	apps = frappe.get_all(
		"Connected App",
		fields=["name", "provider_name", "provider", "enabled"],
		order_by="provider_name, name",
	)
	by_app = defaultdict(list)
	for row in _connections():
		by_app[row.connected_app].append(row)
	known = templates.all_templates()
	soon = naive(utc_now() + SOON)
	for app in apps:
		rows = by_app[app.name]
		numbers = {row.status: row.number for row in rows}
		template = known.get(app.provider or "")
		lasts = template["lasts_days"] if template else None
		ends = [each for row in rows if row.status != "Reconnect Required" for each in _ends(row, lasts)]
		app.total = sum(numbers.values())
		app.broken = numbers.get("Reconnect Required", 0)
		app.failing = numbers.get("Temporarily Failing", 0)
		app.ends_on = min((each for each in ends if each <= soon), default=None)
	return apps


def _connections() -> list[Any]:
	"""Of each app and status how many connections there are, and when the first of them ends."""
	cache = DocType("Token Cache")
	# The service principal needs no refresh token.
	cannot_be_renewed = (cache.user != "") & (cache.refresh_token.isnull() | (cache.refresh_token == ""))
	rows: list[Any] = (
		frappe.qb.from_(cache)
		.select(
			cache.connected_app,
			cache.status,
			Count("*").as_("number"),
			Min(cache.refresh_expires_at).as_("refresh_ends"),
			Min(Case().when(cannot_be_renewed, cache.expires_at)).as_("access_ends"),
			Min(cache.connected_on).as_("first_consent"),
		)
		.where(cache.access_token.isnotnull() & (cache.access_token != ""))
		.groupby(cache.connected_app, cache.status)
		.run(as_dict=True)
	)
	return rows


def _ends(row: Any, lasts_days: int | None) -> list[datetime]:
	# SQLite gives what it has computed as text.
	ends = [get_datetime(each) for each in (row.refresh_ends, row.access_ends) if each]
	if lasts_days and row.first_consent:
		ends.append(get_datetime(row.first_consent) + timedelta(days=lasts_days))
	return ends
