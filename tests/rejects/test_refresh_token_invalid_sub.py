from __future__ import annotations

from dataclasses import replace

import pytest

from connected_app.oauth import Account

from ..helpers import OpenIDProvider, changed
from ..hostile import as_json
from . import refuses_on_refresh


def test_refresh_token_invalid_sub(op: OpenIDProvider) -> None:
	"""oidcc-client-test-refresh-token-invalid-sub (OIDC Core 12.2)"""
	refuses_on_refresh(op, "id_token_subject", sub="mallory")
	refuses_on_refresh(op, "id_token_subject", sub="alice2")


def test_whatever_else_is_wrong(op: OpenIDProvider) -> None:
	"""OIDC Core 12.2: another subject is refused whatever else is wrong, here or there."""
	refuses_on_refresh(
		op, "id_token_subject", sub="mallory", iss="https://mallory.example", aud="other", exp=1
	)
	op.config = changed(op.config, jwks_uri="https://10.0.0.1/")
	refuses_on_refresh(op, "id_token_subject", sub="mallory")


@pytest.mark.parametrize(
	("stored", "claims"),
	[
		# The account request alone says it.
		("u-17", {"sub": "alice"}),
		# The ID token has it as well.
		("u-17", {"sub": "alice", "oid": "u-17"}),
		# It was connected before the template knew better.
		("alice", {"sub": "alice", "oid": "u-17"}),
	],
)
def test_an_account_that_is_known_by_another_claim(
	op: OpenIDProvider, stored: str, claims: dict[str, str]
) -> None:
	"""OIDC Core 12.2: `sub` is compared with what was stored of it, and with nothing else."""
	by_another_claim(op)
	refresher, store = op.refresher(account=Account(id=stored))
	op.server.script(
		"/token", as_json({"access_token": "new", "id_token": op.id_token(("nonce",), **claims)})
	)
	assert refresher.current().access_token == "new"
	assert store.grant and store.grant.account == Account(id=stored)


def test_another_account_by_another_claim(op: OpenIDProvider) -> None:
	by_another_claim(op)
	refuses_on_refresh(op, "id_token_subject", sub="x", oid="mallory")


def by_another_claim(op: OpenIDProvider) -> None:
	quirks = replace(op.config.provider.quirks, account_id=("oid", "sub", "id", "user_id"))
	op.config = changed(op.config, quirks=quirks)
