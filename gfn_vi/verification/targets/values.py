"""Checks of what a target with states says of them: features, rewards, and that an answer depends on the state alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from gfn_vi.verification.targets.asking import more, raised, written
from gfn_vi.verification.targets.findings import Fault, NotApplicable
from gfn_vi.verification.targets.space import LARGEST_PART, Space

# States that are asked twice and in another order, and those that are asked alone.
ASKED_TWICE, ASKED_ALONE = 64, 8
# Rounding may differ between batches of different sizes by this much, relative and absolute: that of a network in float32.
ROUNDING, SMALLEST = 1e-4, 1e-5


def features(space: Space) -> Iterator[Fault]:
    """K-hot features are different indices below n_features, dense ones are finite."""
    n = space.asked.target.n_features
    first, *others = space.states.split(max(1, LARGEST_PART // n))
    for part in (first, *others):
        found = space.asked.features(part)
        if found.is_floating_point():
            wrong = (~found.isfinite()).any(1).nonzero()[:, 0]
            if len(wrong) > 0:
                value = found[wrong[0]][~found[wrong[0]].isfinite()][0]
                line = f"features are {float(value)} at {written(part[wrong[0]])}{more(len(wrong))}"
                yield Fault(f"{line}: return finite numbers")
                return
            continue
        wrong = ((found < 0) | (found >= n)).any(1).nonzero()[:, 0]
        if len(wrong) > 0:
            own = found[wrong[0]]
            index = int(own[(own < 0) | (own >= n)][0])
            line = f"features hold the index {index} at {written(part[wrong[0]])}{more(len(wrong))}, and n_features={n}"
            yield Fault(f"{line}: return indices from 0 to n_features - 1, or set n_features={max(n, index + 1)}")
            return
        ordered = found.sort(1).values
        twice = (ordered[:, 1:] == ordered[:, :-1]).any(1).nonzero()[:, 0]
        if len(twice) > 0:
            line = f"features hold an index twice at {written(part[twice[0]])}: {found[twice[0]].tolist()}{more(len(twice))}"
            yield Fault(f"{line}: return different indices; what is to count twice needs two of them")
            return


def rewards(space: Space) -> Iterator[Fault]:
    """Log R is finite wherever stopping is legal."""
    found = space.log_reward
    asked = space.rewarded[space.stops[space.rewarded]]
    if len(asked) == 0:
        raise NotApplicable("no state that was looked at can stop")
    for wrong, why in (
        (found[asked].isnan(), "return a finite number"),
        (found[asked] == torch.inf, "return a finite number"),
        (found[asked] == -torch.inf, "forbid the stop action where R = 0, or add a floor to R"),
    ):
        rows = asked[wrong]
        if len(rows) > 0:
            yield Fault(f"log_reward is {float(found[rows[0]])} at {space.show(rows[0])}, which can stop{more(len(rows))}: {why}")


def _questions(space: Space) -> dict[str, tuple[Tensor, Callable[[Tensor], Tensor]]]:
    """Return method -> the rows it is asked at, and the question."""
    asked, rows = space.asked, space.sample(ASKED_TWICE)
    found: dict[str, tuple[Tensor, Callable[[Tensor], Tensor]]] = {
        "forward_mask": (rows, lambda states: asked.tensor("forward_mask", (space.n_actions,), torch.bool, states)),
        "backward_mask": (rows, lambda states: asked.tensor("backward_mask", (space.n_backward_actions,), torch.bool, states)),
        "features": (rows, asked.features),
    }
    _ = space.log_reward
    if len(space.rewarded) > 0:
        rewarded = space.rewarded[
            torch.linspace(0, len(space.rewarded) - 1, min(len(space.rewarded), ASKED_TWICE)).round().long()
        ]
        found["log_reward"] = (rewarded, lambda states: asked.tensor("log_reward", (), torch.float64, states))
    return found


def differs(found: Tensor, other: Tensor) -> Tensor:
    """Return which rows of two answers [n, ...] differ by more than rounding: [n] bool."""
    if found.is_floating_point():
        return ~torch.isclose(found, other, rtol=ROUNDING, atol=SMALLEST, equal_nan=True).view(len(found), -1).all(1)
    return (found != other).view(len(found), -1).any(1)


def _answer(found: Tensor) -> str:
    return written(found) if found.numel() <= 12 else "another answer"


def determinism(space: Space) -> Iterator[Fault]:
    """Asked twice, a target says the same."""
    for name, (rows, ask) in _questions(space).items():
        states = space.states[rows]
        once, twice = ask(states), ask(states)
        wrong = differs(once, twice).nonzero()[:, 0] if once.shape == twice.shape else torch.tensor([0])
        if len(wrong) > 0:
            line = f"{name} says {_answer(once[wrong[0]])} and then {_answer(twice[wrong[0]])} at {written(states[wrong[0]])}"
            yield Fault(f"{line}: take randomness out of it, or fix it when the target is built")
    for name, table in (("step", space.target), ("backward_action", None)):
        edges = torch.linspace(0, max(0, len(space.source) - 1), min(len(space.source), ASKED_TWICE)).round().long()
        states, actions = space.states[space.source[edges]], space.action[edges]
        if len(edges) == 0:
            continue
        tail = states.shape[1:] if table is not None else ()
        once = space.states[table[edges]] if table is not None else space.asked.tensor(name, tail, None, states, actions)
        wrong = differs(once, space.asked.tensor(name, tail, None, states, actions)).nonzero()[:, 0]
        if len(wrong) > 0:
            where = f"action {int(actions[wrong[0]])} at {written(states[wrong[0]])}"
            yield Fault(f"{name} says different things of {where} when asked twice: take randomness out of it")


def independence(space: Space) -> Iterator[Fault]:
    """A state is told the same alone, in a batch, and along more leading axes."""
    for name, (rows, ask) in _questions(space).items():
        states = space.states[rows]
        whole = ask(states)
        back = ask(states.flip(0)).flip(0)
        wrong = differs(whole, back).nonzero()[:, 0]
        if len(wrong) > 0:
            answers = f"{_answer(whole[wrong[0]])} in a batch and {_answer(back[wrong[0]])} in the reversed one"
            yield Fault(f"{name} says {answers} at {written(states[wrong[0]])}: let a row depend on its own state alone")
            continue
        for i in range(0, len(rows), max(1, len(rows) // ASKED_ALONE)):
            alone = ask(states[i])
            if alone.shape != whole[i].shape or bool(differs(alone[None], whole[i : i + 1]).any()):
                answers = f"{_answer(alone)} alone and {_answer(whole[i])} in a batch of {len(rows)}"
                yield Fault(f"{name} says {answers} at {written(states[i])}: let a row depend on its own state alone")
                break
        else:
            half = len(rows) // 2
            boxed = ask(states[: 2 * half].view(2, half, *states.shape[1:])) if half > 0 else whole[:0]
            wrong = differs(boxed.flatten(0, 1), whole[: 2 * half]).nonzero()[:, 0] if half > 0 else whole.new_zeros(0)
            if len(wrong) > 0:
                at = written(states[int(wrong[0])])
                yield Fault(f"{name} says something else at {at} with two leading axes than with one: use [..., k], not [:, k]")


def untouched_inputs(space: Space) -> Iterator[Fault]:
    """No question has changed the states or actions that it was given."""
    yield from map(Fault, space.asked.changed.values())


def another_device(space: Space) -> Iterator[Fault]:
    """A copy on a device says the same: on the CPU, and on an accelerator where there is one."""
    _ = space.log_reward
    rows = space.rewarded[:ASKED_ALONE] if len(space.rewarded) > 0 else space.sample(ASKED_ALONE)
    states = space.states[rows]
    names = ["forward_mask", "backward_mask", "features", *(["log_reward"] if len(space.rewarded) > 0 else [])]
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        try:
            moved = space.asked.target.to(device)
            if moved is None:
                yield Fault(f"to({device!r}) returns None: return the target, as it is on that device")
                return
            answers = {name: getattr(moved, name)(states.to(device)).cpu() for name in names}
        except Exception as error:  # noqa: BLE001 - whatever a user's method raises
            yield Fault(f"what to({device!r}) returns cannot be asked at {written(states[0])}: {raised(error)}")
            return
        for name, answer in answers.items():
            wrong = differs(answer, getattr(space.asked.target, name)(states.clone())).nonzero()[:, 0]
            if len(wrong) > 0:
                yield Fault(
                    f"{name} of to({device!r}) says something else at {written(states[wrong[0]])}: return an equal target"
                )
