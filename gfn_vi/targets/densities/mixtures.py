"""Mixtures of Gaussians, R = sum over k of w_k N(m_k, C_k).

Log-densities are added up in float64 whatever the type of the states: where all components are round, squares are expanded,
|x - m|^2 = |x|^2 - 2 x m + |m|^2, so that a batch costs one product of matrices, and single precision would lose digits there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.targets.checks import check_whole, cholesky_factor, finite_tensor
from gfn_vi.targets.densities.base import BaseDensity
from gfn_vi.targets.densities.layouts import LAYOUTS

# Share of a component's own mass in the ellipsoid around its mean outside which a state belongs to no mode.
MASS_OF_A_MODE = 0.999


class GaussianMixture(BaseDensity):
    """The attributes means [K, d], factors [K, d, d] (L L' = covariance) and mode_mass [K], the weights, are in float64.

    A state belongs to the component that most likely drew it, and to none where it lies outside the ellipsoid around that
    component's mean that holds 99.9% of the component. Where components overlap, shares counted so differ from the weights;
    the mean of `responsibilities` over exact samples equals them always.
    """

    has_exact_samples = True
    mode_mass: Tensor

    def __init__(
        self,
        dim: int,
        means: str | list[list[float]],
        covariance: float | list[float] | list[list[float]] | list[list[list[float]]],
        log_weights: list[float] | None,
    ) -> None:
        """means: K rows of d numbers, or a name: circle8, grid9, grid25, uniform40.

        covariance: one variance, K variances, d rows of d numbers for all components, or K times d rows. log_weights: K
        numbers, normalized or not, and log Z is the log of their sum; null: equal weights that sum to 1.
        """
        check_whole(dim, 1, "target.dim")
        self.dim = dim
        self.means = _means(means, dim)
        n = len(self.means)
        self.n_modes = n
        expected = f"expected a list of {n} numbers, one for each component, or null for equal weights"
        weights = finite_tensor([-math.log(n)] * n if log_weights is None else log_weights, "target.log_weights", expected)
        require(weights.shape == (n,), "target.log_weights", log_weights, expected)
        self.log_Z = 0.0 if log_weights is None else float(weights.logsumexp(0))
        self.log_weights = log_weights or []
        self.mode_mass = weights.softmax(0)
        self.factors = _factors(covariance, n, dim)
        identity = torch.eye(dim, dtype=torch.float64)
        self.whitening = torch.linalg.solve_triangular(self.factors, identity, upper=False)  # [K, d, d]
        log_determinant = self.factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        self.log_tops = weights - log_determinant - dim / 2 * math.log(2 * math.pi)  # log of w N at the mean: [K]
        scale = self.factors[:, 0, 0]
        self.is_round = torch.equal(self.factors, scale[:, None, None] * identity)
        self.precision = scale**-2  # of round components: [K]
        offset = self.log_tops - self.precision * self.means.square().sum(-1) / 2
        self.slope = (self.precision[:, None] * self.means).mT.contiguous()  # [d, K]
        self.coefficients = torch.cat([self.slope, -self.precision[None] / 2, offset[None]])  # of x, |x|^2 and 1: [d + 2, K]
        self.largest_square = _chi_square_quantile(MASS_OF_A_MODE, dim)

    @property
    def remarks(self) -> list[str]:
        """Return a sentence where what is given as logarithms of weights are weights: positive numbers whose sum is 1."""
        given = self.log_weights
        if len(given) < 2 or min(given) <= 0 or not math.isclose(sum(given), 1, rel_tol=1e-6):
            return []
        return [f"target.log_weights={given} are positive and sum to 1: if they are weights, give their logarithms"]

    def log_density(self, states: Tensor) -> Tensor:
        """Return log of the weighted sum of the components: [..., d] -> [...]."""
        return self._log_components(states.double()).logsumexp(-1).to(states.dtype)

    def score(self, states: Tensor) -> Tensor:
        """Return the mean over k of C_k^-1 (m_k - x), weighted by the responsibilities: [..., d] -> [..., d]."""
        if not self.is_round:
            return super().score(states)
        with torch.no_grad():
            share = self.responsibilities(states)
            precision = (share @ self.in_type_of(states, "precision"))[..., None]
            return share @ self.in_type_of(states, "slope").mT - precision * states

    def responsibilities(self, states: Tensor) -> Tensor:
        """Return the probability that component k drew the state: [..., d] -> [..., K], in the type of the states."""
        return self._log_components(states.double()).softmax(-1).to(states.dtype)

    def mode_index(self, states: Tensor) -> Tensor:
        """Return the component that most likely drew each state, -1 outside the ellipsoid that holds 99.9% of it: [...] long."""
        with torch.no_grad():
            states = states.double()
            mode = self._log_components(states).argmax(-1)
            z = (self.whitening[mode] @ (states - self.means[mode])[..., None])[..., 0]
            return mode.where(z.square().sum(-1) <= self.largest_square, -1)

    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        """Draw components at random by their weights, and a state of each: [R, n, d]."""
        uniform, noise = rng.uniform(n), rng.normal(n, self.dim)
        component = torch.searchsorted(self.mode_mass.cumsum(0), uniform.double(), right=True).clamp(max=len(self.means) - 1)
        means, factors = self.in_type_of(noise, "means"), self.in_type_of(noise, "factors")
        if self.is_round:
            return means[component] + factors[:, 0, 0][component][..., None] * noise
        for k, factor in enumerate(factors):
            noise = torch.where((component == k)[..., None], noise @ factor.mT, noise)
        return means[component] + noise

    def _log_components(self, states: Tensor) -> Tensor:
        """log of w_k N(x; m_k, C_k) for states in float64: [..., d] -> [..., K]."""
        if self.is_round:
            square = states.square().sum(-1, keepdim=True)
            return torch.cat([states, square, torch.ones_like(square)], -1) @ self.coefficients
        # the same product for all components: [..., d] @ [d, K d]
        n, dim = self.means.shape
        stacked = self.whitening.reshape(n * dim, dim).mT
        center = (self.whitening @ self.means[..., None]).reshape(n * dim)
        z = (states @ stacked - center).unflatten(-1, (n, dim))
        return self.log_tops - z.square().sum(-1) / 2


def _means(means: str | list[list[float]], dim: int) -> Tensor:
    """[K, d]; raises ConfigError."""
    expected = f"expected rows of target.dim={dim} numbers, or one of {', '.join(LAYOUTS)}"
    if isinstance(means, str):
        require(means in LAYOUTS, "target.means", means, expected)
        found = LAYOUTS[means](dim)
        require(found.shape[1] == dim, "target.dim", dim, f"the layout target.means={means} lies in {found.shape[1]} dimensions")
        return found
    found = finite_tensor(means, "target.means", expected)
    require(found.dim() == 2 and found.shape[1] == dim and len(found) > 0, "target.means", means, expected)
    return found


def _factors(covariance: object, n: int, dim: int) -> Tensor:
    """[K, d, d], lower triangular; raises ConfigError."""
    key = "target.covariance"
    expected = (
        f"expected one variance, {n} variances (one for each component), {dim} rows of {dim} numbers (target.dim={dim}), or as "
        "many for each component"
    )
    spread = finite_tensor(covariance, key, expected)
    if spread.dim() < 2:
        require(spread.shape in ((), (n,)), key, covariance, expected)
        if not bool((spread > 0).all()):
            raise ConfigError(key, covariance, "expected variances > 0")
        return spread.expand(n).sqrt()[:, None, None] * torch.eye(dim, dtype=torch.float64)
    require(spread.shape in ((dim, dim), (n, dim, dim)), key, covariance, expected)
    return cholesky_factor(spread, key, covariance).expand(n, dim, dim).contiguous()


def _chi_square_quantile(mass: float, degrees: int) -> float:
    """The q with P(chi^2 <= q) = mass, by bisection on the regularized incomplete gamma function."""
    half = torch.tensor(degrees / 2, dtype=torch.float64)
    low, high = 0.0, degrees + 100.0 + 20 * math.sqrt(degrees)
    for _ in range(100):
        middle = (low + high) / 2
        below = float(torch.special.gammainc(half, torch.tensor(middle / 2, dtype=torch.float64))) < mass
        low, high = (middle, high) if below else (low, middle)
    return (low + high) / 2
