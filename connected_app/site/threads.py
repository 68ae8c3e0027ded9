"""The site in threads that Frappe has not set up: each with its own database connection."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import TypeVar

import frappe

from connected_app.oauth import catalogue
from connected_app.site import recent
from connected_app.site.database import claim_connection
from connected_app.site.errors import raises_frappe_errors
from connected_app.site.identity import ConnectionKey

T = TypeVar("T")


@contextmanager
def connected(site: str, sites_path: str) -> Iterator[None]:
	"""Run the body on `site`, in a thread or a context without a site. Only `own_transaction` writes there."""
	frappe.init(site, sites_path=sites_path)
	try:
		frappe.connect()
		if frappe.db.db_type != "sqlite":
			claim_connection()
		yield
	finally:
		frappe.destroy()


class Anywhere:
	"""Runs work that needs the site: directly in the thread that made this object, and in other threads on their own database
	connection, as the same user. Libraries renew tokens in their own threads, and so does code that must not block an event
	loop.

	:param key: of the connection that is used
	:param connect_url: where the user can connect, for errors
	"""

	def __init__(self, key: ConnectionKey, connect_url: Callable[[], str]) -> None:
		self.key = key
		self.connect_url = connect_url
		self._thread = threading.get_ident()
		self._site, self._sites_path = frappe.local.site, frappe.local.sites_path
		self._user, self._lang = frappe.session.user, frappe.local.lang
		self._address = getattr(frappe.local, "request_ip", None)
		self._read_only = bool(frappe.flags.read_only)
		self._known = recent.known()

	def prepare(self) -> None:
		"""
		:raises ConfigurationError: `not_committed`: the other thread would wait for this transaction
		"""
		if not self._is_here():
			return
		with raises_frappe_errors(self.connect_url):
			if recent.has_changed(frappe.local.db, self.key):
				raise catalogue.error("not_committed")
		if frappe.db.db_type == "sqlite":
			# SQLite has one writer, which may be this transaction.
			frappe.db.commit()  # nosemgrep (see `database.own_transaction`)

	def __call__(self, work: Callable[[], T]) -> T:
		if self._is_here():
			return work()
		return Context().run(self._elsewhere, work)

	def _is_here(self) -> bool:
		return threading.get_ident() == self._thread and getattr(frappe.local, "site", None) == self._site

	def _elsewhere(self, work: Callable[[], T]) -> T:
		with connected(self._site, self._sites_path):
			frappe.set_user(self._user)
			frappe.local.lang, frappe.local.request_ip = self._lang, self._address
			frappe.flags.read_only = self._read_only
			with raises_frappe_errors(self.connect_url):
				done = work()
			# As if the caller's thread had refreshed it, whose transaction may not see it.
			found = recent.known().get(self.key)
			if found and found.row:
				self._known[self.key] = found
			return done
