"""A normalizing flow as a family of one step: a Gaussian, carried over by affine couplings of zuko (RealNVP, Dinh et al. 2017).

A coupling moves half of the coordinates by what the others say, so both directions cost the same: drawing and evaluating a
density are equally cheap, and the state is a differentiable function of its noise. The last layers are zero at initialization,
so that a flow starts as the Gaussian. zuko's modules have no replica axis: their parameters are kept stacked [R, ...] here, and
one module is called with those of each replica.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.core.protocols import DensityTarget, GaussianTilt
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.seeds import is_whole
from gfn_vi.samplers.continuous.kernels import DiagonalGaussian, Kernel
from gfn_vi.samplers.continuous.networks import check_widths
from gfn_vi.samplers.continuous.one_step import OneStepFamily

Carry = Callable[[Tensor, bool], tuple[Tensor, Tensor]]
"""(points [R, N, K, d], towards the objects or back) -> points there, and the log-determinant of that move [R, N, K]."""


@dataclass(frozen=True)
class CarriedGaussian(Kernel):
    """A Gaussian carried over by an invertible map. A tilt is of the Gaussian, so that the density stays exact."""

    gaussian: DiagonalGaussian
    carry: Carry

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return states and their log-densities by the change of variables."""
        points, log_density = self.gaussian.draw(noise)
        states, log_determinant = self.carry(points, True)
        return states, log_density - log_determinant

    def log_density(self, states: Tensor) -> Tensor:
        """Return the Gaussian's log-density where the states come from, times the determinant of the way back."""
        points, log_determinant = self.carry(states, False)
        return self.gaussian.log_density(points) + log_determinant

    def redraw(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return states and log-densities along the noise."""
        with torch.no_grad():
            noise = self.gaussian.noise_of(self.carry(states, False)[0])
        moved, log_density = self.draw(noise)
        # exactly the states that were given, as for Gaussians
        return states + (moved - moved.detach()), log_density

    def tilted(self, steps: Tensor, tilt: GaussianTilt) -> CarriedGaussian:
        """Return what the tilted Gaussian becomes."""
        return CarriedGaussian(self.gaussian.tilted(steps, tilt), self.carry)

    def smallest_std(self) -> Tensor:
        """Refuse: it is asked for where densities are summed on a line, and couplings need two dimensions or more."""
        raise NotImplementedError("a flow has no smallest standard deviation")


class Couplings(nn.Module):
    """zuko's transform, which maps objects to points of the Gaussian, as a module whose call does the whole work."""

    def __init__(self, dim: int, n_couplings: int, hidden: Sequence[int]) -> None:
        super().__init__()
        try:
            from zuko.flows import RealNVP
        except ImportError as error:
            advice = "normalizing flows come with zuko: pip install 'gfn_vi[flows]', or use sampler=full_rank"
            raise ConfigError("sampler", "FlowSampler", advice) from error
        with torch.random.fork_rng(devices=[]):  # zuko draws weights that nobody uses: no random number of others moves
            flow = RealNVP(dim, transforms=n_couplings, hidden_features=tuple(hidden), activation=nn.GELU)
        self.transform = flow.transform

    def forward(self, points: Tensor, outwards: bool) -> tuple[Tensor, Tensor]:
        """[..., d] -> the points where they are carried to, and the log-determinants [...]."""
        transform = self.transform(None)
        carried: tuple[Tensor, Tensor] = (transform.inv if outwards else transform).call_and_ladj(points)
        return carried


class FlowSampler(OneStepFamily):
    """N(mean, diag(std^2)), carried over by couplings; mean and std are learned, too."""

    def __init__(
        self,
        target: DensityTarget,
        rng: ReplicaGenerators,
        n_couplings: int,
        hidden: Sequence[int],
        init_std: float,
        log_Z: float,
    ) -> None:
        """n_couplings: each moves every other coordinate; hidden: widths of their networks; init_std: initial std around 0."""
        super().__init__(target, rng, init_std, log_Z)
        two = self.dim >= 2
        require(two, "target.dim", self.dim, "couplings of sampler=flow need 2 dimensions or more; use sampler=mean_field")
        least = is_whole(n_couplings) and n_couplings >= 2
        require(least, "sampler.n_couplings", n_couplings, "expected a whole number >= 2: each leaves every other coordinate")
        check_widths(hidden, 1)
        couplings = Couplings(self.dim, n_couplings, hidden)
        # in a tuple it is no part of this module: its parameters are placeholders
        self._structure = (couplings.requires_grad_(False),)
        self._names = [name for name, _ in couplings.named_parameters()]
        self.mean = nn.Parameter(torch.zeros(len(rng), self.dim))
        self.log_std = nn.Parameter(torch.full((len(rng), self.dim), math.log(init_std), dtype=rng.dtype))
        self.weights = nn.ParameterList(self._initial(couplings, rng))
        self.to(rng.dtype)

    @staticmethod
    def _initial(couplings: Couplings, rng: ReplicaGenerators) -> list[nn.Parameter]:
        """Weights and biases in the order of names: as torch.nn.Linear has them, and 0 in the last layer of each coupling."""
        parameters = []
        for network in couplings.transform.transforms:
            layers = [layer for layer in network.hyper if hasattr(layer, "weight")]  # the others are activations
            for layer in layers:
                bound = 0.0 if layer is layers[-1] else 1 / math.sqrt(layer.in_features)
                parameters += [nn.Parameter((2 * rng.uniform(*part.shape) - 1) * bound) for part in (layer.weight, layer.bias)]
        return parameters

    def family(self) -> CarriedGaussian:
        """Return the flow with the parameters of each replica."""
        (couplings,) = self._structure
        of_replicas: list[dict[str, Any]] = [
            dict(zip(self._names, own, strict=True)) for own in zip(*(p.unbind() for p in self.weights), strict=True)
        ]

        def carry(points: Tensor, outwards: bool) -> tuple[Tensor, Tensor]:
            calls = zip(of_replicas, points.unbind(), strict=True)
            carried = [torch.func.functional_call(couplings, own, (rows, outwards)) for own, rows in calls]
            return torch.stack([there for there, _ in carried]), torch.stack([log_det for _, log_det in carried])

        return CarriedGaussian(DiagonalGaussian(self.mean[:, None, None], self.log_std.exp()[:, None, None]), carry)
