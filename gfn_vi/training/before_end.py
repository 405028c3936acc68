"""The state of a run as a longer one would have it: what only the end brings is undone.

A run measures everything at its end, due or not. That draws random numbers, feeds schedules that watch a metric and counts calls
of the reward. So the state is copied after the last update, and what the end has changed of it is kept in the checkpoint.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Difference = list[Any]
"""[keys that lead to a value, the value before the end]."""


def copied(state: Any) -> Any:
    """Return a copy, on the CPU, of dictionaries, lists and tuples of tensors and plain values."""
    if isinstance(state, Tensor):
        return state.detach().cpu().clone()
    if isinstance(state, dict):
        return {key: copied(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(map(copied, state))
    return state


def differences(before: Any, after: Any, keys: tuple[Any, ...] = ()) -> list[Difference]:
    """Return where two states differ, with the values of `before`."""
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        return [found for key in before for found in differences(before[key], after[key], (*keys, key))]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [found for i in range(len(before)) for found in differences(before[i], after[i], (*keys, i))]
    return [] if _is_same(before, after) else [[list(keys), before]]


def restored(after: dict[str, Any], found: list[Difference]) -> dict[str, Any]:
    """Return the state `before` of the differences; `after` is changed."""
    for keys, value in found:
        place: Any = after
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
    return after


def _is_same(before: Any, after: Any) -> bool:
    """Return whether two leaves are equal; NaN differs from NaN, so that it is kept."""
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        return before.dtype == after.dtype and torch.equal(before, after.detach().cpu())
    if isinstance(before, tuple) and isinstance(after, tuple) and len(before) == len(after):
        return all(map(_is_same, before, after))
    return type(before) is type(after) and not isinstance(before, Tensor) and bool(before == after)
