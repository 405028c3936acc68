"""gfn-vi-plot: words and folders that cannot be meant end with one line that says what to type."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from analysis.test_plot import MakeRun, on_another_grid

from gfn_vi.analysis.reading import roles
from gfn_vi.commands import collect as collect_command
from gfn_vi.commands import plot as plot_command
from gfn_vi.commands import status as status_command


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            ["y=jds"],
            "y=jds: no finished run has recorded it; did you mean jsd.; recorded: jsd",
        ),
        (["hue=amr"], r"hue=amr: no run has such a choice or key; did you mean arm\?; the runs differ in arm"),
        (["hue=hue"], "hue=hue: no run has such a choice or key; the runs"),
        (["huee=arm"], r"huee: no run has such a choice or key; did you mean hue\?; the runs differ in arm"),
        (["colwrap=2"], r"colwrap: no run has such a choice or key; did you mean col_wrap\?"),
        (["amr=reverse_kl"], r"amr: no run has such a choice or key; did you mean arm\?"),
        (
            ["x=time"],
            "x=time: no run has such a choice or key, and it is none of trajectories, reward_calls, score_calls, seconds; ",
        ),
        (
            ["x=wall_seconds"],
            r"x=wall_seconds: no run has .* score_calls, seconds; did you mean seconds\?; the runs differ in arm",
        ),
        (
            ["title=foo"],
            "title: no run has such a choice or key, and it is none of y, x, hue, style, .*, out; the runs differ in arm",
        ),
        (["color=arm"], r"color: no run has such a choice or key; did you mean hue\?"),
        (["hue=arm", "hue_order=tb"], "hue_order=tb: expected one of forward_kl, reverse_kl"),
        (["col_order=a"], r"col_order=a: there is no col; give col=COLUMN"),
        (["arm=wake_sleep"], "arm=wake_sleep: expected one of forward_kl, reverse_kl"),
        (["hue"], "hue: there is no such folder; expected key=value, as in y=elbo"),
        (["y=jsd", "typo_folder"], "typo_folder: there is no such folder; expected key=value, as in y=elbo"),
        (["out=nowhere/p"], "out=nowhere/p: there is no folder nowhere: make it, or choose another one"),
        (["out=/"], "out=/: this is a folder: expected the name of a file"),
        (["hue=arm", "hue=seed"], "hue=seed: hue is there twice"),
        (["statistic=max"], "statistic=max: expected one of median, mean, iqm"),
        (["width=wide"], "width=wide: expected a number"),
        (["height=0"], "height=0: expected a number between 0.5 and 20"),
        (["worst=nan"], "worst=nan: expected a number"),
        (["x=score_calls"], "x=score_calls: no run has counted"),
    ],
)
def test_wrong_words_end_with_one_line(
    keys: list[str],
    message: str,
    tmp_path: Path,
    make_run: MakeRun,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for arm in ("reverse_kl", "forward_kl"):
        folder = make_run(arm, n_points=1, replicas=1).parent
    assert plot_command.main([str(folder), *keys]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.match(f"error: ({message})", err), err
    assert not (folder / "plots").exists()


def test_folders_may_follow_words(make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_run("reverse_kl", n_points=1, replicas=1).parent
    make_run("forward_kl", n_points=1, replicas=1).rename(tmp_path / "forward_kl")
    (tmp_path / "more").mkdir()
    (tmp_path / "forward_kl").rename(tmp_path / "more" / "forward_kl")
    assert plot_command.main([folder.name, "hue=arm", "more"]) == 0
    assert set(pd.read_csv("joined/plots/jsd-trajectories-hue_arm.csv")["arm"]) == {"reverse_kl", "forward_kl"}


@pytest.mark.parametrize("main", [plot_command.main, collect_command.main, status_command.main])
def test_a_folder_of_experiments_names_them(
    main: Callable[[list[str]], int], make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run("reverse_kl", n_points=1, replicas=1).parent
    assert main([str(tmp_path)]) == 2
    told = f"error: {tmp_path}: no runs found, but in folders inside of it: give {folder}\n"
    assert capsys.readouterr().err == told


def test_more_lines_than_colors_are_refused(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    for side in range(4, 15):
        folder = make_run("reverse_kl", n_points=1, replicas=1, **on_another_grid(side)).parent
    assert plot_command.main([str(folder), "hue=target.side"]) == 2
    assert "hue: Side has 11 values, of which nobody tells more than 9 apart: hue_order=A,B,..." in capsys.readouterr().err


def test_words_that_are_suggested_are_those_that_are_read() -> None:
    """A word that the command does not read is taken for a column of the runs, and kept in `only`."""
    number = {"worst": "1", "width": "5", "height": "2", "col_wrap": "2"}
    given = [f"{word}={number.get(word, next(iter(plot_command.CHOICES.get(word, ('a',)))))}" for word in roles.WORDS]
    assert plot_command.wanted(given).only == {}
    assert plot_command.wanted([*given, "huee=a"]).only == {"huee": "a"}
