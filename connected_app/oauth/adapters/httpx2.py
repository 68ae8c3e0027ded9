"""For httpx2, the successor of httpx, on which the client of the Model Context Protocol is built."""

from __future__ import annotations

import httpx2

from .auth_flow import AuthFlow


class Auth(AuthFlow, httpx2.Auth):
	__doc__ = AuthFlow.__doc__
	FixedBody = httpx2.ByteStream
