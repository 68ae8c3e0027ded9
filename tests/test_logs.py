from __future__ import annotations

import http.client
import logging
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import requests

from connected_app.oauth import Http, OAuthError, Refresher, Secret, Session, complete, revoke
from connected_app.oauth.redact import printable
from connected_app.oauth.shape import QUERY

from .helpers import ACCESS_TOKEN, CLIENT_SECRET, NOW, REFRESH_TOKEN, OpenIDProvider, a_grant, changed
from .hostile import Answer, Request, as_json
from .stores import MemoryStore


def shown(error: BaseException) -> str:
	"""As an error log that prints locals shows it; without the frames of the tests, which know everything."""
	printed = traceback.TracebackException.from_exception(error, capture_locals=True)
	link: traceback.TracebackException | None = printed
	while link:
		link.stack = traceback.StackSummary.from_list(
			[frame for frame in link.stack if "/tests/" not in frame.filename]
		)
		link = link.__cause__ or link.__context__
	return "".join(printed.format())


def test_nothing_secret_is_logged(
	op: OpenIDProvider, impatient: Http, caplog: pytest.LogCaptureFixture
) -> None:
	"""core-defects 12: a whole flow, its failures and their tracebacks at DEBUG hold no secret."""
	caplog.set_level(logging.DEBUG)
	for name in list(logging.root.manager.loggerDict):
		caplog.set_level(logging.DEBUG, name)
	texts: list[str] = []

	def failing(call: Any) -> None:
		try:
			call()
		except OAuthError as error:
			texts.append(shown(error))
		else:
			raise AssertionError("should have failed")

	op.begin(
		userinfo_uri=op.server.script("/userinfo", as_json({"sub": "alice"})),
		authentication="client_secret_basic",
	)
	id_token = op.id_token(("email",))
	store = MemoryStore(op.connect(id_token))
	assert store.grant
	texts.append(repr(store.grant) + repr(op.config) + repr(op.attempt))
	refresher = Refresher(*op.config, store, op.http, op.clock)
	session = Session(refresher)
	api = op.server.script("/api", Answer(status=401), as_json({}))
	op.server.script(
		"/token", as_json({"access_token": "second-access-token", "refresh_token": "second-refresh-token"})
	)
	assert session.get(api).ok
	texts.append(repr(session.token) + repr(session.__dict__) + repr(store.grant))
	grant, revocation_uri = store.grant, op.server.script("/revoke", Answer(status=503))
	failing(lambda: revoke(*changed(op.config, revocation_uri=revocation_uri), grant, op.http))

	failing(lambda: op.connect(op.id_token(iss="x")))
	failing(lambda: complete(*op.config, op.attempt, op.callback(iss="x"), op.http, clock=op.clock))
	for answer in (
		Answer(b"x", cut=0),
		Answer(delay=3),
		as_json({"error": "invalid_grant"}, 400),
		Answer(b"\xff", 200),
	):
		op.server.script("/token", answer)
		expired = MemoryStore(a_grant(expires_at=NOW))
		http = impatient if answer.delay else op.http
		failing(partial(complete, *op.config, op.attempt, op.callback(), http, clock=op.clock))
		failing(Refresher(*op.config, expired, http, op.clock).current)
	failing(
		lambda: Refresher(
			*changed(op.config, token_uri="http://127.0.0.1:1/"),
			MemoryStore(a_grant(expires_at=NOW)),
			op.http,
			op.clock,
		).current()
	)

	# Providers that say the secrets of the request back, in an error or beside one.
	def echoing(how: Callable[[str], dict[str, Any]]) -> Callable[[Request], Answer]:
		return lambda request: as_json(how(" ".join(request.form.values())), 400)

	nested = {"authed_user": {"access_token": ACCESS_TOKEN, "refresh_token": REFRESH_TOKEN}}
	posting = changed(op.config, authentication="client_secret_post")
	for answer in (
		echoing(lambda sent: {"error": "invalid_grant", "error_description": sent}),
		echoing(lambda sent: {"error": sent, "message": sent}),
		echoing(lambda sent: {"error": {"type": sent, "message": sent}}),
		as_json({**nested, "ok": False, "error": "invalid_auth", "access_token": ACCESS_TOKEN}),
		as_json({**nested, "ok": True, "access_token": "not usable: ü"}),
	):
		op.server.script("/token", answer)
		expired = MemoryStore(a_grant(expires_at=NOW))
		failing(lambda: complete(*posting, op.attempt, op.callback(), op.http, clock=op.clock))
		failing(Refresher(*posting, expired, op.http, op.clock).current)
		texts.append(repr(expired.failure))
	declined = op.callback(error="server_error", error_description=f"{op.attempt.state} code-77d")
	failing(lambda: complete(*op.config, op.attempt, declined, op.http, clock=op.clock))

	# What the developer's own requests to an API leave behind when they fail.
	for fault in (Answer(b"x", cut=0), Answer(b"x", delay=1)):
		op.server.script("/api", fault)
		good = MemoryStore(a_grant())
		with pytest.raises(requests.RequestException) as caught:
			Session(Refresher(*op.config, good, op.http, op.clock)).get(api, timeout=0.3)
		texts.append(shown(caught.value))
	with pytest.raises(requests.RequestException) as caught:
		Session(Refresher(*op.config, MemoryStore(a_grant()), op.http, op.clock)).get("http://127.0.0.1:1/")
	texts.append(shown(caught.value))
	assert isinstance(caught.value.request, requests.PreparedRequest)

	assert any(record.levelno == logging.DEBUG for record in caplog.records)
	text = "\n".join([caplog.text, *(repr(record.args) for record in caplog.records), *texts])
	secrets = {
		"access token": ACCESS_TOKEN,
		"refresh token": REFRESH_TOKEN,
		"second access token": "second-access-token",
		"second refresh token": "second-refresh-token",
		"client secret": CLIENT_SECRET,
		"code": "code-77d",
		"state": op.attempt.state,
		"nonce": op.attempt.nonce or "",
		"verifier": op.attempt.code_verifier or "",
		"Basic credentials": "Y2xpZW50Om",
		"ID token": id_token,
	}
	assert [name for name, secret in secrets.items() if secret in text] == []


def test_debug_output_of_libraries(
	op: OpenIDProvider,
	caplog: pytest.LogCaptureFixture,
	capsys: pytest.CaptureFixture[str],
	monkeypatch: pytest.MonkeyPatch,
) -> None:
	"""http.client prints headers and bodies where somebody has asked it to; urllib3 logs queries, and errors name them."""
	monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
	caplog.set_level(logging.DEBUG)
	for name in list(logging.root.manager.loggerDict):
		caplog.set_level(logging.DEBUG, name)
	texts: list[str] = []
	config = changed(op.config, quirks=replace(op.config.provider.quirks, token_request=QUERY))
	config = changed(config, authentication="client_secret_post")
	for answer in (as_json({"access_token": "new-access-token"}), Answer(b"", cut=0), Answer(status=503)):
		op.server.script("/token", answer)
		store = MemoryStore(a_grant(expires_at=NOW))
		try:
			Refresher(*config, store, op.http, op.clock).current()
		except OAuthError as error:
			texts.append(shown(error))
	target = op.server.to("/token")[0].target
	assert REFRESH_TOKEN in target and CLIENT_SECRET in target
	session = Session(Refresher(*op.config, MemoryStore(a_grant()), op.http, op.clock))
	assert session.get(op.server.script("/api", as_json({}))).ok
	text = "".join([caplog.text, capsys.readouterr().out, *texts])
	for secret in (REFRESH_TOKEN, CLIENT_SECRET, ACCESS_TOKEN, "new-access-token"):
		assert secret not in text


def test_secret_shows_nothing() -> None:
	assert repr(Secret("abc")) == "Secret('***')" and "abc" not in repr({"a": [Secret("abc")]})
	assert f"{Secret('abc')}" == "abc"


@pytest.mark.parametrize(
	("given", "shown"),
	[
		("a\r\nb", "a b"),
		("\ud800x", "x"),
		("x" * 300, "x" * 200),
		(7, "7"),
		("ü\x7f\x9f", "ü"),
		("\U00020bb7田", "\U00020bb7田"),
		(
			"\U0001f468\u200d\U0001f469\u200d\U0001f467 Müller",
			"\U0001f468\u200d\U0001f469\u200d\U0001f467 Müller",
		),
		(
			"\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
			"\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
		),
		("\u2764\ufe0f", "\u2764\ufe0f"),
		(
			"\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
			"\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
		),
		# Neither what is hidden nor what turns the text around.
		("\U000e0041\U000e0042a\u202eb\u2066c\ufeff", "abc"),
		("\u200d\u200c", ""),
		# Nothing is cut within a letter or an emoji.
		("e\u0301" * 150, "e\u0301" * 100),
		("x" * 199 + "e\u0301", "x" * 199),
		("x" * 198 + "\U0001f44d\U0001f3fd", "x" * 198 + "\U0001f44d\U0001f3fd"),
		("x" * 199 + "\U0001f44d\U0001f3fd", "x" * 199),
		(None, "None"),
	],
)
def test_quoted(given: object, shown: str) -> None:
	assert printable(given) == shown
