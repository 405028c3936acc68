"""Rollouts that are guessed first are those of the whole table, whatever the guess; only training changes the guess."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from building import bumpy, generators, make_sampler, make_target, make_trainer
from torch import Tensor

from gfn_vi.core.protocols import EnumerableTarget
from gfn_vi.core.state_graph import StateGraph
from gfn_vi.core.types import Role, Trajectories
from gfn_vi.samplers.discrete.mlp import MlpSampler
from gfn_vi.samplers.discrete.rehearsal import FEW_ROUNDS, FEWEST_ROWS, RETRY, Rehearsal
from gfn_vi.samplers.discrete.rollout import Path, noise_block, table_rollout
from gfn_vi.samplers.discrete.table_walk import whole_table
from gfn_vi.targets.grids.hypergrid import Hypergrid
from truths.test_gradient_statistics_of_runs import same, trained

LARGE = ("target.side=40", "sampler.hidden=[16]", "trainer.batch_size=8", "exploration=epsilon_uniform")
TARGETS = ("rows of a grid", "dag")
N_REPLICAS, BATCH = 3, 50


def target_of(name: str) -> EnumerableTarget:
    return make_target("dag") if name == "dag" else Hypergrid(3, 7, r0=0.1, reward=bumpy, max_enumerated_states=1000)


class Both:
    """The rollouts of the same noise by a guess and by the whole table, and which states the former evaluated [R, S]."""

    def __init__(self, target: EnumerableTarget, change: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        self.graph: StateGraph = target.state_graph()
        sampler = make_sampler(target, "mlp", n_replicas=N_REPLICAS)
        with torch.no_grad():
            self.log_probs = change(sampler.forward_log_probs(self.graph.states.expand(N_REPLICAS, *self.graph.states.shape)))
        self.noise = noise_block(generators(1, N_REPLICAS), BATCH, target.horizon, torch.float64)
        self.whole = table_rollout(self.graph, self.log_probs, self.noise)
        self.evaluated = torch.zeros(self.log_probs.shape[:2], dtype=torch.long)
        self.index = target.state_index

    def policy(self, states: Tensor, counts: list[int]) -> Tensor:
        rows = self.index(states)
        for r, count in enumerate(counts):
            self.evaluated[r].index_add_(0, rows[r, :count], torch.ones(count, dtype=torch.long))
        return self.log_probs.gather(1, rows[..., None].expand(-1, -1, self.graph.n_actions))

    def guessed(self, guess: Tensor) -> tuple[Path, Rehearsal]:
        """guess: log-probabilities [R, S, A]."""
        rehearsal = Rehearsal(tilt="")
        self.learn(rehearsal, guess)
        return self.rehearsed(rehearsal), rehearsal

    def learn(self, rehearsal: Rehearsal, guess: Tensor) -> None:
        """An update that evaluates the policy at all states."""
        rehearsal.begin("")
        rehearsal.whole(self.graph, guess, self.noise)
        rehearsal.adopt()

    def rehearsed(self, rehearsal: Rehearsal, dispatch: float = 0.0) -> Path:
        rehearsal.begin("")
        return rehearsal.rollout(self.graph, self.policy, self.noise, dispatch)[0]

    def check_equal(self, walked: Path) -> None:
        for name in ("states", "actions", "mask"):
            assert torch.equal(getattr(walked, name), getattr(self.whole, name)), name
        assert torch.allclose(walked.log_prob, self.whole.log_prob, rtol=1e-12, atol=0, equal_nan=True)

    def visited(self) -> Tensor:
        rows = self.index(self.whole.states[:, :, :-1]).where(self.whole.mask, self.graph.n_states).flatten(1)
        return torch.zeros(N_REPLICAS, self.graph.n_states + 1, dtype=torch.bool).scatter_(1, rows, True)[:, :-1]


def noisy(log_probs: Tensor, scale: float) -> Tensor:
    noise = torch.randn(log_probs.shape, generator=torch.Generator().manual_seed(2), dtype=log_probs.dtype)
    return (log_probs + scale * noise).log_softmax(-1)


@pytest.mark.parametrize("scale", [0.01, 0.3, 3.0])
@pytest.mark.parametrize("name", TARGETS)
def test_a_rollout_does_not_depend_on_the_guess(name: str, scale: float) -> None:
    """Also by a guess that takes illegal actions; no state is evaluated twice, and all that are visited are evaluated."""
    both = Both(target_of(name))
    walked, rehearsal = both.guessed(noisy(both.log_probs, scale))
    both.check_equal(walked)
    assert int(both.evaluated.max()) == 1
    assert bool((both.evaluated[both.visited()] == 1).all())
    assert rehearsal._latest["rows"] == float(both.evaluated.sum()) / N_REPLICAS


def test_by_a_right_guess_only_the_visited_states_are_evaluated_at_once() -> None:
    both = Both(target_of("rows of a grid"))
    walked, rehearsal = both.guessed(both.log_probs)
    both.check_equal(walked)
    assert torch.equal(both.evaluated > 0, both.visited())
    assert rehearsal._latest["rounds"] == 1


@pytest.mark.parametrize("broken", range(N_REPLICAS))
def test_a_replica_whose_policy_is_nan_stops_at_once_and_leaves_the_others_alone(broken: int) -> None:
    shift = torch.zeros(N_REPLICAS, 1, 1)
    shift[broken] = float("nan")
    both = Both(target_of("rows of a grid"), lambda x: x + shift)
    walked, _ = both.guessed(noisy(both.log_probs.nan_to_num(0.0), 0.3))
    both.check_equal(walked)
    assert int(walked.mask[broken].sum()) == BATCH
    assert walked.log_prob.isnan().all(1).tolist() == [r == broken for r in range(N_REPLICAS)]


def test_a_diverged_replica_leaves_the_others_alone_in_training() -> None:
    """Importance weights are made from the density of the rollout."""
    trainer = make_trainer(*LARGE[:3], "objective=forward_kl", replicas=3)
    for _ in range(4):
        trainer.update()
    assert trainer.parts.sampler._rehearsal.rounds > 0
    with torch.no_grad():
        for parameter in trainer.parts.sampler.forward_net.parameters():
            parameter[0] = float("nan")
    for _ in range(2):
        trainer.update()
    assert trainer.parts.optimizer.frozen.tolist() == [True, False, False]


def test_a_guess_learns_from_training_and_not_from_measuring() -> None:
    both = Both(target_of("rows of a grid"))
    guess = noisy(both.log_probs, 0.3)
    _, rehearsal = both.guessed(guess)
    old = whole_table(guess)
    memory = rehearsal.memory()  # nobody said that it was training
    assert memory is not None
    assert torch.equal(memory["table"], old)
    rehearsal.adopt()  # an update without a rollout
    assert (rehearsal.tilt, rehearsal.rows, rehearsal.unused) == ("", 0, 0)
    both.rehearsed(rehearsal)
    rehearsal.adopt()
    assert rehearsal.rows > 0
    present = whole_table(both.log_probs)
    seen = torch.nn.functional.pad(both.evaluated > 0, (0, 1)).flatten()
    assert rehearsal.table is not None
    assert torch.equal(rehearsal.table, present.where(seen[:, None], old))


def test_all_states_are_evaluated_anew_once_bad_guesses_have_cost_as_much() -> None:
    both = Both(target_of("rows of a grid"))
    guess = noisy(both.log_probs, 3.0)
    _, rehearsal = both.guessed(guess)
    debt = 0.0
    for dispatch in (50.0, 30.0):
        both.learn(rehearsal, guess)
        rehearsal.debt = debt
        both.rehearsed(rehearsal, dispatch)
        rehearsal.adopt()
        assert rehearsal.rounds > FEW_ROUNDS
        debt += (rehearsal.rounds - FEW_ROUNDS) * dispatch
        assert rehearsal.debt == debt
    rehearsal.begin("")
    assert rehearsal.is_due(int(debt))
    assert not rehearsal.is_due(int(debt) + 1)
    rehearsal.begin("another tilt")
    assert not rehearsal.is_due(0)
    both.learn(rehearsal, guess)
    rehearsal.begin("")
    assert not rehearsal.is_due(1)


def test_a_guess_is_left_where_it_does_not_pay_and_tried_again_later() -> None:
    both = Both(target_of("rows of a grid"))
    _, rehearsal = both.guessed(noisy(both.log_probs, 0.3))
    rehearsal.adopt()
    cost = rehearsal.rows + rehearsal.rounds * 7.0
    rehearsal.begin("")
    assert rehearsal.pays(BATCH, cost + 0.1, 7.0)
    assert not rehearsal.pays(BATCH, cost - 0.1, 7.0)
    assert not rehearsal.pays(2 * BATCH, cost + 0.1, 7.0)
    rehearsal.begin("another tilt")
    assert not rehearsal.pays(BATCH, cost + 0.1, 7.0)
    for _ in range(RETRY):
        assert rehearsal.table is not None
        rehearsal.begin("")
        rehearsal.adopt()  # of a rollout without a guess
    rehearsal.begin("")
    assert rehearsal.is_due(both.graph.n_states)


def test_states_are_evaluated_in_parts_and_few_ones_with_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of all states stand in their order; a product of few rows is rounded in another way, so there is none."""
    trainer = make_trainer(*LARGE, replicas=2)
    sampler, asked = trainer.parts.sampler, []
    plain = sampler.forward_log_probs

    def counted(states: Tensor, tilt: object = None, *, counts: list[int] | None = None) -> Tensor:
        asked.append(states.shape[1])
        return plain(states, tilt, counts=counts)

    graph = sampler.enumerable.state_graph()
    whole = plain(graph.states.expand(2, *graph.states.shape))
    monkeypatch.setattr("gfn_vi.samplers.discrete.sampler.STATES_AT_ONCE", 1000)
    assert torch.allclose(sampler._at_all_states(graph, plain), whole, rtol=1e-12, atol=0)
    monkeypatch.setattr(sampler, "forward_log_probs", counted)
    for _ in range(8):
        trainer.update()
    assert asked.count(500) == 6  # of 1,600 states, in the first two updates
    assert min(asked[8:]) == FEWEST_ROWS


def test_a_table_that_no_checkpoint_should_hold_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gfn_vi.samplers.discrete.sampler.LARGEST_TABLE", 2 * 1600 * 3 - 1)
    trainer = make_trainer(*LARGE, replicas=2)
    trainer.update()
    assert trainer.parts.sampler.memory() is None


class Own(MlpSampler):
    """A sampler of somebody who changes the logits and knows nothing of counts."""

    def heads(self, states: Tensor, roles: Sequence[Role]) -> dict[Role, Tensor]:
        return {role: 3.0 * logits for role, logits in super().heads(states, roles).items()}


def test_heads_that_a_subclass_overrides_are_asked_everywhere() -> None:
    target = Hypergrid(2, 40, r0=0.1, reward=bumpy, max_enumerated_states=2000)
    sampler = Own(target, generators(0, 2, "initialization"), hidden=[16], backward="learned", flow=False, log_Z=0.0)
    for _ in range(3):
        trajectories = sampler.rollout(30, generators(1, 2))
        sampler.remember()
    assert sampler._rehearsal.rounds > 0
    log_probs = sampler.forward_log_probs(trajectories.states[:, :, :-1].flatten(1, 2)).view(*trajectories.mask.shape, -1)
    chosen = log_probs.gather(3, trajectories.actions[..., None])[..., 0] * trajectories.mask
    torch.testing.assert_close(trajectories.log_behavior, chosen.sum(2), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(sampler.evaluate(trajectories).log_pf, chosen, rtol=1e-10, atol=1e-10)


def test_training_is_the_same_with_and_without_a_memory() -> None:
    """Trajectories bit for bit, their density up to rounding; what is measured in between changes nothing."""
    with_memory, without = (make_trainer(*LARGE, replicas=2) for _ in range(2))
    for update in range(12):
        without.parts.sampler.recall(None)
        if update == 7:
            with_memory.measure()
        ours, theirs = (trainer.update()[1] for trainer in (with_memory, without))
        assert isinstance(ours, Trajectories)
        for name in ("states", "actions", "mask"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name)), (name, update)
        assert torch.allclose(ours.log_behavior, theirs.log_behavior, rtol=1e-12, atol=0)
    assert with_memory.parts.sampler._rehearsal.rounds > 0


def test_rollouts_between_updates_change_nothing() -> None:
    """Bit for bit, also where the guess pays for them and not for training."""
    words = (
        "target.side=40",
        "sampler.hidden=[16]",
        "trainer.batch_size=64",
        "objective=forward_kl",
        "optimizer.lr_forward=0.03",
    )
    plain, measured = (make_trainer(*words, replicas=1) for _ in range(2))
    for _ in range(40):
        plain.update()
        measured.update()
        measured.parts.sampler.rollout(8, generators(5, 1))
        measured.parts.sampler.rollout(8, generators(6, 1), lambda log_probs, mask: log_probs)
    ours, theirs = plain.parts.sampler.memory(), measured.parts.sampler.memory()
    assert torch.equal(ours.pop("table"), theirs.pop("table"))
    assert ours == theirs
    pairs = zip(plain.parts.sampler.parameters(), measured.parts.sampler.parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_an_update_without_a_rollout_keeps_nothing_of_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(*LARGE, replicas=2)
    for _ in range(3):
        trainer.update()
    before = trainer.parts.sampler.memory()
    found = trainer.parts.sampler.rollout(8, generators(5, 2))
    monkeypatch.setattr(trainer.parts.exploration, "collect", lambda *_: found)
    trainer.update()
    after = trainer.parts.sampler.memory()
    assert torch.equal(before.pop("table"), after.pop("table"))
    assert before == after


def test_a_resumed_run_remembers() -> None:
    """Bit for bit, in float64, whose products are rounded in another way when other rows are evaluated together."""
    plain, resumed = (make_trainer(*LARGE, replicas=2) for _ in range(2))
    trained(plain, 4, measure=False)
    state = plain.state_dict()
    resumed.load_state_dict(state)
    memory = resumed.parts.sampler.memory()
    assert torch.equal(memory.pop("table"), plain.parts.sampler.memory()["table"])
    assert memory == {k: v for k, v in plain.parts.sampler.memory().items() if k != "table"}
    assert memory["tilt"].startswith("EpsilonUniform.tilt")
    assert same(trained(plain, 4, measure=False), trained(resumed, 4, measure=False))
    state = plain.state_dict()
    assert state["sampler_memory"]["table"].shape == (2 * 1601, 2)
    del state["sampler_memory"]  # of an earlier release
    resumed.load_state_dict(state)
    assert resumed.parts.sampler.memory() is None


def test_a_copy_with_more_replicas_remembers_nothing() -> None:
    trainer = make_trainer(*LARGE, replicas=2)
    trainer.update()
    trainer.update()
    twin = trainer.parts.sampler.repeated(3)
    assert twin.rollout(4, generators(0, 6)).states.shape[:2] == (6, 4)
    assert trainer.parts.sampler.memory()["table"].shape == (2 * 1601, 2)
    assert twin.memory() is None


def test_a_table_of_logits_is_looked_up_as_it_is() -> None:
    trainer = make_trainer(*LARGE[:1], "sampler=tabular", replicas=2)
    trainer.update()
    assert trainer.parts.sampler.memory() is None
