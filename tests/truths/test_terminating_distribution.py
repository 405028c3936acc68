"""P_T and all exact metrics by dynamic programming = by listing every trajectory = by drawing many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from building import TARGETS, generators, make_sampler, make_target
from measuring import measured as measured_by
from measuring import path_keys, terminating_distribution
from scipy.stats import chisquare
from torch import Tensor

from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.evaluation.exact.dynamic_programming import (
    backward_pass,
    effective_sample_fraction,
    elbo,
    eubo,
    forward_pass,
    terminating_probability,
    visit_probability,
)
from gfn_vi.evaluation.exact.enumeration import Enumeration, as_trajectories, enumerate_paths, enumerate_policies
from gfn_vi.evaluation.exact.metrics import ExactMetrics
from gfn_vi.evaluation.exact.tables import policies_on_graph
from gfn_vi.evaluation.sampled.metrics import SampledMetrics
from gfn_vi.samplers.discrete.rehearsal import Rehearsal
from gfn_vi.samplers.discrete.rollout import Path, graph_rollout, noise_block, stepwise_rollout, table_rollout
from gfn_vi.samplers.discrete.sampler import DiscreteSampler

KINDS = [("tabular", "learned"), ("tabular", "uniform"), ("mlp", "learned"), ("mlp", "uniform"), ("mlp", "tied")]
# Float64 sums of at most 19 products of at most 5 factors: a few units in the last place.
EXACT = {"rtol": 1e-12, "atol": 1e-14}
every_sampler = pytest.mark.parametrize(("kind", "backward"), KINDS)
every_target = pytest.mark.parametrize("name", TARGETS)
every_count = pytest.mark.parametrize("n_replicas", [1, 3])


def in_graph_order(sampler: DiscreteSampler, listed: Enumeration, values: Tensor) -> Tensor:
    """[R, n_objects] -> [R, S], 0 at states that cannot stop."""
    out = values.new_zeros(values.shape[0], sampler.target.state_graph().n_states)
    out[:, sampler.target.state_index(listed.objects)] = values
    return out


@every_target
def test_enumeration_is_complete_and_policies_are_normalized(name: str) -> None:
    """Both P_F over all trajectories and P_B(. | x) over those that end in x sum to 1: nothing is missing or double."""
    target = make_target(name)
    listed = enumerate_policies(make_sampler(target, n_replicas=2), target)
    assert len(set(path_keys(as_trajectories(target, 1))[0])) == len(enumerate_paths(target))
    torch.testing.assert_close(listed.log_pf.exp().sum(1), torch.ones(2).double(), **EXACT)
    torch.testing.assert_close(listed.per_object(listed.log_pb.exp()), torch.ones(2, len(listed.objects)).double(), **EXACT)


@every_target
@every_sampler
@every_count
def test_dynamic_programming_is_the_sum_over_trajectories(name: str, kind: str, backward: str, n_replicas: int) -> None:
    target = make_target(name)
    sampler = make_sampler(target, kind, backward, n_replicas)
    listed = enumerate_policies(sampler, target)
    brute = in_graph_order(sampler, listed, listed.per_object(listed.log_pf.exp()))
    torch.testing.assert_close(terminating_distribution(sampler, target.state_graph()), brute.detach(), **EXACT)
    torch.testing.assert_close(target.state_graph().log_partition, listed.log_Z, **EXACT)


@every_target
@every_sampler
@every_count
def test_every_exact_metric_is_its_definition(name: str, kind: str, backward: str, n_replicas: int) -> None:
    target = make_target(name)
    sampler = make_sampler(target, kind, backward, n_replicas)
    listed = enumerate_policies(sampler, target)
    p_f, p_b, log_w = listed.log_pf.exp(), listed.log_target.exp(), -listed.log_ratio
    pi = (target.log_reward(listed.objects) - listed.log_Z).exp()
    p_t = listed.per_object(p_f)
    middle = (pi + p_t) / 2
    definitions = {
        "elbo": (p_f * log_w).sum(1),
        "eubo": (p_b * log_w).sum(1),
        "ess": (p_f * log_w.exp()).sum(1).square() / (p_f * (2 * log_w).exp()).sum(1),
        "kl_forward": (pi * (pi / p_t).log()).sum(1),
        "kl_reverse": (p_t * (p_t / pi).log()).sum(1),
        "jsd": ((pi * (pi / middle).log()).sum(1) + (p_t * (p_t / middle).log()).sum(1)) / 2,
        "total_variation": (pi - p_t).abs().sum(1) / 2,
        "l1": (pi - p_t).abs().sum(1),
        "log_Z": sampler.log_Z,
        "log_Z_error": sampler.log_Z - listed.log_Z,
    }
    measured = measured_by(ExactMetrics(), sampler, target, generators(0, n_replicas))
    top = pi >= pi.max() * (1 - 1e-9)  # of these targets a single state each
    covered = (p_t[:, top].sum(1) >= pi[top].sum() / 2).double()
    assert int(top.sum()) == 1
    torch.testing.assert_close(measured.pop("modes_covered"), covered)
    assert measured.keys() == definitions.keys()
    for key, value in definitions.items():
        torch.testing.assert_close(measured[key], value.detach(), **EXACT, msg=lambda m, key=key: f"{key}: {m}")
    assert bool((measured["elbo"] < listed.log_Z).all())
    assert bool((measured["eubo"] > listed.log_Z).all())


@every_target
@pytest.mark.parametrize("backward", ["learned", "uniform"])
def test_all_bounds_meet_at_the_optimum(name: str, backward: str) -> None:
    """P_F(s' | s) = F(s') P_B(s | s') / F(s) with F(s) = sum of R P_B over the trajectories through s samples R / Z."""
    target = make_target(name)
    sampler = make_sampler(target, "tabular", backward, n_replicas=2)
    listed = enumerate_policies(sampler, target)
    flow: Counter[tuple[int, ...]] = Counter()
    edge: Counter[tuple[tuple[int, ...], int]] = Counter()
    for k, (states, actions) in enumerate(enumerate_paths(target)):
        mass = (listed.log_pb + listed.log_reward)[:, k].detach().exp()
        for state, action in zip(states, actions, strict=True):
            flow[tuple(state.tolist())] += mass
            edge[tuple(state.tolist()), action] += mass
    with torch.no_grad():
        for (state, action), mass in edge.items():
            row = target.state_index(torch.tensor(state))
            sampler.forward_table[:, row, action] = (mass / flow[state]).log()
        sampler.log_Z.fill_(listed.log_Z)
    measured = measured_by(ExactMetrics(), sampler, target, generators(0, 2))
    zero, one = torch.zeros(2).double(), torch.ones(2).double()
    for key in ("jsd", "total_variation", "l1", "kl_forward", "kl_reverse", "log_Z_error"):
        torch.testing.assert_close(measured[key], zero, **EXACT, msg=lambda m, key=key: f"{key}: {m}")
    torch.testing.assert_close(measured["ess"], one, **EXACT)
    torch.testing.assert_close(measured["elbo"], listed.log_Z * one, **EXACT)
    torch.testing.assert_close(measured["eubo"], listed.log_Z * one, **EXACT)
    residual = sampler.evaluate(as_trajectories(target, 2)).residual()
    torch.testing.assert_close(residual, torch.zeros_like(residual), rtol=0, atol=1e-13)


def frequencies(sampler: DiscreteSampler, path: Path) -> list[list[int]]:
    """How often each enumerated trajectory was drawn, per replica; a trajectory that is not in the list is an error."""
    target = sampler.target
    names = {key: k for k, key in enumerate(path_keys(as_trajectories(target, 1))[0])}
    drawn = path_keys(sampler._trajectories(path, None))
    counts = [Counter(names[key] for key in row) for row in drawn]
    return [[count[k] for k in range(len(names))] for count in counts]


def noise_of(sampler: DiscreteSampler, n: int, rng: ReplicaGenerators) -> Tensor:
    return noise_block(rng, n, sampler.target.horizon, torch.float64)


def whole_policy(sampler: DiscreteSampler) -> Tensor:
    return sampler.forward_log_probs(sampler.target.state_graph().states.expand(sampler.n_replicas, -1, -1))


def rehearsed(sampler: DiscreteSampler, n: int, rng: ReplicaGenerators) -> Path:
    """A rollout guessed by another policy: uniform over all actions, also those that are illegal."""
    graph = sampler.target.state_graph()
    share = (torch.arange(graph.n_actions - 1) + 1.0).double() / graph.n_actions
    guess = Rehearsal(share.repeat(sampler.n_replicas * (graph.n_states + 1), 1), "")
    return guess.rollout(graph, lambda states, _: sampler.forward_log_probs(states), noise_of(sampler, n, rng), 0.0)[0]


ROLLOUTS: dict[str, Callable[[DiscreteSampler, int, ReplicaGenerators], Path]] = {
    "table": lambda sampler, n, rng: table_rollout(
        sampler.target.state_graph(), whole_policy(sampler), noise_of(sampler, n, rng)
    ),
    "rehearsed": rehearsed,
    "graph": lambda sampler, n, rng: graph_rollout(
        sampler.target.state_graph(), sampler.forward_log_probs, noise_of(sampler, n, rng)
    ),
    "stepwise": lambda sampler, n, rng: stepwise_rollout(
        sampler.target, sampler.forward_log_probs, sampler.n_replicas, n, torch.float64, rng
    ),
}
N_DRAWN = 20_000
# A sound sampler falls below this once in ten thousand seeds; the seed is fixed, so it either does or does not. A probability
# that is wrong by 10 % moves the statistic by 0.01 x 20,000 x that probability: far beyond.
SMALLEST_P_VALUE = 1e-4


@pytest.mark.parametrize("rollout", ROLLOUTS)
@every_target
@pytest.mark.parametrize(("kind", "n_replicas"), [("tabular", 3), ("mlp", 1)])
@torch.no_grad()
def test_rollouts_draw_from_the_forward_policy(rollout: str, name: str, kind: str, n_replicas: int) -> None:
    """Histogram over whole trajectories, so over objects too; the recorded density is P_F's."""
    target = make_target(name)
    sampler = make_sampler(target, kind, n_replicas=n_replicas)
    listed = enumerate_policies(sampler, target)
    path = ROLLOUTS[rollout](sampler, N_DRAWN, generators(7, n_replicas))
    for r, counts in enumerate(frequencies(sampler, path)):
        assert chisquare(counts, N_DRAWN * listed.log_pf[r].exp()).pvalue > SMALLEST_P_VALUE
    density = sampler.evaluate(sampler._trajectories(path, None)).trajectory_log_pf
    torch.testing.assert_close(path.log_prob, density, **EXACT)


@every_target
@pytest.mark.parametrize(("kind", "n_replicas"), [("tabular", 3), ("mlp", 1)])
@torch.no_grad()
def test_all_rollouts_draw_the_same_trajectories_from_the_same_noise(name: str, kind: str, n_replicas: int) -> None:
    """Which of them runs is a matter of speed only. 3,000 of them, so that ended ones are compacted away at least once."""
    target = make_target(name)
    sampler = make_sampler(target, kind, n_replicas=n_replicas)
    paths = [ROLLOUTS[rollout](sampler, 3000, generators(3, n_replicas)) for rollout in ROLLOUTS]
    for path in paths[1:]:
        assert torch.equal(path.states, paths[0].states)
        assert torch.equal(path.actions, paths[0].actions)
        assert torch.equal(path.mask, paths[0].mask)
        torch.testing.assert_close(path.log_prob, paths[0].log_prob, **EXACT)


@every_target
@pytest.mark.parametrize(("kind", "backward"), [("tabular", "learned"), ("mlp", "tied"), ("mlp", "uniform")])
@torch.no_grad()
def test_backward_rollouts_draw_from_the_backward_policy(name: str, kind: str, backward: str) -> None:
    """x in fixed shares, then tau ~ P_B(. | x): the histogram is that of share(x) P_B(tau | x)."""
    target = make_target(name)
    sampler = make_sampler(target, kind, backward, n_replicas=2)
    listed = enumerate_policies(sampler, target)
    n_objects = len(listed.objects)
    each = N_DRAWN // n_objects
    terminals = listed.objects.repeat(each, *[1] * len(target.state_shape)).expand(2, -1, -1)
    drawn = sampler.backward_rollout(terminals, generators(5, 2))
    assert torch.equal(drawn.terminal_states(), terminals)
    assert torch.equal(drawn.states[:, :, 0], target.initial(*terminals.shape[:2]))
    path = Path(drawn.states, drawn.actions, drawn.mask, drawn.log_reward)
    for r, counts in enumerate(frequencies(sampler, path)):
        expected = each * listed.log_pb[r].exp()
        sure = expected > each * (1 - 1e-9)  # the only way to x: no freedom, so it must be exact
        counts_of_choices = torch.tensor(counts)
        assert bool((counts_of_choices[sure] == each).all())
        # one degree of freedom less for every object that has a choice
        free = int((~sure).sum()) - len(set(listed.terminal[~sure].tolist()))
        test = chisquare(counts_of_choices[~sure], expected[~sure], ddof=int((~sure).sum()) - 1 - free)
        assert test.pvalue > SMALLEST_P_VALUE


@every_target
def test_passes_have_right_gradients(name: str) -> None:
    """torch's numerical Jacobian of both linear recursions, in weights and in initial values."""
    graph = make_target(name).state_graph()
    noise = generators(0, 1)
    weights = noise.uniform(len(graph.source), 2)[0].requires_grad_()
    init = noise.uniform(graph.n_states, 2)[0].requires_grad_()
    for recursion in (forward_pass, backward_pass):
        assert torch.autograd.gradcheck(lambda w, i, f=recursion: f(graph, w, i), (weights, init))


@every_target
@every_sampler
def test_exact_metrics_have_exact_gradients(name: str, kind: str, backward: str) -> None:
    """ELBO, EUBO and P_T differentiate through to the parameters as the enumerated sums do."""
    target = make_target(name)
    sampler = make_sampler(target, kind, backward, n_replicas=2)
    listed = enumerate_policies(sampler, target)
    policies = policies_on_graph(sampler, target.state_graph())
    weight = torch.linspace(-1, 1, len(listed.objects)).double()
    p_t = terminating_probability(policies)[target.state_index(listed.objects)]
    pairs = {
        "elbo": (elbo(policies, visit_probability(policies)), (listed.log_pf.exp() * -listed.log_ratio).sum(1)),
        "eubo": (eubo(policies), (listed.log_target.exp() * -listed.log_ratio).sum(1)),
        "P_T": ((weight[:, None] * p_t).sum(0), (weight * listed.per_object(listed.log_pf.exp())).sum(1)),
    }
    parameters = [p for p in sampler.parameters() if p is not sampler.log_Z]
    for key, (passes, sums) in pairs.items():
        ours = torch.autograd.grad(passes.sum(), parameters, retain_graph=True, materialize_grads=True, allow_unused=True)
        brute = torch.autograd.grad(sums.sum(), parameters, retain_graph=True, materialize_grads=True, allow_unused=True)
        for a, b in zip(ours, brute, strict=True):
            # gradients of the networks add up some dozens of terms of order one
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12, msg=lambda m, key=key: f"{key}: {m}")


@torch.no_grad()
@pytest.mark.parametrize("underflow", [False, True])
def test_effective_sample_size_is_zero_and_not_nan_when_weights_overflow(underflow: bool) -> None:
    """E w^2 of a policy that (almost) never goes where P_B comes from exceeds float64; the fraction is then 0.

    tiny_dag has states that cannot stop, where infinity would meet a reward of 0; with `underflow` it meets an edge from
    nodes 1 and 2 to node 3 that P_B (almost) never takes.
    """
    target = make_target("tiny_dag")
    sampler = make_sampler(target, n_replicas=2)
    sampler.forward_table[0, 0] = torch.tensor([-2000.0, -2000.0, 0.0, 0.0])
    if underflow:
        sampler.backward_table[0, target.state_index(torch.tensor([3]))] = torch.tensor([0.0, -2000.0, -2000.0])
    fraction = effective_sample_fraction(policies_on_graph(sampler, target.state_graph()))
    assert float(fraction[0]) == 0.0
    assert 0 < float(fraction[1]) < 1


@pytest.mark.parametrize("name", ["grid3x3", "tiny_dag"])
def test_sampled_metrics_estimate_the_exact_ones(name: str) -> None:
    """Within 4.5 of their own standard errors (three estimates, four replicas, fixed seed), which are not absurdly large."""
    target = make_target(name)
    sampler = make_sampler(target, n_replicas=4)
    with torch.no_grad():
        sampler.forward_table.mul_(0.3)  # close to uniform: weights have a variance worth the name
    exact = measured_by(ExactMetrics(), sampler, target, generators(0, 4))
    sampled = measured_by(SampledMetrics(n_samples=20_000), sampler, target, generators(1, 4))
    truth = {"elbo": exact["elbo"], "eubo": exact["eubo"], "log_Z": target.state_graph().log_partition.expand(4)}
    for key, value in truth.items():
        error, se = (sampled[f"sampled_{key}"] - value).abs(), sampled[f"sampled_{key}_se"]
        assert bool((error < 4.5 * se).all()), key
        assert bool((se < 0.05).all()), key
    torch.testing.assert_close(sampled["sampled_ess"], exact["ess"], rtol=0.05, atol=0)  # relative error about 1/sqrt(n ess)


def test_standard_errors_are_the_spread_over_repetitions() -> None:
    """400 repetitions as replicas of the same policy: their standard deviation is the mean reported error, within 15 %.

    The standard deviation of 400 numbers has itself a relative error of 1 / sqrt(800) = 3.5 %; 15 % is four of these.
    """
    target = make_target("grid3x3")
    sampler = make_sampler(target, n_replicas=400)
    with torch.no_grad():
        for table in (sampler.forward_table, sampler.backward_table):
            table.copy_(0.3 * table[:1].expand_as(table))
    sampled = measured_by(SampledMetrics(n_samples=500), sampler, target, generators(1, 400))
    for key in ("elbo", "eubo", "log_Z", "log_reward", "length"):
        spread, reported = sampled[f"sampled_{key}"].std(), sampled[f"sampled_{key}_se"].mean()
        assert float(spread / reported) == pytest.approx(1, abs=0.15), key
