"""docs/errors.md, made from the catalogue of errors.

python -m tests.errors_page    write the page
"""

from __future__ import annotations

from pathlib import Path

from connected_app.oauth.catalogue import CATALOGUE, Entry

PAGE = Path(__file__).resolve().parents[1] / "docs" / "errors.md"
HEAD = """# Error codes

Every error has a `code`, which stays the same between versions, a sentence for a person and one on what to do next. The branch of the tree says who can help; `except` by branch, not by code. This page is made from `connected_app/oauth/catalogue.py` by `python -m tests.errors_page`.
"""
SECTIONS = {
	"Reconnect required": "`ReconnectRequired`: only the person's consent helps.",
	"ID token refused": "`ReconnectRequired` as well: the provider's ID token fails a check of OpenID Connect Core 3.1.3.7. Nothing is stored. Of an ID token that comes with a refresh (12.2) only `id_token_subject` costs the connection. `id_token_issuer` and `id_token_audience` are `ConfigurationError` then: the connection is kept, and cannot be used until an administrator has corrected the setting. The other checks are made only when somebody connects.",
	"Temporary failure": "`TemporaryFailure`: what is stored stays as it is, and the next use tries again.",
	"Configuration error": "`ConfigurationError`: a setting here, or the client's registration at the provider, needs correcting. Nobody loses a connection.",
}
TABLE = "| code | what happened | who must act | how |\n|---|---|---|---|\n"


def page() -> str:
	rows: dict[str, list[str]] = {name: [] for name in SECTIONS}
	for key, entry in CATALOGUE.items():
		# A variant is another sentence of a code that has its row.
		if "/" not in key:
			rows[section(key, entry)].append(row(key, entry))
	parts = [f"## {name}\n\n{text}\n\n{TABLE}{''.join(rows[name])}" for name, text in SECTIONS.items()]
	return "\n".join([HEAD, *parts])


def section(key: str, entry: Entry) -> str:
	if key.startswith("id_token_"):
		return "ID token refused"
	branches = {
		"ReconnectRequired": "Reconnect required",
		"TemporaryFailure": "Temporary failure",
		"ConfigurationError": "Configuration error",
	}
	return branches[entry.branch.__name__]


def row(key: str, entry: Entry) -> str:
	return f"| `{key}` | {entry.happened} | {entry.who} | {entry.how} |\n"


if __name__ == "__main__":
	PAGE.write_text(page(), encoding="utf-8")
