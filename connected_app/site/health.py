"""The health of this site's connections, for its operators: numbers, and what to do about them.

Desk, `bench connected-app status` and Prometheus (`site/metrics.py`) show the same. Each statement reads an index, or few
rows; none reads a secret.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import frappe
from frappe.query_builder import DocType
from frappe.query_builder.functions import Count, Min
from frappe.utils import get_datetime, now_datetime
from frappe.utils.background_jobs import get_queue, get_workers
from frappe.utils.scheduler import is_scheduler_inactive
from redis.exceptions import RedisError

from connected_app.oauth.clock import utc_now
from connected_app.oauth.errors import Sentence
from connected_app.site import counters, ending, hosts, passwords, schedule
from connected_app.site.errors import localized
from connected_app.site.rows import naive

# Which scheduled jobs are ours.
OURS = "connected_app.%"
# A job is behind if it is later than this, and than a twelfth of the time between two runs: two hours for a daily one.
BEHIND = timedelta(minutes=15)
# A due connection waits for one run, and for the jobs of other apps. Its refresh token lasts for days.
LATE = timedelta(hours=1)
REVOKED_WITHIN = timedelta(days=1)
ENDED_WITHIN = timedelta(hours=2)
# If so many of an app's connections fail, the cause is not with single users.
MANY, SHARE = 3, 0.2
LEVELS = ("error", "warning")


@dataclass(frozen=True)
class Finding:
	"""Something that an operator should act on.

	:param check: a stable name, for alerts
	:param app: the Connected App that it is about, if any
	"""

	level: Literal["error", "warning"]
	check: str
	message: Sentence
	action: Sentence
	app: str = ""


def read() -> dict[str, Any]:
	"""
	:returns:
		`level` ("ok", "warning" or "error");
		`findings`, errors first: `level`, `check` (a stable name), `message`, `action`, and the `app`, if any;
		`apps`: `name`, `provider_name`, `enabled`, the number of `connections` by status and of `failures` by code, the number
		that waits for an administrator (`admin_must_act`), for how many seconds the oldest has been due (`overdue`), and the
		number of `refreshes` since Redis was started by code, empty for a success (None if Redis does not answer);
		`revocations`: how many wait (`waiting`), how many of these are `due`, and how many seconds the `oldest` has waited;
		`ending`: as `_ending`;
		`jobs`: each `method`, the seconds since it ran (`ago`, None: never), and whether it is `stopped` or `behind`;
		`scheduler`: whether it runs jobs of this site;
		`workers`: how many listen to the queue `long` (None if Redis does not answer);
		`hosts`: how many serve this site (`number`), and whether they `differ` in their Redis or encryption key;
		`two_keys`: whether the encryption key is being replaced
	"""
	# Before anything is read: a transaction that has begun does not see it.
	hosts.note()
	health: dict[str, Any] = {
		"apps": _apps(),
		"revocations": _revocations(),
		"ending": _ending(),
		"jobs": _jobs(),
		"scheduler": not is_scheduler_inactive(verbose=False),
		"workers": _workers(),
		"hosts": _hosts(),
		"two_keys": any(frappe.conf.get(name) for name in (passwords.NEXT, passwords.PREVIOUS)),
	}
	found = [finding for check in CHECKS for finding in check(health)]
	found.sort(key=lambda finding: LEVELS.index(finding.level))
	health["findings"] = [
		{
			"level": finding.level,
			"check": finding.check,
			"app": finding.app,
			"message": localized(finding.message),
			"action": localized(finding.action),
		}
		for finding in found
	]
	health["level"] = health["findings"][0]["level"] if found else "ok"
	return health


def connections() -> dict[str, dict[str, int]]:
	"""The number of connections, by Connected App and status; read from an index alone.

	A service principal that has never got a token counts, too: it fails.
	"""
	cache = DocType("Token Cache")
	found: dict[str, dict[str, int]] = defaultdict(dict)
	for row in _numbers(cache.status):
		if row.status:
			found[row.connected_app][row.status] = row.number
	return found


def failures() -> list[Any]:
	"""Why connections fail: rows of `connected_app`, `error_code`, `admin_must_act` and their `number`."""
	cache = DocType("Token Cache")
	return _numbers(cache.error_code, cache.admin_must_act, where=cache.failing_since.isnotnull())


def _numbers(*columns: Any, where: Any = None) -> list[Any]:
	"""The number of Token Cache rows by app and `columns`, by one range of an index for each app. Ended ones do not count."""
	app, cache = DocType("Connected App"), DocType("Token Cache")
	present = dict(frappe.qb.from_(app).select(app.name, app.generation).run())
	if not present:
		return []
	groups = (cache.connected_app, cache.generation, *columns)
	query = frappe.qb.from_(cache).select(*groups, Count("*").as_("number")).groupby(*groups)
	query = query.where(cache.connected_app.isin(list(present)))
	if where is not None:
		query = query.where(where)
	return [row for row in query.run(as_dict=True) if row.generation == present[row.connected_app]]


def _apps() -> list[dict[str, Any]]:
	apps = frappe.get_all(
		"Connected App",
		fields=["name", "provider_name", "enabled"],
		order_by="provider_name, name",
		limit=0,
	)
	numbers, overdue, refreshes = connections(), schedule.overdue(), counters.read()
	why: dict[str, dict[str, int]] = defaultdict(dict)
	waiting: dict[str, int] = defaultdict(int)
	for row in failures():
		of_app, code = why[row.connected_app], row.error_code or "unknown"
		of_app[code] = of_app.get(code, 0) + row.number
		waiting[row.connected_app] += row.number if row.admin_must_act else 0
	return [
		{
			"name": app.name,
			"provider_name": app.provider_name,
			"enabled": bool(app.enabled),
			"connections": numbers.get(app.name, {}),
			"failures": why[app.name],
			"admin_must_act": waiting[app.name],
			"overdue": int(overdue.get(app.name, timedelta(0)).total_seconds()),
			"refreshes": None if refreshes is None else refreshes.get(app.name, {}),
		}
		for app in apps
	]


def _revocations() -> dict[str, int]:
	waiting = DocType(ending.QUEUE)
	now = utc_now()
	count = frappe.qb.from_(waiting).select(Count("*"))
	oldest = frappe.qb.from_(waiting).select(Min(waiting.requested_on)).run()[0][0]
	return {
		"waiting": count.run()[0][0],
		"due": count.where(waiting.retry_at <= naive(now)).run()[0][0],
		"oldest": _seconds(naive(now) - get_datetime(oldest)) if oldest else 0,
	}


def _ending() -> list[dict[str, Any]]:
	"""Connections of apps that were disabled or deleted, and are being removed.

	:returns: for each `name` (of the Offboarding), `connected_app`, its `provider_name` (its name, if it is deleted), how many
		there were (`total`), how many have been removed (`ended`), and for how many seconds this has been going on (`ago`)
	"""
	rows = frappe.get_all(
		ending.DOCTYPE,
		fields=["name", "connected_app", "total", "ended", "requested_on"],
		order_by="requested_on",
		limit=0,
	)
	return [
		{
			"name": row.name,
			"connected_app": row.connected_app,
			"provider_name": frappe.db.get_value("Connected App", row.connected_app, "provider_name")
			or row.connected_app,
			"total": row.total,
			"ended": row.ended,
			"ago": _seconds(naive(utc_now()) - get_datetime(row.requested_on)),
		}
		for row in rows
	]


def _jobs() -> list[dict[str, Any]]:
	rows = frappe.get_all(
		"Scheduled Job Type",
		{"method": ("like", OURS)},
		["method", "stopped", "last_execution", "creation", "frequency", "cron_format"],
		order_by="method",
	)
	# In the site's time zone, as Frappe writes them.
	now = now_datetime()
	return [
		{
			"method": row.method,
			"stopped": bool(row.stopped),
			"ago": _seconds(now - get_datetime(row.last_execution)) if row.last_execution else None,
			"behind": _is_behind(row, now),
		}
		for row in rows
	]


def _is_behind(row: Any, now: datetime) -> bool:
	job = frappe.get_doc({"doctype": "Scheduled Job Type", **row})
	first = job.get_next_execution()
	job.last_execution = first
	period = job.get_next_execution() - first
	return bool(now - get_datetime(row.last_execution or row.creation) > period + max(BEHIND, period / 12))


def _workers() -> int | None:
	try:
		return len(get_workers(get_queue("long")))
	except RedisError:
		return None


def _hosts() -> dict[str, Any]:
	found = hosts.seen()
	kinds: tuple[Literal["redis", "key"], ...] = ("redis", "key")
	return {"number": len(found), "differ": [kind for kind in kinds if hosts.differ(found, kind)]}


def _seconds(period: timedelta) -> int:
	return max(int(period.total_seconds()), 0)


# The checks


def scheduler(health: dict[str, Any]) -> Iterator[Finding]:
	if not health["scheduler"]:
		yield Finding(
			"error",
			"scheduler",
			Sentence("The scheduler of this site is off: nothing is renewed or revoked in the background."),
			Sentence("Run bench enable-scheduler, or end the maintenance."),
		)
		return
	if health["workers"] == 0:
		yield Finding(
			"error",
			"workers",
			Sentence("No background worker listens to the queue long."),
			Sentence("Start the bench's workers, also for the queue long."),
		)
	for job in health["jobs"]:
		if job["stopped"] or job["behind"]:
			yield Finding(
				"error",
				"jobs",
				Sentence("The scheduled job {0} is behind.", job["method"]),
				Sentence("See that the scheduler and the workers run, and that the job is not stopped."),
			)


def redis(health: dict[str, Any]) -> Iterator[Finding]:
	if health["workers"] is None or any(app["refreshes"] is None for app in health["apps"]):
		yield Finding(
			"error",
			"redis",
			Sentence("Redis does not answer: nobody can connect, and no job runs."),
			Sentence("See that the bench's Redis servers run."),
		)


def failing(health: dict[str, Any]) -> Iterator[Finding]:
	for app in health["apps"]:
		if app["enabled"]:
			yield from _unusable(app)
			yield from _many_failing(app)
			yield from _overdue(app)


def _unusable(app: dict[str, Any]) -> Iterator[Finding]:
	name = app["provider_name"]
	if lost := app["failures"].get("secret_unreadable"):
		yield Finding(
			"error",
			"secret_unreadable",
			Sentence("Connections to {0} that this site's encryption key does not open: {1}.", name, lost),
			Sentence("Restore the encryption_key that this site had, in its site_config.json."),
			app["name"],
		)
	if waiting := app["admin_must_act"]:
		yield Finding(
			"error",
			"admin_must_act",
			Sentence("Connections to {0} that wait for an administrator: {1}.", name, waiting),
			Sentence("Open the Connected App, and use Check Configuration."),
			app["name"],
		)


def _many_failing(app: dict[str, Any]) -> Iterator[Finding]:
	numbers, name = app["connections"], app["provider_name"]
	total = sum(numbers.values())
	broken = numbers.get("Reconnect Required", 0)
	if broken >= MANY and broken > total * SHARE:
		yield Finding(
			"warning",
			"broken",
			Sentence("Of {0} connections to {1}, {2} no longer work.", total, name, broken),
			Sentence("See why under Who Is Connected. Their owners have been notified."),
			app["name"],
		)
	passing = numbers.get("Temporarily Failing", 0) - app["admin_must_act"]
	if passing >= MANY and passing > total * SHARE:
		yield Finding(
			"warning",
			"failing",
			Sentence("Of {0} connections to {1}, {2} cannot be renewed for now.", total, name, passing),
			Sentence("See why under Who Is Connected, and whether the provider reports a disturbance."),
			app["name"],
		)


def _overdue(app: dict[str, Any]) -> Iterator[Finding]:
	if app["overdue"] > LATE.total_seconds():
		yield Finding(
			"warning",
			"overdue",
			Sentence(
				"A connection to {0} has been due for {1} minutes.",
				app["provider_name"],
				app["overdue"] // 60,
			),
			Sentence("See that enough workers listen to the queue long, or allow more At Once."),
			app["name"],
		)


def revocations(health: dict[str, Any]) -> Iterator[Finding]:
	waiting = health["revocations"]
	if waiting["oldest"] > REVOKED_WITHIN.total_seconds():
		yield Finding(
			"warning",
			"revocations",
			Sentence(
				"Waiting to be revoked: {0}, the oldest for {1} hours.",
				waiting["waiting"],
				waiting["oldest"] // 3600,
			),
			Sentence("See why in the list of Pending Revocations. Each is given up after a week."),
		)
	for each in health["ending"]:
		if each["ago"] > ENDED_WITHIN.total_seconds():
			yield Finding(
				"warning",
				"ending",
				Sentence(
					"Connections that were ended are not removed yet: {0} of {1}.",
					max(each["total"] - each["ended"], 0),
					each["total"],
				),
				Sentence("See the Error Log, and that workers listen to the queue long."),
				each["connected_app"],
			)


def several_hosts(health: dict[str, Any]) -> Iterator[Finding]:
	if "redis" in health["hosts"]["differ"]:
		yield Finding(
			"error",
			"hosts_redis",
			Sentence(
				"The hosts of this site do not use the same Redis: people cannot connect who return to another host."
			),
			Sentence("Give all hosts the same redis_cache and redis_queue."),
		)
	if "key" in health["hosts"]["differ"] and not health["two_keys"]:
		yield Finding(
			"error",
			"hosts_key",
			Sentence("The hosts of this site do not have the same encryption key."),
			Sentence("Copy encryption_key to the site_config.json of all hosts."),
		)


def two_keys(health: dict[str, Any]) -> Iterator[Finding]:
	if health["two_keys"]:
		yield Finding(
			"warning",
			"two_keys",
			Sentence("The encryption key of this site is being replaced, and the old one still works."),
			Sentence("Go on with bench connected-app rotate-key, and end it with --finish."),
		)


CHECKS: tuple[Callable[[dict[str, Any]], Iterator[Finding]], ...] = (
	scheduler,
	redis,
	failing,
	revocations,
	several_hosts,
	two_keys,
)
