"""The keys of a provider template, what each may hold, and what it is where a template leaves it out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from . import catalogue
from .errors import OAuthError
from .paths import split

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
# How a connection is made.
GRANTS = ("consent", "service_account", "token_exchange")
UNITS = ("seconds", "milliseconds", "epoch", "epoch_milliseconds", "iso")

PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_.]*)\}", re.IGNORECASE)

# A check returns what is wrong with a value, in a few words; empty if nothing is.
Check = Callable[[Any], str]


def _a(kind: type, words: str) -> Check:
	return lambda value: "" if type(value) is kind and value not in ("", []) else f"must be {words}"


def _one_of(*choices: str) -> Check:
	return lambda value: "" if value in choices else f"must be one of {', '.join(choices)}"


def _address(value: Any) -> str:
	if not isinstance(value, str):
		return "must be an address"
	parts = split(PLACEHOLDER.sub("x", value))
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
	# Parameters and scopes without which there is no refresh token.
	"offline": _texts,
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
# The values of keys that a template leaves out; it must not repeat them.
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
# Keys whose value is an address that may have inputs.
ADDRESSES = (
	"discovery", "issuer", "authorize", "token", "refresh", "jwks", "device", "register", "guide",
	"trade.url", "retrade.url", "api.base", "account.url", "revoke.url",
)  # fmt: skip


def check(key: str, said: Mapping[str, Any]) -> None:
	"""Check one file by itself.

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


def invalid(key: str, why: str) -> OAuthError:
	return catalogue.error("template_invalid", key, why)
