"""Makes Connected Apps that are ready to connect. Runs in a bench's own Python: `python -m demo.frappe_site`.

Prints the document's name as the last line.
"""

from __future__ import annotations

import sys

import frappe
from frappe.utils.password import update_password

VISITOR = "visitor@example.com"
VISITOR_PASSWORD = "visitor"


def main(site: str, discovery_url: str) -> None:
	frappe.init(site=site, sites_path=".")
	frappe.connect()
	try:
		frappe.set_user("Administrator")
		print(create(discovery_url))
	finally:
		frappe.destroy()


def create(discovery_url: str) -> str:
	"""Three apps at one provider, so that each state can be shown, and a user without Desk.

	:returns: the name of the app that is not connected yet
	"""
	for provider_name in ("Demo Mail", "Demo Calendar"):
		make_app(provider_name, discovery_url)
	name = make_app("Demo Provider", discovery_url)
	visitor = frappe.new_doc("User")
	visitor.update(
		{
			"email": VISITOR,
			"first_name": "Visitor",
			"user_type": "Website User",
			"send_welcome_email": 0,
		}
	)
	visitor.insert()
	update_password(VISITOR, VISITOR_PASSWORD)
	frappe.db.commit()
	return name


def make_app(provider_name: str, discovery_url: str) -> str:
	from connected_app.api import get_openid_configuration

	app = frappe.new_doc("Connected App")
	app.update(
		{
			"provider_name": provider_name,
			"openid_configuration": discovery_url,
			"client_id": "demo",
			"client_secret": "demo-secret",
		}
	)
	for scope in ("openid", "profile", "email", "offline_access", "read"):
		app.append("scopes", {"scope": scope})
	app.insert()
	app.update(get_openid_configuration(app.name)["values"])
	app.save()
	frappe.db.commit()
	return app.name


if __name__ == "__main__":
	main(*sys.argv[1:])
