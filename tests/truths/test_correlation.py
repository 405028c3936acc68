"""Correlation of log P_T with log R over held-out objects: the statistics, their intervals, the objects, and what is refused."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from building import bumpy, generators, make_sampler, make_target
from measuring import measured, terminating_distribution
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.log_probability import uniform_log_probs
from gfn_vi.evaluation.correlation.intervals import LEVEL, bca_interval, bootstrap
from gfn_vi.evaluation.correlation.metric import Correlation
from gfn_vi.evaluation.correlation.objects import HeldOutObjects
from gfn_vi.evaluation.correlation.statistics import STATISTICS, midranks, weighted_statistics
from gfn_vi.evaluation.measurement import Measurement
from gfn_vi.targets.grids.hypergrid import Hypergrid

GRID = Hypergrid(2, 5, r0=0.1, reward=bumpy, max_enumerated_states=1000)


def drawn(n_objects: int = 60, seed: int = 0) -> HeldOutObjects:
    return HeldOutObjects(None, None, n_objects, seed)


def pairs(n: int, rho: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """n pairs of standard normal numbers of correlation rho."""
    x, noise = generators(seed, 1).normal(2, n)[0]
    return rho * x + (1 - rho**2) ** 0.5 * noise, x


def by_scipy(log_p: np.ndarray, log_target: np.ndarray) -> dict[str, float]:
    return {
        "correlation": scipy.stats.pearsonr(log_p, log_target).statistic,
        "rank_correlation": scipy.stats.spearmanr(log_p, log_target).statistic,
        "slope": scipy.stats.linregress(log_target, log_p).slope,
        "mean": log_p.mean(),
        "residual": (log_p - log_target).mean(),
        "residual_std": (log_p - log_target).std(ddof=1),
    }


def test_statistics_are_those_of_scipy_and_weights_are_repetitions() -> None:
    """Ties in one of the numbers included; a weight of 2 is an object that occurs twice."""
    log_p, log_target = pairs(30, 0.6)
    log_target = (2 * log_target).round() / 2
    weights = torch.stack([torch.ones(30), torch.arange(30) % 4]).double()
    found = weighted_statistics(log_p, log_target, weights)
    assert tuple(found) == STATISTICS
    for b in range(2):
        often = weights[b].long()
        expected = by_scipy(log_p.repeat_interleave(often).numpy(), log_target.repeat_interleave(often).numpy())
        for name, value in expected.items():
            assert float(found[name][b]) == pytest.approx(value, rel=1e-12), name
    ranks = scipy.stats.rankdata(log_target.repeat_interleave(often).numpy())
    torch.testing.assert_close(midranks(log_target, weights)[1].repeat_interleave(often), torch.from_numpy(ranks))


def test_what_is_constant_or_not_finite() -> None:
    """Rounding makes no correlation and no ranks: 0 where nothing varies; NaN, all of them, for a replica that diverged."""
    _, log_target = pairs(12, 0.5)
    ones = torch.ones(1, 12).double()
    rounding = 1e-7 * generators(3, 1).normal(12)[0] - 5
    found = weighted_statistics(rounding, log_target, ones)
    assert [float(found[name]) for name in ("correlation", "rank_correlation", "slope")] == [0, 0, 0]
    steps = torch.arange(12).double() // 4
    tied = weighted_statistics(steps + rounding, log_target, ones)["rank_correlation"]
    assert float(tied) == pytest.approx(scipy.stats.spearmanr(steps, log_target).statistic, rel=1e-12)
    for bad in (torch.nan, torch.inf, -torch.inf):
        log_p = log_target.index_fill(0, torch.tensor([3]), bad)
        assert all(bool(value.isnan()) for value in weighted_statistics(log_p, log_target, ones).values())
        estimates = bootstrap(partial(weighted_statistics, log_p, log_target), 12, 100, 0, torch.device("cpu"))
        assert all(bool(number.isnan()) for estimate in estimates.values() for number in estimate)


@pytest.mark.parametrize("name", STATISTICS)
def test_intervals_are_those_of_scipy_on_the_same_resamples(name: str) -> None:
    """BCa from a given distribution of resamples: scipy takes one, and makes its own jackknife."""
    log_p, log_target = pairs(25, 0.8)
    statistics = partial(weighted_statistics, log_p, log_target)
    counts = torch.from_numpy(np.random.default_rng(0).multinomial(25, np.full(25, 1 / 25), 300)).double()
    resamples, jackknife = statistics(counts)[name], statistics(1 - torch.eye(25).double())[name]
    low, high = bca_interval(statistics(torch.ones(1, 25).double())[name][0], resamples, jackknife)

    class Given:
        bootstrap_distribution = resamples.numpy()

    expected = scipy.stats.bootstrap(
        (log_p.numpy(), log_target.numpy()),
        lambda p, target: by_scipy(p, target)[name],
        paired=True,
        vectorized=False,
        n_resamples=0,
        bootstrap_result=Given(),
        confidence_level=LEVEL,
    ).confidence_interval
    assert float(low) == pytest.approx(expected.low, rel=1e-9)
    assert float(high) == pytest.approx(expected.high, rel=1e-9)


def test_resamples_that_tie_with_the_statistic_count_half_and_all_on_one_side_are_finite() -> None:
    """Draws that are symmetric about the value, many of them equal to it, have no bias, so their interval is symmetric."""
    drawn = torch.cat([torch.linspace(-1, 1, 2001, dtype=torch.float64), torch.zeros(500, dtype=torch.float64)])
    left_out = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    low, high = bca_interval(drawn.new_tensor(0.0), drawn, left_out)
    assert float(low) == pytest.approx(-float(high), abs=1e-3)
    assert 0.9 < float(high) < 1
    for beyond in (-2.0, 2.0):
        low, high = bca_interval(drawn.new_tensor(beyond), drawn, left_out)
        assert -1 <= float(low) <= float(high) <= 1


def test_errors_and_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard error of a mean is the known one; how much is held at once changes nothing, another seed does."""
    log_p, log_target = pairs(40, 0.3)
    statistics = partial(weighted_statistics, log_p, log_target)
    whole = bootstrap(statistics, 40, 3000, 0, torch.device("cpu"))
    # a bootstrap has the variance with n in the denominator; 3,000 resamples know it to 1 / sqrt(6000) = 1.3 %
    assert float(whole["mean"].error) == pytest.approx(float(log_p.std(correction=0)) / 40**0.5, rel=0.05)
    monkeypatch.setattr("gfn_vi.evaluation.correlation.intervals.LARGEST_CHUNK", 40 * 7)
    for name, estimate in bootstrap(statistics, 40, 3000, 0, torch.device("cpu")).items():
        torch.testing.assert_close(torch.stack(list(estimate)), torch.stack(list(whole[name])), rtol=1e-12, atol=0)
    assert bootstrap(statistics, 40, 3000, 1, torch.device("cpu"))["mean"].low != whole["mean"].low


def test_intervals_cover_the_truth() -> None:
    """400 samples of 60 Gaussian pairs: 95% intervals of both correlations and of the slope hold the true ones in about 95%.

    The share has a standard deviation of 1.1 %; what it was found to be over 2,000 samples: docs/metrics.md.
    """
    rho, n, repetitions = 0.8, 60, 400
    truth = {"correlation": rho, "rank_correlation": 6 / np.pi * np.arcsin(rho / 2), "slope": rho, "residual": 0.0}
    hits = dict.fromkeys(truth, 0)
    for seed in range(repetitions):
        log_p, log_target = pairs(n, rho, seed)
        found = bootstrap(partial(weighted_statistics, log_p, log_target), n, 400, seed, torch.device("cpu"))
        for name, value in truth.items():
            hits[name] += float(found[name].low) <= value <= float(found[name].high)
    for name, hit in hits.items():
        assert 0.90 <= hit / repetitions <= 0.98, (name, hit / repetitions)


def test_objects_are_drawn_from_the_uniform_policy_and_are_the_same_in_every_run() -> None:
    """Walks of 2,000 seeds end in every cell of a grid as often as the uniform policy's P_T says; no object occurs twice."""
    objects = drawn().of(GRID)
    assert torch.equal(objects, drawn().of(GRID))
    assert not torch.equal(objects[:10], drawn(seed=1).of(GRID)[:10])
    assert len(torch.unique(objects, dim=0)) == len(objects) < 60
    target = Hypergrid(2, 4, r0=0.1, reward=bumpy, max_enumerated_states=100)
    sampler = make_sampler(target)
    with torch.no_grad():
        sampler.forward_table.zero_()
    expected = terminating_distribution(sampler, target.state_graph())[0]
    # the first object of a draw is where its first walk ends
    ends = torch.cat([drawn(10, seed)._drawn(target)[:1] for seed in range(2000)])
    counts = torch.bincount(target.state_index(ends), minlength=16)
    assert scipy.stats.chisquare(counts, len(ends) * expected).pvalue > 1e-3


@torch.no_grad()
def test_the_metric_is_the_correlation_of_the_exact_p_t() -> None:
    """Against P_T from all states, for two replicas; learned log Z shifts the residual alone."""
    sampler = make_sampler(GRID, "mlp", n_replicas=2)
    sampler.log_Z.copy_(torch.tensor([0.3, 1.7]))
    metric = Correlation(drawn(), 1000, 200, None)
    found = measured(metric, sampler, GRID, generators(0, 2))
    assert tuple(found) == metric.records(GRID, True, False)
    objects = drawn().of(GRID)
    log_p = terminating_distribution(sampler, GRID.state_graph())[:, GRID.state_index(objects)].log()
    for r in range(2):
        for name, value in by_scipy(log_p[r].numpy(), (GRID.log_reward(objects) - sampler.log_Z[r]).numpy()).items():
            assert float(found[f"log_p_{name}"][r]) == pytest.approx(value, rel=1e-10), name
            assert found[f"log_p_{name}_low"][r] < found[f"log_p_{name}"][r] < found[f"log_p_{name}_high"][r], name
            assert found[f"log_p_{name}_se"][r] > 0
    assert found["held_out_objects"].tolist() == [len(objects)] * 2
    arrays: Any = metric.arrays(Measurement(sampler, GRID, generators(0, 2), True, None))
    torch.testing.assert_close(arrays["log_p_terminating"], log_p, rtol=1e-12, atol=0)
    assert torch.equal(arrays["held_out_log_reward"], GRID.log_reward(objects))


def test_a_sampler_that_is_right_has_correlation_one() -> None:
    """P_T = R / Z: both correlations and the slope are 1, and nothing is left of the residual."""

    class Right:
        """P_F from the flows that R and the uniform P_B give: exact on every graph."""

        n_replicas = 1

        def __init__(self) -> None:
            graph = GRID.state_graph()
            self.log_Z = graph.log_partition[None]
            back = uniform_log_probs(graph.backward_mask, torch.float64)[graph.target, graph.backward_action].exp()
            flow = graph.log_reward.exp()
            for level in reversed(range(graph.n_levels - 1)):
                edges = (graph.source >= graph.level_offsets[level]) & (graph.source < graph.level_offsets[level + 1])
                flow = flow.index_add(0, graph.source[edges], (flow[graph.target] * back)[edges])
            table = torch.zeros(graph.n_states, graph.n_actions, dtype=torch.float64)
            table[graph.source, graph.forward_action] = flow[graph.target] * back
            table[:, -1] = graph.log_reward.exp()
            self.table = (table / table.sum(1, keepdim=True)).log()

        def forward_log_probs(self, states: Tensor) -> Tensor:
            return self.table[GRID.state_index(states)]

    found = measured(Correlation(drawn(), 1000, 100, None), Right(), GRID, generators(0, 1))
    for name, value in {"correlation": 1, "rank_correlation": 1, "slope": 1, "residual": 0, "residual_std": 0}.items():
        assert float(found[f"log_p_{name}"][0]) == pytest.approx(value, abs=1e-12), name


class Reading(Hypergrid):
    """A grid that reads cells from a file, one a line."""

    def read_objects(self, path: str) -> Tensor:
        return torch.tensor([[int(word) for word in line.split()] for line in Path(path).read_text().splitlines()])


def test_objects_of_a_file_keep_their_order_and_repetitions(tmp_path: Path) -> None:
    target = Reading(2, 5, r0=0.1, reward=bumpy, max_enumerated_states=1000)
    cells = [[4, 1], [0, 0], [4, 1], *([i % 5, i // 5] for i in range(9))]
    file = tmp_path / "cells.txt"
    file.write_text("\n".join(f"{i} {j}" for i, j in cells))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    assert HeldOutObjects(str(file), digest, 10, 0).of(target).tolist() == cells
    with pytest.raises(ConfigError, match=r"held_out\.path=.*: the file has changed"):
        HeldOutObjects(str(file), "0" * 16, 10, 0).of(target)
    with pytest.raises(ConfigError, match=r"held_out\.path=.*: there is no such file"):
        HeldOutObjects(str(tmp_path / "none"), None, 10, 0).of(target)
    with pytest.raises(ConfigError, match=r"Hypergrid reads no objects from files; use .*held_out\.path=null"):
        HeldOutObjects(str(file), None, 10, 0).of(GRID)
    file.write_text("0 0\n1 0\n" * 6)
    with pytest.raises(ConfigError, match="2 objects that differ, among 12, are too few for a correlation, expected 10"):
        HeldOutObjects(str(file), None, 10, 0).of(target)
    file.write_text("0 0\n1 0\n")
    with pytest.raises(ConfigError, match="2 objects are too few for a correlation, expected 10"):
        HeldOutObjects(str(file), None, 10, 0).of(target)


def test_what_is_refused() -> None:
    for arguments, message in {
        (9, 0): r"held_out\.n_objects=9: expected a whole number >= 10",
        (10.5, 0): r"held_out\.n_objects=10\.5: expected a whole number",
        (60, -1): r"held_out\.seed=-1: expected a whole number >= 0",
    }.items():
        with pytest.raises(ConfigError, match=message):
            drawn(*arguments)  # type: ignore[arg-type]
    for settings, message in {
        (0, 200, None): r"correlation\.most_ancestors=0: expected >= 1",
        (100, 99, None): r"correlation\.n_resamples=99: expected a whole number >= 100",
        (100, 200, 0): r"correlation\.every=0: expected a whole number",
    }.items():
        with pytest.raises(ConfigError, match=message):
            Correlation(drawn(), *settings)
    few = make_target("tiny_dag")
    with pytest.raises(ConfigError, match=r"held_out\.n_objects=60: \d objects are too few"):
        measured(Correlation(drawn(), 1000, 200, None), make_sampler(few), few, generators(0, 1))
    with pytest.raises(ConfigError, match=r"correlation\.most_ancestors=5: the \d+ objects have more ancestors"):
        measured(Correlation(drawn(), 5, 200, None), make_sampler(GRID), GRID, generators(0, 1))

    class Unfinished(Reading):
        def read_objects(self, path: str) -> Tensor:
            return self.initial(12)

        def forward_mask(self, states: Tensor) -> Tensor:
            return super().forward_mask(states) & (torch.arange(3) < 2)

        def log_reward(self, states: Tensor) -> Tensor:
            return super().log_reward(states) - torch.inf

    never = Unfinished(2, 5, r0=0.1, reward=bumpy, max_enumerated_states=1000)
    with pytest.raises(ConfigError, match=r"held_out\.path=.*: object number 0 cannot be an end of a trajectory"):
        HeldOutObjects(__file__, None, 10, 0).of(never)
    with pytest.raises(ConfigError, match=r"sampler=SimpleNamespace: does not say forward_log_probs"):
        measured(Correlation(drawn(), 100, 200, None), SimpleNamespace(), GRID, generators(0, 1))
