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
		(["email", "files"], ["openid", "https://www.googleapis.com/auth/userinfo.email"], ["files"]),
		(["Read"], ["read"], []),
		(["Files.Read.All"], ["files.read.all"], []),
		(["Mail.Read"], ["https://graph.microsoft.com/Mail.Read"], []),
		(["https://graph.microsoft.com/Mail.Read"], ["Mail.Read"], []),
		(["https://graph.microsoft.us/Mail.Read"], ["mail.read"], []),
		(["https://outlook.office.com/Mail.Read"], ["Mail.Read"], ["https://outlook.office.com/Mail.Read"]),
		(["openid", "profile", "offline_access", "User.Read"], ["User.Read"], []),
		(["openid", "profile", "offline_access", "read"], ["openid"], ["profile", "read"]),
		(["read_orders", "read_products"], ["write_orders"], ["read_products"]),
		(["write_orders"], ["read_orders"], ["write_orders"]),
		(["Mail.ReadWrite"], ["Mail.Read"], ["Mail.ReadWrite"]),
		(["https://graph.microsoft.com/.default", "a"], ["User.Read"], ["a"]),
	],
)
def test_missing(wanted: list[str], granted: list[str], expected: list[str]) -> None:
	"""core-defects 29: compared without regard to case, and with what providers grant under another name or none."""
	assert missing(wanted, granted) == expected
