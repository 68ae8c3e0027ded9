"""Pushed authorization requests (RFC 9126): the request goes to the provider directly; the browser only carries its name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import catalogue, token_endpoint
from .client import Client
from .errors import OAuthError, Sentence
from .policy import check_web_address
from .provider import Provider, missing
from .shape import Fields

if TYPE_CHECKING:
	from .net import Transport

# A URI (RFC 3986 2), short enough for an address.
_REQUEST_URI = re.compile(r"[\x21-\x7e]{1,1000}")


def endpoint(provider: Provider) -> str:
	"""The provider's endpoint for pushed requests; empty if its metadata name none (RFC 9126 5)."""
	found = provider.metadata.get("pushed_authorization_request_endpoint")
	return found if isinstance(found, str) else ""


def is_required(provider: Provider, client: Client) -> bool:
	"""Whether the request must be pushed."""
	return client.pushed_requests != "never" and (
		client.pushed_requests == "always"
		or provider.metadata.get("require_pushed_authorization_requests") is True
	)


def is_wanted(provider: Provider, client: Client) -> bool:
	"""Whether to push the request: Automatic does so if the provider offers it."""
	return is_required(provider, client) or (
		client.pushed_requests == "automatic" and bool(endpoint(provider))
	)


def push(provider: Provider, client: Client, parameters: Fields, http: Transport) -> str:
	"""The name under which the provider keeps the request (`request_uri`, RFC 9126 2.2).

	Empty if the provider refuses a request that need not be pushed: an error will show at the consent page, or later. Some
	providers announce the endpoint to all clients and open it to few.

	:param parameters: of the authorization request
	:raises OAuthError: as `token_endpoint.request`, if the request must be pushed
	"""
	try:
		return _push(provider, client, parameters, http)
	except OAuthError:
		if is_required(provider, client):
			raise
		return ""


def _push(provider: Provider, client: Client, parameters: Fields, http: Transport) -> str:
	url = endpoint(provider)
	if not url:
		raise missing(Sentence("Pushed Authorization Request Endpoint"))
	check_web_address(url)
	exchange = token_endpoint.authenticated_request(provider, client, url, parameters, http)
	answer = token_endpoint.read(exchange.reply)
	request_uri = answer.get("request_uri")
	if exchange.reply.status >= 400 or (answer.get("error") and not request_uri):
		raise token_endpoint.error_from(
			answer,
			exchange.reply,
			sent=exchange.sent,
			quirks=provider.quirks,
			grant_type="authorization_code",
		)
	if not isinstance(request_uri, str) or not _REQUEST_URI.fullmatch(request_uri):
		raise catalogue.error("response_invalid/unreadable")
	return request_uri
