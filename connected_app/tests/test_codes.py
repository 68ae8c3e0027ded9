"""*Connect with a Code* on a running site: in two browsers and by the command, at Authlib's server and the certified one."""

from __future__ import annotations

import base64
import json
import os
import tempfile
from typing import Any

import frappe
import requests

from connected_app.oauth.errors import OAuthError
from connected_app.oauth.grant import Account
from connected_app.site import codes, flow, replacing
from connected_app.site.grants import TokenCacheStore
from connected_app.site.identity import ConnectionKey
from connected_app.site.rows import name_of
from connected_app.tests.site import (
	ALICE,
	MALLORY,
	Browser,
	Case,
	certified,
	hostile,
	make_app,
	needs_providers,
	processes,
	provider,
	row,
)
from connected_app.tests.test_commands import bench


def keys() -> list[bytes]:
	"""What Redis holds of attempts by a code, on this site."""
	return frappe.cache.keys(frappe.cache.make_key("connected_app_code*"))


@needs_providers
class TestCodes(Case):
	@classmethod
	def setUpClass(cls) -> None:
		super().setUpClass()
		# Its clock allows a question at any time; the site's own turns are what is tried here.
		running = provider("--interval", "0")
		cls.quick = running.__enter__()
		cls.addClassCleanup(running.__exit__, None, None, None)

	def setUp(self) -> None:
		super().setUp()
		self.quick.command("reset")
		for key in keys():
			frappe.cache.execute_command("DEL", key)
		self.app = make_app(self.quick.issuer, connect_with_code=1)

	def begin(self, browser: Browser | None = None, app: Any = None) -> dict[str, Any]:
		return (browser or self.alice).ask("connect_with_code", connected_app=(app or self.app).name)

	def look(self, begun: dict[str, Any], browser: Browser | None = None, hurry: bool = True) -> Any:
		"""What the page sees. In a hurry: as if the provider's interval had passed."""
		if hurry:
			for key in frappe.cache.keys(frappe.cache.make_key("connected_app_code_turn*")):
				frappe.cache.execute_command("DEL", key)
		return (browser or self.alice).ask("look_at_code", attempt=begun["attempt"])

	def asked(self) -> int:
		return self.quick.stats()["token_requests"]

	def assertOver(self, begun: dict[str, Any], code: str, browser: Browser | None = None) -> None:
		seen = self.look(begun, browser)
		self.assertEqual((seen["state"], seen.get("code")), ("failed", code), seen)
		self.assertTrue(seen["message"])

	def assertNothingIsLeft(self) -> None:
		self.assertIsNone(row(self.app, ALICE))
		left = [key for key in keys() if frappe.cache.execute_command("STRLEN", key) > 40]
		self.assertEqual(left, [], "but for the name of the attempt, which expires")

	def test_connects(self) -> None:
		"""Waiting, then connected as the account that has entered the code; for the user who began it."""
		begun = self.begin()
		self.assertEqual(begun["address"], f"{self.quick.issuer}/device")
		self.assertIn(begun["code"], begun["link"])
		kind, _comma, picture = begun["qr_code"].partition(",")
		self.assertEqual(kind, "data:image/svg+xml;base64")
		self.assertIn(b"<svg", base64.b64decode(picture))
		self.assertEqual((begun["expires_in"] // 10, begun["wait"]), (59, 5))
		self.assertIn("Demo", begun["words"]["title"])
		self.assertEqual(self.look(begun)["state"], "waiting")
		self.quick.enter(begun["code"], "bob")
		seen = self.look(begun)
		self.assertEqual(seen["state"], "connected")
		self.assertIn("bob@example.com", seen["message"])
		kept = row(self.app, ALICE)
		self.assertEqual((kept.status, kept.account_id, kept.owner), ("Connected", "bob", ALICE))
		session = frappe.get_doc("Connected App", self.app.name).get_oauth2_session(ALICE)
		self.assertEqual(session.get(f"{self.quick.issuer}/userinfo").json()["sub"], "bob")
		# The code is spent, and the attempt with it.
		self.assertOver(begun, "attempt_unknown")
		self.alice.ask("disconnect", connected_app=self.app.name)

	def test_another_account_than_before(self) -> None:
		"""The page that asks is linked; nothing is replaced before. A command, which cannot ask, keeps the one before."""
		for account in ("alice", "bob"):
			begun = self.begin()
			self.quick.enter(begun["code"], account)
			seen = self.look(begun)
		self.assertEqual(seen["state"], "connected")
		self.assertIn(f'href="/connect?app={self.app.name}"', seen["message"])
		self.assertEqual(row(self.app, ALICE).account_id, "alice")
		self.alice.ask("choose_account", connected_app=self.app.name, replace=1)
		kept = row(self.app, ALICE)
		self.assertEqual(kept.account_id, "bob")
		with TokenCacheStore(kept.key()).exclusive() as locked:
			grant = locked.grant
		held = replacing.hold(kept.key(), grant, Account(id="carol"), flow.browser_session(), "/me")
		with self.assertRaises(OAuthError) as caught:
			codes._chosen(held)
		self.assertEqual(caught.exception.code, "account_differs")
		self.assertIsNone(replacing.find(kept.key(), flow.browser_session()))

	def test_at_the_certified_provider(self) -> None:
		module = certified()
		if not module.AVAILABLE:
			self.skipTest("needs Node.js and npm")
		registered = {"grant_types": ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"]}
		registered |= {"redirect_uris": [], "response_types": []}
		features = {"deviceFlow": {"enabled": True}}
		with module.start("client", client=registered, features=features) as running:
			app = make_app(client_id="client", connect_with_code=1)
			self.discover(app, running)
			begun = self.begin(app=app)
			self.assertEqual(self.look(begun)["state"], "waiting")
			running.enter(begun["link"])
			self.assertEqual(self.look(begun)["state"], "connected")
			self.assertEqual(row(app, ALICE).account_name, "alice@example.com")

	def test_interval(self) -> None:
		"""RFC 8628 3.5: however often pages ask, the provider is asked once in an interval."""
		with provider("--interval", "60") as slow:
			begun = self.begin(app=make_app(slow.issuer, connect_with_code=1))
			for _ in range(4):
				seen = self.look(begun, hurry=False)
				self.assertEqual(seen["state"], "waiting")
				self.assertTrue(1 <= seen["wait"] <= 60, seen)
			self.assertEqual(slow.stats()["token_requests"], 0)
			self.look(begun)
			for _ in range(4):
				self.look(begun, hurry=False)
			self.assertEqual(slow.stats()["token_requests"], 1)

	def test_slow_down(self) -> None:
		"""3.5: the interval grows, and stays."""
		with provider("--interval", "60") as slow:
			begun = self.begin(app=make_app(slow.issuer, connect_with_code=1))
			self.assertEqual([self.look(begun)["wait"] for _ in range(3)], [60, 65, 70])

	def test_denied(self) -> None:
		begun = self.begin()
		self.quick.enter(begun["code"], allow=False)
		self.assertOver(begun, "consent_declined")
		self.assertNothingIsLeft()

	def test_expired(self) -> None:
		begun = self.begin()
		self.quick.command("expire")
		self.assertOver(begun, "device_code_expired")
		self.assertNothingIsLeft()
		for key in keys():
			self.assertGreater(frappe.cache.ttl(key), 0)

	def test_closed(self) -> None:
		"""What nobody waits for any more is not asked about, though somebody enters the code."""
		begun = self.begin()
		self.alice.ask("cancel_code", attempt=begun["attempt"])
		self.quick.enter(begun["code"])
		self.assertOver(begun, "attempt_unknown")
		self.assertNothingIsLeft()
		self.assertEqual(self.asked(), 0)

	def test_closed_while_the_provider_answers(self) -> None:
		"""The tokens that come then are given back."""
		scripts = hostile()
		gateway = scripts.Hostile()
		self.addCleanup(gateway.close)
		app = make_app(self.quick.issuer, connect_with_code=1, token_uri=f"{gateway.url}/token")
		begun = self.begin(app=app)
		self.quick.enter(begun["code"])
		other = Browser()
		other.cookies.update(self.alice.cookies)
		other.headers.update(self.alice.headers)

		def answer(request: Any) -> Any:
			headers = {"Content-Type": request.headers["content-type"]}
			given = requests.post(f"{self.quick.issuer}/token", request.body, headers=headers, timeout=30)
			other.ask("cancel_code", attempt=begun["attempt"])
			return scripts.as_json(given.json(), given.status_code)

		gateway.script("/token", answer)
		self.assertOver(begun, "attempt_unknown")
		self.assertIsNone(row(app, ALICE))
		self.assertEqual(self.quick.stats()["revocations"], 2)

	def test_one_attempt_in_a_session(self) -> None:
		"""A second one takes the place of the first, also of another app."""
		first = self.begin()
		second = self.begin(app=make_app(self.quick.issuer, connect_with_code=1))
		self.quick.enter(first["code"])
		self.assertOver(first, "attempt_unknown")
		self.assertEqual(self.look(second)["state"], "waiting")

	def test_of_this_session_only(self) -> None:
		"""Another user, and another browser of the same user, neither get the grant nor end the attempt."""
		begun = self.begin()
		self.quick.enter(begun["code"])
		others = (Browser(MALLORY), Browser(ALICE))
		for browser in others:
			self.assertOver(begun, "attempt_unknown", browser)
			browser.ask("cancel_code", attempt=begun["attempt"])
		self.assertEqual(self.look(begun)["state"], "connected")
		self.assertIsNone(row(self.app, MALLORY))

	def test_no_longer_allowed(self) -> None:
		"""A user who may not connect any more gets nothing, and the provider is not even asked."""
		for change, code in (
			({"everyone_may_connect": 0}, "not_allowed"),
			({"enabled": 0}, "app_disabled"),
			({"connect_with_code": 0}, "device_not_offered"),
			({"security_profile": "FAPI 2.0"}, "device_not_offered"),
		):
			app = make_app(self.quick.issuer, connect_with_code=1)
			begun = self.begin(app=app)
			self.quick.enter(begun["code"])
			app.update(change)
			app.save()
			frappe.db.commit()
			self.assertOver(begun, code)
			self.assertIsNone(row(app, ALICE), change)
		begun = self.begin()
		frappe.delete_doc("Connected App", self.app.name)
		frappe.db.commit()
		self.assertOver(begun, "app_unknown")
		self.assertEqual(self.asked(), 0)

	def test_not_offered(self) -> None:
		app = make_app(self.quick.issuer)
		answer = self.alice.call("connect_with_code", connected_app=app.name)
		self.assertEqual(answer.status_code, 417)
		self.assertIn("does not offer to connect with a code", answer.text)
		for about in (app, self.app):
			offered = self.alice.ask("connection", "GET", connected_app=about.name)["offers_codes"]
			self.assertIs(offered, about is self.app)
			cards = self.alice.ask("my_connections", "GET")
			self.assertIs(next(each for each in cards if each["name"] == about.name)["offers_codes"], offered)
			page = self.alice.open(f"/connect?app={about.name}").text
			self.assertIs('data-action="code"' in page, offered)

	def test_check_configuration(self) -> None:
		"""What is missing for it is said."""

		def found(**values: Any) -> dict[str, str]:
			app = make_app(self.quick.issuer, connect_with_code=1, **values)
			told = self.admin.ask("check_configuration", connected_app=app.name)
			return {each["check"]: each["level"] for each in told}

		self.assertEqual(found(device_authorization_uri="").get("device_authorization_uri"), "error")
		metadata = json.dumps({"grant_types_supported": ["authorization_code"]})
		self.assertEqual(found(provider_metadata=metadata).get("device_grant"), "warning")
		self.assertNotIn("device_grant", found())

	def test_nothing_leaks(self) -> None:
		"""The device code stays on the server: neither in an answer, nor in Redis as it is."""
		begun = self.begin()
		for key in keys():
			held = frappe.cache.get(key) or b""
			self.assertNotIn(begun["code"].encode(), held)
			self.assertNotIn(b"device_code", held)
		self.assertEqual(
			set(begun), {"attempt", "code", "address", "link", "qr_code", "expires_in", "wait", "words"}
		)


@needs_providers
class TestCommand(Case):
	def connect(self, provider: Any, app: Any, answer: Any, user: str = ALICE) -> tuple[int, str, str]:
		"""Run the command; `answer` is called with the code that it shows."""
		command = ("frappe", "--site", frappe.local.site, "connected-app", "connect", app.name)
		arguments = ("-m", "frappe.utils.bench_helper", *command, "--user", user, "--json")
		reading, writing = os.pipe()
		with open(os.devnull) as nothing, tempfile.TemporaryFile("w+") as out, open(reading) as lines:
			self.addCleanup(processes().end)
			processes().begin(*arguments, streams=(nothing.fileno(), out.fileno(), writing))
			os.close(writing)
			said = ""
			for line in lines:
				said += line
				if line.startswith("and enter the code "):
					answer(line.split()[-1])
			status = processes().ended()
			out.seek(0)
			return status, out.read(), said

	def test_connects(self) -> None:
		with provider("--interval", "1") as running:
			app = make_app(running.issuer, connect_with_code=1)
			code, out, said = self.connect(running, app, lambda code: running.enter(code, "bob"))
			self.assertEqual(code, 0, said)
			(told,) = json.loads(out)
			self.assertEqual((told["user"], told["account"]), (ALICE, "bob@example.com"))
			self.assertEqual(row(app, ALICE).account_id, "bob")
			self.alice.ask("disconnect", connected_app=app.name)
			self.assertIn(f"{running.issuer}/device", said)

			code, out, said = self.connect(running, app, lambda code: running.enter(code, allow=False))
			self.assertEqual(code, 1)
			self.assertIn("Access was not granted", said)

	def test_no_longer_allowed(self) -> None:
		"""The user's last role goes while the command waits."""
		with provider("--interval", "1") as running:
			app = make_app(running.issuer, connect_with_code=1)

			def answer(code: str) -> None:
				app.everyone_may_connect = 0
				app.save()
				frappe.db.commit()
				running.enter(code)

			code, _out, said = self.connect(running, app, answer)
			self.assertEqual(code, 1, said)
			self.assertIn("not allowed", said)
			self.assertIsNone(name_of(ConnectionKey.of_user(app.name, ALICE)))

	def test_wrong_usage(self) -> None:
		app = make_app(self.authlib.issuer)
		for arguments, code, words in (
			((app.name, "--user", "nobody@site.example"), 2, "no enabled user"),
			((app.name, "--user", ALICE), 1, "does not offer"),
		):
			ended = bench("connect", *arguments)
			self.assertEqual(ended.returncode, code, ended.stderr)
			self.assertIn(words, ended.stderr)
