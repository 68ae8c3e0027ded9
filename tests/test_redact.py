"""A provider echoes what it was sent, in any encoding: no secret gets into an error, a log or a traceback."""

from __future__ import annotations

import base64
import html
import json
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_app.oauth import Http, OAuthError, ReconnectRequired, Refresher, Secret, Settings, registration
from connected_app.oauth.provider import Quirks, Trade
from connected_app.oauth.redact import redact

from .helpers import NOW, Clock, a_grant, changed
from .hostile import Hostile, as_json
from .stores import MemoryStore
from .test_logs import shown

SECRET = 'cs/9f+2=&"<Zü\\x~kQ7-m.p_aa'
TOKEN = "rt|5e0/Ab+c=%41'zz 9k2~Lq"


def entities(text: str) -> str:
	return "".join(f"&#{ord(char)};" for char in text)


def basic(text: str) -> str:
	return base64.b64encode(f"client:{text}".encode()).decode()


ENCODINGS: list[Callable[[str], str]] = [
	str,
	urllib.parse.quote,
	urllib.parse.quote_plus,
	lambda text: urllib.parse.quote(text, safe=""),
	lambda text: urllib.parse.quote(text, safe="").lower() if text.islower() else urllib.parse.quote(text).replace("%C3", "%c3"),
	lambda text: urllib.parse.quote(urllib.parse.quote(text, safe=""), safe=""),
	lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
	lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
	urllib.parse.unquote,
	urllib.parse.unquote_plus,
	lambda text: json.dumps(text)[1:-1],
	lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
	lambda text: json.dumps(json.dumps(text))[1:-1],
	lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
	lambda text: "".join(f"\\u{ord(char):04X}" for char in text),
	lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
	html.escape,
	lambda text: html.escape(html.escape(text)),
	entities,
	lambda text: "".join(f"&#x{ord(char):X};" for char in text),
	lambda text: text.encode().hex(),
	lambda text: text.encode().hex().upper(),
	lambda text: text.encode().hex(" "),
	lambda text: base64.b64encode(text.encode()).decode(),
	lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
	lambda text: base64.encodebytes(text.encode() * 3).decode(),
	basic,
	lambda text: urllib.parse.quote(basic(text), safe=""),
	lambda text: base64.b64encode(f"cl:{text}".encode()).decode(),
	lambda text: base64.b64encode(f"c:{text}!".encode()).decode(),
	lambda text: "\n".join(text),
	lambda text: "\r\n".join(text[start : start + 7] for start in range(0, len(text), 7)),
	lambda text: "\\n".join(text[start : start + 5] for start in range(0, len(text), 5)),
	lambda text: text[:9] + "<br>" + text[9:],
	lambda text: text.upper(),
	repr,
	lambda text: repr(text.encode()),
]  # fmt: skip


def left_of(secret: str, text: str) -> str:
	"""The longest piece of `secret`, or of what it is encoded to, that is still in `text`."""
	found = ""
	for start in range(len(secret)):
		for end in range(start + len(found) + 1, len(secret) + 1):
			if secret[start:end] not in text:
				break
			found = secret[start:end]
	return found


@pytest.mark.parametrize("number", range(len(ENCODINGS)))
@pytest.mark.parametrize("secret", [SECRET, TOKEN, "client-secret-9f2", "Abcdefgh1", "a" * 40 + "B7c9"])
def test_no_encoding_hides_a_secret(number: int, secret: str) -> None:
	encoded = ENCODINGS[number](secret)
	for before, after in (
		("The value ", " is invalid."),
		('{"x":"', '"}'),
		("client_secret=", "&grant=x"),
		("", ""),
	):
		text = redact(before + encoded + after, [Secret(secret)])
		assert len(left_of(encoded, text.replace(before, "", 1))) < 6, text
		assert "…" in text


@pytest.mark.parametrize(
	"text",
	[
		"The refresh token is invalid, expired or revoked.",
		"invalid_grant (AADSTS700082: The refresh token has expired.)",
		"Visit https://dev.example/docs?x=%41&y=1+2 for more",
		"&amp; \\u0041 %zz % &#; \\",
	],
)
def test_other_words_stay(text: str) -> None:
	assert redact(text, [Secret(SECRET), Secret(TOKEN), Secret("x"), Secret("")]) == text


@given(st.text(max_size=60), st.text(min_size=6, max_size=30), st.text(max_size=60))
def test_whatever_comes(before: str, secret: str, after: str) -> None:
	assert (
		secret not in redact(before + secret + after, [Secret(secret)]).replace("…", "") or not secret.strip()
	)


@pytest.mark.parametrize(
	"piece", ["%", "%25", "&amp;", "&", "\\", "\\\\u", "&#", "=", "a", "%41", "\n", "ü", "QUFB", "41"]
)
def test_a_long_answer_takes_no_time(piece: str) -> None:
	began = time.thread_time()
	redact((piece * 1_000_000)[:1_000_000], [Secret("a" * 4000 + "b"), Secret("x" * 8000), Secret("A" * 9)])
	assert time.thread_time() - began < 5


@pytest.mark.parametrize(
	"said",
	[
		{"error": "x", **{f"k{number}": "v" for number in range(60_000)}},
		{"error": "x", "all": ["v"] * 150_000},
		{"error": "x", "all": ["The refresh token."] * 40_000},
	],
)
def test_many_texts_take_no_time(
	said: object, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""Callers that wait for the refresh wait for this, too."""
	config = changed(config, client_secret=Secret("a" * 900), authentication="client_secret_post")
	server.script("/token", as_json(said, 400))
	store = MemoryStore(a_grant(expires_at=NOW, refresh_token="b" * 1500))
	began = time.thread_time()
	with pytest.raises(OAuthError):
		Refresher(*config, store, http, clock).current()
	assert time.thread_time() - began < 10


@pytest.mark.parametrize("number", range(len(ENCODINGS)))
@pytest.mark.parametrize("authentication", ["client_secret_basic", "client_secret_post"])
def test_an_echo_at_a_refresh(
	number: int, authentication: str, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	config = changed(config, client_secret=Secret(SECRET), authentication=authentication)
	encode = ENCODINGS[number]
	for name in ("error", "error_description", "message"):
		for code in ("invalid_grant", "invalid_client", "other"):
			said = {"error": code, name: f"{encode(SECRET)} {encode(TOKEN)}"}
			server.script("/token", as_json(said, 400))
			store = MemoryStore(a_grant(expires_at=NOW, refresh_token=Secret(TOKEN)))
			with pytest.raises(OAuthError) as caught:
				Refresher(*config, store, http, clock).current()
			text = f"{shown(caught.value)} {store.failure} {caught.value.provider_error}"
			assert len(left_of(encode(SECRET), text)) < 6 and len(left_of(encode(TOKEN), text)) < 6, text


@pytest.mark.parametrize("word", ["refresh", "invalid", "refreshtoken"])
def test_words_of_a_template_are_no_secrets(
	word: str, config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	"""Without them, the answer would not be understood: a dead refresh token would be sent again and again."""
	config = changed(config, quirks=Quirks(renewal_fields={"type": word, "x": "{client_secret}"}))
	config = changed(config, client_secret=Secret(SECRET))
	server.script("/token", as_json({"code": "invalid_refresh_token", "message": f"{SECRET} x"}, 400))
	store = MemoryStore(a_grant(expires_at=NOW, refresh_token=Secret(TOKEN)))
	with pytest.raises(ReconnectRequired) as caught:
		Refresher(*config, store, http, clock).current()
	assert SECRET not in shown(caught.value)


def test_a_success_is_not_searched(
	config: Settings, server: Hostile, http: Http, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
	"""It would take some milliseconds of each refresh, under the lock."""
	monkeypatch.setattr("connected_app.oauth.redact.Redactor.__init__", None)
	server.script("/token", as_json({"access_token": "a", "token_type": "Bearer"}))
	Refresher(*config, MemoryStore(a_grant(expires_at=NOW)), http, clock).current()


def test_an_echo_at_a_registration(server: Hostile, http: Http) -> None:
	known = registration.Registration(
		client_id="id-1",
		client_secret=Secret(SECRET),
		management_uri=server.script(
			"/r",
			as_json({"error": f"x {SECRET}", "error_description": f"{TOKEN} {html.escape(SECRET)}"}, 400),
		),
		management_token=Secret(TOKEN),
	)
	with pytest.raises(OAuthError) as caught:
		registration.update(known, {}, http)
	text = f"{shown(caught.value)} {caught.value.provider_error}"
	assert len(left_of(SECRET, text)) < 6 and len(left_of(TOKEN, text)) < 6, text


def test_an_echo_of_a_secret_in_the_address(
	config: Settings, server: Hostile, http: Http, clock: Clock
) -> None:
	server.script("/long", lambda request: as_json({"error": "x", "error_description": request.target}, 400))
	trade = Trade(url=server.url + "/long?s={client_secret}&t={access_token}")
	quirks = replace(config.provider.quirks, trade=trade)
	config = changed(config, client_secret=Secret(SECRET), quirks=quirks)
	store = MemoryStore(a_grant(expires_at=NOW, refresh_token=Secret(TOKEN)))
	with pytest.raises(OAuthError) as caught:
		Refresher(*config, store, http, clock).current()
	text = f"{shown(caught.value)} {store.failure}"
	for secret in (SECRET, TOKEN):
		assert len(left_of(urllib.parse.quote(secret, safe=""), text)) < 6, text
