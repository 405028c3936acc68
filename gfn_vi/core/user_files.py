"""Files of the user's that a key of the configuration names: their content is part of what a run is, so it has a digest.

Functions of the user's are files, too: they are given as my_module.my_function.
"""

from __future__ import annotations

import hashlib
import importlib
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gfn_vi.core.errors import ConfigError, require

DIGITS = 16


def read(path: str, key: str) -> bytes:
    """Return the whole content of a file; relative paths start in the working folder.

    Raises ConfigError(key) for what is no file or has no content.
    """
    place = Path(path).expanduser()
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


def module_digest(name: str) -> str | None:
    """Return the digest of the source of a module, found as an import would find it, without running it.

    None for a module of gfn_vi, whose commit a run records, and for one that is not there or has no source. What the module
    imports is not looked at. Packages that it lies in are imported on the way.
    """
    if name == "" or name.partition(".")[0] == "gfn_vi":
        return None
    try:
        found = find_spec(name)
    except (ImportError, ValueError):  # whoever builds from the module says what is wrong with it
        return None
    if found is None or not found.has_location or found.origin is None:
        return None
    return digest(Path(found.origin).read_bytes())


def check_source(name: str, known: str | None, key: str) -> None:
    """Raise ConfigError(key) unless the module of a function has the digest that is known; None for any."""
    found = module_digest(name.rpartition(".")[0])
    changed = f"its module has changed: its digest was {known} and now is {found}; start a run of the new function"
    require(known in (None, found), key, name, changed)


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
