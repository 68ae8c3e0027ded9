"""The layers of the app, read from its code; and tests of the reader itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from .layers import ROOT, circles, problems, read


def test_the_app() -> None:
	assert problems(ROOT / "connected_app") == []


def test_every_module_is_read() -> None:
	modules = read(ROOT / "connected_app")
	assert "connected_app.oauth.refresh" in modules["connected_app.site.sessions"].imports
	assert "connected_app.site.settings" in modules["connected_app.api"].imports
	# In a function, and relative.
	assert "connected_app.site.revocation" in modules["connected_app.commands"].imports
	assert "connected_app.oauth.grant" in modules["connected_app.oauth.refresh"].imports


LOW = "class Base:\n\tdef _step(self): ...\n\ndef _hidden(): ...\n"


@pytest.mark.parametrize(
	("files", "expected"),
	[
		({"site/a.py": "from app.site import b", "site/b.py": "from app.site.a import x"}, "circle"),
		(
			{
				"site/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n\tfrom app.site.b import B",
				"site/b.py": "def f():\n\tfrom . import c",
				"site/c.py": "import app.site.a",
			},
			"circle: app.site.a → app.site.b → app.site.c → app.site.a",
		),
		({"oauth/a.py": "def f():\n\tfrom ..site import b", "site/b.py": ""}, "which is above it"),
		({"site/a.py": "from app import api", "api.py": ""}, "app.site.a:1 imports app.api"),
		({"site/low.py": LOW, "site/a.py": "from app.site.low import _hidden"}, "uses _hidden"),
		({"site/low.py": LOW, "site/a.py": "from app.site import low\nlow._hidden()"}, "uses _hidden"),
		({"site/low.py": LOW, "api.py": "def f(thing):\n\tthing._step()"}, "private to app.site.low"),
		(
			{
				"oauth/low.py": LOW,
				"site/a.py": "from app.oauth.low import Base\nclass A(Base):\n\tdef _step(self): ...",
			},
			"app.site.a:3 overrides _step of app.oauth.low",
		),
		(
			{
				"connections/doctype/a/a.py": "class A:\n\tdef renew(self): ...",
				"site/a.py": "def f(document):\n\tdocument.renew()",
			},
			"app.site.a:2 uses renew, which is a controller's",
		),
	],
)
def test_what_is_found(tmp_path: Path, files: dict[str, str], expected: str) -> None:
	found = problems(_package(tmp_path, files))
	assert len(found) == 1 and expected in found[0], found


def test_what_is_allowed(tmp_path: Path) -> None:
	files = {
		"__init__.py": "__version__ = '1'",
		"oauth/low.py": LOW + "\ndef use(base): base._step()",
		"site/a.py": "from app import __version__\nfrom app.oauth.low import Base\nfrom frappe import _",
		"site/b.py": "from app.site import a\nfrom frappe.model import Document\n"
		"class B(Document):\n\tdef _save(self): return self._save()",
		"api.py": "from app.site import a, b\nfrom app.oauth import low",
		"tests/t.py": "from app.oauth.low import _hidden",
	}
	assert problems(_package(tmp_path, files)) == []


def test_a_circle_of_one(tmp_path: Path) -> None:
	modules = read(_package(tmp_path, {"site/a.py": "from app.site.a import x"}))
	assert circles(modules) == [], "a module that names itself imports nothing else"


def _package(folder: Path, files: dict[str, str]) -> Path:
	for name in ("__init__.py", "oauth/__init__.py", "site/__init__.py", *files):
		path = folder / "app" / name
		path.parent.mkdir(parents=True, exist_ok=True)
		path.write_text(files.get(name, ""))
	return folder / "app"
