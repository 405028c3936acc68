"""What every density must satisfy, found by listing configs/target."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
from building import composed, density_targets, generators, target_variants
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from gfn_vi import check_target
from gfn_vi.core.protocols import DensityTarget
from gfn_vi.signatures import check_signatures
from gfn_vi.targets.densities.base import BaseDensity

VARIANTS = {f"{choice}-{name}": made for choice in density_targets() for name, made in target_variants(choice).items()}
EXACT = {"rtol": 1e-11, "atol": 1e-11}
R, N = 3, 6


def node(name: str) -> Any:
    return OmegaConf.to_container(composed(*VARIANTS[name]).target)


@pytest.fixture(params=VARIANTS, scope="module")
def target(request: pytest.FixtureRequest) -> BaseDensity:
    made = instantiate(node(request.param), _convert_="all")
    assert isinstance(made, BaseDensity)
    return made


def states(target: BaseDensity, *leading: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Where the targets have their mass, and around it."""
    return 2 * torch.randn(*leading, target.dim, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("name", VARIANTS)
def test_values_of_the_yaml_are_of_the_types_of_the_constructor(name: str) -> None:
    check_signatures(node(name), "target")


def test_it_is_what_the_protocol_says(target: BaseDensity) -> None:
    wanted = {name for base in DensityTarget.__mro__ for name in (*inspect.get_annotations(base), *vars(base))}
    assert {name for name in wanted if not name.startswith("_") and not hasattr(target, name)} == set()
    assert isinstance(target.dim, int)
    assert target.dim >= 1
    assert target.log_Z is None or isinstance(target.log_Z, float)
    assert all(isinstance(remark, str) for remark in target.remarks)
    assert target.remarks == [], "what is shipped needs no remark"


def test_it_keeps_what_a_target_owes(target: BaseDensity) -> None:
    """Values, score, batches, log Z, modes, samples, names: gfn_vi/verification/targets."""
    assert check_target(target).faults == ()


def test_functions_do_not_care_about_leading_axes(target: BaseDensity) -> None:
    boxed = states(target, R, N)
    for function, shape in ((target.log_density, ()), (target.log_reward, ()), (target.score, (target.dim,))):
        found = function(boxed)
        assert found.shape == (R, N, *shape)
        torch.testing.assert_close(function(boxed[1]), found[1], **EXACT)
        torch.testing.assert_close(function(boxed[1, 2]), found[1, 2], **EXACT)
        assert function(boxed[:, :0]).shape == (R, 0, *shape)


def test_types(target: BaseDensity) -> None:
    """The density and the score follow the states, the reward is in float64; both types tell the same."""
    for dtype in (torch.float32, torch.float64):
        given = states(target, N, dtype=dtype)
        assert target.log_density(given).dtype == dtype
        assert target.score(given).dtype == dtype
        assert target.log_reward(given).dtype == torch.float64
    single = states(target, N, dtype=torch.float32)
    double = single.double()
    torch.testing.assert_close(target.log_reward(single), target.log_density(double), rtol=0, atol=0)
    torch.testing.assert_close(target.log_density(single).double(), target.log_density(double), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(target.score(single).double(), target.score(double), rtol=1e-3, atol=1e-3)


def test_the_score_is_the_gradient(target: BaseDensity) -> None:
    """By autograd, and by central differences along random directions: their error is of the order of the step squared."""
    given = states(target, N).requires_grad_(True)
    (gradient,) = torch.autograd.grad(target.log_reward(given).sum(), given)
    torch.testing.assert_close(target.score(given), gradient, rtol=1e-9, atol=1e-9)
    given = given.detach()
    direction = torch.randn(given.shape, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    step = 1e-5 * direction
    slope = (target.log_reward(given + step) - target.log_reward(given - step)) / 2e-5
    torch.testing.assert_close((target.score(given) * direction).sum(-1), slope, rtol=1e-6, atol=1e-5)


def test_the_score_has_no_graph_and_works_without_one(target: BaseDensity) -> None:
    given = states(target, N)
    score = target.score(given)
    with torch.no_grad():
        torch.testing.assert_close(target.score(given), score, rtol=0, atol=0)
    assert not score.requires_grad
    assert not given.requires_grad
    assert not target.score(given.clone().requires_grad_(True)).requires_grad
    assert target.log_density(given.clone().requires_grad_(True)).requires_grad


def test_far_away_it_is_low_but_finite(target: BaseDensity) -> None:
    far = 10 * states(target, 100)
    assert bool(target.log_reward(far).isfinite().all())
    assert bool(target.score(far).isfinite().all())
    assert bool((target.log_reward(1e3 * far).mean() < target.log_reward(far).mean()).all())


def test_moving_to_a_device_makes_a_copy_that_is_equal(target: BaseDensity) -> None:
    given = states(target, N, dtype=torch.float32)
    before = target.log_density(given), target.score(given)
    moved = target.to("cpu")
    assert moved is not target
    assert moved.device == torch.device("cpu")
    assert (moved.dim, moved.log_Z, moved.n_modes, moved.coordinate_names) == (
        *(target.dim, target.log_Z),
        *(target.n_modes, target.coordinate_names),
    )
    for other in (moved, copy.deepcopy(target)):
        assert torch.equal(other.log_density(given), before[0])
        assert torch.equal(other.score(given), before[1])


def test_every_tensor_goes_to_the_device(target: BaseDensity) -> None:
    """To `meta`, where no tensor of the CPU can hide; what was converted for a type of states goes, too."""
    target.log_density(states(target, N, dtype=torch.float32))
    moved = target.to("meta")
    assert moved.device.type == "meta"
    assert all(value.device.type == "meta" for value in vars(moved).values() if isinstance(value, Tensor))
    assert "_converted" not in vars(moved)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_replica_draws_what_the_single_run_of_its_seed_draws(target: BaseDensity, dtype: torch.dtype) -> None:
    if not target.has_exact_samples:
        with pytest.raises(NotImplementedError, match="has_exact_samples"):
            target.sample(N, generators(0, R))
        return
    drawn = target.sample(N, generators(4, R, dtype=dtype))
    assert drawn.shape == (R, N, target.dim)
    assert drawn.dtype == dtype
    assert bool(drawn.isfinite().all())
    assert len(drawn.flatten(0, 1).unique(dim=0)) == R * N
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else EXACT
    for r in range(R):
        torch.testing.assert_close(target.sample(N, generators(4 + r, 1, dtype=dtype))[0], drawn[r], **tolerance)


def test_modes(target: BaseDensity) -> None:
    """Numbers below n_modes, and shares of the mass; nothing where modes are not known."""
    given = 3 * states(target, R, N)
    if target.n_modes is None:
        assert target.mode_mass is None
        with pytest.raises(NotImplementedError, match="n_modes"):
            target.mode_index(given)
        return
    mode = target.mode_index(given)
    assert mode.shape == (R, N)
    assert mode.dtype == torch.long
    assert int(mode.min()) >= -1
    assert int(mode.max()) < target.n_modes
    assert torch.equal(target.mode_index(given.float())[0, 0], mode[0, 0])
    assert target.mode_mass is not None
    assert target.mode_mass.shape == (target.n_modes,)
    assert target.mode_mass.dtype == torch.float64
    torch.testing.assert_close(target.mode_mass.sum().item(), 1.0, rtol=0, atol=1e-12)
