"""Where the samples of a density's sampler lie: shares of modes, samples that are not finite, and arrays for pictures."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import Arrays
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.evaluation.base import BaseMetric
from gfn_vi.evaluation.measurement import Measurement
from gfn_vi.evaluation.sampled.weights import worth

# Sets of exact samples whose mean error is the floor of an error.
FLOOR_SETS = 16
# Trajectories, and points of the grid along an axis of a plane, that a picture is drawn from.
PICTURED_TRAJECTORIES, PICTURED_POINTS = 256, 101


class DensitySamples(BaseMetric):
    """Shares of modes against their masses, where the target knows them, and how many samples are not finite.

    mode_mass_error is the total variation between the shares and the masses, samples in no mode included: 0 is right, 1 is as
    wrong as can be. modes_covered counts the modes that hold at least half of their mass, as on graphs of states.
    well_error, of targets that are products of double wells, is the largest |share of a well - its mass| over all wells, left and
    right; samples that are not finite are in neither.
    Beside each error are its standard error, with the signs of the differences taken as they are, and its floor: the mean error
    of as many exact samples.
    """

    kind = "sampled"

    def __init__(self, n_samples: int) -> None:
        """n_samples: trajectories of P_F per replica."""
        require(n_samples >= 1, "evaluation.n_samples", n_samples, "expected a whole number >= 1")
        self.n_samples = n_samples
        self._floors: dict[str, Tensor] | None = None  # the same at every evaluation, once they are known

    @torch.no_grad()
    def __call__(self, moment: Measurement) -> dict[str, Tensor]:
        """Return the shares and errors of this moment: name -> [R] float64."""
        trajectories, _ = moment.samples
        states, target = trajectories.terminal_states(), moment.target
        finite = states.isfinite().all(-1) & trajectories.log_reward.isfinite()
        found = {"non_finite_share": 1 - finite.double().mean(-1), **_errors(target, states, finite)}
        if target.has_exact_samples and self._floors is None:
            self._floors = _floors(target, states.shape[1], moment.rng)
        floors = {} if self._floors is None else self._floors
        return found | {name: value.expand(len(states)) for name, value in floors.items()}

    def records(self, target: Any, exact: bool, sampled: bool) -> list[str]:
        """Return the names of what this target can be measured by."""
        errors = [*(["mode_mass_error"] if _has_modes(target) else []), *(["well_error"] if _has_wells(target) else [])]
        ends = ("", "_se", *(("_floor", "_floor_se") if target.has_exact_samples else ()))
        modes = ["modes_covered"] if _has_modes(target) else []
        return ["non_finite_share", *modes, *(f"{error}{end}" for error in errors for end in ends)]

    @torch.no_grad()
    def arrays(self, moment: Measurement) -> Arrays:
        """Return what pictures need, shapes as in docs/metrics.md; of a plane also log R on a grid around the samples."""
        trajectories, evaluation = moment.samples
        states, target = trajectories.terminal_states(), moment.target
        found: dict[str, Any] = {
            "samples": states,
            "log_weights": -evaluation.log_ratio(),
            **worth("sampled", -evaluation.log_ratio()),
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
        if target.about_coordinates is not None:
            found["about_coordinates"] = [target.about_coordinates]
        if target.dim == 2:
            found |= _plane(target, shown.flatten(0, 1))
        return found


def _has_modes(target: Any) -> bool:
    return target.n_modes is not None and target.mode_mass is not None


def _has_wells(target: Any) -> bool:
    return hasattr(target, "well_occupancy")


def _errors(target: Any, states: Tensor, finite: Tensor) -> dict[str, Tensor]:
    """Return how far shares are from masses, with standard errors, for states [R, n, d] of which some are finite: each [R]."""
    n, found = states.shape[1], {}
    if _has_modes(target):
        mass = torch.nn.functional.pad(target.mode_mass, (0, 1))  # the last: no mode
        mode = target.mode_index(states).where(finite, -1) % len(mass)
        difference = torch.nn.functional.one_hot(mode, len(mass)).double().mean(1) - mass
        # sum |share - mass| is the mean of sign(share - mass) over samples, less a constant
        side = difference.sign().gather(1, mode)
        found["mode_mass_error"] = difference.abs().sum(-1) / 2
        found["mode_mass_error_se"] = side.std(1) / 2 / n**0.5
        found["modes_covered"] = (difference >= -mass / 2)[:, :-1].sum(-1).double()
    if _has_wells(target):
        left, numbers = target.well_occupancy(states), finite[..., None]
        shares = torch.cat([left & numbers, ~left & numbers], -1).double().mean(1)  # [R, 2 wells]
        mass = torch.full_like(shares, target.left_mass)
        mass[:, left.shape[-1] :] = 1 - target.left_mass
        error, worst = (shares - mass).abs().max(-1, keepdim=True)
        share = shares.gather(1, worst)[:, 0]
        found |= {"well_error": error[:, 0], "well_error_se": (share * (1 - share) / n).sqrt()}
    return found


def _floors(target: Any, n: int, rng: ReplicaGenerators) -> dict[str, Tensor]:
    """Return the mean errors of FLOOR_SETS sets of n exact samples, with their standard errors: each [1].

    rng: whose device and type are used; the sets are drawn from seeds of their own, one after the other to save memory.
    """
    drawn = []
    for seed in range(FLOOR_SETS):
        states = target.sample(n, ReplicaGenerators(seed, 1, "floors", rng.device, rng.dtype))
        drawn.append(_errors(target, states, states.isfinite().all(-1)))
    found = {}
    for name in {"mode_mass_error", "well_error"} & set(drawn[0]):
        values = torch.stack([errors[name] for errors in drawn])  # [FLOOR_SETS, 1]
        found[f"{name}_floor"], found[f"{name}_floor_se"] = values.mean(0), values.std(0) / FLOOR_SETS**0.5
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
