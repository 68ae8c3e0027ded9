"""A strict emulator: each request must be exactly the next one of the golden exchange."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import requests
from requests.adapters import HTTPAdapter

from connected_app.oauth.net import Http
from connected_app.oauth.reply import Reply

from ..hostile import Answer, Hostile, Request

CLIENT_ID, CLIENT_SECRET = "cid", "s3cret"
REDIRECT_URI = "https://site.example/callback/app"


class EmulatedHttp(Http):
	"""Sends requests for `https://HOST/PATH` to the emulator, at `/HOST/PATH`, over a real socket."""

	def __init__(self, emulator: str) -> None:
		super().__init__(allow_http_loopback=True)
		self.emulator = emulator

	def send(self, method: str, url: str, **kwargs: Any) -> Reply:
		return super().send(method, elsewhere(self.emulator, url), **kwargs)


class EmulatedAdapter(HTTPAdapter):
	"""The same for the requests of a session."""

	def __init__(self, emulator: str) -> None:
		super().__init__()
		self.emulator = emulator

	def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
		assert request.url
		request.url = elsewhere(self.emulator, request.url)
		return super().send(request, *args, **kwargs)


def elsewhere(emulator: str, url: str) -> str:
	parts = urlsplit(url)
	assert parts.scheme == "https" and "{" not in parts.netloc, url
	return f"{emulator}/{parts.netloc}{parts.path}" + (f"?{parts.query}" if parts.query else "")


@dataclass(frozen=True)
class Expected:
	"""A request of a golden exchange, and the answer to it."""

	said: Mapping[str, Any]
	values: Mapping[str, str]

	def filled(self, text: Any) -> str:
		done = str(text)
		for name in sorted(self.values, key=len, reverse=True):
			done = done.replace(f"${name}", self.values[name])
		return done

	@property
	def url(self) -> str:
		return self.filled(self.said["url"])

	@property
	def path(self) -> str:
		parts = urlsplit(self.url)
		return f"/{parts.netloc}{parts.path}"

	@property
	def answer(self) -> Answer:
		headers = {"Content-Type": self.said.get("content_type", "application/json")}
		return Answer(str(self.said.get("answer", "")).encode(), self.said.get("status", 200), headers)

	def check(self, request: Request, default_method: str = "POST") -> None:
		"""
		:raises AssertionError: with the first difference
		"""
		parts = urlsplit(request.target)
		assert request.method == self.said.get("method", default_method), (request.method, self.url)
		assert parts.path == self.path, (parts.path, self.path)
		query = dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True))
		fields = {name: self.filled(value) for name, value in self.said.get("fields", {}).items()}
		body = self.said.get("body", "form" if request.method == "POST" else "query")
		if body == "query":
			query |= fields
			fields = {}
		assert dict(parse_qsl(parts.query, keep_blank_values=True)) == query, (parts.query, query)
		kind = request.headers.get("content-type", "").partition(";")[0]
		if body == "json":
			sent = json.loads(request.body or b"{}")
			fields = sent if self.said.get("any_body") else fields
			assert kind == "application/json" and same(sent, self.said.get("json", fields)), (sent, fields)
		elif body == "form":
			sent = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
			# A signed value differs each time.
			fields = {name: sent.get(name) if value == "*" else value for name, value in fields.items()}
			assert sent == fields, (sent, fields)
			assert not fields or kind == "application/x-www-form-urlencoded", kind
		else:
			assert not request.body, request.body
		for name, value in self.said.get("headers", {}).items():
			given = request.headers.get(name.lower())
			assert given == self.filled(value) or (value == "*" and given), (name, given)
		wanted = {name.lower() for name in self.said.get("headers", {})}
		if "authorization" in request.headers:
			assert "authorization" in wanted, "an Authorization header that nobody wants"


def same(sent: Any, wanted: Any) -> bool:
	return {name: str(value) for name, value in sent.items()} == {n: str(v) for n, v in wanted.items()}


def constants() -> dict[str, str]:
	pair = f"{quote(CLIENT_ID, safe='')}:{quote(CLIENT_SECRET, safe='')}"
	basic = base64.b64encode(pair.encode()).decode()
	return {"redirect_uri": REDIRECT_URI, "basic": basic, "raw_basic": basic}


def script(server: Hostile, expected: list[Expected]) -> None:
	"""Let the emulator answer these, in their order at each address."""
	by_path: dict[str, list[Answer]] = {}
	for each in expected:
		by_path.setdefault(each.path, []).append(each.answer)
	for path, answers in by_path.items():
		server.script(path, *answers)
	server.requests.clear()


def check(server: Hostile, expected: list[Expected], default_method: str = "POST") -> None:
	"""Check that the expected requests were sent, and no others."""
	sent = list(server.requests)
	assert len(sent) == len(expected), ([each.target for each in sent], [each.url for each in expected])
	for request, each in zip(sent, expected, strict=True):
		each.check(request, default_method)
