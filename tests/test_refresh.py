from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from connected_app.oauth import (
	CLIENT_CREDENTIALS,
	Account,
	ConfigurationError,
	Failure,
	Grant,
	Http,
	OAuthError,
	ReconnectRequired,
	Refresher,
	Secret,
	Settings,
	TemporaryFailure,
)

from .helpers import (
	CLIENT_SECRET,
	NOW,
	REFRESH_TOKEN,
	Clock,
	OpenIDProvider,
	a_grant,
	at_hash,
	changed,
	part,
	rsa_key,
)
from .hostile import Answer, Hostile, Request, as_json
from .stores import MemoryStore

EXPIRED = NOW - timedelta(seconds=1)


class Rotating:
	"""A token endpoint whose refresh tokens work once; reuse revokes the family (RFC 9700 4.14.2)."""

	def __init__(self, first: str, delay: float = 0.0) -> None:
		self.valid, self.delay, self.refreshes, self.reuses = first, delay, 0, 0
		self.lock = threading.Lock()

	def __call__(self, request: Request) -> Answer:
		with self.lock:
			if request.form["refresh_token"] != self.valid:
				self.reuses += 1
				self.valid = ""
				return as_json({"error": "invalid_grant"}, 400)
			self.refreshes += 1
			self.valid = secrets.token_hex(8)
			answer = {"access_token": secrets.token_hex(8), "refresh_token": self.valid, "expires_in": 3600}
		return as_json(answer, delay=self.delay)


def test_thirty_two_threads(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""core-defects 25: one expired grant, 32 callers, rotating refresh tokens, a slow provider: one refresh."""
	endpoint = Rotating(REFRESH_TOKEN, delay=0.15)
	server.script("/token", endpoint)
	store = MemoryStore(a_grant(expires_at=EXPIRED))
	start, results = threading.Barrier(32), []

	def work() -> None:
		refresher = Refresher(*config, store, http, clock)
		start.wait()
		try:
			results.append(str(refresher.current().access_token))
		except Exception as error:
			results.append(repr(error))

	threads = [threading.Thread(target=work) for _ in range(32)]
	for thread in threads:
		thread.start()
	for thread in threads:
		thread.join()
	assert (endpoint.refreshes, endpoint.reuses) == (1, 0)
	assert store.grant and results == [store.grant.access_token] * 32
	assert store.saves == 1


def test_a_provider_that_repeats_the_access_token(
	config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""With a new expiry it is a new grant: those who waited take it, and ask nobody again."""
	grant = a_grant(expires_at=EXPIRED)
	same = {"access_token": str(grant.access_token), "expires_in": 3600}
	server.script("/token", as_json(same, delay=0.1))
	store, results = MemoryStore(grant), []
	threads = [
		threading.Thread(target=lambda: results.append(Refresher(*config, store, http, clock).current()))
		for _ in range(8)
	]
	for thread in threads:
		thread.start()
	for thread in threads:
		thread.join()
	assert len(server.requests) == 1 and results == [store.grant] * 8


def test_loser_reads_again(config: Settings, http: Http, clock: Clock, server: Hostile) -> None:
	"""core-defects 25: a caller that waited for the lock takes what the winner stored."""
	newer = a_grant(access_token="newer")
	refresher = Refresher(*config, MemoryStore(newer), http, clock)
	assert refresher.renew(a_grant(expires_at=EXPIRED)) is newer
	assert refresher.renew(a_grant(expires_at=EXPIRED), rejected=True) is newer
	assert server.requests == []


def test_settings_that_were_changed_since(
	config: Settings, http: Http, clock: Clock, server: Hostile
) -> None:
	"""A refresher that has waited for the lock asks as the latest settings say."""
	server.script("/token", as_json({"access_token": "new"}))
	latest = changed(config, client_secret=Secret("changed"))
	refresher = Refresher(
		*config, MemoryStore(a_grant(expires_at=EXPIRED)), http, clock, latest=lambda: latest
	)
	refresher.current()
	assert server.requests[0].form["client_secret"] == "changed"
	assert refresher.client == latest.client


def test_request_and_result(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""RFC 6749 6, exactly; core-defects 27: no `scope` unless chosen, and then the granted ones."""
	server.script("/token", as_json({"access_token": "new", "expires_in": 60}))
	store = MemoryStore(a_grant(expires_at=EXPIRED, scopes=("read",), account=Account(id="1", name="n")))
	grant = Refresher(*config, store, http, clock).current()
	form = {
		"grant_type": "refresh_token",
		"refresh_token": REFRESH_TOKEN,
		"client_id": "client",
		"client_secret": CLIENT_SECRET,
	}
	assert server.requests[0].form == form
	assert grant is store.grant
	assert (grant.access_token, grant.refresh_token, grant.scopes) == ("new", REFRESH_TOKEN, ("read",))
	assert grant.account == Account(id="1", name="n")
	assert grant.expires_at == NOW + timedelta(seconds=60)


@pytest.mark.parametrize(
	("scopes", "separator", "sent"),
	[(("read",), " ", "read"), (("a", "b"), ",", "a,b"), ((), " ", None)],
)
def test_granted_scope(
	scopes: tuple[str, ...],
	separator: str,
	sent: str | None,
	config: Settings,
	server: Hostile,
	http: Http,
	clock: Clock,
) -> None:
	"""core-defects 27: the narrower granted scope, never the one asked for."""
	config = changed(config, scope_on_refresh="granted", scope_separator=separator)
	server.script("/token", as_json({"access_token": "new"}))
	Refresher(*config, MemoryStore(a_grant(expires_at=EXPIRED, scopes=scopes)), http, clock).current()
	assert server.requests[0].form.get("scope") == sent


def test_parameters_of_another_request(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""core-defects 7: a Query Parameters row that only *Connect* must not have, as core takes it, stops no refresh."""
	config = changed(config, authorization_parameters={"nonce": "fixed"})
	server.script("/token", as_json({"access_token": "new"}))
	Refresher(*config, MemoryStore(a_grant(expires_at=EXPIRED)), http, clock).current()
	assert "nonce" not in server.requests[0].form


def test_without_expiry_nothing_is_refreshed(
	config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""core-defects 15: a token without expiry is used as it is, without a refresh token too."""
	grant = a_grant(expires_at=None, refresh_token=None)
	clock.advance(10**9)
	assert Refresher(*config, MemoryStore(grant), http, clock).current() is grant
	assert server.requests == []


def test_due_within_leeway(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""core-defects 17: refreshed before expiry."""
	server.script("/token", as_json({"access_token": "new"}))
	refresher = Refresher(*config, MemoryStore(a_grant()), http, clock)
	clock.advance(3569)
	assert refresher.current().access_token != "new"
	clock.advance(1)
	assert refresher.current().access_token == "new"


@pytest.mark.parametrize(
	("grant", "code"),
	[(None, "not_connected"), (a_grant(expires_at=EXPIRED, refresh_token=None), "expired")],
)
def test_nothing_to_refresh(
	grant: Grant | None, code: str, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""core-defects 20: the user is asked to connect."""
	with pytest.raises(ReconnectRequired) as caught:
		Refresher(*config, MemoryStore(grant), http, clock).current()
	assert caught.value.code == code
	assert server.requests == []


@pytest.mark.parametrize(
	("answer", "pause"),
	[
		(Answer(b"down", 503), 15),
		(Answer(b"", 429, {"Retry-After": "90"}), 90),
		(Answer(b"<html>", 200, {"Content-Type": "text/html"}), 15),
		(as_json({"error": "something_new"}, 400), 15),
		(as_json({"error": "something_new"}, 400, headers={"Retry-After": "600"}), 600),
		(as_json({"message": "secondary rate limit"}, 403, headers={"Retry-After": "600"}), 600),
		(Answer(b"<html>slow down", 403, {"Content-Type": "text/html", "Retry-After": "600"}), 600),
	],
)
def test_temporary_failure_cools_down(
	answer: Answer, pause: int, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""core-defects 21: the grant is untouched, the provider is left alone for a while, then asked again."""
	server.script("/token", answer, as_json({"access_token": "new"}))
	before = a_grant(expires_at=EXPIRED)
	store = MemoryStore(before)
	refresher = Refresher(*config, store, http, clock)
	with pytest.raises(TemporaryFailure) as first:
		refresher.current()
	assert first.value.code != "cooling_down"
	assert store.grant is before and store.failure
	assert (store.failure.reconnect, store.failure.retry_at) == (False, NOW + timedelta(seconds=pause))
	clock.advance(pause - 1)
	with pytest.raises(TemporaryFailure) as second:
		refresher.current()
	assert (second.value.code, second.value.retry_after) == ("cooling_down", 1)
	assert len(server.requests) == 1
	clock.advance(1)
	assert refresher.current().access_token == "new"
	assert store.failure is None


@pytest.mark.parametrize(
	("answer", "first"),
	[(Answer(status=400), 15), (Answer(status=503), 15), (as_json({"error": "invalid_client"}, 401), 60)],
	ids=["nothing (Glewlwyd)", "down", "the admin's"],
)
def test_a_pause_that_grows(
	answer: Answer, first: int, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""A failure that lasts costs ever fewer requests: each pause is twice the one before, and none is longer than four
	hours. A success begins from the start."""
	server.script("/token", answer)
	store = MemoryStore(a_grant(expires_at=EXPIRED))
	refresher = Refresher(*config, store, http, clock)
	pauses = []
	for _ in range(16):
		with pytest.raises(OAuthError):
			refresher.current()
		assert store.failure and store.failure.retry_at
		pauses.append((store.failure.retry_at - clock()).total_seconds())
		clock.now = store.failure.retry_at
	assert pauses == [min(first * 2**n, 4 * 3600) for n in range(16)]
	assert len(server.requests) == 16
	server.script("/token", as_json({"access_token": "new", "expires_in": 1}), answer)
	assert refresher.current().access_token == "new"
	clock.advance(1)
	with pytest.raises(OAuthError):
		refresher.current()
	assert store.failure and store.failure.attempts == 1
	assert store.failure.retry_at == clock() + timedelta(seconds=first)


def test_used_once_a_minute_for_a_day(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""A provider that does not say that a grant is dead is asked some fifteen times a day, not 1,440 times."""
	server.script("/token", Answer(status=400))
	refresher = Refresher(*config, MemoryStore(a_grant(expires_at=EXPIRED)), http, clock)
	for _ in range(24 * 60):
		with pytest.raises(TemporaryFailure):
			refresher.current()
		clock.advance(60)
	assert len(server.requests) <= 20


@pytest.mark.parametrize(
	("asked_for", "attempts", "pause"), [(600, 0, 600), (1, 0, 15), (20, 3, 120), (600, 3, 600)]
)
def test_a_provider_that_asks_for_more(
	asked_for: int, attempts: int, pause: int, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""RFC 9110 10.2.3: `Retry-After` makes a pause longer, never shorter."""
	server.script("/token", Answer(status=503, headers={"Retry-After": str(asked_for)}))
	before = Failure(code="server_error", message="…", attempts=attempts) if attempts else None
	store = MemoryStore(a_grant(expires_at=EXPIRED), before)
	with pytest.raises(TemporaryFailure):
		Refresher(*config, store, http, clock).current()
	assert store.failure and store.failure.retry_at == NOW + timedelta(seconds=pause)


def test_after_some_failures_people_may_connect_again(
	config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""An empty answer costs nobody the grant, and keeps nobody waiting who can consent again."""
	server.script("/token", Answer(status=400))
	store = MemoryStore(a_grant(expires_at=EXPIRED))
	refresher = Refresher(*config, store, http, clock)
	said = []
	for _ in range(4):
		for _ in ("asked", "cooling down"):
			with pytest.raises(TemporaryFailure) as caught:
				refresher.current()
			said.append("connect again" in caught.value.action)
		assert store.failure and store.failure.retry_at
		clock.now = store.failure.retry_at
	assert said == [False] * 4 + [True] * 4


def test_dead_grant_is_not_tried_again(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""core-defects 21: `invalid_grant` asks for consent, and the provider is not asked twice."""
	server.script("/token", as_json({"error": "invalid_grant"}, 400))
	store = MemoryStore(a_grant(expires_at=EXPIRED))
	for _ in range(2):
		with pytest.raises(ReconnectRequired) as caught:
			Refresher(*config, store, http, clock).current()
		assert caught.value.code == "grant_invalid"
	assert len(server.requests) == 1
	assert store.failure and store.failure.reconnect


@pytest.mark.parametrize(
	("answer", "code", "said"),
	[
		(as_json({"error": "invalid_client"}, 401), "invalid_client", None),
		(Answer(b"", 401, {"Retry-After": "600"}), "invalid_client", 600),
		(as_json({"error": "invalid_scope"}, 400, headers={"Retry-After": "600"}), "invalid_scope", 600),
	],
)
def test_configuration_error_cools_down(
	answer: Answer,
	code: str,
	said: int | None,
	config: Settings,
	server: Hostile,
	http: Http,
	clock: Clock,
) -> None:
	"""core-defects 21: `invalid_client` is for the admin, costs nobody the grant, and is not sent at each call."""
	server.script("/token", answer, as_json({"access_token": "new"}))
	store = MemoryStore(a_grant(expires_at=EXPIRED))
	for wait in (said, said or 60):
		with pytest.raises(ConfigurationError) as caught:
			Refresher(*config, store, http, clock).current()
		assert (caught.value.code, caught.value.retry_after) == (code, wait)
	assert len(server.requests) == 1
	assert store.failure and (store.failure.reconnect, store.failure.configuration) == (False, True)
	clock.advance(said or 60)
	assert Refresher(*config, store, http, clock).current().access_token == "new"
	assert store.failure is None


def test_an_api_that_refuses_every_token(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""core-defects 17: a token that was refused though it was new is not fixed by another refresh."""
	server.script("/token", *(as_json({"access_token": f"new-{n}", "expires_in": 3600}) for n in range(9)))
	store = MemoryStore(a_grant())
	refresher = Refresher(*config, store, http, clock)
	fresh = refresher.renew(a_grant(), rejected=True)
	refresher.mark_rejected(a_grant())
	assert store.grant and store.grant.rejected_at is None, "it was the one before"
	refresher.mark_rejected(fresh)
	clock.advance(299)
	assert refresher.renew(fresh, rejected=True).access_token == "new-0"
	clock.advance(1)
	assert refresher.renew(fresh, rejected=True).access_token == "new-1"
	assert store.grant.rejected_at is None
	assert len(server.requests) == 2


def test_somebody_was_faster_despite_the_lock(
	config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""core-defects 25: `invalid_grant` about a token that is no longer the stored one costs nobody the grant."""
	for newer, expected in (
		(a_grant(access_token="theirs", refresh_token="r2"), "theirs"),
		(a_grant(access_token="theirs", refresh_token="r2", expires_at=EXPIRED), "ours"),
	):
		store = MemoryStore(a_grant(expires_at=EXPIRED))

		def spent(request: Request, store: MemoryStore = store, newer: Grant = newer) -> Answer:
			if request.form["refresh_token"] == "r2":
				return as_json({"access_token": "ours"})
			store.grant = newer
			return as_json({"error": "invalid_grant"}, 400)

		server.script("/token", spent)
		assert Refresher(*config, store, http, clock).current().access_token == expected
		assert store.failure is None


@pytest.mark.parametrize(
	"answer",
	[Answer(b"", 503), as_json({"error": "invalid_client"}, 401), as_json({"error": "invalid_grant"}, 400)],
)
def test_valid_token_is_used_meanwhile(
	answer: Answer, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""A refresh before expiry that fails disturbs nobody until the expiry."""
	server.script("/token", answer)
	grant = a_grant(issued_at=NOW - timedelta(hours=1), expires_at=NOW + timedelta(seconds=10))
	store = MemoryStore(grant)
	refresher = Refresher(*config, store, http, clock)
	assert refresher.current() is grant
	assert store.failure
	assert refresher.current() is grant
	clock.advance(10)
	with pytest.raises(OAuthError):
		refresher.current()


def test_rejected_token_is_not_given_back(
	config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""After a 401 the same token is of no use, whatever its expiry says."""
	server.script("/token", Answer(b"", 503))
	grant = a_grant()
	with pytest.raises(TemporaryFailure):
		Refresher(*config, MemoryStore(grant), http, clock).renew(grant, rejected=True)


def test_saved_before_it_is_used(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""core-defects 30: `save` runs under the lock before anybody gets the token; if it fails, nobody does."""
	server.script("/token", as_json({"access_token": "new", "refresh_token": "r2"}))

	class Broken(MemoryStore):
		def exclusive(self) -> Any:
			outer = super().exclusive()

			class Context:
				def __enter__(self) -> Any:
					slot = outer.__enter__()

					def save(grant: Grant) -> None:
						raise OSError("disk full")

					slot.save = save  # type: ignore[method-assign]
					return slot

				def __exit__(self, *args: Any) -> Any:
					return outer.__exit__(*args)

			return Context()

	with pytest.raises(OSError, match="disk full"):
		Refresher(*config, Broken(a_grant(expires_at=EXPIRED)), http, clock).current()


def test_lock_is_free_after_a_failure(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	server.script("/token", Answer(b"", 503))
	store = MemoryStore(a_grant(expires_at=EXPIRED))
	with pytest.raises(TemporaryFailure):
		Refresher(*config, store, http, clock).current()
	assert not store.lock.locked()


def test_hung_token_endpoint(config: Settings, server: Hostile, clock: Clock) -> None:
	"""core-defects 24: the lock is held no longer than the limits allow."""
	server.script("/token", as_json({"access_token": "new"}, delay=10))
	store = MemoryStore(a_grant(expires_at=EXPIRED))
	with pytest.raises(TemporaryFailure) as caught:
		Refresher(*config, store, Http(allow_http_loopback=True, read_timeout=0.3), clock).current()
	assert caught.value.code == "timeout"
	assert isinstance(store.failure, Failure)


def test_identity_on_refresh(op: OpenIDProvider) -> None:
	"""oidcc-client-test-refresh-token (OIDC Core 12.2): an ID token without nonce is accepted, or none at all."""
	for answer in ({"id_token": op.id_token(("nonce",))}, {}):
		refresher, store = op.refresher()
		op.server.script("/token", as_json({"access_token": "new", **answer}))
		assert refresher.current().access_token == "new"
		assert store.grant and store.grant.account == Account(id="alice")


def test_long_subject_on_refresh(op: OpenIDProvider) -> None:
	"""OIDC Core 2: a subject has up to 255 characters; as many as are kept are compared."""
	subject = "s" * 255
	grant = op.connect(op.id_token(sub=subject))
	store = MemoryStore(replace(grant, expires_at=NOW))
	op.server.script(
		"/token", as_json({"access_token": "new", "id_token": op.id_token(("nonce",), sub=subject)})
	)
	assert Refresher(*op.config, store, op.http, op.clock).current().access_token == "new"


@pytest.mark.parametrize(
	"settings",
	[
		{"metadata": {"id_token_signing_alg_values_supported": ["ES256"]}},
		{"jwks_uri": "https://192.168.7.7/jwks"},
		{"jwks_uri": "http://keys.example/jwks"},
	],
	ids=str,
)
def test_settings_that_do_not_fit_on_refresh(settings: dict[str, Any], op: OpenIDProvider) -> None:
	"""What an admin can fix costs nobody a rotated refresh token, and the lock covers the token request only."""
	op.config = changed(op.config, **settings)
	refresher, store = op.refresher()
	answer = {"access_token": "new", "refresh_token": "r2", "id_token": op.id_token(("nonce",))}
	op.server.script("/token", as_json(answer))
	assert refresher.current().access_token == "new"
	assert store.grant and store.grant.refresh_token == "r2" and store.failure is None
	assert op.server.paths() == {"/token": 1}


def test_a_lock_that_cannot_be_had(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""What is due and still good is used; what has expired, or is refused by an API, is not."""

	class Locked(MemoryStore):
		def exclusive(self) -> Any:
			raise TemporaryFailure("busy", "The connection is being renewed by someone else.")

	soon = a_grant(expires_at=NOW + timedelta(seconds=20), issued_at=None)
	refresher = Refresher(*config, Locked(soon), http, clock)
	assert refresher.current() is soon
	with pytest.raises(TemporaryFailure):
		refresher.renew(soon, rejected=True)
	clock.advance(20)
	with pytest.raises(TemporaryFailure):
		refresher.current()


def test_a_mistyped_issuer(op: OpenIDProvider) -> None:
	"""The access token that came before is used while it is good; the refresh tokens are kept until it is fixed."""
	right = op.config
	op.config = changed(right, issuer="https://mistyped.example")
	refresher, store = op.refresher()
	assert store.grant
	store.grant = replace(store.grant, expires_at=op.clock() + timedelta(seconds=20), issued_at=None)
	answer = {"access_token": "new", "refresh_token": "r2", "id_token": op.id_token(("nonce",))}
	op.server.script("/token", as_json(answer))
	assert refresher.current().access_token == a_grant().access_token
	assert store.grant and store.grant.refresh_token == "r2"
	assert store.saves == 0 and store.grant.access_token == a_grant().access_token
	assert store.failure and (store.failure.code, store.failure.configuration) == ("id_token_issuer", True)
	op.clock.advance(20)
	with pytest.raises(ConfigurationError) as caught:
		refresher.current()
	assert caught.value.code == "id_token_issuer"
	refresher.provider, refresher.client = right
	op.clock.advance(60)
	assert refresher.current().access_token == "new"
	assert op.server.to("/token")[-1].form["refresh_token"] == "r2"


STATEMENTS: dict[str, Callable[[OpenIDProvider], object]] = {
	"of another key": lambda op: op.id_token(key=rsa_key("b")),
	"unsigned": lambda op: f"{part({'alg': 'none'})}.{part(op.claims())}.",
	"about nobody": lambda op: op.id_token(("sub",)),
	"about null": lambda op: f"{part({'alg': 'RS256'})}.{part(op.claims(sub=None))}.AAAA",
	"about a list": lambda op: f"{part({'alg': 'RS256'})}.{part(op.claims(sub=['bob']))}.AAAA",
	"for another token": lambda op: op.id_token(at_hash=at_hash("other")),
	"encrypted": lambda op: "eyJhbGciOiJSU0EtT0FFUCJ9.a.b.c.d",
	"of no form": lambda op: "\ud800.ü.",
	"without end": lambda op: f"{part({'alg': 'RS256'})}.{'W1tb' * 100_000}.AAAA",
	"of another type": lambda op: ["x"],
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_statements_that_say_nothing_on_refresh(name: str, op: OpenIDProvider) -> None:
	"""OIDC Core 12.2: only what names somebody else costs the tokens that came with it."""
	refresher, store = op.refresher()
	answer = {"access_token": "new", "refresh_token": "r2", "id_token": STATEMENTS[name](op)}
	op.server.script("/token", as_json(answer))
	assert refresher.current().access_token == "new"
	assert store.grant and store.grant.refresh_token == "r2" and store.failure is None


def test_client_credentials(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""RFC 6749 4.4: asked for when there is none and when it is due; no refresh token is kept or used."""
	server.script(
		"/token",
		as_json({"access_token": "first", "expires_in": 3600, "refresh_token": "useless"}),
		as_json({"access_token": "second", "expires_in": 3600}),
	)
	store = MemoryStore()
	own = Refresher(*config, store, http, clock, grant_type=CLIENT_CREDENTIALS)
	assert own.current().access_token == "first"
	assert store.grant and store.grant.refresh_token is None
	assert own.current() is store.grant
	clock.advance(3590)
	assert own.current().access_token == "second"
	client = {"client_id": "client", "client_secret": CLIENT_SECRET}
	expected = {"grant_type": "client_credentials", "scope": "read write", **client}
	assert [request.form for request in server.requests] == [expected] * 2


@pytest.mark.parametrize(
	("answer", "kind", "code", "pause"),
	[
		(Answer(b"", 429, {"Retry-After": "90"}), TemporaryFailure, "rate_limited", 90),
		(Answer(b"", 503), TemporaryFailure, "server_error", 15),
		(as_json({"error": "invalid_client"}, 401), ConfigurationError, "invalid_client", 60),
		(as_json({"error": "invalid_grant"}, 400), ConfigurationError, "unauthorized_client", 60),
	],
)
def test_client_credentials_cool_down(
	answer: Answer,
	kind: type[OAuthError],
	code: str,
	pause: int,
	config: Settings,
	server: Hostile,
	http: Http,
	clock: Clock,
) -> None:
	"""core-defects 21: as a refresh; nobody is asked to consent to what needs no consent."""
	server.script("/token", answer, as_json({"access_token": "new"}))
	store = MemoryStore()
	own = Refresher(*config, store, http, clock, grant_type=CLIENT_CREDENTIALS)
	with pytest.raises(kind) as caught:
		own.current()
	assert caught.value.code == code
	clock.advance(pause - 1)
	with pytest.raises(kind):
		own.current()
	assert len(server.requests) == 1
	clock.advance(1)
	assert own.current().access_token == "new"


def test_client_credentials_replace_what_cannot_be_read(
	config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	class Unreadable(MemoryStore):
		def load(self) -> Grant | None:
			if self.grant is None:
				raise ReconnectRequired("secret_unreadable", "The stored connection cannot be read.")
			return self.grant

	server.script("/token", as_json({"access_token": "new"}))
	failure = Failure(code="secret_unreadable", message="…", reconnect=True)
	store = Unreadable(failure=failure)
	assert (
		Refresher(*config, store, http, clock, grant_type=CLIENT_CREDENTIALS).current().access_token == "new"
	)


def test_one_client_credentials_request(config: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""core-defects 25: one at a time, too; callers that waited take what was stored."""
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}, delay=0.1))
	store = MemoryStore()
	threads = [
		threading.Thread(target=Refresher(*config, store, http, clock, grant_type=CLIENT_CREDENTIALS).current)
		for _ in range(8)
	]
	for thread in threads:
		thread.start()
	for thread in threads:
		thread.join()
	assert len(server.requests) == 1
