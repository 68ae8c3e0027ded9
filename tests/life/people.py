"""Who connects, and what both sides of the story know."""

from __future__ import annotations

ALICE, BOB, CAROL, DAVE = (f"{name}@life.example" for name in ("alice", "bob", "carol", "dave"))
ERIN, FRANK, GRACE, ALICIA = (f"{name}@life.example" for name in ("erin", "frank", "grace", "alicia"))
PASSWORD = "correct-horse-battery"
