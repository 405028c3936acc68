"""Attention over the nodes of a graph: P_F, P_B and log F of targets whose states are directed acyclic graphs.

arXiv 2210.00580 (section 4.3, after Deleu et al. 2022) attends over the d^2 possible edges with a linear transformer. Here a
token is a node, which costs d tokens instead of d^2: what a node's row and column of the adjacency matrix and of its closure say
goes into its token, and every pair of tokens attends with a bias that depends on how the two nodes are related (edge or path, one
way or the other: Ying et al. 2021). The logit of the edge i -> j is a product of the tokens of i and j plus a free number for the
pair, so that, as there, nodes are not exchangeable: they are columns of a table. The stop logit and log F see the mean token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.core.protocols import DiscreteTarget, GraphTarget
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.types import Role
from gfn_vi.samplers.discrete.networks import ReplicaLinear, ReplicaNorm
from gfn_vi.samplers.discrete.separate_networks import SeparateNetworks

# Edge and path, each in both directions.
RELATIONS = 4


class Attention(nn.Module):
    """A layer of attention between related nodes, normalized before, and a ReLU layer of twice the width."""

    def __init__(self, rng: ReplicaGenerators, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relate = nn.Parameter(rng.normal(RELATIONS, heads))
        self.norm = ReplicaNorm(len(rng), width)
        self.project = ReplicaLinear(rng, width, 3 * width)
        self.merge = ReplicaLinear(rng, width, width)
        self.norm_hidden = ReplicaNorm(len(rng), width)
        self.widen = ReplicaLinear(rng, width, 2 * width)
        self.narrow = ReplicaLinear(rng, 2 * width, width)

    def forward(self, tokens: Tensor, relations: Tensor) -> Tensor:
        """Return new tokens: tokens [R, N d, width], relations [R, N, RELATIONS, d d] -> [R, N d, width]."""
        n_replicas, n_states = relations.shape[:2]
        n_nodes, width = tokens.shape[1] // n_states, tokens.shape[2]
        split = self.project(self.norm(tokens)).view(-1, n_nodes, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = split.flatten(1, 2).unbind(0)  # [R N H, d, width / H]
        bias = torch.matmul(self.relate.transpose(1, 2)[:, None], relations).view(-1, n_nodes, n_nodes)
        # by hand: torch's own attention looks for rows without any legal entry, which there are none of here
        weights = torch.baddbmm(bias, query, key.transpose(1, 2), alpha=1 / math.sqrt(width // self.heads)).softmax(-1)
        mixed = torch.bmm(weights, value).view(-1, self.heads, n_nodes, width // self.heads).transpose(1, 2)
        tokens = tokens + self.merge(mixed.reshape(n_replicas, -1, width))
        return tokens + self.narrow(self.widen(self.norm_hidden(tokens)).relu_())


class GraphEncoder(nn.Module):
    """An encoder of graphs, given by adjacency and closure, as one token per node."""

    def __init__(self, rng: ReplicaGenerators, n_nodes: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.embed = ReplicaLinear(rng, RELATIONS * n_nodes, width)
        self.name = nn.Parameter(rng.normal(1, n_nodes, width))
        self.layers = nn.ModuleList(Attention(rng, width, heads) for _ in range(layers))
        self.norm = ReplicaNorm(len(rng), width)

    def forward(self, graphs: Tensor) -> Tensor:
        """Return the tokens of all nodes: adjacency and closure [R, N, 2, d, d] -> [R, N, d, width]."""
        n_replicas, n_states, _, n_nodes, _ = graphs.shape
        both = torch.cat([graphs, graphs.transpose(-1, -2)], 2).to(self.name.dtype)  # [R, N, RELATIONS, d, d]
        rows = both.transpose(2, 3).reshape(n_replicas, n_states * n_nodes, RELATIONS * n_nodes)
        tokens = (self.embed(rows).view(n_replicas, n_states, n_nodes, -1) + self.name).flatten(1, 2)
        for layer in self.layers:
            tokens = layer(tokens, both.flatten(3))
        return self.norm(tokens).view(n_replicas, n_states, n_nodes, -1)


class EdgeHead(nn.Module):
    """A logit for every edge: products of the tokens of both ends, a term for either end, a free number for the pair."""

    def __init__(self, rng: ReplicaGenerators, n_nodes: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.ends = ReplicaLinear(rng, width, 2 * width + 2)
        self.pair = nn.Parameter(torch.zeros(len(rng), 1, n_nodes * n_nodes))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of all edges: tokens [R, N, d, width] -> [R, N, d d]."""
        n_replicas, n_states, n_nodes, width = tokens.shape
        ends = self.ends(tokens.reshape(n_replicas, -1, width)).view(n_replicas, n_states, n_nodes, -1)
        tail, head, of_tail, of_head = ends.split([width, width, 1, 1], -1)
        logits = tail @ head.transpose(-1, -2) / math.sqrt(width) + of_tail + of_head.transpose(-1, -2)
        return logits.flatten(2) + self.pair


class GraphNetwork(nn.Module):
    """An encoder with `n_edge` heads for edges and, where n_whole > 0, one for the whole graph."""

    def __init__(
        self, rng: ReplicaGenerators, n_nodes: int, width: int, layers: int, heads: int, n_edge: int, n_whole: int
    ) -> None:
        super().__init__()
        self.encoder = GraphEncoder(rng, n_nodes, width, layers, heads)
        self.edges = nn.ModuleList(EdgeHead(rng, n_nodes, width) for _ in range(n_edge))
        self.whole = nn.ModuleList([ReplicaLinear(rng, width, width), ReplicaLinear(rng, width, n_whole)]) if n_whole else None

    def forward(self, graphs: Tensor) -> list[Tensor]:
        """Return [R, N, d d] for each edge head, [R, N, n_whole] for the whole graph: adjacency and closure [R, N, 2, d, d]."""
        tokens = self.encoder(graphs)
        out = [head(tokens) for head in self.edges]
        if self.whole is not None:
            widen, narrow = self.whole
            out.append(narrow(widen(tokens.mean(2)).relu()))
        return out


class DagTransformerSampler(SeparateNetworks):
    """A sampler of separate networks for P_F, P_B and log F; a tied P_B is a second edge head on the encoder of P_F."""

    def __init__(
        self,
        target: DiscreteTarget,
        rng: ReplicaGenerators,
        width: int,
        layers: int,
        heads: int,
        backward: str,
        flow: bool,
        log_Z: float,
    ) -> None:
        """width: of a node's token; layers, heads: of the attention; rng draws the weights.

        backward, flow, log_Z: as in DiscreteSampler. Raises ConfigError for a target whose states are not graphs.
        """
        super().__init__(target, len(rng), backward, flow, log_Z)
        if not isinstance(target, GraphTarget):
            raise ConfigError("sampler", "dag_transformer", "attends over the nodes of a graph: use target=dag, or sampler=mlp")
        require(layers >= 1, "sampler.layers", layers, "expected a whole number >= 1")
        require(heads >= 1, "sampler.heads", heads, "expected a whole number >= 1")
        require(width >= 1 and width % heads == 0, "sampler.width", width, f"expected a multiple of sampler.heads={heads}")

        def network(n_edge: int, n_whole: int) -> GraphNetwork:
            return GraphNetwork(rng, target.n_nodes, width, layers, heads, n_edge, n_whole)

        self.forward_net = network(2 if backward == "tied" else 1, 1)
        self.backward_net = network(1, 0) if backward == "learned" else None
        self.flow_net = network(0, 1) if flow else None
        self.to(rng.dtype)

    def heads(self, states: Tensor, roles: Sequence[Role]) -> dict[Role, Tensor]:
        """Return logits [R, N, A] and [R, N, A'], or log F [R, N, 1], of states [R, N, *state] for each of the given roles."""
        out = {}
        if Role.FORWARD in roles or (Role.BACKWARD in roles and self.backward_kind == "tied"):
            edges, *tied, stop = self.forward_net(states)
            out[Role.FORWARD] = torch.cat([edges, stop], -1)
            if tied:
                out[Role.BACKWARD] = tied[0]
        if Role.BACKWARD in roles and self.backward_net is not None:
            out[Role.BACKWARD] = self.backward_net(states)[0]
        if Role.FLOW in roles and self.flow_net is not None:
            out[Role.FLOW] = self.flow_net(states)[0]
        return {role: out[role] for role in roles}
