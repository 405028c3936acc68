"""Which choices a group has, in which folder they lie, and what a person types to make one."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import yaml

from gfn_vi.terminal.typed_words import typed_words

# What a user gives names in -> the group that its entries are chosen from.
OPEN = {"evaluation.metrics": "metric", "evaluation.observers": "observer", "evaluation.reports": "report"}
# Names of choices that end in a name of their own, as most arms do: arm=paper/reverse_kl.
IN_FOLDERS = "/"
# Groups from which nothing is chosen by default: no configuration has a key of their names.
GROUPS = ("experiment", "preset", "arm", "deviation", "sweep", "debug")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# A line of a defaults list that chooses from another group: `- /penalty@penalty: square`.
DEFAULT = re.compile(r"^\s*- (?:override )?/([\w/]+)@([\w.]+):", re.M)


def config_folders() -> list[Path]:
    """Return the folders that configurations are read from: that of the package and those of --config-dir."""
    return [shipped_folder(), *user_folders(typed_words())]


def shipped_folder() -> Path:
    """Return the folder of the package's YAML files."""
    return Path(str(files("gfn_vi.configs")))


def user_folders(words: Sequence[str]) -> list[Path]:
    """Return the folders of --config-dir X, --config-dir=X and -cd X on a command line."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd", action="append", type=Path, default=[])
    folders: list[Path] = parser.parse_known_args(words)[0].config_dir
    return folders


def choices_of(group: str) -> list[str]:
    """Return the choices of a group in order, those in folders inside of it as folder/choice; [] for what is no group."""
    found = {
        path.relative_to(folder / group).with_suffix("").as_posix()
        for folder in config_folders()
        for path in (folder / group).rglob("*.yaml")
    }
    return sorted(found)


def similar_choices(group: str, word: str) -> list[str]:
    """Return the choices that a word may mean: those of that name in any folder, else the one that is closest to it."""
    known = choices_of(group)
    same = [choice for choice in known if choice.rpartition(IN_FOLDERS)[2] == word.rpartition(IN_FOLDERS)[2]]
    return same or difflib.get_close_matches(word, known, n=1)


def places_of(group: str, made: Iterable[str]) -> list[str]:
    """Return "group@place" of each place where one is chosen in a configuration. made: the keys of hydra.runtime.choices."""
    return [key for key in map(str, made) if key.partition("@")[0] == group and "@" in key and "._global_" not in key]


@lru_cache
def inner_choices() -> dict[str, list[str]]:
    """Return "group@place" -> "owner=choice" of the choices whose YAML says in its defaults that a group is chosen from there."""
    found: dict[str, list[str]] = {}
    parts = keys_of_file("train")
    for path in sorted(shipped_folder().glob("*/*.yaml")):
        owner = path.parent.name
        for group, place in DEFAULT.findall(path.read_text(encoding="utf-8")) if owner in parts else ():
            if not place.startswith("_global_"):
                found.setdefault(f"{group}@{owner}.{place}", []).append(f"{owner}={path.stem}")
    return found


def owners_of(group: str) -> dict[str, list[str]]:
    """Return the inner choices that are made from a group."""
    return {key: owners for key, owners in inner_choices().items() if key.partition("@")[0] == group}


@lru_cache
def keys_of_file(name: str) -> dict[str, object]:
    """Return the keys of a YAML of the package, such as "train" or "evaluation/exact", with null for each choice that it makes.

    What a choice is put into counts as a key: metrics, of `/metric@metrics.exact: exact`. Choices that are null make none.
    """
    content = yaml.load((shipped_folder() / f"{name}.yaml").read_text(encoding="utf-8"), LOADER)
    keys = {key: value for key, value in content.items() if key not in ("defaults", "hydra")}
    for entry in content.get("defaults", []):
        for made, choice in entry.items() if isinstance(entry, Mapping) else ():
            group, _, place = str(made).rpartition(" ")[2].partition("@")
            is_made = choice is not None or place
            if is_made and place != "_global_" and not str(made).startswith(("override ", "optional ")):
                keys.setdefault((place or group.lstrip("/")).partition(".")[0], None)
    return keys


def has_key(group: str, choice: str, name: str) -> bool:
    """Return whether the YAML of a choice, or one that it builds on, has a key of that name."""
    paths = (folder / group / f"{choice}.yaml" for folder in config_folders())
    path = next((path for path in paths if path.is_file()), None)
    content = None if path is None else yaml.load(path.read_text(encoding="utf-8"), LOADER)
    if not isinstance(content, Mapping):
        return False
    bases = [base for base in content.get("defaults", ()) if isinstance(base, str) and base != "_self_"]
    return name in content or any(has_key(group, base, name) for base in bases)


def target_of(group: str, choice: str) -> str | None:
    """Return the `_target_` in the YAML of a choice; None where there is none, or no such choice."""
    paths = (folder / group / f"{choice}.yaml" for folder in config_folders())
    path = next((path for path in paths if path.is_file()), None)
    content = None if path is None else yaml.load(path.read_text(encoding="utf-8"), LOADER)
    return content.get("_target_") if isinstance(content, Mapping) else None


def has_known_arguments(config: object) -> bool:
    """Return whether each node with a `_target_` has only keys that a YAML of the package has for that `_target_`."""
    if isinstance(config, Mapping):
        target = config.get("_target_")
        is_known = target is None or set(map(str, config)) <= _arguments_in_files().get(str(target), set())
        return is_known and all(map(has_known_arguments, config.values()))
    return not isinstance(config, list) or all(map(has_known_arguments, config))


@lru_cache
def _arguments_in_files() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}

    def collect(node: object) -> None:
        if isinstance(node, Mapping):
            if "_target_" in node:
                found.setdefault(str(node["_target_"]), set()).update(map(str, node), inner)
            for value in node.values():
                collect(value)
        elif isinstance(node, list):
            for value in node:
                collect(value)

    for path in shipped_folder().rglob("*.yaml"):
        content = yaml.load(path.read_text(encoding="utf-8"), LOADER)
        entries = content.get("defaults", ()) if isinstance(content, Mapping) else ()
        # what the choices of a defaults list are put into: /penalty@penalty: square
        inner = {str(made).partition("@")[2] for entry in entries if isinstance(entry, Mapping) for made in entry}
        collect(content)
    return found
