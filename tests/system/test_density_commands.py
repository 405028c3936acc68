"""Runs over densities: they resume bit for bit, freeze what is not finite, leave pictures, and refuse what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from system.command import files_below, only_run, records, run_command, train
from system.test_bad_input import assert_refused
from system.test_resume import assert_finished_alike

SMALL = (
    *("sampler=diffusion", "sampler.n_steps=4", "sampler.hidden=[8]", "trainer.batch_size=16", "trainer.record_every=16"),
    *("evaluation.every=160", "evaluation.n_samples=500", "trainer.n_trajectories=320"),
)
PATHWISE = "objective=reverse_kl estimator@objective.estimator=pathwise baseline@objective.baseline=none"
# arguments -> what the line must say
REFUSED = {
    "target=gmm25": ("sampler=MlpSampler", "a density on R^d", "sampler=diffusion"),
    "sampler=diffusion": ("sampler=DiffusionSampler", "states and actions", "sampler=mlp"),
    "target=gmm25 sampler=diffusion exploration=epsilon_uniform": ("exploration=EpsilonUniform", "exploration=widened_steps"),
    "exploration=widened_steps": ("exploration=WidenedSteps", "exploration=epsilon_uniform"),
    "exploration=local_search": ("exploration=LocalSearch", "the gradient of log R", "exploration=backward_rollout"),
    "target=gmm25 sampler=diffusion exploration=local_search exploration.burn_in=200": ("exploration.burn_in=200", "n_steps=200"),
    "target=gmm25 sampler=diffusion objective=flow_matching": ("objective", "summed over its parents", "every point is a parent"),
    "target=gmm25 sampler=diffusion objective=modified_detailed_balance": ("objective", "every state can stop"),
    f"{PATHWISE}": ("objective.estimator=pathwise", "estimator@objective.estimator=score"),
    f"target=gmm25 sampler=gaussian_mixture_family {PATHWISE}": ("objective.estimator=pathwise", "GaussianMixtureFamily"),
    f"target=gmm25 sampler=diffusion exploration=widened_steps {PATHWISE}": ("objective.estimator", "exploration=on_policy"),
    f"target=gmm25 sampler=diffusion exploration=replay {PATHWISE}": ("objective.estimator=Pathwise", "exploration=on_policy"),
    "target=gmm25 sampler=diffusion objective=wake_sleep estimator@objective.estimator=pathwise": (
        "objective.estimator",
        "ForwardKL",
    ),
    "target=gmm25 sampler=diffusion sampler.training_grid=random exploration=replay": ("exploration=Replay", "other times"),
    "target=gmm25 sampler=diffusion sampler.training_steps=5": ("sampler.training_grid", "uniform, random"),
    "target=funnel target.dim=1 sampler=flow": ("target.dim=1",),
    "target=gmm25 sampler=linear_chain objective=detailed_balance": ("sampler=LinearChain", "objective=trajectory_balance"),
    "target=gmm25 sampler=diffusion sampler.n_steps=0": ("sampler.n_steps=0", "whole number >= 1"),
    "target=gmm25 sampler=diffusion sampler.sigma=0": ("sampler.sigma=0", "positive"),
    "target=gmm25 sampler=diffusion sampler.n_steps=2 sampler.grid=[0,1,0.5]": ("sampler.grid", "increasing"),
    "target=gaussian_mixture target.dim=3 sampler=diffusion": ("target.means", "target.dim=3"),
    "target=many_well target.dim=3 sampler=diffusion": ("target.dim=3", "even"),
    "target=user_density target.function=nowhere.density sampler=diffusion": ("target.function", "nowhere"),
    "target=gmm25 sampler=diffusion evaluation.n_samples=100": ("evaluation.n_samples=100", "two blocks"),
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_one_line_and_nothing_on_disk(arguments: str, tmp_path: Path) -> None:
    here = tmp_path / "here"
    outcome = train([*arguments.split(), "trainer.n_trajectories=16"], here)
    assert_refused(outcome, *REFUSED[arguments])
    assert files_below(here) == []


@pytest.mark.parametrize(
    "combination",
    [
        "target=gmm25 exploration=widened_steps replicas=2",
        "target=many_well target.dim=4 objective=detailed_balance sampler.forward_looking=true sampler.langevin=scalar",
        "target=gmm25 exploration=local_search exploration.every=64 exploration.n_chains=4 exploration.n_steps=6 "
        "exploration.burn_in=3 sampler.training_grid=random",
        f"target=funnel {PATHWISE} sampler.backward=learned sampler.learn_noise=true",
        "target=eight_gaussians objective=reverse_wake_sleep exploration=replay weighting@objective.weighting=unweighted "
        "baseline@objective.baseline=none sampler.backward=learned",
    ],
)
def test_20_updates_are_10_and_10(combination: str, tmp_path: Path) -> None:
    command = [*SMALL, *combination.split()]
    assert train([*command, "output_root=whole"], tmp_path).code == 0
    parts = [*command, "output_root=parts", "checkpoint.pause_after=160"]
    assert "stopped after 160 trajectories" in train(parts, tmp_path).out
    resumed = train(parts, tmp_path)
    assert resumed.code == 0, resumed.err
    assert_finished_alike(only_run(tmp_path / "whole"), only_run(tmp_path / "parts"))


def test_a_replica_that_is_not_finite_freezes_and_pictures_are_drawn_of_the_others(tmp_path: Path) -> None:
    more = ["target=gmm25", "optimizer=sgd", "optimizer.lr_forward=[1e30,1e-3]", "replicas=2", "pictures=true"]
    outcome = train([*SMALL, *more], tmp_path)
    assert outcome.code == 1, outcome.err
    assert "replica 0 (seed 0) became non-finite in update 2 and was frozen" in outcome.err
    run = only_run(tmp_path / "outputs")
    assert {"samples.png", "trajectories.pdf", "arrays.npz"} <= {path.name for path in run.iterdir()}
    (run / "samples.png").unlink()
    run_command("pictures", [str(run)], tmp_path)  # what a finished run says draws its pictures again
    assert (run / "samples.png").exists()
    last = {(row["replica"], row["metric"]): float(row["value"]) for row in records(run)}
    assert last["0", "frozen"] == 1
    assert last["1", "frozen"] == 0


def test_a_changed_function_is_not_the_run_that_is_done(tmp_path: Path) -> None:
    """In a configuration of one's own, which names a function of a module beside it."""
    (tmp_path / "mine" / "target").mkdir(parents=True)
    (tmp_path / "mine" / "target" / "my_density.yaml").write_text(
        "# Mine.\ndefaults: [user_density, _self_]\nfunction: my_densities.f\ndim: 2\n"
    )
    module = tmp_path / "my_densities.py"
    command = ["target=my_density", "--config-dir", "mine", *SMALL, "trainer.n_trajectories=16"]
    outcomes = []
    for width in (2, 2, 3):
        module.write_text(f"def f(x): return -x.square().sum(1) / {width}\n")
        outcomes.append(train(command, tmp_path))
    first, same, changed = outcomes
    assert (first.code, same.code, changed.code) == (0, 0, 2)
    assert "already done" in same.out
    assert changed.err.startswith("error: my_densities.py has changed since outputs/")


def test_scores_are_counted_beside_rewards(tmp_path: Path) -> None:
    """One reward per trajectory; one score per step of a drift that looks at it, in the rollout and in the evaluation."""
    assert train([*SMALL, "target=gmm25", "sampler.langevin=scalar"], tmp_path).code == 0
    last = {row["metric"]: row for row in records(only_run(tmp_path / "outputs"))}
    assert int(last["loss"]["reward_calls"]) == 320
    assert float(last["score_calls"]["value"]) == 320 * 4 * 2
