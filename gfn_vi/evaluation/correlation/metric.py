"""Correlation of exact log P_T with log R over held-out objects, as the paper judges molecules. Definitions: docs/metrics.md."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import Arrays, DiscreteTarget
from gfn_vi.core.seeds import is_whole
from gfn_vi.evaluation.base import BaseMetric
from gfn_vi.evaluation.correlation.intervals import bootstrap
from gfn_vi.evaluation.correlation.objects import HeldOutObjects
from gfn_vi.evaluation.correlation.statistics import STATISTICS, weighted_statistics
from gfn_vi.evaluation.exact.ancestors import AncestorGraph, ancestor_graph, log_terminating_probability
from gfn_vi.evaluation.measurement import Measurement

KEY = "evaluation.metrics.correlation"
FEWEST_RESAMPLES = 100  # the bounds of a 95% interval are the second and the third smallest and largest of these


class Correlation(BaseMetric):
    """How log P_T follows log R over held-out objects, with a bootstrap over these; the same objects at every evaluation.

    The objects and their ancestors are found once, before the run starts: neither depends on the sampler.
    """

    summary = ("log_p_correlation",)
    family = DiscreteTarget
    family_choice = "target=hypergrid"

    def __init__(self, held_out: HeldOutObjects, most_ancestors: int, n_resamples: int, every: int | None) -> None:
        """held_out: where the objects come from; most_ancestors: a limit on the states that precede them.

        n_resamples: of the bootstrap; every: trajectories per replica between measurements, None for every evaluation.
        """
        require(is_whole(most_ancestors) and most_ancestors >= 1, f"{KEY}.most_ancestors", most_ancestors, "expected >= 1")
        enough = is_whole(n_resamples) and n_resamples >= FEWEST_RESAMPLES
        require(enough, f"{KEY}.n_resamples", n_resamples, f"expected a whole number >= {FEWEST_RESAMPLES}")
        whole_or_null = every is None or (is_whole(every) and every >= 1)
        require(whole_or_null, f"{KEY}.every", every, "expected a whole number of trajectories >= 1, or null")
        self.held_out, self.most_ancestors, self.n_resamples, self.every = held_out, most_ancestors, n_resamples, every
        self._found: AncestorGraph | None = None

    def prepare(self, target: DiscreteTarget) -> None:
        """Find the objects and their ancestors, once. Raises ConfigError for objects that cannot be had or are too large."""
        if self._found is not None:
            return
        objects = self.held_out.of(target)
        found = ancestor_graph(target, objects, self.most_ancestors, f"{KEY}.most_ancestors")
        infinite = (~found.log_reward.isfinite()).nonzero()[:, 0].tolist()
        key, number = f"{KEY}.held_out", f"object number {infinite[0] if infinite else 0}"
        require(not infinite, key, number, "log R is not finite: leave it out")
        self._found = found

    @torch.no_grad()
    def __call__(self, moment: Measurement) -> dict[str, Tensor]:
        """Return log_p_X with its standard error and its bounds for each statistic X, and the number of objects: each [R]."""
        log_p, log_reward = self._measured(moment)
        n_replicas, n_objects = log_p.shape
        log_Z = moment.sampler.log_Z.double()
        columns: dict[str, list[Tensor]] = {name: [] for name in self.records(moment.target, moment.exact, False)}
        for r in range(n_replicas):
            statistics = partial(weighted_statistics, log_p[r], log_reward - log_Z[r])
            estimates = bootstrap(statistics, n_objects, self.n_resamples, self.held_out.seed, log_p.device)
            for name, estimate in estimates.items():
                for ending, value in zip(("", "_se", "_low", "_high"), estimate, strict=True):
                    columns[f"log_p_{name}{ending}"].append(value)
            columns["held_out_objects"].append(log_p.new_tensor(n_objects))
        return {name: torch.stack(values) for name, values in columns.items()}

    def records(self, target: object, exact: bool, sampled: bool) -> tuple[str, ...]:
        """Return the names of all of them."""
        endings = ("", "_se", "_low", "_high")
        return (*(f"log_p_{name}{ending}" for name in STATISTICS for ending in endings), "held_out_objects")

    @torch.no_grad()
    def arrays(self, moment: Measurement) -> Arrays:
        """Return log_p_terminating [R, M] and held_out_log_reward [M] of the objects, in the order of their file or draw."""
        log_p, log_reward = self._measured(moment)
        return {"log_p_terminating": log_p, "held_out_log_reward": log_reward}

    def _measured(self, moment: Measurement) -> tuple[Tensor, Tensor]:
        """Return log P_T [R, M] and log R [M] of the objects. Raises ConfigError for a sampler that gives no policy at states."""
        sampler = type(moment.sampler).__name__
        expected = "does not say forward_log_probs(states): use sampler=mlp, or an evaluation without this metric"
        require(hasattr(moment.sampler, "forward_log_probs"), "sampler", sampler, expected)
        self.prepare(moment.target)
        assert self._found is not None
        return log_terminating_probability(moment.sampler, self._found), self._found.log_reward
