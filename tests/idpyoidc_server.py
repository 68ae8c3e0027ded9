"""An OpenID provider by idpyoidc, which has token exchange (RFC 8693). Every visitor is logged in, as diana.

	python -m tests.idpyoidc_server CLIENT:SECRET:REDIRECT_URI …

Prints `{"issuer": ADDRESS}` and runs until it is stopped. The first client may ask for consent, all may exchange tokens; API
is the only audience that they may have them for.
"""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

try:
	from cryptojwt.key_jar import build_keyjar
	from idpyoidc.server import Server
	from idpyoidc.server.authz import AuthzHandling
	from idpyoidc.server.client_authn import verify_client
	from idpyoidc.server.configure import OPConfiguration
	from idpyoidc.server.exception import ClientAuthenticationError, OidcEndpointError
	from idpyoidc.server.user_authn.authn_context import INTERNETPROTOCOLPASSWORD
	from idpyoidc.server.user_info import UserInfo
except ImportError as error:
	print(json.dumps({"missing": str(error)}), flush=True)
	sys.exit(0)

API = "https://api.example"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
PATHS = {
	"/.well-known/openid-configuration": "provider_config",
	"/authorize": "authorization",
	"/token": "token",
	"/userinfo": "userinfo",
}


def provider(issuer: str, folder: str, clients: list[str]) -> Server:
	access_token = "urn:ietf:params:oauth:token-type:access_token"
	authentication = {"client_authn_method": ["client_secret_basic", "client_secret_post"]}
	exchange = {
		"subject_token_types_supported": [access_token],
		"requested_token_types_supported": [access_token],
		"policy": {
			"": {
				"function": "idpyoidc.server.oauth2.token_helper.validate_token_exchange_policy",
				"kwargs": {"audience": [API], "resource": [API]},
			}
		},
	}
	lives = {"supports_minting": ["access_token", "refresh_token", "id_token"], "expires_in": 600}
	jwt = {"class": "idpyoidc.server.token.jwt_token.JWTToken", "kwargs": {"lifetime": 600}}
	configuration = {
		"issuer": issuer,
		"httpc_params": {"verify": True, "timeout": 5},
		"keys": {"uri_path": "jwks"},
		"endpoint": {
			"provider_config": {
				"path": ".well-known/openid-configuration",
				"class": "idpyoidc.server.oidc.provider_config.ProviderConfiguration",
				"kwargs": {"client_authn_method": None},
			},
			"authorization": {
				"path": "authorize",
				"class": "idpyoidc.server.oidc.authorization.Authorization",
				"kwargs": {"client_authn_method": None},
			},
			"token": {
				"path": "token",
				"class": "idpyoidc.server.oidc.token.Token",
				"kwargs": authentication,
			},
			"userinfo": {
				"path": "userinfo",
				"class": "idpyoidc.server.oidc.userinfo.UserInfo",
				"kwargs": {"client_authn_method": ["bearer_header"]},
			},
		},
		"authentication": {
			"anybody": {
				"acr": INTERNETPROTOCOLPASSWORD,
				"class": "idpyoidc.server.user_authn.user.NoAuthn",
				"kwargs": {"user": "diana"},
			}
		},
		"userinfo": {"class": UserInfo, "kwargs": {"db": {"diana": {"email": "diana@example.com"}}}},
		"client_authn": verify_client,
		"template_dir": folder,
		"authz": {
			"class": AuthzHandling,
			"kwargs": {
				"grant_config": {
					"usage_rules": {
						"authorization_code": {**lives, "max_usage": 1},
						"access_token": lives,
						"refresh_token": lives,
					},
					"expires_in": 3600,
				}
			},
		},
		"token_handler_args": {
			"key_conf": {"key_defs": [{"type": "oct", "bytes": 24, "use": ["enc"], "kid": "code"}]},
			"code": {"lifetime": 600},
			"token": jwt,
			"refresh": jwt,
			"id_token": {"class": "idpyoidc.server.token.id_token.IDToken", "kwargs": {}},
		},
		"session_params": {"password": secrets.token_hex(), "salt": secrets.token_hex()},
	}
	keys = build_keyjar([{"type": "RSA", "use": ["sig"]}, {"type": "EC", "crv": "P-256", "use": ["sig"]}])
	keys.import_jwks(keys.export_jwks(private=True), issuer)
	server = Server(OPConfiguration(conf=configuration, base_path=folder), keyjar=keys, cwd=folder)
	for number, each in enumerate(clients):
		client_id, secret, redirect_uri = each.split(":", 2)
		grants = ["authorization_code", "refresh_token", EXCHANGE] if number == 0 else [EXCHANGE]
		server.context.cdb[client_id] = {
			"client_secret": secret,
			"redirect_uris": [(redirect_uri, None)],
			"client_salt": secrets.token_hex(4),
			"token_endpoint_auth_method": "client_secret_basic",
			"grant_types_supported": grants,
			"response_types_supported": ["code"],
			"allowed_scopes": ["openid", "email", "offline_access"],
			"token_exchange": exchange,
		}
	return server


class Handler(BaseHTTPRequestHandler):
	provider: Server
	# The library's sessions are for one thread at a time.
	lock = threading.Lock()

	def do_GET(self) -> None:
		self.answer(urlsplit(self.path).query)

	def do_POST(self) -> None:
		self.answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())

	def answer(self, text: str) -> None:
		path = urlsplit(self.path).path
		if path == "/jwks":
			self.send(200, json.dumps(self.provider.keyjar.export_jwks()))
			return
		with self.lock:
			self.send(*self.ask(self.provider.endpoint[PATHS[path]], dict(parse_qsl(text))))

	def ask(self, endpoint: Any, values: dict[str, str]) -> tuple[int, str]:
		about = {
			"headers": {name.lower(): value for name, value in self.headers.items()},
			"method": self.command,
			"url": self.provider.issuer + self.path,
		}
		try:
			request = endpoint.parse_request(values, http_info=about)
			given = request if "error" in request else endpoint.process_request(request, http_info=about)
		except ClientAuthenticationError:
			return 401, json.dumps({"error": "invalid_client"})
		except OidcEndpointError as error:
			return 400, json.dumps({"error": "invalid_request", "error_description": str(error)})
		if "error" in given:
			return 400, given.to_json()
		answer = endpoint.do_response(request=request, **given)
		return (303 if endpoint.response_placement == "url" else 200), answer["response"]

	def send(self, status: int, text: str) -> None:
		body = b"" if status == 303 else text.encode()
		self.send_response(status)
		if status == 303:
			self.send_header("Location", text)
		self.send_header("Content-Type", "application/json")
		self.send_header("Content-Length", str(len(body)))
		self.end_headers()
		self.wfile.write(body)

	def log_message(self, *_arguments: Any) -> None:
		pass


def serve(*clients: str) -> None:
	with (
		tempfile.TemporaryDirectory() as folder,
		ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
	):
		issuer = f"http://127.0.0.1:{server.server_port}"
		Handler.provider = provider(issuer, folder, list(clients))
		print(json.dumps({"issuer": issuer}), flush=True)
		server.serve_forever()


if __name__ == "__main__":
	serve(*sys.argv[1:])
