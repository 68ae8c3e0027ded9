"""MCP's Python client, at a server that takes tokens only."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from connected_app.oauth import ReconnectRequired, TokenSource

from ..helpers import ACCESS_TOKEN, Clock
from ..hostile import Answer, Hostile, Request, as_json

mcp = pytest.importorskip("mcp", reason="MCP's library is in the virtualenv of the newest libraries only")
httpx2 = pytest.importorskip("httpx2")

from mcp.client.streamable_http import streamable_http_client

from connected_app.oauth.adapters.httpx2 import Auth

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def good() -> set[str]:
	"""The tokens of alice."""
	return {ACCESS_TOKEN}


@pytest.fixture
def url(server: Hostile, good: set[str]) -> Iterator[str]:
	def introspect(request: Request) -> Answer:
		active = request.form["token"] in good
		return as_json({"active": active, "username": "alice"} if active else {"active": False})

	server.script("/introspect", introspect)
	command = [sys.executable, "-m", "tests.mcp_server", server.url]
	with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
		assert process.stdout
		try:
			yield json.loads(process.stdout.readline())["url"]
		finally:
			process.kill()


def test_a_session_as_the_user(
	url: str, good: set[str], source: TokenSource, server: Hostile, clock: Clock
) -> None:
	"""It lists the server's tools and uses one; when its token is rejected or due, it goes on with another one."""
	server.script(
		"/token", *(as_json({"access_token": name, "expires_in": 3600}) for name in ("second", "third"))
	)

	async def run() -> None:
		async with (
			httpx2.AsyncClient(auth=Auth(source), timeout=60) as client,
			mcp.Client(streamable_http_client(url, http_client=client)) as session,
		):

			async def whoami() -> str:
				return str((await session.call_tool("whoami")).structured_content["result"])

			assert [tool.name for tool in (await session.list_tools()).tools] == ["whoami"]
			assert await whoami() == "alice"
			assert server.to("/token") == []
			good.clear()
			good.add("second")
			assert await whoami() == "alice"
			good.add("third")
			clock.advance(3600)
			assert await whoami() == "alice"

	asyncio.run(run())
	assert len(server.to("/token")) == 2
	assert server.to("/introspect")[-1].form["token"] == "third"


def leaves(error: BaseException) -> list[BaseException]:
	"""What is in a group of errors."""
	inner = getattr(error, "exceptions", None)
	return [error] if inner is None else [leaf for each in inner for leaf in leaves(each)]


def test_failures_are_ours(
	url: str, good: set[str], source: TokenSource, server: Hostile, clock: Clock
) -> None:
	"""In a group, as what goes wrong in a task of the client's: when it connects, and later."""
	server.script("/token", as_json({"error": "invalid_grant"}, 400))
	steps: list[str] = []

	async def run() -> None:
		async with (
			httpx2.AsyncClient(auth=Auth(source), timeout=60) as client,
			mcp.Client(streamable_http_client(url, http_client=client)) as session,
		):
			steps.append("connected")
			good.clear()
			await session.list_tools()
			steps.append("listed")

	for _attempt in range(2):
		with pytest.raises(BaseException) as caught:
			asyncio.run(run())
		assert [type(leaf) for leaf in leaves(caught.value)] == [ReconnectRequired]
	assert steps == ["connected"]
