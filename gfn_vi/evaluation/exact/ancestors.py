"""Exact log P_T of chosen objects of any discrete target, by a recursion over the states that can precede them.

Undoing steps from an object x meets every state on a trajectory to x, and these alone decide P_T(x):

    visits(s_0) = 1,   visits(s) = sum over parents p of visits(p) P_F(s | p),   P_T(x) = visits(x) P_F(stop | x).

So P_T is exact for objects of spaces that nobody can list: a molecule of 8 blocks has at most 136 ancestors, a graph of k edges
at most 2^k. All objects share one graph, in which a state that precedes several of them stands once. The recursion is in
logarithms, so that a probability of exp(-2000) is as exact as any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.distinct import distinct
from gfn_vi.core.errors import require
from gfn_vi.core.protocols import DiscreteTarget
from gfn_vi.core.state_graph import StateGraph, build_state_graph
from gfn_vi.evaluation.exact.tables import LARGEST_CHUNK, normalized

# States whose parents are looked for at once, and numbers of a policy (states, replicas and actions) that are held at once.
LARGEST_FRONT, LARGEST_POLICY = 2**13, 2**24
# Constants of SplitMix64 (Steele et al. 2014) as signed integers: a step that is odd, and two odd factors.
STEP, FACTORS = 0x9E3779B97F4A7C15 - 2**64, (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)
SAME_CODE = (
    "two different states have the same code, which happens once in 2^64 pairs: STEP of this file is to be another odd number"
)


@dataclass(frozen=True)
class AncestorGraph:
    """All states from which some of M objects can be reached, the objects among them; closed under parents.

    graph: its log_reward is that of the objects, and -inf at every other state; objects [M] long: the row of each object in it.
    """

    graph: StateGraph
    objects: Tensor

    @property
    def log_reward(self) -> Tensor:
        """Return log R of each object: [M] float64, -inf where it cannot stop."""
        return self.graph.log_reward[self.objects]


def ancestor_graph(target: DiscreteTarget, objects: Tensor, most: int, key: str) -> AncestorGraph:
    """Return the graph of the ancestors of objects [M, *state], which may repeat.

    most: a limit on its states. Raises ConfigError of `key`, the name of that limit, where there are more.
    """
    everything = torch.cat([target.initial(1), objects])
    first, rows = distinct_states(everything)
    states, rows = everything[first], rows[1:]
    codes = state_codes(states)
    edges, done = [], 0
    while done < len(states):
        front = states[done : done + LARGEST_FRONT]
        child, undo = target.backward_mask(front).nonzero(as_tuple=True)
        children = front[child]
        parents = target.backstep(children, undo)
        together = torch.cat([codes, state_codes(parents)])
        first, number = distinct(together)
        new = first[len(codes) :]  # what is known stands first and keeps its number
        states, codes, number = torch.cat([states, parents[new - len(codes)]]), together[first], number[len(codes) :]
        assert torch.equal(states[number], parents), SAME_CODE
        found = f"the {len(objects)} objects have more ancestors than that: use fewer or smaller ones, or a larger limit"
        require(len(states) <= most, key, most, found)
        edges.append((number, child + done, target.forward_action(children, undo), undo))
        done += len(front)
    source, reached, forward_action, backward_action = (torch.cat(column) for column in zip(*edges, strict=True))
    ends = torch.unique(rows)
    ends = ends[target.forward_mask(states[ends])[..., -1]]
    log_reward = torch.full((len(states),), -torch.inf, dtype=torch.float64, device=states.device)
    log_reward[ends] = target.log_reward(states[ends]).double()
    sizes = (target.n_actions, target.n_backward_actions)
    graph, rank = build_state_graph(states, source, reached, forward_action, backward_action, log_reward, *sizes)
    return AncestorGraph(graph, rank[rows])


@torch.no_grad()
def log_terminating_probability(sampler: Any, ancestors: AncestorGraph) -> Tensor:
    """Return log P_T of every object, exactly and in float64: [R, M]; -inf where it cannot stop.

    sampler: a PolicySampler. Its policy is normalized in float64, as by all exact metrics.
    """
    graph, objects = ancestors.graph, ancestors.objects
    log_pf, log_stop = forward_policy_on_edges(sampler, graph)
    log_ends = log_visits(graph, log_pf)[objects] + log_stop[objects]
    return log_ends.masked_fill(ancestors.log_reward[:, None] == -torch.inf, -torch.inf).T


def log_visits(graph: StateGraph, log_pf: Tensor) -> Tensor:
    """Return the log of the probability that each state is visited: log P_F of the edges [E, R] float64 -> [S, R]."""
    values = torch.full((graph.n_states, log_pf.shape[1]), -torch.inf, dtype=torch.float64, device=log_pf.device)
    values[0] = 0.0
    by_level = log_pf.split([len(source) for source, _ in graph.in_levels])
    levels = list(pairwise(graph.level_offsets))[1:]
    for (source, reached), weight, (begin, end) in zip(graph.in_levels, by_level, levels, strict=True):
        terms = values[source] + weight
        row = (reached - begin)[:, None].expand_as(terms)
        top = values[begin:end].scatter_reduce(0, row, terms, "amax")
        top = top.clamp(min=torch.finfo(top.dtype).min)  # a probability of 0 stays one: -inf - -inf is not a number
        values[begin:end] = torch.zeros_like(top).scatter_add_(0, row, (terms - top.gather(0, row)).exp()).log() + top
    return values


def forward_policy_on_edges(sampler: Any, graph: StateGraph) -> tuple[Tensor, Tensor]:
    """Return log P_F of every edge [E, R] and of the stop action at every state [S, R], in float64.

    The policy at all states and actions may not fit in memory (36,000 states with 4,411 actions each): it is computed for some
    states at a time, of which only these entries are kept.
    """
    n_replicas = sampler.n_replicas
    size = max(1, min(LARGEST_CHUNK, LARGEST_POLICY // graph.n_actions) // n_replicas)
    order = graph.source.argsort()
    starts = torch.arange(0, graph.n_states + size, size, device=order.device)
    bounds = torch.searchsorted(graph.source[order], starts).tolist()
    log_pf = torch.empty(len(order), n_replicas, dtype=torch.float64, device=order.device)
    stops = []
    for begin, chunk, (a, b) in zip(starts.tolist()[:-1], graph.states.split(size), pairwise(bounds), strict=True):
        policy = normalized(sampler.forward_log_probs(chunk.expand(n_replicas, *chunk.shape)))
        edges = order[a:b]
        log_pf[edges] = policy[:, graph.source[edges] - begin, graph.forward_action[edges]].T
        stops.append(policy[..., -1].T)
    return log_pf, torch.cat(stops)


def distinct_states(states: Tensor) -> tuple[Tensor, Tensor]:
    """Return where each different state comes first, [U] long in that order, and the number of every state in it, [N] long."""
    first, number = distinct(state_codes(states))
    assert torch.equal(states[first][number], states), SAME_CODE
    return first, number


def state_codes(states: Tensor) -> Tensor:
    """Return a number for each state, equal for equal states: [N, *state] -> [N] long.

    Different states share one with a probability of 2^-64, and merging by them is a hundred times as fast as by whole rows.
    """
    rows = states.flatten(1).long()
    place = torch.arange(1, rows.shape[1] + 1, device=rows.device) * STEP
    return _mixed(_mixed(rows + place).sum(1))


def _mixed(x: Tensor) -> Tensor:
    """Return the integers scattered over all of their range, each by the same permutation of it (the finalizer of SplitMix64)."""
    for shift, factor in zip((30, 27), FACTORS, strict=True):
        x = _shifted(x, shift) * factor
    return _shifted(x, 31)


def _shifted(x: Tensor, shift: int) -> Tensor:
    """Return x ^ (x >> shift) of integers without a sign: torch repeats the sign bit, by which x and -1 - x would be one."""
    return x ^ ((x >> shift) & (1 << (64 - shift)) - 1)
