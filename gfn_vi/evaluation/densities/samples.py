"""Where the samples of a density's sampler lie: shares of modes, samples that are not finite, and arrays for pictures."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import Arrays
from gfn_vi.evaluation.base import BaseMetric
from gfn_vi.evaluation.measurement import Measurement

# Trajectories, and points of the grid along an axis of a plane, that a picture is drawn from.
PICTURED_TRAJECTORIES, PICTURED_POINTS = 256, 101


class DensitySamples(BaseMetric):
    """Shares of modes against their masses, where the target knows them, and how many samples are not finite.

    mode_mass_error is the total variation between the shares and the masses, samples in no mode included: 0 is right, 1 is as
    wrong as can be. modes_covered counts the modes that hold at least half of their mass, as on graphs of states.
    well_error, of targets that are products of double wells, is the largest |share of a well - its mass| over all wells, left and
    right; samples that are not finite are in neither.
    """

    kind = "sampled"

    def __init__(self, n_samples: int) -> None:
        """n_samples: trajectories of P_F per replica."""
        require(n_samples >= 1, "evaluation.n_samples", n_samples, "expected a whole number >= 1")
        self.n_samples = n_samples

    @torch.no_grad()
    def __call__(self, moment: Measurement) -> dict[str, Tensor]:
        """Return the shares and errors of this moment: name -> [R] float64."""
        trajectories, _ = moment.samples
        states, target = trajectories.terminal_states(), moment.target
        finite = states.isfinite().all(-1) & trajectories.log_reward.isfinite()
        found = {"non_finite_share": 1 - finite.double().mean(-1)}
        if target.n_modes is not None and target.mode_mass is not None:
            mass = target.mode_mass
            mode = target.mode_index(states).where(finite, -1)
            shares = torch.nn.functional.one_hot(mode % (len(mass) + 1), len(mass) + 1).double().mean(1)  # the last: no mode
            found["mode_mass_error"] = (shares - torch.nn.functional.pad(mass, (0, 1))).abs().sum(-1) / 2
            found["modes_covered"] = (shares[:, :-1] >= mass / 2).sum(-1).double()
        if hasattr(target, "well_occupancy"):
            left, numbers = target.well_occupancy(states), finite[..., None]
            shares = torch.stack([left & numbers, ~left & numbers]).double().mean(2)
            mass = shares.new_tensor([target.left_mass, 1 - target.left_mass])
            found["well_error"] = (shares - mass[:, None, None]).abs().amax((0, -1))
        return found

    def records(self, target: Any, exact: bool, sampled: bool) -> list[str]:
        """Return the names of what this target can be measured by."""
        modes = ["mode_mass_error", "modes_covered"] if target.n_modes is not None and target.mode_mass is not None else []
        return ["non_finite_share", *modes, *(["well_error"] if hasattr(target, "well_occupancy") else [])]

    @torch.no_grad()
    def arrays(self, moment: Measurement) -> Arrays:
        """Return what pictures need, shapes as in docs/metrics.md; of a plane also log R on a grid around the samples."""
        trajectories, evaluation = moment.samples
        states, target = trajectories.terminal_states(), moment.target
        found: dict[str, Any] = {
            "samples": states,
            "log_weights": -evaluation.log_ratio(),
            "trajectories": trajectories.states[:, :PICTURED_TRAJECTORIES],
        }
        shown = states
        if target.has_exact_samples:
            found["exact_samples"] = shown = target.sample(states.shape[1], moment.rng)
        elif moment.references is not None:
            (shown,) = moment.target_samples(1, states.shape[1])
            found["reference_samples"] = shown
        if target.coordinate_names is not None:
            found["coordinate_names"] = list(target.coordinate_names)
        if target.dim == 2:
            found |= _plane(target, shown.flatten(0, 1))
        return found


def _plane(target: Any, points: Tensor) -> dict[str, Tensor]:
    """log R on a square grid that holds the points [N, 2] and a margin: grid [2, G], log_density [G, G], the first axis first."""
    points = points[points.isfinite().all(-1)].double()
    low, high = (points.amin(0), points.amax(0)) if len(points) else (points.new_full((2,), -1.0), points.new_ones(2))
    margin = (high - low).clamp(min=1e-3) / 8
    share = torch.linspace(0, 1, PICTURED_POINTS, dtype=torch.float64, device=points.device)
    grid = (low - margin)[:, None] + (high - low + 2 * margin)[:, None] * share
    mesh = torch.stack(torch.meshgrid(grid[0], grid[1], indexing="ij"), -1)
    return {"grid": grid, "log_density": target.log_reward(mesh)}
