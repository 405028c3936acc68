"""A sampler of a density: a Markov chain of T steps from the source state 0 in R^d to an object x.

A subclass says what the kernels of steps are; rolling out, evaluating and the needs of objectives are the same for every chain.
Time is part of the state: the state after k steps is visited by the (k + 1)th kernel and by no other. log P_B of the first step
is 0: every chain comes from the source, so a start that is drawn from a Gaussian is a first step like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import DensityTarget, GaussianTilt
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.seeds import is_whole
from gfn_vi.core.types import Evaluation, Need, Trajectories
from gfn_vi.samplers.base import BaseSampler
from gfn_vi.samplers.continuous.kernels import Kernel
from gfn_vi.samplers.score_norms import trajectory_score_norms

Kernels = Callable[[slice, Tensor, Tensor | None], Kernel]
"""(steps, states [R, N, K, d], scores of them or None) -> the kernels of K consecutive steps at these states."""

LogFlows = Callable[[slice, Tensor, Tensor | None], Tensor]
"""(steps, states [R, N, K, d], log R of them [R, N, K] or None) -> log F [R, N, K]."""

PATHS = frozenset({Need.PATHWISE, Need.STICKING_THE_LANDING})
# Rows (a state of a trajectory of a replica) that a network evaluates at once, so that what they become stays in the cache of a
# CPU, and rows of one replica, and of all, up to which all of it is kept for the gradient: about 0.6 kB each with two layers of
# 64. Above, a chunk is evaluated again when it is pulled back, which costs a third more and makes memory independent of the
# number of steps. An accelerator has more memory, and no use for small batches. Values and gradients do not depend on these.
CHUNK_ROWS = {"cpu": 6_000, "cuda": 1_000_000}
KEPT_ROWS = {"cpu": (60_000, 400_000), "cuda": (2_000_000, 8_000_000)}


class ContinuousSampler(BaseSampler):
    """P_F and P_B as chains of kernels, log F, and log Z [R].

    uses_score: whether forward kernels look at the gradient of log R; noise_width: random numbers per step;
    has_noise_path: whether a state is a differentiable function of its noise; has_score: whether log R is one of the state.
    score_calls [R] counts gradients of log R.
    """

    target: DensityTarget
    score_calls: Tensor
    steps: Tensor
    counters: ClassVar[tuple[str, ...]] = (*BaseSampler.counters, "score_calls")
    tilts = "gaussian"
    uses_score: bool = False
    has_noise_path: bool = True

    def __init__(self, target: DensityTarget, n_replicas: int, n_steps: int, flow: bool, log_Z: float) -> None:
        """n_steps: T; flow: learn log F; log_Z: initial value."""
        super().__init__(target, n_replicas, log_Z)
        require(is_whole(n_steps) and n_steps >= 1, "sampler.n_steps", n_steps, "expected a whole number >= 1")
        self.dim, self.n_steps, self.noise_width, self.has_flow = target.dim, n_steps, target.dim, flow
        self.register_buffer("score_calls", torch.zeros(n_replicas, dtype=torch.long))
        self.register_buffer("steps", torch.arange(n_steps), persistent=False)

    # -- what a subclass says -----------------------------------------------------------------------------------------

    def forward_kernels(self) -> Kernels:
        """Return the kernels of x_{k+1} given x_k, what all rows share computed once."""
        raise NotImplementedError

    def backward_kernels(self) -> Kernels:
        """Return the kernels of x_k given x_{k+1}, for steps k >= 1; they see no score."""
        raise NotImplementedError

    def log_flows(self) -> LogFlows:
        """Return log F of x_k, for steps k >= 1; called only where log F is learned."""
        raise NotImplementedError

    def flow_sees_reward(self) -> bool:
        """Return whether log F looks at log R of the states."""
        return False

    # -- facts --------------------------------------------------------------------------------------------------------

    @property
    def offers(self) -> frozenset[Need]:
        """Return score norms, gradients along the noise, and flows where log F is learned or no state but x has one."""
        flows = {Need.FLOW} if self.has_flow or self.n_steps == 1 else set()
        return super().offers | flows | (PATHS if self.has_noise_path and self.has_score else frozenset())

    @property
    def has_score(self) -> bool:
        """Return whether log R has a gradient, which a user's function may lack."""
        return getattr(self.target, "has_score", True)

    # -- rollouts -----------------------------------------------------------------------------------------------------

    def score(self, states: Tensor) -> Tensor:
        """Return the gradient of log R at [R, ..., d] and count one call per state; differentiable where the states are."""
        self.score_calls += states[0, ..., 0].numel()
        if not (torch.is_grad_enabled() and states.requires_grad):
            return self.target.score(states)
        # along the noise the score moves with the state: its own derivative is part of the gradient
        return torch.autograd.grad(self.target.log_reward(states).sum(), states, create_graph=True)[0]

    def drift_score(self, states: Tensor) -> Tensor:
        """Return the score as forward kernels see it: [R, N, K, d]."""
        return self.score(states)

    def _score_if_used(self, states: Tensor) -> Tensor | None:
        return self.drift_score(states) if self.uses_score else None

    @torch.no_grad()
    def rollout(self, batch: int, rng: ReplicaGenerators, tilt: GaussianTilt | None = None) -> Trajectories:
        """Draw `batch` trajectories per replica from P_F, or from its tilted version; log_behavior is their density."""
        kernels = self.forward_kernels()
        noise = rng.normal(self.n_steps, batch, self.noise_width)
        states = noise.new_zeros(self.n_replicas, batch, self.n_steps + 1, self.dim)
        state, log_probs = states[:, :, :1], []
        for k in range(self.n_steps):
            kernel = kernels(slice(k, k + 1), state, self._score_if_used(state))
            if tilt is not None:
                kernel = kernel.tilted(self.steps[k : k + 1], tilt)
            state, log_prob = kernel.draw(noise[:, k, :, None])
            states[:, :, k + 1] = state[:, :, 0]
            log_probs.append(log_prob)
        return self._trajectories(states, torch.cat(log_probs, 2).sum(-1))

    @torch.no_grad()
    def backward_rollout(self, terminals: Tensor, rng: ReplicaGenerators, log_reward: Tensor | None = None) -> Trajectories:
        """Draw tau from P_B(. | x) for terminals [R, B, d]; log_behavior is None: who chose x is not known here."""
        batch = terminals.shape[1]
        states = terminals.new_zeros(self.n_replicas, batch, self.n_steps + 1, self.dim)
        states[:, :, -1] = terminals
        if self.n_steps > 1:
            kernels, noise = self.backward_kernels(), rng.normal(self.n_steps - 1, batch, self.dim)
            for k in range(self.n_steps - 1, 0, -1):
                kernel = kernels(slice(k, k + 1), states[:, :, k + 1 : k + 2], None)
                states[:, :, k] = kernel.draw(noise[:, k - 1, :, None])[0][:, :, 0]
        return self._trajectories(states, None, log_reward)

    def _trajectories(self, states: Tensor, log_behavior: Tensor | None, log_reward: Tensor | None = None) -> Trajectories:
        n_replicas, batch, _, _ = states.shape
        # the states say everything that was done: an action has no numbers of its own
        actions = states.new_zeros(n_replicas, batch, self.n_steps, 0)
        mask = torch.ones(n_replicas, batch, self.n_steps, dtype=torch.bool, device=states.device)
        log_reward = self.log_reward(states[:, :, -1]) if log_reward is None else log_reward
        return Trajectories(states, actions, mask, log_reward, log_behavior)

    @torch.no_grad()
    def log_density(self, trajectories: Trajectories, tilt: GaussianTilt | None = None) -> Tensor:
        """log P_F(tau) under the tilted policy: [R, B]."""
        return self._forward(trajectories.states, tilt, keep=True).sum(-1)

    # -- evaluation ---------------------------------------------------------------------------------------------------

    def evaluate(self, trajectories: Trajectories, needs: frozenset[Need] = frozenset()) -> Evaluation:
        """log P_F, log P_B and what `needs` names, differentiable: see Evaluation for gradients along the noise."""
        states, log_reward = trajectories.states, trajectories.log_reward
        # many vectors are pulled back at once for score norms, which cannot evaluate again
        rows, (most_of_one, most) = states[0, ..., 0].numel(), KEPT_ROWS[states.device.type]
        keep = Need.SCORE_NORMS in needs or rows <= min(most_of_one, most // self.n_replicas)
        seen = None  # the scores that forward kernels have looked at
        if needs & PATHS:
            states, log_pf, seen = self._along_noise(states)
            if Need.STICKING_THE_LANDING in needs:
                # The gradient along the noise is the score at fixed states plus that of the moving states: the first goes.
                score = self._forward(trajectories.states, None, keep, seen)
                log_pf = log_pf - (score - score.detach())
            log_reward = self.log_reward(states[:, :, -1])
            self.score_calls += states.shape[1]  # its gradient, when the objective is pulled back
        else:
            log_pf = self._forward(states, None, keep)
        log_pb = self._backward(states, keep)
        norm_pf = norm_pb = None
        if Need.SCORE_NORMS in needs:
            parameters, fixed = list(self.parameters()), trajectories.states  # scores are at fixed states, also along the noise
            log_probs = (
                (self._forward(fixed, None, keep, seen), self._backward(fixed, keep)) if needs & PATHS else (log_pf, log_pb)
            )
            norm_pf, norm_pb = (trajectory_score_norms(log_prob.sum(-1), parameters) for log_prob in log_probs)
        return Evaluation(
            log_pf=log_pf,
            log_pb=log_pb,
            log_reward=log_reward,
            log_Z=self.log_Z,
            log_behavior=trajectories.log_behavior,
            mask=trajectories.mask,
            log_flow=self._flow(trajectories, keep) if Need.FLOW in needs else None,
            score_norm_pf=norm_pf,
            score_norm_pb=norm_pb,
        )

    def _along_noise(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Walk the same noise again.

        Returns the states [R, B, T+1, d] as functions of the parameters, log P_F [R, B, T], and as numbers the scores that
        kernels have seen [R, B, T, d].
        """
        kernels = self.forward_kernels()
        path, log_probs, scores = [states[:, :, :1]], [], []
        for k in range(self.n_steps):
            score = self._score_if_used(path[k])
            state, log_prob = kernels(slice(k, k + 1), path[k], score).redraw(states[:, :, k + 1 : k + 2])
            path.append(state)
            log_probs.append(log_prob)
            if score is not None:
                scores.append(score.detach())
        return torch.cat(path, 2), torch.cat(log_probs, 2), torch.cat(scores, 2) if scores else None

    def _chunks(self, states: Tensor) -> tuple[Tensor, ...]:
        """Split trajectories so that a network sees about as many rows as stay in the cache."""
        return states.split(max(1, CHUNK_ROWS[states.device.type] // (self.n_replicas * self.n_steps)), 1)

    @staticmethod
    def _lean(function: Callable[..., Tensor], *arguments: Tensor | None, keep: bool) -> Tensor:
        """Evaluate a chunk and keep what its gradient needs, or evaluate it again then: one chunk at a time is in memory."""
        if keep or not torch.is_grad_enabled():
            return function(*arguments)
        # nothing here draws random numbers
        result: Tensor = checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False)
        return result

    def _forward(self, states: Tensor, tilt: GaussianTilt | None, keep: bool, scores: Tensor | None = None) -> Tensor:
        """log P_F of each step at fixed states [R, B, T+1, d]: [R, B, T]; scores [R, B, T, d] where they are known."""
        kernels, every = self.forward_kernels(), slice(0, self.n_steps)

        def log_prob(chunk: Tensor, score: Tensor | None) -> Tensor:
            kernel = kernels(every, chunk[:, :, :-1], score)
            if tilt is not None:
                kernel = kernel.tilted(self.steps, tilt)
            return kernel.log_density(chunk[:, :, 1:])

        chunks = self._chunks(states)
        known = (self._score_if_used(c[:, :, :-1]) for c in chunks) if scores is None else self._chunks(scores)
        return torch.cat([self._lean(log_prob, c, score, keep=keep) for c, score in zip(chunks, known, strict=True)], 1)

    def _backward(self, states: Tensor, keep: bool) -> Tensor:
        """log P_B of each step: [R, B, T], 0 at the first."""
        if self.n_steps == 1:
            return states.new_zeros(*states.shape[:2], 1)
        kernels, later = self.backward_kernels(), slice(1, self.n_steps)

        def log_prob(chunk: Tensor) -> Tensor:
            return kernels(later, chunk[:, :, 2:], None).log_density(chunk[:, :, 1:-1])

        log_pb = torch.cat([self._lean(log_prob, c, keep=keep) for c in self._chunks(states)], 1)
        return torch.nn.functional.pad(log_pb, (1, 0))

    def _flow(self, trajectories: Trajectories, keep: bool) -> Tensor:
        """log F [R, B, T+1], with Z at the source and R at the end."""
        batch = trajectories.batch
        parts = [self.log_Z[:, None, None].expand(-1, batch, 1)]
        if self.n_steps > 1:
            flows, later = self.log_flows(), slice(1, self.n_steps)

            def log_flow(chunk: Tensor, log_reward: Tensor | None) -> Tensor:
                return flows(later, chunk, log_reward)

            inner = []
            for chunk in self._chunks(trajectories.states[:, :, 1:-1]):
                with torch.no_grad():
                    log_reward = self.log_reward(chunk) if self.flow_sees_reward() else None
                inner.append(self._lean(log_flow, chunk, log_reward, keep=keep))
            parts.append(torch.cat(inner, 1))
        return torch.cat([*parts, trajectories.log_reward[..., None]], 2)

    # -- between the nodes of a grid, for exact sums ------------------------------------------------------------------

    def log_kernels(self, nodes: Tensor, tilt: GaussianTilt | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the log-densities of all steps between nodes [M, d].

        log P_F of the first step to each node [R, M]; of later steps k, log P_F from node i to node j and log P_B from node j
        back to node i [R, T-1, M, M], [k - 1, i, j]. tilt: of P_F.
        """
        kernels = self.forward_kernels()
        origin = self._at_nodes(torch.zeros_like(nodes), 1)
        first = self._tilted(kernels(slice(0, 1), origin, self._score_if_used(origin)), slice(0, 1), tilt)
        start = first.log_density(self._at_nodes(nodes, 1))[..., 0]
        if self.n_steps == 1:
            nothing = start.new_zeros(self.n_replicas, 0, len(nodes), len(nodes))
            return start, nothing, nothing
        later = slice(1, self.n_steps)
        states = self._at_nodes(nodes, self.n_steps - 1)
        forward = self._tilted(kernels(later, states, self._score_if_used(states)), later, tilt)
        backward = self.backward_kernels()(later, states, None)
        # one node for all rows at a time: any kernel can say that
        ends = [node.expand_as(states) for node in nodes]
        log_pf = torch.stack([forward.log_density(end) for end in ends], -1).transpose(1, 2)
        return start, log_pf, torch.stack([backward.log_density(end) for end in ends], 1).permute(0, 3, 1, 2)

    def log_flows_at(self, nodes: Tensor) -> Tensor:
        """Return the learned log F of nodes [M, d] after 1 .. T-1 steps: [R, T-1, M]."""
        if self.n_steps == 1:
            return nodes.new_zeros(self.n_replicas, 0, len(nodes))
        states = self._at_nodes(nodes, self.n_steps - 1)
        log_reward = self.log_reward(states) if self.flow_sees_reward() else None
        return self.log_flows()(slice(1, self.n_steps), states, log_reward).transpose(1, 2)

    @torch.no_grad()
    def smallest_std(self, nodes: Tensor) -> Tensor:
        """Return the smallest standard deviation of any step, forward or backward, at nodes [M, d]: [R]."""
        states = self._at_nodes(nodes, self.n_steps)
        found = [self.forward_kernels()(slice(0, self.n_steps), states, self._score_if_used(states)).smallest_std()]
        if self.n_steps > 1:
            later = states[:, :, 1:]
            found.append(self.backward_kernels()(slice(1, self.n_steps), later, None).smallest_std())
        return torch.stack(found).amin(0)

    def _at_nodes(self, nodes: Tensor, n_steps: int) -> Tensor:
        """Rows [R, M, n_steps, d] with a node each, the same for all replicas and steps."""
        return nodes[:, None].expand(self.n_replicas, len(nodes), n_steps, self.dim)

    def _tilted(self, kernel: Kernel, steps: slice, tilt: GaussianTilt | None) -> Kernel:
        return kernel if tilt is None else kernel.tilted(self.steps[steps], tilt)
