from __future__ import annotations

from .real_servers import PAGE, page


def test_the_page_is_up_to_date() -> None:
	"""To update it: `python -m tests.real_servers`."""
	assert PAGE.read_text(encoding="utf-8") == page()
