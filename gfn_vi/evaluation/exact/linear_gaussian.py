"""Exact expectations where everything is Gaussian: a chain of linear Gaussian steps on a Gaussian target, any d and T.

The states after steps 1 .. T in a row are one vector x in R^N, N = T d. Each side is standard normal in its noise,

    P_F: z = F x - f        R P_B / Z: z = B x - b, whose last d rows are the target's: z = whitening (x_T - mean)

so that log P_F = log |det F| - |F x - f|^2 / 2 but for a constant, and likewise for P_B. Then

    KL(P_F, P_B) = log |det F| - log |det B| + (|M|^2 + |M f - b|^2 - N) / 2,    M = B F^-1

and under any Gaussian, x = m + L z, the log-ratio l is a quadratic form in z: with symmetric H and g, its variance is
|H|^2 / 2 + |g|^2. All norms are Euclidean, of matrices over all entries. Tables are [R, ...] in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, NoReturn, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from gfn_vi.core.protocols import Sampler

# Numbers N of a joint state above which the matrices [N, N] of each replica cost more than sampling.
LARGEST_JOINT = 1024


@runtime_checkable
class LinearSampler(Sampler, Protocol):
    """A sampler of a density whose steps are linear in the state, with Gaussian noise; n_steps: T, dim: d."""

    n_steps: int
    dim: int

    def forward_noise(self) -> tuple[Tensor, Tensor]:
        """Return F [R, T d, T d] and f [R, T d] of P_F."""

    def backward_noise(self) -> tuple[Tensor, Tensor]:
        """Return the rows of B [R, (T-1) d, T d] and b [R, (T-1) d] that are not the target's."""

    def repeated(self, times: int) -> Self:
        """Return a copy with R * times replicas, each replica `times` times in a row, with parameters of their own."""

    def double(self) -> Self:
        """Turn all parameters into float64 and return the sampler."""


@runtime_checkable
class GaussianTarget(Protocol):
    """A target R = Z N(mean, covariance): whitening [d, d] (x - mean [d]) is standard normal."""

    mean: Tensor
    whitening: Tensor
    log_Z: float


class Joint(NamedTuple):
    """A Gaussian over joint states of which weight [R, N, N] x - shift [R, N] is standard normal."""

    weight: Tensor
    shift: Tensor

    @property
    def log_volume(self) -> Tensor:
        """Return the log of the absolute determinant of the weight: [R]."""
        return torch.linalg.slogdet(self.weight)[1]

    def noise_of(self, other: Joint) -> tuple[Tensor, Tensor]:
        """Return M [R, N, N] and q [R, N]: where z is the noise of the other Gaussian, M z + q is that of this one."""
        # a replica that is not finite any more has NaN here, and no say in the others
        change = torch.linalg.solve_ex(other.weight, self.weight, left=False)[0]
        return change, _apply(change, other.shift) - self.shift

    def divergence_from(self, other: Joint) -> Tensor:
        """Return the divergence of this one from the other, KL(other, self): [R]."""
        change, offset = self.noise_of(other)
        squares = change.square().sum((1, 2)) + offset.square().sum(1) - offset.shape[1]
        return other.log_volume - self.log_volume + squares / 2


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None])[..., 0]


def joints_of(sampler: LinearSampler, target: GaussianTarget) -> tuple[Joint, Joint]:
    """Return P_F, and P_B from the target, of a sampler in float64; they are differentiable."""
    backward, shift = sampler.backward_noise()
    whitening, mean = target.whitening.to(backward), target.mean.to(backward)
    end = torch.nn.functional.pad(whitening, (backward.shape[2] - len(mean), 0)).expand(len(backward), -1, -1)
    of_target = (whitening @ mean).expand(len(backward), -1)
    return Joint(*sampler.forward_noise()), Joint(torch.cat([backward, end], 1), torch.cat([shift, of_target], 1))


class LinearGaussianExpectations:
    """The protocol Expectations in closed form: averages under P_F or P_B, divergences between them."""

    def __init__(
        self, forward: Joint, backward: Joint, log_Z: Tensor, log_partition: float, measure: Literal["P_F", "P_B"]
    ) -> None:
        """forward, backward: P_F, and P_B from the target; log_Z [R]: learned; log_partition: the true log Z."""
        self.forward, self.backward, self.log_Z, self.log_partition = forward, backward, log_Z, log_partition
        own = forward if measure == "P_F" else backward
        self.visits = Joint(own.weight.detach(), own.shift.detach())

    # -- under the visits ---------------------------------------------------------------------------------------------

    def log_ratio(self) -> Tensor:
        """Return the expectation E[l]: [R]."""
        (a, alpha), (b, beta) = (side.noise_of(self.visits) for side in (self.forward, self.backward))
        squares = [part.flatten(1).square().sum(1) for part in (b, beta, a, alpha)]
        constant = self.forward.log_volume - self.backward.log_volume - self.log_partition
        return constant + (squares[0] + squares[1] - squares[2] - squares[3]) / 2

    def log_ratio_variance(self) -> Tensor:
        """Return the variance Var[l]: [R]."""
        (a, alpha), (b, beta) = (side.noise_of(self.visits) for side in (self.forward, self.backward))
        curvature = b.mT @ b - a.mT @ a
        slope = _apply(b.mT, beta) - _apply(a.mT, alpha)
        return curvature.square().sum((1, 2)) / 2 + slope.square().sum(1)

    def residual_square(self) -> Tensor:
        """Return the expectation E[u^2]: [R]."""
        return (self.log_Z + self.log_ratio()).square() + self.log_ratio_variance()

    # -- between P_F and P_B, whatever the visits ---------------------------------------------------------------------

    def kl_forward_backward(self) -> Tensor:
        """Return the divergence KL(P_F, P_B): [R]."""
        return self.backward.divergence_from(self.forward)

    def kl_backward_forward(self) -> Tensor:
        """Return the divergence KL(P_B, P_F): [R]."""
        return self.forward.divergence_from(self.backward)

    def elbo(self) -> Tensor:
        """Return the evidence lower bound -E_{P_F}[l] = log Z - KL(P_F, P_B): [R]."""
        return self.log_partition - self.kl_forward_backward()

    def eubo(self) -> Tensor:
        """Return the evidence upper bound -E_{P_B}[l] = log Z + KL(P_B, P_F): [R]."""
        return self.log_partition + self.kl_backward_forward()

    def log_power(self, alpha: float) -> Tensor:
        """Return the log of the integral of P_F^alpha (R P_B)^(1 - alpha): [R]; not finite where it diverges."""
        shares = ((alpha, self.forward), (1 - alpha, self.backward))
        precision = sum(share * (side.weight.mT @ side.weight) for share, side in shares)
        pull = sum(share * _apply(side.weight.mT, side.shift) for share, side in shares)
        constant = sum(share * (side.log_volume - side.shift.square().sum(1) / 2) for share, side in shares)
        assert isinstance(precision, Tensor)
        assert isinstance(pull, Tensor)
        factor, failed = torch.linalg.cholesky_ex(precision)
        half = torch.linalg.solve_triangular(factor, pull[..., None], upper=False)[..., 0].square().sum(1) / 2
        value = constant + (1 - alpha) * self.log_partition + half - factor.diagonal(dim1=1, dim2=2).log().sum(1)
        return value.where(failed == 0, torch.inf)

    # -- of flows, which these samplers do not offer ------------------------------------------------------------------

    def steps(self, penalty: Callable[[Tensor], Tensor]) -> Tensor:
        """Raise: there is no flow."""
        self._no_flow()

    def steps_between_stops(self, penalty: Callable[[Tensor], Tensor]) -> Tensor:
        """Raise: there is no flow."""
        self._no_flow()

    def inflows(self, penalty: Callable[[Tensor], Tensor]) -> Tensor:
        """Raise: there is no flow."""
        self._no_flow()

    def subtrajectories(self, lamda: float) -> Tensor:
        """Raise: there is no flow."""
        self._no_flow()

    def log_source_flow(self) -> Tensor:
        """Raise: there is no flow."""
        self._no_flow()

    def _no_flow(self) -> NoReturn:
        raise ValueError("a chain of linear steps has no flow")
