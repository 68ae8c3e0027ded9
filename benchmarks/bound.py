"""GETs with a token that is bound to a key (DPoP): `python benchmarks/bound.py API ROUNDS`.

`connected_app.oauth` alone, with a grant that is kept in memory. Prints one line of JSON.
"""

from __future__ import annotations

import json
import pathlib
import sys

import measure

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from connected_app.oauth import Client, Grant, Http, Provider, Secret, dpop
from connected_app.oauth.refresh import Refresher
from connected_app.oauth.session import Session
from tests.stores import MemoryStore


def main(api: str, rounds: str) -> None:
	grant = Grant(access_token=Secret("a" * 40), token_type=dpop.TOKEN_TYPE, dpop_key=dpop.new_key())
	client = Client(client_id="client", scopes=("read",), dpop=True)
	http = Http(allow_http_loopback=True)
	provider = Provider(token_uri=api + "/token")
	session = Session(Refresher(provider, client, MemoryStore(grant), http))
	print(json.dumps(measure.get(lambda: session, api, 10 * int(rounds))))


if __name__ == "__main__":
	main(*sys.argv[1:])
