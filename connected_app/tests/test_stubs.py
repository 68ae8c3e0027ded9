"""What `stubs/` tells mypy of Frappe is true of the Frappe that is installed."""

from __future__ import annotations

import ast
import importlib
import inspect
import pathlib
import unittest
from typing import Any

from connected_app.tests.site import REPO

STUBS = pathlib.Path(REPO) / "stubs"


class TestStubs(unittest.TestCase):
	def test_each_class_and_function_is_there_and_takes_what_the_stub_says(self) -> None:
		wrong, checked = [], 0
		for path in sorted(STUBS.rglob("*.pyi")):
			parts = path.relative_to(STUBS).with_suffix("").parts
			module = importlib.import_module(".".join(part for part in parts if part != "__init__"))
			for node in ast.parse(path.read_text()).body:
				if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name != "__getattr__":
					checked += 1
					wrong += [f"{module.__name__}.{problem}" for problem in problems(node, module)]
		self.assertEqual(wrong, [])
		self.assertGreater(checked, 10)


def problems(node: ast.ClassDef | ast.FunctionDef, owner: Any) -> list[str]:
	real = getattr(owner, node.name, None)
	if real is None:
		return [f"{node.name} is missing"]
	if isinstance(node, ast.FunctionDef):
		wanted = [each.arg for each in (*node.args.args, *node.args.kwonlyargs)]
		taken = inspect.signature(real).parameters
		return [f"{node.name} takes no {name}" for name in wanted if name not in taken]
	methods = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name != "__getattr__"]
	found = [f"{node.name}.{problem}" for each in methods for problem in problems(each, real)]
	for base in node.bases:
		above = {each.__name__ for each in real.__mro__}
		if isinstance(base, ast.Name) and base.id not in above:
			found.append(f"{node.name} is no {base.id}")
	return found
