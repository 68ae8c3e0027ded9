"""Where requests may go: web addresses, and the IP addresses that their hosts resolve to."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from . import catalogue
from .errors import OAuthError
from .paths import split

# Hosts that every library reads alike: without a backslash, percent-encoding, or a zone (RFC 6874).
_HOST = re.compile(r"[A-Za-z0-9._~:\-\u00a1-\ud7ff\ue000-\U0010ffff]+")
# Not "private" to every supported Python's ipaddress, yet never a public provider.
_SPECIAL = tuple(
	ipaddress.ip_network(net)
	for net in (
		"100.64.0.0/10",
		"192.0.0.0/24",
		"192.88.99.0/24",
		"2002::/16",
	)
)
# The IPv6 addresses of the Internet; all others are reserved, local, or IPv4 addresses in disguise.
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
# IPv6-only networks reach IPv4 through it; the last 32 bits are the IPv4 address (RFC 6052 2.1).
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class AddressRefused(OSError):
	"""The host resolves to an address that the policy refuses."""


@dataclass(frozen=True, kw_only=True)
class Policy:
	"""Where requests may go.

	:param allow_http_loopback: http to 127.0.0.0/8 and ::1, and these addresses at all (development)
	:param allowed_hosts: host names and addresses that are exempt from the address rule
	"""

	allow_http_loopback: bool = False
	allowed_hosts: frozenset[str] = frozenset()

	def check_url(self, url: str) -> None:
		"""
		:raises ConfigurationError: `uri_invalid`, `uri_insecure`
		"""
		scheme, host = check_web_address(url)
		if scheme == "http" and not (self.allow_http_loopback and is_loopback(host)):
			raise catalogue.error("uri_insecure", host)

	def check_address(self, host: str, address: str) -> None:
		"""
		:raises AddressRefused: when `address`, which `host` resolved to, must not be connected to
		"""
		if host.lower() in self.allowed_hosts or address in self.allowed_hosts:
			return
		ip = ipaddress.ip_address(address.partition("%")[0])
		if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
			ip = ip.ipv4_mapped
		if ip.is_loopback and self.allow_http_loopback:
			return
		if ip in _NAT64:
			ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
		if (
			not ip.is_global
			or ip.is_multicast
			or (ip.version == 6 and ip not in _GLOBAL_UNICAST)
			or any(ip in net for net in _SPECIAL if net.version == ip.version)
		):
			raise AddressRefused(host)


def check_web_address(url: str) -> tuple[str, str]:
	"""The scheme and host of `url`.

	:raises ConfigurationError: `uri_invalid`
	"""
	parts = split(url)
	if parts.scheme not in ("http", "https") or not is_host(parts.hostname) or parts.username is not None:
		raise catalogue.error("uri_invalid")
	return parts.scheme, str(parts.hostname)


def is_host(host: str | None) -> bool:
	"""Whether `host` is a name or an IP address that every library reads alike."""
	return bool(host and _HOST.fullmatch(host))


def host_of(url: str) -> str:
	"""The host of `url`; empty for what is no web address."""
	try:
		return check_web_address(url)[1]
	except OAuthError:
		return ""


def is_loopback(host: str) -> bool:
	"""Whether `host` is `localhost` or a loopback address."""
	if host == "localhost":
		return True
	try:
		return ipaddress.ip_address(host).is_loopback
	except ValueError:
		return False
