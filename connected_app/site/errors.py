"""The three branches of `oauth.errors` as Frappe's own kind of error, so that Desk shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import frappe
from frappe import _

from connected_app.oauth import errors
from connected_app.oauth.errors import OAuthError, Sentence


class ReconnectRequired(errors.ReconnectRequired, frappe.ValidationError):
	"""`connect_url`: where the user can connect, on this site."""

	connect_url = ""


class TemporaryFailure(errors.TemporaryFailure, frappe.ValidationError):
	pass


class ConfigurationError(errors.ConfigurationError, frappe.ValidationError):
	pass


# The sentences with something filled in that a Token Cache may hold: what was filled in is looked for in them.
STORED = (
	"The provider answered with HTTP {0}.",
	"The provider answered with an error: {0}",
	"The provider is not available at the moment: {0}",
	"The provider no longer accepts this connection: {0}",
	"The provider refused the request: {0}",
	"The provider did not accept the client's credentials: {0}",
	"{0} could not be reached.",
	"{0} did not answer in time.",
	"{0} must be reached over https.",
	"{0} is an internal address, which this site may not call.",
	"The certificate of {0} could not be verified.",
	"The answer of {0} is too large.",
	"There are no trusted certificate authorities in {0}.",
	"The proxy does not let this site reach {0}.",
	"Correct connected_app_proxy, or what the proxy allows (HTTP {0}).",
	"The proxy {0} could not be reached.",
	"{0} asks for a client certificate, which this site does not have.",
	"{0} ended the connection before it was secured.",
	"{0} and this site could not agree on how to secure the connection.",
	"Check the address: its port may not be one for https ({0}).",
	"Ask the provider to correct its certificate ({0}).",
	"The client authentication {0} is not supported.",
	"{0} is not set.",
)


def localized(text: str) -> str:
	"""A message or action of an error in the language of whoever is looking."""
	if isinstance(text, Sentence):
		values = [localized(value) if isinstance(value, Sentence) else value for value in text.values]
		return _(text.template).format(*values)
	return _(text) if text else ""


def retold(text: str) -> str:
	"""A stored message, which is in English, in the language of whoever is looking."""
	if (said := localized(text)) != text:
		return said
	for template in STORED:
		before, _placeholder, after = template.partition("{0}")
		if text.startswith(before) and text.endswith(after):
			return _(template).format(text[len(before) : len(text) - len(after)])
	return text


def as_frappe(error: OAuthError, connect_url: Callable[[], str] = str) -> OAuthError:
	"""`error` in its Frappe form; `error` itself when it is that already."""
	if isinstance(error, frappe.ValidationError):
		return error
	branches = {
		errors.ReconnectRequired: ReconnectRequired,
		errors.TemporaryFailure: TemporaryFailure,
		errors.ConfigurationError: ConfigurationError,
	}
	kind = next(ours for theirs, ours in branches.items() if isinstance(error, theirs))
	spoken = kind(
		error.code,
		localized(error.message),
		localized(error.action),
		retry_after=error.retry_after,
		provider_error=error.provider_error,
	)
	if isinstance(spoken, ReconnectRequired):
		spoken.connect_url = connect_url()
	spoken.__cause__ = error.__cause__ or error
	return spoken


@contextmanager
def raises_frappe_errors(connect_url: Callable[[], str] = str) -> Iterator[None]:
	"""Raise what comes from `oauth/` in its Frappe form, with a message for Desk as `frappe.throw` leaves it.

	:param connect_url: gives the address at which to connect; asked only when needed
	"""
	try:
		yield
	except OAuthError as error:
		spoken = as_frappe(error, connect_url)
	else:
		return
	if frappe.request and not getattr(spoken, "was_shown", False):
		spoken.was_shown = True  # type: ignore[attr-defined]
		frappe.msgprint(frappe.utils.escape_html(str(spoken)), title=_("Connection"), indicator="red")
	raise spoken
