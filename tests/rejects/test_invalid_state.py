from __future__ import annotations

from ..helpers import OpenIDProvider


def test_invalid_state(op: OpenIDProvider) -> None:
	"""fapi2 ensure-authorization-response-with-invalid-state-fails (core-defects 1)"""
	other = op.attempt.state
	op.begin()
	for state in (other, op.attempt.state[:-1], op.attempt.state + "x", "\ud800"):
		op.refuses("state_mismatch", callback=op.callback(state=state))
	assert op.server.requests == []
