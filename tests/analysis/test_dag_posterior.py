"""Table 2, its figure and its claims, of run directories whose numbers are known."""

from __future__ import annotations

import io
import json
import math
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import yaml

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.reading.budgets import smallest_totals
from gfn_vi.analysis.reading.table import collect
from gfn_vi.analysis.statistics.final_values import final_values
from gfn_vi.commands import figure as figure_command
from gfn_vi.experiments.dag_posterior.latex import with_spread
from gfn_vi.experiments.dag_posterior.table2 import ARMS, PAPER, SIZE, settings, standings
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.reading import RunArrays

EXPERIMENT = Path(__file__).resolve().parents[2] / "experiments/dag_posterior"
HEADER = "step,trajectories,reward_calls,wall_seconds,replica,metric,value\n"
BATCH, UPDATES, EVERY = 100, 1000, 100  # updates between two evaluations
# arm: final JSD for d = 3, 4, 5; graphs differ by up to a factor of 1.5 around it
FINAL = {
    "trajectory_balance": (0.022, 0.123, 0.277),
    "modified_detailed_balance": (0.02, 0.1, 0.2),
    "log_variance": (0.022, 0.12, 0.25),
    "reverse_kl": (0.022, 0.125, 0.306),
    "forward_kl": (0.01, 0.05, 0.15),
    "wake_sleep": (0.012, 0.05, 0.14),
    "trajectory_balance_off_policy": (3.7e-7, 9.35e-6, 5.44e-4),
    "modified_detailed_balance_off_policy": (5.32e-6, 2.05e-5, 4.65e-4),
    "log_variance_off_policy": (6e-7, 1.5e-5, 6e-4),
    "reverse_kl_off_policy": (0.014, 0.605, 0.656),
    "forward_kl_off_policy": (1e-3, 0.03, 0.1),
    "wake_sleep_off_policy": (2e-3, 0.02, 0.2),
}


def calls_per_update(arm: str, d: int) -> int:
    """Balance objectives replay nine tenths of an off-policy batch; modified DB counts every state."""
    replays = arm.endswith("_off_policy") and ("balance" in arm or "variance" in arm)
    return (BATCH // 10 if replays else BATCH) * (d if arm.startswith("modified") else 1)


def jsd_at(arm: str, d: int, seed: int, share: np.ndarray) -> np.ndarray:
    """From 0.6 down to the final value of this graph, in equal factors, after `share` of the updates."""
    final = FINAL[arm][d - 3] * 1.5 ** ((seed - 2) / 2)
    return 0.6 * (min(final, 0.69) / 0.6) ** share


def write_run(folder: Path, arm: str, d: int, seed: int, state: str = "done", frozen_at: int | None = None) -> Path:
    """One graph: config.yaml, status.json, metrics.csv, arrays.npz; frozen from update `frozen_at` on."""
    path = folder / f"{arm}-d{d}-seed{seed}"
    path.mkdir(parents=True)
    config = {
        "arm_name": arm,
        "seed": seed,
        "replicas": 1,
        "target": {"data": {"n_nodes": d, "seed": seed}},
        "evaluation": {"every": BATCH * EVERY * d},
    }
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    (path / "status.json").write_text(json.dumps({"state": state, "error": None}))
    steps = np.arange(0, UPDATES + 1, EVERY)
    jsd = jsd_at(arm, d, seed, steps / UPDATES)
    rmse = 0.5 * np.sqrt(jsd)
    metrics = {"jsd": jsd, "edge_rmse": rmse, "edge_correlation": 1 - rmse, "path_rmse": rmse, "markov_blanket_rmse": rmse}
    lines = [HEADER]
    for row, step in enumerate(steps.tolist()):
        values = {name: float(column[row]) for name, column in metrics.items()} | {"frozen": 0.0}
        if frozen_at is not None and step >= frozen_at:
            values |= {"frozen": 1.0}
        start = f"{step},{step * BATCH},{step * calls_per_update(arm, d)},{step * 0.01}"
        lines += [f"{start},0,{name},{value!r}\n" for name, value in values.items()]
    (path / "metrics.csv").write_text("".join(lines))
    rng = np.random.default_rng([d, seed])
    exact = rng.beta(0.6, 0.8, (d, d)) * (1 - np.eye(d))
    wrong = np.random.default_rng([d, seed, list(FINAL).index(arm)]).uniform(-1, 1, (d, d))
    learned = np.clip(exact + wrong * np.sqrt(jsd[-1]), 0, 1)
    np.savez(path / "arrays.npz", edges_learned=learned[None], edges_target=exact)
    return path


def table_of(folder: Path) -> pd.DataFrame:
    """As the command collects it."""
    return collect(folder, ["target.data.n_nodes"], say=lambda _: None)


def read(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text))


@pytest.fixture(scope="module")
def drawing() -> ModuleType:
    """experiments/dag_posterior/figure.py."""
    return figure_command.load(EXPERIMENT / "figure.py")


@pytest.fixture(scope="module")
def judging() -> ModuleType:
    """experiments/dag_posterior/claims.py."""
    return figure_command.load(EXPERIMENT / "claims.py")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All arms and sizes on five graphs; nobody changes it."""
    folder = tmp_path_factory.mktemp("whole") / "dag_posterior"
    for arm in FINAL:
        for d in (3, 4, 5):
            for seed in range(5):
                write_run(folder, arm, d, seed)
    return folder


@pytest.fixture(scope="module")
def table(whole: Path) -> pd.DataFrame:
    """Of them."""
    return table_of(whole)


@pytest.fixture(scope="module")
def texts(drawing: ModuleType, whole: Path, table: pd.DataFrame) -> dict[str, str]:
    """What is written beside their figure."""
    return dict(drawing.tables(table, RunArrays(whole)))


def test_the_csv_is_what_the_runs_ended_with(texts: dict[str, str]) -> None:
    """At equal updates mean, sample standard deviation, median and its interval over graphs, beside the paper's."""
    found = read(texts["table2.csv"]).set_index(["budget", "arm", "d"]).sort_index()
    for arm in FINAL:
        for d in (3, 4, 5):
            values = np.array([jsd_at(arm, d, seed, np.ones(1))[0] for seed in range(5)])
            row = found.loc["updates", arm, d]
            expected = [values.mean(), values.std() * math.sqrt(5 / 4), np.median(values), values.min(), values.max()]
            np.testing.assert_allclose(row[["mean", "std", "median", "low", "high"]], expected, rtol=1e-5)
            assert row["n"] == 5
            assert row["trajectories"] == UPDATES * BATCH
            assert row["reward_calls"] == UPDATES * calls_per_update(arm, d)
            if arm in PAPER:
                assert tuple(row[["paper_mean", "paper_std"]]) == PAPER[arm][d]
            else:
                assert row[["paper_mean", "paper_std"]].isna().all()


@pytest.mark.parametrize(
    ("arm", "d", "updates"),
    [
        ("trajectory_balance_off_policy", 5, 1000),  # 10 evaluations per update: all that it makes, 10,000, is what is equal
        ("trajectory_balance", 5, 100),
        ("reverse_kl_off_policy", 3, 100),  # does not replay
        ("modified_detailed_balance_off_policy", 5, 200),  # 50 per update
        ("modified_detailed_balance_off_policy", 3, 300),  # 30 per update: 333 updates, evaluated every 100
    ],
)
def test_equal_reward_evaluations(texts: dict[str, str], arm: str, d: int, updates: int) -> None:
    found = read(texts["table2.csv"]).set_index(["budget", "arm", "d"]).sort_index()
    row = found.loc["reward_evaluations", arm, d]
    values = [jsd_at(arm, d, seed, np.array([updates / UPDATES]))[0] for seed in range(5)]
    assert row["mean"] == pytest.approx(np.mean(values), rel=1e-5)
    assert row["reward_calls"] == updates * calls_per_update(arm, d) <= 10_000
    assert row["trajectories"] == updates * BATCH
    assert np.isnan(row["paper_mean"])
    assert ("reward_evaluations", "modified_detailed_balance", d) not in found.index  # spends them before its first evaluation


def test_a_budget_is_what_every_replica_has_and_each_stands_where_its_own_evaluations_are() -> None:
    """Of two arms, one with replicas that spend differently; the seeds stay with their values."""
    calls = {("a", 7): [0, 30, 60], ("a", 2): [0, 10, 40], ("b", 0): [0, 25, 50]}
    rows = [
        {"run": f"{arm}{seed}", "state": "done", "arm": arm, "seed": seed, "replica": 0, "trajectories": 64 * n, "metric": "jsd"}
        | {"value": 0.1 * seed + n, "reward_calls": spent, SIZE: 3}
        for (arm, seed), of_run in calls.items()
        for n, spent in enumerate(of_run)
    ]
    found = settings(pd.DataFrame(rows))
    assert smallest_totals(found) == {3: 40}
    standing = standings(found)["reward_evaluations"]["a", 3]
    assert standing.seeds.tolist() == [2, 7]
    np.testing.assert_allclose(standing.values, [2.2, 1.7])
    assert standing.reward_calls.tolist() == [40, 30]
    assert standing.trajectories.tolist() == [128, 64]
    with pytest.raises(TableError, match="first evaluated after more than -1 reward evaluations"):
        found["b", 3].within(-1)


def test_marginals(texts: dict[str, str]) -> None:
    found = read(texts["edge_marginals.csv"]).set_index(["metric", "arm", "d"])
    assert set(found.index.unique("metric")) == {"edge_rmse", "edge_correlation", "path_rmse", "markov_blanket_rmse"}
    rmse = [0.5 * math.sqrt(jsd_at("wake_sleep", 4, seed, np.ones(1))[0]) for seed in range(5)]
    assert found.loc[("edge_rmse", "wake_sleep", 4), "mean"] == pytest.approx(np.mean(rmse), rel=1e-5)
    assert found.loc[("edge_correlation", "wake_sleep", 4), "median"] == pytest.approx(1 - np.median(rmse), rel=1e-5)


@pytest.mark.parametrize(
    ("mean", "spread", "text"),
    [
        (9.35e-6, 2.99e-6, r"$(9.35 \pm 2.99) \times 10^{-6}$"),
        (9.996e-6, 0.4e-6, r"$(1.00 \pm 0.04) \times 10^{-5}$"),
        (9.35e-6, math.nan, r"$9.35 \times 10^{-6}$"),
        (0.022, 0.007, r"$0.022 \pm 0.007$"),
        (0.0099, 0.02, r"$(9.90 \pm 20.00) \times 10^{-3}$"),
        (0.5, math.nan, "$0.500$"),
        (0.0, 0.0, r"$0.000 \pm 0.000$"),
    ],
)
def test_numbers_in_latex(mean: float, spread: float, text: str) -> None:
    assert with_spread(mean, spread) == text


def test_the_latex_has_every_number_in_its_column(texts: dict[str, str]) -> None:
    """Twice six rows on-policy and six off-policy, of seven cells, with the paper's numbers in the five rows that it has."""
    lines = texts["table2.tex"].splitlines()
    rows = [[cell.strip() for cell in line.removesuffix(r"\\").split("&")] for line in lines if line.startswith(r"\quad")]
    assert [len(cells) for cells in rows] == [7] * 24
    off_policy_tb = rows[6]
    assert off_policy_tb[0] == r"\quad TB"
    assert off_policy_tb[2::2] == [with_spread(*PAPER["trajectory_balance_off_policy"][d]) for d in (3, 4, 5)]
    values = np.array([jsd_at("trajectory_balance_off_policy", 4, seed, np.ones(1))[0] for seed in range(5)])
    assert off_policy_tb[3] == with_spread(values.mean(), values.std(ddof=1))
    assert sum(bool(cell) for cells in rows for cell in cells[2::2]) == 15
    assert rows[13][1::2] == ["--"] * 3
    assert any("5 graphs" in line for line in lines)
    assert sum(line.endswith("; --: spent before the first evaluation of on-policy Modified DB.") for line in lines) == 3
    assert any("10,000 reward evaluations, all that off-policy TB makes" in line and "at 90\\% of them" in line for line in lines)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX")
def test_the_latex_compiles(texts: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "table2.tex").write_text(texts["table2.tex"])
    (tmp_path / "page.tex").write_text(
        r"\documentclass[twocolumn]{article}\usepackage{booktabs}\usepackage[margin=0.75in]{geometry}\begin{document}"
        r"\begin{table*}\centering\caption{c}\input{table2}\end{table*}\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "Overfull" not in done.stdout


def test_colors_are_objectives_and_dashes_are_on_policy(drawing: ModuleType, whole: Path, table: pd.DataFrame) -> None:
    """Twelve lines per size; then a row of scatter plots per size, those of the paper's arms."""
    with style.paper():
        axes = drawing.figure(table, RunArrays(whole)).axes
    for panel, d in zip(axes[:3], (3, 4, 5), strict=True):
        lines = {line.get_label(): line for line in panel.lines}
        assert panel.get_title() == f"$d = {d}$"
        assert list(lines) == list(ARMS)
        assert len({line.get_color() for line in lines.values()}) == 6
        for arm in ARMS[:6]:
            on, off = lines[arm], lines[f"{arm}_off_policy"]
            assert on.get_color() == off.get_color()
            assert (on.is_dashed(), off.is_dashed()) == (True, False)
        finals = [jsd_at("wake_sleep", d, seed, np.ones(1))[0] for seed in range(5)]
        assert lines["wake_sleep"].get_ydata()[-1] == pytest.approx(np.median(finals))
    assert len(axes) == 3 + 3 * 5


def test_points_are_pairs_of_nodes_and_their_error_is_in_the_title(drawing: ModuleType, whole: Path, table: pd.DataFrame) -> None:
    """Never the diagonal of a matrix, where no edge can be."""
    arrays = RunArrays(whole)
    panel = drawing.figure(table, arrays).axes[3 + 5 + 2]  # the second row of scatter plots: d = 4; on-policy TB
    pairs = ~np.eye(4, dtype=bool)
    contents = [arrays[f"trajectory_balance-d4-seed{seed}"] for seed in range(5)]
    expected = np.concatenate([np.stack([c["edges_target"][pairs], c["edges_learned"][0][pairs]], 1) for c in contents])
    np.testing.assert_array_equal(panel.collections[0].get_offsets(), expected)
    rmse = math.sqrt(((expected[:, 1] - expected[:, 0]) ** 2).mean())
    assert panel.get_title() == f"RMSE {rmse:.2g}"


def test_a_failed_replica_is_the_worst_in_everything(drawing: ModuleType, tmp_path: Path) -> None:
    for seed in range(2):
        path = write_run(tmp_path, "reverse_kl", 3, seed, frozen_at=500 if seed else None)
    content = dict(np.load(path / "arrays.npz"))
    np.savez(path / "arrays.npz", **content | {"edges_learned": content["edges_learned"] * np.nan})
    table, arrays = table_of(tmp_path), RunArrays(tmp_path)
    texts = drawing.tables(table, arrays)
    found = read(texts["table2.csv"])
    assert found.loc[found["budget"] == "updates", "high"].item() == pytest.approx(math.log(2), rel=1e-5)
    marginals = read(texts["edge_marginals.csv"]).set_index("metric")
    assert marginals.loc["edge_rmse", "high"] == 1
    assert marginals.loc["edge_correlation", "low"] == -1
    assert r"counted as $\log 2$: 1." in texts["table2.tex"]
    curve, points = drawing.figure(table, arrays).axes
    assert curve.get_title().endswith("drawn at the worst value: 1")
    assert points.get_title().endswith(", 1 failed")
    assert len(points.collections[0].get_offsets()) == 6


@pytest.mark.parametrize("x", ["trajectories", "reward_calls", "seconds"])
def test_a_sweep_in_progress_is_drawn_as_far_as_it_is(drawing: ModuleType, judging: ModuleType, tmp_path: Path, x: str) -> None:
    """Different arms at different sizes, one graph, none of the paper's arms at d = 4; a size that the paper does not have."""
    write_run(tmp_path, "wake_sleep", 3, 0)
    write_run(tmp_path, "forward_kl_off_policy", 4, 3)
    write_run(tmp_path, "reverse_kl", 5, 1, state="running")
    arrays = RunArrays(tmp_path)
    table = table_of(tmp_path)
    axes = drawing.figure(table, arrays, x=x, statistic="iqm").axes
    assert [panel.get_title() for panel in axes[:2]] == ["$d = 3$", "$d = 4$"]
    assert [[line.get_label() for line in panel.lines][:1] for panel in axes[:2]] == [["wake_sleep"], ["forward_kl_off_policy"]]
    assert len(axes) == 2 + 2 * 2
    texts = drawing.tables(table, arrays)
    assert [line.split(" & ")[0] for line in texts["table2.tex"].splitlines() if line.startswith(r"\quad")] == 2 * [
        r"\quad Wake-sleep",
        r"\quad Forward KL",
    ]
    assert {claim.agrees for claim in judging.claims(table)} == {None}
    other = table.assign(**{SIZE: 6})
    assert "paper" not in drawing.tables(other[other["arm"] == "wake_sleep"], arrays)["table2.tex"]


def test_what_cannot_be_drawn_is_said(drawing: ModuleType, tmp_path: Path) -> None:
    path = write_run(tmp_path, "reverse_kl", 3, 0)
    table = table_of(tmp_path)
    with pytest.raises(TableError, match=r"no column config\.target\.data\.n_nodes"):
        drawing.figure(table.drop(columns=SIZE), {})
    with pytest.raises(TableError, match=f"run {path.name} has no arrays.npz"):
        drawing.figure(table, {})
    with pytest.raises(TableError, match="lacks edges_learned, edges_target"):
        drawing.figure(table, {path.name: {}})
    with pytest.raises(TableError, match="nothing to draw"):
        drawing.figure(table.assign(state="running"), {})


def test_claims_of_the_paper_hold_for_its_own_numbers(judging: ModuleType, table: pd.DataFrame) -> None:
    """With graphs that differ by a factor of 1.5, every verdict is known."""
    found = {claim.claim: claim for claim in judging.claims(table)}
    assert len(found) == 27
    verdicts = {d: [claim.verdict for text, claim in found.items() if f"d = {d}:" in text] for d in (3, 4, 5)}
    # two far below two, TB equals reverse KL, off-policy reverse KL; then two at equal reward evaluations, and the limit
    assert verdicts[3] == [*["yes"] * 5, "undecided", *["yes"] * 3]
    assert verdicts[4] == ["yes"] * 9
    assert verdicts[5] == ["yes"] * 9
    assert [text.startswith("(Not in the paper)") for text in found] == [False] * 18 + [True] * 9
    told = found["d = 4: on-policy TB and on-policy reverse KL are about equal."].measured
    assert "on the same graph 1 (1 to 1)" in told
    told = found["(Not in the paper) d = 5: the JSD of off-policy TB is below 0.005 on every graph."].measured
    assert told.startswith("5 of 5 graphs; median 0.000544 (")


def altered(table: pd.DataFrame, arm: str, d: int, factor: float) -> pd.DataFrame:
    """With the JSD of one arm at one size times `factor`."""
    chosen = (table["arm"] == arm) & (table[SIZE] == d) & (table["metric"] == "jsd")
    return table.assign(value=np.where(chosen, factor * table["value"], table["value"]))


@pytest.mark.parametrize(
    ("arm", "d", "factor", "sentence", "verdict"),
    [
        ("trajectory_balance_off_policy", 5, 5, "off-policy TB is orders of magnitude below", "undecided"),
        ("trajectory_balance_off_policy", 5, 50, "off-policy TB is orders of magnitude below", "no"),
        ("reverse_kl", 5, 2.5, "about equal", "no"),
        ("reverse_kl", 5, 1.5, "about equal", "yes"),
        ("reverse_kl", 4, 0.3, "reverse KL is worse off-policy", "yes"),
        ("reverse_kl", 4, 10, "reverse KL is worse off-policy", "no"),
        ("reverse_kl_off_policy", 3, 0.1, "reverse KL is not worse off-policy", "yes"),
        ("reverse_kl_off_policy", 3, 10, "reverse KL is not worse off-policy", "no"),
        ("trajectory_balance_off_policy", 4, 1e6, "at equal reward evaluations, too", "no"),
        ("trajectory_balance_off_policy", 4, 1e6, "modified DB every visited state", "no"),
        ("trajectory_balance_off_policy", 4, 10, "is below 0.0001 on every graph", "no"),
    ],
)
def test_claims_can_fail(
    judging: ModuleType, table: pd.DataFrame, arm: str, d: int, factor: float, sentence: str, verdict: str
) -> None:
    claims = judging.claims(altered(table, arm, d, factor))
    claim = next(claim for claim in claims if f"d = {d}:" in claim.claim and sentence in claim.claim)
    assert claim.verdict == verdict, claim


def test_a_jsd_that_is_only_rounding_is_equal_to_another(judging: ModuleType, table: pd.DataFrame) -> None:
    """Exactly 0 too, which has no logarithm."""
    rounded = altered(altered(table, "trajectory_balance", 3, 0.0), "reverse_kl", 3, 1e-14)
    claim = next(
        claim for claim in judging.claims(rounded) if claim.claim.startswith("d = 3: on-policy TB and on-policy reverse")
    )
    assert claim.verdict == "yes"
    assert claim.measured.endswith("on the same graph 1 (1 to 1)")


def test_equal_on_most_graphs_is_not_decided(judging: ModuleType, table: pd.DataFrame) -> None:
    """On one of five the ratio is 5.5; of two graphs alone nothing is decided either."""
    other = table["value"].where(table["seed"] != 4, altered(table, "reverse_kl", 5, 5)["value"])
    for rows, interval in ((table.assign(value=other), "1.1 (1.1 to 5.5)"), (table[table["seed"] < 2], "on the same graph 1.1")):
        claim = next(
            claim for claim in judging.claims(rows) if claim.claim.startswith("d = 5: on-policy TB and on-policy reverse")
        )
        assert claim.verdict == "undecided"
        assert claim.measured.endswith(interval)


def test_runs_on_other_graphs_belong_together(tmp_path: Path) -> None:
    """They differ in the seed of their data only; a size is told by the size, not by what depends on it."""
    for d in (3, 4):
        for seed in range(2):
            write_run(tmp_path, "reverse_kl", d, seed)
    groups = final_values(table_of(tmp_path), "jsd", 1.0)
    assert {name: len(values) for name, values in groups.items()} == {
        "reverse_kl target.data.n_nodes=3": 2,
        "reverse_kl target.data.n_nodes=4": 2,
    }


def test_the_command_writes_and_prints_the_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Between the numbers that every experiment has and the figure; the same again for the same runs."""
    folder = tmp_path / "dag_posterior"
    for seed in range(2):
        write_run(folder, "reverse_kl", 3, seed)
    words = ["experiment=dag_posterior", f"output_root={tmp_path}"]
    assert figure_command.main(words) == 0
    names = ["summary.csv", "improvement.csv", "table2.tex", "table2.csv", "edge_marginals.csv", "figure.pdf", "figure.png"]
    assert capsys.readouterr().out.splitlines() == ["2 runs: 2 done", *(str(folder / name) for name in names)]
    before = [(folder / name).read_bytes() for name in names]
    assert figure_command.main(words) == 0
    assert [(folder / name).read_bytes() for name in names] == before
