"""The numbers of `site/health.py` as text for Prometheus.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from typing import Any

import frappe

TOKEN = "connected_app_metrics_token"  # noqa: S105
# Not Prometheus's own `authorization`: Frappe takes it for a user's, and refuses a request with an unknown token.
HEADER = "X-Connected-App-Token"
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Sample = tuple[dict[str, str], int]


def is_on() -> bool:
	return bool(frappe.conf.get(TOKEN))


def is_allowed(token: str) -> bool:
	"""Whether `token` is that of the site's configuration."""
	expected = frappe.conf.get(TOKEN)
	return bool(expected) and hmac.compare_digest(token.encode(), str(expected).encode())


def text(health: dict[str, Any]) -> str:
	"""
	:param health: from `site.health.read`
	"""
	return "".join(f"{line}\n" for line in _lines(health))


def _lines(health: dict[str, Any]) -> Iterator[str]:
	levels = ("ok", "warning", "error")
	yield from _metric(
		"level", "gauge", "0: all is well, 1: warnings, 2: errors", [({}, levels.index(health["level"]))]
	)
	yield from _metric(
		"findings",
		"gauge",
		"What somebody should do something about",
		[
			({"check": each["check"], "level": each["level"], "app": each["app"]}, 1)
			for each in health["findings"]
		],
	)
	yield from _of_connections(health["apps"])
	yield from _of_revocations(health["revocations"], health["ending"])
	yield from _of_jobs(health)


def _of_connections(apps: list[dict[str, Any]]) -> Iterator[str]:
	yield from _metric(
		"connections",
		"gauge",
		"Connections by state",
		[
			({**_app(app), "state": _label(status)}, number)
			for app in apps
			for status, number in app["connections"].items()
		],
	)
	yield from _metric(
		"failing_connections",
		"gauge",
		"Connections that do not work, by the code of docs/errors.md",
		[({**_app(app), "code": code}, number) for app in apps for code, number in app["failures"].items()],
	)
	yield from _metric(
		"overdue_seconds",
		"gauge",
		"For how long the oldest connection has been due to be renewed",
		[(_app(app), app["overdue"]) for app in apps],
	)
	yield from _metric(
		"refreshes_total",
		"counter",
		"Refreshes since Redis was started; code is empty for those that succeeded",
		[
			({**_app(app), "code": code}, number)
			for app in apps
			for code, number in (app["refreshes"] or {}).items()
		],
	)


def _of_revocations(revocations: dict[str, Any], ending: list[dict[str, Any]]) -> Iterator[str]:
	for name, words in (("waiting", "Connections that wait to be revoked"), ("due", "… of these, now")):
		yield from _metric(f"revocations_{name}", "gauge", words, [({}, revocations[name])])
	yield from _metric(
		"revocations_oldest_seconds",
		"gauge",
		"For how long the oldest has waited",
		[({}, revocations["oldest"])],
	)
	yield from _metric(
		"ending_connections",
		"gauge",
		"Connections of apps that were disabled or deleted, still to be removed",
		[({}, sum(max(each["total"] - each["ended"], 0) for each in ending))],
	)


def _of_jobs(health: dict[str, Any]) -> Iterator[str]:
	yield from _metric(
		"scheduler_up", "gauge", "Whether the scheduler is on", [({}, int(health["scheduler"]))]
	)
	yield from _metric(
		"job_seconds",
		"gauge",
		"Seconds since a scheduled job began",
		[({"job": job["method"]}, job["ago"]) for job in health["jobs"] if job["ago"] is not None],
	)
	if health["workers"] is not None:
		yield from _metric(
			"workers", "gauge", "Workers that listen to the queue long", [({}, health["workers"])]
		)


def _app(app: dict[str, Any]) -> dict[str, str]:
	return {"app": app["name"], "provider": app["provider_name"]}


def _metric(name: str, kind: str, words: str, samples: Iterable[Sample]) -> Iterator[str]:
	name = f"connected_app_{name}"
	yield f"# HELP {name} {words}"
	yield f"# TYPE {name} {kind}"
	for labels, value in samples:
		inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
		yield f"{name}{{{inside}}} {value}" if inside else f"{name} {value}"


def _label(status: str) -> str:
	return status.lower().replace(" ", "_")


def _escaped(text: str) -> str:
	return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
