"""The page `/my-connections`: the apps that a user may connect to, with or without Desk."""

from __future__ import annotations

from typing import Any

from frappe import _

from connected_app.api import my_connections
from connected_app.site import cards

no_cache = 1
sitemap = 0


def get_context(context: Any) -> None:
	here = "/my-connections"
	cards.require_login(here)
	context.title = _("My Connections")
	context.show_sidebar = True
	cards.fill_page(context, here, my_connections())
