"""What failed, a line each: from the output of unittest, of pytest, and of the scripts with checks of their own."""

from __future__ import annotations

import re

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_END = re.compile(r"^(?:={60,}|Ran \d+ tests? in .*)$")
# `FAIL: test_name (module.Class.test_name)`; Frappe 16's runner writes it without the colon.
_UNITTEST = re.compile(r"^ ?(?:FAIL|ERROR):?\s+(\w+) \(([\w.]+)\)")
# `FAILED tests/test_file.py::test_name - AssertionError: …`
_PYTEST = re.compile(r"^(?:FAILED|ERROR) (\S+::\S+.*)$")
_SCRIPT = re.compile(r"^\s*FAILED  (.+)$")
# The last line of a traceback, without the text that may follow.
_EXCEPTION = re.compile(r"^((?:\w+\.)*[A-Z]\w+(?:: .*)?)$")


def failures(output: str, width: int = 240) -> list[str]:
	"""
	:param output: of one part of a run
	:param width: characters, of each line
	"""
	found: list[str] = []
	reads_traceback = False
	for line in _COLOURS.sub("", output).splitlines():
		test = _UNITTEST.match(line)
		if test:
			name, place = test.groups()
			found.append(place if place.endswith(name) else f"{place}.{name}")
			reads_traceback = True
		elif _END.match(line):
			reads_traceback = False
		elif reads_traceback and (raised := _EXCEPTION.match(line)):
			# Of several that were raised while another was handled, the last.
			found[-1] = f"{found[-1].partition(': ')[0]}: {raised[1]}"
		elif other := _PYTEST.match(line) or _SCRIPT.match(line):
			found.append(other[1])
			reads_traceback = False
	return [line if len(line) <= width else line[: width - 1] + "…" for line in found]
