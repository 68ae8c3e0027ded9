"""German and Arabic are complete: each string that a person may read has its translation, with the same placeholders."""

from __future__ import annotations

import csv
import re
from collections import Counter

import pytest

from connected_app.oauth.catalogue import CATALOGUE
from tests import strings

FOLDER = strings.APP / "translations"
LANGUAGES = ["ar", "de"]
PLACEHOLDER = re.compile(r"\{\w*\}|<[^>]*>")


def rows(language: str) -> list[list[str]]:
	"""Source, translation, and context: the DocType for which alone it is said like this, or empty."""
	with open(FOLDER / f"{language}.csv", newline="", encoding="utf-8") as file:
		return list(csv.reader(file))


def listed(title: str, texts: list[str]) -> str:
	return "\n".join([f"{len(texts)} {title}:", *texts])


@pytest.mark.parametrize("language", LANGUAGES)
def test_complete(language: str) -> None:
	"""To mend: add a line `source,translation,` to connected_app/translations/LANGUAGE.csv."""
	known = {row[0] for row in rows(language)}
	missing = [f"{where}  {text}" for text, where in strings.all_strings().items() if text not in known]
	assert not missing, listed(f"strings without a translation in {language}.csv", missing)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_leftovers(language: str) -> None:
	found = strings.all_strings()
	stale = [row[0] for row in rows(language) if row[0] not in found]
	assert not stale, listed(f"lines in {language}.csv that translate nothing any more", stale)


@pytest.mark.parametrize("language", LANGUAGES)
def test_well_formed(language: str) -> None:
	"""Three columns (Frappe 15 and 16 read source, translation, context), nothing twice, the same placeholders."""
	table = rows(language)
	assert all(len(row) == 3 and row[0] and row[1] for row in table), language
	twice = [key for key, count in Counter((row[0], row[2]) for row in table).items() if count > 1]
	assert not twice, twice
	wrong = [
		f"{source} → {text}"
		for source, text, _context in table
		if sorted(PLACEHOLDER.findall(source)) != sorted(PLACEHOLDER.findall(text))
	]
	assert not wrong, listed("translations with other placeholders", wrong)


def test_both_speak_of_the_same() -> None:
	assert {(row[0], row[2]) for row in rows("de")} == {(row[0], row[2]) for row in rows("ar")}


def test_nothing_is_assembled() -> None:
	"""No string is put together from pieces: other languages order them otherwise."""
	found = []
	for path in [*strings.APP.rglob("*.js"), *strings.APP.rglob("*.html")]:
		for function in ("__", "_"):
			found += [f"{path.name}: {call}" for call in strings.assembled(path.read_text(), function)]
	for path in strings.python_files():
		found += [f"{path.name}:{line}" for line in strings.assembled_in_python(path.read_text())]
	assert not found, listed("strings that are put together", found)


def test_stored_sentences() -> None:
	"""What a refresh may store with something filled in can be said in another language: it is in the catalogue."""
	raised = set()
	for path in set((strings.APP / "oauth").glob("*.py")) - set((strings.APP / "oauth").glob("*_checks.py")):
		raised |= {text for text, _line in strings.of_python(path.read_text()) if "{0}" in text}
	known = {text for entry in CATALOGUE.values() for text in (entry.sentence, entry.action)}
	# An error that is raised by its key gives its action the same values as its sentence.
	assert raised <= known | {text.replace("{1}", "{0}") for text in known}


def test_the_collector_collects() -> None:
	"""It finds what is said in Python, JavaScript, Jinja, DocTypes, hooks and errors, and sees what is assembled."""
	found = strings.all_strings()
	for text in (
		"You are connected to {0} as {1}.",
		"Create credentials at the provider",
		"What this site may do",
		"Reconnect Required",
		"Leeway (seconds)",
		"My Connections",
		"{0} could not be reached.",
		"Please connect again.",
		"The provider's ID token has expired.",
		"Allow this client the refresh token grant at the provider.",
	):
		assert text in found, text
	assert strings.assembled('__("Hello " + name)', "__") and strings.assembled("__(`Hello ${name}`)", "__")
	assert not strings.assembled('__("Hello {0}", [name])', "__")
	assert strings.assembled_in_python('_(f"Hello {name}")') == [1]
	assert strings.assembled_in_python('TemporaryFailure("code", "Hello " + name)') == [1]
