"""What can be measured where there is no Frappe: `python benchmarks/without_frappe.py API ROUNDS SESSIONS`.

`connected_app.oauth` alone, with a grant that is kept in memory. Prints one line of JSON.
"""

from __future__ import annotations

import json
import pathlib
import sys

import measure

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from connected_app.oauth import Client, Grant, Http, Provider, Secret
from connected_app.oauth.refresh import Refresher
from connected_app.oauth.session import Session
from tests.stores import MemoryStore


def main(api: str, rounds: str, sessions: str) -> None:
	provider = Provider(token_uri=api + "/token")
	client = Client(client_id="client", scopes=("read",))
	store = MemoryStore(Grant(access_token=Secret("a" * 40)))
	http = Http(allow_http_loopback=True)

	def make() -> Session:
		return Session(Refresher(provider, client, store, http))

	found = {
		"get": measure.get(make, api, 10 * int(rounds)),
		"memory": measure.memory(
			lambda: make().get(api + "/hello").raise_for_status(), int(sessions) // 10, int(sessions)
		),
	}
	print(json.dumps(found))


if __name__ == "__main__":
	main(*sys.argv[1:])
