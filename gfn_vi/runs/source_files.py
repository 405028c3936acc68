"""Which files of the user's Python code a configuration depends on, found without running any of it.

A configuration names code in `_target_: my_targets.BitStrings`, `function: my_module.my_function` and `path: my_module.f` of
Hydra's own get_method. A file counts where an import of such a name executes it, or where a file that counts imports it, at any
place of its text. Not counted are gfn_vi, torch and Hydra (a run records their versions), the standard library and installed
packages. A file's name is that of its module, so it is the same on every machine: my_targets.py, my_package/__init__.py.

What nobody can see in the text is not found: a module whose name is computed, a class of a notebook, a file that is read.
"""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import SOURCE_SUFFIXES, ModuleSpec, all_suffixes
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gfn_vi.core import user_files
from gfn_vi.runs.identity import of_the_run
from gfn_vi.runs.provenance import PACKAGES

OURS = (*PACKAGES, "hydra_plugins")  # a run records versions, wherever they are installed
INSTALLED = ("site-packages", "dist-packages")
STANDARD = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
OF_HYDRA = "hydra.utils.get_"  # get_method and its kind have the name of what they return under `path`

Version = tuple[int, int, int]


@dataclass(frozen=True)
class SourceFile:
    """A file of the user's that an import executes. module: its dotted name."""

    module: str
    path: Path
    is_package: bool

    @property
    def name(self) -> str:
        """Return the file's name, relative to the folder that the import begins in."""
        parts = self.module.split(".")
        return "/".join([*(parts if self.is_package else parts[:-1]), self.path.name])

    @property
    def package(self) -> list[str]:
        """Return the parts of the package that relative imports of this file begin in."""
        parts = self.module.split(".")
        return parts if self.is_package else parts[:-1]


def code_named_by(config: Mapping[str, Any]) -> set[str]:
    """Return the dotted names of code in a configuration, infrastructure left out: a logger is no part of what a run is."""
    return set(_named(of_the_run(config)))


def _named(node: object) -> Iterator[str]:
    if isinstance(node, Mapping):
        is_of_hydra = str(node.get("_target_", "")).startswith(OF_HYDRA)
        for key, value in node.items():
            if isinstance(value, str) and (key in ("_target_", "function") or (is_of_hydra and key == "path")):
                yield value
            else:
                yield from _named(value)
    elif isinstance(node, Sequence) and not isinstance(node, (str, bytes)):
        for value in node:
            yield from _named(value)


def digests_of(names: Iterable[str]) -> dict[str, str]:
    """Return file -> digest, of all files of the user's that these dotted names depend on, as they are now."""
    todo, seen, found = sorted(names), set(), {}
    while todo:
        dotted = todo.pop()
        if dotted in seen:
            continue
        seen.add(dotted)
        for file in executed_by(dotted):
            if file.name not in found and (version := _version(file.path)) is not None:
                found[file.name] = _digest(file.path, version)
                todo += _imported(file, version)
    return dict(sorted(found.items()))


def digest_now(name: str) -> str | None:
    """Return the digest of the file of this name as it is now; None where it is not found from here."""
    stem = name.removesuffix("/__init__.py") if name.endswith("/__init__.py") else name.rpartition(".")[0]
    module = stem.replace("/", ".")
    for file in executed_by(module):
        if file.name == name and (version := _version(file.path)) is not None:
            return _digest(file.path, version)
    return None


def executed_by(dotted: str) -> Iterator[SourceFile]:
    """Yield the files of the user's that importing a dotted name executes, packages first; what is no module ends it."""
    parts = dotted.split(".")
    spec = _spec(parts[0])
    if spec is None:
        return
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    origin = Path(spec.origin) if spec.has_location and spec.origin is not None else None
    if not any(map(_is_users, [*folders, *([] if origin is None else [origin])])):
        return
    if origin is not None:
        yield SourceFile(parts[0], origin, bool(folders))
    for depth, part in enumerate(parts[1:], start=2):
        origin, folders = _inside(folders, part)
        if origin is not None:
            yield SourceFile(".".join(parts[:depth]), origin, bool(folders))


def _spec(top: str) -> ModuleSpec | None:
    """Return how an import would find a module that lies in no package, which runs nothing."""
    if not top.isidentifier() or top in OURS or top in sys.stdlib_module_names:
        return None
    try:
        return find_spec(top)
    except (ImportError, ValueError):  # a module that a program made by itself has no specification
        return None


def _is_users(path: Path) -> bool:
    return set(INSTALLED).isdisjoint(path.parts) and not any(path.is_relative_to(folder) for folder in STANDARD)


def _inside(folders: Sequence[Path], part: str) -> tuple[Path | None, list[Path]]:
    """Return the file of a module in these folders of its package, and its own folders where it is a package."""
    for folder in folders:
        package = folder / part / "__init__.py"
        if package.is_file():
            return package, [folder / part]
        for suffix in all_suffixes():
            if (module := folder / f"{part}{suffix}").is_file():
                return module, []
    return None, [folder / part for folder in folders if (folder / part).is_dir()]


def _version(path: Path) -> Version | None:
    """Return numbers that differ after every change of the file; None where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


@lru_cache(maxsize=1024)
def _digest(path: Path, version: Version) -> str:
    return user_files.digest(path.read_bytes())


def _imported(file: SourceFile, version: Version) -> list[str]:
    """Return the dotted names that a file imports anywhere in its text; of a compiled or a broken one none."""
    names = []
    for level, module, attributes in _imports(file.path, version):
        above = file.package[: len(file.package) - level + 1] if level else []
        base = ".".join([*above, *([module] if module else [])])
        names += [base, *(f"{base}.{attribute}" for attribute in attributes)]
    return [name for name in names if name]


def _imported_by_call(node: ast.Call) -> str | None:
    """Return the name in import_module("my_module"); None for any other call, and for one whose name is computed or relative."""
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
    named = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
    return named if called in ("import_module", "__import__") and isinstance(named, str) else None


@lru_cache(maxsize=1024)
def _imports(path: Path, version: Version) -> list[tuple[int, str | None, tuple[str, ...]]]:
    """Return (level, module, names) of each import: level 0 for `import module`, n for `from ...module import names`."""
    if path.suffix not in SOURCE_SUFFIXES:
        return []
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError):  # whoever imports it is told
        return []
    found: list[tuple[int, str | None, tuple[str, ...]]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(0, alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module, tuple(alias.name for alias in node.names)))
        elif isinstance(node, ast.Call) and (name := _imported_by_call(node)) is not None:
            found.append((0, name, ()))
    return found
