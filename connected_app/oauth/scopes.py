"""What was granted, against what was asked for (RFC 6749 3.3)."""

from __future__ import annotations

from collections.abc import Collection, Iterable

# Google grants these under other names than it was asked by.
_OTHER_NAMES = {
	"email": "https://www.googleapis.com/auth/userinfo.email",
	"profile": "https://www.googleapis.com/auth/userinfo.profile",
}


def missing(wanted: Iterable[str], granted: Collection[str]) -> list[str]:
	"""The scopes of `wanted` that are not among `granted`.

	`offline_access` never is: providers grant it without naming it (Microsoft); whether it was granted shows in
	whether there is a refresh token.
	"""
	return [
		scope
		for scope in wanted
		if scope not in granted and scope != "offline_access" and _OTHER_NAMES.get(scope) not in granted
	]
