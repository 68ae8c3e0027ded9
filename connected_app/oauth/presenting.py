"""How a token is shown to an API: as Bearer (RFC 6750 2.1), or in a header that the provider has of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import requests
from requests.auth import AuthBase

from . import dead_grants
from .dpop import Prover
from .redact import Secret

# In bytes: what is longer is no error.
LONGEST_ERROR = 65536
BEARER = "Authorization: Bearer {token}"


def header(token: str, template: str = BEARER) -> dict[str, str]:
	"""The header that shows `token`.

	:param template: name and value of the header, with `{token}`
	"""
	name, _colon, value = template.partition(":")
	return {name.strip(): Secret(value.strip().replace("{token}", token))}


class Presenter(AuthBase):
	"""Shows a token to an API. As `auth` of a request, not as one of its headers: netrc would replace a header."""

	def __init__(self, token: Secret, template: str = BEARER) -> None:
		self.token = token
		self.template = template

	def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
		request.headers.update(header(self.token, self.template))
		return request


class BoundPresenter(AuthBase):
	"""Shows a token that is bound to a key, with a proof for the request as it is sent (RFC 9449 7.1)."""

	def __init__(self, token: Secret, prover: Prover) -> None:
		self.token = token
		self.prover = prover

	def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
		request.headers.update(self.prover.headers(request.method or "", request.url or "", self.token))
		return request


def says_expired(status: int, words: Collection[str], answer: Callable[[], Any]) -> bool:
	"""Whether an API no longer takes the token: by 401 (RFC 6750 3.1), or as the provider's template says.

	:param words: `Quirks.api_expired`
	:param answer: gives the JSON of the answer; None where there is none, or it is not to be read
	"""
	if status == 401 or str(status) in words:
		return True
	paths = [word for word in words if "=" in word]
	if not paths:
		return False
	said = answer()
	return any(dead_grants.matches(said, word) for word in paths)
