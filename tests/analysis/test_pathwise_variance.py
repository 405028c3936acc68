"""The verdicts, the figure and the table of pathwise_variance on runs whose numbers are known."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from gfn_vi.experiments.pathwise_variance import claims as pathwise
from gfn_vi.experiments.pathwise_variance.figure import figure, tables
from gfn_vi.experiments.pathwise_variance.noise import ESTIMATORS, noises

from gfn_vi.analysis.statistics.claims import Claim
from gfn_vi.runs.folders import TableError

R = 5
PATHWISE, LANDING, SCORE, TB, LOG_VARIANCE = ESTIMATORS
Noise = Callable[[str, float, int, int], float]  # (estimator, mean, d, T) -> noise / gradient


def theory(estimator: str, mean: float, dim: int, n_steps: int) -> float:
    """What is claimed: along the noise no growth with d, the landing none at all, scores grow with both."""
    if estimator == LANDING:
        return 0.3
    if estimator == PATHWISE:
        return math.sqrt(n_steps / kl(mean, 1)) * 0.1
    return math.sqrt(dim * n_steps) * (1.3 if estimator == TB and mean > 1 else 1.0)


def covariance(mean: float) -> float:
    return 1 / (1 + 2 * mean)


def kl(mean: float, dim: int) -> float:
    """KL(N(0, 1), N(mean, covariance)) in each of d dimensions."""
    v = covariance(mean)
    return dim * 0.5 * (math.log(v) + (1 + mean**2) / v - 1)


def rows_of(
    arm: str, config: Mapping[str, object], values: Mapping[str, Callable[[int], float]], moment: int = 0
) -> list[dict[str, object]]:
    shared = {"run": f"{arm} {config}", "state": "done", "arm": arm, "trajectories": moment}
    shared |= {f"config.{key}": value for key, value in config.items()}
    return [shared | {"seed": r, "replica": r, "metric": m, "value": value(r)} for m, value in values.items() for r in range(R)]


def statistics(relative: Mapping[str, float], gradient: float) -> dict[str, Callable[[int], float]]:
    """As runs record them: TB and log-variance have twice the gradient. Replicas differ a little."""
    found: dict[str, Callable[[int], float]] = {}
    for name, noise in relative.items():
        times = 2.0 if name in (TB, LOG_VARIANCE) else 1.0
        found[f"gradients/variance/forward/{name}/on_policy/64"] = lambda r, n=noise, t=times: (
            (t * gradient * n * (1 + r / 100)) ** 2
        )
        found[f"gradients/reference_norm/forward/{name}/on_policy/64"] = lambda r, t=times: t * gradient
        found[f"gradients/exact/forward/{name}/on_policy/64"] = lambda r: 1.0
    return found


def gaussian(arm: str, mean: float, dim: int, n_steps: int, noise: Noise) -> list[dict[str, object]]:
    """One run before and after its only batch; the second moment is none of the figure."""
    config = {"target.dim": dim, "sampler.n_steps": n_steps, "target.mean": mean, "target.covariance": covariance(mean)}
    if mean:
        values = statistics({name: noise(name, mean, dim, n_steps) for name in ESTIMATORS}, kl(mean, dim) ** 0.5)
    else:
        values = statistics({name: 1.0 if name == PATHWISE else 1e-15 for name in ESTIMATORS}, 1e-3)
    return [*rows_of(arm, config, values), *rows_of(arm, config, {name: lambda r: 99.0 for name in values}, 64)]


def mixture(last: Mapping[str, float]) -> list[dict[str, object]]:
    config = {"target.dim": 1, "sampler.n_steps": 8, "target.mean": None, "target.covariance": "[0.2, 0.5]"}
    rows: list[dict[str, object]] = []
    for moment, divergence in ((0, 1.0), (3200, 0.25)):
        values = statistics(last, 0.5) | {"elbo": lambda r, d=divergence: -d}
        rows += rows_of("mixture", config, values, moment)
    return rows


AT_THE_END = {PATHWISE: 2.0, LANDING: 0.5, SCORE: 1.0, TB: 1.1, LOG_VARIANCE: 1.0}


def table_of(noise: Noise = theory, at_the_end: Mapping[str, float] = AT_THE_END) -> pd.DataFrame:
    settings = {(mean, 4, 4) for mean in (0.0, 0.003, 0.01, 0.03, 0.3, 3.0)}
    settings |= {(0.3, dim, 4) for dim in (1, 16)} | {(0.3, 4, n_steps) for n_steps in (1, 16)}
    rows = [row for arm in ("linear_chain", "diffusion") for s in sorted(settings) for row in gaussian(arm, *s, noise)]
    return pd.DataFrame([*rows, *mixture(at_the_end)])


def told(table: pd.DataFrame, words: str) -> list[Claim]:
    found = [claim for claim in pathwise.claims(table) if words in claim.claim]
    assert found
    return found


def test_what_theory_says_agrees_where_the_numbers_are_those_of_theory() -> None:
    claims = pathwise.claims(table_of())
    assert len(claims) == 15
    assert [claim.claim for claim in claims if claim.agrees is not True] == []


WRONG: dict[str, tuple[str, Callable[[SimpleNamespace], float]]] = {
    "the landing with d": ("with the dimension", lambda at: 0.3 * at.dim**0.5 if at.name == LANDING else at.theory),
    "scores with T": ("with the number of steps", lambda at: at.theory / at.n_steps**0.5 if at.name == SCORE else at.theory),
    "the landing noisy": ("sticking the landing is less noisy than", lambda at: 9.0 if at.name == LANDING else at.theory),
    "pathwise noisy": ("far away the pathwise", lambda at: 99.0 if at.name == PATHWISE else at.theory),
    "log-variance off": ("log-variance is no noisier", lambda at: 1.1 * at.theory if at.name == LOG_VARIANCE else at.theory),
    "TB silent": ("log-variance is no noisier", lambda at: 0.5 * at.theory if at.name == TB else at.theory),
    "pathwise flat": ("towards the optimum", lambda at: 2.0 if at.name == PATHWISE else at.theory),
}


@pytest.mark.parametrize("case", WRONG)
def test_each_statement_can_fail(case: str) -> None:
    words, value = WRONG[case]

    def noise(name: str, mean: float, dim: int, n_steps: int) -> float:
        return value(SimpleNamespace(name=name, dim=dim, n_steps=n_steps, theory=theory(name, mean, dim, n_steps)))

    assert [claim.agrees for claim in told(table_of(noise), words)] == [False, False]


def test_noise_at_the_optimum_and_along_training_can_fail() -> None:
    table = table_of(at_the_end=AT_THE_END | {LANDING: 1.5})
    assert told(table, "in training")[0].agrees is False
    own = table["metric"].str.startswith(f"gradients/variance/forward/{TB}/") & table["config.target.mean"].eq(0)
    table.loc[own, "value"] = 1.0
    assert [claim.agrees for claim in told(table, "at the optimum")] == [False, False]


def test_what_is_not_there_is_undecided() -> None:
    only = pd.DataFrame(gaussian("linear_chain", 0.3, 4, 4, theory))
    claims = pathwise.claims(only)
    assert {claim.verdict for claim in claims} == {"undecided"}
    assert all(claim.measured.startswith("not measured: ") for claim in claims)
    figure(only, {})
    with pytest.raises(TableError, match="no run that measures gradients is done yet"):
        noises(only.assign(state="running"))


def test_the_numbers_are_in_units_of_the_gradient_of_the_divergence() -> None:
    rows = noises(table_of())
    assert set(rows.loc[rows["arm"] != "mixture", "trajectories"]) == {0}
    at = rows[(rows["arm"] == "diffusion") & (rows["dim"] == 16) & (rows["seed"] == 0)].set_index("estimator")
    assert at["kl"].to_numpy() == pytest.approx(kl(0.3, 16))
    for name in ESTIMATORS:
        assert at.loc[name, "relative"] == pytest.approx(theory(name, 0.3, 16, 4))
        assert at.loc[name, "noise"] == pytest.approx(theory(name, 0.3, 16, 4) * kl(0.3, 16) ** 0.5)
    along = rows[(rows["arm"] == "mixture") & (rows["estimator"] == TB) & (rows["seed"] == 0)].sort_values("trajectories")
    assert along["kl"].tolist() == [1.0, 0.25]


def test_the_figure_and_its_table() -> None:
    table = table_of()
    page = figure(table, {})
    assert len(page.axes) == 12
    found = pd.read_csv(io.StringIO(tables(table, {})["noise.csv"]))
    assert len(found) == (2 * 10 + 2) * len(ESTIMATORS)
    optimum = found[found["kl"] == 0]
    assert optimum["relative_median"].isna().all()
    assert np.isfinite(optimum["noise_median"]).all()
