"""What the tests came to."""

from __future__ import annotations

from scripts.lib.console import say


class Summary:
	def __init__(self):
		self.lines = []
		self.passed = self.failed = 0

	def add(self, what: str, passed: int, failed: int, skipped: int = 0, note: str = "") -> None:
		self.passed += passed
		self.failed += failed
		text = f"{passed} test{'' if passed == 1 else 's'} passed"
		text += f", {failed} FAILED" if failed else ""
		text += f", {skipped} skipped" if skipped else ""
		self.lines.append(f"{what}: {text}{' ' + note if note else ''}")

	def note(self, what: str, text: str, failed: bool = False) -> None:
		self.failed += failed
		self.lines.append(f"{what}: {text}")

	def show(self) -> None:
		say()
		say("Summary")
		for line in self.lines:
			say(f"  {line}")
		say(f"{self.passed} passed, {self.failed} failed")
