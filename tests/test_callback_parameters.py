from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_app.oauth import OAuthError, begin, complete
from connected_app.oauth.reply import Reply

from .helpers import settings_of

TEXT = st.text() | st.text(st.characters(categories=["Cs", "Cc"]))
VALUES = st.none() | st.integers() | TEXT | st.lists(TEXT, max_size=2)
NAMES = st.sampled_from(["state", "code", "iss", "error", "error_description"]) | TEXT


class Unreachable:
	def get(self, url: str, headers: Any = None, redirects: int = 0) -> Reply:
		raise AssertionError("nothing may be sent")

	def post(self, url: str, data: Any, headers: Any = None) -> Reply:
		raise AssertionError("nothing may be sent")


CONFIG = settings_of(
	client_id="c",
	authorization_uri="https://p.example/a",
	token_uri="https://p.example/t",
	issuer="https://p.example",
)


@given(st.dictionaries(NAMES, VALUES))
def test_any_callback_without_the_state(parameters: dict[str, Any]) -> None:
	"""core-defects 1: whatever a stranger sends, it is refused, and nothing is sent to the provider."""
	_, attempt = begin(*CONFIG)
	with pytest.raises(OAuthError) as caught:
		complete(*CONFIG, attempt, parameters, Unreachable())
	assert caught.value.code in ("state_mismatch", "parameter_repeated")


@given(st.dictionaries(NAMES, VALUES), TEXT.filter(bool))
def test_any_error_with_the_state(parameters: dict[str, Any], error: str) -> None:
	"""core-defects 32: whatever the provider says went wrong, it is an error of ours that can be shown."""
	_, attempt = begin(*CONFIG)
	with pytest.raises(OAuthError) as caught:
		complete(*CONFIG, attempt, {**parameters, "error": error, "state": attempt.state}, Unreachable())
	f"{caught.value} {caught.value.provider_error}".encode()
