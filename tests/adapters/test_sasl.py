"""imaplib and smtplib at a mail server that takes tokens only."""

from __future__ import annotations

import imaplib
import json
import smtplib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connected_app.oauth import ConfigurationError, ReconnectRequired, Secret, TokenSource
from connected_app.oauth.adapters.sasl import OAUTHBEARER, XOAUTH2, Login, oauthbearer, xoauth2

from ..helpers import ACCESS_TOKEN, Clock
from ..hostile import Answer, Hostile, Request, as_json

ROOT = Path(__file__).resolve().parents[2]
USER = "alice@example.com"
TOKEN = "vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg=="


def test_the_examples_of_the_standard() -> None:
	"""rfc7628-client-response: as in 4.1, and without host and port; rfc7628-gs2-header: RFC 5801 4."""
	assert (
		oauthbearer("user@example.com", TOKEN, "server.example.com", 143)
		== f"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer {TOKEN}\x01\x01"
	)
	assert oauthbearer("a=b,c@example.com", "t") == "n,a=a=3Db=2Cc@example.com,\x01auth=Bearer t\x01\x01"
	assert oauthbearer("jörg@example.com", "t").encode()[4:9] == "jörg".encode()


def test_the_example_of_google() -> None:
	assert (
		xoauth2("someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg")
		== "user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\x01\x01"
	)


@pytest.mark.parametrize("user", ["a\x01auth=Bearer b", "a\n", "\x7f"])
def test_nothing_begins_another_field(user: str) -> None:
	for mechanism in (xoauth2, oauthbearer):
		with pytest.raises(ValueError) as caught:
			mechanism(user, "token-of-mine")
		assert "token-of-mine" not in str(caught.value)
	with pytest.raises(ValueError):
		oauthbearer("a", "t", host="b\x01port=1")


class Mail:
	"""The server's ports, and a context that trusts it."""

	def __init__(self, said: dict[str, Any]) -> None:
		self.ports = said
		self.trust = ssl.create_default_context(cadata=said["certificate"])

	def imap(self) -> imaplib.IMAP4_SSL:
		return imaplib.IMAP4_SSL("localhost", self.ports["imaps"], ssl_context=self.trust, timeout=60)

	def smtp(self) -> smtplib.SMTP:
		client = smtplib.SMTP("localhost", self.ports["smtp"], timeout=60)
		client.starttls(context=self.trust)
		client.ehlo()
		return client


@pytest.fixture
def mail(server: Hostile) -> Iterator[Mail]:
	"""Accepts the tokens in `server.good`, of alice."""

	def introspect(request: Request) -> Answer:
		active = request.form["token"] in good
		return as_json({"active": active, "username": USER} if active else {"active": False})

	good = {ACCESS_TOKEN, "new"}
	server.script("/introspect", introspect)
	server.good = good  # type: ignore[attr-defined]
	command = [sys.executable, "-m", "tests.mail_server", server.url]
	with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
		assert process.stdout
		said = json.loads(process.stdout.readline())
		try:
			if "missing" in said:
				pytest.skip(f"the mail server needs Python 3.11 or newer: {said['missing']}")
			yield Mail(said)
		finally:
			process.kill()


@pytest.mark.parametrize("mechanism", [XOAUTH2, OAUTHBEARER])
def test_a_day_of_mail(
	mechanism: str, mail: Mail, source: TokenSource, server: Hostile, clock: Clock
) -> None:
	"""Sent and read with one object, whose token is renewed in between.

	rfc7628-invalid-token, rfc7628-dummy-response: where the server refuses the token, another one is used at
	the second attempt."""
	login = Login(source, USER, mechanism, "localhost", mail.ports["smtp"])
	with mail.smtp() as smtp:
		assert smtp.auth(mechanism, login)[0] == 235
		smtp.sendmail(USER, [USER], b"Subject: hello\r\n\r\nA letter.\r\n")
	server.script("/token", as_json({"access_token": "new", "expires_in": 3600}))
	clock.advance(3600)
	with mail.imap() as imap:
		assert imap.authenticate(mechanism, login)[0] == "OK"
		assert imap.select("INBOX")[1] == [b"1"]
	assert len(server.to("/token")) == 1
	server.good.clear()  # type: ignore[attr-defined]
	server.script("/token", as_json({"access_token": "newer", "expires_in": 3600}))
	server.good.add("newer")  # type: ignore[attr-defined]
	with mail.smtp() as smtp:
		with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
			smtp.auth(mechanism, login)
		assert refused.value.smtp_code == 535
		assert smtp.auth(mechanism, login)[0] == 235
	assert len(server.to("/token")) == 2


def test_a_server_that_refuses_everything(mail: Mail, source: TokenSource, server: Hostile) -> None:
	server.good.clear()  # type: ignore[attr-defined]
	server.script("/token", as_json({"access_token": "newer", "expires_in": 3600}))
	login = Login(source, USER)
	for _attempt in range(4):
		with mail.smtp() as smtp, pytest.raises(smtplib.SMTPAuthenticationError) as refused:
			smtp.auth("XOAUTH2", login)
		# smtplib keeps what it was given in a variable.
		frame = refused.traceback[-1].frame
		assert "initial_response" in frame.f_locals and "auth=Bearer" not in repr(frame.f_locals)
	assert len(server.to("/token")) == 1


def test_failures_are_ours(source: TokenSource, server: Hostile, clock: Clock) -> None:
	login = Login(source, USER)
	server.script("/token", as_json({"error": "invalid_grant"}, 400))
	clock.advance(3600)
	with pytest.raises(ReconnectRequired):
		login()
	with pytest.raises(ValueError):
		Login(source, USER, "PLAIN")


def test_bound_tokens_are_refused(source: TokenSource) -> None:
	source.grant = replace(source.grant, token_type="DPoP", dpop_key=Secret("k"))
	with pytest.raises(ConfigurationError) as caught:
		Login(source, USER)
	assert caught.value.code == "dpop_needs_session"
