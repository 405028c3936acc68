"""evaluation=gradients: what it says of estimators, against enumeration.

Statistics are tried on many copies of one sampler, each with generators of its own: one call then gives as many independent
estimates, whose scatter is compared with the standard errors that come with them.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from building import generators, make_exploration, make_objective, make_sampler, make_target, make_trainer
from measuring import measured as measured_by
from torch import Tensor

from gfn_vi.core.types import Need, Role
from gfn_vi.evaluation.exact.enumeration import multisets
from gfn_vi.evaluation.gradients import batch_gradients, large_batches
from gfn_vi.evaluation.gradients import statistics as gradient_statistics
from gfn_vi.evaluation.gradients.batch_gradients import BatchGradients, Estimator
from gfn_vi.evaluation.gradients.statistics import GradientStatistics
from gfn_vi.objectives.score_noise import ScoreNoise
from gfn_vi.samplers.discrete.sampler import DiscreteSampler
from gfn_vi.verification.batches import take_batches
from truths.expectations import evaluate_all, make_bench

ROLES = (Role.FORWARD, Role.BACKWARD)
COPIES = 256


def on_policy_metric(estimators: dict[str, Any], behavior: str = "on_policy", **changed: Any) -> GradientStatistics:
    """Under one behavior, named so."""
    settings = {"batch_sizes": [4], "n_batches": 64, "reference": "exact", "n_reference": 512, "roles": ["forward", "backward"]}
    behaviors = {behavior: make_exploration(behavior)}
    return GradientStatistics(estimators, behaviors, **{**settings, **changed}, prefix="gradients", every=None)


def copies_of(target: str, times: int = COPIES, kind: str = "tabular") -> DiscreteSampler:
    """The same random sampler `times` times."""
    return make_sampler(make_target(target), kind).repeated(times)


def measured(metric: GradientStatistics, sampler: DiscreteSampler, seed: int = 0) -> dict[str, Tensor]:
    return measured_by(metric, sampler, sampler.target, generators(seed, sampler.n_replicas))


def agrees(found: dict[str, Tensor], statistic: str, where: str, truth: float) -> None:
    """The mean over copies is the truth within 4 of its errors, and the standard errors are as large as the scatter.

    But for that of a bias of 0, which is sqrt(2) too large (gradient_moments.py).
    """
    values, errors = found[f"gradients/{statistic}/{where}"], found[f"gradients/{statistic}_se/{where}"]
    name, scatter = f"{statistic}/{where}", float(values.std())
    assert abs(float(values.mean()) - truth) < 4 * scatter / math.sqrt(COPIES), name
    expected = math.sqrt(2) * scatter if statistic == "bias" and truth == 0 else scatter
    assert float(errors.square().mean().sqrt()) == pytest.approx(expected, rel=0.3), name


# -- the engine ---------------------------------------------------------------------------------------------------------

ENGINE_CASES = {
    "trajectory_balance": {},
    "log_variance": {},
    "reverse_kl": {"baseline": "leave_one_out"},
    "forward_kl": {"baseline": "optimal"},  # SCORE_NORMS
    "wake_sleep": {},
    "detailed_balance": {},  # FLOW
    "flow_matching": {},  # FLOW and INFLOW
    "modified_detailed_balance": {},  # STOP_FLOW
}


@pytest.mark.parametrize("kind", ["tabular", "mlp"])
@pytest.mark.parametrize("name", ENGINE_CASES)
def test_gradients_are_those_of_the_ordinary_sampler(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch by batch; R = 2, seven batches in chunks of at most three, so the chunks differ in size."""
    target, objective = make_target("grid3x3"), make_objective(name, **ENGINE_CASES[name])
    sampler = make_sampler(target, kind, n_replicas=2, flow=True)
    trajectories = make_exploration("epsilon_uniform").collect(sampler, 7 * 4, generators(3, 2), 0)
    engine = BatchGradients(sampler, list(Role), [objective.needs], n_states=9)
    monkeypatch.setattr(batch_gradients, "LARGEST_ROWS", 3 * 2 * 9)
    monkeypatch.setattr(batch_gradients, "SCORE_COPIES", 1)
    chunks = list(engine.chunks(trajectories, 7))
    assert [chunk.n_batches for chunk in chunks] == [2, 2, 3]
    found = [chunk.gradients(Estimator(objective)) for chunk in chunks]
    for m in range(7):
        batch = trajectories.select(torch.arange(4 * m, 4 * m + 4).expand(2, 4))
        loss = objective(sampler.evaluate(batch, objective.needs)).sum()
        for role, group in sampler.parameter_groups().items():
            wanted = torch.autograd.grad(loss, group, retain_graph=True, allow_unused=True, materialize_grads=True)
            ours = torch.cat([gradients[role] for gradients in found], 1)[:, m]
            torch.testing.assert_close(ours, torch.cat([w.reshape(2, -1) for w in wanted], 1), rtol=1e-10, atol=1e-12)
    assert all(p.grad is None for p in sampler.parameters())


@pytest.mark.parametrize("name", ENGINE_CASES)
def test_a_large_batch_is_the_sum_of_its_pieces(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six pieces, the last one smaller, pulled back one by one: the gradient of the whole."""
    objective = make_objective(name, **ENGINE_CASES[name])
    sampler = make_sampler(make_target("grid3x3"), "mlp", n_replicas=2, flow=True)
    batch = make_exploration("epsilon_uniform").collect(sampler, 11, generators(3, 2), 0)
    monkeypatch.setattr(large_batches, "LARGEST_PIECE", 2 * 2 * batch.mask.shape[2])
    assert [piece.batch for piece in large_batches.pieces_of(batch)] == [2, 2, 2, 2, 2, 1]
    calls = sampler.reward_calls.clone()
    estimators = {"e": Estimator(objective)}
    found = large_batches.large_batch_gradients(sampler, list(Role), objective.needs, estimators, batch)["e"]
    assert torch.equal(sampler.reward_calls, calls)
    loss = objective(sampler.evaluate(batch, objective.needs)).sum()
    for role, group in sampler.parameter_groups().items():
        wanted = torch.autograd.grad(loss, group, retain_graph=True, allow_unused=True, materialize_grads=True)
        torch.testing.assert_close(found[role], torch.cat([w.reshape(2, -1) for w in wanted], 1), rtol=1e-10, atol=1e-12)


def test_an_objective_with_a_memory_is_measured_at_rest() -> None:
    """The running mean has forgotten where it started (0.9^64 = 0.001), and carries nothing over."""
    sampler = make_sampler(make_target("grid3x3"), n_replicas=2)
    objective = make_objective("reverse_kl", baseline="running_mean")
    objective(sampler.evaluate(sampler.rollout(4, generators(1, 2))))
    before = {side: mean.tolist() for side, mean in objective.state_dict()["mean"].items()}
    batch = sampler.evaluate(sampler.rollout(256, generators(2, 2)))
    own = Estimator(objective).settled(batch).fresh(3)
    wanted = batch.log_ratio().mean(1).detach().repeat_interleave(3)
    (mean,) = own.state_dict()["mean"].values()  # P_F's: that of P_B takes no baseline
    torch.testing.assert_close(mean, wanted, rtol=0.01, atol=0.01)
    metric = on_policy_metric({"running": objective})
    first, again = measured(metric, sampler), measured(metric, sampler)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert {side: mean.tolist() for side, mean in objective.state_dict()["mean"].items()} == before


# -- bias ---------------------------------------------------------------------------------------------------------------


def reverse_kl(baseline: str) -> Any:
    return make_objective("reverse_kl", baseline=baseline)


@pytest.mark.parametrize("kind", ["tabular", "mlp"])
@pytest.mark.parametrize("behavior", ["on_policy", "stop_bias", "epsilon_uniform"])
def test_unbiased_estimators_are_found_unbiased(behavior: str, kind: str) -> None:
    """Against the exact gradient under each behavior: trajectory balance needs no weights, reverse KL plain ones off-policy."""
    weighting = "self_normalized" if behavior == "on_policy" else "plain"
    estimators = {
        "tb": make_objective("trajectory_balance"),
        "rkl": make_objective("reverse_kl", baseline="leave_one_out" if behavior == "on_policy" else "none", weighting=weighting),
    }
    found = measured(on_policy_metric(estimators, behavior), copies_of("grid3x3", kind=kind))
    for name in estimators:
        for role in ROLES:
            where = f"{role.value}/{name}/{behavior}/4"
            assert bool((found[f"gradients/exact/{where}"] == 1).all())
            for statistic in ("bias", "bias_along"):
                agrees(found, statistic, where, 0.0)


@pytest.mark.parametrize("size", [2, 4])
def test_a_batch_mean_shrinks_the_forward_gradient_by_one_in_b(size: int) -> None:
    found = measured(
        on_policy_metric({"mean": reverse_kl("batch_mean"), "others": reverse_kl("leave_one_out")}, batch_sizes=[size]),
        copies_of("grid3x3"),
    )
    agrees(found, "bias_along", f"forward/mean/on_policy/{size}", -1 / size)
    agrees(found, "bias", f"forward/mean/on_policy/{size}", 1 / size**2)  # all of it along g*
    share = found[f"gradients/bias_along/forward/mean/on_policy/{size}"]
    assert float(share.mean()) < -10 * float(share.std()) / math.sqrt(COPIES)
    agrees(found, "bias_along", f"backward/mean/on_policy/{size}", 0.0)
    agrees(found, "bias_along", f"forward/others/on_policy/{size}", 0.0)


# -- variance -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["trajectory_balance", "batch_mean", "leave_one_out"])
def test_total_variance_is_that_of_all_batches(name: str) -> None:
    """Every unordered batch of two of the five trajectories, each with its probability and its gradient."""
    bench = make_bench("grid2x2")
    objective = make_objective(name) if name == "trajectory_balance" else reverse_kl(name)
    index, log_orders = multisets(len(bench.on_policy), 2)
    probability = (bench.on_policy[index].sum(1) + log_orders).exp()
    losses = objective(take_batches(evaluate_all(bench, objective.needs, bench.on_policy), index))
    batches = [bench.gradients(loss) for loss in losses]
    found = measured(on_policy_metric({"e": objective}, batch_sizes=[2]), bench.sampler.repeated(COPIES))
    for role in ROLES:
        gradients = torch.stack([b[role].flatten() for b in batches])
        mean = probability @ gradients
        variance = float(probability @ (gradients - mean).square().sum(1))
        where = f"{role.value}/e/on_policy/2"
        agrees(found, "variance", where, variance)
        # |E g|^2, unbiased but for the few measurements in which its estimate is cut at 0
        power = found[f"gradients/snr/{where}"].square() * found[f"gradients/variance/{where}"]
        cut = float((power == 0).double().mean()) * float(power.std())
        assert abs(float(power.mean()) - float(mean.square().sum())) < 4 * float(power.std()) / math.sqrt(COPIES) + cut


# -- direction ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, 32])
def test_pure_noise_has_no_direction_unless_the_reference_contains_it(size: int) -> None:
    """Cosine 0 with an independent reference; with a nested one sqrt(b / n_reference), the published measurement's floor.

    Cosines with the same reference are alike, so the copies are the sample. sqrt is the limit of many dimensions: tables of 27
    numbers leave a tenth.
    """
    noise, sampler = {"noise": ScoreNoise()}, copies_of("grid3x3")
    where = f"forward/noise/on_policy/{size}"
    independent = measured(on_policy_metric(noise, batch_sizes=[size], reference="independent"), sampler)
    cosine = independent[f"gradients/cosine/{where}"]
    assert abs(float(cosine.mean())) < 4 * float(cosine.std()) / math.sqrt(COPIES)
    nested = measured(on_policy_metric(noise, batch_sizes=[size], reference="nested"), sampler)
    cosine, wanted = nested[f"gradients/cosine/{where}"], math.sqrt(size / 512)
    error = float(cosine.std()) / math.sqrt(COPIES)
    assert abs(float(cosine.mean()) - wanted) < 4 * error + 0.1 * wanted
    assert float(cosine.mean()) > 10 * error
    assert not any("exact" in name and bool(value.any()) for found in (independent, nested) for name, value in found.items())


def test_noise_has_no_gradient_to_be_relative_to() -> None:
    """g* is exactly 0: what is relative to it is NaN, the variance is not, and P_B has no gradient at all."""
    sampler = copies_of("grid3x3", 2)
    found = measured(on_policy_metric({"noise": ScoreNoise()}), sampler)
    for statistic in ("bias", "bias_along", "cosine", "cosine_floor"):
        assert bool(found[f"gradients/{statistic}/forward/noise/on_policy/4"].isnan().all()), statistic
    assert bool((found["gradients/variance/forward/noise/on_policy/4"] > 0).all())
    assert bool((found["gradients/snr/forward/noise/on_policy/4"] < 0.3).all())
    assert found["gradients/variance/backward/noise/on_policy/4"].tolist() == [0, 0]


# -- references and weights ----------------------------------------------------------------------------------------------


def test_the_noise_of_an_independent_reference_is_no_bias() -> None:
    """Its variance is b / n_reference times that of a batch, for estimators that are means, and is taken out."""
    estimators = {"tb": make_objective("trajectory_balance")}
    found = measured(on_policy_metric(estimators, reference="independent", n_reference=32), copies_of("grid3x3"))
    bias = found["gradients/bias/forward/tb/on_policy/4"]
    excess = bias * found["gradients/reference_norm/forward/tb/on_policy/4"].square()  # |E g - g*|^2, the noise of g* taken out
    assert abs(float(excess.mean())) < 4 * float(excess.std()) / math.sqrt(COPIES)


@pytest.mark.parametrize("behavior", ["on_policy", "stop_bias"])
def test_effective_sample_sizes_are_those_of_all_trajectories(behavior: str) -> None:
    """(sum pi w)^2 / sum pi w^2 over the trajectories; 4096 drawn ones are off by less than an error's tenth."""
    bench = make_bench("grid2x2")
    log_pi = make_exploration(behavior).log_density(bench.sampler, bench.trajectories, 0)[0]
    found = measured(
        on_policy_metric({"tb": make_objective("trajectory_balance")}, behavior, batch_sizes=[2, 64]),
        bench.sampler.repeated(COPIES),
    )
    for measure, log_density in (("forward", bench.on_policy), ("backward", bench.from_target)):
        truth = float(1 / (2 * log_density - log_pi).exp().sum())
        values, errors = found[f"gradients/ess_{measure}/{behavior}"], found[f"gradients/ess_{measure}_se/{behavior}"]
        assert (
            abs(float(values.mean()) - truth) < 4 * float(values.std()) / math.sqrt(COPIES) + 0.1 * float(errors.mean()) + 1e-12
        )
        assert float(errors.mean()) == pytest.approx(float(values.std()), rel=0.2, abs=1e-12)
        tail = found[f"gradients/pareto_k_{measure}/{behavior}"]
        assert not bool(tail.isnan().any())


def test_a_pool_may_be_drawn_in_several_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Generators go on where they were, so the trajectories are the same, and so is every number."""
    sampler = make_sampler(make_target("grid3x3"), n_replicas=2)
    metric = on_policy_metric({"tb": make_objective("trajectory_balance")})
    whole = measured(metric, sampler)
    monkeypatch.setattr(gradient_statistics, "DRAWN_STEPS", 5 * 4 * sampler.target.horizon)
    parts = measured(metric, sampler)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-9, atol=1e-12, equal_nan=True, msg=lambda m, n=name: f"{n}: {m}")


# -- what can be computed exactly, and what cannot -----------------------------------------------------------------------


def test_exact_gives_way_where_no_recursion_is_known() -> None:
    """To an independent batch: another penalty, a mixture, a target too large to list; uniform P_B has no gradient."""
    huber = make_objective("trajectory_balance", penalty="huber")
    estimators = {"huber": huber, "tb": make_objective("trajectory_balance")}
    sampler = make_sampler(make_target("grid3x3"), n_replicas=2)
    found = measured(on_policy_metric(estimators), sampler)
    assert found["gradients/exact/forward/huber/on_policy/4"].tolist() == [0, 0]
    assert found["gradients/exact/forward/tb/on_policy/4"].tolist() == [1, 1]
    found = measured(on_policy_metric(estimators, "mixture"), sampler)
    assert not any(bool(value.any()) for name, value in found.items() if "/exact/" in name)
    assert all(bool(value.isfinite().all()) for name, value in found.items() if "pareto" not in name)
    trainer = make_trainer("target.side=4", "target.max_enumerated_states=1", "sampler.hidden=[4]", "sampler.backward=uniform")
    found = measured(on_policy_metric(estimators), trainer.parts.sampler)
    assert found["gradients/exact/forward/tb/on_policy/4"].tolist() == [0]
    assert not any("/backward/" in name for name in found)


def test_a_mixture_divides_each_batch() -> None:
    """Drawn at once, half the batches would come from one component alone: their mean log-density says who drew them."""
    seen = []

    class Watching(ScoreNoise):
        needs: frozenset[Need] = frozenset()

        def __call__(self, evaluation: Any) -> Tensor:
            seen.append(evaluation.log_behavior.exp().mean(1).detach())
            return super().__call__(evaluation)

    far = make_exploration("mixture")
    far.components[1] = make_exploration("stop_bias")
    far.components[1].bias = make_exploration("stop_bias").bias.__class__(start=-50.0)
    metric = GradientStatistics({"w": Watching()}, {"mixture": far}, [16], 32, "independent", 64, ["forward"], "gradients", None)
    measured(metric, make_sampler(make_target("grid3x3"), n_replicas=1))
    halves = seen[1].view(2, -1)
    # stopping at once is half of every batch: without division one half of the batches would be that alone
    assert float((halves[0].mean() - halves[1].mean()).abs()) < 3 * float(seen[1].std()) / 4


def test_a_diverged_replica_is_its_own_affair() -> None:
    """NaN parameters of one replica leave the other's numbers as they were."""
    estimators = {"tb": make_objective("trajectory_balance"), "rkl": reverse_kl("leave_one_out")}
    sampler = make_sampler(make_target("grid3x3"), n_replicas=2)
    before = measured(on_policy_metric(estimators), sampler)
    with torch.no_grad():
        for parameter in sampler.parameters():
            parameter[0] = torch.nan
    after = measured(on_policy_metric(estimators), sampler)
    for name, value in after.items():
        torch.testing.assert_close(value[1], before[name][1], equal_nan=True, msg=lambda m, name=name: f"{name}: {m}")
    assert bool(after["gradients/cosine/forward/tb/on_policy/4"][0].isnan())


def test_a_replica_is_measured_as_if_it_were_alone() -> None:
    """What is drawn, and where chunks end, depends on nobody else."""
    both = make_sampler(make_target("grid3x3"), n_replicas=2)
    metric = on_policy_metric({"tb": make_objective("trajectory_balance")})
    together = measured(metric, both)
    alone = measured(metric, make_sampler(make_target("grid3x3"), n_replicas=1))
    for name, value in alone.items():
        torch.testing.assert_close(together[name][:1], value, rtol=1e-8, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}")
