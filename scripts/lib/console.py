"""What is printed, and the one kind of failure that a person can do something about."""

from __future__ import annotations


class Problem(Exception):
	"""Something a person can fix; the text is one plain sentence."""


def say(text: str = "") -> None:
	print(text, flush=True)


def title(text: str) -> None:
	say()
	say(f"=== {text}")
