"""The table of theorems (arXiv 2210.00580): all checks of a sampler on a target, in their order."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gfn_vi.core.protocols import DensityTarget, EnumerableTarget, Exploration
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.state_graph import StateGraph
from gfn_vi.evaluation.exact.dynamic_programming import at_source, forward_pass
from gfn_vi.evaluation.exact.line_graph import LineGraph
from gfn_vi.evaluation.exact.policies import KernelSampler
from gfn_vi.evaluation.exact.quadrature import Quadrature
from gfn_vi.evaluation.gradients.expected_gradients import ExactGradients
from gfn_vi.samplers.discrete.sampler import DiscreteSampler
from gfn_vi.verification.check import Check
from gfn_vi.verification.equivalence import trajectory_balance_is_reverse_kl
from gfn_vi.verification.estimators import Estimators
from gfn_vi.verification.junctions import junction_choices
from gfn_vi.verification.quantities import sides_by_both_ways
from gfn_vi.verification.referee import Key, Referee
from gfn_vi.verification.theorems import Theorems

# Columns of a table where there is no terminal to ask, and from which on all of it is shown.
WIDTH, WIDE = 150, 120
# Standard deviation of what is added to the initial parameters of a sampler of densities.
RANDOM_PARAMETERS = 0.1


def count_trajectories(graph: StateGraph) -> int:
    """Return the number of trajectories from the source to a state of positive reward."""
    ones = torch.ones(len(graph.source), 1, dtype=torch.float64)
    paths = forward_pass(graph, ones, at_source(graph, ones))[:, 0]
    return int((paths * (graph.log_reward > -math.inf)).sum())


def by_dynamic_programming(
    sampler: DiscreteSampler | KernelSampler,
    graph: StateGraph,
    rng: ReplicaGenerators,
    n_updates: int,
    junctions: Mapping[str, Sequence[int]],
) -> Iterator[Check]:
    """Yield the checks of theorems 1 to 6 by passes over the state graph.

    rng: draws the trajectories of theorem 4; junctions: name -> layers, for theorem 5.
    """
    theorems = Theorems(ExactGradients(sampler, graph))
    yield theorems.proposition_1_forward()
    yield theorems.proposition_1_backward()
    yield theorems.surrogate_of_equation_9()
    yield trajectory_balance_is_reverse_kl(sampler, rng, n_updates)
    for name, layers in junctions.items():
        yield theorems.proposition_2(layers, name)
    yield from theorems.data_processing()


def by_quadrature(
    sampler: KernelSampler,
    graph: LineGraph,
    rng: ReplicaGenerators,
    n_updates: int,
    junctions: Mapping[str, Sequence[int]],
    controls: bool,
) -> Iterator[Check]:
    """Yield the checks of theorems 1 to 6 by sums over a line of nodes, and controls that must fail."""
    yield from by_dynamic_programming(sampler, graph, rng, n_updates, junctions)
    if controls:
        yield from Theorems(ExactGradients(sampler, graph)).controls()


def line_through(sampler: KernelSampler, target: DensityTarget, quadrature: Quadrature) -> LineGraph:
    """Return the line of nodes for a sampler and its target; raise ConfigError where it resolves not all replicas."""
    line = quadrature.find(sampler.repeated(1).double(), target)
    if line.problem is not None:
        raise line.problem
    return line.graph


def move_away(sampler: Any, seed: int) -> None:
    """Add noise to all parameters: samplers of densities start as a reference process, where networks count for nothing."""
    noise = ReplicaGenerators(seed, sampler.n_replicas, "parameters", sampler.log_Z.device, sampler.log_Z.dtype)
    with torch.no_grad():
        for parameter in sampler.parameters():
            parameter.add_(RANDOM_PARAMETERS * noise.normal(*parameter.shape[1:]))


def by_enumeration(
    sampler: DiscreteSampler, target: EnumerableTarget, exploration: Exploration, batch_size: int, seed: int
) -> Iterator[Check]:
    """Yield theorems 1, 2, 3, 5 and 6 by listing trajectories, then estimators and controls by listing batches."""
    referee = Referee(sampler, target)
    yield referee.proposition_1_forward()
    yield referee.proposition_1_backward()
    yield referee.surrogate_of_equation_9()

    def log_flow(node: Key) -> float:
        return random.Random(f"{seed} {node}").gauss(0.0, 1.0)

    for name, layers in junction_choices(referee.n_layers, None, seed).items():
        yield referee.proposition_2(layers, log_flow, name)
    yield from referee.data_processing()
    yield sides_by_both_ways(Theorems(ExactGradients(sampler, target.state_graph())), referee)
    yield from referee.exchanged()
    yield from Estimators(sampler, target, exploration, batch_size).checks()


def show(title: str, checks: Sequence[Check], tolerance: float) -> int:
    """Print the table and return how many of its lines are not as they should be.

    Of several replicas the one of largest error is shown. A narrow terminal gets no sizes of the sides.
    """
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    wide = console.width >= WIDE
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    table.add_column("theorem", justify="right")
    table.add_column("claim")
    for name in ("by", "left side", "right side") if wide else ():
        table.add_column(name, justify="left" if name == "by" else "right", no_wrap=True)
    table.add_column("rel. error", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for check in checks:
        worst = int(check.error.argmax())
        sides = (check.method, f"{float(check.left[worst]):.3e}", f"{float(check.right[worst]):.3e}") if wide else ()
        error = f"{float(check.error[worst]):.1e}"
        table.add_row(str(check.theorem or ""), escape(check.claim), *sides, error, verdict(check, tolerance))
    console.print(table)
    return sum(not check.holds(tolerance) for check in checks)


def verdict(check: Check, tolerance: float) -> str:
    """Return in words whether the check holds."""
    if check.must_fail:
        return "fails, as it must" if check.holds(tolerance) else "[bold red]PASSES[/], but must fail"
    if check.is_empty:
        return "nothing to check"
    return "holds" if check.holds(tolerance) else "[bold red]FAILS[/]"
