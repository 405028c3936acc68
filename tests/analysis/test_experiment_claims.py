"""The verdicts of the experiments on tables whose numbers are known: each statement agrees, disagrees and stays undecided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
from gfn_vi.experiments.deviations import claims as deviations
from gfn_vi.experiments.deviations.ranking import kendall_tau
from gfn_vi.experiments.eight_gaussians import claims as densities
from gfn_vi.experiments.eight_gaussians.figure import figure as density_figure
from gfn_vi.experiments.eight_gaussians.figure import tables as density_tables
from gfn_vi.experiments.hypergrid_baselines import claims as baselines
from gfn_vi.experiments.hypergrid_baselines.comparisons import SETTINGS
from gfn_vi.experiments.hypergrid_objectives import claims as objectives
from gfn_vi.experiments.hypergrid_small import claims as small
from gfn_vi.experiments.hypergrid_small.figure import figure as small_figure

from gfn_vi.analysis.pictures.arms import in_sentence
from gfn_vi.analysis.statistics.claims import Claim

R = 5
OBJECTIVES = (
    *("trajectory_balance", "modified_detailed_balance", "reverse_kl"),
    *("forward_kl", "wake_sleep", "reverse_wake_sleep"),
)
SPREAD = 1 + 0.01 * np.arange(R)  # replicas differ a little


def rows_of(
    arm: str, metrics: Mapping[str, np.ndarray], seeds: Iterable[int] = range(R), **config: object
) -> list[dict[str, object]]:
    """The rows of one finished run; metrics: name -> values [R, N], evaluated every 10 trajectories."""
    shared = {"run": f"{arm} {config}", "state": "done", "arm": arm} | {f"config.{key}": value for key, value in config.items()}
    return [
        shared | {"seed": seed, "replica": r, "trajectories": 10 * n, "metric": metric, "value": value}
        for metric, values in metrics.items()
        for r, (seed, of_replica) in enumerate(zip(seeds, values, strict=True))
        for n, value in enumerate(of_replica)
    ]


def constant(value: float, replicas: int = R) -> np.ndarray:
    """Two evaluations [R, 2] around a value."""
    return np.stack([value * (1 + 0.01 * np.arange(replicas))] * 2, 1)


def told(claims: Sequence[Claim], start: str) -> Claim:
    """The one claim that starts with these words."""
    (found,) = [claim for claim in claims if claim.claim.startswith(start)]
    return found


def gains(by_objective: Mapping[str, float]) -> pd.DataFrame:
    """Off-policy the JSD is 10^-gain times that of the same seed; seeds differ much, and the sides do not share all of them."""
    rows = []
    for name in OBJECTIVES:
        gain = by_objective.get(name, by_objective["others"])
        for side, seeds, shift in (("", [0, 1, 2, 3, 4, 5], 0.0), ("_off_policy", [6, 5, 4, 3, 2, 1], gain)):
            height = np.array([10.0 ** (seed - 9 - shift) * (1 + 0.001 * seed * bool(side)) for seed in seeds])
            jsd = np.stack([np.full(6, 0.5), height], 1)
            rows += rows_of(name + side, {"jsd": jsd, "modes_covered": np.full((6, 2), 4.0)}, seeds)
    return pd.DataFrame(rows)


def test_off_policy_sampling_helps_most_by_pairs_of_one_seed() -> None:
    """log10 of on-policy over off-policy: 2 for TB and at most 1 for the others, whatever a seed's own height."""
    claim = told(objectives.claims(gains({"trajectory_balance": 2.0, "others": 0.5, "forward_kl": 1.0})), "Off-policy sampling")
    assert claim.measured.startswith("log10 of JSD on-policy / off-policy, same seeds, median: TB 2 (2 to 2), ")
    assert claim.measured.endswith("best of the others Forward KL 0.999 (0.998 to 1)")
    assert claim.agrees is True


@pytest.mark.parametrize(("best", "agrees"), [(1.0, None), (0.5, False), (-2.0, False)])
def test_off_policy_sampling_may_help_another_more(best: float, agrees: bool | None) -> None:
    """As much as the best of the others is undecided, less is a no."""
    table = gains({"trajectory_balance": best, "others": 0.9, "forward_kl": 1.0} if best < 1 else {"others": best})
    assert told(objectives.claims(table), "Off-policy sampling").agrees is agrees


def arrivals(times: Mapping[str, Sequence[int]]) -> pd.DataFrame:
    """Each replica covers three modes until its time (in evaluations), then four; one more evaluation than the latest."""
    rows = []
    for name in OBJECTIVES:
        for side in ("", "_off_policy"):
            since = np.array(times.get(name, [1] * R))
            modes = np.where(np.arange(12) >= since[:, None], 4.0, 3.0)
            rows += rows_of(name + side, {"jsd": np.full((R, 12), 0.1), "modes_covered": modes})
    return pd.DataFrame(rows)


EARLY, LATE, NEVER = [1, 2, 3, 2, 1], [7, 8, 9, 8, 7], [20] * R


@pytest.mark.parametrize(
    ("forward_kl", "wake_sleep", "balance", "agrees"),
    [
        *[(EARLY, EARLY, LATE, True), (EARLY, EARLY, NEVER, True), (EARLY, LATE, EARLY, False)],
        *[(LATE, EARLY, EARLY, False), (EARLY, LATE, LATE, None), (NEVER, NEVER, EARLY, False)],
    ],
)
def test_both_find_the_modes_sooner(
    forward_kl: list[int], wake_sleep: list[int], balance: list[int], agrees: bool | None
) -> None:
    """When all four are covered, and not three."""
    table = arrivals({"forward_kl": forward_kl, "wake_sleep": wake_sleep, "trajectory_balance": balance})
    claim = told(objectives.claims(table), "On-policy, forward KL and wake-sleep")
    words = {1: "20", 7: "80", 20: "never in most replicas"}
    names = {"Forward KL": forward_kl, "Wake-sleep": wake_sleep, "TB": balance}
    parts = ", ".join(f"{name} {words[times[0]]}" for name, times in names.items())
    assert claim.measured == f"trajectories until all four are covered, median: {parts}"
    assert claim.agrees is agrees


def baseline_table(final: Sequence[bool | None], area: Sequence[bool | None]) -> pd.DataFrame:
    """For each of six settings whether the global baseline is below the local one: at the end, and in the middle."""
    arms = list(SETTINGS)
    heights = {True: 0.01, False: 1.0, None: 0.1}
    rows = []
    for arm, at_end, before in zip(arms, final, area, strict=True):
        for baseline in ("GlobalLogZ", "BatchMean", "NoBaseline", "LeaveOneOut", "Optimal"):
            end, middle = (heights[won] if baseline == "GlobalLogZ" else 0.1 for won in (at_end, before))
            jsd = np.stack([np.ones(R), 100 * middle * SPREAD, end * SPREAD], 1)
            rows += rows_of(arm, {"jsd": jsd}, **{"objective.baseline._target_": f"gfn_vi.objectives.baselines.{baseline}"})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("won", "lost", "agrees"),
    [(4, 0, True), (6, 0, True), (4, 2, True), (3, 0, None), (3, 3, None), (0, 3, None), (2, 4, False), (0, 6, False)],
)
def test_mostly_is_more_than_half_of_the_settings(won: int, lost: int, agrees: bool | None) -> None:
    """Of six; at the end and along training each by its own numbers."""
    verdicts = [True] * won + [False] * lost + [None] * (6 - won - lost)
    reversed_ = [None if verdict is None else not verdict for verdict in verdicts]
    found = baselines.claims(baseline_table(final=verdicts, area=reversed_))
    at_end, along = (told(found, f"A global baseline mostly beats a local one: {what}") for what in ("JSD at the end", "area"))
    assert at_end.agrees is agrees
    names = list(map(in_sentence, SETTINGS))
    parts = [", ".join(part) or "none" for part in (names[:won], names[won : won + lost])]
    assert at_end.measured == f"of 6 settings, {won} for it ({parts[0]}), {lost} against ({parts[1]}), the rest undecided"
    opposite = {(4, 2): False, (2, 4): True, (6, 0): False, (0, 6): True, (4, 0): False}
    assert along.agrees is opposite.get((won, lost))


def small_table(modes: Mapping[str, float], n_dims: int, replicas: int = R) -> pd.DataFrame:
    """Modes that the last replica of each objective covers; all others cover all, 2^n_dims."""
    rows = []
    for name in OBJECTIVES:
        covered = np.full((replicas, 2), 2.0**n_dims)
        covered[-1] = modes.get(name, 2.0**n_dims)
        metrics = {"jsd": constant(0.1, replicas), "modes_covered": covered}
        rows += rows_of(name, metrics, range(replicas), **{"target.n_dims": n_dims, "target.side": 8})
    return pd.DataFrame(rows)


def all_modes(table: pd.DataFrame) -> Claim:
    """The claim about modes."""
    return told(small.claims(table), "(Not in the paper)")


@pytest.mark.parametrize("n_dims", [2, 4])
def test_every_objective_finds_all_modes(n_dims: int) -> None:
    """2^n_dims of them, TB included; three replicas cannot tell of all; one mode short of one replica is a no."""
    name = " x ".join(["8"] * n_dims)
    whole = all_modes(small_table({}, n_dims))
    assert whole.claim == f"(Not in the paper) {name}: with R0 = 0.1, every objective finds all {2**n_dims} modes."
    assert (whole.measured, whole.agrees) == ("all replicas of all objectives do", True)
    assert all_modes(small_table({}, n_dims, replicas=4)).agrees is True
    assert all_modes(small_table({}, n_dims, replicas=3)).agrees is None
    for short, words in {"trajectory_balance": "TB", "reverse_wake_sleep": "reverse wake-sleep"}.items():
        claim = all_modes(small_table({short: 2.0**n_dims - 1}, n_dims))
        assert (claim.measured, claim.agrees) == (f"{words} covers {2**n_dims - 1} to {2**n_dims}; the others all", False)


def deviating(correct: Mapping[str, float], deviation: Mapping[str, float], name: str = "frozen_backward") -> pd.DataFrame:
    """Final JSD of each arm as it should be and with the deviation, which touches all of them."""
    rows = []
    for arm, value in correct.items():
        rows += rows_of(arm, {"jsd": constant(value)}, deviation_name=None, plateau_factor=1.0)
    for arm, value in deviation.items():
        both = f"{name}_and_constant_stop_bias" if arm.endswith("_off_policy") else name
        rows += rows_of(arm, {"jsd": constant(value)}, deviation_name=both, plateau_factor=1.0)
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("value", "word", "share", "agrees"),
    [
        (0.1, "better", "1.00 (1.00 to 1.00)", False),
        (0.4, "worse", "0.00 (0.00 to 0.00)", False),
        (0.2, "undecided", "0.50", None),
    ],
)
def test_the_effect_of_a_deviation(value: float, word: str, share: str, agrees: bool | None) -> None:
    """A decided difference in either direction refutes that there is none; nothing can prove it."""
    table = deviating({"reverse_kl": 0.2, "forward_kl": 0.2}, {"reverse_kl": value})
    claim = told(deviations.claims(table), "reverse_kl: ")
    assert claim.claim == "reverse_kl: the JSD at the end does not depend on frozen_backward."
    assert claim.measured.startswith("as it should be 0.204 (0.2 to 0.208), deviating ")
    assert f": {word}; P(deviating is better) {share}" in claim.measured
    assert claim.agrees is agrees
    for start in ("The order of all", "The order of the off-policy", "The best setting"):  # of one setting there is none
        unknown = told(deviations.claims(table), start)
        assert unknown.measured == "not measured: no finished run of two settings, each as it should be and as published"
        assert unknown.agrees is None


def in_order(names: Sequence[str]) -> dict[str, float]:
    """The JSD of settings from the best to the worst, far apart."""
    return {name: 2.0**-place for place, name in zip(range(len(names), 0, -1), names, strict=True)}


def test_the_order_of_settings() -> None:
    """The same order is a yes although its tau is one rounding below 1; a decided pair the other way round is a no."""
    arms = [*OBJECTIVES, *(f"{name}_off_policy" for name in OBJECTIVES)]
    correct = in_order(arms)
    values = {arm: constant(value)[:, 0] for arm, value in correct.items()}
    assert kendall_tau(values, values).low < 1  # what scipy finds for 12 settings
    same = deviations.claims(deviating(correct, correct))
    claim = told(same, "The order of all settings")
    assert claim.measured == "Kendall's tau 1.00 (1.00 to 1.00); decided as it should be and turned over: no pair"
    assert claim.agrees is True
    assert told(same, "The order of the off-policy settings").agrees is True

    turned = in_order([*arms[:-2], arms[-1], arms[-2]])
    found = deviations.claims(deviating(correct, turned))
    assert told(found, "The order of all settings").agrees is False
    assert told(found, "The order of the off-policy settings").measured.endswith(f"{arms[-2]} before {arms[-1]}")
    near = correct | {arms[-1]: correct[arms[-2]] * 0.999}  # another order of the medians, and not decided
    assert told(deviations.claims(deviating(correct, near)), "The order of all settings").agrees is None


def density_table(
    final: Mapping[str, float], frozen: Mapping[str, Sequence[bool]], n_steps: int = 10, gap: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """Squared MMD at the end of each arm (others: 0.1), and which of its replicas were frozen at the second evaluation.

    gap: EUBO - ELBO (others: 7).
    """
    rows = []
    for name in OBJECTIVES:
        for arm in (name, f"{name}_off_policy"):
            failed = np.array(frozen.get(arm, [False] * R), dtype=float)
            mmd = np.stack([np.full(R, 0.08), final.get(arm, 0.1) * SPREAD], 1)
            metrics = {"squared_mmd": mmd, "squared_mmd_floor": constant(1e-3), "frozen": np.stack([0 * failed, failed], 1)}
            metrics |= {"mode_mass_error": constant(0.25), "bound_gap": constant((gap or {}).get(arm, 7.0))}
            rows += rows_of(arm, metrics, **{"sampler.n_steps": n_steps}) if name != "modified_detailed_balance" else []
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("widened", "agrees"), [(0.01, True), (0.1, None), (0.3, False)])
def test_widened_steps_help_trajectory_balance(widened: float, agrees: bool | None) -> None:
    """A lower squared MMD is better; the paper speaks of ten steps."""
    tb = "trajectory_balance_off_policy"
    found = densities.claims(density_table({tb: widened}, {}))
    claim = told(found, "T = 10: widened by 0.1, TB ends with a lower")
    assert claim.measured.startswith(f"median squared MMD at the end: widened {1.02 * widened:.3g} (")
    assert claim.agrees is agrees
    assert told(found, "(Not in the paper) T = 10: widened by 0.1, TB ends with the lowest").agrees is agrees
    assert all(claim.claim.startswith("(Not in the paper) T = 100") for claim in densities.claims(density_table({}, {}, 100)))


KL, SLEEP = ("forward_kl", "forward_kl_off_policy"), ("reverse_wake_sleep", "reverse_wake_sleep_off_policy")
SIDE = ("on-policy", "widened by 0.1")
ALL, SOME, NONE = [True] * R, [True] + [False] * (R - 1), [False] * R


@pytest.mark.parametrize(
    ("forward_kl", "reverse_wake_sleep", "agrees"),
    [(ALL, ALL, True), (ALL, NONE, False), (NONE, NONE, False), (ALL, SOME, None), (SOME, NONE, False)],
)
def test_which_objectives_become_non_finite(forward_kl: list[bool], reverse_wake_sleep: list[bool], agrees: bool | None) -> None:
    """All replicas of both: yes; none of one: no; some: undecided. A failed replica of another objective is a no."""
    frozen = dict.fromkeys(KL, forward_kl) | dict.fromkeys(SLEEP, reverse_wake_sleep)
    found = densities.claims(density_table({}, frozen))
    claim = told(found, "T = 10: forward KL and reverse wake-sleep")
    assert claim.agrees is agrees
    first = " (first after 10 trajectories)" if any(forward_kl) else ""
    assert claim.measured.startswith(f"replicas that became non-finite: forward_kl {sum(forward_kl)} of {R}{first}, ")
    assert told(found, "T = 10: the other objectives stay finite").agrees is True
    other = densities.claims(density_table({}, frozen | {"wake_sleep": SOME}))
    assert told(other, "T = 10: the other objectives stay finite").agrees is False


@pytest.mark.parametrize(("height", "agrees"), [(2000.0, True), (980.0, None), (900.0, False)])
def test_a_backward_kernel_that_runs_away(height: float, agrees: bool | None) -> None:
    """All replicas of both objectives are above 1,000 nats, some, none."""
    found = densities.claims(density_table({}, {}, gap=dict.fromkeys((*KL, *SLEEP), height)))
    claim = told(found, "(Not in the paper) T = 10: P_B of these two runs away")
    assert claim.agrees is agrees
    above = sum(height * spread > 1000 for spread in SPREAD)
    assert claim.measured.startswith(f"replicas: forward_kl {above} of 5 (median {1.02 * height:.3g}), ")
    only_one = densities.claims(density_table({}, {}, gap=dict.fromkeys(KL, height)))
    assert told(only_one, "(Not in the paper) T = 10: P_B of these two runs away").agrees is False


def test_numbers_of_densities_beside_the_figure() -> None:
    """A row for each setting; a frozen replica has the largest squared MMD that there is."""
    text = density_tables(density_table({"wake_sleep": 0.2}, {"wake_sleep": ALL, "reverse_kl": SOME}), {})["mmd.csv"]
    rows = {tuple(row[1:3]): row for row in (line.split(",") for line in text.splitlines()[1:])}
    assert len(rows) == 10
    failed, some, none = (rows[key] for key in (("wake_sleep", SIDE[0]), ("reverse_kl", SIDE[0]), ("wake_sleep", SIDE[1])))
    assert failed[3:] == ["5", *["2"] * 3, "0.00102", "0.001", "0.00104", *["1"] * 3, *["inf"] * 3, "5", "10"]
    assert (some[6], some[12], some[15:]) == ("2", "1", ["inf", "1", "10"])
    gap = ["7.14", "7", "7.28"]
    assert none[3:] == ["5", "0.102", "0.1", "0.104", "0.00102", "0.001", "0.00104", "0.255", "0.25", "0.26", *gap, "0", ""]


def test_the_figure_of_densities_has_a_panel_per_objective_and_t() -> None:
    """Broken on-policy, whole widened, widened TB in gray behind the others; every replica is a point at the end."""
    tb = "trajectory_balance_off_policy"
    tables = [density_table({tb: 0.01 * n_steps}, {"wake_sleep": SOME}, n_steps) for n_steps in (10, 100)]
    axes = density_figure(pd.concat(tables), {}).axes
    assert len(axes) == 2 * 6
    assert [panel.get_title() for panel in axes[:6]] == [
        "TB",
        "Reverse\nKL",
        "Forward\nKL",
        "Wake-sleep",
        "Reverse\nwake-sleep",
        "At the end",
    ]
    for row, n_steps in ((axes[:6], 10), (axes[6:], 100)):
        assert row[0].get_ylabel().startswith(f"$T = {n_steps}$\nSquared MMD")
        for panel, name in zip(row, (name for name in OBJECTIVES if name != "modified_detailed_balance"), strict=False):
            lines = {line.get_label(): line for line in panel.lines}
            assert (lines[name].is_dashed(), lines[f"{name}_off_policy"].is_dashed()) == (True, False)
            gray = [line.get_ydata()[-1] for line in panel.lines if line.get_color() == "0.6"]
            assert gray == ([] if name == "trajectory_balance" else [pytest.approx(0.0102 * n_steps)])
        points = [line for line in row[-1].lines if line.get_marker() == "o"]
        assert len(points) == 10
        np.testing.assert_allclose(points[1].get_ydata(), 0.01 * n_steps * SPREAD)
        assert [line.get_markerfacecolor() == "white" for line in points[:2]] == [True, False]
        assert set(points[0].get_xdata()) == {-0.2}
        assert max(points[6].get_ydata()) == 2.0  # of a replica that failed


def test_the_legend_of_small_grids_has_what_any_panel_shows() -> None:
    """While a sweep is under way, one grid has other objectives than the other."""
    shown = {2: ("trajectory_balance", "forward_kl"), 4: ("wake_sleep", "reverse_kl", "trajectory_balance")}
    tables = [small_table({}, n_dims).query("arm in @arms") for n_dims, arms in shown.items()]
    (legend,) = small_figure(pd.concat(tables), {}).legends
    assert [text.get_text() for text in legend.get_texts()] == ["TB", "Reverse KL", "Forward KL", "Wake-sleep"]
