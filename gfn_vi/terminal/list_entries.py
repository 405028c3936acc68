"""Words of a command line that take an entry of a list for a key of its own: what was read, and what to type."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gfn_vi.terminal.choices import target_of

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


def deleted_entry(words: Sequence[str]) -> str | None:
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
