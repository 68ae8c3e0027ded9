"""How a token is shown to an API: as Bearer (RFC 6750 2.1), or in a header that the provider has of its own."""

from __future__ import annotations

import requests
from requests.auth import AuthBase

from .dpop import Prover
from .redact import Secret

BEARER = "Authorization: Bearer {token}"


def header(token: str, template: str = BEARER) -> dict[str, str]:
	"""The header that shows `token`.

	:param template: name and value of the header, with `{token}`
	"""
	name, _colon, value = template.partition(":")
	return {name.strip(): Secret(value.strip().replace("{token}", token))}


class Presenter(AuthBase):
	"""Shows a token to an API. It is the request's `auth` and not a header, which netrc would replace."""

	def __init__(self, token: Secret, template: str = BEARER) -> None:
		self.token = token
		self.template = template

	def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
		request.headers.update(header(self.token, self.template))
		return request


class BoundPresenter(AuthBase):
	"""Shows a token that is bound to a key, with a proof for this request (RFC 9449 7.1)."""

	def __init__(self, token: Secret, prover: Prover) -> None:
		self.token = token
		self.prover = prover

	def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
		request.headers.update(self.prover.headers(request.method or "", request.url or "", self.token))
		return request
