"""Token introspection (RFC 7662): used here to learn when a token expires."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from . import lifetimes, token_endpoint
from .client import Client
from .errors import OAuthError
from .grant import Grant
from .provider import Provider

if TYPE_CHECKING:
	from .net import Transport


def with_expiry(provider: Provider, client: Client, grant: Grant, http: Transport, now: datetime) -> Grant:
	"""`grant` with the expiry of its access token, if only introspection tells it (RFC 7662 2.2).

	The grant works without it, so errors are ignored. Signed answers (RFC 9701) are not read.
	"""
	if grant.expires_at or not provider.introspection_uri:
		return grant
	form = {"token": grant.access_token, "token_type_hint": "access_token"}
	with suppress(OAuthError):
		exchange = token_endpoint.authenticated_request(
			provider, client, provider.introspection_uri, form, http
		)
		answer = token_endpoint.read(exchange.reply)
		if exchange.reply.status == 200 and answer.get("active") is True and answer.get("exp"):
			return replace(grant, expires_at=lifetimes.instant(answer["exp"], now))
	return grant
