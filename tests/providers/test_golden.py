from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from connected_app.oauth.provider import STANDARD
from connected_app.oauth.template_schema import DEFAULTS
from connected_app.oauth.templates import Template, load

from ..hostile import Hostile
from .replay import COUNTED, Replay, golden

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
	"parameters", "more_consent", "another_account", "rename", "exchange", "renew", "client", "headers", "answer",
	"keep", "trade", "retrade", "api", "account", "revoke", "assertion",
)  # fmt: skip
# What no exchange of one provider can show: a base address is for developers, and further words for dead grants are many.
USUAL = (*STANDARD.account_id, *STANDARD.account_name)
UNSEEN = ("api.base", "trade.method", "retrade.method")
# What an admin may fetch from a provider that has it: Automatic goes by it, an authentication that the template names does
# not.
METADATA = {
	"token_endpoint": "https://provider.example/token",
	"token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
}


@pytest.mark.parametrize("key", GOLDEN)
def test_golden(key: str, server: Hostile) -> None:
	replay = Replay(TEMPLATES[key], GOLDEN[key], server)
	replay.run()
	COUNTED.update(providers=1, exchanges=replay.exchanges)


def mutants(template: Template) -> Iterator[tuple[str, Template]]:
	"""The template with one key after another reset to its default."""
	for key in ON_THE_WIRE:
		# Where nothing is renewed, there is no request that could show it.
		nothing = (key, template.values.get(key)) == ("renewal", "none")
		if key in template.values and template.values[key] != DEFAULTS.get(key) and not nothing:
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
	return [path for path, mutant in mutants(TEMPLATES[key]) if survives(key, path, mutant, server)]


def survives(key: str, path: str, mutant: Template, server: Hostile) -> bool:
	for metadata in ({}, METADATA) if path == "client_authentication" else ({},):
		try:
			Replay(mutant, GOLDEN[key], server, metadata).run()
		except Exception:
			return False
	return True


@pytest.mark.parametrize("key", GOLDEN)
def test_mutants_die(key: str, server: Hostile) -> None:
	"""A key that survives is not shown by the exchange: the golden file lists it as `unseen`, with the reason, and no other."""
	survived, unseen = survivors(key, server), GOLDEN[key].get("unseen", {})
	assert sorted(survived) == sorted(unseen)
	assert all(isinstance(reason, str) and reason for reason in unseen.values()), "a reason for each"
	COUNTED.update(keys=sum(1 for _each in mutants(TEMPLATES[key])), unseen=len(survived))


def test_each_that_can_be_connected_has_one() -> None:
	"""A template with a key that shows on the wire has a golden exchange, unless the provider cannot be connected."""
	lacking = [
		key
		for key, template in TEMPLATES.items()
		if key not in GOLDEN and "unsupported" not in template.values and any(mutants(template))
	]
	assert lacking == []
