"""deviation=illegal_stop: training normalizes P_F over a stop that is not legal; what is drawn and measured does not."""

from __future__ import annotations

import pytest
import torch
from building import composed, generators, make_trainer, small_target
from torch import Tensor

from gfn_vi.core.types import Evaluation, Role
from gfn_vi.exploration.early_stop import EarlyStop
from gfn_vi.exploration.tilted import EpsilonUniform
from gfn_vi.samplers.discrete.molecule_sampler import MoleculeSampler
from gfn_vi.samplers.discrete.visited import take_rows, visited_states

SMALL = {
    "molecule_attention": ("sampler.width=8", "sampler.layers=1", "sampler.heads=2"),
    "molecule_mpnn": ("sampler.width=8", "sampler.steps=2"),
}


def make(name: str, illegal_stop: bool = True) -> MoleculeSampler:
    """A small sampler in float64 whose stop is not improbable."""
    trainer = make_trainer(
        *small_target("molecules"), f"sampler={name}", *SMALL[name], f"sampler.illegal_stop={illegal_stop}", replicas=2
    )
    sampler = trainer.parts.sampler
    assert isinstance(sampler, MoleculeSampler)
    with torch.no_grad():
        for parameter in sampler.parameter_groups()[Role.FORWARD]:
            parameter.add_(0.3 * generators(1, 2).normal(*parameter.shape[1:]))
    return sampler


def with_stop(sampler: MoleculeSampler, states: Tensor) -> Tensor:
    """log P_F with the stop among the choices of every state, whether it is legal or not: [R, n, A]."""
    legal = sampler.target.forward_mask(states)
    legal[..., -1] = True
    return sampler.heads(states, [Role.FORWARD])[Role.FORWARD].masked_fill(~legal, -torch.inf).log_softmax(-1)


@torch.no_grad()
@pytest.mark.parametrize("name", SMALL)
def test_training_normalizes_over_the_stop_where_it_is_illegal(name: str) -> None:
    """With fewer than min_blocks blocks log P_F is lower by -log(1 - p) for the stop's share p; elsewhere it is what it was."""
    sampler = make(name)
    drawn = sampler.in_training(0).rollout(16, generators(0, 2))
    correct, published = sampler.evaluate(drawn), sampler.in_training(0).evaluate(drawn)
    too_small = sampler.target.n_blocks(drawn.states[:, :, :-1]) < sampler.target.min_blocks
    assert (too_small & drawn.mask).sum() == 2 * 2 * 16  # with no block and with one
    visited = visited_states(drawn, None)
    share = take_rows(with_stop(sampler, visited.states)[..., -1], visited.slot).exp()
    expected = torch.where(too_small & drawn.mask, correct.log_pf + (1 - share).log(), correct.log_pf)
    torch.testing.assert_close(published.log_pf, expected, rtol=1e-10, atol=1e-10)
    assert (published.log_pf < correct.log_pf - 1e-3).any()
    torch.testing.assert_close(published.log_pb, correct.log_pb)


@torch.no_grad()
@pytest.mark.parametrize("name", SMALL)
def test_nothing_else_depends_on_it(name: str) -> None:
    """Rollouts, densities of any exploration, policies at states, and evaluations outside of training: as without it."""
    published, correct = make(name), make(name, illegal_stop=False)
    assert correct.in_training(0) is correct
    training = published.in_training(0)
    explored = EarlyStop(EpsilonUniform(0.2), 0.3, shortest=2, longest=None, counts_stops=True)
    one, other = (explored.collect(sampler, 16, generators(0, 2), 0) for sampler in (training, correct))
    assert torch.equal(one.actions, other.actions)
    assert torch.equal(one.log_behavior, other.log_behavior)
    states = one.states[:, :, 0]
    for sampler in (published, training):
        assert torch.equal(sampler.forward_log_probs(states), correct.forward_log_probs(states))
        assert torch.equal(sampler.log_density(one), correct.log_density(one))
    assert_same(published.evaluate(one), correct.evaluate(one))
    assert training.reward_calls is published.reward_calls


def assert_same(one: Evaluation, other: Evaluation) -> None:
    assert torch.equal(one.log_pf, other.log_pf)
    assert torch.equal(one.log_pb, other.log_pb)


@pytest.mark.parametrize(
    ("deviation", "illegal_stop", "counts_stops"),
    [
        ("illegal_stop", True, True),
        ("uncounted_early_stops", False, False),
        ("illegal_stop_and_uncounted_early_stops", True, False),
    ],
)
def test_a_deviation_sets_what_its_name_says(deviation: str, illegal_stop: bool, counts_stops: bool) -> None:
    config = composed(
        "experiment=molecule_correlation", "arm=molecule_correlation/reverse_kl_off_policy", f"deviation={deviation}"
    )
    assert config.deviation_name == deviation
    assert (config.sampler.illegal_stop, config.exploration.counts_stops) == (illegal_stop, counts_stops)
    assert (config.exploration.probability, config.exploration.source.epsilon.start) == (0.1, 0.05)


def test_wake_sleep_has_a_backward_policy_that_learns() -> None:
    """At the rate of P_F; with a uniform one it would be forward KL."""
    arm = "arm=molecule_correlation/wake_sleep_off_policy"
    config = composed("experiment=molecule_correlation", arm, "optimizer.lr_forward=[0.1,0.2]")
    assert config.sampler.backward == "learned"
    assert config.optimizer.lr_backward == [0.1, 0.2]
