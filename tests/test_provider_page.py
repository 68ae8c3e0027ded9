from __future__ import annotations

import re

from .provider_page import PAGE, page


def test_the_page_is_up_to_date() -> None:
	"""To update it: `python -m tests.provider_page`."""
	assert PAGE.read_text(encoding="utf-8") == page()


def test_readme_has_their_number() -> None:
	readme = (PAGE.parents[1] / "README.md").read_text(encoding="utf-8")
	there = re.findall(r"(\d+) providers can be connected by name", page())
	assert re.findall(r"(\d+) providers are known by name", readme) == there
