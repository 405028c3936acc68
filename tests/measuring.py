"""Metrics on a sampler as it is now, as an evaluation of a run would call them, and checks of targets that several tests make."""

from __future__ import annotations

import math
from typing import Any

import torch
from building import make_trainer
from torch import Tensor

from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.state_graph import StateGraph
from gfn_vi.core.types import Trajectories
from gfn_vi.evaluation.base import BaseMetric
from gfn_vi.evaluation.exact.dynamic_programming import terminating_probability
from gfn_vi.evaluation.exact.policies import PolicySampler
from gfn_vi.evaluation.exact.tables import policies_on_graph
from gfn_vi.evaluation.measurement import Measurement
from gfn_vi.targets.cells import CellsTarget


def measured(metrics: BaseMetric | list[BaseMetric], sampler: Any, target: Any, rng: ReplicaGenerators) -> dict[str, Tensor]:
    """What the metrics say of one moment, together."""
    together = metrics if isinstance(metrics, list) else [metrics]
    exact = any(metric.kind == "exact" for metric in together)
    sizes = [metric.n_samples for metric in together if metric.n_samples is not None]
    moment = Measurement(sampler, target, rng, exact, max(sizes, default=None))
    return {name: value for metric in together for name, value in metric(moment).items()}


def check_cells(target: CellsTarget, n_cells: int, n_symbols: int, any_order: bool) -> None:
    """Check the listed states: their number, no two actions from a state to one child, and as many parents as cells to empty."""
    graph = target.state_graph()
    ways = (math.comb(n_cells, k) if any_order else 1 for k in range(n_cells + 1))
    assert graph.n_states == target.n_states == sum(n * n_symbols**k for k, n in enumerate(ways))
    assert len(torch.unique(graph.source * graph.n_states + graph.target)) == len(graph.source), "two actions to one child"
    parents, filled = torch.bincount(graph.target, minlength=graph.n_states), (graph.states > 0).sum(1)
    assert torch.equal(parents, filled if any_order else filled.clamp(max=1))


def check_weighted_log_Z(*overrides: str) -> None:
    """Check a sampler after 60 updates on a target that is not listed and knows its log Z.

    The importance-weighted estimate of log Z agrees within 5 of its standard errors, which are small, and the ELBO stays below.
    """
    trainer = make_trainer(*overrides, "sampler.hidden=[32]", "trainer.batch_size=16", replicas=4)
    for _ in range(60):
        trainer.update()
    target: Any = trainer.parts.target
    found = trainer.measure()
    assert not target.enumerable
    assert target.log_Z is not None
    error, spread = found["sampled_log_Z"] - target.log_Z, found["sampled_log_Z_se"]
    assert bool((spread < 0.15).all()), spread.tolist()
    assert bool((error.abs() < 5 * spread).all()), (error / spread).tolist()
    assert bool((found["sampled_elbo"] < target.log_Z).all())
    for name in ("log_Z", "sampled_log_Z"):
        assert torch.equal(found[f"{name}_error"], found[name] - target.log_Z)


@torch.no_grad()
def terminating_distribution(sampler: PolicySampler, graph: StateGraph) -> Tensor:
    """Return the terminating distribution P_T of every replica: [R, S] float64."""
    return terminating_probability(policies_on_graph(sampler, graph)).T


def path_keys(trajectories: Trajectories) -> list[list[tuple[int, ...]]]:
    """Return the identity of each trajectory, the tuple of its actions, as lists [R][B]."""
    rows = zip(trajectories.actions.tolist(), trajectories.mask.tolist(), strict=True)
    return [
        [tuple(a for a, m in zip(actions, mask, strict=True) if m) for actions, mask in zip(*row, strict=True)] for row in rows
    ]
