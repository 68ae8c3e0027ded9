"""An access token by itself, for code that sends it in its own way."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from . import catalogue, dpop
from .grant import Grant
from .redact import Secret


@dataclass(frozen=True, kw_only=True)
class AccessToken:
	"""A token that can be used now, and does not renew itself. Code that has it acts as the user until it expires.

	:param value: the token; hidden when the object is printed
	:param expires_at: UTC instant at which it expires at the latest; None: the provider has named none
	"""

	value: Secret
	expires_at: datetime | None = None


def check_is_bearer(grant: Grant) -> None:
	"""
	:raises ConfigurationError: `dpop_needs_session`: a bound token is useless without a proof for each request
		(RFC 9449 7.1)
	"""
	if grant.dpop_key or grant.token_type.lower() == dpop.TOKEN_TYPE.lower():
		raise catalogue.error("dpop_needs_session")
