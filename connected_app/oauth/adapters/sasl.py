"""For mail servers, by imaplib and smtplib: `imap.authenticate("XOAUTH2", login)`, `smtp.auth("XOAUTH2", login)`.

OAUTHBEARER is the standard (RFC 7628); XOAUTH2 is Google's and Microsoft's own, from before it.
"""

from __future__ import annotations

from ..grant import Grant
from ..redact import Secret
from ..token_source import TokenSource

XOAUTH2, OAUTHBEARER = "XOAUTH2", "OAUTHBEARER"


def xoauth2(user: str, token: str) -> str:
	"""The client's first message, before base64.

	:param user: the address of the mailbox
	"""
	return Secret(f"user={_checked(user)}\x01auth=Bearer {token}\x01\x01")


def oauthbearer(user: str, token: str, host: str = "", port: int = 0) -> str:
	"""As `xoauth2`, as the standard has it (RFC 7628 3.1, RFC 5801 4).

	:param host, port: of the server, as the client connects to it; not sent where they are empty
	"""
	name = _checked(user).replace("=", "=3D").replace(",", "=2C")
	fields = [
		f"host={_checked(host)}" if host else "",
		f"port={port}" if port else "",
		f"auth=Bearer {token}",
	]
	return Secret(f"n,a={name},\x01" + "".join(f"{field}\x01" for field in fields if field) + "\x01")


class Login:
	"""What imaplib and smtplib call when they authenticate. The same object can be used for each new connection.

	A server that rejects a token says why; the client answers with an empty message. Authenticate again: another token is
	sent, if there is one.

	:param source: where the token comes from
	:param user: the address of the mailbox
	:param mechanism: XOAUTH2 or OAUTHBEARER
	:param host, port: as `oauthbearer`
	:raises OAuthError: as `TokenSource.usable`, also when it is called; `dpop_needs_session` at once
	"""

	def __init__(
		self, source: TokenSource, user: str, mechanism: str = XOAUTH2, host: str = "", port: int = 0
	) -> None:
		if mechanism not in (XOAUTH2, OAUTHBEARER):
			raise ValueError(f"{mechanism} is neither {XOAUTH2} nor {OAUTHBEARER}")
		source.check_is_bearer()
		self.source = source
		self.user, self.mechanism = user, mechanism
		self.host, self.port = host, port
		self._sent: Grant | None = None
		self._replacement: Grant | None = None

	def __call__(self, challenge: bytes | None = None) -> str:
		"""
		:param challenge: empty at first; then why the server rejects the token, in JSON (RFC 7628 3.2.2)
		"""
		if challenge:
			self._refused()
			# RFC 7628 3.2.3. Google's own wants an empty one.
			return "\x01" if self.mechanism == OAUTHBEARER else ""
		self._sent = self.source.usable()
		token = self._sent.access_token
		if self.mechanism == XOAUTH2:
			return xoauth2(self.user, token)
		return oauthbearer(self.user, token, self.host, self.port)

	def _refused(self) -> None:
		if not self._sent:
			return
		if self._replacement and not self._sent.differs_from(self._replacement):
			self.source.mark_rejected(self._sent)
		self._replacement = self.source.replacement(self._sent)


def _checked(text: str) -> str:
	"""
	:raises ValueError: for a character that could begin another field
	"""
	if not text.isprintable():
		raise ValueError("a control character in an address")
	return text
