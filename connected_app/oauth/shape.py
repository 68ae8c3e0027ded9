"""How a request is sent: method, body, fixed headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# The fields of a request; each item of a list is sent under the same name.
Fields = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Shape:
	"""How a request is sent.

	:param body: "form", "json", "query" (in the address), or "none"
	:param headers: sent with every such request
	"""

	method: str = "POST"
	body: str = "form"
	headers: Mapping[str, str] = field(default_factory=dict)


FORM = Shape()
QUERY = Shape(method="GET", body="query")
GET = Shape(method="GET", body="none")
