"""What a release says of itself: `python -m scripts.lib.release vX.Y.Z` prints the notes of that version.

It fails where the tag is not the app's version, or CHANGELOG.md has no section for it.
"""

from __future__ import annotations

import re
import sys

from scripts.lib.checkout import APP, CHECKOUT
from scripts.lib.console import Problem, say


def version() -> str:
	text = (CHECKOUT / APP / "__init__.py").read_text()
	return re.search(r'^__version__ = "([^"]+)"$', text, re.M).group(1)


def notes(tag: str, changelog: str) -> str:
	"""
	:raise Problem: where there are none
	"""
	if tag != f"v{version()}":
		raise Problem(f"the tag is {tag}, and the app's version is {version()}.")
	section = re.search(rf"^## {re.escape(tag[1:])}\b[^\n]*\n(.*?)(?=^## |\Z)", changelog, re.M | re.S)
	if not section or not section.group(1).strip():
		raise Problem(f"CHANGELOG.md says nothing of {tag[1:]}.")
	return section.group(1).strip()


def main(arguments: list[str]) -> int:
	try:
		say(notes(arguments[0], (CHECKOUT / "CHANGELOG.md").read_text()))
	except Problem as problem:
		say(str(problem))
		return 1
	return 0


if __name__ == "__main__":
	sys.exit(main(sys.argv[1:]))
