"""The virtualenvs of the checkout, in `.venvs/`, and the npm packages of the folders in `tests/` that have some."""

from __future__ import annotations

import hashlib
import pathlib
import shutil
import sys

from scripts.lib.checkout import CHECKOUT, VENVS
from scripts.lib.console import Problem, say
from scripts.lib.processes import locked, run

# The oldest libraries the app promises to run on: what Frappe 15 pins.
OLDEST = ["requests-oauthlib==1.3.1", "oauthlib==3.2.2", "PyJWT==2.8.0"]
ENVIRONMENTS = {"pinned": (".[test]", OLDEST), "newest": (".[test,check,libraries]", [])}


def venv_python(name: str) -> pathlib.Path:
	"""The interpreter of `.venvs/<name>`, which is made or renewed first when pyproject.toml has changed."""
	install, extra = ENVIRONMENTS[name]
	folder = VENVS / name
	python = folder / "bin" / "python"
	stamp = folder / ".stamp"
	# The path is part of it: a virtualenv that was copied along with its checkout is not usable.
	wanted = hashlib.sha256(
		repr((sys.version, str(CHECKOUT), install, extra)).encode()
		+ (CHECKOUT / "pyproject.toml").read_bytes()
	).hexdigest()
	with locked(VENVS / f".{name}.lock", f".venvs/{name}"):
		if stamp.exists() and stamp.read_text() == wanted and python.exists():
			return python
		say(f"… installing .venvs/{name} (once; later runs reuse it)")
		shutil.rmtree(folder, ignore_errors=True)
		code, output = run([sys.executable, "-m", "venv", folder])
		if code:
			shutil.rmtree(folder, ignore_errors=True)
			if "ensurepip" in output or "No module named venv" in output:
				raise Problem(
					"Python's venv module is missing on this machine: install it (on Debian and Ubuntu: "
					"apt-get install python3-venv) and run this again."
				)
			raise Problem(f"a virtualenv could not be made in .venvs/{name}:\n{output[-2000:]}")
		pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
		code, output = run([*pip, "-U", "pip"])
		if not code:
			code, output = run([*pip, "-U", "-e", install, *extra], cwd=CHECKOUT)
		if code:
			raise Problem(f"the libraries for .venvs/{name} could not be installed:\n{output[-3000:]}")
		stamp.write_text(wanted)
	return python


# Once in a hundred starts, Node's threads wait for each other forever.
ONE_THREAD = "--single-threaded"
# What the tests of both lanes talk to.
NODE_SERVERS = ("tests/certified", "tests/mcp_sdk")


def install_npm_packages(folder: str) -> str | None:
	"""Install what package.json in this folder of the checkout asks for.

	:return: why that cannot be done, in one sentence
	"""
	if not shutil.which("node") or not shutil.which("npm"):
		return f"the tests in {folder} were left out: they need Node.js 20 or newer and npm"
	path = CHECKOUT / folder
	npm = [shutil.which("npm")]
	script = pathlib.Path(npm[0]).resolve()
	if script.suffix == ".js":
		npm = ["node", ONE_THREAD, script]
	with locked(VENVS / f".{path.name}.lock", folder):
		# What an interrupted install left, or another version, is not good enough.
		if run([*npm, "ls"], cwd=path)[0] == 0:
			return None
		say(f"… installing the npm packages of {folder}")
		# With a lock file, what it says.
		verb = ["ci"] if (path / "package-lock.json").exists() else ["install", "--no-package-lock"]
		code, output = run([*npm, *verb, "--no-audit", "--no-fund", "--loglevel=error"], cwd=path)
	return f"the npm packages of {folder} could not be installed: {output.strip()[-600:]}" if code else None
