"""The Ising model: energies and log Z against lists of all lattices, larger ones against a long Gibbs run."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from measuring import check_cells, check_weighted_log_Z
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.targets.ising import Ising, log_partition

SHIPPED: dict[str, Any] = {
    "side": 3,
    "coupling": 0.4,
    "field": 0.1,
    "boundary": "free",
    "order": "raster",
    "max_enumerated_states": 1_000_000,
}


def make(**changes: Any) -> Ising:
    return Ising(**{**SHIPPED, **changes})


def neighbors(spins: Tensor, boundary: str) -> Tensor:
    """Sum of the neighbors of each spin: [..., L, L]."""
    total = torch.zeros_like(spins)
    for axis, shift in product((-2, -1), (-1, 1)):
        moved = spins.roll(shift, axis)
        if boundary == "free":
            moved.select(axis, 0 if shift == 1 else -1).zero_()
        total += moved
    return total


def all_lattices(side: int) -> Tensor:
    """[2^(L L), L, L] spins, in float64."""
    return torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * side**2).view(-1, side, side).double()


def energy(spins: Tensor, boundary: str) -> Tensor:
    """Sum over bonds: every one is seen from both of its ends."""
    return (spins * neighbors(spins, boundary)).sum((-2, -1)) / 2


@pytest.mark.parametrize("boundary", ["free", "periodic"])
@pytest.mark.parametrize(("side", "order"), [(3, "raster"), (4, "raster"), (3, "any")])
@pytest.mark.parametrize(("coupling", "field"), [(0.4, 0.1), (-0.7, 0.3)])
def test_listing_all_lattices(boundary: str, side: int, order: str, coupling: float, field: float) -> None:
    """Each lattice ends exactly once with its reward, and the transfer matrix gives the sum of all."""
    target = make(side=side, boundary=boundary, order=order, coupling=coupling, field=field)
    spins = all_lattices(side)
    expected = coupling * energy(spins, boundary) + field * spins.sum((-2, -1))
    states = ((spins + 3) / 2).long().flatten(1)
    torch.testing.assert_close(target.log_reward(states), expected, rtol=0, atol=1e-13)
    assert target.log_Z == pytest.approx(float(expected.logsumexp(0)), rel=1e-13)
    graph = target.state_graph()
    full = graph.forward_mask[:, -1]
    assert torch.equal(torch.unique(graph.states[full], dim=0), states)
    assert int(full.sum()) == len(states)
    assert float(graph.log_partition) == pytest.approx(target.log_Z, rel=1e-13)
    check_cells(target, side**2, 2, order == "any")


@pytest.mark.parametrize("boundary", ["free", "periodic"])
def test_no_coupling_and_a_strong_one(boundary: str) -> None:
    """log Z = sites * log(2 cosh(field)), at any width; and a coupling whose exponential overflows leaves two lattices."""
    for side in (3, 10):
        exact = side**2 * math.log(2 * math.cosh(0.7))
        assert make(side=side, coupling=0.0, field=0.7, boundary=boundary).log_Z == pytest.approx(exact, rel=1e-13)
    n_bonds = 2 * 10 * (10 if boundary == "periodic" else 9)
    frozen = make(side=10, coupling=50.0, field=0.0, boundary=boundary).log_Z
    assert frozen == pytest.approx(50.0 * n_bonds + math.log(2), rel=1e-13)


def test_an_antiferromagnet_is_a_ferromagnet_with_one_color_turned() -> None:
    """Without a field, on lattices of two colors; on an odd torus bonds are frustrated and log Z is lower."""
    for side, boundary in ((7, "free"), (6, "periodic"), (10, "periodic")):
        plus, minus = (make(side=side, coupling=j, field=0.0, boundary=boundary).log_Z for j in (0.6, -0.6))
        assert plus == pytest.approx(minus, rel=1e-13)
    plus, minus = (make(side=5, coupling=j, field=0.0, boundary="periodic").log_Z for j in (0.6, -0.6))
    assert plus is not None
    assert minus is not None
    assert minus < plus - 1
    assert make(side=17).log_Z is make(side=11, boundary="periodic").log_Z is None


@pytest.mark.parametrize("boundary", ["free", "periodic"])
def test_larger_lattices_agree_with_a_long_gibbs_run(boundary: str) -> None:
    """Heat bath on one color of the checkerboard at a time, 1000 independent chains: the mean energy and magnetization are the
    derivatives of log Z in coupling and field within 5 standard errors over the chains; the conditional of each spin, which the
    run uses, is that of the target's reward.
    """
    side, coupling, field, n_chains = 6, 0.3, 0.05, 1000
    target = make(side=side, coupling=coupling, field=field, boundary=boundary)
    rng = torch.Generator().manual_seed(1)
    spins = torch.randint(0, 2, (n_chains, side, side), generator=rng).double() * 2 - 1
    color = (torch.arange(side)[:, None] + torch.arange(side)) % 2
    totals = torch.zeros(n_chains, 3, dtype=torch.float64)
    n_burn, n_sweeps = 100, 400
    for sweep in range(n_burn + n_sweeps):
        for now in (0, 1):
            up = torch.sigmoid(2 * (coupling * neighbors(spins, boundary) + field))
            drawn = 2.0 * (torch.rand(spins.shape, generator=rng, dtype=torch.float64) < up) - 1
            spins = spins.where(color != now, drawn)
        if sweep >= n_burn:
            sums = torch.stack([energy(spins, boundary), spins.sum((1, 2))], 1)
            totals += torch.cat([sums, target.log_reward(((spins + 3) / 2).long().flatten(1))[:, None]], 1)
    means = totals / n_sweeps
    j, h = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (coupling, field))
    slopes = torch.stack(torch.autograd.grad(log_partition(side, j, h, boundary == "periodic"), (j, h)))
    exact = torch.cat([slopes, (coupling * slopes[0] + field * slopes[1])[None]])
    error = means.std(0) / math.sqrt(n_chains)
    assert bool((error < 0.01 * exact.abs()).all()), "the run is long enough to say something"
    assert bool(((means.mean(0) - exact).abs() < 5 * error).all()), ((means.mean(0) - exact) / error).tolist()
    state = ((spins[:50] + 3) / 2).long().flatten(1)
    odds = 2 * (coupling * neighbors(spins[:50], boundary) + field)
    for site in range(side**2):
        up, down = state.clone(), state.clone()
        up[:, site], down[:, site] = 2, 1
        difference = target.log_reward(up) - target.log_reward(down)
        torch.testing.assert_close(difference, odds.flatten(1)[:, site], rtol=0, atol=1e-12)


@pytest.mark.parametrize("boundary", ["free", "periodic"])
@pytest.mark.parametrize(
    ("side", "coupling", "field"),
    [
        *((side, *values) for side in (3, 4) for values in [(0.4, 0.0), (0.4, -0.1), (-0.4, 0.0), (0.0, 0.2)]),
        *((3, *values) for values in [(-0.4, 0.2), (0.0, 0.0)]),
    ],
)
def test_modes_are_the_lattices_of_top_reward(boundary: str, side: int, coupling: float, field: float) -> None:
    """Those that symmetry tells, and those that are found by listing."""
    target = make(side=side, coupling=coupling, field=field, boundary=boundary)
    states = ((all_lattices(side) + 3) / 2).long().flatten(1)
    log_reward = target.log_reward(states)
    top = log_reward > log_reward.max() - 1e-9
    mode = target.mode_index(states)
    assert torch.equal(mode >= 0, top)
    assert sorted(mode[top].tolist()) == list(range(int(top.sum())))
    assert target.n_modes == int(top.sum())
    assert int(target.mode_index(target.initial())) == -1


def test_large_lattices_are_built_without_listing() -> None:
    target = make(side=16)
    assert not target.enumerable
    assert not make(side=4, order="any").enumerable
    assert make(side=16, coupling=-1.0, field=0.5).n_modes is None
    with pytest.raises(ConfigError, match=r"target\.max_enumerated_states=1000000: there are \d{78} states"):
        target.state_graph()


@pytest.mark.parametrize(("order", "start"), [("raster", 0), ("any", 18)])
def test_samples_of_a_large_target_estimate_log_partition(order: str, start: int) -> None:
    """In any order, the learned log Z starts near its value, 18.0: from 0, the weights of so short a training have an effective
    sample size below 1 percent, and neither the estimate nor its error says anything.
    """
    small = ("target=ising", "target.side=5", "target.coupling=0.15")
    check_weighted_log_Z(*small, f"target.order={order}", f"sampler.log_Z={start}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"side": 1}, r"target\.side=1: expected a whole number >= 2 with boundary=free"),
        ({"side": 2, "boundary": "periodic"}, r"target\.side=2: expected a whole number >= 3 with boundary=periodic"),
        ({"coupling": math.inf}, r"target\.coupling=inf: expected a finite number"),
        ({"field": math.nan}, r"target\.field=nan: expected a finite number"),
        ({"boundary": "open"}, r"target\.boundary=open: expected free or periodic"),
        ({"order": "spiral"}, r"target\.order=spiral: expected raster or any"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**changes)
