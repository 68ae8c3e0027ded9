from __future__ import annotations

from .provider_page import PAGE, page


def test_the_page_is_up_to_date() -> None:
	"""To update it: `python -m tests.provider_page`."""
	assert PAGE.read_text(encoding="utf-8") == page()
