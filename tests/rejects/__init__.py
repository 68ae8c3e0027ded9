"""One hostile provider behaviour a file. Docstrings name the module of the OpenID Foundation's plan that does the same.

"Reject" means: no token is stored, no session is returned, the error has a stable code.
"""

from __future__ import annotations

from typing import Any

import pytest

from connected_app.oauth import ConfigurationError, ReconnectRequired

from ..helpers import OpenIDProvider
from ..hostile import as_json


def refuses_on_refresh(op: OpenIDProvider, code: str, **claims: Any) -> None:
	"""A refresh whose ID token says `claims` stores nothing, and asks for consent again."""
	refresher, store = op.refresher()
	before = store.grant
	token = op.id_token(("nonce",), **claims)
	op.server.script("/token", as_json({"access_token": "new", "refresh_token": "new", "id_token": token}))
	with pytest.raises(ReconnectRequired) as caught:
		refresher.current()
	assert caught.value.code == code
	assert store.grant is before and store.saves == 0
	assert store.failure and store.failure.reconnect and store.failure.code == code


def keeps_on_refresh(op: OpenIDProvider, code: str, **claims: Any) -> None:
	"""A refresh whose ID token says `claims`, which a setting can explain: nothing that came with it is used, and an
	admin must act; then the grant is refreshed with the new refresh token."""
	refresher, store = op.refresher()
	answer = {"access_token": "refused", "refresh_token": "r2", "id_token": op.id_token(("nonce",), **claims)}
	good = {"access_token": "good", "refresh_token": "r3", "id_token": op.id_token(("nonce",))}
	op.server.script("/token", as_json(answer), as_json(good))
	for _time in range(2):
		with pytest.raises(ConfigurationError) as caught:
			refresher.current()
		assert caught.value.code == code
	assert len(op.server.to("/token")) == 1
	assert store.failure and not store.failure.reconnect and store.failure.configuration
	op.clock.advance(60)
	assert refresher.current().access_token == "good"
	assert op.server.to("/token")[-1].form["refresh_token"] == "r2"
