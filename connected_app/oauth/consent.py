"""Consent that is missing: what a user is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from . import challenges
from .client import Client
from .provider import Quirks
from .redact import printable

# Characters of a text in an API's challenge.
LONGEST = 1000
# Scopes that say who consents, so that another account is noticed.
IDENTITY = ("openid", "email", "profile")
CHOOSE = "select_account"
STEP_UP = "insufficient_user_authentication"


@dataclass(frozen=True, kw_only=True)
class MoreConsent:
	"""
	:param scopes: that are missing
	:param acr_values: how the user has to log in at the provider, the preferred way first, separated by spaces (RFC 9470 4)
	:param max_age: how old the login may be, in seconds; None: any age
	"""

	scopes: tuple[str, ...] = ()
	acr_values: str = ""
	max_age: int | None = None

	@property
	def is_step_up(self) -> bool:
		"""Whether the user has to log in in another way, or again."""
		return bool(self.acr_values) or self.max_age is not None

	def client(self, client: Client, quirks: Quirks, kept: Sequence[str] = ()) -> Client:
		"""`client` as it asks for this.

		A new grant has the scopes of its own request only. So all scopes are asked for again, unless the provider adds new
		ones to those granted before.

		:param kept: further scopes that were granted before
		"""
		everything = tuple(dict.fromkeys((*client.scopes, *kept, *self.scopes)))
		parameters = dict(client.authorization_parameters)
		ask_for: tuple[str, ...] = ()
		if self.scopes and quirks.more_consent:
			parameters |= quirks.more_consent
			ask_for = (*(scope for scope in IDENTITY if scope in client.scopes), *self.scopes)
		if self.acr_values:
			parameters["acr_values"] = self.acr_values
		return replace(client, scopes=everything, ask_for=ask_for, authorization_parameters=parameters)


def choosing_account(client: Client, quirks: Quirks) -> Client:
	"""`client` as it also lets the user choose an account at the provider (OIDC Core 3.1.2.1)."""
	parameters = client.authorization_parameters
	asked = [word for word in parameters.get("prompt", "").split() if word != "none"]
	choose = quirks.another_account or {"prompt": " ".join(dict.fromkeys((*asked, CHOOSE)))}
	return replace(client, authorization_parameters={**parameters, **choose})


def for_account(client: Client, hint: str) -> Client:
	"""`client` as it also proposes an account at the provider (OIDC Core 3.1.2.1).

	:param hint: a name of the account that the provider knows
	"""
	if not hint:
		return client
	parameters = {**client.authorization_parameters, "login_hint": hint}
	return replace(client, authorization_parameters=parameters)


def wanted_by(status: int, headers: Mapping[str, str]) -> MoreConsent | None:
	"""The consent that an API's refusal asks for: 403 with `insufficient_scope` (RFC 6750 3.1), or 401 with
	`insufficient_user_authentication` (RFC 9470 3). None for any other answer.

	:param headers: case-insensitive, as those of a `requests.Response`
	"""
	if status not in (401, 403):
		return None
	for challenge in challenges.read(headers.get("www-authenticate")):
		error = challenge.parameters.get("error", "")
		if error == "insufficient_scope":
			return MoreConsent(scopes=_words(challenge.parameters.get("scope", "")))
		if error == STEP_UP:
			age = challenge.parameters.get("max_age", "")
			return MoreConsent(
				scopes=_words(challenge.parameters.get("scope", "")),
				acr_values=" ".join(_words(challenge.parameters.get("acr_values", ""))),
				max_age=int(age[:9]) if age.isascii() and age.isdigit() else None,
			)
	return None


def _words(text: str) -> tuple[str, ...]:
	return tuple(dict.fromkeys(printable(text, LONGEST).split()))
