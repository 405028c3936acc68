"""The families that a statistician expects, as chains of one step: P_F is the family itself, log P_B = 0, F(s_0) = Z."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import DensityTarget
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.seeds import is_whole
from gfn_vi.core.types import Role
from gfn_vi.samplers.continuous.kernels import DiagonalGaussian, DiagonalMixture, FullGaussian, Kernel
from gfn_vi.samplers.continuous.sampler import ContinuousSampler, Kernels


class OneStepFamily(ContinuousSampler):
    """A distribution with free parameters."""

    def __init__(self, target: DensityTarget, rng: ReplicaGenerators, init_std: float, log_Z: float) -> None:
        """init_std: initial standard deviation of every dimension; log_Z: initial value."""
        super().__init__(target, len(rng), 1, False, log_Z)
        require(0 < init_std < math.inf, "sampler.init_std", init_std, "expected a finite positive number")

    def family(self) -> Kernel:
        """Return the distribution of objects."""
        raise NotImplementedError

    def forward_kernels(self) -> Kernels:
        """Return the family, whatever the state: it is the source."""
        family = self.family()
        return lambda steps, states, score: family

    def parameter_groups(self) -> dict[Role, list[nn.Parameter]]:
        """All but log Z are P_F's."""
        groups = super().parameter_groups()
        groups[Role.FORWARD] = [parameter for parameter in self.parameters() if parameter is not self.log_Z]
        return groups


class MeanField(OneStepFamily):
    """A Gaussian with independent dimensions, N(mean, diag(std^2))."""

    def __init__(self, target: DensityTarget, rng: ReplicaGenerators, init_std: float, log_Z: float) -> None:
        """init_std: initial standard deviation around 0; log_Z: initial value."""
        super().__init__(target, rng, init_std, log_Z)
        self.mean = nn.Parameter(torch.zeros(len(rng), self.dim))
        self.log_std = nn.Parameter(torch.full((len(rng), self.dim), math.log(init_std), dtype=rng.dtype))
        self.to(rng.dtype)

    def family(self) -> DiagonalGaussian:
        """Return the Gaussian with the parameters of each replica."""
        return DiagonalGaussian(self.mean[:, None, None], self.log_std.exp()[:, None, None])


class FullRank(OneStepFamily):
    """N(mean, L L'), L lower triangular."""

    places: Tensor

    def __init__(self, target: DensityTarget, rng: ReplicaGenerators, init_std: float, log_Z: float) -> None:
        """init_std: initial standard deviation around 0, without correlations; log_Z: initial value."""
        super().__init__(target, rng, init_std, log_Z)
        self.mean = nn.Parameter(torch.zeros(len(rng), self.dim))
        self.log_diagonal = nn.Parameter(torch.full((len(rng), self.dim), math.log(init_std), dtype=rng.dtype))
        self.below_diagonal = nn.Parameter(torch.zeros(len(rng), self.dim * (self.dim - 1) // 2))
        places = torch.tril_indices(self.dim, self.dim, -1)
        self.register_buffer("places", places[0] * self.dim + places[1], persistent=False)
        self.to(rng.dtype)

    def tril(self) -> Tensor:
        """Return L: [R, d, d]."""
        flat = self.below_diagonal.new_zeros(self.n_replicas, self.dim**2)
        below = flat.index_copy(1, self.places, self.below_diagonal).view(-1, self.dim, self.dim)
        return below + self.log_diagonal.exp().diag_embed()

    def family(self) -> FullGaussian:
        """Return the Gaussian with the parameters of each replica."""
        return FullGaussian(self.mean[:, None, None], self.tril())


class GaussianMixtureFamily(OneStepFamily):
    """A mixture of diagonal Gaussians with learned weights."""

    has_noise_path = False

    def __init__(
        self, target: DensityTarget, rng: ReplicaGenerators, n_components: int, init_spread: float, init_std: float, log_Z: float
    ) -> None:
        """n_components: C, of equal initial weight; init_spread: standard deviation of the initial means; init_std: of each."""
        super().__init__(target, rng, init_std, log_Z)
        whole = is_whole(n_components) and n_components >= 1
        require(whole, "sampler.n_components", n_components, "expected a whole number >= 1")
        require(init_spread >= 0, "sampler.init_spread", init_spread, "expected a number >= 0")
        self.noise_width = self.dim + 1  # the last chooses the component
        self.logits = nn.Parameter(torch.zeros(len(rng), n_components))
        self.means = nn.Parameter(init_spread * rng.normal(n_components, self.dim))
        self.log_stds = nn.Parameter(torch.full((len(rng), n_components, self.dim), math.log(init_std), dtype=rng.dtype))
        self.to(rng.dtype)

    def family(self) -> DiagonalMixture:
        """Return the mixture with the parameters of each replica."""
        return DiagonalMixture(self.logits.log_softmax(-1), self.means, self.log_stds.exp())
