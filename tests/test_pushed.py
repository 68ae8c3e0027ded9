"""Pushed authorization requests (RFC 9126)."""

from __future__ import annotations

from typing import Any

import pytest

from connected_app.oauth import ConfigurationError, Http, OAuthError, Settings, TemporaryFailure, begin

from .helpers import CLIENT_SECRET, changed, consent_parameters
from .hostile import Answer, Hostile, as_json

URN = "urn:ietf:params:oauth:request_uri:6esc_11ACC5bwc014ltc14eY22c"
PUSHED = as_json({"request_uri": URN, "expires_in": 60}, 201)


@pytest.fixture
def offered(config: Settings, server: Hostile) -> Settings:
	"""A provider that takes pushed requests, and does not insist."""
	server.script("/par", PUSHED)
	metadata = {
		"token_endpoint": server.url + "/token",
		"pushed_authorization_request_endpoint": server.url + "/par",
	}
	return changed(
		config,
		authorization_uri=server.url + "/authorize",
		redirect_uri="https://site.example/cb",
		scopes=("openid", "mail"),
		authorization_parameters={"prompt": "consent"},
		metadata=metadata,
	)


def required(settings: Settings) -> Settings:
	return changed(
		settings, metadata={**settings.provider.metadata, "require_pushed_authorization_requests": True}
	)


def test_pushed(offered: Settings, server: Hostile, http: Http) -> None:
	"""2.1, 4: the whole request is posted, authenticated as at the token endpoint; the browser carries `client_id` and
	`request_uri` alone."""
	url, attempt = begin(*offered, http=http)
	assert consent_parameters(url) == {"client_id": offered.client.client_id, "request_uri": URN}
	(request,) = server.to("/par")
	assert request.headers["authorization"].startswith("Basic ")
	sent = request.form
	assert sent["state"] == attempt.state and sent["nonce"] == attempt.nonce
	assert sent["code_challenge_method"] == "S256" and sent["code_challenge"]
	assert (sent["scope"], sent["prompt"], sent["response_type"]) == ("openid mail", "consent", "code")
	assert sent["redirect_uri"] == "https://site.example/cb" == attempt.redirect_uri
	assert attempt.code_verifier and attempt.code_verifier not in f"{sent} {url}"


@pytest.mark.parametrize(
	("setting", "offers", "requires", "pushes"),
	[
		("automatic", True, False, True),
		("automatic", False, False, False),
		("automatic", True, True, True),
		("always", True, False, True),
		("never", True, False, False),
		("never", True, True, False),
	],
)
def test_when(
	setting: str, offers: bool, requires: bool, pushes: bool, offered: Settings, server: Hostile, http: Http
) -> None:
	if not offers:
		offered = changed(offered, metadata={"token_endpoint": server.url + "/token"})
	if requires:
		offered = required(offered)
	url, _attempt = begin(*changed(offered, pushed_requests=setting), http=http)
	assert ("request_uri" in consent_parameters(url)) == pushes == bool(server.to("/par"))


REFUSALS: list[tuple[Answer, type[OAuthError], str]] = [
	(as_json({"error": "invalid_client"}, 401), ConfigurationError, "invalid_client"),
	(
		as_json({"error": "invalid_request", "error_description": "no"}, 400),
		ConfigurationError,
		"invalid_request",
	),
	(as_json({"error": "invalid_scope"}, 400), ConfigurationError, "invalid_scope"),
	(as_json({"expires_in": 60}, 201), TemporaryFailure, "response_invalid"),
	(as_json({"request_uri": 7}, 201), TemporaryFailure, "response_invalid"),
	(as_json({"request_uri": ""}, 201), TemporaryFailure, "response_invalid"),
	(as_json({"request_uri": "u" * 5000}, 201), TemporaryFailure, "response_invalid"),
	(Answer(b"<h1>hello</h1>", 200, {"Content-Type": "text/html"}), TemporaryFailure, "response_invalid"),
	(Answer(status=503), TemporaryFailure, "server_error"),
	(Answer(status=302, headers={"Location": "/elsewhere"}), TemporaryFailure, "redirected"),
]


@pytest.mark.parametrize(("answer", "kind", "code"), REFUSALS)
def test_refused(
	answer: Answer, kind: type[OAuthError], code: str, offered: Settings, server: Hostile, http: Http
) -> None:
	"""Where it has to be pushed, the error is shown; where it need not be, the browser carries the request."""
	server.script("/par", answer)
	for settings in (required(offered), changed(offered, pushed_requests="always")):
		with pytest.raises(OAuthError) as caught:
			begin(*settings, http=http)
		assert (type(caught.value), caught.value.code) == (kind, code)
		assert CLIENT_SECRET not in str(caught.value)
	sent = consent_parameters(begin(*offered, http=http)[0])
	assert "request_uri" not in sent and sent["state"] and sent["code_challenge"]
	assert len(server.to("/par")) == 3


def test_nowhere_to_push(offered: Settings, http: Http) -> None:
	with pytest.raises(ConfigurationError) as caught:
		begin(*changed(offered, metadata={}, pushed_requests="always"), http=http)
	assert caught.value.code == "endpoint_missing"


def test_what_a_refusal_echoes(offered: Settings, server: Hostile, http: Http) -> None:
	"""State, nonce and secret are in no error."""

	def echo(request: Any) -> Answer:
		said = (
			f"{request.form['state']} {request.form['nonce']} {request.headers['authorization'].split()[-1]}"
		)
		return as_json({"error": "invalid_request", "error_description": said}, 400)

	server.script("/par", echo)
	with pytest.raises(ConfigurationError) as caught:
		begin(*required(offered), http=http)
	request = server.to("/par")[0]
	for hidden in (
		request.form["state"],
		request.form["nonce"],
		request.headers["authorization"].split()[-1],
	):
		assert hidden not in str(caught.value)


@pytest.mark.parametrize(
	"request_uri", ["urn:\ud800", "urn:x\r\ny", "urn: x", "urn:ü", "u" * 1001, 5, ["urn:x"], None, ""]
)
def test_a_name_that_is_no_uri(request_uri: object, offered: Settings, server: Hostile, http: Http) -> None:
	server.script("/par", *[as_json({"request_uri": request_uri}, 201)] * 2)
	with pytest.raises(TemporaryFailure) as caught:
		begin(*required(offered), http=http)
	assert caught.value.code == "response_invalid"
	assert "code_challenge" in consent_parameters(begin(*offered, http=http)[0])
