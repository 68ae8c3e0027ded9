"""Keeping secrets out of texts, logs and tracebacks."""

from __future__ import annotations

import base64
import hmac
import re
import unicodedata
from array import array
from collections.abc import Iterable, Iterator
from typing import Any

_UNPRINTABLE = re.compile(r"[^\x20-\x7e\u00a0-\ud7ff\ue000-\U0010ffff]+")
# Format characters that are part of a script: joiners between Persian or Hindi letters, and within emoji.
_JOINERS = "\u200c\u200d"
# A region's flag is a black flag followed by the region's code in tag characters (UTS 51, ED-14a).
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


# One letter, possibly encoded once or twice; characters that break or join a text; and the rest in pieces as large as
# possible.
_ENCODED = re.compile(
	r"%(?:25){0,4}(?P<percent>[0-9a-f]{2})"
	r"|\\{1,8}(?:u00|x)(?P<escaped>[0-9a-f]{2})|\\{1,8}(?:u[0-9a-f]{4}|[nrtbf])"
	r"|&(?:amp;){0,4}(?:#(?P<entity>[0-9]{1,7})|#x(?P<hex_entity>[0-9a-f]{1,6})|[a-z]{2,8});"
	r"|<br ?/?>|(?P<plain>[0-9a-z]+)|[^0-9a-z%\\&<]+|[%\\&<]",
	re.IGNORECASE | re.ASCII,
)
# Letters and digits: shorter secrets would match by chance.
_SHORTEST = 8


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
	"""`text`, a provider's words, without the `secrets` that were sent to it. Some providers echo them, plain or encoded:
	percent-encoded, with JSON or HTML escapes, in base64 or hexadecimal, broken into lines.

	Only letters and digits are compared, so that case, quotes and line ends do not matter.
	"""
	return Redactor(secrets)(text)


class Redactor:
	"""`redact` for many texts: the possible forms of the secrets are computed once."""

	def __init__(self, secrets: Iterable[str]) -> None:
		self._secrets = [secret for secret in secrets if len(secret) > 5]
		self._forms = sorted({form for secret in self._secrets for form in _forms(secret)})

	def __call__(self, text: str) -> str:
		for secret in self._secrets:
			text = text.replace(secret, "…")
		letters, starts, ends = _letters(text)
		spans: list[tuple[int, int]] = []
		for form, is_base64 in self._forms:
			at, done = letters.find(form), 0
			while at >= 0:
				start, end = starts[at], ends[at + len(form) - 1]
				if end > done:
					start, done = _word(text, start, end) if is_base64 else (start, end)
					spans.append((start, done))
				at = letters.find(form, at + len(form))
		kept, done = "", 0
		for start, end in sorted(spans):
			if end > done:
				kept += text[done:start] + "…"
				done = end
		return kept + text[done:]


def _letters(text: str) -> tuple[str, array[int], array[int]]:
	"""The letters and digits of `text`, decoded and in lower case, and where each begins and ends in `text`."""
	letters: list[str] = []
	starts, ends = array("L"), array("L")
	for found in _ENCODED.finditer(text):
		start, end = found.span()
		if found["plain"]:
			letters.append(found[0])
			starts.extend(range(start, end))
			ends.extend(range(start + 1, end + 1))
		elif number := found["percent"] or found["escaped"] or found["hex_entity"]:
			char = chr(min(int(number, 16), 0x10FFFF))
		elif found["entity"]:
			char = chr(min(int(found["entity"]), 0x10FFFF))
		else:
			continue
		if not found["plain"] and char.isascii() and char.isalnum():
			letters.append(char)
			starts.append(start)
			ends.append(end)
	return "".join(letters).lower(), starts, ends


def _forms(secret: str) -> Iterator[tuple[str, bool]]:
	"""The forms that `secret` may take, by letters and digits, and whether each is base64, at any offset."""
	given = secret.encode(errors="surrogatepass")
	forms = {_letters(secret)[0], _plain(secret), given.hex()}
	yield from ((form, False) for form in forms if len(form) >= _SHORTEST)
	for before in range(3):
		# The first and last characters depend on the neighbouring text.
		encoded = base64.b64encode(b"\0" * before + given).decode().rstrip("=")
		ending = (before + len(given)) % 3
		form = _plain(encoded[(0, 2, 3)[before] : len(encoded) - (1 if ending else 0)])
		if len(form) >= _SHORTEST:
			yield form, True


def _plain(text: str) -> str:
	return "".join(char for char in text if char.isascii() and char.isalnum()).lower()


def _word(text: str, start: int, end: int) -> tuple[int, int]:
	"""The whole base64 word around a part of it."""
	while start and (text[start - 1].isalnum() or text[start - 1] in "+/_-%"):
		start -= 1
	while end < len(text) and (text[end].isalnum() or text[end] in "+/_-=%"):
		end += 1
	return start, end


def strip_frames(error: BaseException) -> None:
	"""Remove the frames from `error` and its whole chain, which stays.

	Frames of http.client hold the request, headers included, as bytes.
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
	"""Compare in constant time. JSON can hold lone surrogates, which have no encoding."""
	return hmac.compare_digest(given.encode(errors="surrogatepass"), expected.encode(errors="surrogatepass"))


def printable(text: object, limit: int = 200) -> str:
	"""A provider's words on one line, cut to `limit` characters, without characters that control or reorder text."""
	given = _UNPRINTABLE.sub(" ", str(text)[: 50 * limit])
	kept = ""
	end = 0
	for flag in _FLAG.finditer(given):
		kept += _visible(given[end : flag.start()]) + flag[0]
		end = flag.end()
	kept += _visible(given[end:])
	if len(kept) > limit:
		# Never cut within an emoji, or between a letter and its accents.
		cut = limit
		while cut and (
			unicodedata.combining(kept[cut]) or kept[cut] in _BOUND or kept[cut - 1] == _JOINERS[1]
		):
			cut -= 1
		kept = kept[: cut or limit]
	return kept.strip().strip(_JOINERS)


def _visible(text: str) -> str:
	return "".join(char for char in text if char.isprintable() or char in _JOINERS)
