"""Distances are measured between samples of P_T and exact samples of the target, beside those of two exact sample sets.

Samples are cut into blocks of equal size. A distance is computed on each block, so that the blocks are independent: the mean over
blocks has an honest standard error, and its floor is the same mean for blocks of exact samples (what a perfect sampler reaches).

    MMD^2       unbiased U-statistic without the diagonal, Gaussian kernel exp(-|x - y|^2 / (2 h^2)), h the median distance
                between different exact samples of that block (Gretton et al. 2012; the mean over blocks: Zaremba et al. 2013)
    sliced W2   mean over random directions of the one-dimensional Wasserstein distance (Bonneel et al. 2015); by POT
    W2          the Wasserstein distance of the two blocks, by exact optimal transport; by POT
    clipped W1  where the target has no variance and so no W2: the transport cost of min(|x - y|, clip), a metric of its own,
                with the clip that the target states; exact, by POT.

Blocks are small enough for exact transport: an entropic one would add a bias and a regularization to choose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.median import median
from gfn_vi.evaluation.base import BaseMetric
from gfn_vi.evaluation.measurement import Measurement
from gfn_vi.evaluation.references import recorded_facts

KEY = "evaluation.metrics.distances"  # where the configurations of targets put them


def squared_mmd(x: Tensor, y: Tensor, bandwidth: Tensor) -> Tensor:
    """Return the unbiased estimate of MMD^2 between samples x and y [M, d], which may be below 0: []."""
    n = len(x)
    off = ~torch.eye(n, dtype=torch.bool, device=x.device)
    xx, yy, xy = (torch.exp(-(torch.cdist(a, b) / bandwidth).square() / 2) for a, b in ((x, x), (y, y), (x, y)))
    return (xx[off].sum() + yy[off].sum()) / (n * (n - 1)) - 2 * xy.mean()


def median_distance(x: Tensor) -> Tensor:
    """Return the median distance between different points of x [M, d]: []; NaN where all are one.

    Pairs that coincide say nothing of a scale. Of an even number of pairs it is the mean of the middle two, as in the code of
    Gretton et al. (whose h^2 is half the median of squared distances).
    """
    distances = torch.nn.functional.pdist(x)
    return median(distances[distances > 0], 0)


Distance = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x [M, d], y [M, d], unit directions [d, P]) -> []."""


class Distances(BaseMetric):
    """MMD, sliced W2 and W2, or clipped W1 in the place of both, with standard errors and floors."""

    kind = "reference"
    n_samples: int

    def __init__(self, n_samples: int, block: int, n_directions: int) -> None:
        """n_samples: of P_F and of the target, per replica; block: samples in one distance; at least two blocks.

        n_directions: of sliced W2.
        """
        require(block >= 2, f"{KEY}.block", block, "expected a whole number >= 2")
        expected = f"expected {2 * block} or more, two blocks of {KEY}.block={block}; use smaller ones, or {KEY}=null"
        require(n_samples >= 2 * block, "evaluation.n_samples", n_samples, expected)
        require(n_directions >= 1, f"{KEY}.n_directions", n_directions, "expected a whole number >= 1")
        self.n_samples, self.n_blocks = n_samples, n_samples // block
        self.block, self.n_directions = block, n_directions

    @torch.no_grad()
    def __call__(self, moment: Measurement) -> dict[str, Tensor]:
        """Return name, name_se, name_floor, name_floor_se -> [R] float64; NaN where a sample of P_F is not finite."""
        trajectories, _ = moment.samples
        samples = trajectories.terminal_states().double()
        theirs, others = (self._blocks(x.double()) for x in moment.target_samples(2, self.n_samples))
        ours = self._blocks(samples)
        directions = moment.rng.normal(ours.shape[1], moment.target.dim, self.n_directions).double()
        directions = directions / directions.norm(dim=-2, keepdim=True)  # [R, blocks, d, n_directions]
        found = moment.reference_facts()
        for name, distance in _distances(_clip_of(moment.target)).items():
            for label, first in {name: ours, f"{name}_floor": others}.items():
                values = torch.stack(
                    [torch.stack([*map(distance, *pair)]) for pair in zip(first, theirs, directions, strict=True)]
                )
                found[label] = values.mean(-1)
                found[f"{label}_se"] = values.std(-1) / values.shape[-1] ** 0.5
        return found

    def records(self, target: Any, exact: bool, sampled: bool) -> list[str]:
        """Return the names of those that the target has, and of what is told of references where it has no exact samples."""
        distances = _distances(_clip_of(target))
        names = [f"{name}{floor}{error}" for name in distances for floor in ("", "_floor") for error in ("", "_se")]
        return [*names, *recorded_facts(target)]

    def _blocks(self, x: Tensor) -> Tensor:
        """Cut the first n_blocks * block samples: [R, n, d] -> [R, n_blocks, block, d]."""
        return x[:, : self.n_blocks * self.block].view(len(x), self.n_blocks, self.block, -1)


def _clip_of(target: Any) -> float | None:
    """Return the longest way that counts for a target without variance; None where it states nothing of the kind."""
    clip: float | None = getattr(target, "transport_clip", None)
    return clip


def _distances(clip: float | None) -> dict[str, Distance]:
    """Name -> distance between samples [M, d], the second exact; NaN where the first are not finite.

    clip: the longest way that counts, of a target without variance; None: Wasserstein distances of order 2 exist.
    """
    import ot

    def sliced(x: Tensor, y: Tensor, directions: Tensor) -> Tensor:
        distance: Tensor = ot.sliced_wasserstein_distance(x, y, projections=directions)
        return distance

    def transported(costs: Tensor) -> Tensor:
        share = costs.new_full((len(costs),), 1 / len(costs))
        least: Tensor = ot.emd2(share, share, costs)
        return least

    def exact(x: Tensor, y: Tensor, directions: Tensor) -> Tensor:
        return transported(torch.cdist(x, y).square()).sqrt()

    def clipped(x: Tensor, y: Tensor, directions: Tensor) -> Tensor:
        return transported(torch.cdist(x, y).clamp(max=clip))

    def mmd(x: Tensor, y: Tensor, directions: Tensor) -> Tensor:
        return squared_mmd(x, y, median_distance(y))

    def checked(distance: Distance) -> Distance:
        return lambda x, y, directions: distance(x, y, directions) if bool(x.isfinite().all()) else x.new_full((), torch.nan)

    transport: dict[str, Distance] = {"sliced_w2": sliced, "w2": exact} if clip is None else {"clipped_w1": clipped}
    return {name: checked(distance) for name, distance in {"squared_mmd": mmd, **transport}.items()}
