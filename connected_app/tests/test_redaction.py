"""No secret anywhere: every flow and every failure, with all loggers at DEBUG, tracebacks with their locals, and the
Error Log; then all of it is searched for every secret that was used."""

from __future__ import annotations

import json
import logging
import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlencode, urlsplit

import frappe
import jwt
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from frappe.auth import CookieManager
from frappe.utils import set_request

from connected_app import api
from connected_app.oauth import Http
from connected_app.site import flow, pages, settings
from connected_app.tests.site import ALICE, MALLORY, Case, forget, make_app, needs_providers, row
from connected_app.tests.test_checks import hostile

SID = "session-id-of-the-test"


class Everything(logging.Handler):
	def __init__(self) -> None:
		super().__init__(logging.DEBUG)
		self.texts: list[str] = []

	def emit(self, record: logging.LogRecord) -> None:
		self.texts.append(f"{record.name} {record.getMessage()} {record.args!r} {record.exc_text or ''}")
		if record.exc_info:
			self.texts.append(locals_of(record.exc_info[1]))


def locals_of(error: BaseException | None) -> str:
	"""The traceback of `error` and its chain with every local, but for this module's own frames."""
	if error is None:
		return ""
	printed = traceback.TracebackException.from_exception(error, capture_locals=True)
	link: traceback.TracebackException | None = printed
	while link:
		link.stack = traceback.StackSummary.from_list(
			[
				frame
				for frame in link.stack
				if "/tests/" not in frame.filename and "unittest" not in frame.filename
			]
		)
		link = link.__cause__ or link.__context__
	return "".join(printed.format())


@contextmanager
def listening() -> Iterator[Everything]:
	"""Every logger there is at DEBUG, heard even where it does not propagate."""
	everything = Everything()
	names = ["requests_oauthlib", "oauthlib", "urllib3", "jwt", *logging.root.manager.loggerDict]
	loggers = [logging.root, *(logging.getLogger(name) for name in dict.fromkeys(names))]
	before = [(logger, logger.level, logger.disabled) for logger in loggers]
	for logger in loggers:
		logger.setLevel(logging.DEBUG)
		logger.disabled = False
		logger.addHandler(everything)
	try:
		yield everything
	finally:
		for logger, level, disabled in before:
			logger.removeHandler(everything)
			logger.setLevel(level)
			logger.disabled = disabled


@needs_providers
class TestRedaction(Case):
	def setUp(self) -> None:
		super().setUp()
		self.module = hostile()
		self.server = self.module.Hostile()
		self.addCleanup(self.server.close)
		self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
		jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
		self.server.script("/jwks", self.module.as_json({"keys": [{**jwk, "kid": "k"}]}))
		self.server.script("/revoke", self.module.Answer(b"", 200))
		self.secrets: dict[str, str] = {"session ID": SID}
		self.texts: list[str] = []
		self.app = make_app(
			issuer=self.server.url,
			authorization_uri=self.server.url + "/authorize",
			token_uri=self.server.url + "/token",
			revocation_uri=self.server.url + "/revoke",
			userinfo_uri=self.server.url + "/userinfo",
			jwks_uri=self.server.url + "/jwks",
			client_id="client",
			client_secret=self.fresh("client-secret"),
			scopes=[{"scope": scope} for scope in ("openid", "email", "read")],
		)
		self.errors_before = frappe.db.count("Error Log")

	def fresh(self, kind: str) -> str:
		"""A value that is nowhere else; it is searched for at the end."""
		value = f"{kind}-{frappe.generate_hash(length=20)}"
		self.secrets[value] = value
		return value

	def as_user(self, user: str) -> None:
		frappe.set_user(user)
		frappe.local.session.sid = SID
		forget()

	def begin(self, user: str = ALICE) -> None:
		"""Click *Connect*; what the browser then knows is in `self.back`."""
		self.as_user(user)
		query = parse_qs(urlsplit(api.authorize(self.app.name)).query)
		state = query["state"][0]
		attempt = flow.attempts.peek(state)
		code = self.fresh("code")
		self.secrets[f"state of {code}"] = state
		self.secrets[f"nonce of {code}"] = str(attempt.nonce)
		self.secrets[f"verifier of {code}"] = str(attempt.code_verifier)
		self.nonce = str(attempt.nonce)
		self.back = {"state": state, "code": code}

	def answer(self, **claims: Any) -> Any:
		"""What the token endpoint answers to an honest exchange."""
		now = int(time.time())
		told = {
			"iss": self.server.url, "aud": "client", "sub": "alice", "email": "alice@there.example",
			"iat": now, "exp": now + 300, "nonce": self.nonce, **claims,
		}  # fmt: skip
		id_token = jwt.encode(told, self.key, "RS256", headers={"kid": "k"})
		self.secrets[f"ID token {len(self.secrets)}"] = id_token
		return self.module.as_json(
			{
				"access_token": self.fresh("access-token"),
				"refresh_token": self.fresh("refresh-token"),
				"expires_in": 3600,
				"id_token": id_token,
				"authed_user": {"access_token": self.fresh("nested-token")},
			}
		)

	def come_back(self, **changes: Any) -> None:
		"""The callback, as the web server runs it. What it shows, and the frames of what it caught, are kept."""
		values = {key: value for key, value in {**self.back, **changes}.items() if value is not None}
		set_request(method="GET", path=urlsplit(self.app.redirect_uri).path, query_string=urlencode(values))
		frappe.local.cookie_manager = CookieManager()
		frappe.local.response = frappe._dict(docs=[])
		refuse = pages.refuse

		def kept(error: Any, again: str) -> None:
			self.texts.append(locals_of(error))
			refuse(error, again)

		with patch.object(pages, "refuse", kept):
			api.callback()
		self.texts.append(f"{frappe.local.response} {frappe.local.cookie_manager.cookies}")
		frappe.local.request = None

	def failing(self, action: Callable[[], Any]) -> None:
		"""What a job's failure leaves behind: the traceback with locals, and an Error Log row."""
		try:
			action()
		except Exception as error:
			self.texts.append(locals_of(error))
			self.texts.append(frappe.get_traceback(with_context=True).split("test_redaction.py")[-1])
			frappe.log_error(title="of the test", message=self.texts[-1])
			frappe.db.commit()
		else:
			self.fail("should have failed")

	def use(self) -> requests.Response:
		forget()
		return self.app.get_oauth2_session(ALICE).get(self.server.url + "/api")

	def expire(self) -> None:
		frappe.db.rollback()
		values = {"expires_at": "2020-01-01", "retry_at": None, "error_code": None, "status": "Connected"}
		frappe.db.set_value("Token Cache", f"{self.app.name}-{ALICE}", values)
		frappe.db.commit()

	def test_everything(self) -> None:
		"""core-defects 11 and core-defects 12: the whole of it; and nothing process-wide has changed."""
		environment = dict(os.environ)
		with listening() as heard:
			self.flows()
			self.failures_of_the_callback()
			self.failures_of_a_refresh()
			self.failures_of_an_api()
			self.the_end()
		self.assertEqual(dict(os.environ), environment)

		frappe.db.rollback()
		rows = frappe.get_all("Error Log", fields=["*"], limit=0)
		stored = {
			doctype: str(frappe.get_all(doctype, fields=["*"], limit=0))
			for doctype in ("Error Log", "Token Cache", "Connected App", "Activity Log", "Version",
				"Deleted Document", "Notification Log", "Comment")
		}  # fmt: skip
		self.assertGreater(len(rows), self.errors_before)
		logged = "\n".join(heard.texts)
		for expected in ("urllib3.connectionpool", "POST /token"):
			self.assertIn(expected, logged)
		shown = "\n".join(self.texts)
		for expected in ("grant_invalid", "Traceback"):
			self.assertIn(expected, shown)
		self.assertGreater(len(self.secrets), 40)
		for name, secret in self.secrets.items():
			for where, text in {"logs": logged, "texts and tracebacks": shown, **stored}.items():
				if secret in text:
					at = text.index(secret)
					self.fail(f"{name} in {where}: {text[max(0, at - 600) : at + 100]}")

	def flows(self) -> None:
		self.begin()
		self.server.script("/token", self.answer())
		self.come_back()
		self.assertIsNotNone(row(self.app, ALICE), self.texts)
		self.server.script("/api", self.module.as_json({}))
		self.assertTrue(self.use().ok)
		self.server.script("/token", self.answer(nonce=None))
		self.expire()
		self.assertTrue(self.use().ok)
		self.server.script("/api", self.module.Answer(status=401), self.module.as_json({}))
		self.assertTrue(self.use().ok)
		self.texts.append(
			f"{row(self.app, ALICE).as_dict()} {self.app.as_dict()} {settings.of(self.app, with_secret=True)}"
		)
		self.texts.append(frappe.as_json(api.connection(self.app.name)))

	def failures_of_the_callback(self) -> None:
		module = self.module
		for changes in (
			{"state": self.fresh("made-up-state")},
			{"state": None},
			{"code": None},
			{"iss": "https://x.example"},
		):
			self.begin()
			self.come_back(**changes)
		self.begin()
		self.come_back(code=None, error="access_denied")
		self.begin()
		self.come_back(error="server_error", error_description=" ".join(self.back.values()))
		self.begin()
		self.as_user(MALLORY)
		self.come_back()
		self.as_user("Guest")
		self.come_back()
		for answer in (
			module.as_json({"error": "invalid_client"}, 401),
			lambda request: module.as_json(
				{"error": "invalid_grant", "error_description": str(request.form)}, 400
			),
			module.as_json({"access_token": 7, "authed_user": {"access_token": self.fresh("nested-token")}}),
			module.Answer(self.fresh("not-json").encode()),
			module.Answer(b"x", 503),
			module.Answer(b"x", cut=0),
			module.Answer(status=307, headers={"Location": "/elsewhere"}),
		):
			self.begin()
			self.server.script("/token", answer)
			self.come_back()
		self.begin()
		self.server.script("/token", module.Answer(b"x", delay=2))
		impatient = Http(allow_http_loopback=True, read_timeout=0.5, total_timeout=1)
		with patch.object(flow, "http", lambda: impatient):
			self.come_back()
		for claims in ({"nonce": self.fresh("other-nonce")}, {"aud": "other"}, {"exp": 1}, {"iss": "x"}):
			self.begin()
			self.server.script("/token", self.answer(**claims))
			self.come_back()
		# A defect of ours.
		self.begin()
		with patch.object(flow, "finish", side_effect=RuntimeError(self.back["code"])):
			self.come_back()

	def failures_of_a_refresh(self) -> None:
		module = self.module
		self.as_user(ALICE)
		for answer in (
			module.as_json({"error": "invalid_client"}, 401),
			module.Answer(b"<html>", 503),
			module.Answer(b"x", cut=0),
			module.as_json({"access_token": ""}),
			lambda request: module.as_json(
				{"error": "invalid_grant", "error_description": str(request.form)}, 400
			),
		):
			self.server.script("/token", answer)
			self.expire()
			self.failing(self.use)
		self.failing(self.use)
		self.failing(lambda: self.app.get_oauth2_session(MALLORY))
		self.failing(self.app.get_backend_app_token)

	def failures_of_an_api(self) -> None:
		self.begin()
		self.server.script("/token", self.answer())
		self.come_back()
		for answer in (self.module.Answer(b"x", cut=0), self.module.Answer(status=500)):
			self.server.script("/api", answer)
			self.failing(lambda: self.use().raise_for_status())
		forget()
		session = self.app.get_oauth2_session(ALICE)
		self.failing(lambda: session.get("http://127.0.0.1:1/"))
		self.failing(lambda: session.get("http://provider.example/"))

		def of_a_developer() -> None:
			mine = session
			raise RuntimeError(f"{mine} {mine.token} {vars(mine)}")

		self.failing(of_a_developer)

	def the_end(self) -> None:
		self.server.script("/revoke", self.module.Answer(b"x", 503))
		api.disconnect(self.app.name)
		frappe.set_user("Administrator")
		frappe.db.rollback()
		frappe.delete_doc("Connected App", self.app.name)
		frappe.db.commit()
