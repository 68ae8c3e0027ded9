from __future__ import annotations

import io
import json
import os
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace
from datetime import timedelta
from typing import Any

import pytest
import requests
from requests_oauthlib import OAuth2Session

from connected_app.oauth import (
	Account,
	ConfigurationError,
	Grant,
	Http,
	ReconnectRequired,
	Refresher,
	Secret,
	Session,
	Settings,
	TemporaryFailure,
)
from connected_app.oauth.provider import Quirks
from connected_app.oauth.session import _pristine

from .helpers import ACCESS_TOKEN, NOW, Clock, a_grant, changed
from .hostile import Answer, Hostile, Request, as_json
from .stores import MemoryStore
from .test_logs import shown

EXTRA = {"realm_id": Secret("4620816365")}
SECRET_BODY = {"secret": "of-the-request"}


def api(valid: str) -> Any:
	"""An API that accepts one token only."""

	def answer(request: Request) -> Answer:
		good = request.headers.get("authorization") == f"Bearer {valid}"
		return as_json({"ok": good}, 200 if good else 401)

	return answer


@pytest.fixture
def store() -> MemoryStore:
	return MemoryStore(a_grant())


@pytest.fixture
def session(config: Settings, store: MemoryStore, http: Http, clock: Clock) -> Session:
	return Session(Refresher(*config, store, http, clock))


def test_is_what_developers_know(session: Session, server: Hostile) -> None:
	"""An OAuth2Session: header only (RFC 6750 2.1), nothing in the address or the body."""
	url = server.script("/api", api(ACCESS_TOKEN))
	assert isinstance(session, OAuth2Session)
	assert session.get(url, params={"q": "1"}).json() == {"ok": True}
	assert session.post(url, json={"a": 1}).ok
	first, second = server.requests
	assert first.target == "/api?q=1" and second.body == b'{"a": 1}'
	assert all(request.headers["authorization"] == f"Bearer {ACCESS_TOKEN}" for request in server.requests)
	assert session.token["access_token"] == ACCESS_TOKEN
	assert ACCESS_TOKEN not in repr(session.token)


@pytest.mark.parametrize(
	"body",
	[
		{},
		{"json": SECRET_BODY},
		{"data": SECRET_BODY},
		{"data": b"bytes"},
		{"data": "text"},
		{"data": [("a", "1"), ("a", "2")]},
		{"data": {"a": ["1", "2"], "b": ("3", 4), "c": None}},
		{"params": {"only": ["7", 8], "and": None}},
		{"params": (("only", "7"), ("only", "8"))},
		{"params": "only=7"},
	],
	ids=str,
)
def test_401_refreshes_once_and_repeats_once(
	body: dict[str, Any], session: Session, server: Hostile, store: MemoryStore
) -> None:
	"""core-defects 17, 26: the same request again with the new token; none of it reaches the token endpoint."""
	url = server.script("/api", api("new"))
	server.script("/token", as_json({"access_token": "new", "refresh_token": "r2"}))
	assert session.post(url, headers={"X-Mine": "1"}, **body).json() == {"ok": True}
	first, second = server.to("/api")
	assert (first.target, first.body) == (second.target, second.body)
	assert first.headers["x-mine"] == second.headers["x-mine"] == "1"
	(refresh,) = server.to("/token")
	assert b"of-the-request" not in refresh.raw and "x-mine" not in refresh.headers
	assert set(refresh.form) == {"grant_type", "refresh_token", "client_id", "client_secret"}
	assert store.grant and store.grant.refresh_token == "r2"


def test_never_twice(session: Session, server: Hostile) -> None:
	"""core-defects 17: a second 401 is the caller's."""
	url = server.script("/api", api("no token at all"))
	server.script("/token", as_json({"access_token": "new"}))
	assert session.get(url).status_code == 401
	assert server.paths() == {"/api": 2, "/token": 1}


def test_an_api_that_always_refuses(
	session: Session, server: Hostile, store: MemoryStore, config: Settings, http: Http, clock: Clock
) -> None:
	"""core-defects 17: ten requests, in this session and in others, cost one token request and one repetition."""
	url = server.script("/api", Answer(status=401))
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	for _ in range(5):
		assert session.get(url).status_code == 401
		assert Session(Refresher(*config, store, http, clock)).get(url).status_code == 401
	assert server.paths() == {"/api": 11, "/token": 1}


def test_a_refresh_that_gives_the_same_token(session: Session, server: Hostile) -> None:
	"""Some providers do until it expires: it is new all the same, and tried."""
	url = server.script("/api", Answer(status=401), as_json({}))
	server.script("/token", as_json({"access_token": ACCESS_TOKEN, "expires_in": 3600}))
	assert session.get(url).ok
	assert server.paths() == {"/api": 2, "/token": 1}


def generator() -> Iterator[bytes]:
	yield b"once"


@pytest.mark.parametrize(
	"body",
	[
		lambda: {"data": generator()},
		lambda: {"data": io.BytesIO(b"x")},
		lambda: {"files": {"f": b"x"}},
		lambda: {"data": {"a": generator()}},
		lambda: {"data": [("a", "1"), ("b", io.StringIO("x"))]},
		lambda: {"params": iter([("only", "7")])},
		lambda: {"params": {"only": iter(["7"])}},
	],
)
def test_what_cannot_be_repeated_is_not(body: Any, session: Session, server: Hostile) -> None:
	"""core-defects 17: a stream is spent after the first time, and so is an iterator: without its parameters a request
	would be another one."""
	url = server.script("/api", api("new"))
	server.script("/token", as_json({"access_token": "new"}))
	assert session.post(url, **body()).status_code == 401
	assert server.paths() == {"/api": 1}


@pytest.mark.parametrize("status", [400, 403, 500])
def test_other_failures_are_the_callers(status: int, session: Session, server: Hostile) -> None:
	"""RFC 6750 3.1: 403 `insufficient_scope` is not mended by a refresh."""
	url = server.script("/api", Answer(status=status))
	assert session.get(url).status_code == status
	assert server.paths() == {"/api": 1}


def of_ones_own(*_args: Any, **_kwargs: Any) -> None:
	int("x")


def of_ones_own_text(*_args: Any, **_kwargs: Any) -> None:
	b"\xff".decode()


def interrupted() -> Iterator[bytes]:
	yield b"a"
	raise ValueError("mine")


@pytest.mark.parametrize(
	("arguments", "said"),
	[
		({"hooks": {"response": of_ones_own}}, "invalid literal"),
		({"hooks": {"response": of_ones_own_text}}, "codec can't decode"),
		({"hooks": {"response": lambda answer, **_: json.loads("{")}}, "Expecting property name"),
		({"data": interrupted()}, "mine"),
		({"data": ["abc"]}, "unpack"),
		({"timeout": (1, 2, 3)}, "Invalid timeout"),
	],
)
def test_an_error_of_the_callers_own_stays_what_it_is(
	arguments: dict[str, Any], said: str, session: Session, server: Hostile
) -> None:
	"""It is no wrong address; that tokens are in none of its frames is as with those of requests."""
	with pytest.raises(ValueError, match=said) as caught:
		session.post(server.script("/api", as_json({})), **arguments)
	assert ACCESS_TOKEN not in shown(caught.value)


def test_401_without_refresh_token(
	session: Session, store: MemoryStore, config: Settings, http: Http, clock: Clock, server: Hostile
) -> None:
	store.grant = a_grant(refresh_token=None)
	session = Session(Refresher(*config, store, http, clock))
	assert session.get(server.script("/api", api("new"))).status_code == 401
	assert server.paths() == {"/api": 1}


def test_refresh_before_expiry_keeps_the_request_to_itself(
	session: Session, server: Hostile, clock: Clock
) -> None:
	"""core-defects 26 (requests-oauthlib #264): `json`, `files`, `headers` of a request are for its own server."""
	url = server.script("/api", api("new"))
	server.script("/token", as_json({"access_token": "new"}))
	clock.advance(3600)
	assert session.post(url, json=SECRET_BODY, headers={"X-Mine": "1"}, verify=False, cookies={"c": "1"}).ok
	(refresh,) = server.to("/token")
	assert b"of-the-request" not in refresh.raw
	assert not {"x-mine", "cookie"} & set(refresh.headers)
	assert [request.path for request in server.requests] == ["/token", "/api"]


def test_long_session_sees_the_newer_token(
	session: Session, server: Hostile, clock: Clock, store: MemoryStore
) -> None:
	"""core-defects 31: what another worker stored is used, at expiry and after a 401, without a refresh."""
	url = server.script("/api", api("second"))
	store.grant = a_grant(access_token="second", issued_at=NOW, expires_at=NOW + timedelta(hours=2))
	assert session.get(url).ok
	clock.advance(7300)
	server.script("/api", api("third"))
	store.grant = a_grant(access_token="third", issued_at=clock(), expires_at=clock() + timedelta(hours=1))
	assert session.get(url).ok
	assert server.to("/token") == []
	assert session.token["access_token"] == "third"


def test_failures_are_told(session: Session, server: Hostile, clock: Clock) -> None:
	"""core-defects 20, 21: a session raises errors of the tree."""
	clock.advance(3600)
	server.script("/token", Answer(b"", 503), as_json({"error": "invalid_grant"}, 400))
	url = server.script("/api", api("new"))
	with pytest.raises(TemporaryFailure):
		session.get(url)
	clock.advance(15)
	with pytest.raises(ReconnectRequired):
		session.get(url)
	assert server.to("/api") == []


def test_not_connected(config: Settings, http: Http) -> None:
	"""core-defects 20: no session without a grant."""
	with pytest.raises(ReconnectRequired) as caught:
		Session(Refresher(*config, MemoryStore(), http))
	assert caught.value.code == "not_connected"


def test_default_timeout(session: Session, server: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
	"""core-defects 24: no request without a time-out, and the caller's own counts."""
	seen: list[Any] = []
	real = requests.adapters.HTTPAdapter.send

	def send(self: Any, request: Any, **kwargs: Any) -> Any:
		seen.append(kwargs["timeout"])
		return real(self, request, **kwargs)

	monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
	url = server.script("/api", api(ACCESS_TOKEN))
	session.get(url)
	session.get(url, timeout=3)
	session.get(url, withhold_token=True)
	assert seen == [(10.0, 60.0), 3, (10.0, 60.0)]


def test_slow_api(session: Session, server: Hostile) -> None:
	"""core-defects 24: a hung API raises."""
	with pytest.raises(requests.Timeout):
		session.get(server.script("/api", replace(as_json({}), delay=5)), timeout=0.2)


def test_connections_are_shared_and_cookies_are_not(
	config: Settings, store: MemoryStore, http: Http, clock: Clock, server: Hostile
) -> None:
	"""core-defects 36: one TCP connection for many sessions; cookies and tokens stay with their own."""
	url = server.script("/api", as_json({}, headers={"Set-Cookie": "who=alice; Path=/"}))
	for number in range(5):
		store.grant = a_grant(access_token=f"token-{number}")
		with Session(Refresher(*config, store, http, clock)) as session:
			session.get(url)
	assert server.connections == 1
	assert all("cookie" not in request.headers for request in server.requests)
	assert [request.headers["authorization"] for request in server.requests] == [
		f"Bearer token-{n}" for n in range(5)
	]


def test_withheld(session: Session, server: Hostile) -> None:
	session.get(server.script("/api", as_json({})), withhold_token=True)
	assert "authorization" not in server.requests[0].headers


def test_what_the_caller_says_in_its_place(session: Session, server: Hostile, clock: Clock) -> None:
	"""A header or `auth` of the caller's own is sent as it is, and an answer to it says nothing of the token."""
	url = server.script("/api", Answer(status=401))

	def as_oauth(request: requests.PreparedRequest) -> requests.PreparedRequest:
		request.headers["Authorization"] = "OAuth " + session.token["access_token"]
		return request

	given: list[dict[str, Any]] = [
		{"headers": {"Authorization": "Own 1"}},
		{"headers": {"authorization": "Own 2"}},
		{"auth": ("user", "password")},
		{"auth": as_oauth},
	]
	for each in given:
		assert session.get(url, **each).status_code == 401
	session.headers["Authorization"] = "Own 3"
	assert session.get(url, params={"a": "1"}).status_code == 401
	sent = [request.headers["authorization"] for request in server.to("/api")]
	assert sent == ["Own 1", "Own 2", "Basic dXNlcjpwYXNzd29yZA==", f"OAuth {ACCESS_TOKEN}", "Own 3"]
	assert server.to("/token") == []
	# Beside other headers, the token is sent as ever; what is due is renewed before it is shown in another way.
	del session.headers["Authorization"]
	server.script("/token", as_json({"access_token": "new"}))
	clock.advance(3600)
	session.get(url, auth=as_oauth, headers={"X-Mine": "1"})
	assert server.to("/api")[-1].headers["authorization"] == "OAuth new"
	server.script("/api", api("new"))
	assert session.get(url, headers={"X-Mine": "1"}).ok


def test_token_stays_at_its_server(session: Session, server: Hostile) -> None:
	"""A redirect to another host does not take the token along, and a 401 from there refreshes nothing."""
	other = server.script("/other", Answer(status=401)).replace("127.0.0.1", "localhost")
	url = server.script("/api", Answer(status=302, headers={"Location": other}))
	assert session.get(url).status_code == 401
	assert "authorization" not in server.to("/other")[0].headers
	assert server.paths() == {"/api": 1, "/other": 1}


@pytest.mark.parametrize(
	# requests sends the last one to api.example.
	"url",
	["http://api.example/x", "ftp://api.example/x", "api.example", r"http://api.example\@127.0.0.1/x"],
)
def test_https_only(url: str, session: Session) -> None:
	"""RFC 6750 5.3"""
	with pytest.raises(ConfigurationError) as caught:
		session.get(url)
	assert caught.value.code == "uri_insecure"


def test_netrc_does_not_replace_the_token(
	session: Session, server: Hostile, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
	netrc = tmp_path / "netrc"
	netrc.write_text("machine 127.0.0.1 login a password b\n")
	netrc.chmod(0o600)
	monkeypatch.setenv("NETRC", str(netrc))
	assert session.get(server.script("/api", api(ACCESS_TOKEN))).ok


def test_connection(config: Settings, http: Http, clock: Clock, server: Hostile) -> None:
	"""What is known besides the tokens: read when it is asked for, and again when the token was renewed."""
	account = Account(id="7", name="alice@example.com")
	store = MemoryStore(a_grant(extra=EXTRA, account=account, scopes=("read",)))
	session = Session(Refresher(*config, store, http, clock))
	known = session.connection
	assert (known["realm_id"], known.get("shop"), dict(known)) == ("4620816365", None, EXTRA)
	assert (known.account_id, known.account_name, known.scopes) == ("7", "alice@example.com", ("read",))
	assert "4620816365" not in repr(known)
	with pytest.raises(TypeError):
		known["realm_id"] = "1"  # type: ignore[index]
	with pytest.raises(TypeError):
		known.said["realm_id"] = "1"  # type: ignore[index]
	with pytest.raises(FrozenInstanceError):
		known.account_id = "8"  # type: ignore[misc]
	assert session.connection is known
	server.script("/token", as_json({"access_token": "second", "expires_in": 60}))
	session.refresh_token()
	assert session.connection.expires_at == clock() + timedelta(seconds=60)
	assert session.connection["realm_id"] == "4620816365"


def test_connection_is_read_when_it_is_needed(
	config: Settings, http: Http, clock: Clock, server: Hostile
) -> None:
	"""A store that leaves out what a session seldom needs is asked for it where a header of the API has it."""
	whole = a_grant(extra=EXTRA)

	class Lean(MemoryStore):
		asked = 0

		def load(self) -> Grant | None:
			return replace(whole, extra={})

		def load_all(self) -> Grant | None:
			self.asked += 1
			return whole

	store, url = Lean(whole), server.script("/api", as_json({}))
	provider, client = config
	for header, asked in (("{client_id}", 0), ("{client_id}/{realm_id}", 1)):
		quirks = replace(provider.quirks, api_headers={"X-Company": header})
		session = Session(Refresher(replace(provider, quirks=quirks), client, store, http, clock))
		assert session.get(url).ok and session.get(url).ok
		assert store.asked == asked
	assert server.requests[-1].headers["x-company"] == f"{client.client_id}/4620816365"


def test_refresh_token_method(session: Session, server: Hostile) -> None:
	"""`OAuth2Session.refresh_token` goes through the lock, too; its arguments go nowhere."""
	server.script("/token", as_json({"access_token": "new"}))
	token = session.refresh_token("https://elsewhere.example/token", refresh_token="other", client_secret="x")
	assert token["access_token"] == "new"
	assert "other" not in server.requests[0].form.values()


def api_session(config: Settings, http: Http, clock: Clock, quirks: Quirks, **grant: Any) -> Session:
	store = MemoryStore(a_grant(**grant))
	return Session(Refresher(*changed(config, quirks=quirks), store, http, clock))


@pytest.mark.parametrize(
	("answer", "expired"),
	[
		(Answer(status=401), True),
		(Answer(status=419), True),
		(as_json({"error": {"code": "190"}}, 400), True),
		(as_json({"error": {"code": 190}}, 200), True),
		(as_json({"error": {"code": 10}}, 400), False),
		(Answer(status=403), False),
		(Answer(b"error.code=190", 400), False),
		(Answer(b"[" * 60_000, 400), False),
		(as_json({"error": {"code": 190}, "more": "x" * 70_000}, 400), False),
	],
	ids=["401", "status", "text", "number", "another code", "another status", "no JSON", "deep", "long"],
)
def test_what_means_expired(
	answer: Answer, expired: bool, config: Settings, http: Http, clock: Clock, server: Hostile
) -> None:
	"""As the provider's template says, beside 401: some say it by another status, some only in the body."""
	session = api_session(config, http, clock, Quirks(api_expired=("419", "error.code=190")))
	url = server.script("/api", answer, api("new"))
	server.script("/token", as_json({"access_token": "new"}))
	response = session.get(url)
	assert response.status_code == (200 if expired else answer.status)
	assert server.paths() == ({"/api": 2, "/token": 1} if expired else {"/api": 1})


INVALID = {
	"WWW-Authenticate": 'Basic realm="x", Bearer realm="x", error="invalid_token", error_description="expired"'
}
SCOPE = {"WWW-Authenticate": 'Bearer error="insufficient_scope", scope="admin"'}


@pytest.mark.parametrize(
	("answer", "expired"),
	[
		(Answer(status=403, headers=INVALID), True),
		(Answer(status=400, headers=INVALID), True),
		(Answer(status=498), True),
		(as_json({"errors": [{"type": "oauth", "value": "token_expired"}]}, 403), True),
		(as_json({"error": "invalid_token"}, 403), True),
		(as_json({"error": {"code": "InvalidTokenError", "message": "x"}}, 403), True),
		(as_json({"error": "invalid_token"}, 403, headers=SCOPE), False),
		(as_json({"error": "invalid_token"}, 400), False),
		(as_json({"error": "invalid_token"}, 200), False),
		(Answer(status=500, headers=INVALID), False),
		(Answer(status=403, headers=SCOPE), False),
		(as_json({"message": "The CSRF token has expired"}, 403), False),
		(as_json({"error": "access_denied"}, 403), False),
		(as_json({"error": "insufficient_scope", "reason": "invalid_access_token"}, 403), False),
		(as_json({"error": {"code": "InsufficientPermissions", "details": ["invalid_token"]}}, 403), False),
		(as_json({"error": "token_expired", "more": "x" * 70_000}, 403), False),
	],
)
def test_expired_by_another_status(
	answer: Answer, expired: bool, config: Settings, http: Http, clock: Clock, server: Hostile
) -> None:
	"""RFC 6750 3.1 has 401 for `invalid_token`; some APIs send it with 403 or 400, or as a code of the body (hh.ru, Azure
	Log Analytics). Of what is about the scope, another token is no help."""
	session = api_session(config, http, clock, Quirks())
	url = server.script("/api", answer, api("new"))
	server.script("/token", as_json({"access_token": "new"}))
	response = session.get(url)
	assert response.status_code == (200 if expired else answer.status)
	assert server.paths() == ({"/api": 2, "/token": 1} if expired else {"/api": 1})


def test_a_body_that_the_caller_reads_is_the_callers(
	config: Settings, http: Http, clock: Clock, server: Hostile
) -> None:
	session = api_session(config, http, clock, Quirks(api_expired=("error.code=190",)))
	url = server.script("/api", as_json({"error": {"code": 190}}))
	with session.get(url, stream=True) as response:
		assert response.raw.read(decode_content=True) == b'{"error": {"code": 190}}'
	assert server.paths() == {"/api": 1}


def test_what_a_provider_wants_beside_the_token(
	config: Settings, http: Http, clock: Clock, server: Hostile
) -> None:
	"""Headers of the template, filled with what the provider said; the caller's own come first. None of them, nor the
	token in its own header, goes to another host."""
	quirks = Quirks(
		api_header="X-Token: {token}",
		api_headers={"Client-Id": "{client_id}", "X-Account": "{account}", "X-Unknown": "{unknown}"},
	)
	session = api_session(config, http, clock, quirks, extra={"account": Secret("account-7")})
	other = server.script("/other", as_json({})).replace("127.0.0.1", "localhost")
	url = server.script("/api", as_json({}), as_json({}), Answer(status=302, headers={"Location": other}))
	session.get(url)
	session.get(url, headers={"Client-Id": "mine"})
	session.get(url)
	first, second, third = server.to("/api")
	assert (first.headers["client-id"], first.headers["x-account"]) == ("client", "account-7")
	assert first.headers["x-token"] == ACCESS_TOKEN and not {"x-unknown", "authorization"} & set(
		first.headers
	)
	assert (second.headers["client-id"], second.headers["x-account"]) == ("mine", "account-7")
	assert "x-token" in third.headers
	assert not {"x-token", "client-id", "x-account"} & set(server.to("/other")[0].headers)


def test_what_requests_oauthlib_offers_besides(session: Session, server: Hostile) -> None:
	"""A token that is set shows, also in the oauthlib client, and is not sent: the refresher has the grant."""
	assert session.authorized and session.access_token == ACCESS_TOKEN
	session.token = {"access_token": "set", "token_type": "Bearer"}
	assert session.token["access_token"] == session.access_token == "set"
	assert session.get(server.script("/api", api(ACCESS_TOKEN))).ok


def test_the_token_names_what_was_granted(config: Settings, http: Http, clock: Clock) -> None:
	token = api_session(config, http, clock, Quirks(), scopes=("read", "write")).token
	assert (
		token["scope"] == ["read", "write"] and token["expires_at"] == (NOW + timedelta(hours=1)).timestamp()
	)


@pytest.mark.parametrize(
	"named",
	[
		{},
		{"HTTPS_PROXY": "http://proxy.example"},
		{"https_proxy": "http://proxy.example", "no_proxy": "api.example"},
		{"All_Proxy": "http://proxy.example"},
		{"REQUESTS_CA_BUNDLE": "/of/requests", "CURL_CA_BUNDLE": "/of/curl"},
		{"CURL_CA_BUNDLE": "/of/curl"},
	],
)
@pytest.mark.parametrize("trusts", [True, False])
def test_heeds_the_environment_as_requests_does(
	session: Session, monkeypatch: pytest.MonkeyPatch, named: dict[str, str], trusts: bool
) -> None:
	"""It is only looked through less often."""
	for name in [name for name in os.environ if name.lower().endswith(("_proxy", "_ca_bundle"))]:
		monkeypatch.delenv(name)
	for name, value in named.items():
		monkeypatch.setenv(name, value)
	session.trust_env = trusts
	for proxies in ({}, {"https": "http://of-the-call.example"}, {"no_proxy": "*"}):
		for verify in (None, True, False, "/of/the/call"):
			for own in ({}, {"https": "http://of-the-session.example"}):
				session.proxies = own
				given = ("https://api.example/", {**proxies}, None, verify, None)
				theirs = requests.Session.merge_environment_settings(
					session, given[0], {**proxies}, *given[2:]
				)
				assert session.merge_environment_settings(*given) == theirs


def test_closing_a_session_with_its_own_connections(
	config: Settings, store: MemoryStore, http: Http, clock: Clock, server: Hostile
) -> None:
	"""A script may keep hundreds of sessions; those that it has closed hold no socket. Others leave theirs to the process."""
	url = server.script("/api", api(ACCESS_TOKEN))
	for apart in (True, False):
		with Session(Refresher(*config, store, http, clock), apart=apart) as session:
			assert session.get(url).status_code == 200
			pool = weakref.ref(session.get_adapter(url).poolmanager.connection_from_url(url))
		# urllib3 closes the connections of a pool that is gone.
		assert (pool() is None) == apart
		assert session.get(url).status_code == 200


def test_two_threads_that_use_a_session_first(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
	"""They have the same headers: what one of them sets is not lost."""
	own, both = _pristine()[1], threading.Barrier(2)
	copied = own["headers"]

	def together() -> Any:
		both.wait(10)
		return copied()

	monkeypatch.setitem(own, "headers", together)
	with ThreadPoolExecutor(2) as threads:
		first, second = threads.map(lambda _each: session.headers, range(2))
	assert first is second and session.headers is first


def test_attributes_that_there_are_not(session: Session) -> None:
	class Broken(Session):
		@property
		def report(self) -> Any:
			return self.connection.no_such_thing  # type: ignore[attr-defined]

	assert not hasattr(session, "no_such_thing")
	with pytest.raises(AttributeError, match=r"'Session' object has no attribute 'no_such_thing'"):
		_ = session.no_such_thing
	with pytest.raises(AttributeError, match=r"'Connection' object has no attribute 'no_such_thing'"):
		_ = Broken(session._refresher).report
