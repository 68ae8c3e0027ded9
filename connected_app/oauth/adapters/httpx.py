"""For httpx: `httpx.Client(auth=Auth(source))`, and `httpx.AsyncClient`."""

from __future__ import annotations

import httpx

from .auth_flow import AuthFlow


class Auth(AuthFlow, httpx.Auth):
	__doc__ = AuthFlow.__doc__
	FixedBody = httpx.ByteStream
