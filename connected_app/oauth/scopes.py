"""Granted scopes compared with those that were asked for (RFC 6749 3.3).

Case is ignored, and short names equal long ones where providers mix them. In doubt a scope counts as granted: the API then
says what is missing, while a scope that is wrongly reported as missing would keep people from what they have allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from .provider import STANDARD, Quirks


def missing(wanted: Iterable[str], granted: Collection[str], quirks: Quirks = STANDARD) -> list[str]:
	"""The scopes of `wanted` that are not among `granted`."""
	given = {name for scope in granted for name in _names(scope, quirks)}
	# If OpenID Connect's own scopes are named, one that is missing was not granted.
	unnamed = {"offline_access"} if "openid" in given else quirks.unnamed_scopes
	return [
		scope
		for scope in wanted
		if scope.casefold() not in unnamed
		# Microsoft's word for all registered scopes; the answer names these, and not the word.
		and not scope.casefold().endswith("/.default")
		and given.isdisjoint(name for each in _enough(scope, quirks) for name in _names(each, quirks))
	]


def _names(scope: str, quirks: Quirks) -> set[str]:
	"""The names of `scope`, long and short."""
	name = scope.casefold()
	return {name, *(name[len(prefix) :] for prefix in quirks.scope_prefixes if name.startswith(prefix))}


def _enough(scope: str, quirks: Quirks) -> list[str]:
	"""The scopes that include `scope`."""
	found = [scope, quirks.scope_aliases.get(scope, scope)]
	return found + [
		wider + scope[len(one) :] for one, wider in quirks.wider_scopes if scope.casefold().startswith(one)
	]
