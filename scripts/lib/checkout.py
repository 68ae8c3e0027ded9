"""Where things are in this checkout."""

from __future__ import annotations

import pathlib

APP = "connected_app"
CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
VENVS = CHECKOUT / ".venvs"
