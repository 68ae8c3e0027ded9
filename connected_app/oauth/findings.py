"""What Check Configuration looks at, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from .client import Client
from .errors import OAuthError, Sentence, TemporaryFailure
from .net import Transport
from .paths import split
from .provider import Provider
from .templates import Template

Level = Literal["ok", "warning", "error"]
LABELS = {
	"issuer": "Issuer",
	"authorization_uri": "Authorization URI",
	"token_uri": "Token URI",
	"revocation_uri": "Revocation URI",
	"userinfo_uri": "Userinfo URI",
	"introspection_uri": "Introspection URI",
	"device_authorization_uri": "Device Authorization URI",
	"jwks_uri": "JWKS URI",
}
# A provider's error code → the field of the settings that it is about.
FIELDS = {
	"invalid_client": "client_secret",
	"unauthorized_client": "client_id",
	"redirect_uri_mismatch": "redirect_uri",
	"invalid_scope": "scopes",
}
# Errors of this site's own network: reported once, and no further endpoint is asked.
IN_THE_WAY = ("ca_bundle_unusable", "proxy_unreachable")


@dataclass(frozen=True)
class Finding:
	"""
	:param check: a stable name
	:param field: the setting that it is about; empty for none in particular
	:param action: what to do; empty if nothing has to be done
	"""

	level: Level
	check: str
	field: str
	message: str
	action: str = ""


@dataclass
class Subject:
	"""The settings that are checked.

	:param provider: with the metadata that it publishes now, once `published` has run
	:param client: with its secret
	:param openid_configuration: the address of the metadata document; empty for none
	:param any_issuer: whether the document may name another issuer than its address
	:param grant: how a connection is made: one of `template_schema.GRANTS`
	:param acts_as: on whose behalf the service account's own connection is
	:param templates: of all providers that are known; they are recognized by the host of their consent page
	"""

	provider: Provider
	client: Client
	http: Transport
	openid_configuration: str = ""
	any_issuer: bool = False
	grant: str = "consent"
	acts_as: str = ""
	templates: Collection[Template] = ()
	# Hosts that cannot be reached: asking each of their endpoints would only add up time-outs.
	unreachable: dict[str, OAuthError] = field(default_factory=dict)
	in_the_way: OAuthError | None = None

	def supported(self, name: str) -> list[str]:
		"""A list in the provider's metadata; empty if there is none."""
		value = self.provider.metadata.get(name)
		return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []

	def ask(self, uri: str, request: Callable[[], Any]) -> Any:
		"""The result of `request`.

		:raises OAuthError: also if the same host could not be reached before
		"""
		host = split(uri).netloc
		if error := self.in_the_way or self.unreachable.get(host):
			raise error
		try:
			return request()
		except OAuthError as error:
			if error.code in IN_THE_WAY:
				self.in_the_way = error
			elif isinstance(error, TemporaryFailure) and error.code in ("network", "timeout"):
				self.unreachable[host] = error
			raise


Check = Callable[[Subject], Iterator[Finding]]


def label(name: str) -> Sentence:
	return Sentence(LABELS[name])


def passed_on(subject: Subject, check: str, name: str, error: OAuthError) -> Iterator[Finding]:
	if error is not subject.in_the_way:
		yield Finding("error", check, name, error.message, error.action)
