"""Makes docs/real-servers.md from tests/real_answers.toml: `python -m tests.real_servers` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from connected_app.oauth.templates import tomllib

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "real-servers.md"
BRANCHES = {
	"reconnect": "the user connects again",
	"later": "tried again later",
	"admin": "an administrator acts",
}
HEAD = """# Real servers

What real servers say, and what this app makes of it. The page is made from `tests/real_answers.toml`, which the tests run; \
`python -m tests.real_servers` writes it.

## Answers to a refresh

Each answer is sent by a server on loopback to the refresher. How the branches are told apart is \
[decision 21](decisions/0021-what-costs-a-grant.md).

| server | HTTP | answer | what follows |
|---|---|---|---|
"""


def answers() -> dict[str, list[dict[str, Any]]]:
	return tomllib.loads((Path(__file__).parent / "real_answers.toml").read_text(encoding="utf-8"))


def page() -> str:
	known = answers()
	rows = [
		f"| {each['server']} | {each['status']} | {cell(each['body'])} | {BRANCHES[each['branch']]} |"
		for each in known["refresh"]
	]
	servers = [f"| {each['server']} | {each['kind']} | {each['how']} |" for each in known["tried"]]
	return (
		HEAD
		+ "\n".join(rows)
		+ "\n\n## Servers that the tests run\n\n| server | kind | how |\n|---|---|---|\n"
		+ "\n".join(servers)
		+ "\n"
	)


def cell(body: str) -> str:
	return f"`{body.replace('|', chr(92) + '|')}`" if body else "(empty)"


if __name__ == "__main__":
	PAGE.write_text(page(), encoding="utf-8")
