"""Provider templates: facts about providers, as data. This module reads them; it knows no provider itself.

One TOML file a provider, in `connected_app/providers/` or in another app. Its keys are those of `template_schema.SCHEMA`,
and nothing else. A product of a family says `like`, and takes over the values of the other template. `{x}` in an
address stands for an input that `[ask.x]` describes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from . import catalogue, template_schema
from .errors import OAuthError
from .provider import STANDARD, Provider, Quirks, Revocation, Trade
from .shape import FORM, QUERY, Shape
from .template_schema import ADDRESSES, DEFAULTS, PLACEHOLDER

if sys.version_info >= (3, 11):
	import tomllib
else:
	import tomli as tomllib

_KEY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# An input within a host name, and one that is a whole host name, with or without a port.
_LABELS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?")


@dataclass(frozen=True, kw_only=True)
class Input:
	"""A value that an admin must enter before the addresses are known: a tenant, a shop, a region.

	:param pattern: a regular expression that the whole value must match
	:param choices: the values to choose from, and their meanings
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
	"""One provider; values from a template that it takes over are already in place.

	:param values: by the keys of `SCHEMA`
	"""

	key: str
	values: Mapping[str, Any]

	def __getitem__(self, path: str) -> Any:
		"""The value at `path`, such as `revoke.url`; its default, or None, if the template leaves it out."""
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

		:param given: an admin's entries, by name
		:raises ConfigurationError: `provider_input_missing`, `provider_input_invalid`
		"""
		values = {each.name: each.checked(str(given.get(each.name) or "")) for each in self.inputs}
		for path in ADDRESSES:
			if self[path]:
				self._filled(self[path], values)
		return values

	def address(self, path: str, inputs: Mapping[str, str]) -> str:
		"""The address at `path` with the inputs filled in; empty if the template has none.

		:param inputs: from `checked`
		:raises ConfigurationError: `provider_input_invalid`, if an input would lead to another host
		"""
		return self._filled(self[path], inputs) if self[path] else ""

	def provider(self, inputs: Mapping[str, str]) -> Provider:
		"""The provider as the template describes it; without the values that only its metadata have.

		:param inputs: from `checked`
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
			revocation=self._revocation(),
			nonce_is_required=self["identity.nonce"],
			other_audiences=self["identity.audiences"] == "azp",
		)

	def _revocation(self) -> Revocation:
		return Revocation(
			shape=Shape(method=self["revoke.method"], body=self["revoke.body"]),
			token=self["revoke.token"],
			authentication=self["revoke.auth"],
			tokens=tuple(self["revoke.tokens"]),
			success=self["revoke.success"] or "",
			hint=self["revoke.hint"],
		)

	def parameters(self, inputs: Mapping[str, str]) -> dict[str, str]:
		"""The extra parameters of the consent page."""
		return self._fields("parameters", inputs)

	def scopes(self, inputs: Mapping[str, str]) -> list[str]:
		"""The default scopes; some have an input in them."""
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
		"""A table with the inputs filled in."""
		return {name: _with(value, inputs) for name, value in (self[path] or {}).items()}

	def _text(self, path: str, inputs: Mapping[str, str]) -> str:
		return _with(self[path] or "", inputs)

	def _filled(self, address: str, inputs: Mapping[str, str]) -> str:
		"""`address` with the inputs filled in: in the host as part of a name, after the host percent-encoded."""
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

		return f"{scheme}://{PLACEHOLDER.sub(in_host, host)}{slash}{PLACEHOLDER.sub(behind, path)}"


def _paths(own: str | None, usual: tuple[str, ...]) -> tuple[str, ...]:
	return (own, *usual) if own else usual


def _with(text: str, inputs: Mapping[str, str]) -> str:
	return PLACEHOLDER.sub(lambda found: inputs.get(found[1], found[0]), text)


def load(folders: Iterable[Path]) -> dict[str, Template]:
	"""All templates, by key. A template in a later folder replaces one of the same key.

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
		raise template_schema.invalid(
			path.stem, "its file name may have small letters, digits and hyphens only"
		)
	try:
		said = tomllib.loads(path.read_text(encoding="utf-8"))
	except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
		fault = str(error)
	else:
		template_schema.check(path.stem, said)
		return said
	raise template_schema.invalid(path.stem, fault)


def _resolved(key: str, said: Mapping[str, Mapping[str, Any]], seen: tuple[str, ...] = ()) -> dict[str, Any]:
	"""The template's values together with those that it takes over. Tables are merged key by key."""
	own = said[key]
	other = own.get("like")
	values: dict[str, Any] = {}
	if other is not None:
		if other not in said or other in (*seen, key):
			raise template_schema.invalid(key, f"like = {other} leads to no template")
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


# Keys that a template does not take over.
_OWN = frozenset({"hidden", "like", "notes", "unsupported"})


def _check_whole(key: str, values: Mapping[str, Any]) -> None:
	template = Template(key=key, values=values)
	if "name" not in values or "category" not in values:
		raise template_schema.invalid(key, "name and category are needed")
	if "unsupported" not in values and not values.get("hidden"):
		if not (template["discovery"] or template["token"]):
			raise template_schema.invalid(key, "token or discovery is needed")
	asked = set(values.get("ask", {}))
	kept = set(values.get("keep", {}))
	for path in ADDRESSES:
		for name in PLACEHOLDER.findall(template[path] or ""):
			if name in asked or (
				name == "access_token" and path in ("trade.url", "retrade.url", "revoke.url")
			):
				continue
			if name in ("token", "client_id") and path in ("revoke.url", "account.url"):
				continue
			if name.rpartition(".")[2] not in kept or not values.get("hosts"):
				raise template_schema.invalid(
					key, f"{path} has the placeholder {{{name}}}, for which nothing is asked"
				)
