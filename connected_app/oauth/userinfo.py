"""Who was connected: from the ID token, and the userinfo endpoint (OIDC Core 5.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import id_token, paths
from .client import Client
from .errors import OAuthError, ReconnectRequired
from .grant import LONGEST_SUBJECT, Account, Grant
from .presenting import header
from .provider import Provider
from .redact import printable

if TYPE_CHECKING:
	from .net import Reply, Transport

# By these an ID token names its subject well enough (OIDC Core 5.1).
_STANDARD_NAMES = ("email", "preferred_username", "name")


def account(
	provider: Provider, client: Client, grant: Grant, claims: Mapping[str, Any] | None, http: Transport
) -> Account | None:
	"""The account behind `grant`, or None where the provider does not say.

	A userinfo endpoint that fails costs nothing but the name: the code has been spent and the grant is good.

	:param claims: of the verified ID token
	:raises ReconnectRequired: `userinfo_subject_mismatch` (OIDC Core 5.3.2)
	"""
	told = dict(claims or {})
	if provider.userinfo_uri and not paths.first(told, _STANDARD_NAMES):
		said = fetch(provider, client, grant, http) or {}
		if claims and said and not id_token.subject_of(said):
			# It does not say whom it is about (OIDC Core 5.3.2 wants that), so that nothing is taken from it.
			said = {}
		if claims and said and id_token.subject_of(said) != id_token.subject_of(claims):
			raise ReconnectRequired(
				"userinfo_subject_mismatch",
				"The provider's statements about the account contradict each other.",
				"Please connect again; if this happens twice, tell an administrator.",
			)
		told = {**said, **told}
	subject = paths.first(told, provider.quirks.account_id)
	if not isinstance(subject, str | int) or isinstance(subject, bool):
		return None
	names = (paths.at(told, path) for path in provider.quirks.account_name)
	name = next((name for name in names if isinstance(name, str) and name), "")
	return Account(id=str(subject)[:LONGEST_SUBJECT], name=printable(name, 140))


def fetch(provider: Provider, client: Client, grant: Grant, http: Transport) -> dict[str, Any] | None:
	"""What the userinfo endpoint says of `grant`'s account, or None when it says nothing usable."""
	try:
		reply = ask(provider, grant, http)
	except OAuthError:
		return None
	return read(provider, client, reply, http)


def read(provider: Provider, client: Client, reply: Reply, http: Transport) -> dict[str, Any] | None:
	"""The claims of a userinfo endpoint's `reply`: JSON, or a JWT that the provider signed for this client (OIDC
	Core 5.3.2). None when they are not usable; what is signed wrongly is not."""
	if reply.status != 200:
		return None
	if reply.content_type != "application/jwt":
		return reply.json_object()
	try:
		return id_token.signed_userinfo(provider, client, reply.body.decode("ascii", "replace"), http)
	except OAuthError:
		return None


def ask(provider: Provider, grant: Grant, http: Transport) -> Reply:
	"""The userinfo endpoint's answer to `grant` (OIDC Core 5.3.1). Raises as `net.Http.get`."""
	return http.get(provider.userinfo_uri, header(grant.access_token, provider.quirks.api_header))
