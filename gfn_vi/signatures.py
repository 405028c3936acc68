"""A constructor's signature is the schema of its config: is there a value for every argument, of its type, and nothing else?

Checked before anything is built, so that a misspelt key or a text in the place of a number is named as such, for users'
own classes too. Annotations that say more than plain numbers, texts, lists and mappings are left to the constructor.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import difflib
import importlib
import inspect
import math
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from gfn_vi.core.errors import ConfigError, as_number, require

MOST_SHOWN = 20  # names in a message
HYDRA_KEYS = frozenset({"_target_", "_convert_", "_recursive_", "_partial_", "_args_"})
PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "null"}
LISTS = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
MAPPINGS = (dict, collections.abc.Mapping)
# Arguments that the program adds to a node, which are no keys of a configuration.
SUPPLIED = {
    "sampler": ("target", "rng"),
    "optimizer": ("parameter_groups", "n_replicas"),
    "logger": ("directory", "name", "config"),
}


def suggestion(word: str, choices: Iterable[str], place: str = "") -> str:
    """A question after the choice closest to the word, with the place it lies in, to be appended; empty where none is close."""
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f"; did you mean {f'{place}.' if place else ''}{close[0]}?" if close else ""


def nearest(word: str, choices: Collection[str]) -> str:
    """The choices closest to the word, as a question to be appended; where none is close, all of them if they are few."""
    close = difflib.get_close_matches(word, choices, n=3)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    shown = sorted(choices, key=lambda name: ("/" in name, name))[:MOST_SHOWN]
    return f"; expected one of {', '.join(shown)}{', ...' if len(shown) < len(choices) else ''}" if shown else ""


def check_signatures(config: object, key: str, supplied: Sequence[str] = (), choices: Collection[str] = ()) -> None:
    """Compare each `_target_` node at or below `config` (plain containers) with the signature of what it names.

    key: dotted config key of the node; supplied: arguments that the program adds to the outermost one; choices: "group@place" of
    each choice that the configuration is made of, for the advice where the name of a choice was given as a value.
    Raises ConfigError for an unknown class, an unknown or missing argument, or a value of another type.
    """
    if isinstance(config, Mapping):
        if config.get("_target_") is not None:
            _check_node(config, key, supplied, choices)
        for name, value in config.items():
            check_signatures(value, f"{key}.{name}", (), choices)
    elif isinstance(config, list):
        for i, value in enumerate(config):
            check_signatures(value, f"{key}[{i}]", (), choices)


def located(path: object, key: str) -> Any:
    """The object of that dotted name; ConfigError with the closest name where there is none."""
    require(isinstance(path, str) and "." in path, key, path, "expected package.module.Class")
    parts = str(path).split(".")
    found, n_modules = _deepest_module(parts, key)
    for i, part in enumerate(parts[n_modules:], n_modules):
        where, names = ".".join(parts[:i]), [name for name in dir(found) if not name.startswith("_")]
        require(hasattr(found, part), key, path, f"there is no {part} in {where}{suggestion(part, names)}")
        found = getattr(found, part)
    return found


def _deepest_module(parts: list[str], key: str) -> tuple[Any, int]:
    """The longest prefix that can be imported, and its length."""
    found, path = None, ".".join(parts)
    for n in range(1, len(parts) + 1):
        name = ".".join(parts[:n])
        try:
            found = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):  # imported by the module, not the module
                raise ConfigError(key, path, f"{name} cannot be imported: {error}") from error
            if found is None:
                message = f"no module named {name}; one of yours is found in the current folder or on PYTHONPATH"
                raise ConfigError(key, path, message) from error
            return found, n - 1
    return found, len(parts)


def check_arguments(config: object, key: str = "") -> None:
    """Refuse arguments that what a `_target_` names does not have, in all nodes of a configuration (plain containers).

    What cannot be imported is left to whoever builds it. Raises ConfigError.
    """
    if isinstance(config, Mapping):
        if config.get("_target_") is not None and "_args_" not in config:
            _check_arguments(config, key)
        for name, value in config.items():
            check_arguments(value, f"{key}.{name}" if key else str(name))
    elif isinstance(config, list):
        for i, value in enumerate(config):
            check_arguments(value, f"{key}[{i}]")


def _check_arguments(config: Mapping[Any, Any], key: str) -> None:
    try:
        factory = located(config["_target_"], key)
    except Exception:  # noqa: BLE001 - a user's own module may raise anything
        return
    parameters = parameters_of(factory)
    if parameters is not None:
        _refuse_unknown(factory, parameters, config, key, SUPPLIED.get(key, ()))


def parameters_of(factory: Any) -> Mapping[str, inspect.Parameter] | None:
    """The parameters of a class or function by name; None for a builtin, which has no signature."""
    try:
        return inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return None


def _refuse_unknown(
    factory: Any, parameters: Mapping[str, inspect.Parameter], config: Mapping[Any, Any], key: str, supplied: Sequence[str]
) -> None:
    """Raise ConfigError for a key that is no parameter, unless any is taken, and for one that the program supplies."""
    for argument in set(map(str, config)).intersection(supplied):
        message = "nothing reads this key: the program gives this argument a value of its own; leave it out"
        raise ConfigError(f"{key}.{argument}", config[argument], message)
    if any(parameter.kind == inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    known = [name for name in parameters if name not in supplied]
    listed = f"its keys are {', '.join(known)}" if known else "it has no keys"
    name = getattr(factory, "__name__", str(factory))
    for argument in map(str, config):
        message = f"{name} has no such key: {listed}{suggestion(argument, known, key)}"
        require(argument in HYDRA_KEYS or argument in parameters, f"{key}.{argument}", config.get(argument), message)


def _check_node(config: Mapping[Any, Any], key: str, supplied: Sequence[str], choices: Collection[str]) -> None:
    factory = located(config["_target_"], f"{key}._target_")
    open_methods = ", ".join(sorted(getattr(factory, "__abstractmethods__", ()))) if inspect.isclass(factory) else ""
    require(not open_methods, f"{key}._target_", config["_target_"], f"the class does not define {open_methods}")
    parameters = parameters_of(factory)
    if parameters is None or "_args_" in config:
        return
    _refuse_unknown(factory, parameters, config, key, supplied)
    hints = _hints(factory)
    name = getattr(factory, "__name__", str(factory))
    given = {str(k): v for k, v in config.items() if k not in HYDRA_KEYS}
    for argument, parameter in parameters.items():
        if parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
            continue
        if argument in given:
            value, hint = given[argument], hints.get(argument, Any)
            place = f"{key}.{argument}"
            advice = _as_choice(place, value, choices) or as_number(value)
            require(fits(value, hint), place, value, f"expected {in_words(hint)}{advice}")
        elif parameter.default is inspect.Parameter.empty and argument not in supplied:
            hint = hints.get(argument, Any)
            raise ConfigError(f"{key}.{argument}", "nothing", f"{name} needs {in_words(hint)}: set {key}.{argument}=...")


def _hints(factory: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    except (TypeError, NameError, AttributeError):  # annotations that exist for type checkers only
        return {}


def takes(factory: Any, argument: str, value: object) -> bool:
    """Whether the annotation of an argument leaves room for the value; True without an annotation."""
    return fits(value, _hints(factory).get(argument, Any))


def fits(value: object, hint: Any) -> bool:  # noqa: PLR0911 - one line per kind of annotation
    """Could the value be of the annotated type? True where only the constructor can tell."""
    if hint is Any or hint is object or isinstance(hint, (str, typing.TypeVar)):
        return True
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in inner)
    if origin is Literal:
        return value in inner
    if hint in PLAIN:
        return _fits_plain(value, hint)
    if isinstance(value, Mapping) and "_target_" in value:
        return True
    if (origin or hint) in LISTS:
        return isinstance(value, list) and all(fits(v, t) for v, t in _paired(value, origin, inner))
    if (origin or hint) in MAPPINGS:
        entries = inner if len(inner) == 2 else (Any, Any)
        # a text in the place of a part is left to the constructor, which knows the group that entries are chosen from
        named = any(map(_is_part, get_args(entries[1]) or entries[1:]))
        return isinstance(value, Mapping) and all(
            fits(k, entries[0]) and (fits(v, entries[1]) or (named and isinstance(v, str))) for k, v in value.items()
        )
    # An object: built from a node of its own, or by the constructor from a list, or from a text unless it is a part.
    return isinstance(value, (list, Mapping)) or (isinstance(value, str) and not _is_part(origin or hint))


def _is_part(kind: Any) -> bool:
    """Return whether the class is an interface or a record, whose objects have choices of their own and are made of no text."""
    if getattr(kind, "_is_protocol", False) or dataclasses.is_dataclass(kind):
        return True
    return inspect.isabstract(kind) and not issubclass(str, kind)


def _as_choice(key: str, value: object, choices: Collection[str]) -> str:
    """Return how a choice is made for the key where a text was given as its value; "" where nothing is chosen there."""
    made = next((choice for choice in choices if choice.partition("@")[2] == key), None)
    if made is None or not (value is None or isinstance(value, str)):
        return ""
    return f"; a choice is made with {made}={'...' if value is None else value}"


def _fits_plain(value: object, hint: type) -> bool:
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _paired(values: list[object], origin: Any, inner: tuple[Any, ...]) -> Iterable[tuple[object, Any]]:
    """Each entry of a list with the type it should have."""
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        return zip(values, inner, strict=False)
    return ((value, inner[0] if inner else Any) for value in values)


def in_words(hint: Any) -> str:  # noqa: PLR0911 - one line per kind of annotation
    """An annotation as a user would say it."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any or hint is object or isinstance(hint, (str, typing.TypeVar)):
        return "a value"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(in_words(option) for option in inner)
    if origin is Literal:
        return f"one of {', '.join(str(option) for option in inner)}"
    if hint in PLAIN:
        return PLAIN[hint]
    if (origin or hint) in LISTS:
        entries = f", each {in_words(inner[0])}" if inner and inner[0] is not Any else ""
        return f"a list [...]{entries}"
    if (origin or hint) in MAPPINGS:
        return "a mapping {...}"
    is_callable = origin is collections.abc.Callable
    return f"a config with a _target_ for {'a function' if is_callable else getattr(hint, '__name__', 'an object')}"
