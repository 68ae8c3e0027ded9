from __future__ import annotations

from ..helpers import OpenIDProvider


def test_missing_state(op: OpenIDProvider) -> None:
	"""fapi2 ensure-authorization-response-with-missing-state-fails (core-defects 1)"""
	op.refuses("state_mismatch", callback=op.callback(state=None))
	op.refuses("state_mismatch", callback=op.callback(state=""))
	op.refuses("state_mismatch", callback={})
	assert op.server.requests == []
