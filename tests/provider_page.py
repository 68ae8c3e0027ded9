"""Makes docs/providers.md from the provider templates: `python -m tests.provider_page` writes it."""

from __future__ import annotations

from pathlib import Path

from connected_app.oauth.template_schema import DEFAULTS
from connected_app.oauth.templates import Template, load

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "providers.md"
HEAD = """# Providers

What the *Provider* field of a Connected App offers. The page is made from `connected_app/providers/`; \
`python -m tests.provider_page` writes it.

A template is a file of facts, in TOML. Its keys are those of `SCHEMA` in `connected_app/oauth/template_schema.py`. \
Everything that is left out is what OAuth 2.0 says. A product of a family says `like`. Other apps add templates by \
`connected_app_providers = ["my_app/oauth_providers"]` in their `hooks.py`.

*Needed*: what an administrator enters besides Client ID and Client Secret. *Checked*: when, by how many sources, \
and how sure that makes us, in the form's words ([what they mean](admin-guide.md#the-gallery)). *Special*: where the provider differs from the standards, by the template's keys.

"""
# As the form says it.
SURE = {"high": "well confirmed", "medium": "partly confirmed", "low": "unconfirmed"}
# Of no interest here: they stand in columns of their own, or say nothing of how the provider behaves.
PLAIN = {
	"name", "category", "like", "hidden", "register", "guide", "notes", "checked", "ask", "scopes", "scope_words",
	"discovery", "issuer", "authorize", "token", "jwks", "device", "account", "unsupported", "mail", "idle_days", "lasts_days",
	"single_use", "hosts", "offline",
}  # fmt: skip


def page() -> str:
	templates = sorted(
		load([ROOT / "connected_app" / "providers"]).values(), key=lambda each: each.name.casefold()
	)
	offered = [each for each in templates if each.is_offered]
	usable = [each for each in offered if not each["unsupported"]]
	text = (
		HEAD + f"{len(usable)} providers can be connected by name, {len(offered) - len(usable)} cannot.\n\n"
	)
	text += "| provider | key | category | needed | checked | special |\n|---|---|---|---|---|---|\n"
	text += "".join(row(each) for each in usable)
	text += "\n## Not by name\n\n| provider | why |\n|---|---|\n"
	text += "".join(f"| {each.name} | {each['unsupported']} |\n" for each in offered if each["unsupported"])
	return text


def row(template: Template) -> str:
	needed = ", ".join(each.label for each in template.inputs)
	checked = template.values.get("checked", {})
	sources = len(checked.get("by", []))
	sure = f"{checked.get('on', '')}: {sources} source{'' if sources == 1 else 's'}, {SURE.get(checked.get('confidence'), '')}"
	special = ", ".join(f"`{key}`" for key in differs(template))
	return (
		f"| {template.name} | `{template.key}` | {template['category']} | {needed} | {sure} | {special} |\n"
	)


def differs(template: Template) -> list[str]:
	return sorted(
		key for key, value in template.values.items() if key not in PLAIN and value != DEFAULTS.get(key)
	)


if __name__ == "__main__":
	PAGE.write_text(page(), encoding="utf-8")
