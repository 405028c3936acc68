"""Curves from the tidy table: one row per replica, seeds once, the worst value for what failed, three x-axes."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.reading.curves import curves, draw_curve, n_failed, shared_values
from gfn_vi.analysis.reading.weights import carried_at_the_end
from gfn_vi.runs.folders import TableError

X = [0, 100, 200]


def table(runs: dict[str, dict[str, object]]) -> pd.DataFrame:
    """run -> arm, seed, values [R, 3], calls and seconds per trajectory of each replica."""
    rows = []
    for run, about in runs.items():
        for replica, values in enumerate(about["values"]):  # type: ignore[call-overload]
            for x, value in zip(X, values, strict=True):
                rows.append(
                    {
                        "run": run,
                        "state": about.get("state", "done"),
                        "arm": about.get("arm", "tb"),
                        "seed": about.get("seed", 0) + replica,  # type: ignore[operator]
                        "replica": replica,
                        "trajectories": x,
                        "reward_calls": x * about.get("calls", [1, 1])[replica],  # type: ignore[index]
                        "wall_seconds": x / 10,
                        "metric": "jsd",
                        "value": value,
                        "config.size": about.get("size", 4),
                    }
                )
    return pd.DataFrame(rows)


def test_shared_values_are_pairs_of_one_seed() -> None:
    """Whatever the order of the seeds on either side; a seed that one side lacks is left out."""
    runs = {"a": {"values": [[3, 2, 1], [6, 5, 4]], "seed": 1}, "b": {"arm": "kl", "values": [[9, 9, 9], [7, 7, 7]], "seed": 2}}
    of = curves(table(runs), "jsd")
    first, second = shared_values(of["tb"], of["kl"])
    assert (first.tolist(), second.tolist()) == ([[6, 5, 4]], [[9, 9, 9]])


def test_replicas_of_all_runs_of_an_arm_are_one_curve() -> None:
    found = curves(table({"a": {"values": [[3, 2, 1]]}, "b": {"values": [[6, 5, 4]], "seed": 7}}), "jsd")
    assert list(found) == ["tb"]
    np.testing.assert_array_equal(found["tb"].values, [[3, 2, 1], [6, 5, 4]])
    np.testing.assert_array_equal(found["tb"].x, X)
    np.testing.assert_array_equal(found["tb"].final, [1, 4])
    assert found["tb"].seeds == (0, 7)


def test_several_columns_make_a_tuple_and_runs_that_are_not_done_are_left_out() -> None:
    runs = {
        "a": {"values": [[3, 2, 1]]},
        "b": {"values": [[6, 5, 4]], "size": 8},
        "c": {"values": [[0, 0, 0]], "state": "running"},
    }
    found = curves(table(runs), "jsd", by=["arm", "config.size"])
    assert {label: curve.values.tolist() for label, curve in found.items()} == {("tb", 4): [[3, 2, 1]], ("tb", 8): [[6, 5, 4]]}


def test_a_frozen_replica_is_at_the_worst_value_from_then_on() -> None:
    """Its recorded values are those of its last finite parameters: drawn, they would look like a success."""
    whole = table({"a": {"values": [[3, 2, 1], [3, 2, math.nan], [3, 2, 1]], "calls": [1, 1, 1]}})
    frozen = whole[(whole["replica"] == 0) & (whole["trajectories"] >= 100)].assign(metric="frozen", value=1.0)
    curve = curves(pd.concat([whole, frozen]), "jsd", worst=9.0)["tb"]
    np.testing.assert_array_equal(curve.values, [[3, 9, 9], [3, 2, 9], [3, 2, 1]])
    assert curve.n_failed == 2
    assert n_failed([curve, curve]) == "Replicas that failed, drawn at the worst value: 4"
    assert n_failed([]) == ""


def test_reward_calls_end_where_the_first_replica_ends() -> None:
    """Replica 1 uses twice as many calls: at call 100 it has seen 50 trajectories, half-way from 4 to 2."""
    whole = table({"a": {"values": [[3, 2, 1], [4, 2, 0]], "calls": [1, 2]}})
    curve = curves(whole, "jsd", x="reward_calls")["tb"]
    np.testing.assert_allclose(curve.x, [0, 100, 200])
    np.testing.assert_allclose(curve.values, [[3, 2, 1], [4, 3, 2]])
    np.testing.assert_allclose(curves(whole, "jsd", x="seconds")["tb"].x, [0, 10, 20])


def test_score_calls_are_counted_by_a_statistic() -> None:
    """Recorded at other trajectories than the metric: 0 at the start, linear in between; who asks for none has no such axis."""
    whole = table({"a": {"values": [[3, 2, 1], [4, 2, 0]], "calls": [1, 1]}})
    rows = [
        whole.iloc[0].to_dict() | {"replica": r, "seed": r, "trajectories": x, "metric": "score_calls", "value": x * (1 + r)}
        for r in (0, 1)
        for x in (50, 200)
    ]
    counted = pd.concat([whole, pd.DataFrame(rows)], ignore_index=True)
    curve = curves(counted, "jsd", x="score_calls")["tb"]
    np.testing.assert_allclose(curve.x, [0, 100, 200])
    np.testing.assert_allclose(curve.values, [[3, 2, 1], [4, 3, 2]])
    with pytest.raises(TableError, match="x=score_calls: no run has counted gradients of log R"):
        curves(whole, "jsd", x="score_calls")
    none = counted.assign(value=counted["value"].where(counted["metric"] != "score_calls", 0))
    with pytest.raises(TableError, match="score_calls of tb does not grow"):
        curves(none, "jsd", x="score_calls")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: pd.concat([t, t.assign(run="b")]), r"tb has the same seed twice \(runs a, b\)"),
        (lambda t: t.assign(state="running"), "no run with arm is done yet"),
        (lambda t: t.assign(metric="loss"), "the runs of tb have not recorded jsd"),
        (lambda t: t.drop(columns="reward_calls"), "the table has no column reward_calls"),
        (lambda t: t.drop(index=t.index[2]), "at different numbers of trajectories"),
    ],
)
def test_what_is_no_curve_is_said(change: object, message: str) -> None:
    whole = table({"a": {"values": [[3, 2, 1], [6, 5, 4]]}})
    with pytest.raises(TableError, match=message):
        curves(change(whole), "jsd", x="reward_calls")  # type: ignore[operator]


def test_an_unknown_axis_is_refused() -> None:
    with pytest.raises(TableError, match="x=time: expected trajectories, reward_calls, score_calls, seconds"):
        curves(table({"a": {"values": [[3, 2, 1]]}}), "jsd", x="time")


def test_a_curve_is_hollow_where_weights_do_not_carry_it() -> None:
    """At the second point of one replica they are too few, at the third there is no record of the tail of the other."""
    import matplotlib.figure

    rows = table({"a": {"values": [[1, 2, 3], [1, 2, 3]]}}).assign(metric="sampled_log_Z")
    effective = rows.assign(metric="sampled_n_effective", value=[300, 300, 300, 200, 199, 200])
    k = rows.assign(metric="sampled_pareto_k", value=[-math.inf, 0.7, 0.1, 0.1, 0.1, 0.1]).iloc[[0, 1, 3, 4, 5]]
    every = pd.concat([rows, effective, k], ignore_index=True)
    curve = curves(every, "sampled_log_Z")["tb"]
    assert curve.is_carried is not None
    assert curve.is_carried.tolist() == [[True, True, False], [True, False, True]]
    figure = matplotlib.figure.Figure()
    axes = figure.subplots()
    draw_curve(axes, curve, "median", "k", "TB")
    assert [line.get_xdata().tolist() for line in axes.lines] == [X, X[1:]]  # type: ignore[union-attr]
    assert style.has_weak(figure)
    unknown = pd.concat([every[every["trajectories"] < X[2]], rows[rows["trajectories"] == X[2]]])
    found = curves(unknown, "sampled_log_Z")["tb"]
    assert found.is_carried is not None
    assert found.is_carried.tolist() == [[True, True, False], [True, False, False]]
    between = curves(every.assign(reward_calls=every["trajectories"] * (1 + every["replica"])), "sampled_log_Z", x="reward_calls")
    assert between["tb"].is_carried is not None  # at 0, 100 and 200 calls of 0, 100, 200 and of 0, 200, 400
    assert between["tb"].is_carried.tolist() == [[True, True, False], [True, False, False]]
    runs = every.assign(run=every["replica"].map({0: "a", 1: "b"}).to_numpy(), replica=0)
    short = runs[(runs["run"] == "a") | (runs["trajectories"] == 0)]  # one run ends earlier, where its weights are good
    at_the_end = carried_at_the_end(short, "sampled_log_Z")
    assert at_the_end is not None
    assert at_the_end.to_dict() == {("a", 0): False, ("b", 0): True}
    lost = every.assign(
        value=every["value"].where(every["metric"] != "sampled_log_Z", [math.nan if r else 1.0 for r in every["replica"]])
    )
    found = curves(lost, "sampled_log_Z", worst=-math.inf)["tb"]
    assert found.is_carried is not None
    assert found.is_carried.tolist() == [[True, True, False], [True, True, True]]  # the worst value rests on no weights
    assert curves(rows, "sampled_log_Z")["tb"].is_carried is None  # nothing was recorded of the weights
    assert curves(every.assign(metric=every["metric"].replace("sampled_log_Z", "jsd")), "jsd")["tb"].is_carried is None


def test_markers_of_lines_are_apart() -> None:
    """Every eighth evaluation from a first one on, so that markers of lines on each other do not hide each other."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    curve = curves(table({"a": {"values": [[3, 2, 1]]}}), "jsd")["tb"]
    draw_curve(axes, curve, "median", "k", "TB")
    draw_curve(axes, curve, "median", "k", "TB", marker="s", first=2)
    assert [line.get_marker() for line in axes.lines] == ["", "s"]
    assert axes.lines[1].get_markevery() == (2, 8)
