"""What was granted, against what was asked for (RFC 6749 3.3).

Names are compared without regard to case, and short names with long ones, as far as providers mix them. In doubt a scope
counts as granted: the API then says what is missing, while a scope that is wrongly missed would keep people from what they
have allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

# Granted without being named: Microsoft omits these, and whether there is a refresh token shows by itself.
UNNAMED = frozenset({"openid", "profile", "offline_access"})
# Google grants these under other names than it was asked by.
_OTHER_NAMES = {
	"email": "https://www.googleapis.com/auth/userinfo.email",
	"profile": "https://www.googleapis.com/auth/userinfo.profile",
}
# Microsoft Graph's scopes have short names, too; in the national clouds as well.
_PREFIXES = (
	"https://graph.microsoft.com/",
	"https://graph.microsoft.us/",
	"https://dod-graph.microsoft.us/",
	"https://microsoftgraph.chinacloudapi.cn/",
)
# Shopify names only the wider one of two.
_IMPLIED = (("read_", "write_"),)


def missing(wanted: Iterable[str], granted: Collection[str]) -> list[str]:
	"""The scopes of `wanted` that are not among `granted`."""
	given = {name for scope in granted for name in _names(scope)}
	return [
		scope
		for scope in wanted
		if scope.casefold() not in UNNAMED
		and given.isdisjoint(name for each in _enough(scope) for name in _names(each))
	]


def _names(scope: str) -> set[str]:
	"""What `scope` is called, by itself and in short."""
	name = scope.casefold()
	return {name, *(name[len(prefix) :] for prefix in _PREFIXES if name.startswith(prefix))}


def _enough(scope: str) -> list[str]:
	"""The scopes of which one is enough for `scope`."""
	found = [scope, _OTHER_NAMES.get(scope, scope)]
	return found + [wider + scope[len(one) :] for one, wider in _IMPLIED if scope.casefold().startswith(one)]
