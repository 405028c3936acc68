"""Metrics of targets whose states are graphs, exact and sampled. Definitions: docs/metrics.md.

GraphMetrics is what a target of graphs adds to an evaluation. It measures exactly, by samples, or both, as the evaluation does,
on the policies and the trajectories that the general metrics read. Features are not remembered between measurements: of 29281
graphs (5 nodes) they take 0.07 s on one core, the policies ten times as long with the smallest of networks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gfn_vi.core.log_probability import log_mean_exp
from gfn_vi.core.protocols import Arrays, GraphTarget
from gfn_vi.core.reliability import names_of
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.state_graph import StateGraph
from gfn_vi.evaluation.base import BaseMetric
from gfn_vi.evaluation.dags.arrays import exact_graph_arrays, sampled_graph_arrays
from gfn_vi.evaluation.dags.features import (
    area_under_roc,
    correlation,
    marginals,
    markov_blankets,
    ordered_pairs,
    root_mean_square,
    structural_hamming_distance,
)
from gfn_vi.evaluation.measurement import Measurement
from gfn_vi.evaluation.sampled.weights import worth

# Of the area under the ROC curve: a standard error from so many is itself known to 1 / sqrt(2 * 200) = 5 %.
RESAMPLES = 200
# Numbers per replica that are resampled or compared at once; no function of R, so that a replica's draws are not either.
LARGEST_CHUNK = 2**19


class GraphMetrics(BaseMetric):
    """Metrics of edges, paths and Markov blankets, and of the distance to the true graph and to held-out rows."""

    family = GraphTarget
    family_choice = "target=dag"

    @torch.no_grad()
    def __call__(self, moment: Measurement) -> dict[str, Tensor]:
        """Return name -> [R] float64: X of an exact evaluation, sampled_X and sampled_X_se of a sampled one."""
        found: dict[str, Tensor] = {}
        if moment.exact:
            found |= exact_graph_metrics(moment.target, moment.state_graph, moment.terminating)
        if moment.n_samples is not None:
            found |= sampled_graph_metrics(moment.target, moment.samples[0].terminal_states(), moment.rng)
        return found

    def records(self, target: GraphTarget, exact: bool, sampled: bool) -> list[str]:
        """Return the names of what the target knows: a true graph and held-out rows add to them."""
        compared = ["expected_shd"] if target.true_graph is not None else []
        compared += ["auroc"] if target.true_graph is not None and bool(target.true_graph.any()) else []
        compared += ["held_out_log_likelihood"] if target.n_held_out > 0 else []
        features = [f"{name}_{error}" for name in ("edge", "path", "markov_blanket") for error in ("rmse", "correlation")]
        beside_exact = [f"{name}{end}" for name in compared for end in ("", "_exact")]
        estimated = [f"sampled_{name}{end}" for name in ("n_edges", *compared) for end in ("", "_se")]
        estimated += names_of("sampled_held_out") if target.n_held_out > 0 else []
        return [*([*features, "edge_max_error", *beside_exact] if exact else []), *(estimated if sampled else [])]

    def arrays(self, moment: Measurement) -> Arrays:
        """Return edge probabilities, the most probable graphs and the nodes' names; exact where all graphs can be listed."""
        if moment.graph is not None:
            arrays = exact_graph_arrays(moment.target, moment.graph, moment.terminating.T)
        else:
            drawn, evaluation = moment.samples
            arrays = sampled_graph_arrays(moment.target, drawn.terminal_states(), drawn.log_reward)
            arrays |= worth("sampled", -evaluation.log_ratio())
        return {**arrays, "names": list(moment.target.node_names)}


def exact_graph_metrics(target: GraphTarget, graph: StateGraph, terminating: Tensor) -> dict[str, Tensor]:
    """Return the learned against the exact posterior, and both against the true graph and held-out rows: name -> [R] float64.

    terminating: P_T [S, R] float64 on the states of the graph.
    """
    n_replicas = terminating.shape[1]
    probability = torch.cat([terminating, graph.log_target.exp()[:, None]], 1)  # [S, R + 1], the exact posterior last

    def beside_exact(name: str, values: Tensor) -> dict[str, Tensor]:
        """Return the learned values [R] and the exact one, repeated, from values [R + 1]."""
        return {name: values[:-1], f"{name}_exact": values[-1].expand(n_replicas)}

    adjacency = target.adjacency(graph.states)
    edges = marginals(adjacency, probability)
    pairs = ordered_pairs(edges)  # of Markov blankets, which are symmetric, each pair twice: the same means
    compared = {
        "edge": edges,
        "path": marginals(target.paths(graph.states), probability),
        "markov_blanket": marginals(markov_blankets(adjacency), probability),
    }
    found = {}
    for name, matrices in compared.items():
        learned, exact = matrices[:-1, pairs], matrices[-1:, pairs]
        found[f"{name}_rmse"] = root_mean_square(learned - exact)
        found[f"{name}_correlation"] = correlation(learned, exact)
        if name == "edge":
            found["edge_max_error"] = (learned - exact).abs().amax(-1)
    if target.true_graph is not None:
        distance = structural_hamming_distance(adjacency, target.true_graph)
        found |= beside_exact("expected_shd", distance @ probability)
        if bool(target.true_graph.any()):
            found |= beside_exact("auroc", area_under_roc(edges, target.true_graph))
    if target.n_held_out > 0:
        log_likelihood = target.held_out_log_likelihood(graph.states)
        predictive = torch.logsumexp(probability.log() + log_likelihood[:, None], 0)
        found |= beside_exact("held_out_log_likelihood", predictive / target.n_held_out)
    return found


def sampled_graph_metrics(target: GraphTarget, states: Tensor, rng: ReplicaGenerators) -> dict[str, Tensor]:
    """Return sampled_X and its standard error sampled_X_se, each [R] float64, from graphs [R, n, *state] drawn from P_T."""
    adjacency = target.adjacency(states)

    def mean(name: str, values: Tensor) -> dict[str, Tensor]:
        """Return the mean of values [R, n] and its standard error, by name."""
        return {f"sampled_{name}": values.mean(-1), f"sampled_{name}_se": values.std(-1) / values.shape[-1] ** 0.5}

    found = mean("n_edges", adjacency.sum((-2, -1)).double())
    if target.true_graph is not None:
        found |= mean("expected_shd", structural_hamming_distance(adjacency, target.true_graph))
        if bool(target.true_graph.any()):
            found["sampled_auroc"] = area_under_roc(adjacency.double().mean(1), target.true_graph)
            found["sampled_auroc_se"] = _resampled_areas(adjacency, target.true_graph, rng).std(-1)
    if target.n_held_out > 0:
        log_likelihood = target.held_out_log_likelihood(states)
        found["sampled_held_out_log_likelihood"] = log_mean_exp(log_likelihood) / target.n_held_out
        # delta method: the relative error of the mean of exp(log_likelihood), whose scale cancels
        relative = mean("likelihood", (log_likelihood - log_likelihood.amax(-1, keepdim=True)).exp())
        error = relative["sampled_likelihood_se"] / relative["sampled_likelihood"]
        found["sampled_held_out_log_likelihood_se"] = error / target.n_held_out
        found |= worth("sampled_held_out", log_likelihood)
    return found


def _resampled_areas(adjacency: Tensor, true_graph: Tensor, rng: ReplicaGenerators) -> Tensor:
    """Return the area under the ROC curve of n graphs drawn with replacement from [R, n, d, d], many times: [R, RESAMPLES]."""
    n, d = adjacency.shape[1:3]
    edges = adjacency.flatten(2).double()
    n_compared = int(true_graph.sum()) * d * d
    at_once = max(1, LARGEST_CHUNK // max(n, n_compared))
    areas = []
    for start in range(0, RESAMPLES, at_once):
        drawn = rng.integers(n, min(at_once, RESAMPLES - start), n)
        times = edges.new_zeros(drawn.shape).scatter_add_(2, drawn, edges.new_ones(()).expand(drawn.shape))
        areas.append(area_under_roc(((times @ edges) / n).unflatten(2, (d, d)), true_graph))
    return torch.cat(areas, 1)
