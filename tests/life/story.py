"""What happens, in order."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta, timezone

from tests.life.checks import chapter, check, nothing_lost, same
from tests.life.outside import Life
from tests.life.people import ALICE, ALICIA, BOB, CAROL, DAVE, ERIN, FRANK, GRACE


def story(life: Life) -> None:
	chapter("A site with core's Connected App, in use")
	life.new_site()
	life.serve()
	mail, spare = life.inside("make_apps", issuer=life.provider.issuer)
	connected = {}
	for user in (ALICE, BOB, CAROL):
		began = time.time()
		life.connect_by_core(user, mail)
		connected[user] = (began, time.time())
	life.inside("age_rows", mail=mail)
	life.core_url(CAROL, mail)  # clicks on Connect, and walks away
	life.core_url(DAVE, mail)
	life.inside("add_rows", mail=mail, spare=spare)
	before = life.inside("snapshot")
	cores_columns = before["columns"]
	check(
		"core's rows are there",
		len(before["rows"]["Token Cache"]) == 8,
		sorted(before["rows"]["Token Cache"]),
	)
	check(
		"core's Email Account has Alice's token", life.inside("mail_token") == life.token(before, mail, ALICE)
	)
	check(
		"core takes Carol's dead token for a fresh one",
		life.inside("core_thinks_alive", name=f"{mail}-{CAROL}"),
	)

	chapter("Install")
	life.stop_serving()
	output = life.install()
	life.serve()
	after = life.inside("snapshot")
	nothing_lost(before, after)
	unreadable = f"Token Cache {mail}-{ERIN}: the tokens cannot be read"
	check("an unreadable token is reported by its row", unreadable in output, output[-600:])
	check(
		"so is an unreadable client secret",
		f"Connected App {spare}: the client secret" in output,
		output[-600:],
	)
	check("and nothing else", output.count("cannot be read with") == 2, output[-600:])
	check("the report is in the Error Log", unreadable in life.inside("last_error_log"))
	rows = after["rows"]["Token Cache"]

	def due(user: str) -> datetime:
		return datetime.fromisoformat(rows[f"{mail}-{user}"]["expires_at"]).replace(tzinfo=timezone.utc)

	now = datetime.now(timezone.utc)
	low, high = (datetime.fromtimestamp(moment + 3600, timezone.utc) for moment in connected[ALICE])
	slack = timedelta(seconds=2)
	check("a valid token expires when the provider said", low - slack < due(ALICE) < high + slack, due(ALICE))
	check("an expired token is expired", due(BOB) < now, due(BOB))
	check("a click on Connect does not revive a dead token", due(CAROL) < now, due(CAROL))
	check(
		"the hour that comes twice is read as the earlier one",
		due(FRANK) == datetime(2025, 10, 26, 0, 40, tzinfo=timezone.utc),
		due(FRANK),
	)
	check("a token without an expiry has none", rows[f"{mail}-{GRACE}"]["expires_at"] is None)
	check("a click without a token is no connection", rows[f"{mail}-{DAVE}"]["status"] is None)
	check("an unreadable row must reconnect", rows[f"{mail}-{ERIN}"]["status"] == "Reconnect Required")
	check(
		"the service principal's row has no user, and its token",
		rows[f"{mail}-"]["status"] == "Connected" and not rows[f"{mail}-"]["user"],
	)

	chapter("Everything goes on")
	check("Alice's token is used as it is", life.hello(mail, ALICE) == ["Alice", 0], "a refresh")
	check("Bob's expired one is refreshed", life.hello(mail, BOB) == ["Alice", 1])
	check("Carol's too", life.hello(mail, CAROL) == ["Alice", 1])
	check("Erin is asked to reconnect", life.hello(mail, ERIN) == "ReconnectRequired secret_unreadable")
	check("Dave is asked to connect", life.hello(mail, DAVE) == "ReconnectRequired not_connected")
	check("the Email Account has Alice's token", life.inside("mail_token") == life.token(after, mail, ALICE))
	check(
		"core's path for has_token reaches this app",
		life.has_token(ALICE, mail) is True and life.has_token(DAVE, mail) is False,
	)
	landed = life.connect(DAVE, mail)
	check("Dave connects by the redirect URI registered long ago", landed == "/me", landed)
	check("and gets his session", life.hello(mail, DAVE) == ["Alice", 0])
	landed = life.connect(ERIN, mail)
	check("Erin connects anew", landed == "/me" and life.hello(mail, ERIN) == ["Alice", 0], landed)
	check(
		"an app whose secret cannot be read says so",
		life.inside("secret_of", app=spare) == "client_secret_unreadable",
	)

	chapter("One connection for all")
	shop = life.inside("make_app", issuer=life.provider.issuer, provider_name="Shop", connection_is="Shared")
	landed = life.connect("Administrator", shop)
	check("an admin connects it", landed == "/me", landed)
	check(
		"and others use it",
		life.hello(shop, ALICE) == ["Alice", 0] and life.hello(shop, DAVE) == ["Alice", 0],
	)

	chapter("Two accounts of one user")
	boxes = life.inside(
		"make_app", issuer=life.provider.issuer, provider_name="Mailboxes", several_accounts=1
	)
	landed = [life.connect(BOB, boxes), life.connect_another(BOB, boxes)]
	check("Bob connects one, and another", landed == ["/me", "/me"], landed)
	check(
		"and uses each",
		life.hello(boxes, BOB) == ["Alice", 0] and life.hello(boxes, BOB, "bob@example.com") == ["Bob", 0],
	)

	chapter("Migrate, in developer mode and not")
	snapshot, definition = life.inside("snapshot"), life.inside("definition")
	for developer_mode in (1, 0, 0):
		life.site.configure(developer_mode=developer_mode)
		life.site.run("migrate")
		same("the DocTypes are as before", definition, life.inside("definition"))
		same("rows, columns, passwords and customisations are as before", snapshot, life.inside("snapshot"))
	life.site.configure(developer_mode=1)

	chapter("A user, an app, and the site itself get another name")
	life.inside("rename", doctype="User", old=ALICE, new=ALICIA)
	check("core-defects 33: a renamed user keeps the connection", life.hello(mail, ALICIA) == ["Alice", 0])
	check("and the mail", life.inside("mail_token") == life.token(snapshot, mail, ALICE))
	registered = life.inside("value", doctype="Connected App", name=mail, field="redirect_uri")
	life.inside("rename", doctype="Connected App", old=mail, new="our-mail")
	check("a renamed app keeps its connections", life.hello("our-mail", ALICIA) == ["Alice", 0])
	landed = life.connect(DAVE, "our-mail")
	check("core-defects 34: the redirect URI with the old name reaches it", landed == "/me", landed)
	life.stop_serving()
	life.serve(moved=True)
	state = life.browser("Administrator").call(
		"connected_app.api.connection", "GET", connected_app="our-mail"
	)
	check(
		"core-defects 34: at a new address the redirect URI stays, and is said to be outdated",
		state["redirect_uri_outdated"]
		and life.inside("value", doctype="Connected App", name="our-mail", field="redirect_uri")
		== registered,
		state,
	)
	check("connections go on", life.hello("our-mail", ALICIA) == ["Alice", 0])
	renewed = life.browser("Administrator").call(
		"connected_app.api.renew_redirect_uri", connected_app="our-mail"
	)
	check(
		"renewed, it is at the new address",
		renewed.startswith(life.site.url) and renewed.endswith("/our-mail"),
		renewed,
	)
	landed = life.connect(DAVE, "our-mail")
	check("and works there", landed == "/me", landed)
	long = "spare-" + "n" * 120
	life.inside("rename", doctype="Connected App", old=spare, new=long)
	renewed = life.browser("Administrator").call("connected_app.api.renew_redirect_uri", connected_app=long)
	check("so is one that core's column has no room for", len(renewed) > 200, renewed)

	chapter("A backup restored beside another encryption key")
	before = life.inside("snapshot")
	key = life.site.config["encryption_key"]
	life.site.configure(encryption_key="MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
	output = life.site.run("migrate")[1]
	check("migrate names each row", output.count("the tokens cannot be read") == 11, output[-1500:])
	check("and each client secret", output.count("the client secret cannot be read") == 4, output[-1500:])
	check(
		"a user is asked to reconnect",
		life.hello("our-mail", ALICIA) == "ReconnectRequired secret_unreadable",
	)
	life.site.configure(encryption_key=key)
	check(
		"with its own key back, a session works before any migrate",
		life.hello("our-mail", ALICIA) == ["Alice", 0],
	)
	life.site.run("migrate")
	same("and all is as before", before, life.inside("snapshot"))

	chapter("Uninstall")
	before, definition = life.inside("snapshot"), life.inside("definition")
	life.site.run("uninstall-app", "connected_app", "--dry-run")
	same("a dry run changes no row", before, life.inside("snapshot"))
	same("and no DocType", definition, life.inside("definition"))
	life.stop_serving()
	life.site.run("uninstall-app", "connected_app", "--yes", "--no-backup")
	life.serve()
	core = life.inside("snapshot")
	same("nothing of this app is left: DocTypes, jobs, modules, hooks", life.inside("left_over"), [])
	nothing_lost(
		before,
		core,
		renamed={
			f"{mail}-{user}": f"our-mail-{ALICIA if user == ALICE else user}"
			for user in ("", ALICE, BOB, CAROL, DAVE, ERIN, FRANK, GRACE)
		},
		core_knows=("expires_in",),
		as_before=cores_columns,
	)
	kept = life.inside("value", doctype="Connected App", name=long, field="redirect_uri")
	check("core has the long redirect URI", kept == renewed, kept)
	check(
		"core finds the renamed user's token",
		life.inside("core_token", app="our-mail", user=ALICIA) == life.token(before, mail, ALICE),
	)
	check(
		"and nobody's at the app with a shared connection, which core leaves alone",
		not life.has_token(ALICIA, shop)
		and not life.has_token("Administrator", shop)
		and f"{shop}-shared" in core["rows"]["Token Cache"],
	)
	further = [name for name in before["rows"]["Token Cache"] if name.startswith(f"{boxes}-{BOB}-")]
	check(
		"of two accounts core finds the default one, and leaves the other alone",
		life.inside("core_token", app=boxes, user=BOB) == life.token(before, boxes, BOB)
		and life.inside("core_hello", app=boxes, user=BOB, issuer=life.provider.issuer) == "Alice"
		and len(further) == 1
		and further[0] in core["rows"]["Token Cache"],
		further,
	)
	check("its Email Account too", life.inside("mail_token") == life.token(before, mail, ALICE))
	for user, name in ((ALICIA, ALICE), (CAROL, CAROL)):
		expires = datetime.fromisoformat(
			before["rows"]["Token Cache"][f"{mail}-{name}"]["expires_at"]
		).replace(tzinfo=timezone.utc)
		most = (expires - datetime.now(timezone.utc)).total_seconds()
		seen = life.inside("core_expires_in", name=f"our-mail-{user}")
		least = (expires - datetime.now(timezone.utc)).total_seconds()
		check(
			f"core sees {user}'s token expire when it does",
			least - 2 < seen < most + 2,
			(least, seen, most),
		)
	check(
		"core does not take Frank's dead token for a live one",
		not life.inside("core_thinks_alive", name=f"our-mail-{FRANK}"),
	)
	check(
		"core's session works",
		life.inside("core_hello", app="our-mail", user=ALICIA, issuer=life.provider.issuer) == "Alice",
	)
	life.connect_by_core(GRACE, "our-mail")
	check("core's own flow works again", life.has_token(GRACE, "our-mail") is True)
	for doctype in ("Connected App", "Token Cache"):
		output = life.site.run("run-tests", "--doctype", doctype, check=False)[1]
		output = re.sub(r"\x1b\[[0-9;]*m", "", output)
		ran = sum(int(number) for number in re.findall(r"^Ran (\d+) tests? in", output, re.M))
		check(
			f"core's own tests of {doctype} pass ({ran})",
			ran > 0 and not re.search(r"^(FAILED|ERROR)", output, re.M),
			output[-3000:],
		)

	chapter("Install again")
	core = life.inside("snapshot")
	life.stop_serving()
	life.install()
	life.serve()
	again = life.inside("snapshot")
	nothing_lost(core, again)
	same("the DocTypes are as after the first install", definition, life.inside("definition"))
	rows = again["rows"]["Token Cache"]
	check(
		"Alicia's connection is there",
		rows[f"our-mail-{ALICIA}"]["status"] == "Connected"
		and life.hello("our-mail", ALICIA) == ["Alice", 0],
	)
	check(
		"Dave's account is known",
		rows[f"our-mail-{DAVE}"]["account_name"] == "alice@example.com",
		rows[f"our-mail-{DAVE}"],
	)
	check(
		"the shared connection is there, for all",
		rows[f"{shop}-shared"]["status"] == "Connected" and life.hello(shop, DAVE) == ["Alice", 0],
		rows[f"{shop}-shared"],
	)
	check(
		"both of Bob's accounts are there",
		life.hello(boxes, BOB) == ["Alice", 0] and life.hello(boxes, BOB, "bob@example.com") == ["Bob", 0],
		[rows[f"{boxes}-{BOB}"], rows[further[0]]],
	)
	check("what core connected meanwhile works", life.hello("our-mail", GRACE) == ["Alice", 0])
	check(
		"Frank's dead token is still dead",
		rows[f"our-mail-{FRANK}"]["expires_at"] < "2026",
		rows[f"our-mail-{FRANK}"],
	)
	check(
		"the Email Account has its token", life.inside("mail_token") == life.token(again, "our-mail", ALICIA)
	)
