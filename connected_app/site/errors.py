"""The three branches of `oauth.errors` as Frappe errors, so that Desk shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import frappe
from frappe import _

from connected_app.oauth import catalogue, errors
from connected_app.oauth.errors import OAuthError, Sentence


class ReconnectRequired(errors.ReconnectRequired, frappe.ValidationError):
	"""`connect_url`: where the user can connect, on this site."""

	connect_url = ""


class TemporaryFailure(errors.TemporaryFailure, frappe.ValidationError):
	pass


class ConfigurationError(errors.ConfigurationError, frappe.ValidationError):
	pass


def localized(text: str) -> str:
	"""A message or action of an error, in the reader's language."""
	if isinstance(text, Sentence):
		values = [localized(value) if isinstance(value, Sentence) else value for value in text.values]
		return errors.filled(_(text.template), values)
	return _(text) if text else ""


def in_words(error: OAuthError) -> dict[str, str]:
	"""`message` and `action` of an error, in the reader's language."""
	return {"message": localized(error.message), "action": localized(error.action)}


def last_error(row: Any) -> str | None:
	"""The virtual field *Last Error* of a document that holds `error_code` and `error_values`."""
	code = row.get("error_code")
	return f"{code}: {localized(catalogue.from_json(row.get('error_values')))}" if code else None


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
def raises_frappe_errors(
	connect_url: Callable[[], str] = str, *, leads_there: bool = False
) -> Iterator[None]:
	"""Raise errors from `oauth/` in their Frappe form, with a message for Desk as `frappe.throw` leaves it.

	:param connect_url: returns the address at which to connect; called only if needed
	:param leads_there: whether the message has a link to it
	"""
	try:
		yield
	except OAuthError as error:
		spoken = as_frappe(error, connect_url)
	else:
		return
	if frappe.request and not getattr(spoken, "was_shown", False):
		spoken.was_shown = True  # type: ignore[attr-defined]
		html = frappe.utils.escape_html(str(spoken))
		if leads_there and isinstance(spoken, ReconnectRequired):
			address = frappe.utils.escape_html(spoken.connect_url)
			html += f'<p><a class="btn btn-primary btn-sm" href="{address}">{_("Connect")}</a></p>'
		frappe.msgprint(html, title=_("Connection"), indicator="red")
	raise spoken
