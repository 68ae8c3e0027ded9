"""What an API says in `WWW-Authenticate` (RFC 9110 11.6.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

LONGEST = 8192
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# Separators; a parameter; the name of a scheme, which parameters may follow; or anything else. Each character is read once.
_PART = re.compile(
	rf"""[\s,]+
		|(?P<name>{_WORD})\s*=\s*(?:"(?P<quoted>[^"\\]*(?:\\.[^"\\]*)*)"|(?P<plain>[^\s,"=][^\s,"]*))
		|(?P<scheme>{_WORD})(?=\s|,|$)
		|(?P<other>[^,]+)
	""",
	re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Challenge:
	"""
	:param scheme: in lower case
	:param parameters: by name in lower case; if one is repeated, the first counts
	"""

	scheme: str
	parameters: Mapping[str, str]


def read(header: str | None) -> list[Challenge]:
	"""The challenges in a header, whose lines are joined by commas. Anything else in it is ignored."""
	found: list[tuple[str, dict[str, str]]] = []
	for part in _PART.finditer((header or "")[:LONGEST]):
		if part["scheme"]:
			found.append((part["scheme"].lower(), {}))
		elif part["name"] and found:
			quoted = part["quoted"]
			value = part["plain"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
			found[-1][1].setdefault(part["name"].lower(), value)
	return [Challenge(scheme, parameters) for scheme, parameters in found]
