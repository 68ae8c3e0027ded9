"""Clients that register themselves at the demo's provider (RFC 7591), and manage that (RFC 7592), by Authlib."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc7591 import ClientRegistrationEndpoint
from authlib.oauth2.rfc7592 import ClientConfigurationEndpoint
from flask import Flask, jsonify


@dataclass
class Registered:
	"""What is registered of one client.

	:param token: by which it is managed
	"""

	client_info: dict[str, Any]
	client_metadata: dict[str, Any]
	token: str

	def get_client_id(self) -> str:
		return str(self.client_info["client_id"])

	def check_client_secret(self, secret: str) -> bool:
		return secrets.compare_digest(self.client_info["client_secret"], secret)

	def check_client(self, client: Registered) -> bool:
		return self is client


def add(
	app: Flask,
	server: AuthorizationServer,
	issuer: Callable[[], str],
	known: dict[str, Any],
	make: Callable[[str, str, str], Any],
) -> None:
	"""Let clients register at `/register`.

	:param known: the provider's clients by ID
	:param make: makes one, of its ID, secret and redirect URI
	"""
	registered: dict[str, Registered] = {}

	def keep(client: Registered) -> None:
		client_id = client.get_client_id()
		public = client.client_metadata.get("token_endpoint_auth_method") == "none"
		secret = "" if public else client.client_info["client_secret"]
		registered[client_id] = client
		known[client_id] = make(client_id, secret, client.client_metadata["redirect_uris"][0])

	def management(client: Registered) -> dict[str, str]:
		return {
			"registration_client_uri": f"{issuer()}/register/{client.get_client_id()}",
			"registration_access_token": client.token,
		}

	class Registration(ClientRegistrationEndpoint):
		def authenticate_token(self, request: Any) -> bool:
			return True

		def get_server_metadata(self) -> dict[str, Any]:
			return {}

		def save_client(self, info: dict[str, Any], metadata: dict[str, Any], request: Any) -> Registered:
			client = Registered(info, metadata, secrets.token_urlsafe(32))
			keep(client)
			return client

		def generate_client_registration_info(self, client: Registered, request: Any) -> dict[str, str]:
			return management(client)

	class Configuration(ClientConfigurationEndpoint):
		def authenticate_token(self, request: Any) -> Registered | None:
			token = request.headers.get("Authorization", "").partition("Bearer ")[2]
			return next((each for each in registered.values() if each.token == token), None)

		def authenticate_client(self, request: Any) -> Registered | None:
			return registered.get(request.uri.rpartition("/")[2])

		def revoke_access_token(self, request: Any, token: Registered) -> None:
			registered.pop(token.get_client_id(), None)

		def check_permission(self, client: Registered, request: Any) -> bool:
			return True

		def get_server_metadata(self) -> dict[str, Any]:
			return {}

		def delete_client(self, client: Registered, request: Any) -> None:
			registered.pop(client.get_client_id())
			known.pop(client.get_client_id())

		def update_client(self, client: Registered, metadata: dict[str, Any], request: Any) -> Registered:
			client.client_metadata = metadata
			# A new one with each update: the client has to keep it.
			client.token = secrets.token_urlsafe(32)
			keep(client)
			return client

		def generate_client_registration_info(self, client: Registered, request: Any) -> dict[str, str]:
			return management(client)

	server.register_endpoint(Registration)
	server.register_endpoint(Configuration)

	@app.post("/register")
	def register() -> Any:
		return server.create_endpoint_response("client_registration")

	@app.route("/register/<client_id>", methods=["GET", "PUT", "DELETE"])
	def configure(client_id: str) -> Any:
		return server.create_endpoint_response("client_configuration")

	@app.get("/_registered")
	def show() -> Any:
		return jsonify({name: client.client_metadata for name, client in registered.items()})
