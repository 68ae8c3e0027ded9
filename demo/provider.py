"""A real OpenID provider for the demo and the tests, on Authlib's server.

It keeps everything in memory, listens on the loopback address only and knows two accounts and no passwords.
It runs in a process of its own (``python -m demo.provider``), never inside the client that is tested with it;
`start` launches one and `Provider.consent` acts as the browser on its consent page.

Its rules: exact redirect URIs and S256 (RFC 7636), `iss` in every authorization response
(RFC 9207), single-use codes (RFC 6749 4.1.2) and single-use refresh tokens whose reuse revokes all that the
consent gave (RFC 9700 4.14.2), revocation (RFC 7009), introspection (RFC 7662), assertions that are for it and new (RFC 7523 3),
and no more questions about a device code than its interval allows (RFC 8628 3.5).
Clients may register themselves: see `registration`.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import requests
from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector, current_token
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import ClientMixin, InvalidGrantError, InvalidRequestError, TokenMixin, grants
from authlib.oauth2.rfc6750 import BearerTokenGenerator, BearerTokenValidator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion, JWTBearerGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oauth2.rfc8628 import (
	DeviceAuthorizationEndpoint,
	DeviceCodeGrant,
	DeviceCredentialDict,
)
from authlib.oauth2.rfc9207 import IssuerParameter
from authlib.oidc.core import AuthorizationCodeMixin, UserInfo
from authlib.oidc.core.grants import OpenIDCode, OpenIDToken
from flask import Flask, Response, jsonify, render_template_string, request
from joserfc.jwk import KeySet, OctKey, RSAKey
from werkzeug.serving import make_server

from . import registration

HOST = "127.0.0.1"
CODE_LIFETIME = 60
DEVICE_LIFETIME = 600
# As Authlib calls them; by an assertion, it does not tell the two ways to sign apart.
AUTH_METHODS = ["client_secret_basic", "client_secret_post", "client_assertion_jwt", "none"]
ADVERTISED = ["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"]
DEFAULT_CLIENT = f"demo:demo-secret:http://{HOST}:*"
SCOPES = {
	"openid": "Know who you are",
	"profile": "See your name",
	"email": "See your email address",
	"offline_access": "Keep access while you are away",
	"read": "Read your notes",
	"write": "Change your notes",
	# As Google calls it: Set Up E-mail asks for it.
	"https://mail.google.com/": "Read and send mail",
}
SECRET_FIELDS = {
	"client_secret",
	"code",
	"code_verifier",
	"refresh_token",
	"token",
	"client_assertion",
	"device_code",
	"assertion",
	"subject_token",
}


@dataclass(frozen=True)
class User:
	id: str
	name: str
	email: str


USERS = {
	user.id: user
	for user in (User("alice", "Alice", "alice@example.com"), User("bob", "Bob", "bob@example.com"))
}


@dataclass(frozen=True)
class Options:
	static_refresh: bool = False
	always_refresh: bool = False
	expires_in: int = 3600
	token_delay: int = 0
	interval: int = 5
	untold: bool = False


@dataclass(frozen=True)
class Client(ClientMixin):
	client_id: str
	client_secret: str
	redirect_uri: str
	keys_uri: str = ""

	@classmethod
	def parse(cls, text: str) -> Client:
		client_id, secret, redirect_uri = text.split(":", 2)
		return cls(client_id, secret, redirect_uri)

	def get_client_id(self) -> str:
		return self.client_id

	def get_default_redirect_uri(self) -> str | None:
		return None if "*" in self.redirect_uri else self.redirect_uri

	def get_allowed_scope(self, scope: str | None) -> str:
		return scope or ""

	def check_redirect_uri(self, redirect_uri: str) -> bool:
		"""RFC 9700 2.1: by exact comparison, save for patterns, which stay on loopback hosts."""
		if "*" not in self.redirect_uri:
			return redirect_uri == self.redirect_uri
		try:
			parts = urlsplit(redirect_uri)
		except ValueError:
			return False
		if parts.hostname not in (HOST, "localhost") or "@" in parts.netloc or "#" in redirect_uri:
			return False
		# `?` and `[` are plain characters of a URI, and wildcards to fnmatch.
		pattern = self.redirect_uri.replace("[", "[[]").replace("?", "[?]")
		return fnmatch.fnmatchcase(redirect_uri, pattern)

	def check_client_secret(self, client_secret: str) -> bool:
		return secrets.compare_digest(self.client_secret.encode(), client_secret.encode())

	def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
		return (method == "none") == (not self.client_secret and not self.keys_uri)

	def check_response_type(self, response_type: str) -> bool:
		return response_type == "code"

	def check_grant_type(self, grant_type: str) -> bool:
		return grant_type in (
			"authorization_code",
			"refresh_token",
			"client_credentials",
			DeviceCodeGrant.GRANT_TYPE,
			JWTBearerGrant.GRANT_TYPE,
			TokenExchange.GRANT_TYPE,
		)


@dataclass
class Consent:
	"""The result of one click on Allow. All tokens from it end with it."""

	client_id: str
	user_id: str
	scope: str
	auth_time: int
	revoked: bool = False


@dataclass
class Code(AuthorizationCodeMixin):
	code: str
	consent: Consent
	redirect_uri: str | None
	nonce: str | None
	code_challenge: str | None
	code_challenge_method: str | None
	expires_at: float
	used: bool = False

	def get_redirect_uri(self) -> str | None:
		return self.redirect_uri

	def get_scope(self) -> str:
		return self.consent.scope

	def get_nonce(self) -> str | None:
		return self.nonce

	def get_auth_time(self) -> int:
		return self.consent.auth_time


@dataclass
class Token(TokenMixin):
	"""An access token or a refresh token."""

	value: str
	kind: str
	consent: Consent
	scope: str
	issued_at: int
	expires_at: float | None = None
	consumed: bool = False
	revoked: bool = False

	def check_client(self, client: Client) -> bool:
		return self.consent.client_id == client.client_id

	def get_scope(self) -> str:
		return self.scope

	def get_expires_in(self) -> int:
		return int(self.expires_at - self.issued_at) if self.expires_at else 0

	def is_expired(self) -> bool:
		return self.expires_at is not None and time.time() >= self.expires_at

	def is_revoked(self) -> bool:
		return self.revoked or self.consumed or self.consent.revoked

	def get_user(self) -> User:
		"""RFC 9068 2.2: where no person is involved, the subject is the client."""
		client_id = self.consent.client_id
		return USERS.get(self.consent.user_id) or User(client_id, client_id, "")


@dataclass
class Store:
	"""All state. Reading or writing it needs `lock`, for the whole of a token request."""

	lock: threading.RLock = field(default_factory=threading.RLock)
	codes: dict[str, Code] = field(default_factory=dict)
	devices: dict[str, DeviceCredentialDict] = field(default_factory=dict)
	tokens: dict[str, Token] = field(default_factory=dict)
	stats: dict[str, Any] = field(default_factory=dict)
	assertions: set[str] = field(default_factory=set)

	def __post_init__(self) -> None:
		self.reset()

	def reset(self) -> None:
		with self.lock:
			self.codes.clear()
			self.devices.clear()
			self.tokens.clear()
			self.stats = {"token_requests": 0, "refreshes": 0, "reuses": 0, "revocations": 0, "requests": []}

	def expire(self) -> None:
		with self.lock:
			for token in self.tokens.values():
				if token.kind == "access_token":
					token.expires_at = 0
			for device in self.devices.values():
				device["expires_at"] = 0

	def revoke(self) -> None:
		with self.lock:
			for token in self.tokens.values():
				token.consent.revoked = True

	def find(self, value: str, kind: str | None = None) -> Token | None:
		with self.lock:
			token = self.tokens.get(value)
		return token if token and kind in (None, token.kind) else None


class TokenExchange(grants.BaseGrant, grants.TokenEndpointMixin):
	"""RFC 8693 2.1, for access tokens of this provider's own, of any client's."""

	GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
	TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS[:3]

	def find(self, value: str) -> Token | None:
		raise NotImplementedError

	def validate_token_request(self) -> None:
		self.request.client = self.authenticate_token_endpoint_client()
		form = self.request.form
		if form.get("subject_token_type") != "urn:ietf:params:oauth:token-type:access_token":
			raise InvalidRequestError("Only access tokens are exchanged")
		if form.get("audience", "api") != "api":
			raise InvalidTargetError()
		subject = self.find(form.get("subject_token", ""))
		if subject is None or subject.is_revoked() or subject.is_expired():
			raise InvalidGrantError("The subject token is not active")
		self.request.user = subject.get_user()

	def create_token_response(self) -> Any:
		scope = self.request.payload.scope
		token = self.generate_token(user=self.request.user, scope=scope, include_refresh_token=False)
		self.save_token(token)
		token["issued_token_type"] = "urn:ietf:params:oauth:token-type:access_token"
		return 200, token, self.TOKEN_RESPONSE_HEADER


class InvalidTargetError(OAuth2Error):
	"""RFC 8707 2"""

	error = "invalid_target"


class Challenge(CodeChallenge):
	"""RFC 7636 with S256 only; a public client cannot do without."""

	SUPPORTED_CODE_CHALLENGE_METHOD: ClassVar[list[str]] = ["S256"]

	def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
		data = grant.request.payload.data
		if data.get("code_challenge") and not data.get("code_challenge_method"):
			raise InvalidRequestError("Missing 'code_challenge_method', only S256 is supported")
		if not data.get("code_challenge") and not grant.request.client.client_secret:
			raise InvalidRequestError("Missing 'code_challenge'")
		super().validate_code_challenge(grant, redirect_uri)


def create_app(clients: list[Client], options: Options) -> Flask:
	"""Build the provider. `app.config["ISSUER"]` is set once the port is known."""
	app = Flask(__name__)
	app.config["OAUTH2_SCOPES_SUPPORTED"] = list(SCOPES)
	store = Store()
	known = {client.client_id: client for client in clients}
	key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, private=True, auto_kid=True)

	def issuer() -> str:
		return str(app.config["ISSUER"])

	def claims_about(user: User, scope: str) -> UserInfo:
		"""OIDC Core 5.4: which claims a scope stands for."""
		claims = UserInfo(sub=user.id)
		if "profile" in scope.split():
			claims["name"] = user.name
		if "email" in scope.split():
			claims.update(email=user.email, email_verified=True)
		return claims

	def save_token(token: dict[str, Any], oauth_request: Any) -> None:
		source, now = oauth_request.authorization_code or oauth_request.refresh_token, int(time.time())
		user_id = oauth_request.user.id if oauth_request.user else ""
		consent = (
			source.consent
			if source
			else Consent(oauth_request.client.client_id, user_id, token["scope"], now)
		)
		expires_at = now + token["expires_in"] if "expires_in" in token else None
		value = token["access_token"]
		store.tokens[value] = Token(value, "access_token", consent, token["scope"], now, expires_at)
		if value := token.get("refresh_token"):
			# RFC 6749 6: a new refresh token has the scope of the old one, not that of the access token.
			store.tokens[value] = Token(value, "refresh_token", consent, consent.scope, now)
		if options.untold:
			del token["expires_in"]

	class Bearer(BearerTokenGenerator):
		def generate(self, grant_type: str, client: Client, **given: Any) -> dict[str, Any]:
			if grant_type == "authorization_code" and not options.always_refresh:
				given["include_refresh_token"] = "offline_access" in (given.get("scope") or "").split()
			token: dict[str, Any] = super().generate(grant_type, client, **given)
			token.setdefault("scope", "")
			return token

		def __call__(self, grant_type: str, client: Client, **given: Any) -> dict[str, Any]:
			return self.generate(grant_type, client, **given)

	class IDToken(OpenIDToken):
		def resolve_client_private_key(self, client: Client) -> RSAKey:
			return key

		def get_client_algorithm(self, client: Client) -> str:
			return "RS256"

		def get_encode_header(self, client: Client) -> dict[str, str]:
			return {"alg": "RS256", "kid": key.kid}

		def get_client_claims(self, client: Client) -> dict[str, Any]:
			return {"iss": issuer(), "aud": client.client_id}

		def get_compatible_claims(self, oauth_request: Any) -> dict[str, Any]:
			"""OIDC Core 12.2: after a refresh, auth_time is still that of the first authentication."""
			claims: dict[str, Any] = super().get_compatible_claims(oauth_request)
			if oauth_request.refresh_token:
				claims["auth_time"] = oauth_request.refresh_token.consent.auth_time
			return claims

		def generate_user_info(self, user: User, scope: str) -> UserInfo:
			return claims_about(user, scope)

	class IDTokenWithCode(IDToken, OpenIDCode):
		def exists_nonce(self, nonce: str, oauth_request: Any) -> bool:
			client_id = oauth_request.payload.client_id
			with store.lock:
				return any(
					code.nonce == nonce and code.consent.client_id == client_id
					for code in store.codes.values()
				)

	class AuthorizationCodeGrant(grants.AuthorizationCodeGrant):
		TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS

		def save_authorization_code(self, code: str, oauth_request: Any) -> None:
			data, scope = oauth_request.payload.data, oauth_request.scope
			if "granted" in request.form:
				granted = {"openid", *request.form.getlist("granted")}
				scope = " ".join(name for name in scope.split() if name in granted)
			now = int(time.time())
			consent = Consent(oauth_request.client.client_id, oauth_request.user.id, scope, now)
			with store.lock:
				store.codes[code] = Code(
					code,
					consent,
					oauth_request.payload.redirect_uri,
					data.get("nonce"),
					data.get("code_challenge"),
					data.get("code_challenge_method"),
					now + CODE_LIFETIME,
				)

		def query_authorization_code(self, value: str, client: Client) -> Code | None:
			code = store.codes.get(value)
			if code is None or code.consent.client_id != client.client_id:
				return None
			if code.used:
				# RFC 6749 4.1.2: the holder of a used code may have stolen it.
				code.consent.revoked = True
				return None
			return code if time.time() < code.expires_at else None

		def delete_authorization_code(self, code: Code) -> None:
			code.used = True

		def authenticate_user(self, code: Code) -> User:
			return USERS[code.consent.user_id]

	class RefreshTokenGrant(grants.RefreshTokenGrant):
		TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS
		INCLUDE_NEW_REFRESH_TOKEN = not options.static_refresh

		def authenticate_refresh_token(self, value: str) -> Token | None:
			token = store.find(value, "refresh_token")
			if token is None or not token.check_client(self.request.client):
				return None
			if token.consumed:
				# RFC 9700 4.14.2: one of its two holders is a thief, so neither keeps anything.
				store.stats["reuses"] += 1
				token.consent.revoked = True
			return None if token.is_revoked() else token

		def authenticate_user(self, token: Token) -> User:
			return token.get_user()

		def revoke_old_credential(self, token: Token) -> None:
			token.consumed = not options.static_refresh
			store.stats["refreshes"] += 1

	class DeviceGrant(DeviceCodeGrant):
		TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS

		def query_device_credential(self, value: str) -> DeviceCredentialDict | None:
			return store.devices.get(value)

		def query_user_grant(self, user_code: str) -> tuple[User | None, bool] | None:
			(device,) = (each for each in store.devices.values() if each["user_code"] == user_code)
			return device.get("answer")

		def should_slow_down(self, credential: DeviceCredentialDict) -> bool:
			# Not 0: this clock begins when the machine does.
			before, credential["asked_at"] = credential.get("asked_at", float("-inf")), time.monotonic()
			# A little less: this clock and the client's begin at different moments.
			return bool(credential["asked_at"] - before < options.interval * 0.9)

		def save_token(self, token: dict[str, Any]) -> None:
			del store.devices[self.request.payload.data["device_code"]]
			super().save_token(token)

	class ServiceAccountGrant(JWTBearerGrant):
		"""For itself, or for a user here: alice@any.example is alice. Bob's administrator does not allow it."""

		LEEWAY = 0

		def resolve_issuer_client(self, name: str) -> Client | None:
			client = known.get(name)
			return client if client and client.keys_uri else None

		def resolve_client_public_key(self, client: Client) -> Any:
			return KeySet.import_key_set(requests.get(client.keys_uri, timeout=10).json())

		def get_audiences(self) -> list[str]:
			return [issuer() + "/token"]

		def verify_claims(self, claims: Any) -> None:
			super().verify_claims(claims)
			if claims.get("jti") in store.assertions:
				raise InvalidGrantError("This assertion was used before")
			store.assertions.add(claims.get("jti"))

		def authenticate_user(self, subject: str) -> User | None:
			if subject in known:
				return User(subject, subject, "")
			return USERS.get(subject.partition("@")[0])

		def has_granted_permission(self, client: Client, user: User) -> bool:
			return user.id != "bob"

	class ExchangeGrant(TokenExchange):
		def find(self, value: str) -> Token | None:
			return store.find(value, "access_token")

	class DeviceAuthorization(DeviceAuthorizationEndpoint):
		CLIENT_AUTH_METHODS = AUTH_METHODS
		EXPIRES_IN = DEVICE_LIFETIME
		INTERVAL = options.interval

		def get_verification_uri(self) -> str:
			return issuer() + "/device"

		def save_device_credential(self, client_id: str, scope: str, data: dict[str, Any]) -> None:
			expires_at = time.time() + DEVICE_LIFETIME
			store.devices[data["device_code"]] = DeviceCredentialDict(
				client_id=client_id, scope=scope, user_code=data["user_code"], expires_at=expires_at
			)

	class ClientCredentialsGrant(grants.ClientCredentialsGrant):
		TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS[:3]

	class Revocation(RevocationEndpoint):
		CLIENT_AUTH_METHODS = AUTH_METHODS

		def query_token(self, value: str, hint: str | None) -> Token | None:
			return store.find(value)

		def revoke_token(self, token: Token, oauth_request: Any) -> None:
			"""RFC 7009 2.1: with a refresh token go the access tokens of the same consent."""
			token.revoked = True
			if token.kind == "refresh_token":
				token.consent.revoked = True
			store.stats["revocations"] += 1

	class Introspection(IntrospectionEndpoint):
		CLIENT_AUTH_METHODS = AUTH_METHODS[:3]

		def check_permission(self, token: Token, client: Client, oauth_request: Any) -> bool:
			return token.check_client(client)

		def query_token(self, value: str, hint: str | None) -> Token | None:
			return store.find(value)

		def introspect_token(self, token: Token) -> dict[str, Any]:
			user = token.get_user()
			payload = {
				"active": True,
				"iss": issuer(),
				"client_id": token.consent.client_id,
				"username": user.email,
				"sub": user.id,
				"scope": token.scope,
				"iat": token.issued_at,
			}
			if token.kind == "access_token":
				payload["token_type"] = "Bearer"
			if token.expires_at is not None:
				payload["exp"] = int(token.expires_at)
			return payload

	class Assertion(JWTBearerClientAssertion):
		def get_audiences(self) -> list[str]:
			return [issuer(), issuer() + "/token"]

		def validate_jti(self, claims: dict[str, Any], jti: str) -> bool:
			with store.lock:
				is_new = jti not in store.assertions
				store.assertions.add(jti)
			return is_new

		def resolve_client_public_key(self, client: Client) -> Any:
			if not client.keys_uri:
				return OctKey.import_key(client.client_secret)
			published = requests.get(client.keys_uri, timeout=10)
			return KeySet.import_key_set(published.json())

	class Issuer(IssuerParameter):
		def get_issuer(self) -> str:
			return issuer()

	class Validator(BearerTokenValidator):
		def authenticate_token(self, value: str) -> Token | None:
			return store.find(value, "access_token")

	server = AuthorizationServer(app, known.get, save_token)
	server.register_token_generator(
		"default",
		Bearer(
			lambda **_: secrets.token_urlsafe(32),
			lambda **_: secrets.token_urlsafe(32),
			lambda client, grant_type: options.expires_in,
		),
	)
	server.register_client_auth_method(Assertion.CLIENT_AUTH_METHOD, Assertion())
	server.register_grant(AuthorizationCodeGrant, [Challenge(required=True), IDTokenWithCode()])
	server.register_grant(RefreshTokenGrant, [IDToken()])
	server.register_grant(ClientCredentialsGrant)
	server.register_grant(DeviceGrant, [IDToken()])
	server.register_grant(ServiceAccountGrant)
	server.register_grant(ExchangeGrant)
	server.register_endpoint(Revocation)
	server.register_endpoint(Introspection)
	server.register_endpoint(DeviceAuthorization)
	response_issuer = Issuer()
	server.register_extension(response_issuer)
	registration.add(app, server, issuer, known, Client)
	protect = ResourceProtector()
	protect.register_token_validator(Validator(realm="demo"))

	@app.get("/.well-known/openid-configuration")
	def openid_configuration() -> Response:
		"""OpenID Connect Discovery 1.0, section 3."""
		base = issuer()
		return jsonify(
			issuer=base,
			authorization_endpoint=base + "/authorize",
			token_endpoint=base + "/token",
			userinfo_endpoint=base + "/userinfo",
			revocation_endpoint=base + "/revoke",
			introspection_endpoint=base + "/introspect",
			device_authorization_endpoint=base + "/device_authorization",
			jwks_uri=base + "/jwks",
			registration_endpoint=base + "/register",
			scopes_supported=list(SCOPES),
			claims_supported=["sub", "name", "email", "email_verified"],
			response_types_supported=["code"],
			response_modes_supported=["query"],
			grant_types_supported=[
				*("authorization_code", "refresh_token", "client_credentials"),
				DeviceCodeGrant.GRANT_TYPE,
				JWTBearerGrant.GRANT_TYPE,
				TokenExchange.GRANT_TYPE,
			],
			subject_types_supported=["public"],
			id_token_signing_alg_values_supported=["RS256"],
			token_endpoint_auth_methods_supported=ADVERTISED,
			revocation_endpoint_auth_methods_supported=ADVERTISED,
			introspection_endpoint_auth_methods_supported=AUTH_METHODS[:2],
			code_challenge_methods_supported=["S256"],
			authorization_response_iss_parameter_supported=True,
		)

	@app.get("/jwks")
	def jwks() -> Response:
		return jsonify(keys=[key.as_dict(private=False)])

	@app.route("/authorize", methods=["GET", "POST"])
	def authorize() -> Any:
		try:
			grant = server.get_consent_grant(end_user=None)
		except OAuth2Error as error:
			if not error.redirect_uri:
				# RFC 6749 4.1.2.1: without a trusted redirect URI the person sees the error, not the client.
				return page(ERROR, 400, code=error.error, description=error.get_error_description())
			response = server.handle_error_response(server.create_oauth2_request(None), error)
			response_issuer.add_issuer_parameter(server, response)
			return response
		if request.method == "GET":
			scopes = [(name, SCOPES[name]) for name in (grant.request.scope or "").split()]
			client_id = grant.request.client.client_id
			return page(CONSENT, client_id=client_id, scopes=scopes, users=USERS.values())
		user = None
		if request.form.get("decision") == "allow":
			user = USERS.get(request.form.get("account", ""))
			if user is None:
				return page(ERROR, 400, code="unknown_account", description="There is no such account here.")
		return server.create_authorization_response(grant_user=user, grant=grant)

	@app.post("/device_authorization")
	def device_authorization() -> Any:
		with store.lock:
			return server.create_endpoint_response("device_authorization")

	@app.route("/device", methods=["GET", "POST"])
	def device() -> Any:
		"""RFC 8628 3.3: where the code is entered."""
		code = request.values.get("user_code", "").strip().upper()
		if not code:
			return page(ENTER)
		with store.lock:
			found = [each for each in store.devices.values() if each["user_code"] == code]
			if not found or found[0].is_expired() or "answer" in found[0]:
				return page(
					ERROR, 400, code="invalid_code", description="There is no such code, or not any more."
				)
			credential = found[0]
			if request.method == "GET" or "decision" not in request.form:
				scopes = [(name, SCOPES[name]) for name in (credential.get_scope() or "").split()]
				client_id = credential.get_client_id()
				return page(CONSENT, client_id=client_id, scopes=scopes, users=USERS.values(), user_code=code)
			user = USERS.get(request.form.get("account", ""))
			credential["answer"] = (user, request.form["decision"] == "allow")
		return page(DONE)

	@app.post("/token")
	def token() -> Response:
		if request.authorization and request.authorization.type == "basic":
			method = "client_secret_basic"
		else:
			method = "client_secret_post" if "client_secret" in request.form else "none"
		form = {name: "***" if name in SECRET_FIELDS else value for name, value in request.form.items()}
		with store.lock:
			store.stats["token_requests"] += 1
			entry = {"auth_method": method, "form": form}
			store.stats["requests"].append(entry)
			response: Response = server.create_token_response()
		# The tokens are issued by now: a client that gives up waiting has lost a rotated refresh token.
		time.sleep(options.token_delay / 1000)
		entry["answered_at"] = time.time()
		return response

	@app.post("/revoke")
	def revoke() -> Any:
		with store.lock:
			return server.create_endpoint_response("revocation")

	@app.post("/introspect")
	def introspect() -> Any:
		with store.lock:
			return server.create_endpoint_response("introspection")

	@app.route("/userinfo", methods=["GET", "POST"])
	@protect("openid")
	def userinfo() -> Response:
		return jsonify(claims_about(current_token.get_user(), current_token.scope))

	@app.get("/api/hello")
	@protect()
	def hello() -> Response:
		return jsonify(hello=current_token.get_user().name)

	@app.get("/_stats")
	def stats() -> Response:
		with store.lock:
			return jsonify(store.stats)

	@app.post("/_expire")
	def expire() -> tuple[str, int]:
		store.expire()
		return "", 204

	@app.post("/_revoke")
	def revoke_everything() -> tuple[str, int]:
		store.revoke()
		return "", 204

	@app.post("/_reset")
	def reset() -> tuple[str, int]:
		store.reset()
		return "", 204

	return app


def page(body: str, status: int = 200, **values: Any) -> Response:
	"""An HTML page that is neither cached nor framed by another site (RFC 6749 10.13)."""
	response = Response(render_template_string(FRAME.replace("BODY", body), **values), status)
	response.headers["Cache-Control"] = "no-store"
	response.headers["Content-Security-Policy"] = "frame-ancestors 'none'"
	response.headers["Referrer-Policy"] = "no-referrer"
	return response


FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Demo provider</title>
<style>
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: #f3f4f6; color: #1f2937;
	font: 16px/1.5 system-ui, sans-serif; }
main { width: min(26rem, calc(100vw - 2rem)); box-sizing: border-box; padding: 2rem; background: #fff;
	border: 1px solid #e5e7eb; border-radius: 12px; }
h1 { margin: 0 0 1.25rem; font-size: 1.25rem; font-weight: 600; }
small { color: #6b7280; }
fieldset { margin: 0 0 1.25rem; padding: 0; border: 0; }
legend { margin-bottom: .5rem; padding: 0; color: #6b7280; font-size: .875rem; }
label { display: flex; gap: .75rem; align-items: center; padding: .5rem .75rem; border: 1px solid #e5e7eb;
	border-radius: 8px; margin-bottom: .5rem; cursor: pointer; }
label:has(:focus-visible) { outline: 2px solid #2563eb; }
label span { display: flex; flex-direction: column; line-height: 1.3; }
footer { display: flex; justify-content: flex-end; gap: .75rem; }
button { padding: .5rem 1.25rem; border: 1px solid #d1d5db; border-radius: 8px; background: #fff;
	color: inherit; font: inherit; cursor: pointer; }
button[value=allow] { border-color: #2563eb; background: #2563eb; color: #fff; }
code { padding: .1rem .3rem; border-radius: 4px; background: #f3f4f6; }
</style>
</head>
<body><main>BODY</main></body>
</html>
"""

CONSENT = """
<form method="post">
	<h1><b>{{ client_id }}</b> asks for access to your account</h1>
	<fieldset>
		<legend>Who are you?</legend>
		{% for user in users %}
		<label><input type="radio" name="account" value="{{ user.id }}" {{ "checked" if loop.first }}>
			<span>{{ user.name }}<small>{{ user.email }}</small></span></label>
		{% endfor %}
	</fieldset>
	<input type="hidden" name="granted" value="">
	{% if user_code %}<input type="hidden" name="user_code" value="{{ user_code }}">{% endif %}
	{% if scopes %}
	<fieldset>
		<legend>What may it do?</legend>
		{% for name, meaning in scopes %}
		<label><input type="checkbox" name="granted" value="{{ name }}" checked
			{{ "disabled" if name == "openid" }}><span>{{ meaning }}<small>{{ name }}</small></span></label>
		{% endfor %}
	</fieldset>
	{% endif %}
	<footer>
		<button name="decision" value="deny">Deny</button>
		<button name="decision" value="allow">Allow</button>
	</footer>
</form>
"""

ENTER = """
<form>
	<h1>Enter the code that your device shows</h1>
	<p><input name="user_code" aria-label="Code" autofocus autocomplete="off"></p>
	<footer><button>Continue</button></footer>
</form>
"""

DONE = """
<h1>That is all</h1>
<p>You can go back to your device.</p>
"""

ERROR = """
<h1>This request cannot be granted</h1>
<p>{{ description }}</p>
<p><code>{{ code }}</code></p>
"""


class Provider:
	"""A provider that runs in a process of its own."""

	def __init__(self, issuer: str, port: int, pid: int) -> None:
		self.issuer, self.port, self.pid = issuer, port, pid
		self.discovery_url = issuer + "/.well-known/openid-configuration"
		self._http = requests.Session()
		self._http.trust_env = False

	def consent(
		self, url: str, account: str = "alice", allow: bool = True, scopes: list[str] | None = None
	) -> str:
		"""Answer the consent page as a browser would; return the address that it redirects to.

		`scopes` leaves only those ticked. An error that the provider reports to the client comes back as a
		redirect URL too; one that it shows to the person raises `requests.HTTPError`.
		"""
		shown = self._http.get(url, allow_redirects=False, timeout=30)
		shown.raise_for_status()
		if shown.is_redirect:
			return shown.headers["Location"]
		form: dict[str, Any] = {
			"account": account.partition("@")[0],
			"decision": "allow" if allow else "deny",
		}
		if scopes is not None:
			form["granted"] = ["", *scopes]
		answer = self._http.post(url, data=form, allow_redirects=False, timeout=30)
		answer.raise_for_status()
		return answer.headers["Location"]

	def enter(self, user_code: str, account: str = "alice", allow: bool = True) -> None:
		"""Enter the code of a device, and answer, as a person would in any browser."""
		form = {"user_code": user_code, "account": account, "decision": "allow" if allow else "deny"}
		self._http.post(self.issuer + "/device", data=form, timeout=30).raise_for_status()

	def stats(self) -> dict[str, Any]:
		answer = self._http.get(self.issuer + "/_stats", timeout=30)
		answer.raise_for_status()
		found: dict[str, Any] = answer.json()
		return found

	def expire(self) -> None:
		"""Make every access token invalid now."""
		self._command("/_expire")

	def revoke(self) -> None:
		"""Withdraw every consent, as a person may at the provider."""
		self._command("/_revoke")

	def reset(self) -> None:
		"""Forget all codes, tokens and counters."""
		self._command("/_reset")

	def close(self) -> None:
		self._http.close()

	def _command(self, path: str) -> None:
		self._http.post(self.issuer + path, timeout=30).raise_for_status()


@contextmanager
def start(
	*,
	clients: tuple[str, ...] | list[str] = (),
	keys: dict[str, str] | None = None,
	port: int = 0,
	static_refresh: bool = False,
	always_refresh: bool = False,
	expires_in: int = 3600,
	token_delay: int = 0,
	interval: int = 5,
	untold: bool = False,
) -> Iterator[Provider]:
	"""Run a provider as long as the `with` block lasts. Each client is "ID:SECRET:REDIRECT_URI".

	:param keys: client ID → address of its key set
	"""
	command = [sys.executable, "-m", "demo.provider", "--port", str(port)]
	command += ["--expires-in", str(expires_in), "--token-delay", str(token_delay)]
	command += ["--interval", str(interval)]
	command += ["--untold"] * untold
	command += ["--static-refresh"] * static_refresh + ["--always-refresh"] * always_refresh
	for client in clients:
		command += ["--client", client]
	for client, address in (keys or {}).items():
		command += ["--keys", f"{client}={address}"]
	process = subprocess.Popen(
		command,
		cwd=Path(__file__).resolve().parents[1],
		stdin=subprocess.DEVNULL,
		stdout=subprocess.PIPE,
		text=True,
	)
	try:
		assert process.stdout
		line = process.stdout.readline()
		if not line:
			raise RuntimeError(f"The provider ended with status {process.wait()} before it was ready")
		provider = Provider(**json.loads(line))
		try:
			yield provider
		finally:
			provider.close()
	finally:
		process.terminate()
		try:
			process.wait(5)
		except subprocess.TimeoutExpired:
			process.kill()
			process.wait()
		if process.stdout:
			process.stdout.close()


def main(arguments: list[str] | None = None) -> None:
	parser = argparse.ArgumentParser(prog="python -m demo.provider", description="A demo OpenID provider.")
	parser.add_argument("--port", type=int, default=0, help="0 (default): any free port")
	parser.add_argument(
		"--client",
		action="append",
		type=Client.parse,
		metavar="ID:SECRET:REDIRECT_URI",
		help=f"repeatable; no secret: a public client; * in the URI: anything (default {DEFAULT_CLIENT})",
	)
	parser.add_argument(
		"--keys", action="append", default=[], metavar="ID=URL", help="where a client's key set is (RFC 7517)"
	)
	parser.add_argument("--static-refresh", action="store_true", help="refresh tokens that stay the same")
	parser.add_argument(
		"--always-refresh", action="store_true", help="a refresh token even without the scope offline_access"
	)
	parser.add_argument(
		"--expires-in",
		type=int,
		default=3600,
		metavar="N",
		help="seconds an access token lives; 0: untold",
	)
	parser.add_argument(
		"--token-delay", type=int, default=0, metavar="MS", help="hold back each answer of the token endpoint"
	)
	parser.add_argument(
		"--untold", action="store_true", help="say when a token ends by introspection only (RFC 7662)"
	)
	parser.add_argument(
		"--interval",
		type=int,
		default=5,
		metavar="N",
		help="seconds between two questions about a device code",
	)
	given = parser.parse_args(arguments)

	# Authlib refuses plain HTTP otherwise. This process serves the loopback address and nothing else.
	os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
	logging.getLogger("werkzeug").setLevel(logging.ERROR)
	options = Options(
		given.static_refresh,
		given.always_refresh,
		given.expires_in,
		given.token_delay,
		given.interval,
		given.untold,
	)
	addresses = dict(each.split("=", 1) for each in given.keys)
	clients = given.client or [Client.parse(DEFAULT_CLIENT)]
	clients = [replace(each, keys_uri=addresses.get(each.client_id, "")) for each in clients]
	app = create_app(clients, options)
	server = make_server(HOST, given.port, app, threaded=True)
	app.config["ISSUER"] = f"http://{HOST}:{server.port}"
	signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
	ready = {"issuer": app.config["ISSUER"], "port": server.port, "pid": os.getpid()}
	print(json.dumps(ready), flush=True)
	server.serve_forever()


if __name__ == "__main__":
	main()
