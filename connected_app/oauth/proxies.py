"""The egress proxy: an HTTP proxy through which https addresses are reached by CONNECT (RFC 9110 9.3.6)."""

from __future__ import annotations

import os
from urllib.parse import urlsplit
from urllib.request import getproxies, getproxies_environment

from requests.utils import get_environ_proxies, select_proxy, should_bypass_proxies

from . import catalogue
from .paths import split
from .policy import is_host, is_loopback
from .redact import Secret

# Instead of an address: the proxy that the environment names.
ENVIRONMENT = "environment"


def address_for(url: str, proxy: Secret) -> str:
	"""The address of the proxy through which `url` is reached; empty for none, as for loopback.

	:param proxy: the address of the proxy, or `ENVIRONMENT`; empty for none
	:raises TemporaryFailure: `proxy_unreachable`, for what is no address of an HTTP proxy
	"""
	parts = split(url)
	if not proxy or parts.scheme != "https" or is_loopback(parts.hostname or ""):
		return ""
	if proxy == ENVIRONMENT:
		proxy = Secret(select_proxy(url, get_environ_proxies(url)) or "")
	elif should_bypass_proxies(url, no_proxy=None):
		return ""
	return _checked(proxy) if proxy else ""


def _checked(proxy: Secret) -> Secret:
	"""`proxy` with a scheme.

	:raises TemporaryFailure: `proxy_unreachable`
	"""
	if "://" not in proxy:
		proxy = Secret("http://" + proxy.removeprefix("//"))
	host = host_of(proxy)
	if not host or not proxy.isprintable() or "\\" in proxy or proxy.startswith(" "):
		raise catalogue.error("proxy_unreachable", host or "connected_app_proxy")
	return proxy


def host_of(proxy: str) -> str:
	"""The host of an HTTP proxy; empty if there is none. In a frame of its own, which is in no traceback of an error: the
	rest of the address may be a password."""
	try:
		parts = urlsplit(proxy)
		host = parts.hostname or ""
		is_address = parts.scheme in ("http", "https") and parts.port != 0
	except ValueError:
		return ""
	return host if is_address and is_host(host) and not host.startswith(".") and ".." not in host else ""


def names_proxies() -> bool:
	"""Whether the environment may name proxies, or hosts that need none. On macOS and Windows, the system may."""
	return getproxies is not getproxies_environment or any(
		name.lower().endswith("_proxy") for name in os.environ
	)
