"""Makes a Connected App that is ready to connect. Runs in a bench's own Python: `python -m demo.frappe_site`.

Prints the document's name as the last line.
"""

from __future__ import annotations

import sys

import frappe


def main(site: str, discovery_url: str) -> None:
	frappe.init(site=site, sites_path=".")
	frappe.connect()
	try:
		frappe.set_user("Administrator")
		print(create(discovery_url))
	finally:
		frappe.destroy()


def create(discovery_url: str) -> str:
	from connected_app.api import get_openid_configuration

	app = frappe.new_doc("Connected App")
	app.update(
		{
			"provider_name": "Demo Provider",
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
