"""Reference samples as a user meets them: drawn once, kept beside the runs, drawn anew for another function, or refused."""

from __future__ import annotations

from pathlib import Path

from system.command import Outcome, only_run, records, train
from system.test_bad_input import assert_refused

GAUSSIAN = """
def density(x):
    return 0.7 - {} * ((x[:, 0] - 1) ** 2 + x[:, 1] ** 2)
"""
QUICK = (
    *("target=user_density", "target.function=gaussian_density.density", "sampler=mean_field", "evaluation.n_samples=60"),
    *("trainer.n_trajectories=320", "evaluation.every=160", "evaluation.metrics.distances.block=30"),
)
CHAINS = (
    *("reference@evaluation.references=nuts", "evaluation.references.n_chains=2", "evaluation.references.n_samples=80"),
    *("evaluation.references.n_warmup=60", "evaluation.references.largest_r_hat=1.1", "evaluation.references.smallest_ess=40"),
)


def run(folder: Path, *more: str, precision: float = 0.5) -> Outcome:
    (folder / "gaussian_density.py").write_text(GAUSSIAN.format(precision))
    return train([*QUICK, *CHAINS, *more], folder, {"PYTHONPATH": str(folder)})


def test_they_are_drawn_once_for_all_runs_of_a_target_and_anew_when_it_changes(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert first.code == 0, first.err
    (file,) = (tmp_path / "outputs" / "references").glob("*.npz")
    assert file.name.startswith("UserDensity-")
    assert f"drawing reference samples, once for all runs that need them: outputs/references/{file.name}" in first.err
    last = {row["metric"]: float(row["value"]) for row in records(only_run(tmp_path / "outputs"))}
    assert last["reference_r_hat"] < 1.1
    assert last["reference_ess"] > 40
    assert last["reference_divergent"] == 0
    assert "bound_gap" in first.out, "what the run is judged by"
    log_Z = 0.7 + 1.8378770664093453
    assert abs(last["eubo"] - last["sampled_elbo"] - last["bound_gap"]) < 1e-6
    assert last["eubo"] + 4 * last["eubo_se"] > log_Z > last["sampled_elbo"] - 4 * last["sampled_elbo_se"]
    second = run(tmp_path, "seed=1")
    assert second.code == 0, second.err
    assert "drawing" not in second.err
    changed = run(tmp_path, "seed=2", precision=2.0)
    assert changed.code == 0, changed.err
    assert "drawing" in changed.err
    (other,) = set((tmp_path / "outputs" / "references").glob("*.npz")) - {file}
    other.write_bytes(b"damaged")
    damaged = run(tmp_path, "seed=3", precision=2.0)
    assert damaged.code == 0, damaged.err
    assert "cannot be read" in damaged.err
    assert other.stat().st_size > 1000


def test_chains_that_disagree_end_the_run_and_the_next_one_at_once(tmp_path: Path) -> None:
    limit = "evaluation.references.smallest_ess=1000"
    for said in ("drawing", "160 samples are worth"):
        outcome = run(tmp_path, limit)
        assert outcome.code != 0
        assert said in outcome.err
        last = outcome.err.splitlines()[-1]
        assert last.startswith("error: evaluation.references=Nuts: 160 samples are worth")
        assert "(at least 1000)" in last
    assert "drawing" not in outcome.err, "kept: the limits are looked at again"


def test_what_cannot_be_compared_is_refused_before_work(tmp_path: Path) -> None:
    few = train(["target=user_density", *QUICK[2:], *CHAINS, "evaluation.n_samples=81"], tmp_path / "few")
    assert_refused(few, "evaluation.references.n_samples=80", "expected 81 or more")
    graphs = train(["reference@evaluation.references=nuts"], tmp_path / "graphs")
    assert_refused(graphs, "evaluation.references=Nuts", "this target has states", "reference@evaluation.references=null")
    nothing = train(["target=user_density", *QUICK[2:], *CHAINS, "evaluation.references.start_std=0"], tmp_path / "nothing")
    assert_refused(nothing, "evaluation.references.start_std=0", "expected a finite number > 0")


def test_without_them_one_line_says_what_is_not_measured(tmp_path: Path) -> None:
    outcome = train(["target=user_density", "sampler=mean_field", "trainer.n_trajectories=64"], tmp_path)
    assert outcome.code == 0, outcome.err
    told = [line for line in outcome.err.splitlines() if "target_bounds, distances of evaluation.metrics are off" in line]
    assert len(told) == 1
    assert "reference@evaluation.references=nuts" in told[0]
    assert "sampled_elbo" in outcome.out
