"""What is done in the bench's own Python with Frappe connected: `python -m tests.life.inside SITE STEP ARGUMENTS`."""

from __future__ import annotations

import json

import frappe

from tests.life.people import ALICE, BOB, CAROL, DAVE, ERIN, FRANK, GRACE, PASSWORD

TABLES = ("Connected App", "Token Cache", "OAuth Scope", "Query Parameters")


def prepare_site() -> None:
	frappe.db.set_single_value("System Settings", "time_zone", "Europe/Berlin")
	for email in (ALICE, BOB, CAROL, DAVE, ERIN, FRANK, GRACE):
		user = frappe.new_doc("User")
		user.update(
			{
				"email": email,
				"first_name": email.split("@")[0],
				"send_welcome_email": 0,
				"new_password": PASSWORD,
			}
		)
		user.append("roles", {"role": "Blogger"})
		user.flags.no_welcome_mail = True
		user.insert()
	frappe.clear_cache()


def make_apps(issuer: str) -> list[str]:
	"""Two Connected Apps as an admin of core fills them in, customised."""
	from frappe.custom.doctype.custom_field.custom_field import create_custom_field
	from frappe.custom.doctype.property_setter.property_setter import make_property_setter
	from frappe.permissions import add_permission

	for doctype in ("Connected App", "Token Cache"):
		create_custom_field(
			doctype, {"fieldname": "cost_centre", "label": "Cost Centre", "fieldtype": "Data"}
		)
	make_property_setter("Connected App", "provider_name", "label", "Supplier", "Data")
	add_permission("Connected App", "Blogger", 0)
	add_permission("Connected App", "System Manager", 0, "write")
	names = []
	for provider_name in ("Mail", "Spare"):
		app = frappe.new_doc("Connected App")
		app.update(
			{
				"provider_name": provider_name,
				"openid_configuration": f"{issuer}/.well-known/openid-configuration",
				"authorization_uri": f"{issuer}/authorize",
				"token_uri": f"{issuer}/token",
				"revocation_uri": f"{issuer}/revoke",
				"userinfo_uri": f"{issuer}/userinfo",
				"client_id": "demo",
				"client_secret": "demo-secret",
				"cost_centre": "4711",
				"scopes": [{"scope": scope} for scope in ("openid", "email", "offline_access", "read")],
				"query_parameters": [{"key": "prompt", "value": "consent"}]
				if provider_name == "Spare"
				else [],
			}
		)
		names.append(app.insert().name)
	return names


def make_app(issuer: str, **values: object) -> str:
	"""As an admin of this app makes one."""
	app = frappe.new_doc("Connected App")
	app.update(
		{
			"authorization_uri": f"{issuer}/authorize",
			"token_uri": f"{issuer}/token",
			"revocation_uri": f"{issuer}/revoke",
			"userinfo_uri": f"{issuer}/userinfo",
			"client_id": "demo",
			"client_secret": "demo-secret",
			"scopes": [{"scope": scope} for scope in ("openid", "email", "offline_access", "read")],
			**values,
		}
	)
	return app.insert().name


def age_rows(mail: str) -> None:
	"""Bob's token is two days old; so is Carol's."""
	from frappe.utils import add_days, now_datetime

	for user in (BOB, CAROL):
		then = add_days(now_datetime(), -2)
		frappe.db.set_value(
			"Token Cache", f"{mail}-{user}", {"modified": then, "creation": then}, update_modified=False
		)


def add_rows(mail: str, spare: str) -> None:
	"""Rows that core's flow cannot make here, by core's own methods."""
	from cryptography.fernet import Fernet

	def token(user: str | None, **response: object) -> str:
		row = frappe.new_doc("Token Cache")
		row.update({"connected_app": mail, "user": user, "cost_centre": "4711"})
		row.update_data(
			{"access_token": f"access-{user}", "token_type": "bearer", "scope": "openid read", **response}
		)
		return row.name

	assert token(None, expires_in=3600) == f"{mail}-"
	token(ERIN, expires_in=3600, refresh_token="refresh-erin")
	name = token(FRANK, expires_in=600)
	frappe.db.set_value("Token Cache", name, "modified", "2025-10-26 02:30:00", update_modified=False)
	token(GRACE)
	stranger = Fernet(Fernet.generate_key())
	for doctype, name in (("Token Cache", f"{mail}-{ERIN}"), ("Connected App", spare)):
		frappe.db.sql(
			"update `__Auth` set password=%s where doctype=%s and name=%s",
			(stranger.encrypt(b"secret").decode(), doctype, name),
		)
	account = frappe.new_doc("Email Account")
	account.update(
		{
			"email_id": ALICE,
			"email_account_name": "Mail",
			"auth_method": "OAuth",
			"connected_app": mail,
			"connected_user": ALICE,
		}
	)
	account.insert()


def expire(name: str) -> None:
	frappe.db.set_value("Token Cache", name, "expires_at", "2020-01-01", update_modified=False)


def end_pause(name: str) -> None:
	frappe.db.set_value("Token Cache", name, "retry_at", "2020-01-01", update_modified=False)


def move_token_endpoint(app: str, uri: str) -> None:
	frappe.db.set_value("Connected App", app, "token_uri", uri, update_modified=False)
	frappe.clear_document_cache("Connected App", app)


def leave_to_be_revoked(name: str) -> None:
	"""A connection that is ended, with more than are revoked at once: a background job is to do it."""
	from connected_app.site import revocation

	revocation.AT_ONCE = 0
	frappe.delete_doc("Token Cache", name)


def revoke_what_waits() -> int:
	"""As the scheduled job; gives how many wait for another attempt."""
	from connected_app.site import revocation

	assert frappe.db.count("Pending Revocation") == 1
	frappe.db.set_value("Pending Revocation", {}, "retry_at", "2020-01-01", update_modified=False)
	frappe.db.commit()
	revocation.retry()
	frappe.db.rollback()
	return frappe.db.count("Pending Revocation")


def backend_token(app: str) -> str:
	return frappe.get_doc("Connected App", app).get_backend_app_token().get_password("access_token")


def snapshot() -> dict:
	"""All that is to be kept: columns, rows, passwords, customisations."""
	from frappe.utils.password import decrypt

	if "connected_app" in frappe.get_installed_apps():
		from connected_app.site import passwords

		# The last version used Frappe's.
		decrypt = getattr(passwords, "decrypt", decrypt)

	columns = {}
	# On PostgreSQL Frappe itself writes defaults in another way, and drops NOT NULL, at the first migrate.
	described = ("type",) if frappe.db.db_type == "postgres" else ("type", "default", "not_nullable")
	for doctype in TABLES:
		rows = frappe.db.get_table_columns_description(f"tab{doctype}")
		columns[doctype] = {row.name: [row.get(what) for what in described] for row in rows}
	rows = {doctype: all_rows(doctype) for doctype in TABLES}
	rows["Email Account"] = all_rows(
		"Email Account", ("name", "connected_app", "connected_user", "auth_method")
	)
	for doctype, field in (
		("Custom Field", "dt"),
		("Property Setter", "doc_type"),
		("Custom DocPerm", "parent"),
	):
		rows[doctype] = all_rows(doctype, filters={field: ("in", TABLES)})
	passwords = {}
	for doctype, name, field, sealed in frappe.db.sql(
		"select doctype, name, fieldname, password from `__Auth` where doctype in ('Connected App', 'Token Cache')"
	):
		try:
			opened = decrypt(sealed)
		except frappe.ValidationError:
			opened = None
		passwords[f"{doctype}/{name}/{field}"] = {
			"opened": opened,
			"sealed": sealed if opened is None else None,
		}
	return {"columns": columns, "rows": rows, "passwords": passwords}


def all_rows(doctype: str, fields: tuple[str, ...] = ("*",), filters: dict | None = None) -> dict:
	found = frappe.get_all(doctype, filters=filters, fields=list(fields))
	return {
		row.name: {key: None if value is None else str(value) for key, value in row.items()} for row in found
	}


def definition() -> dict:
	"""The DocTypes as this site has them."""

	def plain(rows: list) -> list:
		left_out = ("name", "creation", "modified", "modified_by", "owner")
		return [{key: value for key, value in row.items() if key not in left_out} for row in rows]

	return json.loads(
		frappe.as_json(
			{
				doctype: {
					"doctype": plain(frappe.get_all("DocType", {"name": doctype}, ["*"])),
					"fields": plain(frappe.get_all("DocField", {"parent": doctype}, ["*"], order_by="idx")),
					"permissions": plain(
						frappe.get_all("DocPerm", {"parent": doctype}, ["*"], order_by="idx")
					),
					"links": plain(
						frappe.get_all("DocType Link", {"parent": doctype}, ["*"], order_by="idx")
					),
				}
				for doctype in ("Connected App", "Token Cache")
			}
		)
	)


def left_over() -> list[str]:
	"""What of this app would still act, or be seen."""
	found = [f"DocType {name}" for name in frappe.get_all("DocType", {"module": "Connections"}, pluck="name")]
	for doctype in ("Connected App", "Token Cache"):
		module = frappe.db.get_value("DocType", doctype, "module")
		if (
			module != "Integrations"
			or "frappe.integrations" not in frappe.get_doc({"doctype": doctype}).__module__
		):
			found.append(f"{doctype} is in {module}")
	jobs = frappe.get_all("Scheduled Job Type", {"method": ("like", "connected_app%")}, pluck="method")
	found += [f"job {method}" for method in jobs]
	found += [
		f"module {name}" for name in frappe.get_all("Module Def", {"app_name": "connected_app"}, pluck="name")
	]
	if "connected_app" in frappe.get_installed_apps():
		found.append("installed")
	found += [f"hook {key}" for key, value in frappe.get_hooks().items() if "connected_app.api" in str(value)]
	return found


def hello(app: str, user: str, issuer: str, account: str = "") -> str:
	try:
		# Core knows no accounts.
		named = {"account": account} if account else {}
		session = frappe.get_doc("Connected App", app).get_oauth2_session(user, **named)
		return session.get(f"{issuer}/api/hello").json()["hello"]
	except Exception as error:
		return f"{type(error).__name__} {getattr(error, 'code', error)}"


def secret_of(app: str) -> str:
	from connected_app.site import settings

	try:
		return str(settings.read(app, with_secret=True).client.client_secret)
	except Exception as error:
		return getattr(error, "code", str(error))


def core_hello(app: str, user: str, issuer: str) -> str:
	return hello(app, user, issuer)


def mail_token() -> str:
	return frappe.get_doc("Email Account", "Mail").get_oauth_token().get_password("access_token")


def core_token(app: str, user: str) -> str:
	return frappe.get_doc("Connected App", app).get_token_cache(user).get_password("access_token")


def core_thinks_alive(name: str) -> bool:
	return not frappe.get_doc("Token Cache", name).is_expired()


def core_expires_in(name: str) -> int:
	return frappe.get_doc("Token Cache", name).get_expires_in()


def last_error_log() -> str:
	return frappe.get_last_doc("Error Log").error


def rename(doctype: str, old: str, new: str) -> None:
	frappe.rename_doc(doctype, old, new, force=True, show_alert=False)


def value(doctype: str, name: str, field: str) -> str:
	return frappe.db.get_value(doctype, name, field)


def write(doctype: str, name: str, field: str, value: str) -> None:
	frappe.db.set_value(doctype, name, field, value, update_modified=False)


def inside(site: str, step: str, args: str) -> None:
	frappe.init(site, sites_path=".")
	frappe.connect()
	try:
		result = globals()[step](**json.loads(args))
		frappe.db.commit()
		print("RESULT " + json.dumps(result, default=str))
	finally:
		frappe.destroy()
