"""Checks of what a target with states says of itself: its own state graph, log Z, modes, samples and names."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.seeds import is_whole
from gfn_vi.verification.targets.answers import ROUNDING, SMALLEST
from gfn_vi.verification.targets.asking import Asked, more, raised, written
from gfn_vi.verification.targets.findings import Fault, NotApplicable
from gfn_vi.verification.targets.space import Space

# How far a stated sum may be from the one that is found, relative to 1 + |value|: it may have been rounded when it was written.
CLOSE = 1e-4
# Samples that are compared with probabilities; states expected fewer times than this are counted together.
N_SAMPLES, FEWEST_EXPECTED = 4096, 5.0
NAMES = ("node_names", "coordinate_names")


def state_graph(space: Space) -> Iterator[Fault]:
    """The target's own list of states and moves is what forward_mask and step say."""
    target = space.asked.target
    if not all(hasattr(type(target), name) for name in ("enumerable", "state_graph", "state_index")):
        raise NotApplicable("the target has no state_graph, so that exact metrics are off")
    if not space.complete:
        raise NotApplicable("not all states were listed here")
    if bool((space.level < 0).any()):
        raise NotApplicable("moves lead in a circle")
    if not space.asked.attribute("enumerable"):
        raise NotApplicable("enumerable is False, so that exact metrics are off")
    try:
        graph = target.state_graph()
    except Exception as error:
        raise Fault(f"state_graph raises {raised(error)}; set enumerable to False, or mend it") from error
    row_of = space.row_of
    listed = [tuple(state) for state in graph.states.flatten(1).tolist()]
    for row, key in enumerate(listed):
        if key not in row_of:
            line = f"state_graph lists {written(graph.states[row])}, which no moves from the source lead to"
            yield Fault(f"{line}: leave it out, or allow the move in forward_mask")
            return
    different = set(listed)
    if len(different) < len(listed):
        twice = next(row for row, key in enumerate(listed) if key in listed[:row])
        yield Fault(f"state_graph lists {written(graph.states[twice])} twice: list every state once")
        return
    missing = [row for key, row in row_of.items() if key not in different]
    if missing:
        line = f"state_graph lacks {space.show(missing[0])}{more(len(missing))}, where moves from the source lead"
        yield Fault(f"{line}: list it, or forbid the move in forward_mask")
        return
    if listed[0] != tuple(space.states[0].flatten().tolist()):
        yield Fault(
            f"state_graph lists {written(graph.states[0])} first, and initial() is {space.show(0)}: list the source first"
        )
        return
    rank = torch.tensor([row_of[key] for key in listed])
    index = space.asked.tensor("state_index", (), torch.long, graph.states)
    wrong = (index != torch.arange(len(index))).nonzero()[:, 0]
    if len(wrong) > 0:
        line = f"state_index is {int(index[wrong[0]])} at {written(graph.states[wrong[0]])}{more(len(wrong))}"
        yield Fault(f"{line}, row {int(wrong[0])} of state_graph: return the row")
    yield from _moves_of(space, graph, rank)
    expected = space.log_reward[rank].where(space.stops[rank], -torch.inf)
    wrong = (~torch.isclose(graph.log_reward, expected, rtol=ROUNDING, atol=SMALLEST, equal_nan=True)).nonzero()[:, 0]
    wrong = wrong[~expected[wrong].isnan()]
    if len(wrong) > 0:
        row, said = int(wrong[0]), float(graph.log_reward[wrong[0]])
        line = f"state_graph has log_reward {said:.6g} at {written(graph.states[row])}{more(len(wrong))}, and it should be"
        yield Fault(f"{line} {float(expected[row]):.6g}: what log_reward says, or -inf where the stop is illegal")


def _moves_of(space: Space, graph: Any, rank: Tensor) -> Iterator[Fault]:
    """The moves of a state graph, whose rows are those of the space by rank, are the moves of the space."""
    own = set(zip(space.source.tolist(), space.action.tolist(), space.target.tolist(), strict=True))
    said = zip(rank[graph.source].tolist(), graph.forward_action.tolist(), rank[graph.target].tolist(), strict=True)
    edges = list(said)
    for source, action, target in edges:
        if (source, action, target) not in own:
            line = f"state_graph has action {action} from {space.show(source)} to {space.show(target)}"
            yield Fault(f"{line}, and forward_mask and step have not: list the moves that there are")
            return
    lacking = own - set(edges)
    if lacking:
        source, action, target = min(lacking)
        line = f"state_graph lacks action {action} from {space.show(source)} to {space.show(target)}{more(len(lacking), 'move')}"
        yield Fault(f"{line}: list all moves")


def log_partition(space: Space) -> Iterator[Fault]:
    """The stated log Z is the log of the sum of R over all states that can stop."""
    stated = space.asked.log_Z()
    if not space.complete or int(space.log_reward.isfinite().sum()) == 0:
        raise NotApplicable(f"log_Z={stated:.6g}, and not all rewards were summed")
    rewards = space.log_reward[space.stops]
    if len(rewards) == 0 or bool(rewards.isnan().any()):
        raise NotApplicable("rewards are missing, or NaN")
    summed = float(rewards.logsumexp(0))
    if not abs(stated - summed) <= CLOSE * (1 + abs(summed)):
        best = space.show(space.stops.nonzero()[:, 0][rewards.argmax()])
        line = (
            f"log_Z={stated:.8g}, and R summed over the {len(rewards)} states that can stop (most at {best}) is exp({summed:.8g})"
        )
        yield Fault(f"{line}: set log_Z to that, or to None")


def modes(space: Space) -> Iterator[Fault]:
    """Modes are numbered below n_modes, -1 is none of them, and mode_mass are their shares of R."""
    if space.overlong is not None:  # a target that lists its states to count modes would not come to an end
        raise NotApplicable("the horizon is too small")
    rows = space.stops.nonzero()[:, 0] if not space.complete else torch.arange(len(space.states))
    n, index = space.asked.modes(space.states[rows])
    if not space.complete:
        return
    empty = set(range(n)) - set(index.tolist())
    if empty:
        yield Fault(
            f"n_modes={n}, and mode_index is {min(empty)} at no state, as at {space.show(0)}: lower n_modes, or mend mode_index"
        )
    mass = space.asked.attribute("mode_mass")
    if mass is None or bool(space.log_reward[space.stops].isnan().any()):
        return
    if not isinstance(mass, Tensor) or tuple(mass.shape) != (n,):
        yield Fault(f"mode_mass is {list(mass.shape) if isinstance(mass, Tensor) else mass!r}: return a tensor [n_modes] = [{n}]")
        return
    weights = space.log_reward.where(space.stops, -torch.inf).softmax(0)
    share = torch.stack([weights[index == k].sum() for k in range(n)])
    far = (mass.double() - share).abs() > CLOSE
    if bool(far.any()) and bool(((mass.double() - share / share.sum()).abs() > CLOSE).any()):
        k = int(far.nonzero()[0, 0])
        at = space.show(rows[(index == k).nonzero()[0, 0]]) if bool((index == k).any()) else "no state"
        line = f"mode_mass of mode {k} (such as {at}) is {float(mass[k]):.6g}, and its states have {float(share[k]):.6g} of all R"
        yield Fault(f"{line}: set that")


def samples(space: Space) -> Iterator[Fault]:
    """Samples are states that can stop, drawn as often as R / Z says."""
    target = space.asked.target
    if not callable(getattr(target, "sample", None)) or getattr(target, "has_exact_samples", True) is False:
        raise NotApplicable("the target draws no samples")
    seeded = [ReplicaGenerators(space.effort.seed, 2, "target check", dtype=torch.float64) for _ in range(2)]
    try:
        drawn, again = (target.sample(N_SAMPLES // 2, rng) for rng in seeded)
    except Exception as error:
        raise Fault(f"sample raises {raised(error)}; leave it out, or mend it") from error
    expected = (2, N_SAMPLES // 2, *target.state_shape)
    if not isinstance(drawn, Tensor) or tuple(drawn.shape) != expected:
        got = list(drawn.shape) if isinstance(drawn, Tensor) else type(drawn).__name__
        yield Fault(f"sample({N_SAMPLES // 2}, rng) of two replicas returns {got}: return [2, n, *state] = {list(expected)}")
        return
    if not torch.equal(drawn, again):
        first = written(drawn[0, 0])
        yield Fault(f"sample draws {first} and others from generators of the same seed: draw from rng and from nothing else")
    flat = drawn.flatten(0, 1)
    stops = space.asked.tensor("forward_mask", (space.n_actions,), torch.bool, flat)[:, -1]
    wrong = (~stops).nonzero()[:, 0]
    if len(wrong) > 0:
        yield Fault(f"sample draws {written(flat[wrong[0]])}{more(len(wrong))}, which cannot stop: draw from R / Z")
        return
    if not space.complete:
        raise NotApplicable("not all states were listed, so that samples have no probabilities to be compared with")
    keys = [tuple(state) for state in flat.flatten(1).tolist()]
    strange = [i for i, key in enumerate(keys) if key not in space.row_of]
    if strange:
        yield Fault(f"sample draws {written(flat[strange[0]])}, which no moves lead to: draw from the states that there are")
        return
    counts = torch.bincount(torch.tensor([space.row_of[key] for key in keys]), minlength=len(space.states)).double()
    probability = space.log_reward.where(space.stops, -torch.inf).softmax(0)
    yield from _compared(space, counts, N_SAMPLES * probability)


def _compared(space: Space, counts: Tensor, expected: Tensor) -> Iterator[Fault]:
    """Pearson's statistic, rare states together, is nowhere near what the distribution of R / Z would give: ten deviations."""
    often = expected >= FEWEST_EXPECTED
    observed = torch.cat([counts[often], counts[~often].sum()[None]])
    wanted = torch.cat([expected[often], expected[~often].sum()[None]])
    kept = wanted >= FEWEST_EXPECTED
    statistic = float(((observed - wanted).square() / wanted)[kept].sum())
    freedom = max(1, int(kept.sum()) - 1)
    if statistic > freedom + 10 * math.sqrt(2 * freedom) + 20:
        worst = int(((counts - expected).square() / expected.clamp(min=FEWEST_EXPECTED)).argmax())
        line = f"sample draws {space.show(worst)} {int(counts[worst])} times in {N_SAMPLES}"
        line += f", and R / Z expects {float(expected[worst]):.1f}"
        yield Fault(f"{line} (chi-square {statistic:.0f}, {freedom} degrees of freedom): draw from R / Z")


def names(asked: Asked) -> Iterator[Fault]:
    """Names for people are different texts, one for each node or coordinate."""
    n_found = 0
    for name in NAMES:
        found = asked.attribute(name)
        if found is None:
            continue
        n_found += 1
        n = asked.attribute("n_nodes" if name == "node_names" else "dim")
        texts = isinstance(found, tuple | list) and all(isinstance(text, str) for text in found)
        if not texts or len(set(found)) < len(found) or (is_whole(n) and len(found) != n):
            yield Fault(f"{name}={found!r}: set {n} different texts, one for each")
    if n_found == 0:
        raise NotApplicable("the target has no names for people")
