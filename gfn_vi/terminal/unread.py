"""Every key of a configuration is read by something, or refused with the nearest right form; nothing heavy is imported.

The plain places (the top level, trainer, checkpoint, evaluation, hydra) have the keys of the package's YAML files. A node with a
`_target_` has the arguments of what it names, which gfn_vi.signatures compares. Any further key is read if another one points to
it (`+width=64 'sampler.hidden=[${width}]'`). Entries that a user names are open: evaluation.metrics, .observers and .reports.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from gfn_vi.core.command_line import key_of
from gfn_vi.core.errors import ConfigError, is_number, require
from gfn_vi.terminal.choices import GROUPS, OPEN, choices_of, keys_of_file, owners_of, places_of, similar_choices
from gfn_vi.terminal.nearest_keys import nearest_keys
from gfn_vi.terminal.references import is_pointed_to, pointers_of_all_choices, references

# Keys that are there for others to point to: whoever writes one on a command line means that something does.
FOR_OTHERS = ("plateau_factor",)
# Where Hydra would write, were a run not written to a folder of its own.
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir")
# Keys of evaluation that may be left out.
OPTIONAL = ("quadrature", "fallback", "references")


def check_keys(config: DictConfig, primary: str = "train") -> None:
    """Raise ConfigError for a key that nothing reads, one that is missing, and a text where a choice belongs.

    config: that of HydraConfig, not resolved; primary: the YAML of the command.
    """
    plain: Any = OmegaConf.to_container(config, resolve=False)
    about: Any = OmegaConf.to_container(HydraConfig.get(), resolve=False)
    plain.pop("hydra", None)
    given = [key_of(word) for word in about["overrides"]["task"]]
    keys = _Keys(plain, about["runtime"]["choices"], given, set(references({**plain, "hydra": about})))
    known, of_evaluation = keys_of_file(primary), keys_of_file("evaluation/exact")
    _check_place(keys, "", plain, known, needed=known if primary == "train" else ())
    for place in ("trainer", "checkpoint"):
        node, inner = plain.get(place), known.get(place)
        if isinstance(inner, Mapping):
            require(isinstance(node, Mapping), place, node, f"expected keys with values of their own: {place}.KEY=...")
            _check_place(keys, place, node, inner, needed=inner)
    if isinstance(plain.get("evaluation"), Mapping):
        needed = [key for key in of_evaluation if key not in OPTIONAL] if primary == "train" else ()
        _check_place(keys, "evaluation", plain["evaluation"], of_evaluation, needed)
    _check_choices(keys)
    for word in about["overrides"]["task"]:
        key, _, value = word.lstrip("+").partition("=")
        expected = f"a mapping is merged into what is there, so {{}} changes nothing; one less is {key}.NAME=null"
        require(value.strip() != "{}" or not _at(plain, key), key, value, expected)
    for word in about["overrides"]["hydra"]:
        folder, _, value = word.lstrip("+~").partition("=")
        expected = "runs lie in <output_root>/<experiment_name>/<run>: set output_root or experiment_name"
        require(folder not in FOLDERS, folder, value, expected)
    _check_below(keys, "hydra", about, _hydra_schema())


@dataclass(frozen=True)
class _Keys:
    """A configuration of plain containers.

    made: group@place -> choice; given: the keys that the command line names; pointers: what any of the keys points to.
    """

    config: Mapping[str, Any]
    made: Mapping[str, Any]
    given: Sequence[str]
    pointers: Collection[str]

    def is_given(self, key: str) -> bool:
        """Return whether the command line names the key, something in it, or what it lies in."""
        return is_pointed_to(key, self.given)


def _check_place(keys: _Keys, place: str, node: Mapping[str, Any], known: Mapping[str, Any], needed: Iterable[str]) -> None:
    """Refuse keys of a plain place that are not known and that nothing points to, and the lack of one that is needed."""
    prefix = f"{place}." if place else ""
    for name, value in node.items():
        key = f"{prefix}{name}"
        if name not in known and (value != {} or (keys.is_given(key) and key not in keys.made)):
            for leaf, found in _leaves(key, value):
                if not _is_read(keys, leaf):
                    raise _refusal(keys, key, leaf, found, list(known))
        elif isinstance(value, str) and not value.startswith("${") and _is_part(known[name]):
            raise ConfigError(key, value, f"expected a part, not a text; its keys have values of their own: {key}.KEY=...")
        elif key in FOR_OTHERS and key in keys.given and not is_pointed_to(key, keys.pointers):
            advice = "it is for preset=paper of an experiment; elsewhere the key of a plateau is optimizer.schedule.gamma"
            raise ConfigError(key, value, f"nothing reads this key here: {advice}")
    for name in needed:
        require(name in node, f"{prefix}{name}", "nothing", f"a run needs this key: leave out ~{prefix}{name}")


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of everything in a node that is no mapping; of an empty mapping itself."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(f"{key}.{name}", inner)
    else:
        yield key, value


def _is_read(keys: _Keys, leaf: str) -> bool:
    """Return whether something points to the key; of one that stands in a YAML file, in whatever else could have been chosen."""
    if is_pointed_to(leaf, keys.pointers):
        return True
    return not keys.is_given(leaf) and is_pointed_to(leaf, pointers_of_all_choices())


def _refusal(keys: _Keys, key: str, leaf: str, found: Any, known: Sequence[str]) -> ConfigError:
    """Return the error for a key that nothing reads: `leaf`, which is `key` of a plain place or lies in it."""
    value, choice, name = _at(keys.config, key), keys.made.get(key), _name(key)
    put = next((made for made in keys.made if str(made).endswith(f"@{key}")), None)
    if put is not None:
        form = _as_choice(keys, put.partition("@")[0], keys.made[put], besides=put)
        return ConfigError(put, keys.made[put], f"nothing reads what is put there; {form}")
    if choice is not None and isinstance(value, Mapping) and not _is_part(value):
        listed = ", ".join(inner.partition(".")[2] for inner, _ in _leaves(key, value))
        first = f"the first line of {key}/{choice}.yaml has to be '# @package _global_'"
        return ConfigError(key, choice, f"nothing reads its keys ({listed}): {first}")
    if choices_of(name) and (_is_part(value) or not isinstance(value, Mapping)):
        typed = choice or (value if isinstance(value, str) else "...")
        return ConfigError(key, typed, f"nothing reads this key; {_as_choice(keys, key, typed)}")
    forms = nearest_keys(leaf, {**dict.fromkeys(GROUPS), **_without(keys.config, key)})
    advice = f"did you mean {forms}?" if forms else f"keys of {key.rpartition('.')[0] or 'the top level'}: {', '.join(known)}"
    return ConfigError(leaf, found, f"nothing reads this key; {advice}")


def _name(key: str) -> str:
    """Return what may be the name of a group in a key: penalty, of trainer.penalty and of objective/penalty."""
    return key.replace("/", ".").rpartition(".")[2]


def _without(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a configuration without what lies under a dotted key."""
    name, _, rest = key.partition(".")
    return {k: _without(v, rest) if k == name else v for k, v in config.items() if k != name or rest}


def _as_choice(keys: _Keys, key: str, choice: str, besides: str = "") -> str:
    """Return how a choice of the group that has the name of a key is made in this configuration, or in which others.

    besides: a "group@place" that is none of the answers.
    """
    group = _name(key)
    found = [place for place in places_of(group, keys.made) if place != besides]
    places = [place for place in found if not place.startswith(f"{group}@{key}.")]
    if places:
        return f"type {' or '.join(f'{place}={choice}' for place in places)}"
    if group in keys.made and (group != key or besides):
        return f"type {group}={choice}"
    owners = [f"{place}={choice} goes with {' or '.join(made)}" for place, made in owners_of(group).items()]
    return "; ".join(owners) or f"choose its place, {group}@PLACE={choice}"


def _check_choices(keys: _Keys) -> None:
    """Refuse a text in a place that is filled by a choice, and an entry of a user's own name that is no part."""
    for made in keys.made:
        group, _, place = str(made).partition("@")
        value = _at(keys.config, place or group)
        if isinstance(value, str) and not value.startswith("${") and (place or group in keys.config):
            similar = similar_choices(group, value)
            if similar or not is_number(value):
                expected = f"a choice is made with {made}={similar[0] if similar else '...'}"
                known = "" if value in similar else f"; choices: {', '.join(choices_of(group))}"
                raise ConfigError(place or group, value, f"expected a part, not a text; {expected}{known}")
    for place, group in OPEN.items():
        entries = _at(keys.config, place)
        for name, value in entries.items() if isinstance(entries, Mapping) else ():
            typed = value if isinstance(value, str) else "..."
            expected = f"expected a part with a _target_; a choice is made with +{group}@{place}.{name}={typed}"
            may_be = value is None or _is_part(value) or str(value).startswith("${")
            require(may_be, f"{place}.{name}", value, f"{expected}; choices: {', '.join(choices_of(group))}")
    logger = keys.config.get("logger")
    if isinstance(logger, Mapping) and logger.get("_target_", "") is None:
        for name, value in logger.items():
            expected = "nothing reads this key: logger=csv has none; choose another logger, see --help"
            require(name == "_target_" or is_pointed_to(f"logger.{name}", keys.pointers), f"logger.{name}", value, expected)


def _at(config: Any, place: str) -> Any:
    """Return what lies under a dotted key; None where nothing does."""
    for name in place.split("."):
        config = config.get(name) if isinstance(config, Mapping) else None
    return config


def _is_part(node: object) -> bool:
    return isinstance(node, Mapping) and "_target_" in node


@lru_cache
def _hydra_schema() -> Any:
    """Return the keys of Hydra. Its sweeper and launcher are nodes with a _target_."""
    from hydra.conf import HydraConf

    return asdict(HydraConf())  # not by OmegaConf, which takes 20 ms


def _check_below(keys: _Keys, place: str, node: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Refuse keys of hydra that Hydra does not have."""
    for name, value in node.items():
        key = f"{place}.{name}"
        if name not in known and value != {}:
            if not is_pointed_to(key, keys.pointers):
                forms = nearest_keys(key, {"hydra": _hydra_schema()})
                expected = f"did you mean {forms}?" if forms else f"keys of {place}: {', '.join(known)}"
                raise ConfigError(key, value, f"nothing reads this key; {expected}")
        elif isinstance(value, Mapping) and isinstance(known.get(name), Mapping) and known[name] and "_target_" not in value:
            _check_below(keys, key, value, known[name])
