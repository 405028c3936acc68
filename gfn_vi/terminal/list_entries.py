"""Words of a command line that take an entry of a list for a key, or a list for a choice: what was read, and what to type."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gfn_vi.terminal.choices import shipped_folder, target_of

ENTRY = re.compile(r"(?P<list>.+)\.\d+")


def into_a_list(word: str) -> str | None:
    """Return the message for a choice that is put into a list, +exploration@exploration.components.0=on_policy.

    None for a word that puts no choice anywhere. Hydra puts a choice under a key, and a list has none.
    """
    found = re.fullmatch(r"[+~]*(?P<group>[\w/]+)@(?P<place>[\w.]+)=(?P<choice>.*)", word)
    if found is None:
        return None
    inner = ENTRY.fullmatch(found["place"])
    place = inner["list"] if inner else found["place"]
    entry = target_of(found["group"], found["choice"])
    typed = f"{place}='[{{_target_:{entry or '...'},...}},...]'"
    return f"{word}: {place} is a list, which takes no choices: type {typed} with all its entries, as --cfg job shows"


def mistaken_list(words: Sequence[str]) -> str | None:
    """Return the message for a word on which Hydra would break down or be silent: see below; None where there is none."""
    return _deleted_entry(words) or list_of_choices(words)


def list_of_choices(words: Sequence[str]) -> str | None:
    """Return the message for objective=[a,b]: Hydra merges their keys into one choice, of which the last decides.

    Functions such as glob([a,b]) and mappings, which change keys of a choice, are something else.
    """
    for word in (re.sub(r"['\"]|(?<=,) ", "", word) for word in words):  # grids write lists as Python does
        found = re.fullmatch(r"\+*(?P<key>(?P<group>[\w/]+)(?:@[\w.]+)?)=(?P<value>[^(){}]*\[[^(){}]*)", word)
        if found is None or word.count("[") != word.count("]") or not (shipped_folder() / found["group"]).is_dir():
            continue
        if found["group"] == "logger":
            return f"{word}: a list merges their keys into one logger; both at once are logger=both"
        typed = f"{found['key']}={re.sub(r'[][]', '', found['value'])}"
        several = f"several runs are -m {typed}" if "," in typed else f"type {typed}"
        return f"{word}: expected one choice, since a list merges their keys into one; {several}"
    return None


def _deleted_entry(words: Sequence[str]) -> str | None:
    """Return the message for an entry of a list that is to be deleted, ~sampler.hidden.0, on which Hydra breaks down."""
    for word in words:
        inner = ENTRY.fullmatch(word.partition("=")[0].lstrip("~"))
        if word.startswith("~") and inner:
            return f"{word}: an entry of a list is not deleted by itself: type {inner['list']}=[...] with what is left"
    return None


def entry_in_brackets(word: str) -> str | None:
    """Return the message for sampler.hidden[0]=3, whose brackets Hydra takes for a part of a value; None for other words."""
    found = re.fullmatch(r"[+~]*(?P<list>[\w./@]+)\[(?P<place>\d+)\](?P<rest>[\w.]*)=(?P<value>.*)", word)
    if found is None:
        return None
    typed = f"{found['list']}.{found['place']}{found['rest']}={found['value']}"
    return f"{word}: an entry of a list is named with a point: type {typed}"
