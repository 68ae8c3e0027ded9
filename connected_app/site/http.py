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
	hosts = frappe.conf.get("connected_app_allowed_hosts") or ()
	host_name = frappe.conf.get("host_name") or ""
	return _http(
		bool(frappe.conf.developer_mode),
		frozenset([hosts] if isinstance(hosts, str) else hosts),
		str(frappe.conf.get("connected_app_proxy") or ""),
		# The address is for providers that want to know whom to write to.
		f"connected_app/{__version__} {host_name and f'(+{host_name})'}".strip(),
	)


@lru_cache(maxsize=16)
def _http(allow_http_loopback: bool, allowed_hosts: frozenset[str], proxy: str, user_agent: str) -> Http:
	return Http(
		allow_http_loopback=allow_http_loopback,
		allowed_hosts=allowed_hosts,
		proxy=proxy,
		user_agent=user_agent,
	)
