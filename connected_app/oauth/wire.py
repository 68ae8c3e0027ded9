"""Requests in a provider's shape, and its responses in the standard's shape. The differences are data in `Quirks`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from . import catalogue
from .lifetimes import is_said
from .paths import at
from .provider import Quirks
from .redact import Secret, printable
from .shape import Fields, Shape

if TYPE_CHECKING:
	from .net import Transport
	from .reply import Reply

LONGEST_KEPT = 2000
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][\w.-]*)\}")
# No encoded characters: in `evil.example%2f.shop.example`, the pattern would match the end only.
_HOST = re.compile(r"[a-z0-9.-]+(:[0-9]{1,5})?")
# Members of a token response (RFC 6749 5.1).
STANDARD = ("access_token", "refresh_token", "token_type", "scope")
# The unit of a lifetime → the name under which `oauth.lifetimes` reads it.
UNITS = {
	"seconds": ("expires_in", 1.0),
	"milliseconds": ("expires_in", 0.001),
	"epoch": ("expires_at", 1.0),
	"epoch_milliseconds": ("expires_at", 1.0),
	"iso": ("expires_at", 1.0),
}


def send(shape: Shape, url: str, fields: Fields, headers: Mapping[str, str], http: Transport) -> Reply:
	"""Send `fields` to `url`. Redirects are not followed. Raises as `net.Http.send`."""
	headers = {**shape.headers, **headers}
	if (shape.method, shape.body) == ("POST", "form"):
		return http.post(url, fields, headers)
	if shape.body == "query":
		return http.send(shape.method, url, params=fields, headers=headers)
	if shape.body == "json":
		return http.send(shape.method, url, json=fields, headers=headers)
	if shape.body == "none":
		return http.send(shape.method, url, headers=headers)
	return http.send(shape.method, url, data=fields, headers=headers)


def filled(text: str, values: Mapping[str, str], *, encode: bool = False) -> str | None:
	"""`text` with each `{name}` replaced; None if one of them is unknown.

	:param encode: percent-encode the values, for an address; the values "." and "..", which change the path, count as unknown
	"""
	names = _PLACEHOLDER.findall(text)
	if any(not values.get(name) or (encode and values[name] in (".", "..")) for name in names):
		return None
	done = _PLACEHOLDER.sub(
		lambda found: quote(values[found[1]], safe="") if encode else values[found[1]], text
	)
	return Secret(done) if names else done


def placeholders(text: str) -> set[str]:
	"""The names of the placeholders in `text`."""
	return set(_PLACEHOLDER.findall(text))


def known(text: str, values: Mapping[str, str]) -> str:
	"""`text` with the known `{name}`s replaced. Others stay: in GraphQL, braces have another meaning."""
	return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)


def address(text: str, values: Mapping[str, str], hosts: Collection[str]) -> str | None:
	"""An address with the provider's values filled in; None if one of them is unknown.

	:param hosts: patterns of the hosts that are then allowed
	:raises ConfigurationError: `host_not_allowed`, `uri_invalid`
	"""
	if not _PLACEHOLDER.search(text):
		return text
	done = filled(text, values, encode=True)
	if done is None:
		return None
	try:
		template, netloc = urlsplit(text).netloc, urlsplit(done).netloc.lower()
	except ValueError:
		template = netloc = ""
	if not netloc:
		raise catalogue.error("uri_invalid")
	if _PLACEHOLDER.search(template):
		if not _HOST.fullmatch(netloc) or not any(fnmatchcase(netloc, pattern.lower()) for pattern in hosts):
			raise catalogue.error("host_not_allowed", printable(netloc, 100))
	return done


def fields(templates: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
	"""The fields of a template, filled in; a field with an unknown value is left out."""
	done = {name: filled(text, values) for name, text in templates.items()}
	return {name: value for name, value in done.items() if value is not None}


def standard(answer: Mapping[str, Any], quirks: Quirks) -> dict[str, Any]:
	"""A token response with its values under their standard names (RFC 6749 5.1)."""
	done = dict(answer)
	for name in STANDARD:
		if path := quirks.answer.get(name):
			found = at(answer, path)
			# Slack nests the user token in the first response, but not in the response to a refresh.
			if found is not None:
				done[name] = found
		if not is_said(done.get(name)):
			done.pop(name, None)
	path, unit = quirks.answer.get("expires", ""), quirks.answer.get("unit", "seconds")
	if path or unit != "seconds":
		found = at(answer, path or "expires_in")
		name, factor = UNITS[unit]
		done.pop("expires_in", None)
		done.pop("expires_at", None)
		if found not in (None, ""):
			done[name] = _scaled(found, factor)
	life = quirks.answer.get("default_life")
	if life and done.get("expires_in") in (None, "") and done.get("expires_at") in (None, ""):
		done["expires_in"] = life
	return done


def _scaled(value: Any, factor: float) -> Any:
	if factor == 1.0 or isinstance(value, bool):
		return value
	try:
		return float(value) * factor
	except (TypeError, ValueError):
		return value


def kept(quirks: Quirks, source: str, said: object) -> dict[str, Secret]:
	"""The values to keep for developers, from what `source` ("callback", "answer", "userinfo") has `said`."""
	found = {}
	for name, where in quirks.keep.items():
		kind, _colon, path = where.partition(":")
		value = at(said, path) if kind == source else None
		if isinstance(value, str | int | float) and value != "":
			found[name] = Secret(str(value)[:LONGEST_KEPT])
	return found
