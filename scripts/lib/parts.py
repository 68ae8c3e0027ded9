"""Parts of a test run, side by side: each in a process of its own, with its output in a file."""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import connection

from scripts.lib.checkout import CHECKOUT
from scripts.lib.console import Problem, say
from scripts.lib.failures import failures
from scripts.lib.processes import exit_on_signals, signals_wait

LOGS = CHECKOUT / "test-logs"
# Of the output of a part that failed.
SHOWN = 400
# Seconds: a part that hangs is ended, and the others go on.
LONGEST = 40 * 60


@dataclass
class Counts:
	"""What one part came to."""

	passed: int = 0
	failed: int = 0
	skipped: int = 0
	notes: list[str] = field(default_factory=list)
	# A line for each check that failed.
	failures: list[str] = field(default_factory=list)

	def add(self, what: str, passed: int, failed: int, skipped: int = 0) -> None:
		self.notes.append(f"{what} {passed}" + (f" and {failed} FAILED" if failed else ""))
		self.passed += passed
		self.failed += failed
		self.skipped += skipped

	def __str__(self) -> str:
		words = [f"{self.passed} passed"] if self.passed or not self.notes else []
		words += [f"{self.failed} FAILED"] if self.failed else []
		words += [f"{self.skipped} skipped"] if self.skipped else []
		return "; ".join([", ".join(words), *self.notes] if words else self.notes)


@dataclass(frozen=True)
class Part:
	name: str
	work: Callable[[Counts], None]

	@property
	def log(self) -> pathlib.Path:
		return LOGS / ("".join(c if c.isalnum() or c in ".-" else "-" for c in self.name) + ".log")


def run_parts(parts: list[Part], at_once: int) -> dict[str, Counts]:
	"""Run them in this order, `at_once` at a time; gives what each came to, by its name."""
	shutil.rmtree(LOGS, ignore_errors=True)
	LOGS.mkdir()
	say(f"{len(parts)} parts, {at_once} at a time; the output of each is in {LOGS.name}/")
	results: dict[str, Counts] = {}
	waiting, running = list(parts), {}
	try:
		while waiting or running:
			while waiting and len(running) < at_once:
				part = waiting.pop(0)
				running[part] = _begin(part)
				say(f"… {part.name}")
			connection.wait([process.sentinel for process, *_ in running.values()], timeout=min(LONGEST, 10))
			for part, (process, reader, began) in list(running.items()):
				ended = ""
				if process.is_alive():
					if time.monotonic() - began < LONGEST:
						continue
					ended = f"it was ended after {_minutes(LONGEST)}"
					process.terminate()
				process.join()
				del running[part]
				try:
					counts = reader.recv()
				except EOFError:
					counts = Counts(failed=1, notes=[ended or "it was killed"])
				results[part.name] = counts
				if counts.failed:
					counts.failures = failures(part.log.read_text(errors="replace"))
				say(
					f"{'FAILED' if counts.failed else 'ok'}  {part.name}: {counts} ({_minutes(time.monotonic() - began)})"
				)
				if counts.failed:
					_show(part)
	finally:
		with signals_wait():
			for process, *_ in running.values():
				process.terminate()
			for process, *_ in running.values():
				process.join(120)
	return {part.name: results[part.name] for part in parts}


def _begin(part: Part) -> tuple:
	# Forked: a part is a closure, and what it imports is loaded already.
	fork = multiprocessing.get_context("fork")
	reader, writer = fork.Pipe(duplex=False)
	process = fork.Process(target=_run, args=(part, writer))
	process.start()
	writer.close()
	return process, reader, time.monotonic()


def _run(part: Part, writer) -> None:
	with open(part.log, "wb") as log:
		for stream in (1, 2):
			os.dup2(log.fileno(), stream)
	exit_on_signals()
	counts = Counts()
	try:
		part.work(counts)
	except Problem as problem:
		say(f"! {problem}")
		counts.failed += 1
		counts.notes.append(f"did NOT run: {problem}")
	except Exception:
		traceback.print_exc()
		counts.failed += 1
		counts.notes.append("the script itself failed")
	sys.stdout.flush()
	writer.send(counts)


def _show(part: Part) -> None:
	lines = part.log.read_text(errors="replace").splitlines()
	say(f"--- {part.name}: {f'the last {SHOWN} of ' if len(lines) > SHOWN else ''}{len(lines)} lines")
	say("\n".join(lines[-SHOWN:]))
	say("---")


def _minutes(seconds: float) -> str:
	return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
