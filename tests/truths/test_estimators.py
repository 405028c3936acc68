"""Score, pathwise and sticking-the-landing gradients of KL(q, p) between Gaussians, against the closed form.

q = N(m, s^2), p = N(0, 1): KL = log(1 / s) + (s^2 + m^2 - 1) / 2. The six noises have the moments of a standard normal up to the
fifth, so that means over this batch are expectations of every polynomial up to that degree: the score gradient has degree 4.
"""

from __future__ import annotations

import math

import pytest
import torch
from building import ESTIMATORS, choices, composed, make_exploration, make_objective, make_trainer
from hydra.utils import instantiate
from numpy.polynomial.hermite_e import hermegauss
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.types import Evaluation
from gfn_vi.evaluation.gradients.statistics import GradientStatistics
from gfn_vi.objectives.variational import Variational
from gfn_vi.objectives.weightings import Weighting

NOISE = torch.tensor([-math.sqrt(3), 0, 0, 0, 0, math.sqrt(3)], dtype=torch.float64)
M, LOG_S = 0.7, -0.4


def log_normal(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    return -(((x - mean) / log_std.exp()).square() + math.log(2 * math.pi)) / 2 - log_std


def evaluation(estimator: str, m: Tensor, log_s: Tensor, phi: Tensor) -> Evaluation:
    """One step to x = m + s eps, as a sampler that follows the path would evaluate it; phi scales a made-up P_B."""
    path = m + log_s.exp() * NOISE
    x = path.detach() if estimator == "score" else path
    of_q = (m.detach(), log_s.detach()) if estimator == "sticking_the_landing" else (m, log_s)
    log_pf = log_normal(x, *of_q)[None, :, None]
    log_pb = (phi * (x.square() - 1))[None, :, None]  # no density, but whatever stands there is differentiated alike
    log_reward = log_normal(x, torch.zeros_like(m), torch.zeros_like(m))[None]
    behavior, mask = log_pf.detach()[..., 0], torch.ones(1, len(NOISE), 1, dtype=torch.bool)
    return Evaluation(log_pf, log_pb, log_reward, torch.zeros(1, dtype=torch.float64, requires_grad=True), behavior, mask)


def objective(name: str, estimator: str, baseline: str = "none") -> Variational:
    nested = (f"estimator@objective.estimator={estimator}", f"baseline@objective.baseline={baseline}")
    made: Variational = instantiate(composed(f"objective={name}", *nested).objective, _convert_="all")
    return made


def gradients(estimator: str, m: float, log_s: float, phi: float) -> list[float]:
    at = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (m, log_s, phi)]
    loss = objective("reverse_kl", estimator)(evaluation(estimator, *at))
    return [float(gradient) for gradient in torch.autograd.grad(loss.sum(), at)]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_gradient_of_kl_is_that_of_the_closed_form(estimator: str) -> None:
    """d / dm = m, d / dlog s = s^2 - 1, and -E[x^2 - 1] for the parameter of log P_B, all minus phi times d E[x^2]."""
    s2, phi = math.exp(2 * LOG_S), 0.05
    expected = [M - phi * 2 * M, s2 - 1 - phi * 2 * s2, -(M**2 + s2 - 1)]
    torch.testing.assert_close(gradients(estimator, M, LOG_S, phi), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_log_Z_follows_the_elbo_whatever_the_estimator(estimator: str) -> None:
    """Its gradient is that of (log Z - ELBO)^2, 2 (log Z + E l) with log Z = 0, and no part of the divergence's."""
    m, log_s, phi = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (M, LOG_S, 0.0))
    evaluated = evaluation(estimator, m, log_s, phi)
    (found,) = torch.autograd.grad(objective("reverse_kl", estimator)(evaluated).sum(), evaluated.log_Z)
    kl = -LOG_S + (math.exp(2 * LOG_S) + M**2 - 1) / 2  # R is a density: E l is this
    torch.testing.assert_close(float(found), 2 * kl, rtol=1e-12, atol=0)


@pytest.mark.parametrize("estimator", ["pathwise", "sticking_the_landing"])
def test_a_path_is_that_of_P_Fs_own_noise(estimator: str) -> None:
    """Trajectories of other policies are refused, in training and where gradients are compared on them."""
    words = ("target=gmm25", "sampler=diffusion", "objective=reverse_kl", "baseline@objective.baseline=none")
    with pytest.raises(ConfigError, match=r"objective\.estimator.*exploration=on_policy"):
        make_trainer(*words, f"estimator@objective.estimator={estimator}", "exploration=widened_steps")
    made, behavior = objective("reverse_kl", estimator), make_exploration("widened_steps")
    with pytest.raises(ConfigError, match=r"behaviors"):
        GradientStatistics({"e": made}, {"b": behavior}, [8], 16, "exact", 64, ["forward"], "gradients", None)


def test_sticking_the_landing_has_no_variance_at_the_optimum_and_pathwise_has() -> None:
    found = {}
    for estimator in ESTIMATORS:
        m, log_s, phi = (torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in range(3))
        each = evaluation(estimator, m, log_s, phi).log_ratio()[0]
        found[estimator] = torch.stack([torch.stack(torch.autograd.grad(one, (m, log_s), retain_graph=True)) for one in each])
    assert float(found["sticking_the_landing"].abs().max()) < 1e-15
    assert float(found["pathwise"].abs().max()) > 0.1


@pytest.mark.parametrize("estimator", ["pathwise", "sticking_the_landing"])
@pytest.mark.parametrize("name", [name for name in choices("objective") if isinstance(make_objective(name), Variational)])
def test_a_path_is_refused_where_there_is_none(name: str, estimator: str) -> None:
    """Means under P_B and sides that differ have no path; without the score of P_F only the reverse KL is right."""
    means_under_forward = {"reverse_kl", "chi_square", "jensen_shannon", "tsallis_alpha", "renyi_alpha"}
    if name in ({"reverse_kl"} if estimator == "sticking_the_landing" else means_under_forward):
        objective(name, estimator)
    else:
        with pytest.raises(Exception, match=r"objective\.estimator") as refused:
            objective(name, estimator)
        assert isinstance(refused.value.__cause__ or refused.value, ConfigError)


def test_a_baseline_that_nobody_reads_is_refused() -> None:
    with pytest.raises(Exception, match=r"baseline@objective\.baseline=none"):
        objective("reverse_kl", "pathwise", "leave_one_out")


class Quadrature(Weighting):
    """Gauss-Hermite weights in the place of 1 / B: means over the nodes are expectations under q."""

    def __call__(self, log_weights: Tensor) -> Tensor:
        return torch.from_numpy(hermegauss(60)[1] / math.sqrt(2 * math.pi)).expand_as(log_weights)


@pytest.mark.parametrize("name", ["reverse_kl", "chi_square", "jensen_shannon", "tsallis_alpha", "renyi_alpha"])
def test_the_path_and_the_score_estimate_the_same_gradient(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides of integration by parts, by quadrature; q narrower than p, so that all powers of q / p are integrable."""
    monkeypatch.setitem(globals(), "NOISE", torch.from_numpy(hermegauss(60)[0]))
    found = {}
    for estimator in ("score", "pathwise"):
        at = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.2, -0.3, 0.0)]
        made = objective(name, estimator)
        made.weighting = Quadrature()
        found[estimator] = torch.stack(torch.autograd.grad(made(evaluation(estimator, *at)).sum(), at))
    assert float(found["score"].abs().min()) > 1e-3
    torch.testing.assert_close(found["pathwise"], found["score"], rtol=1e-9, atol=1e-11)
