"""Tokens that are bound to a key (RFC 9449), at a server that looks at every member of a proof."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace

import jwt
import pytest

from connected_app.oauth import (
	CLIENT_CREDENTIALS,
	Attempt,
	ConfigurationError,
	Grant,
	Http,
	OAuthError,
	Refresher,
	Secret,
	Session,
	Settings,
	begin,
	complete,
	dpop,
	keys,
)

from .helpers import NOW, Clock, a_grant, changed, consent_parameters
from .hostile import Answer, Hostile, Request, as_json
from .stores import MemoryStore

TOKEN = "bound-access-token"


class Strict:
	"""A provider and an API that take a proof once, for one request, by one key, and want their own nonce in it.

	`nonce`: the one that it wants; None: it wants none. `fickle`: each one that it gives is out of date.
	"""

	def __init__(self, server: Hostile) -> None:
		self.server = server
		self.nonce: str | None = None
		self.fickle = False
		self.scheme = "DPoP"
		self.token_type = "DPoP"
		self.seen: set[str] = set()
		self.keys: set[str] = set()
		self.granted = 0
		server.script("/token", self.token)
		server.script("/api", self.api)
		server.script("/userinfo", self.api)

	def wrong(self, request: Request, url: str, token: str = "") -> str:
		"""What is wrong with the request's proof, or an empty text."""
		text = request.headers.get("dpop", "")
		header = jwt.get_unverified_header(text)
		if header["typ"] != "dpop+jwt" or header["alg"] != "ES256" or "d" in header["jwk"]:
			return "header"
		claims = jwt.decode(text, jwt.PyJWK(header["jwk"]).key, algorithms=["ES256"])
		self.keys.add(keys.thumbprint(header["jwk"]))
		if (claims["htm"], claims["htu"]) != (request.method, url):
			return "htm or htu"
		if claims["jti"] in self.seen or len(claims["jti"]) < 16:
			return "jti"
		self.seen.add(claims["jti"])
		ath = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
		if claims.get("ath") != (ath if token else None):
			return "ath"
		if self.nonce is not None and claims.get("nonce") != self.nonce:
			return "nonce"
		return ""

	def token(self, request: Request) -> Answer:
		wrong = self.wrong(request, self.server.url + "/token")
		if wrong == "nonce":
			return as_json({"error": "use_dpop_nonce"}, 400, headers=self.next_nonce())
		assert not wrong, wrong
		self.granted += 1
		answer = {
			"access_token": f"{TOKEN}-{self.granted}",
			"refresh_token": "r2",
			"token_type": self.token_type,
		}
		return as_json({**answer, "expires_in": 3600})

	def api(self, request: Request) -> Answer:
		scheme, _space, token = request.headers.get("authorization", "").partition(" ")
		assert scheme == "DPoP"
		wrong = self.wrong(request, self.server.url + request.path.partition("?")[0], token)
		if wrong == "nonce":
			challenge = f'Bearer realm="x", {self.scheme} algs="ES256", error="use_dpop_nonce"'
			return as_json({}, 401, headers={**self.next_nonce(), "WWW-Authenticate": challenge})
		if wrong or token == "stale":
			return as_json({"wrong": wrong}, 401, headers={"WWW-Authenticate": 'DPoP error="invalid_token"'})
		return as_json({"sub": "alice"})

	def next_nonce(self) -> dict[str, str]:
		given = self.nonce or ""
		if self.fickle:
			self.nonce = f"{self.nonce}x"
		return {"DPoP-Nonce": given}


@pytest.fixture
def strict(server: Hostile, monkeypatch: pytest.MonkeyPatch) -> Strict:
	monkeypatch.setattr(dpop, "NONCES", dpop.Nonces())
	return Strict(server)


@pytest.fixture
def other() -> Iterator[Hostile]:
	hostile = Hostile()
	yield hostile
	hostile.close()


@pytest.fixture
def bound(config: Settings, server: Hostile) -> Settings:
	return changed(
		config,
		dpop=True,
		authorization_uri=server.url + "/authorize",
		userinfo_uri=server.url + "/userinfo",
		redirect_uri="https://site.example/cb",
	)


def connect(settings: Settings, http: Http, clock: Clock) -> tuple[Grant, Attempt, str]:
	url, attempt = begin(*settings, http=http, clock=clock)
	# As it comes back from where it was kept.
	attempt = Attempt.from_json(attempt.to_json())
	parameters = {"state": str(attempt.state), "code": "c"}
	return complete(*settings, attempt, parameters, http, clock=clock), attempt, url


@pytest.mark.parametrize("nonce", [None, "n-1"])
def test_from_consent_to_api(
	nonce: str | None, strict: Strict, bound: Settings, http: Http, clock: Clock
) -> None:
	"""One key from the authorization request (10) by the code (5) and userinfo (7) to the API and the refresh; the
	modules happy-path and happy-path-no-dpop-nonce, as far as DPoP is concerned."""
	strict.nonce = nonce
	grant, attempt, url = connect(bound, http, clock)
	assert grant.account and grant.account.id == "alice"
	assert grant.dpop_key == attempt.dpop_key and "PRIVATE" not in repr(grant) + repr(attempt)
	store = MemoryStore(grant)
	session = Session(Refresher(*bound, store, http, clock))
	for each in ("/api", "/api?page=2#x"):
		assert session.get(strict.server.url + each).json() == {"sub": "alice"}
	assert session.post(strict.server.url + "/api", json={"a": 1}).ok
	clock.advance(3600)
	assert session.get(strict.server.url + "/api").ok
	assert store.grant and store.grant.access_token == f"{TOKEN}-2" and store.grant.dpop_key == grant.dpop_key
	assert strict.keys == {consent_parameters(url)["dpop_jkt"]}
	# A nonce costs one more request a server, not one for each.
	asked = sum(strict.server.paths().values())
	assert asked == (7 if nonce is None else 8)


def test_a_nonce_that_changes(strict: Strict, bound: Settings, http: Http, clock: Clock) -> None:
	"""At each answer, which is then used: no request is made more than twice."""
	strict.nonce, strict.fickle = "n", True

	def rotating(request: Request) -> Answer:
		answer = strict.api(request)
		strict.nonce = f"{strict.nonce}y"
		return replace(answer, headers={**answer.headers, "DPoP-Nonce": strict.nonce})

	grant = a_grant(dpop_key=dpop.new_key(), token_type="DPoP")
	strict.server.script("/api", rotating)
	session = Session(Refresher(*bound, MemoryStore(grant), http, clock))
	assert session.get(strict.server.url + "/api").ok
	before = len(strict.server.to("/api"))
	assert session.get(strict.server.url + "/api").ok
	assert (before, len(strict.server.to("/api"))) == (2, 3)


def test_a_nonce_is_never_right(strict: Strict, bound: Settings, http: Http, clock: Clock) -> None:
	"""Asked for one forever: two requests, then what was said is the caller's; nothing is refreshed for it."""
	strict.nonce, strict.fickle = "n", True
	grant = a_grant(dpop_key=dpop.new_key(), token_type="DPoP")
	store = MemoryStore(grant)
	session = Session(Refresher(*bound, store, http, clock))
	strict.server.script(
		"/api",
		lambda request: as_json(
			{}, 401, headers={"DPoP-Nonce": "x", "WWW-Authenticate": 'DPoP error="use_dpop_nonce"'}
		),
	)
	assert session.get(strict.server.url + "/api").status_code == 401
	assert strict.server.paths() == {"/api": 2}
	strict.server.script(
		"/token", lambda request: as_json({"error": "use_dpop_nonce"}, 400, headers={"DPoP-Nonce": "x"})
	)
	with pytest.raises(OAuthError) as caught:
		Refresher(*bound, MemoryStore(replace(grant, expires_at=NOW)), http, clock).current()
	assert caught.value.code == "provider_error" and "use_dpop_nonce" in str(caught.value)
	assert strict.server.paths() == {"/api": 2, "/token": 2}
	assert store.grant == grant


@pytest.mark.parametrize("scheme", ["DPoP", "dPoP", "dpop"])
def test_scheme(scheme: str, strict: Strict, bound: Settings, http: Http, clock: Clock) -> None:
	"""rs-dpop-auth-scheme-case-insensitivity: the request is repeated."""
	strict.nonce, strict.scheme = "n-1", scheme
	grant = a_grant(dpop_key=dpop.new_key(), token_type="DPoP")
	assert Session(Refresher(*bound, MemoryStore(grant), http, clock)).get(strict.server.url + "/api").ok


def test_token_type_of_any_case(strict: Strict, bound: Settings, http: Http, clock: Clock) -> None:
	"""token-type-case-insensitivity: `dpOp` is accepted."""
	strict.token_type = "dpOp"
	assert connect(bound, http, clock)[0].dpop_key


@pytest.mark.parametrize("token_type", ["Bearer", "mac", ""])
def test_not_bound(token_type: str, strict: Strict, bound: Settings, http: Http, clock: Clock) -> None:
	"""5: tokens that anybody could use are not used, neither the first nor refreshed ones."""
	strict.token_type = token_type
	with pytest.raises(ConfigurationError) as caught:
		connect(bound, http, clock)
	assert caught.value.code == "dpop_not_bound" and TOKEN not in str(caught.value)
	store = MemoryStore(a_grant(dpop_key=dpop.new_key(), expires_at=NOW))
	with pytest.raises(ConfigurationError):
		Refresher(*bound, store, http, clock).current()
	assert store.grant and store.grant.access_token != f"{TOKEN}-2"
	# The old one may be spent.
	assert store.grant.refresh_token == "r2"


def test_from_bearer_to_bound_and_back(strict: Strict, bound: Settings, http: Http, clock: Clock) -> None:
	"""Switched on, the next refresh binds; switched off, what is bound stays so: the provider would take nothing else."""
	store = MemoryStore(a_grant(expires_at=NOW))
	first = Refresher(*bound, store, http, clock).current()
	assert first.dpop_key
	clock.advance(3600)
	assert Refresher(*changed(bound, dpop=False), store, http, clock).current().dpop_key == first.dpop_key
	assert len(strict.keys) == 1


def test_client_credentials(strict: Strict, bound: Settings, http: Http, clock: Clock) -> None:
	refresher = Refresher(*bound, MemoryStore(), http, clock, grant_type=CLIENT_CREDENTIALS)
	assert Session(refresher).get(strict.server.url + "/api").ok
	assert refresher.current().dpop_key


def test_an_expired_token(strict: Strict, bound: Settings, http: Http, clock: Clock) -> None:
	"""A 401 that is not about the proof is answered by a refresh, as ever."""
	strict.nonce = "n-1"
	grant = a_grant(access_token=Secret("stale"), dpop_key=dpop.new_key(), token_type="DPoP")
	session = Session(Refresher(*bound, MemoryStore(grant), http, clock))
	assert session.get(strict.server.url + "/api").ok
	assert strict.granted == 1


def test_redirects(strict: Strict, bound: Settings, http: Http, clock: Clock, other: Hostile) -> None:
	"""Each step has a proof of its own; another host gets neither token nor proof."""
	grant = a_grant(dpop_key=dpop.new_key(), token_type="DPoP")
	session = Session(Refresher(*bound, MemoryStore(grant), http, clock))
	strict.server.script("/old", Answer(status=302, headers={"Location": "/api"}))
	assert session.get(strict.server.url + "/old").json() == {"sub": "alice"}
	other.script("/elsewhere", as_json({}))
	strict.server.script("/away", Answer(status=302, headers={"Location": other.url + "/elsewhere"}))
	assert session.get(strict.server.url + "/away").ok
	(request,) = other.to("/elsewhere")
	assert "authorization" not in request.headers and "dpop" not in request.headers


def test_a_body_that_is_spent(strict: Strict, bound: Settings, http: Http, clock: Clock) -> None:
	"""It is not sent again, empty: the caller gets the challenge, and the next request has the nonce."""
	strict.nonce = "n-1"
	grant = a_grant(dpop_key=dpop.new_key(), token_type="DPoP")
	session = Session(Refresher(*bound, MemoryStore(grant), http, clock))
	url = strict.server.url + "/api"
	assert session.post(url, data=io.BytesIO(b"all")).status_code == 401
	assert session.post(url, data=io.BytesIO(b"all")).ok
	assert strict.server.paths() == {"/api": 2}


def test_without(bound: Settings, server: Hostile, http: Http, clock: Clock) -> None:
	"""Who has not asked for it gets no key, and sends none."""
	plain = changed(bound, dpop=False)
	server.script("/token", as_json({"access_token": "a", "token_type": "DPoP"}))
	server.script("/userinfo", as_json({"sub": "alice"}))
	grant, attempt, url = connect(plain, http, clock)
	assert grant.dpop_key is attempt.dpop_key is None
	assert not any("dpop" in name for name in consent_parameters(url))
	assert all("dpop" not in request.headers for request in server.requests)


@pytest.mark.parametrize("nonce", ["", "a b", 'a"b', "ä", "x" * 1001, "a\\b"])
def test_no_nonce(nonce: str) -> None:
	known = dpop.Nonces()
	known.learn("https://a.example/x", {"dpop-nonce": nonce})
	assert known.find("https://a.example") == ""


def test_nonces() -> None:
	"""By origin, the last one, and no more than so many."""
	known = dpop.Nonces(2)
	for name in ("a", "b", "a", "c"):
		known.learn(f"https://{name}.example/x?y", {"dpop-nonce": f"{name}1"})
	assert [known.find(f"https://{name}.EXAMPLE/z") for name in "abc"] == ["a1", "", "c1"]
	assert known.find("https://a.example:8443/z") == ""


def test_an_attempt_of_an_earlier_version(bound: Settings) -> None:
	"""One that was begun before an update has no such member."""
	_url, attempt = begin(*bound)
	values = json.loads(attempt.to_json())
	del values["dpop_key"]
	assert Attempt.from_json(json.dumps(values)).dpop_key is None
