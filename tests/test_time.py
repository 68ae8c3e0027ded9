"""Reading input from strangers takes linear time: of the processor, whatever else it does meanwhile."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest

from connected_app.oauth import OAuthError, challenges, dead_grants, discovery, token_endpoint, wire
from connected_app.oauth.redact import printable
from connected_app.oauth.reply import Reply

PIECES = [
	",", ", ", '"', " ", "\\", '\\"', "=", "a", "a ", "a,", "a=", 'a="', "a=,", '="', "\t", "\n", "(", "<", "{", "[", "&", "%",
	"refresh_token=", "refresh token ", "not ", "a-", "aA", "_", ".", ". ", "?", "!", ") ", "é", "refresh token is ", "invalid ",
	"/", "/.well-known/", "{a", "=&", '"refresh_token":', '"refresh_token":"', "Bearer ", "ip a ", "too many a ",
	"client secret ", "exceeded a ", "http a ", "刷新令牌", "refresh token abgelaufen ou ", "e\u0301", "\u200d",
	"\U0001f3f4\U000e0061",
]  # fmt: skip


def reply(text: str, status: int = 400) -> Reply:
	return Reply(status=status, headers={"content-type": ""}, body=text.encode())


READERS: dict[str, tuple[int, Callable[[str], Any]]] = {
	"challenges": (65_000, challenges.read),
	"sentence": (60_000, lambda text: dead_grants.is_said({"error": "x", "message": text}, code="x")),
	"sentences": (1000, lambda text: dead_grants.is_said({str(number): text for number in range(10)})),
	"name": (60_000, lambda text: dead_grants.is_said({text: "x"})),
	"text": (60_000, lambda text: dead_grants.is_said({}, text)),
	"excuses": (
		1000,
		lambda text: dead_grants.excuse(
			{"error": "invalid_grant", **{str(number): text for number in range(10)}}
		),
	),
	"salvaged": (500_000, lambda text: token_endpoint.salvaged(reply(text, 200))),
	"read": (500_000, lambda text: token_endpoint.read(reply(text, 200))),
	"printable": (500_000, printable),
	"issuer": (60_000, discovery.issuer_of),
	"placeholders": (60_000, wire.placeholders),
	"retry_after": (
		60_000,
		lambda text: token_endpoint.retry_after(
			Reply(status=429, headers={"retry-after": text, "date": text}, body=b"")
		),
	),
}


@pytest.mark.parametrize("name", READERS)
def test_a_long_text_of_one_kind(name: str) -> None:
	length, read = READERS[name]
	for piece, end in itertools.product(PIECES, ["", '"']):
		text = (piece * (length // len(piece) + 1))[: length - 1] + end
		began = time.thread_time()
		try:
			read(text)
		except OAuthError:
			pass
		assert time.thread_time() - began < 1.5, (piece, end)
