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
# Rows that one statement makes.
CHUNK = 50_000
SLOW = 0.1


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


def sources(number: int) -> Iterator[str]:
	"""Tables of the numbers up to `number`, as many as one statement inserts rows for; each as SQL, its column is `n`."""
	for first in range(0, number, CHUNK):
		last = min(first + CHUNK, number) - 1
		if frappe.db.db_type == "mariadb":
			yield f"(select seq as n from seq_{first}_to_{last}) s"
		else:
			yield f"generate_series({first}, {last}) s(n)"


def insert(table: str, number: int, **columns: str | tuple[str, Any]) -> None:
	"""So many rows, made by the database itself.

	:param columns: what stands in each, as SQL with the number `n`; or a pair of SQL and the value of its `%s`
	"""
	pairs = [value if isinstance(value, tuple) else (value, None) for value in columns.values()]
	names = ", ".join(f"`{column}`" for column in columns)
	texts = ", ".join(text for text, _value in pairs)
	values = [value for text, value in pairs if "%s" in text]
	for source in sources(number):
		frappe.db.sql(f"insert into `{table}` ({names}) select {texts} from {source}", values)
		frappe.db.commit()


def user_of(n: str = "n") -> str:
	return f"concat({n}, '@{PREFIX}.example')"


def add_users(number: int) -> None:
	name, short = user_of(), f"concat('{PREFIX}', n)"
	insert("tabUser", number, name=name, email=name, username=short, first_name=short, enabled="1")


def add_connections(app: str, number: int, idle: timedelta = timedelta(hours=2)) -> None:
	"""Connections with two tokens and a scope each."""
	from connected_app.site import passwords

	add_users(number)
	utc = datetime.now(timezone.utc).replace(tzinfo=None)
	stars, token = ("%s", passwords.PLACEHOLDER), ("%s", passwords.encrypt("t" * 200))
	name = (f"concat(%s, '-', {user_of()})", app)
	insert(
		"tabToken Cache",
		number,
		name=name,
		creation=(f"cast(%s as {instant()})", now()),
		modified=(f"cast(%s as {instant()})", now()),
		owner=user_of(),
		modified_by=user_of(),
		connected_app=("%s", app),
		user=user_of(),
		status="'Connected'",
		access_token=stars,
		refresh_token=stars,
		idle_since=(f"cast(%s as {instant()})", utc - idle),
		expires_at=(f"cast(%s as {instant()})", utc),
		expires_in="3600",
		connected_on=(f"cast(%s as {instant()})", utc),
		revision="1",
	)
	for field in ("access_token", "refresh_token"):
		insert(
			"__Auth",
			number,
			doctype="'Token Cache'",
			name=name,
			fieldname=f"'{field}'",
			password=token,
			encrypted="1",
		)
	insert(
		"tabOAuth Scope",
		number,
		name=("concat(%s, '-', n)", app),
		parent=name,
		parenttype="'Token Cache'",
		parentfield="'scopes'",
		idx="1",
		scope="'read'",
	)


def instant() -> str:
	return "datetime(6)" if frappe.db.db_type == "mariadb" else "timestamp"


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
	"""Print what `work` took: seconds of the clock, statements of this connection, and the slowest if it is slow."""
	asked, slowest = 0, (0.0, "")
	connection = frappe.db
	original = connection.sql

	def counted(*args: Any, **kwargs: Any) -> Any:
		nonlocal asked, slowest
		asked += 1
		began = time.perf_counter()
		try:
			return original(*args, **kwargs)
		finally:
			slowest = max(slowest, (time.perf_counter() - began, " ".join(str(args[0]).split())[:150]))

	connection.sql = counted
	began = time.perf_counter()
	try:
		result = work()
	finally:
		seconds = time.perf_counter() - began
		del connection.sql
	found = {"what": what, "seconds": round(seconds, 4), "statements": asked, **more}
	if slowest[0] > SLOW:
		found["slowest"] = [round(slowest[0], 3), slowest[1]]
	print(json.dumps(found), flush=True)
	return result


def disable(*numbers: str) -> None:
	for number in (int(each) for each in numbers):
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

			work = lambda: ending.run(600)  # noqa: E731
			measured("the job, without the provider", work, connections=number, chunk=ending.CHUNK)
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
	from connected_app.site import connections, gallery, health, metrics, revocation, schedule
	from connected_app.site.identity import ConnectionKey
	from connected_app.site.rows import read

	for number in (int(each) for each in numbers):
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
			"metrics for Prometheus": lambda: metrics.text(health.read()),
			"revocations due, the first 500": lambda: revocation.find_due(datetime(2020, 1, 2), app.name),  # noqa: B023
		}
		for what, work in works.items():
			work()
			frappe.db.commit()
			measured(what, work, connections=number)
		changes(app.name, number)
	remove_all()


def changes(app: str, number: int) -> None:
	"""What a request changes among so many: a user who is renamed, merged, disabled or deleted, and the app, disabled."""
	first, second, third = (f"{n}@{PREFIX}.example" for n in range(1, 4))
	renamed = f"renamed@{PREFIX}.example"

	def save(doctype: str, name: str) -> None:
		doc = frappe.get_doc(doctype, name)
		doc.enabled = 0
		doc.save()

	works = {
		"a user is renamed": lambda: frappe.rename_doc("User", first, renamed, force=True),
		"a user is merged": lambda: frappe.rename_doc("User", renamed, second, merge=True, force=True),
		"a user is disabled": lambda: save("User", third),
		"a user is deleted": lambda: frappe.delete_doc("User", third, force=True),
		"the app is disabled": lambda: save("Connected App", app),
	}
	for what, work in works.items():

		def request() -> None:
			work()  # noqa: B023
			frappe.db.commit()

		measured(what, request, connections=number)


def life(*numbers: str) -> None:
	"""What of uninstalling, installing and migrating grows with the connections; in this order, so that core's rows are
	there to be taken over."""
	from connected_app.site import ending, install, passwords

	def hand_back() -> None:
		ending.give_up_all("measured")
		install.hand_back_expiry()
		install.hand_back_names()
		passwords.hand_back()

	for number in (int(each) for each in numbers):
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
	insert(
		"tabPending Revocation",
		number,
		name=f"concat('{PREFIX}', n)",
		connected_app=("%s", app),
		user=user_of(),
		requested_on=(f"cast(%s as {instant()})", now()),
		retry_at=f"cast(case when n % 100 = 0 then '2020-01-01' else '2099-01-01' end as {instant()})".replace(
			"%", "%%"
		),
	)
	frappe.db.commit()


COMMANDS = {work.__name__: work for work in (disable, life, refresh, lists)}

if __name__ == "__main__":
	begin(sys.argv[1])
	COMMANDS[sys.argv[2]](*(argument for argument in sys.argv[3:] if not argument.startswith("--")))
