"""Chains of linear steps on Gaussian targets: closed forms against quadrature, against densities of plain torch, and in runs."""

from __future__ import annotations

import pytest
import torch
from building import generators, make_exploration, make_objective
from densities import GaussianDensity, make, spread
from linear_chains import gaussian_kl, hermite
from torch import Tensor
from torch.distributions import MultivariateNormal

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.types import Role
from gfn_vi.evaluation.densities.closed_form import ClosedFormMetrics
from gfn_vi.evaluation.exact.linear_gaussian import joints_of
from gfn_vi.evaluation.exact.metrics import ExactMetrics
from gfn_vi.evaluation.exact.quadrature import Quadrature
from gfn_vi.evaluation.gradients.closed_form import ClosedFormGradients, closed_form_of
from gfn_vi.evaluation.gradients.expected_gradients import ExactGradients
from gfn_vi.evaluation.gradients.statistics import GradientStatistics
from gfn_vi.evaluation.measurement import Measurement
from gfn_vi.samplers.continuous.linear_chain import LinearChain
from gfn_vi.targets.densities.gaussian import Gaussian

R = 2
CLOSE = {"rtol": 1e-9, "atol": 1e-11}
LINE = Gaussian(1, 0.7, 0.8)
PLANE = Gaussian(2, [0.7, -0.4], [[1.3, 0.5], [0.5, 0.8]])
SIZES = [1, 2, 4]
OBJECTIVES = ("trajectory_balance", "log_variance", "reverse_kl", "forward_kl", "wake_sleep", "reverse_wake_sleep")
POWERS = ("chi_square", "tsallis_alpha", "renyi_alpha")


def chain_of(target: Gaussian, n_steps: int, size: float = 0.2) -> LinearChain:
    """Return a chain narrower than the target, so that powers of P_F / P_B can be integrated."""
    words = (f"n_steps={n_steps}", "backward=learned", "init_std=0.6")
    chain = spread(make("linear_chain", *words, target=target), size=size)
    assert isinstance(chain, LinearChain)
    return chain


def closed(chain: LinearChain, target: Gaussian) -> ClosedFormGradients:
    found = closed_form_of(chain, target)
    assert found is not None
    return found


# -- against sums on a line ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", ["P_F", "P_B"])
@pytest.mark.parametrize("n_steps", SIZES)
def test_expectations_and_gradients_are_those_of_quadrature(n_steps: int, measure: str) -> None:
    """Every expectation in one dimension, and what each objective descends, for P_F, P_B and log Z."""
    chain = chain_of(LINE, n_steps, 0.1)
    by_sums = ExactGradients(chain, Quadrature(None, None, None).find(chain, LINE).graph)
    by_hand = closed(chain, LINE)
    sums, hand = by_sums.under(measure), by_hand.under(measure)
    for name in (
        "log_ratio",
        "log_ratio_variance",
        "residual_square",
        "elbo",
        "eubo",
        "kl_forward_backward",
        "kl_backward_forward",
    ):
        torch.testing.assert_close(getattr(hand, name)(), getattr(sums, name)(), **CLOSE, msg=lambda m, name=name: f"{name}: {m}")
    for name in (*OBJECTIVES, *POWERS):
        objective = make_objective(name)
        expected, found = (exact(objective.descends(e)) for exact, e in ((by_sums, sums), (by_hand, hand)))
        assert set(found) == set(expected) == {Role.LOG_Z, Role.FORWARD, *([Role.BACKWARD] if n_steps > 1 else [])}
        for role, gradient in found.items():
            torch.testing.assert_close(gradient, expected[role], **CLOSE, msg=lambda m, at=(name, role): f"{at}: {m}")


# -- in several dimensions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_steps", SIZES)
def test_the_joint_gaussians_are_the_densities_of_the_sampler(n_steps: int) -> None:
    """log P_F, and log P_B + log R, of trajectories that are not the chain's own, with a correlated target."""
    chain = chain_of(PLANE, n_steps)
    drawn = chain.rollout(7, generators(0, R), make_exploration("widened_steps").tilt(0))
    evaluation = chain.evaluate(drawn)
    flat = drawn.states[:, :, 1:].flatten(2)
    sides = (evaluation.trajectory_log_pf, evaluation.trajectory_log_pb + evaluation.log_reward)
    for joint, expected in zip(joints_of(chain, PLANE), sides, strict=True):
        factor = torch.linalg.inv(joint.weight)
        mean = (factor @ joint.shift[..., None])[..., 0]
        found = torch.stack([MultivariateNormal(mean[r], factor[r] @ factor[r].T).log_prob(flat[r]) for r in range(R)])
        torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.parametrize("n_steps", [1, 2])
def test_expected_gradients_on_a_correlated_target(n_steps: int) -> None:
    """KL(P_F, P_B) as two plain Gaussians have it, and E[u^2] by Gauss-Hermite, which is exact: u is quadratic in the noise."""
    chain = chain_of(PLANE, n_steps)
    groups = chain.parameter_groups()
    exact = closed(chain, PLANE)
    expectations = exact.under("P_F")
    forward, backward = joints_of(chain, PLANE)

    def plain(joint: tuple[Tensor, Tensor], r: int) -> tuple[Tensor, Tensor]:
        factor = torch.linalg.inv(joint[0][r])
        return factor @ joint[1][r], factor @ factor.T

    divergence = torch.stack([gaussian_kl(plain(forward, r), plain(backward, r)) for r in range(R)])
    torch.testing.assert_close(expectations.kl_forward_backward(), divergence, **CLOSE)
    nodes, weights = hermite(2 * n_steps, 5)
    factor = torch.linalg.inv(forward.weight).detach()
    states = (nodes + forward.shift.detach()[:, None]) @ factor.mT
    whole = torch.nn.functional.pad(states.unflatten(2, (n_steps, 2)), (0, 0, 1, 0))
    evaluation = chain.evaluate(chain._trajectories(whole, None))
    square = (weights * evaluation.residual().square()).sum(1)
    torch.testing.assert_close(expectations.residual_square(), square, **CLOSE)
    found = exact(make_objective("trajectory_balance").descends(expectations))
    for role, group in groups.items():
        for scalar, gradient in ((square, found[role]), (divergence, found[role] / 2)):
            if scalar is divergence and role is not Role.FORWARD:
                continue  # theorem 1 is about P_F
            parts = torch.autograd.grad(scalar.sum(), group, retain_graph=True, allow_unused=True, materialize_grads=True)
            expected = torch.cat([part.reshape(R, -1) for part in parts], 1)
            torch.testing.assert_close(gradient, expected, **CLOSE, msg=lambda m, role=role: f"{role}: {m}")


# -- in measurements -----------------------------------------------------------------------------------------------------

SPACE = Gaussian(3, 0.5, [0.5, 0.8, 1.2])
ALONG_NOISE = ("pathwise", "sticking_the_landing")


def measured(
    chain: LinearChain, behavior: str = "on_policy", names: tuple[str, ...] = (*ALONG_NOISE, "score")
) -> dict[str, Tensor]:
    """256 batches of 8 for each replica."""
    estimators = {
        name: make_objective("reverse_kl", estimator=name, baseline="none" if name in ALONG_NOISE else "leave_one_out")
        for name in names
        if name != "trajectory_balance"
    }
    if "trajectory_balance" in names:
        estimators["trajectory_balance"] = make_objective("trajectory_balance")
    only = {"b": make_exploration(behavior)}
    metric = GradientStatistics(estimators, only, [8], 256, "exact", 512, ["forward"], "gradients", None)
    return metric(Measurement(chain, chain.target, generators(1, R), True, None, None))


def test_estimators_share_an_exact_reference_in_several_dimensions() -> None:
    """Without bias against it, and where the line is too long for quadrature or there is none."""
    found = measured(chain_of(SPACE, 3), names=(*ALONG_NOISE, "score", "trajectory_balance"))
    for name in (*ALONG_NOISE, "score", "trajectory_balance"):
        key = f"forward/{name}/b/8"
        assert found[f"gradients/exact/{key}"].tolist() == [1.0] * R
        along, error = (found[f"gradients/{statistic}/{key}"] for statistic in ("bias_along", "bias_along_se"))
        assert bool((along.abs() < 4.5 * error).all()), (key, along / error)
        assert bool((error < 0.25).all()), (key, error)
        size = found["gradients/reference_norm/forward/score/b/8"] * (1 + (name == "trajectory_balance"))
        torch.testing.assert_close(found[f"gradients/reference_norm/{key}"], size, **CLOSE)


def test_wider_steps_and_other_pairs_have_no_closed_form() -> None:
    chain = chain_of(SPACE, 2)
    found = measured(chain, "widened_steps", ("trajectory_balance",))
    assert found["gradients/exact/forward/trajectory_balance/b/8"].tolist() == [0.0] * R
    assert closed_form_of(make("mean_field", target=SPACE), SPACE) is None
    assert closed_form_of(chain, GaussianDensity(SPACE.mean, SPACE.covariance)) is None
    assert closed_form_of(make("linear_chain", "n_steps=400", target=SPACE), SPACE) is None


def test_a_replica_that_is_not_finite_leaves_the_others_as_they_are() -> None:
    chain = chain_of(SPACE, 2)
    sound = measured(chain)
    with torch.no_grad():
        chain.shift[1, 0, 0] = torch.nan  # type: ignore[index]
    found = measured(chain)
    for name, value in found.items():
        torch.testing.assert_close(value[0], sound[name][0], rtol=1e-9, atol=1e-9, equal_nan=True)
    assert bool(found["gradients/variance/forward/score/b/8"][1].isnan())


def test_at_the_optimum_only_the_gradient_along_the_noise_varies() -> None:
    """As it comes the chain ends in N(0, 1) in each dimension."""
    target = Gaussian(3, 0.0, 1.0)
    chain = make("linear_chain", "n_steps=4", target=target)
    assert isinstance(chain, LinearChain)
    found = measured(chain, names=(*ALONG_NOISE, "score", "trajectory_balance"))
    for name in ("sticking_the_landing", "score", "trajectory_balance"):
        assert bool((found[f"gradients/variance/forward/{name}/b/8"] < 1e-24).all()), name
    assert bool((found["gradients/variance/forward/pathwise/b/8"] > 1.0).all())
    assert bool((found["gradients/reference_norm/forward/score/b/8"] < 1e-12).all())


# -- as metrics ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_steps", SIZES)
def test_metrics_in_closed_form_are_those_of_quadrature(n_steps: int) -> None:
    chain = chain_of(LINE, n_steps)
    sums = ExactMetrics()(Measurement(chain, LINE, generators(0, R), True, None, Quadrature(None, None, None)))
    found = ClosedFormMetrics()(Measurement(chain, LINE, generators(0, R), False, None))
    assert set(found) == set(ClosedFormMetrics().records(LINE, False, False))
    for name, value in found.items():
        torch.testing.assert_close(value, sums[name.removeprefix("exact_")], **CLOSE)


@pytest.mark.parametrize("n_steps", [1, 3])
def test_metrics_in_closed_form_are_those_of_torchs_gaussians(n_steps: int) -> None:
    """In a plane, where dimensions of the target are correlated: the chain written as matrices, step by step."""
    chain = chain_of(PLANE, n_steps)
    found = ClosedFormMetrics()(Measurement(chain, PLANE, generators(0, R), False, None))
    pi = MultivariateNormal(PLANE.mean.double(), PLANE.covariance.double())
    own = chain._forward_steps()
    for r in range(R):
        mean, covariance = torch.zeros(2, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
        for k in range(n_steps):
            slope = own.slope[r, k].diag()
            mean, covariance = slope @ mean + own.shift[r, k], slope @ covariance @ slope + own.std[r, k].square().diag()
        learned = MultivariateNormal(mean, covariance)
        torch.testing.assert_close(found["kl_forward"][r], torch.distributions.kl_divergence(pi, learned), **CLOSE)
        torch.testing.assert_close(found["kl_reverse"][r], torch.distributions.kl_divergence(learned, pi), **CLOSE)
    torch.testing.assert_close(found["exact_bound_gap"], found["exact_eubo"] - found["exact_elbo"], **CLOSE)
    assert bool((found["exact_elbo"] < PLANE.log_Z - found["kl_reverse"] + 1e-12).all()), "the joint divergence is the larger one"
    assert bool((found["exact_eubo"] > PLANE.log_Z + found["kl_forward"] - 1e-12).all())


def test_metrics_in_closed_form_refuse_other_steps() -> None:
    sampler = make("diffusion", "n_steps=3", "hidden=[4]", target=PLANE)
    with pytest.raises(ConfigError, match=r"sampler=DiffusionSampler: has no closed form: use sampler=linear_chain"):
        ClosedFormMetrics()(Measurement(sampler, PLANE, generators(0, R), False, None))
    wide = make("linear_chain", "n_steps=600", target=PLANE)
    with pytest.raises(ConfigError, match=r"sampler.n_steps=600: expected at most 512"):
        ClosedFormMetrics()(Measurement(wide, PLANE, generators(0, R), False, None))
