"""Desk's scripts in Node.js: where Frappe's newer versions use them otherwise than those that the benches here have."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "javascript"


@pytest.mark.skipif(not shutil.which("node"), reason="there is no Node.js on this machine")
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.test.mjs")), ids=lambda path: path.name)
def test_javascript(path: Path) -> None:
	# With several threads, Node hangs once in a hundred starts: see node.py.
	command = ["node", "--single-threaded", "--test-reporter=tap", path]
	done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
	assert done.returncode == 0, done.stdout + done.stderr
	# Node calls a file without a test a success, too.
	assert "# pass 0" not in done.stdout and "# tests 0" not in done.stdout, done.stdout
