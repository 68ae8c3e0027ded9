"""The provider templates of this site: this app's, and those of other installed apps."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import frappe
from frappe import _

from connected_app.oauth import catalogue, templates
from connected_app.oauth.errors import ConfigurationError
from connected_app.oauth.provider import STANDARD, Quirks
from connected_app.oauth.templates import Template
from connected_app.site.cards import scope_words

OWN = Path(__file__).resolve().parents[1] / "providers"


def all_templates() -> dict[str, Template]:
	"""The templates of this app, and those of installed apps whose `hooks.py` names a folder:

	`connected_app_providers = ["my_app/oauth_providers"]`, a folder within the app's package.

	:raises ConfigurationError: `template_invalid`, for one of this app's own
	"""
	return _loaded(folders())


def folders() -> tuple[Path, ...]:
	"""Where the templates of this site are: its own first."""
	found = [OWN]
	for entry in frappe.get_hooks("connected_app_providers"):
		app, _slash, rest = entry.partition("/")
		found.append(Path(frappe.get_app_path(app, *rest.split("/"))))
	return tuple(found)


@lru_cache(maxsize=8)
def _loaded(folders: tuple[Path, ...]) -> dict[str, Template]:
	try:
		return templates.load(folders)
	except ConfigurationError:
		pass
	# An error in another app disables its own templates, not everybody's connections.
	own, *others = folders
	good = [own]
	for folder in others:
		try:
			templates.load((*good, folder))
		except ConfigurationError as error:
			title = "Connected App: provider templates of another app"
			frappe.log_error(title=title, message=f"{folder} is left out: {error}", defer_insert=True)
		else:
			good.append(folder)
	return templates.load(good)


def find(key: str) -> Template:
	"""
	:raises ConfigurationError: `template_unknown`, `template_invalid`
	"""
	template = all_templates().get(key)
	if template is None or not template.is_offered:
		raise catalogue.error("template_unknown", key)
	return template


def search(text: str = "") -> list[Template]:
	"""The templates that an admin can choose, by name; `text` is searched in name, key and category."""
	wanted = text.casefold().split()

	def matches(template: Template) -> bool:
		about = f"{template.name} {template.key} {template['category']}".casefold()
		return all(word in about for word in wanted)

	found = [each for each in all_templates().values() if each.is_offered and matches(each)]
	return sorted(found, key=lambda each: each.name.casefold())


def summary(template: Template) -> dict[str, Any]:
	"""A template in a list of providers: `key`, `name`, `category`, why it is `unsupported`, when it was checked
	(`checked_on`) and against which sources (`checked_by`), and the `confidence`."""
	checked = template["checked"] or {}
	return {
		"key": template.key,
		"name": template.name,
		"category": template["category"],
		"unsupported": _(template["unsupported"]) if template["unsupported"] else "",
		"checked_on": str(checked.get("on") or ""),
		"checked_by": checked.get("by", []),
		"confidence": checked.get("confidence", ""),
	}


def short_name(template: Template) -> str:
	"""The name for people who connect: without the brackets at its end, unless that is also the name of another."""
	if not template.name.endswith(")"):
		return template.name
	short = template.name.partition(" (")[0]
	others = (each.name for each in all_templates().values() if each.is_offered and each.key != template.key)
	return template.name if any(name.partition(" (")[0] == short for name in others) else short


def about(template: Template) -> dict[str, Any]:
	"""A template in the picker, the steps and the command line: its `summary` and more. English words of the data are
	translated."""
	words = {scope: _(text) for scope, text in (template["scope_words"] or {}).items()}
	usual = {} if words.keys() >= set(template["scopes"]) else scope_words()
	return {
		**summary(template),
		"short_name": short_name(template),
		"category_name": category_name(template["category"]),
		"register": template["register"] or "",
		"guide": template["guide"] or "",
		"notes": [_(note) for note in template["notes"] or []],
		"inputs": [
			{
				"name": each.name,
				"label": _(each.label),
				"example": each.example,
				"pattern": each.pattern,
				"choices": {value: _(words) for value, words in each.choices.items()},
				"default": each.default,
			}
			for each in template.inputs
		],
		"scopes": template["scopes"],
		"scope_words": {scope: usual[scope] for scope in template["scopes"] if scope in usual} | words,
	}


def category_name(category: str) -> str:
	"""A category in the language of the reader."""
	names = {
		"mail": _("Mail"),
		"files": _("Files"),
		"calendar": _("Calendar"),
		"office": _("Office"),
		"crm": _("CRM"),
		"accounting": _("Accounting"),
		"payments": _("Payments"),
		"commerce": _("Shops"),
		"marketplace": _("Marketplaces"),
		"marketing": _("Marketing"),
		"advertising": _("Advertising"),
		"social": _("Social Media"),
		"messaging": _("Messaging"),
		"meetings": _("Meetings"),
		"project": _("Projects"),
		"developer": _("Development"),
		"identity": _("Identity"),
		"hr": _("Human Resources"),
		"support": _("Support"),
		"logistics": _("Logistics"),
		"health": _("Health"),
		"banking": _("Banking"),
		"analytics": _("Analytics"),
		"cms": _("Websites"),
		"signing": _("Signatures"),
		"education": _("Education"),
	}
	return names.get(category, _("Other"))


def inputs_of(row: Any) -> dict[str, str]:
	"""An admin's inputs for the template of a Connected App."""
	return inputs_in(row.provider_inputs)


def inputs_in(text: str | dict[str, Any] | None) -> dict[str, str]:
	"""The inputs, by name, of a JSON object; anything else has none.

	:param text: the stored or sent text; or the object itself
	"""
	try:
		inputs = json.loads(text or "{}") if not isinstance(text, dict) else text
	except ValueError:
		return {}
	if not isinstance(inputs, dict):
		return {}
	return {str(name): str(value) for name, value in inputs.items() if value is not None}


def of_row(row: Any) -> Template | None:
	"""The template of a Connected App; None without one, or if the app that had it is gone."""
	return all_templates().get(row.provider) if row.provider else None


def quirks_of(row: Any) -> Quirks:
	"""Where the provider of a Connected App differs from the standards: by its template, and by the exceptions that an admin
	accepts."""
	template = of_row(row)
	quirks = _quirks(template.key, row.provider_inputs or "{}", folders()) if template else STANDARD
	if row.accept_missing_nonce or row.accept_other_audiences:
		return replace(
			quirks,
			nonce_is_required=quirks.nonce_is_required and not row.accept_missing_nonce,
			other_audiences=quirks.other_audiences or bool(row.accept_other_audiences),
		)
	return quirks


@lru_cache(maxsize=512)
def _quirks(key: str, inputs: str, folders: tuple[Path, ...]) -> Quirks:
	template = _loaded(folders)[key]
	given = {**{each.name: each.default for each in template.inputs}, **inputs_in(inputs)}
	try:
		given = template.checked(given)
	except ConfigurationError:
		# An update of the app has changed the inputs: the addresses are in the row, and go on working.
		return template.quirks({**{each.name: each.example or "x" for each in template.inputs}, **given})
	return template.quirks(given)
