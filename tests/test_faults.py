"""Faults of the network, of clocks and of providers, as a caller that wants to use a grant sees them: nothing deadlocks, nothing
that the provider still honours is lost, and each error has its branch of the tree."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connected_app.oauth import (
	Account,
	Grant,
	Http,
	OAuthError,
	ReconnectRequired,
	Refresher,
	Secret,
	Session,
	Settings,
	TemporaryFailure,
)
from connected_app.oauth.reply import Reply
from connected_app.oauth.token_endpoint import GRANT_IS_DEAD

from .helpers import NOW, REFRESH_TOKEN, Clock, OpenIDProvider, a_grant, settings_of
from .hostile import Answer, Hostile, as_json
from .stores import MemoryStore

GOOD = as_json({"access_token": "new", "refresh_token": "r2", "expires_in": 3600})
EXPIRED = NOW - timedelta(seconds=1)
MINUTES = [timedelta(minutes=minutes) for minutes in (-30, -5, 5, 30)]

FAULTS = {
	"hang": (replace(GOOD, delay=3), "timeout"),
	"trickle": (replace(GOOD, trickle=0.3), "timeout"),
	"close early": (replace(GOOD, cut=10), "network"),
	"close at once": (replace(GOOD, cut=0), "network"),
	"HTML": (Answer(b"<html>login</html>", headers={"Content-Type": "text/html"}), "response_invalid"),
	"50 MB": (Answer(b"x" * 50_000_000), "response_too_large"),
	"redirect": (Answer(status=302, headers={"Location": "/token2"}), "redirected"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_grant_survives(
	name: str, config: Settings, server: Hostile, http: Http, impatient: Http, clock: Clock
) -> None:
	"""core-defects 21, 24: whatever the token endpoint does, the grant is kept, others can go on, and the provider is
	asked again after the pause, not before."""
	answer, code = FAULTS[name]
	server.script("/token", answer, GOOD)
	before = a_grant(expires_at=EXPIRED)
	store = MemoryStore(before)
	with pytest.raises(TemporaryFailure) as caught:
		Refresher(*config, store, impatient if code == "timeout" else http, clock).current()
	assert caught.value.code == code
	assert store.grant is before and not store.lock.locked()
	with pytest.raises(TemporaryFailure) as caught:
		Refresher(*config, store, http, clock).current()
	assert caught.value.code == "cooling_down"
	clock.advance(15)
	assert Refresher(*config, store, http, clock).current().access_token == "new"
	assert [request.form["refresh_token"] for request in server.requests] == [REFRESH_TOKEN] * 2


@pytest.mark.parametrize("skew", MINUTES, ids=str)
def test_two_hosts_whose_clocks_differ(
	skew: timedelta, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""One host stores, the other uses. Where the user's clock is slow it learns of the expiry by a 401."""
	server.script("/token", GOOD)
	server.script(
		"/api", lambda request: Answer(status=200 if "new" in request.headers["authorization"] else 401)
	)
	store = MemoryStore(a_grant(expires_at=NOW + timedelta(minutes=10)))
	other = Clock(NOW + skew)
	session = Session(Refresher(*config, store, http, other))
	assert session.get(server.url + "/api").status_code == 200
	assert len(server.to("/token")) == 1
	# Fresh by the one's clock; by the other's it may be due already, which costs a refresh and no more.
	assert Refresher(*config, store, http, clock).current().access_token == "new"
	assert len(server.to("/token")) <= 2


@pytest.mark.parametrize("skew", MINUTES, ids=str)
def test_a_clock_that_is_set_right(
	skew: timedelta, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""A pause that was noted by a wrong clock ends, at the latest, when the right one gets there."""
	server.script("/token", Answer(b"", 503), GOOD)
	store = MemoryStore(a_grant(expires_at=NOW - timedelta(days=1)))
	wrong = Clock(NOW + skew)
	with pytest.raises(TemporaryFailure):
		Refresher(*config, store, http, wrong).current()
	clock.advance(max(skew.total_seconds(), 0) + 15)
	assert Refresher(*config, store, http, clock).current().access_token == "new"


@pytest.mark.parametrize("skew", MINUTES, ids=str)
def test_identity_by_another_clock(skew: timedelta, op: OpenIDProvider) -> None:
	"""An ID token that comes with a refresh is of no use as a clock: by the time it is looked at the old refresh token
	is spent, and refusing the new one would lose a grant that the provider honours."""
	refresher, store = op.refresher()
	at = int((NOW + skew).timestamp())
	op.server.script(
		"/token",
		as_json(
			{
				"access_token": "new",
				"refresh_token": "r2",
				"id_token": op.id_token(("nonce",), iat=at, nbf=at, exp=at + 60),
			}
		),
	)
	assert refresher.current().access_token == "new"
	assert store.grant and store.grant.refresh_token == "r2" and store.failure is None


@pytest.mark.parametrize("skew", MINUTES, ids=str)
def test_another_identity_by_another_clock(skew: timedelta, op: OpenIDProvider) -> None:
	"""OIDC Core 12.2: whatever the clocks say, the tokens of another account are never stored."""
	refresher, store = op.refresher()
	at = int((NOW + skew).timestamp())
	op.server.script(
		"/token",
		as_json(
			{"access_token": "new", "id_token": op.id_token(("nonce",), sub="mallory", iat=at, exp=at + 60)}
		),
	)
	with pytest.raises(ReconnectRequired) as caught:
		refresher.current()
	assert caught.value.code == "id_token_subject"
	assert store.grant and store.grant.access_token != "new"


@pytest.mark.parametrize("life", [-3600, -1, "-1"])
def test_an_answer_that_is_expired_already(
	life: object, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""It is stored, since it may hold a rotated refresh token, and used once as it is: the resource server decides. One
	request never costs more than two token requests, and the next one renews again."""
	number = 0

	def token(_request: Any) -> Answer:
		nonlocal number
		number += 1
		return as_json({"access_token": f"a{number}", "refresh_token": f"r{number}", "expires_in": life})

	server.script("/token", token)
	server.script("/api", Answer(status=401))
	store = MemoryStore(a_grant(expires_at=EXPIRED))
	session = Session(Refresher(*config, store, http, clock))
	assert number == 1 and store.grant and store.grant.refresh_token == "r1"
	assert session.get(server.url + "/api").status_code == 401
	assert number == 3 and store.grant.refresh_token == "r3"
	assert [request.headers["authorization"] for request in server.to("/api")] == ["Bearer a2", "Bearer a3"]
	sent = [request.form["refresh_token"] for request in server.to("/token")]
	assert sent == [REFRESH_TOKEN, "r1", "r2"]


# Any answer at all ------------------------------------------------------------------------------------------------


@dataclass
class Scripted:
	"""A transport that gives one reply: thousands of answers cannot each come over a socket."""

	reply: Reply

	def post(self, url: str, data: Any, headers: Any = None) -> Reply:
		return self.reply

	def get(self, url: str, headers: Any = None, redirects: int = 0) -> Reply:
		return self.reply


# Surrogates are what `"\ud800"` in a JSON document becomes.
texts = st.text(st.characters(), max_size=12)
errors = st.sampled_from(
	[
		*sorted(GRANT_IS_DEAD),
		"INVALID_GRANT",
		"invalid_client",
		"invalid_request",
		"server_error",
		"slow_down",
		"ok",
		"",
	]
)
scalars = st.one_of(
	st.none(),
	st.booleans(),
	st.integers(),
	st.floats(),
	texts,
	errors,
	st.sampled_from(["3600", "1e999", 10**400]),
)
values = st.recursive(
	scalars,
	lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
	max_leaves=6,
)
NAMES = [
	"access_token", "refresh_token", "token_type", "expires_in", "scope", "error", "error_code", "error_description",
	"message", "ok", "id_token", "status",
]  # fmt: skip
answers = st.fixed_dictionaries({}, optional={name: values for name in NAMES}) | st.fixed_dictionaries(
	{"access_token": st.just("new")}, optional={name: values for name in NAMES[1:]}
)


def _form(answer: dict[str, Any]) -> bytes:
	return urlencode(
		{key: str(value).encode("utf-8", "replace").decode() for key, value in answer.items()}
	).encode()


bodies = st.one_of(
	answers.map(lambda answer: json.dumps(answer).encode()),
	answers.map(_form),
	values.map(lambda value: json.dumps(value).encode()),
	st.binary(max_size=60),
	st.just(b"<html><body>Log in</body></html>"),
)
headers = st.fixed_dictionaries(
	{},
	optional={
		"content-type": st.sampled_from(
			[
				"application/json",
				"application/x-www-form-urlencoded",
				"text/html; charset=x",
				"text/plain",
				";",
				"",
			]
		),
		"retry-after": st.one_of(
			st.integers().map(str),
			st.floats().map(str),
			texts,
			st.just("Wed, 99 Foo 2026 12:00:00 GMT"),
			st.datetimes().map(lambda then: then.strftime("%a, %d %b %Y %H:%M:%S GMT")),
		),
		"date": st.one_of(texts, st.just("Sun, 01 Mar 2026 12:00:00 GMT")),
		"location": texts,
	},
)
statuses = st.one_of(st.sampled_from([200, 400, 401, 403, 429, 503]), st.integers(200, 599))


def _named(body: bytes) -> set[str]:
	"""The error names that a body can be said to hold."""
	text = body.decode("utf-8", "ignore").lower()
	return {name for name in GRANT_IS_DEAD if name in text}


@settings(max_examples=1500)
@given(bodies, statuses, headers, st.booleans())
def test_any_answer(body: bytes, status: int, extra: dict[str, str], openid: bool) -> None:
	"""core-defects 21: always a Grant that can be sent and stored, or an error of the tree; a definite answer of the
	provider, and nothing else, costs the grant."""
	config = settings_of(
		client_id="client",
		client_secret=Secret("s"),
		token_uri="https://provider.example/token",
		issuer="https://provider.example" if openid else "",
	)
	before = a_grant(expires_at=EXPIRED, account=Account(id="alice"))
	store = MemoryStore(before)
	refresher = Refresher(*config, store, Scripted(Reply(status=status, headers=extra, body=body)), Clock())
	try:
		grant = refresher.current()
	except OAuthError as error:
		assert store.grant and store.failure and store.failure.code == error.code
		if store.grant is not before:
			# Of a success that cannot be used the new refresh token is kept, and nothing else.
			assert 200 <= status < 300 and not isinstance(error, ReconnectRequired)
			assert b"refresh" in body.lower() and store.grant.refresh_token
			assert replace(store.grant, refresh_token=before.refresh_token) == before
		assert error.code and error.message and error.action
		assert str(error).isprintable()
		if isinstance(error, ReconnectRequired):
			definite = _named(body) and status not in (429, *range(500, 600))
			assert definite or error.code == "id_token_subject"
		else:
			assert not store.failure.reconnect
		assert error.retry_after is None or 0 <= error.retry_after <= 86400
		if store.failure.retry_at:
			assert NOW <= store.failure.retry_at <= NOW + timedelta(days=1)
	else:
		assert status < 300 and grant is store.grant and store.failure is None
		_check_usable(grant)


def _check_usable(grant: Grant) -> None:
	for text in (grant.access_token, grant.refresh_token, grant.token_type, *grant.scopes):
		assert text and text.isprintable(), text
	f"Bearer {grant.access_token}".encode("latin-1")
	urlencode({"refresh_token": grant.refresh_token})
	assert len(grant.token_type) <= 140
	assert grant.expires_at is None or isinstance(grant.expires_at, datetime)
	assert grant.account == Account(id="alice")
