"""Every question to a target goes through here: what it returns has the declared shape and type, and its inputs stay as they are.

A question that raises is asked again state by state, so that the fault names a state.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.seeds import is_whole
from gfn_vi.verification.targets.findings import Fault, NotApplicable

# States that are asked one by one when a batch raises; characters of a state that are shown.
MOST_ALONE, LONGEST_STATE = 2000, 400


def written(state: Tensor) -> str:
    """Return a state, or a point, as one would write it."""
    text = str(state.tolist())
    return text if len(text) <= LONGEST_STATE else f"{text[:LONGEST_STATE]} ... ({state.numel()} numbers)"


def more(n: int, thing: str = "state") -> str:
    """Return how many others show the same fault, "" where it is the only one."""
    return "" if n <= 1 else f" (and {n - 1} more {thing}{'s' if n > 2 else ''})"


def raised(error: BaseException) -> str:
    """Return what was raised in one line, and the last line of a file that is not torch's where it happened."""
    frames = traceback.extract_tb(error.__traceback__)
    here = str(Path(__file__).parent)
    own = [frame for frame in frames if "/torch/" not in frame.filename and not frame.filename.startswith(here)]
    where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{': ' if text else ''}{text}{where}"


class Asked:
    """A target, asked. state_axes: number of axes of one state; changed: method -> the line that says which input it changed."""

    def __init__(self, target: Any, state_axes: int) -> None:
        self.target, self.state_axes = target, state_axes
        self.changed: dict[str, str] = {}

    def leading(self, states: Tensor) -> tuple[int, ...]:
        """Return the shape of the states without the axes of a state."""
        return tuple(states.shape[: states.dim() - self.state_axes])

    def attribute(self, name: str) -> Any:
        """Return an attribute of the target, None where it has none. Raises Fault where asking for it raises."""
        try:
            return getattr(self.target, name, None)
        except Exception as error:
            raise Fault(f"{name} raises {raised(error)}: return what the protocol says, or None where nobody knows") from error

    def log_Z(self) -> float:
        """Return the stated log Z. Raises NotApplicable where there is none, Fault for what is no finite number."""
        stated = self.attribute("log_Z")
        if stated is None:
            raise NotApplicable("log_Z is None")
        if isinstance(stated, bool) or not isinstance(stated, int | float) or not math.isfinite(stated):
            raise Fault(f"log_Z={stated!r}: set a finite number, or None where nobody knows it")
        return stated

    def modes(self, states: Tensor) -> tuple[int, Tensor]:
        """Return the number of modes and which one each state belongs to, -1 for none: [n] long.

        Raises NotApplicable where nobody knows the number, Fault for anything out of range.
        """
        n = self.attribute("n_modes")
        if n is None:
            raise NotApplicable("n_modes is None")
        if not is_whole(n) or n < 1:
            raise Fault(f"n_modes={n!r}: set a whole number >= 1, or None where nobody knows it")
        index = self.tensor("mode_index", (), torch.long, states)
        wrong = ((index < -1) | (index >= n)).nonzero()[:, 0]
        if len(wrong) > 0:
            others = more(len(wrong), "point" if states.is_floating_point() else "state")
            line = f"mode_index is {int(index[wrong[0]])} at {written(states[wrong[0]])}{others}, and n_modes={n}"
            raise Fault(f"{line}: return 0 to n_modes - 1, or -1 for no mode")
        return n, index

    def tensor(self, name: str, tail: Sequence[int], dtype: torch.dtype | None, states: Tensor, *others: Tensor) -> Tensor:
        """Return what the method says of the states, and of one action for each: [..., *tail] of the type.

        dtype: None for any. Raises Fault for another shape or type, and for what the method raises.
        """
        found = self._call(name, states, *others)
        if not isinstance(found, Tensor):
            raise Fault(f"{name} returns {type(found).__name__}: return a tensor {_shape('...', *tail)}")
        leading = self.leading(states)
        if tuple(found.shape) != (*leading, *tail):
            n = len(leading)
            got = _shape("...", *found.shape[n:]) if tuple(found.shape[:n]) == leading else list(found.shape)
            line = f"{name} returns the shape {got} for {_shape(*leading)} states"
            if tuple(found.shape[:n]) == leading:
                line = f"{name} returns the shape {got}"
            raise Fault(f"{line}{self._of(states)}: return {_shape('...', *tail)}")
        if dtype is not None and found.dtype != dtype:
            raise Fault(f"{name} returns {found.dtype}{self._of(states)}: return {dtype}")
        return found

    def features(self, states: Tensor) -> Tensor:
        """Return the features of the states, K-hot or dense. Raises Fault for what is neither."""
        found = self._call("features", states)
        if not isinstance(found, Tensor):
            raise Fault(f"features returns {type(found).__name__}: return a tensor, [..., K] long or [..., n_features] floating")
        leading, n = self.leading(states), self.attribute("n_features")
        shown = self._of(states)
        if tuple(found.shape[:-1]) != leading or found.dim() != len(leading) + 1:
            line = f"features returns the shape {list(found.shape)} for states of the shape {list(states.shape)}"
            raise Fault(f"{line}: return {[*leading, 'K']} long or {[*leading, n]} floating{shown}".replace("'K'", "K"))
        if found.is_floating_point():
            if found.shape[-1] != n:
                raise Fault(f"features returns {found.shape[-1]} numbers{shown}, and n_features={n}: set n_features to that")
        elif found.dtype != torch.long:
            raise Fault(f"features returns {found.dtype}{shown}: return indices in torch.int64, or floating numbers")
        return found

    def _of(self, states: Tensor) -> str:
        flat = states.reshape(-1, *states.shape[states.dim() - self.state_axes :])
        return f", as at {written(flat[0])}" if len(flat) > 0 else ""

    def _call(self, name: str, *arguments: Tensor) -> Any:
        """Return what the method says of copies of the arguments; remember whether it changed them."""
        given = [argument.clone() for argument in arguments]
        try:
            with torch.no_grad():
                found = getattr(self.target, name)(*given)
        except Exception as error:
            raise Fault(self._culprit(name, arguments, error)) from error
        for before, after in zip(arguments, given, strict=True):
            if name not in self.changed and not torch.equal(before, after):
                n_axes = self.state_axes if before is arguments[0] else 0
                flat = [x.reshape(-1, *x.shape[x.dim() - n_axes :]) for x in (before, after)]
                row = int((flat[0] != flat[1]).flatten(1).any(1).nonzero()[0, 0]) if n_axes else 0
                change = f"{written(flat[0][row])} becomes {written(flat[1][row])}"
                self.changed[name] = f"{name} changes its input: {change}; work on a copy (states.clone())"
        return found

    def _culprit(self, name: str, arguments: Sequence[Tensor], error: Exception) -> str:
        leading = self.leading(arguments[0])
        n = int(torch.tensor(leading).prod()) if leading else 1
        flat = [arguments[0].reshape(n, *arguments[0].shape[len(leading) :]), *(x.reshape(n) for x in arguments[1:])]
        for row in range(min(n, MOST_ALONE)):
            try:
                with torch.no_grad():
                    getattr(self.target, name)(*(x[row : row + 1].clone() for x in flat))
            except Exception as alone:  # noqa: BLE001 - whatever a user's method raises
                of = written(flat[0][row]) + "".join(f", action {int(x[row])}" for x in flat[1:])
                return f"{name} raises at {of}: {raised(alone)}"
        return f"{name} raises on a batch {list(arguments[0].shape)}, and not on each of its states: {raised(error)}"


def _shape(*axes: object) -> str:
    return f"[{', '.join(map(str, axes))}]"
