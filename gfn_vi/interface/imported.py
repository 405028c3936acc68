"""The user's modules as this process has imported them: Python reads a file once, and a notebook edits it and goes on.

A run records the digest that each file has when it is trained. In a process that imported an earlier version, that would be a
digest of code that was not run. So what was imported is remembered here, and a file that has changed since is refused. A module
that somebody reloads has another specification, which tells that its code is the new one.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gfn_vi.core.errors import RunError
from gfn_vi.runs.sources import sources_of

# File -> the specification of the module that was made of it, and the digest that the file had.
_imported: dict[str, tuple[object, str]] = {}


@contextmanager
def code_as_imported(config: Mapping[str, Any]) -> Iterator[None]:
    """Build from a configuration inside of the block. Raises RunError for a file that has changed since it was imported."""
    importlib.invalidate_caches()  # a file that was written a moment ago is found
    sources = sources_of(config)
    for name, digest in sources.items():
        spec, before = _imported.get(name, (None, digest))
        if before != digest and spec is _specification(name):
            module = _module(name)
            again = f"importlib.reload(sys.modules[{module!r}]) reads it again, as a new process does"
            raise RunError(f"{name} has changed since this program imported it, and its old code would run: {again}")
    try:
        yield
    finally:
        for name, digest in sources.items():
            spec = _specification(name)
            if spec is not None and _imported.get(name, (None, ""))[0] is not spec:
                _imported[name] = (spec, digest)


def _module(name: str) -> str:
    """Return the dotted name of the module that a file is: my_package, of my_package/__init__.py."""
    stem = name.removesuffix("/__init__.py")
    return (stem if stem != name else name.rpartition(".")[0]).replace("/", ".")


def _specification(name: str) -> object:
    """Return the specification of the module that this process has imported from a file; None where it has not."""
    return getattr(sys.modules.get(_module(name)), "__spec__", None)
