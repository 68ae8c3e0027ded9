"""The only module that sends token requests, and that maps providers' errors to ours."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote_plus

from . import catalogue, dead_grants, dpop, lifetimes, mtls, wire
from .client import Client
from .client_auth import authenticate
from .errors import OAuthError, Sentence, TemporaryFailure
from .grant import refresh_token_of
from .grant_types import DEVICE_CODE, JWT_BEARER, TOKEN_EXCHANGE
from .provider import STANDARD, Provider, Quirks, Trade, missing
from .redact import Redactor, Secret, as_secrets, printable, redact
from .reply import Reply
from .shape import Fields, Shape

if TYPE_CHECKING:
	from .net import Transport

# RFC 6749 5.2; and codes for a grant that needs the user again (OIDC Core 3.1.2.6).
NEEDS_THE_USER = frozenset(
	{"interaction_required", "login_required", "consent_required", "account_selection_required"}
)
GRANT_IS_DEAD = NEEDS_THE_USER | {"invalid_grant"}
TRY_LATER = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
ADMIN_MUST_ACT = frozenset(
	{
		"invalid_client",
		"unauthorized_client",
		"unsupported_grant_type",
		"invalid_scope",
		"redirect_uri_mismatch",
		"invalid_request",
		"unsupported_response_type",
		"invalid_target",
		"invalid_resource",
		"access_denied",
	}
)
# What an administrator has to allow depends on the grant type.
NOT_ALLOWED = {
	"refresh_token": "unauthorized_client/refresh_token",
	"client_credentials": "unauthorized_client/client_credentials",
	DEVICE_CODE: "unauthorized_client/device_code",
	JWT_BEARER: "unauthorized_client/service_account",
	TOKEN_EXCHANGE: "unauthorized_client/token_exchange",
}
ABOUT_THE_REQUEST = frozenset({"invalid_request", "unauthorized_client", "access_denied"})
_TOO_MANY = re.compile(
	r"\btoo many (?:\w+ )?(?:requests|attempts|calls)\b|\brate.?limit|\bthrottl", re.IGNORECASE
)
# GitHub's word for `invalid_client`.
INVALID_CLIENT = "incorrect_client_credentials"
# Codes that are understood wherever they stand; the last ones are those of RFC 8628 3.5.
KNOWN = (
	TRY_LATER | GRANT_IS_DEAD | ADMIN_MUST_ACT | {INVALID_CLIENT, "authorization_pending", "expired_token"}
)
# Other statuses are about the address, the network, or a passing state. 498 is some servers' own, for tokens.
OF_THE_GRANT = frozenset({400, 401, 403, 410, 422, 498})
# A time-out, a conflict, a lock, too early: passing, whatever the error code is.
OF_THE_MOMENT = frozenset({408, 409, 423, 425})
# Fields of a request that are no secrets; all others are.
PUBLIC = frozenset({"grant_type", "redirect_uri", "client_id", "scope", "token_type_hint", "resource"})


# A refresh token in broken or incomplete JSON, and in a broken form. It must be complete.
_IN_JSON = re.compile(r'"refresh_?token"\s*:\s*("[\x20\x21\x23-\x5b\x5d-\x7e]{1,8000}")', re.IGNORECASE)
# The same of a text in Python's or JavaScript's notation, and of XML.
_IN_OTHERS = re.compile(
	r"'refresh_?token'\s*:\s*'([^'\\\s]{1,8000})'|<refresh_?token>\s*([^<>&\s]{1,8000})\s*</refresh_?token>",
	re.IGNORECASE,
)
# Beside an error, or in a page, it may be a message about the refresh token, or an example.
_NO_ANSWER = re.compile(
	r"""["']errors?["']\s*:\s*(?:["'](?!["']|(?:0|none|null)["'])|[{\[]\s*[^\s}\]]|[1-9]|true)"""
	r"|<errors?>\s*(?!\s|</)",
	re.IGNORECASE,
)
_PAGE = re.compile(r"<!doctype html|<html", re.IGNORECASE)
_ACCESS = re.compile(r"""["'<]access_?token["'>]\s*(?::\s*)?["']?[^\s"'<:]""", re.IGNORECASE)
_NAME = re.compile(r"[\w.\[\]-]+")
_IN_FORM = re.compile(r"(?:^|&)refresh_token=([^&\s]{1,8000})&")


@dataclass(frozen=True, kw_only=True)
class Exchange:
	"""An authenticated request, and the answer.

	:param sent: the secrets of the request, which the answer may echo
	"""

	reply: Reply
	sent: tuple[str, ...] = field(repr=False)


def authenticated_request(
	provider: Provider,
	client: Client,
	url: str,
	form: Fields,
	http: Transport,
	*,
	shape: Shape | None = None,
	dpop_key: Secret | None = None,
) -> Exchange:
	"""Send `form`, with the client's authentication, to an endpoint of the provider (RFC 6749 2.3): for tokens, revocation
	(RFC 7009), introspection (RFC 7662). With the client's certificate where one has to be presented (RFC 8705).

	:param shape: how it is sent; a POST of a form by default
	:param dpop_key: the key that the tokens are to be bound to, which is proven (RFC 9449 5)
	:raises TemporaryFailure, ConfigurationError: what `net`, `client_auth` and `mtls` raise
	"""
	shape = shape or Shape()
	url, http = mtls.at(provider, client, url, http)
	prover = dpop.Prover(dpop_key) if dpop_key else None
	exchange = _authenticated(provider, client, url, form, http, shape, prover)
	# Once only: a provider that is never satisfied gets no further request.
	if prover and dpop.endpoint_asks_for_nonce(exchange.reply):
		exchange = _authenticated(provider, client, url, form, http, shape, prover)
	return exchange


def _authenticated(
	provider: Provider,
	client: Client,
	url: str,
	form: Fields,
	http: Transport,
	shape: Shape,
	prover: dpop.Prover | None,
) -> Exchange:
	proof: dict[str, str] = {}
	headers: dict[str, str] = {}
	authenticate(provider, client, proof, headers, url)
	if prover:
		headers["DPoP"] = prover.proof(shape.method, url)
	exchange = sent(provider, url, {**as_secrets(dict(form)), **proof}, headers, http, shape)
	dpop.NONCES.learn(url, exchange.reply.headers)
	return exchange


def sent(
	provider: Provider,
	url: str,
	fields: Fields,
	headers: Mapping[str, str],
	http: Transport,
	shape: Shape,
) -> Exchange:
	"""Send a request whose fields and headers are complete, with the provider's own names and further headers."""
	quirks = provider.quirks
	# What the template says itself is a word of the protocol, such as `refresh`.
	own = {*quirks.exchange_fields.values(), *quirks.renewal_fields.values(), *quirks.client_fields.values()}
	secrets = [
		value
		for key, value in fields.items()
		if key not in PUBLIC and isinstance(value, str) and value not in own
	]
	secrets += [Secret(value.partition(" ")[2] or value) for value in headers.values()]
	secrets += [_password(value) for value in headers.values() if value.startswith("Basic ")]
	named = {quirks.rename.get(key, key): value for key, value in fields.items()}
	reply = wire.send(shape, url, named, {**quirks.headers, **headers}, http)
	return Exchange(reply=reply, sent=tuple(secrets))


def _password(basic: str) -> Secret:
	"""The secret in a header `Authorization` (RFC 7617 2); the user where that is all there is."""
	user, _colon, password = base64.b64decode(basic.partition(" ")[2]).decode().partition(":")
	return Secret(unquote_plus(password or user))


def request(
	provider: Provider,
	client: Client,
	form: Mapping[str, str],
	http: Transport,
	said: Mapping[str, str] | None = None,
	*,
	dpop_key: Secret | None = None,
) -> dict[str, Any]:
	"""Ask the token endpoint (RFC 6749 3.2, 5).

	:param dpop_key: as `authenticated_request` has it
	:param said: values that the provider gave before, for an address that contains them
	:returns: the token response as the provider sent it; if a refresh response cannot be read, its refresh token alone
	:raises ReconnectRequired: `grant_invalid`
	:raises TemporaryFailure: `network`, `timeout`, `server_error`, `rate_limited`, `redirected`, `response_invalid`,
		`response_too_large`
	:raises ConfigurationError: the provider's error code, or what `net` and `client_auth` raise
	"""
	url, quirks = provider.endpoint("token_uri"), provider.quirks
	is_refresh = form.get("grant_type") == "refresh_token"
	if is_refresh and provider.refresh_uri:
		url = provider.refresh_uri
	if is_refresh and quirks.trade:
		return trade(
			provider, client, quirks.retrade or quirks.trade, form["refresh_token"], http, is_refresh=True
		)
	if is_refresh and quirks.renewal_authentication:
		client = replace(client, authentication=quirks.renewal_authentication)
	address = wire.address(url, said or {}, quirks.hosts)
	if address is None:
		raise missing(Sentence("Token URI"))
	# RFC 8707 2.2: the token is for the same APIs as the consent.
	fields: Fields = {**form, "resource": list(client.resources)} if client.resources else form
	exchange = authenticated_request(
		provider, client, address, fields, http, shape=quirks.token_request, dpop_key=dpop_key
	)
	return _answer(provider, exchange, form.get("grant_type", ""))


def trade(
	provider: Provider, client: Client, trade: Trade, token: str, http: Transport, *, is_refresh: bool
) -> dict[str, Any]:
	"""Exchange a token for a longer-lived one, as `Quirks.trade` says. Returns and raises as `request`."""
	values = {
		"access_token": Secret(token),
		"client_id": client.client_id,
		"client_secret": client.client_secret or "",
	}
	url = wire.filled(trade.url, values, encode=True) or trade.url
	fields = {name: Secret(value) for name, value in wire.fields(trade.fields, values).items()}
	exchange = sent(provider, url, fields, {}, http, trade.shape)
	secrets = [value for name, value in values.items() if name != "client_id"]
	exchange = replace(exchange, sent=(*exchange.sent, *secrets))
	return _answer(provider, exchange, "refresh_token" if is_refresh else "authorization_code")


def _answer(provider: Provider, exchange: Exchange, grant_type: str) -> dict[str, Any]:
	quirks, reply = provider.quirks, exchange.reply
	if grant_type == "refresh_token" and (dead := _dead_grant(exchange, quirks)):
		raise dead
	# A rotating provider has spent the old refresh token: the new one must not be lost with an unreadable answer.
	rest = salvaged(reply) if grant_type == "refresh_token" and not quirks.trade else None
	try:
		answer: dict[str, Any] = as_secrets(read(reply))
	except TemporaryFailure:
		if rest:
			return {"refresh_token": rest}
		raise
	unreadable = not wire.standard(answer, quirks).get("access_token")
	# With a token beside it, "error" says that there is none ("none", "0"), and the old refresh token may be spent.
	failed = reply.status >= 400 or answer.get("ok") is False or (unreadable and bool(answer.get("error")))
	if failed or (unreadable and (says_why(answer, quirks) or dead_grants.code_in(answer, KNOWN))):
		raise error_from(answer, reply, sent=exchange.sent, quirks=quirks, grant_type=grant_type)
	if rest and unreadable and not answer.get("refresh_token"):
		answer["refresh_token"] = rest
	return answer


def says_why(answer: Mapping[str, Any], quirks: Quirks) -> bool:
	"""Whether an answer with HTTP 200 and no token contains a word of the template."""
	words = (*quirks.reconnect_errors, *quirks.later_errors, *quirks.admin_errors)
	return any("=" in word and dead_grants.matches(answer, word) for word in words)


def _dead_grant(exchange: Exchange, quirks: Quirks) -> OAuthError | None:
	"""The error, if an answer to a refresh says that the refresh token is dead."""
	reply, sent = exchange.reply, exchange.sent
	if not (reply.status < 300 or reply.status in OF_THE_GRANT):
		return None
	text = reply.text[: dead_grants.LONGEST_TEXT]
	said = reply.json_value()
	if said is None:
		form = _form(reply)
		if not form and (reply.content_type == "text/html" or "<" in text):
			# Where tokens should be, a page is another server's, or about the protocol.
			text = "" if reply.status < 400 and _PAGE.search(text) else dead_grants.in_markup(reply.text)
			if not text:
				return None
		# What has spaces in its names is a sentence with an equals sign.
		said = form if form and all(_NAME.fullmatch(name) for name in form) else {}
	answer = said if isinstance(said, dict) else {}
	code = answer.get("error")
	if wire.standard(answer, quirks).get("access_token") or _is_one_of(
		str(code).casefold(), answer, quirks.later_errors
	):
		return None
	if (fresh := salvaged(reply)) and fresh not in sent and _ACCESS.search(reply.text.replace("\\", "")):
		# Tokens, in another place than expected: what is dead is the old one.
		return None
	redacted = Redactor(sent)
	text = redacted(text)
	code, said = code if isinstance(code, str) else "", _without(said, redacted)
	if not dead_grants.is_said(said, text, code=code, more=quirks.reconnect_errors):
		return None
	name, words = _words(answer, sent)
	return catalogue.error("grant_invalid", words or printable(text), provider_error=name)


def _without(said: Any, redacted: Redactor) -> Any:
	"""`said`, of JSON, without the secrets that were sent."""
	if isinstance(said, str):
		return redacted(said)
	if isinstance(said, dict):
		return {redacted(key): _without(each, redacted) for key, each in said.items()}
	return [_without(each, redacted) for each in said] if isinstance(said, list) else said


def read(reply: Reply) -> dict[str, Any]:
	"""A token endpoint's answer: JSON, or the form encoding that some providers send.

	:raises TemporaryFailure: `server_error`, `rate_limited`, `redirected`, `response_invalid`
	"""
	if reply.status == 429 or reply.status >= 500:
		limited = reply.status == 429
		raise catalogue.error(
			"rate_limited" if limited else "server_error", reply.status, retry_after=retry_after(reply)
		)
	if 300 <= reply.status < 400:
		# RFC 9700 2.1: credentials do not follow a redirect.
		raise catalogue.error("redirected")
	answer = reply.json_object()
	if answer is None and not reply.complete:
		raise catalogue.error("network/broken_off")
	if answer is None:
		answer = _form(reply)
	if not answer and reply.status == 401:
		return {}
	if not answer:
		raise catalogue.error("response_invalid/unreadable", retry_after=retry_after(reply))
	return answer


def said(reply: Reply) -> dict[str, Any]:
	"""What an answer says without tokens: of JSON the object, the first one in a list, or `ok` for a mere true or false;
	else a form. Empty where it says nothing."""
	value = reply.json_value()
	if isinstance(value, list):
		value = next((each for each in value if isinstance(each, dict)), None)
	if value in (True, False, "true", "false"):
		return {"ok": value}
	return value if isinstance(value, dict) else _form(reply) or {}


def _form(reply: Reply) -> dict[str, Any] | None:
	"""The body as a form, which some providers send under any content type. A page that is no form has no such names."""
	text = reply.text.strip()
	found = None if text.startswith("<") else _pairs(text)
	labelled = reply.content_type in ("application/x-www-form-urlencoded", "text/plain", "")
	return found if found and (labelled or {"access_token", "error"}.intersection(found)) else None


def _pairs(text: str) -> dict[str, Any] | None:
	try:
		return dict(parse_qsl(text, max_num_fields=100))
	except ValueError:
		# No answer of a token endpoint has so many.
		return None


def salvaged(reply: Reply) -> Secret | None:
	"""The only refresh token in a successful answer that cannot be read. None in doubt: a wrong one costs the grant."""
	if not 200 <= reply.status < 300:
		return None
	text = reply.text + ("&" if reply.complete else "")
	if _NO_ANSWER.search(text.replace("\\", "")) or _PAGE.search(text):
		return None
	# In a text that is JSON itself, each quote has a backslash.
	found = {
		json.loads(quoted) for each in (text, text.replace('\\"', '"')) for quoted in _IN_JSON.findall(each)
	}
	found |= {unquote_plus(value) for value in _IN_FORM.findall(text)}
	found |= {one or other for one, other in _IN_OTHERS.findall(text)}
	return refresh_token_of({"refresh_token": found.pop()}) if len(found) == 1 else None


def error_from(
	answer: Mapping[str, Any],
	reply: Reply | None = None,
	*,
	sent: Iterable[str] = (),
	quirks: Quirks = STANDARD,
	grant_type: str = "",
) -> OAuthError:
	"""The branch of the tree for an error that a provider sent (RFC 6749 4.1.2.1, 5.2).

	:param sent: secrets of the request, which the answer may echo
	:param grant_type: of the request, if it was one to the token endpoint
	"""
	name, words = _words(answer, sent)
	# "InvalidClient" and "invalid-client" are the same code; what is not known stays as it is, for templates, and so do
	# words: Zoho's "Access Denied" is no `access_denied`.
	key = dead_grants.as_code(name)
	if " " in name or key not in KNOWN:
		key = name.lower()
		own = (*quirks.later_errors, *quirks.reconnect_errors, *quirks.admin_errors)
		if not _is_one_of(key, answer, own) and (found := dead_grants.code_in(answer, KNOWN)):
			key = name = found
			words = words or found
	wait = retry_after(reply) if reply else None
	excuse = ""
	if key == dead_grants.GENERIC and grant_type == "refresh_token":
		is_passing = reply is not None and reply.status in OF_THE_MOMENT
		excuse = "later" if is_passing else dead_grants.excuse(_without(answer, Redactor(sent)))
		key = INVALID_CLIENT if excuse == "client" else key
	# The standard has no code for too many requests: servers say it under any code that is about the request.
	limited = key in ABOUT_THE_REQUEST and bool(_TOO_MANY.search(words))
	if excuse == "later" or limited or key in TRY_LATER or _is_one_of(key, answer, quirks.later_errors):
		return catalogue.error(
			"rate_limited/said" if limited or "rate" in key or key == "slow_down" else "server_error/said",
			words,
			retry_after=wait,
			provider_error=name,
		)
	if key == "invalid_request" and grant_type == TOKEN_EXCHANGE:
		# RFC 8693 2.2.2: what a token is called that is not exchanged.
		key = "invalid_grant"
	if key in GRANT_IS_DEAD or _is_one_of(key, answer, quirks.reconnect_errors):
		if grant_type == JWT_BEARER:
			# What was granted is the assertion.
			return catalogue.error("service_account_refused", words, retry_after=wait, provider_error=name)
		if grant_type == TOKEN_EXCHANGE:
			return catalogue.error("exchange_refused", words, retry_after=wait, provider_error=name)
		if grant_type != "client_credentials":
			return catalogue.error("grant_invalid", words, provider_error=name)
		# Nobody's consent is missing: the provider does not allow this client the grant type.
		key = "unauthorized_client"
	if key == INVALID_CLIENT:
		key = "invalid_client"
	if key not in ADMIN_MUST_ACT and _is_one_of(key, answer, quirks.admin_errors):
		key = "invalid_request"
	if key in ADMIN_MUST_ACT:
		if key == "unauthorized_client":
			key = NOT_ALLOWED.get(grant_type, key)
		return catalogue.error(key, words, retry_after=wait, provider_error=name)
	if reply is not None and reply.status == 401:
		return catalogue.error(
			"invalid_client/http", words or "HTTP 401", retry_after=wait, provider_error=name
		)
	# Only a definite answer may cost a user the grant: an unknown error counts as passing.
	return catalogue.error("provider_error", words or "?", retry_after=wait, provider_error=name)


def _is_one_of(error: str, answer: Mapping[str, Any], words: Iterable[str]) -> bool:
	"""Whether a word of a template, or one of the `path=value`, is what the provider's answer says."""
	return any(
		dead_grants.matches(answer, word) if "=" in word else word.casefold() == error for word in words
	)


def _words(answer: Mapping[str, Any], sent: Iterable[str]) -> tuple[str, str]:
	"""The name of a provider's error; and the name with its description."""
	raw = answer.get("error") or answer.get("error_code") or ""
	if isinstance(raw, list):
		raw = next((each for each in raw if isinstance(each, str)), "")
	if isinstance(raw, dict):  # Facebook nests it
		answer, raw = raw, raw.get("type") or raw.get("code") or ""
	name = printable(redact(str(raw), sent), 60)
	said = printable(redact(str(answer.get("error_description") or answer.get("message") or ""), sent))
	return name, f"{name} ({said})" if name and said else name or said


def retry_after(reply: Reply) -> float | None:
	"""Seconds from `Retry-After` (RFC 9110 10.2.3), at most a day, or None."""
	value = reply.headers.get("retry-after", "").strip()
	seconds = lifetimes.number(value)
	# By the provider's own clock.
	now = lifetimes.date(reply.headers.get("date", ""))
	if seconds is None:
		then = lifetimes.date(value)
		if not now or not then:
			return None
		seconds = then.timestamp() - now.timestamp()
	elif now and (said := next((each for each in (seconds, seconds / 1000) if _is_near(each, now)), None)):
		seconds = said - now.timestamp()
	return min(max(seconds, 0.0), 86400.0)


def _is_near(seconds: float, now: datetime) -> bool:
	"""Whether `seconds` are no time to wait but the instant, within a month of `now`."""
	return abs(seconds - now.timestamp()) < 31 * lifetimes.DAY
