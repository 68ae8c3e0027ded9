"""The tree of errors.

	OAuthError
	├── ReconnectRequired     the user must consent again
	├── TemporaryFailure      try later; the grant is untouched
	└── ConfigurationError    an admin must fix something

Callers act on the branch. `code` is stable, for machines; `message` is one sentence for a person; `action`
says what to do next. The original error is `__cause__`. No text here ever holds a secret.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_PLACEHOLDER = re.compile(r"\{(\d)\}")


def filled(template: str, values: Sequence[object]) -> str:
	"""`template` with its `{0}` placeholders filled in. Not by `str.format`: templates are stored, and translated, and those
	that somebody else has written would lead from a value's attributes to all that this process knows.

	:raises LookupError: for a value that is not given
	"""
	return _PLACEHOLDER.sub(lambda found: str(values[int(found[1])]), template)


class Sentence(str):
	"""A sentence that keeps its template and values, so that a site can translate it.

	:param template: a literal with `{0}` placeholders
	:param values: for the placeholders; a value that is itself a Sentence is translated too
	"""

	template: str
	values: tuple[object, ...]

	def __new__(cls, template: str, *values: object) -> Sentence:
		text = super().__new__(cls, filled(template, values))
		text.template, text.values = template, values
		return text

	def __getnewargs__(self) -> tuple[object, ...]:  # type: ignore[override]
		"""For pickle, which would otherwise take the filled-in text for the template."""
		return (self.template, *self.values)


class OAuthError(Exception):
	"""Root of the tree.

	:param code: stable machine code, listed in docs/errors.md
	:param message: one sentence for a person
	:param action: what to do next, one sentence
	:param retry_after: seconds after which a retry makes sense, if known
	:param provider_error: the provider's own `error` value, shortened and cleaned
	"""

	default_action = ""

	def __init__(
		self,
		code: str,
		message: str,
		action: str = "",
		*,
		retry_after: float | None = None,
		provider_error: str = "",
	) -> None:
		self.code = code
		self.message = message
		self.action = action or self.default_action
		self.retry_after = retry_after
		self.provider_error = provider_error
		super().__init__(f"{message} {self.action}".strip())


class ReconnectRequired(OAuthError):
	"""The grant is gone or was never given: only the user's consent helps."""

	default_action = "Please connect again."


class TemporaryFailure(OAuthError):
	"""The network or the provider failed for now. The stored grant stays as it is."""

	default_action = "Please try again later."


class ConfigurationError(OAuthError):
	"""The settings of the Connected App, or the client's registration at the provider, must be corrected."""

	default_action = "Please ask an administrator to check the Connected App."
