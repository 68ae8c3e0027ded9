"""The account that was connected: from the ID token, and the userinfo endpoint (OIDC Core 5.3)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from . import catalogue, dpop, id_token, mtls, paths, wire
from .client import Client
from .errors import OAuthError, Sentence
from .grant import LONGEST_SUBJECT, Account, Grant
from .presenting import header
from .provider import Provider, missing
from .redact import printable

if TYPE_CHECKING:
	from .net import Transport
	from .reply import Reply

# With one of these claims, an ID token names its subject well enough (OIDC Core 5.1).
_STANDARD_NAMES = ("email", "preferred_username", "name")


def account(
	provider: Provider,
	client: Client,
	grant: Grant,
	claims: Mapping[str, Any] | None,
	http: Transport,
	*,
	answer: Mapping[str, Any] | None = None,
) -> tuple[Account | None, Mapping[str, Any]]:
	"""The account of `grant`, or None if the provider does not say; and everything that it said.

	If the userinfo endpoint fails, only the name is lost: the code has been spent, and the grant is good.

	:param claims: of the verified ID token
	:param answer: the token response; some providers name the account there
	:raises ReconnectRequired: `userinfo_subject_mismatch` (OIDC Core 5.3.2)
	"""
	known = dict(claims or {})
	if provider.userinfo_uri and not paths.first(known, _STANDARD_NAMES):
		said = fetch(provider, client, grant, http) or {}
		if claims and said and not id_token.subject_of(said):
			# Userinfo must name its subject (OIDC Core 5.3.2); without one it is ignored.
			said = {}
		if claims and said and id_token.subject_of(said) != id_token.subject_of(claims):
			raise catalogue.error("userinfo_subject_mismatch")
		known = {**said, **known}
	said = {**known, "answer:": answer}
	ids = (_at(said, path) for path in provider.quirks.account_id)
	subject = next((each for each in ids if _is_subject(each)), None)
	if subject is None:
		return None, known
	names = (_at(said, path) for path in provider.quirks.account_name)
	# Some give a number for the name (HubSpot).
	name = next((each for each in names if each and isinstance(each, str | int) and each is not True), "")
	return Account(id=str(subject)[:LONGEST_SUBJECT], name=printable(str(name), 140)), known


def tells_account(provider: Provider, client: Client) -> bool:
	"""Whether `account` can be expected to find one: in an ID token, in userinfo, or in the token response."""
	in_answer = any(path.startswith("answer:") for path in provider.quirks.account_id)
	has_id_token = bool(provider.issuer) and "openid" in client.scopes
	return has_id_token or bool(provider.userinfo_uri) or in_answer


def _is_subject(value: object) -> bool:
	"""Whether `value` can be stored: JSON can hold texts without an encoding, and databases reject some characters."""
	is_known = isinstance(value, str | int) and not isinstance(value, bool) and bool(value)
	return is_known and str(value).isprintable()


def _at(said: Mapping[str, Any], path: str) -> Any:
	"""The value at a path of userinfo; of the token response, if the path begins with `answer:`."""
	kind, colon, inner = path.partition(":")
	return paths.at(said["answer:"], inner) if colon and kind == "answer" else paths.at(said, path)


def fetch(provider: Provider, client: Client, grant: Grant, http: Transport) -> dict[str, Any] | None:
	"""The userinfo of `grant`'s account, or None if it is unusable."""
	try:
		reply = ask(provider, client, grant, http)
	except OAuthError:
		return None
	return read(provider, client, reply, http)


def read(provider: Provider, client: Client, reply: Reply, http: Transport) -> dict[str, Any] | None:
	"""The claims of a userinfo endpoint's `reply`: JSON, or a JWT that the provider signed for this client (OIDC Core 5.3.2).
	None if they are unusable, or wrongly signed."""
	if reply.status != 200:
		return None
	if reply.content_type != "application/jwt":
		return reply.json_object() or _listed(reply)
	try:
		return id_token.signed_userinfo(provider, client, reply.body.decode("ascii", "replace"), http)
	except OAuthError:
		return None


def _listed(reply: Reply) -> dict[str, Any] | None:
	"""A JSON list as a mapping of its indexes, so that paths lead into it (Xero and Moneybird answer with one); else None."""
	try:
		value = json.loads(reply.text)
	except (ValueError, RecursionError):
		return None
	return {str(number): each for number, each in enumerate(value)} if isinstance(value, list) else None


def ask(provider: Provider, client: Client, grant: Grant, http: Transport) -> Reply:
	"""The userinfo endpoint's answer to `grant` (OIDC Core 5.3.1). Raises as `net.Http.send`.

	:raises ConfigurationError: `host_not_allowed`; `endpoint_missing`, if the address needs a value that the provider has not
		given
	"""
	quirks = provider.quirks
	values = {**grant.extra, "token": grant.access_token, "client_id": client.client_id}
	if client.client_secret:
		values["client_secret"] = client.client_secret
	url = wire.address(provider.userinfo_uri, values, quirks.hosts)
	if url is None:
		raise missing(Sentence("Userinfo URI"))
	is_filled = url != provider.userinfo_uri
	url, http = mtls.at(provider, client, url, http)
	fixed = {**quirks.headers, **quirks.api_headers, **quirks.account_request.headers}
	headers = wire.fields(fixed, values)

	def send(shown: Mapping[str, str]) -> Reply:
		return _ask(provider, url, is_filled, values, {**headers, **shown}, http)

	if not grant.dpop_key:
		return send(header(grant.access_token, quirks.api_header))
	prover, method = dpop.Prover(grant.dpop_key), quirks.account_request.method
	reply = send(prover.headers(method, url, grant.access_token))
	dpop.NONCES.learn(url, reply.headers)
	if dpop.is_asked_for_nonce(reply.status, reply.headers):
		reply = send(prover.headers(method, url, grant.access_token))
	return reply


def _ask(
	provider: Provider,
	url: str,
	is_filled: bool,
	values: Mapping[str, str],
	headers: Mapping[str, str],
	http: Transport,
) -> Reply:
	quirks = provider.quirks
	if quirks.account_request.method == "GET" and not is_filled:
		return http.get(url, headers)
	body = wire.known(quirks.account_body, values)
	is_json = body.startswith("{") and quirks.account_body.startswith('{"')
	return http.send(
		quirks.account_request.method,
		url,
		# Errors must not name a token in the address.
		params={} if is_filled else None,
		json=json.loads(body) if is_json else None,
		data=dict(parse_qsl(body)) if body and not is_json else None,
		headers=headers,
	)
