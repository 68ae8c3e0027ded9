"""Provider templates: every file is well-formed, and a malformed one is refused with a message."""

from __future__ import annotations

import ast
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from connected_app.oauth import ConfigurationError
from connected_app.oauth.template_schema import ADDRESSES, DEFAULTS, check
from connected_app.oauth.templates import Template, load

PROVIDERS = Path(__file__).resolve().parents[1] / "connected_app" / "providers"
GOOD = 'name = "Acme"\ncategory = "crm"\nauthorize = "https://acme.example/a"\ntoken = "https://acme.example/t"\n'


def loaded(folder: Path, **files: str) -> dict[str, Template]:
	for name, text in files.items():
		(folder / f"{name.replace('_', '-')}.toml").write_text(text)
	return load([folder])


def test_every_file_is_well_formed() -> None:
	began = time.process_time()
	templates = load([PROVIDERS])
	assert time.process_time() - began < 2
	for template in templates.values():
		assert template.key and template.name


def test_no_value_says_the_default() -> None:
	idle = [
		f"{template.key}: {path}"
		for template in load([PROVIDERS]).values()
		if "like" not in template.values
		for path, default in DEFAULTS.items()
		if said(template, path) == default
	]
	assert not idle, idle


def said(template: Template, path: str) -> Any:
	table, _dot, key = path.rpartition(".")
	return (template.values.get(table, {}) if table else template.values).get(key, ...)


@pytest.mark.parametrize(
	("more", "words"),
	[
		("colour = 1", "colour is not known"),
		("[revoke]\nverb = 'GET'", "revoke.verb is not known"),
		("[ask.shop]\nlabel = 'Shop'\nhint = 'x'", "ask.shop.hint is not known"),
		("[ask.shop]\nexample = 'x'", "ask.shop needs a label"),
		("[ask.shop]\nlabel = 'Shop'\npattern = '('", "not a regular expression"),
		("jwks = 'http://acme.example/keys'", "jwks must be an https address"),
		("jwks = 'https://user@acme.example/keys'", "jwks must be an https address"),
		("refresh = '/refresh'", "refresh must be an https address"),
		("refresh = 'https://{shop}.example/r'", "{shop}"),
		("[account]\nurl = 'https://acme.example/{who}'", "{who}"),
		("pkce = 'no'", "pkce must be true or false"),
		("pkce = 0", "pkce must be true or false"),
		("scopes = 'read write'", "scopes must be a list"),
		("scopes = []", "scopes must be a list"),
		("leeway = -1", "leeway must be a whole number"),
		("leeway = true", "leeway must be a whole number"),
		("body = 'xml'", "body must be one of"),
		("client_authentication = 'basic'", "client_authentication must be one of"),
		("[keep]\nshop = 'header:x'", "shop must be callback"),
		("[keep]\nshop = 'callback:'", "shop must be callback"),
		("[checked]\non = '2026-11-28'", "checked.on must be a date"),
		("like = 'nobody'", "leads to no template"),
		("like = 'acme'", "leads to no template"),
		("answer = 1", "answer must be a table"),
		("ask = 1", "ask must be a table"),
		("keep = 1", "keep must be a table"),
		("jwks = 1", "jwks must be an address"),
		("name = 'twice'", "Cannot overwrite"),
		("= 1", "Invalid"),
	],
)
def test_bad_files(more: str, words: str, tmp_path: Path) -> None:
	with pytest.raises(ConfigurationError) as caught:
		loaded(tmp_path, acme=GOOD + more)
	assert caught.value.code == "template_invalid"
	assert words in caught.value.message and "acme" in caught.value.message


@pytest.mark.parametrize(
	("text", "words"),
	[
		('name = "Acme"', "category are needed"),
		('name = "Acme"\ncategory = "crm"', "token or discovery is needed"),
		('category = "crm"\ntoken = "https://acme.example/t"', "name and category"),
	],
)
def test_incomplete_files(text: str, words: str, tmp_path: Path) -> None:
	with pytest.raises(ConfigurationError) as caught:
		loaded(tmp_path, acme=text)
	assert words in caught.value.message


@pytest.mark.parametrize("name", ["Acme", "a_b", "a--b", "-a", "a b"])
def test_file_names(name: str, tmp_path: Path) -> None:
	(tmp_path / f"{name}.toml").write_text(GOOD)
	with pytest.raises(ConfigurationError):
		load([tmp_path])


def test_unsupported_needs_no_address(tmp_path: Path) -> None:
	text = 'name = "Acme"\ncategory = "crm"\nunsupported = "Every request has to be signed."'
	assert loaded(tmp_path, acme=text)["acme"]["unsupported"]


def test_like(tmp_path: Path) -> None:
	"""Tables are merged key by key, other values are replaced; what is about the other one itself stays there."""
	family = (
		GOOD
		+ "hidden = true\nscopes = ['a', 'b']\nparameters = { access_type = 'offline', prompt = 'consent' }\n"
	)
	templates = loaded(
		tmp_path,
		family=family,
		member="like = 'family'\nname = 'Acme Mail'\nscopes = ['c']\nparameters = { prompt = 'login' }",
		member_of_member="like = 'member'\nname = 'Acme Mail Plus'",
	)
	member = templates["member-of-member"]
	assert member.is_offered and not templates["family"].is_offered
	assert (member.name, member["scopes"], member["token"]) == (
		"Acme Mail Plus",
		["c"],
		"https://acme.example/t",
	)
	assert member["parameters"] == {"access_type": "offline", "prompt": "login"}
	assert templates["family"]["parameters"]["prompt"] == "consent"


def test_a_circle(tmp_path: Path) -> None:
	with pytest.raises(ConfigurationError):
		loaded(tmp_path, a="like = 'b'", b="like = 'a'")


def test_a_later_folder_wins(tmp_path: Path) -> None:
	for name in ("one", "two"):
		(tmp_path / name).mkdir()
		(tmp_path / name / "acme.toml").write_text(GOOD.replace("Acme", name))
	assert load([tmp_path / "one", tmp_path / "two"])["acme"].name == "two"


SHOP = GOOD.replace("https://acme.example/t", "https://{shop}.acme.example/t/{tenant}?x={tenant}") + (
	"[ask.shop]\nlabel = 'Shop'\nexample = 'my-shop'\n[ask.tenant]\nlabel = 'Tenant'\ndefault = 'common'\n"
)
HOST = (
	GOOD.replace("https://acme.example/t", "https://{host}/t")
	+ "[ask.host]\nlabel = 'Server'\nexample = 'a.example'"
)


def test_inputs(tmp_path: Path) -> None:
	acme = loaded(tmp_path, acme=SHOP)["acme"]
	inputs = acme.checked({"shop": " my-shop "})
	assert inputs == {"shop": "my-shop", "tenant": "common"}
	assert acme.address("token", inputs) == "https://my-shop.acme.example/t/common?x=common"
	assert acme.address("revoke.url", inputs) == ""
	inputs = acme.checked({"shop": "a", "tenant": "Größe/../x?y#z%2f&a=b@c"})
	encoded = "Gr%C3%B6%C3%9Fe%2F..%2Fx%3Fy%23z%252f%26a%3Db%40c"
	assert acme.address("token", inputs) == f"https://a.acme.example/t/{encoded}?x={encoded}"


@pytest.mark.parametrize(
	"value",
	[
		"evil.example/", "evil.example#", "evil.example?", "a@evil", "a:b", "a:443", "a\\b", "a b", "a..b", ".a", "a.",
		"-a", "a-", "ä", "a\n", "a\x00", "%2e", "//evil", "[::1]", "a%2f", "a;b", "a\u200bb", "a\uff0eb",
	],
)  # fmt: skip
def test_an_input_stays_within_its_host(value: str, tmp_path: Path) -> None:
	acme = loaded(tmp_path, acme=SHOP)["acme"]
	if value.strip() == "a":
		return
	with pytest.raises(ConfigurationError) as caught:
		acme.checked({"shop": value})
	assert caught.value.code == "provider_input_invalid" and "Shop" in caught.value.message


@pytest.mark.parametrize(
	"value",
	[
		"a@evil.example",
		"evil.example/x",
		"evil.example?",
		"a.example:99999999",
		"a.example:x",
		"[::1]",
		"a..b",
	],
)
def test_a_whole_host(value: str, tmp_path: Path) -> None:
	acme = loaded(tmp_path, acme=HOST)["acme"]
	for good in ("a.example", "10.0.0.1", "a.example:8443", "A.Example"):
		assert acme.address("token", acme.checked({"host": good})) == f"https://{good}/t"
	with pytest.raises(ConfigurationError) as caught:
		acme.checked({"host": value})
	assert caught.value.code == "provider_input_invalid"


@pytest.mark.parametrize("value", [".", ".."])
def test_no_way_up_the_path(value: str, tmp_path: Path) -> None:
	acme = loaded(tmp_path, acme=SHOP)["acme"]
	with pytest.raises(ConfigurationError):
		acme.checked({"shop": "a", "tenant": value})


def test_inputs_in_scopes_and_what_only_the_provider_knows(tmp_path: Path) -> None:
	"""What is no input stays in the address until the provider has said it."""
	more = "scopes = ['{shop}:read']\nhosts = ['*.acme.example']\n[account]\nurl = 'https://{region}.acme.example/{id}/{shop}'"
	said = "\n[keep]\nregion = 'answer:region'\nid = 'answer:id'\n[ask.shop]\nlabel = 'Shop'"
	acme = loaded(tmp_path, acme=GOOD + more + said)["acme"]
	inputs = acme.checked({"shop": "my-shop"})
	assert acme.scopes(inputs) == ["my-shop:read"]
	assert acme.address("account.url", inputs) == "https://{region}.acme.example/{id}/my-shop"


def test_missing_and_chosen_inputs(tmp_path: Path) -> None:
	region = GOOD.replace("acme.example/t", "acme.{tld}/t") + (
		"[ask.tld]\nlabel = 'Region'\nchoices = { com = 'United States', 'com.au' = 'Australia' }"
	)
	acme = loaded(tmp_path, acme=region)["acme"]
	assert acme.address("token", acme.checked({"tld": "com.au"})) == "https://acme.com.au/t"
	for given, code in (({}, "provider_input_missing"), ({"tld": "example"}, "provider_input_invalid")):
		with pytest.raises(ConfigurationError) as caught:
			acme.checked(given)
		assert caught.value.code == code and "com" in caught.value.action


def test_patterns_are_of_the_whole_value(tmp_path: Path) -> None:
	acme = loaded(tmp_path, acme=SHOP.replace("example = 'my-shop'", "pattern = '[a-z]+'"))["acme"]
	for wrong in ("a1", "a\nb", "A"):
		with pytest.raises(ConfigurationError):
			acme.checked({"shop": wrong})


def test_check_is_of_one_file() -> None:
	check("acme", {"name": "Acme", "category": "crm"})
	with pytest.raises(ConfigurationError):
		check("acme", {"nom": "Acme"})


def test_no_provider_is_in_code() -> None:
	"""Facts about one provider are in its template; the defaults of `Quirks` have those that several providers share."""
	templates = load([PROVIDERS])
	addresses = [str(each[path]) for each in templates.values() for path in ADDRESSES if each[path]]
	hosts = {urlsplit(address).hostname for address in addresses if "{" not in address.split("/")[2]}
	assert len(hosts) > 200
	for path in sorted((PROVIDERS.parent / "oauth").glob("*.py")):
		constants = {
			node.value
			for node in ast.walk(ast.parse(path.read_text()))
			if isinstance(node, ast.Constant) and isinstance(node.value, str)
		}
		assert path.name == "provider.py" or not hosts & constants, path.name
