"""The catalogue of errors, and how a stored error is read."""

from __future__ import annotations

import pickle
import string

import pytest

from connected_app.oauth.catalogue import CATALOGUE, error, from_json, recognized, to_json
from connected_app.oauth.errors import ConfigurationError, Sentence, TemporaryFailure


def test_raised_by_code_with_values() -> None:
	raised = error("endpoint_missing", Sentence("Token URI"), retry_after=3, provider_error="x")
	assert isinstance(raised, ConfigurationError)
	assert (raised.code, raised.message) == ("endpoint_missing", "Token URI is not set.")
	assert raised.action == "Fill in Token URI, or use Get OpenID Configuration in the form's menu (⋯)."
	assert (raised.retry_after, raised.provider_error) == (3, "x")
	variant = error("network/broken_off")
	assert isinstance(variant, TemporaryFailure) and variant.code == "network"
	assert variant.action == TemporaryFailure.default_action


@pytest.mark.parametrize("key", CATALOGUE)
def test_an_error_is_stored_and_read(key: str) -> None:
	"""As what can be said in another language, whatever stands in the values."""
	entry = CATALOGUE[key]
	fields = [name for _text, name, _spec, _conversion in string.Formatter().parse(entry.sentence) if name]
	values = [f"{{0}} \"'%s: \\ {number}" for number in range(max(len(fields), 2))]
	raised = error(key, *values)
	read = from_json(to_json(raised.code, raised.message))
	assert isinstance(read, Sentence) and isinstance(raised.message, Sentence)
	assert (read, read.template) == (raised.message, entry.sentence)


def test_a_sentence_that_is_pickled() -> None:
	"""By a queue, or a cache: it can still be said in another language."""
	read = pickle.loads(pickle.dumps(error("endpoint_missing", "{x} URI").message))
	assert (
		read == "{x} URI is not set." and read.template == "{0} is not set." and read.values == ("{x} URI",)
	)


def test_a_sentence_within_a_sentence() -> None:
	message = error("endpoint_missing", Sentence("Token {0}", Sentence("URI"))).message
	read = from_json(to_json("endpoint_missing", message))
	assert isinstance(read, Sentence) and read == "Token URI is not set."
	assert isinstance(read.values[0], Sentence) and isinstance(read.values[0].values[0], Sentence)


@pytest.mark.parametrize(
	"text", [None, "", "[]", "7", "x", '{"sentence": "gone", "values": []}', '{"values": 1}']
)
def test_what_another_version_has_stored(text: str | None) -> None:
	assert from_json(text) == ""


def test_a_value_is_missing() -> None:
	assert from_json('{"sentence": "network", "values": []}') == ""


@pytest.mark.parametrize(
	("code", "text", "key"),
	[
		("network", "accounts.example could not be reached.", "network"),
		("network", "The provider's answer broke off.", "network/broken_off"),
		("grant_invalid", "The provider no longer accepts this connection: a\nb {x}", "grant_invalid"),
		("server_error", "The provider is not available at the moment: no", "server_error/said"),
		(
			"invalid_client",
			"The provider did not accept the client's credentials: HTTP 401",
			"invalid_client/http",
		),
	],
)
def test_texts_of_earlier_versions(code: str, text: str, key: str) -> None:
	stored = recognized(code, text)
	read = from_json(stored)
	assert isinstance(read, Sentence) and (read, read.template) == (text, CATALOGUE[key].sentence)


@pytest.mark.parametrize("code", ["network", "no_such_code", "cooling_down"])
def test_a_text_that_is_not_known_is_kept(code: str) -> None:
	assert from_json(recognized(code, "Something else.")) == "Something else."
