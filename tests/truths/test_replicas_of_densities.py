"""On densities, too, R replicas are R independent runs, a run goes on where it was stopped, and what is not finite is frozen."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
import torch
from building import make_trainer, samplers
from torch import Tensor

from gfn_vi.training.trainer import Trainer

R, UPDATES = 3, 6
SMALL = ("trainer.batch_size=12", "trainer.n_trajectories=240", "evaluation.n_samples=500", "evaluation.metrics.distances=null")
MODES = ("target.means=[[-2.0],[1.5]]", "target.covariance=[0.3,0.5]", "target.log_weights=[-0.4,-1.1]")
LINE = ("target=gaussian_mixture", "target.dim=1", *MODES)
PLANE = "target=eight_gaussians"
DIFFUSION = ("sampler=diffusion", "sampler.n_steps=4", "sampler.hidden=[8]", "sampler.n_frequencies=4")
NONE = "baseline@objective.baseline=none"
UNWEIGHTED = ("weighting@objective.weighting=unweighted", NONE)
PATHWISE = ("objective=reverse_kl", "estimator@objective.estimator=pathwise", NONE)
LANDING = ("objective=reverse_kl", "estimator@objective.estimator=sticking_the_landing", NONE)
SEARCH = (
    *("exploration=local_search", "exploration.every=24", "exploration.n_chains=4"),
    *("exploration.n_steps=6", "exploration.burn_in=3"),
)
FEW = {"variance_preserving": DIFFUSION[1:], "gaussian_chain": ("sampler.hidden=[8]",), "flow": ("sampler.hidden=[8]",)}
LANGEVIN = ("sampler.langevin=scalar", "sampler.backward=learned", "sampler.learn_noise=true")
OBJECTIVES = ("trajectory_balance", "detailed_balance", "log_variance", "symmetric_kl", "tsallis_alpha")
RUNS: dict[str, tuple[str, ...]] = {
    **{name: (PLANE, *DIFFUSION, "sampler.backward=learned", f"objective={name}") for name in OBJECTIVES},
    **{name: (PLANE, f"sampler={name}", *FEW.get(name, ())) for name in samplers("continuous") if name != "diffusion"},
    "widened": (PLANE, *DIFFUSION, "exploration=widened_steps", "objective=trajectory_balance"),
    "replay": (PLANE, *DIFFUSION, "exploration=prioritized_replay", "objective=reverse_kl", *UNWEIGHTED),
    "backward_rollout": (PLANE, *DIFFUSION, "exploration=backward_rollout", "objective=trajectory_balance"),
    "local_search": ("target=many_well", "target.dim=4", *DIFFUSION, *LANGEVIN, *SEARCH, "objective=trajectory_balance"),
    "pathwise": ("target=funnel", "target.dim=3", *DIFFUSION, *LANGEVIN, *PATHWISE),
    "sticking_the_landing": ("target=funnel", "target.dim=3", "sampler=flow", "sampler.hidden=[6]", *LANDING),
    "flows": ("target=many_well", "target.dim=2", *DIFFUSION, "sampler.forward_looking=true", "objective=subtrajectory_balance"),
    "random_times": (PLANE, *DIFFUSION, "sampler.training_grid=random", "objective=trajectory_balance"),
    "line": (*LINE, *DIFFUSION, "sampler.backward=learned", "evaluation=both"),
    "chain": (PLANE, "sampler=gaussian_chain", "sampler.n_layers=3", "objective=wake_sleep", NONE),
}
every_run = pytest.mark.parametrize("run", RUNS)


def trainer_of(run: str, *more: str, **top: Any) -> Trainer:
    return make_trainer(*SMALL, *RUNS[run], *more, **top)


@every_run
def test_a_replica_is_the_single_run_with_its_seed(run: str) -> None:
    """Losses, parameters, metrics and counted calls. Batched products round otherwise than single ones."""
    joint = trainer_of(run, replicas=R, seed=5)
    losses = torch.stack([joint.update()[0] for _ in range(UPDATES)])
    metrics = joint.measure()
    r = R - 1
    single = trainer_of(run, replicas=1, seed=5 + r)
    own = torch.stack([single.update()[0] for _ in range(UPDATES)])
    torch.testing.assert_close(losses[:, r], own[:, 0], rtol=1e-7, atol=1e-8)
    for a, b in zip(joint.parts.sampler.parameters(), single.parts.sampler.parameters(), strict=True):
        torch.testing.assert_close(a[r], b[0], rtol=1e-7, atol=1e-8)
    for key, value in single.measure().items():
        torch.testing.assert_close(metrics[key][r], value[0], rtol=1e-6, atol=1e-7, msg=lambda m, key=key: f"{key}: {m}")
    for name, calls in single.calls.items():
        assert int(joint.calls[name][r]) == int(calls[0]), name
    assert not torch.equal(losses[:, 0], losses[:, 1])


@every_run
def test_a_run_goes_on_bit_for_bit(run: str) -> None:
    """From a checkpoint in the middle: losses, parameters and what is then measured."""
    whole, stopped, resumed = (trainer_of(run, replicas=2, seed=3) for _ in range(3))
    for trainer in (whole, stopped):
        for _ in range(UPDATES // 2):
            trainer.update()
        trainer.measure()
    file = io.BytesIO()
    torch.save(stopped.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for _ in range(UPDATES // 2):
        assert torch.equal(whole.update()[0], resumed.update()[0])
    for a, b in zip(whole.parts.sampler.parameters(), resumed.parts.sampler.parameters(), strict=True):
        assert torch.equal(a, b)
    for (name, a), b in zip(whole.measure().items(), resumed.measure().values(), strict=True):
        assert torch.equal(a, b), name
    for name, calls in whole.calls.items():
        assert torch.equal(calls, resumed.calls[name]), name


class Spoiled:
    """A function of states [R, ...] of a target, of which replica 1 gets `value` from call `start` on."""

    def __init__(self, target: Any, name: str, start: int, value: float) -> None:
        self.original, self.start, self.value, self.calls = getattr(target, name), start, value, 0
        setattr(target, name, self)

    def __call__(self, states: Tensor) -> Tensor:
        out = self.original(states)
        self.calls += 1
        if self.calls > self.start and out.shape[0] == R:
            out = out.clone()
            out[1] = self.value
        return out


FREEZING = [
    "trajectory_balance",
    "detailed_balance",
    "pathwise",
    "replay",
    "backward_rollout",
    "local_search",
    "mean_field",
    "flow",
]


def check_frozen(run: str, function: str, value: float) -> None:
    """Three sound updates, then replica 1 is spoiled: it stays as it was, the others are what they are without it."""
    sound, before, spoiled = (trainer_of(run, replicas=R) for _ in range(3))
    for trainer in (sound, before, spoiled):
        for _ in range(3):
            trainer.update()
    Spoiled(spoiled.parts.target, function, 0, value)
    for _ in range(4):
        sound.update()
        spoiled.update()
    assert spoiled.parts.optimizer.frozen.tolist() == [False, True, False]
    assert not bool(sound.parts.optimizer.frozen.any())
    parameters = (t.parts.sampler.parameters() for t in (spoiled, sound, before))
    for now, others, frozen in zip(*parameters, strict=True):
        assert torch.equal(now[1], frozen[1])
        torch.testing.assert_close(now[[0, 2]], others[[0, 2]], rtol=0, atol=0)


@pytest.mark.parametrize(("run", "value"), [*((run, math.nan) for run in FREEZING), ("detailed_balance", math.inf)])
def test_a_reward_that_is_not_finite_freezes_its_replica_alone(run: str, value: float) -> None:
    check_frozen(run, "log_reward", value)


def test_a_score_that_is_not_finite_freezes_its_replica_alone() -> None:
    """Where the drift looks at it."""
    check_frozen("local_search", "score", math.nan)


@pytest.mark.parametrize("run", ["trajectory_balance", "local_search", "line", "gaussian_mixture_family", "full_rank", "flow"])
def test_parameters_that_are_not_finite_harm_nobody_else(run: str) -> None:
    """Its metrics are NaN or counted, those of others finite and what they would be; training goes on."""
    sound, spoiled = (trainer_of(run, replicas=R) for _ in range(2))
    for trainer in (sound, spoiled):
        trainer.update()
    with torch.no_grad():
        for parameter in spoiled.parts.sampler.parameters():
            parameter[1] = math.nan
    for _ in range(3):
        losses = [t.update()[0] for t in (sound, spoiled)]
        torch.testing.assert_close(losses[1][[0, 2]], losses[0][[0, 2]], rtol=1e-11, atol=1e-12)
    assert spoiled.parts.optimizer.frozen.tolist() == [False, True, False]
    wanted = sound.measure()
    for name, value in spoiled.measure().items():
        torch.testing.assert_close(value[[0, 2]], wanted[name][[0, 2]], rtol=1e-9, atol=1e-11, msg=name)
        assert value.shape == (R,)
    assert spoiled.measured["non_finite_share"].tolist() == [0, 1, 0]
    assert math.isnan(float(spoiled.measured["sampled_elbo"][1]))
