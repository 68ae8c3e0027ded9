"""docs/architecture.md draws the real layout."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYOUT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## Layout")[1].split("```")[1]


@pytest.mark.parametrize("package", ["oauth", "site"])
def test_each_module_is_drawn(package: str) -> None:
	part = re.split(r"^  (\w+)/", LAYOUT, flags=re.M)
	drawn = re.findall(r"\b([a-z_]+[0-9]*\.py)\b", part[part.index(package) + 1])
	there = {path.name for path in (ROOT / "connected_app" / package).rglob("*.py")} - {"__init__.py"}
	assert set(drawn) == there
	assert len(drawn) == len(there), "one is drawn twice"


def test_each_folder_is_there() -> None:
	top, app = LAYOUT.split("connected_app/\n", 1)
	for root, names in (
		(ROOT, re.findall(r"^([a-z_.]+)/ ", top, re.M)),
		(ROOT / "connected_app", re.findall(r"^  ([a-z_]+)/ ", app, re.M)),
	):
		assert len(names) > 5
		assert not [name for name in names if not (root / name).is_dir()]


def test_each_folder_is_drawn() -> None:
	app = ROOT / "connected_app"
	parents = (ROOT / "tests", app, app / "connections" / "doctype", app / "connections" / "page")
	names = [path.name for parent in parents for path in parent.iterdir() if path.is_dir()]
	assert len(names) > 20
	assert [name for name in names if name != "__pycache__" and f"{name}/" not in LAYOUT] == []
