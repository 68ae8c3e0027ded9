"""What real token endpoints send beside tokens: it is read as far as that is safe, and no refresh token is lost with it."""

from __future__ import annotations

import gzip
import json
import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from connected_app.oauth import (
	Http,
	OAuthError,
	Refresher,
	Secret,
	Settings,
	TemporaryFailure,
	begin,
	complete,
)
from connected_app.oauth.grant import from_response
from connected_app.oauth.lifetimes import is_said
from connected_app.oauth.reply import Reply
from connected_app.oauth.token_endpoint import salvaged

from .helpers import (
	ACCESS_TOKEN,
	NOW,
	REFRESH_TOKEN,
	Clock,
	OpenIDProvider,
	a_grant,
	as_jwk,
	at_hash,
	changed,
	settings_of,
)
from .hostile import Answer, Hostile, as_json
from .stores import MemoryStore

EXPIRED = NOW - timedelta(seconds=1)
TOKENS = {"access_token": "new", "refresh_token": "r2", "expires_in": 3600}
SHARED = profile(
	suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60
)


def refreshed(config: Settings, http: Http, clock: Clock) -> tuple[OAuthError | None, MemoryStore]:
	store = MemoryStore(a_grant(expires_at=EXPIRED))
	try:
		Refresher(*config, store, http, clock).current()
	except OAuthError as error:
		return error, store
	return None, store


@pytest.mark.parametrize(
	"kind", ["text/html; charset=utf-8", "text/plain", "application/json", "image/png", ""]
)
@pytest.mark.parametrize(
	"body",
	[
		urlencode(TOKENS).encode(),
		urlencode(TOKENS).encode() + b"\r\n",
		json.dumps(TOKENS).encode(),
		json.dumps(TOKENS).encode("utf-8-sig"),
		json.dumps({**TOKENS, "name": "M?ller"}).encode().replace(b"?", b"\xfc"),
		b"\r\n " + json.dumps(TOKENS).encode(),
		json.dumps({**TOKENS, "name": "two?lines"}).encode().replace(b"?", b"\n"),
		json.dumps(json.dumps(TOKENS)).encode(),
		gzip.compress(json.dumps(TOKENS).encode()),
	],
	ids=[
		"form",
		"form with a line end",
		"JSON",
		"byte order mark",
		"a byte that is not UTF-8",
		"blanks",
		"a line end in a text",
		"JSON as a text",
		"gzip that is not said",
	],
)
def test_under_any_label(
	body: bytes, kind: str, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	server.script("/token", Answer(body, headers={"Content-Type": kind}))
	error, store = refreshed(config, http, clock)
	assert error is None and store.grant
	assert (store.grant.access_token, store.grant.refresh_token) == ("new", "r2")


UNREADABLE = {
	"cut in what follows": (
		b'{"access_token": "a", "refresh_token": "r2", "id_token": "eyJ',
		"response_invalid",
	),
	"a trailing comma": (b'{"access_token": "a", "refresh_token": "r2",}', "response_invalid"),
	"a page around it": (b'<pre>{"access_token": "a", "refresh_token": "r2"}</pre>', "response_invalid"),
	"two documents": (b'{"access_token": "a", "refresh_token": "r2"}{}', "response_invalid"),
	"a list": (b'[{"access_token": "a", "refresh_token": "r2"}]', "response_invalid"),
	"nested": (b'{"data": {"access_token": "a", "refresh_token": "r2"}}', "response_invalid"),
	"nested, with null where it should be": (
		b'{"data": {"access_token": "a", "refresh_token": "r2"}, "refresh_token": null}',
		"response_invalid",
	),
	"camel case": (b'{"accessToken": "a", "refreshToken": "r2"}', "response_invalid"),
	"an access token that no header takes": (
		'{"access_token": "ä", "refresh_token": "r2"}'.encode(),
		"response_invalid",
	),
	"a form without access token": (b"refresh_token=r2&x=1", "response_invalid"),
	"a number that is none": (b'{"expires_in": 36OO, "refresh_token" : "r2"}', "response_invalid"),
	"JSON within JSON": (
		json.dumps({"data": json.dumps({"access_token": "a", "refresh_token": "r2"})}).encode(),
		"response_invalid",
	),
	"Python": (b"{'access_token': 'a', 'refresh_token': 'r2'}", "response_invalid"),
	"XML": (b"<o><access_token>a</access_token><refresh_token>r2</refresh_token></o>", "response_invalid"),
	"with an error that is none": (
		b'{"error": "", "refresh_token": "r2", "errors": [ ],}',
		"response_invalid",
	),
	"with null as an error": (b'{"error": null, "errors": {}, "refresh_token": "r2",}', "response_invalid"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_the_refresh_token_is_kept(
	name: str, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""A rotating provider has spent the old one: the next refresh goes on with the new one."""
	body, code = UNREADABLE[name]
	server.script("/token", Answer(body), as_json({"access_token": "good"}))
	error, store = refreshed(config, http, clock)
	assert isinstance(error, TemporaryFailure) and error.code == code
	assert store.grant and (store.grant.refresh_token, store.saves) == ("r2", 0)
	assert "r2" not in f"{error} {error!r} {error.__cause__!r}"
	clock.advance(15)
	assert Refresher(*config, store, http, clock).current().access_token == "good"
	assert server.to("/token")[-1].form["refresh_token"] == "r2"


@pytest.mark.parametrize("nothing", ["null", "None", "undefined", " NULL ", "nil"])
def test_a_word_for_nothing(
	nothing: str, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""What a server has made of null, by a template or a form, is no token: it would cost the one that there is."""
	for answer in (
		as_json({**TOKENS, "refresh_token": nothing, "scope": nothing}),
		Answer(urlencode({**TOKENS, "refresh_token": nothing}).encode()),
	):
		server.script("/token", answer)
		error, store = refreshed(config, http, clock)
		assert error is None and store.grant
		assert (store.grant.access_token, store.grant.refresh_token) == ("new", REFRESH_TOKEN)
		assert store.grant.scopes == ()
	for answer in (
		as_json({**TOKENS, "access_token": nothing}),
		as_json({"data": {"refresh_token": nothing}}),
	):
		server.script("/token", answer)
		error, store = refreshed(config, http, clock)
		assert error and error.code == "response_invalid" and store.grant
		assert store.grant.refresh_token == ("r2" if b"r2" in answer.body else REFRESH_TOKEN)
	server.script("/token", as_json({"access_token": nothing, "error": "invalid_grant"}))
	error, store = refreshed(config, http, clock)
	assert error and error.code == "grant_invalid"


@pytest.mark.parametrize(
	"answer",
	[
		Answer(b'{"access_token": "a", "refresh_token": "r2'),
		Answer(b'{"refresh_token": "r2", "previous": {"refresh_token": "r3"'),
		Answer(b'{"refresh_token": ""'),
		Answer('{"refresh_token": "ä",'.encode()),
		Answer(b'{"refresh_token": "' + b"x" * 9000 + b'",'),
		Answer(b'{"access_token": "a", "refresh_token": "r2",}', 400),
		Answer(b'{"access_token": "a", "refresh_token": "r2",}', 503),
		as_json({"error": "server_error", "refresh_token": "r2"}),
		as_json({"ok": False, "data": {"refresh_token": "r2"}}),
		Answer(b'<input name="refresh_token" value="r2">'),
		Answer(b"access_token=a&refresh_token=r2", headers={"Content-Length": "100"}),
		as_json({"data": {"refresh_token": REFRESH_TOKEN}}),
		as_json(
			{"refresh_token": 7, "data": json.dumps({"refresh_token": "r2", "old": {"refresh_token": "r3"}})}
		),
		Answer(b"<refresh_token>r2</refresh_token><refresh_token>r3</refresh_token>"),
		Answer(b"{'refresh_token': 'r2"),
		Answer(b"<refresh_token>r2<"),
		as_json({"errors": {"refresh_token": "This field is required."}}),
		as_json({"success": False, "refresh_token": "Not a text"}),
		as_json({"errors": {"refresh_token": "required"}}),
		Answer(b"{'errors': {'refresh_token': 'required'}}"),
		Answer(b'{"error": "x", "refresh_token": "required",}'),
		Answer(b'{"error": {"code": 7}, "refresh_token": "required",}'),
		Answer(b"<errors><refresh_token>required</refresh_token></errors>"),
		Answer(b'<!DOCTYPE html><script>var api = {"refresh_token": "/oauth/refresh", "x": 1}</script>'),
		Answer(b"<html><pre>curl -d grant_type=x&refresh_token=YOUR_TOKEN&x=1</pre></html>"),
	],
	ids=lambda answer: str(answer.body[:60]),
)
def test_in_doubt_the_old_one_stays(
	answer: Answer, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""Half a token, one of several, or one beside an error would cost the grant."""
	server.script("/token", answer)
	error, store = refreshed(config, http, clock)
	assert error and store.grant and store.grant.refresh_token == REFRESH_TOKEN


TOKEN = st.text(
	st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='"\\'), min_size=1
).filter(is_said)
BESIDE = st.dictionaries(
	st.text(max_size=8).filter(lambda name: "refresh" not in name.lower()), st.text(max_size=20), max_size=4
)


@given(TOKEN, BESIDE, st.integers(0, 10))
def test_salvaged(token: str, beside: dict[str, str], cut: int) -> None:
	"""Wherever JSON breaks off behind the refresh token, that is found, and nothing else is."""
	whole = json.dumps({**beside, "refresh_token": token, "more": "x" * 10})
	# Beside an error, or in a page, none is: Hypothesis knows the word, since it stands in this project's code.
	assume(not re.search("error|<html|<!doctype", whole.replace("\\", ""), re.IGNORECASE))
	body = whole[: len(whole) - cut].encode()
	reply = Reply(status=200, headers={}, body=body, complete=False)
	assert salvaged(reply) == token
	half = whole[: whole.index(token + '"') + len(token)].encode()
	assert salvaged(Reply(status=200, headers={}, body=half, complete=False)) is None


OPTIONAL = ("refresh_token", "token_type", "expires_in", "expires_at", "scope", "refresh_token_expires_in", "id_token", "error", "error_description", "ok")  # fmt: skip


@given(st.dictionaries(st.sampled_from(OPTIONAL), st.sampled_from([None, ""])))
def test_null_and_empty_are_as_if_omitted(members: dict[str, Any]) -> None:
	"""RFC 6749 3.1, for every optional member of a token response."""
	given = {"access_token": "a", **members}
	assert from_response(given, NOW, ("read",)) == from_response({"access_token": "a"}, NOW, ("read",))


@SHARED
@given(members=st.dictionaries(st.sampled_from(OPTIONAL), st.sampled_from([None, ""])))
def test_null_and_empty_at_a_refresh(members: dict[str, Any], op: OpenIDProvider) -> None:
	refresher, store = op.refresher()
	op.server.script("/token", as_json({"access_token": "new", **members}))
	assert refresher.current().access_token == "new"
	assert store.grant and store.grant.refresh_token == REFRESH_TOKEN and store.failure is None


@given(
	st.dictionaries(
		st.sampled_from(("iss", "error", "error_description", "session_state", "scope")),
		st.sampled_from(["", [""], ["", ""], []]),
	)
)
def test_empty_callback_parameters(members: dict[str, Any]) -> None:
	"""RFC 6749 3.1: a blank `iss=` or `error=` says nothing."""
	config = settings_of(
		client_id="c",
		authorization_uri="https://p.example/a",
		token_uri="https://p.example/t",
		issuer="https://p.example",
	)
	_, attempt = begin(*config)

	class Once:
		def get(self, url: str, headers: Any = None, redirects: int = 0) -> Reply:
			raise AssertionError("nobody asks for this")

		def post(self, url: str, data: Any, headers: Any = None) -> Reply:
			return Reply(status=200, headers={}, body=b'{"access_token": "a"}')

	parameters = {"state": str(attempt.state), "code": "c", **members}
	assert complete(*config, attempt, parameters, Once()).access_token == Secret("a")


def test_a_blank_issuer_is_still_missed_where_it_is_promised(op: OpenIDProvider) -> None:
	op.begin(metadata={"authorization_response_iss_parameter_supported": True})
	op.refuses("issuer_mismatch", callback=op.callback(iss=""))
	op.begin(metadata={"authorization_response_iss_parameter_supported": None})
	assert op.connect(callback=op.callback(iss="")).account
	assert changed(op.config, metadata={}).provider.promises_iss is False


@pytest.mark.parametrize("error", ["none", "0", "success", {"code": 0}])
def test_an_error_beside_the_tokens_is_none(
	error: object, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""Some always send the member. The refresh token before it is spent."""
	server.script("/token", as_json({**TOKENS, "error": error, "error_description": "OK"}))
	failed, store = refreshed(config, http, clock)
	assert failed is None
	assert store.grant and (store.grant.access_token, store.grant.refresh_token) == ("new", "r2")


@pytest.mark.parametrize("empty", [None, ""])
def test_null_and_empty_in_an_id_token_and_its_key(empty: str | None, op: OpenIDProvider) -> None:
	op.server.script("/jwks", as_json({"keys": [{**as_jwk("a", "kid-a"), "use": empty, "alg": empty}]}))
	grant = op.connect(op.id_token(azp=empty, nbf=empty, at_hash=empty, auth_time=empty))
	assert grant.account and grant.account.id == "alice"


def test_an_id_token_that_means_the_same(op: OpenIDProvider) -> None:
	"""Instants as texts, a hash with its padding, and this client named twice."""
	now = int(op.clock().timestamp())
	texts = {"iat": str(now), "exp": f"{now + 300}", "nbf": f"{now}.0", "auth_time": str(now)}
	assert op.connect(
		op.id_token(aud=["client", "client"], at_hash=at_hash(ACCESS_TOKEN) + "==", **texts)
	).account
	op.begin()
	op.refuses("id_token_expired", op.id_token(exp=str(now - 300)))
	op.refuses("id_token_expired", op.id_token(exp="never"))
	op.refuses("id_token_expired", op.id_token(exp="inf"))
	op.refuses("id_token_issued_at", op.id_token(iat=str(now + 300)))
	op.refuses("id_token_issued_at", op.id_token(nbf=str(now + 300)))
	op.refuses("id_token_audience", op.id_token(aud=["client", "client", "other"]))
	op.refuses("id_token_at_hash", op.id_token(at_hash="=="))
	_, op.attempt = begin(*op.config, clock=op.clock, max_age=60)
	op.refuses("id_token_login_too_old", op.id_token(auth_time=str(now - 600)))


@pytest.mark.parametrize("subject", ["\ud800", "\0", "a\nb"])
def test_a_subject_that_no_database_takes(subject: str, op: OpenIDProvider) -> None:
	"""The connection is good, and whose it is is not known."""
	op.server.script("/userinfo", as_json({"sub": subject, "email": "a@example.com"}))
	op.begin(scopes=("email",), userinfo_uri=op.server.url + "/userinfo", issuer="")
	assert op.connect(callback=op.callback(iss=None)).account is None
