"""The page `/connections-guide`: how an admin sets up an app, and what each user does. Desk's workspace links to it."""

from __future__ import annotations

from typing import Any

from frappe import _

from connected_app.site import access, cards

no_cache = 1
sitemap = 0


def get_context(context: Any) -> None:
	here = "/connections-guide"
	cards.require_login(here)
	context.title = _("How Connections Work")
	context.show_steps = access.is_admin()
	cards.fill_page(context, here, [])
