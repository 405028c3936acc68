"""Comparisons are made within one target: what one target is, tables of a report, files of numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from gfn_vi.experiments.measures import JSD

from gfn_vi.analysis.pages.sections import sections
from gfn_vi.analysis.reading.table import collect
from gfn_vi.analysis.reading.targets import by_target, target_labels
from gfn_vi.analysis.statistics.summary import write_summary

MakeRun = Callable[..., Path]
GRID = {"_target_": "gfn_vi.targets.grids.hypergrid.Hypergrid", "n_dims": 2, "reward": {"r0": 0.01}}


def table_of(make_run: MakeRun, *targets: dict[str, Any], choices: dict[str, str] | None = None) -> pd.DataFrame:
    """Two arms on every target, and three seeds of each."""
    for number, target in enumerate(targets):
        for arm in ("trajectory_balance", "reverse_kl"):
            more = {"choices": choices | {"objective": arm}} if choices else {}
            path = make_run(arm, replicas=3, n_points=3, seed=10 * number, target=target, **more)
    return collect(path.parent, say=lambda _: None)


def test_a_table_for_each_target_and_no_comparison_between_them(make_run: MakeRun, tmp_path: Path) -> None:
    table = table_of(make_run, GRID | {"side": 16}, GRID | {"side": 8})
    found = sections(table, [JSD])
    finals = [part for part in found if part.caption.startswith("Final exact")]
    assert [part.caption.rpartition(" (")[2] for part in finals] == ["target.side=8)", "target.side=16)"]
    assert all([row[0] for row in part.rows] == ["trajectory_balance", "reverse_kl"] for part in finals)
    assert finals[0].text.startswith("Over replicas of finished runs")
    assert finals[1].text == ""  # it has been said
    compared = [part for part in found if part.caption.startswith("Probability of improvement")]
    assert [len(part.rows) for part in compared] == [2, 2]
    write_summary(table, tmp_path, [JSD])
    pairs = pd.read_csv(tmp_path / "improvement.csv")
    pairs = pairs[pairs["metric"] == "jsd"]
    assert pairs.groupby("target").size().to_dict() == {"target.side=16": 2, "target.side=8": 2}
    assert pd.read_csv(tmp_path / "summary.csv")["target"].nunique() == 2


def test_one_target_is_said_nowhere(make_run: MakeRun, tmp_path: Path) -> None:
    table = table_of(make_run, GRID | {"side": 16})
    assert list(by_target(table)) == [""]
    write_summary(table, tmp_path, [JSD])
    assert "target" not in pd.read_csv(tmp_path / "improvement.csv")


def test_the_content_of_a_file_and_drawn_data_make_another_target(make_run: MakeRun) -> None:
    """The digest of a table, and the seed of drawn data; unless an experiment says that its targets are blocks."""
    data = [{"path": "a.csv", "digest": digest, "seed": seed} for digest, seed in (("0a", 0), ("0b", 0), ("0a", 1))]
    table = table_of(make_run, *(GRID | {"data": one} for one in data))
    assert target_labels(table).nunique() == 3
    assert target_labels(table, ["target.data.seed"]).nunique() == 2


def test_a_path_says_more_than_a_digest(make_run: MakeRun) -> None:
    """As long as it tells the targets apart: a file that was changed has one path and two digests."""
    a, b, changed = ({"path": path, "digest": digest} for path, digest in (("a.csv", "0a"), ("b.csv", "0b"), ("a.csv", "0c")))
    table = table_of(make_run, GRID | {"data": a}, GRID | {"data": b})
    assert list(by_target(table)) == ["target.data.path=a.csv", "target.data.path=b.csv"]
    path = make_run("reverse_kl", seed=50, target=GRID | {"data": changed})
    assert target_labels(collect(path.parent, say=lambda _: None)).nunique() == 3


def test_choices_below_the_target_and_those_of_nobody_knows(make_run: MakeRun) -> None:
    """Another reward by choice is another target though its keys are told by the choice; so is one of a user's own group."""
    for number, reward in enumerate(("corners", "cosine")):
        path = make_run(seed=number, target=GRID | {"reward": {"r0": number}}, choices={"target": "hypergrid", "reward": reward})
    table = collect(path.parent, say=lambda _: None)
    assert sorted(target_labels(table).unique()) == ["reward=corners", "reward=cosine"]
    for number, noise in enumerate(("low", "high")):
        path = make_run(seed=20 + number, target=GRID | {"noise": {"size": number}}, choices={"target": "mine", "noise": noise})
    table = collect(path.parent, say=lambda _: None)
    mine = table[table["config.target.noise.size"].notna()]
    assert target_labels(mine).nunique() == 2
