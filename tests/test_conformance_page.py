from __future__ import annotations

import ast
import re
from pathlib import Path

# Of these plans, every module that a test names is on the page.
PLANS = r"(?:oidcc-|fapi2-security-profile-final-client-test-)[a-z0-9_-]+"
ROOT = Path(__file__).resolve().parents[1]


def modules() -> list[str]:
	"""The Foundation's modules that docs/conformance.md lists."""
	lines = (ROOT / "docs" / "conformance.md").read_text().splitlines()
	cells = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
	return [cell for cell in cells if cell != "module"]


def docstrings() -> dict[str, str]:
	"""The docstring of each test in lane 1 that asserts something, by the test's place."""
	found = {}
	for path in (ROOT / "tests").rglob("test_*.py"):
		for node in ast.walk(ast.parse(path.read_text())):
			if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
				found[f"{path.relative_to(ROOT)}::{node.name}"] = ast.get_docstring(node) or ""
	return found


def test_every_module_is_a_test() -> None:
	"""Coverage is read off: each module of the page is named, in full, by the docstring of a test."""
	words = {word for text in docstrings().values() for word in re.findall(r"[a-z0-9_-]+", text)}
	names = modules()
	assert len(names) > 40 and len(set(names)) == len(names)
	assert [name for name in names if name not in words] == []


def test_every_named_module_is_on_the_page() -> None:
	named = {word for text in docstrings().values() for word in re.findall(PLANS, text)}
	assert named - set(modules()) == set()
