"""What was granted, against what was asked for (RFC 6749 3.3).

Names are compared without regard to case, and short names with long ones, as far as providers mix them. In doubt a scope
counts as granted: the API then says what is missing, while a scope that is wrongly missed would keep people from what they
have allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from .provider import STANDARD, Quirks


def missing(wanted: Iterable[str], granted: Collection[str], quirks: Quirks = STANDARD) -> list[str]:
	"""The scopes of `wanted` that are not among `granted`."""
	given = {name for scope in granted for name in _names(scope, quirks)}
	# Where OpenID Connect's own scopes are named, one that is not named was not granted.
	unnamed = {"offline_access"} if "openid" in given else quirks.unnamed_scopes
	return [
		scope
		for scope in wanted
		if scope.casefold() not in unnamed
		# Microsoft's word for all that is registered; those are named, and it is not.
		and not scope.casefold().endswith("/.default")
		and given.isdisjoint(name for each in _enough(scope, quirks) for name in _names(each, quirks))
	]


def _names(scope: str, quirks: Quirks) -> set[str]:
	"""What `scope` is called, by itself and in short."""
	name = scope.casefold()
	return {name, *(name[len(prefix) :] for prefix in quirks.scope_prefixes if name.startswith(prefix))}


def _enough(scope: str, quirks: Quirks) -> list[str]:
	"""The scopes of which one is enough for `scope`."""
	found = [scope, quirks.scope_aliases.get(scope, scope)]
	return found + [
		wider + scope[len(one) :] for one, wider in quirks.wider_scopes if scope.casefold().startswith(one)
	]
