"""A site of the last version, whose rows that version has written, is migrated to this one."""

from __future__ import annotations

import io
import pathlib
import subprocess
import tarfile
import tempfile

from scripts.lib.checkout import APP, CHECKOUT
from tests.life.checks import chapter, check, same
from tests.life.outside import Life
from tests.life.people import ALICE, BOB, CAROL, DAVE, ERIN, FRANK

LAST, COMMIT = "0.1.0", "80bc61d1e10e33525ce1ea9a167d41f633280387"


def upgrade(life: Life) -> None:
	with tempfile.TemporaryDirectory(prefix="connected-app-last-") as folder:
		if last_version(pathlib.Path(folder)):
			from_last_version(life, pathlib.Path(folder))
		else:
			chapter(f"The upgrade from {LAST} is left out: a shallow clone does not have it")


def last_version(folder: pathlib.Path) -> bool:
	command = ["git", "archive", "--format=tar", COMMIT, APP]
	done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=False)
	if done.returncode:
		return False
	with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
		archive.extractall(folder, filter="data")
	return True


def from_last_version(life: Life, folder: pathlib.Path) -> None:
	chapter(f"A site of version {LAST}, in use")
	life.bench.link_app(folder)
	life.new_site()
	life.install()
	life.serve()
	mail, spare = life.inside("make_apps", issuer=life.provider.issuer)
	life.connect(CAROL, mail)
	life.provider.withdraw_consents()
	life.inside("expire", name=f"{mail}-{CAROL}")
	carol = life.hello(mail, CAROL)
	for user in (ALICE, BOB, FRANK):
		life.connect(user, mail)
	for user in (DAVE, ERIN):
		life.connect(user, spare)
	life.inside("expire", name=f"{mail}-{BOB}")
	life.inside("expire", name=f"{spare}-{DAVE}")
	life.inside("move_token_endpoint", app=spare, uri="http://127.0.0.1:1/token")
	dave = life.hello(spare, DAVE)
	# Longer than this takes: a first pause is of seconds.
	life.inside(
		"write",
		doctype="Token Cache",
		name=f"{spare}-{DAVE}",
		field="retry_at",
		value="2099-01-01 00:00:00",
	)
	life.inside("leave_to_be_revoked", name=f"{spare}-{ERIN}")
	backend = life.inside("backend_token", app=mail)
	alices, moment = f"{mail}-{ALICE}", "2026-01-02 03:04:05"
	life.inside("write", doctype="Token Cache", name=alices, field="refused_at", value=moment)
	said = [str(outcome).split()[0] for outcome in (carol, dave)]
	check("one is broken, one failing", said == ["ReconnectRequired", "TemporaryFailure"], (carol, dave))
	before = life.inside("snapshot")

	chapter("Migrate to this version")
	life.stop_serving()
	life.bench.link_app(CHECKOUT)
	output = life.site.run("migrate")[1]
	life.serve()
	after = life.inside("snapshot")
	kept = {key: after["passwords"].get(key) for key in before["passwords"]}
	same(f"no password was touched ({len(kept)})", before["passwords"], kept)
	for table in ("Connected App", "Token Cache", "OAuth Scope", "Query Parameters"):
		same(f"the same rows of {table}", sorted(before["rows"][table]), sorted(after["rows"][table]))
	rejected_at = life.inside("value", doctype="Token Cache", name=alices, field="rejected_at")
	check("what was stored as refused_at is kept", str(rejected_at).startswith(moment), rejected_at)
	check("nothing is reported as unreadable", "cannot be read" not in output, output[-1000:])
	check("Alice's token is used as it is", life.hello(mail, ALICE) == ["Alice", 0])
	check("Bob's expired one is refreshed", life.hello(mail, BOB) == ["Alice", 1])
	check("the service principal's token is used as it is", life.inside("backend_token", app=mail) == backend)
	broken = life.hello(mail, CAROL)
	check("Carol's connection is broken as it was", broken == carol, (broken, carol))
	state = life.browser(CAROL).call("connected_app.api.connection", "GET", connected_app=mail)
	check(
		"and she is shown why",
		state["status"] == "Reconnect Required" and state.get("last_error"),
		state,
	)
	landed = life.connect(CAROL, mail)
	check("she connects again", landed == "/me" and life.hello(mail, CAROL) == ["Alice", 0], landed)
	failing = life.hello(spare, DAVE)
	check("Dave's pause goes on", failing == "TemporaryFailure cooling_down", failing)
	life.inside("move_token_endpoint", app=spare, uri=f"{life.provider.issuer}/token")
	life.inside("end_pause", name=f"{spare}-{DAVE}")
	check("once that is over, it works again", life.hello(spare, DAVE) == ["Alice", 1])
	revoked = life.provider.stats()["revocations"]
	check("what waited to be revoked is read", life.inside("revoke_what_waits") == 0)
	check("and revoked at the provider", life.provider.stats()["revocations"] == revoked + 2)
	snapshot, definition = life.inside("snapshot"), life.inside("definition")
	life.site.run("migrate")
	same("another migrate changes no DocType", definition, life.inside("definition"))
	same("and no row", snapshot, life.inside("snapshot"))
