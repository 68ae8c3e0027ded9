"""Connections that are being removed. `site/ending.py` writes and deletes these."""

from __future__ import annotations

import frappe

from connected_app.site import ending
from connected_app.site.passwords import SecretKeeper


class Offboarding(SecretKeeper):
	# begin: auto-generated types
	# This code is auto-generated. Do not modify anything in this block.

	from typing import TYPE_CHECKING

	if TYPE_CHECKING:
		from frappe.types import DF

		client: DF.Password | None
		connected_app: DF.Link | None
		ended: DF.Int
		ended_by: DF.Data | None
		generation: DF.Int
		ip_address: DF.Data | None
		progress: DF.Percent
		requested_on: DF.Datetime | None
		total: DF.Int
	# end: auto-generated types

	SECRETS = ("client",)

	@property
	def to_revoke(self) -> int:
		return int(frappe.db.count("Pending Revocation", {"connected_app": self.connected_app}))

	def on_trash(self) -> None:
		# Nothing else would remove the connections.
		ending.check_none_ends(str(self.connected_app))


def on_doctype_update() -> None:
	frappe.db.add_index("Offboarding", ["connected_app", "generation"])
