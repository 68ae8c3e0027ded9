"""Coverage-guided fuzzing of the same targets, for a bounded time: `python -m tests.fuzz.run [SECONDS_EACH [TARGET]]`.

Needs atheris. With a target's name it fuzzes in this process, which libFuzzer ends; without, each target in a process
of its own. Exit code 0: nothing was found.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

SECONDS = 4


def fuzz(name: str, seconds: int, folder: str) -> None:
	import atheris

	with atheris.instrument_imports(include=["connected_app.oauth"]):
		from . import targets
	corpus = Path(folder, "corpus")
	corpus.mkdir()
	for number, seed in enumerate(targets.SEEDS[name]):
		(corpus / str(number)).write_bytes(seed)
	options = [
		f"-max_total_time={seconds}",
		"-timeout=5",
		"-rss_limit_mb=1024",
		"-max_len=4096",
		"-close_fd_mask=1",
	]
	atheris.Setup([sys.argv[0], f"-artifact_prefix={folder}/", *options, str(corpus)], targets.TARGETS[name])
	atheris.Fuzz()


def main(arguments: list[str]) -> int:
	seconds = int(arguments[0]) if arguments else SECONDS
	if len(arguments) > 1:
		with tempfile.TemporaryDirectory() as folder:
			fuzz(arguments[1], seconds, folder)
	from .targets import TARGETS

	failed = 0
	for name in TARGETS:
		command = [sys.executable, "-m", "tests.fuzz.run", str(seconds), name]
		done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
		runs = re.findall(r"Done (\d+) runs", done.stderr)
		print(
			f"{name}: {runs[-1] if runs else 'no'} runs{'' if done.returncode == 0 else ', FAILED'}",
			flush=True,
		)
		if done.returncode or not runs:
			failed += 1
			print(done.stderr[-4000:])
	return 1 if failed else 0


if __name__ == "__main__":
	sys.exit(main(sys.argv[1:]))
