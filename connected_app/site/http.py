"""This site's outbound policy."""

from __future__ import annotations

from functools import lru_cache

import frappe

from connected_app import __version__
from connected_app.oauth.net import Http


def http() -> Http:
	"""The process's HTTP client for this site. From the site's configuration:

	- `connected_app_allowed_hosts`: internal hosts that may be called
	- `connected_app_proxy`: the address of an egress proxy, or "environment" for that of `HTTPS_PROXY`
	- `developer_mode`: plain http to loopback
	"""
	get = frappe.local.conf.get
	hosts = get("connected_app_allowed_hosts") or ()
	return _http(
		bool(get("developer_mode")),
		(hosts,) if isinstance(hosts, str) else tuple(hosts),
		str(get("connected_app_proxy") or ""),
		str(get("host_name") or ""),
	)


@lru_cache(maxsize=16)
def _http(allow_http_loopback: bool, allowed_hosts: tuple[str, ...], proxy: str, host_name: str) -> Http:
	return Http(
		allow_http_loopback=allow_http_loopback,
		allowed_hosts=allowed_hosts,
		proxy=proxy,
		# With the site's address: some providers require a contact.
		user_agent=f"connected_app/{__version__} {host_name and f'(+{host_name})'}".strip(),
	)
