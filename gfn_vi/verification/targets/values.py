"""Checks of what a target with states says of them: features, rewards, and the same when asked twice."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from gfn_vi.verification.targets import answers
from gfn_vi.verification.targets.asking import more, written
from gfn_vi.verification.targets.findings import Fault, NotApplicable
from gfn_vi.verification.targets.space import ASKED_TWICE, LARGEST_PART, Space, spread


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


def determinism(space: Space) -> Iterator[Fault]:
    """Asked twice, a target says the same, of moves too."""
    yield from answers.determinism(space)
    edges = spread(len(space.source), ASKED_TWICE)
    if len(edges) == 0:
        return
    states, actions = space.states[space.source[edges]], space.action[edges]
    for name, tail in (("step", states.shape[1:]), ("backward_action", ())):
        once, twice = (space.asked.tensor(name, tail, None, states, actions) for _ in range(2))
        wrong = answers.differs(once, twice).nonzero()[:, 0]
        if len(wrong) > 0:
            where = f"action {int(actions[wrong[0]])} at {written(states[wrong[0]])}"
            yield Fault(f"{name} says different things of {where} when asked twice: take randomness out of it")
