from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from connected_app.oauth.provider import STANDARD
from connected_app.oauth.templates import DEFAULTS, Template, load

from ..hostile import Hostile
from .replay import Replay, golden

PROVIDERS = Path(__file__).resolve().parents[2] / "connected_app" / "providers"
TEMPLATES = load([PROVIDERS])
GOLDEN = golden()
# Keys that show on the wire, or in what is kept of it.
ON_THE_WIRE = (
	"authorize", "token", "refresh", "separator", "scope_parameter", "pkce", "code_parameter", "redirect_uri",
	"client_authentication", "renewal_authentication", "body", "method", "scope_on_refresh", "user_agent",
	"granted_scopes", "renewal",
)  # fmt: skip
TABLES = (
	"parameters", "rename", "exchange", "renew", "client", "headers", "answer", "keep", "trade", "retrade", "api",
	"account", "revoke",
)  # fmt: skip
# What no exchange of one provider can show: a base address is for developers, and further words for dead grants are many.
USUAL = (*STANDARD.account_id, *STANDARD.account_name)
UNSEEN = ("api.base", "trade.method", "retrade.method")


@pytest.mark.parametrize("key", GOLDEN)
def test_golden(key: str, server: Hostile) -> None:
	Replay(TEMPLATES[key], GOLDEN[key], server).run()


def mutants(template: Template) -> Iterator[tuple[str, Template]]:
	"""The template with one key after another reset to its default."""
	for key in ON_THE_WIRE:
		if key in template.values and template.values[key] != DEFAULTS.get(key):
			yield key, without(template, key)
	for table in TABLES:
		for name in template.values.get(table, {}):
			# An account at a usual path is found without being told.
			usual = (
				f"{table}.{name}" in ("account.id", "account.name") and template.values[table][name] in USUAL
			)
			if f"{table}.{name}" not in UNSEEN and not usual:
				yield f"{table}.{name}", without(template, table, name)


def without(template: Template, key: str, name: str = "") -> Template:
	values: dict[str, Any] = deepcopy(dict(template.values))
	if name:
		del values[key][name]
	else:
		del values[key]
	return Template(key=template.key, values=values)


def survivors(key: str, server: Hostile) -> list[str]:
	found = []
	for path, mutant in mutants(TEMPLATES[key]):
		try:
			Replay(mutant, GOLDEN[key], server).run()
		except Exception:
			continue
		found.append(path)
	return found


@pytest.mark.parametrize("key", GOLDEN)
def test_mutants_die(key: str, server: Hostile) -> None:
	"""A key that survives is not shown by the exchange: the golden file lists it as `unseen`, and no other."""
	assert sorted(survivors(key, server)) == sorted(GOLDEN[key].get("unseen", []))


def test_how_much_is_shown() -> None:
	"""Most of what the templates with a golden exchange say is shown by it."""
	every = [path for key in GOLDEN for path, _mutant in mutants(TEMPLATES[key])]
	unseen = [path for said in GOLDEN.values() for path in said.get("unseen", [])]
	assert len(unseen) < len(every) / 2, (len(unseen), len(every))
