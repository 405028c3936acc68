"""Densities that break one rule each: what a user gets wrong, and what the check must say of it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.targets.densities.base import BaseDensity


class SoundDensity(BaseDensity):
    """A Gaussian around 1 in each of two dimensions, 3 times as large as a density, with all facts."""

    dim, has_exact_samples = 2, True
    log_Z: Any = math.log(3)
    n_modes: Any = 2  # left and right of the middle
    mode_mass: Any = torch.tensor([0.5, 0.5], dtype=torch.float64)
    coordinate_names: Any = ("across", "up")

    def log_density(self, states: Tensor) -> Tensor:
        return math.log(3) - (states - 1).square().sum(-1) / 2 - self.dim / 2 * math.log(2 * math.pi)

    def mode_index(self, states: Tensor) -> Tensor:
        return (states[..., 0] > 1).long()

    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        return 1 + rng.normal(n, self.dim)


class OnALine(SoundDensity):
    dim, coordinate_names = 1, None


class InFiveDimensions(SoundDensity):
    dim, coordinate_names = 5, None


class Box(SoundDensity):
    """Uniform on [0, 2]^2: log R is -inf elsewhere, which is allowed."""

    has_score, log_Z = False, None

    def log_density(self, states: Tensor) -> Tensor:
        return torch.where(((states >= 0) & (states <= 2)).all(-1), 0.0, -math.inf).to(states.dtype)

    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        return 2 * rng.uniform(n, 2)


class Slanted(SoundDensity):
    """Exponential on both sides of the origin, where log R has a kink and its slope is that of either side."""

    dim, log_Z, mode_mass, coordinate_names = 1, math.log(1.5), None, None

    def log_density(self, states: Tensor) -> Tensor:
        return torch.where(states > 0, -2 * states, states)[..., 0]

    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        size = -torch.log1p(-rng.uniform(n, 1))
        return torch.where(rng.uniform(n, 1) < 1 / 3, size / 2, -size)


class Jumps(SoundDensity):
    """A Gaussian that is e^2 times as large on the right: Stein's identity does not hold."""

    dim, log_Z, mode_mass, coordinate_names = 1, None, None, None

    def log_density(self, states: Tensor) -> Tensor:
        return (2.0 * (states > 0) - states.square() / 2)[..., 0]

    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        size = rng.normal(n, 1).abs()
        return torch.where(rng.uniform(n, 1) < 1 / (1 + math.exp(-2)), size, -size)


class FarEnds(SoundDensity):
    """Uniform on [-1000, 1000], further than points are looked at."""

    dim, log_Z, n_modes, mode_mass, coordinate_names = 1, math.log(2000), None, None, None

    def log_density(self, states: Tensor) -> Tensor:
        return (0 * states).where(states.abs() <= 1000, -math.inf)[..., 0]

    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        return 2000 * rng.uniform(n, 1) - 1000


class Needle(SoundDensity):
    """Half of the mass lies in a needle that falls through a grid."""

    log_Z, n_modes, mode_mass, coordinate_names = 0.0, None, None, None

    def log_density(self, states: Tensor) -> Tensor:
        wide = -states.square().sum(-1) / 2
        narrow = -((states - 0.1234) / 1e-4).square().sum(-1) / 2 - 2 * math.log(1e-4)
        return torch.logaddexp(wide, narrow) - math.log(4 * math.pi)

    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        is_wide = rng.uniform(n, 1) < 0.5
        return torch.where(is_wide, rng.normal(n, 2), 0.1234 + 1e-4 * rng.normal(n, 2))


class SingleDensity(SoundDensity):
    def log_reward(self, states: Tensor) -> Tensor:
        return self.log_density(states.float())


class DensityOfAnotherShape(SoundDensity):
    def log_reward(self, states: Tensor) -> Tensor:
        return self.log_density(states.double())[..., None]


class NanFarAway(SoundDensity):
    def log_reward(self, states: Tensor) -> Tensor:
        found = super().log_reward(states)
        return found.where(states.abs().amax(-1) < 30, math.nan)


class Overflows(SoundDensity):
    """An energy in place of a log-density, exponentiated."""

    def log_density(self, states: Tensor) -> Tensor:
        return (states.square().sum(-1)).exp()


class NowhereAtAll(SoundDensity):
    has_exact_samples = False

    def log_density(self, states: Tensor) -> Tensor:
        return super().log_density(states).where(states.amin(-1) > 1000, -math.inf)


class ScoreOfAnotherSign(SoundDensity):
    def score(self, states: Tensor) -> Tensor:
        return states - 1


class ScoreOfHalf(SoundDensity):
    """A part of log R leaves torch on the way, so that autograd misses it."""

    def log_density(self, states: Tensor) -> Tensor:
        part = torch.from_numpy(states.detach().numpy().copy())
        return super().log_density(states) - 0.1 * part.pow(2).sum(-1)


class SteepScore(SoundDensity):
    """Gradients are 0.3% too large, by autograd, too."""

    def log_density(self, states: Tensor) -> Tensor:
        found = super().log_density(states)
        return 1.003 * found - 0.003 * found.detach()


class NanSamples(InFiveDimensions):
    n_modes = None

    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        return math.nan * rng.normal(n, self.dim)


class OneSample(InFiveDimensions):
    n_modes = None

    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        return torch.ones_like(rng.normal(n, self.dim))


class NoGraph(SoundDensity):
    def log_density(self, states: Tensor) -> Tensor:
        return super().log_density(states.detach())

    def score(self, states: Tensor) -> Tensor:
        return 1 - states


class ScoreOfAnotherType(SoundDensity):
    def score(self, states: Tensor) -> Tensor:
        return super().score(states).double()


class DensityOfTheBatch(SoundDensity):
    def log_density(self, states: Tensor) -> Tensor:
        found = super().log_density(states)
        return found - found.max()


class RandomDensity(SoundDensity):
    has_score = False

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def log_density(self, states: Tensor) -> Tensor:
        found = super().log_density(states)
        return found + 1e-3 * torch.rand(found.shape, generator=self.generator)


class DensityChangesItsInput(SoundDensity):
    def log_reward(self, states: Tensor) -> Tensor:
        if not states.requires_grad:
            states -= 1
            return super().log_density(states.double() + 1)
        return super().log_reward(states)


class DensityOfAnotherLogZ(SoundDensity):
    log_Z = 0.0


class LineOfAnotherLogZ(OnALine):
    log_Z = 0.0


class FiveOfAnotherLogZ(InFiveDimensions):
    log_Z = 0.0


class MassOfAnotherSum(SoundDensity):
    mode_mass = torch.tensor([0.5, 0.4], dtype=torch.float64)


class MassOfAnotherShare(SoundDensity):
    mode_mass = torch.tensor([0.9, 0.1], dtype=torch.float64)


class IndexOutOfRange(SoundDensity):
    n_modes, mode_mass = 1, None


class WiderSamples(SoundDensity):
    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        return 1 + 1.2 * rng.normal(n, self.dim)


class ShiftedSamples(SoundDensity):
    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        return rng.normal(n, self.dim) + 1.3


class SamplesOfOneShape(SoundDensity):
    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        return 1 + rng.normal(n, self.dim)[0]


class SamplesOutside(Box):
    mode_mass = None

    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        return 3 * rng.uniform(n, 2)


class OneReplica(SoundDensity):
    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        return (1 + rng.normal(n, self.dim))[:1].expand(len(rng), -1, -1)


class OneName(SoundDensity):
    coordinate_names = ("across",)


class DimensionOfAnotherType(SoundDensity):
    dim: Any = 2.0


class OtherCopies(SoundDensity):
    shift = 0.0

    def log_density(self, states: Tensor) -> Tensor:
        return super().log_density(states) + self.shift

    def to(self, device: Any) -> OtherCopies:
        moved = super().to(device)
        moved.shift = 1.0
        return moved


SOUND = (SoundDensity, OnALine, InFiveDimensions, Box, Slanted, Jumps, FarEnds, Needle)
# Density -> the check that names it first, and what its line holds.
BROKEN_DENSITIES: dict[type[SoundDensity], tuple[str, str]] = {
    SingleDensity: ("values", "log_reward returns torch.float32, as at [0.0, 0.0]: return torch.float64"),
    DensityOfAnotherShape: ("values", "log_reward returns the shape [..., 1], as at [0.0, 0.0]: return [...]"),
    NanFarAway: ("values", "log_reward is nan at ["),
    Overflows: ("values", "log_reward is inf at ["),
    NowhereAtAll: ("values", "log_reward is -inf at all 129 points, as at [0.0, 0.0]: choose coordinates"),
    ScoreOfAnotherSign: ("score", "score is [-1.0, -1.0] at [0.0, 0.0], "),
    ScoreOfHalf: ("score", "return its gradient"),
    SteepScore: ("score", "and log_reward rises by "),
    NanSamples: ("samples", "sample draws [nan, nan, nan, nan, nan] (and 8191 more samples): draw finite points"),
    OneSample: ("samples", "sample draws the same of both replicas, as [1.0, 1.0, 1.0, 1.0, 1.0]"),
    NoGraph: ("score", "log_reward cannot be differentiated at [0.0, 0.0]: RuntimeError"),
    ScoreOfAnotherType: ("score", "score returns torch.float64, as at [0.0, 0.0]: return torch.float32"),
    DensityOfTheBatch: ("one row, one point", "log_reward says 0.0 alone and "),
    RandomDensity: ("determinism", "log_reward says "),
    DensityChangesItsInput: ("inputs", "log_reward changes its input: [0.0, 0.0] becomes [-1.0, -1.0]; work on a copy"),
    DensityOfAnotherLogZ: ("log_Z", "log_Z=0, and the integral of R, summed on a grid, is exp(1.0986123): set log_Z to that"),
    LineOfAnotherLogZ: ("log_Z", "log_Z=0, and the integral of R, summed on a grid, is exp(1.0986123): set log_Z to that"),
    FiveOfAnotherLogZ: ("log_Z", "log_Z=0, and R at exact samples (such as ["),
    MassOfAnotherSum: ("modes", "mode_mass is [0.5, 0.4], which sums to 0.9: set shares >= 0 that sum to 1"),
    MassOfAnotherShare: ("modes", "mode_mass of mode 0 is 0.9, and mode_index puts 0."),
    IndexOutOfRange: ("modes", "mode_index is 1 at ["),
    WiderSamples: ("samples", "are not from R / Z"),
    ShiftedSamples: ("samples", "are not from R / Z"),
    SamplesOfOneShape: ("modes", "sample(4096, rng) of two replicas returns [4096, 2]: return [2, n, d] = [2, 4096, 2]"),
    SamplesOutside: ("samples", "where log_reward is -inf: draw from R / Z"),
    OneReplica: ("samples", "sample draws the same of both replicas, as ["),
    OneName: ("names", "coordinate_names=('across',): set 2 different texts, one for each"),
    DimensionOfAnotherType: ("sizes", "dim=2.0: set a whole number >= 1"),
    OtherCopies: ("devices", "log_reward of to('cpu') says something else at [0.0, 0.0]: return an equal target"),
}
