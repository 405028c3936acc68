"""A state graph in which a state that can be reached after different numbers of steps is a node for each of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gfn_vi.core.state_graph import StateGraph


@dataclass(frozen=True)
class Unrolled:
    """A state graph whose nodes N are pairs of a state and a number of steps from the source.

    state, position [N] long: the node's state and number of steps; edge [E'] long: the edge of the original graph.
    """

    graph: StateGraph
    state: Tensor
    position: Tensor
    edge: Tensor


def unroll(graph: StateGraph) -> Unrolled:
    """Return the graph with a node for each state and number of steps; the same graph where every state has one position."""
    level = torch.repeat_interleave(
        torch.arange(graph.n_levels, device=graph.source.device),
        torch.tensor(graph.level_offsets, device=graph.source.device).diff(),
    )
    if bool((level[graph.target] == level[graph.source] + 1).all()):  # the longest path to a state is as long as the shortest
        everything = torch.arange(graph.n_states, device=level.device)
        return Unrolled(graph, everything, level, torch.arange(len(graph.source), device=level.device))
    device = graph.source.device
    present = torch.zeros(graph.n_states, dtype=torch.bool, device=device)
    present[0] = True
    states, edges, sources, targets = [], [], [], []
    offset = 0
    node_offsets, edge_offsets = [0], [0, 0]
    while True:
        rows = present.nonzero()[:, 0]
        number = torch.zeros_like(present, dtype=torch.long)
        number[rows] = torch.arange(len(rows), device=device)
        taken = present[graph.source].nonzero()[:, 0]
        states.append(rows)
        node_offsets.append(offset + len(rows))
        if len(taken) == 0:
            break
        following = torch.zeros_like(present)
        following[graph.target[taken]] = True
        number_after = following.cumsum(0) - 1
        edges.append(taken)
        sources.append(number[graph.source[taken]] + offset)
        targets.append(number_after[graph.target[taken]] + offset + len(rows))
        edge_offsets.append(edge_offsets[-1] + len(taken))
        offset, present = offset + len(rows), following
    state, edge = torch.cat(states), torch.cat(edges)
    position = torch.repeat_interleave(
        torch.arange(len(states), device=device), torch.tensor([len(rows) for rows in states], device=device)
    )
    unrolled = replace(
        graph,
        states=graph.states[state],
        source=torch.cat(sources),
        target=torch.cat(targets),
        forward_action=graph.forward_action[edge],
        backward_action=graph.backward_action[edge],
        log_reward=graph.log_reward[state],
        level_offsets=tuple(node_offsets),
        in_offsets=tuple(edge_offsets),
        out_order=torch.arange(len(edge), device=device),
        out_offsets=(*edge_offsets[1:], edge_offsets[-1]),
    )
    return Unrolled(unrolled, state, position, edge)
