"""Servers that the tests talk to and that only Debian has: unpacked into `.venvs/`, not installed."""

from __future__ import annotations

import pathlib
import re
import shutil
import tempfile

from scripts.lib.checkout import VENVS
from scripts.lib.console import say
from scripts.lib.processes import locked, run

IMPATIENT = ("-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=20")


def unpack(package: str) -> str | None:
	"""Have `package`, with the libraries that this machine lacks, in `.venvs/<package>`, if it is not installed.

	:return: why that cannot be done, in one sentence
	"""
	if shutil.which(package):
		return None
	target = VENVS / package
	with locked(VENVS / f".{package}.lock", package):
		if (target / "usr/bin" / package).exists():
			return None
		if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
			return f"{package} was left out: it is not installed, and this machine is no Debian"
		code, output = run(["apt-get", "install", "--simulate", "--no-install-recommends", package])
		names = re.findall(r"^Inst (\S+)", output, re.M)
		if code or package not in names:
			return f"{package} was left out: this machine's Debian does not have it ({output.strip()[-200:]})"
		say(f"… unpacking Debian's {package} (once; later runs reuse it)")
		# Pages for people, and how it would be set up, are of no use.
		wanted = [name for name in names if name == package or re.match(r"lib(?!js-)", name)]
		with tempfile.TemporaryDirectory(dir=VENVS) as folder:
			code, output = run(["apt-get", "download", *IMPATIENT, *wanted], cwd=folder)
			root = pathlib.Path(folder) / "root"
			for file in pathlib.Path(folder).glob("*.deb"):
				code = code or run(["dpkg-deb", "-x", file, root])[0]
			if code:
				return f"{package} was left out: its packages could not be had: {output.strip()[-200:]}"
			shutil.rmtree(target, ignore_errors=True)
			root.rename(target)
	return None
