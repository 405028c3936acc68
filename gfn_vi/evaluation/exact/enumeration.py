"""Brute force: all trajectories of a tiny target, and sums over them. Only the public interface of DiscreteTarget is used.

Nothing here uses the state graph, `evaluate`, or the dynamic programming: those are what is compared with it. P_B is read
off the sampler's policy by searching, among the legal backward actions, the one that leads back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise

import torch
from torch import Tensor

from gfn_vi.core.protocols import DiscreteTarget
from gfn_vi.core.types import Trajectories
from gfn_vi.evaluation.exact.policies import PolicySampler
from gfn_vi.evaluation.exact.tables import normalized


def enumerate_paths(target: DiscreteTarget) -> list[tuple[list[Tensor], list[int]]]:
    """Return every trajectory as (states s_0 .. s_n = x, each [*state]; actions with the stop action last), depth first."""
    stop, found = target.n_actions - 1, []
    front: list[tuple[list[Tensor], list[int]]] = [([target.initial()], [])]
    while front:
        states, actions = front.pop()
        for action in target.forward_mask(states[-1]).nonzero()[:, 0].tolist():
            if action == stop:
                found.append((states, [*actions, stop]))
            else:
                front.append(([*states, target.step(states[-1], torch.tensor(action))], [*actions, action]))
    return found


def as_trajectories(target: DiscreteTarget, n_replicas: int) -> Trajectories:
    """Return all trajectories as one batch [R, n] in float64, the same in every replica; log_behavior is None."""
    paths = enumerate_paths(target)
    steps = max(len(actions) for _, actions in paths)
    states = torch.stack([torch.stack(s + [s[-1]] * (steps + 1 - len(s))) for s, _ in paths])
    actions = torch.tensor([a + [0] * (steps - len(a)) for _, a in paths])
    mask = torch.tensor([[t < len(a) for t in range(steps)] for _, a in paths])
    log_reward = torch.stack([target.log_reward(s[-1]) for s, _ in paths])

    def every(x: Tensor) -> Tensor:
        return x.expand(n_replicas, *x.shape).contiguous()

    return Trajectories(every(states), every(actions), every(mask), every(log_reward), None)


@dataclass(frozen=True)
class Enumeration:
    """All trajectories of a target with their probabilities: log P_F(tau), log P_B(tau | x), log R(x) [R, n], differentiable.

    terminal [n]: number of the object x; objects [n_objects, *state]; log_Z: exact, a scalar; step_log_pf, step_log_pb: of every
    trajectory the log-probabilities [R] of its steps, the stop step in step_log_pf only.
    """

    log_pf: Tensor
    log_pb: Tensor
    log_reward: Tensor
    terminal: Tensor
    objects: Tensor  # [n_objects, *state]
    log_Z: Tensor  # scalar
    step_log_pf: list[list[Tensor]]
    step_log_pb: list[list[Tensor]]

    @property
    def log_ratio(self) -> Tensor:
        """Return l(tau) = log P_F(tau) - log P_B(tau | x) - log R(x): [R, n]."""
        return self.log_pf - self.log_pb - self.log_reward

    @property
    def log_target(self) -> Tensor:
        """Return log P_B(tau) = log P_B(tau | x) + log R(x) - log Z: [R, n]."""
        return self.log_pb + self.log_reward - self.log_Z

    def per_object(self, values: Tensor) -> Tensor:
        """Return the sum of the values over the trajectories that end in each object: [R, n] -> [R, n_objects]."""
        out = values.new_zeros(values.shape[0], len(self.objects))
        return out.index_add(1, self.terminal, values)


def log_policy(sampler: PolicySampler, state: Tensor, forward: bool) -> Tensor:
    """Return the log-probabilities of a policy at one state [*state]: [R, A] forward, or [R, A'] backward."""
    states = state.expand(sampler.n_replicas, 1, *state.shape)
    return normalized(sampler.forward_log_probs(states) if forward else sampler.backward_log_probs(states))[:, 0]


def undoing(target: DiscreteTarget, parent: Tensor, child: Tensor) -> int:
    """Return the legal backward action that leads from child to parent [*state], found by trying them all."""
    legal = target.backward_mask(child).nonzero()[:, 0].tolist()
    (found,) = [a for a in legal if torch.equal(target.backstep(child, torch.tensor(a)), parent)]
    return found


def enumerate_policies(sampler: PolicySampler, target: DiscreteTarget) -> Enumeration:
    """Return both policies multiplied up along every trajectory."""
    cache: dict[tuple[tuple[int, ...], bool], Tensor] = {}

    def policy(state: Tensor, forward: bool) -> Tensor:
        key = (tuple(state.flatten().tolist()), forward)
        if key not in cache:
            cache[key] = log_policy(sampler, state, forward)
        return cache[key]

    step_log_pf, step_log_pb, log_reward, ends = [], [], [], []
    for states, actions in enumerate_paths(target):
        step_log_pf.append([policy(s, True)[:, a] for s, a in zip(states, actions, strict=True)])
        step_log_pb.append([policy(child, False)[:, undoing(target, parent, child)] for parent, child in pairwise(states)])
        log_reward.append(target.log_reward(states[-1]))
        ends.append(tuple(states[-1].flatten().tolist()))
    names = sorted(set(ends))
    shape = target.initial().shape
    objects = torch.tensor(names).view(len(names), *shape)
    nothing = torch.zeros_like(step_log_pf[0][0])
    return Enumeration(
        log_pf=torch.stack([torch.stack(steps).sum(0) for steps in step_log_pf], 1),
        log_pb=torch.stack([torch.stack([nothing, *steps]).sum(0) for steps in step_log_pb], 1),
        log_reward=torch.stack(log_reward).expand(sampler.n_replicas, -1),
        terminal=torch.tensor([names.index(e) for e in ends]),
        objects=objects,
        log_Z=torch.logsumexp(target.log_reward(objects), 0),
        step_log_pf=step_log_pf,
        step_log_pb=step_log_pb,
    )


def multisets(n: int, size: int) -> tuple[Tensor, Tensor]:
    """Return all unordered batches of `size` of n things: index [M, size], and the log of the number of orders of each [M]."""
    index = torch.tensor(list(combinations_with_replacement(range(n), size)))
    counts = torch.nn.functional.one_hot(index, n).sum(1)
    log_orders = math.lgamma(size + 1) - torch.lgamma(counts.double() + 1).sum(1)
    return index, log_orders
