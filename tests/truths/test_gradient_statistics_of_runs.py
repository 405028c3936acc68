"""evaluation=gradients in a run: it leaves training alone, resumes, keeps its clock, and refuses what cannot be measured."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from building import make_trainer
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.evaluation.gradients import statistics as gradient_statistics
from gfn_vi.training.trainer import Trainer

RUN = (
    *("objective=reverse_wake_sleep", "baseline@objective.baseline=running_mean", "exploration=stop_bias"),
    *("trainer.batch_size=8", "trainer.n_trajectories=96", "target.side=4", "sampler.hidden=[8]"),
)
SMALL = ("evaluation=gradients", "evaluation.metrics.gradients.n_batches=16", "evaluation.metrics.gradients.n_reference=65")


def trained(trainer: Trainer, updates: int, measure: bool) -> list[Tensor]:
    """Losses, and after each update the training statistics."""
    found = []
    for _ in range(updates):
        loss, trajectories, evaluation = trainer.update()
        found += list(trainer.training_statistics(loss, trajectories, evaluation).values())
        if measure:
            assert "gradients/cosine/forward/trajectory_balance/on_policy/64" in trainer.measure()
    return found


def same(a: Any, b: Any) -> bool:
    """Equal bit for bit, through dicts and lists."""
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b)


def test_a_run_is_the_same_bit_for_bit_measured_or_not() -> None:
    """Parameters, optimizer, exploration, generators and training statistics; measured, stopped and resumed in the middle too."""
    plain = make_trainer(*RUN, replicas=2, dtype="float32")
    watched = make_trainer(*RUN, *SMALL, replicas=2, dtype="float32")
    resumed = make_trainer(*RUN, *SMALL, replicas=2, dtype="float32")
    statistics = trained(plain, 6, measure=False)
    first = trained(watched, 3, measure=True)
    resumed.load_state_dict(watched.state_dict())
    second = trained(watched, 3, measure=True)
    assert same(statistics, first + second)
    assert same(second, trained(resumed, 3, measure=True))
    assert same(watched.measured, resumed.measured)
    a, b, c = (trainer.state_dict() for trainer in (plain, watched, resumed))
    for state in (a, b, c):
        # clocks, and calls of the reward by metrics, which are counted apart
        state.pop("wall_seconds")
        state["sampler"].pop("reward_calls")
    assert same(b, c)
    a.pop("metric_rng"), b.pop("metric_rng")
    assert same(a, b)


G = "evaluation.metrics.gradients"
REFUSED = {
    "reference": (f"{G}.reference=large", f"{G}.reference=large: expected one of exact, independent, nested"),
    "role": (f"{G}.roles=[forwards]", "expected some of forward, backward, flow, log_Z"),
    "n_batches": (f"{G}.n_batches=20", "expected a multiple of 8, at least 16"),
    "batch": (f"{G}.batch_sizes=[64,1]", "log_variance compares trajectories: expected at least 2"),
    "sizes": (f"{G}.batch_sizes=[]", "expected at least one whole number"),
    "n_reference": (f"{G}.n_reference=64", "expected more trajectories than in the largest batch, 64"),
    "nested": (f"{G}.reference=nested {G}.n_reference=1000", "expected a multiple of 512"),
    "flow": (f"+objective@{G}.estimators.mine=detailed_balance", f"sampler.flow=False: {G}.estimators.mine needs learned"),
    "stop": (
        f"target=tiny_dag +objective@{G}.estimators.mine=modified_detailed_balance",
        f"needs a target in which every state can stop; use {G}.estimators.mine=null",
    ),
    "no_objective": (
        f"+{G}.estimators.foo=reverse_kl",
        f"{G}.estimators.foo=reverse_kl: expected a choice of the group objective",
    ),
    "no_behavior": (f"+{G}.behaviors.foo=stop_bias", f"{G}.behaviors.foo=stop_bias: expected a choice of the group exploration"),
    "no_parameters": (f"{G}.roles=[flow]", f"{G}.roles=['flow']: the sampler has no parameters of these"),
    "twice": (f"{G}.batch_sizes=[8,8]", f"{G}.batch_sizes=[8, 8]: expected at least one whole number, each >= 1 and none twice"),
    "memory": (f"+exploration@{G}.behaviors.mine=replay", f"{G}.behaviors.mine=Replay: a behavior with a memory"),
    "on_policy": (
        f"+exploration@{G}.behaviors.mine=stop_bias +{G}.estimators.noise._target_=gfn_vi.objectives.score_noise.ScoreNoise",
        f"{G}.estimators.noise=ScoreNoise: holds on-policy only and behaviors.mine is StopBias",
    ),
    "nothing": (f"{G}.behaviors.on_policy=null", f"{G}.behaviors={{}}: expected at least one exploration"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_measured_is_refused_before_work(case: str) -> None:
    overrides, message = REFUSED[case]
    with pytest.raises(ConfigError) as error:
        make_trainer("evaluation=gradients", *overrides.split())
    assert message in str(error.value)


def test_estimators_and_behaviors_are_added_by_the_command_line() -> None:
    """A preset whose sides share a divergence keeps it wherever it is put; flows are measured where there are some."""
    trainer = make_trainer(
        *("target.side=3", "sampler.hidden=[4]", "sampler.flow=true", *SMALL),
        *(f"+objective@{G}.estimators.chi=chi_square", f"+objective@{G}.estimators.db=detailed_balance"),
        *(f"+exploration@{G}.behaviors.bias=stop_bias", f"{G}.estimators.wake_sleep=null", f"{G}.roles=[flow,forward]"),
    )
    found = trainer.measure()
    assert float(found["gradients/variance/flow/db/bias/64"]) > 0
    assert float(found["gradients/exact/forward/chi/bias/64"]) == 1
    assert not any("wake_sleep" in name for name in found)
    assert 0 < float(found["gradients/ess_forward/bias"]) < 1
    assert float(found["gradients/ess_forward/on_policy"]) == pytest.approx(1)


def test_a_clock_of_its_own() -> None:
    """At both ends of the run, and between whenever a multiple of `every` has passed since the last evaluation."""
    trainer = make_trainer(*RUN, *SMALL, "evaluation.every=16", "trainer.n_trajectories=80", f"{G}.every=32")
    seen: dict[int, bool] = {}
    while not seen or trainer.step < trainer.budget.steps:
        if seen:
            trainer.update()
            trainer.update()
        seen[trainer.seen] = any(name.startswith("gradients/") for name in trainer.measure())
    assert seen == {0: True, 16: False, 32: True, 48: False, 64: True, 80: True}


def test_references_are_exact_in_single_precision_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Policies in float32 sum to 1 up to their rounding: no reason to compare with a sampled reference instead."""

    def sampled(*arguments: object) -> None:
        raise AssertionError("a reference is sampled where all is known exactly")

    monkeypatch.setattr(gradient_statistics, "large_batch_gradients", sampled)
    trainer = make_trainer("evaluation=gradients", "target.side=5", "sampler.hidden=[8]", dtype="float32")
    assert any(name.startswith("gradients/bias/") for name in trainer.measure())
