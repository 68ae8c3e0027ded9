"""Every string of the app that a person may read, found in its files: the strings to translate."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
APP = ROOT / "connected_app"
ERRORS = {"ReconnectRequired", "TemporaryFailure", "ConfigurationError"}
# Titles and labels of hooks and dashboards, which Frappe translates where it shows them.
HOOK_KEYS = {"title", "label"}
# One that is only placeholders is the same in every language.
HAS_WORDS = re.compile(r"[^\W\d_]")


def python_files() -> Iterator[Path]:
	return (path for path in sorted(APP.rglob("*.py")) if "tests" not in path.relative_to(APP).parts)


def all_strings() -> dict[str, str]:
	"""String → the file (and line, where there is one) in which it was found first."""
	found: dict[str, str] = {}
	for path in python_files():
		for text, line in of_python(path.read_text()):
			found.setdefault(text, f"{path.relative_to(ROOT)}:{line}")
	for path in sorted(APP.rglob("*.js")):
		for text, line in of_calls(path.read_text(), "__"):
			found.setdefault(text, f"{path.relative_to(ROOT)}:{line}")
	for path in sorted(APP.rglob("*.html")):
		for text, line in of_calls(path.read_text(), "_"):
			found.setdefault(text, f"{path.relative_to(ROOT)}:{line}")
	for path in sorted(APP.rglob("*.json")):
		for text in of_json(json.loads(path.read_text())):
			found.setdefault(text, str(path.relative_to(ROOT)))
	return found


def of_python(source: str) -> Iterator[tuple[str, int]]:
	"""Literals in `_()`, the sentences of errors, and labels in hooks."""
	for node in ast.walk(ast.parse(source)):
		if isinstance(node, ast.Dict):
			for key, value in zip(node.keys, node.values, strict=True):
				if isinstance(key, ast.Constant) and key.value in HOOK_KEYS:
					yield from literals(value)
		if isinstance(node, ast.Assign | ast.AnnAssign):
			names = {
				getattr(to, "id", "") for to in getattr(node, "targets", [getattr(node, "target", None)])
			}
			if names & {"default_action"} and node.value:
				yield from literals(node.value)
		if not isinstance(node, ast.Call):
			continue
		name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
		if name in ("_", "_lt", "Sentence"):
			yield from literals(node.args[0])
		elif name in ERRORS or name == "Entry":
			for argument in node.args[1:3]:
				yield from literals(argument)


def literals(node: ast.expr) -> Iterator[tuple[str, int]]:
	if isinstance(node, ast.IfExp):
		yield from literals(node.body)
		yield from literals(node.orelse)
	elif isinstance(node, ast.Constant) and isinstance(node.value, str) and HAS_WORDS.search(node.value):
		yield node.value, node.lineno


def of_calls(source: str, function: str) -> Iterator[tuple[str, int]]:
	"""The first arguments of calls of `function` in JavaScript or Jinja."""
	pattern = rf"(?<![\w.]){function}\(\s*(\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)"
	for match in re.finditer(pattern, source):
		yield ast.literal_eval(re.sub("^`|`$", '"', match[1])), source.count("\n", 0, match.start()) + 1


def assembled(source: str, function: str) -> list[str]:
	"""Calls of `function` whose argument is put together from pieces."""
	pieces = rf"(?<![\w.]){function}\(\s*(?:(?:\"[^\"\n]*\"|'[^'\n]*')\s*\+|`[^`]*\$\{{)"
	return [match[0] for match in re.finditer(pieces, source)]


def of_json(document: object) -> Iterator[str]:
	"""What Frappe translates of a DocType and of other documents that an app ships."""
	documents = document if isinstance(document, list) else [document]
	for doc in documents:
		if not isinstance(doc, dict) or "doctype" not in doc:
			continue
		if doc["doctype"] == "DocType":
			yield doc["name"]
			yield doc["module"]
			yield from _texts(doc, "description")
			for field in doc.get("fields", []):
				yield from _texts(field, "label", "description")
				if field.get("fieldtype") == "Select":
					yield from (option for option in field.get("options", "").split("\n") if option)
			for state in doc.get("states", []):
				yield from _texts(state, "title")
		else:
			yield from _texts(doc, "label", "title", "subject", "description")
		for row in [*doc.get("shortcuts", []), *doc.get("links", []), *doc.get("items", [])]:
			yield from _texts(row, "label", "format")


def _texts(row: dict[str, str], *keys: str) -> Iterator[str]:
	return (row[key] for key in keys if row.get(key))


def assembled_in_python(source: str) -> list[int]:
	"""The lines in which a sentence for people is put together from pieces."""
	lines = []
	for node in ast.walk(ast.parse(source)):
		if not isinstance(node, ast.Call):
			continue
		name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
		said = node.args[:1] if name in ("_", "_lt", "Sentence") else node.args[1:3] if name in ERRORS else []
		lines += [argument.lineno for argument in said if isinstance(argument, ast.JoinedStr | ast.BinOp)]
	return lines
