"""An HTTP answer, and how its body is read."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import catalogue

# Levels of JSON: code that reads the value further calls itself once for each.
DEEPEST = 100
_WESTERN = ("iso-8859-1", "latin1", "latin-1", "windows-1252", "cp1252")


@dataclass(frozen=True, kw_only=True)
class Reply:
	"""An HTTP answer.

	:param complete: whether the whole body arrived; from a partial one, read only values that have an end of their own
	"""

	status: int
	headers: Mapping[str, str]
	body: bytes = field(repr=False)
	url: str = ""
	complete: bool = True

	@property
	def content_type(self) -> str:
		return self.headers.get("content-type", "").partition(";")[0].strip().lower()

	@property
	def text(self) -> str:
		"""The body as text. A byte that is invalid in its encoding becomes U+FFFD, which no token may contain."""
		try:
			# JSON in UTF-16 and a byte order mark are recognized by their first bytes.
			return self.body.decode(json.detect_encoding(self.body))
		except UnicodeDecodeError:
			declared = self.headers.get("content-type", "").lower().partition("charset=")[2].strip(' ";')
			return self.body.decode(declared if declared in _WESTERN else "utf-8", "replace")

	def check_is_available(self) -> None:
		"""
		:raises TemporaryFailure: `rate_limited`, `server_error`
		"""
		if self.status == 429 or self.status >= 500:
			raise catalogue.error("rate_limited" if self.status == 429 else "server_error", self.status)

	def json_object(self) -> dict[str, Any] | None:
		"""The body as a JSON object, or None."""
		value = self.json_value()
		return value if isinstance(value, dict) else None

	def json_value(self) -> Any:
		"""The body as JSON of any kind; None if it is no JSON, or is nested deeper than `DEEPEST`."""
		try:
			# A line end within a text is invalid JSON, but harmless.
			value = json.loads(self.text, strict=False)
			if isinstance(value, str) and value[:1] in ("{", "["):
				# Some servers encode twice.
				value = json.loads(value, strict=False)
		except (ValueError, RecursionError):
			return None
		level = [value]
		for _ in range(DEEPEST):
			if not (level := [inner for each in level for inner in _inner(each)]):
				return value
		return None


def _inner(value: Any) -> Collection[Any]:
	return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
