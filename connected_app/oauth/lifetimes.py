"""When tokens expire, in the forms that providers use: seconds, texts, milliseconds, dates, or nothing."""

from __future__ import annotations

import email.utils
import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

LONGEST_LIFE = 10 * 366 * 24 * 3600
DAY = 24 * 3600
# Names, ignoring case and separators: for the lifetime of the refresh token (Keycloak, QuickBooks, and many others), and
# other names for the expiry of the access token (the older Entra, Facebook), or for its remaining life.
_ENDS = ("expiresin", "expiresat", "expireson", "expirein", "expiry", "expiration", "expires")
REFRESH = (
	*(before + name for before in ("refreshtoken", "refresh") for name in _ENDS),
	"xrefreshtokenexpiresin",
	"rtexpiresin",
)
ACCESS = (
	*(before + name for before in ("", "accesstoken") for name in _ENDS),
	"expiresinsec",
	"expiresinseconds",
	"expirestime",
	"exp",
)
NOTHING = frozenset({"null", "none", "nil", "undefined"})
# Between 2001 and 2286, an instant has ten digits in seconds and thirteen in milliseconds.
_EPOCH, _EPOCH_MILLISECONDS = range(10**9, 10**10), range(10**12, 10**13)
_EPOCH_YEAR = 2001
_FRACTION = re.compile(r"\.[0-9]+")
# Protocol Buffers write a duration as "3600s".
_SECONDS = re.compile(r"\s*([0-9.]+) ?(?:s|secs?|seconds?)\s*", re.IGNORECASE)
_ZONE = re.compile(r"([+-][0-9]{2})([0-9]{2})$")


def access_expiry(response: Mapping[str, Any], now: datetime) -> datetime | None:
	"""The UTC instant at which the access token of a token response expires; None if the response does not say.

	`expires_in` counts first (RFC 6749 5.1), then `expires_at`, then `ACCESS`. Under the names in
	`ACCESS`, a time in the past is the end of something else: the token is new.
	"""
	for name, read in (("expires_in", after), ("expires_at", instant)):
		value = response.get(name)
		found = read(value, now) if is_said(value) else None
		if found or number(value) is not None:
			return found
	instants = (after(value, now) for value in _said(response, ACCESS))
	return next((found for found in instants if found and found > now), None)


def refresh_expiry(response: Mapping[str, Any], now: datetime) -> datetime | None:
	"""The UTC instant at which the refresh token expires; None if the response does not say. Keycloak's 0 means "never"."""
	for value in _said(response, REFRESH):
		if number(value) is None or (number(value) or 0) > 0:
			return after(value, now)
	return None


def _said(response: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[Any]:
	"""The values of `names`, which are in lower case and without separators."""
	given = {
		"".join(each for each in name.casefold() if each.isalnum()): value
		for name, value in response.items()
		if is_said(value)
	}
	return (given[name] for name in names if name in given)


def is_said(value: object) -> bool:
	"""Whether there is a value: null and "" count as omitted, and so does "null" as a text, which some servers make of it."""
	return value not in (None, "") and not (isinstance(value, str) and value.strip().casefold() in NOTHING)


def number(value: object) -> float | None:
	"""A number, which may be infinite, or a text that is one."""
	if isinstance(value, bool) or not isinstance(value, int | float | str):
		return None
	if isinstance(value, str) and (said := _SECONDS.fullmatch(value)):
		value = said[1]
	try:
		found = float(value)
	except (ValueError, OverflowError):
		return None
	return None if math.isnan(found) else found


def after(value: object, now: datetime) -> datetime | None:
	"""`now` plus `value` in seconds. None if it is 0, which means "never", or unusable."""
	seconds = number(value)
	if seconds is None:
		return instant(value, now)
	# A negative life means that the token has expired, not that it never does.
	if seconds < 0:
		return now
	for unit in (1, 1000):
		if abs(seconds / unit - now.timestamp()) <= LONGEST_LIFE:
			return instant(seconds, now)
	if _are_milliseconds(seconds):
		seconds = math.ceil(seconds / 1000)
	if 0 < seconds <= LONGEST_LIFE:
		return now + timedelta(seconds=seconds)
	return None


def instant(value: object, now: datetime) -> datetime | None:
	"""The instant given by an epoch, an ISO 8601 date or an HTTP date. A date without a zone is UTC."""
	seconds = number(value)
	if seconds is not None and math.isinf(seconds):
		return None
	if seconds is not None and int(seconds) in _EPOCH_MILLISECONDS:
		seconds /= 1000
	try:
		if seconds is not None:
			found = datetime.fromtimestamp(seconds, timezone.utc) if int(seconds) in _EPOCH else None
		else:
			found = date(value) if isinstance(value, str) else None
	except (ValueError, OverflowError):
		return None
	# There was no OAuth before; it is a language's word for "no date", such as the year 1.
	if found is None or found.year < _EPOCH_YEAR or found > now + timedelta(seconds=LONGEST_LIFE):
		return None
	return max(found.astimezone(timezone.utc), now)


def date(text: str) -> datetime | None:
	"""What an ISO 8601 date or a date of HTTP says. One without a zone is UTC."""
	text = text.strip()
	try:
		found = _parsed(text) if len(text) <= 40 else None
	except (ValueError, OverflowError):
		return None
	return found.replace(tzinfo=timezone.utc) if found and not found.tzinfo else found


def _parsed(text: str) -> datetime:
	"""
	:raises ValueError: if it is no date
	"""
	try:
		# Python 3.10 reads neither Z, nor a zone without a colon, nor a fraction unless it has three or six digits.
		iso = text.removesuffix("UTC").rstrip().replace("Z", "+00:00")
		return datetime.fromisoformat(_ZONE.sub(r"\1:\2", _FRACTION.sub("", iso)))
	except ValueError:
		try:
			return email.utils.parsedate_to_datetime(text)
		except TypeError:
			raise ValueError from None


def _are_milliseconds(value: float) -> bool:
	"""Whether a life is given in milliseconds: a thousandth of it is a whole number of minutes, while in seconds it would be
	weeks plus part of a day, or more than a year and no whole number of days."""
	if value < 1000 * 3600 or math.isinf(value) or value != int(value):
		return False
	days = value / DAY
	if (
		value <= LONGEST_LIFE
		and days == int(days)
		and (days <= 366 or any(days % unit == 0 for unit in (7, 30, 365)))
	):
		return False
	return any((value + rest) % 60_000 == 0 for rest in (0, 1))
