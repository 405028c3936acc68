"""Quadrature on a line against closed forms: Gaussian targets and linear kernels; and what it refuses."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from building import generators
from densities import Bumps, Density, GaussianDensity, make, spread
from linear_chains import LinearChain, R, gaussian_kl
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.types import Role
from gfn_vi.evaluation.exact.dynamic_programming import elbo, eubo, visit_probability
from gfn_vi.evaluation.exact.line_graph import line_graph, line_policies
from gfn_vi.evaluation.exact.metrics import ExactMetrics
from gfn_vi.evaluation.exact.quadrature import Quadrature
from gfn_vi.evaluation.exact.resolution import _Sums, resolution
from gfn_vi.evaluation.gradients.expected_gradients import ExactGradients
from gfn_vi.evaluation.measurement import Measurement
from gfn_vi.samplers.continuous.diffusion import DiffusionSampler
from gfn_vi.samplers.continuous.kernels import DiagonalGaussian
from gfn_vi.samplers.continuous.sampler import ContinuousSampler, Kernels

LOG_Z = 1.3
TARGET = GaussianDensity(torch.tensor([0.7]), torch.tensor([[0.8]]), LOG_Z)
UNIT = GaussianDensity(torch.zeros(1), torch.eye(1))
AUTOMATIC = Quadrature(None, None, None)
EXACT = {"rtol": 1e-9, "atol": 1e-11}


def metrics_of(sampler: ContinuousSampler, target: Density, quadrature: Quadrature = AUTOMATIC) -> dict[str, Tensor]:
    rng = generators(0, sampler.n_replicas, "metrics")
    return ExactMetrics()(Measurement(sampler, target, rng, True, None, quadrature))


# -- closed forms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_steps", [1, 2, 4])
def test_bounds_and_divergences_of_linear_chains(n_steps: int) -> None:
    """log Z, ELBO = log Z - KL(P_F, P_B), EUBO = log Z + KL(P_B, P_F), and both KLs of what the chain ends in."""
    chain = LinearChain(TARGET, n_steps)
    found = metrics_of(chain, TARGET)
    with torch.no_grad():
        for r in range(R):
            forward, backward = chain.forward_joint(r), chain.backward_joint(r)
            end, wanted = (forward[0][-1:], forward[1][-1:, -1:]), (TARGET.mean, TARGET.covariance)
            closed = {
                "elbo": LOG_Z - gaussian_kl(forward, backward),
                "eubo": LOG_Z + gaussian_kl(backward, forward),
                "bound_gap": gaussian_kl(forward, backward) + gaussian_kl(backward, forward),
                "kl_forward": gaussian_kl(wanted, end),
                "kl_reverse": gaussian_kl(end, wanted),
                "log_Z_error": chain.log_Z[r].double() - LOG_Z,
            }
            for name, value in closed.items():
                torch.testing.assert_close(found[name][r], value, **EXACT, msg=f"{name}, replica {r}")


@pytest.mark.parametrize("mean", [0.01, 1.5, 6.0])
def test_the_total_variation_of_two_equal_widths(mean: float) -> None:
    """Of N(0, 1) and N(m, 1) it is erf(m / (2 sqrt 2)); l1 is twice that. The kink between them costs nothing."""
    sampler = make("mean_field", "init_std=1.0", target=GaussianDensity(torch.tensor([mean]).double(), torch.eye(1)))
    found = metrics_of(sampler, sampler.target)
    expected = torch.full((2,), math.erf(mean / math.sqrt(8)), dtype=torch.float64)
    torch.testing.assert_close(found["total_variation"], expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(found["l1"], 2 * found["total_variation"], rtol=1e-12, atol=0)


def test_the_total_variation_of_two_widths() -> None:
    """N(0, 1) and N(0, t^2) cross twice, at c = sqrt(2 log t / (1 - 1 / t^2))."""
    t = 1.7
    sampler = make("mean_field", "init_std=1.0", target=GaussianDensity(torch.zeros(1), torch.tensor([[t * t]]).double()))
    c = math.sqrt(2 * math.log(t) / (1 - 1 / t**2))
    expected = math.erf(c / math.sqrt(2)) - math.erf(c / t / math.sqrt(2))
    found = metrics_of(sampler, sampler.target)["total_variation"]
    torch.testing.assert_close(found, torch.full((2,), expected, dtype=torch.float64), rtol=0, atol=1e-8)


@pytest.mark.parametrize("std", [0.5, 1.2])
def test_the_effective_sample_size_of_one_step(std: float) -> None:
    """E w^2 = s / (t^2 sqrt(2 / t^2 - 1 / s^2)) for P_F = N(0, s^2), s = 1, and the target N(0, t^2)."""
    sampler = make(
        "mean_field", "init_std=1.0", target=GaussianDensity(torch.zeros(1), torch.tensor([[std**2]], dtype=torch.float64))
    )
    found = metrics_of(sampler, sampler.target)["ess"]
    torch.testing.assert_close(found, torch.full((2,), std**2 * math.sqrt(2 / std**2 - 1), dtype=torch.float64), **EXACT)


@pytest.mark.parametrize("std", [1.5, 3.0])
def test_weights_without_a_second_moment_have_no_effective_sample_size(std: float) -> None:
    """At t^2 > 2 s^2 the integral diverges: a finite line would give some number."""
    sampler = make(
        "mean_field", "init_std=1.0", target=GaussianDensity(torch.zeros(1), torch.tensor([[std**2]], dtype=torch.float64))
    )
    assert metrics_of(sampler, sampler.target)["ess"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("n_steps", [1, 3])
def test_expected_gradients_of_linear_chains(n_steps: int) -> None:
    """Of both KLs, by both roles; on-policy, E u^2 has twice that of KL(P_F, P_B) for P_F, and likewise under P_B for P_B."""
    chain = LinearChain(TARGET, n_steps)
    exact = ExactGradients(chain, AUTOMATIC.find(chain, TARGET).graph)
    joints = [(chain.forward_joint(r), chain.backward_joint(r)) for r in range(R)]
    forward_first, backward_first = exact.under("P_F"), exact.under("P_B")
    reverse = torch.stack([gaussian_kl(f, b) for f, b in joints]).sum()
    forward = torch.stack([gaussian_kl(b, f) for f, b in joints]).sum()
    for closed, found in (
        (reverse, forward_first.kl_forward_backward()),
        (forward, backward_first.kl_backward_forward()),
    ):
        gradients = exact(found)
        for role in (Role.FORWARD, Role.BACKWARD):
            torch.testing.assert_close(gradients[role], flat(closed, chain, role), **EXACT)
    for role, closed, square in (
        (Role.FORWARD, reverse, forward_first.residual_square()),
        (Role.BACKWARD, forward, backward_first.residual_square()),
    ):
        torch.testing.assert_close(exact({role: square})[role], 2 * flat(closed, chain, role), **EXACT)


def flat(value: Tensor, chain: LinearChain, role: Role) -> Tensor:
    parameters = chain.parameter_groups()[role]
    found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.cat([g.reshape(R, -1) for g in found], 1)


def test_what_is_measured_of_a_line_is_what_the_passes_over_its_edges_say() -> None:
    """The bounds that a line is judged by, on matrices, are those of metrics, on edges; with half of the nodes, too."""
    chain = LinearChain(TARGET, 3)
    line = AUTOMATIC.find(chain, TARGET)
    m = line.graph.n_nodes
    for stride in (1, 2):
        nodes = line.graph.nodes[::stride, 0]
        policies = line_policies(chain, line_graph(nodes, 3, TARGET.log_reward(nodes[:, None])))
        found = _Sums(line.policies, stride)
        edges = [elbo(policies, visit_probability(policies)), eubo(policies)]
        torch.testing.assert_close(found.bounds[:2], torch.stack(edges), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found.bounds[2], policies.graph.log_partition.expand(R), rtol=1e-12, atol=1e-12)
    assert resolution(line.policies).visits.shape == (m, R)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_mass_that_leaves_a_line_on_the_way_is_seen(direction: str) -> None:
    """At the end all of it is inside: x_1 ~ N(0, 4^2), of P_F or of P_B, is beyond 8 with probability 2 (1 - Phi(2)).

    What P_F loses counts twice, at the step and at the end: never less than what is lost.
    """
    chain = LinearChain(TARGET, 2)
    with torch.no_grad():
        wide_std, narrow = math.log(4.0), 0.05
        chain.shift.zero_()
        chain.log_std.zero_()
        chain.back_log_std.zero_()
        if direction == "forward":
            chain.log_std[:, 0], chain.weight[:, 1], chain.back[:] = wide_std, narrow, narrow
        else:
            chain.weight[:, 1], chain.back[:], chain.back_log_std[:, 1] = 0.5, narrow, wide_std
    nodes = torch.linspace(-8, 8, 321, dtype=torch.float64)
    found = resolution(line_policies(chain, line_graph(nodes, 2, TARGET.log_reward(nodes[:, None]))))
    expected, at_end = math.erfc(math.sqrt(2)), 0.05 * math.exp(-2.0) / (4 * math.sqrt(2 * math.pi))
    lost = found.lost.tolist()
    assert lost == pytest.approx([expected * (2 if direction == "forward" else 1)] * R, rel=0.05)
    for end in (0, -1):
        assert found.visits[end].tolist() == pytest.approx([at_end] * R, rel=0.1)
    assert found.outside.tolist() == [0] * R


def test_a_target_far_from_all_of_what_is_drawn() -> None:
    """KL(pi, P_T) of N(5, 1) and N(0, 0.1^2), where P_T underflows: log(s / t) + (t^2 + m^2) / (2 s^2) - 1 / 2."""
    sampler = make("mean_field", "init_std=0.1", target=GaussianDensity(torch.tensor([5.0]).double(), torch.eye(1)))
    found = metrics_of(sampler, sampler.target)
    expected = torch.full((2,), math.log(0.1) + 26 / 0.02 - 0.5, dtype=torch.float64)
    torch.testing.assert_close(found["kl_forward"], expected, **EXACT)
    torch.testing.assert_close(found["eubo"], expected, **EXACT)


@pytest.mark.parametrize("n_steps", [2, 40])
def test_powers_of_densities_along_many_steps(n_steps: int) -> None:
    """The reference process towards its own end, and a target that is narrower or wider: only the last step counts.

    E w^2 and the sum of P_F^2 / (R P_B) are those of N(0, 1) and N(0, t^2); factors of single steps leave the range of float64.
    """
    variance = 0.8
    target = GaussianDensity(torch.zeros(1).double(), torch.tensor([[variance]], dtype=torch.float64))
    sampler = make("diffusion", f"n_steps={n_steps}", "hidden=[4]", "n_frequencies=2", target=target, n_replicas=1)
    found = metrics_of(sampler, target)["ess"]
    torch.testing.assert_close(float(found), variance * math.sqrt(2 / variance - 1), rtol=1e-9, atol=0)
    exact = ExactGradients(sampler, AUTOMATIC.find(sampler, target).graph)
    power = exact.under("P_F").log_power(2.0)
    expected = 0.5 * math.log(variance) - 0.5 * math.log(2 - 1 / variance)
    torch.testing.assert_close(float(power.detach()), expected, rtol=1e-9, atol=1e-11)
    assert bool(exact(power)[Role.FORWARD].isfinite().all())


# -- the order of a discretization -----------------------------------------------------------------------------------------


class ExactDrift(DiffusionSampler):
    """The drift that the process has when it ends in N(m, s^2): a Brownian bridge from 0 whose end is drawn from it.

    x_t given x_0 = 0 and the end N(m, s^2) at time 1 is Gaussian with mean t m and variance v = t (1 - t) + t^2 s^2, and the
    drift is (E[x_1 | x_t] - x_t) / (1 - t).
    """

    def forward_kernels(self) -> Kernels:
        mean, variance = float(TARGET.mean[0]), float(TARGET.covariance[0, 0])
        step = 1 / self.n_steps

        def kernels(steps: slice, states: Tensor, score: Tensor | None) -> DiagonalGaussian:
            t = (self.steps[steps] * step)[:, None].double()
            spread = t * (1 - t) + t.square() * variance
            gain = (t * variance / spread).where(t > 0, 0.0)
            end = mean + gain * (states - t * mean)
            return DiagonalGaussian(states + step * (end - states) / (1 - t), torch.full_like(t, math.sqrt(step)))

        return kernels


@pytest.mark.parametrize("bound", ["elbo", "eubo"])
def test_the_gap_of_the_exact_drift_is_of_first_order_in_the_step(bound: str) -> None:
    """What Euler and Maruyama lose on the exact drift: halving the step halves the distance of a bound from log Z."""
    gaps = []
    for n_steps in (8, 16, 32):
        plain = make("diffusion", f"n_steps={n_steps}", "hidden=[4]", "n_frequencies=2", target=TARGET, n_replicas=1)
        plain.__class__ = ExactDrift
        gaps.append(abs(float(metrics_of(plain, TARGET)[bound]) - LOG_Z))
    orders = [math.log2(a / b) for a, b in itertools.pairwise(gaps)]
    assert gaps[-1] > 1e-6
    assert all(abs(order - 1) < 0.12 for order in orders), (gaps, orders)
    assert abs(orders[1] - 1) < abs(orders[0] - 1), (gaps, orders)


# -- what is refused -------------------------------------------------------------------------------------------------------


def problem(quadrature: Quadrature, sampler: ContinuousSampler, target: Density) -> ConfigError:
    line = quadrature.find(sampler, target)
    assert line.problem is not None
    assert not bool(line.resolved.any())
    assert bool(line.policies.log_pf.isnan().all())
    return line.problem


def family(std: float = 1.0, n_replicas: int = 2) -> ContinuousSampler:
    return make("mean_field", f"init_std={std}", target=Bumps(1), n_replicas=n_replicas)


def test_a_spacing_that_does_not_resolve_the_steps_is_refused_with_one_that_does() -> None:
    found = problem(Quadrature(-10.0, 10.0, 21), family(0.5), UNIT)
    assert str(found) == (
        "evaluation.quadrature.nodes=21: a spacing of 1 does not resolve steps of standard deviation 0.5; "
        "expected a spacing of at most 0.25: 81 nodes from -10 to 10, or null"
    )
    assert Quadrature(-10.0, 10.0, 81).find(family(0.5), UNIT).problem is None


def test_a_spacing_that_resolves_one_replica_and_not_the_other() -> None:
    sampler = family(n_replicas=2)
    with torch.no_grad():
        sampler.log_std[0] = math.log(0.5)
    line = Quadrature(-10.0, 10.0, 61).find(sampler, UNIT)
    assert line.resolved.tolist() == [False, True]
    assert line.policies.log_pf.isnan().all(0).tolist() == [True, False]
    assert line.problem is not None


def test_a_line_that_cuts_off_mass_is_refused() -> None:
    found = problem(Quadrature(None, 2.0, None), family(), Bumps(1))
    assert found.key == "evaluation.quadrature.high"
    # the same measure of what is lost: P_F beyond 2, and the height of the target's last node
    assert "misses a probability of" in str(found)
    assert Quadrature(None, 12.0, None).find(family(), Bumps(1)).problem is None


def test_a_target_between_the_nodes_is_refused_and_found_automatically() -> None:
    narrow = GaussianDensity(torch.tensor([0.37]), torch.tensor([[1e-4]]))
    sampler = make("mean_field", "init_std=1.0", target=narrow)
    assert problem(Quadrature(-12.0, 12.0, 61), sampler, narrow).key == "evaluation.quadrature.nodes"
    line = AUTOMATIC.find(sampler, narrow)
    assert line.problem is None
    torch.testing.assert_close(float(line.graph.log_partition), 0.0, rtol=0, atol=1e-8)


class Cauchy(Density):
    """Tails that no line holds."""

    dim = 1

    def log_reward(self, states: Tensor) -> Tensor:
        return -states.double()[..., 0].square().log1p()


class Half(Density):
    """No mass at all below 0."""

    dim = 1

    def log_reward(self, states: Tensor) -> Tensor:
        x = states.double()[..., 0]
        return (-x.square()).where(x > 0, -math.inf)


class Mistaken(Bumps):
    """A density that knows a wrong log Z."""

    log_Z = 0.1


def test_what_no_line_holds_is_refused() -> None:
    assert "its tails are too heavy" in str(problem(AUTOMATIC, family(), Cauchy()))
    assert "R is 0 where P_F ends" in str(problem(AUTOMATIC, family(), Half()))
    assert "the target says that log Z is 0.1" in str(problem(AUTOMATIC, family(), Mistaken(1)))
    narrow = make("diffusion", "n_steps=500", "hidden=[4]", "n_frequencies=2", target=Bumps(1))
    assert "use fewer sampler.n_steps, fewer replicas, or evaluation=sampled" in str(problem(AUTOMATIC, narrow, Bumps(1)))


@pytest.mark.parametrize(
    ("arguments", "key"),
    [((2.0, 1.0, None), "high"), ((math.nan, None, None), "low"), ((None, None, 40), "nodes"), ((None, None, 3), "nodes")],
)
def test_bad_keys_are_refused(arguments: tuple[float | None, float | None, int | None], key: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Quadrature(*arguments)
    assert raised.value.key == f"evaluation.quadrature.{key}"


@pytest.mark.parametrize("value", [math.nan, 1e9])
def test_a_replica_that_no_line_resolves_is_nan_and_no_others(value: float) -> None:
    """Metrics of the other replica are those that it has alone."""
    sampler = spread(family(n_replicas=2), size=0.1)
    alone = metrics_of(spread(family(n_replicas=1), size=0.1), Bumps(1))
    with torch.no_grad():
        sampler.mean[1] = value
    found = metrics_of(sampler, Bumps(1))
    for name, values in found.items():
        assert bool(values[1].isnan()) == (name != "log_Z"), name
        torch.testing.assert_close(values[:1], alone[name], **EXACT, msg=name)


def test_float32_samplers_are_summed_in_float64() -> None:
    """As the same numbers in float64 are: their kernels would not sum to 1 otherwise. Nothing is counted or changed."""
    sampler = spread(
        make("diffusion", "n_steps=3", "hidden=[8]", "n_frequencies=4", "langevin=scalar", target=Bumps(1)), size=0.1
    )
    small = sampler.repeated(1).float()
    found, expected = metrics_of(small, Bumps(1)), metrics_of(small.repeated(1).double(), Bumps(1))
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=0, msg=name)
    graph = AUTOMATIC.find(small.repeated(1).double(), Bumps(1)).graph
    ours, theirs = (ExactGradients(each, graph) for each in (small, small.repeated(1).double()))
    gradients = [exact(exact.under("P_F").residual_square())[Role.FORWARD] for exact in (ours, theirs)]
    torch.testing.assert_close(gradients[0], gradients[1].float(), rtol=0, atol=0)
    assert small.dtype == torch.float32
    assert small.score_calls.tolist() == small.reward_calls.tolist() == [0, 0]
