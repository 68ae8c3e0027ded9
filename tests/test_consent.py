"""More consent than there is: what an API says of it, and what a user is then asked for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from requests.structures import CaseInsensitiveDict

from connected_app.oauth import Client, OAuthError, Settings, begin, challenges
from connected_app.oauth.authorization import Attempt
from connected_app.oauth.consent import MoreConsent, choosing_account, for_account, wanted_by
from connected_app.oauth.provider import Quirks
from connected_app.oauth.session import Session

from .helpers import NOW, Clock, OpenIDProvider, changed, consent_parameters
from .hostile import Answer, Hostile
from .test_session import session, store  # noqa: F401

ADDS = Quirks(more_consent={"include_granted_scopes": "true"})


@pytest.mark.parametrize(
	("header", "found"),
	[
		("", []),
		(None, []),
		("Bearer", [("bearer", {})]),
		('Bearer realm="x"', [("bearer", {"realm": "x"})]),
		('BEARER Error="a", scope="b c"', [("bearer", {"error": "a", "scope": "b c"})]),
		("Bearer error=insufficient_scope", [("bearer", {"error": "insufficient_scope"})]),
		('Bearer realm="a, b=c", x = y', [("bearer", {"realm": "a, b=c", "x": "y"})]),
		(r'Bearer realm="say \"hi\"\\", x=y', [("bearer", {"realm": 'say "hi"\\', "x": "y"})]),
		(
			'Basic, Bearer a="1", DPoP algs="ES256"',
			[("basic", {}), ("bearer", {"a": "1"}), ("dpop", {"algs": "ES256"})],
		),
		('Basic realm="r", Bearer error="e"', [("basic", {"realm": "r"}), ("bearer", {"error": "e"})]),
		('Bearer a="1", a="2"', [("bearer", {"a": "1"})]),
		("Negotiate YWJj==, Bearer a=1", [("negotiate", {}), ("bearer", {"a": "1"})]),
		('a="1"', []),
		('Bearer a="never ends', [("bearer", {})]),
		("Bearer " + 'a="1", ' * 5000, [("bearer", {"a": "1"})]),
	],
)
def test_challenges(header: str | None, found: list[tuple[str, dict[str, str]]]) -> None:
	"""RFC 9110 11.6.1: quoted or not, several in one line, with or without parameters."""
	assert [(each.scheme, dict(each.parameters)) for each in challenges.read(header)] == found


@pytest.mark.parametrize(
	("status", "header", "wanted"),
	[
		(403, 'Bearer error="insufficient_scope", scope="read write"', MoreConsent(scopes=("read", "write"))),
		(403, 'Bearer error="insufficient_scope"', MoreConsent()),
		(403, 'Bearer error="insufficient_scope", scope=" read  read "', MoreConsent(scopes=("read",))),
		(403, 'Basic, DPoP error="insufficient_scope", scope="a"', MoreConsent(scopes=("a",))),
		(403, 'Bearer error="invalid_token"', None),
		(403, "", None),
		(200, 'Bearer error="insufficient_scope"', None),
		(
			401,
			'Bearer error="insufficient_user_authentication", acr_values="gold silver", max_age="5"',
			MoreConsent(acr_values="gold silver", max_age=5),
		),
		(401, 'Bearer error="insufficient_user_authentication", max_age=0', MoreConsent(max_age=0)),
		(401, 'Bearer error="insufficient_user_authentication", max_age="-1"', MoreConsent()),
		(401, 'Bearer error="insufficient_user_authentication", max_age="²"', MoreConsent()),
		(401, 'Bearer error="invalid_token"', None),
	],
)
def test_what_an_api_wants(status: int, header: str, wanted: MoreConsent | None) -> None:
	"""RFC 6750 3.1, RFC 9470 3"""
	assert wanted_by(status, CaseInsensitiveDict({"WWW-Authenticate": header})) == wanted


def test_all_is_asked_for_again(config: Settings, clock: Clock) -> None:
	more = MoreConsent(scopes=("more", "read"))
	client = more.client(config.client, config.provider.quirks, kept=("kept",))
	url, attempt = begin(config.provider, client, clock=clock)
	assert consent_parameters(url)["scope"] == "read write kept more"
	assert attempt.scopes == ("read", "write", "kept", "more")
	assert "include_granted_scopes" not in url


def test_only_more_is_asked_for(config: Settings, clock: Clock) -> None:
	"""By a provider that adds to what it has granted; with what says who it is."""
	client = replace(config.client, scopes=("openid", "read"))
	client = MoreConsent(scopes=("more",)).client(client, ADDS, kept=("kept",))
	url, attempt = begin(config.provider, client, clock=clock)
	sent = consent_parameters(url)
	assert (sent["scope"], sent["include_granted_scopes"]) == ("openid more", "true")
	# Of these it is an answer that does not say what was granted.
	assert attempt.scopes == ("openid", "read", "kept", "more")
	nothing = MoreConsent(acr_values="gold").client(config.client, ADDS)
	sent = consent_parameters(begin(config.provider, nothing, clock=clock)[0])
	assert (sent["scope"], sent["acr_values"]) == ("read write", "gold")
	assert "include_granted_scopes" not in sent


def test_an_attempt_is_kept_as_it_was(config: Settings, clock: Clock) -> None:
	_url, attempt = begin(*config, clock=clock, max_age=60)
	assert Attempt.from_json(attempt.to_json()) == attempt
	assert attempt.scopes == ("read", "write") and attempt.max_age == 60


def test_the_grant_has_what_the_attempt_asked_for(op: OpenIDProvider) -> None:
	"""Whatever an admin has changed meanwhile."""
	op.config = changed(op.config, scopes=("openid", "email", "more"))
	op.begin()
	op.config = changed(op.config, scopes=("openid",))
	assert op.connect().scopes == ("openid", "email", "more")


@pytest.mark.parametrize(
	("ago", "refused"),
	[(0, False), (100, False), (170, True), (None, False), ("soon", False)],
)
def test_how_old_a_login_may_be(ago: Any, refused: bool, op: OpenIDProvider) -> None:
	"""OIDC Core 3.1.3.7, 13, with a minute for clocks that differ."""
	_url, op.attempt = begin(*op.config, clock=op.clock, max_age=60)
	claims = {} if ago is None else {"auth_time": ago}
	if isinstance(ago, int):
		claims = {"auth_time": int((NOW - timedelta(seconds=ago)).timestamp())}
	if not refused:
		assert op.connect(op.id_token(**claims)).account
		return
	with pytest.raises(OAuthError) as caught:
		op.connect(op.id_token(**claims))
	assert caught.value.code == "id_token_login_too_old"


def test_a_login_that_is_not_enough_is_no_expired_token(session: Session, server: Hostile) -> None:  # noqa: F811
	"""RFC 9470 3: no refresh helps, and the token stays good for the rest."""
	words = 'Bearer error="insufficient_user_authentication", acr_values="gold"'
	url = server.script("/api", Answer(status=401, headers={"WWW-Authenticate": words}))
	response = session.get(url)
	assert wanted_by(response.status_code, response.headers) == MoreConsent(acr_values="gold")
	assert server.paths() == {"/api": 1}


@pytest.mark.parametrize(
	("prompt", "quirks", "parameters"),
	[
		("", Quirks(), {"prompt": "select_account"}),
		("consent", Quirks(), {"prompt": "consent select_account"}),
		("none", Quirks(), {"prompt": "select_account"}),
		("consent", Quirks(another_account={"force_login": "1"}), {"prompt": "consent", "force_login": "1"}),
	],
)
def test_another_account(prompt: str, quirks: Quirks, parameters: dict[str, str]) -> None:
	"""OIDC Core 3.1.2.1; a provider that has a parameter of its own for it gets that one."""
	given = {"prompt": prompt} if prompt else {}
	client = Client(client_id="c", redirect_uri="https://site.example/cb", authorization_parameters=given)
	assert choosing_account(client, quirks).authorization_parameters == parameters


@pytest.mark.parametrize(
	("hint", "sent"), [("alice@example.com", {"login_hint": "alice@example.com"}), ("", {})]
)
def test_an_account_is_proposed(hint: str, sent: dict[str, str]) -> None:
	"""OIDC Core 3.1.2.1; an account that is unknown is not."""
	client = Client(client_id="c", authorization_parameters={"prompt": "login"})
	assert for_account(client, hint).authorization_parameters == {"prompt": "login", **sent}


@pytest.mark.parametrize(
	("more", "expected"),
	[
		(MoreConsent(scopes=("a",)), False),
		(MoreConsent(max_age=0), True),
		(MoreConsent(acr_values="x"), True),
	],
)
def test_what_is_a_step_up(more: MoreConsent, expected: bool) -> None:
	"""RFC 9470: another login, not more scopes."""
	assert more.is_step_up is expected
