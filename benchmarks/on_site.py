"""What is measured on a site, in the bench's own Python: `python benchmarks/on_site.py SITE COMMAND [ARGUMENT …]`.

It calls only what core's Connected App and ours have in common, so the same file measures a site before and after
the app is installed. Prints one line of JSON.

	connect ISSUER                a Connected App (the first time) and a grant from the demo's provider
	calls ROUNDS                  the ways to a session
	storm ISSUER PROCESSES        many processes, one expired token
	session API ROUNDS NUMBER     GETs through sessions, and the memory that NUMBER sessions leave behind
	due ROUNDS SMALL LARGE        finding due grants among SMALL and among LARGE ones; this app only
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import multiprocessing
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

import frappe
import measure
import requests
from frappe.utils.password import get_encryption_key  # noqa: F401 - loaded before anything is timed

USER = "Administrator"
SCOPES = ("openid", "profile", "email", "offline_access", "read")
LONG_AGO = "2020-01-01"
SESSIONS_A_REQUEST = 10
site = sys.argv[1]


def begin_request() -> None:
	"""As at the start of a web request: nothing remembered, a connection that has been used for the login."""
	frappe.destroy()
	frappe.init(site=site, sites_path=".")
	frappe.connect()
	frappe.set_user(USER)
	frappe.db.get_value("User", USER, "enabled")


def app_name() -> str:
	return frappe.db.get_value("Connected App", {"provider_name": "Bench"})


# The ways to a session


def cached(name: str) -> Any:
	return frappe.get_cached_doc("Connected App", name).get_oauth2_session(USER)


def document(name: str) -> Any:
	return frappe.get_doc("Connected App", name).get_oauth2_session(USER)


def reference() -> None:
	"""What both halves of the measurement are set against: a statement, and the making of a session."""
	frappe.db.sql("select name, modified from `tabConnected App`")
	requests.Session()


def calls(rounds: str) -> dict[str, Any]:
	begin_request()
	name = app_name()

	def first(way: Callable[[str], Any]) -> float:
		begin_request()
		return measure.timed(lambda: way(name))

	def unread() -> float:
		begin_request()
		forget_tokens()
		return measure.timed(lambda: cached(name))

	def again() -> float:
		begin_request()
		cached(name)
		return measure.timed(lambda: cached(name))

	works = {
		"cached": lambda: first(cached),
		"unread": unread,
		"document": lambda: first(document),
		"again": again,
		"reference": lambda: first(lambda _: reference()),
	}
	measure.by_turns(20, **works)
	found = {"seconds": measure.by_turns(int(rounds), **works), "statements": {}}
	for way in (cached, document):
		begin_request()
		found["statements"][way.__name__] = statements(lambda: way(name))  # noqa: B023
		found["statements"][f"{way.__name__} again"] = statements(lambda: way(name))  # noqa: B023
	return found


def forget_tokens() -> None:
	"""As in a process that has read no token yet. Core remembers none."""
	if "connected_app" in frappe.get_installed_apps():
		from connected_app.site.rows import unpacked

		unpacked.cache_clear()


def statements(work: Callable[[], Any]) -> int:
	"""How many statements the database server has got from this connection meanwhile."""

	def asked() -> int:
		return int(frappe.db.sql("show session status like 'Questions'")[0][1])

	before = asked()
	work()
	return asked() - before - 1


# A grant


def connect(issuer: str) -> dict[str, Any]:
	begin_request()
	name = (
		app_name()
		or frappe.get_doc(
			{
				"doctype": "Connected App",
				"provider_name": "Bench",
				"client_id": "demo",
				"client_secret": "demo-secret",
				"openid_configuration": f"{issuer}/.well-known/openid-configuration",
				"authorization_uri": f"{issuer}/authorize",
				"token_uri": f"{issuer}/token",
				"userinfo_uri": f"{issuer}/userinfo",
				"revocation_uri": f"{issuer}/revoke",
				"scopes": [{"scope": scope} for scope in SCOPES],
			}
		)
		.insert()
		.name
	)
	app = frappe.get_doc("Connected App", name)
	if app.meta.has_field("provider_metadata") and not app.provider_metadata:
		from connected_app.api import get_openid_configuration

		app.update(get_openid_configuration(name)["values"])
		app.save()
	row = (
		app.get_token_cache(USER)
		or frappe.get_doc({"doctype": "Token Cache", "connected_app": name, "user": USER}).insert()
	)
	frappe.db.commit()
	row.update_data(consent(issuer))
	frappe.db.commit()
	return {"app": name}


def consent(issuer: str) -> dict[str, Any]:
	"""A token response, after alice has pressed *Allow*."""
	verifier = secrets.token_urlsafe(48)
	challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
	redirect_uri = "http://127.0.0.1:1/callback"
	asked = {
		"response_type": "code",
		"client_id": "demo",
		"redirect_uri": redirect_uri,
		"scope": " ".join(SCOPES),
		"state": "state",
		"nonce": secrets.token_urlsafe(),
		"code_challenge": challenge.decode(),
		"code_challenge_method": "S256",
	}
	form = {"account": "alice", "decision": "allow"}
	landed = requests.post(
		f"{issuer}/authorize", params=asked, data=form, allow_redirects=False, timeout=30
	).headers["Location"]
	form = {
		"grant_type": "authorization_code",
		"code": parse_qs(urlsplit(landed).query)["code"][0],
		"redirect_uri": redirect_uri,
		"code_verifier": verifier,
	}
	answer = requests.post(f"{issuer}/token", data=form, auth=("demo", "demo-secret"), timeout=30)
	answer.raise_for_status()
	return answer.json()


def expire(issuer: str, name: str) -> None:
	"""The access token is past its life, here and at the provider."""
	requests.post(f"{issuer}/_expire", timeout=30).raise_for_status()
	values = {"modified": LONG_AGO}
	if frappe.get_meta("Token Cache").has_field("expires_at"):
		values["expires_at"] = LONG_AGO
	frappe.db.set_value("Token Cache", {"connected_app": name, "user": USER}, values, update_modified=False)
	frappe.db.commit()


# The storm


def storm(issuer: str, processes: str) -> dict[str, Any]:
	"""Each process makes a session and calls the provider's API, all at the same moment."""
	begin_request()
	name, number = app_name(), int(processes)
	cached(name)  # what Redis and this process keep of the two DocTypes, a running worker has too
	expire(issuer, name)
	before = stats(issuer)
	frappe.destroy()
	fork = multiprocessing.get_context("fork")
	start, answers = fork.Barrier(number), fork.SimpleQueue()
	workers = [fork.Process(target=caller, args=(issuer, name, start, answers)) for _ in range(number)]
	for worker in workers:
		worker.start()
	ends = [answers.get() for _ in workers]
	for worker in workers:
		worker.join()
	after = stats(issuer)
	refreshes = after["requests"][before["token_requests"] :]
	answered = refreshes[0]["answered_at"]
	outcomes = [outcome for outcome, _ in ends]
	return {
		"token_requests": len(refreshes),
		"failed": len([outcome for outcome in outcomes if outcome != "200"]),
		"outcomes": {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))},
		"slowest": max(moment for _, moment in ends) - answered,
		"works_afterwards": works_afterwards(issuer, name),
	}


def caller(issuer: str, name: str, start: Any, answers: Any) -> None:
	begin_request()  # with a snapshot of the database that is older than the refresh
	start.wait()
	answers.put((call(issuer, name), time.time()))
	frappe.destroy()


def call(issuer: str, name: str) -> str:
	try:
		return str(cached(name).get(f"{issuer}/api/hello").status_code)
	except Exception as error:
		return type(error).__name__


def works_afterwards(issuer: str, name: str) -> bool:
	begin_request()
	expire(issuer, name)
	before = stats(issuer)["refreshes"]
	begin_request()
	return call(issuer, name) == "200" and stats(issuer)["refreshes"] == before + 1


def stats(issuer: str) -> dict[str, Any]:
	return requests.get(f"{issuer}/_stats", timeout=30).json()


# Requests through a session


def session(api: str, rounds: str, number: str) -> dict[str, Any]:
	begin_request()
	name = app_name()
	app = frappe.get_cached_doc("Connected App", name)
	found: dict[str, Any] = {"get": measure.get(lambda: app.get_oauth2_session(USER), api, 10 * int(rounds))}

	def one_session() -> None:
		if next(made) % SESSIONS_A_REQUEST == 0:
			begin_request()
		cached(name).get(api + "/hello").raise_for_status()

	made = itertools.count()
	found["memory"] = measure.memory(one_session, int(number) // 10, int(number))
	return found


# Finding due grants

IDLE, EXPIRING, USERS = 100, 50, 1000


def due(rounds: str, *sizes: str) -> dict[str, Any]:
	"""As many grants are due among few as among many; more are asked for, so that every query runs."""
	from connected_app.site import schedule

	begin_request()
	name = app_name()
	values = {"refresh_in_background": 1, "refresh_idle_after": 7, "refresh_ahead": 15}
	frappe.db.set_value("Connected App", name, values)
	limit = 2 * (IDLE + EXPIRING)
	found: dict[str, Any] = {"sizes": {}}
	try:
		add_users()
		there = IDLE + EXPIRING
		add_grants(name, range(IDLE), idle=timedelta(days=30), life=timedelta(hours=1))
		add_grants(name, range(IDLE, there), idle=timedelta(), life=timedelta(minutes=5))
		for size in [int(text) for text in sizes]:
			# An access token lives an hour: of most grants it has expired.
			add_grants(name, range(there, size), idle=timedelta(hours=2), life=timedelta(hours=1))
			there = size
			frappe.db.sql("analyze table `tabToken Cache`")
			if len(schedule.due(limit)) != IDLE + EXPIRING:
				raise SystemExit(f"{len(schedule.due(limit))} grants were found due, not {IDLE + EXPIRING}")
			works = {
				"due": lambda: measure.timed(lambda: schedule.due(limit)),
				"reference": lambda: measure.timed(reference),
			}
			measure.by_turns(20, **works)
			found["sizes"][size] = measure.by_turns(int(rounds), **works)
		found["plan"] = plan(lambda: schedule.due(limit))
	finally:
		frappe.db.sql("delete from `tabToken Cache` where `name` like 'bench-%%'")
		frappe.db.sql("delete from `tabUser` where `name` like '%%@bench.example'")
		frappe.db.commit()
	return found


def add_users() -> None:
	rows = ((f"{number}@bench.example", f"{number}@bench.example", number, 1) for number in range(USERS))
	frappe.db.bulk_insert("User", ["name", "email", "username", "enabled"], rows)


def add_grants(name: str, numbers: range, idle: timedelta, life: timedelta) -> None:
	"""Grants with these numbers, idle for so long or up to six days longer, with tokens of such a life."""
	now = datetime.now(timezone.utc).replace(tzinfo=None)
	fields = ["name", "connected_app", "user", "status", "idle_since", "expires_at"]

	def rows() -> Iterator[tuple[Any, ...]]:
		for number in numbers:
			since = now - idle - timedelta(minutes=number * 7 % (6 * 24 * 60)) * bool(idle)
			yield f"bench-{number}", name, f"{number % USERS}@bench.example", "Connected", since, since + life

	frappe.db.bulk_insert("Token Cache", fields, rows())
	frappe.db.commit()


def plan(work: Callable[[], Any]) -> list[str]:
	"""How the database finds the Token Cache rows that `work` reads: for each statement the way and the index."""
	asked = []
	original = frappe.db.sql

	def noted(query: Any, *args: Any, **kwargs: Any) -> Any:
		asked.append((str(query), *args))
		return original(query, *args, **kwargs)

	frappe.db.sql = noted
	try:
		work()
	finally:
		frappe.db.sql = original
	ways = []
	for query, *values in asked:
		if "`tabToken Cache`" in query:
			(step,) = (
				row
				for row in frappe.db.sql(f"explain {query}", *values, as_dict=True)
				if row.table == "tabToken Cache"
			)
			ways.append(f"{step.type} {step.key}")
	return ways


COMMANDS = {work.__name__: work for work in (connect, calls, storm, session, due)}

if __name__ == "__main__":
	print(json.dumps(COMMANDS[sys.argv[2]](*sys.argv[3:])))
