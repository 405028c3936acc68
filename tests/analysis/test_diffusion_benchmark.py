"""The comparison of diffusion samplers on tables whose numbers are known: claims, numbers beside published ones, figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from gfn_vi.experiments.diffusion_benchmark import claims as benchmark
from gfn_vi.experiments.diffusion_benchmark import many_well_column
from gfn_vi.experiments.diffusion_benchmark.figure import NOT_RECORDED, figure, tables
from gfn_vi.experiments.diffusion_benchmark.published import BY_SETTING, PUBLISHED
from gfn_vi.experiments.diffusion_benchmark.settings import ARMS, EXPLORATIONS, OBJECTIVES, parts
from matplotlib.axes import Axes

from gfn_vi.analysis.pictures import style

R = 5
LOG_Z = 3.0
TB = "trajectory_balance"
Numbers = Mapping[str, float]


def rows_of(arm: str, density: str, numbers: Numbers, failed: int = 0) -> list[dict[str, object]]:
    """A finished run of R replicas at 0 and 100 trajectories; the last `failed` of them freeze at the second.

    numbers: of error (log Z - its reweighted estimate), bound (log Z - ELBO), gap, w2, wells, and score calls (0).
    """
    target, _, s = density.partition("_") if density.startswith("funnel") else (density, "", "")
    shared = {"run": f"{arm}-{density}", "state": "done", "arm": arm, "target": target}
    shared |= {"config.target.s": float(s) if s else np.nan}
    rows = []
    for r in range(R):
        factor = 1 + 0.01 * r
        error, bound = (numbers.get(name, default) * factor for name, default in (("error", 1.0), ("bound", 2.0)))
        metrics = {"sampled_elbo": LOG_Z - bound, "sampled_log_Z": LOG_Z - error}
        if density != "log_gaussian_cox":
            gap, w2 = (numbers.get(name, default) * factor for name, default in (("gap", 8.0), ("w2", 4.0)))
            metrics |= {"sampled_log_Z_error": -error, "bound_gap": gap, "w2": w2, "w2_floor": 0.5}
        if density == "many_well":
            metrics["well_error"] = numbers.get("wells", 0.1) * factor
        for x in (0, 100):
            calls = {"frozen": float(x > 0 and r >= R - failed), "score_calls": numbers.get("score_calls", 0.0) * x}
            rows += [
                shared
                | {"seed": r, "replica": r, "step": x, "trajectories": x, "reward_calls": 2 * x, "wall_seconds": x / 10}
                | {"metric": name, "value": value}
                for name, value in {**metrics, **calls}.items()
            ]
    return rows


def table(by_setting: Mapping[tuple[str, str], Numbers], failed: Mapping[tuple[str, str], int] | None = None) -> pd.DataFrame:
    """The rows of some settings (arm, density)."""
    return pd.DataFrame([row for key, of in by_setting.items() for row in rows_of(*key, of, (failed or {}).get(key, 0))])


def told(of: pd.DataFrame, start: str) -> tuple[bool | None, str]:
    """The verdict and the measurement of the one claim that starts with these words."""
    (found,) = [claim for claim in benchmark.claims(of) if claim.claim.startswith(start)]
    return found.agrees, found.measured


LOWER = [  # claim, density, the arm that is said to be lower, than, by what
    ("25 Gaussians: wider steps lower the reweighted", "gmm25", TB + "_widened", TB, "error"),
    ("25 Gaussians: wider steps lower the W2", "gmm25", TB + "_widened", TB, "w2"),
    ("25 Gaussians: local search lowers the reweighted", "gmm25", TB + "_local_search", TB + "_widened", "error"),
    ("25 Gaussians: local search lowers the W2", "gmm25", TB + "_local_search", TB + "_widened", "w2"),
    ("25 Gaussians: pathwise", "gmm25", TB, "pathwise", "error"),
    ("25 Gaussians: forward-looking", "gmm25", "subtrajectory_balance", TB, "error"),
    ("Many wells: local search lowers", "many_well", TB + "_local_search", TB, "error"),
    ("Many wells: local search raises", "many_well", TB, TB + "_local_search", "bound"),
    ("Funnel, s = 3: pathwise", "funnel_3", "pathwise", TB, "bound"),
    ("Funnel, s = 3: forward-looking", "funnel_3", "subtrajectory_balance", TB, "error"),
    ("Funnel, s = 3: local search", "funnel_3", TB + "_widened", TB + "_local_search", "error"),
    ("(Not in the paper) 25 Gaussians", "gmm25", TB + "_replay", TB, "gap"),
    ("(Not in the paper) Many wells: replay", "many_well", TB + "_replay", TB, "gap"),
    ("(Not in the paper) Many wells: local", "many_well", TB + "_local_search", TB, "wells"),
]


@pytest.mark.parametrize(("start", "density", "arm", "than", "measure"), LOWER)
def test_which_method_is_lower(start: str, density: str, arm: str, than: str, measure: str) -> None:
    """Each statement agrees and disagrees."""
    low, high = {measure: 0.1}, {measure: 0.3}
    assert told(table({(arm, density): low, (than, density): high}), start)[0] is True
    assert told(table({(arm, density): high, (than, density): low}), start)[0] is False


def test_what_cannot_be_told_is_undecided() -> None:
    """Equals, and where one run is missing."""
    start, arm = LOWER[0][0], (LOWER[0][2], "gmm25")
    assert told(table({arm: {}, (TB, "gmm25"): {}}), start)[0] is None
    assert told(table({arm: {}}), start) == (None, f"not measured: no finished run of {TB}, gmm25")


def test_a_replica_that_failed_is_worst() -> None:
    """Its error is infinite, whatever it recorded: all replicas of the lower arm failed, so the claim is a no."""
    of = table({(TB + "_widened", "gmm25"): {"error": 0.1}, (TB, "gmm25"): {"error": 0.3}}, {(TB + "_widened", "gmm25"): R})
    agrees, measured = told(of, "25 Gaussians: wider steps lower the reweighted")
    assert agrees is False
    assert measured.startswith("median reweighted |log Z error| at the end: widened TB inf, 5 of 5 failed, ")


@pytest.mark.parametrize(("bound", "agrees"), [(1.8, True), (1.97, None), (2.5, False), (0.4, False)])
def test_about_equal_is_a_factor_of_two(bound: float, agrees: bool | None) -> None:
    """Against 1 to 1.04: all pairs of replicas, the medians, neither; either may be the larger one."""
    of = table({("log_variance_widened", "gmm25"): {"bound": bound}, (TB + "_widened", "gmm25"): {"bound": 1.0}})
    assert told(of, "25 Gaussians: with wider steps |log Z - ELBO|")[0] is agrees


@pytest.mark.parametrize(("error", "agrees"), [(0.01, True), (0.0196, None), (0.03, False)])
def test_every_well_has_its_mass(error: float, agrees: bool | None) -> None:
    """All replicas, some, none within 0.02."""
    assert told(table({(TB + "_local_search", "many_well"): {"wells": error}}), "(An aim of ours)")[0] is agrees


def test_names_of_arms() -> None:
    """Every pair of an objective and an exploration comes apart again; another name is an objective of its own."""
    assert [parts(arm) for arm in ARMS] == [(name, how) for how in EXPLORATIONS for name in OBJECTIVES]
    assert parts("whole_machinery") == ("whole_machinery", None)
    assert parts("whole_machinery_replay") == ("whole_machinery_replay", None)
    assert {(arm, density) for arm, density in BY_SETTING if arm not in ARMS} == set()


SOME: dict[tuple[str, str], Numbers] = {
    (TB, "gmm25"): {"error": 0.5},
    ("pathwise", "gmm25"): {"score_calls": 25.0},
    (TB + "_local_search", "gmm25"): {"score_calls": 3.0},
    (TB, "funnel_3"): {},
    (TB, "funnel_1"): {},
    (TB, "log_gaussian_cox"): {},
    ("whole_machinery", "gmm25"): {},
}


def test_numbers_beside_published_ones() -> None:
    """Medians of replicas, the floor, calls, and the same method's numbers; what a density does not have is empty."""
    written = tables(table(SOME, {(TB, "funnel_1"): 1}), {})
    rows = {(row["arm"], row["density"]): row for row in csv.DictReader(io.StringIO(written["benchmark.csv"]))}
    tb = rows[TB, "gmm25"]
    numbers = ("reweighted_error_median", "bound_error_median", "w2_median", "w2_floor_median", "bound_gap_median")
    assert [tb[name] for name in numbers] == ["0.51", "2.04", "4.08", "0.5", "8.16"]
    assert (tb["reweighted_error_low"], tb["reweighted_error_high"], tb["replicas"]) == ("0.5", "0.52", "5")
    assert [tb[f"published_{name}"] for name in ("bound", "reweighted", "w2")] == ["1.176", "1.071", "4.83"]
    assert (tb["reward_calls"], tb["score_calls"], rows["pathwise", "gmm25"]["score_calls"]) == ("200", "0", "2500")
    failed = rows[TB, "funnel_1"]
    assert (failed["non_finite"], failed["bound_gap_median"], failed["bound_gap_high"]) == ("1", "8.16", "inf")
    assert (failed["bound_error_high"], failed["published_bound"]) == ("inf", "")
    cox = rows[TB, "log_gaussian_cox"]
    assert (cox["elbo_median"], cox["log_Z_median"]) == ("0.96", "1.98")
    assert (cox["bound_error_median"], cox["bound_gap_median"]) == ("", "")
    assert rows["whole_machinery", "gmm25"]["published_method"] == ""
    without_arm = [row.method for row in PUBLISHED if row.arm is None]
    assert written["benchmark.csv"].count("\n") == 1 + len(SOME) + len(without_arm)
    assert r"TB & $2.04$ & $0.510$ & $8.16$ & $1.18$ & $1.07$" in written["benchmark.tex"]
    assert r"\textit{Other arms}} \\" in written["benchmark.tex"]


def test_a_panel_for_each_density_and_measure() -> None:
    """In the order of the text, with the measures that are recorded; names of objectives and of arms that were added are rows."""
    page = figure(table(SOME), {})
    titled = [(axes.get_title(), axes.get_xlabel().replace("\n", " ")) for axes in page.axes if axes.get_visible()]
    gap, rest = "EUBO - ELBO (nats)", ["|log Z - ELBO| (nats)", "Reweighted |log Z error| (nats)"]
    assert titled == [
        *(("25 Gaussians", label) for label in [gap, *rest, "W2"]),
        *(("Funnel, $s = 3$", label) for label in [gap, *rest]),
        ("Funnel, $s = 1$", gap),
        ("Cox process", "1.0 - ELBO (nats)"),
    ]
    rows = [label.get_text() for label in page.axes[0].get_yticklabels()]
    assert rows == ["TB", "Reverse KL, pathwise", "Whole machinery"]
    (legend,) = page.legends
    words = [text.get_text() for text in legend.get_texts()]
    assert words == ["On-policy", "Local search", "Other arms", "Before training", "Two exact samples"]
    told = "Median of 5 replicas and their range, which holds the true median in 94% of cases, after 100 trajectories"
    assert legend.get_title().get_text() == f"{told}; less is better"


def marks(axes: Axes) -> dict[str, tuple[float, float, str]]:
    """Arm -> place and marker of its full mark."""
    every = {str(line.get_label()): line for line in axes.lines if not str(line.get_label()).startswith("_")}
    return {arm: (line.get_xdata()[0], line.get_ydata()[0], line.get_marker()) for arm, line in every.items()}


def test_marks_are_where_the_numbers_are() -> None:
    """The statistic in the row of the objective, with the range of five replicas; markers and heights tell explorations apart."""
    shown = {**SOME, ("pathwise", "gmm25"): {"gap": 20.0}}
    page = figure(table(shown), {})
    found = marks(page.axes[0])
    assert found == {
        TB: (pytest.approx(8.16), pytest.approx(-0.315), "o"),
        "pathwise": (pytest.approx(20.4), pytest.approx(1 - 0.315), "o"),
        TB + "_local_search": (pytest.approx(8.16), pytest.approx(0.315), "D"),
        "whole_machinery": (pytest.approx(8.16), 2.0, "X"),
    }
    spans = [line.get_xdata() for line in page.axes[0].lines if np.allclose(line.get_ydata(), [1 - 0.315] * 2)]
    np.testing.assert_allclose(spans[0], [20.0, 20.8])
    of = table(shown)
    of.loc[(of["arm"] == "pathwise") & (of["metric"] == "bound_gap") & (of["replica"] == 4), "value"] = 30.0
    assert marks(figure(of, {}, statistic="mean").axes[0])["pathwise"][0] == pytest.approx((20 + 20.2 + 20.4 + 20.6 + 30) / 5)
    elbo = next(axes for axes in page.axes if axes.get_title() == "Cox process")
    assert marks(elbo)[TB][0] == pytest.approx(1.0 - 0.96)


def test_what_there_was_before_training_is_a_line() -> None:
    """The median of the first evaluation; of the reweighted error, whose weights are worth nothing then, it is not shown."""
    of = table({(TB, "gmm25"): {"gap": 8.0, "w2": 4.0}})
    of.loc[(of["trajectories"] == 0) & (of["metric"] == "bound_gap"), "value"] = 15.0
    lines = [[line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"] for axes in figure(of, {}).axes]
    assert lines == [[15.0], [pytest.approx(2.04)], [], [pytest.approx(4.08)]]


def test_replicas_that_failed_are_at_the_right_edge() -> None:
    """Also where most of them did; the title counts them, and a gap of 1e30 is no better."""
    of = table({(TB, "gmm25"): {}, ("pathwise", "gmm25"): {}, ("forward_kl", "gmm25"): {"gap": 1e30}}, {("pathwise", "gmm25"): 3})
    axes = figure(of, {}).axes[0]
    assert axes.get_title() == "25 Gaussians\nfailed: 3"
    found = marks(axes)
    edge = 2 * 8.0 * 1.04
    assert (found["pathwise"][0], found["forward_kl"][0]) == (pytest.approx(edge), pytest.approx(edge))
    assert axes.get_xlim()[1] < 100


def test_numbers_that_hardly_differ_look_so() -> None:
    """A logarithmic axis shows a factor of two at least, so that its ticks have room, and has a tick."""
    axes = figure(table({(TB, "gmm25"): {}}), {}).axes[0]
    low, high = axes.get_xlim()
    assert high / low == pytest.approx(2)
    assert low < 8.0
    assert high > 8.32
    assert 1 <= sum(low <= tick <= high for tick in axes.get_xticks()) <= 2


def test_numbers_that_weights_do_not_carry_are_hollow() -> None:
    """Without an interval, in the panel of the reweighted error alone; where weights were not recorded, that is said."""
    of = table({(TB, "gmm25"): {}, (TB + "_local_search", "gmm25"): {}})
    page = figure(of, {})
    assert not style.has_weak(page)
    assert page.get_supxlabel().replace("\n", " ") == NOT_RECORDED
    errors = of[of["metric"] == "sampled_log_Z_error"]
    effective = np.where(errors["arm"] == TB + "_local_search", 1.5, 900.0)
    weights = [errors.assign(metric="sampled_n_effective", value=effective), errors.assign(metric="sampled_pareto_k", value=0.3)]
    page = figure(pd.concat([of, *weights]), {})
    assert page.get_supxlabel() == ""
    hollow = [[line for line in axes.lines if line.get_gid() == style.WEAK] for axes in page.axes]
    assert [len(lines) for lines in hollow] == [0, 0, 1, 0]
    assert (hollow[2][0].get_marker(), hollow[2][0].get_xdata()[0]) == ("D", pytest.approx(1.02))
    assert list(marks(page.axes[2])) == [TB]
    assert not any(
        np.allclose(line.get_ydata(), hollow[2][0].get_ydata()[0]) for line in page.axes[2].lines if len(line.get_xdata()) > 1
    )


def test_a_density_without_a_gap_has_its_elbo() -> None:
    """Also one that the experiment does not name, under its own name."""
    of = table({(TB, "log_gaussian_cox"): {}}).replace({"target": {"log_gaussian_cox": "mine"}})
    page = figure(of, {})
    assert [(axes.get_title(), axes.get_xlabel()) for axes in page.axes] == [("mine", "1.0 - ELBO (nats)")]


# -- the disputed column of many_well ------------------------------------------------------------------------------------


def test_the_bound_of_a_well_is_exact_where_steps_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bridge to N(m, 1) is a walk with drift m: nothing is lost, and something is by a sampler of half of it."""
    monkeypatch.setattr(many_well_column, "log_well", lambda x: -0.5 * (x - 0.7) ** 2)
    monkeypatch.setattr(many_well_column, "END", 9.0)
    assert abs(many_well_column.bound_error(3, right_only=False)) < 1e-9
    assert many_well_column.bound_error(3, right_only=True) > 0.01


def test_w2_knows_a_lost_well() -> None:
    distances = [many_well_column.w2(n_left, 0) for n_left in (None, 0, 5)]
    assert distances == sorted(distances)
    assert distances[1] == pytest.approx(6.15, abs=0.1), "what is published for a sampler of the right wells"
