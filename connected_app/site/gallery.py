"""The gallery in Desk: the known providers, and the state of this site's Connected Apps."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import frappe
from frappe.query_builder import Case, DocType
from frappe.query_builder.functions import Min
from frappe.utils import get_datetime

from connected_app.oauth.clock import utc_now
from connected_app.site import health, templates
from connected_app.site.rows import WORKING, naive

# A connection that expires within this time is shown.
SOON = timedelta(days=14)
# With more connections than these, some always expire soon, and finding the first means reading them all.
MANY = 10_000


def gallery() -> dict[str, list[dict[str, Any]]]:
	"""The gallery, by four statements, however many apps and connections there are.

	:returns: `providers`: as `templates.summary`; `apps`: as `_apps`
	"""
	return {"providers": [templates.summary(template) for template in templates.search()], "apps": _apps()}


def _apps() -> list[dict[str, Any]]:
	"""The Connected Apps by name.

	:returns: for each `name`, `provider_name`, `provider`, `enabled`, the number of connections (`total`), of those that have
		to be reconnected (`broken`) and of those that fail for now (`failing`), and `ends_on`: when the first of the others
		expires, if that is soon (UTC); None if there are `MANY`
	"""
	apps = frappe.get_all(
		"Connected App",
		fields=["name", "provider_name", "provider", "enabled", "generation"],
		order_by="provider_name, name",
	)
	numbers = health.connections()
	for app in apps:
		of_app = numbers.get(app.name, {})
		app.total = sum(of_app.values())
		app.broken = of_app.get("Reconnect Required", 0)
		app.failing = of_app.get("Temporarily Failing", 0)
	ends = {
		(row.connected_app, row.generation): row
		for row in _first_ends([app.name for app in apps if 0 < app.total <= MANY])
	}
	known = templates.all_templates()
	soon = naive(utc_now() + SOON)
	for app in apps:
		template = known.get(app.provider or "")
		row = ends.get((app.name, app.pop("generation")))
		dates = _ends(row, template["lasts_days"] if template else None) if row else []
		app.ends_on = min((each for each in dates if each <= soon), default=None)
	return apps


def _first_ends(apps: list[str]) -> list[Any]:
	"""When the first working connection to each of these apps expires, according to the provider."""
	cache = DocType("Token Cache")
	# The service principal needs no refresh token.
	cannot_be_renewed = (cache.user != "") & (cache.refresh_token.isnull() | (cache.refresh_token == ""))
	rows: list[Any] = (
		frappe.qb.from_(cache)
		.select(
			cache.connected_app,
			cache.generation,
			Min(cache.refresh_expires_at).as_("refresh_ends"),
			Min(Case().when(cannot_be_renewed, cache.expires_at)).as_("access_ends"),
			Min(cache.connected_on).as_("first_consent"),
		)
		.where(cache.connected_app.isin(apps or [""]) & cache.status.isin(WORKING))
		.where(cache.access_token.isnotnull() & (cache.access_token != ""))
		.groupby(cache.connected_app, cache.generation)
		.run(as_dict=True)
	)
	return rows


def _ends(row: Any, lasts_days: int | None) -> list[datetime]:
	# SQLite returns computed times as text.
	ends = [get_datetime(each) for each in (row.refresh_ends, row.access_ends) if each]
	if lasts_days and row.first_consent:
		ends.append(get_datetime(row.first_consent) + timedelta(days=lasts_days))
	return ends
