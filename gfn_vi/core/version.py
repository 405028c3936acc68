"""The release of the package, where every room can read it; setup.cfg has the same."""

from __future__ import annotations

VERSION = "0.1.0"
