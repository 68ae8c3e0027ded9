"""A mail server that takes XOAUTH2 and OAUTHBEARER only: SMTP by aiosmtpd, IMAP by pymap, mailboxes in memory.

	python -m tests.mail_server ISSUER

Prints `{"smtp": PORT, "imap": PORT, "imaps": PORT, "certificate": PEM}` and runs until it is stopped. Whether a token is good it asks the
provider at ISSUER (RFC 7662): one of a user opens that user's mailbox, one of the client itself opens any.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import ssl
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import requests
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

try:
	from aiosmtpd.smtp import SMTP, AuthResult
	from proxyprotocol.reader import ProxyProtocolReader
	from pymap.backend.dict import Config, Identity, Login
	from pymap.exceptions import InvalidAuth
	from pymap.imap import IMAPServer
	from pymap.parsing.message import AppendMessage
	from pymap.user import UserMetadata
	from pysasl import SASLAuth
	from pysasl.creds.external import ExternalCredentials, ExternalVerificationRequired
	from pysasl.exception import InvalidResponse
	from pysasl.mechanism import ChallengeResponse, ServerChallenge, ServerMechanism
	from pysasl.mechanism.oauth import OAuth2Mechanism
except ImportError as error:
	print(json.dumps({"missing": str(error)}), flush=True)
	sys.exit(0)

XOAUTH2 = re.compile(rb"^user=(.*?)\x01auth=Bearer (.*?)\x01\x01$")
# RFC 7628 3.1, RFC 5801 4.
OAUTHBEARER = re.compile(
	rb"^n,a=([^,]*),\x01(?:host=[^\x01]+\x01)?(?:port=[0-9]+\x01)?auth=Bearer ([^\x01]*)\x01\x01$"
)


def read_bearer(message: bytes) -> tuple[str, str] | None:
	"""User and token of what a client sends first."""
	found = OAUTHBEARER.match(message)
	return (
		(found[1].replace(b"=2C", b",").replace(b"=3D", b"=").decode(), found[2].decode()) if found else None
	)


class BearerMechanism(ServerMechanism):
	"""OAUTHBEARER, which pysasl does not have."""

	def server_attempt(self, responses: Sequence[ChallengeResponse]) -> tuple[ExternalCredentials, None]:
		if not responses:
			raise ServerChallenge(b"")
		found = read_bearer(responses[0].response)
		if not found:
			raise InvalidResponse()
		return ExternalCredentials(*found), None


class Provider:
	def __init__(self, issuer: str) -> None:
		self.issuer = issuer

	async def accepts(self, address: str, token: str) -> bool:
		answer = await asyncio.to_thread(
			requests.post,
			f"{self.issuer}/introspect",
			data={"token": token},
			auth=("demo", "demo-secret"),
			timeout=30,
		)
		told = answer.json()
		return told.get("active") is True and told.get("username") in ("", address)


class Mailboxes(Login):
	"""pymap's in-memory backend, with the provider in the place of its passwords."""

	def __init__(self, config: Config, provider: Provider) -> None:
		super().__init__(config)
		self.provider = provider

	async def authenticate(self, credentials: Any) -> Identity:
		try:
			credentials.verify(None)
		except ExternalVerificationRequired as wanted:
			if not await self.provider.accepts(credentials.authzid, wanted.token):
				raise InvalidAuth() from wanted
		return await self.identity(credentials.authzid)

	async def identity(self, address: str) -> Identity:
		self.users_dict.setdefault(address, UserMetadata(self.config, address))
		return Identity(address, self, None, frozenset())


class OAuthOnly(Config):
	@property
	def tls_auth(self) -> SASLAuth:
		return SASLAuth([OAuth2Mechanism(), BearerMechanism(b"OAUTHBEARER")])


class Delivery:
	"""aiosmtpd's handler: what is sent lands in the recipients' mailboxes."""

	def __init__(self, mailboxes: Mailboxes, provider: Provider) -> None:
		self.mailboxes, self.provider = mailboxes, provider

	async def auth_XOAUTH2(self, server: SMTP, args: list[str]) -> AuthResult:
		found = XOAUTH2.match(await server.challenge_auth(""))
		if found and await self.provider.accepts(found[1].decode(), found[2].decode()):
			return AuthResult(success=True, auth_data=found[1].decode())
		# As Gmail does: the reason comes as a challenge, to be answered before the refusal.
		await server.challenge_auth('{"status":"401","schemes":"Bearer"}')
		return AuthResult(success=False, handled=False)

	async def auth_OAUTHBEARER(self, server: SMTP, args: list[str]) -> AuthResult:
		found = read_bearer(await server.challenge_auth(""))
		if found and await self.provider.accepts(*found):
			return AuthResult(success=True, auth_data=found[0])
		# RFC 7628 3.2.2, 3.2.3
		answer = await server.challenge_auth('{"status":"invalid_token","scope":"mail"}')
		return AuthResult(
			success=False, handled=False, message=None if answer == b"\x01" else "501 5.5.2 Not %x01"
		)

	async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
		for address in envelope.rcpt_tos:
			identity = await self.mailboxes.identity(address)
			async with identity.new_session() as mailbox:
				message = AppendMessage(envelope.original_content, datetime.now(timezone.utc), frozenset())
				await mailbox.append_messages("INBOX", [message])
		return "250 OK"


def self_signed() -> tuple[ssl.SSLContext, str]:
	"""smtplib authenticates only after EHLO, which Frappe sends only for STARTTLS.

	:returns: also the certificate, to be trusted
	"""
	key = ec.generate_private_key(ec.SECP256R1())
	name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
	now = datetime.now(timezone.utc)
	builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
	builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
	certificate = builder.add_extension(
		x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False
	).sign(key, SHA256())
	pem = certificate.public_bytes(Encoding.PEM)
	secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
	context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
	with tempfile.NamedTemporaryFile() as file:
		file.write(secret + pem)
		file.flush()
		context.load_cert_chain(file.name)
	return context, pem.decode()


async def serve(issuer: str) -> None:
	provider = Provider(issuer)
	config = OAuthOnly(
		Namespace(passlib_cfg=None, proxy_protocol=None),
		host="127.0.0.1",
		port=0,
		demo_data=False,
		demo_user="",
		demo_password="",
		tls_enabled=False,
	)
	config.apply_context()
	mailboxes = Mailboxes(config, provider)
	connected = ProxyProtocolReader(config.proxy_protocol).get_callback(IMAPServer(mailboxes, config))
	loop, (tls, certificate) = asyncio.get_running_loop(), self_signed()
	delivery = Delivery(mailboxes, provider)
	servers = {
		"imap": await asyncio.start_server(connected, "127.0.0.1", 0),
		"imaps": await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls),
		"smtp": await loop.create_server(
			lambda: SMTP(
				delivery,
				auth_required=True,
				auth_exclude_mechanism=["LOGIN", "PLAIN"],
				tls_context=tls,
				loop=loop,
			),
			"127.0.0.1",
			0,
		),
	}
	ports = {name: server.sockets[0].getsockname()[1] for name, server in servers.items()}
	print(json.dumps({**ports, "certificate": certificate}), flush=True)
	await asyncio.Event().wait()


if __name__ == "__main__":
	logging.getLogger("mail.log").setLevel(logging.ERROR)
	asyncio.run(serve(sys.argv[1]))
