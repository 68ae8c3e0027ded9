"""The gallery: what it says of providers and of this site's apps, and what it costs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from unittest.mock import patch

import frappe

from connected_app.oauth.clock import utc_now
from connected_app.oauth.grant import Grant
from connected_app.oauth.redact import Secret
from connected_app.site import gallery
from connected_app.site.grants import TokenCacheStore
from connected_app.site.identity import ConnectionKey
from connected_app.tests.site import ALICE, MALLORY, VISITOR, Case, make_app, statements

# The tests may run long after this module was loaded.
EXPIRES = utc_now() + timedelta(hours=20)
GRANT = Grant(access_token=Secret("a"), refresh_token=Secret("r"), expires_at=EXPIRES)


class TestGallery(Case):
	def connected(self, user: str, **values: object) -> str:
		"""A connection of `user` to the app, as if they had just consented."""
		with TokenCacheStore(
			ConnectionKey.from_columns(self.app.name, user), create=True
		).exclusive() as locked:
			locked.save(replace(GRANT, **values), consented=True)
			return locked.name

	def of_app(self) -> dict[str, object]:
		frappe.db.rollback()
		return next(app for app in gallery.gallery()["apps"] if app.name == self.app.name)

	def test_apps(self) -> None:
		"""How many are connected, what is broken, and what ends within two weeks."""
		self.app = make_app(provider="quickbooks", provider_name="Books")
		self.afterwards(frappe.delete_doc, "Connected App", self.app.name, force=True)
		app = self.of_app()
		self.assertEqual((app.provider, app.enabled, app.total, app.ends_on), ("quickbooks", 1, 0, None))
		# A token of the service principal ends today, and another one is there for the asking.
		self.connected("", refresh_token=None)
		name = self.connected(ALICE)
		broken = self.connected(MALLORY, refresh_expires_at=utc_now())
		failing = self.connected(VISITOR, refresh_expires_at=utc_now() + timedelta(days=15))
		frappe.db.set_value("Token Cache", broken, "status", "Reconnect Required")
		frappe.db.set_value("Token Cache", failing, "status", "Temporarily Failing")
		frappe.db.commit()
		app = self.of_app()
		self.assertEqual((app.total, app.broken, app.failing, app.ends_on), (4, 1, 1, None))
		# QuickBooks's consent lasts for five years: see its template.
		long_ago = (utc_now() - timedelta(days=1815)).replace(tzinfo=None, microsecond=0)
		frappe.db.set_value("Token Cache", name, "connected_on", long_ago)
		frappe.db.commit()
		self.assertEqual(self.of_app().ends_on, long_ago + timedelta(days=1825))
		with patch("connected_app.site.gallery.MANY", 3):
			self.assertEqual((self.of_app().total, self.of_app().ends_on), (4, None))
		self.connected(ALICE, refresh_token=None)
		self.assertLess(self.of_app().ends_on.replace(tzinfo=utc_now().tzinfo), utc_now() + timedelta(days=1))
		# What was ended, and waits to be removed, is no connection.
		frappe.db.set_value("Connected App", self.app.name, "generation", 7)
		frappe.db.commit()
		app = self.of_app()
		self.assertEqual((app.total, app.broken, app.failing, app.ends_on), (0, 0, 0, None))

	def test_providers(self) -> None:
		found = {each["key"]: each for each in gallery.gallery()["providers"]}
		self.assertGreaterEqual(len(found), 250)
		self.assertNotIn("microsoft", found, "it is not offered")
		gmail = found["google-mail"]
		self.assertEqual((gmail["category"], gmail["confidence"]), ("mail", "high"))
		self.assertTrue(gmail["checked_on"].startswith("2026-") and gmail["checked_by"])
		self.assertTrue(any(each["unsupported"] for each in found.values()))

	def test_speed(self) -> None:
		"""All templates and apps in four statements, once the templates are loaded."""
		gallery.gallery()
		with statements() as sent:
			gallery.gallery()
		self.assertEqual(len([each for each in sent if each.lower().startswith("select")]), 4, sent)
