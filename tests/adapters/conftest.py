from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from connected_app.oauth import Http, Refresher, Settings, TokenSource
from connected_app.oauth.provider import Quirks

from ..helpers import Clock, a_grant, changed
from ..stores import MemoryStore

# Makes a source of the store; quirks by their names.
MakeSource = Callable[..., TokenSource]


@pytest.fixture
def store() -> MemoryStore:
	return MemoryStore(a_grant())


@pytest.fixture
def make_source(config: Settings, store: MemoryStore, http: Http, clock: Clock) -> MakeSource:
	def make(**quirks: Any) -> TokenSource:
		settings = changed(config, quirks=replace(Quirks(), **quirks))
		return TokenSource(Refresher(*settings, store, http, clock))

	return make


@pytest.fixture
def source(make_source: MakeSource) -> TokenSource:
	return make_source()
