"""Registrations of this site's clients. Nobody may read them; `site/registrations.py` writes and deletes them."""

from __future__ import annotations

from connected_app.site.database import add_search_indexes
from connected_app.site.passwords import SecretKeeper


class ClientRegistration(SecretKeeper):
	# begin: auto-generated types
	# This code is auto-generated. Do not modify anything in this block.

	from typing import TYPE_CHECKING

	if TYPE_CHECKING:
		from frappe.types import DF

		attempts: DF.Int
		client_id: DF.Data | None
		client_secret: DF.Password | None
		connected_app: DF.Link | None
		details: DF.Code | None
		ended: DF.Check
		ended_on: DF.Datetime | None
		endpoint: DF.Data | None
		issuer: DF.Data | None
		kind: DF.Literal["Registered", "Published"]
		management_token: DF.Password | None
		management_uri: DF.SmallText | None
		redirect_uri: DF.Data | None
		registered_on: DF.Datetime | None
		retry_at: DF.Datetime | None
	# end: auto-generated types

	SECRETS = ("client_secret", "management_token")


def on_doctype_update() -> None:
	add_search_indexes("Client Registration", "connected_app", "retry_at")
