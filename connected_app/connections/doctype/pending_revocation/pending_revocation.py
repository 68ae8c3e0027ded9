"""Tokens that are still to be revoked. Nobody may read them; `site/revocation.py` writes and deletes them."""

from __future__ import annotations

import frappe

from connected_app.site import errors
from connected_app.site.database import add_indexes_of_users, add_search_indexes
from connected_app.site.passwords import SecretKeeper


class PendingRevocation(SecretKeeper):
	# begin: auto-generated types
	# This code is auto-generated. Do not modify anything in this block.

	from typing import TYPE_CHECKING

	if TYPE_CHECKING:
		from frappe.types import DF

		access_token: DF.Password | None
		attempts: DF.Int
		client: DF.Password | None
		connected_app: DF.Data | None
		error_code: DF.Data | None
		error_values: DF.SmallText | None
		held_account: DF.Data | None
		refresh_token: DF.Password | None
		requested_on: DF.Datetime | None
		retry_at: DF.Datetime | None
		user: DF.Data | None
	# end: auto-generated types

	SECRETS = ("access_token", "refresh_token", "client")

	@property
	def last_error(self) -> str | None:
		return errors.last_error(self)


def on_doctype_update() -> None:
	add_search_indexes("Pending Revocation", "requested_on", "retry_at")
	# For `site/revocation.py`, and for the numbers of an app.
	frappe.db.add_index("Pending Revocation", ["connected_app", "retry_at"])
	add_indexes_of_users("Pending Revocation")
