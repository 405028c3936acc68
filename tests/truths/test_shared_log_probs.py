"""The loss of an update uses log P_F as sampling evaluated it: numbers are those of evaluating it again, up to rounding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from building import choices, make_trainer, small_target
from torch import Tensor, nn

from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.types import Trajectories
from gfn_vi.exploration.tilted import EpsilonUniform, OnPolicy
from gfn_vi.samplers.discrete.mlp import MlpSampler
from gfn_vi.samplers.discrete.shared import SharedLogProbs
from gfn_vi.samplers.discrete.visited import Visited
from gfn_vi.training.trainer import Trainer

REHEARSED = ("target.side=40", "sampler.hidden=[16]", "trainer.batch_size=128", "exploration=epsilon_uniform")
TABLED = ("target.side=8", "sampler.hidden=[16]", "trainer.batch_size=256")


def by_hand(trainer: Trainer) -> tuple[Tensor, Trajectories]:
    """One update whose three steps are asked for one by one: nothing is shared."""
    trajectories = trainer.collect()
    evaluation = trainer.evaluate(trajectories)
    loss = trainer.parts.objective(evaluation)
    return trainer.update(trajectories, evaluation, loss)[:2]


class Evaluations:
    """How many times the network of P_F is called, from now on."""

    def __init__(self, trainer: Trainer) -> None:
        self.n = 0
        network: nn.Module = trainer.parts.sampler.forward_net  # type: ignore[attr-defined]
        network.register_forward_hook(self.count)

    def count(self, *_: Any) -> None:
        self.n += 1


def check_same(shared: Trainer, apart: Trainer, updates: int = 5) -> int:
    """Check that updates are the same, and return how many evaluations of P_F the last of them saves."""
    ours, theirs = Evaluations(shared), Evaluations(apart)
    for _ in range(updates):
        before = theirs.n - ours.n
        (loss, drawn), (loss_apart, drawn_apart) = shared.update()[:2], by_hand(apart)
        torch.testing.assert_close(loss, loss_apart, rtol=1e-9, atol=1e-12)
        assert torch.equal(drawn.states, drawn_apart.states)
        assert torch.equal(shared.reward_calls, apart.reward_calls)
    pairs = zip(shared.parts.sampler.named_parameters(), apart.parts.sampler.parameters(), strict=True)
    for (name, parameter), other in pairs:
        torch.testing.assert_close(parameter, other, rtol=1e-8, atol=1e-11, msg=name)
    return theirs.n - ours.n - before


@pytest.mark.parametrize("objective", choices("objective"))
def test_updates_are_those_of_evaluating_again(objective: str) -> None:
    assert check_same(*(make_trainer(*REHEARSED, f"objective={objective}", replicas=2) for _ in range(2))) == 1


# what the batch is of -> its overrides, and how many evaluations of P_F an update saves
BATCHES: dict[str, tuple[tuple[str, ...], int]] = {
    "score norms": ((*REHEARSED[:3], "objective=reverse_kl", "baseline@objective.baseline=optimal"), 1),
    "a whole table": (TABLED, 1),
    "a whole table, tilted": ((*TABLED, "exploration=stop_bias"), 1),
    "a graph": ((*small_target("dag"), "trainer.batch_size=64"), 1),
    "P_B is not learned": ((*REHEARSED, "sampler.backward=uniform"), 1),
    "P_B evaluates the trunk in any case": ((*REHEARSED, "sampler.backward=tied"), 0),
    "old trajectories": ((*REHEARSED[:3], "exploration=replay"), 0),
    "a part of the batch is drawn in another way": ((*REHEARSED[:3], "exploration=mixture"), 0),
    "few states are visited": ((*TABLED[:2], "trainer.batch_size=4"), 0),
}


@pytest.mark.parametrize("batch", BATCHES)
def test_what_is_shared(batch: str) -> None:
    """Where the batch is not what was drawn, or little of what was evaluated is visited, P_F is evaluated again."""
    words, saved = BATCHES[batch]
    assert check_same(*(make_trainer(*words, replicas=2) for _ in range(2))) == saved


def log_pf_anew(trainer: Trainer, trajectories: Trajectories) -> Tensor:
    """log P_F of a trainer that has never drawn anything, at the same parameters."""
    twin = make_trainer(*REHEARSED, replicas=2)
    twin.parts.sampler.load_state_dict(trainer.parts.sampler.state_dict())
    return twin.evaluate(trajectories).log_pf


def trained() -> tuple[Trainer, Trajectories]:
    """A trainer after some updates, with the batch of the last one."""
    trainer = make_trainer(*REHEARSED, replicas=2)
    for _ in range(4):
        drawn = trainer.update()[1]
    return trainer, drawn


def test_nothing_is_shared_between_steps_that_are_asked_for_one_by_one() -> None:
    """Parameters may have changed in between, which no version counter shows if they are set by .data."""
    trainer, drawn = trained()
    torch.testing.assert_close(trainer.evaluate(drawn).log_pf, log_pf_anew(trainer, drawn), rtol=1e-10, atol=1e-12)
    drawn = trainer.collect()
    for parameter in trainer.parts.sampler.parameters():
        parameter.data.mul_(1.1)
    torch.testing.assert_close(trainer.evaluate(drawn).log_pf, log_pf_anew(trainer, drawn), rtol=1e-10, atol=1e-12)


def test_an_update_that_fails_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the copies that statistics of gradients need can be made, which no tensor with a history allows."""
    trainer, drawn = trained()

    def broken(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer.parts.sampler, "evaluate", broken)
    with pytest.raises(KeyboardInterrupt):
        trainer.update()
    monkeypatch.undo()
    for parameter in trainer.parts.sampler.parameters():
        parameter.data.mul_(1.1)
    torch.testing.assert_close(trainer.evaluate(drawn).log_pf, log_pf_anew(trainer, drawn), rtol=1e-10, atol=1e-12)
    assert trainer.parts.sampler.repeated(2).n_replicas == 4  # type: ignore[attr-defined]


class Perturbed(EpsilonUniform):
    """An exploration of somebody that draws by other parameters than those that are trained."""

    def collect(self, sampler: Any, batch: int, rng: ReplicaGenerators, seen: int) -> Trajectories:
        for parameter in sampler.forward_net.parameters():
            parameter.data.mul_(1.5)
        drawn = super().collect(sampler, batch, rng, seen)
        for parameter in sampler.forward_net.parameters():
            parameter.data.div_(1.5)
        return drawn


class InPlace(OnPolicy):
    """An exploration of somebody whose tilt changes what it is given."""

    def tilt(self, n_trajectories: int) -> Any:
        def change(log_probs: Tensor, mask: Tensor) -> Tensor:
            log_probs[..., -1] -= 0.5
            return log_probs.log_softmax(-1)

        return change


@pytest.mark.parametrize(("exploration", "saved"), [(Perturbed(0.1), 0), (InPlace(), 1)])
def test_explorations_of_ones_own(exploration: OnPolicy, saved: int) -> None:
    pair = [make_trainer(*REHEARSED, replicas=2) for _ in range(2)]
    for trainer in pair:
        trainer.parts = replace(trainer.parts, exploration=exploration)
    assert check_same(*pair) == saved


class Own(MlpSampler):
    """A sampler of somebody who draws by another P_F than the loss has."""

    def forward_log_probs(self, states: Tensor, tilt: Any = None, *, counts: list[int] | None = None) -> Tensor:
        return (2.0 * super().forward_log_probs(states, tilt, counts=counts)).log_softmax(-1)


class OneTrunk(MlpSampler):
    """A sampler of somebody whose heads cannot be asked for one by one."""

    can_share = False


@pytest.mark.parametrize("kind", [Own, OneTrunk])
def test_samplers_of_ones_own(kind: type[MlpSampler]) -> None:
    pair = [make_trainer(*REHEARSED, replicas=2) for _ in range(2)]
    for trainer in pair:
        trainer.parts.sampler.__class__ = kind
    assert check_same(*pair) == 0


def test_a_diverged_replica_leaves_the_others_alone() -> None:
    """Also in float32, to the digits that it has."""
    sound, broken = (make_trainer(*REHEARSED, replicas=2, dtype="float32") for _ in range(2))
    for trainer in (sound, broken):
        for _ in range(4):
            trainer.update()
    with torch.no_grad():
        for parameter in broken.parts.sampler.forward_net.parameters():  # type: ignore[attr-defined]
            parameter[0] = float("nan")
    for _ in range(2):
        sound.update()
        broken.update()
    assert broken.parts.optimizer.frozen.tolist() == [True, False]
    for ours, theirs in zip(sound.parts.sampler.parameters(), broken.parts.sampler.parameters(), strict=True):
        torch.testing.assert_close(ours[1], theirs[1], rtol=1e-3, atol=1e-5)


def shared_at(listed: list[int], last: float = 20.0) -> list[float] | None:
    """Of one replica whose states 19 to 0 and 20 were evaluated in this order, in two parts; log P_F is the place there."""
    places = torch.tensor([*range(20), last]).view(1, -1, 1)
    rows = torch.cat([torch.arange(19, -1, -1), torch.tensor([20, -1])])
    visited = Visited(torch.zeros(1, len(listed), 1), torch.zeros(1, 1, 1, dtype=torch.long), listed=torch.tensor([listed]))
    found = SharedLogProbs([places[:, :15], places[:, 15:]], rows[None]).at(visited)
    return None if found is None else found.flatten().tolist()


def test_rows_are_found_in_the_parts_that_hold_them() -> None:
    assert shared_at(list(range(20))) == list(range(19, -1, -1))
    assert shared_at([20, *range(19)]) == [20, *range(19, 0, -1)]
    assert shared_at([21, *range(19)]) is None  # state 21 was not evaluated
    assert shared_at(list(range(18))) is None  # 21 are more than 1.1 times 18; evaluating 18 again costs less
    assert shared_at(list(range(20)), last=float("inf")) is None  # not visited, but its gradient would be 0 times infinity


def test_a_resumed_run_shares_as_before() -> None:
    """Bit for bit: what a rollout evaluates, and so what is shared, is in the checkpoint."""
    plain, resumed = trained()[0], make_trainer(*REHEARSED, replicas=2)
    resumed.load_state_dict(plain.state_dict())
    for _ in range(3):
        plain.update()
        resumed.update()
    pairs = zip(plain.parts.sampler.parameters(), resumed.parts.sampler.parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
