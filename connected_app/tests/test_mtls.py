"""FAPI 2.0 by certificates (RFC 8705) through Desk: the site proves itself by one, and its tokens are bound to it.

The certified provider asks for certificates, and checks them.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import frappe
import requests

from connected_app.site import settings
from connected_app.site.http import _http
from connected_app.tests.certificates import Certificate, certificate
from connected_app.tests.site import (
	ALICE,
	PATIENCE,
	Browser,
	Case,
	certified,
	forget,
	make_app,
	needs_providers,
	row,
)

BY_CERTIFICATE = {
	"mTLS": {
		"enabled": True,
		"certificateBoundAccessTokens": True,
		"selfSignedTlsClientAuth": True,
		"tlsClientAuth": True,
	},
	"pushedAuthorizationRequests": {"enabled": True, "requirePushedAuthorizationRequests": True},
}


class BrowserAt(Browser):
	"""A browser session that goes on at another address of the same site."""

	def __init__(self, base: str, before: Browser) -> None:
		super().__init__()
		self.before, self.base = before.base, base
		self.cookies.update(before.cookies)
		self.headers.update({**before.headers, "X-Frappe-Site-Name": frappe.local.site})

	def visit(self, url: str) -> requests.Response:
		return super().visit(url.replace(self.before, self.base, 1))


@needs_providers
class TestMutualTls(Case):
	def setUp(self) -> None:
		super().setUp()
		self.module = certified()
		if not self.module.AVAILABLE:
			self.skipTest("the certified provider needs Node.js and npm")
		self.authority = certificate("authority.example")
		folder = tempfile.TemporaryDirectory()
		self.addCleanup(folder.cleanup)
		self.pem = os.path.join(folder.name, "localhost.pem")
		certificate("localhost", self.authority).write(self.pem)
		self.bundle = os.path.join(folder.name, "authority.pem")
		self.authority.write(self.bundle)

	@contextmanager
	def trusting(self) -> Iterator[None]:
		"""This process, and one that serves the site, trust the authority; the browsers go there."""
		listener = socket.create_server(("127.0.0.1", 0))
		address = f"http://127.0.0.1:{listener.getsockname()[1]}"
		with patch.dict(os.environ, {"REQUESTS_CA_BUNDLE": self.bundle}):
			_http.cache_clear()
			# Requests wait in the socket's queue until it is ready.
			bind = ("-b", f"fd://{listener.fileno()}", "-t", "120", "--log-level", "warning")
			serving = subprocess.Popen(
				[sys.executable, "-m", "gunicorn", *bind, "--threads", "4", "frappe.app:application"],
				cwd=os.path.abspath(frappe.local.sites_path),
				pass_fds=(listener.fileno(),),
			)
			listener.close()
			try:
				self.admin, self.alice = (BrowserAt(address, each) for each in (self.admin, self.alice))
				yield
			finally:
				_http.cache_clear()
				serving.terminate()
				serving.wait(PATIENCE)

	def make_app(self, authentication: str, brought: Certificate | None = None) -> Any:
		"""An app that proves itself by a certificate, which the site makes if it is not `brought`."""
		app = make_app(
			client_id="client",
			security_profile="FAPI 2.0",
			client_authentication=authentication,
			certificate_bound=1,
		)
		if brought:
			self.admin.ask("bring_key", connected_app=app.name, private_key=brought.pem)
		else:
			self.admin.ask("make_key", connected_app=app.name, algorithm="ES256")
		self.admin.ask("use_new_key", connected_app=app.name)
		frappe.db.rollback()
		app.reload()
		return app

	def goes_through(self, app: Any, client: dict[str, Any], other: Certificate) -> None:
		"""Discovered, checked, connected, used, renewed, tested and given back.

		:param other: of the same authority, and not the client's: of no use
		"""
		with (
			self.trusting(),
			self.module.start(
				"client",
				"",
				app.redirect_uri,
				client_authentication=app.client_authentication,
				client={
					"tls_client_certificate_bound_access_tokens": True,
					"id_token_signed_response_alg": "ES256",
					**client,
				},
				features=BY_CERTIFICATE,
				tls={"pem": self.pem, "authority": self.bundle, "aliases": True},
			) as running,
		):
			self.discover(app, running)
			found = self.admin.ask("check_configuration", connected_app=app.name)
			self.assertEqual([each for each in found if each["level"] == "error"], [])
			self.connect_at(app, running)
			kept = row(app, ALICE)
			self.assertEqual((kept.token_type, kept.account_name), ("Bearer", "alice@example.com"))
			before = kept.get_password("access_token")
			frappe.db.set_value("Token Cache", kept.name, "expires_at", "2020-01-01")
			frappe.db.commit()
			forget()
			api = settings.read(app.name).provider.metadata["mtls_endpoint_aliases"]["userinfo_endpoint"]
			session = app.get_oauth2_session(ALICE)
			self.assertEqual(session.get(api).json()["sub"], "alice")
			token = session.token["access_token"]
			self.assertNotEqual(token, before)
			self.assertEqual(self.stolen(api, token, None), 401)
			self.assertEqual(self.stolen(api, token, other), 401)
			self.assertTrue(self.alice.ask("test_connection", connected_app=app.name)["ok"])
			self.assertTrue(self.alice.ask("disconnect", connected_app=app.name)["revoked"])

	def stolen(self, api: str, token: str, presented: Certificate | None) -> int:
		"""The status of a request with the token, by somebody who does not have the key."""
		with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
			if presented:
				presented.write(file.name)
			answer = requests.get(
				api,
				headers={"Authorization": f"Bearer {token}"},
				cert=file.name if presented else None,
				verify=self.bundle,
				timeout=30,
			)
		return answer.status_code

	def test_by_a_certificate_of_the_sites_own(self) -> None:
		"""RFC 8705 2.2: the provider reads it at the site's key set."""
		app = self.make_app("self_signed_tls_client_auth")
		self.goes_through(app, {"jwks_uri": app.key_set_uri}, certificate("client.example", self.authority))

	def test_by_a_certificate_of_an_authority(self) -> None:
		"""RFC 8705 2.1: the provider knows the authority, and the name in it."""
		app = self.make_app("tls_client_auth", certificate("client.example", self.authority))
		self.goes_through(
			app, {"tls_client_auth_san_dns": "client.example"}, certificate("other.example", self.authority)
		)
