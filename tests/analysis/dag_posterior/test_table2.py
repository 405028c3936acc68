"""Table 2 and the errors of marginals, of run directories whose numbers are known."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from analysis.dag_posterior.runs import BATCH, FINAL, UPDATES, calls_per_update, jsd_at, read
from gfn_vi.experiments.dag_posterior.budgets import smallest_totals
from gfn_vi.experiments.dag_posterior.latex import with_spread
from gfn_vi.experiments.dag_posterior.table2 import PAPER, SIZE, settings, standings

from gfn_vi.runs.folders import TableError


def test_the_csv_is_what_the_runs_ended_with(texts: dict[str, str]) -> None:
    """At equal updates mean, sample standard deviation, median and its interval over graphs, beside the paper's."""
    found = read(texts["table2.csv"]).set_index(["budget", "arm", "d"]).sort_index()
    for arm in FINAL:
        for d in (3, 4, 5):
            values = np.array([jsd_at(arm, d, seed, np.ones(1))[0] for seed in range(5)])
            row = found.loc["updates", arm, d]
            expected = [values.mean(), values.std() * math.sqrt(5 / 4), np.median(values), values.min(), values.max()]
            np.testing.assert_allclose(row[["mean", "std", "median", "low", "high"]], expected, rtol=1e-5)
            assert row["n"] == 5
            assert row["trajectories"] == UPDATES * BATCH
            assert row["reward_calls"] == UPDATES * calls_per_update(arm, d)
            if arm in PAPER:
                assert tuple(row[["paper_mean", "paper_std"]]) == PAPER[arm][d]
            else:
                assert row[["paper_mean", "paper_std"]].isna().all()


@pytest.mark.parametrize(
    ("arm", "d", "updates"),
    [
        ("trajectory_balance_off_policy", 5, 1000),  # 10 evaluations per update: all that it makes, 10,000, is what is equal
        ("trajectory_balance", 5, 100),
        ("reverse_kl_off_policy", 3, 100),  # does not replay
        ("modified_detailed_balance_off_policy", 5, 200),  # 50 per update
        ("modified_detailed_balance_off_policy", 3, 300),  # 30 per update: 333 updates, evaluated every 100
    ],
)
def test_equal_reward_evaluations(texts: dict[str, str], arm: str, d: int, updates: int) -> None:
    found = read(texts["table2.csv"]).set_index(["budget", "arm", "d"]).sort_index()
    row = found.loc["reward_evaluations", arm, d]
    values = [jsd_at(arm, d, seed, np.array([updates / UPDATES]))[0] for seed in range(5)]
    assert row["mean"] == pytest.approx(np.mean(values), rel=1e-5)
    assert row["reward_calls"] == updates * calls_per_update(arm, d) <= 10_000
    assert row["trajectories"] == updates * BATCH
    assert np.isnan(row["paper_mean"])
    assert ("reward_evaluations", "modified_detailed_balance", d) not in found.index  # spends them before its first evaluation


def test_a_budget_is_what_every_replica_has_and_each_stands_where_its_own_evaluations_are() -> None:
    """Of two arms, one with replicas that spend differently; the seeds stay with their values."""
    calls = {("a", 7): [0, 30, 60], ("a", 2): [0, 10, 40], ("b", 0): [0, 25, 50]}
    rows = [
        {"run": f"{arm}{seed}", "state": "done", "arm": arm, "seed": seed, "replica": 0, "trajectories": 64 * n, "metric": "jsd"}
        | {"value": 0.1 * seed + n, "reward_calls": spent, SIZE: 3}
        for (arm, seed), of_run in calls.items()
        for n, spent in enumerate(of_run)
    ]
    found = settings(pd.DataFrame(rows))
    assert smallest_totals(found) == {3: 40}
    standing = standings(found)["reward_evaluations"]["a", 3]
    assert standing.seeds.tolist() == [2, 7]
    np.testing.assert_allclose(standing.values, [2.2, 1.7])
    assert standing.reward_calls.tolist() == [40, 30]
    assert standing.trajectories.tolist() == [128, 64]
    with pytest.raises(TableError, match="first evaluated after more than -1 reward evaluations"):
        found["b", 3].within(-1)


def test_marginals(texts: dict[str, str]) -> None:
    found = read(texts["edge_marginals.csv"]).set_index(["metric", "arm", "d"])
    assert set(found.index.unique("metric")) == {"edge_rmse", "edge_correlation", "path_rmse", "markov_blanket_rmse"}
    rmse = [0.5 * math.sqrt(jsd_at("wake_sleep", 4, seed, np.ones(1))[0]) for seed in range(5)]
    assert found.loc[("edge_rmse", "wake_sleep", 4), "mean"] == pytest.approx(np.mean(rmse), rel=1e-5)
    assert found.loc[("edge_correlation", "wake_sleep", 4), "median"] == pytest.approx(1 - np.median(rmse), rel=1e-5)


@pytest.mark.parametrize(
    ("mean", "spread", "text"),
    [
        (9.35e-6, 2.99e-6, r"$(9.35 \pm 2.99) \times 10^{-6}$"),
        (9.996e-6, 0.4e-6, r"$(1.00 \pm 0.04) \times 10^{-5}$"),
        (9.35e-6, math.nan, r"$9.35 \times 10^{-6}$"),
        (0.022, 0.007, r"$0.022 \pm 0.007$"),
        (0.0099, 0.02, r"$(9.90 \pm 20.00) \times 10^{-3}$"),
        (0.5, math.nan, "$0.500$"),
        (0.0, 0.0, r"$0.000 \pm 0.000$"),
    ],
)
def test_numbers_in_latex(mean: float, spread: float, text: str) -> None:
    assert with_spread(mean, spread) == text


def test_the_latex_has_every_number_in_its_column(texts: dict[str, str]) -> None:
    """Twice six rows on-policy and six off-policy, of seven cells, with the paper's numbers in the five rows that it has."""
    lines = texts["table2.tex"].splitlines()
    rows = [[cell.strip() for cell in line.removesuffix(r"\\").split("&")] for line in lines if line.startswith(r"\quad")]
    assert [len(cells) for cells in rows] == [7] * 24
    off_policy_tb = rows[6]
    assert off_policy_tb[0] == r"\quad TB"
    assert off_policy_tb[2::2] == [with_spread(*PAPER["trajectory_balance_off_policy"][d]) for d in (3, 4, 5)]
    values = np.array([jsd_at("trajectory_balance_off_policy", 4, seed, np.ones(1))[0] for seed in range(5)])
    assert off_policy_tb[3] == with_spread(values.mean(), values.std(ddof=1))
    assert sum(bool(cell) for cells in rows for cell in cells[2::2]) == 15
    assert rows[13][1::2] == ["--"] * 3
    assert any("5 graphs" in line for line in lines)
    assert sum(line.endswith("; --: spent before the first evaluation of on-policy modified DB.") for line in lines) == 3
    assert any("10,000 reward evaluations, all that off-policy TB makes" in line and "at 90\\% of them" in line for line in lines)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX")
def test_the_latex_compiles(texts: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "table2.tex").write_text(texts["table2.tex"])
    (tmp_path / "page.tex").write_text(
        r"\documentclass[twocolumn]{article}\usepackage{booktabs}\usepackage[margin=0.75in]{geometry}\begin{document}"
        r"\begin{table*}\centering\caption{c}\input{table2}\end{table*}\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "Overfull" not in done.stdout
