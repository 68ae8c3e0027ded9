"""One golden exchange, from the consent page to the revocation, by a template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt

from connected_app.oauth import (
	Attempt,
	Client,
	Grant,
	OAuthError,
	ReconnectRequired,
	Refresher,
	Secret,
	Session,
	begin,
	complete,
	keys,
	revoke,
)
from connected_app.oauth.client_auth import BY_KEY
from connected_app.oauth.consent import MoreConsent, choosing_account
from connected_app.oauth.grant_types import CLIENT_CREDENTIALS, GrantType, JwtBearer
from connected_app.oauth.metadata_checks import ENDPOINTS
from connected_app.oauth.templates import Template, tomllib

from ..helpers import Clock
from ..hostile import Hostile
from ..stores import MemoryStore
from .emulator import (
	CLIENT_ID,
	CLIENT_SECRET,
	REDIRECT_URI,
	EmulatedAdapter,
	EmulatedHttp,
	Expected,
	check,
	constants,
	script,
)

FOLDER = Path(__file__).parent / "golden"
# What was replayed in this run: providers, exchanges, keys, unseen keys.
COUNTED: Counter[str] = Counter()


@cache
def a_key() -> keys.SigningKey:
	return keys.generate("ES256", "Acme", Clock()())


def golden() -> dict[str, dict[str, Any]]:
	return {
		path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.toml"))
	}


class Replay:
	def __init__(
		self,
		template: Template,
		said: Mapping[str, Any],
		server: Hostile,
		metadata: Mapping[str, Any] | None = None,
	) -> None:
		self.said, self.server, self.clock = said, server, Clock()
		self.is_service_account = template["grant"] == "service_account"
		inputs = template.checked(said.get("inputs", {}))
		# Of templates that leave the addresses to the provider's metadata, the golden file has them.
		found = said.get("metadata", {})
		told = {field: found[name] for field, name in ENDPOINTS.items() if name in found}
		self.provider = replace(template.provider(inputs), metadata={**found, **(metadata or {})}, **told)
		self.client = Client(
			client_id=CLIENT_ID,
			client_secret=Secret(CLIENT_SECRET),
			redirect_uri=REDIRECT_URI,
			scopes=tuple(said.get("scopes", ())),
			use_pkce=template["pkce"],
			authentication=template["client_authentication"],
			authorization_parameters=template.parameters(inputs),
			leeway=template["leeway"],
			signing_key=a_key()
			if self.is_service_account or template["client_authentication"] in BY_KEY
			else None,
		)
		self.http = EmulatedHttp(server.url)
		self.values = constants()
		self.exchanges = 0

	def run(self) -> None:
		"""
		:raises AssertionError: with the first difference
		"""
		if "consent" in self.said:
			grant = self.connect()
		else:
			grant = self.by_itself()
		if "api" in self.said:
			self.api(grant)
		if "more" in self.said:
			self.more()
		if "another" in self.said:
			self.another()
		if "refresh" in self.said:
			grant = self.refresh(grant)
		if "dead" in self.said:
			self.dead(grant)
		if "refused" in self.said:
			self.refused(grant)
		if "revocation" in self.said:
			self.revoke(grant)

	def expected(self, name: str) -> list[Expected]:
		said = self.said.get(name, [])
		return [Expected(each, self.values) for each in (said if isinstance(said, list) else [said])]

	def connect(self) -> Grant:
		attempt = self.consent(self.client, self.said["consent"])
		expected = Expected(self.said["consent"], self.values)
		callback = {name: expected.filled(value) for name, value in self.said["callback"]["query"].items()}
		exchange, account = self.expected("exchange"), self.expected("account")
		script(self.server, [*exchange, *account])
		grant = complete(self.provider, self.client, attempt, callback, self.http, clock=self.clock)
		sent = list(self.server.requests)
		assert len(sent) == len(exchange) + len(account), [each.target for each in sent]
		for request, each in zip(sent, exchange, strict=False):
			each.check(request)
		for request, each in zip(sent[len(exchange) :], account, strict=True):
			each.check(request, "GET")
		self.exchanges += len(sent) + 1
		self.granted(grant, self.said.get("granted", {}))
		if account:
			about = self.said["account"]
			assert grant.account, "no account"
			assert grant.account.id == str(about["id"]), grant.account
			assert grant.account.name == about.get("name", ""), grant.account
		return grant

	def consent(self, client: Client, said: Mapping[str, Any]) -> Attempt:
		url, attempt = begin(self.provider, client, clock=self.clock)
		parts = urlsplit(url)
		query = dict(parse_qsl(parts.query, keep_blank_values=True))
		self.values |= {"state": str(attempt.state), "code_challenge": query.get("code_challenge", "")}
		self.values |= {"code_verifier": str(attempt.code_verifier), "nonce": str(attempt.nonce)}
		expected = Expected(said, self.values)
		wanted = {name: expected.filled(value) for name, value in said["query"].items()}
		wanted = {**dict(parse_qsl(urlsplit(expected.url).query, keep_blank_values=True)), **wanted}
		assert f"{parts.scheme}://{parts.netloc}{parts.path}" == expected.url.partition("?")[0], url
		assert query == wanted, (query, wanted)
		return attempt

	def more(self) -> None:
		"""The consent page for scopes that were not granted before."""
		said = self.said["more"]
		more = MoreConsent(scopes=tuple(said["scopes"]))
		self.consent(more.client(self.client, self.provider.quirks), {**self.said["consent"], **said})
		self.exchanges += 1

	def another(self) -> None:
		"""The consent page for a user who adds another account."""
		client = choosing_account(self.client, self.provider.quirks)
		self.consent(client, {**self.said["consent"], **self.said["another"]})
		self.exchanges += 1

	def by_itself(self) -> Grant:
		"""Client credentials, and grant types that replace them."""
		grant_type: GrantType = CLIENT_CREDENTIALS
		if self.is_service_account:
			grant_type = JwtBearer(self.said.get("subject", ""))
		store = MemoryStore(None)
		expected = self.expected("exchange")
		script(self.server, expected)
		refresher = Refresher(self.provider, self.client, store, self.http, self.clock, grant_type=grant_type)
		grant = refresher.renew(None)
		check(self.server, expected)
		if self.is_service_account:
			assertion = self.server.requests[0].form["assertion"]
			claims = jwt.decode(assertion, options={"verify_signature": False})
			made = {name: value for name, value in claims.items() if name not in ("iat", "exp", "jti")}
			assert made == self.said["assertion"], made
		self.exchanges += len(expected)
		self.granted(grant, self.said.get("granted", {}))
		return grant

	def granted(self, grant: Grant, wanted: Mapping[str, Any]) -> None:
		assert grant.access_token == wanted.get("access_token", grant.access_token)
		if "refresh_token" in wanted:
			assert grant.refresh_token == wanted["refresh_token"], "refresh_token"
		now = self.clock()
		if "expires_in" in wanted:
			assert grant.expires_at == now + timedelta(seconds=wanted["expires_in"]), grant.expires_at
		if "scopes" in wanted:
			assert sorted(grant.scopes) == sorted(wanted["scopes"]), grant.scopes
		if about := wanted.get("account"):
			assert grant.account, "no account"
			assert (grant.account.id, grant.account.name) == (
				about["id"],
				about.get("name", ""),
			), grant.account
		for name, value in wanted.get("extra", {}).items():
			assert grant.extra.get(name) == str(value), (name, dict(grant.extra))

	def refresh(self, grant: Grant) -> Grant:
		self.clock.advance(10 * 365 * 86400)
		store = MemoryStore(grant)
		expected = self.expected("refresh")
		script(self.server, expected)
		fresh = Refresher(self.provider, self.client, store, self.http, self.clock).renew(grant)
		check(self.server, expected)
		self.exchanges += len(expected)
		self.granted(fresh, self.said.get("refreshed", {}))
		return fresh

	def dead(self, grant: Grant) -> None:
		said = self.expected("refresh")[0].said if "refresh" in self.said else {}
		dead = Expected({**said, **self.said["dead"]}, self.values)
		if not said:
			return
		script(self.server, [dead])
		store = MemoryStore(grant)
		try:
			Refresher(self.provider, self.client, store, self.http, self.clock).renew(grant, rejected=True)
		except ReconnectRequired:
			self.exchanges += 1
			return
		raise AssertionError("a dead grant that is not known as one")

	def api(self, grant: Grant) -> None:
		said = self.said["api"]
		expected = Expected(said, self.values)
		expired = said.get("expired")
		answers = [Expected({**said, **expired}, self.values)] if expired else []
		refresh = self.expected("refresh") if expired else []
		script(self.server, [*answers, expected, *refresh])
		store = MemoryStore(grant)
		session = Session(Refresher(self.provider, self.client, store, self.http, self.clock))
		session.mount("https://", EmulatedAdapter(self.server.url))
		response = session.get(expected.url)
		sent = [each for each in self.server.requests if urlsplit(each.target).path == expected.path]
		assert len(sent) == 1 + len(answers), [each.target for each in self.server.requests]
		for name, value in said.get("headers", {}).items():
			assert sent[0].headers.get(name.lower()) == expected.filled(value), (name, sent[0].headers)
		if "Authorization" not in said.get("headers", {}):
			assert "authorization" not in sent[0].headers
		assert response.status_code == said.get("status", 200)
		self.exchanges += 1

	def refused(self, grant: Grant) -> None:
		"""A refusal of the first revocation request."""
		first = self.expected("revocation")[0].said
		script(self.server, [Expected({**first, **self.said["refused"]}, self.values)])
		try:
			confirmed = revoke(self.provider, self.client, grant, self.http)
		except OAuthError:
			confirmed = False
		assert not confirmed, "a refusal that is taken as a confirmation"
		self.exchanges += 1

	def revoke(self, grant: Grant) -> None:
		expected = self.expected("revocation")
		script(self.server, expected)
		assert revoke(self.provider, self.client, grant, self.http), "not confirmed"
		check(self.server, expected)
		self.exchanges += len(expected)
