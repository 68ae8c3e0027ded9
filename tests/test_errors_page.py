from __future__ import annotations

import ast
import re
from pathlib import Path

from connected_app.oauth.catalogue import CATALOGUE

from .errors_page import PAGE, page

ROOT = Path(__file__).resolve().parents[1]
BRANCHES = {"ReconnectRequired", "TemporaryFailure", "ConfigurationError"}
# Where an error is made without the catalogue: of a failure that is stored, of an error that is another branch at a
# refresh, and what the tree's own classes in Frappe's kind are made of.
BY_HAND = {"oauth/refresh.py": 3, "oauth/id_token.py": 1}


def keys_in(tree: ast.AST) -> set[str]:
	"""Every key of the catalogue that the module may raise: in `catalogue.error(…)`, in a choice of two, in what is
	assigned to a name like `code`, and in the tables of what providers say."""
	found: set[str] = set()
	for node in ast.walk(tree):
		if isinstance(node, ast.Assign):
			names = {to.id for to in node.targets if isinstance(to, ast.Name)}
			if "ADMIN_MUST_ACT" in names:
				assert isinstance(node.value, ast.Call) and isinstance(node.value.args[0], ast.Set)
				found |= {key for each in node.value.args[0].elts for key in literals(each)}
			if names & {"NOT_ALLOWED", "UNDESCRIBED"}:
				assert isinstance(node.value, ast.Dict)
				found |= {key for each in node.value.values for key in literals(each)}
			if "code" in names:
				found |= literals(node.value)
		if isinstance(node, ast.Call) and node.args and called(node) in {"error", *BRANCHES}:
			found |= literals(node.args[0])
	return found


def called(node: ast.Call) -> str:
	return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def literals(node: ast.expr) -> set[str]:
	if isinstance(node, ast.IfExp):
		return literals(node.body) | literals(node.orelse)
	return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def modules() -> dict[str, ast.AST]:
	"""The app's modules, by path, but for the catalogue itself and tests."""
	app = ROOT / "connected_app"
	return {
		str(path.relative_to(app)): ast.parse(path.read_text())
		for path in app.rglob("*.py")
		if "tests" not in path.relative_to(app).parts
		and not path.name.startswith("test_")
		and path.name != "catalogue.py"
	}


def raised() -> set[str]:
	return {key for tree in modules().values() for key in keys_in(tree)}


def test_errors_page() -> None:
	"""The page is what the catalogue makes of it, and each code has all that its row needs."""
	assert PAGE.read_text() == page(), "stale: run python -m tests.errors_page"
	for key, entry in CATALOGUE.items():
		assert "/" in key or (entry.happened and entry.who and entry.how), key
		assert key.partition("/")[0] in CATALOGUE, f"{key} is a variant of nothing"


def test_what_is_raised_is_what_the_catalogue_has() -> None:
	"""Variants, too: none is missing, and none is left over."""
	assert raised() == set(CATALOGUE)


def test_no_sentence_beside_the_catalogues() -> None:
	by_hand: dict[str, int] = {}
	for path, tree in modules().items():
		for node in ast.walk(tree):
			if isinstance(node, ast.Call) and called(node) in BRANCHES:
				by_hand[path] = by_hand.get(path, 0) + 1
	assert by_hand == BY_HAND


def test_each_error_is_raised_with_the_values_that_its_sentences_have() -> None:
	"""No fewer, which would fail when it is raised, and no more, which nobody would read."""
	wrong, checked = [], 0
	for path, tree in modules().items():
		for node in ast.walk(tree):
			if not isinstance(node, ast.Call) or called(node) != "error" or not node.args:
				continue
			keys = literals(node.args[0]) & set(CATALOGUE)
			entries = [CATALOGUE[key] for key in keys]
			wanted = {
				number for each in entries for number in re.findall(r"{(\d)}", each.sentence + each.action)
			}
			checked += bool(entries)
			if entries and len(node.args) - 1 != len(wanted):
				wrong.append(f"{path}:{node.lineno}: {sorted(keys)}")
	assert not wrong
	assert checked > 80


def test_the_collector_collects() -> None:
	"""It finds the kinds of places where codes are named."""
	assert {
		"state_mismatch",
		"id_token_nonce",
		"unauthorized_client/refresh_token",
		"network/broken_off",
		"invalid_client",
		"rate_limited",
		"cooling_down",
		"server_error",
	} <= raised()
