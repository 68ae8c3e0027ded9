"""Taking a grant back at the provider (RFC 7009)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .client_auth import authenticate
from .config import ClientConfig
from .errors import OAuthError
from .grant import Grant

if TYPE_CHECKING:
	from .ports import Transport


def revoke(config: ClientConfig, grant: Grant, http: Transport) -> bool:
	"""Revoke the refresh token first, then the access token.

	:returns: whether the provider confirmed both; False as well where it has no revocation endpoint. Callers
		forget the grant whatever this says.
	"""
	if not config.revocation_uri:
		return False
	confirmed = True
	for token, hint in ((grant.refresh_token, "refresh_token"), (grant.access_token, "access_token")):
		if not token:
			continue
		form: dict[str, str] = {"token": token, "token_type_hint": hint}
		headers: dict[str, str] = {}
		try:
			authenticate(config, form, headers)
			confirmed = http.post(config.revocation_uri, form, headers).status == 200 and confirmed
		except OAuthError:
			confirmed = False
	return confirmed
