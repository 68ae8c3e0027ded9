"""Provider templates: what is known of a provider, as data. Reads and checks them; knows no provider itself.

One TOML file a provider, in `connected_app/providers/` or in another app. Its keys are `SCHEMA`, and nothing else; docs/
providers.md explains them. A product of a family says `like` and takes over what the other template says. `{x}` in an
address stands for an input that `[ask.x]` describes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

from . import catalogue
from .errors import OAuthError
from .paths import split
from .provider import STANDARD, Provider, Quirks, Revocation, Trade
from .shape import FORM, QUERY, Shape

if sys.version_info >= (3, 11):
	import tomllib
else:
	import tomli as tomllib

CATEGORIES = (
	"mail", "files", "calendar", "office", "crm", "accounting", "payments", "commerce", "marketplace", "marketing",
	"advertising", "social", "messaging", "meetings", "project", "developer", "identity", "hr", "support", "logistics",
	"health", "banking", "analytics", "cms", "signing", "education", "other",
)  # fmt: skip
AUTHENTICATION = (
	"automatic", "client_secret_basic", "client_secret_post", "client_secret_basic_raw", "secret_as_user", "none",
	"client_secret_jwt", "private_key_jwt", "signed_client_secret", "tls_client_auth", "self_signed_tls_client_auth",
	"omitted",
)  # fmt: skip
# How the first grant is had.
GRANTS = ("consent", "service_account", "token_exchange")
UNITS = ("seconds", "milliseconds", "epoch", "epoch_milliseconds", "iso")

_PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_.]*)\}", re.IGNORECASE)
_KEY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# An input within a host name, and one that is a whole host name, with or without a port.
_LABELS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?")

# A check gives what is wrong with a value, in a few words, or an empty text.
Check = Callable[[Any], str]


def _a(kind: type, words: str) -> Check:
	return lambda value: "" if type(value) is kind and value not in ("", []) else f"must be {words}"


def _one_of(*choices: str) -> Check:
	return lambda value: "" if value in choices else f"must be one of {', '.join(choices)}"


def _address(value: Any) -> str:
	if not isinstance(value, str):
		return "must be an address"
	parts = split(_PLACEHOLDER.sub("x", value))
	if parts.scheme != "https" or not parts.hostname or parts.username is not None:
		return "must be an https address"
	return ""


def _texts(value: Any) -> str:
	right = isinstance(value, list) and value and all(isinstance(each, str) and each for each in value)
	return "" if right else "must be a list of texts"


def _texts_or_numbers(value: Any) -> str:
	right = isinstance(value, list) and value and all(type(each) in (str, int) for each in value)
	return "" if right else "must be a list of texts and numbers"


def _table(value: Any) -> str:
	right = isinstance(value, dict) and value and all(isinstance(each, str) for each in value.values())
	return "" if right else "must be a table of texts"


def _number(value: Any) -> str:
	return "" if type(value) is int and value >= 0 else "must be a whole number"


def _source(*kinds: str) -> Check:
	def check(value: Any) -> str:
		if not isinstance(value, dict) or not value:
			return "must be a table"
		wrong = [
			name
			for name, where in value.items()
			if not isinstance(where, str)
			or where.partition(":")[0] not in kinds
			or not where.partition(":")[2]
		]
		return f"{wrong[0]} must be {' or '.join(kind + ':…' for kind in kinds)}" if wrong else ""

	return check


_text, _flag = _a(str, "a text"), _a(bool, "true or false")
_REQUEST: dict[str, Check] = {"url": _address, "method": _one_of("GET", "POST"), "fields": _table}

SCHEMA: dict[str, Check | dict[str, Check]] = {
	# Itself
	"name": _text,
	"category": _one_of(*CATEGORIES),
	"like": _text,
	"hidden": _flag,
	"register": _address,
	"guide": _address,
	"notes": _texts,
	"unsupported": _text,
	"checked": {"on": _a(date, "a date"), "by": _texts, "confidence": _one_of("high", "medium", "low")},
	# Addresses
	"discovery": _address,
	"issuer": _address,
	"authorize": _address,
	"token": _address,
	"refresh": _address,
	"jwks": _address,
	"device": _address,
	"hosts": _texts,
	# Consent
	"scopes": _texts,
	"scope_words": _table,
	"separator": _a(str, "a text"),
	"scope_parameter": _text,
	"parameters": _table,
	"more_consent": _table,
	"another_account": _table,
	"pkce": _flag,
	"rename": _table,
	"code_parameter": _text,
	"redirect_uri": _text,
	# Token request
	"client_authentication": _one_of(*AUTHENTICATION),
	"renewal_authentication": _one_of(*AUTHENTICATION),
	"assertion_audience": _one_of("issuer", "token", "endpoint"),
	"secret_claims": _table,
	"grant": _one_of(*GRANTS),
	"assertion": _table,
	"body": _one_of("form", "json"),
	"method": _one_of("POST", "GET"),
	"exchange": _table,
	"renew": _table,
	"client": _table,
	"scope_on_refresh": _one_of("omit", "granted"),
	"headers": _table,
	"user_agent": _text,
	# Answer
	"answer": {
		"access_token": _text,
		"refresh_token": _text,
		"token_type": _text,
		"expires": _text,
		"scope": _text,
		"unit": _one_of(*UNITS),
		"default_life": _number,
	},
	"keep": _source("callback", "answer", "userinfo"),
	"granted_scopes": _text,
	# Life
	"renewal": _one_of("refresh", "exchange", "none"),
	"trade": _REQUEST,
	"retrade": _REQUEST,
	"idle_days": _number,
	"lasts_days": _number,
	"single_use": _flag,
	"leeway": _number,
	"requests_per_minute": _number,
	"errors": dict.fromkeys(("reconnect", "later", "admin", "declined"), _texts),
	# API, account, revocation, identity, mail
	"api": {"base": _address, "header": _text, "headers": _table, "expired": _texts_or_numbers},
	"account": {
		"url": _address,
		"method": _one_of("GET", "POST"),
		"body": _text,
		"headers": _table,
		"id": _text,
		"name": _text,
	},
	"revoke": {
		"url": _address,
		"method": _one_of("POST", "GET", "DELETE"),
		"body": _one_of("form", "json", "none"),
		"token": _text,
		"auth": _one_of("client", "basic", "bearer", "none"),
		"tokens": _texts,
		"success": _text,
		"hint": _flag,
	},
	"identity": {
		"nonce": _flag,
		"audiences": _one_of("one", "azp"),
		"issuer": _one_of("discovered", "any"),
	},
	"mail": {
		"imap": _text,
		"imap_port": _number,
		"smtp": _text,
		"smtp_port": _number,
		"smtp_tls": _one_of("starttls", "ssl"),
		"scopes": _texts,
	},
}
ASK: dict[str, Check] = {
	"label": _text,
	"example": _text,
	"pattern": _text,
	"choices": _table,
	"default": _text,
}
# What a key has where it is left out. A template that says it all the same says nothing.
DEFAULTS: dict[str, Any] = {
	"hidden": False,
	"scopes": [],
	"separator": " ",
	"scope_parameter": "scope",
	"pkce": True,
	"code_parameter": "code",
	"client_authentication": "automatic",
	"assertion_audience": "issuer",
	"grant": "consent",
	"body": "form",
	"method": "POST",
	"scope_on_refresh": "omit",
	"renewal": "refresh",
	"single_use": False,
	"leeway": 30,
	"requests_per_minute": 0,
	"answer.unit": "seconds",
	"trade.method": "GET",
	"retrade.method": "GET",
	"api.header": "Authorization: Bearer {token}",
	"account.method": "GET",
	"revoke.method": "POST",
	"revoke.body": "form",
	"revoke.token": "token",
	"revoke.auth": "client",
	"revoke.tokens": ["refresh", "access"],
	"revoke.hint": False,
	"identity.nonce": True,
	"identity.audiences": "one",
	"identity.issuer": "discovered",
	"mail.imap_port": 993,
	"mail.smtp_port": 587,
	"mail.smtp_tls": "starttls",
}
# Keys with an address in which inputs may stand.
ADDRESSES = (
	"discovery", "issuer", "authorize", "token", "refresh", "jwks", "device", "register", "guide",
	"trade.url", "retrade.url", "api.base", "account.url", "revoke.url",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Input:
	"""What an admin has to say before the addresses are known: a tenant, a shop, a region.

	:param pattern: what the whole value has to match, as a regular expression
	:param choices: the values to choose from, with what they mean
	"""

	name: str
	label: str
	example: str = ""
	pattern: str = ""
	choices: Mapping[str, str] = field(default_factory=dict)
	default: str = ""

	def checked(self, value: str) -> str:
		"""
		:raises ConfigurationError: `provider_input_missing`, `provider_input_invalid`
		"""
		value = value.strip() or self.default
		if not value:
			raise catalogue.error(
				"provider_input_missing", self.label, self.example or next(iter(self.choices), "")
			)
		allowed = value in self.choices if self.choices else re.fullmatch(self.pattern or ".+", value)
		if not allowed or not value.isprintable():
			raise self.invalid()
		return value

	def invalid(self) -> OAuthError:
		return catalogue.error("provider_input_invalid", self.label, self.example or ", ".join(self.choices))


@dataclass(frozen=True, kw_only=True)
class Template:
	"""One provider, with what it takes over from another already in place.

	:param values: what the file says, by the keys of `SCHEMA`
	"""

	key: str
	values: Mapping[str, Any]

	def __getitem__(self, path: str) -> Any:
		"""The value at `path`, such as `revoke.url`; its default, or None, where the template does not say."""
		table, _dot, key = path.rpartition(".")
		found = self.values.get(table, {}) if table else self.values
		return found.get(key, DEFAULTS.get(path))

	@property
	def name(self) -> str:
		return str(self.values["name"])

	@property
	def is_offered(self) -> bool:
		"""Whether an admin can choose it."""
		return not self["hidden"]

	@property
	def inputs(self) -> tuple[Input, ...]:
		return tuple(Input(name=name, **about) for name, about in self.values.get("ask", {}).items())

	def checked(self, given: Mapping[str, str]) -> dict[str, str]:
		"""The inputs, each checked.

		:param given: what an admin has entered, by name
		:raises ConfigurationError: `provider_input_missing`, `provider_input_invalid`
		"""
		values = {each.name: each.checked(str(given.get(each.name) or "")) for each in self.inputs}
		for path in ADDRESSES:
			if self[path]:
				self._filled(self[path], values)
		return values

	def address(self, path: str, inputs: Mapping[str, str]) -> str:
		"""The address at `path` with the inputs filled in; empty where the template has none.

		:param inputs: as `checked` gives them
		:raises ConfigurationError: `provider_input_invalid`, when the address would leave the host it should stay on
		"""
		return self._filled(self[path], inputs) if self[path] else ""

	def provider(self, inputs: Mapping[str, str]) -> Provider:
		"""The provider as the template knows it; without what only its metadata say.

		:param inputs: as `checked` gives them
		"""
		return Provider(
			authorization_uri=self.address("authorize", inputs),
			token_uri=self.address("token", inputs),
			refresh_uri=self.address("refresh", inputs),
			revocation_uri=self.address("revoke.url", inputs),
			userinfo_uri=self.address("account.url", inputs),
			jwks_uri=self.address("jwks", inputs),
			device_authorization_uri=self.address("device", inputs),
			issuer=self.address("issuer", inputs),
			scope_separator=self["separator"],
			scope_on_refresh=self["scope_on_refresh"],
			quirks=self.quirks(inputs),
		)

	def quirks(self, inputs: Mapping[str, str]) -> Quirks:
		"""Where the provider differs from the standards."""
		headers = {
			**(self["headers"] or {}),
			**({"User-Agent": self["user_agent"]} if self["user_agent"] else {}),
		}
		errors = self.values.get("errors", {})
		return Quirks(
			scope_parameter=self["scope_parameter"],
			rename=self["rename"] or {},
			redirect_uri=self._text("redirect_uri", inputs),
			code_parameter=self["code_parameter"],
			exchange_fields=self._fields("exchange", inputs),
			renewal_fields=self._fields("renew", inputs),
			client_fields=self._fields("client", inputs),
			renewal_authentication=self["renewal_authentication"] or "",
			assertion_audience=self["assertion_audience"],
			assertion_claims=self._fields("assertion", inputs),
			secret_claims=self._fields("secret_claims", inputs),
			token_request=Shape(
				method=self["method"], body="query" if self["method"] == "GET" else self["body"]
			),
			headers=headers,
			answer=self["answer"] or {},
			trade=self._trade("trade", inputs),
			retrade=self._trade("retrade", inputs),
			keep=self["keep"] or {},
			more_consent=self["more_consent"] or {},
			another_account=self["another_account"] or {},
			granted_scopes=self["granted_scopes"] or "",
			reconnect_errors=(*STANDARD.reconnect_errors, *errors.get("reconnect", ())),
			later_errors=(*STANDARD.later_errors, *errors.get("later", ())),
			admin_errors=tuple(errors.get("admin", ())),
			declined_errors=tuple(errors.get("declined", ())),
			account_request=Shape(
				method=self["account.method"], body="none", headers=self["account.headers"] or {}
			),
			account_body=self["account.body"] or "",
			account_id=_paths(self["account.id"], STANDARD.account_id),
			account_name=_paths(self["account.name"], STANDARD.account_name),
			api_header=self["api.header"],
			api_headers=self._fields("api.headers", inputs),
			api_expired=tuple(str(each) for each in self["api.expired"] or ()),
			api_base=self.address("api.base", inputs),
			hosts=tuple(self["hosts"] or ()),
			revocation=Revocation(
				shape=Shape(method=self["revoke.method"], body=self["revoke.body"]),
				token=self["revoke.token"],
				authentication=self["revoke.auth"],
				tokens=tuple(self["revoke.tokens"]),
				success=self["revoke.success"] or "",
				hint=self["revoke.hint"],
			),
			nonce_is_required=self["identity.nonce"],
			other_audiences=self["identity.audiences"] == "azp",
		)

	def parameters(self, inputs: Mapping[str, str]) -> dict[str, str]:
		"""The extra parameters of the consent page."""
		return self._fields("parameters", inputs)

	def scopes(self, inputs: Mapping[str, str]) -> list[str]:
		"""The scopes that are asked for by default; some have an input in them."""
		return [_with(scope, inputs) for scope in self["scopes"]]

	def _trade(self, name: str, inputs: Mapping[str, str]) -> Trade | None:
		if self["renewal"] != "exchange" or name not in self.values:
			return None
		method = self[f"{name}.method"]
		return Trade(
			url=self.address(f"{name}.url", inputs),
			fields=self._fields(f"{name}.fields", inputs),
			shape=QUERY if method == "GET" else FORM,
		)

	def _fields(self, path: str, inputs: Mapping[str, str]) -> dict[str, str]:
		"""A table with the inputs filled in, and nothing else."""
		return {name: _with(value, inputs) for name, value in (self[path] or {}).items()}

	def _text(self, path: str, inputs: Mapping[str, str]) -> str:
		return _with(self[path] or "", inputs)

	def _filled(self, address: str, inputs: Mapping[str, str]) -> str:
		"""Within a host an input is part of a name; behind the host it is one encoded piece."""
		scheme, _separator, rest = address.partition("://")
		host, slash, path = rest.partition("/")
		known = {each.name: each for each in self.inputs}

		def in_host(found: re.Match[str]) -> str:
			name = found[1]
			if name not in known:
				return found[0]
			value = inputs[name]
			whole = found[0] == host
			if not (_HOST if whole else _LABELS).fullmatch(value) or ".." in value:
				raise known[name].invalid()
			return value

		def behind(found: re.Match[str]) -> str:
			name = found[1]
			if name not in known:
				return found[0]
			if inputs[name] in (".", ".."):
				raise known[name].invalid()
			return quote(inputs[name], safe="")

		return f"{scheme}://{_PLACEHOLDER.sub(in_host, host)}{slash}{_PLACEHOLDER.sub(behind, path)}"


def _paths(own: str | None, usual: tuple[str, ...]) -> tuple[str, ...]:
	return (own, *usual) if own else usual


def _with(text: str, inputs: Mapping[str, str]) -> str:
	return _PLACEHOLDER.sub(lambda found: inputs.get(found[1], found[0]), text)


def load(folders: Iterable[Path]) -> dict[str, Template]:
	"""All templates, by key. A later folder replaces what an earlier one has.

	:param folders: with `*.toml` files
	:raises ConfigurationError: `template_invalid`
	"""
	said: dict[str, dict[str, Any]] = {}
	for folder in folders:
		for path in sorted(folder.glob("*.toml")):
			said[path.stem] = _read(path)
	return {key: Template(key=key, values=_resolved(key, said)) for key in said}


def _read(path: Path) -> dict[str, Any]:
	if not _KEY.fullmatch(path.stem):
		raise invalid(path.stem, "its file name may have small letters, digits and hyphens only")
	try:
		said = tomllib.loads(path.read_text(encoding="utf-8"))
	except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
		fault = str(error)
	else:
		check(path.stem, said)
		return said
	raise invalid(path.stem, fault)


def check(key: str, said: Mapping[str, Any]) -> None:
	"""Check what one file says, by itself.

	:raises ConfigurationError: `template_invalid`
	"""
	for name, value in said.items():
		if name == "ask":
			_check_ask(key, value)
			continue
		expected = SCHEMA.get(name)
		if expected is None:
			raise invalid(key, f"the key {name} is not known")
		if callable(expected):
			_check_value(key, name, value, expected)
			continue
		if not isinstance(value, dict) or not value:
			raise invalid(key, f"{name} must be a table")
		for inner, each in value.items():
			if inner not in expected:
				raise invalid(key, f"the key {name}.{inner} is not known")
			_check_value(key, f"{name}.{inner}", each, expected[inner])


def _check_ask(key: str, asks: Any) -> None:
	if not isinstance(asks, dict):
		raise invalid(key, "ask must be a table")
	for name, about in asks.items():
		if not isinstance(about, dict) or "label" not in about:
			raise invalid(key, f"ask.{name} needs a label")
		for inner, value in about.items():
			if inner not in ASK:
				raise invalid(key, f"the key ask.{name}.{inner} is not known")
			_check_value(key, f"ask.{name}.{inner}", value, ASK[inner])
		try:
			re.compile(about.get("pattern", ""))
		except re.error:
			raise invalid(key, f"ask.{name}.pattern is not a regular expression") from None


def _check_value(key: str, path: str, value: Any, right: Check) -> None:
	if fault := right(value):
		raise invalid(key, f"{path} {fault}")


def _resolved(key: str, said: Mapping[str, Mapping[str, Any]], seen: tuple[str, ...] = ()) -> dict[str, Any]:
	"""What the template says together with what it takes over. Tables are merged key by key."""
	own = said[key]
	other = own.get("like")
	values: dict[str, Any] = {}
	if other is not None:
		if other not in said or other in (*seen, key):
			raise invalid(key, f"like = {other} leads to no template")
		values = {
			name: value for name, value in _resolved(other, said, (*seen, key)).items() if name not in _OWN
		}
	for name, value in own.items():
		inherited = values.get(name)
		values[name] = (
			{**inherited, **value} if isinstance(inherited, dict) and isinstance(value, dict) else value
		)
	if not seen:
		_check_whole(key, values)
	return values


# What a template does not take over.
_OWN = frozenset({"hidden", "like", "notes", "unsupported"})


def _check_whole(key: str, values: Mapping[str, Any]) -> None:
	template = Template(key=key, values=values)
	if "name" not in values or "category" not in values:
		raise invalid(key, "name and category are needed")
	if "unsupported" not in values and not values.get("hidden"):
		if not (template["discovery"] or template["token"]):
			raise invalid(key, "token or discovery is needed")
	asked = set(values.get("ask", {}))
	kept = set(values.get("keep", {}))
	for path in ADDRESSES:
		for name in _PLACEHOLDER.findall(template[path] or ""):
			if name in asked or (
				name == "access_token" and path in ("trade.url", "retrade.url", "revoke.url")
			):
				continue
			if name in ("token", "client_id") and path in ("revoke.url", "account.url"):
				continue
			if name.rpartition(".")[2] not in kept or not values.get("hosts"):
				raise invalid(key, f"{path} has the placeholder {{{name}}}, for which nothing is asked")


def invalid(key: str, why: str) -> OAuthError:
	return catalogue.error("template_invalid", key, why)
