"""Secrets of documents, in Frappe's password store.

They are encrypted with a key that is derived from the site's, so that Frappe's own functions read none of them:
`Document.get_password` reads what its document's `doctype` and `name` say, and an expression can set both. Neither a
document's fields nor the length of its stars hold a secret.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

import frappe
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from frappe import _
from frappe.model.base_document import get_controller
from frappe.model.document import Document
from frappe.query_builder import Order, Table
from frappe.utils import password as frappes
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Request

from connected_app.oauth.redact import Secret
from connected_app.site.callers import Caller, caller, for_code
from connected_app.site.database import CHUNK, show_progress

H = TypeVar("H", bound="Hidden")
# A fixed length: Frappe's own placeholder is as long as the secret (core-defects 14). Any number of stars means
# "unchanged" to Frappe, so saving a form again keeps the secret.
PLACEHOLDER = "*" * 8
AUTH = Table("__Auth")
DOCTYPES = ("Connected App", "Token Cache", "Pending Revocation", "Offboarding", "Client Registration")
# In the site's configuration: keys that open what was stored with them, beside the one in use, while that is being
# replaced (see `site/rotation.py`).
NEXT, PREVIOUS = "connected_app_next_encryption_key", "connected_app_previous_encryption_key"


class Hidden(str):
	"""Stars, behind which a secret is carried. A copy has the stars only, and so has a job that is given them."""

	__slots__ = ("_behind",)
	_behind: str

	@classmethod
	def of(cls: type[H], secret: str) -> H:
		hidden = cls(PLACEHOLDER)
		hidden._behind = secret
		return hidden

	def __reduce__(self) -> tuple[type, tuple[str]]:
		return str, (str(self),)


def behind(hidden: Hidden) -> str:
	"""The secret. Not by an attribute, which texts and scripts could read."""
	return hidden._behind


class Unsaved(Hidden):
	"""What stands in a field for a secret that is still to be stored. Hooks of the document see the stars; in another field,
	where a text or a script has put it to have it stored there, it is nothing else."""

	__slots__ = ("_place",)
	_place: tuple[Document, str]

	@classmethod
	def at(cls, document: Document, field: str, secret: str) -> Unsaved:
		unsaved = cls.of(secret)
		unsaved._place = document, field
		return unsaved


def _unsaved(document: Document, field: str) -> str | None:
	"""The secret that is still to be stored in this field of this document."""
	value = document.get(field)
	if not isinstance(value, Unsaved):
		return None
	place, its_field = value._place
	return behind(value) if place is document and its_field == field else None


class SecretKeeper(Document):
	"""A document with Password fields, which are named in `SECRETS`; of these, Server Scripts may read `FOR_SCRIPTS`.
	Those that a site has added are kept in the same way."""

	SECRETS: ClassVar[tuple[str, ...]] = ()
	FOR_SCRIPTS: ClassVar[tuple[str, ...]] = ()

	def insert(self, *args: Any, **kwargs: Any) -> Any:
		self.hide_secrets()
		return super().insert(*args, **kwargs)

	def save(self, *args: Any, **kwargs: Any) -> Any:
		self.hide_secrets()
		return super().save(*args, **kwargs)

	def _secrets(self) -> Iterable[str]:
		added = (field.fieldname for field in self.meta.get("fields", {"fieldtype": "Password"}))
		return dict.fromkeys((*self.SECRETS, *added))

	def hide_secrets(self) -> None:
		"""Put stars where secrets that are still to be stored stand."""
		for field in self._secrets():
			value = self.get(field)
			if value and not isinstance(value, Unsaved) and not self.is_dummy_password(value):
				forget_sent(str(value))
				self.set(field, Unsaved.at(self, field, value))

	def _save_passwords(self) -> None:
		self.hide_secrets()
		ignored = self.flags.ignore_save_passwords or ()
		for field in self._secrets():
			if ignored is True or field in ignored:
				continue
			if (secret := _unsaved(self, field)) is not None:
				store(self.doctype, self.name, field, secret)
			if self.get(field):
				self.set(field, PLACEHOLDER)
			else:
				frappes.remove_encrypted_password(self.doctype, self.name, field)

	@for_code
	def get_password(self, fieldname: str = "password", raise_exception: bool = True) -> str | None:
		"""As Frappe's.

		:raises frappe.AuthenticationError: without one
		:raises frappe.ValidationError: for one that cannot be read
		:raises frappe.PermissionError: to browsers, expressions and templates; to a Server Script, for what is not
			`FOR_SCRIPTS`, and for a document that it has given another DocType
		"""
		if caller() is Caller.SCRIPT and not (
			fieldname in self.FOR_SCRIPTS and isinstance(self, get_controller(self.doctype))
		):
			raise frappe.PermissionError(_("Server Scripts may not read this secret."))
		if (secret := _unsaved(self, fieldname)) is not None:
			return secret
		value = self.get(fieldname)
		if value and not self.is_dummy_password(value):
			return str(value)
		return read(self.doctype, self.name, fieldname, raise_exception)


def forget_sent(*secrets: str) -> None:
	"""Take what was sent with `secrets` in it from the present request. Frappe hands that to texts and scripts, and to
	some logs."""
	forms = [form for secret in secrets for form in (secret, json.dumps(secret)[1:-1]) if secret]
	for name, value in list(frappe.form_dict.items()):
		if any(form in _as_text(value) for form in forms):
			del frappe.form_dict[name]
	request = getattr(frappe.local, "request", None)
	if isinstance(request, Request) and forms:
		# As werkzeug has it once it was read.
		request.environ["wsgi.input"] = io.BytesIO()
		vars(request).update(form=MultiDict(), stream=io.BytesIO(), _cached_data=b"", data=b"", json=None)
		vars(request).update(values=request.args, _cached_json=(None, None))


def _as_text(value: Any) -> str:
	if isinstance(value, str):
		return value
	try:
		return str(frappe.as_json(value))
	except Exception:
		# Code that runs a script puts what it likes there.
		return str(value)


def store(doctype: str, name: str, fieldname: str, secret: str) -> None:
	"""As `frappe.utils.password.set_encrypted_password`."""
	replace = frappe.qb.update(AUTH).set(AUTH.password, encrypt(secret)).where(_at(doctype, name, fieldname))
	replace.run()
	if frappe.db._cursor.rowcount < 1:
		# Frappe's function inserts or updates, as each database does; what it has encrypted is then replaced.
		frappes.set_encrypted_password(doctype, name, PLACEHOLDER, fieldname)
		replace.run()


def store_encrypted(secrets: Iterable[tuple[str, str, str, str]]) -> None:
	"""Store many at once.

	:param secrets: DocType, name and field, for which there is none yet, and what `encrypt` gave
	"""
	query = frappe.qb.into(AUTH).columns(
		AUTH.doctype, AUTH.name, AUTH.fieldname, AUTH.password, AUTH.encrypted
	)
	query.insert(*((*secret, 1) for secret in secrets)).run()


def is_readable(stored: str) -> bool:
	"""Whether this site's key opens it."""
	try:
		return bool(decrypt(stored))
	except frappe.ValidationError:
		frappe.clear_last_message()
		return False


def read(doctype: str, name: str, fieldname: str, raise_exception: bool = True) -> str | None:
	"""As `frappe.utils.password.get_decrypted_password`.

	:raises frappe.AuthenticationError: without one
	:raises frappe.ValidationError: for one that cannot be read
	"""
	found = frappe.qb.from_(AUTH).select(AUTH.password).where(_at(doctype, name, fieldname)).limit(1).run()
	if not found and raise_exception:
		raise frappe.AuthenticationError(f"{doctype} {name} has no {fieldname}")
	try:
		return decrypt(found[0][0]) if found else None
	except frappe.ValidationError:
		if raise_exception:
			raise
		frappe.clear_last_message()
		return None


def has_password(doctype: str, name: str, fieldname: str) -> bool:
	"""Whether a password is stored, readable or not."""
	return bool(frappe.qb.from_(AUTH).select(AUTH.name).where(_at(doctype, name, fieldname)).limit(1).run())


def _at(doctype: str, name: str, fieldname: str) -> Any:
	return (
		(AUTH.doctype == doctype)
		& (AUTH.name == name)
		& (AUTH.fieldname == fieldname)
		& (AUTH.encrypted == 1)
	)


def encrypt(secret: str) -> str:
	return cipher(frappes.get_encryption_key()).encrypt(secret.encode()).decode()


def decrypt(stored: str) -> str:
	"""
	:param stored: what `encrypt` gave, or Frappe's own function of that name: core's rows, and what other code stored
	:raises frappe.ValidationError: for what no key opens
	"""
	tried = set()
	for site_key in _keys():
		if site_key not in tried:
			tried.add(site_key)
			if (secret := opened(stored, cipher(site_key), frappes_cipher(site_key))) is not None:
				return secret
	return frappes.decrypt(stored)


def opened(stored: str, *ciphers: Fernet) -> str | None:
	"""The secret, or None where none of `ciphers` opens it."""
	for each in ciphers:
		try:
			return each.decrypt(stored).decode()
		except (InvalidToken, ValueError):
			pass
	return None


def _keys() -> Iterator[Secret]:
	"""The keys that may open something, the one in use first. A process that lives long has read the configuration long
	ago: where no key of its own does, it looks again."""
	yield Secret(frappes.get_encryption_key())
	for read in (lambda: frappe.local.conf, frappe.get_site_config):
		configuration = read()
		names = ("encryption_key", NEXT, PREVIOUS)
		yield from (Secret(key) for name in names if (key := configuration.get(name)))


@lru_cache(maxsize=16)
def cipher(site_key: str) -> Fernet:
	derived = HKDF(SHA256(), 32, salt=None, info=b"connected_app").derive(site_key.encode())
	return Fernet(base64.urlsafe_b64encode(derived))


@lru_cache(maxsize=16)
def frappes_cipher(site_key: str) -> Fernet:
	return Fernet(site_key.encode())


def take_over() -> None:
	"""Encrypt what core, or this app before it had a key of its own, has stored."""
	_encrypt_again(encrypt)


def hand_back() -> None:
	"""The inverse: core is to read it."""
	_encrypt_again(frappes.encrypt)


def chunks(doctype: str, first: bool = True) -> Iterator[list[tuple[str, str, str]]]:
	"""All secrets of `doctype`, those of some documents at a time: name, field, and what is stored.

	:param first: in the order of the documents' names, or backwards
	"""
	last, order = None, Order.asc if first else Order.desc
	while True:
		names = frappe.qb.from_(AUTH).select(AUTH.name).distinct().where(AUTH.doctype == doctype)
		if last is not None:
			names = names.where(AUTH.name > last if first else AUTH.name < last)
		found = names.orderby(AUTH.name, order=order).limit(CHUNK).run(pluck=True)
		if not found:
			return
		rows = frappe.qb.from_(AUTH).select(AUTH.name, AUTH.fieldname, AUTH.password)
		yield rows.where((AUTH.doctype == doctype) & AUTH.name.isin(found) & (AUTH.encrypted == 1)).run()
		last = found[-1]


def _encrypt_again(encrypt: Callable[[str], str]) -> None:
	for doctype in DOCTYPES:
		total, done = frappe.db.count("__Auth", {"doctype": doctype}), 0
		for rows in chunks(doctype):
			again = [(doctype, name, field, _again(stored, encrypt)) for name, field, stored in rows]
			if again:
				# Two statements for a chunk, instead of one for each secret.
				names = list({name for _doctype, name, *_rest in again})
				frappe.db.delete("__Auth", {"doctype": doctype, "name": ("in", names), "encrypted": 1})
				store_encrypted(again)
			done += len(rows)
			show_progress(f"Encrypting {doctype}", done, total)


def _again(stored: str, encrypt: Callable[[str], str]) -> str:
	try:
		return encrypt(decrypt(stored))
	except frappe.ValidationError:
		# With another key of the site's, which may come back.
		frappe.clear_last_message()
		return stored
