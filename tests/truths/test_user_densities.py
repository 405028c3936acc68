"""Log-densities of a user's own module: how they are asked, which are refused, which are doubted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from building import make_trainer
from known_densities import assert_equal_to, points

from gfn_vi.core.errors import ConfigError
from gfn_vi.targets.densities.user_density import UserDensity


def test_a_users_function_is_asked_with_one_batch_axis_in_double_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_densities.py").write_text(
        "import torch\ndef f(x):\n    assert x.dim() == 2\n    assert x.dtype == torch.float64\n    return -(x**4).sum(1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    target = UserDensity("my_densities.f", 3, 1.5)
    x = points(12, 3).view(2, 6, 3)
    assert_equal_to(target.log_density(x), -(x**4).sum(-1))
    assert_equal_to(target.score(x), -4 * x**3)
    assert target.log_density(x.float()).dtype == target.score(x.float()).dtype == torch.float32
    assert target.log_Z == 1.5
    assert target.remarks == []


FUNCTIONS = """
import torch
ONE = torch.ones(2, 1)
def whole(x): return -x.square().sum() / 2
def column(x): return -x.square().sum(1, keepdim=True)
def number(x): return -1.0
def missing(x): return (x[:, 0] - 1).log() - x.square().sum(1)
def infinite(x): return 1 / torch.zeros_like(x[:, 0])
def outside(x): return torch.full_like(x[:, 0], -torch.inf) + 0 * x[:, 0]
def complex_(x): return -torch.view_as_complex(x).abs() + 0j
def detached(x): return -x.detach().square().sum(1)
def by_numpy(x): return -torch.from_numpy(x.numpy() ** 2).sum(1)
def constant(x): return torch.zeros(len(x), dtype=x.dtype).requires_grad_(True) + 0
def partly(x): return -x.detach().square().sum(1) - 1e-3 * x.sum(1)
def single(x): return -(x.float() @ ONE)[:, 0] ** 2
def of_the_batch(x): return -(x - x.mean(0)).square().sum(1)
def cusp(x): return -(x[:, 0] * 0).sqrt() - x.square().sum(1)
def energy(x): return x.square().sum(1) / 2
def density(x): return (-x.square().sum(1) / 2).exp()
def of_seven(x): return x @ torch.ones(7, dtype=x.dtype)
def heavy(x): return 30 - 3 * x.square().sum(1).log1p()
def kinked(x): return -x.abs().sum(1)
def in_a_disc(x): return torch.where(x.norm(dim=1) < 1.5, -x.square().sum(1), -torch.inf)
NOT_CALLABLE = 3
"""
REFUSED = {
    "whole": r"returned the shape \[\] for a batch \[16, 2\] \(target.dim=2\): expected \[16\]",
    "column": r"returned the shape \[16, 1\] for a batch",
    "number": "returned float: expected a tensor",
    "missing": "is NaN or infinite at 1[0-9] of 16 points",
    "infinite": "is NaN or infinite at 16 of 16 points",
    "outside": "is -inf at 16 of 16 points",
    "complex_": "returned complex numbers",
    "constant": "does not depend on the batch",
    "partly": "has a gradient by autograd that finite differences contradict",
    "single": r"returned torch.float32 for a batch in torch.float64",
    "of_the_batch": "gives a row another value alone than in a batch",
    "cusp": "has a gradient that is NaN or infinite",
    "of_seven": r"raises on a batch \[16, 2\] \(target.dim=2\): RuntimeError: .*my_functions.py, line [0-9]+$",
    "NOT_CALLABLE": "there is no function NOT_CALLABLE in my_functions",
    "absent": "there is no function absent in my_functions",
}


@pytest.fixture
def my_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_functions.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("my_functions")
@pytest.mark.parametrize("name", REFUSED)
def test_functions_that_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"target.function=my_functions.{name}: {REFUSED[name]}"):
        UserDensity(f"my_functions.{name}", 2, None)


@pytest.mark.usefixtures("my_functions")
def test_functions_that_are_doubted_and_functions_that_are_not() -> None:
    """An energy grows outward, a density is never negative; heavy tails, kinks and bounded supports are no reason."""
    for name, said in (("energy", "if it is an energy, return minus it"), ("density", "if it is a density, return its log")):
        (remark,) = UserDensity(f"my_functions.{name}", 2, None).remarks
        assert remark.startswith(f"target.function=my_functions.{name}")
        assert said in remark
    for name in ("heavy", "kinked", "in_a_disc"):
        assert UserDensity(f"my_functions.{name}", 2, None).remarks == []


BLIND = ("target=user_density", "target.dim=2", "sampler=diffusion", "sampler.n_steps=3", "sampler.hidden=[4]")
NEEDS_SCORE = {
    "sampler.langevin=scalar": ("sampler.langevin=scalar",),
    "objective.estimator=pathwise": (
        *("objective=reverse_kl", "baseline@objective.baseline=none", "estimator@objective.estimator=pathwise"),
    ),
    "exploration=LocalSearch": ("exploration=local_search",),
    "evaluation.references=Nuts": ("reference@evaluation.references=nuts",),
}


@pytest.mark.usefixtures("my_functions")
@pytest.mark.parametrize("name", ["detached", "by_numpy"])
def test_functions_without_a_gradient_are_sampled_from_where_none_is_needed(name: str) -> None:
    """They are asked for values alone, the run says so, and every choice that needs the gradient is refused by its key."""
    function = f"target.function=my_functions.{name}"
    target = UserDensity(f"my_functions.{name}", 2, None)
    assert target.remarks == [
        f"{function} has no gradient, as operations of torch on the batch would give it: choices that need one are refused"
    ]
    trainer = make_trainer(*BLIND, function)
    trainer.update()
    trainer.measure()
    assert int(trainer.parts.sampler.score_calls.sum()) == 0
    for said, choices in NEEDS_SCORE.items():
        with pytest.raises(ConfigError, match=f"^{said}: "):
            make_trainer(*BLIND, function, *choices)


def test_names_that_are_no_functions() -> None:
    with pytest.raises(ConfigError, match=r"target.function=f: expected my_module.f"):
        UserDensity("f", 2, None)
    with pytest.raises(ConfigError, match=r"no module named not_a_module_of_mine; one of yours is found in the current folder"):
        UserDensity("not_a_module_of_mine.f", 2, None)
