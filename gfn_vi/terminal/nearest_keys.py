"""Which keys of a configuration a person may have meant by one that it does not have."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

MOST_SHOWN = 4


def nearest_keys(key: str, config: Mapping[str, object]) -> str:
    """Return the keys that are closest to a dotted key, in words: "trainer.n_trajectories", "a.x or b.x"; "" if none is close.

    Those in the same place count most, then those that end in the same name, then those whose name is spelled alike, or begins or
    ends with it. Of several, those that lie least deep are shown.
    """
    place, _, name = key.rpartition(".")
    by_name: dict[str, list[str]] = {}
    for found in _keys(config):
        by_name.setdefault(found.rpartition(".")[2], []).append(found)
    beside = [other for other, found in by_name.items() if f"{place}.{other}".lstrip(".") in found]
    if key in by_name.get(name, []):
        return key
    plain = name.replace("-", "_")
    names = _like(plain, beside) if place else []
    if names:
        nearest = [f"{place}.{other}" for other in names]
    else:
        nearest = sorted((found for other in _like(plain, list(by_name)) for found in by_name[other]), key=_depth)
        nearest = [found for found in nearest if _depth(found) == _depth(nearest[0])]
    return " or ".join(filter(None, [", ".join(nearest[: MOST_SHOWN - 1]), *nearest[MOST_SHOWN - 1 : MOST_SHOWN]]))


def _like(name: str, names: list[str]) -> list[str]:
    if name in names:
        return [name]
    if alike := difflib.get_close_matches(name, names, n=1, cutoff=0.75):
        return alike
    if parts := [other for other in names if other.startswith(f"{name}_") or other.endswith(f"_{name}")]:
        return parts
    if parts := [other for other in names if len(name) > 2 and other.startswith(name)]:
        return parts
    return difflib.get_close_matches(name, names, n=1, cutoff=0.7)


def _depth(key: str) -> int:
    return key.count(".")


def _keys(config: Mapping[str, object], place: str = "") -> Iterator[str]:
    for name, value in config.items():
        if str(name).startswith("_"):
            continue
        key = f"{place}{name}"
        yield key
        if isinstance(value, Mapping):
            yield from _keys(value, f"{key}.")
