"""Dotted paths into a provider's JSON, and the parts of addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit


def split(url: str) -> SplitResult:
	"""The parts of an address; all empty if it is invalid, such as `https://[` or a port that is no number."""
	try:
		parts = urlsplit(url)
		_ = parts.port
	except ValueError:
		return SplitResult("", "", "", "", "")
	return parts


def at(value: object, path: str) -> Any:
	"""The value at the dotted `path` of JSON; numbers are indexes of lists. None if the path leads nowhere."""
	for step in path.split("."):
		if isinstance(value, Mapping):
			value = value.get(step)
		elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
			value = value[int(step)]
		else:
			return None
	return value


def first(value: object, paths: Iterable[str]) -> Any:
	"""The value at the first of `paths` that has one; null, "" and 0 do not count."""
	return next((found for path in paths if (found := at(value, path))), None)
