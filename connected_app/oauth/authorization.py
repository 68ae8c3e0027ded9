"""The authorization code flow: begin → Attempt, complete → Grant (RFC 6749 4.1, 7636, 9207; OIDC Core 3.1)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from . import (
	catalogue,
	dead_grants,
	dpop,
	fapi,
	grant_types,
	id_token,
	introspection,
	paths,
	pushed,
	token_endpoint,
	userinfo,
	wire,
)
from .client import Client
from .clock import utc_now
from .errors import OAuthError, Sentence
from .grant import Grant, parse_scopes
from .grant_types import AuthorizationCode, GrantType
from .paths import split
from .policy import check_web_address
from .provider import Provider, Quirks, missing
from .redact import Secret, as_secrets, constant_time_equal, printable, redact

if TYPE_CHECKING:
	from .clock import Clock
	from .net import Transport

LIFETIME = 600
# Who has said no, in the words of several providers: `user_cancelled`, `consent_denied`, `authorization_declined`.
DECLINED = re.compile(
	r"(?:(?:user|resource_owner|consent|authori[sz]ation|access|permission|login)_)*"
	r"(?:cancel(?:l?ed)?|denied|declined|aborted|rejected|refused)"
	r"(?:_(?:by_(?:the_)?user|user|authori[sz]e|authori[sz]ation|access|consent|login))*"
)
# The same as a sentence; the number is Microsoft's.
_BY_THE_USER = re.compile(
	r"\bAADSTS65004\b|\b(?:user|owner) (?:has )?(?:cancell?ed|declined|denied|refused)\b"
	r"|\b(?:cancell?ed|declined|denied|refused) by (?:the )?(?:user|(?:resource )?owner)\b",
	re.IGNORECASE,
)
# Facebook's, for an error.
OTHER_NAMES = ("error_code", "error_message")
STANDARD_NAMES = ("state", "code", "iss", "error", "error_description")


@dataclass(frozen=True, kw_only=True)
class Attempt:
	"""One authorization attempt, kept on the server until its callback.

	:param state: 256 random bits, used once (RFC 6749 10.12)
	:param expires_at: UTC instant after which the callback is refused
	:param scopes: that the grant will have
	:param max_age: how old the user's login at the provider may be, in seconds
	:param dpop_key: the key that the tokens will be bound to
	:param posted: the parameters of a callback that came by POST (OAuth 2.0 Form Post Response Mode)
	:param context: what the caller binds the attempt to: user, browser session, where to land
	"""

	state: Secret
	code_verifier: Secret | None
	nonce: Secret | None
	redirect_uri: str
	expires_at: datetime
	scopes: tuple[str, ...] | None = None
	max_age: int | None = None
	dpop_key: Secret | None = None
	posted: Mapping[str, Any] | None = None
	context: Mapping[str, str] = field(default_factory=dict)

	def to_json(self) -> str:
		"""For an AttemptStore. Holds secrets: encrypt it."""
		return json.dumps(
			{**self.__dict__, "context": dict(self.context), "expires_at": self.expires_at.isoformat()}
		)

	@classmethod
	def from_json(cls, text: str) -> Attempt:
		values = json.loads(text)
		for name in ("state", "code_verifier", "nonce", "dpop_key"):
			values[name] = Secret(values[name]) if values.get(name) is not None else None
		if values.get("scopes") is not None:
			values["scopes"] = tuple(values["scopes"])
		values["posted"] = as_secrets(values.get("posted"))
		values["expires_at"] = datetime.fromisoformat(values["expires_at"])
		return cls(**values)


def begin(
	provider: Provider,
	client: Client,
	*,
	http: Transport | None = None,
	clock: Clock = utc_now,
	lifetime: int = LIFETIME,
	max_age: int | None = None,
	context: Mapping[str, str] | None = None,
) -> tuple[str, Attempt]:
	"""Begin an attempt.

	:param http: to push the request to the provider, which authenticates the client then
	:param lifetime: seconds until the attempt expires
	:param max_age: how old the user's login may be, in seconds (OIDC Core 3.1.2.1); `auth_time` is checked against it
	:returns: the consent URL at the provider, and the attempt to keep
	:raises ConfigurationError: `endpoint_missing`, `uri_invalid`, `parameter_reserved`, `resource_invalid`,
		`profile_unmet`
	:raises OAuthError: as `pushed.push`
	"""
	client.check_parameters()
	fapi.check(provider, client)
	uri = provider.endpoint("authorization_uri")
	check_web_address(uri)
	if not client.client_id:
		raise missing(Sentence("Client ID"))
	provider.endpoint("token_uri")
	attempt = Attempt(
		state=Secret(secrets.token_urlsafe(32)),
		code_verifier=Secret(secrets.token_urlsafe(48)) if client.use_pkce else None,
		nonce=Secret(secrets.token_urlsafe(32)) if "openid" in client.scopes else None,
		redirect_uri=client.redirect_uri,
		expires_at=clock() + timedelta(seconds=lifetime),
		scopes=client.scopes,
		max_age=max_age,
		dpop_key=dpop.new_key() if client.dpop else None,
		context=context or {},
	)
	parameters = _parameters(provider, client, attempt)
	if http and pushed.is_wanted(provider, client):
		if request_uri := pushed.push(provider, client, parameters, http):
			# RFC 9126 4: the provider ignores everything else.
			parameters = {"client_id": client.client_id, "request_uri": request_uri}
	named = {provider.quirks.rename.get(name, name): value for name, value in parameters.items()}
	return _with_query(uri, named), attempt


def _parameters(provider: Provider, client: Client, attempt: Attempt) -> dict[str, str | Sequence[str]]:
	"""The parameters of the authorization request (RFC 6749 4.1.1), under their standard names."""
	quirks = provider.quirks
	parameters: dict[str, str | Sequence[str]] = {
		**client.authorization_parameters,
		"response_type": "code",
		"client_id": client.client_id,
		"redirect_uri": quirks.redirect_uri or client.redirect_uri,
		"state": str(attempt.state),
	}
	if attempt.max_age is not None:
		parameters["max_age"] = str(attempt.max_age)
	if client.scopes:
		parameters[quirks.scope_parameter] = provider.scope_separator.join(client.ask_for or client.scopes)
	if attempt.dpop_key:
		parameters["dpop_jkt"] = dpop.Prover(attempt.dpop_key).thumbprint()
	if client.resources:
		parameters["resource"] = list(client.resources)
	if attempt.nonce:
		parameters["nonce"] = str(attempt.nonce)
	if attempt.code_verifier:
		parameters["code_challenge"] = code_challenge(attempt.code_verifier)
		parameters["code_challenge_method"] = "S256"
	return parameters


def _with_query(uri: str, parameters: Mapping[str, str | Sequence[str]]) -> str:
	# A space as %20: all servers decode it, while Apple does not decode +.
	query = urlencode(parameters, doseq=True, quote_via=quote)
	before, hash_sign, fragment = uri.partition("#")
	separator = "&" if split(before).query else "" if before.endswith("?") else "?"
	return f"{before}{separator}{query}{hash_sign}{fragment}"


def code_challenge(verifier: str) -> str:
	"""S256 of RFC 7636 4.2."""
	return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).rstrip(b"=").decode()


def complete(
	provider: Provider,
	client: Client,
	attempt: Attempt,
	parameters: Mapping[str, Any],
	http: Transport,
	*,
	clock: Clock = utc_now,
) -> Grant:
	"""Turn the callback's parameters into a grant. The caller has taken the attempt from its store: it can be used once.

	:param parameters: of the callback's query; a repeated one is a list
	:raises ReconnectRequired: `state_mismatch`, `attempt_expired`, `issuer_mismatch`, `consent_declined`,
		`code_missing`, `grant_invalid`, `id_token_*`, `userinfo_subject_mismatch`
	:raises TemporaryFailure, ConfigurationError: as `token_endpoint.request`
	"""
	quirks = provider.quirks
	if attempt.scopes is not None:
		client = replace(client, scopes=attempt.scopes)
	values = single(parameters, callback_names(quirks))
	del parameters  # plain strings, which a traceback with locals would show
	if not constant_time_equal(values.get("state", ""), attempt.state):
		raise catalogue.error("state_mismatch")
	if clock() >= attempt.expires_at:
		raise catalogue.error("attempt_expired")
	otherwise = [values[name] for name in OTHER_NAMES if name in values]
	if otherwise and quirks.code_parameter not in values:
		values = {**dict(zip(("error", "error_description"), otherwise, strict=False)), **values}
	check_issuer(provider, values)
	if "error" in values:
		raise declined(provider, client, values)
	code = values.get(quirks.code_parameter)
	if not code:
		raise catalogue.error("code_missing")
	grant_type = AuthorizationCode(
		Secret(code), quirks.redirect_uri or attempt.redirect_uri, attempt.code_verifier, values
	)
	del code
	said = wire.kept(quirks, "callback", values)
	form = grant_type.form(provider, client, None)
	answer = token_endpoint.request(provider, client, form, http, said, dpop_key=attempt.dpop_key)
	return consented(
		provider,
		client,
		grant_type,
		answer,
		http,
		clock,
		values=values,
		nonce=attempt.nonce,
		max_age=attempt.max_age,
		dpop_key=attempt.dpop_key,
	)


def consented(
	provider: Provider,
	client: Client,
	grant_type: GrantType,
	answer: dict[str, Any],
	http: Transport,
	clock: Clock,
	*,
	values: Mapping[str, str] | None = None,
	nonce: Secret | None = None,
	max_age: int | None = None,
	dpop_key: Secret | None = None,
) -> Grant:
	"""The grant in the first token response after a user's consent, with its account.

	:param answer: the token response; it is emptied
	:param values: the callback's parameters, if there was a callback
	:param nonce, max_age: of the attempt; an ID token is checked against them
	:param dpop_key: the key that the tokens must be bound to
	:raises ReconnectRequired: `id_token_*`, `userinfo_subject_mismatch`
	:raises TemporaryFailure, ConfigurationError: as `token_endpoint.request`
	"""
	quirks, values = provider.quirks, values or {}
	grant = grant_type.read(provider, client, answer, clock(), None)
	if dpop_key:
		dpop.check_is_bound(grant)
		grant = replace(grant, dpop_key=dpop_key)
	grant = _traded(provider, client, grant, http, clock)
	grant = introspection.with_expiry(provider, client, grant, http, clock())
	grant = replace(
		grant,
		scopes=granted_scopes(provider, values, answer) or grant.scopes,
		extra={**wire.kept(quirks, "callback", values), **grant.extra},
	)
	claims = None
	if provider.issuer and "openid" in client.scopes:
		claims = id_token.verify(
			provider,
			client,
			answer.get("id_token"),
			http,
			clock(),
			nonce=nonce,
			grant=grant,
			max_age=max_age,
		)
	account, about = userinfo.account(provider, client, grant, claims, http, answer=answer)
	answer.clear()
	return replace(grant, account=account, extra={**grant.extra, **wire.kept(quirks, "userinfo", about)})


def _traded(provider: Provider, client: Client, grant: Grant, http: Transport, clock: Clock) -> Grant:
	"""`grant`, or the longer-lived one for which the provider exchanges its token at once."""
	trade = provider.quirks.trade
	if not trade:
		return grant
	answer = token_endpoint.trade(provider, client, trade, grant.access_token, http, is_refresh=False)
	return grant.renewed(grant_types.read(provider, answer, clock(), grant.scopes))


def callback_names(quirks: Quirks) -> set[str]:
	"""The callback parameters that we read."""
	sources = [*quirks.keep.values(), quirks.granted_scopes]
	found = {path for kind, _colon, path in (each.partition(":") for each in sources) if kind == "callback"}
	fields = " ".join(quirks.exchange_fields.values())
	return {
		*STANDARD_NAMES,
		*OTHER_NAMES,
		quirks.code_parameter,
		*found,
		*re.findall(r"\{callback\.([\w.-]+)\}", fields),
	}


def granted_scopes(
	provider: Provider, values: Mapping[str, str], answer: Mapping[str, Any]
) -> tuple[str, ...]:
	"""The granted scopes, if the provider names them somewhere else than in `scope`."""
	kind, _colon, path = provider.quirks.granted_scopes.partition(":")
	said = values.get(path) if kind == "callback" else paths.at(answer, path) if kind == "answer" else None
	return parse_scopes(said, provider.scope_separator)


def single(parameters: Mapping[str, Any], names: Collection[str] = STANDARD_NAMES) -> dict[str, str]:
	"""
	:raises ReconnectRequired: `parameter_repeated` (RFC 6749 3.1: parameters must not be repeated)
	"""
	values: dict[str, str] = {}
	for name in names:
		value = parameters.get(name)
		given = [each for each in (value if isinstance(value, list | tuple) else [value]) if each]
		if len(given) > 1:
			del parameters, value, given
			raise catalogue.error("parameter_repeated")
		# 3.1: a parameter without a value counts as omitted.
		if given and isinstance(given[0], str):
			values[name] = Secret(given[0])
	return values


def check_issuer(provider: Provider, values: Mapping[str, str]) -> None:
	"""RFC 9207 2.4: `iss` is compared exactly, and required if the metadata promise it.

	:raises ReconnectRequired: `issuer_mismatch`
	"""
	iss = values.get("iss")
	if iss is None and provider.promises_iss and "error" not in values:
		raise catalogue.error("issuer_mismatch/unnamed")
	if iss is not None and provider.issuer and iss != provider.issuer:
		raise catalogue.error("issuer_mismatch")


def declined(provider: Provider, client: Client, values: Mapping[str, str]) -> OAuthError:
	"""The error of an authorization response (RFC 6749 4.1.2.1, OIDC Core 3.1.2.6)."""
	error, quirks = values["error"], provider.quirks
	sent = [values[name] for name in ("state", quirks.code_parameter) if name in values]
	code = dead_grants.as_code(error)
	more = values.get("error_description", "")
	# What is said beside a code that means something else is not the user's word.
	settled = code in token_endpoint.KNOWN - token_endpoint.NEEDS_THE_USER
	has_declined = DECLINED.fullmatch(code) or error.casefold() in {
		word.casefold() for word in quirks.declined_errors
	}
	if has_declined or (
		not settled and (DECLINED.fullmatch(dead_grants.as_code(more)) or _BY_THE_USER.search(more))
	):
		return catalogue.error("consent_declined", provider_error=printable(redact(error, sent), 60))
	if code in token_endpoint.NEEDS_THE_USER:
		if "none" in client.authorization_parameters.get("prompt", "").split():
			return catalogue.error("prompt_none", provider_error=code)
		return catalogue.error("interaction_required", provider_error=code)
	return token_endpoint.error_from(values, sent=sent, quirks=provider.quirks)
