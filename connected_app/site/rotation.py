"""A new encryption key for the site: every secret is encrypted with it, while the site works.

Meanwhile two keys open stored secrets (see `site/passwords.py`): the one in use, and the next one, later the previous one.
Nothing is lost if a process is killed at any point: run it again, and it continues. See
docs/decisions/0026-a-new-encryption-key.md.

1. The new key is written beside the old one in site_config.json.
2. Our own secrets, which may be many, are encrypted with it, chunk by chunk.
3. Frappe's secrets, which Frappe reads with the key in use alone, are encrypted with it in one transaction, and the new
   key takes the place of the old one, which stays beside it.
4. What others have stored with the old key meanwhile is encrypted with the new one.
5. `finish`, when no process is left that has read the old configuration: 4 again, and the old key is removed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import frappe
from cryptography.fernet import Fernet
from frappe.cache_manager import clear_defaults_cache
from frappe.utils.file_lock import LockTimeoutError
from frappe.utils.password import get_encryption_key
from frappe.utils.synchronization import filelock

from connected_app.site import hosts, passwords
from connected_app.site.database import BUSY, own_transaction, writing
from connected_app.site.passwords import NEXT, PREVIOUS

IN_USE = "encryption_key"
# Documents whose secrets are encrypted in one transaction.
CHUNK = 100
# Seconds to wait for a row that a refresh holds, and how often.
LOCK_WAIT, TRIES = 10, 5
# Where Frappe keeps the secrets of two-factor authentication (frappe/twofactor.py).
TWO_FACTOR = "__2fa"


class CannotRotate(Exception):
	"""Why nothing was done, as a sentence for an operator."""


@dataclass
class Outcome:
	"""
	:param encrypted: the number of secrets that were encrypted with the new key
	:param unreadable: secrets that neither key opens: DocType, name and field. They stay as they are
	"""

	encrypted: int = 0
	unreadable: list[str] = field(default_factory=list)


Report = Callable[[Outcome], None]


def prepare() -> None:
	"""Step 1 only: for sites with several hosts, all of which must know the new key before it is used.

	:raises CannotRotate:
	"""
	with _alone():
		_prepare(_config())


def rotate(report: Report) -> Outcome:
	"""Steps 1 to 4, or the rest of them.

	:param report: called after each chunk
	:raises CannotRotate:
	"""
	outcome = Outcome()
	with _alone():
		config = _config()
		if not config.get(PREVIOUS):
			if not config.get(NEXT):
				_check_hosts()
			new = _prepare(config)
			_encrypt_all(True, new, config[IN_USE], outcome, report)
			_switch(config[IN_USE], new, outcome)
		_encrypt_rest(outcome, report)
	return outcome


def finish(report: Report) -> Outcome:
	"""Step 5.

	:raises CannotRotate:
	"""
	with _alone():
		if not _config().get(PREVIOUS):
			raise CannotRotate("There is no previous key: nothing has to be finished.")
		_check_hosts(_config()[PREVIOUS])
		outcome = _encrypt_rest(Outcome(), report)
		_write_config({PREVIOUS: None})
	return outcome


@contextmanager
def _alone() -> Iterator[None]:
	with ExitStack() as stack:
		try:
			stack.enter_context(filelock("connected_app_encryption_key", timeout=1))
		except LockTimeoutError:
			raise CannotRotate("Another process is doing this just now.") from None
		yield


def _check_hosts(old: str = "") -> None:
	"""
	:param old: the previous key, which no host may use any more; without it, there must be no other host
	:raises CannotRotate: if hosts with another site_config.json serve this site, as far as they have noted themselves
	"""
	others = [host for host in hosts.seen() if not hosts.is_this(host)]
	if old:
		others = [host for host in others if host["key"] == hosts.fingerprint(old)]
	if not others:
		return
	names = ", ".join(host["name"] for host in others)
	if old:
		raise CannotRotate(
			f"These hosts used the old key within the last 20 minutes: {names}. Copy site_config.json to them, and restart"
			" their processes; each notes within five minutes which key it uses."
		)
	raise CannotRotate(
		f"This site is served by other hosts, too: {names}. Run this with --prepare first, and copy site_config.json to"
		" them."
	)


# The configuration


def _config() -> dict[str, Any]:
	"""The current content of site_config.json.

	:raises CannotRotate: if it does not have the key
	"""
	get_encryption_key()
	with open(_path()) as file:
		config: dict[str, Any] = json.load(file)
	if not config.get(IN_USE):
		raise CannotRotate(
			"The encryption_key of this site is not in its site_config.json, but in the configuration of the bench,"
			" where other sites may use it. Move it there first."
		)
	return config


def _prepare(config: dict[str, Any]) -> str:
	"""The next key; made if there is none yet."""
	if config.get(PREVIOUS):
		raise CannotRotate("The last rotation is not finished: run it with --finish first.")
	new = str(config.get(NEXT) or Fernet.generate_key().decode())
	_write_config({NEXT: new})
	return new


def _write_config(values: dict[str, str | None]) -> None:
	"""Change site_config.json atomically. None removes a value."""
	path = _path()
	with filelock("site_config"):
		with open(path) as file:
			config = {**json.load(file), **values}
		config = {key: value for key, value in config.items() if not (key in values and value is None)}
		beside = f"{path}.{frappe.generate_hash(length=10)}"
		with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
			json.dump(config, file, indent=1, sort_keys=True)
			file.flush()
			os.fsync(file.fileno())
		shutil.copymode(path, beside)
		os.replace(beside, path)
	for key, value in values.items():
		frappe.local.conf.pop(key, None)
		if value is not None:
			frappe.local.conf[key] = value


def _path() -> str:
	# If it is a symbolic link, its target, so that it stays a link.
	return str(os.path.realpath(frappe.get_site_path("site_config.json")))


# Secrets


def _switch(old: str, new: str, outcome: Outcome) -> None:
	with own_transaction("rotation", LOCK_WAIT), writing():
		for doctype in _doctypes(ours=False):
			last: str | None = ""
			while last is not None:
				chunk = _encrypt_chunk(doctype, last, new, old)
				last = chunk.last
				outcome.encrypted += chunk.encrypted
		outcome.encrypted += _encrypt_two_factor(new, old)
		# Before the commit: if this is killed in between, `rotate` finds both keys, and continues with step 4.
		_write_config({IN_USE: new, PREVIOUS: old, NEXT: None})
	clear_defaults_cache(TWO_FACTOR)


def _encrypt_rest(outcome: Outcome, report: Report) -> Outcome:
	"""Encrypt again until no secret needs the previous key."""
	config = _config()
	new, old = config[IN_USE], config[PREVIOUS]
	before = -1
	while outcome.encrypted != before:
		before = outcome.encrypted
		outcome.unreadable.clear()
		for ours in (True, False):
			_encrypt_all(ours, new, old, outcome, report)
		with own_transaction("rotation", LOCK_WAIT), writing():
			outcome.encrypted += _encrypt_two_factor(new, old)
	clear_defaults_cache(TWO_FACTOR)
	return outcome


@dataclass
class Chunk(Outcome):
	"""
	:param last: the name of the last document; None if there are no more
	"""

	last: str | None = None


def _encrypt_all(ours: bool, new: str, old: str, outcome: Outcome, report: Report) -> None:
	"""Encrypt all secrets, each chunk in its own transaction."""
	for doctype in _doctypes(ours):
		last: str | None = ""
		while last is not None:
			chunk = _in_transaction(doctype, last, new, old)
			last = chunk.last
			outcome.encrypted += chunk.encrypted
			outcome.unreadable += chunk.unreadable
			report(outcome)


def _in_transaction(doctype: str, after: str, new: str, old: str) -> Chunk:
	for attempt in range(TRIES):
		try:
			with own_transaction("rotation", LOCK_WAIT), writing():
				return _encrypt_chunk(doctype, after, new, old)
		except BUSY:
			if attempt == TRIES - 1:
				raise
	raise AssertionError


def _encrypt_chunk(doctype: str, after: str, new: str, old: str) -> Chunk:
	"""Encrypt the secrets of some documents with the key `new`, unless they are already.

	:param after: the document before the first, in the order of the primary key
	"""
	auth = passwords.AUTH
	of_type = auth.doctype == doctype
	names = frappe.qb.from_(auth).select(auth.name).distinct().orderby(auth.name).limit(CHUNK)
	names = names.where(of_type & (auth.name > after)).run(pluck=True)
	if not names:
		return Chunk()
	rows = frappe.qb.from_(auth).select(auth.name, auth.fieldname, auth.password)
	rows = rows.where(of_type & auth.name.isin(names) & (auth.encrypted == 1)).run()
	ours, frappes = passwords.cipher, passwords.frappes_cipher
	right, other = (ours, frappes) if doctype in passwords.DOCTYPES else (frappes, ours)
	chunk = Chunk(last=names[-1] if len(names) == CHUNK else None)
	for name, fieldname, stored in rows:
		if passwords.opened(stored, right(new)) is not None:
			continue
		secret = passwords.opened(stored, right(old), other(new), other(old))
		if secret is None:
			chunk.unreadable.append(f"{doctype} {name}: {fieldname}")
			continue
		query = frappe.qb.update(auth).set(auth.password, right(new).encrypt(secret.encode()).decode())
		query = query.where(of_type & (auth.name == name) & (auth.fieldname == fieldname))
		# Another process may have stored a newer secret since it was read.
		query.where(auth.password == stored).run()
		chunk.encrypted += max(frappe.db._cursor.rowcount, 0)
	return chunk


def _encrypt_two_factor(new: str, old: str) -> int:
	default = frappe.qb.DocType("DefaultValue")
	rows = frappe.qb.from_(default).select(default.name, default.defvalue)
	rows = rows.where((default.parent == TWO_FACTOR) & default.defkey.like("%_otpsecret")).run()
	number, good = 0, passwords.frappes_cipher(new)
	for name, stored in rows:
		if passwords.opened(stored or "", good) is not None:
			continue
		secret = passwords.opened(stored or "", passwords.frappes_cipher(old))
		if secret is not None:
			query = frappe.qb.update(default).set(default.defvalue, good.encrypt(secret.encode()).decode())
			query.where((default.name == name) & (default.defvalue == stored)).run()
			number += max(frappe.db._cursor.rowcount, 0)
	return number


def _doctypes(ours: bool) -> list[str]:
	auth = passwords.AUTH
	found = frappe.qb.from_(auth).select(auth.doctype).distinct().run(pluck=True)
	return sorted(doctype for doctype in found if (doctype in passwords.DOCTYPES) == ours)
