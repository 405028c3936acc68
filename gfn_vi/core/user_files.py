"""Files of the user's that a key of the configuration names: their content is part of what a run is, so it has a digest.

Functions of the user's are given as my_module.my_function; the digests of their modules are in gfn_vi/runs/sources.py.
"""

from __future__ import annotations

import hashlib
import importlib
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gfn_vi.core.errors import ConfigError, require

DIGITS = 16


def expanded(path: str, key: str) -> Path:
    """Return a path with ~ and ~user as home folders; a relative one begins in the working folder.

    Raises ConfigError(key) for the home of nobody.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigError(key, path, "nobody here has such a home folder: expected ~/... or a path without ~") from None


def read(path: str, key: str) -> bytes:
    """Return the whole content of a file; relative paths start in the working folder, ~ is the home folder.

    Raises ConfigError(key) for what is no file or has no content.
    """
    place = expanded(path, key)
    require(path != "" and not place.is_dir(), key, path, "this is a folder: expected a file")
    try:
        content = place.read_bytes()
    except FileNotFoundError:
        raise ConfigError(key, path, f"there is no such file; it was looked for at {place.absolute()}") from None
    except OSError as error:
        raise ConfigError(key, path, f"the file cannot be read: {error.strerror or error}") from error
    require(content.strip() != b"", key, path, "the file is empty")
    return content


def read_known(path: str, known: str | None, key: str, thing: str) -> bytes:
    """Return the content of a file that was read before. known: the digest that it had when the run was named, None for any.

    thing: what the file holds, for the message. Raises ConfigError(key) for changed content, too.
    """
    content = read(path, key)
    found = digest(content)
    changed = f"the file has changed: its digest was {known} and now is {found}; start a run of the new {thing}"
    require(known in (None, found), key, path, changed)
    return content


def digest(content: bytes) -> str:
    """Return the first 16 hexadecimal digits of the content's SHA-256; another content makes another run."""
    return hashlib.sha256(content).hexdigest()[:DIGITS]


def located(name: str, key: str) -> Callable[..., Any]:
    """Return the function of that dotted name. Raises ConfigError(key) where there is none."""
    module, _, attribute = name.rpartition(".")
    require(module != "", key, name, f"expected my_module.{name or 'my_function'}")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            advice = f"no module named {module}; one of yours is found in the current folder or on PYTHONPATH"
            raise ConfigError(key, name, advice) from error
        raise
    if not callable(found):
        raise ConfigError(key, name, f"there is no function {attribute} in {module}")
    function: Callable[..., Any] = found
    return function


def failure(error: BaseException) -> str:
    """Return what was raised and where, in one line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {' '.join(str(error).split())}; {last.filename}, line {last.lineno}"
