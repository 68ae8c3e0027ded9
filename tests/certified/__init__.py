"""The certified provider `oidc-provider` in a process of its own, and a browser for its pages.

Its modules come from ``npm install --no-package-lock`` in this directory; `AVAILABLE` tells whether they are
there. Node 22 is what the library supports; on Node 20 it works and warns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests

from .. import node

HERE = Path(__file__).resolve().parent
AVAILABLE = node.is_available(HERE, "oidc-provider")


class Provider:
	"""One running provider with one client."""

	def __init__(self, issuer: str, port: int, pid: int, authority: str = "") -> None:
		self.issuer, self.port, self.pid, self.authority = issuer, port, pid, authority
		self.discovery_url = issuer + "/.well-known/openid-configuration"

	def consent(self, url: str, login: str = "alice", allow: bool = True) -> str:
		"""Log in and consent as a new browser would; return the URL it is sent to, away from the provider.

		An error that the provider shows to the person raises `requests.HTTPError`.
		"""
		return self._consent(url, login, allow)[0]

	def posting(self, url: str, login: str = "alice") -> tuple[str, dict[str, str]]:
		"""The same where the provider has the browser post its answer: the form's address, and its fields."""
		address, page = self._consent(url, login, True)
		return address, dict(re.findall(r'name="([^"]+)" value="([^"]*)"', page))

	def _consent(self, url: str, login: str, allow: bool) -> tuple[str, str]:
		with requests.Session() as browser:
			browser.trust_env = False
			browser.verify = self.authority or True
			answer = browser.get(url, allow_redirects=False, timeout=30)
			# Two redirects and a page for the login, as many for the consent.
			for _step in range(12):
				answer.raise_for_status()
				if answer.is_redirect:
					target = urljoin(answer.url, answer.headers["Location"])
					if not target.startswith(self.issuer + "/"):
						return target, ""
					answer = browser.get(target, allow_redirects=False, timeout=30)
					continue
				elsewhere = re.search(r'<form method="post" action="([^"]+)"', answer.text)
				if elsewhere and not urljoin(answer.url, elsewhere[1]).startswith(self.issuer + "/"):
					return elsewhere[1], answer.text
				prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)
				if not prompt:
					raise AssertionError(f"Neither a redirect nor a prompt at {answer.url}")
				if prompt[1] == "consent" and not allow:
					answer = browser.get(answer.url + "/abort", allow_redirects=False, timeout=30)
					continue
				form = {"prompt": prompt[1]}
				if prompt[1] == "login":
					form.update(login=login, password="x")
				answer = browser.post(answer.url, data=form, allow_redirects=False, timeout=30)
		raise AssertionError("The provider keeps asking")

	def enter(self, link: str, login: str = "alice", allow: bool = True) -> None:
		"""Open the address with a device's code in it, log in, and answer, as a new browser would."""
		with requests.Session() as browser:
			browser.trust_env = False
			answer = browser.get(link, timeout=30)
			for _step in range(12):
				answer.raise_for_status()
				if "Sign-in Success" in answer.text:
					return
				fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', answer.text))
				if "user_code" in fields and not allow:
					browser.post(answer.url, data={**fields, "abort": "yes"}, timeout=30)
					return
				if fields.get("prompt") == "login":
					fields.update(login=login, password="x")
				answer = browser.post(answer.url, data=fields, timeout=30)
		raise AssertionError("The provider keeps asking")


@contextmanager
def start(
	client_id: str = "client",
	client_secret: str = "",
	redirect_uri: str = "http://127.0.0.1/callback",
	*,
	client_authentication: str = "",
	expires_in: int = 3600,
	port: int = 0,
	client: dict[str, Any] | None = None,
	features: dict[str, Any] | None = None,
	tls: dict[str, Any] | None = None,
) -> Iterator[Provider]:
	"""Run the provider as long as the `with` block lasts. No secret: a public client.

	:param client: more of the client's metadata
	:param features: more of the provider's features
	:param tls: as server.mjs has it; by default it speaks http
	"""
	settings = {
		"PORT": str(port),
		"CLIENT_ID": client_id,
		"CLIENT_SECRET": client_secret,
		"CLIENT_AUTHENTICATION": client_authentication,
		"REDIRECT_URI": redirect_uri,
		"EXPIRES_IN": str(expires_in),
		"CLIENT": json.dumps(client or {}),
		"FEATURES": json.dumps(features or {}),
		"TLS": json.dumps(tls) if tls else "",
	}
	with node.running(HERE, **settings) as said:
		yield Provider(**said, authority=(tls or {}).get("authority", ""))
