"""A chain of Gaussian steps whose means are linear in the state, each dimension by itself: P_F and P_B are Gaussian as a whole.

    x_{k+1} given x_k  ~  N(a_k x_k + q_k (weight_k x_k + shift_k), q_k^2 exp(2 log_std_k))        a, q: of the reference
    x_k given x_{k+1}  ~  the same around the reverse of the reference

Numbers are learned in units of the noise of their step. On a Gaussian target all that is expected is known in closed form
(gfn_vi/evaluation/exact/linear_gaussian.py), and of one whose dimensions are independent the chain can be exactly the target.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import DensityTarget
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.types import Need, Role
from gfn_vi.samplers.continuous.kernels import DiagonalGaussian
from gfn_vi.samplers.continuous.reference import LinearReference
from gfn_vi.samplers.continuous.sampler import ContinuousSampler, Kernels

BACKWARDS = ("learned", "reference")


@dataclass(frozen=True)
class LinearSteps:
    """Steps N(slope x + shift, std^2), each [R, K, d]."""

    slope: Tensor
    shift: Tensor
    std: Tensor

    def kernels(self, steps: slice, states: Tensor) -> DiagonalGaussian:
        """Return the Gaussians of consecutive steps from states [R, N, K, d]."""
        mean = self.slope[:, None, steps] * states + self.shift[:, None, steps]
        return DiagonalGaussian(mean, self.std[:, None, steps])


class LinearChain(ContinuousSampler):
    """A random walk of T steps from 0 at initialization."""

    def __init__(
        self, target: DensityTarget, rng: ReplicaGenerators, n_steps: int, init_std: float, backward: str, log_Z: float
    ) -> None:
        """Keys are explained in configs/sampler/linear_chain.yaml."""
        super().__init__(target, len(rng), n_steps, False, log_Z)
        require(0 < init_std < math.inf, "sampler.init_std", init_std, "expected a finite positive number")
        require(backward in BACKWARDS, "sampler.backward", backward, f"expected one of {', '.join(BACKWARDS)}")
        self.reference = LinearReference([1.0] * n_steps, [init_std / math.sqrt(n_steps)] * n_steps)

        def zeros(n: int) -> nn.Parameter | None:
            return nn.Parameter(torch.zeros(len(rng), n, self.dim)) if n > 0 else None

        n_inner = n_steps - 1
        self.shift, self.log_std, self.weight = zeros(n_steps), zeros(n_steps), zeros(n_inner)
        n_back = n_inner if backward == "learned" else 0
        self.back_shift, self.back_log_std, self.back_weight = zeros(n_back), zeros(n_back), zeros(n_back)
        self.to(rng.dtype)

    @property
    def offers(self) -> frozenset[Need]:
        """Return what chains offer but flows, which have no closed form here."""
        return super().offers - {Need.FLOW}

    def parameter_groups(self) -> dict[Role, list[nn.Parameter]]:
        """The first step is part of P_F."""
        groups = super().parameter_groups()
        sides = {
            Role.FORWARD: (self.shift, self.log_std, self.weight),
            Role.BACKWARD: (self.back_shift, self.back_log_std, self.back_weight),
        }
        return groups | {role: present for role, side in sides.items() if (present := [p for p in side if p is not None])}

    def _forward_steps(self) -> LinearSteps:
        """Return steps 1 .. T. The slope of the first says nothing: it comes from 0."""
        assert self.shift is not None
        assert self.log_std is not None
        noise = self.reference.noise[:, None]
        slope = self.reference.shrinkage[:, None].expand_as(self.shift)
        if self.weight is not None:
            slope = slope + noise * nn.functional.pad(self.weight, (0, 0, 1, 0))
        return LinearSteps(slope, noise * self.shift, noise * self.log_std.exp())

    def _backward_steps(self) -> LinearSteps:
        """Return the steps back from the states after steps 2 .. T: T - 1 of them."""
        shape = (self.n_replicas, self.n_steps - 1, self.dim)
        slope = self.reference.backward_shrinkage[1:, None].expand(shape)
        std = self.reference.backward_std[1:, None].expand(shape)
        if self.back_weight is None or self.back_shift is None or self.back_log_std is None:
            return LinearSteps(slope, torch.zeros_like(slope), std)
        return LinearSteps(slope + std * self.back_weight, std * self.back_shift, std * self.back_log_std.exp())

    def forward_kernels(self) -> Kernels:
        """Return the linear steps of P_F."""
        own = self._forward_steps()
        return lambda steps, states, score: own.kernels(steps, states)

    def backward_kernels(self) -> Kernels:
        """Return the linear steps of P_B."""
        own = self._backward_steps()
        return lambda steps, states, score: own.kernels(slice(steps.start - 1, steps.stop - 1), states)

    # -- the chain as a whole, for closed forms -----------------------------------------------------------------------

    def forward_noise(self) -> tuple[Tensor, Tensor]:
        """Return W [R, T d, T d] and c [R, T d]: W x - c is the noise of P_F behind the states x after steps 1 .. T in a row."""
        own = self._forward_steps()
        weight = (1 / own.std).flatten(1).diag_embed()
        if self.n_steps > 1:
            weight = weight - (own.slope / own.std)[:, 1:].flatten(1).diag_embed(-self.dim)
        return weight, (own.shift / own.std).flatten(1)

    def backward_noise(self) -> tuple[Tensor, Tensor]:
        """Return W [R, (T-1) d, T d] and c [R, (T-1) d]: W x - c is the noise of P_B behind the states x."""
        own = self._backward_steps()
        inner = (self.n_steps - 1) * self.dim
        to, since = (1 / own.std).flatten(1).diag_embed(), (own.slope / own.std).flatten(1)
        weight = nn.functional.pad(to, (0, self.dim)) - since.diag_embed(self.dim)[:, :inner] if inner else to
        return weight.view(self.n_replicas, inner, self.n_steps * self.dim), (own.shift / own.std).flatten(1)
