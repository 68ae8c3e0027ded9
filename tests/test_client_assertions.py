"""Client authentication by assertions (OIDC Core 9, RFC 7523), and the keys that sign them."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
import traceback
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from connected_app.oauth import ConfigurationError, Http, Secret, Settings, client_auth, keys, token_endpoint
from connected_app.oauth.keys import SigningKey
from connected_app.oauth.provider import Quirks

from .helpers import CLIENT_SECRET, NOW, changed, settings_of
from .hostile import Hostile, Request, as_json
from .test_net import certificate

ISSUER = "https://op.example"
FORM = {"grant_type": "refresh_token", "refresh_token": "r"}
NOW_OF_MADE = datetime.now(timezone.utc)
MADE = {algorithm: keys.generate(algorithm, "test", NOW_OF_MADE) for algorithm in keys.MAKERS}


def asked(config: Settings, server: Hostile, http: Http) -> Request:
	server.script("/token", as_json({"access_token": "a"}))
	token_endpoint.request(*config, FORM, http)
	return server.requests[-1]


def verified(assertion: str, key: SigningKey, **options: Any) -> dict[str, Any]:
	"""What a strict provider reads in `assertion`, which has the published key only."""
	public = jwt.PyJWK(key.public())
	claims: dict[str, Any] = jwt.decode(assertion, public.key, **{"audience": ISSUER, **options})
	return claims


@pytest.mark.parametrize("algorithm", MADE)
def test_private_key_jwt(algorithm: str, config: Settings, server: Hostile, http: Http) -> None:
	"""FAPI 2.0 5.3.2.1: `iss` and `sub` are the client, `aud` is the issuer as a string, `exp` is soon, `jti` is new; the
	secret is not sent."""
	key = MADE[algorithm]
	config = changed(config, authentication="private_key_jwt", signing_key=key, issuer=ISSUER)
	before = int(datetime.now(timezone.utc).timestamp())
	first, second = (asked(config, server, http) for _ in range(2))
	form = first.form
	assert form["client_assertion_type"] == client_auth.ASSERTION_TYPE
	assert "client_secret" not in form and "authorization" not in first.headers
	claims = verified(form["client_assertion"], key, algorithms=[algorithm], issuer=config.client.client_id)
	assert claims["sub"] == form["client_id"] == config.client.client_id
	assert claims["aud"] == ISSUER
	assert before <= claims["iat"] and claims["exp"] - claims["iat"] <= 60
	assert claims["jti"] != verified(second.form["client_assertion"], key, algorithms=[algorithm])["jti"]
	header = jwt.get_unverified_header(form["client_assertion"])
	assert header["alg"] == algorithm and header["kid"] == key.public()["kid"]


@pytest.mark.parametrize(
	("made", "supported", "expected"),
	[
		("ES256", [], "ES256"),
		("PS256", ["RS256"], "RS256"),
		("RS256", ["PS256", "ES256"], "PS256"),
		("PS256", ["RS256", "PS256"], "PS256"),
		("EdDSA", ["ES256", "EdDSA"], "EdDSA"),
		("ES256", ["PS256"], None),
		("PS256", ["ES256"], None),
		("EdDSA", ["HS256"], None),
	],
)
def test_the_providers_algorithms(made: str, supported: list[str], expected: str | None) -> None:
	"""RFC 8414 2: an algorithm that the provider does not list is not used, and nothing is sent instead."""
	metadata = {"token_endpoint_auth_signing_alg_values_supported": supported}
	settings = settings_of(
		client_id="c",
		authentication="private_key_jwt",
		signing_key=MADE[made],
		issuer=ISSUER,
		metadata=metadata,
	)
	form: dict[str, str] = {}
	if expected:
		client_auth.authenticate(*settings, form, {})
		assert jwt.get_unverified_header(form["client_assertion"])["alg"] == expected
		assert verified(form["client_assertion"], MADE[made], algorithms=[expected])
		return
	with pytest.raises(ConfigurationError) as caught:
		client_auth.authenticate(*settings, form, {})
	assert caught.value.code == "key_algorithm" and form == {}


@pytest.mark.parametrize(
	("supported", "expected"), [([], "HS256"), (["HS512", "RS256"], "HS512"), (["HS384", "HS256"], "HS256")]
)
def test_client_secret_jwt(
	supported: list[str], expected: str, config: Settings, server: Hostile, http: Http
) -> None:
	"""The secret signs, and does not leave the site."""
	metadata = {"token_endpoint_auth_signing_alg_values_supported": supported}
	config = changed(config, authentication="client_secret_jwt", issuer=ISSUER, metadata=metadata)
	config = changed(
		config,
		client_secret=Secret("as long as HS512 wants a secret to be (RFC 7518 3.2), which is 64 bytes"),
	)
	request = asked(config, server, http)
	secret = str(config.client.client_secret)
	claims = jwt.decode(request.form["client_assertion"], secret, algorithms=[expected], audience=ISSUER)
	assert claims["iss"] == claims["sub"] == config.client.client_id
	assert secret not in f"{request.form} {request.headers}"


def test_a_secret_that_is_a_key(config: Settings, server: Hostile, http: Http) -> None:
	"""It is in no traceback either."""
	secret = pem(ec.generate_private_key(ec.SECP256R1()))
	config = changed(config, authentication="client_secret_jwt", client_secret=Secret(secret), issuer=ISSUER)
	with pytest.raises(ConfigurationError) as caught:
		token_endpoint.request(*config, FORM, http)
	assert caught.value.code == "client_secret_is_key"
	assert caught.value.__cause__ is None and caught.value.__context__ is None
	assert not server.requests


def test_audience() -> None:
	"""The token endpoint where no issuer is known, or where the provider's template says so (Entra)."""
	settings = settings_of(client_id="c", token_uri="https://op.example/token", issuer=ISSUER)
	assert client_auth.audience(settings.provider) == ISSUER
	for one in ({"issuer": ""}, {"quirks": Quirks(assertion_audience="token")}):
		assert client_auth.audience(changed(settings, **one).provider) == "https://op.example/token"


def test_audience_where_it_is_sent(config: Settings, server: Hostile, http: Http) -> None:
	"""Glewlwyd takes an assertion for the very address that it is sent to, and for no other."""
	quirks = Quirks(assertion_audience="endpoint")
	config = changed(
		config, authentication="private_key_jwt", signing_key=MADE["ES256"], issuer=ISSUER, quirks=quirks
	)
	for path in ("/token", "/par"):
		url = server.script(path, as_json({}))
		token_endpoint.authenticated_request(*config, url, FORM, http)
		assertion = server.to(path)[-1].form["client_assertion"]
		assert verified(assertion, MADE["ES256"], algorithms=["ES256"], audience=url)["sub"] == "client"


def test_signed_client_secret() -> None:
	"""Apple: the secret is a token of the team's, signed by the key of that name."""
	key = keys.read(str(MADE["ES256"].pem), NOW, "ES256", "ABC123DEFG")
	settings = settings_of(
		client_id="com.example.web",
		authentication="signed_client_secret",
		signing_key=key,
		issuer=ISSUER,
		quirks=Quirks(secret_claims={"iss": "TEAM123456", "aud": "https://appleid.apple.com"}),
	)
	form: dict[str, str] = {}
	client_auth.authenticate(*settings, form, {})
	assert set(form) == {"client_id", "client_secret"}
	claims = verified(form["client_secret"], key, algorithms=["ES256"], audience="https://appleid.apple.com")
	assert (claims["iss"], claims["sub"]) == ("TEAM123456", "com.example.web")
	assert jwt.get_unverified_header(form["client_secret"])["kid"] == "ABC123DEFG"


BY_CERTIFICATE = list(client_auth.BY_CERTIFICATE)
ALL = ["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"]


@pytest.mark.parametrize(
	("secret", "has_key", "offered", "expected"),
	[
		("plain", True, ALL, "private_key_jwt"),
		("plain", True, ["client_secret_post"], "client_secret_post"),
		("plain", True, "nothing", "client_secret_post"),
		("", True, "nothing", "private_key_jwt"),
		("", True, None, "private_key_jwt"),
		("plain", False, ALL, "client_secret_basic"),
		("plain", False, ["client_secret_jwt"], "client_secret_jwt"),
		("plain", False, ["client_secret_jwt", "client_secret_post"], "client_secret_post"),
		("plain", False, None, "client_secret_basic"),
		("with:colon", False, ALL, "client_secret_post"),
		("with:colon", False, ["client_secret_basic"], "client_secret_basic"),
		("with:colon", False, None, "client_secret_basic"),
		("plain", False, ["tls_client_auth"], "client_secret_post"),
		("", False, ALL, "none"),
		# By the certificate of the key, in the one of the two ways that it is good for.
		("plain", True, ["client_secret_basic", *BY_CERTIFICATE], "self_signed_tls_client_auth"),
		("plain", "issued", ["client_secret_basic", *BY_CERTIFICATE], "tls_client_auth"),
		("plain", "issued", ["client_secret_basic", "self_signed_tls_client_auth"], "client_secret_basic"),
		("plain", True, ["client_secret_basic", "tls_client_auth"], "client_secret_basic"),
		("plain", "bare", ["client_secret_basic", *BY_CERTIFICATE], "client_secret_basic"),
		("", "bare", BY_CERTIFICATE, "private_key_jwt"),
		("plain", True, [*ALL, *BY_CERTIFICATE], "private_key_jwt"),
		("plain", "issued", [*ALL, *BY_CERTIFICATE], "private_key_jwt"),
	],
)
def test_automatic(secret: str, has_key: Any, offered: Any, expected: str, tmp_path: Path) -> None:
	"""The metadata, strongest first; Post where Basic would send the secret in another form and both are allowed."""
	metadata: dict[str, Any] = {} if offered == "nothing" else {"token_endpoint": "https://op.example/token"}
	if isinstance(offered, list):
		metadata["token_endpoint_auth_methods_supported"] = offered
	settings = settings_of(
		client_id="c",
		client_secret=Secret(secret) if secret else None,
		signing_key=a_key(has_key, tmp_path) if has_key else None,
		metadata=metadata,
	)
	assert client_auth.method(*settings) == expected


def a_key(kind: Any, folder: Path) -> SigningKey:
	if kind == "issued":
		pem, _made = certificate(folder, "c.example", issuer=certificate(folder, "authority.example")[1])
		return keys.read(pem.read_text(), NOW_OF_MADE)
	return keys.read(str(MADE["ES256"].pem), NOW) if kind == "bare" else MADE["ES256"]


@pytest.mark.parametrize("authentication", client_auth.BY_KEY)
def test_without_a_key(authentication: str, config: Settings, server: Hostile, http: Http) -> None:
	with pytest.raises(ConfigurationError) as caught:
		token_endpoint.request(*changed(config, authentication=authentication), FORM, http)
	assert caught.value.code == "signing_key_missing" and server.requests == []


def pem(key: Any, kind: Any = serialization.PrivateFormat.PKCS8, passphrase: bytes = b"") -> str:
	encryption = (
		serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
	)
	text: str = key.private_bytes(serialization.Encoding.PEM, kind, encryption).decode()
	return text


EC, RSA = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
TRADITIONAL = serialization.PrivateFormat.TraditionalOpenSSL


@pytest.mark.parametrize(
	("text", "algorithm", "expected"),
	[
		(pem(EC), "", "ES256"),
		(pem(EC, TRADITIONAL), "", "ES256"),
		(pem(RSA), "", "PS256"),
		(pem(RSA, TRADITIONAL), "RS256", "RS256"),
		# As a field of one line, or a mail, leaves it.
		(pem(EC).replace("\n", " "), "", "ES256"),
		("\ufeffBag Attributes\r\n" + pem(EC).replace("\n", "\r\n"), "", "ES256"),
	],
)
def test_a_key_that_is_brought(text: str, algorithm: str, expected: str) -> None:
	key = keys.read(text, NOW, algorithm)
	assert key.algorithm == expected
	assert verified(key.sign({"aud": ISSUER}), key, algorithms=[expected])
	assert SigningKey.from_json(key.to_json()) == key
	assert "PRIVATE" not in repr(key)


@pytest.mark.parametrize(
	("text", "algorithm", "code"),
	[
		("", "", "key_unreadable"),
		("not a key", "", "key_unreadable"),
		(pem(EC).replace("M", "!"), "", "key_unreadable"),
		(pem(EC, passphrase=b"pass"), "", "key_passphrase"),
		(pem(EC) + pem(RSA), "", "key_unreadable"),
		(pem(ed448.Ed448PrivateKey.generate()), "", "key_unreadable"),
		(pem(dsa.generate_private_key(2048)), "", "key_unreadable"),
		(pem(ec.generate_private_key(ec.SECP384R1())), "", "key_algorithm"),
		(pem(rsa.generate_private_key(65537, 1024)), "", "key_algorithm"),
		(pem(EC), "PS256", "key_algorithm"),
		(pem(RSA), "ES256", "key_algorithm"),
		(pem(EC), "none", "key_algorithm"),
	],
	ids=range(12),
)
def test_a_key_that_cannot_be_used(text: str, algorithm: str, code: str) -> None:
	with pytest.raises(ConfigurationError) as caught:
		keys.read(text, NOW, algorithm)
	assert caught.value.code == code
	frames = []
	trace = caught.value.__traceback__
	while trace:
		if trace.tb_frame.f_globals["__name__"] == keys.__name__:
			frames.append(repr(trace.tb_frame.f_locals))
		trace = trace.tb_next
	body = text[40:80]
	assert frames and (not body.strip() or body not in f"{caught.value} {caught.value.__cause__!r}")


def test_certificate() -> None:
	"""It belongs to the key, is named by its fingerprints, and one that stands beside another key is an error."""
	key = keys.generate("PS256", "Acme", NOW)
	found = x509.load_pem_x509_certificate(key.certificate.encode())
	assert found.not_valid_before_utc < NOW < found.not_valid_after_utc
	fingerprint = base64.urlsafe_b64encode(found.fingerprint(hashes.SHA256())).rstrip(b"=").decode()
	header = jwt.get_unverified_header(key.sign({}))
	assert header["x5t#S256"] == key.public()["x5t#S256"] == key.fingerprint() == fingerprint
	# RFC 7515 4.1.7, for AD FS; Microsoft's portals show the same in hexadecimal digits.
	sha1 = found.fingerprint(hashes.SHA1())
	assert base64.urlsafe_b64decode(header["x5t"] + "==") == sha1 == bytes.fromhex(key.thumbprint())
	assert base64.b64decode(key.public()["x5c"][0]) == found.public_bytes(serialization.Encoding.DER)
	assert key.is_self_signed()
	text = f"{key.certificate}\n{key.pem}"
	assert keys.read(text, NOW).certificate == key.certificate
	assert keys.read(str(key.pem), NOW).certificate == ""
	with pytest.raises(ConfigurationError) as caught:
		keys.read(f"{MADE['PS256'].certificate}{key.pem}", NOW)
	assert caught.value.code == "certificate_mismatch"
	for when in (NOW - timedelta(days=1), NOW + keys.CERTIFICATE_LIFETIME + timedelta(days=1)):
		with pytest.raises(ConfigurationError) as caught:
			keys.read(text, when)
		assert caught.value.code == "certificate_expired"


def archive(key: Any, passphrase: bytes, certificate: str = "", more: str = "") -> Secret:
	"""A PKCS #12 file in base64."""
	own = x509.load_pem_x509_certificate(certificate.encode()) if certificate else None
	others = x509.load_pem_x509_certificates(more.encode()) if more else None
	protection = (
		serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
	)
	content = pkcs12.serialize_key_and_certificates(b"name", key, own, others, protection)
	return Secret(base64.b64encode(content).decode())


PASSPHRASE = Secret("the passphrase of a file")


@pytest.mark.parametrize("passphrase", [PASSPHRASE, Secret("")])
def test_a_file_that_is_brought(passphrase: Secret) -> None:
	"""PKCS #12 and PEM, with and without a passphrase; the certificate comes along, and what stands beside it does not
	matter unless it has issued it."""
	made = MADE["PS256"]
	private = keys.load(made.pem)
	text = pem(private, passphrase=passphrase.encode()) + made.certificate
	brought = [
		keys.read_file(
			archive(private, passphrase.encode(), made.certificate, MADE["ES256"].certificate),
			NOW_OF_MADE,
			passphrase=passphrase,
		),
		keys.read_file(Secret(base64.b64encode(text.encode()).decode()), NOW_OF_MADE, passphrase=passphrase),
		keys.read(text, NOW_OF_MADE, passphrase=passphrase),
	]
	assert [key.certificate for key in brought] == [made.certificate] * 3
	assert {key.key_id for key in brought} == {made.key_id}
	alone = keys.read_file(archive(private, passphrase.encode()), NOW, passphrase=passphrase)
	assert (alone.key_id, alone.certificate) == (made.key_id, "")


@pytest.mark.parametrize(
	("file", "passphrase", "code"),
	[
		(archive(EC, b"another"), PASSPHRASE, "key_passphrase"),
		(archive(EC, b"another"), Secret(""), "key_passphrase"),
		(archive(None, PASSPHRASE.encode(), MADE["ES256"].certificate), PASSPHRASE, "key_passphrase"),
		(archive(ed448.Ed448PrivateKey.generate(), PASSPHRASE.encode()), PASSPHRASE, "key_unreadable"),
		(archive(ec.generate_private_key(ec.SECP384R1()), PASSPHRASE.encode()), PASSPHRASE, "key_algorithm"),
		(Secret(base64.b64encode(b"0 begins like one").decode()), PASSPHRASE, "key_passphrase"),
		(Secret("no base64"), PASSPHRASE, "key_unreadable"),
		(Secret("A" * 300_000), PASSPHRASE, "key_unreadable"),
		(
			Secret(base64.b64encode(pem(EC, passphrase=b"another").encode()).decode()),
			PASSPHRASE,
			"key_passphrase",
		),
	],
	ids=range(9),
)
def test_a_file_that_cannot_be_used(file: Secret, passphrase: Secret, code: str) -> None:
	"""Nothing of it, and not the passphrase, is in a traceback with locals."""
	with pytest.raises(ConfigurationError) as caught:
		keys.read_file(file, NOW, passphrase=passphrase)
	assert caught.value.code == code
	shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
	inside = shown.partition("read_file")[2]
	assert PASSPHRASE not in inside
	if len(file) > 60:
		assert file[20:60] not in inside
		assert repr(base64.b64decode(file[20:60]))[2:-1] not in inside


@pytest.mark.parametrize("scalar", [43, 379])
def test_zeros_at_the_start_of_a_coordinate(scalar: int) -> None:
	"""A coordinate has all its octets (RFC 7518 6.2.1.2): a shorter one is refused as no key."""
	key = ec.derive_private_key(scalar, ec.SECP256R1())
	jwk = keys.public_jwk(key)
	coordinates = [base64.urlsafe_b64decode(jwk[name] + "=") for name in ("x", "y")]
	assert [len(octets) for octets in coordinates] == [32, 32] and any(
		octets[0] == 0 for octets in coordinates
	)
	assert jwt.PyJWK(jwk, algorithm="ES256").key.public_numbers() == key.public_key().public_numbers()


def test_what_is_published() -> None:
	"""No member of a private JWK (RFC 7518 6.2.2, 6.3.2); the name is the thumbprint of RFC 7638, as its example has it."""
	for key in MADE.values():
		assert not {"d", "p", "q", "dp", "dq", "qi", "k"}.intersection(key.public())
		assert key.key_id == keys.thumbprint(key.public())
	example = {
		"kty": "RSA",
		"e": "AQAB",
		"n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
	}
	assert keys.thumbprint(example) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_openssl_reads_it() -> None:
	"""The key and certificate that this app makes are those that another library reads."""
	if sys.platform == "win32":
		pytest.skip("no openssl")
	key = keys.generate("PS256", "Acme", NOW)
	ran = subprocess.run(
		["openssl", "x509", "-noout", "-subject"], input=key.certificate, capture_output=True, text=True
	)
	assert "Acme" in ran.stdout
	ran = subprocess.run(
		["openssl", "pkey", "-noout", "-check"], input=key.pem, capture_output=True, text=True
	)
	assert "valid" in ran.stdout


def test_the_secret_stays_secret(config: Settings, server: Hostile, http: Http) -> None:
	"""Not in the text of an error that echoes the assertion."""
	config = changed(config, authentication="private_key_jwt", signing_key=MADE["ES256"], issuer=ISSUER)

	def echo(request: Request) -> Any:
		return as_json(
			{"error": "invalid_client", "error_description": request.form["client_assertion"]}, 401
		)

	server.script("/token", echo)
	with pytest.raises(ConfigurationError) as caught:
		token_endpoint.request(*config, FORM, http)
	assert caught.value.code == "invalid_client"
	assert server.requests[-1].form["client_assertion"][20:60] not in str(caught.value)
	assert CLIENT_SECRET not in str(caught.value)


@pytest.mark.parametrize(
	"name", ["ش" * 40, "日本語の会計ソフト株式会社、とても長い名前", "é" * 64, "\ud800", ""]
)
def test_certificates_of_providers_in_any_script(name: str) -> None:
	"""The bound of a common name is 64 bytes, not letters."""
	key = keys.generate("ES256", name, NOW)
	subject = x509.load_pem_x509_certificate(key.certificate.encode()).subject.rfc4514_string()
	assert subject.removeprefix("CN=") in (name or "connected_app") or name == "\ud800"


def test_a_certificate_that_cannot_be_read_is_not_taken() -> None:
	"""Of an unknown version, or a kind of key that is not known here: as one that belongs to another key."""
	key = MADE["ES256"]
	der = x509.load_pem_x509_certificate(key.certificate.encode()).public_bytes(serialization.Encoding.DER)
	version, kind = bytes.fromhex("a003020102"), bytes.fromhex("06072a8648ce3d0201")
	for changed_der in (der.replace(version, version[:-1] + b"\x07"), der.replace(kind, kind[:-1] + b"\x09")):
		assert changed_der != der
		text = base64.b64encode(changed_der).decode()
		beside = f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"
		assert keys.read(key.pem + beside, NOW).certificate == ""


def test_a_key_out_of_a_json_file() -> None:
	"""Google's key files have `\\n` in two characters."""
	escaped = MADE["PS256"].pem.replace("\n", "\\n")
	assert keys.read('{"private_key": "' + escaped + '"}', NOW).key_id == MADE["PS256"].key_id


def test_what_begins_often_and_never_ends() -> None:
	began = time.process_time()
	with pytest.raises(ConfigurationError):
		keys.read("-----BEGIN A-----" * 2900, NOW)
	assert time.process_time() - began < 0.5


@pytest.mark.parametrize(("algorithm", "copies"), [("RS256", 1), ("", 2)])
def test_a_refused_key_is_in_no_traceback(algorithm: str, copies: int) -> None:
	"""Error logs may print locals."""
	pem = MADE["ES256"].pem
	with pytest.raises(ConfigurationError) as caught:
		keys.read(Secret(pem * copies), NOW, algorithm)
	shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
	assert "fitting" in shown or "blocks" in shown
	assert pem.splitlines()[1] not in shown.replace(repr(str(pem)), "")
