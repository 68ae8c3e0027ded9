"""Processes, signals, ports and locks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

from scripts.lib.checkout import CHECKOUT, VENVS
from scripts.lib.console import Problem, say


def exit_on_signals() -> None:
	"""Turn a polite kill into an ordinary exit, so that every `with` block cleans up."""

	def leave(number, _frame):
		ignore_signals()
		sys.exit(128 + number)

	for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
		signal.signal(number, leave)


def ignore_signals() -> None:
	"""A second Ctrl-C must not stop the cleaning up."""
	for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
		signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def signals_wait() -> Iterator[None]:
	"""Signals wait while a borrowed thing is given back."""
	numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
	before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
	try:
		yield
	finally:
		signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start(command, **options) -> subprocess.Popen:
	"""Start a process in a group of its own: a Ctrl-C reaches this script only, which then ends the group."""
	options.setdefault("stdin", subprocess.DEVNULL)
	return subprocess.Popen(
		[str(part) for part in command],
		start_new_session=True,
		preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, set()),
		**options,
	)


def stop(process: subprocess.Popen, patience: float = 20) -> None:
	if process.poll() is not None:
		return
	for number, wait in ((signal.SIGTERM, patience), (signal.SIGKILL, 5)):
		with contextlib.suppress(ProcessLookupError):
			os.killpg(process.pid, number)
		with contextlib.suppress(subprocess.TimeoutExpired):
			process.wait(wait)
			return


def stop_quietly(process: subprocess.Popen, patience: float = 20) -> None:
	with signals_wait():
		stop(process, patience)


def run(command, show=False, **options) -> tuple[int, str]:
	"""Run to the end; returns exit code and output (also shown line by line if asked)."""
	process = start(
		command,
		stdout=subprocess.PIPE,
		stderr=subprocess.STDOUT,
		text=True,
		errors="replace",
		**options,
	)
	lines = []
	try:
		for line in process.stdout:
			lines.append(line)
			if show:
				sys.stdout.write(line)
				sys.stdout.flush()
		code = process.wait()
	finally:
		stop(process, patience=10)
	return code, "".join(lines)


def environment(**own: str) -> dict[str, str]:
	"""For processes that import from the checkout.

	Python keeps its bytecode, in a folder of the checkout's own: a bench is not written to, and hundreds of processes do
	not compile Frappe each.
	"""
	kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
	return {**kept, "PYTHONPATH": str(CHECKOUT), "PYTHONPYCACHEPREFIX": str(VENVS / "bytecode"), **own}


@contextlib.contextmanager
def serving(*command) -> Iterator[str]:
	"""A server of the checkout while the block runs; gives the line that it prints when it is ready."""
	process = start(command, cwd=CHECKOUT, env=environment(), stdout=subprocess.PIPE, text=True)
	try:
		line = process.stdout.readline().strip()
		if not line:
			raise Problem(f"{command[-1]} did not start: see the lines above.")
		yield line
	finally:
		stop_quietly(process)
		process.stdout.close()


def process_runs(number: str) -> bool:
	"""Whether there is a process of this ID; also where the text is none."""
	return not number.isdigit() or pathlib.Path(f"/proc/{number}").exists()


def free_port() -> int:
	with socket.socket() as probe:
		probe.bind(("127.0.0.1", 0))
		return probe.getsockname()[1]


def answers(host: str, port: int) -> bool:
	with contextlib.suppress(OSError):
		socket.create_connection((host, port), timeout=2).close()
		return True
	return False


def wait_for(check, seconds: float, process: subprocess.Popen | None = None) -> bool:
	deadline = time.monotonic() + seconds
	while time.monotonic() < deadline:
		if check():
			return True
		if process is not None and process.poll() is not None:
			return False
		time.sleep(0.2)
	return False


@contextlib.contextmanager
def locked(path: pathlib.Path, waiting_for: str) -> Iterator[None]:
	path.parent.mkdir(parents=True, exist_ok=True)
	with open(path, "w") as handle:
		try:
			fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
		except BlockingIOError:
			say(f"… waiting: {waiting_for} is in use by another run of these scripts")
			fcntl.flock(handle, fcntl.LOCK_EX)
		yield
