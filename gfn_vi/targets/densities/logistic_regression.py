"""The posterior of Bayesian logistic regression on a table: coefficients by column name.

    w ~ N(0, prior_variance I),   P(y = 1 given the row x) = 1 / (1 + exp(-w x - w_intercept))

log R(w) = log N(w) + log-likelihood, both normalized: Z is the marginal likelihood of the classes. It depends on the variance of
the prior and on how the columns are scaled.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.targets.checks import check_positive
from gfn_vi.targets.csv_reading import KEY
from gfn_vi.targets.densities.base import BaseDensity
from gfn_vi.targets.densities.binary_table import BinaryTable

INTERCEPT = "intercept"


class LogisticRegression(BaseDensity):
    """d = columns + 1, the intercept last; coordinate_names: of the columns, and `intercept`.

    classes: what y = 0 and y = 1 stand for; the attribute rows [n, d] float64 has the sign of each row's class.
    """

    def __init__(self, data: BinaryTable, prior_variance: float) -> None:
        """prior_variance: of every coefficient, the intercept too."""
        check_positive(prior_variance, "target.prior_variance")
        table = data.table()
        advice = f"a column is called {INTERCEPT}, which is added: rename it, or target.data.leave_out=[{INTERCEPT}]"
        require(INTERCEPT not in table.names, KEY, data.path, advice)
        self.coordinate_names = (*table.names, INTERCEPT)
        self.dim = len(self.coordinate_names)
        self.classes, self.doubts = table.classes, table.doubts
        unit = "standard deviation" if data.standardize else "unit"
        self.about_coordinates = (
            f"log-odds of {table.label}={table.classes[1]} against {table.classes[0]}, per {unit} of a column"
        )
        self.prior_variance = prior_variance
        sign = 2.0 * table.class_of.double() - 1
        self.rows = sign[:, None] * torch.cat([table.values, torch.ones(len(sign), 1, dtype=torch.float64)], 1)
        self.log_top = -self.dim / 2 * math.log(2 * math.pi * prior_variance)

    @property
    def remarks(self) -> list[str]:
        """Return what looks wrong about the table, one sentence each."""
        return list(self.doubts)

    def log_density(self, states: Tensor) -> Tensor:
        """Return the log-prior + the sum over rows of the log-probability of their class: [..., d] -> [...]."""
        prior = self.log_top - states.square().sum(-1) / (2 * self.prior_variance)
        return prior + torch.nn.functional.logsigmoid(states @ self.in_type_of(states, "rows").mT).sum(-1)

    def score(self, states: Tensor) -> Tensor:
        """Return the sum over rows of P(the other class) times the row - w / prior_variance: [..., d] -> [..., d]."""
        with torch.no_grad():
            rows = self.in_type_of(states, "rows")
            return (-(states @ rows.mT)).sigmoid() @ rows - states / self.prior_variance
