"""Checks of answers, about states and points alike: they depend on the row alone, not on the call, the batch or the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from gfn_vi.verification.targets.asking import Asked, raised, written
from gfn_vi.verification.targets.findings import Fault

# States that are asked alone.
ASKED_ALONE = 8
# Rounding may differ between batches of different sizes by this much, relative and absolute: that of a network in float32.
ROUNDING, SMALLEST = 1e-4, 1e-5

Questions = dict[str, tuple[Tensor, Callable[[Tensor], Tensor]]]


class Subject(Protocol):
    """The states of a target, or its points."""

    asked: Asked

    def questions(self) -> Questions:
        """Return method -> what it is asked about [n, ...], and the question."""


def differs(found: Tensor, other: Tensor) -> Tensor:
    """Return which rows of two answers [n, ...] differ by more than rounding: [n] bool."""
    if found.is_floating_point():
        return ~torch.isclose(found, other, rtol=ROUNDING, atol=SMALLEST, equal_nan=True).view(len(found), -1).all(1)
    return (found != other).view(len(found), -1).any(1)


def determinism(subject: Subject) -> Iterator[Fault]:
    """Asked twice, a target says the same."""
    for name, (states, ask) in subject.questions().items():
        once, twice = ask(states), ask(states)
        wrong = differs(once, twice).nonzero()[:, 0] if once.shape == twice.shape else torch.tensor([0])
        if len(wrong) > 0:
            line = f"{name} says {_answer(once[wrong[0]])} and then {_answer(twice[wrong[0]])} at {written(states[wrong[0]])}"
            yield Fault(f"{line}: take randomness out of it, or fix it when the target is built")


def independence(subject: Subject) -> Iterator[Fault]:
    """A row is told the same alone, in a batch, in another order, and along more leading axes."""
    for name, (states, ask) in subject.questions().items():
        whole = ask(states)
        back = ask(states.flip(0)).flip(0)
        wrong = differs(whole, back).nonzero()[:, 0]
        if len(wrong) > 0:
            answers = f"{_answer(whole[wrong[0]])} in a batch and {_answer(back[wrong[0]])} in the reversed one"
            yield Fault(f"{name} says {answers} at {written(states[wrong[0]])}: let a row depend on itself alone")
            continue
        for i in range(0, len(states), max(1, len(states) // ASKED_ALONE)):
            alone = ask(states[i])
            if alone.shape != whole[i].shape or bool(differs(alone[None], whole[i : i + 1]).any()):
                answers = f"{_answer(alone)} alone and {_answer(whole[i])} in a batch of {len(states)}"
                yield Fault(f"{name} says {answers} at {written(states[i])}: let a row depend on itself alone")
                break
        else:
            half = len(states) // 2
            boxed = ask(states[: 2 * half].view(2, half, *states.shape[1:])) if half > 0 else whole[:0]
            wrong = differs(boxed.flatten(0, 1), whole[: 2 * half]).nonzero()[:, 0] if half > 0 else whole.new_zeros(0)
            if len(wrong) > 0:
                at = written(states[int(wrong[0])])
                yield Fault(f"{name} says something else at {at} with two leading axes than with one: use [..., k], not [:, k]")


def _answer(found: Tensor) -> str:
    return written(found) if found.numel() <= 12 else "another answer"


def untouched_inputs(subject: Subject) -> Iterator[Fault]:
    """No question has changed the states, actions or points that it was given."""
    yield from map(Fault, subject.asked.changed.values())


def another_device(subject: Subject) -> Iterator[Fault]:
    """A copy on a device says the same: on the CPU, and on an accelerator where there is one."""
    few = {name: states[:ASKED_ALONE] for name, (states, _) in subject.questions().items()}
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        moved = subject.asked.target.to(device)
        if moved is None:
            yield Fault(f"to({device!r}) returns None: return the target, as it is on that device")
            return
        for name, states in few.items():
            try:
                found, expected = (
                    getattr(target, name)(states.to(where, copy=True)).detach().cpu()
                    for target, where in ((moved, device), (subject.asked.target, "cpu"))
                )
            except Exception as error:  # noqa: BLE001 - whatever a user's method raises
                yield Fault(f"what to({device!r}) returns cannot be asked at {written(states[0])}: {raised(error)}")
                return
            wrong = differs(found, expected).nonzero()[:, 0]
            if len(wrong) > 0:
                at = written(states[wrong[0]])
                yield Fault(f"{name} of to({device!r}) says something else at {at}: return an equal target")
