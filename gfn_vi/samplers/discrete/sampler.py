"""A sampler over a discrete target: everything but the functions that map states to logits.

A subclass says what `heads` returns; rolling out, evaluating and the needs of objectives are the same for every network.
log P_B of the stop step is 0: x is its own parent there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.log_probability import masked_log_softmax, uniform_log_probs
from gfn_vi.core.protocols import DiscreteTarget, DiscreteTilt
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.state_graph import StateGraph
from gfn_vi.core.types import Evaluation, Need, Role, Trajectories
from gfn_vi.samplers.base import BaseSampler
from gfn_vi.samplers.discrete.rehearsal import FEWEST_STATES, LARGEST_TABLE, Rehearsal
from gfn_vi.samplers.discrete.rollout import Path, backward_path, graph_rollout, noise_block, stepwise_rollout, table_rollout
from gfn_vi.samplers.discrete.shared import SharedLogProbs
from gfn_vi.samplers.discrete.visited import Visited, as_enumerable, take_entries, take_rows, visited_states
from gfn_vi.samplers.score_norms import trajectory_score_norms

BACKWARD_KINDS = ("learned", "uniform", "tied")
# What dispatching one step of a rollout costs, in rows of a policy network (measured on a CPU; only speed depends on it).
STEP_OVERHEAD = 256
# States of all replicas that a rollout on the CPU evaluates in one batch: some networks need kilobytes for each.
STATES_AT_ONCE = 16_384


class DiscreteSampler(BaseSampler):
    """A sampler over discrete states: P_F and P_B are softmax policies over legal actions; log F may be learned; log Z [R]."""

    target: DiscreteTarget
    tilts = "discrete"
    rehearses: ClassVar[bool] = True  # whether P_F costs enough to guess first where it will be needed
    can_share: ClassVar[bool] = False  # whether heads without P_F save what P_F costs

    def __init__(self, target: DiscreteTarget, n_replicas: int, backward: str, flow: bool, log_Z: float) -> None:
        """backward: "learned", "uniform" or "tied" (a head on the forward trunk); flow: learn log F; log_Z: initial value."""
        super().__init__(target, n_replicas, log_Z)
        require(backward in BACKWARD_KINDS, "sampler.backward", backward, f"expected one of {', '.join(BACKWARD_KINDS)}")
        self.enumerable = as_enumerable(target)
        self.backward_kind, self.has_flow = backward, flow
        self._rehearsal = Rehearsal()
        self._is_sharing = False
        self._evaluated: SharedLogProbs | None = None  # by the last rollout, while sharing

    @property
    def offers(self) -> frozenset[Need]:
        """Return score norms, flows and inflows where log F is learned, and stop flows where every state may stop."""
        flows = {Need.FLOW, Need.INFLOW} if self.has_flow else set()
        return super().offers | flows | ({Need.STOP_FLOW} if self.target.every_state_stops else set())

    def heads(self, states: Tensor, roles: Sequence[Role]) -> dict[Role, Tensor]:
        """Return logits [R, N, A] of FORWARD, [R, N, A'] of BACKWARD, and log F [R, N, 1] of FLOW for the given roles.

        states: [R, N, *state]. A subclass must implement it; illegal actions are masked afterwards.
        """
        raise NotImplementedError

    def heads_of_some(self, states: Tensor, roles: Sequence[Role], counts: list[int]) -> dict[Role, Tensor]:
        """Return the same where only the first counts[r] states of replica r are asked for.

        A class that defines heads may define this, too, to save the others; a subclass that overrides only heads undoes it.
        """
        return self.heads(states, roles)

    def _shared_by_copies(self) -> list[object]:
        """Return what a copy may share, with the target also by the name under which its states can be listed."""
        return [*super()._shared_by_copies(), self.enumerable]

    # -- policies on states -------------------------------------------------------------------------------------------

    def _log_probs(
        self, states: Tensor, roles: Sequence[Role], possible: Tensor | None = None, counts: list[int] | None = None
    ) -> dict[Role, Tensor]:
        """Return the normalized log-probabilities (and log F) of the wanted heads.

        possible [R, N, A]: the actions over which P_F is normalized; None: the legal ones.
        counts: how many states of each replica are asked for; None: all.
        """
        networks = [r for r in roles if not (r is Role.BACKWARD and self.backward_kind == "uniform")]
        some = counts if _definer(type(self), "heads") is _definer(type(self), "heads_of_some") else None
        out = self.heads(states, networks) if some is None else self.heads_of_some(states, networks, some)
        if Role.FORWARD in out:
            possible = self.target.forward_mask(states) if possible is None else possible
            out[Role.FORWARD] = masked_log_softmax(out[Role.FORWARD], possible)
        if Role.BACKWARD in out:
            out[Role.BACKWARD] = masked_log_softmax(out[Role.BACKWARD], self.target.backward_mask(states))
        elif Role.BACKWARD in roles:
            out[Role.BACKWARD] = uniform_log_probs(self.target.backward_mask(states), self.dtype)
        if Role.FLOW in out:
            out[Role.FLOW] = out[Role.FLOW][..., 0]
        return out

    def forward_log_probs(self, states: Tensor, tilt: DiscreteTilt | None = None, *, counts: list[int] | None = None) -> Tensor:
        """Return log P_F(. | s), tilted if asked: [R, N, *state] -> [R, N, A]; about -1e30 where illegal.

        counts: how many states of each replica are asked for; None: all.
        """
        log_probs = self._log_probs(states, [Role.FORWARD], counts=counts)[Role.FORWARD]
        return log_probs if tilt is None else tilt(log_probs, self.target.forward_mask(states))

    def backward_log_probs(self, states: Tensor) -> Tensor:
        """Return log P_B(. | s): [R, N, *state] -> [R, N, A']; about -1e30 where illegal."""
        return self._log_probs(states, [Role.BACKWARD])[Role.BACKWARD]

    def log_flows(self, states: Tensor) -> Tensor:
        """Return the learned log F(s): [R, N, *state] -> [R, N]."""
        return self._log_probs(states, [Role.FLOW])[Role.FLOW]

    # -- what training drew by ----------------------------------------------------------------------------------------

    def remember(self) -> None:
        """Guess the next rollouts by what the last one evaluated, on the CPU, in a space of which it may pay."""
        if self.rehearses and self.enumerable is not None and self.log_Z.device.type == "cpu":
            graph = self.enumerable.state_graph()
            if graph.n_states >= FEWEST_STATES and self.n_replicas * graph.n_states * graph.n_actions <= LARGEST_TABLE:
                self._rehearsal.adopt()

    def forget(self) -> None:
        """Drop what rollouts outside of training evaluated."""
        self._rehearsal.begin()

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """Let `evaluate` take log P_F from the last rollout in this context; parameters must not change in it."""
        # A tied P_B evaluates the trunk of P_F in any case; a P_F that a subclass draws by may be another one than the loss has.
        draws_by_heads = _definer(type(self), "forward_log_probs") is DiscreteSampler
        self._is_sharing = self.can_share and draws_by_heads and self.backward_kind != "tied"
        try:
            yield
        finally:
            self._is_sharing, self._evaluated = False, None

    def memory(self) -> dict[str, Any] | None:
        """Return what is remembered (the arguments of Rehearsal); None before the first update."""
        return self._rehearsal.memory()

    def recall(self, memory: dict[str, Any] | None) -> None:
        """Continue with what another process remembered."""
        kept = memory if memory is not None and self.log_Z.device.type == "cpu" else {}
        table = kept.get("table")
        self._rehearsal = Rehearsal(**kept | {"table": None if table is None else table.clone()})

    def repeated(self, times: int) -> Self:
        """Return a copy with more replicas, as BaseSampler does, which remembers nothing."""
        twin = super().repeated(times)
        twin.recall(None)
        return twin

    # -- rollouts -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def rollout(self, batch: int, rng: ReplicaGenerators, tilt: DiscreteTilt | None = None) -> Trajectories:
        """Draw trajectories [R, batch] from P_F, or from its tilted version; log_behavior is their density."""
        graph = None if self.enumerable is None else self.enumerable.state_graph()
        horizon, dispatch = self.target.horizon, STEP_OVERHEAD // self.n_replicas
        self._rehearsal.begin(getattr(tilt, "__qualname__", type(tilt).__name__))
        kept: list[Tensor] = []

        def policy(states: Tensor, counts: list[int] | None = None) -> Tensor:
            return self.forward_log_probs(states, tilt, counts=counts)

        def keeping(states: Tensor, counts: list[int] | None = None) -> Tensor:
            with torch.enable_grad():
                kept.append(self.forward_log_probs(states, counts=counts))
            found = kept[-1].detach()
            return found if tilt is None else tilt(found.clone(), self.target.forward_mask(states))

        if graph is None:
            path = stepwise_rollout(self.target, policy, self.n_replicas, batch, self.dtype, rng)
            return self._trajectories(path, path.log_prob)
        noise = noise_block(rng, batch, horizon, self.dtype)
        # The table costs S rows, without it each step costs a dispatch.
        otherwise = min(graph.n_states, horizon * (batch + dispatch))
        if self._rehearsal.is_due(graph.n_states):
            path = self._rehearsal.whole(graph, self._at_all_states(graph, policy), noise)
        elif self._rehearsal.pays(batch, otherwise, dispatch):
            path, rows = self._rehearsal.rollout(graph, keeping if self._is_sharing else policy, noise, dispatch)
        elif graph.n_states == otherwise:
            keeps = self._is_sharing and graph.n_states <= min(horizon * batch, self._states_at_once(graph))
            path = table_rollout(graph, self._at_all_states(graph, keeping if keeps else policy), noise)
            rows = torch.arange(graph.n_states, device=noise.device).expand(self.n_replicas, -1)
        else:
            path = graph_rollout(graph, policy, noise)
        self._evaluated = SharedLogProbs(kept, rows) if kept else None
        return self._trajectories(path, path.log_prob)

    def _states_at_once(self, graph: StateGraph) -> int:
        """Return how many states of each replica are evaluated in one batch: on an accelerator all."""
        return max(STATES_AT_ONCE // self.n_replicas, 1) if graph.states.device.type == "cpu" else graph.n_states

    def _at_all_states(self, graph: StateGraph, policy: Callable[[Tensor], Tensor]) -> Tensor:
        """Return a policy [R, S, A] at all states."""
        parts = graph.states.split(self._states_at_once(graph))
        some = [policy(states.expand(self.n_replicas, *states.shape)) for states in parts]
        return some[0] if len(some) == 1 else torch.cat(some, 1)

    @torch.no_grad()
    def backward_rollout(self, terminals: Tensor, rng: ReplicaGenerators, log_reward: Tensor | None = None) -> Trajectories:
        """Draw trajectories [R, B] from P_B(. | x) for x [R, B, *state]; log_behavior is None: x was chosen elsewhere."""
        path = backward_path(self.target, self.backward_log_probs, terminals, self.dtype, rng)
        return self._trajectories(path, None, log_reward)

    def _trajectories(self, path: Path, log_behavior: Tensor | None, log_reward: Tensor | None = None) -> Trajectories:
        log_reward = self.log_reward(path.states[:, :, -1]) if log_reward is None else log_reward
        return Trajectories(path.states, path.actions, path.mask, log_reward, log_behavior)

    @torch.no_grad()
    def log_density(self, trajectories: Trajectories, tilt: DiscreteTilt | None = None) -> Tensor:
        """Return log P_F(tau) under the tilted policy: [R, B]."""
        visited = visited_states(trajectories, self.enumerable)
        log_probs = self.forward_log_probs(visited.states, tilt, counts=visited.counts)
        return (take_entries(log_probs, visited.slot, trajectories.actions) * trajectories.mask).sum(-1)

    # -- evaluation ---------------------------------------------------------------------------------------------------

    def evaluate(self, trajectories: Trajectories, needs: frozenset[Need] = frozenset()) -> Evaluation:
        """Return log P_F and log P_B [R, B, T] and what `needs` names, differentiable; each visited state is evaluated once."""
        visited = visited_states(trajectories, self.enumerable)
        possible = self._possible_in_evaluation(visited.states)
        known = None if self._evaluated is None or possible is not None else self._evaluated.at(visited)
        roles = [Role.FORWARD] * (known is None) + [Role.BACKWARD] + [Role.FLOW] * (Need.FLOW in needs)
        log_probs = self._log_probs(visited.states, roles, possible, visited.counts)
        if known is not None:
            log_probs[Role.FORWARD] = known
        log_pf, log_pb = self._step_log_probs(trajectories, visited, log_probs[Role.FORWARD], log_probs[Role.BACKWARD])
        log_flow = log_inflow = norm_pf = norm_pb = None
        if Need.FLOW in needs:
            log_flow = self._learned_flow(trajectories, take_rows(log_probs[Role.FLOW], visited.slot))
        elif Need.STOP_FLOW in needs:
            log_flow = self._stop_flow(trajectories, visited, log_probs[Role.FORWARD])
        if Need.INFLOW in needs:
            log_inflow = take_rows(self._inflow(visited.states), visited.slot) * trajectories.mask
        if Need.SCORE_NORMS in needs:
            parameters = list(self.parameters())  # of every role: a tied P_B has its score in the forward trunk, too
            norm_pf = trajectory_score_norms(log_pf.sum(-1), parameters)
            norm_pb = trajectory_score_norms(log_pb.sum(-1), parameters)
        return Evaluation(
            log_pf=log_pf,
            log_pb=log_pb,
            log_reward=trajectories.log_reward,
            log_Z=self.log_Z,
            log_behavior=trajectories.log_behavior,
            mask=trajectories.mask,
            log_flow=log_flow,
            log_inflow=log_inflow,
            score_norm_pf=norm_pf,
            score_norm_pb=norm_pb,
        )

    def _possible_in_evaluation(self, states: Tensor) -> Tensor | None:
        """Return the actions over which `evaluate` normalizes P_F, [R, N, A]; None: the legal ones. A deviation overrides it."""
        return None

    def _step_log_probs(
        self, trajectories: Trajectories, visited: Visited, forward: Tensor, backward: Tensor
    ) -> tuple[Tensor, Tensor]:
        mask, actions = trajectories.mask, trajectories.actions
        log_pf = take_entries(forward, visited.slot, actions).where(mask, 0.0)
        if mask.shape[2] == 1:  # every trajectory stops at once
            return log_pf, torch.zeros_like(log_pf)
        # Step t is undone at the state that step t + 1 starts from; the last step of a trajectory is the stop step.
        move = mask[..., 1:]
        undo = self.target.backward_action(trajectories.states[:, :, :-2], actions[..., :-1])
        log_pb = take_entries(backward, visited.slot[..., 1:], undo).where(move, 0.0)
        return log_pf, torch.nn.functional.pad(log_pb, (0, 1))

    def _with_boundary(self, trajectories: Trajectories, log_flow: Tensor, source: Tensor | None) -> Tensor:
        """Return log F [R, B, T+1] from log F [R, B, T] at the starts of steps: log R after the end, `source` at s_0."""
        log_reward = trajectories.log_reward[..., None]
        padded = torch.nn.functional.pad(log_flow, (0, 1))
        alive = torch.nn.functional.pad(trajectories.mask, (0, 1))
        out = padded.where(alive, log_reward)
        if source is None:
            return out
        return torch.cat([source[:, None, None].expand(-1, out.shape[1], 1), out[..., 1:]], 2)

    def _learned_flow(self, trajectories: Trajectories, log_flow: Tensor) -> Tensor:
        return self._with_boundary(trajectories, log_flow, self.log_Z)

    def _stop_flow(self, trajectories: Trajectories, visited: Visited, forward: Tensor) -> Tensor:
        """Return log R(s) - log P_F(stop | s): the flow that a state must have if every state can stop (Deleu et al. 2022)."""
        with torch.no_grad():
            log_reward = self.target.log_reward(visited.states).to(self.dtype)
            self.reward_calls += trajectories.mask.sum((1, 2))
        return self._with_boundary(trajectories, take_rows(log_reward - forward[..., -1], visited.slot), None)

    def _inflow(self, states: Tensor) -> Tensor:
        """Return log sum over parents p of F(p) P_F(s | p): [R, N, *state] -> [R, N]; 0 where s has no parent."""
        target = self.target
        mask = target.backward_mask(states)  # [R, N, A']
        n_replicas, n_states, n_parents = mask.shape
        undo = torch.arange(n_parents, device=mask.device).expand(mask.shape)
        state_axes = (*mask.shape, *target.state_shape)
        children = states.unsqueeze(2).expand(state_axes)
        legal = mask.view(*mask.shape, *[1] * len(target.state_shape))
        # illegal backward actions are replaced by the source state, which is always a state
        parents = target.backstep(children, undo).where(legal, target.initial(1, 1, 1))
        action = target.forward_action(children, undo).where(mask, 0)
        out = self._log_probs(parents.reshape(n_replicas, -1, *target.state_shape), [Role.FORWARD, Role.FLOW])
        forward = out[Role.FORWARD].view(n_replicas, n_states, n_parents, -1)
        log_flow = out[Role.FLOW].view(mask.shape)
        at_source = (parents == target.initial(1, 1, 1)).flatten(3).all(-1)
        log_flow = torch.where(at_source, self.log_Z[:, None, None], log_flow)
        edge = log_flow + forward.gather(3, action[..., None])[..., 0]
        has_parent = mask.any(-1)
        edge = edge.masked_fill(~mask, -torch.inf).where(has_parent[..., None], 0.0)
        return torch.logsumexp(edge, -1) * has_parent


def _definer(kind: type, name: str) -> type:
    """Return the class that an attribute is inherited from."""
    return next(base for base in kind.__mro__ if name in vars(base))
