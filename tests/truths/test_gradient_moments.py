"""Statistics of vectors whose moments are known, and the tail of weights whose tail is known. Float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import genpareto
from torch import Tensor

from gfn_vi.evaluation.gradients.moments import GradientMoments
from gfn_vi.evaluation.sampled.importance_weights import effective_sample_size_error
from gfn_vi.evaluation.sampled.pareto import fitted_k, pareto_k

COPIES, BATCHES, SCALES = 400, 64, torch.tensor([1.0, 0.5, 2.0, 0.1, 1.5]).double()
REFERENCE = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0]).double()
OFFSET = torch.tensor([0.5, 1.0, 0.0, -2.0, 0.3]).double()  # the bias, neither along g* nor across


def gaussian(seed: int = 0, scales: Tensor = SCALES) -> Tensor:
    """COPIES x BATCHES gradients, independent, of mean g* + offset."""
    noise = torch.randn(COPIES, BATCHES, len(scales), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return REFERENCE + OFFSET + scales * noise


def test_the_error_of_no_bias_is_too_large_by_a_known_factor() -> None:
    found = moments(gaussian() - OFFSET)
    values, errors = found["bias"], found["bias_se"]
    assert abs(float(values.mean())) < 4 * float(values.std()) / math.sqrt(COPIES)
    assert float(errors.square().mean().sqrt()) == pytest.approx(math.sqrt(2) * float(values.std()), rel=0.14)


def moments(gradients: Tensor, chunk: int = 10) -> dict[str, Tensor]:
    collected = GradientMoments(REFERENCE.expand(COPIES, -1), BATCHES, torch.float64)
    for start in range(0, BATCHES, chunk):
        collected.add(start, gradients[:, start : start + chunk])
    return collected.statistics()


SIZE, VARIANCE = float(REFERENCE.square().sum()), float(SCALES.square().sum())
TRUTH = {
    "variance": VARIANCE,
    "bias": float(OFFSET.square().sum()) / SIZE,
    "bias_along": float(OFFSET @ REFERENCE) / SIZE,
    "snr": math.sqrt(float((REFERENCE + OFFSET).square().sum()) / VARIANCE),
}


@pytest.mark.parametrize("statistic", TRUTH)
def test_estimates_are_right_and_so_are_their_errors(statistic: str) -> None:
    """400 independent measurements: the mean within 4 standard errors of the truth, errors as large as the scatter."""
    found = moments(gaussian())
    values, errors = found[statistic], found[f"{statistic}_se"]
    # the root in snr bends: its estimate is off by 3 / 8 of the variance's relative variance, a tenth of an error
    bend = 0.1 * float(errors.mean()) if statistic == "snr" else 0.0
    assert abs(float(values.mean()) - TRUTH[statistic]) < 4 * float(values.std()) / math.sqrt(COPIES) + bend
    # the scatter is known to 1 / sqrt(2 * 400) = 3.5 percent, the mean error to less
    assert float(errors.square().mean().sqrt()) == pytest.approx(float(values.std()), rel=0.14)


def test_cosines_are_those_of_numpy() -> None:
    gradients = gaussian()
    found = moments(gradients)
    g, r = gradients[0].numpy(), REFERENCE.numpy()
    cosines = g @ r / np.linalg.norm(g, axis=1) / np.linalg.norm(r)
    assert float(found["cosine"][0]) == pytest.approx(cosines.mean(), rel=1e-12)
    assert float(found["cosine_se"][0]) == pytest.approx(cosines.std(ddof=1) / math.sqrt(BATCHES), rel=1e-12)
    along = np.cov(g.T)
    floor = math.sqrt(r @ along @ r / (r @ r) / np.trace(along) / BATCHES)
    assert float(found["cosine_floor"][0]) == pytest.approx(floor, rel=1e-12)
    assert float(found["variance"][0]) == pytest.approx(np.trace(along), rel=1e-12)


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_the_order_of_arrival_does_not_matter(chunk: int) -> None:
    wanted, found = moments(gaussian()), moments(gaussian(), chunk)
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-10, atol=1e-12)


def test_a_batch_without_gradient_has_cosine_zero_and_no_reference_none() -> None:
    gradients = gaussian()
    gradients[:, 0] = 0
    changed = moments(gradients)["cosine"] * BATCHES
    gradients[:, 0] = REFERENCE
    torch.testing.assert_close(moments(gradients)["cosine"] * BATCHES, changed + 1)
    nothing = GradientMoments(torch.zeros(1, 5).double(), 8, torch.float64)
    nothing.add(0, gaussian()[:1, :8])
    found = nothing.statistics()
    assert all(bool(found[name].isnan()) for name in ("bias", "bias_along", "cosine", "cosine_floor"))
    assert float(found["snr"]) > 0
    assert float(found["variance"]) > 0


def test_scale_and_shrinkage_change_no_signal_to_noise_ratio() -> None:
    wanted, found = moments(gaussian()), moments(0.3 * gaussian())
    for name in ("snr", "snr_se", "cosine", "cosine_se"):
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-9, atol=1e-12)


def test_noise_has_no_signal() -> None:
    found = moments(gaussian() - OFFSET - REFERENCE)
    assert float((found["snr"] == 0).double().mean()) > 0.2  # cut at 0 in about half of the measurements
    assert float(found["snr"].square().mean()) < 0.1


def test_a_gradient_that_is_not_finite_is_no_gradient_without_direction() -> None:
    gradients = gaussian()
    gradients[0, 3] = torch.nan
    found = moments(gradients)
    for name, values in found.items():
        assert bool(values[0].isnan()) == (name != "reference_norm"), name
        assert bool(values[1:].isfinite().all()), name


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_the_noise_of_a_sampled_reference_is_taken_out(share: float) -> None:
    """References of their own for every copy, with a share of a batch's variance: biases as if g* were exact, on average."""
    noise = gaussian(seed=1)[:, 0] - OFFSET - REFERENCE
    references = REFERENCE + share**0.5 * noise
    gradients = gaussian()
    collected = GradientMoments(references, BATCHES, torch.float64, share)
    collected.add(0, gradients)
    found, size = collected.statistics(), references.square().sum(1)
    for name, wanted in (("bias", float(OFFSET.square().sum())), ("bias_along", float(OFFSET @ REFERENCE))):
        values = found[name] * size
        assert abs(float(values.mean()) - wanted) < 4 * float(values.std()) / math.sqrt(COPIES), name


def test_a_reference_made_of_the_batches_measures_no_bias() -> None:
    gradients = gaussian()
    collected = GradientMoments(gradients.mean(1), BATCHES, torch.float64, 1 / BATCHES, contained=True)
    collected.add(0, gradients)
    found = collected.statistics()
    assert all(bool(found[name].isnan().all()) for name in ("bias", "bias_se", "bias_along", "bias_along_se"))
    torch.testing.assert_close(found["cosine_floor"], torch.full_like(found["cosine"], BATCHES**-0.5))


def test_groups_have_to_be_equal() -> None:
    with pytest.raises(ValueError, match="12 batches are not 8 groups"):
        GradientMoments(REFERENCE[None], 12, torch.float64)


# -- importance weights -------------------------------------------------------------------------------------------------


def test_the_error_of_the_effective_sample_size_is_its_scatter() -> None:
    """Lognormal weights exp(s z): the fraction tends to exp(-s^2)."""
    z = torch.randn(400, 2000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weights = (0.5 * z).exp()
    values = weights.sum(1).square() / weights.square().sum(1) / 2000
    errors = effective_sample_size_error(0.5 * z)
    assert float(values.mean()) == pytest.approx(math.exp(-0.25), rel=0.01)
    assert float(errors.mean()) == pytest.approx(float(values.std()), rel=0.14)


@pytest.mark.parametrize("k", [-0.4, 0.0, 0.3, 0.7, 1.2])
def test_pareto_k_is_recovered(k: float) -> None:
    """Above any threshold a generalized Pareto sample is one of the same k; 671 of 50000 are the tail; mean over 20 samples.

    The maximum-likelihood error is (1 + k) / sqrt(671); the prior pulls 10 / 681 of the way to 1 / 2.
    """
    sample = genpareto.rvs(k, size=(20, 50000), random_state=np.random.default_rng(0))
    found = pareto_k(torch.tensor(sample).log() + 300.0)  # whatever the scale of the weights
    wanted = (671 * k + 5) / 681
    # 0.01: what two steps of the method's grid are apart
    assert abs(float(found.mean()) - wanted) < 4 * max(1 + k, 0.3) / math.sqrt(671 * 20) + 0.01
    assert float(found.std()) == pytest.approx(max(1 + k, 0.3) / math.sqrt(671), rel=0.6)


def test_the_fit_is_the_formula_of_zhang_and_stephens() -> None:
    """Their posterior mean, written out in a loop, and the prior of Vehtari et al."""
    x = np.sort(genpareto.rvs(0.4, size=100, random_state=np.random.default_rng(1)))
    n, m = len(x), 30 + int(math.sqrt(len(x)))
    thetas = [1 / x[-1] + (1 - math.sqrt(m / (j - 0.5))) / (3 * x[int(n / 4 + 0.5) - 1]) for j in range(1, m + 1)]
    likelihoods = []
    for theta in thetas:
        k = np.log1p(-theta * x).mean()
        likelihoods.append(n * (math.log(-theta / k) - k - 1))
    weights = np.exp(np.array(likelihoods) - max(likelihoods))
    k = np.log1p(-(weights @ thetas) / weights.sum() * x).mean()
    assert float(fitted_k(torch.tensor(x))) == pytest.approx((n * k + 5) / (n + 10), rel=1e-10)
    with_zeros = np.concatenate([np.zeros(44), x])  # 144 values: another grid, the same sample
    assert float(fitted_k(torch.tensor(with_zeros))) == pytest.approx((n * k + 5) / (n + 10), abs=0.01)


def test_pareto_k_of_weights_without_a_tail() -> None:
    """Constant weights, ties at the top, one weight: -inf and never NaN; NaN where a weight is."""
    constant = torch.zeros(3, 100)
    assert pareto_k(constant).tolist() == [-math.inf] * 3
    assert pareto_k(torch.zeros(2, 1)).tolist() == [-math.inf] * 2
    tied = torch.tensor([0.0, 1.0] * 50)
    assert float(pareto_k(tied)) == -math.inf
    few = torch.tensor([0.0] * 90 + [1.0] * 10)
    assert math.isfinite(float(pareto_k(few)))
    constant[1, 3] = torch.nan
    assert pareto_k(constant).isnan().tolist() == [False, True, False]
