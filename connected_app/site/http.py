"""This site's outbound policy."""

from __future__ import annotations

from functools import lru_cache

import frappe

from connected_app.oauth.net import Http


def http() -> Http:
	"""The process's HTTP client for this site: http to loopback in developer mode; internal hosts that the site's
	configuration lists as `connected_app_allowed_hosts`."""
	hosts = frappe.conf.get("connected_app_allowed_hosts") or ()
	return _http(bool(frappe.conf.developer_mode), frozenset([hosts] if isinstance(hosts, str) else hosts))


@lru_cache(maxsize=16)
def _http(allow_http_loopback: bool, allowed_hosts: frozenset[str]) -> Http:
	return Http(allow_http_loopback=allow_http_loopback, allowed_hosts=allowed_hosts)
