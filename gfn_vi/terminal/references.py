"""Which keys of a configuration other keys point to: ${trainer.n_trajectories}, ${.path}, ${oc.select:width,64}."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from gfn_vi.terminal.choices import config_folders

# An interpolation with no other inside; the beginning of one that has another inside; what OmegaConf's resolvers look up.
POINTERS = (
    re.compile(r"\$\{\s*([^${}:,]+?)\s*\}"),
    re.compile(r"\$\{\s*([^${}:,]+?)\.?\$\{"),
    re.compile(r"\boc\.(?:select|dict\.keys|dict\.values):\s*([^${},]+?)\s*[,}]"),
)


def references(config: object, place: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the dotted key of everything that a configuration (plain containers, not resolved) points to.

    place: the keys that lead to `config`, to which pointers with leading dots are relative.
    """
    if isinstance(config, Mapping):
        for key, value in config.items():
            yield from references(value, (*place, str(key)))
    elif isinstance(config, list):
        for i, value in enumerate(config):
            yield from references(value, (*place, str(i)))
    elif isinstance(config, str) and "${" in config:
        for found in _pointers(config):
            yield _absolute(found, place)


def _pointers(text: str) -> Iterator[str]:
    for pattern in POINTERS:
        yield from pattern.findall(text)


def _absolute(pointer: str, place: tuple[str, ...]) -> str:
    plain = re.sub(r"\[([^\]]*)\]", r".\1", pointer)
    name = plain.lstrip(".")
    n_dots = len(plain) - len(name)
    above = place[: len(place) - n_dots] if n_dots and pointer.startswith(".") else ()
    return ".".join([*above, *([name] if name else [])])


def is_pointed_to(key: str, pointers: Collection[str]) -> bool:
    """Return whether one of the pointers leads to the key, to something in it, or to what the key lies in."""
    return any(f"{key}.".startswith(f"{pointer}.") or pointer.startswith(f"{key}.") for pointer in pointers)


def pointers_of_all_choices() -> set[str]:
    """Return what the YAML files that can be chosen from point to, without pointers that are relative to their place."""
    texts = (path.read_text(encoding="utf-8") for folder in config_folders() for path in folder.rglob("*.yaml"))
    return {_absolute(found, ()) for text in texts for found in _pointers(text) if not found.startswith(".")}
