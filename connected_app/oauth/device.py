"""The device grant (RFC 8628): this site shows a code, which the user enters at the provider in any browser. There is no
redirect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from . import authorization, catalogue, dead_grants, dpop, fapi, token_endpoint
from .client import Client
from .clock import utc_now
from .errors import OAuthError, Sentence
from .grant import Grant
from .grant_types import DEVICE_CODE, DeviceCode
from .policy import check_web_address
from .provider import Provider, missing
from .redact import Secret

if TYPE_CHECKING:
	from .clock import Clock
	from .net import Transport

# RFC 8628 3.2: seconds between two requests, unless the provider says otherwise.
INTERVAL = 5
# 3.5: seconds that `slow_down` adds.
SLOWER = 5
# Seconds after a request that failed; a provider may want more.
LONGEST_INTERVAL = 60
# In seconds. The provider may wait longer, but people have given up by then.
LONGEST_LIFE = 1800
LONGEST_CODE = 60
LONGEST_ADDRESS = 1000
EXPIRED = frozenset({"expired_token", "code_expired", "device_code_expired", "expired_device_code"})
# The provider cannot be reached for now: asked again later.
PASSING = frozenset({"network", "timeout", "tls_interrupted", "server_error", "rate_limited"})


@dataclass(frozen=True, kw_only=True)
class DeviceAttempt:
	"""One attempt, kept on the server until the user has answered at the provider.

	:param user_code: the code that the user enters at the provider
	:param verification_uri: where to enter it; `verification_uri_complete` has the code in it, if the provider offers that
	:param expires_at: UTC instant after which the provider is not asked any more
	:param interval: seconds between two requests
	:param dpop_key: the key that the tokens will be bound to
	:param context: what the caller binds the attempt to
	"""

	device_code: Secret
	user_code: str
	verification_uri: str
	verification_uri_complete: str = ""
	expires_at: datetime
	interval: int = INTERVAL
	dpop_key: Secret | None = None
	context: Mapping[str, str] = field(default_factory=dict)

	def to_json(self) -> str:
		"""Holds secrets: encrypt it."""
		return json.dumps(
			{**self.__dict__, "context": dict(self.context), "expires_at": self.expires_at.isoformat()}
		)

	@classmethod
	def from_json(cls, text: str) -> DeviceAttempt:
		values = json.loads(text)
		for name in ("device_code", "dpop_key"):
			values[name] = Secret(values[name]) if values.get(name) is not None else None
		values["expires_at"] = datetime.fromisoformat(values["expires_at"])
		return cls(**values)


def begin(
	provider: Provider,
	client: Client,
	http: Transport,
	*,
	clock: Clock = utc_now,
	context: Mapping[str, str] | None = None,
) -> DeviceAttempt:
	"""Ask for a code (RFC 8628 3.1, 3.2). The client authenticates.

	:raises ConfigurationError: `endpoint_missing`, `uri_invalid`, `parameter_reserved`, `resource_invalid`,
		`device_not_offered` under a security profile, and the provider's error code
	:raises TemporaryFailure: as `token_endpoint.request`
	"""
	client.check_parameters()
	if client.profile == fapi.PROFILE:
		# FAPI 2.0 5.3.2.2: tokens come by the authorization code flow.
		raise catalogue.error("device_not_offered")
	url = provider.endpoint("device_authorization_uri")
	check_web_address(url)
	if not client.client_id:
		raise missing(Sentence("Client ID"))
	form: dict[str, Any] = {**client.authorization_parameters, "client_id": client.client_id}
	if client.scopes:
		form["scope"] = provider.scope_separator.join(client.scopes)
	if client.resources:
		form["resource"] = list(client.resources)
	exchange = token_endpoint.authenticated_request(provider, client, url, form, http)
	answer = token_endpoint.read(exchange.reply)
	if exchange.reply.status >= 400 or (answer.get("error") and "device_code" not in answer):
		raise token_endpoint.error_from(
			answer, exchange.reply, sent=exchange.sent, quirks=provider.quirks, grant_type=DEVICE_CODE
		)
	now = clock()
	return DeviceAttempt(
		device_code=Secret(_text(answer, "device_code", 8000)),
		user_code=_text(answer, "user_code", LONGEST_CODE),
		# Google's name for it is older than the standard.
		verification_uri=_address(answer, "verification_uri") or _address(answer, "verification_url", True),
		verification_uri_complete=_address(answer, "verification_uri_complete"),
		expires_at=now + timedelta(seconds=_seconds(answer, "expires_in", LONGEST_LIFE, LONGEST_LIFE)),
		interval=_seconds(answer, "interval", INTERVAL, LONGEST_LIFE),
		dpop_key=dpop.new_key() if client.dpop else None,
		context=context or {},
	)


def ask(
	provider: Provider, client: Client, attempt: DeviceAttempt, http: Transport, *, clock: Clock = utc_now
) -> Grant | DeviceAttempt:
	"""Ask whether the user has answered (RFC 8628 3.4, 3.5). Not before `attempt.interval` seconds after the last time.

	:returns: the grant; or the attempt to continue with, whose interval may have grown
	:raises ReconnectRequired: `device_code_expired`, `consent_declined`, and as `authorization.consented`
	:raises TemporaryFailure, ConfigurationError: as `token_endpoint.request`; the attempt is over
	"""
	if clock() >= attempt.expires_at:
		raise catalogue.error("device_code_expired")
	grant_type = DeviceCode(attempt.device_code)
	form = grant_type.form(provider, client, None)
	try:
		answer = token_endpoint.request(provider, client, form, http, dpop_key=attempt.dpop_key)
	except OAuthError as error:
		return _after(error, attempt)
	return authorization.consented(
		provider, client, grant_type, answer, http, clock, dpop_key=attempt.dpop_key
	)


def _after(error: OAuthError, attempt: DeviceAttempt) -> DeviceAttempt:
	"""The attempt to continue with after `error`; an error that ends the attempt is raised (3.5)."""
	said = dead_grants.as_code(error.provider_error)
	if said == "authorization_pending":
		return attempt
	if said == "slow_down":
		return replace(attempt, interval=attempt.interval + SLOWER)
	if said in EXPIRED:
		raise catalogue.error("device_code_expired", provider_error=said)
	if authorization.DECLINED.fullmatch(said):
		raise catalogue.error("consent_declined", provider_error=said)
	if error.code in PASSING:
		# 3.5: less often at each time-out.
		grown = max(attempt.interval, min(attempt.interval * 2, LONGEST_INTERVAL))
		return replace(attempt, interval=max(grown, int(error.retry_after or 0)))
	raise error


def _text(answer: Mapping[str, Any], name: str, longest: int) -> str:
	value = answer.get(name)
	if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > longest:
		raise catalogue.error("response_invalid/unreadable")
	return value


def _address(answer: Mapping[str, Any], name: str, needed: bool = False) -> str:
	"""An address that a person will follow: http or https only."""
	if answer.get(name) in (None, "") and not needed:
		return ""
	address = _text(answer, name, LONGEST_ADDRESS)
	try:
		check_web_address(address)
	except OAuthError:
		address = ""
	if not address:
		raise catalogue.error("response_invalid/unreadable")
	return address


def _seconds(answer: Mapping[str, Any], name: str, usual: int, longest: int) -> int:
	"""A number of seconds; some providers send it as text."""
	try:
		value = int(float(answer.get(name) or usual))
	except (TypeError, ValueError, OverflowError):
		value = usual
	return min(max(value, 1), longest)
