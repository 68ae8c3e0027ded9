from __future__ import annotations

import pytest

from connected_app.oauth.scopes import missing


@pytest.mark.parametrize(
	("wanted", "granted", "expected"),
	[
		([], [], []),
		(["a", "b"], ["b", "c"], ["a"]),
		(["a", "b"], [], ["a", "b"]),
		(["a", "offline_access"], ["a"], []),
		(["email", "profile"], ["openid", "https://www.googleapis.com/auth/userinfo.email"], ["profile"]),
		(["Read"], ["read"], ["Read"]),
	],
)
def test_missing(wanted: list[str], granted: list[str], expected: list[str]) -> None:
	"""core-defects 29: compared exactly, but for what providers are known to grant under another name or none."""
	assert missing(wanted, granted) == expected
