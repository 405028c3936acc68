"""For all tests."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

# A shell that starts pytest in the background makes it and all its children deaf to Ctrl-C, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)

# `benchmark` is the folder of that name there, as for `python scripts/benchmark.py`.
sys.path.append(str(Path(__file__).parents[1] / "scripts"))
