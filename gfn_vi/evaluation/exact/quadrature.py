"""Exact sums over a density of one dimension: nodes on a line that hold all of the mass and resolve every step.

The line is chosen anew at every evaluation, from the target and the sampler as it is then: an interval outside of which the
target has no mass, widened until P_F and P_B lose none, and a spacing of half the smallest standard deviation of any step, or
finer where the target needs it (resolution.py). A line that misses something is refused, not used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.core.protocols import DensityTarget
from gfn_vi.core.seeds import is_whole
from gfn_vi.evaluation.exact.dynamic_programming import EdgePolicies
from gfn_vi.evaluation.exact.line_graph import LineGraph, line_graph, line_policies
from gfn_vi.evaluation.exact.policies import KernelSampler
from gfn_vi.evaluation.exact.resolution import resolution
from gfn_vi.evaluation.exact.support import support

KEY = "evaluation.quadrature"
# Probability that a line may miss: one that is given, and one that is found (rounding alone is less, per step, than the last).
LARGEST_LOSS, SMALLEST_LOSS, ROUNDING = 1e-9, 1e-12, 1e-14
# Nats that leaving out every other node may change: squared that is below LARGEST_LOSS.
LARGEST_CHANGE = 1e-5
# Probability below which the steps from a node are not looked at.
UNVISITED = 1e-14
# How far a sum may be from a known log Z.
LARGEST_LOG_Z_ERROR = 1e-8
# Edges times replicas, of which a table in float64 is a quarter of a gigabyte; nodes, which one step has few edges for.
MOST_EDGES, MOST_NODES = 2**25, 2**14
# Lines that are tried, how much wider each is on a side, and the nodes of one that stands in where there is none.
MOST_ATTEMPTS, WIDER, FEWEST_NODES = 60, 0.15, 21


@dataclass(frozen=True)
class Line:
    """Policies on a line of nodes; NaN in replicas that it does not resolve, of which `problem` is what to say of the first.

    resolved [R] bool.
    """

    policies: EdgePolicies
    resolved: Tensor
    problem: ConfigError | None

    @property
    def graph(self) -> LineGraph:
        """Return the nodes and edges."""
        assert isinstance(self.policies.graph, LineGraph)
        return self.policies.graph


class _UnresolvedError(Exception):
    """No line for these replicas [R] bool, and why."""

    def __init__(self, replicas: Tensor, problem: ConfigError) -> None:
        super().__init__(str(problem))
        self.replicas, self.problem = replicas, problem


class Quadrature:
    """Lines of nodes for a target of one dimension and samplers of it."""

    def __init__(self, low: float | None, high: float | None, nodes: int | None) -> None:
        """low, high: ends of the line; nodes: M, odd; each is found where it is None."""
        for name, end in (("low", low), ("high", high)):
            require(end is None or math.isfinite(end), f"{KEY}.{name}", end, "expected a number, or null")
        rising = low is None or high is None or low < high
        require(rising, f"{KEY}.high", high, f"expected a number above {KEY}.low={low}, or null")
        odd = nodes is None or (is_whole(nodes) and nodes >= FEWEST_NODES and nodes % 2 == 1)
        require(odd, f"{KEY}.nodes", nodes, f"expected an odd number >= {FEWEST_NODES}, or null")
        self.low, self.high, self.nodes = low, high, nodes

    @property
    def is_automatic(self) -> bool:
        """Return whether nothing is given."""
        return self.low is None and self.high is None and self.nodes is None

    @torch.no_grad()
    def find(self, sampler: KernelSampler, target: DensityTarget) -> Line:
        """Return the line for a sampler in float64. Replicas that no line resolves have no say in it, and NaN for policies."""
        active = torch.ones(sampler.n_replicas, dtype=torch.bool, device=sampler.log_Z.device)
        policies, first = None, None
        while policies is None and bool(active.any()):
            try:
                policies = self._search(sampler, target, active)
            except _UnresolvedError as found:
                first, active = first or found.problem, active & ~found.replicas
        if policies is None:
            policies = self._policies(sampler, target, -1.0, 1.0, FEWEST_NODES)
        log_pf, log_pb = (table.masked_fill(~active, math.nan) for table in (policies.log_pf, policies.log_pb))
        return Line(replace(policies, log_pf=log_pf, log_pb=log_pb), active, first)

    def _search(self, sampler: KernelSampler, target: DensityTarget, active: Tensor) -> EdgePolicies:
        """Widen and refine a line until the active replicas are resolved."""
        try:
            low, high = support(target, self.low, self.high, sampler.log_Z.device)
        except ConfigError as error:
            raise _UnresolvedError(active, error) from error
        finer, leaking, bound = 1, torch.zeros_like(active), max(SMALLEST_LOSS, ROUNDING * sampler.n_steps)
        visited = self._points(sampler, low, high, FEWEST_NODES)
        for _ in range(MOST_ATTEMPTS):
            n = self._n_nodes(sampler, low, high, visited, active, leaking) if self.nodes is None else self.nodes
            n = (n - 1) * finer + 1
            policies = self._policies(sampler, target, low, high, n)
            found = resolution(policies)
            # where nobody comes steps may be as small as they like
            visited = self._points(sampler, low, high, n)[(found.visits[:, active] > UNVISITED).any(1)]
            std = self._smallest_std(sampler, visited, active)
            if (high - low) / (n - 1) > float(std[active].min()) / 2 * (1 + 1e-9):
                if self.nodes is None:
                    continue
                coarse = active & (std < 2 * (high - low) / (n - 1))
                raise _UnresolvedError(coarse, self._too_coarse(low, high, n, float(std[active].min())))
            outside = active & (found.outside > LARGEST_LOSS)
            if bool(outside.any()):
                problem = ConfigError("target", type(target).__name__, "R is 0 where P_F ends: the ELBO is -inf, and no sum")
                raise _UnresolvedError(outside, problem)
            lost = torch.maximum(found.lost, found.visits[(0, -1), :].amax(0) * n)
            leaking = active & ~(lost <= bound)
            if bool(leaking.any()):
                to_low, to_high = self._leaks(found.visits[:, leaking])
                wider = WIDER * (high - low)
                if (to_low and self.low is None) or (to_high and self.high is None):
                    low = low - wider if to_low and self.low is None else low
                    high = high + wider if to_high and self.high is None else high
                    continue
                cut = leaking & ~(lost <= LARGEST_LOSS)
                if bool(cut.any()):
                    name, end = ("low", low) if to_low else ("high", high)
                    raise _UnresolvedError(cut, self._cut_off(name, end, float(lost[cut].max())))
            rough = active & ~(found.change <= LARGEST_CHANGE)
            if not bool(rough.any()):
                self._compare(policies, target, active)
                return policies
            if self.nodes is not None:
                raise _UnresolvedError(rough, self._too_rough(n, float(found.change[rough].max())))
            finer *= 2
        found_none = f"no line was found in {MOST_ATTEMPTS} attempts, the last from {low:.4g} to {high:.4g}"
        guilty = leaking if bool(leaking.any()) else active
        raise _UnresolvedError(guilty, ConfigError(KEY, "null", f"{found_none}; use evaluation=sampled"))

    def _n_nodes(self, sampler: KernelSampler, low: float, high: float, visited: Tensor, active: Tensor, leaking: Tensor) -> int:
        """Return the number of nodes that resolves the steps from visited nodes; leaking: whom the line was widened for."""
        std = self._smallest_std(sampler, visited, active)
        smallest = float(std[active].min())
        n = 2 * math.ceil((high - low) / smallest) + 1
        if n > MOST_NODES or (sampler.n_steps - 1) * n * n * sampler.n_replicas > MOST_EDGES:
            guilty = leaking if bool(leaking.any()) else active & (std <= smallest)
            raise _UnresolvedError(guilty, self._too_many(low, high, n, smallest, sampler))
        return n

    @staticmethod
    def _smallest_std(sampler: KernelSampler, nodes: Tensor, active: Tensor) -> Tensor:
        """Return the smallest standard deviation of a step to or from the nodes: [R]; raise where an active replica has none."""
        std = sampler.smallest_std(nodes)
        broken = active & ~(std > 0)
        if bool(broken.any()):
            problem = ConfigError(KEY, "null", "a step has no standard deviation: parameters of P_F or P_B are not finite")
            raise _UnresolvedError(broken, problem)
        return std

    @staticmethod
    def _leaks(visits: Tensor) -> tuple[bool, bool]:
        """Return whether the line is too short at its low and at its high end: visits [M, leaking replicas]."""
        at_low, at_high = float(visits[0].max()), float(visits[-1].max())
        return not at_low < 1e-3 * at_high, not at_high < 1e-3 * at_low

    @staticmethod
    def _points(sampler: KernelSampler, low: float, high: float, n: int) -> Tensor:
        return torch.linspace(low, high, n, dtype=torch.float64, device=sampler.log_Z.device)[:, None]

    def _policies(self, sampler: KernelSampler, target: DensityTarget, low: float, high: float, n: int) -> EdgePolicies:
        nodes = self._points(sampler, low, high, n)
        return line_policies(sampler, line_graph(nodes[:, 0], sampler.n_steps, target.log_reward(nodes)))

    # -- what is wrong ------------------------------------------------------------------------------------------------

    def _compare(self, policies: EdgePolicies, target: DensityTarget, active: Tensor) -> None:
        """Raise where the sum of R is not what the target says of it."""
        known, summed = getattr(target, "log_Z", None), float(policies.graph.log_partition)
        if known is not None and not abs(summed - float(known)) <= LARGEST_LOG_Z_ERROR * max(1.0, abs(float(known))):
            found = f"sums R to exp({summed:.10g}), and the target says that log Z is {float(known):.10g}: expected more nodes"
            raise _UnresolvedError(active, ConfigError(f"{KEY}.nodes", self.nodes, found))

    @staticmethod
    def _too_coarse(low: float, high: float, n: int, std: float) -> ConfigError:
        needed = 2 * math.ceil((high - low) / std) + 1
        found = f"a spacing of {(high - low) / (n - 1):.3g} does not resolve steps of standard deviation {std:.3g}"
        advice = f"expected a spacing of at most {std / 2:.3g}: {needed} nodes from {low:.4g} to {high:.4g}, or null"
        return ConfigError(f"{KEY}.nodes", n, f"{found}; {advice}")

    def _too_many(self, low: float, high: float, n: int, std: float, sampler: KernelSampler) -> ConfigError:
        found = f"{n} nodes from {low:.4g} to {high:.4g} resolve steps of standard deviation {std:.3g}"
        size = f"with sampler.n_steps={sampler.n_steps} and replicas={sampler.n_replicas} that is too much"
        advice = "use fewer sampler.n_steps, fewer replicas, or evaluation=sampled"
        return ConfigError(f"{KEY}.nodes", self.nodes, f"{found}; {size}; {advice}")

    @staticmethod
    def _cut_off(name: str, end: float, lost: float) -> ConfigError:
        found = f"the line from there misses a probability of {lost:.1e}: expected a wider one, or null"
        return ConfigError(f"{KEY}.{name}", end, found)

    @staticmethod
    def _too_rough(n: int, change: float) -> ConfigError:
        found = f"leaving out every other node changes a bound by {change:.1e} nats: expected {2 * n - 1} nodes, or null"
        return ConfigError(f"{KEY}.nodes", n, found)
