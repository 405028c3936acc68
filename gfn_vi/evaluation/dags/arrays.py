"""Arrays for pictures of distributions over graphs: edge marginals and the most probable graphs. Shapes: docs/metrics.md."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfn_vi.core.protocols import GraphTarget
from gfn_vi.core.state_graph import StateGraph
from gfn_vi.evaluation.dags.features import marginals

# Graphs of each replica that are kept.
N_TOP = 6


def exact_graph_arrays(target: GraphTarget, graph: StateGraph, terminating: Tensor) -> dict[str, Tensor]:
    """Return the arrays from P_T [R, S] float64 on the states of the graph; K is N_TOP, or S where there are fewer graphs."""
    posterior = graph.log_target.exp()
    adjacency = target.adjacency(graph.states)
    probability, rows = terminating.topk(min(N_TOP, graph.n_states), 1)
    return _true_graph(target) | {
        "edges_learned": marginals(adjacency, terminating.T),
        "edges_target": marginals(adjacency, posterior[:, None])[0],
        "top_graphs": adjacency[rows],
        "top_learned": probability,
        "top_target": posterior[rows],
        "top_log_reward": graph.log_reward[rows],
    }


def sampled_graph_arrays(target: GraphTarget, states: Tensor, log_reward: Tensor) -> dict[str, Tensor]:
    """Return the arrays from graphs [R, n, *state] drawn from P_T with their log R [R, n]; K is N_TOP.

    The top graphs are those among the drawn ones with the largest log-reward, and `top_learned` is how often each was drawn. A
    replica that drew fewer different ones has empty graphs in the places that are left, drawn never, of log-reward -inf.
    """
    adjacency = target.adjacency(states)
    frequency = adjacency.double().mean(1)
    tops = [_most_rewarding(*one) for one in zip(adjacency, log_reward.double(), strict=True)]
    names = ("top_graphs", "top_learned", "top_log_reward")
    return _true_graph(target) | {
        "edges_learned": frequency,
        "n_drawn": torch.tensor(adjacency.shape[1]),
        "edges_learned_se": (frequency * (1 - frequency) / (adjacency.shape[1] - 1)).sqrt(),
        **{name: torch.stack(parts) for name, parts in zip(names, zip(*tops, strict=True), strict=True)},
    }


def _true_graph(target: GraphTarget) -> dict[str, Tensor]:
    return {} if target.true_graph is None else {"true_graph": target.true_graph}


def _most_rewarding(adjacency: Tensor, log_reward: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the different graphs among [n, d, d] of largest log_reward [n]: graphs [K, d, d], frequency [K], log-reward [K]."""
    n, d, _ = adjacency.shape
    different, which, times = adjacency.flatten(1).unique(dim=0, return_inverse=True, return_counts=True)
    reward = log_reward.new_full((len(different),), -math.inf).scatter_reduce(0, which, log_reward, "amax")
    found = min(N_TOP, len(different))
    best, rows = reward.topk(found)
    graphs = adjacency.new_zeros(N_TOP, d, d)
    frequency, rewards = log_reward.new_zeros(N_TOP), log_reward.new_full((N_TOP,), -math.inf)
    graphs[:found], frequency[:found], rewards[:found] = different[rows].view(-1, d, d), times[rows].double() / n, best
    return graphs, frequency, rewards
