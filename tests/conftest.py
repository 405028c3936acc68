"""For all tests."""

from __future__ import annotations

import signal

# A shell that starts pytest in the background makes it and all its children deaf to Ctrl-C, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)
