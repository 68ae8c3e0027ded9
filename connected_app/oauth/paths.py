"""Dotted paths into what a provider has sent, and the parts of addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit


def split(url: str) -> SplitResult:
	"""The parts of an address; all of them empty for what is none, such as `https://[`, or has no number for a port."""
	try:
		parts = urlsplit(url)
		_ = parts.port
	except ValueError:
		return SplitResult("", "", "", "", "")
	return parts


def at(value: object, path: str) -> Any:
	"""What is at the dotted `path` of JSON; numbers go into lists. None where it leads to nothing."""
	for step in path.split("."):
		if isinstance(value, Mapping):
			value = value.get(step)
		elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
			value = value[int(step)]
		else:
			return None
	return value


def first(value: object, paths: Iterable[str]) -> Any:
	"""What is at the first of `paths` that leads to something; null, "" and 0 are nothing."""
	return next((found for path in paths if (found := at(value, path))), None)
