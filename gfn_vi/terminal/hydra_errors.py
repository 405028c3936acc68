"""What Hydra and OmegaConf refuse, in one line that names the key, what was read, and the form to type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverrideParseException
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gfn_vi.core.command_line import key_of
from gfn_vi.core.errors import ConfigError
from gfn_vi.signatures import located, parameters_of, suggestion
from gfn_vi.terminal.choices import GROUPS, OPEN, choices_of, has_key, inner_choices, keys_of_file, owners_of, similar_choices
from gfn_vi.terminal.grammar import in_quotes, unreadable
from gfn_vi.terminal.list_entries import ENTRY, into_a_list
from gfn_vi.terminal.nearest_keys import nearest_keys
from gfn_vi.terminal.typed_words import typed_words, way_to_sweep

# Launcher that a preset of ours builds on -> the extra of this package that installs its plugin.
EXTRAS = {"joblib": "local", "submitit_slurm": "slurm", "submitit_local": "slurm", "ray_plugin": "ray"}
# A key that is null until it is given a value as a whole -> the form of that value.
FORMS = {"evaluation.headline": "{metric:...,direction:...,worst:...,words:...}"}
KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}


def in_one_line(error: BaseException, of_a_sweep: bool = False) -> str:
    """Return the message for a user; ours are passed as they are.

    of_a_sweep: whether Hydra was composing what all jobs share, without the choices that have several values.
    """
    if isinstance(error, OverrideParseException):
        return unreadable(error.override, str(error), typed_words())
    if isinstance(error, MissingConfigException):
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        if group == "hydra/launcher" and choice in EXTRAS:
            return f"hydra/launcher={EXTRAS[choice]}: its plugin is not installed: pip install 'gfn_vi[{EXTRAS[choice]}]'"
        if error.options is not None:
            return _unknown_choice(error.missing_cfg_file or "", list(error.options))
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, OmegaConfBaseException):
        ours = _of_a_resolver(cause)
        if ours is not None:
            return str(ours) if "." in ours.key else f"{ours} (asked for by {cause.full_key})"
        unknown = _unknown_key(cause, str(error), of_a_sweep)
        if unknown is not None:
            return unknown
    return _of_a_list(str(error), str(cause)) or _of_an_override(error, cause) or _joined(str(error))


def _joined(text: str) -> str:
    lines = [line.strip() for line in text.splitlines()]
    about = [line for line in lines if line and not line.startswith(("object_type=", "reference_type="))]
    return re.sub(r"\s+", " ", "; ".join(about)).replace(":;", ":")


def _of_an_override(error: BaseException, cause: BaseException | None) -> str | None:  # noqa: PLR0911 - one for each of Hydra's
    """Return the message for what Hydra says of an override that it could read; None for anything else."""
    text = str(error)
    if found := re.match(r"Could not override '([^']+)'\.(?s:.*?)(?:use \+(.*))?$", text):
        key, added = found.group(1), (found.group(2) or "").strip()
        candidates = re.search(r"Did you mean to override (?:one of )?(.+)\?", text)
        return _unused_group(key, added.partition("=")[2], candidates.group(1).split(", ") if candidates else [])
    if found := re.search(r"Ambiguous value for argument '([^=]+)=(.+)'\n", text):
        key, values = found.groups()
        otherwise = f"one list is {key}=[{values}], one text {in_quotes(key, values)}"
        return f"{key}={values}: several values are a sweep: {way_to_sweep()}; {otherwise}"
    if found := re.match(r"Error merging override (.+)", text):
        kind = re.search(r"could not be converted to (\w+)", str(cause))
        why = f"expected {KINDS[kind.group(1)]}" if kind and kind.group(1) in KINDS else _joined(str(cause)).partition(";")[0]
        return f"{found.group(1)}: {why}"
    if found := re.search(r"An item is already at '(.+)'", text):
        typed = next((w.lstrip("+") for w in typed_words() if w.startswith(f"+{found.group(1)}=")), f"{found.group(1)}=...")
        return f"{found.group(1)}: this key is there already: type {typed}"
    if found := re.match(r"Could not delete (?:from config\. )?'?([^']+)", text):
        return f"~{found.group(1).strip('. ')}: there is no such key or choice here; see --cfg job"
    if found := re.search(r"call to target '(.+)':[\s\S]*unexpected keyword argument '(\w+)'[\s\S]*full_key: (\S+)", text):
        target, name, place = found.groups()
        known = list(parameters_of(located(target, place)) or ())
        return f"{place}.{name}: no such key{suggestion(name, known, place)}; keys of {place}: {', '.join(known)}"
    if found := re.match(r"Multiple values for ([^\s]+)\.", text):
        return f"+{found.group(1)}: a choice of this group is made already: type {found.group(1)}={_typed(found.group(1))}"
    if "override must be a string or a list." in text:
        return _no_choice(typed_words())
    if found := re.match(r"Sweep parameters '(.+)' requires --multirun", text):
        return f"{found.group(1)}: several values are a sweep: {way_to_sweep()}"
    if found := re.match(r"Hydra (sweeper|launcher) is not configured", text):
        node = f"hydra.{found.group(1)}"
        return f"{node}=null: expected keys with values of their own: {node}.KEY=..."
    if found := re.match(r"Sweeping over Hydra's configuration is not supported : '(?:hydra\.sweeper\.params\.)?(.+)'", text):
        word = found.group(1)
        advice = "give it one value" if word.startswith("hydra") else f"an axis is a word of its own: -m {word}"
        return f"{word.partition('=')[0]}: settings of Hydra are no axes: {advice}"
    if found := re.match(r"(\S+) appears more than once in the final defaults list", text):
        word = next((word for word in typed_words() if "=[" in word), found.group(1))
        return f"{word}: {found.group(1)} is chosen more than once; one run has one choice, several runs are -m group=a,b"
    return None


def _of_a_list(text: str, cause: str) -> str | None:
    """Return the message for a word that takes an entry of a list for a key; None for anything else."""
    if "Cannot merge DictConfig with ListConfig" in text:
        return next(filter(None, map(into_a_list, typed_words())), None)
    if (found := re.match(r"Could not override '(\w+@[\w.]+)'", text)) and ENTRY.fullmatch(found[1]):
        return into_a_list(f"{found[1]}={_typed(found[1])}")
    if "list index out of range" in cause and (found := re.match(r"Error merging override (\+*(.+)\.\d+=.*)", text)):
        return f"{found[1]}: {found[2]} has no such entry: type {found[2]}=[...] with all of them"
    return None


def _of_a_resolver(error: BaseException) -> ConfigError | None:
    """Return the error of one of our resolvers, without what OmegaConf wraps around it; None if there is none."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, ConfigError):
        inner = inner.__cause__ or inner.__context__
    return inner


def _no_choice(words: Sequence[str]) -> str:
    """Return the message for a group that is given null or a number: Hydra says no more than that there is one."""
    for word in words:
        key, _, value = word.lstrip("+").partition("=")
        if not key:
            return f"{word}: a key is missing before =: type key={value}"
        known = choices_of(key.partition("@")[0])
        if known and any(re.fullmatch(r"null|true|false|[-+.\d]+|\{.*\}", choice.strip(), re.I) for choice in value.split(",")):
            return f"{key}={value}: a group needs a choice instead, or leave the word out; choices: {', '.join(known)}"
    return "a group=null needs a choice instead, see --help"


def _unknown_choice(path: str, options: list[str]) -> str:
    group, _, choice = path.rpartition("/")
    if not group:
        return f"no config named {path}{suggestion(path, options)}"
    outer, _, inner = path.partition("/")
    if outer != "hydra" and not any(key_of(word).partition("@")[0] == group for word in typed_words()):
        group, choice = outer, inner
    if group.startswith("hydra/"):
        return f"{group}={choice}: no such choice{suggestion(choice, options)}; choices: {', '.join(options)}"
    similar = ", ".join(f"{group}={other}" if "/" in other else other for other in similar_choices(group, choice))
    folder = choice.rpartition("/")[0]
    known = [option for option in choices_of(group) if option.rpartition("/")[0] == folder] or choices_of(group)
    listed = f"choices: {', '.join(known)}" if known else "see --help"
    return f"{group}={choice}: no such choice{f'; did you mean {similar}?' if similar else ''}; {listed}"


def _unused_group(key: str, choice: str, candidates: list[str]) -> str:
    """Return the message for a choice of a group from which nothing is chosen in this place.

    candidates: where Hydra found that the group is chosen from.
    """
    group, _, place = key.partition("@")
    typed = choice if _typed(key) == "..." else _typed(key)
    if candidates:
        forms = " or ".join(f"{candidate}={typed}" for candidate in candidates)
        return f"{key}: nothing is chosen from this group here; type {forms}"
    owners = owners_of(group)
    if not place:
        forms = "; ".join(f"{made}={typed} goes with {' or '.join(with_)}" for made, with_ in owners.items())
        return f"{key}: nothing is chosen from this group here; {forms or 'see --help'}"
    parent = place.partition(".")[0]
    able = [owner.partition("=")[2] for owner in owners.get(key, [])]
    grids = _in_grids(parent, key, typed, able) if able else ""
    advice = f"; choices that have one: {', '.join(able)}{grids}" if able else ""
    return f"{key}: the choice that is made of {parent} has no {group} there{advice}; see its keys with --cfg job"


def _typed(key: str) -> str:
    """Return the value that the command line gives to a key, "..." without one."""
    return next((word.partition("=")[2] for word in typed_words() if key_of(word) == key), "...")


def _in_grids(parent: str, key: str, value: str, able: Sequence[str]) -> str:
    """Return how a sweep gives a key to those choices of `parent` that have it; "" outside of a sweep.

    able: the choices that have the key; those that the command line sweeps over are divided into two products.
    """
    if {"-m", "--multirun"}.isdisjoint(typed_words()):
        return ""
    swept = [choice.strip() for choice in _typed(parent).split(",")]
    value = f'"{value}"' if "," in value else value
    have, others = [c for c in swept if c in able], [c for c in swept if c not in able]
    if not have or not others:
        return f"; in the place of this word: 'hydra.sweeper.grids=[{{{key}:{value}}}]'"
    one, other = (f'{parent}:"{",".join(some)}"' if len(some) > 1 else f"{parent}:{some[0]}" for some in (have, others))
    return f"; in the place of both words: 'hydra.sweeper.grids=[{{{one},{key}:{value}}},{{{other}}}]'"


def _unknown_key(cause: OmegaConfBaseException, text: str, of_a_sweep: bool) -> str | None:
    """Return the message for a key that the node does not have; None for any other mistake."""
    node, key = cause.parent_node, str(cause.full_key or "")
    if not isinstance(node, Mapping) or cause.key is None or not key or cause.key in node:
        return None
    names, place = [str(name) for name in node], key.rpartition(".")[0]
    added = re.search(r"use \+[^=]+=(.*)", text)
    value = added.group(1).strip() if added else "..."
    if place == "hydra.sweeper.params":
        return f"{key}: on a command line, an axis is a word of its own: -m {key.removeprefix(f'{place}.')}=a,b"
    if not names and place in OPEN:
        return f"{key}: no such key{_one_more(node, key, value)}"
    if not names and place.startswith("hydra."):
        whole = f"+{place}={value}" if value.startswith("{") else f"+{key}={value}"
        return f"{key}: {place} has no keys yet: type {whole}"
    if not names:
        return f"{key}: {place} has no keys: give it a value as a whole, {place}={FORMS.get(place, '...')}"
    swept = ""
    if of_a_sweep and place and not place.startswith("hydra"):
        quoted = f'"{value}"' if "," in value else value
        swept = f"; where only choices of the sweep have it: 'hydra.sweeper.grids=[{{{key}:{quoted}}}]'"
    able = [choice for choice in _typed(place).split(",") if has_key(place, choice.strip(), str(cause.key))] if place else []
    if able:
        swept = _in_grids(place, key, _typed(key), [choice.strip() for choice in able])
    known = f"keys of {place or 'the top level'}: {', '.join(name for name in names if name != 'hydra')}"
    return f"{key}: no such key{_advice(cause, key, value)}; {known}{_one_more(node, key, value)}{swept}"


def _advice(cause: OmegaConfBaseException, key: str, value: str) -> str:
    """Return the nearest right form, to be appended: a choice that is made for this key, or the keys spelled most alike."""
    key = key.replace("/", ".")
    name = key.rpartition(".")[2]
    for made, owners in inner_choices().items():
        if made.partition("@")[2] == key or (made.partition("@")[0] == name and name == key):
            return f"; {made}={value} goes with {' or '.join(owners)}"
    root: Any = getattr(cause.parent_node, "_get_root", dict)()
    plain: Any = OmegaConf.to_container(root, resolve=False) if OmegaConf.is_dict(root) else {}
    of_hydra = plain.pop("hydra", {})
    ours = {name: of_hydra.get(name) for name in ("launcher", "sweeper")}
    nearest = nearest_keys(key, {**dict.fromkeys(GROUPS), **plain, "hydra": of_hydra if key.startswith("hydra.") else ours})
    if not nearest:
        return next((f"; {form}" for form in _of_sweeps(name, value)), "")
    return f"; did you mean {nearest}?"


def _of_sweeps(name: str, value: str) -> Iterator[str]:
    """Yield how a key of a sweeper or launcher is given that only some of them have."""
    for group, choice in (("launcher", "local"), ("launcher", "slurm"), ("sweeper", "resume"), ("sweeper", "search")):
        if name in keys_of_file(f"hydra/{group}/{choice}"):
            yield f"hydra.{group}.{name}={value} goes with -m hydra/{group}={choice}"


def _one_more(node: Mapping[Any, Any], key: str, value: str) -> str:
    """Return how a key is added where something would read it, to be appended; "" elsewhere."""
    place, _, name = key.rpartition(".")
    if place in OPEN:
        return f"; one more: +{OPEN[place]}@{place}.NAME=CHOICE"
    target = node.get("_target_") if "_target_" in node else None
    try:
        is_taken = isinstance(target, str) and name in (parameters_of(located(target, place)) or ())
    except Exception:  # noqa: BLE001 - importing a user's own module may raise anything, which its run tells
        return ""
    return f"; {target} takes it: +{key}={value}" if is_taken else ""
