from __future__ import annotations

import ast
from pathlib import Path

from connected_app.oauth.catalogue import CATALOGUE

from .errors_page import PAGE, page

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
	"""The page is what the catalogue makes of it, and each code has all that its row needs."""
	assert PAGE.read_text() == page(), "stale: run python -m tests.errors_page"
	for key, entry in CATALOGUE.items():
		assert "/" in key or (entry.happened and entry.who and entry.how), key
		assert key.partition("/")[0] in CATALOGUE, f"{key} is a variant of nothing"


def test_every_code_is_in_the_catalogue() -> None:
	codes = {key for key in CATALOGUE if "/" not in key}
	assert raised() == codes


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
