"""Scores of graphs: log p(data | G) = sum over nodes j of local(j, Pa_j), parameters integrated out.

BGe: rows are N(mu, W^-1), W ~ Wishart(alpha_w, T^-1), mu | W ~ N(nu, (alpha_mu W)^-1), T = t I (Geiger & Heckerman 2002, with
the normalization of Kuipers, Moffa & Heckerman 2014). With N rows of mean xbar, a = alpha_w - d, p = |P|, Q = P + {j} and
R = T + sum_n (x_n - xbar)(x_n - xbar)^T + N alpha_mu / (N + alpha_mu) (xbar - nu)(xbar - nu)^T,

    local(j, P) = - N/2 log pi + 1/2 log(alpha_mu / (N + alpha_mu)) + lgamma((N + a + p + 1)/2) - lgamma((a + p + 1)/2)
                  + (a + 2p + 1)/2 log t + (N + a + p)/2 log det R_PP - (N + a + p + 1)/2 log det R_QQ

Linear-Gaussian with known noise: x_j = sum_{i in P} w_i x_i + s e, w_i ~ N(m, v^2), e ~ N(0, 1). With Z = X / s, G = Z^T Z and
r = z_j - m Z_P 1, in p x p matrices by the lemmas of Sylvester and Woodbury,

    local(j, P) = - N/2 log(2 pi s^2) - 1/2 log det A - 1/2 (r^T r - v^2 r^T Z_P A^-1 Z_P^T r),      A = I + v^2 G_PP
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from gfn_vi.core.errors import ConfigError, require

# Conditional over marginal variance below which rounding (1e-16 times the number of columns) shows in the score: about 0.01 nats.
LEAST_PIVOT = 1e-12


class LocalScore(Protocol):
    """The local score of the nodes of one table with d columns."""

    def __call__(self, nodes: Tensor, parents: Tensor) -> Tensor:
        """Return log p(column of the node | columns of its parents): nodes [M] long, parents [M, d] bool -> [M] float64."""
        ...

    def to(self, device: Any) -> Self:
        """Return a copy with its tensors on `device`."""
        ...


class Score(Protocol):
    """A score of graphs, before it has seen a table: what a choice of configs/score builds."""

    def local(self, rows: Tensor, training: Tensor, names: Sequence[str]) -> LocalScore:
        """Return the local score of rows [N, d]; training [N'', d]: the rows that categories come from; names: of the columns.

        Held-out rows never decide what is a category: the posterior is that of the training rows.
        Raises ConfigError for what does not fit the table.
        """
        ...


class TableScore:
    """The base of local scores whose tensors are attributes."""

    def to(self, device: Any) -> Self:
        """Return a copy with its tensors on `device`."""
        moved = copy.copy(self)
        for name, value in vars(moved).items():
            if isinstance(value, Tensor):
                setattr(moved, name, value.to(device))
        return moved


class BGe:
    """The linear-Gaussian score with a normal-Wishart prior, under which Markov-equivalent graphs score equally."""

    kind = "numbers"

    def __init__(self, prior_mean: float | Sequence[float], alpha_mu: float, alpha_w: float | None, t: float | None) -> None:
        """prior_mean: nu, one number or a list of one per column; alpha_mu: rows that nu is worth; alpha_w: degrees of freedom.

        None: alpha_w = d + 2; t = alpha_mu (alpha_w - d - 1) / (alpha_mu + 1), so that the prior expects unit variances.
        """
        require(alpha_mu > 0, "target.score.alpha_mu", alpha_mu, "expected a number of rows > 0")
        require(t is None or t > 0, "target.score.t", t, "expected a number > 0, or null")
        self.prior_mean, self.alpha_mu, self.alpha_w, self.t = prior_mean, alpha_mu, alpha_w, t

    def local(self, rows: Tensor, training: Tensor, names: Sequence[str]) -> LocalScore:
        """Return the local score of rows [N, d]; `training` is not used.

        Raises ConfigError where the settings of the prior do not fit the columns, which messages name.
        """
        d = rows.shape[1]
        alpha_w = d + 2 if self.alpha_w is None else self.alpha_w
        require(alpha_w > d - 1, "target.score.alpha_w", alpha_w, f"expected more than {d - 1} (columns - 1), or null")
        t = self.alpha_mu * (alpha_w - d - 1) / (self.alpha_mu + 1) if self.t is None else self.t
        require(t > 0, "target.score.t", self.t, f"has no default for alpha_w={alpha_w} <= columns + 1: give it a number > 0")
        means = self.prior_mean if isinstance(self.prior_mean, Sequence) else [self.prior_mean] * d
        expected = f"expected one number, or a list of {d}: one for each of {', '.join(names)}"
        require(len(means) == d, "target.score.prior_mean", self.prior_mean, expected)
        return _BGeOfTable(rows, torch.tensor(means, dtype=rows.dtype), self.alpha_mu, alpha_w, t, names)


class _BGeOfTable(TableScore):
    def __init__(self, rows: Tensor, prior_mean: Tensor, alpha_mu: float, alpha_w: float, t: float, names: Sequence[str]) -> None:
        self.n_rows, d = rows.shape
        self.alpha_mu, self.excess, self.t, self.names = alpha_mu, alpha_w - d, t, tuple(names)
        mean = rows.mean(0)
        centered, shift = rows - mean, mean - prior_mean
        shrinkage = self.n_rows * alpha_mu / (self.n_rows + alpha_mu)
        self.scatter = t * torch.eye(d, dtype=rows.dtype) + centered.T @ centered + shrinkage * torch.outer(shift, shift)
        _check_squares(self.scatter, names)

    def __call__(self, nodes: Tensor, parents: Tensor) -> Tensor:
        """Return the local scores [M], [M, d] -> [M], by log det R_QQ = log det R_PP + log pivot."""
        inner = _inside(self.scatter, parents)
        border = self.scatter[nodes].where(parents, 0.0)
        log_det, pivot = _log_det_and_pivot(inner, border, self.scatter.diagonal()[nodes], nodes, self.names)
        n_rows, p = self.n_rows, parents.sum(-1).to(log_det.dtype)
        before, after = (self.excess + p + 1) / 2, (n_rows + self.excess + p + 1) / 2
        constant = -n_rows / 2 * math.log(math.pi) + math.log(self.alpha_mu / (n_rows + self.alpha_mu)) / 2
        gammas = torch.lgamma(after) - torch.lgamma(before)
        return constant + gammas + (before + p / 2) * math.log(self.t) - log_det / 2 - after * pivot.log()


class LinearGaussian:
    """The linear-Gaussian score with independent normal weights, known noise and no intercept: columns should have mean 0."""

    kind = "numbers"

    def __init__(self, weight_mean: float, weight_scale: float, noise_scale: float) -> None:
        """weight_mean, weight_scale: of the weights, N(mean, scale^2); noise_scale: standard deviation, in the columns' units."""
        require(weight_scale > 0, "target.score.weight_scale", weight_scale, "expected a standard deviation > 0")
        require(noise_scale > 0, "target.score.noise_scale", noise_scale, "expected a standard deviation > 0")
        self.weight_mean, self.weight_scale, self.noise_scale = weight_mean, weight_scale, noise_scale

    def local(self, rows: Tensor, training: Tensor, names: Sequence[str]) -> LocalScore:
        """Return the local score of rows [N, d] with columns of those names; `training` is not used."""
        return _LinearGaussianOfTable(rows, self.weight_mean, self.weight_scale, self.noise_scale, names)


class _LinearGaussianOfTable(TableScore):
    def __init__(self, rows: Tensor, weight_mean: float, weight_scale: float, noise_scale: float, names: Sequence[str]) -> None:
        self.weight_mean, self.weight_scale, self.names = weight_mean, weight_scale, tuple(names)
        in_units_of_noise = rows / noise_scale
        self.gram = in_units_of_noise.T @ in_units_of_noise
        _check_squares(self.gram, names)
        self.constant = -len(rows) / 2 * math.log(2 * math.pi * noise_scale**2)

    def __call__(self, nodes: Tensor, parents: Tensor) -> Tensor:
        """Return the local scores [M], [M, d] -> [M]; the pivot below the border is 1 + the quadratic form."""
        gram, m, v = self.gram, self.weight_mean, self.weight_scale
        chosen = parents.to(gram.dtype)
        summed = chosen @ gram  # Z^T Z_P 1
        products = gram[nodes] - m * summed  # Z^T r
        own = nodes[:, None]
        squares = products.gather(1, own)[:, 0] - m * (chosen * products).sum(-1)  # r^T r
        eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        inner = _inside(eye + v**2 * gram, parents)
        # 1 is added below the border: the form may be 0, and rounding would make it negative
        log_det, pivot = _log_det_and_pivot(inner, v * products.where(parents, 0.0), 1 + squares, nodes, self.names)
        return self.constant - (log_det + pivot - 1) / 2


def _check_squares(matrix: Tensor, names: Sequence[str]) -> None:
    """Check that no sum of squares of a column overflows, which is the diagonal of the matrix [d, d]. Raises ConfigError."""
    for name, squares in zip(names, matrix.diagonal().tolist(), strict=True):
        advice = "has squares that overflow: bring it to other units (a CSV file: target.data.standardize=true)"
        require(math.isfinite(squares), "target.data", f"column {name}", advice)


def _inside(matrix: Tensor, parents: Tensor) -> Tensor:
    """Return the matrix [d, d] in rows and columns of the parents [M, d], the identity elsewhere (determinant 1): [M, d, d]."""
    eye = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    return matrix.where(parents[:, :, None] & parents[:, None, :], eye)


def _log_det_and_pivot(
    inner: Tensor, border: Tensor, corner: Tensor, nodes: Tensor, names: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Return log det inner and corner - border^T inner^-1 border by one Cholesky: [M, d, d], [M, d], [M] -> [M], [M].

    The node comes last, so its conditional variance is a pivot and not a difference of determinants.
    """
    lower = torch.cat([inner, border[:, None, :]], 1)
    column = torch.cat([border, corner[:, None]], 1)
    factor, failed = torch.linalg.cholesky_ex(torch.cat([lower, column[:, :, None]], 2))
    diagonal = factor.diagonal(dim1=-2, dim2=-1)
    pivot = diagonal[:, -1].square()
    is_lost = (failed > 0) | ~(pivot > LEAST_PIVOT * corner)
    if bool(is_lost.any()):
        name = names[int(nodes[is_lost.long().argmax()])]
        advice = "is a sum of other columns up to rounding: leave it out, or bring all columns to similar units"
        raise ConfigError("target.data", f"column {name}", advice)
    return 2 * diagonal[:, :-1].log().sum(-1), pivot
