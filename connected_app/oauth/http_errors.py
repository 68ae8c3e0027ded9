"""What went wrong with a request, as an error of ours."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator

import requests

from . import catalogue
from .errors import OAuthError
from .policy import AddressRefused
from .redact import printable

_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")
# What OpenSSL calls the alerts about client certificates (RFC 8446 6.2).
_OF_CERTIFICATES = re.compile(r"ALERT_(\w*CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED|DECRYPT_ERROR)")


def error_of(
	exc: BaseException, host: str, *, proxy: str, cut: bool, ca_bundle: str, presented: bool
) -> OAuthError:
	"""The error for what a library raised while a request was sent.

	:param host: that the request was for
	:param proxy: the host of the proxy, where one was used
	:param cut: whether the time was up
	:param ca_bundle: the file or folder that certificates were checked against; empty for that of certifi
	:param presented: whether this client has presented a certificate
	"""
	chain = list(_chain(exc))
	if any(isinstance(link, AddressRefused) for link in chain):
		return address_refused(host)
	if ca_bundle and not _is_usable_bundle(ca_bundle):
		return catalogue.error("ca_bundle_unusable", ca_bundle)
	if cut or isinstance(exc, requests.Timeout):
		return catalogue.error("timeout", host)
	if isinstance(exc, requests.exceptions.ProxyError | requests.exceptions.InvalidProxyURL):
		return _proxy_error(chain, host, proxy)
	if isinstance(exc, requests.exceptions.InvalidURL | UnicodeError):
		return catalogue.error("uri_invalid")
	tls = next((link for link in chain if isinstance(link, ssl.SSLError)), None)
	if tls or isinstance(exc, requests.exceptions.SSLError):
		return _tls_error(tls, host, presented)
	return catalogue.error("network", host)


def _chain(error: BaseException) -> Iterator[BaseException]:
	"""`error`, and the errors behind it."""
	link: BaseException | None = error
	for _ in range(10):
		if link is None:
			return
		yield link
		# urllib3's `reason` is an exception, that of an SSLError a text; requests hands it on as the argument.
		inner = [getattr(link, "reason", None), *link.args]
		reason = next((each for each in inner if isinstance(each, BaseException)), None)
		link = link.__cause__ or link.__context__ or reason


def address_refused(host: str) -> OAuthError:
	return catalogue.error("address_refused", host)


def _is_usable_bundle(path: str) -> bool:
	"""Whether `path` is a folder, or a file with a certificate in it."""
	try:
		return os.path.isdir(path) or bool(ssl.create_default_context(cafile=path))
	except OSError:
		return False


def _proxy_error(chain: list[BaseException], host: str, proxy: str) -> OAuthError:
	# The status is in the text only: `Tunnel connection failed: 403 Forbidden`.
	status = next((found[1] for link in chain if (found := _TUNNEL.search(str(link)))), "")
	if status and status[0] == "4":
		return catalogue.error("proxy_refused", host, status)
	if status:
		return catalogue.error("network", host)
	return catalogue.error("proxy_unreachable", proxy)


def _tls_error(error: ssl.SSLError | None, host: str, presented: bool) -> OAuthError:
	"""Why no secure connection was established: certificates are only one of the causes.

	:param presented: whether this client has presented a certificate, which the server may not like
	"""
	if isinstance(error, ssl.SSLCertVerificationError) or error is None:
		why = printable(getattr(error, "verify_message", "") or "")
		return catalogue.error("certificate_invalid/why" if why else "certificate_invalid", host, why)
	reason = error.reason or ""
	if presented and _OF_CERTIFICATES.search(reason):
		return catalogue.error("client_certificate_refused", host, printable(reason))
	if "CERTIFICATE_REQUIRED" in reason or "ALERT_BAD_CERTIFICATE" in reason:
		return catalogue.error("client_certificate_required", host)
	if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError) or "EOF" in reason:
		return catalogue.error("tls_interrupted", host)
	return catalogue.error("tls_unsupported", host, printable(reason))
