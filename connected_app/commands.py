"""`bench --site SITE connected-app list | check | connect | refresh | revoke | providers | new-app | status | rotate-key | export | import`.

The exit codes are those of `connected_app`'s help.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click
import frappe
from frappe.commands import get_site, pass_context

# Bench imports this file for every command, so the app's own modules are imported in the functions.

STATUSES = ("Connected", "Reconnect Required", "Temporarily Failing")
SHARED = "(shared)"
# The columns of `list NAME`; those of OF_SEVERAL only as JSON, or if users may have several accounts.
CONNECTION = (
	*("user", "status", "account_name", "account_id", "is_default", "connected_on", "last_refreshed_on"),
	*("failing_since", "error_code", "last_error"),
)
OF_SEVERAL = ("account_id", "is_default")
of_account = click.option(
	"--account", help="Of several accounts of that user only this one, by its ID or name."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


@click.group("connected-app")
def connected_app() -> None:
	"""Connections of this site to OAuth providers.

	Exit code 0: all is well; 1: something is wrong, as the help of each command says; 2: wrong usage, which includes
	the name of an app, a user, an account or a provider that does not exist.
	"""


@connected_app.command("list")
@click.argument("name", required=False)
@as_json
@pass_context
def list_command(context: Any, name: str | None, as_json: bool) -> None:
	"""List the Connected Apps, or with NAME who is connected to that one, the broken first."""
	with _site(context):
		if not name:
			return _show(_apps(), as_json)
		app = _app(name)
		columns = [column for column in CONNECTION if column not in OF_SEVERAL or app.several_accounts]
		_show(_connections(app), as_json, tuple(columns))


@connected_app.command("check")
@click.argument("name")
@as_json
@pass_context
def check_command(context: Any, name: str, as_json: bool) -> None:
	"""Check the configuration of the Connected App NAME, without connecting. Exit code 1: there are errors."""
	from connected_app.site.checks import check_configuration

	with _site(context):
		findings = check_configuration(_app(name).name)
		_show(findings, as_json, ("level", "field", "message", "action"))
		_end(not any(finding["level"] == "error" for finding in findings))


@connected_app.command("connect")
@click.argument("name")
@click.option("--user", required=True, help="Whose connection it becomes.")
@as_json
@pass_context
def connect_command(context: Any, name: str, user: str, as_json: bool) -> None:
	"""Connect a user to the Connected App NAME with a code, which somebody enters at the provider in any browser.

	The app has to offer it. The command waits until the code was entered, or has expired. Exit code 1: not connected.
	"""
	from connected_app.oauth.device import DeviceAttempt
	from connected_app.oauth.errors import OAuthError
	from connected_app.oauth.redact import printable
	from connected_app.site import codes

	def show(attempt: DeviceAttempt) -> None:
		# On stderr: a script may read the command's output.
		if qr_code := codes.in_terminal(attempt.verification_uri_complete) if sys.stderr.isatty() else "":
			click.echo(qr_code, err=True)
		click.echo(f"Open {printable(attempt.verification_uri, 1000)} in any browser", err=True)
		click.echo(f"and enter the code {printable(attempt.user_code, 100)}", err=True)
		click.echo(f"before {attempt.expires_at:%H:%M} UTC. Waiting…", err=True)

	with _site(context):
		app = _app(name)
		if not frappe.db.get_value("User", user, "enabled"):
			raise click.UsageError(f"There is no enabled user named {user!r}.")
		frappe.set_user(user)
		try:
			grant = codes.run(app.name, show)
		except OAuthError as error:
			click.echo(_words(error), err=True)
			return _end(False)
		except frappe.PermissionError:
			click.echo(f"{user} is not allowed to connect to this app.", err=True)
			return _end(False)
		account = grant.account and (grant.account.name or grant.account.id)
		_show([{"user": user, "account": account or "", "scopes": " ".join(grant.scopes)}], as_json)


@connected_app.command("refresh")
@click.argument("name")
@click.option("--user", help="Only this user's connections.")
@of_account
@as_json
@pass_context
def refresh_command(context: Any, name: str, user: str | None, account: str | None, as_json: bool) -> None:
	"""Refresh the access tokens of the Connected App NAME now, due or not. Exit code 1: not all were refreshed."""
	with _site(context):
		app = _app(name)
		done = [_refresh(app, key) for key in _keys(app, user, account)]
		_show(done, as_json)
		_end(all(one["refreshed"] for one in done))


@connected_app.command("make-default")
@click.argument("name")
@click.option("--user", required=True, help="Whose accounts they are.")
@click.option("--account", required=True, help="The account, by its ID or name.")
@as_json
@pass_context
def make_default_command(context: Any, name: str, user: str, account: str, as_json: bool) -> None:
	"""Of several accounts of a user at the Connected App NAME, make this one the one that is used where none is named.

	Exit code 1: the account exists, but this could not be done; the message says why.
	"""
	from connected_app.oauth.errors import OAuthError
	from connected_app.site import accounts

	with _site(context):
		app = _app(name)
		(key,) = _keys(app, user, account)
		title = _title(key)
		try:
			accounts.make_default(key)
		except OAuthError as error:
			click.echo(_words(error), err=True)
			return _end(False)
		_show([{"user": user, "account": title, "is_default": True}], as_json)


@connected_app.command("revoke")
@click.argument("name")
@click.option("--user", help="This user's connections.")
@of_account
@click.option("--all", "everyone", is_flag=True, help="Everyone's connections.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@pass_context
def revoke_command(
	context: Any, name: str, user: str | None, account: str | None, everyone: bool, yes: bool, as_json: bool
) -> None:
	"""Disconnect from the Connected App NAME: delete the tokens here, and revoke them at the provider.

	Exit code 1: the provider did not confirm all, although it has a Revocation URI; or the question was answered with no.
	"""
	from connected_app.site.revocation import disconnect

	if bool(user) == everyone:
		raise click.UsageError("Name one user with --user, or choose --all.")
	with _site(context):
		app = _app(name)
		keys = _keys(app, user, account)
		if not yes:
			click.confirm(
				f"Connections to {app.provider_name} ({app.name}): {len(keys)}. Disconnect?",
				abort=True,
				err=True,
			)
		done = [{"user": _whose(key), "account": _title(key), "revoked": disconnect(key)} for key in keys]
		_show(done, as_json)
		_end(not app.provider.revocation_uri or all(one["revoked"] for one in done))


@connected_app.command("providers")
@click.argument("search", nargs=-1)
@as_json
@pass_context
def providers_command(context: Any, search: tuple[str, ...], as_json: bool) -> None:
	"""List the provider templates, or those whose name, key or category has the words SEARCH.

	Exit code 1: there is none.
	"""
	from connected_app.site import templates

	with _site(context):
		found = [templates.about(each) for each in templates.search(" ".join(search))]
		rows = [
			{**each, "needs": ", ".join(one["name"] for one in each["inputs"]), "note": each["unsupported"]}
			for each in found
		]
		_show(rows, as_json, ("key", "name", "category", "needs", "note", "checked_on"))
		_end(bool(found))


@connected_app.command("new-app")
@click.argument("provider", required=False)
@click.option(
	"--address",
	default="",
	help="Instead of PROVIDER: the address of an API or a server, which is asked for the rest.",
)
@click.option(
	"--input", "given", multiple=True, metavar="NAME=VALUE", help="What the provider needs, such as tenant."
)
@click.option("--client-id", default="", help="Client ID from the provider.")
@click.option("--name", "title", default="", help="Name of the provider as people on this site see it.")
@as_json
@pass_context
def new_app_command(
	context: Any,
	provider: str | None,
	address: str,
	given: tuple[str, ...],
	client_id: str,
	title: str,
	as_json: bool,
) -> None:
	"""Create a Connected App from the provider template PROVIDER, or from an address.

	The client secret is read from the variable CLIENT_SECRET of the environment, so that it is in no shell history.
	Exit code 1: no app was created; the message says why.
	"""
	import os

	from frappe.utils import strip_html

	from connected_app.oauth.errors import OAuthError
	from connected_app.site import providers, templates

	if bool(provider) == bool(address):
		raise click.UsageError("Name a PROVIDER, or give an --address.")
	if address and (given or client_id):
		raise click.UsageError("--address takes neither --input nor --client-id.")
	wrong = [pair for pair in given if "=" not in pair]
	if wrong:
		raise click.UsageError(f"--input takes NAME=VALUE, not {wrong[0]}.")
	inputs = dict(pair.split("=", 1) for pair in given)
	if address:
		with _site(context):
			return _set_up_address(address, title, as_json)
	key = str(provider)
	with _site(context):
		app = frappe.new_doc("Connected App")
		try:
			_check_inputs(templates.find(key), inputs)
			providers.apply(app, key, inputs)
		except OAuthError as error:
			if error.code == "template_unknown":
				raise click.UsageError(
					f"There is no provider named {key!r}: see `connected-app providers`."
				) from None
			click.echo(str(error), err=True)
			return _end(False)
		app.provider_name = title or app.provider_name
		app.client_id = client_id
		app.client_secret = os.environ.get("CLIENT_SECRET", "")
		try:
			app.insert()
		except frappe.ValidationError as error:
			click.echo(strip_html(str(error)), err=True)
			return _end(False)
		about = templates.about(templates.find(key))
		row = {"name": app.name, "redirect_uri": app.redirect_uri, "register": about["register"]}
		_show([row], as_json)


@connected_app.command("status")
@as_json
@click.option("--prometheus", is_flag=True, help="Print what Prometheus reads, for its textfile collector.")
@pass_context
def status_command(context: Any, as_json: bool, prometheus: bool) -> None:
	"""How the connections of this site are doing, and what should be done. Exit code 1: something is an error."""
	from connected_app.site import health, metrics

	if as_json and prometheus:
		raise click.UsageError("Choose either --json or --prometheus.")
	with _site(context):
		found = health.read()
		if as_json:
			click.echo(json.dumps(found, indent=1, default=str))
		elif prometheus:
			click.echo(metrics.text(found), nl=False)
		else:
			_show_health(found)
		_end(found["level"] != "error")


@connected_app.command("rotate-key")
@click.option(
	"--prepare", is_flag=True, help="Only write the new key beside the old one, to copy it to other hosts."
)
@click.option("--finish", is_flag=True, help="Remove the old key, once every process has been restarted.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_context
def rotate_key_command(context: Any, prepare: bool, finish: bool, yes: bool) -> None:
	"""Replace the encryption key of the site: encrypt every secret with a new one, while the site works.

	Killed at any point, it goes on when it is run again. See docs/operations.md. Exit code 1: nothing was done, or
	there are secrets that cannot be read.
	"""
	from connected_app.site import passwords, rotation

	if prepare and finish:
		raise click.UsageError("Choose either --prepare or --finish.")

	def report(outcome: rotation.Outcome) -> None:
		click.echo(f"\r{outcome.encrypted} secrets encrypted", nl=False, err=True)

	with _site(context):
		if not yes:
			click.confirm(
				f"Replace the encryption key of {frappe.local.site}? All of its passwords are encrypted again.",
				abort=True,
				err=True,
			)
		try:
			if prepare:
				rotation.prepare()
				return click.echo(f"The new key is in site_config.json, as {passwords.NEXT}.")
			outcome = (rotation.finish if finish else rotation.rotate)(report)
		except rotation.CannotRotate as error:
			click.echo(str(error), err=True)
			return _end(False)
		click.echo(f"\r{outcome.encrypted} secrets encrypted with the new key.")
		for which in outcome.unreadable:
			click.echo(f"Neither key opens {which}. It stays as it is.")
		if finish:
			click.echo(
				"The old key is gone from site_config.json. Keep it with the backups that were made with it."
			)
		else:
			click.echo(
				f"Restart all processes of the bench; then run this with --finish. Until then the old key stays in"
				f" site_config.json, as {passwords.PREVIOUS}."
			)
		_end(not outcome.unreadable)


@connected_app.command("export")
@click.argument("names", nargs=-1)
@pass_context
def export_command(context: Any, names: tuple[str, ...]) -> None:
	"""Print the Connected Apps NAMES, or all, as JSON for `import` on another site. Without secrets and connections."""
	from connected_app.site import moving

	with _site(context):
		chosen = [_app(name).name for name in names]
		click.echo(
			moving.export(chosen or frappe.get_all("Connected App", pluck="name", order_by="name", limit=0))
		)


@connected_app.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8-sig"))
@click.option("--update", is_flag=True, help="Also change apps of these names that are there already.")
@as_json
@pass_context
def import_command(context: Any, file: Any, update: bool, as_json: bool) -> None:
	"""Create the Connected Apps that FILE (`-`: standard input) has from `export`. Exit code 1: not all were.

	Secrets have to be entered, and the Redirect URI of each to be registered at its provider.
	"""
	from connected_app.site import moving

	try:
		text = file.read()
	except UnicodeDecodeError:
		raise click.UsageError(moving.OTHER_TEXT) from None
	with _site(context):
		try:
			rows = moving.import_apps(text, update)
		except ValueError as error:
			raise click.UsageError(str(error)) from None
		_show(rows, as_json)
		_end(all(row["result"] in ("created", "updated") for row in rows))


def _check_inputs(template: Any, given: dict[str, str]) -> None:
	known = [each.name for each in template.inputs]
	for name in given:
		if name not in known:
			raise click.UsageError(
				f"{template.name} has no input {name!r}. It has: {', '.join(known) or 'none'}."
			)


def _set_up_address(address: str, title: str, as_json: bool) -> None:
	from connected_app.oauth.errors import OAuthError
	from connected_app.site import addresses

	try:
		made = addresses.set_up(address, title)
	except OAuthError as error:
		click.echo(f"{error.code}: {error}", err=True)
		return _end(False)
	_show([made], as_json)


commands = [connected_app]


@contextmanager
def _site(context: Any) -> Iterator[None]:
	frappe.init(site=get_site(context))
	frappe.connect()
	try:
		yield
		frappe.db.commit()  # nosemgrep (the command's own)
	finally:
		frappe.destroy()


def _app(name: str) -> Any:
	from connected_app.site import settings

	if not frappe.db.exists("Connected App", name):
		raise click.UsageError(f"There is no Connected App named {name!r}: see `connected-app list`.")
	return settings.read(name)


def _keys(app: Any, user: str | None, account: str | None = None) -> list[Any]:
	"""The existing connections: all, or only those of `user`, or only that user's `account`."""
	from connected_app.oauth.errors import OAuthError
	from connected_app.site import accounts
	from connected_app.site.identity import ConnectionKey

	# Also an empty one, from an unset shell variable: no account at all would mean all of them.
	if account is not None:
		if not user:
			raise click.UsageError("Name the user whose --account it is, with --user.")
		try:
			return [accounts.choose(ConnectionKey.of_user(app.name, user), account)]
		except OAuthError as error:
			raise click.UsageError(f"{error.message} See `connected-app list {app.name}`.") from None

	found = frappe.get_all(
		"Token Cache",
		filters={"connected_app": app.name, "access_token": ("is", "set")},
		fields=["connected_app", "user", "shared", "account"],
	)
	keys = sorted({ConnectionKey.from_row(row) for row in found}, key=lambda key: key.columns)
	if user is None:
		return keys
	keys = [key for key in keys if key.user == user and not key.is_shared]
	if not keys:
		raise click.UsageError(f"{user!r} is not connected: see `connected-app list {app.name}`.")
	return keys


def _whose(key: Any) -> str:
	return SHARED if key.is_shared else str(key.user)


def _title(key: Any) -> str:
	from connected_app.site import accounts

	return accounts.title(key)


def _apps() -> list[dict[str, Any]]:
	from connected_app.site import health

	counts = health.connections()
	return [
		{
			"name": app.name,
			"provider_name": app.provider_name,
			"enabled": bool(app.enabled),
			"connected": counts.get(app.name, {}).get("Connected", 0),
			"reconnect_required": counts.get(app.name, {}).get("Reconnect Required", 0),
			"temporarily_failing": counts.get(app.name, {}).get("Temporarily Failing", 0),
		}
		for app in frappe.get_all(
			"Connected App",
			fields=["name", "provider_name", "enabled"],
			order_by="provider_name, name",
			limit=0,
		)
	]


def _show_health(found: dict[str, Any]) -> None:
	from connected_app.oauth.redact import printable

	def minutes(seconds: int) -> str:
		return f"{seconds // 60} min"

	rows = [
		{
			"app": f"{app['provider_name']} ({app['name']})",
			**{status: app["connections"].get(status, 0) for status in STATUSES},
			"due for": minutes(app["overdue"]),
			"refreshed": "?" if app["refreshes"] is None else app["refreshes"].get("", 0),
			"failed": ", ".join(
				f"{code} {number}" for code, number in (app["refreshes"] or {}).items() if code
			),
		}
		for app in found["apps"]
	]
	_show(rows, False)
	waiting = found["revocations"]
	click.echo(
		f"to be revoked: {waiting['waiting']}, due: {waiting['due']}, the oldest for {minutes(waiting['oldest'])}"
	)
	for each in found["ending"]:
		click.echo(f"being removed, of {each['connected_app']}: {each['ended']} of {each['total']}")
	for job in found["jobs"]:
		ran = "has never run" if job["ago"] is None else f"ran {minutes(job['ago'])} ago"
		click.echo(f"{job['method']}: {ran}{' (stopped)' if job['stopped'] else ''}")
	click.echo(f"workers of the queue long: {'?' if found['workers'] is None else found['workers']}")
	for each in found["findings"]:
		click.echo(printable(f"{each['level']}: {each['message']} {each['action']}", 500))
	click.echo(f"level: {found['level']}")


def _connections(app: Any) -> list[dict[str, Any]]:
	from connected_app.site.connections import LONGEST_PAGE, of_app

	found: list[dict[str, Any]] = []
	while page := of_app(app.name, len(found), LONGEST_PAGE)["rows"]:
		found += [
			{**{column: row[column] for column in CONNECTION}, "user": SHARED if row.shared else row.user}
			for row in page
		]
	return found


def _refresh(app: Any, key: Any) -> dict[str, Any]:
	from connected_app.oauth.errors import OAuthError
	from connected_app.site import sessions
	from connected_app.site.identity import SERVICE_PRINCIPAL

	outcome = {"user": _whose(key), "account": _title(key), "refreshed": True, "code": "", "message": ""}
	try:
		app.check_enabled()
		refresher = sessions.refresher(app, key)
		if key.owner == SERVICE_PRINCIPAL:
			refresher.current()
			return outcome
		stale = refresher.store.load()
		# As if the provider's API had rejected the old token: a failure counts although the token is still good.
		refresher.renew(stale, rejected=True) if stale else refresher.current()
	except OAuthError as error:
		outcome.update(refreshed=False, code=error.code, message=_words(error))
	return outcome


def _show(rows: list[dict[str, Any]], as_json: bool, columns: tuple[str, ...] = ()) -> None:
	"""Print `rows`, which hold no secret: as JSON with all they have, or as a table of `columns`."""
	from frappe.utils.commands import render_table

	if as_json:
		click.echo(json.dumps(rows, indent=1, default=str))
	elif not rows:
		click.echo("Nothing.")
	else:
		names = columns or tuple(rows[0])
		render_table(
			[[name.replace("_", " ") for name in names], *([_cell(row, n) for n in names] for row in rows)]
		)


def _words(error: Any) -> str:
	"""Message and action of an error; `str(error)` keeps the action that it was made with."""
	return f"{error.message} {error.action}".strip()


def _cell(row: dict[str, Any], name: str) -> str:
	from connected_app.oauth.redact import printable

	value = row[name]
	if isinstance(value, bool):
		return "yes" if value else "no"
	if isinstance(value, datetime):
		value = value.replace(microsecond=0)
	if name == "user" and not value:
		value = "(service principal)"
	# On one line, and without characters that control a terminal.
	return "\n".join(textwrap.wrap(printable("" if value is None else value, 300), 50))


def _end(well: bool) -> None:
	if not well:
		raise click.exceptions.Exit(1)
