from __future__ import annotations

from dataclasses import replace

import pytest

from connected_app.oauth import ClientConfig, Http, revoke

from .helpers import ACCESS_TOKEN, CLIENT_SECRET, REFRESH_TOKEN, a_grant
from .hostile import Answer, Hostile


def test_refresh_token_first(config: ClientConfig, server: Hostile, http: Http) -> None:
	"""core-defects 13 (the protocol's part): RFC 7009 2.1, authenticated, the refresh token first."""
	config = replace(config, revocation_uri=server.script("/revoke", Answer()))
	assert revoke(config, a_grant(), http) is True
	client = {"client_id": "client", "client_secret": CLIENT_SECRET}
	assert [request.form for request in server.requests] == [
		{"token": REFRESH_TOKEN, "token_type_hint": "refresh_token", **client},
		{"token": ACCESS_TOKEN, "token_type_hint": "access_token", **client},
	]


@pytest.mark.parametrize(
	"answer",
	[Answer(status=503), Answer(status=400), Answer(status=302), Answer(b"x", cut=0), Answer(delay=5)],
)
def test_failure_is_an_answer(answer: Answer, config: ClientConfig, server: Hostile, http: Http) -> None:
	"""core-defects 13: nothing that the provider does keeps the caller from forgetting the grant."""
	config = replace(config, revocation_uri=server.script("/revoke", answer, Answer()))
	assert revoke(config, a_grant(), http) is False
	assert len(server.requests) == 2


def test_no_endpoint(config: ClientConfig, server: Hostile, http: Http) -> None:
	assert revoke(config, a_grant(), http) is False
	assert server.requests == []
