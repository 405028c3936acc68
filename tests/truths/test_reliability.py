"""What importance weights are worth, and the rule by which numbers that rest on them are told: known tails and edge cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from building import make_trainer
from torch import Tensor

from gfn_vi.core.reliability import (
    LARGEST_K,
    LEAST_EFFECTIVE,
    MARK,
    Weights,
    doubt,
    is_reliable,
    weights_behind,
    with_error,
    worst,
)
from gfn_vi.evaluation.sampled.weights import worth
from gfn_vi.training.result import result_line

N = 1000
INF = math.inf


def weights_of(log_weights: Tensor) -> Weights:
    found = worth("w", log_weights[None])
    return Weights(float(found["w_n_effective"]), float(found["w_pareto_k"]))


@pytest.mark.parametrize("k", [0.1, 0.5, 0.7, 1.0, 1.5])
def test_the_tail_of_weights_of_a_known_tail(k: float) -> None:
    """Of 200 sets of 4,000 generalized Pareto weights of scipy: the mean is the truth, drawn to 1/2 by a prior worth ten weights.

    190 = 3 sqrt(4000) are in the tail, so that the prior moves the mean by (0.5 - k) 10 / 200; a standard error of k is
    (1 + k) / sqrt(190), of the mean of 200 a fourteenth of it.
    """
    drawn = scipy.stats.genpareto(k).rvs((200, 4000), random_state=np.random.default_rng(0))
    found = worth("w", torch.as_tensor(drawn).log())["w_pareto_k"]
    expected = (190 * k + 10 * 0.5) / 200
    assert abs(float(found.mean()) - expected) < 4.5 * (1 + k) / math.sqrt(190 * 200) + 0.02  # 0.02: the estimator's own bias
    assert float(found.std()) == pytest.approx((1 + k) / math.sqrt(190), rel=0.25)


@pytest.mark.parametrize(
    ("log_weights", "n_effective", "k", "carries"),
    [
        (torch.zeros(N), N, -INF, True),
        (torch.linspace(0, 5e-5, N), N, -INF, True),  # equal up to rounding
        (torch.zeros(LEAST_EFFECTIVE - 1), LEAST_EFFECTIVE - 1, -INF, False),
        (torch.zeros(1), 1, -INF, False),
        (torch.full((N,), -INF).index_fill(0, torch.tensor([3]), 2.0), 1, None, False),
        (torch.zeros(N).index_fill(0, torch.tensor([0]), 800.0), 1, None, False),
        (torch.zeros(N).index_fill(0, torch.tensor([0]), math.nan), math.nan, math.nan, False),
        (torch.zeros(N).index_fill(0, torch.tensor([0]), INF), math.nan, math.nan, False),
        (torch.full((N,), -INF), math.nan, math.nan, False),
        (torch.cat([torch.full((N // 2,), -INF), torch.zeros(N // 2)]), N / 2, -INF, True),  # half of them 0, as of truncation
    ],
    ids=["equal", "rounding", "few", "one", "one nonzero", "one large", "NaN", "infinite", "all zero", "half zero"],
)
def test_weights_at_the_edges(log_weights: Tensor, n_effective: float, k: float | None, carries: bool) -> None:
    found = weights_of(log_weights.double())
    assert found.n_effective == pytest.approx(n_effective, rel=1e-6, nan_ok=True)
    if k is not None:
        assert found.pareto_k == pytest.approx(k, nan_ok=True)
    assert found.is_reliable is carries
    assert (doubt([found]) is None) is carries


def pareto_k_by_the_paper(weights: np.ndarray) -> float:
    """k of arXiv 1507.02646, section 3 and appendix C, one weight after the other; ties with what is left out are none."""
    ascending = np.sort(weights)
    n_tail = math.ceil(min(0.2 * len(weights), 3 * math.sqrt(len(weights))))
    x = ascending[-n_tail:] - ascending[-n_tail - 1]
    x = x[x > 0]
    n = len(x)
    quarter = x[int(n / 4 + 0.5) - 1]
    m = 30 + math.isqrt(n_tail)
    theta = [1 / x[-1] + (1 - math.sqrt(m / (j - 0.5))) / (3 * quarter) for j in range(1, m + 1)]
    k = [np.log1p(-t * x).mean() for t in theta]
    profile = np.array([n * (math.log(-t / own) - own - 1) for t, own in zip(theta, k, strict=True)])
    share = np.exp(profile - profile.max())
    found = np.log1p(-(share @ np.array(theta) / share.sum()) * x).mean()
    return float((n * found + 10 * 0.5) / (n + 10))


@pytest.mark.parametrize("n", [60, 500, 5000])
@pytest.mark.parametrize("k", [-0.4, 0.3, 1.2])
def test_k_is_that_of_the_paper(n: int, k: float) -> None:
    """Tails that end, light and heavy ones; of a few weights a fifth is the tail, of many 3 sqrt(n), ties included."""
    drawn = scipy.stats.genpareto(k).rvs(n, random_state=np.random.default_rng(n))
    tied = np.round(drawn, 1) + 0.05
    for weights in (drawn, tied):
        found = weights_of(torch.as_tensor(weights).log())
        assert found.pareto_k == pytest.approx(pareto_k_by_the_paper(weights), rel=1e-9)
        assert found.n_effective == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-12)


def test_weights_in_float32_are_counted_in_float64() -> None:
    """Squares of e^-60 underflow float32, and differences of large log-weights cancel."""
    log_weights = torch.randn(N, generator=torch.Generator().manual_seed(0)) - 3000
    assert weights_of(log_weights) == weights_of(log_weights.double())


@pytest.mark.parametrize(
    ("metric", "weights"),
    [
        *((f"sampled_{name}", ["sampled"]) for name in ("eubo", "log_Z", "log_Z_error", "ess")),
        ("sampled_held_out_log_likelihood", ["sampled_held_out"]),
        ("target_log_Z", ["target"]),
        ("ess_forward", ["target", "target_inverse"]),
        *((name, []) for name in ("sampled_elbo", "elbo", "eubo", "log_Z", "bound_gap", "jsd", "sampled_length")),
    ],
)
def test_which_weights_a_metric_rests_on(metric: str, weights: list[str]) -> None:
    values = {"sampled": 1.0, "sampled_held_out": 2.0, "target": 3.0, "target_inverse": 4.0}
    recorded = {f"{name}_{of}": {0: value} for name, value in values.items() for of in ("n_effective", "pareto_k")}
    wanted = [Weights(values[name], values[name]) for name in weights]
    assert weights_behind(metric, recorded) == ({0: wanted} if wanted else {})


def test_the_rule() -> None:
    assert (LEAST_EFFECTIVE, LARGEST_K) == (200, 0.7)  # docs/metrics.md measures what the first is worth
    assert is_reliable(LEAST_EFFECTIVE, LARGEST_K)
    assert not is_reliable(LEAST_EFFECTIVE - 0.01, LARGEST_K)
    assert not is_reliable(LEAST_EFFECTIVE, LARGEST_K + 0.01)
    assert not is_reliable(math.nan, 0.1)
    assert not is_reliable(1e6, math.nan)


def test_the_weights_behind_a_metric() -> None:
    """Only numbers that rest on weights have any; where one of both is not known they are not reliable."""
    recorded = {"sampled_n_effective": {0: 900.0, 1: 3.0}, "sampled_pareto_k": {0: 0.2}}
    assert weights_behind("sampled_elbo", recorded) == {}
    assert weights_behind("sampled_log_Z", {}) == {}
    (lone,) = weights_behind("sampled_log_Z", {"sampled_pareto_k": {0: 0.2}})[0]
    assert not lone.is_reliable
    found = weights_behind("sampled_log_Z", recorded)
    assert [[weights.is_reliable for weights in found[replica]] for replica in (0, 1)] == [[True], [False]]
    both = {f"{w}_{of}": {0: v} for w in ("target", "target_inverse") for of, v in (("n_effective", 900.0), ("pareto_k", 0.2))}
    assert [weights.is_reliable for weights in weights_behind("ess_forward", both)[0]] == [True, True]
    assert worst([Weights(3, 0.2), Weights(math.nan, 0.2), Weights(900, 0.9)]) == Weights(3, 0.2)
    assert worst([Weights(900, 0.1), Weights(950, 0.9)]) == Weights(950, 0.9)  # the one that is not reliable
    assert worst([Weights(math.nan, 0.2), Weights(3, 0.2)]) == Weights(3, 0.2)
    assert worst([Weights(3, 0.2), Weights(3, 0.9), Weights(3, 0.4)]) == Weights(3, 0.9)
    assert doubt([Weights(900, 0.2), Weights(3, 0.4), Weights(50, 0.9)]) == (
        "worth 3 samples, Pareto k 0.4 at worst; too weak in 2 of 3 replicas"
    )


@pytest.mark.parametrize("error", [0.0, math.nan, math.inf, None])
def test_an_interval_is_only_printed_where_it_is_one(error: float | None) -> None:
    assert with_error(1.0, error) == "1"
    assert with_error(1.0, 0.25) == "1 +- 0.2"
    assert with_error(1.0, 0.25, is_carried=False) == f"1 {MARK}"


def test_the_result_line_marks_what_weights_do_not_carry() -> None:
    """Of three replicas one is lost, so that there is no median, and one of the others has weak weights."""
    trainer = make_trainer("target.side=4", "evaluation=sampled", "evaluation.n_samples=400", replicas=3)
    assert trainer.headline_mark() == ""  # the ELBO rests on no weights
    trainer.measure()
    trainer.measured |= {
        "sampled_log_Z": torch.tensor([1.0, math.nan, 3.0]),
        "sampled_n_effective": torch.tensor([300.0, math.nan, 2.0]),
        "sampled_pareto_k": torch.tensor([-math.inf, math.nan, 0.9]),
    }
    told = result_line(trainer, "run")
    assert "sampled_log_Z nan (1 to 3) (?);" in told
    why = "importance weights worth 2 samples, Pareto k 0.9 at worst; too weak in 1 of 2 replicas"
    assert told.endswith(f"; (?) may be far off: {why}")
    assert "sampled_elbo" in told.partition("(?)")[0]
    trainer.measured |= {"sampled_n_effective": torch.full((3,), 300.0), "sampled_pareto_k": torch.zeros(3)}
    assert MARK not in result_line(trainer, "run")
