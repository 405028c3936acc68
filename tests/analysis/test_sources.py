"""Runs that were trained with different versions of a user's file are told apart in the table, and no figure shows both."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gfn_vi.analysis.experiments import draw
from gfn_vi.analysis.pages.report import render
from gfn_vi.analysis.reading.facts import facts
from gfn_vi.analysis.reading.groups import group_labels
from gfn_vi.analysis.reading.sources import check_sources
from gfn_vi.analysis.reading.table import collect
from gfn_vi.commands.collect import main
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.state import look

MakeRun = Callable[..., Path]
EXPERIMENT = Path(__file__).parents[2] / "experiments" / "quickstart"
COLUMN = "config.source.my_rewards.py"


def silent(_: str) -> None:
    """Nobody listens."""


def tell(run: Path, **more: Any) -> None:
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps(status | more))


def test_two_versions_of_a_file_are_a_column_and_no_figure(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs without that file, or that do not say, are no conflict; table, report and figure say the same."""
    first, second = make_run("reverse_kl", seed=0, replicas=2), make_run("reverse_kl", seed=5, replicas=2)
    other = make_run("forward_kl", replicas=2)
    tell(first, sources={"my_rewards.py": "aaaabbbbcccc", "my_model.py": "1"})
    tell(second, sources={"my_rewards.py": "aaaabbbbcccc"})
    table = collect(first.parent, say=silent)
    assert not any("source" in name for name in table.columns)
    check_sources(table)
    tell(second, sources={"my_rewards.py": "ddddeeeeffff"})
    table = collect(first.parent, say=silent)
    assert set(table.groupby("run", observed=True)[COLUMN].first().astype(object).fillna("")) == {
        "aaaabbbbcccc",
        "ddddeeeeffff",
        "",
    }
    assert set(table.loc[table["run"] == other.name, COLUMN].isna()) == {True}
    assert group_labels(table).nunique() == 3
    said = (
        f"the runs have 2 versions of my_rewards.py (aaaabbbb of {first.name}; ddddeeee of {second.name}): "
        "train them with one, or keep the others in a folder of their own"
    )
    with pytest.raises(TableError) as caught:
        draw(EXPERIMENT, first.parent, "drawn")
    assert str(caught.value) == said
    assert f"Not for reporting: {said}" in render(first.parent, None, None)
    assert main([str(first.parent)]) == 0
    assert capsys.readouterr().err == f"warning: {said}\n"


def test_facts_tell_the_sources_and_local_changes(make_run: MakeRun) -> None:
    runs = [make_run("reverse_kl", seed=seed, n_points=1) for seed in range(3)]
    for run in runs:
        tell(run, sources={"my_rewards.py": "b", "a.py": "c"}, git_commit="abc", git_local_changes=False)
    changed = [{"until_step": 1, "sources": {"a.py": "old"}}]
    tell(runs[0], sources={"my_rewards.py": "b"}, git_local_changes=True, accepted_sources=changed)
    found = facts(runs[0].parent, [look(run) for run in runs])
    assert found["Commit of gfn_vi"] == "abc (2 runs), abc (with local changes) (1 runs)"
    assert found["Your source"] == "a.py c, changed and accepted in 1 run; my_rewards.py b"
