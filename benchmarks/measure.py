"""How things are measured: by turns in one process, so that a busy machine is as busy for one as for the other."""

from __future__ import annotations

import gc
import pathlib
import statistics
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import requests

MAKE = Callable[[], requests.Session]


def timed(work: Callable[[], Any]) -> float:
	"""Seconds that `work` takes."""
	begin = time.perf_counter()
	work()
	return time.perf_counter() - begin


def by_turns(rounds: int, **works: Callable[[], float]) -> dict[str, float]:
	"""The median of the seconds that each of `works` gives, over as many `rounds`."""
	samples: dict[str, list[float]] = {name: [] for name in works}
	for _ in range(rounds):
		for name, work in works.items():
			samples[name].append(work())
	return {name: statistics.median(values) for name, values in samples.items()}


def resident() -> int:
	"""Bytes of memory that this process holds, rubbish collected."""
	gc.collect()
	pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
	return pages * 4096


def get(make: MAKE, api: str, rounds: int) -> dict[str, float]:
	"""One GET through a session that is made for it, and one through a bare `requests.Session` that stays.

	:param make: gives a new authorized session
	:param api: where benchmarks/api.py listens
	"""
	url = api + "/hello"
	token = make().token["access_token"]
	bare = requests.Session()

	def through_bare() -> float:
		return timed(lambda: bare.get(url, headers={"Authorization": f"Bearer {token}"}))

	works = {"bare": through_bare, "ours": lambda: timed(lambda: make().get(url))}
	by_turns(20, **works)
	before = _connections(api)
	found = by_turns(rounds, **works)
	# Asking for the number is one connection.
	return {**found, "connections": _connections(api) - before - 1, "rounds": rounds}


def memory(work: Callable[[], Any], warm_up: int, number: int) -> dict[str, float]:
	"""What this process holds after `warm_up` times `work`, and after `number` times more."""
	for _ in range(warm_up):
		work()
	before = resident()
	for _ in range(number):
		work()
	return {"before": before, "after": resident(), "number": number}


def _connections(api: str) -> int:
	with urllib.request.urlopen(api + "/connections", timeout=10) as answer:
		return int(answer.read())
