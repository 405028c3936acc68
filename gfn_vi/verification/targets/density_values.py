"""Checks of what a density on R^d says of points: log R and its score."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gfn_vi.core.seeds import is_whole
from gfn_vi.verification.targets.asking import Asked, more, raised, written
from gfn_vi.verification.targets.findings import Fault, NotApplicable
from gfn_vi.verification.targets.points import Points

# Step of central differences in float64, relative to the size of a point, and how far the slope along a direction may be from
# what they say, relative to 1 + |slope|: the step squared, and the rounding of log R over the step, are far below.
STEP, LARGEST_DIFFERENCE = 1e-5, 1e-4
# Both slopes, by STEP and by half of it, agree to this wherever log R is smooth; elsewhere a kink or a jump lies between.
SMOOTH = 1e-3
# Of a type with 24 bits: the score of a rounded point is another one.
CLOSE_IN_FLOAT32 = 1e-2


def sizes(asked: Asked) -> Iterator[Fault]:
    """The dimension is a whole number."""
    dim = asked.attribute("dim")
    if not is_whole(dim) or dim < 1:
        yield Fault(f"dim={dim!r}: set a whole number >= 1")


def log_rewards(points: Points) -> Iterator[Fault]:
    """Log R is a float64 that is finite, or -inf, near and far, for points of both types."""
    given = points.points
    for dtype in (torch.float64, torch.float32):
        found = points.log_reward(given.to(dtype))
        for wrong in (found.isnan(), found == torch.inf):
            rows = wrong.nonzero()[:, 0]
            if len(rows) > 0:
                line = f"log_reward is {float(found[rows[0]])} at {written(given[rows[0]])} in {dtype}{more(len(rows), 'point')}"
                yield Fault(f"{line}: return a finite number, or -inf where R is 0")
                return
    if not bool(points.log_reward(given).isfinite().any()) and not points.has_samples:
        line = f"log_reward is -inf at all {len(given)} points, as at {written(given[0])}"
        yield Fault(f"{line}: choose coordinates with the mass around the origin, where samplers start")


def score(points: Points) -> Iterator[Fault]:
    """The score is the gradient of log R: by central differences, and by autograd through log_reward."""
    if points.asked.attribute("has_score") is False:
        raise NotApplicable("has_score is False, so that choices that need a gradient are refused")
    given = points.points[points.log_reward(points.points).isfinite()]
    if len(given) == 0:
        raise NotApplicable("log R is finite at no point that was looked at")
    found = points.asked.tensor("score", (points.dim,), torch.float64, given)
    if found.requires_grad:
        yield Fault(f"score has a graph, as at {written(given[0])}: return it detached")
        found = found.detach()
    single = points.asked.tensor("score", (points.dim,), torch.float32, given.float())
    wrong = (~found.isfinite()).any(1).nonzero()[:, 0]
    if len(wrong) > 0:
        line = (
            f"score is {written(found[wrong[0]])} at {written(given[wrong[0]])}{more(len(wrong), 'point')}, where log R is finite"
        )
        yield Fault(f"{line}: return finite numbers")
        return
    direction = torch.randn(given.shape, dtype=torch.float64, generator=points.generator)
    direction /= direction.norm(dim=1, keepdim=True)
    along = (found * direction).sum(1)
    slope, tolerance = _slope(points, given, direction)
    wrong = ((along - slope).abs() > tolerance).nonzero()[:, 0]
    if len(wrong) > 0:
        row = wrong[0]
        line = f"score is {written(found[row])} at {written(given[row])}, {float(along[row]):.6g} along {written(direction[row])}"
        yield Fault(f"{line}, and log_reward rises by {float(slope[row]):.6g}{more(len(wrong), 'point')}: return its gradient")
        return
    reliable = tolerance.isfinite()
    apart = (single.double() - found).abs().amax(1) > CLOSE_IN_FLOAT32 * (1 + found.abs().amax(1))
    near = (given.abs().amax(1) <= 3.0) & reliable
    wrong = (apart & near).nonzero()[:, 0]
    if len(wrong) > 0:
        row = wrong[0]
        yield Fault(f"score is {written(single[row])} at {written(given[row])} in float32, and {written(found[row])} in float64")
    yield from _by_autograd(points, given, found)


def _slope(points: Points, given: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Return the slope of log R along directions [n, d] by central differences, and how far off it may be, each [n].

    The second is infinite where two steps disagree or leave the support.
    """
    step = STEP * (1 + given.abs().amax(1, keepdim=True)) * direction
    slopes, largest = [], torch.zeros(len(given), dtype=torch.float64)
    for part in (1.0, 0.5):
        ends = [points.log_reward(given + sign * part * step) for sign in (1, -1)]
        largest = torch.stack([largest, *(end.abs() for end in ends)]).amax(0)
        slopes.append((ends[0] - ends[1]) / (2 * part * step.norm(dim=1)))
    apart = (slopes[0] - slopes[1]).abs()
    rounding = 64 * torch.finfo(torch.float64).eps * (1 + largest) / step.norm(dim=1)
    tolerance = LARGEST_DIFFERENCE * (1 + slopes[1].abs()) + 10 * apart + rounding
    smooth = slopes[1].isfinite() & (apart <= SMOOTH * (1 + slopes[1].abs()) + rounding)
    return slopes[1], tolerance.where(smooth, torch.inf)


def _by_autograd(points: Points, given: Tensor, found: Tensor) -> Iterator[Fault]:
    inputs = given.clone().requires_grad_(True)
    try:
        with torch.enable_grad():
            total = points.asked.target.log_reward(inputs).sum()
            gradient = torch.autograd.grad(total, inputs)[0]
    except RuntimeError as error:
        line = f"log_reward cannot be differentiated at {written(given[0])}: {raised(error)}"
        yield Fault(f"{line}; use torch for all of it, or set has_score = False")
        return
    wrong = ((gradient - found).abs() > LARGEST_DIFFERENCE * (1 + found.abs())).any(1).nonzero()[:, 0]
    if len(wrong) > 0:
        row = wrong[0]
        line = (
            f"autograd through log_reward says {written(gradient[row])} at {written(given[row])}, and score {written(found[row])}"
        )
        yield Fault(f"{line}{more(len(wrong), 'point')}: pathwise gradients use the first; let both be the same")
