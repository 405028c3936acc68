"""The numbers beside a figure: as recomputed from the values of the runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gfn_vi.experiments.measures import JSD

from gfn_vi.analysis.reading.table import collect
from gfn_vi.analysis.statistics.summary import write_summary

MakeRun = Callable[..., Path]


def test_summary_and_improvement(make_run: MakeRun, tmp_path: Path) -> None:
    for arm in ("trajectory_balance", "reverse_kl"):
        for seed in (0, 5):
            folder = make_run(arm, seed=seed, replicas=3).parent
    table = collect(folder, say=lambda _: None)
    summary, improvement = map(pd.read_csv, write_summary(table, tmp_path, [JSD]))
    assert list(summary.columns[:5]) == ["metric", "group", "measure", "replicas", "failed"]
    last = table[(table["metric"] == "jsd") & (table["trajectories"] == table["trajectories"].max())]
    values = {arm: rows["value"].to_numpy() for arm, rows in last.groupby("arm", observed=True)}
    row = summary[(summary["metric"] == "jsd") & (summary["group"] == "reverse_kl") & (summary["measure"] == "final")].iloc[0]
    assert row["replicas"] == 6
    assert row["median"] == pytest.approx(np.median(values["reverse_kl"]), rel=1e-3)
    assert row["mean"] == pytest.approx(np.mean(values["reverse_kl"]), rel=1e-3)
    assert row["iqm"] == pytest.approx(np.sort(values["reverse_kl"])[1:5].mean(), rel=1e-3)
    assert row["median_low"] <= row["median"] <= row["median_high"]
    wins = (values["trajectory_balance"][:, None] < values["reverse_kl"][None]).mean()
    pair = improvement[(improvement["metric"] == "jsd") & (improvement["group"] == "trajectory_balance")].iloc[0]
    assert pair["than"] == "reverse_kl"
    assert pair["probability"] == pytest.approx(wins, rel=1e-3)
    turned = improvement[(improvement["metric"] == "jsd") & (improvement["group"] == "reverse_kl")].iloc[0]
    both = [pair["probability"], pair["low"], pair["high"]]
    assert [turned["probability"], turned["high"], turned["low"]] == pytest.approx([1 - value for value in both], abs=1e-3)


def test_numbers_have_four_digits(make_run: MakeRun, tmp_path: Path) -> None:
    for arm in ("trajectory_balance", "reverse_kl"):
        folder = make_run(arm, n_points=7).parent
    for path in write_summary(collect(folder, say=lambda _: None), tmp_path, [JSD]):
        numbers = pd.read_csv(path, dtype=str).drop(
            columns=["metric", "group", "measure", "than", "trajectories"], errors="ignore"
        )
        assert numbers.map(lambda text: f"{float(text):.4g}").equals(numbers)


def test_one_evaluation_has_no_area(make_run: MakeRun, tmp_path: Path) -> None:
    table = collect(make_run("reverse_kl").parent, say=lambda _: None)
    last = table[table["trajectories"] == table["trajectories"].max()]
    summary = pd.read_csv(write_summary(last, tmp_path, [JSD])[0])
    assert set(summary["measure"]) == {"final"}


def test_a_table_without_those_metrics_has_no_summary(make_run: MakeRun, tmp_path: Path) -> None:
    table = collect(make_run("reverse_kl").parent, say=lambda _: None)
    assert write_summary(table[table["metric"] == "log_Z"], tmp_path, [JSD]) == []
