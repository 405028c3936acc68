"""Score norms, leave-one-out means and the optimal baseline, against loops that follow the definitions."""

from __future__ import annotations

import pytest
import torch
from building import generators, make_objective, make_sampler, make_target
from torch import Tensor

from gfn_vi.core.types import Need, Role
from gfn_vi.objectives.baselines import Optimal, leave_one_out_mean
from gfn_vi.samplers import score_norms
from gfn_vi.samplers.discrete.mlp import MlpSampler
from gfn_vi.samplers.discrete.sampler import DiscreteSampler
from gfn_vi.targets.grids.hypergrid import Hypergrid
from gfn_vi.verification.batches import take_batches
from truths.expectations import evaluate_all, make_bench

# Squared norms of some hundred float64 derivatives.
EXACT = {"rtol": 1e-11, "atol": 1e-13}
NORMS = frozenset({Need.SCORE_NORMS})


def wide_sampler() -> DiscreteSampler:
    """On a grid with 70 features the first layer is a sum of embedding rows, whose gradient is another kernel."""
    target = Hypergrid(2, 35, 0.1, lambda states, side: states.sum(-1).double(), max_enumerated_states=2000)
    return MlpSampler(target, generators(0, 2), hidden=[5], backward="learned", flow=False, log_Z=0.0)


SAMPLERS = {
    "tabular": lambda: make_sampler(make_target("tiny_dag"), n_replicas=2),
    "mlp": lambda: make_sampler(make_target("grid3x3"), "mlp", "learned", n_replicas=2),
    "uniform": lambda: make_sampler(make_target("grid3x3"), "mlp", "uniform", n_replicas=2),
    "tied": lambda: make_sampler(make_target("grid3x3"), "mlp", "tied", n_replicas=2),
    "embedding": wide_sampler,
}


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("batch", [1, 5, 19])
def test_score_norms_are_those_of_a_loop(kind: str, batch: int) -> None:
    """|d log P(tau) / d parameters of its role|^2, one at a time. 19 > CHUNK > 5; a tied P_B has those of P_F."""
    assert 5 < score_norms.CHUNK < 19
    sampler = SAMPLERS[kind]()
    evaluation = sampler.evaluate(sampler.rollout(batch, generators(1, 2)), NORMS)
    groups = sampler.parameter_groups()
    pairs = [
        (evaluation.trajectory_log_pf, evaluation.score_norm_pf, groups[Role.FORWARD]),
        (evaluation.trajectory_log_pb, evaluation.score_norm_pb, groups.get(Role.BACKWARD, groups[Role.FORWARD])),
    ]
    for log_prob, norms, parameters in pairs:
        expected = torch.zeros_like(log_prob)
        for r in range(2):
            for b in range(batch):
                if not log_prob.requires_grad:  # uniform P_B
                    continue
                grads = torch.autograd.grad(log_prob[r, b], parameters, retain_graph=True, allow_unused=True)
                expected[r, b] = sum(g.square().sum() for g in grads if g is not None)
        torch.testing.assert_close(norms, expected.detach(), **EXACT)
        assert not norms.requires_grad


def test_leave_one_out_mean_is_that_of_a_loop() -> None:
    rng = generators(0, 3)
    values, weights = rng.normal(6), rng.uniform(6)
    found = leave_one_out_mean(values, weights)
    for r in range(3):
        for i in range(6):
            others = [j for j in range(6) if j != i]
            mean = (values[r, others] * weights[r, others]).sum() / weights[r, others].sum()
            torch.testing.assert_close(found[r, i], mean, **EXACT)


@pytest.mark.parametrize("heavy", [1.0, 1e3, 1e6, 1e12, 1e30])
def test_leave_one_out_mean_does_not_depend_on_the_sample_itself(heavy: float) -> None:
    """Whatever its value and however much of the weight it has; to the last bit, or the baseline would be biased."""
    values = torch.tensor([[0.3, -1.0, 2.0, 0.7]]).double()
    weights = torch.tensor([[1.0, 0.5, 2.0, 1.5]]).double()
    before = leave_one_out_mean(values, weights)[0, 1]
    values[0, 1], weights[0, 1] = 1e4, heavy
    assert torch.equal(leave_one_out_mean(values, weights)[0, 1], before)


def test_leave_one_out_mean_where_the_others_weigh_nothing() -> None:
    values, weights = torch.tensor([[0.3, -1.0, 2.0]]).double(), torch.tensor([[0.0, 1.0, 0.0]]).double()
    found = leave_one_out_mean(values, weights)
    torch.testing.assert_close(found, torch.tensor([[-1.0, 1.15, -1.0]]).double())


def test_optimal_baseline_is_its_formula_without_the_sample_itself() -> None:
    """b_i = sum of W^2 c n over j != i / sum of W^2 n over j != i."""
    rng = generators(2, 2)
    c, w, n = rng.normal(5), rng.uniform(5), rng.uniform(5)
    found = Optimal()("P_F", c, w, torch.zeros(2), n)
    for r in range(2):
        for i in range(5):
            others = [j for j in range(5) if j != i]
            scale = w[r, others] ** 2 * n[r, others]
            torch.testing.assert_close(found[r, i], (scale * c[r, others]).sum() / scale.sum(), **EXACT)


def total_variance(name: str, **nested: str) -> Tensor:
    """Trace of the covariance of the P_F gradient of one batch of 2, off-policy, exactly."""
    bench = make_bench("grid2x2", exact_log_Z=True)
    objective = make_objective(name, **nested)
    log_pi = torch.full_like(bench.on_policy, 1 / 5).log()
    index = torch.cartesian_prod(torch.arange(5), torch.arange(5))
    loss = objective(take_batches(evaluate_all(bench, objective.needs, log_pi), index))
    grads = [torch.autograd.grad(x, bench.sampler.forward_table, retain_graph=True)[0].flatten() for x in loss]
    stacked = torch.stack(grads)
    return (stacked - stacked.mean(0)).square().sum(1).mean()


def test_best_constant_minimizes_the_variance() -> None:
    """b* = E[W^2 c |score|^2] / E[W^2 |score|^2] over the whole population beats its neighbors on both sides."""
    bench = make_bench("grid2x2", exact_log_Z=True)
    evaluation = evaluate_all(bench, NORMS, torch.full_like(bench.on_policy, 1 / 5).log())
    c = evaluation.log_ratio().detach()[0]
    w = (evaluation.trajectory_log_pf.detach()[0] - evaluation.log_behavior[0]).exp()
    scale = w.square() * evaluation.score_norm_pf[0]
    best = (scale * c).sum() / scale.sum()
    scores = [torch.autograd.grad(x, bench.sampler.forward_table, retain_graph=True)[0] for x in evaluation.trajectory_log_pf[0]]

    def variance(b: Tensor) -> float:
        terms = torch.stack([w[i] * (c[i] - b) * s.flatten() for i, s in enumerate(scores)])
        return float((terms - terms.mean(0)).square().sum(1).mean())

    assert variance(best) < min(variance(best + 0.01), variance(best - 0.01))


def test_baselines_reduce_variance() -> None:
    """What they are for: on a policy whose l has a large mean, every baseline beats none by far."""
    none = float(total_variance("reverse_kl", weighting="plain", baseline="none"))
    for baseline in ("leave_one_out", "optimal", "global_log_z"):
        assert float(total_variance("reverse_kl", weighting="plain", baseline=baseline)) < none, baseline
