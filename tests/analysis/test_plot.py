"""gfn-vi-plot: lines are statistics over replicas, nothing is mixed unseen, and what the figure does not show is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gfn_vi.analysis.pictures import panels, style, words
from gfn_vi.commands import plot as plot_command
from gfn_vi.core.headline import Headline

MakeRun = Callable[..., Path]
CONFIG = {"target": {"_target_": "gfn_vi.targets.grids.hypergrid.Hypergrid", "n_dims": 2, "side": 16, "reward": {"r0": 0.01}}}


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[matplotlib.figure.Figure]:
    """Return the figures that are drawn, which are not written."""
    drawn: list[matplotlib.figure.Figure] = []
    monkeypatch.setattr(style, "save", lambda figure, stem, *rest, **more: drawn.append(figure) or (stem, stem))
    return drawn


def on_another_grid(side: int) -> dict[str, object]:
    return {"target": CONFIG["target"] | {"side": side}}


def plot(folder: Path, *keys: str) -> pd.DataFrame:
    """Draw, and return the numbers that were written."""
    (folder / "plots").mkdir(exist_ok=True)
    assert plot_command.main([str(folder), *keys, f"out={folder / 'plots' / 'p'}"]) == 0
    return pd.read_csv(folder / "plots" / "p.csv")


def edit(run: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_csv(run / "metrics.csv")).to_csv(run / "metrics.csv", index=False)


def test_a_line_is_a_statistic_over_replicas(
    make_run: MakeRun, figures: list[matplotlib.figure.Figure], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of five replicas the median has their range as interval; an arm is a line where nothing else is asked for."""
    run = make_run("reverse_kl", n_points=4)
    numbers = plot(make_run("forward_kl", n_points=4).parent)
    recorded = pd.read_csv(run / "metrics.csv")
    of_points = recorded[recorded["metric"] == "jsd"].groupby("trajectories")["value"]
    line = numbers[numbers["arm"] == "reverse_kl"]
    np.testing.assert_allclose(line["estimate"], of_points.median(), rtol=1e-5)
    np.testing.assert_allclose(line["low"], of_points.min(), rtol=1e-5)
    np.testing.assert_allclose(line["high"], of_points.max(), rtol=1e-5)
    assert set(numbers["replicas"]) == {5}
    (axes,) = figures[0].axes
    assert len(axes.lines) == 2
    np.testing.assert_allclose(axes.lines[1].get_ydata(), of_points.median())
    assert axes.get_yscale() == "log"
    assert axes.get_ylabel() == "Exact Jensen-Shannon divergence (nats)"
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["Forward KL", "Reverse KL"]
    told = "lines are the median over 5 replicas, with their range, which holds the true median in 94% of cases\n"
    assert told in capsys.readouterr().out
    plot(run.parent, "seed=0,1,2", "statistic=iqm")
    told = "interquartile mean over 3 replicas, with their range, which holds the true interquartile mean in 75% of cases"
    assert f"{told} if values scatter evenly to both sides\n" in capsys.readouterr().out


def test_files_are_as_wide_as_a_column(make_run: MakeRun) -> None:
    folder = make_run("reverse_kl", n_points=2).parent
    plot(folder)
    assert Image.open(folder / "plots" / "p.png").width == round(panels.COLUMN_WIDTH * style.DPI)
    assert (folder / "plots" / "p.pdf").read_bytes().startswith(b"%PDF")


def test_what_differs_and_is_not_named_is_refused(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    """Averaging over rates is no average over seeds; named, or kept at one value, the same runs are drawn."""
    for seed, rates in ((0, [1e-3]), (10, [1e-2])):
        folder = make_run("reverse_kl", n_points=2, seed=seed, optimizer={"rates": rates}).parent
    assert plot_command.main([str(folder), "hue=arm"]) == 2
    assert "error: runs of one line differ in optimizer.rates: name it (x, hue, style, col, row)" in capsys.readouterr().err
    assert len(plot(folder, "hue=arm", "style=optimizer.rates")["optimizer.rates"].unique()) == 2
    assert set(plot(folder, "hue=arm", "optimizer.rates=[0.01]")["replicas"]) == {5}


def test_seeds_are_pooled_and_none_counts_twice(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    make_run("reverse_kl", n_points=2, replicas=2)
    folder = make_run("reverse_kl", n_points=2, replicas=3, seed=1).parent
    assert set(plot(folder)["replicas"]) == {4}  # seeds 0 to 3: seed 1 is there twice
    assert "seed 1" in capsys.readouterr().out


def test_a_seed_is_the_seed_of_a_replica(make_run: MakeRun, figures: list[matplotlib.figure.Figure]) -> None:
    """Not of a run, whose two replicas have two: in lines, panels, points, filters and messages."""
    for seed in (0, 2):
        run = make_run("reverse_kl", n_points=2, replicas=2, seed=seed)
    recorded = pd.read_csv(run / "metrics.csv")
    of_three = recorded[(recorded["metric"] == "jsd") & (recorded["replica"] == 1)]
    numbers = plot(run.parent, "hue=seed")
    assert set(numbers["replicas"]) == {1}
    assert sorted(set(numbers["seed"])) == [0, 1, 2, 3]
    np.testing.assert_allclose(numbers.loc[numbers["seed"] == 3, "estimate"], of_three["value"], rtol=1e-5)
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["Seed 0", "Seed 1", "Seed 2", "Seed 3"]
    plot(run.parent, "row=seed", "row_order=1,2")
    assert [axes.get_title() for axes in figures[1].axes] == ["Seed 1", "Seed 2"]
    np.testing.assert_allclose(plot(run.parent, "seed=3")["estimate"], of_three["value"], rtol=1e-5)
    assert set(plot(run.parent, "seed=1,3")["replicas"]) == {2}
    assert plot(run.parent, "x=seed")["seed"].tolist() == [0, 1, 2, 3]


def test_replicas_that_failed_are_said(
    make_run: MakeRun, figures: list[matplotlib.figure.Figure], capsys: pytest.CaptureFixture[str]
) -> None:
    """At the worst value where the runs name one; else the line has a gap, and worst=NUMBER stands for it."""
    run = make_run("reverse_kl", n_points=3)

    def fail(rows: pd.DataFrame) -> pd.DataFrame:
        last = (rows["replica"] == 2) & (rows["step"] == rows["step"].max())
        return rows.assign(value=rows["value"].where(~last))

    edit(run, fail)
    assert plot(run.parent, "y=jsd")["high"].iloc[-1] == pytest.approx(np.log(2), rel=1e-5)
    told = "Replicas that failed (drawn at the worst value, 0.693): all runs: 1."
    assert told in capsys.readouterr().out
    assert told in " ".join(figures[-1].get_supxlabel().split())
    assert plot(run.parent, "y=log_Z")["estimate"].isna().tolist() == [False, False, False, True]
    assert "a line has a gap" in capsys.readouterr().out
    assert plot(run.parent, "y=log_Z", "worst=-7")["low"].iloc[-1] == -7


def test_frozen_replicas_do_not_pass_for_finite_ones(make_run: MakeRun) -> None:
    """What a frozen replica records afterwards are its last finite parameters."""
    run = make_run("reverse_kl", n_points=3, replicas=2)
    edit(run, lambda rows: pd.concat([rows, rows[rows["metric"] == "jsd"].assign(metric="frozen", value=1.0)]))
    assert plot(run.parent, "y=log_Z")["estimate"].isna().all()


def test_estimates_that_weights_do_not_carry_are_hollow(make_run: MakeRun, figures: list[matplotlib.figure.Figure]) -> None:
    run = make_run("reverse_kl", n_points=3, replicas=2)

    def sampled(rows: pd.DataFrame) -> pd.DataFrame:
        base = rows[rows["metric"] == "log_Z"]
        effective = base.assign(metric="sampled_n_effective", value=np.where(base["step"] == 0, 3.0, 900.0))
        return pd.concat([base.assign(metric="sampled_eubo"), effective, base.assign(metric="sampled_pareto_k", value=0.1)])

    edit(run, sampled)
    assert plot(run.parent, "y=sampled_eubo")["reliable"].tolist() == [False, True, True, True]
    assert style.has_weak(figures[0])
    assert style.ABOUT_WEAK[:20] in figures[0].get_supxlabel()
    assert figures[0].axes[0].get_ylabel() == "Sampled EUBO (nats)"


def test_unfinished_runs_and_those_without_the_metric_are_left_out_aloud(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run("reverse_kl", n_points=2)
    make_run("wake_sleep", n_points=1, state="running")
    edit(make_run("forward_kl", n_points=2), lambda rows: rows[rows["metric"] != "modes_covered"])
    numbers = plot(make_run("trajectory_balance", n_points=2).parent, "y=modes_covered")
    assert sorted(set(numbers["arm"])) == ["reverse_kl", "trajectory_balance"]
    out = capsys.readouterr().out
    assert "4 runs: 3 done, 1 killed" in out
    assert "left out, since they have not recorded modes_covered: 1 of 3 runs, such as forward_kl" in out


def test_targets_get_panels_of_their_own(
    make_run: MakeRun, figures: list[matplotlib.figure.Figure], capsys: pytest.CaptureFixture[str]
) -> None:
    """Without being asked; where they are put into one panel, a line says that this compares nothing."""
    for side in (8, 16):
        folder = make_run("reverse_kl", n_points=2, **on_another_grid(side)).parent
    numbers = plot(folder)
    assert set(numbers["target.side"]) == {8, 16}
    assert [axes.get_title() for axes in figures[0].axes] == ["Side 8", "Side 16"]
    assert "col=target.side, since the runs have several targets" in capsys.readouterr().out
    plot(folder, "hue=target.side")
    assert "a panel holds 2 targets, whose numbers are not comparable" in capsys.readouterr().out


def test_rows_and_columns_share_what_is_comparable(make_run: MakeRun, figures: list[matplotlib.figure.Figure]) -> None:
    """Panels of one target have one y-axis, those of two have two; a number has the name of its key as a title."""
    for side, seed in ((8, 0), (8, 10), (16, 0), (16, 10)):
        folder = make_run("reverse_kl", n_points=2, seed=seed, replicas=2, dtype=f"d{seed}", **on_another_grid(side)).parent
    plot(folder, "col=dtype", "row=target.side")
    panels_ = np.array(figures[0].axes[:4]).reshape(2, 2)
    shared = panels_[0, 0].get_shared_y_axes()
    assert shared.joined(panels_[0, 0], panels_[0, 1])
    assert not shared.joined(panels_[0, 0], panels_[1, 0])
    plot(folder, "row=target.side", "hue=dtype", "style=dtype")
    assert [axes.get_title() for axes in figures[1].axes] == ["Side 8", "Side 16"]
    assert [text.get_text() for text in figures[1].legends[0].get_texts()] == ["Dtype d0", "D10"]  # two letters say too little


def test_values_are_found_as_people_write_them(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    for rate in (1e-3, 1e-2):
        folder = make_run("reverse_kl", n_points=1, replicas=1, optimizer={"rate": rate}, other=rate > 5e-3).parent
    assert len(plot(folder, "optimizer.rate=1e-3")) == len(plot(folder, "other=False")) == 2


def test_a_logarithm_of_what_is_not_positive_is_refused(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run("reverse_kl", n_points=2, replicas=1).parent
    assert plot_command.main([str(folder), "y=log_Z", "yscale=log"]) == 2
    assert "error: yscale=log: log Z (nats) is not positive everywhere" in capsys.readouterr().err


def test_a_setting_as_x_shows_the_end(make_run: MakeRun, figures: list[matplotlib.figure.Figure]) -> None:
    """Powers of two are on a logarithmic axis with their values as ticks, words on places."""
    ends = {}
    for side in (8, 16, 32):
        run = make_run("reverse_kl", n_points=2, **on_another_grid(side))
        rows = pd.read_csv(run / "metrics.csv")
        ends[side] = rows[(rows["metric"] == "jsd") & (rows["step"] == rows["step"].max())]["value"].median()
    numbers = plot(run.parent, "x=target.side").sort_values("target.side")
    np.testing.assert_allclose(numbers["estimate"], list(ends.values()), rtol=1e-5)
    (axes,) = figures[0].axes
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["8", "16", "32"]
    make_run("forward_kl", n_points=2)
    plot(run.parent, "x=arm", "target.side=16")
    assert [tick.get_text() for tick in figures[1].axes[0].get_xticklabels()] == ["Forward KL", "Reverse KL"]


def test_orders_keep_and_sort(make_run: MakeRun, figures: list[matplotlib.figure.Figure]) -> None:
    for arm in ("trajectory_balance", "reverse_kl", "forward_kl"):
        folder = make_run(arm, n_points=2, replicas=1).parent
    plot(folder, "hue=arm", "hue_order=reverse_kl,forward_kl", "x=reward_calls", "yscale=linear")
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["Reverse KL", "Forward KL"]
    assert figures[0].axes[0].get_xlabel() == "Reward evaluations"
    assert figures[0].axes[0].get_yscale() == "linear"


def test_lines_that_coincide_are_told_apart(make_run: MakeRun, figures: list[matplotlib.figure.Figure]) -> None:
    """By dashes, and at a setting by markers, which the legend shows too; a style that was asked for keeps its meaning."""
    for arm in ("trajectory_balance", "reverse_kl"):
        for side in (8, 16):
            folder = make_run(arm, n_points=2, replicas=1, **on_another_grid(side)).parent
    numbers = plot(folder, "hue=arm", "target.side=8")
    assert "style" not in numbers
    looks = [line.get_linestyle() for line in figures[0].axes[0].lines]
    assert sorted(looks) == ["-", "--"]
    assert [line.get_linestyle() for line in figures[0].legends[0].get_lines()] == looks
    plot(folder, "hue=arm", "x=target.side")
    assert len({line.get_marker() for line in figures[1].axes[0].lines if line.get_marker() != "None"}) == 2
    plot(folder, "hue=arm", "style=target.side", "col=target.side", "style_order=8")
    assert {line.get_linestyle() for line in figures[2].axes[0].lines} == {"-"}


def test_figures_of_other_runs_have_other_names(
    make_run: MakeRun, figures: list[matplotlib.figure.Figure], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is kept, by a key or by an order, is in the name; a long list of it does not end at the disk's longest name."""
    for side in (8, 16):
        folder = make_run("reverse_kl", n_points=2, replicas=1, **on_another_grid(side)).parent
    (folder / "plots").mkdir()
    asked = [["target.side=8"], ["target.side=16"], ["hue=target.side", "hue_order=8"], [f"target.side=8{',8' * 200}"]]
    asked += [["target.side=8", "statistic=mean"], ["target.side=8", "worst=1"], ["style=target.side", "style_order=8"]]
    asked += [[f"{role}=target.side" for role in roles_] for roles_ in (["hue"], ["style"], ["hue", "col"], ["col", "row"])]
    for keys in asked:
        assert plot_command.main([str(folder), *keys]) == 0
    names = {path.name for path in (folder / "plots").glob("*.csv")}
    assert len(names) == len(asked)
    assert {"jsd-trajectories-target.side_8.csv", "jsd-trajectories-target.side_16.csv"} < names
    assert "jsd-trajectories-hue_target.side-col_target.side.csv" in names


def test_a_picture_names_a_statistic_that_is_not_the_median(
    make_run: MakeRun, figures: list[matplotlib.figure.Figure], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run("reverse_kl", n_points=2).parent
    for keys in (["statistic=mean"], ["statistic=iqm", "x=arm"], ["x=arm"]):
        plot(folder, *keys)
    name = "Exact Jensen-Shannon divergence (nats)\n"
    told = [figure.axes[0].get_ylabel() for figure in figures]
    assert told == [f"{name}mean", f"{name}interquartile mean at the end", f"{name}at the end"]
    edit(next(folder.glob("reverse_kl*")), lambda rows: rows.assign(value=-rows["value"]))
    assert plot_command.main([str(folder), "y=log_Z", "x=arm", "yscale=log"]) == 2
    assert capsys.readouterr().err.startswith("error: yscale=log: log Z (nats) at the end is not positive everywhere; ")


def test_a_hue_that_is_x_stands_at_its_ticks(make_run: MakeRun, figures: list[matplotlib.figure.Figure]) -> None:
    """The legend shows the markers that are drawn, and no lines; the numbers have one column of the setting."""
    for arm in ("trajectory_balance", "reverse_kl"):
        for side in (8, 16):
            folder = make_run(arm, n_points=2, replicas=2, **on_another_grid(side)).parent
    numbers = plot(folder, "x=arm", "hue=arm", "col=target.side")
    assert list(numbers.columns) == ["arm", "target.side", "low", "estimate", "high", "replicas", "failed", "reliable"]

    def drawn(axes: matplotlib.axes.Axes) -> dict[str, list[float]]:
        return {str(line.get_marker()): list(line.get_xdata()) for line in axes.lines if line.get_marker() != "None"}

    assert [drawn(axes) for axes in figures[0].axes] == [{"o": [0], "s": [1]}] * 2
    assert [(line.get_marker(), line.get_linestyle()) for line in figures[0].legends[0].get_lines()] == [
        ("o", "None"),
        ("s", "None"),
    ]
    plot(folder, "x=arm", "hue=arm", "style=target.side")
    at_ticks = [line.get_xdata()[0] for line in figures[1].axes[0].lines if line.get_marker() != "None"]
    assert at_ticks == [-0.125, 0.125, 0.875, 1.125]
    told = [(line.get_marker(), line.get_linestyle()) for line in figures[1].legends[0].get_lines()]
    assert told == [("o", "None"), ("o", "None"), ("o", "None"), ("s", "None")]
    plot(folder, "x=target.side", "hue=arm")
    assert [(line.get_marker(), line.get_linestyle()) for line in figures[2].legends[0].get_lines()] == [("o", "-"), ("s", "--")]


def test_remarks_have_the_words_of_the_legend(
    make_run: MakeRun, figures: list[matplotlib.figure.Figure], capsys: pytest.CaptureFixture[str]
) -> None:
    make_run("reverse_kl", n_points=2)
    folder = make_run("trajectory_balance", n_points=2, replicas=2).parent
    plot(folder, "col=target.side", "hue=arm")
    told = "Fewer than 5 replicas: TB, side 16: 2."
    assert told in capsys.readouterr().out
    assert told in figures[0].get_supxlabel()
    plot(folder, "x=arm", "hue=arm")
    assert "Fewer than 5 replicas: TB: 2." in capsys.readouterr().out


def test_words() -> None:
    told = Headline("bound", "minimize", 1.0, "gap of bounds")
    named = {"bound": "Gap of bounds", "sampled_log_Z": "Sampled log Z (nats)", "w2": "w2", "replay_age": "Replay age"}
    assert {name: words.metric_in_words(name, [told]) for name in named} == named
    settings = {
        "reverse_wake_sleep_off_policy": "Reverse wake-sleep off-policy",
        "trainer.batch_size": "Batch size",
        "0.5": "0.5",
    }
    assert {name: words.in_words(name) for name in settings} == settings
