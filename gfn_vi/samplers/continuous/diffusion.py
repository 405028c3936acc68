"""Diffusion samplers: a process in time whose drift is learned, discretized by Euler and Maruyama (processes.py).

All densities are those of the discrete steps. Networks and options as in Sendera et al., "Improved off-policy training of
diffusion samplers" (NeurIPS 2024); the variance-preserving process as in Vargas et al., "Denoising diffusion samplers" (2023).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import DensityTarget
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.types import Role
from gfn_vi.samplers.continuous.kernels import DiagonalGaussian
from gfn_vi.samplers.continuous.networks import StepNetwork, TimeNetwork, check_widths, log_normal
from gfn_vi.samplers.continuous.processes import Process
from gfn_vi.samplers.continuous.reference import LinearReference
from gfn_vi.samplers.continuous.sampler import ContinuousSampler, Kernels, LogFlows
from gfn_vi.samplers.continuous.training_grid import TrainingGrid

# What a grid makes of the process, besides the reference.
TABLES = ("gain", "moves", "times")
LANGEVINS = ("none", "scalar", "per_dimension")
BACKWARDS = ("reference", "learned")
INITIAL_SCALE = 0.01  # multiple of the score in the drift


class DiffusionSampler(ContinuousSampler):
    """A learned drift on a Brownian bridge or a variance-preserving process."""

    drift_scores: Tensor
    clipped_scores: Tensor
    gain: Tensor
    moves: Tensor
    times: Tensor
    counters = (*ContinuousSampler.counters, "drift_scores", "clipped_scores")

    def __init__(
        self,
        target: DensityTarget,
        rng: ReplicaGenerators,
        n_steps: int,
        process: str,
        start_std: float | None,
        end_time: float,
        grid: str | Sequence[float],
        training_grid: str | None,
        training_steps: int | None,
        noise: str,
        sigma: float,
        sigma_end: float | None,
        learn_noise: bool,
        log_variance_range: float,
        hidden: Sequence[int],
        n_frequencies: int,
        langevin: str,
        score_clip: float | None,
        backward: str,
        largest_correction: float,
        flow: bool,
        forward_looking: bool,
        log_Z: float,
    ) -> None:
        """Keys are explained in configs/sampler/diffusion.yaml; rng draws the weights."""
        super().__init__(target, len(rng), n_steps, flow, log_Z)
        require(langevin in LANGEVINS, "sampler.langevin", langevin, f"expected one of {', '.join(LANGEVINS)}")
        blind = langevin != "none" and not self.has_score
        require(not blind, "sampler.langevin", langevin, "follows the gradient of log R, and this target has none; use none")
        require(backward in BACKWARDS, "sampler.backward", backward, f"expected one of {', '.join(BACKWARDS)}")
        clips = score_clip is None or score_clip > 0
        require(clips, "sampler.score_clip", score_clip, "expected a positive number, or null for none")
        found = log_variance_range
        require(found > 0, "sampler.log_variance_range", found, "expected a positive number of nats")
        share = largest_correction
        require(0 < share < 1, "sampler.largest_correction", share, "expected a number between 0 and 1, both excluded")
        check_widths(hidden, n_frequencies)
        self.score_clip, self.uses_score, self.forward_looking = score_clip, langevin != "none", forward_looking
        self.log_variance_range, self.largest_correction = log_variance_range, largest_correction
        self.process = Process(process, start_std, end_time, noise, sigma, sigma_end)
        self._discretize(n_steps, grid)
        self.training_grid = None
        if training_grid is not None or training_steps is not None:
            steps = n_steps if training_steps is None else training_steps
            self.training_grid = TrainingGrid(training_grid, steps, self.process, self.process.times(n_steps, grid))
            self.has_changing_steps = self.training_grid.kind == "random"
        for name in ("drift_scores", "clipped_scores"):
            self.register_buffer(name, torch.zeros(len(rng), dtype=torch.long))

        def network(n_out: int) -> StepNetwork:
            return StepNetwork(rng, self.dim, n_frequencies, hidden, n_out)

        self.forward_net = network(self.dim * (1 + learn_noise))
        self.scale_net = self._scale_network(rng, n_frequencies, hidden[0], langevin)
        self.backward_net = network(2 * self.dim) if backward == "learned" else None
        self.flow_net = network(1) if flow else None
        self.to(rng.dtype)

    def _discretize(self, n_steps: int, grid: str | Sequence[float]) -> None:
        """Set the tables of steps."""
        steps = self.process.on_grid(n_steps, grid)
        self.reference = LinearReference(steps.shrinkage, steps.noise)
        for name in TABLES:
            self.register_buffer(name, torch.tensor(getattr(steps, name), dtype=torch.float64), persistent=False)

    def remedies(self) -> list[str]:
        """Return the keys that bound the score in the drift and the corrections of P_B, where they are in use."""
        clip = "sampler.score_clip=100" if self.score_clip is None else f"a smaller sampler.score_clip (now {self.score_clip:g})"
        correction = f"a smaller sampler.largest_correction (now {self.largest_correction:g})"
        return [clip] * self.uses_score + [correction] * (self.backward_net is not None)

    def in_training(self, seen: int) -> Self:
        """Return the sampler on the times of this batch, where training has times of its own."""
        if self.training_grid is None:
            return self
        return self.on_grid(self.training_grid.n_steps, self.training_grid.times(seen))

    def on_grid(self, n_steps: int, grid: str | Sequence[float]) -> Self:
        """Return a sampler of the same process on other times: parameters and counters are those of this one, not copies."""
        twin = copy.copy(self)
        for name in ("_buffers", "_modules"):  # the tables of steps are the twin's own
            setattr(twin, name, getattr(self, name).copy())
        twin.n_steps = n_steps
        twin.register_buffer("steps", torch.arange(n_steps, device=self.steps.device), persistent=False)
        twin._discretize(n_steps, grid)
        twin.reference.to(self.gain)
        for name in TABLES:
            setattr(twin, name, getattr(twin, name).to(self.gain))
        return twin

    def _scale_network(self, rng: ReplicaGenerators, n_frequencies: int, width: int, langevin: str) -> TimeNetwork | None:
        if langevin == "none":
            return None
        network = TimeNetwork(rng, n_frequencies, width, 1 if langevin == "scalar" else self.dim)
        nn.init.zeros_(network.out.weight)
        nn.init.constant_(network.out.bias, INITIAL_SCALE)
        return network

    def parameter_groups(self) -> dict[Role, list[nn.Parameter]]:
        """The scale of the score is part of P_F."""
        scale = [] if self.scale_net is None else list(self.scale_net.parameters())
        groups = super().parameter_groups() | {Role.FORWARD: [*self.forward_net.parameters(), *scale]}
        if self.backward_net is not None:
            groups[Role.BACKWARD] = list(self.backward_net.parameters())
        if self.flow_net is not None:
            groups[Role.FLOW] = list(self.flow_net.parameters())
        return groups

    def drift_score(self, states: Tensor) -> Tensor:
        """Return the gradient of log R, shortened to the norm score_clip where it is longer; how often is counted."""
        score = self.score(states)
        self.drift_scores += states[0, ..., 0].numel()
        if self.score_clip is None:
            return score
        norm = score.norm(dim=-1, keepdim=True)
        self.clipped_scores += (norm > self.score_clip).flatten(1).sum(1)
        return score * (self.score_clip / norm.clamp(min=self.score_clip))

    def statistics(self) -> dict[str, Tensor]:
        """clipped_scores: share of the drift's scores so far that were longer than score_clip."""
        if not self.uses_score:
            return {}
        return {"clipped_scores": self.clipped_scores.double() / self.drift_scores.clamp(min=1)}

    # -- kernels ------------------------------------------------------------------------------------------------------

    def forward_kernels(self) -> Kernels:
        """x_{k+1} given x_k: the reference moved by the drift, its noise stretched where that is learned."""
        reference, dim = self.reference, self.dim
        embedded = self.forward_net.embed(self.times[:-1])
        scale = None if self.scale_net is None else self.scale_net(self.times[:-1])[:, None]
        shrinkage, std, gain = reference.shrinkage[:, None], reference.noise[:, None], self.gain[:, None]
        half_range = (self.moves * self.log_variance_range / 2)[:, None]

        def kernels(steps: slice, states: Tensor, score: Tensor | None) -> DiagonalGaussian:
            out = self.forward_net(states, embedded[:, :, steps])
            drift, own_std = out[..., :dim], std[steps]
            if score is not None:
                assert scale is not None
                drift = torch.addcmul(drift, scale[:, :, steps], score)
            mean = torch.addcmul(shrinkage[steps] * states, gain[steps], drift)
            if out.shape[-1] > dim:
                own_std = own_std * (half_range[steps] * out[..., dim:].tanh()).exp()
            return DiagonalGaussian(mean, own_std)

        return kernels

    def backward_kernels(self) -> Kernels:
        """x_k given x_{k+1}: the reference reversed, mean and variance corrected by up to a share where that is learned."""
        network, dim = self.backward_net, self.dim
        shrinkage, std = self.reference.backward_shrinkage[:, None], self.reference.backward_std[:, None]
        embedded = None if network is None else network.embed(self.times[1:])

        def kernels(steps: slice, states: Tensor, score: Tensor | None) -> DiagonalGaussian:
            mean, own_std = shrinkage[steps] * states, std[steps]
            if network is not None:
                assert embedded is not None
                correction = 1 + self.largest_correction * network(states, embedded[:, :, steps]).tanh()
                mean, own_std = mean * correction[..., :dim], own_std * correction[..., dim:].sqrt()
            return DiagonalGaussian(mean, own_std)

        return kernels

    # -- flows --------------------------------------------------------------------------------------------------------

    def flow_sees_reward(self) -> bool:
        """Return whether log F is forward-looking."""
        return self.forward_looking

    def log_flows(self) -> LogFlows:
        """Learned; forward-looking it is learned + u log R(x) + (1 - u) log N(x; 0, v), u the share of time that has passed."""
        network = self.flow_net
        assert network is not None
        embedded = network.embed(self.times[:-1])

        def flows(steps: slice, states: Tensor, log_reward: Tensor | None) -> Tensor:
            learned = network(states, embedded[:, :, steps])[..., 0]
            if log_reward is None:
                return learned
            passed = self.times[:-1][steps]
            return learned + passed * log_reward + (1 - passed) * log_normal(states, self.reference.variance[:-1][steps])

        return flows
