from __future__ import annotations

from ..helpers import OpenIDProvider


def test_repeated_parameter(op: OpenIDProvider) -> None:
	"""RFC 6749 3.1: an answer with a parameter twice is refused"""
	for name in ("state", "code", "iss"):
		value = op.callback()[name]
		op.refuses("parameter_repeated", callback=op.callback(**{name: [value, value]}))
	assert op.server.requests == []
