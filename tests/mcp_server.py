"""A server of the Model Context Protocol, by its own Python library, that takes tokens of one issuer only.

	python -m tests.mcp_server ISSUER

Prints `{"url": ADDRESS}` and runs until it is stopped. Whether a token is good it asks the provider at ISSUER (RFC 7662). Its
one tool, `whoami`, gives the user of the token.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys

import requests

try:
	import uvicorn
	from mcp.server import MCPServer
	from mcp.server.auth.middleware.auth_context import get_access_token
	from mcp.server.auth.provider import AccessToken
	from mcp.server.auth.settings import AuthSettings
except ImportError as error:
	print(json.dumps({"missing": str(error)}), flush=True)
	sys.exit(0)


class Verifier:
	def __init__(self, issuer: str) -> None:
		self.issuer = issuer

	async def verify_token(self, token: str) -> AccessToken | None:
		answer = await asyncio.to_thread(
			requests.post,
			f"{self.issuer}/introspect",
			data={"token": token},
			auth=("demo", "demo-secret"),
			timeout=30,
		)
		said = answer.json()
		if said.get("active") is not True:
			return None
		return AccessToken(token=token, client_id="demo", scopes=["read"], subject=said.get("username"))


def serve(issuer: str) -> None:
	with socket.create_server(("127.0.0.1", 0)) as listener:
		url = f"http://127.0.0.1:{listener.getsockname()[1]}"
		auth = AuthSettings(
			issuer_url=issuer, resource_server_url=f"{url}/mcp", validate_token_resource=False
		)
		server = MCPServer("things", auth=auth, token_verifier=Verifier(issuer), log_level="ERROR")

		@server.tool()
		def whoami() -> str:
			"""The user whose token this is."""
			token = get_access_token()
			return token.subject if token and token.subject else "nobody"

		app = server.streamable_http_app(host="127.0.0.1")
		print(json.dumps({"url": f"{url}/mcp"}), flush=True)
		uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])


if __name__ == "__main__":
	serve(sys.argv[1])
