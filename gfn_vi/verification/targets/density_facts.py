"""Checks of what a density on R^d says of itself: log Z, modes and exact samples.

Samples x from R / Z satisfy Stein's identity, E[grad log R(x) . x] = -d and E[grad log R(x)] = 0, where R is smooth and falls
to 0 at the ends; and for any density q, E[q(x) / R(x)] = 1 / Z, which is estimated well where q is narrower than one mode of R.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.evaluation.exact.support import support
from gfn_vi.verification.targets.asking import more, written
from gfn_vi.verification.targets.findings import Fault, NotApplicable
from gfn_vi.verification.targets.points import N_SAMPLES, Points

# How far a stated log Z may be from an integral that has converged, and from an estimate, in standard errors.
CLOSE, STANDARD_ERRORS = 1e-4, 6.0
# Nodes on a side of a grid, and how much halving their distance may change an integral that has converged.
NODES_ON_A_LINE, NODES_ON_A_SIDE, CONVERGED = (4001, 16001), (301, 801), 1e-5
# Reaches of the squares that are searched for the mass, and nats below the top beyond which no mass is left.
REACHES, NEGLIGIBLE = tuple(4.0 * 2**k for k in range(8)), 45.0
# The least effective sample size of an estimate that says something; neighbors of a sample that show the shape of its mode.
FEWEST_EFFECTIVE, NEIGHBORS = 50.0, 0.1
# Total variation of counted shares from stated ones: modes overlap, and a sample may be nearer to another mode than to its own.
LARGEST_SHARE_ERROR = 0.15


def log_partition(points: Points) -> Iterator[Fault]:
    """The stated log Z is the log of the integral of R."""
    stated = points.asked.log_Z()
    if points.dim <= 2:
        integral = _on_a_line(points) if points.dim == 1 else _on_a_square(points)
        if not abs(stated - integral) <= CLOSE * (1 + abs(integral)):
            line = f"log_Z={stated:.8g}, and the integral of R, summed on a grid, is exp({integral:.8g})"
            yield Fault(f"{line}: set log_Z to that, or to None")
        return
    estimate, error = _from_samples(points)
    if not abs(stated - estimate) <= STANDARD_ERRORS * error + CLOSE:
        line = f"log_Z={stated:.6g}, and R at exact samples (such as {written(points.samples[0, 0])}) says"
        yield Fault(f"{line} {estimate:.6g} +- {error:.2g}: set log_Z to that, or to None, unless the samples are wrong")


def _on_a_line(points: Points) -> float:
    """Return the log of the integral of R over a line."""
    try:
        low, high = support(points.asked.target, None, None, torch.device("cpu"))
    except ConfigError as error:
        raise NotApplicable(f"no line holds the mass: {error.expected}") from error
    return _converged([_sum(points, [(low, high)], n) for n in NODES_ON_A_LINE])


def _on_a_square(points: Points) -> float:
    """Return the log of the integral of R over a rectangle that holds the mass."""
    n = NODES_ON_A_SIDE[0]
    for reach in REACHES:
        box = [(-reach, reach)] * 2
        grid = _grid(box, n)
        inside = _inside(points.log_reward(grid))
        if len(inside) > 0:
            ends = [grid[inside][:, k].aminmax() for k in range(2)]
            spacing = 2 * reach / (n - 1)
            if all(-reach < float(low) and float(high) < reach for low, high in ends):
                box = [(float(low) - spacing, float(high) + spacing) for low, high in ends]
                return _converged([_sum(points, box, nodes) for nodes in NODES_ON_A_SIDE])
    raise NotApplicable(f"the mass is not within {REACHES[-1]:g} of the origin")


def _inside(log_reward: Tensor) -> Tensor:
    return (log_reward > log_reward.max() - NEGLIGIBLE).nonzero()[:, 0] if bool(log_reward.isfinite().any()) else torch.tensor([])


def _grid(box: list[tuple[float, float]], n: int) -> Tensor:
    axes = [torch.linspace(low, high, n, dtype=torch.float64) for low, high in box]
    return torch.cartesian_prod(*axes).view(-1, len(box))


def _sum(points: Points, box: list[tuple[float, float]], n: int) -> float:
    """Return the log of the sum of R over the nodes times the volume of a cell."""
    volume = math.prod((high - low) / (n - 1) for low, high in box)
    parts = [points.log_reward(part).logsumexp(0) for part in _grid(box, n).split(2**18)]
    return float(torch.stack(parts).logsumexp(0)) + math.log(volume)


def _converged(sums: list[float]) -> float:
    if not abs(sums[0] - sums[-1]) <= CONVERGED * (1 + abs(sums[-1])):
        raise NotApplicable(f"sums on two grids are {sums[0]:.6g} and {sums[-1]:.6g}: R has details that are too small for them")
    return sums[-1]


def _from_samples(points: Points) -> tuple[float, float]:
    """Return log Z from exact samples, and its standard error: q is a Gaussian inside of one mode."""
    first, second = points.samples[0], points.samples[1]
    center = first[int(points.log_reward(first).argmax())]
    n_neighbors = max(4 * points.dim, int(NEIGHBORS * len(first)))
    neighbors = first[(first - center).square().sum(1).topk(n_neighbors, largest=False).indices]
    spread = (neighbors - neighbors.mean(0)).square().mean(0).sqrt()
    log_q = torch.distributions.Normal(neighbors.mean(0), spread).log_prob(second).sum(1)
    log_weights = log_q - points.log_reward(second)
    if bool(log_weights.isnan().any()):
        raise NotApplicable("log R is not finite at samples")
    mean = float(log_weights.logsumexp(0)) - math.log(len(second))
    weights = (log_weights - mean).exp()
    effective = len(second) / float(weights.square().mean())
    if not effective >= FEWEST_EFFECTIVE:
        raise NotApplicable(
            f"log_Z={points.asked.target.log_Z:.6g}: {points.dim} dimensions are too many for a grid or an estimate"
        )
    return -mean, float(weights.std()) / math.sqrt(len(second))


def modes(points: Points) -> Iterator[Fault]:
    """Modes are numbered below n_modes, -1 is none of them, and mode_mass are shares that sum to 1, as samples have them."""
    if points.asked.attribute("n_modes") is None:  # before samples are drawn
        raise NotApplicable("n_modes is None")
    given = torch.cat([points.points, points.samples.flatten(0, 1)]) if points.has_samples else points.points
    n, index = points.asked.modes(given)
    mass = points.asked.attribute("mode_mass")
    if mass is None:
        return
    if not isinstance(mass, Tensor) or tuple(mass.shape) != (n,) or mass.dtype != torch.float64:
        got = f"{mass.dtype} {list(mass.shape)}" if isinstance(mass, Tensor) else type(mass).__name__
        yield Fault(f"mode_mass is {got}: set a tensor [n_modes] = [{n}] in torch.float64")
        return
    if bool((mass < 0).any()) or not abs(float(mass.sum()) - 1) <= 1e-9:
        yield Fault(f"mode_mass is {written(mass)}, which sums to {float(mass.sum()):.6g}: set shares >= 0 that sum to 1")
        return
    if not points.has_samples:
        return
    drawn = index[len(points.points) :]
    share = torch.bincount(drawn[drawn >= 0], minlength=n).double() / len(drawn)
    noise = float((mass * (1 - mass) / len(drawn)).sqrt().sum()) / 2
    if float((share - mass).abs().sum()) / 2 > LARGEST_SHARE_ERROR + 3 * noise:
        k = int((share - mass).abs().argmax())
        at = f" (such as {written(given[len(points.points) :][drawn == k][0])})" if bool((drawn == k).any()) else ""
        line = (
            f"mode_mass of mode {k} is {float(mass[k]):.4g}, and mode_index puts {float(share[k]):.4g} of the samples there{at}"
        )
        yield Fault(f"{line}: mend mode_mass, mode_index or sample")


def samples(points: Points) -> Iterator[Fault]:
    """Samples are finite points of R > 0, of generators alone, and Stein's identity holds for them."""
    drawn, again = points.samples, points.drawn(N_SAMPLES, points.seed)
    flat = drawn.flatten(0, 1)
    wrong = (~drawn.isfinite()).flatten(0, 1).any(1).nonzero()[:, 0]
    if len(wrong) > 0:
        yield Fault(f"sample draws {written(flat[wrong[0]])}{more(len(wrong), 'sample')}: draw finite points")
        return
    if not torch.equal(drawn, again):
        yield Fault(f"sample draws {written(drawn[0, 0])} and then {written(again[0, 0])} from one seed: draw from rng alone")
    if torch.equal(drawn[0], drawn[1]):
        yield Fault(f"sample draws the same of both replicas, as {written(drawn[0, 0])}: draw each from its own generator")
    log_reward = points.log_reward(flat)
    wrong = (~log_reward.isfinite()).nonzero()[:, 0]
    if len(wrong) > 0:
        line = f"sample draws {written(flat[wrong[0]])}{more(len(wrong), 'sample')}"
        yield Fault(f"{line}, where log_reward is {float(log_reward[wrong[0]])}: draw from R / Z")
        return
    if points.asked.attribute("has_score") is False or not bool(points.log_reward(points.points).isfinite().all()):
        return
    score = points.asked.tensor("score", (points.dim,), torch.float64, flat)
    # around the middle of the samples: the identity holds around every point, and varies least there
    products = score * (flat - flat.mean(0)) + 1
    for values, name in (
        (products, "(x_k - mean) d log R / d x_k, which is -1 on average"),
        (score, "d log R / d x_k, which is 0"),
    ):
        mean, error = values.mean(0), values.std(0) / math.sqrt(len(values))
        k = int((mean.abs() / error.clamp(min=1e-300)).argmax())
        if float(mean[k].abs()) > STANDARD_ERRORS * float(error[k]) + 1e-9:
            found = f"{float(mean[k]) - (1 if values is products else 0):.4g} +- {float(error[k]):.2g}"
            line = f"samples (such as {written(flat[0])}) are not from R / Z: {name} on average, is {found} in coordinate {k}"
            yield Fault(f"{line}: mend sample or log_reward")
            return
