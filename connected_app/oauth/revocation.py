"""Revoking a grant at the provider (RFC 7009)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import client_auth, dead_grants, lifetimes, token_endpoint, wire
from .client import Client
from .errors import OAuthError, TemporaryFailure
from .grant import Grant
from .presenting import header
from .provider import STANDARD, Provider, Quirks
from .redact import Secret
from .token_endpoint import Exchange

if TYPE_CHECKING:
	from .net import Transport

ALREADY_INVALID = (
	"invalid_token",
	"invalid_grant",
	"token_revoked",
	"token_expired",
	"invalid_refresh_token",
)
NO = ("false", "error", "fail", "failed", "failure")
# In place of an error where there is none.
NONE = ("", "0", "false", "none", "null", "ok", "success")
CLIENT_ERRORS = ("invalid_client", "unauthorized_client")


def revoke(provider: Provider, client: Client, grant: Grant, http: Transport) -> bool:
	"""Revoke the refresh token first, then the access token, even if the first request failed.

	:returns: whether the provider confirmed both; False also if it has no revocation endpoint. Callers forget the grant in
		any case.
	:raises TemporaryFailure: it may be confirmed later (RFC 7009 2.2.1)
	:raises ConfigurationError: it may be confirmed once an admin has fixed something
	"""
	if not provider.revocation_uri:
		return False
	confirmed, failure = True, None
	tokens = {"refresh": grant.refresh_token, "access": grant.access_token}
	given_back: list[Secret] = []
	for kind in provider.quirks.revocation.tokens:
		token = tokens.get(kind)
		if not token or token in given_back:
			continue
		given_back.append(token)
		try:
			exchange = _ask(provider, client, grant, kind, token, http)
			confirmed = _confirms(exchange, provider.quirks) and confirmed
		except OAuthError as error:
			failure = error
	if failure:
		raise failure
	return confirmed


def _ask(
	provider: Provider, client: Client, grant: Grant, kind: str, token: Secret, http: Transport
) -> Exchange:
	how = provider.quirks.revocation
	values = {"token": token, "client_id": client.client_id}
	url = wire.filled(provider.revocation_uri, values, encode=True) or provider.revocation_uri
	form: dict[str, str] = {}
	if how.shape.body != "none" and "token" not in wire.placeholders(provider.revocation_uri):
		form = {how.token: token}
		if how.hint or how == STANDARD.revocation:
			form["token_type_hint"] = f"{kind}_token"
	if how.authentication == "client":
		return token_endpoint.authenticated_request(provider, client, url, form, http, shape=how.shape)
	headers: dict[str, str] = {}
	if how.authentication == "bearer":
		headers = header(grant.access_token, provider.quirks.api_header)
	elif how.authentication == "basic":
		client_auth.client_secret_basic(client, provider, {}, headers)
	return token_endpoint.sent(provider, url, form, headers, http, how.shape)


def _confirms(exchange: Exchange, quirks: Quirks) -> bool:
	reply, sent = exchange.reply, exchange.sent
	answer = token_endpoint.said(reply)
	name = answer.get("error")
	if quirks.revocation.success and dead_grants.matches(answer, quirks.revocation.success):
		return True
	# RFC 7009 2.2: an invalid token needs no revoking. Google says so with an error, others in other words.
	if not dead_grants.code_in(answer, CLIENT_ERRORS) and dead_grants.code_in(answer, ALREADY_INVALID):
		return True
	refused = _is_error(name) or _says_no(answer)
	if quirks.revocation.success and reply.status < 300:
		refused = True
	if 200 <= reply.status < 300 and not refused:
		return True
	is_passing = reply.status in (401, 429, *token_endpoint.OF_THE_MOMENT) or reply.status >= 500
	if (reply.status < 400 and not refused) or (is_passing and reply.status != 501):
		token_endpoint.read(reply)
		raise token_endpoint.error_from(answer, reply, sent=sent)
	error = token_endpoint.error_from(answer, reply, sent=sent)
	if code := dead_grants.code_in(answer, CLIENT_ERRORS):
		error = token_endpoint.error_from({**answer, "error": code}, reply, sent=sent)
	# What is wrong with the client can be corrected, and the token revoked then (Doorkeeper: 403 unauthorized_client).
	if error.code in CLIENT_ERRORS or (
		isinstance(error, TemporaryFailure) and error.code != "provider_error"
	):
		raise error
	return False


def _is_error(value: object) -> bool:
	return bool(value) and str(value).casefold() not in NONE


def _says_no(answer: Mapping[str, Any]) -> bool:
	"""Whether an answer without `error` is a refusal all the same, whatever its status."""
	said = {
		name.casefold(): str(value).casefold()
		for name, value in answer.items()
		if not isinstance(value, dict)
	}
	inner = answer.get("data")
	return (
		_is_error(answer.get("errors"))
		or any(said.get(name) in NO for name in ("ok", "success", "status", "result", "revoked", "message"))
		or any(said.get(name) == "0" for name in ("ok", "success", "revoked"))
		or any(said.get(name, "") not in NONE for name in ("errcode", "error_code"))
		or any((lifetimes.number(said.get(name)) or 0) >= 400 for name in ("status", "statuscode"))
		or (isinstance(inner, dict) and _says_no(inner))
	)
