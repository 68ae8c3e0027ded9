from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RAISED = {"ReconnectRequired", "TemporaryFailure", "ConfigurationError"}


def codes_in(tree: ast.AST) -> set[str]:
	"""Every code that the module may raise; one that is not a literal is left out unless it is a choice of two."""
	found: set[str] = set()
	for node in ast.walk(tree):
		if isinstance(node, ast.Assign) and any(
			isinstance(to, ast.Name) and to.id == "ADMIN_MUST_ACT" for to in node.targets
		):
			assert isinstance(node.value, ast.Dict)
			found |= {key.value for key in node.value.keys if isinstance(key, ast.Constant)} - {
				"incorrect_client_credentials"
			}
		if isinstance(node, ast.Assign) and any(
			isinstance(to, ast.Name) and to.id == "code" for to in node.targets
		):
			found |= literals(node.value)
		if not isinstance(node, ast.Call):
			continue
		name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
		first = next(
			(word.value for word in node.keywords if word.arg == "code"), node.args[0] if node.args else None
		)
		if first is None:
			continue
		if name in RAISED:
			found |= literals(first)
		elif name == "refused":
			found |= {f"id_token_{code}" for code in literals(first)}
	return found


def literals(node: ast.expr) -> set[str]:
	if isinstance(node, ast.IfExp):
		return literals(node.body) | literals(node.orelse)
	return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def raised() -> set[str]:
	found: set[str] = set()
	for path in (ROOT / "connected_app").rglob("*.py"):
		if "tests" not in path.parts and not path.name.startswith("test_"):
			found |= codes_in(ast.parse(path.read_text()))
	return found


def test_errors_page() -> None:
	"""Each error code is a row of docs/errors.md, with all four cells filled in, and no row is about nothing."""
	rows = [line for line in (ROOT / "docs" / "errors.md").read_text().splitlines() if line.startswith("| `")]
	documented = []
	for row in rows:
		cells = [cell.strip() for cell in row.strip("|").split("|")]
		assert len(cells) == 4 and all(cells), row
		documented += re.findall(r"`([a-z_0-9]+)`", cells[0])
	assert len(documented) == len(set(documented))
	assert sorted(documented) == sorted(raised())


def test_the_collector_collects() -> None:
	"""It finds the kinds of places where codes are named."""
	assert {
		"state_mismatch",
		"id_token_nonce",
		"invalid_client",
		"rate_limited",
		"cooling_down",
		"server_error",
	} <= raised()
