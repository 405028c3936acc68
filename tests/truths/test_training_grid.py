"""Other times in training than in evaluation: which they are, that an update uses them, and that nothing else does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from building import generators, make_exploration, make_trainer
from densities import NETWORK, VARIANTS, make, spread

from gfn_vi.core.errors import ConfigError

R = 2
EXACT = {"rtol": 1e-11, "atol": 1e-11}
RUN = (
    *("target=gmm25", "sampler=diffusion", "sampler.n_steps=6", "sampler.hidden=[8]", "sampler.n_frequencies=4"),
    *("sampler.langevin=scalar", "trainer.batch_size=8", "trainer.n_trajectories=64", "evaluation.n_samples=500"),
)
CHOICES = {
    "uniform": ("sampler.training_grid=uniform", "sampler.training_steps=3"),
    "random": ("sampler.training_grid=random",),
    "random_coarse": ("sampler.training_grid=random", "sampler.training_steps=4", "sampler.start_std=0.5"),
}
every_choice = pytest.mark.parametrize("choice", CHOICES)


def times_of(sampler: Any) -> list[float]:
    return sampler.in_training(0).times.tolist()


def test_without_a_choice_training_has_the_steps_of_evaluation() -> None:
    for name, variants in VARIANTS.items():
        sampler = make(name, *variants["plain"])
        assert sampler.in_training(0) is sampler
        assert not sampler.has_changing_steps


def test_random_times_rise_between_the_ends_and_change_with_the_clock() -> None:
    """The mean of the i-th of n - 1 sorted uniform numbers is i / n; no interval is shorter than a tenth of a uniform one."""
    sampler = make("diffusion", *NETWORK, "grid=[1,2,4,5,6,9]", "training_grid=random", "training_steps=8")
    grid = sampler.training_grid
    drawn = torch.tensor([grid.times(16 * k) for k in range(2000)]).double()
    assert drawn.shape == (2000, 9)
    assert len(set(map(tuple, drawn.tolist()))) == 2000
    assert torch.equal(drawn[3], torch.tensor(grid.times(48)).double())
    assert bool((drawn[:, 0] == 1).all() & (drawn[:, -1] == 9).all())
    intervals = drawn.diff(dim=1)
    assert float(intervals.min()) >= 0.1 - 1e-12
    assert float(intervals.max()) > 3
    error = drawn[:, 1:-1].std(0) / 2000**0.5
    assert bool(((drawn[:, 1:-1].mean(0) - torch.arange(2, 9)).abs() < 4.5 * error).all())


def test_uniform_times_are_those_of_a_uniform_grid() -> None:
    sampler = make("diffusion", *NETWORK, "grid=[0,1,2,4,5,9]", "end_time=9.0", "training_grid=uniform", "training_steps=3")
    assert not sampler.has_changing_steps
    assert times_of(sampler) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    with_start = make("diffusion", *NETWORK, "start_std=0.5", "training_grid=uniform", "training_steps=3")
    assert times_of(with_start) == pytest.approx([0, 0, 0.5, 1])


@every_choice
def test_an_update_is_that_of_the_sampler_on_those_times(choice: str) -> None:
    """Drawn and evaluated on them; metrics, and the sampler itself, stay on the times of evaluation."""
    trainer, by_hand = (make_trainer(*RUN, *CHOICES[choice], replicas=R) for _ in range(2))
    for number in range(3):
        sampler = by_hand.parts.sampler
        grid = sampler.training_grid
        other = sampler.on_grid(grid.n_steps, grid.times(8 * number))
        drawn = other.rollout(8, by_hand.rng)
        wanted = by_hand.parts.objective(other.evaluate(drawn, by_hand.parts.objective.needs))
        by_hand.parts.optimizer.step(wanted, 8 * number)
        found, trajectories, _ = trainer.update()
        torch.testing.assert_close(found, wanted.detach(), **EXACT)
        assert trajectories.mask.shape[2] == grid.n_steps
        torch.testing.assert_close(trajectories.states, drawn.states, **EXACT)
    assert trainer.calls["score_calls"].tolist() == [2 * 3 * 8 * grid.n_steps] * R
    assert trainer.measure()["sampled_length"].tolist() == [6.0] * R
    for a, b in zip(trainer.parts.sampler.parameters(), by_hand.parts.sampler.parameters(), strict=True):
        torch.testing.assert_close(a, b, **EXACT)


@every_choice
def test_seeds_alone_and_together_and_resumed_train_alike(choice: str) -> None:
    """Every seed has the same times, and the times that follow do not depend on where a run was stopped."""
    joint = make_trainer(*RUN, *CHOICES[choice], replicas=R)
    losses = [joint.update()[0] for _ in range(4)]
    for r in range(R):
        alone = make_trainer(*RUN, *CHOICES[choice], seed=r)
        for loss in losses:
            torch.testing.assert_close(alone.update()[0][0], loss[r], rtol=1e-8, atol=1e-8)
    first, second = (make_trainer(*RUN, *CHOICES[choice], replicas=R) for _ in range(2))
    for loss in losses[:2]:
        assert torch.equal(first.update()[0], loss)
    second.load_state_dict(first.state_dict())
    for loss in losses[2:]:
        assert torch.equal(second.update()[0], loss)


@pytest.mark.parametrize("name", ["backward_rollout", "local_search", "widened_steps"])
def test_explorations_that_draw_anew_work_with_changing_times(name: str) -> None:
    sampler, exploration, rng = (
        spread(make("diffusion", *NETWORK, "training_grid=random")),
        make_exploration(name),
        generators(0, R),
    )
    for number in range(3):
        twin = sampler.in_training(8 * number)
        drawn = exploration.collect(twin, 8, rng, 8 * number)
        assert bool(twin.evaluate(drawn).residual().isfinite().all())


@pytest.mark.parametrize("exploration", ["replay", "prioritized_replay"])
def test_replayed_trajectories_have_no_place_among_changing_times(exploration: str) -> None:
    with pytest.raises(ConfigError, match="other times"):
        make_trainer(*RUN, "sampler.training_grid=random", f"exploration={exploration}")
    make_trainer(*RUN, "sampler.training_grid=uniform", f"exploration={exploration}").update()


REFUSED = {
    ("training_grid=even",): "sampler.training_grid",
    ("training_steps=3",): "sampler.training_grid",
    ("training_grid=random", "training_steps=0"): "sampler.training_steps",
    ("training_grid=uniform", "training_steps=2.5"): "sampler.training_steps",
    ("training_grid=uniform", "training_steps=1", "start_std=1.0"): "sampler.training_steps",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_what_cannot_work_is_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as error:
        make("diffusion", *NETWORK, *arguments)
    assert error.value.key == REFUSED[arguments]
