"""A new encryption key for the site: nothing is lost, whenever the process is killed, and nobody has to reconnect.

The site under test keeps its key. What is rotated is a second folder of its: as another host has it, on the same database.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import frappe
from cryptography.fernet import Fernet
from frappe.utils.password import encrypt as frappes_encrypt
from frappe.utils.password import get_decrypted_password, set_encrypted_password

from connected_app.oauth import Grant, Secret
from connected_app.oauth.authorization import Attempt
from connected_app.oauth.clock import utc_now
from connected_app.site import ending, hosts, keys, passwords, revocation, rotation, settings
from connected_app.site.attempts import RedisAttemptStore
from connected_app.site.database import own_connection
from connected_app.site.grants import TokenCacheStore
from connected_app.site.identity import ConnectionKey
from connected_app.site.passwords import NEXT, PREVIOUS
from connected_app.tests import site
from connected_app.tests.site import ALICE, MALLORY, Case, forget, make_app, needs_providers, row, run

GRANT = Grant(
	access_token=Secret("access-1"),
	refresh_token=Secret("refresh-1"),
	# Of the time at which this module was loaded: it is to last until the tests are done.
	expires_at=utc_now() + timedelta(days=1),
	extra={"realm_id": Secret("4620816365")},
)
OF_A_USER = ("User", ALICE, "api_secret")
OTP = f"{ALICE}_otpsecret"
# Rotates in a process of its own, which kills itself at the given step.
KILLED = """
import os, signal, sys
import frappe
site, folder, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
frappe.init(site)
frappe.connect()
frappe.local.site_path = folder
frappe.local.conf = frappe._dict(frappe.get_site_config())
from connected_app.site import rotation
from connected_app.tests import test_rotation
with test_rotation.stopped_at(number, lambda: os.kill(os.getpid(), signal.SIGKILL)):
	rotation.rotate(lambda outcome: None)
"""


class Killed(BaseException):
	pass


@contextmanager
def stopped_at(number: int, stop: Any) -> Iterator[list[str]]:
	"""Call `stop` before or after the commit, or change of the configuration, of this number. Yields what was done."""
	done: list[str] = []
	writing, write_config = rotation.writing, rotation._write_config

	def step(name: str) -> None:
		done.append(name)
		if len(done) == number:
			stop()

	@contextmanager
	def counted() -> Iterator[None]:
		with writing():
			yield
			step("before a commit")
		step("after a commit")

	def changed(values: Any) -> None:
		step("before the configuration")
		write_config(values)
		step("after the configuration")

	with patch.object(rotation, "writing", counted), patch.object(rotation, "_write_config", changed):
		yield done


def kill() -> None:
	raise Killed


@needs_providers
class TestRotation(Case):
	def setUp(self) -> None:
		super().setUp()
		self.key = frappe.conf.encryption_key
		self.folder = pathlib.Path(frappe.local.sites_path).resolve() / f"{frappe.local.site}-other-host"
		self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
		shutil.rmtree(self.folder, ignore_errors=True)
		for folder in ("locks", "logs"):
			(self.folder / folder).mkdir(parents=True)
		shutil.copy(frappe.get_site_path("site_config.json"), self.folder)
		conf, path = frappe.local.conf, frappe.local.site_path
		self.addCleanup(setattr, frappe.local, "site_path", path)
		self.addCleanup(setattr, frappe.local, "conf", conf)
		self.app = make_app(
			self.authlib.issuer, client_authentication="private_key_jwt", provider_name="Rotated"
		)
		self.afterwards(self.remove)
		self.addCleanup(self.go_back)
		keys.make(self.app.name, "ES256")
		# Its locks would be waited for by the connection of its own that stores the token.
		frappe.db.commit()
		self.connection = ConnectionKey.of_user(self.app.name, ALICE)
		with TokenCacheStore(self.connection, create=True).exclusive() as locked:
			locked.save(GRANT, consented=True)
		client = settings.for_revoking(self.app.name)
		self.waiting = revocation.put(
			ConnectionKey.of_user(self.app.name, MALLORY), GRANT, client, timedelta(days=1)
		)
		ended = frappe.get_doc({"doctype": ending.DOCTYPE, "connected_app": self.app.name})
		ended.db_insert()
		passwords.store(ending.DOCTYPE, ended.name, "client", "client-1")
		set_encrypted_password(*OF_A_USER[:2], "api-secret-1", OF_A_USER[2])
		frappe.db.set_default(OTP, frappes_encrypt("otp-1"), parent="__2fa")
		frappe.db.commit()
		self.secrets = {
			("Connected App", self.app.name, "client_secret"): "demo-secret",
			("Token Cache", f"{self.app.name}-{ALICE}", "access_token"): "access-1",
			("Token Cache", f"{self.app.name}-{ALICE}", "refresh_token"): "refresh-1",
			("Pending Revocation", self.waiting, "refresh_token"): "refresh-1",
			(ending.DOCTYPE, ended.name, "client"): "client-1",
		}
		frappe.local.site_path = str(self.folder)
		frappe.local.conf = frappe._dict(conf)

	def go_back(self) -> None:
		"""To the key of the site under test."""
		frappe.db.rollback()
		hosts.forget_all()
		frappe.db.commit()
		if self.config().get(NEXT):
			self.rotate()
		if self.config().get(PREVIOUS):
			rotation.finish(self.report)
		if self.config()["encryption_key"] != self.key:
			rotation._write_config({NEXT: self.key})
			self.rotate()
			rotation.finish(self.report)
		self.assertEqual(self.config()["encryption_key"], self.key)

	def remove(self) -> None:
		of_app = {"connected_app": self.app.name}
		for doctype in (ending.DOCTYPE, ending.QUEUE, "Token Cache"):
			names = frappe.get_all(doctype, of_app, pluck="name")
			frappe.db.delete("__Auth", {"doctype": doctype, "name": ("in", [*names, ""])})
			frappe.db.delete(doctype, of_app)
		frappe.db.delete("__Auth", {"doctype": "Connected App", "name": self.app.name})
		frappe.db.delete("__Auth", {"doctype": "Token Cache", "name": ("like", f"{self.app.name}-%")})
		frappe.db.delete("DefaultValue", {"defkey": OTP})

	def report(self, outcome: rotation.Outcome) -> None:
		self.reported = outcome.encrypted

	def rotate(self) -> rotation.Outcome:
		return rotation.rotate(self.report)

	def config(self) -> dict[str, Any]:
		return json.loads((self.folder / "site_config.json").read_text())

	def stored(self, doctype: str, name: str, field: str) -> str:
		frappe.db.rollback()
		auth = passwords.AUTH
		query = frappe.qb.from_(auth).select(auth.password)
		return query.where((auth.doctype == doctype) & (auth.name == name) & (auth.fieldname == field)).run()[
			0
		][0]

	def otp(self) -> str:
		return frappe.db.get_value("DefaultValue", {"defkey": OTP}, "defvalue")

	def assertEncryptedWith(self, key: str) -> None:
		"""Each in the way of the one that reads it: Frappe's own secrets in Frappe's."""
		for where, secret in self.secrets.items():
			self.assertEqual(passwords.opened(self.stored(*where), passwords.cipher(key)), secret, where)
		frappes = passwords.frappes_cipher(key)
		self.assertEqual(passwords.opened(self.stored(*OF_A_USER), frappes), "api-secret-1")
		self.assertEqual(passwords.opened(self.otp(), frappes), "otp-1")

	def assertReadable(self) -> None:
		"""By this app's code."""
		for where, secret in self.secrets.items():
			frappe.db.rollback()
			self.assertEqual(passwords.read(*where), secret)

	def test_rotate(self) -> None:
		attempt = self.attempt()
		outcome = self.rotate()
		new = self.config()["encryption_key"]
		self.assertNotEqual(new, self.key)
		self.assertEqual((self.config()[PREVIOUS], self.config().get(NEXT)), (self.key, None))
		self.assertGreaterEqual(outcome.encrypted, len(self.secrets) + 2)
		self.assertNotIn(self.app.name, str(outcome.unreadable))
		self.assertEncryptedWith(new)
		self.assertReadable()
		self.assertEqual(get_decrypted_password(*OF_A_USER), "api-secret-1")
		self.assertEqual(RedisAttemptStore().take(attempt.state), attempt)
		rotation.finish(self.report)
		self.assertNotIn(self.key, (self.folder / "site_config.json").read_text())
		self.assertEqual(set(self.config()), set(json.loads(self.others_config())))
		self.assertReadable()
		forget()
		app = frappe.get_doc("Connected App", self.app.name)
		self.assertEqual(app.get_oauth2_session(ALICE).connection["realm_id"], "4620816365")
		self.assertEqual(row(app, ALICE).status, "Connected")
		self.assertEqual(passwords.read("Connected App", app.name, "next_signing_key")[0], "{")
		self.assertTrue(revocation._kept(self.waiting).client.client_secret)

	def attempt(self) -> Attempt:
		"""Of somebody who is at the provider."""
		attempt = Attempt(
			state=Secret(frappe.generate_hash(length=20)),
			code_verifier=None,
			nonce=None,
			redirect_uri="",
			expires_at=utc_now() + timedelta(minutes=5),
		)
		RedisAttemptStore().put(attempt)
		return attempt

	def others_config(self) -> str:
		return pathlib.Path(frappe.local.sites_path, frappe.local.site, "site_config.json").read_text()

	def test_killed(self) -> None:
		"""Around each change of the configuration, and every third commit: this app reads everything at once, and the
		next run ends it."""
		with stopped_at(0, kill) as steps:
			self.rotate()
			rotation.finish(self.report)
		self.assertGreater(len(steps), 15)
		numbers = [n for n, step in enumerate(steps, 1) if "configuration" in step or n % 3 == 0]
		for number in numbers:
			before = dict(frappe.local.conf)
			with self.assertRaises(Killed), stopped_at(number, kill):
				self.rotate()
				rotation.finish(self.report)
			# A process that has read the configuration before, or now.
			for conf in (before, frappe.get_site_config()):
				frappe.local.conf = frappe._dict(conf)
				self.assertReadable()
			self.rotate()
			rotation.finish(self.report)
			self.assertEncryptedWith(self.config()["encryption_key"])

	def test_a_process_that_is_killed(self) -> None:
		self.not_on_sqlite("its file is in the site's folder")
		for number in (4, 17):
			ended = run("-c", KILLED, frappe.local.site, str(self.folder), str(number))
			self.assertEqual(ended.returncode, -signal.SIGKILL, ended.stderr)
			frappe.local.conf = frappe._dict(frappe.get_site_config())
			self.assertReadable()
		self.rotate()
		self.assertEncryptedWith(self.config()["encryption_key"])

	def test_what_is_stored_meanwhile(self) -> None:
		"""By a process that has read the configuration before: read at once, and encrypted with the new key at the
		end. What is newer is not overwritten."""
		old = frappe._dict(frappe.local.conf)
		self.rotate()
		new, frappe.local.conf = frappe.local.conf, old
		self.assertReadable()
		newer = replace(GRANT, access_token=Secret("access-2"))
		with TokenCacheStore(self.connection).exclusive() as locked:
			locked.save(newer)
		where = ("Token Cache", f"{self.app.name}-{ALICE}", "access_token")
		self.secrets[where] = "access-2"
		self.assertEqual(passwords.opened(self.stored(*where), passwords.cipher(self.key)), "access-2")
		frappe.local.conf = new
		self.assertReadable()
		rotation.finish(self.report)
		self.assertEncryptedWith(self.config()["encryption_key"])

	def test_a_newer_one_wins(self) -> None:
		self.not_on_sqlite("nobody else writes meanwhile")
		where = ("Token Cache", f"{self.app.name}-{ALICE}", "access_token")
		stored, opened = self.stored(*where), passwords.opened

		def overtaken(text: str, *ciphers: Fernet) -> str | None:
			if text == stored and not self.overtaken:
				self.overtaken = True
				with own_connection():
					passwords.store(*where, "access-2")
					frappe.db.commit()
			return opened(text, *ciphers)

		self.overtaken = False
		with patch.object(passwords, "opened", overtaken):
			self.rotate()
		self.assertTrue(self.overtaken)
		self.secrets[where] = "access-2"
		self.assertEncryptedWith(self.config()["encryption_key"])

	def test_what_no_key_opens(self) -> None:
		lost = Fernet(Fernet.generate_key()).encrypt(b"lost").decode()
		where = ("Token Cache", f"{self.app.name}-{MALLORY}", "access_token")
		frappe.db.delete("__Auth", {"doctype": where[0], "name": where[1]})
		passwords.store_encrypted([(*where, lost)])
		frappe.db.commit()
		outcome = self.rotate()
		self.assertIn("{} {}: {}".format(*where), outcome.unreadable)
		self.assertEqual(self.stored(*where), lost)

	def test_several_hosts(self) -> None:
		"""A key that was prepared, and copied to other hosts, is the one that is used."""
		rotation.prepare()
		prepared = self.config()[NEXT]
		rotation.prepare()
		self.assertEqual(self.config()[NEXT], prepared)
		self.rotate()
		self.assertEqual(self.config()["encryption_key"], prepared)
		with self.assertRaisesRegex(rotation.CannotRotate, "not finished"):
			rotation.prepare()

	def test_hosts_that_do_not_know_the_key(self) -> None:
		"""Not begun where another host would not know the new key, and not ended where one still uses the old one."""
		hosts._note("another host", "redis", hosts.fingerprint(self.key))
		frappe.db.rollback()
		with self.assertRaisesRegex(rotation.CannotRotate, "another host.*--prepare"):
			self.rotate()
		self.assertEqual(self.config(), json.loads(self.others_config()))
		rotation.prepare()
		self.rotate()
		with self.assertRaisesRegex(rotation.CannotRotate, "another host"):
			rotation.finish(self.report)
		self.assertEqual(self.config()[PREVIOUS], self.key)
		hosts._note("another host", "redis", hosts.fingerprint(self.config()["encryption_key"]))
		frappe.db.rollback()
		rotation.finish(self.report)
		self.assertNotIn(PREVIOUS, self.config())

	def test_when_it_cannot_be_done(self) -> None:
		with self.assertRaisesRegex(rotation.CannotRotate, "no previous key"):
			rotation.finish(self.report)
		with rotation._alone(), self.assertRaisesRegex(rotation.CannotRotate, "Another process"):
			self.rotate()
		config = self.config()
		(self.folder / "site_config.json").write_text(json.dumps({**config, "encryption_key": None}))
		with self.assertRaisesRegex(rotation.CannotRotate, "configuration of the bench"):
			self.rotate()
		(self.folder / "site_config.json").write_text(json.dumps(config))

	def test_the_file(self) -> None:
		"""Who may read it stays, a link stays a link, and nothing is left beside it."""
		path = self.folder / "site_config.json"
		real = self.folder / "elsewhere.json"
		path.rename(real)
		path.symlink_to(real)
		real.chmod(0o640)
		rotation.prepare()
		self.assertTrue(path.is_symlink())
		self.assertEqual(os.stat(path).st_mode & 0o777, 0o640)
		self.assertEqual(
			sorted(os.listdir(self.folder)), ["elsewhere.json", "locks", "logs", "site_config.json"]
		)

	def test_the_command(self) -> None:
		self.not_on_sqlite("its file is in the site's folder")

		def bench(*arguments: str, stdin: str = "") -> Any:
			return site.bench("connected-app", "rotate-key", *arguments, stdin=stdin, site=self.folder.name)

		self.assertEqual(bench(stdin="n\n").returncode, 1)
		self.assertEqual(bench("--finish", "--yes").returncode, 1)
		self.assertEqual(self.config()["encryption_key"], self.key)
		done = bench("--yes")
		self.assertIn("secrets encrypted with the new key", done.stdout, done.stderr)
		new = self.config()["encryption_key"]
		self.assertNotIn(new, done.stdout + done.stderr)
		self.assertEncryptedWith(new)
		self.assertIn("The old key is gone", bench("--finish", "--yes").stdout)
		self.assertNotIn(PREVIOUS, self.config())
		frappe.local.conf = frappe._dict(frappe.get_site_config())
