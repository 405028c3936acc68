"""The figure of gradient estimators: which of them are one, what is drawn of each, and how a sampled reference flatters."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import pytest
from gfn_vi.experiments.gradient_variance.estimators import (
    BASELINES,
    ESTIMATORS,
    SAME,
    TB,
    differences,
    equal_groups,
    name_of,
    statistics_in,
)
from gfn_vi.experiments.gradient_variance.figure import BEHAVIORS, TRAINING, figure, tables
from gfn_vi.experiments.gradient_variance.references import ARM as MEASUREMENTS
from gfn_vi.experiments.gradient_variance.references import TRAJECTORIES, excess, predicted

from gfn_vi.runs.folders import TableError

SEEDS, MOMENTS = range(5), (0, 5000, 10000)
# Estimators that are one by theory have one height (experiments/gradient_variance/README.md).
REVERSE_KL = {"reverse_kl_log_Z": 0.8, "reverse_kl_leave_one_out": 0.9, "reverse_kl_batch_mean": 0.9}
THETA = {TB: 0.8, "log_variance": 0.9, "forward_kl": 0.5, "wake_sleep": 0.5} | REVERSE_KL
THETA |= {"reverse_kl_optimal": 0.85, "reverse_kl_none": 0.3}
PHI = {TB: 0.6, "log_variance": 0.7, "forward_kl": 0.75, "wake_sleep": 0.1} | dict.fromkeys(BASELINES, 0.1)
OFF_POLICY = {TB: 0.8, "log_variance": 0.75, "reverse_kl_leave_one_out": 0.5, "reverse_kl_plain": 0.4}
OFF_POLICY |= {"forward_kl": 0.2, "wake_sleep": 0.2, "forward_kl_plain": 0.15}


def rows_of(
    arm: str,
    heights: Mapping[str, float],
    role: str,
    moments: Iterable[int],
    where: Iterable[tuple[str, str, int]],
    slope: float = 0,
) -> list[dict[str, object]]:
    """All statistics of estimators with a cosine of about the given height; where: (prefix, behavior, batch)."""
    rows: list[dict[str, object]] = []
    for place, (prefix, behavior, batch) in enumerate(where):
        for name, height in heights.items():
            for seed in SEEDS:
                for moment in moments:
                    cosine = height + 0.01 * seed - 1e-6 * moment + slope * place
                    ratio = cosine / np.sqrt(1 - cosine**2)
                    values = {"cosine": cosine, "snr": ratio, "variance": ratio**-2, "reference_norm": 1.0, "bias_along": 0.0}
                    for statistic, value in values.items():
                        metric = f"{prefix}/{statistic}/{role}/{name}/{behavior}/{batch}"
                        run = {"state": "done", "arm": arm, "seed": seed, "trajectories": moment}
                        rows.append(run | {"metric": metric, "value": value})
    return rows


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """All three arms of the experiment."""
    behaviors = ("on_policy", "bias_0p5", "bias_4", "epsilon_0p1", "epsilon_0p5")
    references = ("gradients", "nested", "independent")
    measured = {TB: 0.5, "reverse_kl_leave_one_out": 0.5, "noise": 0.1}
    rows = rows_of(TRAINING, THETA, "forward", MOMENTS, [("gradients", "on_policy", 64)])
    rows += rows_of(TRAINING, PHI, "backward", MOMENTS, [("gradients", "on_policy", 64)])
    for role in ("forward", "backward"):
        rows += rows_of(BEHAVIORS, OFF_POLICY, role, MOMENTS[-1:], [("gradients", name, 64) for name in behaviors], -0.01)
    for size in (16, 32, 64, 128):
        rows += rows_of(MEASUREMENTS, measured, "forward", MOMENTS[-1:], [(name, "on_policy", size) for name in references], 0.04)
    return pd.DataFrame(rows)


def groups_in(table: pd.DataFrame, role: str) -> list[tuple[str, ...]]:
    rows = statistics_in(table)
    return equal_groups(differences(rows[(rows["arm"] == TRAINING) & (rows["role"] == role)]))


def test_estimators_with_the_same_numbers_are_one(table: pd.DataFrame) -> None:
    assert groups_in(table, "forward") == [
        (TB, "reverse_kl_log_Z"),
        ("log_variance", "reverse_kl_leave_one_out", "reverse_kl_batch_mean"),
        ("reverse_kl_optimal",),
        ("reverse_kl_none",),
        ("forward_kl", "wake_sleep"),
    ]
    assert groups_in(table, "backward") == [(TB,), ("log_variance",), (*BASELINES, "wake_sleep"), ("forward_kl",)]


@pytest.mark.parametrize("statistic", ["cosine", "snr"])
def test_one_replica_at_one_moment_tells_two_apart(table: pd.DataFrame, statistic: str) -> None:
    """Whichever way its number is off, and not where the rounding of float32 is larger."""
    at = (table["metric"] == f"gradients/{statistic}/forward/wake_sleep/on_policy/64") & (table["arm"] == TRAINING)
    at &= (table["seed"] == 3) & (table["trajectories"] == MOMENTS[1])
    assert at.sum() == 1
    for shift, together in ((1.01 * SAME, False), (-1.01 * SAME, False), (0.5 * SAME, True)):
        shifted = table.assign(value=table["value"] + shift * at)
        assert (("forward_kl", "wake_sleep") in groups_in(shifted, "forward")) is together


def test_a_group_is_equal_in_all_its_pairs() -> None:
    """A chain of close ones does not make its ends equal."""
    heights = [0.0, 0.8 * SAME, 1.6 * SAME]
    names = list(ESTIMATORS[:3])
    apart = pd.DataFrame([[abs(a - b) for a in heights] for b in heights], index=names, columns=names)
    assert equal_groups(apart) == [(names[0], names[1]), (names[2],)]


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ((TB, "reverse_kl_log_Z"), "TB = reverse KL, log Z"),
        (
            ("log_variance", "reverse_kl_leave_one_out", "reverse_kl_batch_mean"),
            "Log-variance = reverse KL, leave-one-out or batch mean",
        ),
        ((*BASELINES, "wake_sleep"), "Reverse KL, any baseline = wake-sleep"),
        (("forward_kl", "wake_sleep"), "Forward KL = wake-sleep"),
        (("reverse_kl_none",), "Reverse KL, no baseline"),
    ],
)
def test_a_group_has_the_name_of_each(group: tuple[str, ...], words: str) -> None:
    assert name_of(group, ESTIMATORS) == words


def test_an_estimator_of_ones_own_is_drawn_too(table: pd.DataFrame) -> None:
    """It comes last, under its name, and never in silence out of the picture."""
    of_tb = table["metric"].str.contains(f"/forward/{TB}/") & (table["arm"] == TRAINING)
    own = table[of_tb].assign(metric=table.loc[of_tb, "metric"].str.replace(TB, "my_loss"), value=0.3)
    groups = groups_in(pd.concat([table, own]), "forward")
    assert groups[-1] == ("my_loss",)
    assert name_of(groups[-1], ESTIMATORS) == "My loss"


def test_each_group_has_a_panel_and_every_other_one_tb_behind_it(table: pd.DataFrame) -> None:
    """(a) five and four panels; (b) three rows of four, dashed with plain weights; (c) three."""
    panels = [axes for axes in figure(table, {}).axes if axes.axison]
    training, behaviors, measurements = panels[:9], panels[9:21], panels[21:]
    assert len(measurements) == 3
    lines = [[line for line in axes.lines if not line.get_label().startswith("_")] for axes in training]
    drawn = [[TB], ["log_variance"], ["reverse_kl_optimal"], ["reverse_kl_none"], ["forward_kl"]]
    drawn += [[TB], ["log_variance"], ["reverse_kl_log_Z"], ["forward_kl"]]
    assert [[line.get_label() for line in of] for of in lines] == drawn
    medians = [height + 0.02 - 1e-6 * np.array(MOMENTS) for height in (0.8, 0.9, 0.85, 0.3, 0.5, 0.6, 0.7, 0.1, 0.75)]
    for (line,), expected in zip(lines, medians, strict=True):
        np.testing.assert_allclose(line.get_ydata(), expected)
    gray = [[line.get_ydata()[0] for line in axes.lines if line.get_color() == "0.6"] for axes in training]
    assert gray == [[], *[[pytest.approx(0.82)]] * 4, [], *[[pytest.approx(0.62)]] * 3]
    dashed = [[line.get_label() for line in axes.lines if line.is_dashed()] for axes in behaviors]
    assert dashed == [[], [], ["reverse_kl_plain"], ["forward_kl_plain"]] * 3
    stop_bias, uniform = behaviors[4].lines[0], behaviors[8].lines[0]
    assert stop_bias.get_xdata().tolist() == [0, 0.5, 4]
    assert uniform.get_xdata().tolist() == [0, 0.1, 0.5]


def test_the_excess_of_a_cosine_is_paired_by_seed(table: pd.DataFrame) -> None:
    """Replicas lie apart by more than the excess, which is the same for each; of noise the exact cosine is 0."""
    rows = statistics_in(table)
    np.testing.assert_allclose(excess(rows, TB, "nested").values, 0.04)
    np.testing.assert_allclose(excess(rows, TB, "independent").values, 0.08)
    shuffled = rows.sample(frac=1, random_state=0)
    np.testing.assert_allclose(excess(shuffled, TB, "nested").values, 0.04)
    np.testing.assert_allclose(excess(rows, "noise", "nested").values[:, 0], 0.14 + 0.01 * np.array(SEEDS) - 0.01, atol=1e-12)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 2.0])
def test_the_prediction_is_what_gaussian_noise_gives(ratio: float) -> None:
    """Batches g + e of Gaussian noise in 4000 dimensions, |e| = 1: mean cosines with the three references; float64.

    With 8 batches the standard error of a mean is about 1 / sqrt(8 * 4000) = 0.006; four of them are allowed.
    """
    rng, dim, n_batches = np.random.default_rng(0), 4000, 8
    g = np.zeros(dim)
    g[0] = ratio
    batches, others = (g + rng.normal(size=(n_batches, dim)) / np.sqrt(dim) for _ in range(2))

    def cosine(reference: np.ndarray) -> float:
        norms = np.linalg.norm(batches, axis=1) * np.linalg.norm(reference)
        return float((batches @ reference / norms).mean())

    exact = cosine(g) if ratio else 0.0
    for name, reference in (("nested", batches.mean(0)), ("independent", others.mean(0))):
        found = cosine(reference) - exact
        assert predicted(np.array(ratio), np.array(1 / n_batches), name) == pytest.approx(found, abs=0.024)


def test_pure_noise_scores_the_root_of_its_share() -> None:
    share = np.array([16, 128]) / TRAJECTORIES
    np.testing.assert_allclose(predicted(np.zeros(2), share, "nested"), np.sqrt(share), rtol=1e-15)
    np.testing.assert_allclose(predicted(np.zeros(2), share, "independent"), 0)


def test_the_table_says_how_equal_the_groups_are(table: pd.DataFrame) -> None:
    at = table["metric"] == "gradients/snr/forward/wake_sleep/on_policy/64"
    found = pd.read_csv(io.StringIO(tables(table.assign(value=table["value"] + 1e-5 * at), {})["equal.csv"]))
    of_theta = found[(found["arm"] == TRAINING) & (found["role"] == "forward")].set_index("estimators")["largest_difference"]
    assert of_theta.to_dict() == {
        f"{TB} reverse_kl_log_Z": 0,
        "log_variance reverse_kl_leave_one_out reverse_kl_batch_mean": 0,
        "reverse_kl_optimal": 0,
        "reverse_kl_none": 0,
        "forward_kl wake_sleep": 1e-5,
    }


def test_numbers_are_medians_over_replicas_and_ratios_of_the_same_replica(table: pd.DataFrame) -> None:
    """Log-variance has the cosine 0.05 below that of TB; replicas differ by more than their ratios do."""
    found = pd.read_csv(io.StringIO(tables(table, {})["numbers.csv"]))
    keys = ["arm", "role", "behavior", "estimator", "statistic"]
    told = found.set_index(keys)[["median", "low", "high"]].sort_index()
    cosine = {name: 0.01 * np.arange(5) + height - 0.01 - 0.01 for name, height in ((TB, 0.8), ("log_variance", 0.75))}
    ratio = {name: values / np.sqrt(1 - values**2) for name, values in cosine.items()}  # of the second behavior

    def row(estimator: str, statistic: str) -> list[float]:
        return told.loc[(BEHAVIORS, "forward", "bias_0p5", estimator, statistic)].tolist()

    def expected(values: np.ndarray) -> object:
        return pytest.approx([np.median(values), values.min(), values.max()], rel=5e-3)

    assert row("log_variance", "cosine") == expected(cosine["log_variance"])
    assert row("log_variance", "signal_to_noise") == expected(ratio["log_variance"])
    assert row("log_variance", "times_tb") == expected(ratio["log_variance"] / ratio[TB])
    assert row(TB, "times_tb") == [1, 1, 1]
    assert row(TB, "bias_along") == [0, 0, 0]


def test_what_was_left_out_has_no_panel(table: pd.DataFrame) -> None:
    """No gradients of P_B, no pure noise, one replica, of which there is no interval."""
    left_out = table["metric"].str.contains("/backward/|/noise/") | (table["seed"] > 0)
    panels = [axes for axes in figure(table[~left_out], {}).axes if axes.axison]
    assert len(panels) == 5 + 12 + 2
    assert panels[-1].get_title() == "Reverse KL, leave-one-out"
    assert set(pd.read_csv(io.StringIO(tables(table[~left_out], {})["numbers.csv"]))["role"]) == {"forward"}


def test_what_cannot_be_drawn_is_said(table: pd.DataFrame) -> None:
    with pytest.raises(TableError, match="no run that measures gradients is done yet"):
        figure(table.assign(state="running"), {})
    with pytest.raises(
        TableError, match="the arm behaviors has recorded nothing of statistic variance, role forward: run it to its end"
    ):
        figure(table[table["arm"] == TRAINING], {})
    lost = table["value"].where(~table["metric"].eq("gradients/cosine/forward/wake_sleep/on_policy/64"))
    with pytest.raises(TableError, match="no finite number of wake_sleep"):
        figure(table.assign(value=lost), {})
