"""Shares of modes and of wells: errors by hand, standard errors by repetition, floors by the binomial distribution."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from building import generators
from scipy.stats import binom
from torch import Tensor

from gfn_vi.evaluation.densities.samples import _errors, _floors
from gfn_vi.targets.densities.many_well import ManyWell
from gfn_vi.targets.densities.mixtures import MASS_OF_A_MODE, GaussianMixture


def labels(mass: list[float]) -> SimpleNamespace:
    """A target whose states are the numbers of their modes."""
    return SimpleNamespace(
        n_modes=len(mass), mode_mass=torch.tensor(mass, dtype=torch.float64), mode_index=lambda x: x[..., 0].long()
    )


def errors(target: object, states: Tensor) -> dict[str, Tensor]:
    return _errors(target, states, states.isfinite().all(-1))


def test_shares_against_masses_by_hand() -> None:
    """Ten states: five of a mass of 0.5, four of 0.2, none of 0.3, one in no mode; one that is not finite is in no mode, too."""
    states = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1, -1], dtype=torch.float64)[None, :, None]
    found = errors(labels([0.5, 0.2, 0.3]), states)
    torch.testing.assert_close(float(found["mode_mass_error"]), (0.0 + 0.2 + 0.3 + 0.1) / 2, rtol=1e-12, atol=0)
    assert float(found["modes_covered"]) == 2
    states[0, 0] = torch.nan
    found = errors(labels([0.5, 0.2, 0.3]), states)
    torch.testing.assert_close(float(found["mode_mass_error"]), (0.1 + 0.2 + 0.3 + 0.2) / 2, rtol=1e-12, atol=0)


def test_standard_errors_are_the_spread_of_the_errors() -> None:
    """Over 3000 sets of 400 states that are far from the masses: their standard deviation is known to 1.3%."""
    rng = np.random.default_rng(0)
    states = torch.tensor(rng.choice(4, size=(3000, 400), p=[0.5, 0.1, 0.3, 0.1]))[..., None]
    found = errors(labels([0.2, 0.3, 0.1, 0.4]), states.double())
    spread = float(found["mode_mass_error"].std())
    assert abs(float(found["mode_mass_error_se"].mean()) / spread - 1) < 0.05
    left = torch.tensor(rng.random((3000, 400)) < 0.5).double() * -2 + 1
    found = errors(ManyWell(2), torch.stack([left, torch.zeros_like(left)], -1))
    assert abs(float(found["well_error_se"].mean()) / float(found["well_error"].std()) - 1) < 0.05


def mean_difference(n: int, probability: float, mass: float) -> float:
    """E |share - mass| of a share of n states of that probability."""
    count = np.arange(n + 1)
    return float((binom.pmf(count, n, probability) * np.abs(count / n - mass)).sum())


def test_floors_are_the_errors_of_exact_samples() -> None:
    """Of modes far apart, and of a single double well, within four standard errors: the floor is of n states, not of more."""
    n, mass = 300, [0.7, 0.2, 0.1]
    log_weights = [float(np.log(m)) for m in mass]
    target = GaussianMixture(1, [[-50.0], [0.0], [50.0]], 1.0, log_weights)
    inside = sum(mean_difference(n, MASS_OF_A_MODE * m, m) for m in mass)
    expected = {"mode_mass_error": (inside + 1 - MASS_OF_A_MODE) / 2}
    well = ManyWell(2)
    expected["well_error"] = mean_difference(n, well.left_mass, well.left_mass)
    found = _floors(target, n, generators(0, 1)) | _floors(well, n, generators(0, 1))
    for name, value in expected.items():
        error = float(found[f"{name}_floor_se"])
        assert abs(float(found[f"{name}_floor"]) - value) < 4 * error
        assert error < value / 4
