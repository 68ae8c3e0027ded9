"""Refreshing in the background: idle grants, which providers drop, and tokens that are about to expire.

Every few minutes, each Connected App with due grants gets a job, which refreshes several at once as long as the provider
keeps up. A job ends soon, and another one continues after the jobs of other apps, so that no app waits for one with many.
"""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import frappe
from frappe.utils.background_jobs import is_job_enqueued

from connected_app.oauth import catalogue
from connected_app.oauth.clock import utc_now
from connected_app.oauth.errors import OAuthError
from connected_app.oauth.grant import LEEWAY_SHARE
from connected_app.site import hosts, recent, sessions, settings
from connected_app.site.database import writing
from connected_app.site.grants import TokenCacheStore
from connected_app.site.identity import ConnectionKey
from connected_app.site.pace import Pace, is_left_alone, leave_alone
from connected_app.site.rows import WORKING, find, naive
from connected_app.site.settings import AppSettings

# Rows that are looked up at a time, for each Connected App.
BATCH = 500
# Seconds of one job. Another job does the rest, after the jobs of other apps.
RUN = 60
# After so many passing failures in a row the provider is left alone until the next run.
PATIENCE = 3
# Two job names for each app, so that one job can start the next.
JOBS = ("connected_app_refresh_{}", "connected_app_refresh_next_{}")


def run() -> None:
	"""Scheduled: a job for each Connected App that has something due."""
	hosts.note()
	for app in _apps():
		names = [name.format(app.name) for name in JOBS]
		if is_left_alone(app.name) or any(is_job_enqueued(name) for name in names):
			continue
		if _due(app, 1):
			_enqueue(app.name, names[0])


def _enqueue(connected_app: str, job_id: str, **arguments: Any) -> None:
	frappe.enqueue(
		"connected_app.site.schedule.refresh",
		queue="long",
		timeout=RUN * 10,
		job_id=job_id,
		deduplicate=True,
		connected_app=connected_app,
		**arguments,
	)


def due(limit: int, connected_app: str | None = None) -> list[Any]:
	"""Grants that the background has to refresh now.

	:param limit: at most so many for each Connected App
	:param connected_app: only this one
	:returns: rows with `name`, `connected_app`, `user`, `idle_since`, `expires_at` and `expires_in`; first working ones, by
		expiry, then the longest idle; then failing ones whose cool-down is over
	"""
	return [row for app in _apps(connected_app) for row in _due(app, limit)]


def refresh(connected_app: str, follows: int = 0) -> None:
	"""Job: refresh the due grants of one Connected App. A failure is stored in its row, and stops no other.

	:param follows: the index in `JOBS` of this job
	"""
	app = settings.read(connected_app)
	pace = Pace.of_app(connected_app, PATIENCE, RUN)
	work = partial(_refresh, app, Latest())
	tried: set[str] = set()
	while not pace.is_over:
		# Otherwise this transaction keeps seeing the rows as due.
		frappe.db.commit()  # nosemgrep (a job's own, which writes nothing)
		rows = [row for row in due(BATCH, connected_app) if row.name not in tried]
		if not rows:
			return
		tried.update(row.name for row in rows)
		pace.run(rows, work)
	if pace.failures < PATIENCE and pace.not_before < pace.ends:
		other = 1 - follows
		_enqueue(connected_app, JOBS[other].format(connected_app), follows=other)
	else:
		leave_alone(connected_app, pace.wait)


class Latest:
	"""The current settings of a Connected App, read again only if it was saved since. For one job."""

	def __init__(self) -> None:
		self._lock = threading.Lock()
		self._read: tuple[Any, AppSettings] | None = None

	def __call__(self, connected_app: str) -> AppSettings:
		saved = frappe.db.get_value("Connected App", connected_app, "modified")
		with self._lock:
			if not self._read or self._read[0] != saved:
				self._read = (saved, settings.usable(connected_app))
			return self._read[1]


def _refresh(app: AppSettings, latest: Latest, row: Any) -> OAuthError | None:
	"""Refresh one grant. Returns why the provider gave no newer token; None if it did, or was not asked."""
	try:
		return _ask(app, latest, row)
	except OAuthError as error:
		return error
	except Exception as error:
		title = "Connected App: background refresh failed"
		with writing():
			frappe.log_error(title=title, message=f"{type(error).__name__} for {row.name}")
		return catalogue.error("internal_error")
	finally:
		frappe.clear_messages()
		recent.clear()


def _ask(app: AppSettings, latest: Latest, row: Any) -> OAuthError | None:
	key = ConnectionKey.from_row(row)
	found = find("select c.`name`, c.`idle_since` from `tabToken Cache` c", key)
	if not found:
		# Deleted or renamed since it was found.
		return None
	name, idle_since = found[0]
	if row.name != name:
		# A row left by merging users: nobody uses it, and it would be due forever.
		with writing():
			frappe.db.set_value("Token Cache", row.name, "idle_since", None, update_modified=False)
		return None
	# Others may have refreshed it since it was found.
	stale = TokenCacheStore(key).load() if idle_since == row.idle_since else None
	if not stale:
		return None
	refresher = sessions.refresher(app, key, latest)
	refresher.renew(stale)
	return refresher.error


def _apps(connected_app: str | None = None) -> list[Any]:
	filters: dict[str, Any] = {"enabled": 1, "refresh_in_background": 1}
	if connected_app:
		filters["name"] = connected_app
	return frappe.get_all(
		"Connected App", filters, ["name", "generation", "refresh_idle_after", "refresh_ahead"]
	)


def _due(app: Any, limit: int) -> list[Any]:
	"""The due rows of an app; each query reads one range of an index of Token Cache."""
	now = utc_now()
	found: dict[str, Any] = {}
	for status in WORKING:
		for field, earliest, latest in _ranges(app, now):
			if len(found) < limit:
				for row in _range(app, status, field, earliest, latest, limit):
					if field == "idle_since" or not _is_early(row, now):
						found.setdefault(row.name, row)
	return list(found.values())[:limit]


def _ranges(app: Any, now: datetime) -> list[tuple[str, datetime | None, datetime]]:
	"""What counts as due: columns of Token Cache, each with the earliest and latest time."""
	ranges: list[tuple[str, datetime | None, datetime]] = []
	if app.refresh_ahead:
		# A token that expired long ago is unused; it is renewed when it is used.
		ahead = timedelta(minutes=app.refresh_ahead)
		ranges.append(("expires_at", now - ahead, now + ahead))
	if app.refresh_idle_after:
		ranges.append(("idle_since", None, now - timedelta(days=app.refresh_idle_after)))
	return ranges


def overdue() -> dict[str, timedelta]:
	"""By Connected App: how long the working grant that has waited longest has been due."""
	now = utc_now()
	found: dict[str, timedelta] = {}
	for app in _apps():
		for field, earliest, latest in _ranges(app, now):
			for row in _range(app, WORKING[0], field, earliest, latest, 1):
				late = naive(latest) - row[field]
				if field == "expires_at":
					# Not before a quarter of its life is left: see `_is_early`.
					share = timedelta(seconds=row.expires_in or 0) / LEEWAY_SHARE
					late = min(late, naive(now + share) - row.expires_at) if share else late
				if late > found.get(app.name, timedelta(0)):
					found[app.name] = late
	return found


def _is_early(row: Any, now: datetime) -> bool:
	"""Whether more than a quarter of the token's life is left, as with the leeway: it would be refreshed all the time."""
	share = timedelta(seconds=row.expires_in or 0) / LEEWAY_SHARE
	return bool(share) and row.expires_at > naive(now + share)


def _range(app: Any, status: str, field: str, earliest: Any, latest: Any, limit: int) -> list[Any]:
	cache, user = frappe.qb.DocType("Token Cache"), frappe.qb.DocType("User")
	query = (
		frappe.qb.from_(cache)
		# Skip users who can no longer log in. A shared connection has no user.
		.left_join(user)
		.on(user.name == cache.user)
		.select(
			cache.name,
			cache.connected_app,
			cache.user,
			cache.shared,
			cache.account,
			cache.idle_since,
			cache.expires_at,
			cache.expires_in,
			cache.generation,
		)
		.where((cache.connected_app == app.name) & (cache.status == status) & (cache[field] <= naive(latest)))
		.where((user.enabled == 1) | (cache.shared == 1))
		# Only grants with a refresh token have this column.
		.where(cache.idle_since.isnotnull())
		.limit(limit)
	)
	if earliest:
		query = query.where(cache[field] >= naive(earliest))
	if status == "Connected":
		query = query.where(cache.generation == app.generation).orderby(cache[field])
	else:
		# In turn: a grant that always fails must not always be the first.
		query = query.where(cache.retry_at.isnull() | (cache.retry_at <= naive(utc_now()))).orderby(
			cache.retry_at
		)
	# Few are failing. With this condition, MariaDB would choose an index that cannot find the due rows.
	return [row for row in query.run(as_dict=True) if row.generation == app.generation]
