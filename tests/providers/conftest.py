from __future__ import annotations

import pytest

from .replay import COUNTED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
	"""One line that scripts/test repeats."""
	if COUNTED["keys"]:
		shown = COUNTED["keys"] - COUNTED["unseen"]
		terminalreporter.write_line(
			f"golden exchanges: {COUNTED['exchanges']} of {COUNTED['providers']} providers; "
			f"{shown} of {COUNTED['keys']} keys of their templates are shown"
		)
