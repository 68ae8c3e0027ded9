from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What scripts/demo does on a bench, without the bench: something that runs to its end first, then waiting.
WAITING = """
import importlib.machinery, importlib.util, sys
sys.path.insert(0, "scripts")
loader = importlib.machinery.SourceFileLoader("demo_script", "scripts/demo")
demo = importlib.util.module_from_spec(importlib.util.spec_from_loader("demo_script", loader))
loader.exec_module(demo)
demo._bench.exit_on_signals()
assert demo.run_until_stopped([sys.executable, "-c", ""]) == 0
print("waiting", flush=True)
demo.wait_until_stopped()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_can_be_stopped(number: signal.Signals) -> None:
	command = [sys.executable, "-B", "-c", WAITING]
	with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
		try:
			assert process.stdout and process.stdout.readline() == "waiting\n"
			process.send_signal(number)
			assert process.wait(20) == 128 + number
		finally:
			process.kill()


def test_a_checkout_that_is_in_the_bench_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
	"""`bench get-app` makes a real folder of it: nothing has to be linked. Another's folder is left alone."""
	monkeypatch.syspath_prepend(str(ROOT / "scripts"))
	import _bench

	bench = _bench.Bench(tmp_path)
	folder = tmp_path / "apps" / "connected_app"
	folder.mkdir(parents=True)
	with contextlib.ExitStack() as stack:
		bench._borrow_link(stack, folder, folder)
	assert folder.is_dir() and not folder.is_symlink()
	with contextlib.ExitStack() as stack, pytest.raises(_bench.Problem, match="is a real folder"):
		bench._borrow_link(stack, folder, ROOT)
