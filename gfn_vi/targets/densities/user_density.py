"""A log-density of the user's own module, given by name; its score comes from autograd, where there is one.

It is tried on a few points when the target is built: what a sampler could not work with is refused then, by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gfn_vi.core import user_files
from gfn_vi.core.errors import ConfigError, require
from gfn_vi.targets.checks import check_whole
from gfn_vi.targets.densities.base import BaseDensity

KEY = "target.function"
N_POINTS = 16
# Far out: a log-density that can be normalized is lower there than around the origin.
FAR = 1000.0
# Central differences in float64 with this step, in units of a coordinate, are good to about 1e-9 of a smooth function.
STEP = 1e-5
LARGEST_DIFFERENCE = 1e-3
NO_SCORE = "has no gradient, as operations of torch on the batch would give it: choices that need one are refused"


def banana(states: Tensor) -> Tensor:
    """Return -x_0^2 / 2 - 2 (x_1 - x_0^2)^2, the log-density that is shipped as an example: [..., 2] -> [...]."""
    return -states[..., 0].square() / 2 - 2 * (states[..., 1] - states[..., 0].square()).square()


class UserDensity(BaseDensity):
    """R = exp(function(x)), where the function maps a batch [n, d] in float64 to [n] in float64; differentiable for a score."""

    def __init__(self, function: str, dim: int, log_Z: float | None) -> None:
        """function: my_module.my_log_density; log_Z: where you know it, else null."""
        check_whole(dim, 1, "target.dim")
        known = log_Z is None or math.isfinite(log_Z)
        require(known, "target.log_Z", log_Z, "expected a finite number, or null where it is not known")
        self.name, self.dim, self.log_Z = function, dim, log_Z
        self.function: Callable[[Tensor], Tensor] = user_files.located(function, KEY)
        generator = torch.Generator().manual_seed(0)
        points = torch.randn(N_POINTS, dim, dtype=torch.float64, generator=generator)
        values = self._check_values(points)
        self.has_score = self._check_gradient(points)
        direction = torch.randn(N_POINTS, dim, dtype=torch.float64, generator=generator)
        far = self.log_density(FAR * direction / direction.norm(dim=1, keepdim=True))
        self._remarks = [*([] if self.has_score else [f"{KEY}={function} {NO_SCORE}"]), *self._doubts(values, far.detach())]

    @property
    def remarks(self) -> list[str]:
        """Return whether it has no gradient, and whether it looks like an energy, or like a density without a logarithm."""
        return self._remarks

    def log_density(self, states: Tensor) -> Tensor:
        """Ask the user's function, which sees one batch axis, however many there are, in float64: [..., d] -> [...]."""
        return self.function(states.reshape(-1, self.dim).double()).reshape(states.shape[:-1]).to(states.dtype)

    def _refuse(self, why: str) -> None:
        raise ConfigError(KEY, self.name, why)

    def _check_values(self, points: Tensor) -> Tensor:
        """Ask for the log-density of points [n, d] and return it: [n]. Raises ConfigError for what is none."""
        try:
            values = self.function(points)
        except Exception as error:
            raised = f"raises on a batch {[N_POINTS, self.dim]} (target.dim={self.dim}): {user_files.failure(error)}"
            raise ConfigError(KEY, self.name, raised) from error
        if not isinstance(values, Tensor):
            self._refuse(f"returned {type(values).__name__}: expected a tensor of log-densities, one for each row of the batch")
        if values.shape != (N_POINTS,):
            given, found = [N_POINTS, self.dim], list(values.shape)
            self._refuse(f"returned the shape {found} for a batch {given} (target.dim={self.dim}): expected [{N_POINTS}]")
        if values.is_complex():
            self._refuse("returned complex numbers: expected real ones")
        if values.dtype != points.dtype:
            self._refuse(f"returned {values.dtype} for a batch in {points.dtype}: expected torch.float64, see its constants")
        n_bad = int((values.isnan() | (values == math.inf)).sum())
        if n_bad > 0:
            self._refuse(f"is NaN or infinite at {n_bad} of {N_POINTS} points near the origin: expected finite log-densities")
        if not bool(values.isfinite().any()):
            self._refuse(f"is -inf at {N_POINTS} of {N_POINTS} points near the origin: expected finite log-densities")
        one = self.function(points[:1])
        if one.shape != (1,) or not torch.allclose(one, values[:1], rtol=1e-6, atol=1e-9):
            self._refuse("gives a row another value alone than in a batch: expected each row's log-density by itself")
        return values.detach()

    def _check_gradient(self, points: Tensor) -> bool:
        """Return whether there is a gradient. Raises ConfigError where central differences along a direction contradict it."""
        inputs = points.clone().requires_grad_(True)
        try:
            values = self.function(inputs)
        except RuntimeError:  # of .numpy(), which torch refuses on what it is to differentiate; without, the function has run
            return False
        if not values.requires_grad:
            return False
        gradient = torch.autograd.grad(values[values.isfinite()].sum(), inputs, allow_unused=True)[0]
        if gradient is None:
            self._refuse("does not depend on the batch: expected a log-density of its rows")
        assert gradient is not None
        direction = torch.randn(points.shape, dtype=points.dtype, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            slope = (self.function(points + STEP * direction) - self.function(points - STEP * direction)) / (2 * STEP)
        along = (gradient * direction).sum(-1)
        used = slope.isfinite() & values.detach().isfinite()
        if not bool(along[used].isfinite().all()):
            self._refuse("has a gradient that is NaN or infinite where its value is finite: see torch.where's double trick")
        # a kink or a jump may lie between two points, not between most of them
        wrong = (along - slope).abs() > LARGEST_DIFFERENCE * (1 + slope.abs())
        if 2 * int((wrong & used).sum()) > int(used.sum()):
            self._refuse("has a gradient by autograd that finite differences contradict: does a part of it leave torch?")
        return True

    def _doubts(self, near: Tensor, far: Tensor) -> list[str]:
        """Return what is suspicious in the values around the origin [n] and far from it [n], a sentence each."""
        here = near[near.isfinite()].mean()
        if bool(far.mean() > here):
            return [
                f"{KEY}={self.name} grows far from the origin, where a log-density falls: if it is an energy, return minus it "
                "(as it stands, its exponential has no finite integral)"
            ]
        if bool((near >= 0).all()) and bool((far >= 0).all()):
            return [
                f"{KEY}={self.name} is nowhere negative, not even {FAR:g} from the origin: if it is a density, return its log "
                "(as it stands, its exponential has no finite integral)"
            ]
        return []
