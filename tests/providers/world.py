"""The provider templates against the world: `python -m tests.providers.world [KEY …]`.

It has no credentials and no account: it compares addresses with what discovery documents say, and sends each token
endpoint an empty request, to which one answers with an error of its own. Not part of the tests: what others change
breaks no build here. Exit code 1: something differs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from connected_app.oauth import Http, OAuthError, discovery
from connected_app.oauth.net import Transport
from connected_app.oauth.templates import Template, load

PROVIDERS = Path(__file__).resolve().parents[2] / "connected_app" / "providers"
AT_ONCE = 8
# Of a template, and of a provider's metadata.
COMPARED = {
	"authorize": "authorization_endpoint",
	"token": "token_endpoint",
	"jwks": "jwks_uri",
	"revoke.url": "revocation_endpoint",
	"device": "device_authorization_endpoint",
}
# What an endpoint that is there says to a request without anything in it; some say it with 200.
REFUSALS = (200, 400, 401, 403, 411, 415, 422, 429)


def inputs_of(template: Template) -> dict[str, str] | None:
	"""What the addresses can be made of without an account somewhere; None where there is no such thing."""
	given = {each.name: each.default or next(iter(each.choices), "") for each in template.inputs}
	return given if all(given.values()) else None


def differences(template: Template, inputs: dict[str, str], http: Transport) -> Iterator[str]:
	"""Where the provider says otherwise than the template."""
	if address := template.address("discovery", inputs):
		try:
			document = discovery.fetch(address, http, any_issuer=True).document
		except OAuthError as error:
			yield f"discovery at {address}: {error.code}"
			document = {}
		for path, name in COMPARED.items():
			ours, theirs = template.address(path, inputs), document.get(name)
			if ours and theirs and ours != theirs:
				yield f"{path} is {ours} here, {theirs} there"
	if (address := template.address("token", inputs)) and "{" not in address:
		try:
			reply = http.post(address, {})
		except OAuthError as error:
			yield f"token at {address}: {error.code}"
		else:
			if reply.status not in REFUSALS:
				yield f"token at {address} answers {reply.status}"


def main(keys: list[str]) -> int:
	http, templates = Http(), load([PROVIDERS])
	wanted = [each for key, each in templates.items() if each.is_offered and (not keys or key in keys)]
	asked = {
		each.key: inputs
		for each in wanted
		if not each["unsupported"] and (inputs := inputs_of(each)) is not None
	}

	def found(key: str) -> list[str]:
		return list(differences(templates[key], asked[key], http))

	differ = 0
	with ThreadPoolExecutor(AT_ONCE) as pool:
		for key, lines in zip(asked, pool.map(found, asked), strict=True):
			differ += bool(lines)
			for line in lines:
				print(f"{key}: {line}", flush=True)
	print(f"{len(asked)} providers asked, {differ} differ; {len(wanted) - len(asked)} cannot be asked")
	return 1 if differ else 0


if __name__ == "__main__":
	sys.exit(main(sys.argv[1:]))
