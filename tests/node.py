"""Servers that run in Node.js, each in a process of its own, with the packages that are installed in its folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

# Seconds in which one has to be ready, at the first attempt and at further ones.
READY = (15, 30, 60)


def is_available(folder: Path, package: str) -> bool:
	"""Whether there is Node.js, and `package` is installed in `folder`."""
	return bool(shutil.which("node")) and (folder / "node_modules" / package).is_dir()


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[dict[str, Any]]:
	"""Run the folder's `server.mjs` as long as the `with` block lasts.

	:param settings: environment variables
	:returns: the JSON that it prints when it is ready
	"""
	complaints = tempfile.TemporaryFile("w+")
	process, line = _begun(folder, settings, complaints)
	try:
		if not line:
			status = process.wait()
			complaints.seek(0)
			raise RuntimeError(
				f"The server in {folder.name} ended with status {status} before it was ready:\n{complaints.read()}"
			)
		yield json.loads(line)
	finally:
		process.terminate()
		try:
			process.wait(5)
		except subprocess.TimeoutExpired:
			process.kill()
			process.wait()
		if process.stdout:
			process.stdout.close()
		complaints.close()


def _begun(folder: Path, settings: dict[str, str], complaints: IO[str]) -> tuple[subprocess.Popen[str], str]:
	"""The process, and the line that it prints when it is ready. Once in a hundred starts, Node's threads wait for each other
	forever. With one thread that has not been seen in 200 starts, so it is started again with one."""
	for seconds in READY:
		process = subprocess.Popen(
			["node", "--single-threaded", "server.mjs"],
			cwd=folder,
			env={**os.environ, **settings},
			stdin=subprocess.DEVNULL,
			stdout=subprocess.PIPE,
			stderr=complaints,
			text=True,
		)
		assert process.stdout
		watch = threading.Timer(seconds, process.kill)
		watch.start()
		line = process.stdout.readline()
		watch.cancel()
		if line or process.wait() != -signal.SIGKILL:
			break
		process.stdout.close()
	return process, line
