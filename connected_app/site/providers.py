"""Provider templates and Connected Apps: the fields that a template fills, and where an app differs from it.

A template fills the fields that core and other apps read. An admin's later changes stay: `differences` shows what the
template would set today, and nothing is overwritten. Values without a field (see `oauth.provider.Quirks`) are read from
the template by its key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from frappe import _

from connected_app.oauth import catalogue, discovery
from connected_app.oauth.errors import ConfigurationError
from connected_app.oauth.metadata_checks import ENDPOINTS
from connected_app.oauth.templates import Template
from connected_app.site import settings as app_settings
from connected_app.site import templates
from connected_app.site.http import http

# An address in a template → the field that it fills.
ADDRESSES = {
	"discovery": "openid_configuration",
	"issuer": "issuer",
	"authorize": "authorization_uri",
	"token": "token_uri",
	"jwks": "jwks_uri",
	"device": "device_authorization_uri",
	"account.url": "userinfo_uri",
	"revoke.url": "revocation_uri",
}
AUTHENTICATION = {"client_secret_basic": "Basic", "client_secret_post": "Post", "none": "None"}
GRANTS = {value: choice for choice, value in app_settings.GRANTS.items()}
SEPARATORS = {" ": "Space", ",": "Comma"}
# The keep-alive renews well before an idle refresh token ends.
IDLE_SHARE = 2
USUAL_IDLE = 7


def settings(template: Template, inputs: Mapping[str, str]) -> dict[str, Any]:
	"""The values that the template puts into the fields of a Connected App.

	:param inputs: an admin's entries, by name
	:returns: by fieldname; child tables as lists of their rows' values
	:raises ConfigurationError: `template_unsupported`, `provider_input_missing`, `provider_input_invalid`
	"""
	_check_is_supported(template)
	given = template.checked(inputs)
	values: dict[str, Any] = {
		field: template.address(path, given) for path, field in ADDRESSES.items() if template[path]
	}
	idle = template["idle_days"]
	values |= {
		"accept_missing_nonce": int(not template["identity.nonce"]),
		"accept_other_audiences": int(template["identity.audiences"] == "azp"),
		"accept_other_issuer": int(template["identity.issuer"] == "any"),
		"provider_name": templates.short_name(template),
		"use_pkce": int(template["pkce"]),
		"client_authentication": AUTHENTICATION.get(template["client_authentication"], "Automatic"),
		"scope_separator": SEPARATORS.get(template["separator"], "Space"),
		"scope_on_refresh": template["scope_on_refresh"].title(),
		"leeway": template["leeway"],
		"requests_per_minute": template["requests_per_minute"],
		"refresh_idle_after": min(max(idle // IDLE_SHARE, 1), USUAL_IDLE) if idle else USUAL_IDLE,
		"scopes": [{"scope": scope} for scope in template.scopes(given)],
		"query_parameters": [
			{"key": key, "value": value} for key, value in template.parameters(given).items()
		],
	}
	if template["grant"] != "consent":
		values["grant_type"] = GRANTS[template["grant"]]
	return values


def _check_is_supported(template: Template) -> None:
	if template["unsupported"]:
		raise catalogue.error("template_unsupported", template.name, template["unsupported"])


def wrong_inputs(template: Template, inputs: Mapping[str, str]) -> dict[str, ConfigurationError]:
	"""The errors of the given inputs, by name. A missing input is no error: some are known only once the client is
	registered."""
	usual = {
		each.name: each.default or each.example or next(iter(each.choices), "") for each in template.inputs
	}
	found = {}
	for each in template.inputs:
		if not str(inputs.get(each.name) or "").strip():
			continue
		try:
			template.checked({**usual, each.name: inputs[each.name]})
		except ConfigurationError as error:
			found[each.name] = error
	return found


def checked_inputs(key: str, inputs: Mapping[str, str]) -> str:
	"""The value to store as `provider_inputs`.

	:raises ConfigurationError: `template_unknown`, `template_unsupported`, `provider_input_invalid`
	"""
	template = templates.find(key)
	_check_is_supported(template)
	for error in wrong_inputs(template, inputs).values():
		raise error
	given = {each.name: inputs[each.name].strip() for each in template.inputs if inputs.get(each.name)}
	return json.dumps(given, sort_keys=True)


def settings_with_endpoints(key: str, inputs: Mapping[str, str]) -> dict[str, Any]:
	"""As `settings`, with `provider` and `provider_inputs`, and with the endpoints of the provider's metadata if the template
	relies on them. Fields without a value are emptied: the old value would belong to another provider.

	:raises ConfigurationError: as `settings`, `find` and `oauth.discovery.fetch`
	:raises TemporaryFailure: as `oauth.discovery.fetch`
	"""
	template = templates.find(key)
	values = settings(template, inputs)
	if not template["token"]:
		metadata = discovery.fetch(
			values["openid_configuration"],
			http(),
			values.get("issuer", ""),
			any_issuer=template["identity.issuer"] == "any",
		)
		found = {field: getattr(metadata, name) for field, name in ENDPOINTS.items()}
		document = json.dumps(metadata.document, indent=1, sort_keys=True)
		# The template's own values win: the provider's document may be wrong there.
		values = {
			**{field: value for field, value in found.items() if value},
			"provider_metadata": document,
			**values,
		}
	given = json.dumps(template.checked(inputs), sort_keys=True)
	empty = dict.fromkeys((*ADDRESSES.values(), "introspection_uri", "provider_metadata"), "")
	empty["grant_type"] = GRANTS["consent"]
	return {**empty, **values, "provider": key, "provider_inputs": given}


def apply(app: Any, key: str, inputs: Mapping[str, str]) -> None:
	"""Fill `app`, which is not saved, from a template. Existing scopes stay.

	:raises OAuthError: as `settings_with_endpoints`
	"""
	values = settings_with_endpoints(key, inputs)
	if any(row.scope for row in app.scopes):
		values.pop("scopes")
	for field, value in values.items():
		app.set(field, value)


def differences(app: Any) -> list[dict[str, Any]]:
	"""Where the fields of `app` differ from what its template would set today; scopes are the admin's choice.

	:returns: `field`, `label`, its value (`is`), and the template's value (`offers`)
	"""
	try:
		values = settings(templates.find(app.provider), templates.inputs_of(app)) if app.provider else {}
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
