from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

PROGRAM = """
import os, pkgutil, sys
before = dict(os.environ)

class Blocked:
	def find_spec(self, name, path=None, target=None):
		if name.partition(".")[0] in ("frappe", "pymysql", "psycopg2", "redis", "werkzeug", "demo", "tests"):
			raise ImportError("not here: " + name)

sys.meta_path.insert(0, Blocked())
sys.modules["frappe"] = None
import connected_app.oauth as oauth
for module in pkgutil.iter_modules(oauth.__path__):
	__import__("connected_app.oauth." + module.name)
provider = oauth.Provider(authorization_uri="https://p.example/a", token_uri="https://p.example/t")
oauth.begin(provider, oauth.Client(client_id="c"))
changed = {name for name in {*before, *os.environ} if before.get(name) != os.environ.get(name)}
assert not changed, changed
others = {name.partition(".")[0] for name in sys.modules} & {"httpx", "httpx2", "anyio", "google", "azure", "mcp"}
assert not others, others
loaded = [name for name in sys.modules if name.startswith("connected_app.") and not name.startswith("connected_app.oauth")]
assert not loaded, loaded
"""


def test_no_frappe_and_no_environment() -> None:
	"""core-defects 11: `oauth/` imports neither Frappe nor the rest of the app, and sets no environment variable."""
	# With an empty environment: this process has imported the package already.
	done = subprocess.run(
		[sys.executable, "-W", "error", "-c", PROGRAM], cwd=ROOT, env={}, capture_output=True, text=True
	)
	assert done.returncode == 0, done.stderr
