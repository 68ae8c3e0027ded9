"""What many connections cost, on a site of its own, in the bench's own Python:

	cd SITES && PYTHONPATH=CHECKOUT python CHECKOUT/benchmarks/scale.py SITE COMMAND [ARGUMENT …]

	disable NUMBER …      disabling an app with so many connections: what the admin's request does, and what is left
	lists NUMBER …        what finds connections among so many: due ones, lists, searches
	life NUMBER …         what installing, migrating and uninstalling do with so many connections
	refresh NUMBER DELAY  renewing so many in the background, against a token endpoint that takes DELAY milliseconds

Connections are made by SQL, never by connecting. Prints one line of JSON for each measurement.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import frappe
from frappe.utils import now

PREFIX = "scale"
CHUNK = 5000


def begin(site: str) -> None:
	frappe.init(site=site, sites_path=".")
	frappe.connect()
	frappe.set_user("Administrator")


def make_app(**values: Any) -> Any:
	app = frappe.get_doc(
		{
			"doctype": "Connected App",
			"provider_name": "Scale",
			"client_id": "scale",
			"client_secret": "secret",
			"authorization_uri": "http://127.0.0.1:1/authorize",
			"token_uri": "http://127.0.0.1:1/token",
			"revocation_uri": "http://127.0.0.1:1/revoke",
			"scopes": [{"scope": "read"}],
			**values,
		}
	).insert()
	frappe.db.commit()
	return app


def add_users(number: int) -> None:
	there = frappe.db.count("User", {"name": ("like", f"%@{PREFIX}.example")})
	rows = (
		(f"{n}@{PREFIX}.example", f"{n}@{PREFIX}.example", f"{PREFIX}{n}", 1) for n in range(there, number)
	)
	frappe.db.bulk_insert("User", ["name", "email", "username", "enabled"], rows, chunk_size=CHUNK)
	frappe.db.commit()


def add_connections(app: str, number: int, idle: timedelta = timedelta(hours=2)) -> None:
	"""Connections with two tokens and a scope each."""
	from connected_app.site import passwords

	add_users(number)
	utc = datetime.now(timezone.utc).replace(tzinfo=None)
	stars, token = passwords.PLACEHOLDER, passwords.encrypt("t" * 200)
	fields = ["name", "creation", "modified", "owner", "connected_app", "user", "status", "access_token"]
	fields += ["refresh_token", "idle_since", "expires_at", "expires_in", "connected_on", "revision"]

	def names() -> Iterator[tuple[str, str]]:
		for n in range(number):
			yield f"{app}-{n}@{PREFIX}.example", f"{n}@{PREFIX}.example"

	insert = frappe.db.bulk_insert
	caches = (
		(name, now(), now(), user, app, user, "Connected", stars, stars, utc - idle, utc, 3600, utc, 1)
		for name, user in names()
	)
	insert("Token Cache", fields, caches, chunk_size=CHUNK)
	secrets = (
		("Token Cache", name, field, token, 1)
		for name, _user in names()
		for field in ("access_token", "refresh_token")
	)
	insert_auth(secrets)
	scopes = (
		(frappe.generate_hash(length=12), name, "Token Cache", "scopes", 1, "read") for name, _user in names()
	)
	fields = ["name", "parent", "parenttype", "parentfield", "idx", "scope"]
	insert("OAuth Scope", fields, scopes, chunk_size=CHUNK)
	frappe.db.commit()


def insert_auth(rows: Iterator[tuple[Any, ...]]) -> None:
	table = frappe.qb.Table("__Auth")
	query = frappe.qb.into(table).columns("doctype", "name", "fieldname", "password", "encrypted")
	chunk: list[tuple[Any, ...]] = []
	for row in rows:
		chunk.append(row)
		if len(chunk) == CHUNK:
			query.insert(*chunk).run()
			chunk = []
	if chunk:
		query.insert(*chunk).run()


def remove_all() -> None:
	frappe.db.rollback()
	for app in frappe.get_all("Connected App", {"provider_name": "Scale"}, pluck="name"):
		like = f"{app}-%"
		frappe.db.sql("delete from `__Auth` where `doctype` = 'Token Cache' and `name` like %s", like)
		frappe.db.sql("delete from `tabOAuth Scope` where `parent` like %s", like)
		frappe.db.sql("delete from `tabToken Cache` where `connected_app` = %s", app)
		frappe.db.sql("delete from `tabConnected App` where `name` = %s", app)
	for doctype in ("Pending Revocation", "Offboarding"):
		if frappe.db.exists("DocType", doctype):
			frappe.db.delete(doctype)
			frappe.db.sql("delete from `__Auth` where `doctype` = %s", doctype)
	frappe.db.delete("User", {"name": ("like", f"%@{PREFIX}.example")})
	frappe.db.delete("Activity Log", {"subject": ("like", f"%@{PREFIX}.example%")})
	frappe.db.commit()


def measured(what: str, work: Callable[[], Any], **more: Any) -> Any:
	"""Print what `work` took: seconds of the clock, and statements of this connection."""
	asked = 0
	connection = frappe.db
	original = connection.sql

	def counted(*args: Any, **kwargs: Any) -> Any:
		nonlocal asked
		asked += 1
		return original(*args, **kwargs)

	connection.sql = counted
	began = time.perf_counter()
	try:
		result = work()
	finally:
		seconds = time.perf_counter() - began
		del connection.sql
	print(json.dumps({"what": what, "seconds": round(seconds, 4), "statements": asked, **more}), flush=True)
	return result


def disable(*numbers: str) -> None:
	for number in map(int, numbers):
		remove_all()
		app = make_app()
		add_connections(app.name, number)
		app = frappe.get_doc("Connected App", app.name)

		def save() -> None:
			app.enabled = 0  # noqa: B023
			app.save()  # noqa: B023
			frappe.db.commit()

		measured("the admin's request", save, connections=number)
		left = frappe.db.count("Token Cache", {"connected_app": app.name})
		if left:
			from connected_app.site import ending

			measured("the job, without the provider", lambda: ending.run(600), connections=number)
	remove_all()


class TokenEndpoint(ThreadingHTTPServer):
	"""Answers each refresh with new tokens after `delay` seconds; on loopback."""

	daemon_threads = True
	request_queue_size = 100

	def __init__(self, delay: float) -> None:
		self.delay = delay
		self.numbers = itertools.count()
		super().__init__(("127.0.0.1", 0), Answer)
		threading.Thread(target=self.serve_forever, daemon=True).start()


class Answer(BaseHTTPRequestHandler):
	protocol_version = "HTTP/1.1"
	disable_nagle_algorithm = True
	server: TokenEndpoint

	def do_POST(self) -> None:
		self.rfile.read(int(self.headers["Content-Length"]))
		time.sleep(self.server.delay)
		number = next(self.server.numbers)
		tokens = {"access_token": f"a{number}", "refresh_token": f"r{number}", "expires_in": 3600}
		body = json.dumps({**tokens, "token_type": "Bearer"}).encode()
		self.send_response(200)
		self.send_header("Content-Type", "application/json")
		self.send_header("Content-Length", str(len(body)))
		self.end_headers()
		self.wfile.write(body)

	def log_message(self, *_args: Any) -> None: ...


def refresh(number: str, delay: str) -> None:
	from connected_app.site import schedule

	remove_all()
	server = TokenEndpoint(int(delay) / 1000)
	app = make_app(token_uri=f"http://127.0.0.1:{server.server_address[1]}/token")
	add_connections(app.name, int(number), idle=timedelta(days=30))
	frappe.db.sql(
		"update `tabToken Cache` set `expires_at` = '2020-01-01' where `connected_app` = %s", app.name
	)
	frappe.db.commit()
	used = time.process_time()
	work = lambda: schedule.refresh(app.name)  # noqa: E731
	if "--profile" in sys.argv:
		import cProfile
		import pstats

		profile = cProfile.Profile()
		profile.runcall(work)
		pstats.Stats(profile).sort_stats("cumulative").print_stats(60)
	else:
		measured("renewed in the background", work, connections=int(number), delay_ms=int(delay))
		frappe.db.rollback()
		left = frappe.db.count("Token Cache", {"connected_app": app.name, "expires_at": ("<", "2021-01-01")})
		cpu = time.process_time() - used
		print(json.dumps({"left": left, "ms of this process for each": round(1000 * cpu / int(number), 1)}))
	remove_all()


def lists(*numbers: str) -> None:
	"""What finds connections, with all of them to one app, a hundredth of them due, and as many that wait to be revoked."""
	from connected_app.site import connections, gallery, health, revocation, schedule
	from connected_app.site.identity import ConnectionKey
	from connected_app.site.rows import read

	for number in map(int, numbers):
		remove_all()
		app = make_app(refresh_idle_after=7, refresh_ahead=0)
		add_connections(app.name, number)
		of_app = {"connected_app": app.name}
		user = f"{number // 2}@{PREFIX}.example"
		hundredth = f"{app.name}-%00@{PREFIX}.example"
		frappe.db.sql(
			"update `tabToken Cache` set `idle_since` = '2020-01-01' where `name` like %s", (hundredth,)
		)
		frappe.db.sql(
			"update `tabToken Cache` set `status` = 'Reconnect Required', `failing_since` = '2026-01-01'"
			" where `name` like %s",
			(f"{app.name}-%50@{PREFIX}.example",),
		)
		add_pending(app.name, number)
		frappe.db.commit()
		for table in ("Token Cache", "Pending Revocation", "Connected App", "User"):
			frappe.db.sql(
				f"analyze table `tab{table}`" if frappe.db.db_type == "mariadb" else f'analyze "tab{table}"'
			)
		works: dict[str, Callable[[], Any]] = {
			"a session's grant": lambda: read(ConnectionKey.of_user(app.name, user)),  # noqa: B023
			"grants due, the first 500": lambda: schedule.due(500, app.name),  # noqa: B023
			"Who Is Connected, the first page": lambda: connections.of_app(app.name, 0, 20),  # noqa: B023
			"Who Is Connected, page 100": lambda: connections.of_app(app.name, 2000, 20),  # noqa: B023
			"My Connections": lambda: connections.of_user(user),  # noqa: B023
			"list of Token Caches": lambda: frappe.get_list("Token Cache", of_app, limit=20),  # noqa: B023
			"search by user": lambda: frappe.get_list("Token Cache", {"user": user}, limit=20),  # noqa: B023
			"Operations": health.read,
			"Providers, the gallery": gallery.gallery,
			"revocations due, the first 500": lambda: revocation.find_due(datetime(2020, 1, 2), app.name),  # noqa: B023
		}
		for what, work in works.items():
			work()
			frappe.db.commit()
			measured(what, work, connections=number)
	remove_all()


def life(*numbers: str) -> None:
	"""What of uninstalling, installing and migrating grows with the connections; in this order, so that core's rows are
	there to be taken over."""
	from connected_app.site import ending, install, passwords

	def hand_back() -> None:
		ending.give_up_all("measured")
		install.hand_back_expiry()
		install.hand_back_names()
		passwords.hand_back()

	for number in map(int, numbers):
		remove_all()
		add_connections(make_app().name, number)
		works = {
			"before uninstalling": hand_back,
			"after installing": install.after_install,
			"after a migrate": install.after_migrate,
		}
		for what, work in works.items():
			measured(what, work, connections=number)
			frappe.db.commit()
	remove_all()


def add_pending(app: str, number: int) -> None:
	fields = ["name", "connected_app", "user", "requested_on", "retry_at"]
	rows = (
		(f"{PREFIX}{n}", app, f"{n}@{PREFIX}.example", now(), "2020-01-01" if n % 100 == 0 else "2099-01-01")
		for n in range(number)
	)
	frappe.db.bulk_insert("Pending Revocation", fields, rows, chunk_size=CHUNK)


COMMANDS = {work.__name__: work for work in (disable, life, refresh, lists)}

if __name__ == "__main__":
	begin(sys.argv[1])
	COMMANDS[sys.argv[2]](*(argument for argument in sys.argv[3:] if not argument.startswith("--")))
