"""A server of the Model Context Protocol with an authorization server of its own, both of the `mcp` package.

It registers clients (RFC 7591), takes tokens only where they are for it (RFC 8707), keeps everything in memory, listens on
the loopback address only, and asks nobody for consent: every user is alice. In a process of its own
(``python -m demo.mcp_server``); `start` launches one.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
SCOPE = "notes"
LIFETIME = 3600


@dataclass(frozen=True)
class Server:
	"""One that runs.

	:param resource: the address to connect to
	"""

	issuer: str
	resource: str
	pid: int


@contextmanager
def start(*options: str) -> Iterator[Server]:
	"""Run the server as long as the `with` block lasts.

	:param options: those of the command line
	"""
	process = subprocess.Popen(
		[sys.executable, "-m", "demo.mcp_server", *options],
		cwd=Path(__file__).resolve().parents[1],
		stdin=subprocess.DEVNULL,
		stdout=subprocess.PIPE,
		text=True,
	)
	try:
		assert process.stdout
		yield Server(**json.loads(process.stdout.readline()))
	finally:
		process.terminate()
		try:
			process.wait(10)
		except subprocess.TimeoutExpired:
			process.kill()
			process.wait()
		if process.stdout:
			process.stdout.close()


def make(issuer: str) -> Any:
	"""The server's ASGI application."""
	from mcp.server.auth.provider import (
		AccessToken,
		AuthorizationCode,
		AuthorizationParams,
		OAuthAuthorizationServerProvider,
		RefreshToken,
		TokenError,
		construct_redirect_uri,
	)
	from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions, RevocationOptions
	from mcp.server.mcpserver import MCPServer
	from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
	from starlette.requests import Request
	from starlette.responses import JSONResponse

	class Memory(OAuthAuthorizationServerProvider[AuthorizationCode, RefreshToken, AccessToken]):
		def __init__(self) -> None:
			self.clients: dict[str, OAuthClientInformationFull] = {}
			self.codes: dict[str, AuthorizationCode] = {}
			self.access: dict[str, AccessToken] = {}
			self.refresh: dict[str, RefreshToken] = {}
			self.refreshes = 0

		async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
			return self.clients.get(client_id)

		async def register_client(self, client_info: OAuthClientInformationFull) -> None:
			self.clients[client_info.client_id] = client_info

		async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
			code = AuthorizationCode(
				code=secrets.token_urlsafe(32),
				scopes=params.scopes or [SCOPE],
				expires_at=time.time() + 60,
				client_id=client.client_id,
				code_challenge=params.code_challenge,
				redirect_uri=params.redirect_uri,
				redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
				resource=params.resource,
				subject="alice",
			)
			self.codes[code.code] = code
			return construct_redirect_uri(str(params.redirect_uri), code=code.code, state=params.state)

		async def load_authorization_code(
			self, client: OAuthClientInformationFull, authorization_code: str
		) -> AuthorizationCode | None:
			return self.codes.get(authorization_code)

		async def exchange_authorization_code(
			self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
		) -> OAuthToken:
			if self.codes.pop(authorization_code.code, None) is None:
				raise TokenError("invalid_grant", "This code was used already.")
			return self.issue(client.client_id, authorization_code.scopes, authorization_code.resource)

		async def load_refresh_token(
			self, client: OAuthClientInformationFull, refresh_token: str
		) -> RefreshToken | None:
			return self.refresh.get(refresh_token)

		async def exchange_refresh_token(
			self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
		) -> OAuthToken:
			if self.refresh.pop(refresh_token.token, None) is None:
				raise TokenError("invalid_grant", "This refresh token was used already.")
			self.refreshes += 1
			return self.issue(client.client_id, scopes, refresh_token.resource)

		async def load_access_token(self, token: str) -> AccessToken | None:
			return self.access.get(token)

		async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
			self.access.pop(token.token, None)
			self.refresh.pop(token.token, None)

		def issue(self, client_id: str, scopes: list[str], resource: str | None) -> OAuthToken:
			about: dict[str, Any] = {
				"client_id": client_id,
				"scopes": scopes,
				"resource": resource,
				"subject": "alice",
			}
			access, refresh = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
			self.access[access] = AccessToken(token=access, expires_at=int(time.time()) + LIFETIME, **about)
			self.refresh[refresh] = RefreshToken(token=refresh, **about)
			return OAuthToken(
				access_token=access, refresh_token=refresh, expires_in=LIFETIME, scope=" ".join(scopes)
			)

	memory = Memory()
	server = MCPServer(
		"Notes",
		log_level="ERROR",
		auth_server_provider=memory,
		# From texts: as AnyHttpUrl, the issuer would get a slash at its end.
		auth=AuthSettings.model_validate(
			{
				"issuer_url": issuer,
				"resource_server_url": issuer + "/mcp",
				"required_scopes": [SCOPE],
				"client_registration_options": ClientRegistrationOptions(enabled=True, valid_scopes=[SCOPE]),
				"revocation_options": RevocationOptions(enabled=True),
				"validate_token_resource": True,
			}
		),
	)

	@server.tool()
	def notes() -> list[str]:
		"""The notes of the connected user."""
		return ["Buy milk", "Call Ada"]

	@server.custom_route("/_stats", methods=["GET"])
	async def stats(_request: Request) -> JSONResponse:
		names = {name: client.client_name for name, client in memory.clients.items()}
		return JSONResponse({"clients": names, "refreshes": memory.refreshes})

	return server.streamable_http_app(stateless_http=True, json_response=True)


def main(arguments: list[str] | None = None) -> None:
	import uvicorn

	parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
	parser.add_argument("--port", type=int, default=0, help="0: any free one")
	options = parser.parse_args(arguments)
	# The issuer has the port in it, so that it is taken first.
	listener = socket.create_server((HOST, options.port))
	issuer = f"http://{HOST}:{listener.getsockname()[1]}"
	app = make(issuer)
	print(json.dumps({"issuer": issuer, "resource": issuer + "/mcp", "pid": os.getpid()}), flush=True)
	uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])


if __name__ == "__main__":
	main()
