"""The import graph of the app, read from its code.

	python -m tests.layers    print what breaks the layers; exit code 1 if anything does

Imports count wherever they stand: at the top, in a function, under `TYPE_CHECKING`.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# From the bottom up. Modules in none of them are above: controllers, endpoints, commands, pages, hooks.
LAYERS = ("oauth", "site")
# Methods that controllers override and all documents have.
OF_FRAPPE = {"delete", "get_password"}


@dataclass
class Module:
	"""One file.

	:param imports: modules of the same package → the line of the first import
	:param used: private names of other objects that the module uses → the line
	:param defined: private names that the module defines
	:param overridden: for each class with a base from another module: its private methods → the line
	:param attributes: the attributes that it reads → the line
	:param names: all functions, methods, attributes and variables that the module defines
	:param methods: the public methods of its classes
	"""

	name: str
	imports: dict[str, int] = field(default_factory=dict)
	used: dict[str, int] = field(default_factory=dict)
	defined: set[str] = field(default_factory=set)
	overridden: dict[str, int] = field(default_factory=dict)
	attributes: dict[str, int] = field(default_factory=dict)
	names: set[str] = field(default_factory=set)
	methods: set[str] = field(default_factory=set)


def read(package: Path) -> dict[str, Module]:
	"""The modules of a package by dotted name, without its tests."""
	files = {
		_dotted(path, package): path
		for path in sorted(package.rglob("*.py"))
		if "tests" not in path.relative_to(package).parts
	}
	return {name: _module(name, path, set(files)) for name, path in files.items()}


def circles(modules: dict[str, Module]) -> list[list[str]]:
	"""Modules that import each other, directly or through others: the strongly connected components (Tarjan)."""
	index: dict[str, int] = {}
	low: dict[str, int] = {}
	stack: list[str] = []
	found: list[list[str]] = []

	def visit(name: str) -> None:
		index[name] = low[name] = len(index)
		stack.append(name)
		for other in modules[name].imports:
			if other not in index:
				visit(other)
				low[name] = min(low[name], low[other])
			elif other in stack:
				low[name] = min(low[name], index[other])
		if low[name] == index[name]:
			at = stack.index(name)
			circle = sorted(stack[at:])
			del stack[at:]
			if len(circle) > 1 or name in modules[name].imports:
				found.append(circle)

	for name in modules:
		if name not in index:
			visit(name)
	return found


def upward(modules: dict[str, Module]) -> list[str]:
	"""Imports of a higher layer."""
	return [
		f"{name}:{line} imports {other}, which is above it"
		for name, module in modules.items()
		for other, line in module.imports.items()
		if _layer(other) > _layer(name)
	]


def private(modules: dict[str, Module]) -> list[str]:
	"""Private names of one module that another uses or overrides."""
	owners: dict[str, set[str]] = {}
	for name, module in modules.items():
		for defined in module.defined:
			owners.setdefault(defined, set()).add(name)
	found = []
	for name, module in modules.items():
		for what, line in module.used.items():
			if what not in module.defined and (others := owners.get(what)):
				found.append(f"{name}:{line} uses {what}, which is private to {', '.join(sorted(others))}")
		for what, line in module.overridden.items():
			if others := owners.get(what, set()).intersection(module.imports):
				found.append(f"{name}:{line} overrides {what} of {', '.join(sorted(others))}")
	return found


def called_back(modules: dict[str, Module]) -> list[str]:
	"""Methods of controllers that a lower layer calls: a document that is passed as `Any` hides them from mypy."""
	below = {name: module for name, module in modules.items() if _layer(name) < len(LAYERS)}
	controllers = [module for name, module in modules.items() if ".doctype." in name]
	own = set().union(*(module.names for module in below.values()))
	methods = set().union(*(module.methods for module in controllers)) - own - OF_FRAPPE
	return [
		f"{name}:{line} uses {what}, which is a controller's"
		for name, module in below.items()
		for what, line in module.attributes.items()
		if what in methods
	]


def problems(package: Path) -> list[str]:
	modules = read(package)
	return [
		*(f"circle: {' → '.join([*circle, circle[0]])}" for circle in circles(modules)),
		*upward(modules),
		*private(modules),
		*called_back(modules),
	]


def _dotted(path: Path, package: Path) -> str:
	parts = path.relative_to(package.parent).with_suffix("").parts
	return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _layer(name: str) -> int:
	if "." not in name:
		# The package itself, which holds the version only.
		return -1
	part = name.split(".")[1]
	return LAYERS.index(part) if part in LAYERS else len(LAYERS)


def _is_private(name: str) -> bool:
	return name.startswith("_") and not name.startswith("__") and name != "_"


def _module(name: str, path: Path, known: set[str]) -> Module:
	module = Module(name)
	tree = ast.parse(path.read_text())
	package = name if path.name == "__init__.py" else name.rpartition(".")[0]
	foreign: set[str] = set()
	for node in ast.walk(tree):
		_note_names(module, node)
		if isinstance(node, ast.Import):
			for alias in node.names:
				_add(module, alias.name, node.lineno, known)
		elif isinstance(node, ast.ImportFrom):
			source = _source(node, package)
			for alias in node.names:
				# A name of a package may be a module of it.
				target = f"{source}.{alias.name}"
				if _add(module, target if target in known else source, node.lineno, known):
					foreign.add(alias.asname or alias.name)
					if _is_private(alias.name):
						module.used.setdefault(alias.name, node.lineno)
		elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
			if _is_private(node.name):
				module.defined.add(node.name)
		elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and _is_private(node.id):
			module.defined.add(node.id)
		elif isinstance(node, ast.Attribute) and _is_private(node.attr):
			if (
				isinstance(node.ctx, ast.Store)
				and isinstance(node.value, ast.Name)
				and node.value.id == "self"
			):
				module.defined.add(node.attr)
			else:
				module.used.setdefault(node.attr, node.lineno)
	for node in ast.walk(tree):
		if isinstance(node, ast.ClassDef) and any(_root(base) in foreign for base in node.bases):
			for method in node.body:
				if isinstance(method, ast.FunctionDef) and _is_private(method.name):
					module.overridden.setdefault(method.name, method.lineno)
	return module


def _note_names(module: Module, node: ast.AST) -> None:
	if isinstance(node, ast.Attribute):
		if isinstance(node.ctx, ast.Load):
			module.attributes.setdefault(node.attr, node.lineno)
		else:
			module.names.add(node.attr)
	elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
		module.names.add(node.name)
	elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
		module.names.add(node.id)
	elif isinstance(node, ast.ClassDef):
		methods = (each.name for each in node.body if isinstance(each, ast.FunctionDef))
		module.methods.update(name for name in methods if not name.startswith("_"))


def _add(module: Module, target: str, line: int, known: set[str]) -> bool:
	if target in known and target != module.name:
		module.imports.setdefault(target, line)
	return target in known


def _source(node: ast.ImportFrom, package: str) -> str:
	if not node.level:
		return node.module or ""
	base = package.split(".")
	base = base[: len(base) - node.level + 1]
	return ".".join([*base, *([node.module] if node.module else [])])


def _root(base: ast.expr) -> str:
	while isinstance(base, ast.Attribute | ast.Subscript):
		base = base.value
	return base.id if isinstance(base, ast.Name) else ""


if __name__ == "__main__":
	app = ROOT / "connected_app"
	read_modules = read(app)
	count = sum(len(module.imports) for module in read_modules.values())
	print(f"{len(read_modules)} modules, {count} imports among them")
	wrong = problems(app)
	print(
		"\n".join(
			wrong
			or [
				"no circle, no import of a higher layer, no private name used elsewhere, no controller called back"
			]
		)
	)
	sys.exit(bool(wrong))
