"""Service accounts: their key files, and connections that need nobody's consent."""

from __future__ import annotations

import json

import frappe

from connected_app.oauth import catalogue, key_files
from connected_app.oauth.clock import utc_now
from connected_app.oauth.grant import Grant
from connected_app.oauth.redact import Secret
from connected_app.site import keys, sessions, templates
from connected_app.site.access import check_may_connect
from connected_app.site.identity import ConnectionKey
from connected_app.site.settings import DOCTYPE, AppSettings


def take_key_file(connected_app: str, text: Secret) -> None:
	"""Import the key of a service account, and the other values in its file. The provider knows the key already, so it
	replaces an earlier one at once.

	:param text: the file from the provider
	:raises ConfigurationError: as `oauth.key_files.read`
	"""
	found = key_files.read(text, utc_now())
	row = frappe.get_doc(DOCTYPE, connected_app, for_update=True)
	about = {"jwk": found.key.public(), "certificate": found.key.certificate, "fingerprint": ""}
	published = {
		**keys.published(row.published_keys),
		keys.IN_USE: {**about, "made_on": utc_now().isoformat()},
	}
	row.update({keys.IN_USE: found.key.to_json(), "published_keys": json.dumps(published)})
	if found.client_id:
		row.client_id = found.client_id
	if found.client_secret:
		row.client_secret = found.client_secret
	template = templates.of_row(row)
	if template and found.inputs:
		known = {each.name for each in template.inputs}
		more = {name: value for name, value in found.inputs.items() if name in known}
		row.provider_inputs = json.dumps({**templates.inputs_of(row), **more}, sort_keys=True)
	row.save()


def connect(app: AppSettings) -> Grant:
	"""Connect the session's user, who need not consent: a service account acts for them, or tokens are exchanged.

	:raises frappe.PermissionError:
	:raises OAuthError: `not_for_users`, and as `oauth.refresh.Refresher.renew`
	"""
	if not app.is_for_users:
		raise catalogue.error("not_for_users")
	check_may_connect(app)
	key = ConnectionKey.of_user(app.name, frappe.session.user)
	refresher = sessions.refresher(app, key)
	stale = refresher.store.load()
	# A user who clicks Reconnect wants a new grant.
	return refresher.renew(stale, rejected=True) if stale else refresher.current()
