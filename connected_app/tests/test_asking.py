"""What a site asks a provider for, beside scopes: resources, and whether the request is pushed."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from connected_app.site import settings
from connected_app.tests.site import Case, make_app, needs_providers, statements

RESOURCES = ["https://api.example/accounts", "https://api.example/payments"]


@needs_providers
class TestAsking(Case):
	def test_resources(self) -> None:
		"""One a line; the connection is made, and a line that is no address is said to be none."""
		app = make_app(self.authlib.issuer, resources="\n ".join(["", *RESOURCES, ""]))
		self.assertEqual(settings.read(app.name).client.resources, tuple(RESOURCES))
		url = self.alice.ask("authorize", connected_app=app.name, success_uri="/me")
		self.assertEqual(parse_qs(urlsplit(url).query)["resource"], RESOURCES)
		self.assertEqual(self.alice.visit(self.authlib.consent(url)).headers.get("Location"), "/me")
		wrong = make_app(self.authlib.issuer, resources="accounts")
		answer = self.alice.call("authorize", connected_app=wrong.name)
		self.assertEqual(answer.status_code, 417)
		self.assertIn("accounts is no address of a resource", answer.text)

	def test_what_it_costs(self) -> None:
		"""A flow that pushes nothing reads no secret."""
		app = make_app(self.authlib.issuer)
		with statements() as sent:
			settings.read(app.name)
		self.assertEqual([each for each in sent if "__Auth" in each], [])
