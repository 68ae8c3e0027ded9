"""Keeping secrets out of texts, logs and tracebacks."""

from __future__ import annotations

import hmac
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

_UNPRINTABLE = re.compile(r"[^\x20-\x7e\u00a0-\ud7ff\ue000-\U0010ffff]+")
# Format characters that are part of writing: joiners between letters of Persian or Hindi, and within emoji.
_JOINERS = "\u200c\u200d"
# A flag of a region is a black flag and its code in tag characters (UTS 51, ED-14a).
# Characters that belong to the one before: joiners, variation selectors, skin tones, tags.
_BOUND = frozenset(
	{
		*_JOINERS,
		*(chr(code) for code in range(0xFE00, 0xFE10)),
		*(chr(code) for code in range(0x1F3FB, 0x1F400)),
		*(chr(code) for code in range(0xE0020, 0xE0080)),
	}
)
_FLAG = re.compile("\U0001f3f4[\U000e0061-\U000e007a\U000e0030-\U000e0039]{1,6}\U000e007f")


class Secret(str):
	"""A string that does not show itself.

	`repr` is what tracebacks with locals, debuggers and `%r` print; `str` stays the value, for the wire.
	"""

	__slots__ = ()

	def __repr__(self) -> str:
		return "Secret('***')"


def as_secrets(value: Any) -> Any:
	"""`value`, of JSON or of a query, with every string in it a Secret."""
	if isinstance(value, str):
		return Secret(value)
	if isinstance(value, dict):
		return {key: as_secrets(each) for key, each in value.items()}
	if isinstance(value, list):
		return [as_secrets(each) for each in value]
	return value


def redact(text: str, secrets: Iterable[str]) -> str:
	"""`text`, a provider's words, without the `secrets` that it was sent: some echo them."""
	for secret in secrets:
		if len(secret) > 5:
			text = text.replace(secret, "…")
	return text


def strip_frames(error: BaseException) -> None:
	"""Take the frames from `error` and from its whole chain, for an error that keeps its chain.

	Those of http.client hold the request, headers included, as bytes.
	"""
	link: BaseException | None = error
	for _ in range(20):
		if link is None:
			return
		link.__traceback__ = None
		link = link.__cause__ or link.__context__


def strip_chain(error: BaseException) -> BaseException:
	"""`error` without frames and without its chain, fit to be a `__cause__`.

	Frames of HTTP libraries hold headers and bodies as locals, and some error logs print locals.
	"""
	error.__cause__ = error.__context__ = None
	return error.with_traceback(None)


def constant_time_equal(given: str, expected: str) -> bool:
	"""Compared in constant time. JSON can hold lone surrogates, which are in no encoding."""
	return hmac.compare_digest(given.encode(errors="surrogatepass"), expected.encode(errors="surrogatepass"))


def printable(text: object, limit: int = 200) -> str:
	"""A provider's words, cut to `limit` characters, on one line, without characters that control or reorder text."""
	given = _UNPRINTABLE.sub(" ", str(text))
	kept = ""
	end = 0
	for flag in _FLAG.finditer(given):
		kept += _visible(given[end : flag.start()]) + flag[0]
		end = flag.end()
	kept += _visible(given[end:])
	if len(kept) > limit:
		# Nothing is cut within an emoji or a letter with its accents.
		cut = limit
		while cut and (
			unicodedata.combining(kept[cut]) or kept[cut] in _BOUND or kept[cut - 1] == _JOINERS[1]
		):
			cut -= 1
		kept = kept[: cut or limit]
	return kept.strip().strip(_JOINERS)


def _visible(text: str) -> str:
	return "".join(char for char in text if char.isprintable() or char in _JOINERS)
