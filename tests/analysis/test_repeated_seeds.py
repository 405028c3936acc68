"""One seed of one setting counts once, in however many folders it lies: table, figure, report and status say what is left out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gfn_vi.analysis.experiments import draw
from gfn_vi.analysis.pages.report import render
from gfn_vi.analysis.pages.status_view import plain, snapshot
from gfn_vi.analysis.reading.table import collect
from gfn_vi.analysis.statistics.summary import final_values
from gfn_vi.runs.replicas import Replica, in_their_right, repeats, replicas_of, seeds_in_words
from gfn_vi.runs.sweep_states import SweepStates

MakeRun = Callable[..., Path]
EXPERIMENT = Path(__file__).parents[2] / "experiments" / "quickstart"


def collected(folder: Path) -> tuple[list[int], list[str]]:
    """Return the seeds that have a final value, one by one, and what was said."""
    said: list[str] = []
    table = collect(folder, say=said.append)
    final = table[(table["metric"] == "jsd") & (table["step"] == table["step"].max())]
    assert sum(map(len, final_values(table, "jsd", 1.0).values())) == sum(final["state"] == "done")
    return sorted(final["seed"].tolist()), said


COPIES = {
    "run_backup": shutil.copytree,
    "run copy": shutil.copytree,
    "run.bak": shutil.copytree,
    "a_link": lambda run, to: to.symlink_to(run, target_is_directory=True),
    "renamed_and_longer": shutil.copytree,
}


@pytest.mark.parametrize("name", list(COPIES))
def test_a_copy_of_a_run_counts_once_and_is_named(make_run: MakeRun, name: str) -> None:
    run = make_run("reverse_kl", n_points=1)
    run = run.rename(run.with_name("run"))
    COPIES[name](run, run.with_name(name))
    line = f"left out: {name}, which repeats run (seed 0-4)"
    assert collected(run.parent) == ([0, 1, 2, 3, 4], ["2 runs: 2 done", line])
    page, status = render(run.parent, None, None), plain(snapshot(SweepStates(run.parent), 50))
    assert line in page
    assert "<dt>Replicas</dt><dd>5 (5 in a run)</dd>" in page
    assert status.splitlines()[0] == "quickstart: 1 run: 1 done"
    assert line in status


def test_of_overlapping_seeds_each_counts_once(make_run: MakeRun) -> None:
    """Fifteen replicas of seven seeds; the finished run has its seeds, whatever comes before it."""
    runs = [
        make_run("reverse_kl", seed=seed, n_points=1, state=state) for seed, state in ((0, "failed"), (1, "done"), (2, "done"))
    ]
    seeds, said = collected(runs[0].parent)
    assert seeds == [0, 1, 2, 3, 4, 5, 6]
    assert said == [
        "3 runs: 2 done, 1 failed",
        f"left out: seed 1-4 of {runs[0].name}, which repeats {runs[1].name}",
        f"left out: seed 2-5 of {runs[2].name}, which repeats {runs[1].name}",
    ]
    assert all(line in render(runs[0].parent, None, None) for line in said[1:])


def test_status_hides_no_run_that_is_not_finished(make_run: MakeRun) -> None:
    """It may be trained again, beside a finished backup, whose numbers count as long as it is the only one that is done."""
    run = make_run("reverse_kl", n_points=1)
    shutil.copytree(run, run.with_name("backup"))
    (run / "status.json").write_text('{"state": "interrupted"}')
    states = SweepStates(run.parent)
    assert {found.name: found.state for found in states.look()} == {"backup": "done", run.name: "interrupted"}
    assert states.left_out == [f"left out: {run.name}, which repeats backup (seed 0-4)"]


def test_a_figure_says_what_it_leaves_out(make_quickstart: Callable[[], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Its numbers are those without the copy."""
    folder = make_quickstart()
    draw(EXPERIMENT, folder, "figure.py")
    before, _ = (folder / "summary.csv").read_bytes(), capsys.readouterr()
    run = next(folder.glob("reverse_kl-*/"))
    shutil.copytree(run, folder / f"{run.name}_backup")
    draw(EXPERIMENT, folder, "figure.py")
    assert f"left out: {run.name}_backup, which repeats {run.name}" in capsys.readouterr().out
    assert (folder / "summary.csv").read_bytes() == before


def test_one_configuration_under_the_names_of_two_arms_is_said(make_run: MakeRun) -> None:
    """Both arms stay, since somebody asked for both; two arms that differ in anything else are no twins."""
    make_run("reverse_kl", n_points=1)
    runs = [make_run("forward_kl", n_points=1, arm_name=name) for name in ("a", "b")]
    seeds, said = collected(runs[0].parent)
    assert len(seeds) == 15
    line = f"the same under two names: {' and '.join(sorted(run.name for run in runs))} (seed 0-4)"
    assert said[1:] == [line]
    assert line in render(runs[0].parent, None, None)


def test_runs_inside_of_folders_are_named_and_not_counted(make_run: MakeRun) -> None:
    """Whether the folder is a run (cp -r run run) or not."""
    run = make_run("reverse_kl", n_points=1)
    shutil.copytree(run, run.parent / "old" / run.name)
    shutil.copytree(run.parent / "old" / run.name, run / run.name)
    seeds, said = collected(run.parent)
    assert len(seeds) == 5
    assert said[1:] == [f"not counted: 1 run inside of {run.parent / name}" for name in ("old", run.name)]
    assert all(line in plain(snapshot(SweepStates(run.parent), 50)) for line in said[1:])


def test_what_a_replica_is() -> None:
    """Neither the number of replicas nor where the run lies; everything else, the data's seed and the rate of each among it."""
    flat = {"replicas": 2, "seed": 3, "target.data.seed": 0, "device": "cpu", "optimizer.lr_forward": 1e-3}
    one, two = replicas_of(flat)
    assert (one.seed, two.seed) == (3, 4)
    assert one.settings == two.settings
    same = [
        {"replicas": 1},
        {"seed": "[3, 9]"},
        {"device": "cuda"},
        {"experiment_name": "b"},
        {"optimizer.lr_forward": "[0.001, 1]"},
    ]
    other = [{"seed": 4}, {"target.data.seed": 1}, {"arm_name": "b"}, {"optimizer.lr_forward": 1}]
    assert [replicas_of(flat | change)[0] == one for change in (*same, *other)] == [True] * 5 + [False] * 4
    assert replicas_of(flat | {"optimizer.lr_forward": "[1, 0.001]"})[1] == two
    assert [replicas_of(flat | wrong) for wrong in ({"seed": None}, {"seed": -1}, {"replicas": None}, {"seed": "[1]"})] == [
        []
    ] * 4


def test_repeats_are_told_by_whom() -> None:
    """A run whose seeds two others share out between them is left out as a whole."""
    runs = {
        name: [Replica("a", seed) for seed in seeds]
        for name, seeds in {"x": (0, 1), "y": (2, 3), "z": (1, 2), "w": (3, 4)}.items()
    }
    z, w = repeats(runs)
    assert (z.run, z.firsts, z.places, z.seeds, z.is_whole) == ("z", ("x", "y"), (0, 1), (1, 2), True)
    assert (w.run, w.firsts, w.places, w.is_whole) == ("w", ("y",), (0,), False)
    assert not z.is_copy, "a run of its own, which status shows"
    assert [found.is_copy for found in repeats({"x": runs["x"], "same": runs["x"], "part": runs["x"][:1]})] == [True, False]
    assert repeats({"x": runs["x"], "other": [Replica("b", 0)]}) == []
    tuned = {
        "long_name": (True, {"tuning_seeds": "[5]"}),
        "a": (True, {"tuning_seeds": "[]"}),
        "b": (False, {}),
        "aa": (True, {}),
    }
    assert in_their_right(tuned | {"run-0123abcd": (True, {})}) == ["long_name", "run-0123abcd", "a", "aa", "b"]
    assert [seeds_in_words(seeds) for seeds in ((4, 3, 2), (1, 2), (9, 3), range(0, 40, 2))] == [
        *("2-4", "1, 2", "3, 9", "0, 2, 4, 6, 8, 10, 12, 14 and 12 more"),
    ]
