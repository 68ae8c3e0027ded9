"""What a provider says where its template expects something else: a clear error, nothing is sent, no grant is made."""

from __future__ import annotations

from typing import Any

import pytest

from connected_app.oauth import ConfigurationError, Grant, Http, OAuthError, Settings, begin, complete
from connected_app.oauth.provider import Quirks

from .helpers import settings_of
from .hostile import Hostile, as_json
from .test_callback_parameters import Unreachable

SHOP = settings_of(
	client_id="c",
	authorization_uri="https://p.example/a",
	token_uri="https://{domain}/token",
	quirks=Quirks(keep={"domain": "callback:domain"}, hosts=("*.shop.example",)),
)


def finished(config: Settings, http: Any, **callback: str) -> Grant:
	_, attempt = begin(*config)
	return complete(*config, attempt, {"code": "c", "state": attempt.state, **callback}, http)


@pytest.mark.parametrize(
	"domain",
	[
		"evil.example", "evil.example/", "evil.example?", "evil.example#", "evil.example/.shop.example",
		"evil.example#.shop.example", "a@evil.example", "evil.example\\.shop.example", "evil.example:443",
		"evil.example%2f.shop.example", "shop.example.evil.example", "\uff45vil.example", "evil.example\r\n.shop.example", " ", "*.shop.example",
	],
)  # fmt: skip
def test_a_callback_that_names_another_host(domain: str) -> None:
	with pytest.raises(ConfigurationError) as caught:
		finished(SHOP, Unreachable(), domain=domain)
	assert caught.value.code == "host_not_allowed"
	assert "does not allow" in caught.value.message


def test_a_callback_that_names_no_host() -> None:
	with pytest.raises(ConfigurationError) as caught:
		finished(SHOP, Unreachable(), domain="")
	assert caught.value.code == "endpoint_missing"


@pytest.mark.parametrize(
	("answer", "path"),
	[
		({"authed": {}}, "authed.access_token"),
		({"authed": []}, "authed.0.access_token"),
		({"authed": "text"}, "authed.access_token"),
		({"authed": {"access_token": None}}, "authed.access_token"),
		({"authed": {"access_token": {"is": "not a text"}}}, "authed.access_token"),
		([], "0.access_token"),
	],
)
def test_a_path_that_leads_to_nothing(answer: Any, path: str, server: Hostile, http: Http) -> None:
	config = settings_of(
		client_id="c",
		authorization_uri="https://p.example/a",
		token_uri=server.script("/token", as_json(answer)),
		quirks=Quirks(answer={"access_token": path}),
	)
	with pytest.raises(OAuthError) as caught:
		finished(config, http)
	assert caught.value.code == "response_invalid"
