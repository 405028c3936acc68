"""Words of a command line that are no overrides: what was read, and what to type."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Collection, Sequence
from itertools import pairwise

from gfn_vi.terminal.list_entries import entry_in_brackets

# Dashes and quotation marks that word processors put in the place of those of a keyboard.
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
QUOTES = "\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb"
QUOTATION_MARKS = "\"'"
PAIRS = {"[": "]", "{": "}", "(": ")"}


def unreadable(word: str, reason: str, words: Sequence[str]) -> str:
    """Return the message for a word that Hydra cannot read as an override.

    reason: what Hydra says; words: the command line as it was typed, in which the word may be a part of what was meant.
    """
    key, equals, value = word.partition("=")
    if word[0] in DASHES:
        return f"{word}: it begins with {_named(word[0])}: type {re.sub(f'^[{DASHES}]+', '--' if len(word) > 2 else '-', word)}"
    whole = entry_in_brackets(word) or _taken_apart(word, words)
    if whole is not None:
        return whole
    if not equals:
        return _without_value(word)
    if key != key.strip() and "[" not in key:
        return f"{word}: no space around the equal sign: type {key.strip()}={value.strip()}"
    if value[0] == "=":
        return f"{word}: an equal sign too many: type {key}={value.strip('= ')}"
    return f"{word}: {_of_a_value(key, value, reason)}"


def braces_taken_apart(words: Sequence[str]) -> str | None:
    """Return the message for a mapping that the shell has divided: a={b:1,c:2} without quotes is a=b:1 a=c:2 for bash."""
    parts: dict[str, list[str]] = {}
    for word in words:
        key, _, value = word.partition("=")
        if re.match(r"\[?[\w.@/]+:[^/]", value):
            parts.setdefault(key, []).append(value)
    for key, values in parts.items():
        if len(values) > 1:
            is_list = all(value[0] == "[" and value[-1] == "]" for value in values)
            inner = ",".join(value[1:-1] if is_list else value for value in values)
            meant = f"[{{{inner}}}]" if is_list else f"{{{inner}}}"
            return f"{key}={values[0]}: the shell has taken braces apart: type {shlex.quote(f'{key}={meant}')}"
    return None


def dashed_key(words: Sequence[str], keys: Collection[str]) -> str | None:
    """Return the message for a key that is written as an option: --seed 3, --target.side=4. keys: those of the top level."""
    for word, after in pairwise([*words, ""]):
        name, equals, value = word.lstrip("-").partition("=")
        if word.startswith("-") and name.partition(".")[0].partition("@")[0] in keys and len(name) > 1:
            typed = value if equals else "VALUE" if "=" in after or after.startswith("-") or not after else after
            return f"{word}: a key has no dashes in front: type {name}={typed}"
    return None


def _without_value(word: str) -> str:
    key, colon, value = word.partition(":")
    if colon and key:
        return f"{word}: no = in it: type {key.strip()}={value.strip() or '...'}"
    return f"{word}: no EQUAL sign (=) in it: type {word}=VALUE"


def _taken_apart(word: str, words: Sequence[str]) -> str | None:
    """Return the message for a part of what stood between spaces: key = value, [64, 64]; None for a word of its own."""
    if word not in words:
        return None
    i = words.index(word)
    before, after = words[i - 1] if i else "", words[i + 1] if i + 1 < len(words) else ""
    if word.endswith("=") and word.strip("=") and after and "=" not in after and not after.startswith("-"):
        return f"{word} {after}: no space after the equal sign: type {word}{after}"
    if word.strip("=") == "" or after[:1] == "=" or before == "=":
        start = i - 1 if word[0] == "=" else i - 2 if before == "=" else i
        meant = " ".join(words[max(start, 0) : start + 3 if "=" in words[max(start, 0) + 1 : start + 2] else start + 2])
        return f"{meant}: no space around the equal sign: type {re.sub(r' *= *', '=', meant)}"
    for first in range(i, -1, -1) if "=" not in word else (i,):
        before, meant, last = " ".join(words[first:i]), " ".join(words[first : i + 1]), i + 1
        if before and not (_is_open(before) or before.endswith((",", "=")) or word.startswith(",")):
            continue
        while last < len(words) and (_is_open(meant) or meant.rstrip().endswith(",")) and "=" not in words[last]:
            meant, last = f"{meant} {words[last]}", last + 1
        if "=" in words[first] and last > first + 1 and not _is_open(meant):
            return f"{meant}: the spaces took it apart: leave them out, or type {shlex.quote(meant)}"
    return None


def _is_open(text: str) -> bool:
    return any(text.count(opening) > text.count(closing) for opening, closing in PAIRS.items())


def _of_a_value(key: str, value: str, reason: str) -> str:  # noqa: PLR0911 - one for each kind of mistake
    """Return what is wrong with the value of a key and what to type."""
    if evaluated := re.search(r"\w+ while evaluating '(.+)': (.+)", reason):
        function, why = evaluated.groups()
        return f"no values; give at least one, {key}=a,b" if "empty choice" in why else f"{function}: {why}"
    plain = value.translate({ord(dash): "-" for dash in DASHES})
    if plain != value and re.fullmatch(r"[\w.,+\[\]-]+", plain, re.ASCII):
        found = next(character for character in value if character in DASHES)
        return f"{_named(found)} is no minus sign: type {key}={plain}"
    if bent := [character for character in value if character in QUOTES]:
        straight = re.sub(f"[{QUOTES}]", '"', value)
        return f"{_named(bent[0])} is no quotation mark of a keyboard: type {shlex.quote(f'{key}={straight}')}"
    for opening, closing in PAIRS.items():
        if value.count(opening) != value.count(closing):
            return f"{opening} and {closing} come in unequal numbers: close each, and put the word in quotes for the shell"
    if value.count('"') % 2 or value.count("'") % 2:
        return f"a quotation mark is open: type {in_quotes(key, value.strip(QUOTATION_MARKS))}"
    if "," in value and re.search(r",\s*(,|$|[\]}])|[\[{=]\s*,|^,", value):
        kept = re.sub(r",+", ",", value).strip(",").replace(",]", "]").replace("[,", "[")
        return f"a comma too many: type {key}={kept}"
    if value and value[0] in PAIRS:
        about = (
            f"{_strange(value)}: texts in it go in quotes" if _strange(value) else "several values of a key in it go in quotes"
        )
        form = '={a:"0,1",b:"a text"}' if value[0] == "{" else '=[{a:"0,1"}]' if "{" in value else '=["a text","b"]'
        return f"{about}, as in {shlex.quote(key + form)}"
    about = _strange(value) or "it is read as more than a text"
    return f"{about}: a text with it goes in quotes: type {in_quotes(key, value)}"


def in_quotes(key: str, value: str) -> str:
    """Return how a text is given to a key, quoted for Hydra and for the shell."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"') if value.endswith("\\") or '"' in value else value
    return shlex.quote(f'{key}="{escaped}"')


def _strange(value: str) -> str:
    """Return the first character that a text without quotes cannot have, in words; "" if there is none."""
    found = re.search(r"[^\w\s/\-\\+.$%*@?|:,\[\]{}]", value, re.ASCII)
    if found is None:
        return ""
    character = found.group()
    return f"{character} is read as a sign" if character.isascii() else f"{_named(character)} is no plain letter"


def _named(character: str) -> str:
    return f"{character} (U+{ord(character):04X}, {unicodedata.name(character, 'unnamed').lower()})"
