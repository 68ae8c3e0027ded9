from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .targets import ATTEMPT, ISSUER, SEEDS, TARGETS

# Files of Windows are like this, too, and cryptography says so.
pytestmark = pytest.mark.filterwarnings("ignore:PKCS#12 bundle could not be parsed as DER")
TEXT = st.text(max_size=30)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
JSON = st.recursive(
	SCALARS,
	lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
	max_leaves=6,
)
FAST = settings(max_examples=150)


def document(names: tuple[str, ...], likely: dict[str, Any]) -> st.SearchStrategy[bytes]:
	"""A JSON object with some of `names`, right or not."""
	values = {name: st.just(value) | JSON for name, value in likely.items()}
	return st.fixed_dictionaries({}, optional={**{name: JSON for name in names}, **values}).map(
		lambda value: json.dumps(value).encode()
	)


SEED_CLAIMS = json.loads(SEEDS["id_token_claims"][0])
CLAIMS = document(("azp", "nbf", "at_hash", "tid", "auth_time"), SEED_CLAIMS)
KEYS = st.lists(
	st.fixed_dictionaries(
		{"kty": st.sampled_from(["RSA", "EC", "OKP", "oct", "x"]) | JSON},
		optional={
			name: JSON | st.sampled_from(["AQAB", "P-256", "Ed25519", "sig", "RS256"])
			for name in ("n", "e", "d", "crv", "x", "y", "k", "kid", "use", "alg", "key_ops")
		},
	)
	| JSON,
	max_size=4,
).map(lambda keys: json.dumps({"keys": keys}).encode())
QUERIES = st.lists(
	st.tuples(
		st.sampled_from(["state", "code", "iss", "error", "error_description"]) | TEXT,
		st.sampled_from([str(ATTEMPT.state), ISSUER, "c"]) | TEXT,
	),
	max_size=7,
).map(lambda pairs: urlencode(pairs).encode())
STRUCTURED: dict[str, st.SearchStrategy[bytes]] = {
	"callback": QUERIES,
	"discovery": document(
		("token_endpoint", "jwks_uri", "id_token_signing_alg_values_supported", "userinfo_endpoint"),
		{"issuer": ISSUER, "token_endpoint_auth_methods_supported": ["client_secret_basic"]},
	),
	"token_response": st.tuples(
		st.binary(min_size=2, max_size=2),
		document(("error_description", "ok", "id_token", "error_code"), {
			"access_token": "a", "refresh_token": "r", "expires_in": "3600", "scope": "a b", "token_type": "bot",
			"error": "invalid_grant", "authed_user": {"access_token": "n"},
		}),
	).map(b"".join),
	"id_token_text": CLAIMS,
	"id_token_claims": CLAIMS,
	"id_token_header": document(("jku", "jwk", "x5u", "crit", "typ", "b64"), {"alg": "none", "kid": "k"}),
	"key_set": KEYS,
	"key_file": st.tuples(
		st.sampled_from(SEEDS["key_file"]), st.integers(0, 1200), st.binary(max_size=3)
	).map(lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] + len(parts[2]) :]),
}  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
def test_bytes(name: str) -> None:
	FAST(given(st.binary(max_size=200))(TARGETS[name]))()


# Of certificates that it still takes, against RFC 5280, such as one with a negative serial number.
@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@pytest.mark.parametrize("name", TARGETS)
def test_structured(name: str) -> None:
	FAST(given(STRUCTURED[name])(TARGETS[name]))()


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
	for seed in SEEDS[name]:
		TARGETS[name](seed)
