"""Hierarchical variational inference: a chain of a few latent layers, each a conditional Gaussian with a network of its own.

P_F(z_1) is a Gaussian with free parameters; z_{k+1} given z_k has mean z_k + network and any diagonal variance; P_B(z_k given
z_{k+1}) likewise, around the reverse of the random walk that the chain is at initialization. The last layer is the object.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import DensityTarget
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.seeds import is_whole
from gfn_vi.core.types import Role
from gfn_vi.samplers.continuous.kernels import DiagonalGaussian
from gfn_vi.samplers.continuous.networks import LayerNetworks, check_widths
from gfn_vi.samplers.continuous.reference import LinearReference
from gfn_vi.samplers.continuous.sampler import ContinuousSampler, Kernels, LogFlows

BACKWARDS = ("learned", "reference")


class GaussianChain(ContinuousSampler):
    """K layers of conditional Gaussians."""

    def __init__(
        self,
        target: DensityTarget,
        rng: ReplicaGenerators,
        n_layers: int,
        hidden: Sequence[int],
        init_std: float,
        backward: str,
        flow: bool,
        log_Z: float,
    ) -> None:
        """Keys are explained in configs/sampler/gaussian_chain.yaml; rng draws the weights."""
        require(is_whole(n_layers) and n_layers >= 1, "sampler.n_layers", n_layers, "expected a whole number >= 1")
        super().__init__(target, len(rng), n_layers, flow, log_Z)
        check_widths(hidden, 1)
        require(0 < init_std < math.inf, "sampler.init_std", init_std, "expected a finite positive number")
        require(backward in BACKWARDS, "sampler.backward", backward, f"expected one of {', '.join(BACKWARDS)}")
        std = init_std / math.sqrt(n_layers)
        self.reference = LinearReference([1.0] * n_layers, [std] * n_layers)
        self.mean = nn.Parameter(torch.zeros(len(rng), self.dim))
        self.log_std = nn.Parameter(torch.full((len(rng), self.dim), math.log(std), dtype=rng.dtype))
        n_inner, dim = n_layers - 1, self.dim
        self.forward_net = LayerNetworks(rng, n_inner, dim, hidden, 2 * dim)
        self.backward_net = LayerNetworks(rng, n_inner, dim, hidden, 2 * dim) if backward == "learned" else None
        self.flow_net = LayerNetworks(rng, n_inner, dim, hidden, 1) if flow else None
        self.to(rng.dtype)

    def parameter_groups(self) -> dict[Role, list[nn.Parameter]]:
        """One network per role; the first layer is part of P_F."""
        groups = super().parameter_groups()
        groups[Role.FORWARD] = [self.mean, self.log_std, *self.forward_net.parameters()]
        for role, network in ((Role.BACKWARD, self.backward_net), (Role.FLOW, self.flow_net)):
            if network is not None and self.n_steps > 1:
                groups[role] = list(network.parameters())
        return groups

    def forward_kernels(self) -> Kernels:
        """Return the conditional Gaussians of z_{k+1} given z_k."""
        first_mean, first_std = self.mean[:, None, None], self.log_std.exp()[:, None, None]
        noise, dim = self.reference.noise[:, None], self.dim

        def kernels(steps: slice, states: Tensor, score: Tensor | None) -> DiagonalGaussian:
            means, stds = [], []
            start = steps.start
            if start == 0:
                shape = (states.shape[0], states.shape[1], 1, dim)
                means, stds = [first_mean.expand(shape)], [first_std.expand(shape)]
                states, start = states[:, :, 1:], 1
            if start < steps.stop:
                out = self.forward_net(states, range(start - 1, steps.stop - 1))
                means.append(states + out[..., :dim])
                stds.append(noise[start : steps.stop] * out[..., dim:].exp())
            return DiagonalGaussian(torch.cat(means, 2), torch.cat(stds, 2))

        return kernels

    def backward_kernels(self) -> Kernels:
        """Return the conditional Gaussians of z_k given z_{k+1}."""
        network, dim = self.backward_net, self.dim
        shrinkage, std = self.reference.backward_shrinkage[:, None], self.reference.backward_std[:, None]

        def kernels(steps: slice, states: Tensor, score: Tensor | None) -> DiagonalGaussian:
            mean, own_std = shrinkage[steps] * states, std[steps]
            if network is not None:
                out = network(states, range(steps.start - 1, steps.stop - 1))
                mean, own_std = mean + out[..., :dim], own_std * out[..., dim:].exp()
            return DiagonalGaussian(mean, own_std)

        return kernels

    def log_flows(self) -> LogFlows:
        """log F of the layers before the last."""
        network = self.flow_net
        assert network is not None

        def flows(steps: slice, states: Tensor, log_reward: Tensor | None) -> Tensor:
            out: Tensor = network(states, range(steps.start - 1, steps.stop - 1))
            return out[..., 0]

        return flows
