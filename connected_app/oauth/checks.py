"""Check Configuration, as far as it needs no site: what is wrong with settings, found without connecting.

Each check is a small function that yields findings.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import client_checks as client
from . import endpoint_checks as endpoints
from . import metadata_checks as metadata
from .findings import Check, Finding, Subject

CHECKS: tuple[Check, ...] = (
	metadata.published,
	client.client_id,
	client.authentication,
	client.signing_key,
	client.scopes,
	metadata.code_flow,
	metadata.pushed_requests,
	metadata.bound_tokens,
	metadata.profile,
	metadata.response_mode,
	metadata.pkce,
	client.identity,
	endpoints.endpoints,
	endpoints.consent_page,
	endpoints.tokens,
	endpoints.keys,
	endpoints.other_endpoints,
	client.offline,
	client.offline_consent,
)
# For apps whose connections need nobody's consent.
WITHOUT_CONSENT: tuple[Check, ...] = (
	metadata.published,
	client.client_id,
	client.scopes,
	metadata.profile,
	endpoints.token_uri,
	endpoints.service_account,
	endpoints.exchange,
	endpoints.other_endpoints,
)


def run(subject: Subject) -> Iterator[Finding]:
	"""All findings about `subject`."""
	for check in CHECKS if subject.grant == "consent" else WITHOUT_CONSENT:
		yield from check(subject)
	if error := subject.in_the_way:
		yield Finding("error", error.code, "", error.message, error.action)
