"""Refreshing in the background: grants that lie idle, which providers drop, and tokens that are about to expire.

Every few minutes each Connected App with due grants gets one job, which refreshes a limited number of them, one after
the other: no provider sees more than one of these requests at a time, nor all of them at once.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

import frappe

from connected_app.oauth.clock import utc_now
from connected_app.oauth.errors import ReconnectRequired, TemporaryFailure
from connected_app.oauth.grant import LEEWAY_SHARE
from connected_app.site import sessions, settings
from connected_app.site.database import writing
from connected_app.site.grants import TokenCacheStore
from connected_app.site.identity import ConnectionKey
from connected_app.site.rows import WORKING, naive, name_of
from connected_app.site.settings import AppSettings

# In one run, per Connected App. With a run every 5 minutes it is 28,800 grants a day.
BATCH = 100
# Of one job, in seconds: it ends before the next run.
RUN = 240
# After so many passing failures in a row the provider is left alone until the next run.
PATIENCE = 3


def run() -> None:
	"""Scheduled: a job for each Connected App that has something due."""
	for app in _apps():
		if _due(app, BATCH):
			frappe.enqueue(
				"connected_app.site.schedule.refresh",
				queue="long",
				timeout=RUN * 2,
				job_id=f"connected_app_refresh_{app.name}",
				deduplicate=True,
				connected_app=app.name,
			)


def due(limit: int, connected_app: str | None = None) -> list[Any]:
	"""Grants that the background has to refresh now.

	:param limit: of each Connected App at most so many
	:param connected_app: only of this one
	:returns: rows with `name`, `connected_app`, `user`, `idle_since`, `expires_at` and `expires_in`; first those that
		work, the longest idle first, then those that are failing for now and whose cool-down is over
	"""
	return [row for app in _apps(connected_app) for row in _due(app, limit)]


def refresh(connected_app: str) -> None:
	"""Job: refresh what is due of one Connected App. A grant that fails says so in its row, and stops no other."""
	app = settings.read(connected_app)
	began, failures = time.monotonic(), 0
	for row in due(BATCH, connected_app):
		if failures >= PATIENCE or time.monotonic() - began > RUN:
			return
		try:
			failures = 0 if _refresh(app, row) else failures + 1
		except ReconnectRequired:
			failures = 0
		except TemporaryFailure:
			failures += 1
		except Exception as error:
			title = "Connected App: background refresh failed"
			frappe.log_error(title=title, message=f"{type(error).__name__} for {row.name}")
			failures += 1
		finally:
			frappe.clear_messages()


def _refresh(app: AppSettings, row: Any) -> bool:
	"""Returns whether the provider was left alone, or gave a newer token than the one that was found."""
	key = ConnectionKey.from_columns(app.name, row.user)
	counts = name_of(key)
	if not counts:
		# Deleted or renamed since it was found.
		return True
	if row.name != counts:
		# Merging users has left it. Nobody uses it, and it would be due for ever.
		with writing():
			frappe.db.set_value("Token Cache", row.name, "idle_since", None, update_modified=False)
		return True
	stale = TokenCacheStore(key).load()
	# Where a transaction sees what others have committed since, `stale` may be newer than what was found.
	if frappe.db.get_value("Token Cache", row.name, "idle_since") != row.idle_since:
		return True
	return bool(stale) and sessions.refresher(app, key).renew(stale).differs_from(stale)


def _apps(connected_app: str | None = None) -> list[Any]:
	filters: dict[str, Any] = {"enabled": 1, "refresh_in_background": 1}
	if connected_app:
		filters["name"] = connected_app
	return frappe.get_all(
		"Connected App", filters, ["name", "generation", "refresh_idle_after", "refresh_ahead"]
	)


def _due(app: Any, limit: int) -> list[Any]:
	"""Each query reads one range of an index of Token Cache, that of what is due."""
	now = utc_now()
	ranges = []
	if app.refresh_idle_after:
		ranges.append(("idle_since", None, now - timedelta(days=app.refresh_idle_after)))
	if app.refresh_ahead:
		# What has expired long ago is not about to expire: nobody uses it, and it is renewed when it is used.
		ahead = timedelta(minutes=app.refresh_ahead)
		ranges.append(("expires_at", now - ahead, now + ahead))
	found: dict[str, Any] = {}
	for status in WORKING:
		for field, earliest, latest in ranges:
			if len(found) < limit:
				for row in _range(app, status, field, earliest, latest, limit):
					if field == "idle_since" or not _is_early(row, now):
						found.setdefault(row.name, row)
	return list(found.values())[:limit]


def _is_early(row: Any, now: datetime) -> bool:
	"""Whether more than a quarter of the token's life is left, as with the leeway: it would be refreshed all the time."""
	share = timedelta(seconds=row.expires_in or 0) / LEEWAY_SHARE
	return bool(share) and row.expires_at > naive(now + share)


def _range(app: Any, status: str, field: str, earliest: Any, latest: Any, limit: int) -> list[Any]:
	cache, user = frappe.qb.DocType("Token Cache"), frappe.qb.DocType("User")
	query = (
		frappe.qb.from_(cache)
		# Nobody's access is kept alive who may not log in any more.
		.inner_join(user)
		.on((user.name == cache.user) & (user.enabled == 1))
		.select(
			cache.name, cache.connected_app, cache.user, cache.idle_since, cache.expires_at, cache.expires_in
		)
		.where((cache.connected_app == app.name) & (cache.status == status) & (cache[field] <= naive(latest)))
		# Only grants with a refresh token have it.
		.where(cache.idle_since.isnotnull() & (cache.generation == app.generation))
		.limit(limit)
	)
	if earliest:
		query = query.where(cache[field] >= naive(earliest))
	if status == "Connected":
		query = query.orderby(cache[field])
	else:
		# In turn: one that fails for ever is not for ever the first.
		query = query.where(cache.retry_at.isnull() | (cache.retry_at <= naive(utc_now()))).orderby(
			cache.retry_at
		)
	return query.run(as_dict=True)
