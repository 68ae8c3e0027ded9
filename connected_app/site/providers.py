"""Provider templates on a site: which there are, what a template puts into a Connected App's fields, and what has changed.

A template fills the fields that core and other apps read. What an admin changes afterwards is theirs: `differences` shows
what the template would set today, and nothing is overwritten. What has no field (see `oauth.provider.Quirks`) is read
from the template by its key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import frappe
from frappe import _

from connected_app.oauth import discovery, templates
from connected_app.oauth.errors import ConfigurationError, Sentence
from connected_app.oauth.templates import Template
from connected_app.site.checks import ENDPOINT_FIELDS
from connected_app.site.http import http

OWN = Path(__file__).resolve().parents[1] / "providers"
# Of a template: the field that an address fills.
ADDRESSES = {
	"discovery": "openid_configuration",
	"issuer": "issuer",
	"authorize": "authorization_uri",
	"token": "token_uri",
	"jwks": "jwks_uri",
	"account.url": "userinfo_uri",
	"revoke.url": "revocation_uri",
}
AUTHENTICATION = {"client_secret_basic": "Basic", "client_secret_post": "Post", "none": "None"}
SEPARATORS = {" ": "Space", ",": "Comma"}
# The keep-alive renews well before an idle refresh token ends.
IDLE_SHARE = 2
USUAL_IDLE = 7


def all_templates() -> dict[str, Template]:
	"""The templates of this app, and of the installed apps whose `hooks.py` says where theirs are:

	`connected_app_providers = ["my_app/oauth_providers"]`, a folder within the app's package.

	:raises ConfigurationError: `template_invalid`
	"""
	folders = [OWN]
	for entry in frappe.get_hooks("connected_app_providers"):
		app, _slash, rest = entry.partition("/")
		folders.append(Path(frappe.get_app_path(app, *rest.split("/"))))
	return _loaded(tuple(folders))


@lru_cache(maxsize=8)
def _loaded(folders: tuple[Path, ...]) -> dict[str, Template]:
	return templates.load(folders)


def find(key: str) -> Template:
	"""
	:raises ConfigurationError: `template_unknown`, `template_invalid`
	"""
	template = all_templates().get(key)
	if template is None or not template.is_offered:
		raise ConfigurationError(
			"template_unknown",
			Sentence("There is no provider template called {0}.", key),
			"Choose one of the list, or leave Provider empty and fill in the fields.",
		)
	return template


def search(text: str = "") -> list[Template]:
	"""Those that an admin can choose, by name; `text` is looked for in name, key and category."""
	wanted = text.casefold().split()

	def matches(template: Template) -> bool:
		about = f"{template.name} {template.key} {template['category']}".casefold()
		return all(word in about for word in wanted)

	found = [each for each in all_templates().values() if each.is_offered and matches(each)]
	return sorted(found, key=lambda each: each.name.casefold())


def about(template: Template) -> dict[str, Any]:
	"""What the picker, the steps and the command line say of a template. English words of the data are translated."""
	checked = template.values.get("checked", {})
	return {
		"key": template.key,
		"name": template.name,
		"category": template["category"],
		"register": template["register"] or "",
		"guide": template["guide"] or "",
		"notes": [_(note) for note in template["notes"] or []],
		"unsupported": _(template["unsupported"]) if template["unsupported"] else "",
		"inputs": [
			{
				"name": each.name,
				"label": _(each.label),
				"example": each.example,
				"choices": {value: _(words) for value, words in each.choices.items()},
				"default": each.default,
			}
			for each in template.inputs
		],
		"scopes": template["scopes"],
		"scope_words": {scope: _(words) for scope, words in (template["scope_words"] or {}).items()},
		"checked_on": str(checked.get("on") or ""),
		"checked_by": checked.get("by", []),
		"confidence": checked.get("confidence", ""),
	}


def settings(template: Template, inputs: Mapping[str, str]) -> dict[str, Any]:
	"""What the template puts into the fields of a Connected App.

	:param inputs: what an admin has entered, by name
	:returns: by fieldname; child tables as lists of their rows' values
	:raises ConfigurationError: `template_unsupported`, `provider_input_missing`, `provider_input_invalid`
	"""
	if template["unsupported"]:
		raise ConfigurationError(
			"template_unsupported",
			Sentence("{0} cannot be connected.", template.name),
			template["unsupported"],
		)
	given = template.checked(inputs)
	values: dict[str, Any] = {
		field: template.address(path, given) for path, field in ADDRESSES.items() if template[path]
	}
	idle = template["idle_days"]
	values |= {
		"provider_name": template.name,
		"use_pkce": int(template["pkce"]),
		"client_authentication": AUTHENTICATION.get(template["client_authentication"], "Automatic"),
		"scope_separator": SEPARATORS.get(template["separator"], "Space"),
		"scope_on_refresh": template["scope_on_refresh"].title(),
		"leeway": template["leeway"],
		"refresh_idle_after": min(max(idle // IDLE_SHARE, 1), USUAL_IDLE) if idle else USUAL_IDLE,
		"scopes": [{"scope": scope} for scope in template["scopes"]],
		"query_parameters": [
			{"key": key, "value": value} for key, value in (template["parameters"] or {}).items()
		],
	}
	return values


def settings_with_endpoints(key: str, inputs: Mapping[str, str]) -> dict[str, Any]:
	"""As `settings`, with `provider` and `provider_inputs`, and with the endpoints of the provider's metadata where the
	template relies on those.

	:raises ConfigurationError: as `settings`, `find` and `oauth.discovery.fetch`
	:raises TemporaryFailure: as `oauth.discovery.fetch`
	"""
	template = find(key)
	values = settings(template, inputs)
	if not template["token"]:
		metadata = discovery.fetch(
			values["openid_configuration"],
			http(),
			values.get("issuer", ""),
			any_issuer=template["identity.issuer"] == "any",
		)
		found = {field: getattr(metadata, name) for field, name in ENDPOINT_FIELDS.items()}
		document = json.dumps(metadata.document, indent=1, sort_keys=True)
		# What the template says itself is what the provider's document may have wrong.
		values = {
			**{field: value for field, value in found.items() if value},
			"provider_metadata": document,
			**values,
		}
	given = json.dumps(template.checked(inputs), sort_keys=True)
	return {**values, "provider": key, "provider_inputs": given}


def apply(app: Any, key: str, inputs: Mapping[str, str]) -> None:
	"""Fill `app`, which is not saved, from a template. Scopes that are there stay.

	:raises OAuthError: as `settings_with_endpoints`
	"""
	values = settings_with_endpoints(key, inputs)
	if app.get_scopes():
		values.pop("scopes")
	for field, value in values.items():
		app.set(field, value)


def inputs_of(app: Any) -> dict[str, str]:
	"""What an admin has entered for the template of `app`."""
	try:
		inputs = json.loads(app.provider_inputs or "{}")
	except ValueError:
		return {}
	return {str(name): str(value) for name, value in inputs.items()} if isinstance(inputs, dict) else {}


def differences(app: Any) -> list[dict[str, Any]]:
	"""Where the fields of `app` differ from what its template would set today; scopes are the admin's choice.

	:returns: `field`, `label`, what it `is`, and what the template `offers`
	"""
	try:
		values = settings(find(app.provider), inputs_of(app)) if app.provider else {}
	except ConfigurationError:
		return []
	found = []
	for field, offered in values.items():
		if field in ("scopes", "provider_name"):
			continue
		present = app.get(field)
		if field == "query_parameters":
			present = [{"key": row.key, "value": row.value or ""} for row in present]
		if (present or "") != (offered or ""):
			found.append(
				{"field": field, "label": _(app.meta.get_label(field)), "is": present, "offers": offered}
			)
	return found
